-- How often the engine failed to make a container for an execution: the bound on retries holds across restarts.
ALTER TABLE executions ADD COLUMN start_failures INTEGER NOT NULL DEFAULT 0;
