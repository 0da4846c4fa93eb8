-- What carries limits beside keys: teams, users, budgets, tags and customers.
CREATE TABLE entity (
    kind   TEXT NOT NULL, -- team, user, budget, tag, customer
    id     TEXT NOT NULL,
    record TEXT NOT NULL, -- JSON, see auth::EntityRecord
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;
