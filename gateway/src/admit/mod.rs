//! [`Caller`] to [`Permit`]: may this caller do this now? Every refusal has a reason.

pub mod budget;
pub mod rate;
pub mod scope;

use std::sync::Arc;

use crate::auth::{Caller, CallerKey};
use crate::config::Deployment;

/// The proof that a call may go out. Only [`admit_model`] and [`admit_tunnel`] make one.
#[derive(Debug, Clone)]
pub struct Permit {
    caller: Arc<Caller>,
}

impl Permit {
    /// Who may.
    #[must_use]
    pub fn caller(&self) -> &Arc<Caller> {
        &self.caller
    }
}

/// Why a known caller may not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The key's list of models does not hold this one. Both of LiteLLM's phrasings, since scripts look for either.
    #[error(
        "model {model} is not available for this API key, or the model name is invalid: key {alias} is not allowed to access model. \
         This key can only access models=[{allowed}]. Tried to access {model}. An administrator can change that with /key/update"
    )]
    Model {
        /// The key's name.
        alias: String,
        /// What it may call.
        allowed: String,
        /// What it tried to call.
        model: String,
    },
}

/// Admits a call of a model. A key may name models by their public names, by globs, or by access groups of `model_info`; an
/// alias is as good as the group it stands for.
///
/// # Errors
/// When the key's list holds neither the name nor what it resolves to.
pub fn admit_model<'a>(
    caller: Arc<Caller>,
    model: &str,
    resolved: &str,
    deployments: impl Iterator<Item = &'a Deployment>,
) -> Result<Permit, Refused> {
    let CallerKey::Virtual(record) = &caller.key else { return Ok(Permit { caller }) };
    if reaches(&record.models, model, resolved, deployments) {
        return Ok(Permit { caller });
    }
    let (alias, allowed) = (caller.key.alias().to_owned(), record.models.join(", "));
    Err(Refused::Model { alias, allowed, model: model.to_owned() })
}

/// Whether a key's list of models holds a model: by its name, by the name it resolves to, or by an access group of one of the
/// deployments behind it.
pub fn reaches<'a>(
    allowed: &[String],
    model: &str,
    resolved: &str,
    deployments: impl Iterator<Item = &'a Deployment>,
) -> bool {
    let allows_all = |entry: &str| matches!(entry, "*" | "all-proxy-models" | "all-team-models");
    if allowed.is_empty()
        || allowed.iter().any(|entry| allows_all(entry) || admits(entry, model) || admits(entry, resolved))
    {
        return true;
    }
    let groups = deployments.filter_map(|deployment| deployment.model_info.get("access_groups")?.as_array());
    groups.flatten().filter_map(|group| group.as_str()).any(|group| allowed.iter().any(|entry| entry == group))
}

/// Admits a tunnel. Where it may lead is the dialer's question.
#[must_use]
pub fn admit_tunnel(caller: Arc<Caller>) -> Permit {
    Permit { caller }
}

/// Whether a glob, in which `*` stands for any text, matches the whole name.
fn admits(glob: &str, name: &str) -> bool {
    let Some((head, rest)) = glob.split_once('*') else { return glob == name };
    let Some(mut name) = name.strip_prefix(head) else { return false };
    let mut pieces: Vec<&str> = rest.split('*').collect();
    // `split` gives at least one piece; the last must end the name, those before stand anywhere in order.
    let last = pieces.pop().unwrap_or_default();
    for piece in pieces {
        match name.find(piece) {
            Some(at) => name = &name[at + piece.len()..],
            None => return false,
        }
    }
    name.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glob_matches_the_whole_name_or_not_at_all() {
        for (glob, name, fits) in [
            ("gpt-4o", "gpt-4o", true),
            ("gpt-4o", "gpt-4o-mini", false),
            ("openai/*", "openai/gpt-4o", true),
            ("bedrock/*", "bedrockzz/x", false),
            ("*-mini", "gpt-4o-mini", true),
            ("*-mini", "gpt-4o-mini-x", false),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "abbc", true),
            ("a*b*c", "acb", false),
            ("ab*ba", "aba", false),
            ("*", "", true),
        ] {
            assert_eq!(admits(glob, name), fits, "{glob} {name}");
        }
    }
}
