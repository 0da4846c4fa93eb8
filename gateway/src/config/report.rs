//! Collects what the operator should know while the configuration is read.

use super::{Finding, Origin, Setting, Severity};

/// What it costs to overlook a finding, dearest first. Findings are shown in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cost {
    /// Who may call or see.
    Access,
    /// What is spent, and whether it is on record.
    Money,
    /// Which model answers, and how.
    Serving,
    /// Traces, alerts and other side channels.
    Watching,
    /// Nothing changes.
    Style,
}

/// The findings and the settings so far.
#[derive(Debug, Default)]
pub(super) struct Report {
    findings: Vec<(Cost, Finding)>,
    settings: Vec<Setting>,
}

impl Report {
    pub(super) fn error(&mut self, origin: Origin, message: impl Into<String>) {
        self.add(Severity::Error, Cost::Access, origin, message.into());
    }

    pub(super) fn warn(&mut self, cost: Cost, origin: Origin, message: impl Into<String>) {
        self.add(Severity::Warning, cost, origin, message.into());
    }

    pub(super) fn notice(&mut self, origin: Origin, message: impl Into<String>) {
        self.add(Severity::Notice, Cost::Style, origin, message.into());
    }

    /// Notes a live value. The caller redacts.
    pub(super) fn setting(&mut self, path: impl Into<String>, value: impl Into<String>, origin: Origin) {
        self.settings.push(Setting { path: path.into(), value: value.into(), origin });
    }

    fn add(&mut self, severity: Severity, cost: Cost, origin: Origin, message: String) {
        self.findings.push((cost, Finding { severity, origin, message }));
    }

    /// Takes over what another report holds; only its errors when its warnings would be noise.
    pub(super) fn append(&mut self, other: Self, with_warnings: bool) {
        let wanted = |(_, finding): &(Cost, Finding)| with_warnings || finding.severity == Severity::Error;
        self.findings.extend(other.findings.into_iter().filter(wanted));
        self.settings.extend(other.settings);
    }

    /// The findings in the order in which they should be read, and the settings in the order in which they were noted.
    pub(super) fn finish(mut self) -> (Vec<Finding>, Vec<Setting>) {
        self.findings.sort_by_key(|(cost, finding)| (finding.severity, *cost));
        self.findings.dedup_by(|(_, a), (_, b)| a == b);
        (self.findings.into_iter().map(|(_, finding)| finding).collect(), self.settings)
    }
}
