-- Executions that were submitted together. With summary there is one callback for all: the one of the execution that ends
-- last.
ALTER TABLE executions ADD COLUMN batch TEXT;
ALTER TABLE executions ADD COLUMN summary INTEGER NOT NULL DEFAULT 0;

CREATE INDEX executions_of_batch ON executions (batch, seq) WHERE batch IS NOT NULL;
CREATE INDEX executions_open_of_batch ON executions (batch) WHERE batch IS NOT NULL AND state IN ('queued', 'running');
