-- A delivery can be sent again: then its schedule begins anew behind the attempts made so far.
ALTER TABLE deliveries ADD COLUMN resumed INTEGER NOT NULL DEFAULT 0;

-- The subject is the execution's. It stands here too, so that a list of one subject is one walk along one index.
ALTER TABLE deliveries ADD COLUMN subject TEXT NOT NULL DEFAULT '';
UPDATE deliveries SET subject = (SELECT subject FROM executions WHERE seq = execution);

CREATE INDEX deliveries_of_all ON deliveries (state, created_at, execution, destination);
CREATE INDEX deliveries_of_subject ON deliveries (subject, state, created_at, execution, destination);
