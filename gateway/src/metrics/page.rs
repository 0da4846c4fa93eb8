//! Prometheus's text format (version 0.0.4), written by hand: a crate would bring its own counters, whose series cannot be
//! read together.

use std::fmt::Write as _;

use fleetgate_wire::money::NanoDollars;

/// A page of metrics on its way.
#[derive(Debug, Default)]
pub struct Page {
    text: String,
}

impl Page {
    /// What the answer is labelled as.
    pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

    /// Begins a family of gauges. Samples of one family must follow each other.
    pub fn gauge(&mut self, name: &str, help: &str) -> Samples<'_> {
        self.family(name, "gauge", help)
    }

    /// Begins a family of counters, whose name ends in `_total`.
    pub fn counter(&mut self, name: &str, help: &str) -> Samples<'_> {
        self.family(name, "counter", help)
    }

    pub(super) fn histogram(&mut self, name: &str, help: &str) -> Samples<'_> {
        self.family(name, "histogram", help)
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) -> Samples<'_> {
        // Writing to a text cannot fail.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Samples { text: &mut self.text, name: name.to_owned() }
    }

    pub(super) fn finish(self) -> String {
        self.text
    }
}

/// The samples of one family.
#[derive(Debug)]
pub struct Samples<'a> {
    text: &'a mut String,
    name: String,
}

impl Samples<'_> {
    /// Adds a number.
    pub fn add<'l>(&mut self, labels: impl IntoIterator<Item = (&'l str, &'l str)>, value: f64) {
        self.line("", labels, &value);
    }

    /// Adds a count.
    pub fn count<'l>(&mut self, labels: impl IntoIterator<Item = (&'l str, &'l str)>, value: u64) {
        self.line("", labels, &value);
    }

    /// Adds an amount of money, in dollars, exactly.
    pub fn dollars<'l>(
        &mut self,
        labels: impl IntoIterator<Item = (&'l str, &'l str)>,
        NanoDollars(nanos): NanoDollars,
    ) {
        let (sign, whole, rest) = (
            if nanos < 0 { "-" } else { "" },
            nanos.unsigned_abs() / 1_000_000_000,
            nanos.unsigned_abs() % 1_000_000_000,
        );
        self.line("", labels, &format_args!("{sign}{whole}.{rest:09}"));
    }

    pub(super) fn line<'l>(
        &mut self,
        suffix: &str,
        labels: impl IntoIterator<Item = (&'l str, &'l str)>,
        value: &dyn std::fmt::Display,
    ) {
        self.text.push_str(&self.name);
        self.text.push_str(suffix);
        let mut separator = '{';
        for (name, value) in labels {
            self.text.push(separator);
            self.text.push_str(name);
            self.text.push_str("=\"");
            escape(self.text, value);
            self.text.push('"');
            separator = ',';
        }
        if separator == ',' {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }
}

fn escape(text: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_break_out_of_its_quotes() {
        let mut page = Page::default();
        page.gauge("x", "Help.").add([("a", "b\"} 1\nevil 2\\")], 0.5);
        assert_eq!(page.finish(), "# HELP x Help.\n# TYPE x gauge\nx{a=\"b\\\"} 1\\nevil 2\\\\\"} 0.5\n");
    }

    #[test]
    fn money_is_written_to_the_last_nano_dollar() {
        let mut page = Page::default();
        let mut samples = page.counter("x_total", "Help.");
        for nanos in [0, 1, 1_500_000_000, -1, i64::MAX] {
            samples.dollars([], NanoDollars(nanos));
        }
        let text = page.finish();
        let values: Vec<&str> = text.lines().skip(2).filter_map(|line| line.split(' ').nth(1)).collect();
        assert_eq!(values, ["0.000000000", "0.000000001", "1.500000000", "-0.000000001", "9223372036.854775807"]);
    }
}
