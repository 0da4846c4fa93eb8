//! Who this host is, and why: the same answer for `/__fleetgate/whoami` and `fleetgate whoami`.

use std::path::Path;

use serde::Serialize;

use crate::forward::GatewayUrl;
use crate::identity::{Candidate, Identity, Source};
use crate::keystore::{HostKeys, KeySlot, Matched};

/// All there is to say, without any secret.
#[derive(Debug, Serialize)]
pub struct WhoAmI {
    /// The name in the ledger.
    pub host: String,
    /// The label that was looked for in `hosts.toml`.
    pub label: String,
    /// Where that label came from.
    pub why: Source,
    /// Why that one wins.
    pub because: &'static str,
    /// What somebody should look at.
    pub notes: Vec<String>,
    /// Every place that could have named this host, in order.
    pub candidates: Vec<CandidateLine>,
    /// The file that says where keys lie.
    pub hosts_file: String,
    /// What of it applies.
    pub matched: String,
    /// Whether calls are charged to the fallback key.
    pub fallback: bool,
    /// The host's key: its place and whether it was found.
    pub key: Option<KeyLine>,
    /// Keys of single workloads.
    pub workloads: Vec<WorkloadLine>,
    /// Where calls go.
    pub gateway: Option<String>,
}

/// One candidate for the host label.
#[derive(Debug, Serialize)]
pub struct CandidateLine {
    /// The place.
    pub source: Source,
    /// `wins`, `comes_later` or `unusable`.
    pub verdict: Verdict,
    /// The label it gives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Why it gives none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// What became of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The first usable one.
    Wins,
    /// Usable, but behind the winner.
    ComesLater,
    /// It gives no label.
    Unusable,
}

/// One key's place.
#[derive(Debug, Serialize)]
pub struct KeyLine {
    /// Where it lies.
    pub reference: String,
    /// `found` or `missing`.
    pub state: &'static str,
    /// Why it is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// One workload's key.
#[derive(Debug, Serialize)]
pub struct WorkloadLine {
    /// The workload.
    pub workload: String,
    /// Its key.
    #[serde(flatten)]
    pub key: KeyLine,
}

impl WhoAmI {
    /// Puts it together.
    #[must_use]
    pub fn describe(identity: &Identity, keys: &HostKeys, hosts_file: &Path, gateway: Option<&GatewayUrl>) -> Self {
        let verdict = |candidate: &Candidate| match &candidate.found {
            Err(_) => Verdict::Unusable,
            Ok(_) if candidate.source == identity.source => Verdict::Wins,
            Ok(_) => Verdict::ComesLater,
        };
        let candidates = identity.candidates.iter().map(|candidate| CandidateLine {
            source: candidate.source,
            verdict: verdict(candidate),
            label: candidate.found.as_ref().ok().map(ToString::to_string),
            problem: candidate.found.as_ref().err().cloned(),
        });
        let workloads =
            keys.workloads.iter().map(|(name, slot)| WorkloadLine { workload: name.to_string(), key: slot.into() });
        Self {
            host: keys.label.to_string(),
            label: identity.label.to_string(),
            why: identity.source,
            because: identity.source.why(),
            notes: identity.notes.clone(),
            candidates: candidates.collect(),
            hosts_file: hosts_file.display().to_string(),
            matched: matched_words(&keys.matched),
            fallback: keys.is_fallback(),
            key: keys.slot.as_ref().map(Into::into),
            workloads: workloads.collect(),
            gateway: gateway.map(ToString::to_string),
        }
    }

    /// As one JSON object.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
    }
}

impl From<&KeySlot> for KeyLine {
    fn from(slot: &KeySlot) -> Self {
        let problem = slot.found.as_ref().err().map(ToString::to_string);
        Self {
            reference: slot.reference.to_string(),
            state: if problem.is_none() { "found" } else { "missing" },
            problem,
        }
    }
}

fn matched_words(matched: &Matched) -> String {
    match matched {
        Matched::Entry { number, pattern } => format!("[[host]] number {number}, pattern \"{pattern}\""),
        Matched::Enrolled => "nothing; this host has a key of its own".to_owned(),
        Matched::Fallback => "nothing; the [fallback] key is used".to_owned(),
        Matched::Nothing => "nothing".to_owned(),
        Matched::NoFile => "the file does not exist".to_owned(),
    }
}
