//! What a server's database last said of keys and entities, kept beside the journal: a gateway that starts while the server is away
//! knows whom to serve. There are no secrets in it: of a key only its hash is known.

use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A file with the records of one table.
#[derive(Debug, Clone)]
pub(super) struct Remembered {
    path: PathBuf,
}

impl Remembered {
    /// `keys` or `entities`, in a folder.
    pub(super) fn new(folder: &Path, what: &str) -> Self {
        Self { path: folder.join(format!("{what}.json")) }
    }

    /// Keeps what was read. That it cannot be kept is said, and no reason to stop.
    pub(super) fn keep(&self, records: &[String]) {
        if let Err(error) = self.write(records) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remember keys for a start without the database");
        }
    }

    /// What was kept last; nothing if there never was any.
    pub(super) fn recall(&self) -> Vec<String> {
        let kept = std::fs::read(&self.path).ok().and_then(|json| serde_json::from_slice(&json).ok());
        kept.unwrap_or_default()
    }

    fn write(&self, records: &[String]) -> io::Result<()> {
        let json = serde_json::to_vec(records)?;
        if std::fs::read(&self.path).is_ok_and(|kept| kept == json) {
            return Ok(());
        }
        let new = self.path.with_extension("new");
        let mut file = std::fs::File::options().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
        file.write_all(&json)?;
        file.sync_all()?;
        std::fs::rename(&new, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_recalled_and_damage_is_nothing() {
        let dir = tempfile::TempDir::new().unwrap();
        let keys = Remembered::new(dir.path(), "keys");
        assert_eq!(keys.recall(), Vec::<String>::new());
        keys.keep(&["{\"a\":1}".to_owned()]);
        keys.keep(&["{\"a\":2}".to_owned()]);
        assert_eq!(keys.recall(), ["{\"a\":2}"]);
        std::fs::write(dir.path().join("keys.json"), "no json").unwrap();
        assert_eq!(keys.recall(), Vec::<String>::new());
    }
}
