-- Files that outlive executions. They change in one piece: with the end of the execution that had them, or by a call.
CREATE TABLE workspaces (
    id         INTEGER PRIMARY KEY AUTOINCREMENT, -- a number is never given twice
    subject    TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    used_at    INTEGER NOT NULL,
    size       INTEGER NOT NULL DEFAULT 0, -- bytes of all files
    entries    INTEGER NOT NULL DEFAULT 0,
    UNIQUE (subject, name)
) STRICT;

CREATE INDEX workspaces_oldest ON workspaces (used_at);

CREATE TABLE entries (
    workspace   INTEGER NOT NULL REFERENCES workspaces ON DELETE CASCADE,
    path        TEXT    NOT NULL,
    kind        TEXT    NOT NULL,
    mode        INTEGER NOT NULL,
    size        INTEGER NOT NULL, -- the blob's
    blob        INTEGER REFERENCES blobs, -- of a file
    target      TEXT,                     -- of a link
    modified_at INTEGER NOT NULL,
    PRIMARY KEY (workspace, path)
) STRICT, WITHOUT ROWID;

CREATE INDEX entries_of_blob ON entries (blob) WHERE blob IS NOT NULL;

-- What a running execution is given and may not go before it was sent.
CREATE TABLE snapshots (
    execution INTEGER NOT NULL REFERENCES executions ON DELETE CASCADE,
    blob      INTEGER NOT NULL REFERENCES blobs,
    PRIMARY KEY (execution, blob)
) STRICT, WITHOUT ROWID;

CREATE INDEX snapshots_of_blob ON snapshots (blob);

-- The workspace of an execution, and whether it changes it. Of the queued ones that change the same, all but one are held
-- back: their claimed is 2, and whoever ends lets the next one go.
ALTER TABLE executions ADD COLUMN workspace INTEGER;
ALTER TABLE executions ADD COLUMN writes INTEGER NOT NULL DEFAULT 0;
CREATE INDEX executions_of_workspace ON executions (workspace, writes, state, claimed)
    WHERE workspace IS NOT NULL AND state IN ('queued', 'running');

ALTER TABLE subjects ADD COLUMN behind INTEGER NOT NULL DEFAULT 0 CHECK (behind >= 0); -- queued, held back

ALTER TABLE results ADD COLUMN workspace TEXT; -- what became of the workspace: a JSON object
