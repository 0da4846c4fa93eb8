//! Where rows end up.

use std::fmt;
use std::sync::Arc;

use fleetgate_wire::egress::{EgressGroup, EgressSums};
use fleetgate_wire::row::Row;
use fleetgate_wire::seen::{Sighting, Straggler};
use fleetgate_wire::spend::{Group, Sums, UnpricedModel};
use fleetgate_wire::virtual_key::KeyHash;
use jiff::Timestamp;

use super::dimension::Dimension;
use super::egress::TunnelsOf;
use super::invitations::{Invitation, Redemption, StoredInvitation};
use super::journal::{Batch, Unreadable};
use super::keys::KeyChange;
use super::past_call::{PastCall, Place};
use super::postgres::Postgres;
use super::query::{BucketSpend, DaySpend, Filter, KeySpend};
use super::reprice::{Correction, Repricing};
use super::spend::Span;
use super::sqlite::Sqlite;
use super::transfer::{Line, Stored};

/// A database.
#[derive(Debug, Clone)]
pub(super) enum Store {
    /// One file beside the journal.
    Sqlite(Arc<Sqlite>),
    /// A server, which may be away.
    Postgres(Arc<Postgres>),
}

/// Why rows did not reach the database.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApplyError {
    /// The server or its connection.
    #[error(transparent)]
    Server(#[from] sqlx::Error),
    /// The file.
    #[error(transparent)]
    File(#[from] rusqlite::Error),
    /// The journal.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// The thread that wrote is gone.
    #[error("the writing thread ended: {0}")]
    Thread(#[from] tokio::task::JoinError),
}

impl Store {
    /// Writes rows and their sums in one transaction; rows that are there already change nothing. `done` is called with the
    /// commit.
    pub(super) async fn apply(&self, batch: Batch, done: impl FnOnce() + Send + 'static) -> Result<(), ApplyError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.apply(batch, done).await,
            Self::Postgres(postgres) => {
                let records = batch.records().collect::<Result<Vec<_>, _>>()?;
                Ok(postgres.apply(&records, done).await?)
            }
        }
    }

    pub(super) async fn rows(&self, filter: &Filter) -> Result<Vec<Row>, sqlx::Error> {
        match self {
            Self::Sqlite(sqlite) => sqlite.rows(filter).await,
            Self::Postgres(postgres) => postgres.rows(filter).await,
        }
    }

    pub(super) async fn spend_by_day(
        &self,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Result<Vec<DaySpend>, sqlx::Error> {
        match self {
            Self::Sqlite(sqlite) => sqlite.spend_by_day(since, until).await,
            Self::Postgres(postgres) => postgres.spend_by_day(since, until).await,
        }
    }

    pub(super) async fn spend(&self, by: &[Dimension], span: Span) -> Result<(Vec<Group>, Sums), sqlx::Error> {
        match self {
            Self::Sqlite(sqlite) => sqlite.spend(by, span).await,
            Self::Postgres(postgres) => postgres.spend(by, span).await,
        }
    }

    pub(super) async fn unpriced(&self, span: Span) -> Result<Vec<UnpricedModel>, sqlx::Error> {
        match self {
            Self::Sqlite(sqlite) => sqlite.unpriced(span).await,
            Self::Postgres(postgres) => postgres.unpriced(span).await,
        }
    }

    pub(super) async fn egress(&self, span: Span) -> Result<(Vec<EgressGroup>, EgressSums), sqlx::Error> {
        match self {
            Self::Sqlite(sqlite) => sqlite.egress(span).await,
            Self::Postgres(postgres) => postgres.egress(span).await,
        }
    }

    pub(super) async fn tunnel_bytes(&self, of: &TunnelsOf, since: Timestamp) -> Result<i64, sqlx::Error> {
        match self {
            Self::Sqlite(sqlite) => sqlite.tunnel_bytes(of, since).await,
            Self::Postgres(postgres) => postgres.tunnel_bytes(of, since).await,
        }
    }

    pub(super) async fn stragglers(&self, span: Span) -> Result<Vec<Straggler>, sqlx::Error> {
        match self {
            Self::Sqlite(sqlite) => sqlite.stragglers(span).await,
            Self::Postgres(postgres) => postgres.stragglers(span).await,
        }
    }

    pub(super) async fn sightings(&self) -> Result<Vec<Sighting>, sqlx::Error> {
        match self {
            Self::Sqlite(sqlite) => sqlite.sightings().await,
            Self::Postgres(postgres) => postgres.sightings().await,
        }
    }

    /// The next rows that may be priced anew, behind a place, in order.
    pub(super) async fn past_calls(
        &self,
        wanted: &Repricing,
        behind: &Place,
        most: usize,
    ) -> Result<Vec<(Place, Option<PastCall>)>, sqlx::Error> {
        match self {
            Self::Sqlite(sqlite) => sqlite.past_calls(wanted, behind, most).await,
            Self::Postgres(postgres) => postgres.past_calls(wanted, behind, most).await,
        }
    }

    /// Gives rows their new cost and the sums the difference, in one transaction. Gives back what took hold: a row whose cost is
    /// not what it was when it was read stays as it is.
    pub(super) async fn correct(
        &self,
        corrections: Vec<Correction>,
        at: Timestamp,
    ) -> Result<Vec<Correction>, sqlx::Error> {
        match self {
            Self::Sqlite(sqlite) => sqlite.correct(corrections, at).await,
            Self::Postgres(postgres) => postgres.correct(corrections, at).await,
        }
    }

    pub(super) async fn spend_of(&self, key_hash: &str) -> Result<KeySpend, sqlx::Error> {
        match self {
            Self::Sqlite(sqlite) => sqlite.spend_of(key_hash).await,
            Self::Postgres(postgres) => postgres.spend_of(key_hash).await,
        }
    }

    pub(super) async fn spent<R>(
        &self,
        scope: &str,
        since: Timestamp,
        until: Option<Timestamp>,
        read: impl FnOnce() -> R,
    ) -> Result<(Vec<BucketSpend>, R), sqlx::Error> {
        match self {
            Self::Sqlite(sqlite) => sqlite.spent(scope, since, until, read).await,
            Self::Postgres(postgres) => postgres.spent(scope, since, until, read).await,
        }
    }

    /// When the newest row ended.
    pub(super) async fn newest(&self) -> Result<Option<Timestamp>, sqlx::Error> {
        match self {
            Self::Sqlite(sqlite) => sqlite.newest().await,
            Self::Postgres(postgres) => postgres.newest().await,
        }
    }

    /// Deployment, reservation, cost and start of the newest calls that had a budget.
    pub(super) async fn used(&self, scope: &str, since: Timestamp) -> Result<(i64, i64), sqlx::Error> {
        match self {
            Self::Sqlite(sqlite) => sqlite.used(scope, since).await,
            Self::Postgres(postgres) => postgres.used(scope, since).await,
        }
    }

    pub(super) async fn reserved_and_spent(&self) -> Result<Vec<(String, i64, i64, i64)>, sqlx::Error> {
        match self {
            Self::Sqlite(sqlite) => sqlite.reserved_and_spent().await,
            Self::Postgres(postgres) => postgres.reserved_and_spent().await,
        }
    }

    pub(super) async fn keys(&self) -> Result<Vec<String>, sqlx::Error> {
        match self {
            Self::Sqlite(sqlite) => sqlite.keys().await,
            Self::Postgres(postgres) => postgres.keys().await,
        }
    }

    pub(super) async fn entities(&self) -> Result<Vec<String>, sqlx::Error> {
        match self {
            Self::Sqlite(sqlite) => sqlite.entities().await,
            Self::Postgres(postgres) => postgres.entities().await,
        }
    }

    pub(super) async fn totals(&self) -> Result<Vec<(String, i64)>, sqlx::Error> {
        match self {
            Self::Sqlite(sqlite) => sqlite.totals().await,
            Self::Postgres(postgres) => postgres.totals().await,
        }
    }

    pub(super) async fn change_key(&self, change: &KeyChange) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(sqlite) => sqlite.change_key(change).await,
            Self::Postgres(postgres) => postgres.change_key(change).await,
        }
    }

    pub(super) async fn add_invitation(
        &self,
        hash: &KeyHash,
        invitation: &Invitation,
        record: &str,
        ended_before: i64,
    ) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(sqlite) => sqlite.add_invitation(hash, invitation, record, ended_before).await,
            Self::Postgres(postgres) => postgres.add_invitation(hash, invitation, record, ended_before).await,
        }
    }

    pub(super) async fn invitations(&self) -> Result<Vec<StoredInvitation>, sqlx::Error> {
        match self {
            Self::Sqlite(sqlite) => sqlite.invitations().await,
            Self::Postgres(postgres) => postgres.invitations().await,
        }
    }

    pub(super) async fn find_invitation(&self, hash: &KeyHash) -> Result<Option<StoredInvitation>, sqlx::Error> {
        match self {
            Self::Sqlite(sqlite) => sqlite.find_invitation(hash).await,
            Self::Postgres(postgres) => postgres.find_invitation(hash).await,
        }
    }

    pub(super) async fn remove_invitation(&self, id: &str) -> Result<bool, sqlx::Error> {
        match self {
            Self::Sqlite(sqlite) => sqlite.remove_invitation(id).await,
            Self::Postgres(postgres) => postgres.remove_invitation(id).await,
        }
    }

    /// Takes one use and stores the key, in one transaction.
    pub(super) async fn redeem(&self, redemption: &Redemption) -> Result<bool, sqlx::Error> {
        match self {
            Self::Sqlite(sqlite) => sqlite.redeem(redemption).await,
            Self::Postgres(postgres) => postgres.redeem(redemption).await,
        }
    }

    /// Whole rows in the order of their identifiers, after this one.
    pub(super) async fn lines(&self, after: &str, most: i64) -> Result<Vec<Line>, sqlx::Error> {
        match self {
            Self::Sqlite(sqlite) => sqlite.lines(after, most).await,
            Self::Postgres(postgres) => postgres.lines(after, most).await,
        }
    }

    pub(super) async fn add_lines(&self, lines: &[Line]) -> Result<u64, sqlx::Error> {
        match self {
            Self::Sqlite(sqlite) => sqlite.add_lines(lines).await,
            Self::Postgres(postgres) => postgres.add_lines(lines).await,
        }
    }

    pub(super) async fn stored(&self) -> Result<Vec<Stored>, sqlx::Error> {
        match self {
            Self::Sqlite(sqlite) => sqlite.stored().await,
            Self::Postgres(postgres) => postgres.stored().await,
        }
    }

    pub(super) async fn keep(&self, thing: &Stored) -> Result<bool, sqlx::Error> {
        match self {
            Self::Sqlite(sqlite) => sqlite.keep(thing).await,
            Self::Postgres(postgres) => postgres.keep(thing).await,
        }
    }

    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite(sqlite) => sqlite.close().await,
            Self::Postgres(postgres) => postgres.close().await,
        }
    }

    /// Whether calls must stop while the database cannot take rows. A file beside the journal must take them: if it cannot, somebody
    /// has to look. A server may be away for hours.
    pub(super) fn must_be_there(&self) -> bool {
        match self {
            Self::Sqlite(_) => true,
            Self::Postgres(_) => false,
        }
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(sqlite) => sqlite.fmt(f),
            Self::Postgres(postgres) => postgres.fmt(f),
        }
    }
}
