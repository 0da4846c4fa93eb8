//! Which callers of this machine may speak: the sidecar's own user, root, and whoever is allowed by name.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, StatusCode};

use super::token::LocalToken;
use crate::inject;
use crate::refusal::Refusal;
use crate::workload::{Caller, Callers, Facts, Owner, Process, name_of};

/// How long somebody waits whose program must be seen before it may speak.
const CERTAINTY: Duration = Duration::from_secs(2);

/// Who may talk to us.
#[derive(Debug)]
pub(super) struct Access {
    pub(super) callers: Arc<Callers>,
    pub(super) token: Option<LocalToken>,
    /// Names beside `localhost` that a `Host` header may say.
    pub(super) hosts: Vec<String>,
}

impl Access {
    /// Lets a caller speak or says why not. The kernel's word decides; nothing that the caller sends is asked.
    pub(super) async fn admit(&self, caller: &Caller) -> Result<(), Refusal> {
        match caller.owner().await {
            Some(Owner::User(uid)) if !self.callers.allowed().admit(uid) => Err(self.other_user(uid)),
            Some(Owner::User(uid)) => self.rule_out_mesh(caller, uid).await,
            // To come this far it took `--dangerously-listen-beyond-loopback`, which says that all may.
            Some(Owner::Elsewhere | Owner::Untold) => Ok(()),
            Some(Owner::Gone) | None => Err(forbidden(
                "caller_unknown",
                "the kernel does not say whose connection this is, so the sidecar does not take it: either the client closed it \
                 already, or the sidecar may neither use netlink (in a systemd unit: AF_NETLINK in RestrictAddressFamilies=) nor \
                 read /proc/net/tcp"
                    .to_owned(),
            )),
        }
    }

    fn other_user(&self, uid: u32) -> Refusal {
        let (theirs, ours) = (name_of(uid), name_of(self.callers.allowed().own()));
        forbidden(
            "other_user",
            format!(
                "this sidecar is {ours}'s and user {theirs} may not spend with its key. To allow it, start the sidecar with \
                 --allow-user {theirs}, or put {theirs} into FLEETGATE_ALLOW_USERS (as a service: in sidecar.env)"
            ),
        )
    }

    /// Whether a caller that may be a mesh's own program is seen to be another. What such a program sends comes from other machines.
    async fn rule_out_mesh(&self, caller: &Caller, uid: u32) -> Result<(), Refusal> {
        if uid == self.callers.allowed().own() && !self.callers.is_mesh_user(uid) {
            // Its program is looked at as soon as it is known.
            return Ok(());
        }
        // Others than our own user are few, and whom they are may take its time. Whether a mesh runs is known by then too.
        let facts = caller.facts(CERTAINTY).await;
        facts.map_or(Ok(()), Self::check_mesh)?;
        let is_seen = facts.and_then(|facts| facts.process.as_ref()?.is_mesh()).is_some();
        if is_seen || !self.callers.is_mesh_user(uid) { Ok(()) } else { Err(mesh_proxy()) }
    }

    /// Refuses a mesh's own program.
    pub(super) fn check_mesh(facts: &Facts) -> Result<(), Refusal> {
        let is_mesh = facts.process.as_ref().and_then(Process::is_mesh) == Some(true);
        if is_mesh { Err(mesh_proxy()) } else { Ok(()) }
    }

    /// Where a token is required, a call without it spends nothing. Who brings a virtual key pays with that.
    pub(super) fn check_token(&self, headers: &HeaderMap, query: Option<&str>) -> Result<(), Refusal> {
        let Some(token) = &self.token else { return Ok(()) };
        if inject::minted_key(headers, query).is_some()
            || inject::credentials(headers, query).any(|text| token.is(&text))
        {
            return Ok(());
        }
        let message = format!(
            "this sidecar requires its local token: send the text of {} as the API key (Authorization: Bearer …), or as the \
             password of the proxy address",
            token.path().display()
        );
        Err(Refusal::new(StatusCode::FORBIDDEN, "local_token", message))
    }
}

fn mesh_proxy() -> Refusal {
    forbidden(
        "mesh_proxy",
        "this caller is a mesh's own program, or cannot be told from one that runs here without a network device and lets other \
         machines reach this port. On those machines run a sidecar of their own; here, call as another user than the mesh's"
            .to_owned(),
    )
}

fn forbidden(reason: &'static str, message: String) -> Refusal {
    Refusal::new(StatusCode::FORBIDDEN, reason, message)
}

/// The headers of an answer by which a browser would let a page of another origin read it. A provider may send them; here no page
/// is to read anything.
pub(super) fn strip_cors(headers: &mut HeaderMap) {
    let names = headers.keys().filter(|name| name.as_str().starts_with("access-control-"));
    for name in names.cloned().collect::<Vec<_>>() {
        headers.remove(name);
    }
}
