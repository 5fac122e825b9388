-- Content of any size, written once and then only read: a file that an execution left, or one of a workspace. Who holds
-- it says so in a table of its own; what nobody holds is removed.
CREATE TABLE blobs (
    id      INTEGER PRIMARY KEY AUTOINCREMENT, -- a number is never given twice
    size    INTEGER, -- NULL until it is whole
    sum     BLOB,    -- SHA-256, with the size
    made_at INTEGER NOT NULL
) STRICT;

CREATE TABLE pieces (
    blob  INTEGER NOT NULL REFERENCES blobs ON DELETE CASCADE,
    at    INTEGER NOT NULL, -- offset of its first byte
    piece BLOB    NOT NULL,
    PRIMARY KEY (blob, at)
) STRICT;
