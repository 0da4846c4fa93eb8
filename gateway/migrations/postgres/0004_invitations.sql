-- Invitations: what lets a machine without a key ask for one. Only the token's hash is here.
CREATE TABLE invitation (
    id         TEXT   PRIMARY KEY,
    hash       TEXT   NOT NULL UNIQUE, -- SHA-256 of the token
    uses_left  BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,        -- microseconds since 1970
    record     JSONB  NOT NULL         -- see ledger::Invitation
);

-- Which machine used which invitation: one invitation serves each label once.
CREATE TABLE enrolment (
    invitation TEXT   NOT NULL,
    host       TEXT   NOT NULL,
    key_hash   TEXT   NOT NULL,
    at         BIGINT NOT NULL,
    PRIMARY KEY (invitation, host)
);
