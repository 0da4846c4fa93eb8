//! Headers that programs add to each call because a variable says so: one a line (Claude Code and the SDKs), or separated by commas
//! (gemini-cli).

use std::ffi::OsStr;

use fleetgate_wire::header::{CREDENTIALS, PREFIX, WORKLOAD};
use fleetgate_wire::provider_key;
use http::HeaderName;

use super::child::{Change, Child, Environment};

/// The variables, and what separates their headers. Claude Code and Anthropic's SDKs read the first, `OpenAI`'s SDKs the second.
const VARIABLES: [(&str, char); 3] =
    [("ANTHROPIC_CUSTOM_HEADERS", '\n'), ("OPENAI_CUSTOM_HEADERS", '\n'), ("GEMINI_CLI_CUSTOM_HEADERS", ',')];
/// A header whose name ends so carries what lets somebody in: `X-Portkey-Api-Key`, `CF-Access-Client-Secret`, `Helicone-Auth`.
const SECRET_WORDS: [&str; 7] = ["key", "token", "secret", "auth", "authorization", "password", "cookie"];

/// Takes the caller's credentials out of the headers of every program, and says so: they were meant for the address that the calls no
/// longer go to. So goes the name of an outer launcher.
pub(super) fn take_out_credentials(child: &mut Child, caller: &Environment) {
    for (variable, separator) in VARIABLES {
        let Some(own) = caller.get(OsStr::new(variable)) else { continue };
        let Some(own) = own.to_str() else {
            child.notes.push(format!("{variable} is no text, and was taken out for this run"));
            child.changes.insert(variable.to_owned(), Change::Foreign);
            continue;
        };
        let sorted = Sorted::new(own, separator);
        if !sorted.credentials.is_empty() {
            let names = sorted.credentials.join(", ");
            child.notes.push(format!(
                "{variable}: {names} taken out for this run; the sidecar puts this host's key in, and the provider's stay at the gateway"
            ));
        }
        if sorted.kept.is_empty() {
            child.changes.insert(variable.to_owned(), Change::Foreign);
        } else if sorted.has_dropped {
            child.set(variable, sorted.kept.join(&separator.to_string()));
        }
    }
}

/// The caller's own headers, but for credentials and an outer launcher's name, with the workload behind them.
pub(super) fn with_workload(own: &str, separator: char, workload: &str) -> String {
    let mut lines = Sorted::new(own, separator).kept;
    lines.push(format!("{WORKLOAD}: {workload}"));
    lines.join(&separator.to_string())
}

/// The headers of a variable, told apart.
#[derive(Debug, Default)]
struct Sorted {
    kept: Vec<String>,
    /// The names of those that carried a credential.
    credentials: Vec<String>,
    has_dropped: bool,
}

impl Sorted {
    fn new(own: &str, separator: char) -> Self {
        let mut sorted = Self::default();
        for line in lines(own, separator) {
            // Without a colon it is no header, and no program makes one of it.
            let (name, value) = line.split_once(':').unwrap_or_default();
            let name = name.trim();
            if is_credential(name, value) {
                // What is no name may be a part of a secret.
                let shown = if HeaderName::try_from(name).is_ok() { name } else { "a header" };
                sorted.credentials.push(shown.to_owned());
            } else if !name.is_empty() && !name.to_ascii_lowercase().starts_with(PREFIX) {
                sorted.kept.push(line);
                continue;
            }
            sorted.has_dropped = true;
        }
        sorted
    }
}

/// A part without a colon belongs to the header before it: a value may hold a comma.
fn lines(own: &str, separator: char) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for part in own.split(separator).filter(|part| !part.trim().is_empty()) {
        match lines.last_mut() {
            Some(line) if !part.contains(':') => {
                line.push(separator);
                *line += part;
            }
            _ => lines.push(part.to_owned()),
        }
    }
    lines
}

fn is_credential(name: &str, value: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let last = name.rsplit(['-', '_']).next().unwrap_or_default();
    let is_key = |word: &str| provider_key::recognise(word).is_some();
    CREDENTIALS.iter().any(|known| name == known.as_str())
        || SECRET_WORDS.contains(&last)
        || value.split([' ', ',', ';', '=']).any(is_key)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn own_lines_stay_but_for_credentials_and_an_outer_launchers_name() {
        let own =
            "X-Team: blue\nx-fleetgate-workload: outer\n\nAuthorization: Bearer canary\nX-Api-Key:canary\nX-B: a:b";
        assert_eq!(with_workload(own, '\n', "claude-glm"), "X-Team: blue\nX-B: a:b\nx-fleetgate-workload: claude-glm");
        assert_eq!(with_workload("", '\n', "claude-glm"), "x-fleetgate-workload: claude-glm");
        assert_eq!(with_workload("X-Team: blue", ',', "g"), "X-Team: blue,x-fleetgate-workload: g");
        assert_eq!(with_workload("Cookie: a,b,X-A: 1,2", ',', "g"), "X-A: 1,2,x-fleetgate-workload: g");
    }

    fn taken_out(variable: &str, own: &str) -> (Child, Option<String>) {
        let mut child = Child::new(OsStr::new("x"), &[]);
        take_out_credentials(&mut child, &Environment::from([(variable.into(), own.into())]));
        let value = child.value(variable).map(|value| value.to_string_lossy().into_owned());
        (child, value)
    }

    #[test]
    fn every_kind_of_credential_is_taken_out_and_named_without_its_value() {
        let key = format!("sk-ant-api03-{}canaryAA", "a1".repeat(43));
        for (own, named) in [
            ("AUTHORIZATION: Bearer canary".to_owned(), "AUTHORIZATION"),
            ("api-key: canary".to_owned(), "api-key"),
            ("x-portkey-api-key:canary".to_owned(), "x-portkey-api-key"),
            ("CF-Access-Client-Secret: canary".to_owned(), "CF-Access-Client-Secret"),
            ("Helicone-Auth: Bearer canary".to_owned(), "Helicone-Auth"),
            (format!("X-Account: {key}"), "X-Account"),
            (format!("can ary: {key}"), "a header"),
        ] {
            let (child, value) = taken_out("ANTHROPIC_CUSTOM_HEADERS", &format!("X-Team: blue\n{own}\nX-B: 1"));
            assert_eq!(value.as_deref(), Some("X-Team: blue\nX-B: 1"), "{own}");
            let [note] = child.notes.as_slice() else { panic!("{:?}", child.notes) };
            assert!(note.contains(&format!("HEADERS: {named} taken out")) && !note.contains("canary"), "{note}");
            assert!(!note.contains(&key), "{note}");
            let (child, _) = taken_out("OPENAI_CUSTOM_HEADERS", &own);
            assert_eq!(child.changes.get("OPENAI_CUSTOM_HEADERS"), Some(&Change::Foreign));
        }
    }

    #[test]
    fn headers_without_a_credential_are_left_as_they_are() {
        for own in ["X-Team: blue", "X-Team: blue\nX-Monkey-Count: 3", "anthropic-beta: a,b"] {
            let (child, _) = taken_out("ANTHROPIC_CUSTOM_HEADERS", own);
            assert!(child.changes.is_empty() && child.notes.is_empty(), "{own}: {:?}", child.notes);
        }
    }

    proptest! {
        #[test]
        fn nothing_of_a_credential_is_left(before in "[xX]-[a-z]{1,8}: [a-z0-9]{0,9}", secret in "canary[a-z0-9 ,;=]{0,30}", comma in any::<bool>()) {
            let separator = if comma { ',' } else { '\n' };
            let own = format!("{before}{separator}Authorization: Bearer {secret}{separator}X-Last: 1");
            let left = with_workload(&own, separator, "w");
            prop_assert!(!left.contains("canary"), "{}", left);
            prop_assert!(left.ends_with(&format!("X-Last: 1{separator}x-fleetgate-workload: w")), "{}", left);
        }
    }
}
