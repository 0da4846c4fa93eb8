//! What `fleetgate doctor --json` said.

use serde_json::Value;

use crate::process::Finished;

/// A report.
#[derive(Debug)]
pub struct Diagnosis {
    /// As it was printed.
    pub report: Value,
    /// The exit code.
    pub code: Option<i32>,
}

impl Diagnosis {
    /// Reads it.
    ///
    /// # Panics
    /// When there is no report.
    #[must_use]
    pub fn read(finished: &Finished) -> Self {
        let report = serde_json::from_str(&finished.stdout);
        let report = report.unwrap_or_else(|_| panic!("no report: {}", finished.said()));
        Self { report, code: finished.status.code() }
    }

    /// All findings.
    ///
    /// # Panics
    /// When the report has none.
    pub fn findings(&self) -> impl Iterator<Item = &Value> {
        self.report["findings"].as_array().expect("a list").iter()
    }

    /// The first finding of a check.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn finding(&self, check: &str) -> &Value {
        let found = self.findings().find(|finding| finding["check"] == check);
        found.unwrap_or_else(|| panic!("no {check}: {:#}", self.report))
    }

    /// The word for scripts of a check.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn code_of(&self, check: &str) -> &str {
        self.finding(check)["code"].as_str().expect("a word")
    }

    /// Holds when nothing is wrong.
    ///
    /// # Panics
    /// When something is.
    pub fn has_no_problem(&self) {
        let problems = self.findings().filter(|finding| finding["level"] == "problem").count();
        assert_eq!((problems, self.code), (0, Some(0)), "{:#}", self.report);
    }

    /// Holds when this is the only problem, with these words in what was seen or what is likely, and something to do next.
    ///
    /// # Panics
    /// When it is not.
    pub fn is(&self, check: &str, code: &str, words: &[&str]) {
        let problems: Vec<&Value> = self.findings().filter(|finding| finding["level"] == "problem").collect();
        let [problem] = problems[..] else { panic!("not one problem: {:#}", self.report) };
        assert_eq!((problem["check"].as_str(), problem["code"].as_str()), (Some(check), Some(code)), "{problem:#}");
        let said = format!(
            "{} {}",
            problem["what"].as_str().unwrap_or_default(),
            problem["cause"].as_str().unwrap_or_default()
        );
        for word in words {
            assert!(said.contains(word), "{word}: {problem:#}");
        }
        assert!(problem["next"].as_array().is_some_and(|next| !next.is_empty()), "{problem:#}");
        assert_eq!(self.code, Some(1));
    }
}
