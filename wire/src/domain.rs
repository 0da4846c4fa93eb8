//! Patterns of host names in rules. They end at the dots of a name: `example.com` never holds `evil-example.com`.

use std::fmt;

use crate::authority::{Host, parse_host};

/// Which names a rule speaks of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DomainPattern {
    form: Form,
    /// Canonical, as in [`Host::Name`]; empty for everything.
    name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Form {
    /// `*`
    Everything,
    /// `example.com`
    Exact,
    /// `*.example.com`
    Below,
    /// `.example.com`
    AtAndBelow,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no domain pattern; write example.com (that name), *.example.com (the names below it), .example.com (both) or * (everything)"
)]
pub struct DomainPatternError(String);

/// How closely a pattern fits; of two that match, the greater one is the more specific.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Closeness {
    labels: usize,
    exact: bool,
}

impl DomainPattern {
    /// Reads a pattern. Names are brought into the form in which destinations are compared: lower case, punycode, no last dot.
    ///
    /// # Errors
    /// On everything else, addresses included.
    pub fn parse(text: &str) -> Result<Self, DomainPatternError> {
        if text == "*" {
            return Ok(Self { form: Form::Everything, name: String::new() });
        }
        let (form, name) = match (text.strip_prefix("*."), text.strip_prefix('.')) {
            (Some(name), _) => (Form::Below, name),
            (None, Some(name)) => (Form::AtAndBelow, name),
            (None, None) => (Form::Exact, text),
        };
        match parse_host(name) {
            Ok(Host::Name(name)) => Ok(Self { form, name }),
            _ => Err(DomainPatternError(text.to_owned())),
        }
    }

    /// Whether a destination is one of those. An address is one for `*` only.
    #[must_use]
    pub fn matches(&self, host: &Host) -> bool {
        let name = match (self.form, host) {
            (Form::Everything, _) => return true,
            (_, Host::Address(_)) => return false,
            (_, Host::Name(name)) => name,
        };
        let is_below = || name.strip_suffix(&self.name).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'));
        match self.form {
            Form::Everything => true,
            Form::Exact => *name == self.name,
            Form::Below => is_below(),
            Form::AtAndBelow => *name == self.name || is_below(),
        }
    }

    /// How close a fit it is where it matches.
    #[must_use]
    pub fn closeness(&self) -> Closeness {
        let labels = if self.form == Form::Everything { 0 } else { self.name.split('.').count() };
        Closeness { labels, exact: self.form == Form::Exact }
    }
}

impl fmt::Display for DomainPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = match self.form {
            Form::Everything => "*",
            Form::Exact => "",
            Form::Below => "*.",
            Form::AtAndBelow => ".",
        };
        write!(f, "{prefix}{}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::authority::Authority;

    fn matches(pattern: &str, host: &str) -> bool {
        let authority = Authority::parse(&format!("{host}:443")).unwrap();
        DomainPattern::parse(pattern).unwrap().matches(authority.host())
    }

    #[test]
    fn a_pattern_ends_at_a_dot_of_the_name() {
        for (pattern, host, fits) in [
            ("example.com", "example.com", true),
            ("example.com", "EXAMPLE.com.", true),
            ("example.com", "a.example.com", false),
            ("example.com", "evil-example.com", false),
            ("example.com", "example.com.evil.org", false),
            ("*.example.com", "a.example.com", true),
            ("*.example.com", "a.b.example.com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", "evilexample.com", false),
            (".example.com", "example.com", true),
            (".example.com", "a.example.com.", true),
            (".example.com", "evilexample.com", false),
            ("*.Bücher.example", "a.xn--bcher-kva.example", true),
            ("com", "example.com", false),
            ("*", "example.com", true),
            ("*", "1.2.3.4", true),
            (".com", "[::1]", false),
        ] {
            assert_eq!(matches(pattern, host), fits, "{pattern} {host}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in
            ["", ".", "*.", "**", "*example.com", "a.*.com", "example.*", "1.2.3.4", "*.1.2.3.4", "a b", "..a", "a:443"]
        {
            assert!(DomainPattern::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn more_labels_are_closer_and_the_name_itself_is_closest() {
        let order = ["*", ".com", "*.example.com", "example.com", ".a.example.com", "a.example.com"];
        let closeness = order.map(|text| DomainPattern::parse(text).unwrap().closeness());
        assert!(closeness.is_sorted(), "{closeness:?}");
        let tie = [".example.com", "*.example.com"].map(|text| DomainPattern::parse(text).unwrap().closeness());
        assert_eq!(tie[0], tie[1]);
    }

    proptest! {
        #[test]
        fn a_pattern_reads_back_as_itself(text in "\\PC{0,40}") {
            if let Ok(pattern) = DomainPattern::parse(&text) {
                prop_assert_eq!(DomainPattern::parse(&pattern.to_string()), Ok(pattern));
            }
        }
    }
}
