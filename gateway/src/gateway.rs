//! What every call and tunnel finds on its way: the stages' own state, put together by `boot` and never changed after.

use std::sync::Arc;

use crate::admit::budget::{Budgets, RefusalLog};
use crate::admit::rate::Rates;
use crate::auth::{Directory, Keyring, Mesh};
use crate::config::Config;
use crate::egress::Dialer;
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::price::Pricer;
use crate::provider::{Client, Upstream};
use crate::route::Router;
use crate::trace::Tracer;

/// Everything that a call needs on its way. Each worker has a clone: the same state, with connections to providers of its own.
#[derive(Debug, Clone)]
pub(crate) struct Gateway {
    pub(crate) config: Arc<Config>,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) mesh: Mesh,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) tracer: Arc<Tracer>,
    pub(crate) router: Arc<Router>,
    /// By [`crate::config::Deployment::index`]; an entry that names no provider has none.
    pub(crate) upstreams: Arc<[Option<Upstream>]>,
    pub(crate) client: Client,
    pub(crate) pricer: Arc<Pricer>,
    pub(crate) budgets: Budgets,
    /// One line a minute for each caller that does not take no for an answer.
    pub(crate) refusals: Arc<RefusalLog>,
    pub(crate) rates: Rates,
    pub(crate) ledger: Ledger,
    pub(crate) dialer: Arc<Dialer>,
}

impl Gateway {
    pub(crate) fn upstream(&self, index: usize) -> Option<&Upstream> {
        self.upstreams.get(index).and_then(Option::as_ref)
    }
}
