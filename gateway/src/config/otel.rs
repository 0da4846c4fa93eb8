//! Where traces go: `fleetgate.otel`, or OpenTelemetry's variables where the file says that traces are wanted.

use fleetgate_wire::SecretString;
use http::{HeaderName, HeaderValue, Uri};

use super::hooks::CALLBACK_LISTS;
use super::node::Node;
use super::report::{Cost, Report};
use super::section::{Given, Section};
use super::{Environment, Origin, OtelSettings};

const PATH: &str = "/v1/traces";

/// The variables that name the collector: the whole address of traces, the base of all signals, and LiteLLM's own.
const ENDPOINTS: [(&str, Path); 3] = [
    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", Path::Given),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", Path::Added),
    ("OTEL_ENDPOINT", Path::Added),
];
const HEADERS: [&str; 3] = ["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_HEADERS"];
const PROTOCOLS: [&str; 3] = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Path {
    Given,
    Added,
}

/// Whether a callback's name asks for traces.
pub(super) fn is_otel(callback: &str) -> bool {
    matches!(callback, "otel" | "opentelemetry")
}

/// Reads where traces go. Variables alone turn nothing on: they are often meant for other programs.
pub(super) fn read(
    own: &Section<'_>,
    litellm: &Section<'_>,
    environment: &Environment,
    report: &mut Report,
) -> Option<OtelSettings> {
    let asked_by = own.get("otel").map(|node| node.place.origin()).or_else(|| callback(litellm))?;
    let section = Section::new("fleetgate.otel", own.get("otel"));
    let Some((endpoint, origin)) = endpoint(&section, environment, report) else {
        let message = "traces are asked for, but no collector is named: set fleetgate.otel.endpoint, for example \
                       http://localhost:4318, or OTEL_EXPORTER_OTLP_ENDPOINT; nothing is sent";
        report.warn(Cost::Watching, asked_by, message);
        return None;
    };
    report.setting("fleetgate.otel.endpoint", endpoint.to_string(), origin);
    for name in PROTOCOLS {
        if let Some((protocol, origin)) = environment.given(name)
            && protocol.contains("grpc")
        {
            let message =
                format!("{name} is {protocol}: traces go out as JSON over HTTP, so name the collector's HTTP port");
            report.warn(Cost::Watching, origin, message);
        }
    }
    let headers = headers(&section, environment, report);
    let (service, origin) =
        environment.given("OTEL_SERVICE_NAME").map_or(("fleetgate", Origin::Default), |(name, origin)| (name, origin));
    report.setting("fleetgate.otel.service_name", service, origin);
    Some(OtelSettings { endpoint, headers, service_name: service.to_owned() })
}

fn callback(litellm: &Section<'_>) -> Option<Origin> {
    let lists = CALLBACK_LISTS.iter().filter_map(|key| litellm.get(key));
    lists.flat_map(Node::texts).find(|(name, _)| is_otel(name)).map(|(_, place)| place.origin())
}

fn endpoint(section: &Section<'_>, environment: &Environment, report: &mut Report) -> Option<(Uri, Origin)> {
    let from_file = section.text("endpoint", report).map(|given| (given, Path::Added));
    let (given, path) = from_file.or_else(|| {
        ENDPOINTS.into_iter().find_map(|(name, path)| {
            let (text, origin) = environment.given(name)?;
            Some((Given::new(text.to_owned(), origin), path))
        })
    })?;
    let text = given.value.trim_end_matches('/');
    let whole = if path == Path::Given || text.ends_with(PATH) { given.value.clone() } else { format!("{text}{PATH}") };
    let parsed = whole.parse::<Uri>().ok().filter(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.authority().is_some_and(|at| !at.as_str().contains('@'))
    });
    if parsed.is_none() {
        let message = "the collector's address must be an http:// or https:// address without user and password, for \
                       example http://localhost:4318";
        report.error(given.origin.clone(), message);
    }
    Some((parsed?, given.origin))
}

/// A map in the file, or `name=value,…` with percent escapes in a variable. The values may be credentials.
fn headers(section: &Section<'_>, environment: &Environment, report: &mut Report) -> Vec<(HeaderName, SecretString)> {
    let (pairs, origin): (Vec<(String, String)>, _) = match section.get("headers") {
        Some(node) => {
            if node.map().is_none() {
                report.error(node.place.origin(), "fleetgate.otel.headers must be a map of names and texts");
            }
            let entries = node.map().unwrap_or_default().iter();
            let pairs = entries.map(|entry| (entry.key.clone(), entry.node.text().unwrap_or_default().to_owned()));
            (pairs.collect(), node.origin())
        }
        None => match HEADERS.into_iter().find_map(|name| environment.given(name)) {
            Some((text, origin)) => (text.split(',').filter_map(pair).collect(), origin),
            None => return Vec::new(),
        },
    };
    let mut headers = Vec::new();
    for (name, value) in pairs {
        match (name.parse(), HeaderValue::from_str(&value)) {
            (Ok(name), Ok(_)) => {
                report.setting(format!("fleetgate.otel.headers.{name}"), "[set]", origin.clone());
                headers.push((name, SecretString::from(value)));
            }
            _ => report.error(origin.clone(), format!("the collector's header {name:?} is none that HTTP can carry")),
        }
    }
    headers
}

fn pair(text: &str) -> Option<(String, String)> {
    let (name, value) = text.split_once('=')?;
    let value = percent_encoding::percent_decode_str(value.trim()).decode_utf8().ok()?;
    Some((name.trim().to_owned(), value.into_owned()))
}
