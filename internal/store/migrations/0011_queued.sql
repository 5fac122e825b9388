-- How many executions are queued, of all subjects, while two processes work with the same data directory: to add up the
-- subjects for each write would cost more the more of them there are.
ALTER TABLE node ADD COLUMN queued INTEGER NOT NULL DEFAULT 0;
