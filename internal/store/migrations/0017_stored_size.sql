-- The bytes that an ended execution takes until it is removed: output, artifacts and the callback's body, and a share for
-- its rows. Their sum for each subject, and of all subjects while two processes work with the data directory.
ALTER TABLE results ADD COLUMN subject TEXT NOT NULL DEFAULT '';
ALTER TABLE results ADD COLUMN size INTEGER NOT NULL DEFAULT 0;
ALTER TABLE node ADD COLUMN stored_size INTEGER NOT NULL DEFAULT 0;

UPDATE results SET subject = (SELECT subject FROM executions WHERE seq = execution), size = 1024
    + coalesce((SELECT sum(coalesce(length(head), 0) + coalesce(length(tail), 0)) FROM outputs o WHERE o.execution = results.execution), 0)
    + coalesce((SELECT sum(b.size) FROM artifacts a JOIN blobs b ON b.id = a.blob WHERE a.execution = results.execution), 0)
    + coalesce((SELECT length(body) FROM bodies o WHERE o.execution = results.execution), 0);

CREATE TABLE stored (
    subject TEXT    PRIMARY KEY,
    size    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO stored (subject, size) SELECT subject, sum(size) FROM results GROUP BY subject;
UPDATE node SET stored_size = (SELECT coalesce(sum(size), 0) FROM stored);

-- The order in which the results of a subject are removed.
CREATE INDEX results_of_subject ON results (subject, completed_at);
