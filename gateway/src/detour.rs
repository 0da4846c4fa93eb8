//! A way around a provider that complains: it will not have the content, or the prompt is too long for its model, and the file names
//! another group for that. Its answer is read before the client sees any of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header;

use crate::call::speaks;
use crate::dialect::{Ask, complaint};
use crate::gateway::Gateway;
use crate::provider::Reply;
use crate::route::{Choice, Complaint, Plan};

/// A longer answer passes without being looked at whole.
const LONGEST_ANSWER: usize = 4 * 1024 * 1024;

/// A complaint, and who else may serve the call.
pub(crate) struct Detour {
    pub(crate) complaint: Complaint,
    /// The whole answer that complains.
    pub(crate) body: Bytes,
    pub(crate) plan: Plan,
}

/// Who else may serve a call about which the answer to the last of `tries` complains. No group is tried twice; `tried` remembers
/// them. `None` where nobody may: the answer is then as good as ever.
pub(crate) async fn find(
    gateway: &Gateway,
    ask: &Ask,
    tries: &[Choice],
    tried: &mut Vec<Arc<str>>,
    reply: &mut Reply,
    patience: Duration,
) -> Option<Detour> {
    let choice = tries.last().filter(|choice| is_looked_at(gateway, ask, choice, reply))?;
    for group in tries.iter().map(|choice| &choice.group) {
        if !tried.contains(group) {
            tried.push(Arc::clone(group));
        }
    }
    let body = tokio::time::timeout(patience, reply.body.peek(LONGEST_ANSWER)).await.ok()??;
    let complaint = complaint(reply.head.status, &body)?;
    let mut plan = gateway.router.detour(complaint, &choice.group, tried);
    plan.choices.retain(|choice| speaks(gateway, choice, ask));
    gateway.router.rest(&mut plan);
    (!plan.choices.is_empty()).then_some(Detour { complaint, body, plan })
}

/// Whether a complaint of this answer would change anything. A stream that has begun is never taken back.
fn is_looked_at(gateway: &Gateway, ask: &Ask, choice: &Choice, reply: &Reply) -> bool {
    let has = |complaint| gateway.router.has_detours(complaint, &choice.group);
    match reply.head.status.as_u16() {
        200 => {
            let content_type = reply.head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
            let is_json = content_type.is_some_and(|text| text.starts_with("application/json"));
            !ask.stream && is_json && has(Complaint::ContentPolicy)
        }
        400 | 403 | 413 | 422 => has(Complaint::ContextWindow) || has(Complaint::ContentPolicy),
        _ => false,
    }
}
