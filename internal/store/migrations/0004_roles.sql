-- What a process tells another that works with the same data directory.

-- What running programs have printed so far, in pieces; removed when the execution ends.
CREATE TABLE live (
    execution INTEGER NOT NULL REFERENCES executions ON DELETE CASCADE,
    stream    TEXT    NOT NULL,
    at        INTEGER NOT NULL, -- bytes of the stream before this piece
    piece     BLOB    NOT NULL,
    PRIMARY KEY (execution, stream, at)
) STRICT, WITHOUT ROWID;

-- What the checks of the process that runs executions said last.
CREATE TABLE reports (
    name     TEXT    PRIMARY KEY,
    at       INTEGER NOT NULL,
    sentence TEXT    NOT NULL -- empty: it passed
) STRICT, WITHOUT ROWID;
