//! What the operator wants: LiteLLM's `config.yaml`, our `fleetgate:` section, the environment and the command line, read once
//! into one [`Config`]. For each live value it is known where it came from.

mod budgets;
mod catalogue;
mod cooldown;
mod database;
mod deployment;
mod dotenv;
mod egress;
mod environment;
mod fleetgate;
mod hooks;
mod include;
mod keys;
mod listen;
mod live;
mod load;
mod master_key;
mod mesh;
mod models;
mod next_proxy;
mod node;
mod origin;
mod otel;
mod params;
mod postgres;
mod prices;
mod rates;
mod redact;
mod reference;
mod report;
mod review;
mod routing;
mod scalar;
mod section;
mod timeouts;
mod yaml;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use fleetgate_wire::SecretString;
use fleetgate_wire::host::HostLabel;
use fleetgate_wire::scope::Scope;
use http::{HeaderName, Uri};

pub use budgets::{BudgetEntry, BudgetSettings};
pub use catalogue::{CatalogueSettings, Margin, PriceAdjustments};
pub use cooldown::{CooldownSettings, FailsPolicy, FailureKind, OwnCooldown};
pub use database::DatabaseError;
pub use egress::{EgressMode, EgressRule, EgressSettings, ForwardProxySettings, Trust};
pub use include::files;
pub use live::{Running, RunningSetting};
pub use load::{LoadError, Loaded, Overrides, config_file, load};
pub use next_proxy::{NextProxy, NextProxyCredentials, NextProxyProtocol, NextProxyRule};
pub use origin::{Finding, Origin, Setting, Severity};
pub use postgres::{PostgresUrl, PostgresUrlError, TlsMode};
pub use rates::RateCaps;

/// Everything the gateway was told, typed and resolved. Nothing looks into the environment after this exists.
#[derive(Debug)]
pub struct Config {
    /// Where the API and `CONNECT` are served. All loopback, mesh or private unless the operator said that he means it.
    pub listen: Vec<SocketAddr>,
    /// Where the mesh is found and served, if it is.
    pub mesh_door: Option<MeshDoor>,
    /// The administrator's key.
    pub master_key: Option<SecretString>,
    /// Where the ledger's rows end up.
    pub database: Database,
    /// Where this gateway keeps what must outlive it: its journal and its identity. Beside an SQLite file, if that is the database.
    pub state_directory: PathBuf,
    /// After how long without a word a gateway's leases are written off, where several share a database.
    pub lease_ttl: Duration,
    /// Whether a row must survive the loss of power (`power`) or of the process (`process`, the default).
    pub durability: Durability,
    /// The models, in the order of the file.
    pub deployments: Vec<Deployment>,
    /// Routing between them.
    pub routing: Routing,
    /// Limits on calls and tokens. A scope may stand there more than once, and its id may hold `*`.
    pub rates: Vec<(Scope, RateCaps)>,
    /// Remove parameters that a provider is known to refuse.
    pub drop_params: bool,
    /// How long an answer may take to begin, and a whole answer that is not a stream.
    pub request_timeout: Duration,
    /// The same for streams, when it is set.
    pub stream_timeout: Option<Duration>,
    /// The largest request body, in bytes.
    pub max_request_bytes: usize,
    /// Budgets count what was reserved for calls whose cost nobody knows (those under way when the gateway died).
    pub counts_unknown: bool,
    /// Calls of models that have no price are refused.
    pub block_unpriced: bool,
    /// What becomes of an answer whose client went away.
    pub on_client_gone: OnClientGone,
    /// The budgets that the file sets, and how budgets behave.
    pub budgets: BudgetSettings,
    /// Where tunnels may lead.
    pub egress: EgressSettings,
    /// Where only tunnels are served, and to whom without a key.
    pub forward_proxy: ForwardProxySettings,
    /// Whether the mesh is asked which machine a call came from.
    pub mesh: MeshSettings,
    /// `/metrics` asks for no key.
    pub metrics_open: bool,
    /// Where traces go, if they do.
    pub otel: Option<OtelSettings>,
    /// Where prices come from.
    pub catalogue: CatalogueSettings,
    /// What is added to them or taken off.
    pub price_adjustments: PriceAdjustments,
    /// Every variable the process was started with, `.env` included, for provider keys that no entry names.
    pub environment: Environment,
    /// Every live setting with its origin; secrets are redacted.
    pub settings: Vec<Setting>,
}

/// Where the ledger's rows end up.
#[derive(Debug, Clone, PartialEq)]
pub enum Database {
    /// One file.
    Sqlite(PathBuf),
    /// A server, which several gateways may share.
    Postgres(Box<PostgresUrl>),
}

/// Shown without credentials.
impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => path.display().fmt(f),
            Self::Postgres(url) => url.fmt(f),
        }
    }
}

/// What a ledger row survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// The death of the process: the row is with the operating system before the answer ends.
    #[default]
    Process,
    /// The loss of power: the row is on the disk before the answer ends.
    Power,
}

/// What becomes of an answer whose client went away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnClientGone {
    /// The provider's answer is dropped, and what was produced until then is priced.
    #[default]
    Abort,
    /// It is read to its end, so that the row knows its usage.
    Finish {
        /// For so long at most.
        within: Duration,
    },
}

/// One `model_list` entry: a public name, an upstream model, and how to reach it.
#[derive(Clone)]
pub struct Deployment {
    /// Its place in [`Config::deployments`].
    pub index: usize,
    /// `model_info.id`, or a stable hash of the entry.
    pub id: String,
    /// The public name; may hold `*`.
    pub model_name: String,
    /// `litellm_params.model` as written, prefix included; may hold `*`.
    pub model: String,
    /// `litellm_params.custom_llm_provider`.
    pub custom_provider: Option<String>,
    /// The upstream's credential.
    pub api_key: Option<SecretString>,
    /// The entry has a line for its key, even if the variable that it names is not set. Another provider's key from the
    /// environment must then not take its place.
    pub names_key: bool,
    /// The upstream's base address.
    pub api_base: Option<String>,
    /// Azure's `api-version`.
    pub api_version: Option<String>,
    /// OpenAI's organization.
    pub organization: Option<String>,
    /// Headers to add upstream.
    pub extra_headers: Vec<(String, String)>,
    /// Members to set in the request's body, over what the client sent.
    pub extra_body: serde_json::Map<String, serde_json::Value>,
    /// Members to set in the request's body where the client sent none (`temperature`, `max_tokens`, unknown parameters).
    pub defaults: serde_json::Map<String, serde_json::Value>,
    /// Overrides [`Config::drop_params`].
    pub drop_params: Option<bool>,
    /// Members to remove from the request's body.
    pub additional_drop_params: Vec<String>,
    /// Share of the traffic within its group; from `weight`, else `rpm`, else `tpm`, else 1.
    pub weight: u64,
    /// `rpm`, `tpm` and `max_parallel_requests` as written; [`Config::rates`] knows which of them are limits.
    pub rates: RateCaps,
    /// Lower levels are tried first.
    pub order: u32,
    /// Overrides [`Routing::cooldown`].
    pub cooldown: OwnCooldown,
    /// Overrides [`Config::request_timeout`].
    pub timeout: Option<Duration>,
    /// Overrides [`Config::stream_timeout`].
    pub stream_timeout: Option<Duration>,
    /// Answer with this text instead of calling anyone.
    pub mock_response: Option<String>,
    /// Price fields of the entry, in dollars per unit, by their names in the catalogue.
    pub prices: BTreeMap<String, f64>,
    /// The catalogue's name for this model.
    pub base_model: Option<String>,
    /// What `/model/info` shows, and `mode`.
    pub model_info: serde_json::Map<String, serde_json::Value>,
    /// Where the entry stands.
    pub origin: Origin,
}

/// Names the deployment. Its address, headers and body members may hold credentials, so they stay out.
impl fmt::Debug for Deployment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deployment")
            .field("id", &self.id)
            .field("model_name", &self.model_name)
            .field("model", &self.model)
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

/// How requests find a deployment.
#[derive(Debug, Clone, Default)]
pub struct Routing {
    /// Other public names for groups.
    pub aliases: BTreeMap<String, String>,
    /// Groups to try when all deployments of a group failed; `*` stands for every group.
    pub fallbacks: BTreeMap<String, Vec<String>>,
    /// Groups to try when a prompt is too long for a group.
    pub context_window_fallbacks: BTreeMap<String, Vec<String>>,
    /// Groups to try when a provider refuses the content.
    pub content_policy_fallbacks: BTreeMap<String, Vec<String>>,
    /// How many fallback groups one request may try; 5 in LiteLLM.
    pub max_fallbacks: Option<u64>,
    /// Attempts after the first within a group. `None`: each deployment once.
    pub num_retries: Option<u32>,
    /// When a deployment that fails is left out.
    pub cooldown: CooldownSettings,
}

/// How this machine's address in the mesh is found, and what is done while there is none.
#[derive(Debug, Clone)]
pub struct MeshDoor {
    /// The port that is served there.
    pub port: u16,
    /// The mesh's interface, where it must not be guessed.
    pub interface: Option<String>,
    /// How long a start waits for an address.
    pub wait: Duration,
}

/// Whether the mesh is asked which machine a call came from.
#[derive(Debug, Clone)]
pub struct MeshSettings {
    /// What becomes of the answer.
    pub check: MeshCheck,
    /// Where `tailscaled` is asked; `None` for its usual places.
    pub socket: Option<PathBuf>,
    /// The mesh's names of hosts whose labels are others.
    pub names: BTreeMap<HostLabel, HostLabel>,
}

/// What becomes of the mesh's word on a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MeshCheck {
    /// It is not asked.
    Off,
    /// A row of a machine with another name is marked. Without a mesh on this machine there is nothing to report.
    #[default]
    Report,
    /// Such calls are refused, and so are all while the mesh cannot be asked.
    Enforce,
}

/// Where traces go.
#[derive(Debug, Clone)]
pub struct OtelSettings {
    /// Where spans are posted, path included.
    pub endpoint: Uri,
    /// Sent with each request; they may hold credentials.
    pub headers: Vec<(HeaderName, SecretString)>,
    /// What the spans' service is called.
    pub service_name: String,
}

/// Variables by name, each with its origin (the process's environment, a `.env` file, or the `environment_variables` section).
#[derive(Debug, Clone, Default)]
pub struct Environment {
    variables: BTreeMap<String, (SecretString, Origin)>,
}

impl Environment {
    /// A variable's value; an empty one counts as unset.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&SecretString> {
        use fleetgate_wire::ExposeSecret;
        self.variables.get(name).map(|(value, _)| value).filter(|value| !value.expose_secret().is_empty())
    }

    /// Where a variable came from.
    #[must_use]
    pub fn origin(&self, name: &str) -> Option<&Origin> {
        self.variables.get(name).map(|(_, origin)| origin)
    }
}
