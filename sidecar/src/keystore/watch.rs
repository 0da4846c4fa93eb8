//! Keeps the keys fresh: calls read a snapshot, a task in the background replaces it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use fleetgate_wire::host::HostLabel;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::hosts_file::HostsFileError;
use super::snapshot::HostKeys;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often places without a file (a keyring that was locked, say) are tried again while a key is missing.
const RETRY_EVERY: Duration = Duration::from_secs(30);
/// The gateway's refusals make us read again no more often than this.
const REFUSED_PAUSE: Duration = Duration::from_secs(5);
/// How often a host that lives on the fallback key is reminded of it.
const REMIND_EVERY: Duration = Duration::from_secs(24 * 3600);

/// This host's keys, always those of the last good reading.
#[derive(Debug)]
pub struct KeyStore {
    hosts_file: PathBuf,
    label: HostLabel,
    keys: ArcSwap<HostKeys>,
    asked: Notify,
    /// When a refusal of the gateway last made us read again.
    refused_at: Mutex<Option<Instant>>,
}

impl KeyStore {
    /// Reads everything for the first time.
    ///
    /// # Errors
    /// When `hosts.toml` is unreadable or invalid.
    pub async fn open(hosts_file: &Path, label: &HostLabel) -> Result<Self, HostsFileError> {
        let keys = HostKeys::load(hosts_file, label).await?;
        report(&keys);
        Ok(Self {
            hosts_file: hosts_file.to_owned(),
            label: label.clone(),
            keys: ArcSwap::from_pointee(keys),
            asked: Notify::new(),
            refused_at: Mutex::default(),
        })
    }

    /// The keys of this moment.
    #[must_use]
    pub fn current(&self) -> Arc<HostKeys> {
        self.keys.load_full()
    }

    /// The file that says where the keys lie.
    #[must_use]
    pub fn hosts_file(&self) -> &Path {
        &self.hosts_file
    }

    /// Asks the watching task to read everything again now.
    pub fn reload_soon(&self) {
        self.asked.notify_one();
    }

    /// The gateway does not know the key of a call: it may have been exchanged in a place that no file shows. Once in a while, since
    /// a key that is simply wrong is refused on every call.
    pub fn refused(&self) {
        let mut last = self.refused_at.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| last.elapsed() >= REFUSED_PAUSE) {
            *last = Some(Instant::now());
            self.asked.notify_one();
        }
    }

    /// Reads again whenever a file changes or somebody asks. Never ends.
    pub async fn watch(&self) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = stamps(&self.current().files());
        let mut read_at = Instant::now();
        let mut reminded_at = Instant::now();
        loop {
            let asked = tokio::select! {
                _ = ticks.tick() => false,
                () = self.asked.notified() => true,
            };
            let current = self.current();
            let now = stamps(&current.files());
            if reminded_at.elapsed() >= REMIND_EVERY {
                warn_of_fallback(&current);
                reminded_at = Instant::now();
            }
            let retry = read_at.elapsed() >= RETRY_EVERY && !current.problems().is_empty();
            if asked || retry || now != seen {
                self.reload(!retry || asked).await;
                // The files may be others now. What changed while we read shows up as a difference next time.
                let files = self.current().files();
                seen = if files == current.files() { now } else { stamps(&files) };
                read_at = Instant::now();
            }
        }
    }

    async fn reload(&self, loud: bool) {
        match HostKeys::load(&self.hosts_file, &self.label).await {
            Ok(keys) => {
                if loud {
                    tracing::info!(file = %self.hosts_file.display(), "keys read again");
                    report(&keys);
                }
                self.keys.store(Arc::new(keys));
            }
            Err(error) => tracing::error!("{error}; the keys read before stay in use"),
        }
    }
}

fn report(keys: &HostKeys) {
    for problem in keys.problems() {
        tracing::error!("{problem}");
    }
    warn_of_fallback(keys);
}

fn warn_of_fallback(keys: &HostKeys) {
    if keys.is_fallback() {
        tracing::warn!(
            "host \"{}\" matches no [[host]]: its calls are charged to the FALLBACK key; give it its own with fleetgate enroll",
            keys.label
        );
    }
}

/// What tells one state of a file from another.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    changed: Option<SystemTime>,
    length: u64,
    identity: (u64, u32, i64),
}

fn stamps(files: &[PathBuf]) -> Vec<Option<Stamp>> {
    files.iter().map(|file| stamp(file)).collect()
}

fn stamp(file: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(file).ok()?;
    Some(Stamp {
        changed: metadata.modified().ok(),
        length: metadata.len(),
        // `chmod` changes no modification time, and it is what we tell people to run.
        identity: (metadata.ino(), metadata.mode(), metadata.ctime()),
    })
}
