-- What is known of the program and the machine behind a call, beside their names.
ALTER TABLE entry ADD COLUMN process TEXT;   -- executable, unit or container, as the sidecar found it
ALTER TABLE entry ADD COLUMN os_user TEXT;
ALTER TABLE entry ADD COLUMN marks TEXT;     -- JSON list of fallback_key, host_mismatch, raw_provider_key
ALTER TABLE entry ADD COLUMN host_seen TEXT; -- what the mesh or the sidecar calls the machine, where that differs
ALTER TABLE entry ADD COLUMN sighting TEXT;  -- a provider's own key that was shown: provider:fingerprint

CREATE INDEX entry_marked ON entry (started_at) WHERE marks IS NOT NULL;

-- Where providers' own keys were seen: always the sum of the rows that tell of it, because it changes in the rows' own
-- transactions.
CREATE TABLE sighting (
    provider    TEXT    NOT NULL,
    fingerprint TEXT    NOT NULL, -- the first 16 digits of the key's SHA-256
    host        TEXT    NOT NULL,
    workload    TEXT    NOT NULL,
    process     TEXT    NOT NULL, -- empty when it is unknown
    place       TEXT    NOT NULL, -- live: in a call
    first_seen  INTEGER NOT NULL, -- microseconds since 1970
    last_seen   INTEGER NOT NULL,
    count       INTEGER NOT NULL,
    PRIMARY KEY (fingerprint, provider, host, workload, process, place)
) STRICT, WITHOUT ROWID;
