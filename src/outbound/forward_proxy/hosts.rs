//! The servers that requests have named lately, each with its own addresses and connections.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::budget::Budgets;
use crate::config::{ForwardProxy, Host, Outbound, OutboundSettings, Target, TlsTunnel, Unlisted};
use crate::credentials::{OutboundSnapshot, SnapshotReceiver};
use crate::outbound::address_rules::AddressRules;
use crate::outbound::dialler::Dialler;
use crate::outbound::endpoints::Endpoints;
use crate::outbound::error::OutboundError;
use crate::outbound::http::{HttpClient, HttpShared};
use crate::telemetry::OutboundCounters;

/// Servers that are known at once.
const MAX_HOSTS: usize = 256;

/// One that was not asked for so long is forgotten, and its name is not looked up any more.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// All servers that the forward proxy has to do with.
#[derive(Debug)]
pub struct Hosts {
    config: Arc<ForwardProxy>,
    /// What servers are shown and judged by, for each of `config.listed`.
    snapshots: Vec<SnapshotReceiver<OutboundSnapshot>>,
    rules: Arc<AddressRules>,
    counters: Arc<OutboundCounters>,
    http: HttpShared,
    /// What connections and lookups hold is of these.
    budgets: Arc<Budgets>,
    known: Mutex<HashMap<(Target, HostRoute), KnownHost>>,
}

/// How a server is dealt with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct HostRoute {
    /// Where in the list it stands; `None`: it does not.
    position: Option<usize>,
}

impl HostRoute {
    /// Whether it gets to see who we are.
    pub(super) fn is_listed(self) -> bool {
        self.position.is_some()
    }
}

#[derive(Debug)]
struct KnownHost {
    host: Arc<ProxiedHost>,
    used: Instant,
}

/// One server, as long as it is asked for.
#[derive(Debug)]
pub(super) struct ProxiedHost {
    client: HttpClient,
    lookups: JoinHandle<()>,
    is_listed: bool,
    /// It was said that the app speaks TLS by itself.
    is_warned_of: AtomicBool,
}

impl ProxiedHost {
    pub(super) fn client(&self) -> &HttpClient {
        &self.client
    }

    /// Whether it gets to see who we are.
    pub(super) fn is_listed(&self) -> bool {
        self.is_listed
    }

    /// Whether this is the first time that the app speaks TLS with it by itself.
    pub(super) fn is_news(&self) -> bool {
        !self.is_warned_of.swap(true, Ordering::Relaxed)
    }
}

impl Drop for ProxiedHost {
    fn drop(&mut self) {
        self.lookups.abort();
    }
}

impl Hosts {
    /// None yet. There is one of `snapshots` for each of the hosts that `config` lists; `rules` say which addresses are not dialled;
    /// `budgets` are what connections to them and lookups hold memory of.
    pub fn new(
        config: Arc<ForwardProxy>,
        snapshots: Vec<SnapshotReceiver<OutboundSnapshot>>,
        rules: Arc<AddressRules>,
        counters: Arc<OutboundCounters>,
        http: HttpShared,
        budgets: Arc<Budgets>,
    ) -> Self {
        Self { config, snapshots, rules, counters, http, budgets, known: Mutex::default() }
    }

    /// What is counted.
    pub(super) fn counters(&self) -> &Arc<OutboundCounters> {
        &self.counters
    }

    pub(super) fn tls_tunnel(&self) -> TlsTunnel {
        self.config.tls_tunnel
    }

    /// Whom `target` stands for.
    pub(super) fn mapped(&self, target: Target) -> Target {
        self.config.mapped(target)
    }

    /// How `target` is dealt with; `None`: not at all.
    pub(super) fn route(&self, target: &Target) -> Option<HostRoute> {
        let position = self.config.position(target);
        (position.is_some() || self.config.unlisted == Unlisted::Tunnel).then_some(HostRoute { position })
    }

    /// On which ports `host` is listed.
    pub(super) fn ports(&self, host: &Host) -> Vec<u16> {
        self.config.listed.iter().filter(|listed| listed.hosts.matches(host)).map(|listed| listed.port).collect()
    }

    /// The server `target`, which is dealt with by `route`. Must be called within a runtime.
    ///
    /// # Errors
    /// There are too many, all of them in use.
    pub(super) fn host(&self, target: Target, route: HostRoute) -> Result<Arc<ProxiedHost>, OutboundError> {
        let mut known = self.known();
        let key = (target, route);
        if let Some(there) = known.get_mut(&key) {
            there.used = Instant::now();
            return Ok(Arc::clone(&there.host));
        }
        if known.len() >= MAX_HOSTS {
            let unused = known.iter().filter(|(_, one)| Arc::strong_count(&one.host) == 1);
            let oldest = unused.min_by_key(|(_, one)| one.used).map(|(key, _)| key.clone());
            known.remove(&oldest.ok_or(OutboundError::TooManyHosts(MAX_HOSTS))?);
        }
        let host = Arc::new(self.begin(&key.0, route));
        known.insert(key, KnownHost { host: Arc::clone(&host), used: Instant::now() });
        Ok(host)
    }

    fn begin(&self, target: &Target, HostRoute { position }: HostRoute) -> ProxiedHost {
        let settings: &OutboundSettings = match position {
            Some(position) => &self.config.listed[position].settings,
            None => &self.config.unlisted_settings,
        };
        let outbound =
            Outbound { listen: self.config.listen.clone(), to: vec![target.clone()], settings: settings.clone() };
        let endpoints = Endpoints::new(&outbound, Arc::clone(&self.rules), Arc::clone(&self.counters));
        let endpoints = Arc::new(endpoints.within(&self.budgets));
        let lookups = tokio::spawn({
            let endpoints = Arc::clone(&endpoints);
            async move { endpoints.run().await }
        });
        let snapshots = position.map(|position| self.snapshots[position].clone());
        let (counters, backlogs) = (Arc::clone(&self.counters), Arc::clone(&self.budgets.backlogs));
        let dialler = Dialler::new(outbound.settings, snapshots, endpoints, counters, backlogs);
        ProxiedHost {
            client: HttpClient::new(Arc::new(dialler), self.http.clone()),
            lookups,
            is_listed: position.is_some(),
            is_warned_of: AtomicBool::new(false),
        }
    }

    /// Forgets those that nobody has asked for lately; for ever.
    pub async fn forget(&self) {
        loop {
            sleep(FORGOTTEN / 2).await;
            self.known().retain(|_, one| Arc::strong_count(&one.host) > 1 || one.used.elapsed() < FORGOTTEN);
        }
    }

    /// The servers by name, each with its endpoints.
    pub fn endpoints(&self) -> Vec<(String, Arc<Endpoints>)> {
        let known = self.known();
        let of =
            |target: &Target, one: &KnownHost| (target.to_string(), Arc::clone(&one.host.client.dialler().endpoints));
        let mut all: Vec<_> = known.iter().map(|((target, _), one)| of(target, one)).collect();
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        all
    }

    fn known(&self) -> MutexGuard<'_, HashMap<(Target, HostRoute), KnownHost>> {
        // Nothing in it can be left half-written.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
