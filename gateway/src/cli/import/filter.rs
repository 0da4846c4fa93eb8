//! tinyproxy's filters as patterns of domains, where both mean the same names.

use fleetgate_wire::domain::DomainPattern;

/// How a filter's lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum FilterType {
    /// POSIX basic regular expressions.
    #[default]
    Basic,
    /// POSIX extended ones.
    Extended,
    /// Shell patterns.
    Fnmatch,
}

/// The pattern that holds exactly the names that the line matches; `None` where there is none.
pub(super) fn pattern(line: &str, kind: FilterType) -> Option<String> {
    let pattern = match kind {
        FilterType::Fnmatch => shell_pattern(line)?,
        FilterType::Basic | FilterType::Extended => regular(line)?,
    };
    DomainPattern::parse(&pattern).ok().map(|pattern| pattern.to_string())
}

/// `*` there holds dots too, as it does here.
fn shell_pattern(line: &str) -> Option<String> {
    let name = line.strip_prefix("*.").unwrap_or(line);
    (line == "*" || is_plain(name)).then(|| line.to_owned())
}

/// What is anchored at its end and has no wildcard but at its beginning. A search without an anchor finds more than any pattern
/// holds: `example.com` finds `example.com.evil.net` and `exampleXcom.net`.
fn regular(line: &str) -> Option<String> {
    if matches!(line, "." | ".*" | "^.*$" | ".*$" | "^.*") {
        return Some("*".to_owned());
    }
    let body = line.strip_suffix('$').filter(|body| !body.ends_with('\\'))?;
    let at_and_below = ["(^|\\.)", "\\(^\\|\\.\\)", "^(.*\\.)?", "^(.+\\.)?", "^\\(.*\\.\\)*"];
    let below = ["^.*\\.", ".*\\.", "^.+\\.", ".+\\.", "\\."];
    let form = |heads: &[&str], prefix: &str| {
        let rest = heads.iter().find_map(|head| body.strip_prefix(head))?;
        unescape(rest).map(|name| format!("{prefix}{name}"))
    };
    form(&at_and_below, ".").or_else(|| form(&below, "*.")).or_else(|| form(&["^"], ""))
}

/// A name whose dots are escaped, and that has nothing else of an expression.
fn unescape(text: &str) -> Option<String> {
    let name = text.replace("\\.", "\0");
    (!name.contains('.')).then(|| name.replace('\0', ".")).filter(|name| is_plain(name))
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_taken_only_where_a_pattern_means_the_same_names() {
        use FilterType::{Basic, Extended, Fnmatch};
        for (line, kind, expected) in [
            ("^example\\.com$", Basic, Some("example.com")),
            ("(^|\\.)example\\.com$", Extended, Some(".example.com")),
            ("\\(^\\|\\.\\)example\\.com$", Basic, Some(".example.com")),
            ("\\.example\\.com$", Basic, Some("*.example.com")),
            ("^.*\\.Example\\.com$", Extended, Some("*.example.com")),
            (".*", Basic, Some("*")),
            ("example.com", Basic, None),
            ("example\\.com$", Basic, None),
            ("^example.com$", Basic, None),
            ("^example\\.com", Extended, None),
            ("^(a|b)\\.example\\.com$", Extended, None),
            ("^example\\.com\\$", Basic, None),
            ("*.example.com", Fnmatch, Some("*.example.com")),
            ("example.com", Fnmatch, Some("example.com")),
            ("*", Fnmatch, Some("*")),
            ("*example.com", Fnmatch, None),
            ("ex?mple.com", Fnmatch, None),
            ("^10\\.0\\.0\\.1$", Basic, None),
        ] {
            assert_eq!(pattern(line, kind).as_deref(), expected, "{line}");
        }
    }
}
