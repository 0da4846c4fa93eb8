//! HTTP to keys, rows, models, health and settings: LiteLLM's management API as far as it goes, and `/api`.

mod budget_levels;
mod budgets;
mod caller;
mod config;
mod customers;
mod duration;
mod egress;
mod entities;
mod fields;
mod health;
mod invites;
mod key_batch;
mod key_change;
mod key_request;
mod key_spend;
mod keys;
mod limits;
mod logs;
mod metrics;
mod models;
mod moment;
mod order;
mod own_key;
mod reprice;
mod seen;
mod served;
mod spend;
mod sums;
mod tags;
mod teams;
mod totals;
mod unpriced;
mod users;

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::DefaultBodyLimit;
use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::{delete, get, post};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use tokio::sync::Mutex;

pub use caller::Peer;

use crate::admit::budget::Budgets;
use crate::auth::{Directory, Keyring};
use crate::config::Setting;
use crate::egress::Dialer;
use crate::front::MeshStatus;
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::price::Pricer;
use crate::respond::Refusal;
use crate::route::Router as Models;

/// What the management API works on.
#[derive(Debug)]
pub struct Admin {
    /// The snapshot of keys.
    pub keyring: Arc<Keyring>,
    /// The snapshot of teams, users, budgets, tags and customers.
    pub directory: Arc<Directory>,
    /// The rows, the stored keys and entities.
    pub ledger: Ledger,
    /// The models.
    pub models: Arc<Models>,
    /// Today's prices.
    pub pricer: Arc<Pricer>,
    /// Called after old rows were priced anew: sums that were read before are out of date.
    pub repriced: Changed,
    /// The live settings.
    pub settings: Vec<Setting>,
    /// How many warnings the configuration gave at the start.
    pub config_warnings: usize,
    /// How the gateway stands in the mesh, if it listens there.
    pub mesh: Option<MeshStatus>,
    /// What was counted.
    pub metrics: Arc<Metrics>,
    /// Calls whose cost nobody knows count as what was reserved for them.
    pub counts_unknown: bool,
    /// `/metrics` asks for no key.
    pub metrics_open: bool,
    /// Where tunnels may lead.
    pub dialer: Arc<Dialer>,
    /// What is spent and reserved.
    pub budgets: Budgets,
    /// Called after keys or entities have changed: their limits must be put in force.
    pub changed: Changed,
    /// When this process started.
    pub started_at: Timestamp,
    /// Held while a key or an entity is changed: the change is made to the newest record, and the newest snapshot is the last one put in place.
    pub changing: Arc<Mutex<()>>,
}

/// Something to call after a change.
pub struct Changed(pub Box<dyn Fn() + Send + Sync>);

impl fmt::Debug for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Changed")
    }
}

/// What a handler gives back.
type Handled = Result<Response, Refused>;

/// A refusal as axum wants it.
struct Refused(Refusal);

impl<E: Into<Refusal>> From<E> for Refused {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl axum::response::IntoResponse for Refused {
    fn into_response(self) -> Response {
        self.0.answer(fleetgate_wire::endpoint::Dialect::OpenAi).map(axum::body::Body::new)
    }
}

/// The routes.
pub fn router(admin: Admin) -> Router {
    Router::new()
        .route("/key/generate", post(keys::generate))
        .route("/key/info", get(keys::info))
        .route("/key/list", get(keys::list))
        .route("/key/update", post(keys::update))
        .route("/key/block", post(keys::block))
        .route("/key/unblock", post(keys::unblock))
        .route("/key/delete", post(keys::delete))
        .route("/key/{key}/reset_spend", post(key_spend::reset))
        .route("/key/aliases", get(key_batch::aliases))
        .route("/key/health", post(key_batch::health))
        .route("/key/bulk_update", post(key_batch::bulk_update))
        .route("/v2/key/info", post(key_batch::info))
        .merge(entity_routes())
        .merge(enrolment_routes())
        .route("/spend/logs", get(spend::logs))
        .route("/spend/keys", get(totals::keys))
        .route("/spend/users", get(totals::users))
        .route("/global/spend", get(totals::all))
        .route("/global/spend/keys", get(totals::recent_keys))
        .route("/global/spend/models", get(totals::recent_models))
        .route("/api/self", get(own_key::show))
        .route("/api/logs", get(logs::list))
        .route("/api/budgets", get(budget_levels::list))
        .route("/api/spend", get(sums::show))
        .route("/api/spend/unpriced", get(unpriced::list))
        .route("/api/spend/reprice", post(reprice::reprice))
        .route("/api/egress/explain", get(egress::explain))
        .route("/api/egress/spend", get(egress::spend))
        .route("/api/stragglers", get(seen::stragglers))
        .route("/api/sightings", get(seen::sightings))
        .route("/api/config", get(config::show))
        .route("/v1/models", get(models::list))
        .route("/models", get(models::list))
        .route("/v1/models/{*id}", get(models::one))
        .route("/models/{*id}", get(models::one))
        .route("/health/liveliness", get(health::alive))
        .route("/health/liveness", get(health::alive))
        .route("/health/readiness", get(health::ready))
        .route("/health/readiness/details", get(health::details))
        .route("/metrics", get(metrics::show))
        .route("/metrics/", get(metrics::show))
        .fallback(no_such_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(map_response(in_our_shape))
        .with_state(Arc::new(admin))
}

/// The routes of what carries limits beside keys. LiteLLM takes `POST`, and here and there `DELETE` or `PATCH` as well.
fn entity_routes() -> Router<Arc<Admin>> {
    let mut routes = Router::new()
        .route("/team/new", post(teams::new))
        .route("/team/update", post(teams::update).patch(teams::update))
        .route("/team/delete", post(teams::delete).delete(teams::delete))
        .route("/team/info", get(teams::info))
        .route("/team/list", get(teams::list))
        .route("/team/block", post(teams::block))
        .route("/team/unblock", post(teams::unblock))
        .route("/team/member_add", post(teams::member_add))
        .route("/team/member_delete", post(teams::member_delete))
        .route("/user/new", post(users::new))
        .route("/user/update", post(users::update))
        .route("/user/delete", post(users::delete))
        .route("/user/info", get(users::info))
        .route("/user/list", get(users::list))
        .route("/budget/new", post(budgets::new))
        .route("/budget/update", post(budgets::update))
        .route("/budget/info", post(budgets::info))
        .route("/budget/list", get(budgets::list))
        .route("/budget/settings", get(budgets::settings))
        .route("/budget/delete", post(budgets::delete))
        .route("/tag/new", post(tags::new))
        .route("/tag/update", post(tags::update))
        .route("/tag/info", post(tags::info))
        .route("/tag/list", get(tags::list))
        .route("/tag/delete", post(tags::delete));
    for name in ["customer", "end_user"] {
        routes = routes
            .route(&format!("/{name}/new"), post(customers::new))
            .route(&format!("/{name}/update"), post(customers::update))
            .route(&format!("/{name}/info"), get(customers::info))
            .route(&format!("/{name}/list"), get(customers::list))
            .route(&format!("/{name}/delete"), post(customers::delete))
            .route(&format!("/{name}/block"), post(customers::block))
            .route(&format!("/{name}/unblock"), post(customers::unblock));
    }
    routes
}

/// What axum says is a sentence.
const LONGEST_REJECTION: usize = 16 << 10;
/// A longer request asks for nothing that these routes give; one of them asks for no key.
const LONGEST_ENROLMENT: usize = 16 << 10;

/// The routes on which machines get their keys, and change them.
fn enrolment_routes() -> Router<Arc<Admin>> {
    Router::new()
        .route("/api/invitations", get(invites::list).post(invites::invite))
        .route("/api/invitations/{id}", delete(invites::withdraw))
        .route("/api/enroll", post(invites::enroll))
        .route("/api/key/rotate", post(key_change::rotate))
        .route("/api/key/confirm", post(key_change::confirm))
        .route("/api/key/discard", post(key_change::discard))
        .layer(DefaultBodyLimit::max(LONGEST_ENROLMENT))
}

async fn wrong_method(request: Request) -> Refused {
    Refusal::WrongMethod { method: request.method().to_string(), path: request.uri().path().to_owned() }.into()
}

/// What axum says of a request that it cannot read is plain text; programs expect LiteLLM's object, like that of every refusal.
async fn in_our_shape(response: Response) -> Response {
    let status = response.status();
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    if !status.is_client_error() || kind.is_some_and(|kind| !kind.starts_with("text/plain")) {
        return response;
    }
    let text = to_bytes(response.into_body(), LONGEST_REJECTION).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let message = if text.is_empty() { status.to_string() } else { text.into_owned() };
    axum::response::IntoResponse::into_response(Refused(Refusal::Rejected { status, message }))
}

async fn no_such_path(request: Request) -> Refused {
    Refusal::NoSuchPath(request.uri().path().to_owned()).into()
}

/// A truth value in a query, in all the forms that Python's and JavaScript's clients write.
fn switch<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    let text = String::deserialize(deserializer)?;
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(Some(true)),
        "false" | "0" | "no" | "off" => Ok(Some(false)),
        _ => Err(serde::de::Error::custom(format!("{text:?} is neither true nor false"))),
    }
}

fn json(value: &serde_json::Value) -> Response {
    axum::response::IntoResponse::into_response(axum::Json(value))
}
