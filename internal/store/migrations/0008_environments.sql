-- The variables that each program of a subject has without asking.
CREATE TABLE environments (
    subject TEXT PRIMARY KEY,
    env     BLOB NOT NULL -- sealed
) STRICT, WITHOUT ROWID;
