//! Keys and entities of a database that several gateways share: what another changes is known here at once.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Mutex;
use tokio::sync::broadcast::error::RecvError;

use crate::auth::KeyRecord;
use crate::ledger::{Change, Ledger, LedgerError};
use crate::limits::LimitBook;

/// Where a database is away at the start, what it last held must do until it is back.
pub(super) fn unless_away<T>(
    read: Result<Vec<T>, LedgerError>,
    remembered: impl FnOnce() -> Vec<T>,
) -> Result<Vec<T>, LedgerError> {
    match read {
        Err(error @ LedgerError::Away { .. }) => {
            let remembered = remembered();
            tracing::warn!(%error, records = remembered.len(), "going on with what the database last said");
            Ok(remembered)
        }
        read => read,
    }
}

/// Takes over what changes in the database, for as long as it is open. `changing` is held meanwhile: what is read must not take the
/// place of something newer.
pub(super) fn follow(ledger: &Ledger, book: &Arc<LimitBook>, changing: Arc<Mutex<()>>) {
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
            let _changing = changing.lock().await;
            if let Err(error) = read(&ledger, &book).await {
                tracing::warn!(%error, "what was changed elsewhere is not known here yet");
            }
        }
    }));
}

/// How often keys that were replaced, and whose time is over, are looked for.
const FORGET_EVERY: Duration = Duration::from_secs(60);

/// Deletes keys that were replaced, once their time is over. They are refused from then on in any case.
pub(super) async fn forget_replaced(ledger: Ledger, book: Arc<LimitBook>, changing: Arc<Mutex<()>>) {
    loop {
        tokio::time::sleep(FORGET_EVERY).await;
        let now = Timestamp::now();
        let over = |key: &KeyRecord| key.replaced_by.is_some() && key.expires.is_some_and(|expires| expires <= now);
        let over: Vec<_> = book.keyring.all().into_iter().filter(|key| over(key)).map(|key| key.token).collect();
        if over.is_empty() {
            continue;
        }
        let _changing = changing.lock().await;
        let forgotten = async {
            ledger.delete_keys(over).await?;
            read(&ledger, &book).await
        };
        if let Err(error) = forgotten.await {
            tracing::warn!(%error, "keys that were replaced are still listed; they are not accepted any more");
        }
    }
}

/// Limits come into force before the keys that they bind are known.
async fn read(ledger: &Ledger, book: &LimitBook) -> Result<(), LedgerError> {
    let (keys, entities) = (ledger.keys().await?, ledger.entities().await?);
    book.directory.replace(entities);
    book.put_in_force(&keys.iter().cloned().map(Arc::new).collect::<Vec<_>>());
    book.keyring.replace(keys);
    Ok(())
}
