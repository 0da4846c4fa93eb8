//! The names of labels, LiteLLM's where it has some, and their values for one call.

use std::borrow::Cow;

/// The labels of everything that is counted once a call: the host and the workload are ours. The last four name the deployment.
pub(super) const CALL: [&str; 11] = [
    "host",
    "workload",
    "hashed_api_key",
    "api_key_alias",
    "user",
    "team",
    "team_alias",
    "requested_model",
    "model",
    "model_id",
    "api_provider",
];
/// Those of them that strangers choose: host (claimed), workload, and models behind a wildcard.
pub(super) const CALL_OPEN: &[usize] = &[0, 1, 7, 8];

/// The labels of everything that is counted once a request of a client.
pub(super) const REQUEST: [&str; 10] = [
    "host",
    "workload",
    "hashed_api_key",
    "api_key_alias",
    "user",
    "team",
    "team_alias",
    "requested_model",
    "route",
    "status_code",
];
/// The same for those that were refused or failed.
pub(super) const FAILURE: [&str; 11] = [
    "host",
    "workload",
    "hashed_api_key",
    "api_key_alias",
    "user",
    "team",
    "team_alias",
    "requested_model",
    "route",
    "exception_status",
    "exception_class",
];
/// What strangers choose of both.
pub(super) const REQUEST_OPEN: &[usize] = &[0, 1, 7];

/// Who calls. All empty when nobody knows.
#[derive(Debug, Clone, Default)]
pub struct Who<'a> {
    /// The machine.
    pub host: Cow<'a, str>,
    /// What made the call there.
    pub workload: Cow<'a, str>,
    /// The key's hash, or `master`.
    pub key_hash: Cow<'a, str>,
    /// The key's name.
    pub key_alias: Cow<'a, str>,
    /// The user that the key belongs to.
    pub user: Cow<'a, str>,
    /// The team that the key belongs to.
    pub team: Cow<'a, str>,
    /// That team's name.
    pub team_alias: Cow<'a, str>,
}

/// What an attempt is counted under: known when it goes out.
#[derive(Debug, Clone, Default)]
pub struct CallLabels<'a> {
    /// Who calls.
    pub who: Who<'a>,
    /// The model by the caller's name.
    pub requested_model: Cow<'a, str>,
    /// The model by the provider's name.
    pub model: Cow<'a, str>,
    /// The deployment's identifier.
    pub model_id: Cow<'a, str>,
    /// The provider.
    pub provider: Cow<'a, str>,
}

impl CallLabels<'_> {
    /// In the order of [`CALL`].
    pub(super) fn values(&self) -> [Cow<'_, str>; CALL.len()] {
        let who = &self.who;
        [
            &who.host,
            &who.workload,
            &who.key_hash,
            &who.key_alias,
            &who.user,
            &who.team,
            &who.team_alias,
            &self.requested_model,
            &self.model,
            &self.model_id,
            &self.provider,
        ]
        .map(|value| Cow::Borrowed(&**value))
    }
}

impl Who<'_> {
    /// In the order of [`REQUEST`].
    pub(super) fn request<'s>(
        &'s self,
        route: &'s str,
        requested_model: &'s str,
        status: &'s str,
    ) -> [Cow<'s, str>; REQUEST.len()] {
        [
            &*self.host,
            &*self.workload,
            &*self.key_hash,
            &*self.key_alias,
            &*self.user,
            &*self.team,
            &*self.team_alias,
            requested_model,
            route,
            status,
        ]
        .map(Cow::Borrowed)
    }
}
