//! What enrolment left on this machine: `enrolment.toml` beside `hosts.toml`. It says where things are and holds no secret.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use fleetgate_wire::workload::Workload;
use serde::{Deserialize, Serialize};

use super::hosts_file::{HostsFileError, parse};
use super::reference::KeyReference;
use crate::replace::{Mode, replace};

/// Its name in the configuration directory.
const FILE: &str = "enrolment.toml";
const HEADER: &str = "# Written by 'fleetgate enroll' and 'fleetgate key'. It says where this machine's gateway and keys are; no key is in it.\n";

/// What `fleetgate enroll` and `fleetgate key` have set up here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrolment {
    /// The gateway: `http://host:port`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// Where this host's key lies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyReference>,
    /// Where keys of single workloads lie.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub workloads: BTreeMap<Workload, KeyReference>,
}

impl Enrolment {
    /// Its path in a configuration directory.
    #[must_use]
    pub fn path(directory: &Path) -> PathBuf {
        directory.join(FILE)
    }

    /// Reads it; an absent one says nothing.
    ///
    /// # Errors
    /// When it cannot be read or is invalid.
    pub fn read(directory: &Path) -> Result<Self, HostsFileError> {
        let path = Self::path(directory);
        match fs::read_to_string(&path) {
            Ok(text) => parse(&text, &path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(HostsFileError::Unreadable { path, source }),
        }
    }

    /// Writes it as a whole or not at all. A sidecar that runs sees that it changed and reads its keys again.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, directory: &Path) -> io::Result<()> {
        let text = toml::to_string(self).map_err(io::Error::other)?;
        Ok(replace(&Self::path(directory), format!("{HEADER}{text}").as_bytes(), Mode::Own(0o644))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_back_as_it_was_written_and_an_absent_one_says_nothing() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(Enrolment::read(directory.path()).unwrap(), Enrolment::default());
        let workload = Workload::parse("python:/srv/agent/app.py").unwrap();
        let enrolment = Enrolment {
            gateway: Some("http://box:4000".to_owned()),
            key: Some(KeyReference::Keyring("mac".to_owned())),
            workloads: BTreeMap::from([(workload, KeyReference::File("workloads/a.key".into()))]),
        };
        enrolment.write(directory.path()).unwrap();
        assert_eq!(Enrolment::read(directory.path()).unwrap(), enrolment);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        fs::write(Enrolment::path(directory.path()), "key = 'sk-canary-0123456789'\n").unwrap();
        let error = Enrolment::read(directory.path()).unwrap_err().to_string();
        assert!(error.contains("enrolment.toml:1") && !error.contains("canary"), "{error}");
    }
}
