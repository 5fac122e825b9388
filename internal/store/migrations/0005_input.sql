-- What a submission asked for that is no secret: a JSON object, NULL for nothing.
ALTER TABLE executions ADD COLUMN options TEXT;

-- Sealed: arguments, stdin and files.
ALTER TABLE programs ADD COLUMN input BLOB;
