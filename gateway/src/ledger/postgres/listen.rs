//! What other gateways changed, heard as soon as it is committed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgListener;

use super::Postgres;

/// The channel. It is the database's, so other schemas' gateways may hear it: they read something anew for nothing.
pub(super) const CHANGE: &str = "fleetgate_change";
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(5);

/// Something to read anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Whatever there is: nobody listened for a while.
    Everything,
    /// The virtual keys.
    Keys,
    /// Teams, users, budgets, tags or customers.
    Entities,
    /// What was set while the gateways ran.
    Settings,
    /// A gateway needs funds of this rule that others have leased.
    Shortage {
        /// The gateway.
        gateway: String,
        /// The rule.
        rule: String,
    },
    /// There are funds of this rule again.
    Funds {
        /// The rule.
        rule: String,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("everything"),
            Self::Keys => f.write_str("keys"),
            Self::Entities => f.write_str("entities"),
            Self::Settings => f.write_str("settings"),
            Self::Shortage { gateway, rule } => write!(f, "shortage {gateway} {rule}"),
            Self::Funds { rule } => write!(f, "funds {rule}"),
        }
    }
}

impl Change {
    /// Reads a payload. One that a newer version sent means everything.
    fn parse(text: &str) -> Self {
        match text.split_once(' ') {
            Some(("shortage", rest)) => rest.split_once(' ').map_or(Self::Everything, |(gateway, rule)| {
                Self::Shortage { gateway: gateway.to_owned(), rule: rule.to_owned() }
            }),
            Some(("funds", rule)) => Self::Funds { rule: rule.to_owned() },
            _ => match text {
                "keys" => Self::Keys,
                "entities" => Self::Entities,
                "settings" => Self::Settings,
                _ => Self::Everything,
            },
        }
    }
}

impl Postgres {
    /// Listens for ever. After each new connection, what was missed is [`Change::Everything`].
    pub(in crate::ledger) async fn listen(self: Arc<Self>) {
        let mut retry = FIRST_RETRY;
        loop {
            match self.listen_once(&mut retry).await {
                Ok(()) => {}
                Err(error) => tracing::debug!(database = %self.url, %error, "cannot listen for changes"),
            }
            tokio::time::sleep(retry).await;
            retry = (retry * 2).min(LONGEST_RETRY);
        }
    }

    /// Until the connection breaks.
    async fn listen_once(&self, retry: &mut Duration) -> Result<(), sqlx::Error> {
        let mut listener = PgListener::connect_with(self.pool().await?).await?;
        listener.listen(CHANGE).await?;
        *retry = FIRST_RETRY;
        self.publish(Change::Everything);
        while let Some(notification) = listener.try_recv().await? {
            self.publish(Change::parse(notification.payload()));
        }
        Ok(())
    }

    fn publish(&self, change: Change) {
        // Nobody may be interested.
        let _unheard = self.changes.send(change);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_read_as_it_was_written() {
        for change in [
            Change::Everything,
            Change::Keys,
            Change::Entities,
            Change::Settings,
            Change::Shortage { gateway: "g".into(), rule: "team:a b 30d".into() },
            Change::Funds { rule: "key:x".into() },
        ] {
            assert_eq!(Change::parse(&change.to_string()), change);
        }
        assert_eq!(Change::parse("of a newer version"), Change::Everything);
    }
}
