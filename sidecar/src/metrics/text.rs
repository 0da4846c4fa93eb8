//! Prometheus's text format (version 0.0.4), as much of it as counters and gauges need.

use std::fmt::{Display, Write};

/// The content type of a page.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A page that is being written. All samples of one name must follow each other.
#[derive(Debug, Default)]
pub struct Page {
    text: String,
    family: &'static str,
}

impl Page {
    /// A sample of a family whose values only grow.
    pub fn counter(&mut self, name: &'static str, help: &str, labels: &[(&str, &str)], value: impl Display) {
        self.sample("counter", name, help, labels, &value);
    }

    /// A sample of a family whose values rise and fall.
    pub fn gauge(&mut self, name: &'static str, help: &str, labels: &[(&str, &str)], value: impl Display) {
        self.sample("gauge", name, help, labels, &value);
    }

    fn sample(&mut self, kind: &str, name: &'static str, help: &str, labels: &[(&str, &str)], value: &dyn Display) {
        if self.family != name {
            self.family = name;
            // Writing into a string cannot fail.
            let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        }
        self.text.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let opening = if index == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{opening}{label}=\"{}\"", escaped(text));
        }
        let closing = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{closing} {value}");
    }

    /// The whole page.
    #[must_use]
    pub fn finish(self) -> String {
        self.text
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_has_one_head_and_labels_are_escaped() {
        let mut page = Page::default();
        page.counter("a_total", "Calls.", &[("why", "x\"y\\z\n"), ("b", "c")], 3);
        page.counter("a_total", "Calls.", &[], 4);
        page.gauge("b", "Open.", &[], 0.5);
        let expected = "# HELP a_total Calls.\n# TYPE a_total counter\na_total{why=\"x\\\"y\\\\z\\n\",b=\"c\"} 3\na_total 4\n\
                        # HELP b Open.\n# TYPE b gauge\nb 0.5\n";
        assert_eq!(page.finish(), expected);
    }
}
