-- The tokens and API keys that are refused although their signature or hash is valid. A row belongs to no execution.
CREATE TABLE revocations (
    kind   TEXT    NOT NULL, -- 'token', 'subject' or 'key'
    name   TEXT    NOT NULL, -- the "jti" of a token, a subject, or the id of an API key
    before INTEGER NOT NULL, -- of a subject: its tokens that were issued earlier are refused; otherwise 0
    until  INTEGER NOT NULL, -- the row is needed no longer; 0 for never
    PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;
