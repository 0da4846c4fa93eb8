//! What is changed in a request's body on its way to a provider. Everything else stays byte for byte.

use fleetgate_wire::endpoint::Endpoint;
use serde_json::{Value, json};

use super::resolve::Upstream;
use super::spec::REFUSED_BY_REASONING;
use crate::config::Deployment;
use crate::dialect::{Ask, Edit, Fields};

/// Defaults that mean something only where text is produced.
const GENERATION_ONLY: [Endpoint; 2] = [Endpoint::Embeddings, Endpoint::CountTokens];
/// Names for the same limit: a default for one must not meet another from the client.
const OUTPUT_LIMITS: [&str; 3] = ["max_tokens", "max_completion_tokens", "max_output_tokens"];

/// The edits, and whether a usage chunk will come that the client did not ask for.
pub(super) fn collect(
    ask: &Ask,
    fields: &Fields<'_>,
    deployment: &Deployment,
    upstream: &Upstream,
    model: &str,
    drop_params: bool,
) -> (Vec<Edit>, bool) {
    let mut edits = Vec::new();
    if *ask.model != *model {
        edits.push(Edit::Set("model".into(), model.into()));
    }
    for (name, value) in &deployment.extra_body {
        put(&mut edits, Edit::Set(name.clone(), value.clone()));
    }
    if !GENERATION_ONLY.contains(&ask.endpoint) {
        let limited = OUTPUT_LIMITS.iter().any(|name| fields.has(name));
        for (name, value) in &deployment.defaults {
            let is_limit = OUTPUT_LIMITS.contains(&name.as_str());
            let name = limit_name(ask.endpoint, name);
            if fields.raw(name).is_none() && !(is_limit && limited) && given(&edits, name).is_none() {
                edits.push(Edit::Set(name.to_owned(), value.clone()));
            }
        }
    }
    for name in &deployment.additional_drop_params {
        put(&mut edits, Edit::Remove(name.clone()));
    }
    if deployment.drop_params.unwrap_or(drop_params) {
        // Defaults go too; what `extra_body` says was said for this provider.
        let refused = upstream.spec().refuses.iter().chain(refused_by_model(upstream, model));
        for name in refused.filter(|name| !deployment.extra_body.contains_key(**name)) {
            put(&mut edits, Edit::Remove((*name).to_owned()));
        }
    }
    let says_usage = fields.has("usage") || given(&edits, "usage").is_some();
    if upstream.provider() == "openrouter" && !says_usage && ask.endpoint != Endpoint::Embeddings {
        // Makes the answer carry its price.
        edits.push(Edit::Set("usage".into(), json!({ "include": true })));
    }
    let strip_usage = ask_for_usage(ask, fields, upstream, &mut edits);
    (edits, strip_usage)
}

/// Puts a limit on the output, in place of the one that the client or the entry gives: under the name that they use, else the
/// provider's.
pub(super) fn limit_output(
    endpoint: Endpoint,
    fields: &Fields<'_>,
    upstream: &Upstream,
    limit: u64,
    edits: &mut Vec<Edit>,
) {
    let stands =
        |name: &&&str| given(edits, name).is_some() || fields.raw(name).is_some_and(|raw| raw.trim() != "null");
    let usual = match endpoint {
        Endpoint::Responses => "max_output_tokens",
        Endpoint::Chat if matches!(upstream.provider(), "openai" | "azure") => "max_completion_tokens",
        _ => "max_tokens",
    };
    let name = OUTPUT_LIMITS.iter().find(stands).copied().unwrap_or(usual);
    put(edits, Edit::Set(name.to_owned(), limit.into()));
}

/// The output limit that an entry sets over the client's (`extra_body`) or in its absence (defaults).
pub(crate) fn entrys_limit(deployment: &Deployment, client_gives_one: bool) -> Option<u64> {
    let of = |map: &serde_json::Map<String, Value>| OUTPUT_LIMITS.iter().find_map(|name| map.get(*name)?.as_u64());
    of(&deployment.extra_body).or_else(|| of(&deployment.defaults).filter(|_| !client_gives_one))
}

fn refused_by_model(upstream: &Upstream, model: &str) -> &'static [&'static str] {
    let reasons = ["o1", "o3", "o4", "gpt-5"].iter().any(|start| model.starts_with(start));
    if reasons && matches!(upstream.provider(), "openai" | "azure") { REFUSED_BY_REASONING } else { &[] }
}

fn limit_name(endpoint: Endpoint, name: &str) -> &str {
    if endpoint == Endpoint::Responses && OUTPUT_LIMITS.contains(&name) { "max_output_tokens" } else { name }
}

/// Chat and text streams report usage only when asked to. Returns whether the client must not see the extra chunk.
fn ask_for_usage(ask: &Ask, fields: &Fields<'_>, upstream: &Upstream, edits: &mut Vec<Edit>) -> bool {
    let asks = matches!(ask.endpoint, Endpoint::Chat | Endpoint::Completions) && ask.stream && !ask.wants_usage;
    // An operator whose server refuses the parameter says so with `additional_drop_params`.
    let dropped = edits.iter().any(|edit| matches!(edit, Edit::Remove(name) if name == "stream_options"));
    if !asks || dropped || !upstream.spec().asks_stream_usage || !azure_knows_stream_options(upstream) {
        return false;
    }
    let mut options: serde_json::Map<String, Value> = match given(edits, "stream_options") {
        Some(options) => options.as_object().cloned().unwrap_or_default(),
        None => fields.read("stream_options").unwrap_or_default(),
    };
    options.insert("include_usage".into(), Value::Bool(true));
    put(edits, Edit::Set("stream_options".into(), Value::Object(options)));
    true
}

/// Adds an edit in place of an earlier one of the same member: a member that stands twice is refused or misread upstream.
fn put(edits: &mut Vec<Edit>, edit: Edit) {
    edits.retain(|earlier| name_of(earlier) != name_of(&edit));
    edits.push(edit);
}

fn name_of(edit: &Edit) -> &str {
    match edit {
        Edit::Set(name, _) | Edit::Remove(name) => name,
    }
}

/// What the edits so far give a member.
fn given<'e>(edits: &'e [Edit], name: &str) -> Option<&'e Value> {
    edits.iter().find_map(|edit| match edit {
        Edit::Set(known, value) if known == name => Some(value),
        _ => None,
    })
}

/// Azure's API knows `stream_options` since 2024-09-01-preview; earlier versions answer 400.
fn azure_knows_stream_options(upstream: &Upstream) -> bool {
    let dated = upstream.api_version.as_deref().filter(|version| version.starts_with("20"));
    upstream.provider() != "azure" || dated.is_none_or(|version| version >= "2024-09")
}
