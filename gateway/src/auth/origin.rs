//! What is known of the program behind a call and of its machine, beside their names: what the sidecar found, and what the mesh says.

use fleetgate_wire::header;
use fleetgate_wire::host::HostLabel;
use fleetgate_wire::provider_key::ProviderKeySighting;
use fleetgate_wire::row::Mark;
use http::{HeaderMap, HeaderName};

use super::mesh::Sight;
use super::{Caller, CallerHost, Keyring};

/// The longest text that is kept of a process.
const LONGEST_PROCESS: usize = 200;
/// The longest user name; Linux allows 32 characters, directories more.
const LONGEST_USER: usize = 64;

/// What a sidecar found, and what the mesh says.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// Executable, unit or container.
    pub process: Option<String>,
    /// The operating system's user.
    pub os_user: Option<String>,
    /// A provider's own key that the program showed.
    pub sighting: Option<ProviderKeySighting>,
    /// The host lives on the fallback key.
    fallback: bool,
    /// What the sidecar calls its host, where the key is another's.
    claimed: Option<HostLabel>,
    /// The mesh's word, as soon as it has come.
    sight: Option<Sight>,
}

impl Origin {
    /// Reads what a sidecar says. It is believed from a key that is bound to a host: with another, anyone could say anything of
    /// anybody. That a host lives on the fallback key is believed from everyone: that key is bound to none, and who says so speaks
    /// against himself.
    pub(super) fn read(
        headers: &HeaderMap,
        bound: Option<&HostLabel>,
        claimed: Option<&HostLabel>,
        keyring: &Keyring,
    ) -> Self {
        let said = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        let fallback = said(&header::FALLBACK_KEY) == Some("1");
        if bound.is_none() {
            return Self { fallback, ..Self::default() };
        }
        let text = |name, most: usize| {
            let text = said(name).filter(|text| !text.is_empty())?;
            // A header that reads as text is ASCII.
            Some(text[..text.len().min(most)].to_owned())
        };
        let sighting = said(&header::SIGHTING).and_then(|text| text.parse::<ProviderKeySighting>().ok());
        Self {
            process: text(&header::PROCESS, LONGEST_PROCESS),
            os_user: text(&header::OS_USER, LONGEST_USER),
            sighting: sighting.filter(|sighting| !keyring.knows(sighting.fingerprint())),
            fallback,
            claimed: claimed.filter(|claimed| Some(*claimed) != bound).cloned(),
            sight: None,
        }
    }

    pub(super) fn watch(&mut self, sight: Sight) {
        self.sight = Some(sight);
    }
}

impl Caller {
    /// What is remarkable, given what [`Caller::host_seen`] said: asked twice, it may say more the second time.
    #[must_use]
    pub fn marks(&self, host_seen: Option<&HostLabel>) -> Vec<Mark> {
        let all = [
            (self.origin.fallback, Mark::FallbackKey),
            (self.host.label().is_some() && host_seen.is_some(), Mark::HostMismatch),
            (self.origin.sighting.is_some(), Mark::RawProviderKey),
        ];
        all.into_iter().filter(|(is, _)| *is).map(|(_, mark)| mark).collect()
    }

    /// The machine by another's word, where that differs from [`Caller::host`], as far as it is known by now: the mesh's if it has
    /// one, else that of a sidecar with another host's key.
    #[must_use]
    pub fn host_seen(&self) -> Option<HostLabel> {
        match self.node() {
            Some(name) => self.unless_agreed(name),
            None => self.origin.claimed.clone(),
        }
    }

    /// The mesh's name, where it is not the host's.
    pub(super) fn mesh_name(&self) -> Option<HostLabel> {
        self.node().and_then(|name| self.unless_agreed(name))
    }

    fn unless_agreed(&self, name: HostLabel) -> Option<HostLabel> {
        let sight = self.origin.sight.as_ref()?;
        let agrees = self.host.label().is_some_and(|label| sight.agrees(label, &name));
        (!agrees).then_some(name)
    }

    fn node(&self) -> Option<HostLabel> {
        self.origin.sight.as_ref()?.node()
    }

    /// Takes the address for the machine where a key that is bound to none said another name, and nobody vouches for it.
    pub(super) fn disbelieve(&mut self, address: std::net::IpAddr) {
        if let CallerHost::Claimed(_) = self.host {
            self.host = CallerHost::Address(address);
        }
    }
}
