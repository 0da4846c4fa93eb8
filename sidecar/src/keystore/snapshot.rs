//! One reading of `hosts.toml` and of all keys it gives this host.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fleetgate_wire::ExposeSecret;
use fleetgate_wire::host::HostLabel;
use fleetgate_wire::virtual_key::VirtualKey;
use fleetgate_wire::workload::Workload;
use http::HeaderValue;

use super::hosts_file::{Choice, HostsFile, HostsFileError};
use super::read::{self, KeyReadError};
use super::reference::KeyReference;

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
}

impl HostKeys {
    /// Reads `hosts.toml` and the keys that it gives this label.
    ///
    /// # Errors
    /// When the file is unreadable or invalid. A missing file or key is not an error here; [`HostKeys::credential`] tells it.
    pub async fn load(hosts_file: &Path, label: &HostLabel) -> Result<Self, HostsFileError> {
        let mut keys = Self {
            label: label.clone(),
            matched: Matched::NoFile,
            slot: None,
            workloads: BTreeMap::new(),
            hosts_file: hosts_file.to_owned(),
        };
        let Some(file) = HostsFile::read(hosts_file)? else { return Ok(keys) };
        match file.choose(label) {
            Choice::Nothing => keys.matched = Matched::Nothing,
            Choice::Fallback(reference) => {
                keys.matched = Matched::Fallback;
                keys.slot = Some(keys.open(reference).await);
            }
            Choice::Entry { number, pattern, entry } => {
                keys.matched = Matched::Entry { number, pattern: pattern.to_owned() };
                keys.label = entry.label.clone().unwrap_or_else(|| label.clone());
                keys.slot = Some(keys.open(&entry.key).await);
                for (workload, reference) in &entry.workloads {
                    let slot = keys.open(reference).await;
                    keys.workloads.insert(workload.clone(), slot);
                }
            }
        }
        Ok(keys)
    }

    async fn open(&self, reference: &KeyReference) -> KeySlot {
        let found = read::read(reference, self.base()).await.and_then(|key| {
            Credential::new(&key).ok_or(fleetgate_wire::virtual_key::VirtualKeyError::Character.into())
        });
        KeySlot { reference: reference.clone(), found }
    }

    fn base(&self) -> &Path {
        self.hosts_file.parent().unwrap_or_else(|| Path::new("."))
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
            NoKey(format!(
                "host \"{}\" has no usable key: {}: {problem} (named in {})",
                self.label,
                slot.reference,
                self.hosts_file.display()
            ))
        })
    }

    fn nothing_applies(&self) -> NoKey {
        let (label, file) = (&self.label, self.hosts_file.display());
        let what = match self.matched {
            Matched::NoFile => format!("{file} does not exist; create it with"),
            _ => format!("no [[host]] of {file} matches; add"),
        };
        NoKey(format!("host \"{label}\" has no key: {what} [[host]] match = [\"{label}\"] key = \"file:{label}.key\""))
    }

    /// Every file whose change may change the keys.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let slots = self.slot.iter().chain(self.workloads.values());
        let keys = slots.filter_map(|slot| read::file_of(&slot.reference, self.base()));
        std::iter::once(self.hosts_file.clone()).chain(keys).collect()
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
        let keys = HostKeys::load(&path, &HostLabel::parse("mac").unwrap()).await.unwrap();
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
}
