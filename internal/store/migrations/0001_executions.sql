-- One optional part of an execution is one optional row: run, result and delivery exist exactly when the execution has
-- them. What is large or secret lies apart from the rows that the queue and the lists read.
-- Times and durations are nanoseconds, times since 1970 UTC. Lists of names are JSON arrays.

CREATE TABLE node (
    one     INTEGER PRIMARY KEY CHECK (one = 1),
    id      TEXT    NOT NULL,
    epoch   INTEGER NOT NULL, -- grows at each start
    beat_at INTEGER NOT NULL  -- written to see whether writing works
) STRICT;

-- seq is the order in which executions were stored, and the order of the queue.
CREATE TABLE executions (
    seq                 INTEGER PRIMARY KEY,
    id                  TEXT    NOT NULL UNIQUE,
    name                TEXT    NOT NULL,
    subject             TEXT    NOT NULL,
    language            TEXT    NOT NULL,
    working_dir         TEXT    NOT NULL,
    timeout             INTEGER NOT NULL,
    env_names           TEXT,
    created_at          INTEGER NOT NULL,
    state               TEXT    NOT NULL,
    claimed             INTEGER NOT NULL DEFAULT 0, -- 1 while a queued execution is promised to a worker; void after a restart
    cancel_requested_at INTEGER
) STRICT;

CREATE INDEX executions_of_subject ON executions (subject, id);
CREATE INDEX executions_queued ON executions (subject, claimed) WHERE state = 'queued';
CREATE INDEX executions_running ON executions (state) WHERE state = 'running';

-- Removed when the execution ends.
CREATE TABLE programs (
    execution INTEGER PRIMARY KEY REFERENCES executions ON DELETE CASCADE,
    code      BLOB, -- sealed
    env       BLOB  -- sealed
) STRICT;

CREATE TABLE callbacks (
    execution    INTEGER PRIMARY KEY REFERENCES executions ON DELETE CASCADE,
    url          TEXT    NOT NULL,
    header_names TEXT,
    depth        INTEGER NOT NULL,
    headers      BLOB, -- sealed
    secret       BLOB  -- sealed
) STRICT;

-- A running row belongs to one epoch of one node.
CREATE TABLE runs (
    execution  INTEGER PRIMARY KEY REFERENCES executions ON DELETE CASCADE,
    node       TEXT    NOT NULL,
    epoch      INTEGER NOT NULL,
    berth      TEXT    NOT NULL,
    nonce      TEXT    NOT NULL,
    started_at INTEGER,
    deadline   INTEGER
) STRICT;

CREATE TABLE results (
    execution       INTEGER PRIMARY KEY REFERENCES executions ON DELETE CASCADE,
    reason          TEXT    NOT NULL,
    exit_code       INTEGER,
    error           TEXT    NOT NULL,
    started_at      INTEGER,
    completed_at    INTEGER,
    duration        INTEGER NOT NULL,
    output_complete INTEGER NOT NULL,
    cpu_time        INTEGER NOT NULL,
    max_memory      INTEGER NOT NULL
) STRICT;

-- The order in which retention removes.
CREATE INDEX results_completed ON results (completed_at);

CREATE TABLE outputs (
    execution INTEGER NOT NULL REFERENCES executions ON DELETE CASCADE,
    stream    TEXT    NOT NULL,
    bytes     INTEGER NOT NULL,
    head      BLOB,
    tail      BLOB,
    PRIMARY KEY (execution, stream)
) STRICT, WITHOUT ROWID;

CREATE TABLE deliveries (
    execution   INTEGER PRIMARY KEY REFERENCES callbacks ON DELETE CASCADE,
    destination TEXT    NOT NULL, -- scheme://host:port of the callback
    state       TEXT    NOT NULL,
    reason      TEXT    NOT NULL,
    attempts    INTEGER NOT NULL,
    next_at     INTEGER,
    created_at  INTEGER NOT NULL,
    ended_at    INTEGER
) STRICT;

CREATE INDEX deliveries_pending ON deliveries (next_at, destination) WHERE state = 'pending';

-- Apart from the delivery, whose row is written at each attempt.
CREATE TABLE bodies (
    execution INTEGER PRIMARY KEY REFERENCES deliveries ON DELETE CASCADE,
    body      BLOB NOT NULL
) STRICT;

CREATE TABLE attempts (
    execution   INTEGER NOT NULL REFERENCES deliveries ON DELETE CASCADE,
    number      INTEGER NOT NULL,
    started_at  INTEGER NOT NULL,
    duration    INTEGER NOT NULL,
    outcome     TEXT    NOT NULL,
    status_code INTEGER NOT NULL,
    detail      TEXT    NOT NULL,
    answer      BLOB,
    retry_after INTEGER NOT NULL,
    PRIMARY KEY (execution, number)
) STRICT;

CREATE TABLE idempotency (
    subject     TEXT    NOT NULL,
    key         TEXT    NOT NULL,
    fingerprint TEXT    NOT NULL,
    execution   INTEGER NOT NULL REFERENCES executions ON DELETE CASCADE,
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (subject, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_oldest ON idempotency (created_at);
CREATE INDEX idempotency_of_execution ON idempotency (execution);

-- How many executions each subject has in each place of the queue; a subject with none has no row. Rebuilt at each start.
CREATE TABLE subjects (
    subject TEXT    PRIMARY KEY,
    waiting INTEGER NOT NULL CHECK (waiting >= 0), -- queued, unclaimed
    claimed INTEGER NOT NULL CHECK (claimed >= 0), -- queued, claimed
    running INTEGER NOT NULL CHECK (running >= 0),
    served  INTEGER NOT NULL                       -- the number of its last claim; 0 = none since the start
) STRICT, WITHOUT ROWID;

CREATE INDEX subjects_next ON subjects (claimed + running, served) WHERE waiting > 0;
