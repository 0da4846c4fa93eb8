-- Gateways that share this ledger.
CREATE TABLE gateway (
    id        TEXT PRIMARY KEY,
    name      TEXT NOT NULL,
    version   TEXT NOT NULL,
    address   TEXT NOT NULL,
    process   TEXT,                       -- who speaks for the id; NULL once its leases were written off
    last_seen TIMESTAMPTZ NOT NULL,
    turn      BIGINT NOT NULL DEFAULT 0,  -- the last exchange of leases that was committed, and what came of it:
    outcome   JSONB NOT NULL DEFAULT '[]' -- whoever did not hear of the commit reads it here
);

-- What each gateway may still spend without asking. `scope` is the money's scope in `spend`, NULL for what is not money (requests,
-- tokens, places). What has reached `spend` and all leases together never exceed the cap: a row and the lease that paid for it
-- change in one transaction.
CREATE TABLE lease (
    rule         TEXT   NOT NULL,
    window_start BIGINT NOT NULL, -- microseconds since 1970; the lowest number where there is no window
    window_end   BIGINT NOT NULL,
    gateway      TEXT   NOT NULL,
    scope        TEXT,
    counts_held  BOOLEAN NOT NULL DEFAULT true, -- calls of unknown cost count as what was reserved for them
    granted      BIGINT NOT NULL, -- what was granted and not returned
    amount       BIGINT NOT NULL, -- what of that is not yet in `spend`
    PRIMARY KEY (rule, window_start, gateway)
);

CREATE INDEX lease_by_gateway ON lease (gateway);
