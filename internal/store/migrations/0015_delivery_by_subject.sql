-- Callbacks are scheduled by subject, and then by destination: each pair of the two has limits of its own.
DROP INDEX deliveries_pending;
CREATE INDEX deliveries_pending ON deliveries (subject, destination, next_at) WHERE state = 'pending';

-- The number of the change that made the delivery pending. The numbers grow in the order of the commits, so that the
-- deliverer, which keeps the heads of the pairs in memory, reads each change once. The node has the last number, for
-- two processes that write to one database; a process alone counts in memory.
ALTER TABLE deliveries ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;
CREATE INDEX deliveries_news ON deliveries (revision) WHERE state = 'pending';
ALTER TABLE node ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;

-- A breaker belongs to a subject and a destination. The old ones have no subject; one that is lost opens again.
DROP TABLE breakers;
CREATE TABLE breakers (
    subject     TEXT    NOT NULL,
    destination TEXT    NOT NULL,
    openings    INTEGER NOT NULL CHECK (openings > 0),
    open_until  INTEGER NOT NULL,
    PRIMARY KEY (subject, destination)
) STRICT, WITHOUT ROWID;
CREATE INDEX breakers_expiring ON breakers (open_until);
