//! Settings files of launchers that beat the shell's environment. Names of keys are told, values never.

mod claude;
mod codex;
mod gemini;
mod opencode;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::report::Finding;
use super::surroundings::{Surroundings, Wiring};

const CHECK: &str = "launchers";
/// Settings are small; whatever is larger is something else.
const MAX_LENGTH: u64 = 1 << 20;

/// Everything that overrides the shell, or one finding that nothing does.
pub(super) fn look(surroundings: &Surroundings, wiring: &Wiring) -> Vec<Finding> {
    let looks = [claude::look, codex::look, opencode::look, gemini::look];
    let findings: Vec<Finding> = looks.iter().flat_map(|look| look(surroundings, wiring)).collect();
    if findings.is_empty() {
        return vec![Finding::ok(
            CHECK,
            "no settings of Claude Code, Codex, opencode or Gemini lead around the sidecar",
        )];
    }
    findings
}

/// The file's text; `None` when there is none, or it is no text.
fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(MAX_LENGTH).read_to_string(&mut text).ok()?;
    Some(text)
}

/// A file whose form is broken. The parser's own words may repeat what stands there, so only the place is told.
fn unreadable(path: &Path, line: usize) -> Finding {
    Finding::warning(CHECK, "unreadable", format!("{}:{line}: cannot be read", path.display()))
        .cause("its form is broken; the launcher ignores the file or does not start")
        .next(format!("${{EDITOR:-vi}} +{line} {}", path.display()))
}

/// JSON with comments, as some launchers allow it.
fn parse_json(path: &Path, text: &str) -> Result<serde_json::Value, Finding> {
    serde_json::from_str(&without_comments(text)).map_err(|error| unreadable(path, error.line()))
}

/// Comments become blanks, so that lines keep their numbers; texts stay as they are.
fn without_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    let mut in_text = false;
    while let Some(character) = rest.next() {
        match (character, in_text) {
            ('\\', true) => {
                out.push(character);
                out.extend(rest.next());
            }
            ('"', _) => {
                in_text = !in_text;
                out.push(character);
            }
            ('/', false) if rest.peek() == Some(&'/') => {
                while rest.peek().is_some_and(|next| *next != '\n') {
                    rest.next();
                }
            }
            ('/', false) if rest.peek() == Some(&'*') => {
                rest.next();
                let mut last = ' ';
                for next in rest.by_ref() {
                    if next == '\n' {
                        out.push('\n');
                    }
                    if last == '*' && next == '/' {
                        break;
                    }
                    last = next;
                }
            }
            _ => out.push(character),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_go_and_texts_stay() {
        let text = "{ // one\n \"a\": \"http://x /* no */\", /* two\n */ \"b\\\"//\": 1 }";
        let expected = "{ \n \"a\": \"http://x /* no */\", \n \"b\\\"//\": 1 }";
        assert_eq!(without_comments(text), expected);
        assert_eq!(without_comments("/* open"), "");
    }

    #[test]
    fn a_broken_file_is_named_with_its_line_and_none_of_its_words() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".claude")).unwrap();
        std::fs::write(home.path().join(".claude/settings.json"), "{\n\"env\": sk-canary\n}").unwrap();
        let surroundings = Surroundings {
            home: Some(home.path().to_owned()),
            directory: None,
            system: home.path().to_owned(),
            ..Surroundings::of_this_process()
        };
        let wiring = Wiring::new(&"http://127.0.0.1:4000".parse().unwrap(), &[]);
        let findings = look(&surroundings, &wiring);
        assert_eq!((findings.len(), findings[0].code), (1, "unreadable"));
        assert!(findings[0].what.contains("settings.json:2:") && !format!("{findings:?}").contains("canary"));
    }
}
