//! What was found, in the order in which it was looked for: for people, and as JSON that scripts can rely on.

use std::fmt::Write;

use serde::Serialize;

/// The form of the JSON. A new field leaves it as it is; a changed or lost one raises it.
const FORM: u32 = 1;

/// How good or bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Not looked at; the finding says why.
    Skipped,
    /// As it should be.
    Ok,
    /// Works, but somebody should look.
    Warning,
    /// Calls fail, or go where nobody meant them to.
    Problem,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Skipped => "skipped",
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at: `identity`, `tcp` …
    pub check: &'static str,
    /// How it is.
    pub level: Level,
    /// A word for scripts: `ok`, `refused`, `filtered` …
    pub code: &'static str,
    /// What was seen, with numbers and addresses.
    pub what: String,
    /// The likely cause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Commands to copy, the most useful one first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub next: Vec<String>,
}

impl Finding {
    /// All is well.
    pub fn ok(check: &'static str, what: impl Into<String>) -> Self {
        Self::new(check, Level::Ok, "ok", what)
    }

    /// Not looked at.
    pub fn skipped(check: &'static str, why: impl Into<String>) -> Self {
        Self::new(check, Level::Skipped, "skipped", why)
    }

    /// Works, but.
    pub fn warning(check: &'static str, code: &'static str, what: impl Into<String>) -> Self {
        Self::new(check, Level::Warning, code, what)
    }

    /// Does not work.
    pub fn problem(check: &'static str, code: &'static str, what: impl Into<String>) -> Self {
        Self::new(check, Level::Problem, code, what)
    }

    fn new(check: &'static str, level: Level, code: &'static str, what: impl Into<String>) -> Self {
        Self { check, level, code, what: what.into(), cause: None, next: Vec::new() }
    }

    /// Names the likely cause.
    #[must_use]
    pub fn cause(mut self, cause: impl Into<String>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Adds a command to copy.
    #[must_use]
    pub fn next(mut self, command: impl Into<String>) -> Self {
        self.next.push(command.into());
        self
    }
}

/// All findings of one run.
#[derive(Debug, Serialize)]
pub struct Report {
    form: u32,
    version: &'static str,
    /// The worst level.
    verdict: Level,
    findings: Vec<Finding>,
}

impl Report {
    /// Sums up.
    #[must_use]
    pub fn new(findings: Vec<Finding>) -> Self {
        let worst = findings.iter().map(|finding| finding.level).max();
        // Nothing but skipped checks is no complaint.
        let verdict = worst.unwrap_or(Level::Ok).max(Level::Ok);
        Self { form: FORM, version: crate::VERSION, verdict, findings }
    }

    /// Whether something does not work.
    #[must_use]
    pub fn has_problem(&self) -> bool {
        self.verdict == Level::Problem
    }

    /// One JSON object.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
    }

    /// Lines for people.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        // Writing into a string cannot fail.
        for Finding { check, level, what, cause, next, .. } in &self.findings {
            let _ = writeln!(text, "{:<8} {check:<12} {what}", level.word());
            if let Some(cause) = cause {
                let _ = writeln!(text, "{:<8} {:<12} likely: {cause}", "", "");
            }
            for command in next {
                let _ = writeln!(text, "{:<8} {:<12} next:   {command}", "", "");
            }
        }
        let count = |level| self.findings.iter().filter(|finding| finding.level == level).count();
        let _ = match (count(Level::Problem), count(Level::Warning)) {
            (0, 0) => writeln!(text, "\nno problem found"),
            (problems, warnings) => writeln!(text, "\n{problems} problem(s), {warnings} warning(s)"),
        };
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings() -> Vec<Finding> {
        vec![
            Finding::ok("identity", "host \"mac\""),
            Finding::problem("tcp", "refused", "100.64.0.1:4000 refuses the connection")
                .cause("nothing listens there")
                .next("fleetgate doctor --on-gateway")
                .next("ss -ltnp 'sport = :4000'"),
            Finding::skipped("marker", "because of tcp"),
            Finding::warning("versions", "differ", "the gateway is 0.2.0, this program 0.1.0"),
        ]
    }

    #[test]
    fn the_json_has_the_form_that_is_documented() {
        let json = Report::new(findings()).to_json().replace(crate::VERSION, "VERSION");
        assert_eq!(json, include_str!("report.golden.json").trim_end().replace("0.1.0", "VERSION"));
    }

    #[test]
    fn people_read_one_line_a_check_and_what_to_do_below_it() {
        let text = Report::new(findings()).to_text();
        assert_eq!(text.lines().nth(2), Some("                      likely: nothing listens there"));
        assert!(text.ends_with("\n1 problem(s), 1 warning(s)\n"), "{text}");
        assert!(Report::new(vec![Finding::skipped("dns", "x")]).to_text().ends_with("\nno problem found\n"));
    }
}
