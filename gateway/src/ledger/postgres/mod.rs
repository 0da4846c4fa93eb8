//! The ledger in PostgreSQL, which several gateways may share. The server may be away at any time, at the start too: then rows wait
//! in the journal.

mod apply;
mod connect;
mod identity;
mod invitations;
mod keys;
pub(super) mod lease;
mod listen;
mod member;
mod query;
mod spend;
mod task;
#[cfg(test)]
mod tests;
mod transfer;

use std::fmt;
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::{Mutex, OnceCell, broadcast};

use crate::config::PostgresUrl;

pub use identity::IdentityError;
pub(super) use identity::{FILE_NAME, GatewayId};
pub use lease::{Leasable, Return, Share, Wish};
pub use listen::Change;
pub(super) use task::Leases;

/// Longer than this no batch takes: a server that vanished without a word must not hold the rows up for ever.
const LONGEST: Duration = Duration::from_secs(60);
/// Changes that may wait for somebody who listens. Whoever misses some reads everything anew.
const CHANGES: usize = 256;

/// A database on a server.
#[derive(Debug)]
pub(super) struct Postgres {
    url: PostgresUrl,
    gateway: GatewayId,
    pool: OnceCell<PgPool>,
    /// Held while rows are written, so that whoever holds it knows that this gateway's do not change meanwhile.
    writing: Mutex<()>,
    changes: broadcast::Sender<Change>,
}

/// Shown without credentials.
impl fmt::Display for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
}

impl Postgres {
    /// A handle. Nothing is connected yet.
    pub(super) fn new(url: PostgresUrl, gateway: GatewayId) -> Self {
        let (changes, _) = broadcast::channel(CHANGES);
        Self { url, gateway, pool: OnceCell::new(), writing: Mutex::default(), changes }
    }

    /// Changes that other gateways, or this one, made. Nothing comes before [`Postgres::listen`] runs.
    pub(super) fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    /// Lets go of all connections.
    pub(super) async fn close(&self) {
        if let Some(pool) = self.pool.get() {
            pool.close().await;
        }
    }
}
