-- The ledger: one row per upstream attempt or tunnel. Columns are those of the SQLite ledger, so that rows move both ways.
-- Times are microseconds since 1970 in UTC, money is nano-dollars, NULL means unknown.
CREATE TABLE entry (
    id                  TEXT PRIMARY KEY,
    kind                TEXT   NOT NULL, -- call, tunnel
    host                TEXT   NOT NULL,
    host_source         TEXT   NOT NULL, -- key, claimed, address
    workload            TEXT   NOT NULL,
    key_alias           TEXT   NOT NULL,
    key_hash            TEXT   NOT NULL, -- SHA-256, or 'master'
    user_id             TEXT,
    team_id             TEXT,
    customer            TEXT,
    tags                TEXT,            -- JSON list
    endpoint            TEXT   NOT NULL,
    model_requested     TEXT   NOT NULL,
    model               TEXT   NOT NULL,
    provider            TEXT   NOT NULL,
    deployment_id       TEXT   NOT NULL,
    status              TEXT   NOT NULL,
    http_status         INTEGER,
    error               TEXT,
    usage               TEXT,            -- JSON, see wire::usage::Usage
    input_tokens        BIGINT,
    cache_read_tokens   BIGINT,
    cache_write_tokens  BIGINT,
    output_tokens       BIGINT,
    reasoning_tokens    BIGINT,
    cost_nanousd        BIGINT,
    reserved_nanousd    BIGINT,          -- what the budgets held for it; never part of the known cost
    cost_before_nanousd BIGINT,
    repriced_at         BIGINT,
    usage_source        TEXT   NOT NULL,
    price_source        TEXT   NOT NULL,
    price_name          TEXT,
    service_tier        TEXT,
    started_at          BIGINT NOT NULL,
    first_byte_at       BIGINT,
    ended_at            BIGINT NOT NULL,
    user_agent          TEXT,
    upstream_id         TEXT,
    destination         TEXT,
    bytes_up            BIGINT,
    bytes_down          BIGINT,
    gateway             TEXT             -- which gateway wrote it
);

CREATE INDEX entry_by_time ON entry (started_at);
CREATE INDEX entry_by_key ON entry (key_hash, started_at);

-- What each scope (`kind:id`) spent on calls that began in each quarter of an hour: always the sum of the rows, because it
-- changes in the rows' own transactions.
CREATE TABLE spend (
    scope        TEXT   NOT NULL,
    bucket       BIGINT NOT NULL, -- seconds since 1970 / 900
    cost_nanousd BIGINT NOT NULL, -- known cost
    held_nanousd BIGINT NOT NULL DEFAULT 0, -- what was reserved for calls whose cost nobody knows
    calls        BIGINT NOT NULL,
    PRIMARY KEY (scope, bucket)
);

-- Virtual keys. The key's text is never stored, only its hash.
CREATE TABLE virtual_key (
    hash   TEXT PRIMARY KEY,
    alias  TEXT UNIQUE,
    record JSONB NOT NULL -- see auth::KeyRecord
);

-- What carries limits beside keys: teams, users, budgets, tags and customers.
CREATE TABLE entity (
    kind   TEXT  NOT NULL,
    id     TEXT  NOT NULL,
    record JSONB NOT NULL,
    PRIMARY KEY (kind, id)
);
