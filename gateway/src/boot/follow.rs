//! Keys and entities of a database that several gateways share: what another changes is known here at once.

use std::sync::Arc;

use tokio::sync::broadcast::error::RecvError;

use crate::ledger::{Change, Ledger, LedgerError};
use crate::limits::LimitBook;

/// What a database that is away holds comes when it is back.
pub(super) fn unless_away<T>(read: Result<Vec<T>, LedgerError>) -> Result<Vec<T>, LedgerError> {
    match read {
        Err(error @ LedgerError::Away { .. }) => {
            tracing::warn!(%error, "no virtual key is known until the database is there");
            Ok(Vec::new())
        }
        read => read,
    }
}

/// Takes over what changes in the database, for as long as it is open.
pub(super) fn follow(ledger: &Ledger, book: &Arc<LimitBook>) {
    let Some(mut changes) = ledger.changes() else { return };
    let (ledger, book) = (ledger.clone(), Arc::clone(book));
    drop(tokio::spawn(async move {
        loop {
            match changes.recv().await {
                // Whoever missed some reads them all.
                Ok(Change::Everything | Change::Keys | Change::Entities) | Err(RecvError::Lagged(_)) => {}
                Ok(_) => continue,
                Err(RecvError::Closed) => return,
            }
            if let Err(error) = read(&ledger, &book).await {
                tracing::warn!(%error, "what was changed elsewhere is not known here yet");
            }
        }
    }));
}

/// Limits come into force before the keys that they bind are known.
async fn read(ledger: &Ledger, book: &LimitBook) -> Result<(), LedgerError> {
    let (keys, entities) = (ledger.keys().await?, ledger.entities().await?);
    book.directory.replace(entities);
    book.put_in_force(&keys.iter().cloned().map(Arc::new).collect::<Vec<_>>());
    book.keyring.replace(keys);
    Ok(())
}
