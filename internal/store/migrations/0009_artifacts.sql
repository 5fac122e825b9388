-- The files that programs left and that were asked for.
CREATE TABLE artifacts (
    execution INTEGER NOT NULL REFERENCES executions ON DELETE CASCADE,
    path      TEXT    NOT NULL,
    mode      INTEGER NOT NULL,
    blob      INTEGER NOT NULL REFERENCES blobs,
    PRIMARY KEY (execution, path)
) STRICT;

CREATE INDEX artifacts_by_blob ON artifacts (blob);

-- JSON of what was asked for and not collected; NULL when nothing was asked for.
ALTER TABLE results ADD COLUMN leavings TEXT;
