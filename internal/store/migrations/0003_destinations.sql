-- What is due is looked for destination by destination, so what waits for one of them costs the others nothing.
DROP INDEX deliveries_pending;
CREATE INDEX deliveries_pending ON deliveries (destination, next_at) WHERE state = 'pending';

-- Destinations that are left alone, or were until the next probe.
CREATE TABLE breakers (
    destination TEXT    PRIMARY KEY,
    openings    INTEGER NOT NULL CHECK (openings > 0),
    open_until  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
