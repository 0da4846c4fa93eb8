//! One `model_list` entry.

use std::collections::BTreeMap;

use fleetgate_wire::SecretString;
use serde_json::{Map, Value as Json};
use sha2::{Digest, Sha256};

use super::node::{Node, Value};
use super::params::{self, Param};
use super::report::{Cost, Report};
use super::section::Section;
use super::{Deployment, cooldown, prices, rates, redact, scalar};

/// What an entry needs to know of the rest of the file.
pub(super) struct Surroundings<'a> {
    /// `credential_list`.
    pub(super) credentials: &'a [Node],
    /// Shares are whole numbers: 1000 when any `weight` of the file has a fraction, otherwise 1.
    pub(super) weight_scale: f64,
}

/// Reads an entry that has a name and a model.
pub(super) fn read(
    entry: &Node,
    path: &str,
    index: usize,
    around: &Surroundings<'_>,
    report: &mut Report,
) -> Option<Deployment> {
    let params_path = format!("{path}.litellm_params");
    let own = entry.get("litellm_params")?;
    let merged = with_credential(own, around.credentials, &params_path, report);
    let params = Section::new(&params_path, Some(&merged));
    let info_path = format!("{path}.model_info");
    let info = Section::new(&info_path, entry.get("model_info"));

    let model = params.text("model", report)?.value;
    let base = params.text("api_base", report).or_else(|| params.text("base_url", report));
    let (drop_params, additional_drop_params) = dropped_params(&params, report);
    let deployment = Deployment {
        index,
        id: id(entry, own, &info, report),
        model_name: entry.get("model_name")?.text()?.to_owned(),
        model,
        custom_provider: params.text("custom_llm_provider", report).map(|given| given.value),
        api_key: api_key(&params, report),
        names_key: params.node().is_some_and(|node| node.entry("api_key").is_some()),
        api_base: base.map(|given| given.value),
        api_version: params.text("api_version", report).map(|given| given.value),
        organization: params.text("organization", report).map(|given| given.value),
        extra_headers: headers(&params, report),
        extra_body: members(&params, "extra_body", report),
        defaults: defaults(&params, report),
        drop_params,
        additional_drop_params,
        weight: weight(&params, around.weight_scale, report),
        rates: rates::of_entry(&params, report),
        order: params.whole("order", report).map_or(0, |given| u32::try_from(given.value).unwrap_or(u32::MAX)),
        cooldown: cooldown::of_entry(&params, &info, report),
        timeout: params.seconds("timeout", report).map(|given| given.value),
        stream_timeout: params.seconds("stream_timeout", report).map(|given| given.value),
        mock_response: params.text("mock_response", report).map(|given| given.value),
        prices: prices::read(&params, &info, report),
        base_model: base_model(&params, &info, report),
        model_info: info.node().map(scalar::object).unwrap_or_default(),
        origin: entry.place.origin(),
    };
    note_settings(&deployment, entry, &[params, info], path, report);
    Some(deployment)
}

/// The entry's parameters over those of the credential that it names.
fn with_credential(own: &Node, credentials: &[Node], path: &str, report: &mut Report) -> Node {
    let mut merged = own.clone();
    let Some(wanted) = own.get("litellm_credential_name") else { return merged };
    let named = |credential: &&Node| credential.get("credential_name").and_then(Node::text) == wanted.text();
    let Some(values) = credentials.iter().find(named).and_then(|found| found.get("credential_values")) else {
        let message = format!("{path}.litellm_credential_name names no entry of credential_list");
        report.warn(Cost::Serving, wanted.place.origin(), message);
        return merged;
    };
    if let Value::Map(entries) = &mut merged.value {
        for value in values.map().unwrap_or_default() {
            if own.get(&value.key).is_none() {
                entries.retain(|entry| entry.key != value.key);
                entries.push(value.clone());
            }
        }
    }
    merged
}

fn api_key(params: &Section<'_>, report: &mut Report) -> Option<SecretString> {
    let key = params.text("api_key", report)?;
    if is_unexpanded(&key.value) {
        let message = format!(
            "{}.api_key holds a ${{…}} or env(…) that nobody expands; it counts as absent. Write os.environ/NAME",
            params.path
        );
        report.warn(Cost::Serving, key.origin, message);
        return None;
    }
    (!key.value.is_empty()).then(|| SecretString::from(key.value))
}

/// Whether a text is a placeholder of a shell or of a program that did not run.
pub(super) fn is_unexpanded(text: &str) -> bool {
    let text = text.trim();
    (text.contains("${") && text.contains('}')) || (text.starts_with("env(") && text.ends_with(')'))
}

/// `drop_params` is a truth, or a list that means `additional_drop_params`.
fn dropped_params(params: &Section<'_>, report: &mut Report) -> (Option<bool>, Vec<String>) {
    let mut names = params.texts("additional_drop_params");
    if params.get("drop_params").is_some_and(|node| node.list().is_some()) {
        names.extend(params.texts("drop_params"));
        return (None, names);
    }
    (params.truth("drop_params", report).map(|given| given.value), names)
}

fn headers(params: &Section<'_>, report: &mut Report) -> Vec<(String, String)> {
    let mut headers = Vec::new();
    for key in ["headers", "extra_headers"] {
        for (name, value) in members(params, key, report) {
            match value {
                Json::String(text) => headers.push((name, text)),
                Json::Null => {}
                other => headers.push((name, other.to_string())),
            }
        }
    }
    headers
}

fn members(params: &Section<'_>, key: &str, report: &mut Report) -> Map<String, Json> {
    let Some(node) = params.get(key) else { return Map::new() };
    if node.map().is_none() {
        report.error(node.place.origin(), format!("{}.{key} must be a map; this is {}", params.path, node.kind()));
    }
    scalar::object(node)
}

/// Request parameters go to the provider where the caller sent none; everything that is none is named.
fn defaults(params: &Section<'_>, report: &mut Report) -> Map<String, Json> {
    let mut defaults = Map::new();
    for entry in params.node().and_then(Node::map).unwrap_or_default() {
        if entry.node.is_null() {
            continue;
        }
        let (path, origin) = (format!("{}.{}", params.path, entry.key), entry.place.origin());
        match params::param(&entry.key) {
            Param::Typed | Param::Price => {}
            Param::Default => {
                defaults.insert(entry.key.clone(), scalar::json(&entry.node));
            }
            Param::Unknown => {
                defaults.insert(entry.key.clone(), scalar::json(&entry.node));
                report
                    .notice(origin, format!("{path} is no parameter that Fleetgate knows; it is sent to the provider"));
            }
            Param::Description => report.notice(origin, format!("{path} describes the model and changes nothing")),
            Param::Limit => {
                report.warn(
                    Cost::Money,
                    origin,
                    format!("{path} is not honoured: this limit is not enforced by this version"),
                );
            }
            Param::Cloud => {
                let message = format!("{path} is not honoured: this version signs in with api_key only");
                report.warn(Cost::Serving, origin, message);
            }
            Param::Client => {
                let consequence = params::consequence(&entry.key);
                report.warn(Cost::Serving, origin, format!("{path} is not honoured: {consequence}"));
            }
        }
    }
    defaults
}

fn weight(params: &Section<'_>, scale: f64, report: &mut Report) -> u64 {
    if let Some(node) = params.get("weight") {
        if let Some(weight) = node.text().and_then(scalar::number).filter(|weight| (0.0..1e9).contains(weight)) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked above")]
            return (weight * scale).round() as u64;
        }
        report.error(node.place.origin(), format!("{}.weight must be a number of at least 0", params.path));
    }
    ["rpm", "tpm"].into_iter().find_map(|key| params.whole(key, report)).map_or(1, |given| given.value)
}

fn base_model(params: &Section<'_>, info: &Section<'_>, report: &mut Report) -> Option<String> {
    if let Some(given) = info.text("base_model", report) {
        return Some(given.value);
    }
    let given = params.text("base_model", report)?;
    report.notice(given.origin, format!("{}.base_model belongs in model_info; it is honoured here too", params.path));
    Some(given.value)
}

/// `model_info.id`, or a hash of everything that is no secret: the name of the variable stands for a key.
fn id(entry: &Node, own: &Node, info: &Section<'_>, report: &mut Report) -> String {
    if let Some(given) = info.text("id", report) {
        return given.value;
    }
    let name = entry.get("model_name").and_then(Node::text).unwrap_or_default();
    let mut parts = BTreeMap::new();
    for param in own.map().unwrap_or_default() {
        let value = match &param.node.reference {
            Some(reference) => Json::String(format!("os.environ/{}", reference.variable)),
            None if is_secret(&param.key) => continue,
            None => scalar::json(&param.node),
        };
        parts.insert(param.key.as_str(), value);
    }
    let canonical = serde_json::json!({ "model_name": name, "litellm_params": parts }).to_string();
    Sha256::digest(canonical.as_bytes()).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

fn is_secret(key: &str) -> bool {
    key == "api_key" || params::param(key) == Param::Cloud || matches!(key, "headers" | "extra_headers" | "extra_body")
}

fn note_settings(deployment: &Deployment, entry: &Node, sections: &[Section<'_>; 2], path: &str, report: &mut Report) {
    let [params, info] = sections;
    // A null has its line too: that is where somebody meant to set something.
    let at = |key: &str| {
        let found = sections.iter().find_map(|section| section.node()?.entry(key));
        found.map_or_else(|| entry.place.origin(), |entry| entry.node.origin())
    };
    let name = entry.get("model_name").map_or_else(|| entry.place.origin(), Node::origin);
    report.setting(format!("{path}.model_name"), deployment.model_name.as_str(), name);
    let path = params.path;
    report.setting(format!("{path}.model"), deployment.model.as_str(), at("model"));
    report.setting(format!("{path}.api_key"), redact::presence(deployment.api_key.is_some()), at("api_key"));
    for key in ["api_base", "base_url"] {
        if let Some(base) = params.get(key).and_then(Node::text) {
            report.setting(format!("{path}.{key}"), redact::url(base), at(key));
        }
    }
    let numbers = [
        "weight",
        "rpm",
        "tpm",
        "rpd",
        "tpd",
        "max_parallel_requests",
        "order",
        "timeout",
        "stream_timeout",
        "allowed_fails",
        "cooldown_time",
    ];
    for key in ["api_version", "custom_llm_provider"].iter().chain(&numbers) {
        if let Some(text) = params.get(key).and_then(Node::text)
            // A text where a number belongs could be a key that slipped a line.
            && (!numbers.contains(key) || scalar::number(text).is_some())
        {
            report.setting(format!("{path}.{key}"), text, at(key));
        }
    }
    for key in ["id", "mode"] {
        if let Some(node) = info.get(key)
            && let Some(text) = node.text()
        {
            report.setting(format!("{}.{key}", info.path), text, node.origin());
        }
    }
    if let Some(base_model) = &deployment.base_model {
        report.setting(format!("{}.base_model", info.path), base_model.as_str(), at("base_model"));
    }
    for key in ["organization", "mock_response", "litellm_credential_name"] {
        if params.get(key).is_some() {
            report.setting(format!("{path}.{key}"), redact::presence(true), at(key));
        }
    }
    if let Some(drop) = deployment.drop_params {
        report.setting(format!("{path}.drop_params"), drop.to_string(), at("drop_params"));
    }
    if !deployment.additional_drop_params.is_empty() {
        let names = deployment.additional_drop_params.join(", ");
        report.setting(format!("{path}.additional_drop_params"), names, at("additional_drop_params"));
    }
    for (name, value) in &deployment.defaults {
        report.setting(format!("{path}.{name}"), redact::parameter(value), at(name));
    }
    for (key, names) in [
        ("extra_headers", deployment.extra_headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>()),
        ("extra_body", deployment.extra_body.keys().map(String::as_str).collect()),
    ] {
        for name in names {
            report.setting(format!("{path}.{key}.{name}"), redact::presence(true), at(key));
        }
    }
    for (name, price) in &deployment.prices {
        let path = if params.get(name).is_some() { path } else { info.path };
        report.setting(format!("{path}.{name}"), price.to_string(), at(name));
    }
}
