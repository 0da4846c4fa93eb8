//! Many rows out of a few, with the sums that belong to them.

use std::path::Path;

use rusqlite::Connection;

/// How far back the rows reach.
pub(crate) const DAYS: usize = 90;

/// The kinds of scope that each row counts in, with the column that names them.
const SCOPES: [(&str, &str); 7] = [
    ("global", "'all'"),
    ("key", "key_hash"),
    ("host", "host"),
    ("workload", "workload"),
    ("model", "model_requested"),
    ("provider", "provider"),
    ("deployment", "deployment_id"),
];

/// Fills a ledger with so many copies of its rows, evenly over [`DAYS`] days until now. No gateway may have it open.
pub(crate) fn multiply(file: &Path, rows: usize) {
    let ledger = Connection::open(file).expect("the ledger opens");
    let mut columns = ledger.prepare("SELECT name FROM pragma_table_info('entry')").expect("a query");
    let columns: Vec<String> =
        columns.query_map([], |row| row.get(0)).expect("a query").map(|name| name.expect("a name")).collect();
    // A version 7 identifier: milliseconds, then what tells them apart.
    let moment = format!("(started_at - number * {})", DAYS * 86_400_000_000 / rows.max(1));
    let copies = columns.iter().map(|column| match column.as_str() {
        "id" => format!(
            "printf('%08x-%04x-7%03x-8%03x-%012x', {moment} / 1000 >> 16, {moment} / 1000 & 65535, number & 4095, \
             number >> 12 & 4095, number)"
        ),
        "started_at" => moment.clone(),
        "ended_at" => format!("ended_at - started_at + {moment}"),
        "first_byte_at" => format!("first_byte_at - started_at + {moment}"),
        column => column.to_owned(),
    });
    let (names, copies) = (columns.join(", "), copies.collect::<Vec<_>>().join(", "));
    let mut sql = format!(
        "BEGIN; CREATE TEMP TABLE first AS SELECT *, row_number() OVER () AS place FROM entry; DELETE FROM entry; DELETE FROM spend; \
         WITH RECURSIVE counted (number) AS (SELECT 0 UNION ALL SELECT number + 1 FROM counted WHERE number < {rows} - 1) \
         INSERT INTO entry ({names}) SELECT {copies} FROM counted \
         JOIN first ON first.place = 1 + counted.number % (SELECT count(*) FROM first);"
    );
    for (kind, column) in SCOPES {
        sql.push_str(&format!(
            "INSERT INTO spend (scope, bucket, cost_nanousd, calls) SELECT '{kind}:' || {column}, started_at / 900000000, \
             sum(coalesce(cost_nanousd, 0)), count(*) FROM entry GROUP BY 1, 2;"
        ));
    }
    sql.push_str("COMMIT; PRAGMA wal_checkpoint(TRUNCATE);");
    ledger.execute_batch(&sql).expect("the ledger takes the rows");
}
