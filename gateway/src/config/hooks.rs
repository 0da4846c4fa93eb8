//! Python beside the configuration. Fleetgate cannot run it, and some of it is the door or the spending cap of its owner: such
//! a file is refused until the operator says outside of it that he goes on without.

use super::node::{Entry, Node, Place};
use super::report::{Cost, Report};
use super::scalar;
use super::section::Section;
use super::{Environment, otel};

/// The variable that says so.
const IGNORE: &str = "FLEETGATE_IGNORE_PYTHON_HOOKS";

pub(super) const CALLBACK_LISTS: &[&str] =
    &["callbacks", "success_callback", "failure_callback", "service_callback", "input_callback"];
const DOORS: &[&str] =
    &["custom_auth", "custom_key_generate", "custom_sso", "custom_ui_sso_sign_in_handler", "post_call_rules"];

/// Looks for everything that names a Python object, and for guardrails.
pub(super) fn check(root: &Node, environment: &Environment, report: &mut Report) {
    let mut gate = Gate { ignored: environment.is_on(IGNORE), report };
    let general = Section::new("general_settings", root.get("general_settings"));
    for key in DOORS {
        if let Some(node) = general.get(key) {
            gate.stop(&node.place, &format!("general_settings.{key} names Python code"));
        }
    }
    let litellm = Section::new("litellm_settings", root.get("litellm_settings"));
    if let Some(providers) = litellm.get("custom_provider_map")
        && providers.list().is_none_or(|list| !list.is_empty())
    {
        gate.stop(&providers.place, "litellm_settings.custom_provider_map names Python code");
    }
    for key in CALLBACK_LISTS {
        for (name, place) in litellm.get(key).map(Node::texts).unwrap_or_default() {
            gate.callback(&format!("litellm_settings.{key}"), name, place);
        }
    }
    for guardrail in root.get("guardrails").and_then(Node::list).unwrap_or_default() {
        gate.guardrail(guardrail);
    }
    // An older shape: litellm_settings.guardrails, a list of one-key maps.
    for guardrail in litellm.get("guardrails").and_then(Node::list).unwrap_or_default() {
        for Entry { key, place, node } in guardrail.map().unwrap_or_default() {
            gate.named_guardrail(key, is_on(node), place);
        }
    }
}

fn is_on(node: &Node) -> bool {
    node.get("default_on").and_then(Node::text).and_then(scalar::truth).unwrap_or(false)
}

struct Gate<'a> {
    ignored: bool,
    report: &'a mut Report,
}

impl Gate<'_> {
    /// Refuses to start, or says what is missing when the operator goes on without it.
    fn stop(&mut self, place: &Place, what: &str) {
        let origin = place.origin();
        if self.ignored {
            self.report.warn(Cost::Access, origin, format!("{what}; it does not run ({IGNORE} is set)"));
        } else {
            let message = format!(
                "{what}, which Fleetgate cannot run. If it guards access or spending, port it first; {IGNORE}=1 in the \
                 environment goes on without it"
            );
            self.report.error(origin, message);
        }
    }

    fn callback(&mut self, path: &str, name: &str, place: &Place) {
        if is_python_object(name) {
            self.stop(place, &format!("{path} names the Python object {name}"));
        } else if name != "prometheus" && !otel::is_otel(name) {
            // `/metrics` is always there, and `otel.rs` sees to traces.
            let message = format!("{path}: {name} is not honoured: nothing is sent to it");
            self.report.warn(Cost::Watching, place.origin(), message);
        }
    }

    fn guardrail(&mut self, node: &Node) {
        let name = node.get("guardrail_name").and_then(Node::text).unwrap_or("without a name");
        let params = node.get("litellm_params");
        let kind = params.and_then(|params| params.get("guardrail")).and_then(Node::text).unwrap_or_default();
        if is_python_object(kind) {
            self.stop(&node.place, &format!("guardrail {name} names the Python object {kind}"));
        } else {
            self.named_guardrail(name, params.is_some_and(is_on), &node.place);
        }
    }

    fn named_guardrail(&mut self, name: &str, is_on: bool, place: &Place) {
        if is_on {
            self.stop(place, &format!("guardrail {name} is on for every call"));
        } else {
            let message = format!("guardrail {name} is not honoured: calls that ask for it are not checked");
            self.report.warn(Cost::Access, place.origin(), message);
        }
    }
}

/// `module.object`, as opposed to the name of a built-in integration.
fn is_python_object(name: &str) -> bool {
    name.contains('.') && !name.contains(['/', ' '])
}
