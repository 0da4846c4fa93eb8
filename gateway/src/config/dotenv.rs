//! The `.env` file beside a configuration.

/// One `NAME=VALUE`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Assignment {
    pub(super) name: String,
    pub(super) value: String,
    /// Counted from 1.
    pub(super) line: usize,
    /// Whether `${NAME}` inside stands for a variable: not in single quotes.
    pub(super) expands: bool,
}

/// Reads `NAME=VALUE` lines with comments, `export`, quotes, and quoted values over several lines. The second list holds the
/// lines that say nothing.
pub(super) fn parse(text: &str) -> (Vec<Assignment>, Vec<usize>) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n");
    let (mut assignments, mut broken) = (Vec::new(), Vec::new());
    let (mut rest, mut line) = (text.as_str(), 1);
    while !rest.is_empty() {
        let (taken, found) = match statement(rest) {
            Statement::Nothing { taken } => (taken, None),
            Statement::Broken { taken } => {
                broken.push(line);
                (taken, None)
            }
            Statement::Assignment { taken, name, value, expands } => (taken, Some((name, value, expands))),
        };
        if let Some((name, value, expands)) = found {
            assignments.push(Assignment { name, value, line, expands });
        }
        line += rest[..taken].matches('\n').count();
        rest = &rest[taken..];
    }
    (assignments, broken)
}

enum Statement {
    Nothing { taken: usize },
    Broken { taken: usize },
    Assignment { taken: usize, name: String, value: String, expands: bool },
}

/// Reads what stands at the beginning of the text, up to and including its newline.
fn statement(text: &str) -> Statement {
    let line_length = text.find('\n').map_or(text.len(), |at| at + 1);
    let line = text[..line_length].trim();
    if line.is_empty() || line.starts_with('#') {
        return Statement::Nothing { taken: line_length };
    }
    let bare = line.strip_prefix("export").filter(|rest| rest.starts_with([' ', '\t'])).unwrap_or(line);
    let name = bare.split('=').next().unwrap_or_default().trim();
    let Some(equals) = text[..line_length].find('=').filter(|_| is_name(name)) else {
        return Statement::Broken { taken: line_length };
    };
    let after = &text[equals + 1..];
    let blanks = after.len() - after.trim_start_matches([' ', '\t']).len();
    let value = &after[blanks..];
    let start = equals + 1 + blanks;
    let (value, used, expands) = match value.chars().next() {
        Some(quote @ ('"' | '\'')) => match quoted(&value[1..], quote) {
            Some((content, used)) => (content, start + used + 1, quote == '"'),
            None => return Statement::Broken { taken: line_length },
        },
        _ => (unquoted(value), start, true),
    };
    let taken = text[used..].find('\n').map_or(text.len(), |at| used + at + 1);
    Statement::Assignment { taken, name: name.to_owned(), value, expands }
}

fn is_name(name: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    !name.is_empty() && name.chars().all(word) && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// The content up to the closing quote, and how many bytes were used, that quote included.
fn quoted(text: &str, quote: char) -> Option<(String, usize)> {
    let mut content = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            _ if character == quote => return Some((content, at + 1)),
            '\\' if quote == '"' => match characters.next()?.1 {
                'n' => content.push('\n'),
                'r' => content.push('\r'),
                't' => content.push('\t'),
                escaped @ ('"' | '\\' | '\'' | '$') => content.push(escaped),
                other => content.extend(['\\', other]),
            },
            '\\' => match characters.clone().next() {
                Some((_, escaped @ ('\'' | '\\'))) => {
                    characters.next();
                    content.push(escaped);
                }
                _ => content.push('\\'),
            },
            _ => content.push(character),
        }
    }
    None
}

fn unquoted(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let comment = line.char_indices().find(|&(at, c)| c == '#' && (at == 0 || line[..at].ends_with([' ', '\t'])));
    line[..comment.map_or(line.len(), |(at, _)| at)].trim().to_owned()
}

/// Replaces `${NAME}` and `${NAME:-otherwise}`; a variable that is not set leaves nothing.
pub(super) fn expand(value: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    let mut expanded = String::new();
    let mut rest = value;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((inside, tail)) = after.split_once('}') else { break };
        let (name, otherwise) = inside.split_once(":-").unwrap_or((inside, ""));
        expanded.push_str(before);
        expanded.push_str(&lookup(name).unwrap_or_else(|| otherwise.to_owned()));
        rest = tail;
    }
    expanded.push_str(rest);
    expanded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(text: &str) -> Vec<(String, String, usize)> {
        parse(text).0.into_iter().map(|found| (found.name, found.value, found.line)).collect()
    }

    fn pair(name: &str, value: &str, line: usize) -> (String, String, usize) {
        (name.to_owned(), value.to_owned(), line)
    }

    #[test]
    fn the_usual_shapes_are_read() {
        let text =
            "# comment\r\nA=1\r\nexport B = two words # why\nC='a#b $x'\n\nD=\"line\\n\\\"q\\\"\" # end\nE=a#b\nF=\n";
        let expected = vec![
            pair("A", "1", 2),
            pair("B", "two words", 3),
            pair("C", "a#b $x", 4),
            pair("D", "line\n\"q\"", 6),
            pair("E", "a#b", 7),
            pair("F", "", 8),
        ];
        assert_eq!(pairs(text), expected);
    }

    #[test]
    fn a_quoted_value_may_go_over_several_lines() {
        let text = "PEM=\"-----BEGIN\nabc\n-----END\"\nNEXT=1";
        assert_eq!(pairs(text), [pair("PEM", "-----BEGIN\nabc\n-----END", 1), pair("NEXT", "1", 4)]);
    }

    #[test]
    fn lines_that_say_nothing_are_counted_and_skipped() {
        let (found, broken) = parse("A=1\nwhat is this\n1B=2\nC=\"open\nD=4\n");
        assert_eq!(broken, [2, 3, 4]);
        assert_eq!(found.iter().map(|found| found.name.as_str()).collect::<Vec<_>>(), ["A", "D"]);
    }

    #[test]
    fn references_are_expanded_except_in_single_quotes() {
        let lookup = |name: &str| (name == "HOST").then(|| "db".to_owned());
        assert_eq!(expand("//${HOST}/${PORT:-5432}/${NONE}x", lookup), "//db/5432/x");
        assert_eq!(expand("${HOST", lookup), "${HOST");
        assert!(!parse("A='${B}'").0[0].expands);
    }

    proptest! {
        #[test]
        fn a_single_quoted_value_survives(value in "[^'\\\\\r]{0,40}") {
            let text = format!("A='{value}'\nB=1\n");
            let found = pairs(&text);
            prop_assert_eq!(&found[0].1, &value);
            prop_assert_eq!(&found[1].0, "B");
        }

        #[test]
        fn a_double_quoted_value_survives(value in "[^\r]{0,40}") {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
            prop_assert_eq!(&pairs(&format!("export A=\"{escaped}\""))[0].1, &value);
        }

        #[test]
        fn no_text_makes_the_parser_stumble(text in "(?s).{0,200}") {
            let (found, broken) = parse(&text);
            let lines = text.matches('\n').count() + 1;
            prop_assert!(found.iter().map(|found| found.line).chain(broken).all(|line| line <= lines));
        }
    }
}
