//! `hosts.toml`: the same file on every machine, from host labels to key references.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use fleetgate_wire::host::HostLabel;
use fleetgate_wire::workload::Workload;
use globset::{GlobBuilder, GlobMatcher};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::reference::KeyReference;

/// The file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HostsFile {
    #[serde(default, rename = "host")]
    hosts: Vec<HostEntry>,
    fallback: Option<Fallback>,
}

/// One `[[host]]` table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HostEntry {
    #[serde(rename = "match")]
    patterns: Vec<Pattern>,
    /// Where this host's key lies.
    pub key: KeyReference,
    /// The name in the ledger, when it is not the host's own.
    pub label: Option<HostLabel>,
    /// Keys of single workloads.
    #[serde(default)]
    pub workloads: BTreeMap<Workload, KeyReference>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fallback {
    key: KeyReference,
}

/// A glob over host labels.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Pattern {
    text: String,
    matcher: GlobMatcher,
}

impl TryFrom<String> for Pattern {
    type Error = globset::Error;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let matcher = GlobBuilder::new(&text).case_insensitive(true).build()?.compile_matcher();
        Ok(Self { text, matcher })
    }
}

/// What the file says about one label.
#[derive(Debug)]
pub(super) enum Choice<'a> {
    /// The first table with a matching pattern.
    Entry {
        /// Counted from 1, as people count tables.
        number: usize,
        /// The pattern that matched.
        pattern: &'a str,
        /// The table.
        entry: &'a HostEntry,
    },
    /// No table matches, but there is a fallback.
    Fallback(&'a KeyReference),
    /// Nothing matches.
    Nothing,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HostsFileError {
    /// It cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// It is no valid `hosts.toml`. The offending line is named and not shown: someone may have written a key there.
    #[error("{path}:{line}: {message}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
}

impl HostsFile {
    /// Reads the file; `None` when it does not exist.
    ///
    /// # Errors
    /// When it cannot be read or is invalid.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, HostsFileError> {
        match fs::read_to_string(path) {
            Ok(text) => parse(&text, path).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(HostsFileError::Unreadable { path: path.to_owned(), source }),
        }
    }

    /// The first table that matches the label, else the fallback.
    #[must_use]
    pub(super) fn choose(&self, label: &HostLabel) -> Choice<'_> {
        for (index, entry) in self.hosts.iter().enumerate() {
            if let Some(hit) = entry.patterns.iter().find(|pattern| pattern.matcher.is_match(label.as_str())) {
                return Choice::Entry { number: index + 1, pattern: &hit.text, entry };
            }
        }
        self.fallback.as_ref().map_or(Choice::Nothing, |fallback| Choice::Fallback(&fallback.key))
    }
}

/// Reads TOML. What is wrong is named with its line, and the line is not shown.
pub(super) fn parse<T: DeserializeOwned>(text: &str, path: &Path) -> Result<T, HostsFileError> {
    toml::from_str(text).map_err(|error: toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        HostsFileError::Invalid {
            path: path.to_owned(),
            line: before.matches('\n').count() + 1,
            message: error.message().to_owned(),
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SAMPLE: &str = r#"
[fallback]
key = "file:spare"

[[host]]
match = ["mac", "Mac-*"]
key = "keyring:mac"
label = "laptop"
[host.workloads]
"claude-glm" = "env:GLM_KEY"

[[host]]
match = ["*"]
key = "file:/etc/fleetgate/other.key"
"#;

    fn parse(text: &str) -> Result<HostsFile, HostsFileError> {
        super::parse(text, Path::new("hosts.toml"))
    }

    fn label(text: &str) -> HostLabel {
        HostLabel::parse(text).unwrap()
    }

    #[test]
    fn the_first_matching_table_wins() {
        let file = parse(SAMPLE).unwrap();
        let Choice::Entry { number: 1, pattern: "Mac-*", entry } = file.choose(&label("mac-2")) else { panic!() };
        assert_eq!(entry.label, Some(label("laptop")));
        assert_eq!(entry.workloads.len(), 1);
        assert!(matches!(file.choose(&label("tower")), Choice::Entry { number: 2, pattern: "*", .. }));
    }

    #[test]
    fn a_host_that_matches_nothing_gets_the_fallback_or_nothing() {
        let with = parse("[fallback]\nkey='env:SPARE'\n[[host]]\nmatch=['a']\nkey='env:A'").unwrap();
        assert!(matches!(with.choose(&label("b")), Choice::Fallback(KeyReference::Environment(_))));
        let without = parse("[[host]]\nmatch=['a']\nkey='env:A'").unwrap();
        assert!(matches!(without.choose(&label("b")), Choice::Nothing));
    }

    #[test]
    fn mistakes_are_named_with_their_line_and_a_key_is_never_shown() {
        for (text, line, says) in [
            ("[[host]]\nmatch=['a']\nkey='env:A'\nkye='x'", 4, "unknown field `kye`"),
            ("[[host]]\nmatch=['a']\nkey='sk-canary-0123456789'", 3, "looks like a key itself"),
            ("[[host]]\nmatch=['[a']\nkey='env:A'", 2, "unclosed"),
            ("hots = 1", 1, "unknown field"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("hosts.toml:{line}: ")) && error.contains(says), "{error}");
            assert!(!error.contains("canary"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn a_label_written_out_matches_itself_and_nothing_else(a in "[a-z0-9_-]{1,20}", b in "[a-z0-9_-]{1,20}") {
            let file = parse(&format!("[[host]]\nmatch=['{a}']\nkey='env:A'")).unwrap();
            let hit = |text: &str| matches!(file.choose(&label(text)), Choice::Entry { .. });
            prop_assert!(hit(&a));
            prop_assert_eq!(hit(&b), a == b);
        }
    }
}
