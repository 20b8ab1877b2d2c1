//! How the requests of one listener are served.

use std::sync::Arc;

use crate::config::{ClientAuthConfig, HttpConfig};
use crate::http::HeadRules;
use crate::telemetry::RequestCounters;

/// How the requests of one listener are served.
#[derive(Debug)]
pub struct HttpService {
    /// As it was configured.
    pub(super) config: Arc<HttpConfig>,
    /// What heads of requests may be.
    pub(super) head_rules: Arc<HeadRules>,
    /// What is counted of them.
    pub(super) counters: Arc<RequestCounters>,
    /// There are routes, or may be as soon as a file says so.
    pub(super) may_have_routes: bool,
}

impl HttpService {
    /// How requests of `clients` are served as `config` says, and counted by `counters`.
    pub fn new(config: Arc<HttpConfig>, clients: &ClientAuthConfig, counters: Arc<RequestCounters>) -> Self {
        Self { head_rules: config.head_rules(), config, counters, may_have_routes: clients.may_have_routes() }
    }

    /// A client was given HTTP/1.1 because there is no room for one more connection of HTTP/2.
    pub(in crate::inbound) fn count_downgrade(&self) {
        self.counters.count_downgrade();
    }
}
