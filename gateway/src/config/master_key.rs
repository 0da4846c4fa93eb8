//! The administrator's key.

use fleetgate_wire::SecretString;

use super::deployment::is_unexpanded;
use super::node::Node;
use super::report::{Cost, Report};
use super::section::{Given, Section};
use super::{Environment, Origin, redact};

const VARIABLE: &str = "LITELLM_MASTER_KEY";
const PERMIT_WEAK: &str = "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY";
const SHORTEST: usize = 8;

/// Keys that stand in documentation and in other people's repositories.
const PUBLIC: &[&str] = &[
    "sk-1234",
    "sk-12345",
    "sk-123456",
    "sk-1234567",
    "sk-12345678",
    "sk-123456789",
    "sk-1234567890",
    "sk-local",
    "sk-litellm",
    "sk-litellm-local",
    "sk-litellm-master-key",
    "sk-litellm-master",
    "sk-master-key",
    "sk-masterkey",
    "sk-master",
    "sk-admin",
    "sk-admin-key",
    "sk-test-key",
    "sk-testing",
    "sk-your-master-key",
    "sk-your-key-here",
    "sk-change-me",
    "sk-changeme",
    "your-master-key",
    "your-master-key-here",
    "changeme",
    "change-me",
    "master-key",
    "litellm-master-key",
    "password",
    "password123",
];

/// Reads the master key and judges it; `is_reachable`: other machines can try keys.
pub(super) fn read(
    general: &Section<'_>,
    litellm: &Section<'_>,
    environment: &Environment,
    is_reachable: bool,
    from: &Origin,
    report: &mut Report,
) -> Option<SecretString> {
    let found = find(general, litellm, environment, from, report);
    let path = "general_settings.master_key";
    report.setting(
        path,
        redact::presence(found.is_some()),
        found.as_ref().map_or(Origin::Default, |key| key.origin.clone()),
    );
    let key = found?;
    if is_unexpanded(&key.value) {
        let message = "the master key is a ${…} that nobody expands: everybody could guess it. Write os.environ/NAME";
        report.error(key.origin, message);
        return None;
    }
    if is_weak(&key.value) {
        let permitted = environment.is_on(PERMIT_WEAK)
            || general.truth("dangerously_permit_weak_or_unset_master_key", report).is_some_and(|given| given.value);
        let message = "the master key is a well-known one or shorter than 8 characters: anybody who reaches the gateway can spend \
                       and make keys. Set a random one: openssl rand -hex 24";
        if permitted || !is_reachable {
            report.warn(Cost::Access, key.origin, message);
        } else {
            report.error(key.origin, format!("{message}. {PERMIT_WEAK}=true starts with it nevertheless"));
        }
    }
    Some(SecretString::from(key.value))
}

fn find(
    general: &Section<'_>,
    litellm: &Section<'_>,
    environment: &Environment,
    from: &Origin,
    report: &mut Report,
) -> Option<Given<String>> {
    let not_empty = |given: &Given<String>| !given.value.trim().is_empty();
    if let Some(key) = general.text("master_key", report).filter(not_empty) {
        return Some(key);
    }
    let declared = general.node().and_then(|general| general.entry("master_key"));
    if let Some((key, origin)) = environment.given(VARIABLE) {
        if let Some(declared) = declared {
            let message = format!("{}; {VARIABLE} of the environment is used", why_absent(&declared.node));
            report.warn(Cost::Access, declared.place.origin(), message);
        }
        return Some(Given::new(key.to_owned(), origin));
    }
    if let Some(key) = litellm.text("master_key", report).filter(not_empty) {
        return Some(key);
    }
    let origin = declared.map_or_else(|| from.clone(), |declared| declared.place.origin());
    let why = declared.map(|declared| format!(" ({})", why_absent(&declared.node))).unwrap_or_default();
    let message =
        format!("there is no master key{why}: nobody can manage keys, only virtual keys that exist already work");
    report.warn(Cost::Access, origin, message);
    None
}

fn why_absent(node: &Node) -> String {
    match &node.reference {
        Some(reference) => format!("general_settings.master_key names {}, which is not set", reference.variable),
        None => "general_settings.master_key is empty".to_owned(),
    }
}

fn is_weak(key: &str) -> bool {
    key.len() < SHORTEST || PUBLIC.contains(&key.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    #[test]
    fn public_and_short_keys_are_weak() {
        for key in ["sk-1234", "SK-1234", "short", "sk-litellm-master-key"] {
            assert!(super::is_weak(key), "{key}");
        }
        assert!(!super::is_weak("sk-3c1f0a9e77d24b5f"));
    }
}
