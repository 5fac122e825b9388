-- The word of the field: a run has a container.
ALTER TABLE runs RENAME COLUMN berth TO container;
