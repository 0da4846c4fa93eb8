-- The ledger: one row per upstream attempt or tunnel. Rows are only ever added.
-- Times are microseconds since 1970 in UTC, money is nano-dollars, NULL means unknown.
CREATE TABLE entry (
    id                 TEXT PRIMARY KEY,
    kind               TEXT    NOT NULL, -- call, tunnel
    host               TEXT    NOT NULL,
    host_source        TEXT    NOT NULL, -- key, claimed, address
    workload           TEXT    NOT NULL,
    key_alias          TEXT    NOT NULL,
    key_hash           TEXT    NOT NULL, -- SHA-256, or 'master'
    user_id            TEXT,
    endpoint           TEXT    NOT NULL,
    model_requested    TEXT    NOT NULL,
    model              TEXT    NOT NULL,
    provider           TEXT    NOT NULL,
    deployment_id      TEXT    NOT NULL,
    status             TEXT    NOT NULL,
    http_status        INTEGER,
    error              TEXT,
    input_tokens       INTEGER,
    cache_read_tokens  INTEGER,
    cache_write_tokens INTEGER,
    output_tokens      INTEGER,
    reasoning_tokens   INTEGER,
    cost_nanousd       INTEGER,
    usage_source       TEXT    NOT NULL, -- provider, none
    price_source       TEXT    NOT NULL, -- provider, override, catalogue, free, unpriced
    started_at         INTEGER NOT NULL,
    first_byte_at      INTEGER,
    ended_at           INTEGER NOT NULL,
    user_agent         TEXT,
    upstream_id        TEXT,
    destination        TEXT,
    bytes_up           INTEGER,
    bytes_down         INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX entry_by_time ON entry (started_at);
CREATE INDEX entry_by_key ON entry (key_hash, started_at);

-- Virtual keys. The key's text is never stored, only its hash.
CREATE TABLE virtual_key (
    hash   TEXT PRIMARY KEY,
    alias  TEXT UNIQUE,
    record TEXT NOT NULL -- JSON, see auth::KeyRecord
) STRICT, WITHOUT ROWID;
