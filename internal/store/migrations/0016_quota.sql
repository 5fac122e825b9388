-- The bytes of the programs of a subject's executions that have not ended, and the same of all subjects while two
-- processes work with the data directory. The process that claims counts both anew when it starts.
ALTER TABLE subjects ADD COLUMN size INTEGER NOT NULL DEFAULT 0;
ALTER TABLE node ADD COLUMN queued_size INTEGER NOT NULL DEFAULT 0;
