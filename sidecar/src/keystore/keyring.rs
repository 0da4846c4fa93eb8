//! The operating system's keyring. A hung or locked one costs at most two seconds and a clear message.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use fleetgate_wire::SecretString;
use keyring_core::{CredentialStore, Error};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// The service under which all our entries lie.
pub const SERVICE: &str = "fleetgate";
const LIMIT: Duration = Duration::from_secs(2);

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
    let (send, receive) = oneshot::channel();
    let user = name.to_owned();
    // A thread of its own: one that hangs in D-Bus must hold up neither the runtime nor its end.
    thread::Builder::new()
        .name("keyring".to_owned())
        .spawn(move || send.send(look_up(&user)))
        .map_err(|error| KeyringError::Unavailable(error.to_string()))?;
    match timeout(LIMIT, receive).await {
        Err(_) => Err(KeyringError::Hung),
        Ok(Err(_)) => Err(KeyringError::Unavailable("the look-up ended without an answer".to_owned())),
        Ok(Ok(result)) => result,
    }
}

fn look_up(user: &str) -> Result<SecretString, KeyringError> {
    let text = open_store()
        .and_then(|store| store.build(SERVICE, user, None))
        .and_then(|entry| entry.get_password())
        .map_err(|error| match error {
        Error::NoEntry => KeyringError::NoEntry(user.to_owned()),
        Error::NoStorageAccess(why) | Error::PlatformFailure(why) => KeyringError::Unavailable(why.to_string()),
        // The other kinds may carry the entry's bytes: nothing of them is shown.
        _ => KeyringError::Unavailable("the entry cannot be read as text".to_owned()),
    })?;
    Ok(SecretString::from(text))
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
