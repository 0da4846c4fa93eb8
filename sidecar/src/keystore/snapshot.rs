//! One reading of `hosts.toml` and of all keys it gives this host.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use fleetgate_wire::ExposeSecret;
use fleetgate_wire::host::HostLabel;
use fleetgate_wire::virtual_key::VirtualKey;
use fleetgate_wire::workload::Workload;
use futures_util::future::{join, join_all};
use http::HeaderValue;

use super::enrolment::Enrolment;
use super::hosts_file::{Choice, HostsFile, HostsFileError};
use super::keyring::{self, KeyringError};
use super::place::{HOST_KEY, Place, PlaceError};
use super::read::{self, KeyReadError};
use super::reference::KeyReference;
use crate::places;

/// What systemd may hand to the sidecar; the second is the name that our own unit uses.
const CREDENTIALS: [&str; 2] = ["vk", "host-key"];

/// A key in the form in which it travels.
#[derive(Debug, Clone)]
pub struct Credential {
    /// `Bearer …`, marked sensitive so that no `Debug` of a header map shows it.
    bearer: HeaderValue,
}

impl Credential {
    /// Takes a key.
    #[must_use]
    pub fn new(key: &VirtualKey) -> Option<Self> {
        let mut bearer = HeaderValue::from_str(&format!("Bearer {}", key.expose_secret())).ok()?;
        bearer.set_sensitive(true);
        Some(Self { bearer })
    }

    /// The value of `Authorization` or `Proxy-Authorization`.
    #[must_use]
    pub fn bearer(&self) -> HeaderValue {
        self.bearer.clone()
    }
}

/// A reference and what was found there.
#[derive(Debug)]
pub struct KeySlot {
    /// Where the key lies.
    pub reference: KeyReference,
    /// The key, or why there is none.
    pub found: Result<Credential, KeyReadError>,
    /// Where relative paths start.
    base: PathBuf,
}

impl KeySlot {
    async fn open(reference: &KeyReference, base: &Path) -> Self {
        let found = read::read(reference, base).await.and_then(|key| {
            Credential::new(&key).ok_or(fleetgate_wire::virtual_key::VirtualKeyError::Character.into())
        });
        Self { reference: reference.clone(), found, base: base.to_owned() }
    }

    /// Reads the key itself once more.
    ///
    /// # Errors
    /// When there is none.
    pub async fn read(&self) -> Result<VirtualKey, KeyReadError> {
        read::read(&self.reference, &self.base).await
    }

    /// The place, to put another key there.
    ///
    /// # Errors
    /// When somebody else fills it.
    pub fn place(&self) -> Result<Place, PlaceError> {
        Place::of(&self.reference, &self.base)
    }
}

/// What of `hosts.toml` applies to this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Matched {
    /// A `[[host]]` table, counted from 1, and its pattern.
    Entry {
        /// Counted from 1.
        number: usize,
        /// The pattern that matched.
        pattern: String,
    },
    /// No table; this host has a key of its own, from enrolment, `fleetgate key set` or systemd.
    Enrolled,
    /// The `[fallback]` table.
    Fallback,
    /// Nothing.
    Nothing,
    /// There is no such file.
    NoFile,
}

/// Why a call gets no key. The message says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoKey(String);

/// The keys of this host, as of one moment.
#[derive(Debug)]
pub struct HostKeys {
    /// The name in the ledger: the host's own, or the one its table gives.
    pub label: HostLabel,
    /// What applies.
    pub matched: Matched,
    /// The host's key, when something applies.
    pub slot: Option<KeySlot>,
    /// Keys of single workloads.
    pub workloads: BTreeMap<Workload, KeySlot>,
    hosts_file: PathBuf,
    own: Option<PathBuf>,
    /// Why the keyring was not even able to say that it has no key.
    keyring_problem: Option<String>,
}

impl HostKeys {
    /// Reads `hosts.toml`, what enrolment left in the configuration directory, and the keys that they give this label.
    ///
    /// # Errors
    /// When a file is unreadable or invalid. A missing file or key is not an error here; [`HostKeys::credential`] tells it.
    pub async fn load(hosts_file: &Path, label: &HostLabel) -> Result<Self, HostsFileError> {
        Self::load_from(hosts_file, places::config_directory().as_deref(), label).await
    }

    /// The same with another configuration directory, or none.
    ///
    /// # Errors
    /// As [`HostKeys::load`].
    pub async fn load_from(hosts_file: &Path, own: Option<&Path>, label: &HostLabel) -> Result<Self, HostsFileError> {
        let file = HostsFile::read(hosts_file)?;
        let enrolment = own.map(Enrolment::read).transpose()?.unwrap_or_default();
        let mut keys = Self {
            label: label.clone(),
            matched: if file.is_some() { Matched::Nothing } else { Matched::NoFile },
            slot: None,
            workloads: BTreeMap::new(),
            hosts_file: hosts_file.to_owned(),
            own: own.map(Path::to_owned),
            keyring_problem: None,
        };
        let hosts_base = hosts_file.parent().unwrap_or_else(|| Path::new("."));
        let mut workloads = BTreeMap::new();
        for (workload, reference) in &enrolment.workloads {
            workloads.insert(workload, (reference, own.unwrap_or(hosts_base)));
        }
        match file.as_ref().map_or(Choice::Nothing, |file| file.choose(label)) {
            Choice::Entry { number, pattern, entry } => {
                keys.matched = Matched::Entry { number, pattern: pattern.to_owned() };
                keys.label = entry.label.clone().unwrap_or_else(|| label.clone());
                for (workload, reference) in &entry.workloads {
                    workloads.insert(workload, (reference, hosts_base));
                }
                let opened = join_all(workloads.values().map(|(reference, base)| KeySlot::open(reference, base)));
                // Together: several places that hang cost as much time as one.
                let (slot, opened) = join(KeySlot::open(&entry.key, hosts_base), opened).await;
                keys.slot = Some(slot);
                keys.workloads = workloads.into_keys().cloned().zip(opened).collect();
                return Ok(keys);
            }
            Choice::Fallback(reference) => {
                keys.find_own(&enrolment, label).await;
                if keys.slot.is_none() {
                    keys.matched = Matched::Fallback;
                    keys.slot = Some(KeySlot::open(reference, hosts_base).await);
                }
            }
            Choice::Nothing => keys.find_own(&enrolment, label).await,
        }
        let opened = join_all(workloads.values().map(|(reference, base)| KeySlot::open(reference, base))).await;
        keys.workloads = workloads.into_keys().cloned().zip(opened).collect();
        Ok(keys)
    }

    /// Where a host that `hosts.toml` does not name has its key: what systemd gives, then the keyring, then a file. What enrolment
    /// wrote down saves asking a keyring that has nothing.
    async fn find_own(&mut self, enrolment: &Enrolment, label: &HostLabel) {
        self.slot = match self.own_credential().await {
            Some(slot) => Some(slot),
            None => self.enrolled(enrolment, label).await,
        };
        if self.slot.is_some() {
            self.matched = Matched::Enrolled;
        }
    }

    async fn own_credential(&self) -> Option<KeySlot> {
        for name in CREDENTIALS {
            let reference = KeyReference::Credential(name.to_owned());
            if read::file_of(&reference, Path::new("/")).is_some_and(|path| path.exists()) {
                return Some(KeySlot::open(&reference, Path::new("/")).await);
            }
        }
        None
    }

    async fn enrolled(&mut self, enrolment: &Enrolment, label: &HostLabel) -> Option<KeySlot> {
        let own = self.own.clone()?;
        if let Some(reference) = &enrolment.key {
            return Some(KeySlot::open(reference, &own).await);
        }
        if keyring::may_exist() {
            let slot = KeySlot::open(&KeyReference::Keyring(label.to_string()), &own).await;
            match &slot.found {
                Err(KeyReadError::Keyring(KeyringError::NoEntry(_))) => {}
                Err(problem @ KeyReadError::Keyring(_)) => self.keyring_problem = Some(problem.to_string()),
                _ => return Some(slot),
            }
        }
        let file = KeyReference::File(HOST_KEY.into());
        match own.join(HOST_KEY).symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            _ => Some(KeySlot::open(&file, &own).await),
        }
    }

    /// The key of a workload, or of the host; a workload without one of its own has none here.
    #[must_use]
    pub fn slot_of(&self, workload: Option<&Workload>) -> Option<&KeySlot> {
        workload.map_or(self.slot.as_ref(), |workload| self.workloads.get(workload))
    }

    /// Whether the host matched nothing and lives on the fallback key.
    #[must_use]
    pub fn is_fallback(&self) -> bool {
        self.matched == Matched::Fallback
    }

    /// The key for a call of this workload. A workload with a key of its own never falls back on the host's: its spend would
    /// show up in the wrong place.
    ///
    /// # Errors
    /// The message for the caller when there is none.
    pub fn credential(&self, workload: Option<&Workload>) -> Result<&Credential, NoKey> {
        let own = workload.and_then(|workload| self.workloads.get(workload));
        let Some(slot) = own.or(self.slot.as_ref()) else { return Err(self.nothing_applies()) };
        slot.found.as_ref().map_err(|problem| {
            let from = match self.matched {
                Matched::Enrolled => "this host's own place".to_owned(),
                _ => format!("named in {}", self.hosts_file.display()),
            };
            NoKey(format!("host \"{}\" has no usable key: {}: {problem} ({from})", self.label, slot.reference))
        })
    }

    fn nothing_applies(&self) -> NoKey {
        let (label, file) = (&self.label, self.hosts_file.display());
        let what = match self.matched {
            Matched::NoFile => format!("create {file}, which does not exist, with"),
            _ => format!("no [[host]] of {file} matches; add"),
        };
        let keyring = self.keyring_problem.as_ref().map_or_else(String::new, |problem| format!(" ({problem})"));
        NoKey(format!(
            "host \"{label}\" has no key{keyring}. With an invitation from 'fleetgate keys invite --host {label}' run: \
             fleetgate enroll http://GATEWAY:4000 --token -; with a key run: fleetgate key set; or {what} \
             [[host]] match = [\"{label}\"] key = \"file:{label}.key\""
        ))
    }

    /// Every file whose change may change the keys.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let slots = self.slot.iter().chain(self.workloads.values());
        let keys = slots.filter_map(|slot| read::file_of(&slot.reference, &slot.base));
        let own = self.own.iter().flat_map(|own| [Enrolment::path(own), own.join(HOST_KEY)]);
        std::iter::once(self.hosts_file.clone()).chain(own).chain(keys).collect()
    }

    /// What cannot be used, one sentence each, for the log.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let host = self.credential(None).err().map(|problem| problem.to_string());
        let workloads = self.workloads.iter().filter_map(|(workload, slot)| {
            let problem = slot.found.as_ref().err()?;
            Some(format!("workload \"{workload}\" has no usable key: {}: {problem}", slot.reference))
        });
        host.into_iter().chain(workloads).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const CANARY: &str = "sk-canary-0123456789";

    async fn load(hosts: Option<&str>) -> (tempfile::TempDir, HostKeys) {
        let directory = tempfile::tempdir().unwrap();
        for name in ["mac.key", "glm.key"] {
            let path = directory.path().join(name);
            fs::write(&path, CANARY.replace("canary", &format!("canary-{name}"))).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        let path = directory.path().join("hosts.toml");
        if let Some(hosts) = hosts {
            fs::write(&path, hosts).unwrap();
        }
        let keys = HostKeys::load_from(&path, None, &HostLabel::parse("mac").unwrap()).await.unwrap();
        (directory, keys)
    }

    #[tokio::test]
    async fn a_workload_has_its_own_key_and_everyone_else_the_hosts() {
        let text = "[[host]]\nmatch=['mac']\nkey='file:mac.key'\nlabel='laptop'\n[host.workloads]\nglm='file:glm.key'\nbad='file:no'";
        let (_directory, keys) = load(Some(text)).await;
        let bearer = |workload: Option<&str>| {
            let workload = workload.map(|name| Workload::parse(name).unwrap());
            keys.credential(workload.as_ref()).map(|c| c.bearer().to_str().unwrap().to_owned())
        };
        assert_eq!(keys.label.as_str(), "laptop");
        assert!(bearer(None).unwrap().contains("mac.key"));
        assert!(bearer(Some("other")).unwrap().contains("mac.key"));
        assert!(bearer(Some("glm")).unwrap().contains("glm.key"));
        assert!(bearer(Some("bad")).unwrap_err().to_string().contains("file:no"));
        assert!(!format!("{keys:?} {:?}", keys.problems()).contains("canary"));
        assert_eq!(keys.files().len(), 4);
    }

    #[tokio::test]
    async fn a_host_without_a_key_is_told_what_to_write_and_where() {
        let (directory, keys) = load(Some("[[host]]\nmatch=['tower']\nkey='env:X'")).await;
        let text = keys.credential(None).unwrap_err().to_string();
        assert!(text.contains("host \"mac\"") && text.contains("match = [\"mac\"]"), "{text}");
        assert!(text.contains(directory.path().to_str().unwrap()), "{text}");
        let (_directory, keys) = load(None).await;
        assert!(keys.credential(None).unwrap_err().to_string().contains("does not exist"));
    }

    #[tokio::test]
    async fn an_enrolled_key_is_found_by_itself_and_gives_way_to_the_hosts_file() {
        let (directory, _) = load(None).await;
        let (own, label) = (directory.path(), HostLabel::parse("mac").unwrap());
        let hosts = own.join("hosts.toml");
        let at = async |text: &str| {
            fs::write(&hosts, text).unwrap();
            HostKeys::load_from(&hosts, Some(own), &label).await.unwrap()
        };
        let bearer = |keys: &HostKeys, workload: Option<&str>| {
            let workload = workload.map(|name| Workload::parse(name).unwrap());
            keys.credential(workload.as_ref()).unwrap().bearer().to_str().unwrap().to_owned()
        };
        Enrolment {
            key: Some(KeyReference::File("glm.key".into())),
            workloads: BTreeMap::from([(Workload::parse("w").unwrap(), KeyReference::File("mac.key".into()))]),
            ..Enrolment::default()
        }
        .write(own)
        .unwrap();
        let spare = "[fallback]\nkey='file:mac.key'\n";
        let keys = at(spare).await;
        assert_eq!((keys.matched.clone(), keys.is_fallback()), (Matched::Enrolled, false));
        assert!(bearer(&keys, None).contains("glm.key") && bearer(&keys, Some("w")).contains("mac.key"));
        let keys = at("[[host]]\nmatch=['mac']\nkey='file:mac.key'\n[host.workloads]\nw='file:glm.key'\n").await;
        assert!(bearer(&keys, None).contains("mac.key") && bearer(&keys, Some("w")).contains("glm.key"));

        fs::remove_file(Enrolment::path(own)).unwrap();
        assert!(at(spare).await.is_fallback());
        fs::rename(own.join("glm.key"), own.join(HOST_KEY)).unwrap();
        assert!(bearer(&at("").await, None).contains("glm.key"));
    }
}
