//! What somebody asks of the management API, once it is known who he is.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::caller::Peer;
use super::fields::{Fields, bad};
use super::{Admin, Refused};
use crate::auth::{Caller, CallerKey, KeyRecord, require_admin};
use crate::respond::Refusal;

/// What the administrator wants done. Who holds one has been checked.
pub(super) struct Order {
    pub(super) admin: Arc<Admin>,
    pub(super) fields: Fields,
}

impl FromRequest<Arc<Admin>> for Order {
    type Rejection = Refused;

    async fn from_request(request: Request, admin: &Arc<Admin>) -> Result<Self, Refused> {
        let (parts, body) = request.into_parts();
        require_admin(&caller(admin, &parts)?)?;
        let body = Bytes::from_request(Request::from_parts(parts, body), admin).await;
        let body = body.map_err(|error| bad(format!("the body cannot be read: {error}"), None))?;
        Ok(Self { admin: Arc::clone(admin), fields: Fields::read(&body)? })
    }
}

/// A question with a query, from anybody whose key is known. Most are for the administrator only: see
/// [`Question::of_administrator`].
pub(super) struct Question<Q> {
    pub(super) admin: Arc<Admin>,
    pub(super) caller: Caller,
    pub(super) query: Q,
}

impl<Q: DeserializeOwned> FromRequestParts<Arc<Admin>> for Question<Q> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, admin: &Arc<Admin>) -> Result<Self, Refused> {
        let caller = caller(admin, parts)?;
        let Query(query) = Query::try_from_uri(&parts.uri)
            .map_err(|error| bad(format!("the query cannot be understood: {error}"), None))?;
        Ok(Self { admin: Arc::clone(admin), caller, query })
    }
}

impl<Q> Question<Q> {
    /// Lets only the administrator ask.
    pub(super) fn of_administrator(self) -> Result<(Arc<Admin>, Q), Refusal> {
        require_admin(&self.caller)?;
        Ok((self.admin, self.query))
    }

    /// Lets the administrator ask, and those keys that the question is about.
    pub(super) fn of_administrator_or(&self, about: impl FnOnce(&KeyRecord) -> bool) -> Result<(), Refusal> {
        match &self.caller.key {
            CallerKey::Virtual(record) if about(record) => Ok(()),
            _ => Ok(require_admin(&self.caller)?),
        }
    }
}

fn caller(admin: &Admin, parts: &Parts) -> Result<Caller, Refusal> {
    let peer = parts.extensions.get::<Peer>().copied();
    let peer = peer.ok_or_else(|| bad("the request came over no connection".into(), None))?;
    Ok(admin.caller(peer, &parts.headers)?)
}
