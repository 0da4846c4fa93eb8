//! Invitations at rest, and the one step that turns a use of one into a key.

use fleetgate_wire::host::HostLabel;
use fleetgate_wire::virtual_key::KeyHash;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Ledger, LedgerError};
use crate::auth::KeyRecord;

/// How long an invitation that nobody can use any more is still listed.
const LISTED_AFTER_END: jiff::SignedDuration = jiff::SignedDuration::from_hours(30 * 24);

/// What an invitation promises. Its token is not among it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Invitation {
    /// Its name, for people.
    pub id: String,
    /// The machines that it is for; none named means any that has no key yet.
    #[serde(default)]
    pub hosts: Vec<HostLabel>,
    /// How many machines it is for.
    pub uses: u32,
    /// The name of each key; `{host}` stands for the machine.
    pub alias: String,
    /// The other fields of each key: budget, rates, models, team.
    pub template: Map<String, Value>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// An invitation and what became of it.
#[derive(Debug, Clone)]
pub struct InvitationState {
    /// What it promises.
    pub invitation: Invitation,
    /// How many machines may still come.
    pub uses_left: u32,
    /// Who came, and when.
    pub enrolled: Vec<(HostLabel, Timestamp)>,
}

/// An invitation as its table holds it.
#[derive(Debug)]
pub(super) struct StoredInvitation {
    pub(super) record: String,
    pub(super) uses_left: i64,
    pub(super) enrolled: Vec<(String, i64)>,
}

/// One use of an invitation.
#[derive(Debug)]
pub struct Redemption {
    /// Which invitation.
    pub id: String,
    /// Who comes.
    pub host: HostLabel,
    /// When.
    pub at: Timestamp,
    /// The key that it gets.
    pub key: KeyRecord,
    /// Keys of this host that nobody confirmed: they go.
    pub forget: Vec<KeyHash>,
}

impl Ledger {
    /// Keeps a new invitation, and forgets those that ended long ago.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn add_invitation(&self, hash: &KeyHash, invitation: &Invitation) -> Result<(), LedgerError> {
        let record = serde_json::to_string(invitation).map_err(|error| self.unavailable(&error))?;
        let old = invitation.created_at.saturating_sub(LISTED_AFTER_END).unwrap_or(Timestamp::MIN);
        let added = self.store.add_invitation(hash, invitation, &record, old.as_microsecond()).await;
        added.map_err(|error| self.unavailable(&error))
    }

    /// All invitations, the newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn invitations(&self) -> Result<Vec<InvitationState>, LedgerError> {
        let stored = self.store.invitations().await.map_err(|error| self.unavailable(&error))?;
        let mut all = stored.iter().map(|stored| self.invitation(stored)).collect::<Result<Vec<_>, _>>()?;
        all.sort_by_key(|state| std::cmp::Reverse(state.invitation.created_at));
        Ok(all)
    }

    /// The invitation with this token, whether or not it is still good.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn find_invitation(&self, hash: &KeyHash) -> Result<Option<InvitationState>, LedgerError> {
        let stored = self.store.find_invitation(hash).await.map_err(|error| self.unavailable(&error))?;
        stored.map(|stored| self.invitation(&stored)).transpose()
    }

    /// Withdraws an invitation; says whether there was one.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn remove_invitation(&self, id: &str) -> Result<bool, LedgerError> {
        self.store.remove_invitation(id).await.map_err(|error| self.unavailable(&error))
    }

    /// Takes one use and stores the key, both or none, whatever other gateways do at the same time. Says no when the invitation
    /// has no use left, has ended, is withdrawn, or has served this host.
    ///
    /// # Errors
    /// When the key's alias is taken, or the database cannot be written.
    pub async fn redeem(&self, redemption: &Redemption) -> Result<bool, LedgerError> {
        if let Some(cause) = self.trouble() {
            return Err(self.unavailable(&cause));
        }
        self.store.redeem(redemption).await.map_err(|error| match error.as_database_error() {
            Some(cause) if cause.is_unique_violation() => {
                LedgerError::AliasTaken(redemption.key.key_alias.clone().unwrap_or_default())
            }
            _ => self.unavailable(&error),
        })
    }

    fn invitation(&self, stored: &StoredInvitation) -> Result<InvitationState, LedgerError> {
        let damaged = |error| self.unavailable(&format!("a stored invitation is damaged: {error}"));
        let enrolled = stored
            .enrolled
            .iter()
            .filter_map(|(host, at)| Some((HostLabel::parse(host).ok()?, Timestamp::from_microsecond(*at).ok()?)));
        Ok(InvitationState {
            invitation: serde_json::from_str(&stored.record).map_err(damaged)?,
            uses_left: u32::try_from(stored.uses_left).unwrap_or_default(),
            enrolled: enrolled.collect(),
        })
    }
}
