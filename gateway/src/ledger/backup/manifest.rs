//! What a backup says of itself, before anything else in it.

use std::path::{Component, Path};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::RestoreError;
use crate::ledger::{journal, sqlite};

/// The form of the archive that is written.
const FORMAT: u32 = 1;

/// Where a manifest's own version comes from.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What a backup holds, and how to tell that it is whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The form of the archive.
    pub format: u32,
    /// The version of the program that wrote it.
    pub version: String,
    /// Each call that was answered before has its row in here.
    pub taken_at: Timestamp,
    /// What the copy of the ledger holds; nothing where the ledger is on a server.
    pub ledger: Option<LedgerCounts>,
    /// What the journal in front of it holds.
    pub journal: JournalCounts,
    /// Every file, in the archive's order.
    pub files: Vec<FileSum>,
}

/// The content of a ledger's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerCounts {
    /// The newest migration that made its tables.
    pub migration: i64,
    /// Rows.
    pub rows: u64,
    /// The sum of what they cost.
    pub cost_nanousd: i64,
    /// Virtual keys.
    pub keys: u64,
    /// Teams, users, budgets, tags and customers.
    pub entities: u64,
}

/// The content of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalCounts {
    /// The newest form of its records.
    pub form: u8,
    /// Rows that are not in the ledger's copy. Of a ledger on a server: all rows in the journal, which the server may have.
    pub rows: u64,
    /// The sum of what they cost.
    pub cost_nanousd: i64,
    /// Calls that were under way. They become rows `interrupted` at the first start.
    pub open_calls: u64,
}

/// One file of the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSum {
    /// Its name there: relative, with `/`.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// The SHA-256 of its bytes, in hexadecimal digits.
    pub sha256: String,
    /// Where it lay, if it does not go back to a place of the ledger's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
}

impl Manifest {
    pub(super) fn new(
        taken_at: Timestamp,
        ledger: Option<LedgerCounts>,
        journal: JournalCounts,
        files: Vec<FileSum>,
    ) -> Self {
        Self { format: FORMAT, version: VERSION.to_owned(), taken_at, ledger, journal, files }
    }

    /// Reads a manifest, and judges whether this version can restore what it describes.
    ///
    /// # Errors
    /// When it is none, was written by a newer version, or names a file that lies elsewhere.
    pub(super) fn parse(json: &[u8]) -> Result<Self, RestoreError> {
        // The rest of a newer form may look otherwise: its version is read alone.
        let stamp: Stamp = serde_json::from_slice(json).map_err(|_| RestoreError::NoBackup)?;
        let newer = |what: String| RestoreError::Newer { version: stamp.version.clone(), what };
        if stamp.format > FORMAT {
            return Err(newer(format!("its archive has form {}, this version reads {FORMAT}", stamp.format)));
        }
        if version(&stamp.version) > version(VERSION) {
            return Err(newer(format!("this is version {VERSION}")));
        }
        let manifest: Self =
            serde_json::from_slice(json).map_err(|error| RestoreError::Damaged(format!("its manifest: {error}")))?;
        let known = sqlite::newest_migration();
        if let Some(ledger) = manifest.ledger.filter(|ledger| ledger.migration > known) {
            let found = ledger.migration;
            return Err(newer(format!("its tables are those of migration {found}, this version knows {known}")));
        }
        if manifest.journal.form > journal::FORMAT {
            let (found, known) = (manifest.journal.form, journal::FORMAT);
            return Err(newer(format!("its journal has form {found}, this version reads {known}")));
        }
        for file in &manifest.files {
            if !is_inside(&file.name) {
                return Err(RestoreError::Damaged(format!("its manifest names {:?}, which lies outside", file.name)));
            }
        }
        Ok(manifest)
    }
}

/// What every form of a manifest begins with.
#[derive(Deserialize)]
struct Stamp {
    format: u32,
    version: String,
}

/// A version's three numbers; what is none counts as newer than any.
fn version(text: &str) -> [u64; 3] {
    let numbers = text.split(['-', '+']).next().unwrap_or_default();
    let mut numbers = numbers.split('.').map(|part| part.parse().unwrap_or(u64::MAX));
    std::array::from_fn(|_| numbers.next().unwrap_or(u64::MAX))
}

/// Whether a name can only lead to a place below.
fn is_inside(name: &str) -> bool {
    let path = Path::new(name);
    !name.is_empty() && !name.contains('\\') && path.components().all(|part| matches!(part, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let ledger = LedgerCounts { migration: 1, rows: 2, cost_nanousd: 3, keys: 4, entities: 5 };
        let journal = JournalCounts { form: 1, rows: 0, cost_nanousd: 0, open_calls: 0 };
        let file = FileSum { name: "ledger.db".to_owned(), size: 1, sha256: "00".repeat(32), origin: None };
        Manifest::new(Timestamp::UNIX_EPOCH, Some(ledger), journal, vec![file])
    }

    fn parsed(change: impl FnOnce(&mut serde_json::Value)) -> Result<Manifest, RestoreError> {
        let mut json = serde_json::to_value(manifest()).unwrap();
        change(&mut json);
        Manifest::parse(json.to_string().as_bytes())
    }

    #[test]
    fn a_manifest_reads_back_as_it_was_written() {
        assert_eq!(parsed(|_| ()).unwrap(), manifest());
    }

    #[test]
    fn what_a_newer_version_wrote_is_refused_whatever_else_it_says() {
        let newer = |change: fn(&mut serde_json::Value)| matches!(parsed(change), Err(RestoreError::Newer { .. }));
        assert!(newer(|json| json["format"] = 2.into()));
        assert!(newer(|json| *json = serde_json::json!({"format": 2, "version": "9.0.0", "all": "new"})));
        assert!(newer(|json| json["version"] = "99.0.0".into()));
        assert!(newer(|json| json["version"] = "next".into()));
        assert!(newer(|json| json["ledger"]["migration"] = 9999.into()));
        assert!(newer(|json| json["journal"]["form"] = 99.into()));
        assert!(parsed(|json| json["version"] = "0.0.1".into()).is_ok());
    }

    #[test]
    fn a_name_that_leads_out_is_refused() {
        for name in ["/etc/passwd", "../x", "a/../../x", "", ".", "a\\..\\x"] {
            let refused = parsed(|json| json["files"][0]["name"] = name.into());
            assert!(matches!(refused, Err(RestoreError::Damaged(_))), "{name:?}");
        }
        assert!(matches!(Manifest::parse(b"{}"), Err(RestoreError::NoBackup)));
    }
}
