-- Invitations: what lets a machine without a key ask for one. Only the token's hash is here.
CREATE TABLE invitation (
    id         TEXT    PRIMARY KEY,
    hash       TEXT    NOT NULL UNIQUE, -- SHA-256 of the token
    uses_left  INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,        -- microseconds since 1970
    record     TEXT    NOT NULL         -- JSON, see ledger::Invitation
) STRICT, WITHOUT ROWID;

-- Which machine used which invitation: one invitation serves each label once.
CREATE TABLE enrolment (
    invitation TEXT    NOT NULL,
    host       TEXT    NOT NULL,
    key_hash   TEXT    NOT NULL,
    at         INTEGER NOT NULL,
    PRIMARY KEY (invitation, host)
) STRICT, WITHOUT ROWID;
