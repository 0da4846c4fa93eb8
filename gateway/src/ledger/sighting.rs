//! Where providers' own keys were seen, summed up from the rows that tell of it, in the rows' own transactions.

use fleetgate_wire::seen::Sighting;
use foldhash::HashMap;
use sqlx::{ColumnIndex, Decode, Row, Type};

use super::record::Record;
use super::rows::time;
use super::sums::unsigned;
use super::{Ledger, LedgerError};

/// The place of all sightings that calls make: the key is in use.
pub(super) const LIVE: &str = "live";

/// What [`read`] reads, the latest first.
pub(super) const LIST: &str = "SELECT provider, fingerprint, host, workload, process, place, first_seen, last_seen, count \
                               FROM sighting ORDER BY last_seen DESC, fingerprint, host, workload, process LIMIT 10000";

impl Ledger {
    /// Where providers' own keys were seen, the latest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn sightings(&self) -> Result<Vec<Sighting>, LedgerError> {
        self.catch_up().await;
        self.store.sightings().await.map_err(|error| self.unavailable(&error))
    }
}

/// Reads one.
pub(super) fn read<'r, R: Row>(row: &'r R) -> Result<Sighting, sqlx::Error>
where
    usize: ColumnIndex<R>,
    i64: Type<R::Database> + Decode<'r, R::Database>,
    String: Type<R::Database> + Decode<'r, R::Database>,
{
    let process: String = row.try_get(4)?;
    Ok(Sighting {
        provider: row.try_get(0)?,
        fingerprint: row.try_get(1)?,
        host: row.try_get(2)?,
        workload: row.try_get(3)?,
        process: Some(process).filter(|process| !process.is_empty()),
        place: row.try_get(5)?,
        first_seen: time(row.try_get(6)?),
        last_seen: time(row.try_get(7)?),
        count: unsigned(row.try_get(8)?),
    })
}

/// Sightings by place.
#[derive(Debug, Default)]
pub(super) struct Sightings(HashMap<[String; 5], Seen>);

/// Whose key, which one, and who showed it. An unknown process is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place<'a> {
    pub(super) provider: &'a str,
    pub(super) fingerprint: &'a str,
    pub(super) host: &'a str,
    pub(super) workload: &'a str,
    pub(super) process: &'a str,
}

/// When, in microseconds since 1970, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) count: i64,
}

impl Sightings {
    /// Takes what a row tells.
    pub(super) fn add(&mut self, record: &Record<'_>) {
        let sighting = record.provenance.sighting.and_then(|text| text.split_once(':'));
        let Some((provider, fingerprint)) = sighting else { return };
        let process = record.provenance.process.unwrap_or_default();
        let place = [provider, fingerprint, record.host, record.workload, process].map(str::to_owned);
        let at = record.started_at;
        let seen = self.0.entry(place).or_insert(Seen { first: at, last: at, count: 0 });
        *seen = Seen { first: seen.first.min(at), last: seen.last.max(at), count: seen.count + 1 };
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Place<'_>, Seen)> {
        self.0.iter().map(|([provider, fingerprint, host, workload, process], seen)| {
            (Place { provider, fingerprint, host, workload, process }, *seen)
        })
    }
}
