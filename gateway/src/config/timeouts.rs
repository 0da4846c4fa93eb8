//! How long an answer may take.

use std::time::Duration;

use super::report::Report;
use super::routing::Sections;
use super::section::Given;
use super::{Environment, Origin, scalar};

/// LiteLLM's default when nobody says anything.
const DEFAULT: Duration = Duration::from_secs(6000);

/// The timeouts of all calls.
pub(super) struct Timeouts {
    pub(super) request: Duration,
    pub(super) stream: Option<Duration>,
}

/// Reads the timeouts: the router's, else LiteLLM's, else the environment's, else one in the wrong section.
pub(super) fn read(sections: &Sections<'_>, environment: &Environment, report: &mut Report) -> Timeouts {
    let request = sections
        .router
        .seconds("timeout", report)
        .map(|given| ("router_settings.timeout", given))
        .or_else(|| {
            let given = sections.litellm.seconds("request_timeout", report)?;
            Some(("litellm_settings.request_timeout", given))
        })
        .or_else(|| from_environment(environment, report).map(|given| ("litellm_settings.request_timeout", given)))
        .or_else(|| Some(("litellm_settings.timeout", sections.litellm.seconds("timeout", report)?)))
        .or_else(|| Some(("general_settings.request_timeout", sections.general.seconds("request_timeout", report)?)))
        .or_else(|| Some(("router_settings.request_timeout", sections.router.seconds("request_timeout", report)?)))
        .unwrap_or(("litellm_settings.request_timeout", Given::new(DEFAULT, Origin::Default)));
    report.setting(request.0, request.1.value.as_secs_f64().to_string(), request.1.origin);
    let stream = sections.router.seconds("stream_timeout", report);
    if let Some(given) = &stream {
        let seconds = given.value.as_secs_f64().to_string();
        report.setting("router_settings.stream_timeout", seconds, given.origin.clone());
    }
    Timeouts { request: request.1.value, stream: stream.map(|given| given.value) }
}

fn from_environment(environment: &Environment, report: &mut Report) -> Option<Given<Duration>> {
    let (text, origin) = environment.given("REQUEST_TIMEOUT")?;
    let seconds = scalar::seconds(text);
    if seconds.is_none() {
        report.error(origin.clone(), "REQUEST_TIMEOUT must be a number of seconds above 0");
    }
    seconds.map(|value| Given::new(value, origin))
}
