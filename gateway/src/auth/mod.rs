//! [`Intake`](crate::front::Intake) to [`Caller`]: whose key is this, on which host, for which workload?
//!
//! Looked up by hash in a snapshot: no SQL, no lock. Everything about a key that can change at any time (blocked, expired) is
//! checked here, on every call.

mod credential;
mod directory;
mod keyring;
mod mesh;
mod origin;
mod trust;

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use fleetgate_wire::header;
use fleetgate_wire::host::HostLabel;
use fleetgate_wire::workload::Workload;
use http::header::USER_AGENT;
use http::{HeaderMap, HeaderName};
use jiff::Timestamp;

pub use credential::{Place, credentials};
pub use directory::{Directory, EntityKind, EntityRecord};
pub use keyring::{KeyRecord, Keyring};
pub use mesh::Mesh;
pub use origin::Origin;
pub use trust::{TRUSTED_ALIAS, trusted};

/// What rows call the master key.
pub const MASTER_ALIAS: &str = "master-key";
/// What rows have for a hash when the master key paid.
pub const MASTER_HASH: &str = "master";

/// Who makes a call. Only [`authenticate`] makes one.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The key that pays.
    pub key: CallerKey,
    /// Its [`CallerKey::hash_text`]: the row, the labels and the limits of a call all name it.
    pub key_hash: Arc<str>,
    /// The machine.
    pub host: CallerHost,
    /// What made the call there.
    pub workload: Workload,
    /// The end user that the caller names (LiteLLM's customer).
    pub customer: Option<String>,
    /// What the caller wants the call to be counted under.
    pub tags: Vec<String>,
    /// What else is known of the program and its machine.
    pub origin: Origin,
}

/// LiteLLM's names for the customer.
static CUSTOMER_HEADERS: [HeaderName; 2] =
    [HeaderName::from_static("x-litellm-end-user-id"), HeaderName::from_static("x-litellm-customer-id")];
/// LiteLLM's name for the tags.
const TAGS_HEADER: HeaderName = HeaderName::from_static("x-litellm-tags");
/// How all names begin by which a request says more of its caller than a key and a `User-Agent`.
const TELLING: [&str; 2] = [header::PREFIX, "x-litellm-"];
/// A call counts under so many tags at most, and names are cut to so many bytes: each is a sum of its own in the ledger.
const MOST_TAGS: usize = 16;
const LONGEST_NAME: usize = 128;

impl Caller {
    /// Names the end user, unless a header did.
    pub fn name_customer(&mut self, name: Option<&str>) {
        let name = self.customer.as_deref().or(name).map(short).filter(|name| !name.is_empty());
        self.customer = name.map(str::to_owned);
    }

    /// Adds tags.
    pub fn tag<'a>(&mut self, tags: impl Iterator<Item = &'a str>) {
        for tag in tags.map(short).filter(|tag| !tag.is_empty()) {
            if self.tags.len() < MOST_TAGS && !self.tags.iter().any(|known| known == tag) {
                self.tags.push(tag.to_owned());
            }
        }
    }
}

fn short(name: &str) -> &str {
    &name[..name.floor_char_boundary(LONGEST_NAME)]
}

/// The key that pays.
#[derive(Debug, Clone)]
pub enum CallerKey {
    /// The administrator's.
    Master,
    /// A host's or workload's.
    Virtual(Arc<KeyRecord>),
}

impl CallerKey {
    /// The name in rows: the alias, or the short form of a key that has none.
    #[must_use]
    pub fn alias(&self) -> &str {
        match self {
            Self::Master => MASTER_ALIAS,
            Self::Virtual(record) => record.key_alias.as_deref().unwrap_or(&record.key_name),
        }
    }

    /// The alias with the key's short form: what LiteLLM calls a key in its messages.
    #[must_use]
    pub fn full_name(&self) -> String {
        match self {
            Self::Master => MASTER_ALIAS.to_owned(),
            Self::Virtual(record) => match &record.key_alias {
                Some(alias) => format!("{alias} ({})", record.key_name),
                None => record.key_name.clone(),
            },
        }
    }

    /// The hash in rows: that of the first key where others replaced it.
    #[must_use]
    pub fn hash_text(&self) -> String {
        match self {
            Self::Master => MASTER_HASH.to_owned(),
            Self::Virtual(record) => record.account().hex(),
        }
    }

    /// The team the key belongs to.
    #[must_use]
    pub fn team(&self) -> Option<&str> {
        match self {
            Self::Master => None,
            Self::Virtual(record) => record.team_id.as_deref(),
        }
    }

    /// The user the key belongs to.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        match self {
            Self::Master => None,
            Self::Virtual(record) => record.user_id.as_deref(),
        }
    }
}

/// The machine a call came from, and why that is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallerHost {
    /// The key is bound to this host.
    Bound(HostLabel),
    /// A sidecar said so, with a key that is bound to none.
    Claimed(HostLabel),
    /// The mesh calls the connection's address so, and the forward proxy trusts it.
    Mesh(HostLabel),
    /// Nobody said; this is the other end of the connection.
    Address(IpAddr),
}

impl CallerHost {
    /// The word in the row.
    #[must_use]
    pub fn source(&self) -> &'static str {
        match self {
            Self::Bound(_) => "key",
            Self::Claimed(_) => "claimed",
            Self::Mesh(_) => "mesh",
            Self::Address(_) => "address",
        }
    }
}

impl CallerHost {
    /// What stands in rows.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Bound(label) | Self::Claimed(label) | Self::Mesh(label) => Cow::Borrowed(label.as_str()),
            Self::Address(address) => Cow::Owned(address.to_string()),
        }
    }

    /// The label that the key or a sidecar gives the machine.
    #[must_use]
    pub fn label(&self) -> Option<&HostLabel> {
        match self {
            Self::Bound(label) | Self::Claimed(label) | Self::Mesh(label) => Some(label),
            Self::Address(_) => None,
        }
    }
}

impl fmt::Display for CallerHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bound(label) | Self::Claimed(label) | Self::Mesh(label) => label.fmt(f),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// Why a caller was turned away. LiteLLM's words where it has some: scripts look for them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No header carried a key.
    #[error(
        "No api key passed in. Send this host's virtual key as 'Authorization: Bearer sk-…', or call through the sidecar"
    )]
    NoKey,
    /// Something that cannot be a virtual key.
    #[error(
        "Virtual key expected in {place}, but what came does not start with 'sk-'. Is a program using a placeholder without the sidecar?"
    )]
    NotAKey {
        /// Where it stood.
        place: Place,
    },
    /// A key nobody knows.
    #[error(
        "Authentication Error, Invalid API key in {place}: no key of this gateway has the hash {short_hash}…. Mint one with /key/generate"
    )]
    Unknown {
        /// Where it stood.
        place: Place,
        /// The first digits of the hash of what came.
        short_hash: String,
    },
    /// Blocked by an administrator.
    #[error("Key is blocked: {alias}. An administrator can lift that with /key/unblock")]
    Blocked {
        /// The key's name.
        alias: String,
    },
    /// The key's team or user is blocked.
    #[error("{kind} {id} is blocked, and with it each of its keys. An administrator can lift that with {remedy}")]
    OwnerBlocked {
        /// Team or user.
        kind: EntityKind,
        /// Which one.
        id: String,
        /// The path to call.
        remedy: &'static str,
    },
    /// The customer that the request names is blocked.
    #[error("customer {id} is blocked. An administrator can lift that with /customer/unblock")]
    CustomerBlocked {
        /// Which one.
        id: String,
    },
    /// Past its date.
    #[error("Key {alias} expired at {expires}. An administrator can extend it with /key/update")]
    Expired {
        /// The key's name.
        alias: String,
        /// When.
        expires: Timestamp,
    },
    /// The mesh calls the machine otherwise, and the operator wants no such calls.
    #[error(
        "This call is {key}'s for host '{host}', but it came from the machine that the mesh calls '{seen}' (fleetgate.mesh.check is \
         enforce). Use that machine's own key, or say in fleetgate.mesh.names that both are one"
    )]
    HostMismatch {
        /// The key's name.
        key: String,
        /// The host that the key or the sidecar names.
        host: HostLabel,
        /// The mesh's name for it.
        seen: HostLabel,
    },
    /// The mesh cannot be asked, and the operator wants no call that was not checked.
    #[error(
        "The mesh cannot be asked which machine this call came from (fleetgate.mesh.check is enforce): {0}. Try again, or look at \
         tailscaled on the gateway"
    )]
    MeshAway(String),
    /// A virtual key where the administrator's is needed.
    #[error("Only the master key may do this; {alias} is a virtual key")]
    NotAdmin {
        /// The key's name.
        alias: String,
    },
}

/// Finds out who calls. Of several credentials the first that is known counts: some clients send two.
///
/// # Errors
/// When no credential is known, or the key may not be used now.
pub fn authenticate(
    headers: &HeaderMap,
    query: Option<&str>,
    peer: SocketAddr,
    keyring: &Keyring,
    now: Timestamp,
) -> Result<Caller, Denied> {
    let mut first_failure = None;
    for (place, text) in credentials(headers, query) {
        match keyring.find(&text, now) {
            Ok(key) => return Ok(identify(key, headers, peer, keyring)),
            Err(failure) => {
                first_failure.get_or_insert(failure.at(place));
            }
        }
    }
    Err(first_failure.unwrap_or(Denied::NoKey))
}

/// Refuses a caller whose team or user is blocked. A team or user that nobody has made is a name and blocks nothing.
///
/// # Errors
/// When one of them is blocked.
pub fn check_owners(caller: &Caller, directory: &Directory) -> Result<(), Denied> {
    let CallerKey::Virtual(key) = &caller.key else { return Ok(()) };
    let team = key.team_id.as_deref().and_then(|id| directory.team(id));
    let user = key.user_id.as_deref().and_then(|id| directory.user(id));
    match [team, user].into_iter().flatten().find(|owner| owner.blocked) {
        None => Ok(()),
        Some(owner) => {
            let remedy = if owner.kind == EntityKind::Team { "/team/unblock" } else { "/user/update" };
            Err(Denied::OwnerBlocked { kind: owner.kind, id: owner.id.clone(), remedy })
        }
    }
}

/// Refuses the calls of a blocked customer, whatever key makes them. One that nobody has made is a name and blocks nothing.
///
/// # Errors
/// When the customer is blocked.
pub fn check_customer(caller: &Caller, directory: &Directory) -> Result<(), Denied> {
    let customer = caller.customer.as_deref().and_then(|id| directory.customer(id));
    match customer.filter(|customer| customer.blocked) {
        None => Ok(()),
        Some(customer) => Err(Denied::CustomerBlocked { id: customer.id.clone() }),
    }
}

/// Lets only the administrator pass.
///
/// # Errors
/// When the caller's key is a virtual one.
pub fn require_admin(caller: &Caller) -> Result<(), Denied> {
    match &caller.key {
        CallerKey::Master => Ok(()),
        CallerKey::Virtual(_) => Err(Denied::NotAdmin { alias: caller.key.alias().to_owned() }),
    }
}

fn identify(key: CallerKey, headers: &HeaderMap, peer: SocketAddr, keyring: &Keyring) -> Caller {
    let user_agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok());
    // Most programs say nothing else of themselves, and to look for each name in vain costs more than to look once for all.
    let tells = headers.keys().any(|name| TELLING.iter().any(|start| name.as_str().starts_with(start)));
    let said = |name: &HeaderName| if tells { headers.get(name)?.to_str().ok() } else { None };
    let bound = match &key {
        CallerKey::Virtual(record) => record.host.clone(),
        CallerKey::Master => None,
    };
    let claimed = said(&header::HOST).and_then(|name| HostLabel::parse(name).ok());
    let origin = match tells {
        true => Origin::read(headers, bound.as_ref(), claimed.as_ref(), keyring),
        false => Origin::default(),
    };
    let host = match (bound, claimed) {
        (Some(label), _) => CallerHost::Bound(label),
        (None, Some(label)) => CallerHost::Claimed(label),
        (None, None) => CallerHost::Address(peer.ip().to_canonical()),
    };
    let workload = said(&header::WORKLOAD)
        .and_then(|name| Workload::parse(name).ok())
        .or_else(|| user_agent.and_then(Workload::from_user_agent))
        .unwrap_or_else(Workload::unknown);
    let customer = CUSTOMER_HEADERS.iter().find_map(said).map(str::to_owned);
    let key_hash = key.hash_text().into();
    let mut caller = Caller { key, key_hash, host, workload, customer, tags: Vec::new(), origin };
    if let Some(tags) = said(&TAGS_HEADER) {
        caller.tag(tags.split(',').map(str::trim));
    }
    caller
}

#[cfg(test)]
mod tests;
