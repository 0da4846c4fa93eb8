//! A `model_list` entry to an [`Upstream`]: which provider it means, where that is, and with which credential.

use std::net::IpAddr;

use fleetgate_wire::endpoint::{Dialect, Endpoint};
use fleetgate_wire::{ExposeSecret, SecretString};
use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::spec::{self, Auth, Shape, Spec};
use super::url::Addresses;
use crate::config::{Deployment, Environment};

/// A deployment that can be called.
#[derive(Debug)]
pub struct Upstream {
    spec: &'static Spec,
    /// What to send with every call: credential and configured headers.
    pub(super) headers: HeaderMap,
    pub(super) openai_base: Option<String>,
    pub(super) anthropic_base: Option<String>,
    pub(super) api_version: Option<String>,
    pub(super) addresses: Addresses,
    has_key: bool,
    on_this_machine: bool,
}

/// Why an entry cannot be called.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// Neither a known prefix, nor a known host, nor a known family.
    #[error(
        "model {model:?} names no provider that is known; write provider/model, for example openai/{model} with an api_base for any \
         OpenAI-compatible server"
    )]
    UnknownProvider {
        /// `litellm_params.model`.
        model: String,
    },
    /// Only the operator knows where this provider is.
    #[error("{provider} needs an api_base (or one of the variables {variables})")]
    NoBase {
        /// The provider.
        provider: &'static str,
        /// Where a base may stand.
        variables: String,
    },
    /// The base is no `http://` or `https://` address.
    #[error("api_base {base:?} is no http:// or https:// address")]
    BadBase {
        /// The base.
        base: String,
    },
    /// A header or key with characters that cannot travel.
    #[error("{what} holds characters that no header can carry")]
    BadHeader {
        /// Which header.
        what: String,
    },
}

impl Upstream {
    /// Resolves an entry.
    ///
    /// # Errors
    /// When it names no known provider, or lacks an address.
    pub fn resolve(deployment: &Deployment, environment: &Environment) -> Result<Self, ResolveError> {
        let spec = provider_of(deployment)?;
        let configured = deployment.api_base.clone().or_else(|| {
            let from_environment = spec.base_variables.iter().find_map(|name| environment.get(name));
            from_environment.map(|base| base.expose_secret().to_owned())
        });
        if let Some(base) = &configured {
            check_base(base)?;
        }
        let (openai_base, anthropic_base) = bases(spec, configured);
        if openai_base.is_none() && anthropic_base.is_none() {
            let variables = spec.base_variables.join(", ");
            return Err(ResolveError::NoBase { provider: spec.name, variables });
        }
        let usual = || spec.key_variables.iter().find_map(|name| environment.get(name));
        let key = if deployment.names_key { deployment.api_key.as_ref() } else { usual() };
        let mut headers = HeaderMap::new();
        if let Some(key) = key {
            show_credential(&mut headers, spec, key, anthropic_base.as_deref())?;
        }
        if spec.name == "openrouter" {
            name_application(&mut headers, environment);
        }
        if let Some(organization) = &deployment.organization {
            headers.insert("openai-organization", value("organization", organization)?);
        }
        for (name, text) in &deployment.extra_headers {
            let parsed: HeaderName = name.parse().map_err(|_| ResolveError::BadHeader { what: name.clone() })?;
            if parsed == "anthropic-beta" {
                // The flag of a login token stays.
                headers.append(parsed, value(name, text)?);
            } else {
                headers.insert(parsed, value(name, text)?);
            }
        }
        let api_version = deployment.api_version.clone().or_else(|| {
            environment
                .get("AZURE_API_VERSION")
                .filter(|_| spec.shape == Shape::Azure)
                .map(|v| v.expose_secret().to_owned())
        });
        let has_key = key.is_some();
        let on_this_machine = [&openai_base, &anthropic_base].into_iter().flatten().any(|base| is_loopback(base));
        let addresses = Addresses::default();
        Ok(Self { spec, headers, openai_base, anthropic_base, api_version, addresses, has_key, on_this_machine })
    }

    /// The provider's name in rows.
    #[must_use]
    pub fn provider(&self) -> &'static str {
        self.spec.name
    }

    /// Whether it answers this API.
    #[must_use]
    pub fn speaks(&self, endpoint: Endpoint) -> bool {
        match endpoint.dialect() {
            Dialect::OpenAi => self.openai_base.is_some(),
            Dialect::Responses => self.openai_base.is_some() && self.spec.responses,
            Dialect::Anthropic => self.anthropic_base.is_some(),
        }
    }

    /// The APIs it answers, for messages.
    #[must_use]
    pub fn spoken(&self) -> &'static str {
        match (self.openai_base.is_some(), self.anthropic_base.is_some()) {
            (true, true) => "/v1/chat/completions or /v1/messages",
            (true, false) => "/v1/chat/completions",
            _ => "/v1/messages",
        }
    }

    /// Whether a credential was found although one is needed; the names of the variables that could hold it if not.
    #[must_use]
    pub fn missing_key(&self) -> Option<String> {
        (!self.has_key && !self.spec.keyless).then(|| self.spec.key_variables.join(" or "))
    }

    /// Whether calls stay on this machine.
    #[must_use]
    pub fn is_on_this_machine(&self) -> bool {
        self.on_this_machine
    }

    /// Whether this is the provider that answers by itself.
    #[must_use]
    pub fn is_mock(&self) -> bool {
        self.spec.shape == Shape::Mock
    }

    pub(super) fn shape(&self) -> Shape {
        self.spec.shape
    }

    pub(super) fn spec(&self) -> &'static Spec {
        self.spec
    }

    /// The model's name for the provider: without our prefix.
    #[must_use]
    pub fn model_name<'m>(&self, model: &'m str) -> &'m str {
        model.strip_prefix(self.spec.name).and_then(|rest| rest.strip_prefix('/')).unwrap_or(model)
    }
}

fn provider_of(deployment: &Deployment) -> Result<&'static Spec, ResolveError> {
    let unknown = || ResolveError::UnknownProvider { model: deployment.model.clone() };
    if let Some(name) = &deployment.custom_provider {
        return spec::by_name(name).ok_or_else(unknown);
    }
    let by_prefix = deployment.model.split_once('/').and_then(|(prefix, _)| spec::by_name(prefix));
    let by_host = || {
        let uri: http::Uri = deployment.api_base.as_deref()?.parse().ok()?;
        spec::by_host(uri.host()?)
    };
    let mocked = || deployment.mock_response.as_ref().and_then(|_| spec::by_name("openai"));
    by_prefix.or_else(by_host).or_else(|| spec::by_family(&deployment.model)).or_else(mocked).ok_or_else(unknown)
}

/// A configured base replaces the provider's own. Providers that have two APIs are told apart by the path: `…/anthropic` and the
/// like are the Anthropic-compatible one.
fn bases(spec: &Spec, configured: Option<String>) -> (Option<String>, Option<String>) {
    let known = |base: Option<&str>| base.filter(|base| !base.is_empty()).map(str::to_owned);
    let Some(base) = configured else {
        let openai = known(spec.openai);
        let anthropic = if spec.anthropic == Some("") { openai.clone() } else { known(spec.anthropic) };
        return (openai, anthropic);
    };
    let base = base.trim_end_matches('/').trim_end_matches("/v1/messages").to_owned();
    if spec.openai.is_none() {
        return (None, Some(base));
    }
    if spec.anthropic == Some("") {
        return (Some(base.clone()), Some(base));
    }
    if spec.name == "gemini" && !base.contains("/openai") {
        // LiteLLM's base ends with the version; the OpenAI-compatible API is below it.
        let versioned = ["/v1", "/v1beta", "/v1alpha"].iter().any(|version| base.ends_with(version));
        return (Some(format!("{base}{}/openai", if versioned { "" } else { "/v1beta" })), None);
    }
    if spec.anthropic.is_some() && base.contains("/anthropic") {
        return (known(spec.openai), Some(base));
    }
    (Some(base), None)
}

fn check_base(base: &str) -> Result<(), ResolveError> {
    let bad = || ResolveError::BadBase { base: base.to_owned() };
    let uri: http::Uri = base.parse().map_err(|_| bad())?;
    let fits = matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty());
    if fits { Ok(()) } else { Err(bad()) }
}

fn is_loopback(base: &str) -> bool {
    let uri: Option<http::Uri> = base.parse().ok();
    let host = uri.as_ref().and_then(http::Uri::host).unwrap_or_default().trim_matches(['[', ']']);
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn value(what: &str, text: &str) -> Result<HeaderValue, ResolveError> {
    HeaderValue::from_str(text).map_err(|_| ResolveError::BadHeader { what: what.to_owned() })
}

fn secret_value(text: &str) -> Result<HeaderValue, ResolveError> {
    let mut value = value("the key", text)?;
    value.set_sensitive(true);
    Ok(value)
}

fn show_credential(
    headers: &mut HeaderMap,
    spec: &Spec,
    key: &SecretString,
    anthropic_base: Option<&str>,
) -> Result<(), ResolveError> {
    let key = key.expose_secret().trim();
    let bearer = || secret_value(&format!("Bearer {key}"));
    match spec.auth {
        Auth::Bearer => {
            headers.insert(header::AUTHORIZATION, bearer()?);
        }
        Auth::ApiKey => {
            headers.insert("api-key", secret_value(key)?);
        }
        Auth::ApiKeyAndBearer => {
            headers.insert("api-key", secret_value(key)?);
            headers.insert(header::AUTHORIZATION, bearer()?);
        }
        Auth::Anthropic => {
            let own_host = anthropic_base.is_some_and(|base| base.starts_with("https://api.anthropic.com"));
            // A login token of a Claude subscription travels as a bearer, together with its beta flag.
            let is_login = key.starts_with("sk-ant-oat");
            if !is_login {
                headers.insert("x-api-key", secret_value(key)?);
            }
            if is_login || !own_host {
                headers.insert(header::AUTHORIZATION, bearer()?);
            }
            if is_login {
                headers.insert("anthropic-beta", HeaderValue::from_static("oauth-2025-04-20"));
            }
        }
    }
    Ok(())
}

/// OpenRouter shows these in its own statistics; unset means unnamed.
fn name_application(headers: &mut HeaderMap, environment: &Environment) {
    for (variable, name) in [("OR_SITE_URL", "http-referer"), ("OR_APP_NAME", "x-title")] {
        let text = environment.get(variable).and_then(|text| HeaderValue::from_str(text.expose_secret()).ok());
        if let Some(text) = text {
            headers.insert(name, text);
        }
    }
}
