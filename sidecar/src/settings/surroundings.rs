//! Where this machine is looked at: its user's home, the environment, the processes. Tests put others in their place.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};

use crate::forward::GatewayUrl;
use crate::launch::Lookup;
use crate::places;

/// The sidecar, where `FLEETGATE_URL` names no other.
pub const DEFAULT_SIDECAR: &str = "http://127.0.0.1:4000";

/// What the checks of this machine read, and where settings are written.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The user's home.
    pub home: Option<PathBuf>,
    /// Where the project's settings would be: the current directory.
    pub directory: Option<PathBuf>,
    /// The root of system-wide settings: `/`.
    pub system: PathBuf,
    /// `/proc`, where there is one.
    pub processes: PathBuf,
    /// The variables of this process.
    pub environment: BTreeMap<String, String>,
    /// Where it is written down which settings are ours.
    pub state: Option<PathBuf>,
}

impl Surroundings {
    /// The real ones.
    #[must_use]
    pub fn of_this_process() -> Self {
        let text = |pair: (std::ffi::OsString, std::ffi::OsString)| {
            Some((pair.0.into_string().ok()?, pair.1.into_string().ok()?))
        };
        Self {
            home: env::home_dir(),
            directory: env::current_dir().ok(),
            system: PathBuf::from("/"),
            processes: PathBuf::from("/proc"),
            environment: env::vars_os().filter_map(text).collect(),
            state: places::state_directory(),
        }
    }

    /// The same machine with another environment and current directory.
    #[must_use]
    pub fn with(environment: &BTreeMap<String, String>, directory: &Path) -> Self {
        let here = Self::of_this_process();
        let home = environment.get("HOME").map(PathBuf::from).or(here.home);
        Self { home, directory: Some(directory.to_owned()), environment: environment.clone(), ..here }
    }

    /// The sidecar that `FLEETGATE_URL` names, or the usual one.
    #[must_use]
    pub fn sidecar(&self) -> &str {
        self.variable("FLEETGATE_URL").unwrap_or(DEFAULT_SIDECAR).trim_end_matches('/')
    }

    /// Which addresses lead to that sidecar.
    pub(super) fn wiring(&self) -> Wiring {
        let is_usable = |url: &str| url.parse::<GatewayUrl>().ok();
        let url = is_usable(self.sidecar()).or_else(|| is_usable(DEFAULT_SIDECAR));
        url.map_or_else(Wiring::nowhere, |url| Wiring::new(&url, &[]))
    }

    /// A variable that is set to something.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Where launchers look on this machine.
    pub(super) fn with_lookup<T>(&self, read: impl FnOnce(&Lookup<'_>) -> T) -> T {
        let variable = |name: &str| self.variable(name).map(PathBuf::from);
        read(&Lookup {
            home: self.home.as_deref(),
            directory: self.directory.as_deref(),
            system: &self.system,
            variable: &variable,
        })
    }

    /// A directory that a variable names, else one below the home directory.
    pub(super) fn directory_of(&self, variable: &str, below_home: &str) -> Option<PathBuf> {
        let named = self.variable(variable).map(PathBuf::from);
        named.or_else(|| Some(self.home.as_ref()?.join(below_home)))
    }
}

/// Which addresses lead into Fleetgate from here.
#[derive(Debug, Clone)]
pub(crate) struct Wiring {
    authorities: Vec<String>,
}

impl Wiring {
    /// The sidecar by all names of loopback, and the gateways themselves.
    pub(crate) fn new(sidecar: &GatewayUrl, gateways: &[GatewayUrl]) -> Self {
        let port = sidecar.authority().rsplit_once(':').map_or("4000", |(_, port)| port);
        let mut authorities: Vec<String> =
            ["localhost", "127.0.0.1", "[::1]"].iter().map(|host| format!("{host}:{port}")).collect();
        authorities.push(sidecar.authority().to_owned());
        authorities.extend(gateways.iter().map(|gateway| gateway.authority().to_owned()));
        Self { authorities }
    }

    fn nowhere() -> Self {
        Self { authorities: Vec::new() }
    }

    /// Whether a base URL leads into Fleetgate.
    pub(crate) fn leads_here(&self, url: &str) -> bool {
        let Some(rest) = url.trim().strip_prefix("http://") else { return false };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default().to_ascii_lowercase();
        self.authorities.contains(&authority)
    }
}

/// Variables that say where calls go.
pub(crate) const BASE_URLS: [&str; 6] = [
    "OPENAI_BASE_URL",
    "OPENAI_API_BASE",
    "ANTHROPIC_BASE_URL",
    "ANTHROPIC_API_URL",
    "GOOGLE_GEMINI_BASE_URL",
    "GOOGLE_VERTEX_BASE_URL",
];

/// Variables that hold providers' keys.
pub(crate) const PROVIDER_KEYS: [&str; 22] = [
    "OPENAI_API_KEY",
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "GEMINI_API_KEY",
    "GOOGLE_API_KEY",
    "OPENROUTER_API_KEY",
    "AZURE_OPENAI_API_KEY",
    "XAI_API_KEY",
    "GROQ_API_KEY",
    "MISTRAL_API_KEY",
    "DEEPSEEK_API_KEY",
    "DASHSCOPE_API_KEY",
    "MOONSHOT_API_KEY",
    "KIMI_API_KEY",
    "MINIMAX_API_KEY",
    "ZAI_API_KEY",
    "ZHIPUAI_API_KEY",
    "TOGETHER_API_KEY",
    "FIREWORKS_API_KEY",
    "PERPLEXITY_API_KEY",
    "CO_API_KEY",
    "COHERE_API_KEY",
];

/// Placeholders are short; keys of providers are not.
const SHORTEST_KEY: usize = 20;

/// Whether a value can be a provider's key: long enough, and no virtual key of ours.
pub(crate) fn may_be_provider_key(value: &str) -> bool {
    let is_minted = fleetgate_wire::virtual_key::VirtualKey::parse(value).is_ok_and(|key| key.is_minted());
    value.len() >= SHORTEST_KEY && !value.contains(char::is_whitespace) && !is_minted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_loopback_and_the_gateway_lead_here() {
        let gateway = "http://100.64.0.1:4000".parse().unwrap();
        let wiring = Wiring::new(&"http://127.0.0.1:4100".parse().unwrap(), &[gateway]);
        for url in
            ["http://localhost:4100/v1", "http://LOCALHOST:4100", "http://[::1]:4100/w/x", "http://100.64.0.1:4000/v1"]
        {
            assert!(wiring.leads_here(url), "{url}");
        }
        for url in
            ["https://api.openai.com/v1", "http://localhost:4000", "localhost:4100", "http://localhost:4100.evil/", ""]
        {
            assert!(!wiring.leads_here(url), "{url}");
        }
    }

    #[test]
    fn placeholders_and_virtual_keys_are_no_providers_keys() {
        let minted = fleetgate_wire::virtual_key::VirtualKey::mint().unwrap();
        assert!(!may_be_provider_key(fleetgate_wire::ExposeSecret::expose_secret(&minted)));
        assert!(!may_be_provider_key("fleetgate"));
        assert!(may_be_provider_key("sk-proj-0123456789abcdef0123"));
    }
}
