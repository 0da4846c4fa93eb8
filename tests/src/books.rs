//! What the ledger holds in the end, against what clients and provider saw, and the three places that say what a key spent.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::time::Duration;

use fleetgate_wire::row::Row;

use crate::Gateway;
use crate::load::{Made, arrived, number_of};
use crate::upstream::Upstream;
use crate::wait::eventually;

/// All rows of a gateway's ledger.
#[derive(Debug)]
pub struct Books(pub BTreeMap<String, Row>);

/// What must be nothing at all.
#[derive(Debug, PartialEq, Eq)]
pub struct Faults {
    /// Answers that a client read to the end and that have no row which says so.
    pub answers_without_row: usize,
    /// Calls that reached the provider and have no row.
    pub calls_without_row: usize,
    /// Rows of calls that nobody made.
    pub rows_never_made: usize,
    /// Calls that have more than one row.
    pub calls_with_two_rows: usize,
}

impl Faults {
    /// As it must be.
    pub const NONE: Self =
        Self { answers_without_row: 0, calls_without_row: 0, rows_never_made: 0, calls_with_two_rows: 0 };
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "answers without a row: {}; calls without a row: {}; rows of calls never made: {}; calls with two rows: {}",
            self.answers_without_row, self.calls_without_row, self.rows_never_made, self.calls_with_two_rows
        )
    }
}

impl Books {
    /// Reads all rows, page by page.
    ///
    /// # Panics
    /// When the gateway does not show them.
    pub async fn of(gw: &Gateway) -> Self {
        let mut rows = BTreeMap::new();
        let mut until = String::new();
        loop {
            let page = gw.admin_get(&format!("/api/logs?limit=10000{until}")).await;
            let page: Vec<Row> = serde_json::from_value(page["rows"].clone()).expect("rows");
            let before = rows.len();
            // The last one's own microsecond may be cut by the page's end: it is asked for again.
            if let Some(last) = page.last() {
                let moment: jiff::Timestamp = last.started_at.parse().expect("a time");
                until = format!("&until={}", moment + Duration::from_micros(1));
            }
            rows.extend(page.into_iter().map(|row| (row.request_id.clone(), row)));
            if rows.len() == before {
                return Self(rows);
            }
        }
    }

    /// Holds the rows of a load against what its clients and the provider saw.
    #[must_use]
    pub fn faults(&self, made: &Made, upstream: &Upstream) -> Faults {
        let rows = &self.0;
        let told: HashSet<usize> = rows.values().map(number_of).collect();
        let is_missing = |id: &&String| rows.get(*id).is_none_or(|row| row.status != "success");
        Faults {
            answers_without_row: made.finished.values().filter(is_missing).count(),
            calls_without_row: arrived(upstream).difference(&told).count(),
            rows_never_made: told.difference(&made.sent).count(),
            calls_with_two_rows: rows.len() - told.len(),
        }
    }

    /// Rows with this status.
    #[must_use]
    pub fn count(&self, status: &str) -> usize {
        self.0.values().filter(|row| row.status == status).count()
    }
}

/// What a key spent, in nano-dollars, as each place that knows it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    /// The sum of its rows' known cost.
    pub rows: i64,
    /// What was reserved for its rows without a known cost.
    pub held: i64,
    /// `/key/info`.
    pub info: i64,
    /// Its budget in `/api/budgets`: the known cost, and what was reserved where nobody knows it. With several gateways, of all of
    /// them.
    pub budget: i64,
}

impl Spent {
    /// Asks a gateway about one of its keys.
    ///
    /// # Panics
    /// When the key has no budget.
    pub async fn of(gw: &Gateway, key: &str) -> Self {
        // Asked with the key itself, the answer names its hash.
        let info = gw.get("/key/info").bearer(key).send().await.expect(200).json();
        let hash = info["key"].as_str().expect("a key has a hash").to_owned();
        let books = Books::of(gw).await.0;
        let rows = || books.values().filter(|row| row.key_hash == hash);
        let scope = format!("key:{hash}");
        // What was spent before the gateway's start is read after it.
        let budget = eventually("the budget is read", async || {
            let budgets = gw.admin_get("/api/budgets").await["budgets"].take();
            let mut budgets = budgets.as_array().into_iter().flatten();
            let budget = budgets.find(|budget| budget["scope"] == scope.as_str()).expect("the key has a budget");
            (budget["is_loading"] == false).then(|| budget["spent_nanousd"].as_i64().expect("nano-dollars"))
        })
        .await;
        #[allow(clippy::cast_possible_truncation, reason = "dollars of a test are few")]
        let info = (info["info"]["spend"].as_f64().expect("a key tells its spend") * 1e9).round() as i64;
        Self {
            rows: rows().filter_map(|row| row.cost_nanousd).sum(),
            held: rows().filter(|row| row.cost_nanousd.is_none()).filter_map(|row| row.reserved_nanousd).sum(),
            info,
            budget,
        }
    }
}

impl fmt::Display for Spent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rows, held, info, budget } = self;
        write!(f, "nano-dollars: rows {rows} (and {held} of unknown cost), /key/info {info}, /api/budgets {budget}")
    }
}
