//! The operating system's keyring. A hung or locked one costs at most two seconds and a clear message.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use fleetgate_wire::{ExposeSecret, SecretString};
use keyring_core::{CredentialStore, Entry, Error};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// The service under which all our entries lie.
pub const SERVICE: &str = "fleetgate";
const LIMIT: Duration = Duration::from_secs(2);
/// Questions that may be without an answer at once. Each holds a thread, and one that hangs never gives it back.
const MOST_WAITING: usize = 8;
static WAITING: AtomicUsize = AtomicUsize::new(0);

/// Why the keyring gave no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// Nobody stored one.
    #[error("the keyring has no entry of service \"{SERVICE}\" for user {0:?}")]
    NoEntry(String),
    /// It does not answer; usually it waits for a person to unlock it.
    #[error(
        "the keyring did not answer within 2 s (locked, or waiting for a prompt); use a file: reference on headless machines"
    )]
    Hung,
    /// There is none here.
    #[error("no keyring in this session ({0}); use a file: or credential: reference on headless machines")]
    Unavailable(String),
}

/// Reads one entry.
///
/// # Errors
/// When there is no keyring, no entry, or no answer in time.
pub(super) async fn read(name: &str) -> Result<SecretString, KeyringError> {
    within_limit(name, |entry| entry.get_password().map(SecretString::from)).await
}

/// Stores one entry, in place of what was there.
///
/// # Errors
/// When there is no keyring, or no answer in time.
pub(super) async fn write(name: &str, text: SecretString) -> Result<(), KeyringError> {
    within_limit(name, move |entry| entry.set_password(text.expose_secret())).await
}

/// Removes one entry.
///
/// # Errors
/// When there is no keyring, no entry, or no answer in time.
pub(super) async fn delete(name: &str) -> Result<(), KeyringError> {
    within_limit(name, |entry| entry.delete_credential()).await
}

async fn within_limit<T: Send + 'static>(
    name: &str,
    work: impl FnOnce(&Entry) -> keyring_core::Result<T> + Send + 'static,
) -> Result<T, KeyringError> {
    if WAITING.fetch_add(1, Ordering::Relaxed) >= MOST_WAITING {
        WAITING.fetch_sub(1, Ordering::Relaxed);
        return Err(KeyringError::Hung);
    }
    let (send, receive) = oneshot::channel();
    let user = name.to_owned();
    // A thread of its own: one that hangs in D-Bus must hold up neither the runtime nor its end.
    let spawned = thread::Builder::new().name("keyring".to_owned()).spawn(move || {
        let done = open_store().and_then(|store| store.build(SERVICE, &user, None)).and_then(|entry| work(&entry));
        WAITING.fetch_sub(1, Ordering::Relaxed);
        // Whoever asked may have given up.
        let _unheard = send.send(done.map_err(|error| translate(error, user)));
    });
    if let Err(error) = spawned {
        WAITING.fetch_sub(1, Ordering::Relaxed);
        return Err(KeyringError::Unavailable(error.to_string()));
    }
    match timeout(LIMIT, receive).await {
        Err(_) => Err(KeyringError::Hung),
        Ok(Err(_)) => Err(KeyringError::Unavailable("the look-up ended without an answer".to_owned())),
        Ok(Ok(result)) => result,
    }
}

fn translate(error: Error, user: String) -> KeyringError {
    match error {
        Error::NoEntry => KeyringError::NoEntry(user),
        Error::NoStorageAccess(why) | Error::PlatformFailure(why) => KeyringError::Unavailable(why.to_string()),
        // The other kinds may carry the entry's bytes: nothing of them is shown.
        _ => KeyringError::Unavailable("the entry cannot be read as text".to_owned()),
    }
}

/// Whether there could be a keyring at all. Where there is no session bus, asking takes time and gives nothing.
#[must_use]
pub(super) fn may_exist() -> bool {
    if cfg!(target_os = "macos") {
        return true;
    }
    let bus = std::env::var_os("XDG_RUNTIME_DIR").map(|directory| std::path::Path::new(&directory).join("bus"));
    std::env::var_os("DBUS_SESSION_BUS_ADDRESS").is_some() || bus.is_some_and(|bus| bus.exists())
}

#[cfg(target_os = "linux")]
fn open_store() -> keyring_core::Result<Arc<CredentialStore>> {
    zbus_secret_service_keyring_store::Store::new().map(|store| store as Arc<CredentialStore>)
}

#[cfg(target_os = "macos")]
fn open_store() -> keyring_core::Result<Arc<CredentialStore>> {
    apple_native_keyring_store::keychain::Store::new().map(|store| store as Arc<CredentialStore>)
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn open_store() -> keyring_core::Result<Arc<CredentialStore>> {
    Err(Error::NotSupportedByStore("no keyring on this system".to_owned()))
}
