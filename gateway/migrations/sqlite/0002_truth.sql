-- What a row needs for budgets, for being explained, and for being priced anew.
ALTER TABLE entry ADD COLUMN team_id TEXT;
ALTER TABLE entry ADD COLUMN customer TEXT;
ALTER TABLE entry ADD COLUMN tags TEXT;                -- JSON list
ALTER TABLE entry ADD COLUMN usage TEXT;               -- JSON, see wire::usage::Usage
ALTER TABLE entry ADD COLUMN price_name TEXT;          -- the catalogue's row, or the entry's id
ALTER TABLE entry ADD COLUMN service_tier TEXT;
ALTER TABLE entry ADD COLUMN reserved_nanousd INTEGER; -- what the budgets held for it; never part of the known cost
ALTER TABLE entry ADD COLUMN cost_before_nanousd INTEGER;
ALTER TABLE entry ADD COLUMN repriced_at INTEGER;
ALTER TABLE entry ADD COLUMN gateway TEXT;

-- What each scope (`kind:id`) spent on calls that began in each quarter of an hour: always the sum of the rows, because it
-- changes in the rows' own transactions.
CREATE TABLE spend (
    scope        TEXT    NOT NULL,
    bucket       INTEGER NOT NULL, -- seconds since 1970 / 900
    cost_nanousd INTEGER NOT NULL, -- known cost
    held_nanousd INTEGER NOT NULL DEFAULT 0, -- what was reserved for calls whose cost nobody knows
    calls        INTEGER NOT NULL,
    PRIMARY KEY (scope, bucket)
) STRICT, WITHOUT ROWID;

INSERT INTO spend (scope, bucket, cost_nanousd, calls)
SELECT scope, bucket, sum(cost), count(*) FROM (
    SELECT 'global:all' AS scope, started_at / 900000000 AS bucket, coalesce(cost_nanousd, 0) AS cost FROM entry WHERE kind = 'call'
    UNION ALL SELECT 'key:' || key_hash, started_at / 900000000, coalesce(cost_nanousd, 0) FROM entry WHERE kind = 'call'
    UNION ALL SELECT 'host:' || host, started_at / 900000000, coalesce(cost_nanousd, 0) FROM entry WHERE kind = 'call'
    UNION ALL SELECT 'workload:' || workload, started_at / 900000000, coalesce(cost_nanousd, 0) FROM entry WHERE kind = 'call'
    UNION ALL SELECT 'model:' || model_requested, started_at / 900000000, coalesce(cost_nanousd, 0) FROM entry WHERE kind = 'call'
    UNION ALL SELECT 'provider:' || provider, started_at / 900000000, coalesce(cost_nanousd, 0) FROM entry WHERE kind = 'call'
    UNION ALL SELECT 'deployment:' || deployment_id, started_at / 900000000, coalesce(cost_nanousd, 0) FROM entry WHERE kind = 'call'
    UNION ALL SELECT 'user:' || user_id, started_at / 900000000, coalesce(cost_nanousd, 0) FROM entry WHERE kind = 'call' AND user_id IS NOT NULL
    UNION ALL SELECT 'key_model:' || key_hash || '/' || model_requested, started_at / 900000000, coalesce(cost_nanousd, 0) FROM entry WHERE kind = 'call'
) GROUP BY scope, bucket;
