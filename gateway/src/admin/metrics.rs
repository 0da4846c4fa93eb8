//! `GET /metrics`, for Prometheus.

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::IntoResponse;
use jiff::Timestamp;

use super::caller::Peer;
use super::{Admin, Handled};
use crate::metrics::Page;

/// The page names hosts, workloads and what they spend: it is for the administrator, unless a setting opens it.
pub(super) async fn show(
    State(admin): State<Arc<Admin>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Handled {
    if !admin.metrics_open {
        admin.administrator(peer, &headers)?;
    }
    let mut answer = admin.metrics.render(Timestamp::now()).into_response();
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(Page::CONTENT_TYPE));
    Ok(answer)
}
