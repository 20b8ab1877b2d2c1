//! Endpoints under schedules of resolver answers, successes, failures and time.
//!
//! What is checked: only what the name resolves to is dialled, and nothing twice for one connection; whoever is well is preferred; never
//! more than half are ejected, so never the last; one connection at a time finds out whether an ejected one is well again; what is
//! known of those that stay is kept; and in the end nothing is in flight.

mod requests;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, advance};

use super::AddressRules;
use super::balance::Balancer;
use super::endpoint::{Endpoint, EndpointLease};
use super::endpoint_failure::EndpointFailure;
use super::endpoints::Endpoints;
use super::outlier::Availability;
use super::resolve::{Family, Resolution};
use crate::config::{
    Balance, EjectOn, ExpectedName, Host, IdentityUse, Outbound, OutboundListen, OutboundSettings, OutboundTimeouts,
    Protocol, SettingsPlace, Target,
};
use crate::simulation::{SimulationRun, simulate, with_paused_time};
use crate::telemetry::{OutboundCloseReason, OutboundCounters};

const NAMES: [&str; 2] = ["one.test", "two.test"];
const PORT: u16 = 443;

/// What an outbound listener to `names` at `port` may be set to.
fn outbound(names: &[&str], port: u16, run: &mut SimulationRun) -> Outbound {
    let seconds = Duration::from_secs;
    let balance = [(1, Balance::LeastConnections), (1, Balance::RoundRobin), (1, Balance::First)];
    let settings = OutboundSettings {
        proxy: None,
        no_proxy: Vec::new(),
        expect: Vec::new(),
        server_name: ExpectedName::Target,
        ca: Vec::new(),
        platform_cas: None,
        identity: IdentityUse::Never,
        balance: run.pick(&balance),
        protocol: Protocol::Http1,
        preserve_host: false,
        eject_on: run.pick(&[(1, EjectOn::Connect), (1, EjectOn::ServerErrors)]),
        required: false,
        timeouts: OutboundTimeouts {
            connect: seconds(1),
            handshake: seconds(1),
            total: seconds(5),
            idle: None,
            pool_idle: run.pick(&[(1, None), (1, Some(seconds(3)))]),
            max_age: run.pick(&[(1, None), (1, Some(seconds(5)))]),
        },
        attempts: 1 + run.below(4),
        eject: run.pick(&[(1, None), (2, Some(1)), (2, Some(3))]),
        max_connections: 1 + run.below(8),
        max_pending: 1 + run.below(4),
        refresh: seconds(30),
        doubts: Vec::new(),
        place: SettingsPlace::Options,
    };
    let target = |name: &&str| Target { host: Host::Name((*name).to_owned()), port };
    let to = names.iter().map(target).collect();
    Outbound { listen: OutboundListen::Loopback(9000), to, settings }
}

/// A resolver's answer, of `pool`.
fn answer(pool: &[IpAddr], run: &mut SimulationRun) -> Resolution {
    let mut some = |family: Option<Family>| -> Vec<IpAddr> {
        let share = 1 + run.below(4);
        let of_family = pool.iter().copied().filter(|ip| family.is_none_or(|family| family.has(*ip)));
        of_family.filter(|_| run.once_in(share)).collect()
    };
    let (all, four, six) = (some(None), some(Some(Family::Four)), some(Some(Family::Six)));
    match run.below(8) {
        0 => Resolution::Empty,
        1 => Resolution::Failed("the DNS server says SERVFAIL".to_owned()),
        2 => Resolution::Partly(four, Family::Six),
        3 => Resolution::Partly(six, Family::Four),
        _ => Resolution::Addresses(all, run.time(Duration::from_secs(60))),
    }
}

struct Scene {
    outbound: Outbound,
    endpoints: Endpoints,
    balancer: Balancer,
    pool: Vec<IpAddr>,
    refused: Vec<IpAddr>,
    /// What the names resolve to, as the program has it and as it should be.
    found: Vec<(String, Vec<IpAddr>)>,
    expected: BTreeMap<&'static str, Vec<IpAddr>>,
    was_known: bool,
    /// Connections that last.
    held: Vec<EndpointLease>,
    /// Every endpoint that there ever was.
    seen: Vec<Arc<Endpoint>>,
}

impl Scene {
    fn new(run: &mut SimulationRun) -> Self {
        let outbound = outbound(&NAMES[..1 + run.below(2)], PORT, run);
        let pool: Vec<IpAddr> =
            ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "fd00::1", "fd00::2", "10.0.0.9", "224.0.0.1"]
                .map(|ip| ip.parse().unwrap())
                .into();
        // Where we listen ourselves, and the address of nobody.
        let refused = vec![pool[6], pool[7]];
        let rules = Arc::new(AddressRules::open(vec![SocketAddr::new(pool[6], PORT)]));
        let counters = Arc::new(OutboundCounters::new("simulation"));
        Self {
            endpoints: Endpoints::new(&outbound, rules, counters),
            balancer: Balancer::new(outbound.settings.balance),
            outbound,
            pool,
            refused,
            found: Vec::new(),
            expected: BTreeMap::new(),
            was_known: false,
            held: Vec::new(),
            seen: Vec::new(),
        }
    }

    /// A resolver has answered.
    fn resolve(&mut self, run: &mut SimulationRun) {
        let name = NAMES[run.below(self.outbound.to.len())];
        let resolution = answer(&self.pool, run);
        run.step(format_args!("{name} resolves to {resolution:?}"));
        let before = self.endpoints.current();
        let known = self.expected.entry(name).or_default();
        match &resolution {
            Resolution::Addresses(all, _) => known.clone_from(all),
            Resolution::Partly(some, other) => {
                known.retain(|ip| other.has(*ip));
                drop(known.splice(0..0, some.iter().copied()));
            }
            Resolution::Empty => known.clear(),
            Resolution::Failed(_) => run.saw("nobody could say"),
        }
        let is_failure = matches!(resolution, Resolution::Failed(_));
        assert_eq!(self.endpoints.resolved(name, resolution, &mut self.found).is_err(), is_failure);
        let now = self.endpoints.current();
        let mut expected: Vec<IpAddr> = Vec::new();
        for ip in NAMES.iter().filter_map(|name| self.expected.get(name)).flatten() {
            if !expected.contains(ip) && !self.refused.contains(ip) {
                expected.push(*ip);
            }
        }
        let addrs: Vec<_> = now.iter().map(|one| one.addr.ip()).collect();
        assert_eq!(addrs, expected, "the set is what the names resolve to");
        for one in now.iter() {
            if let Some(known) = before.iter().find(|known| known.addr == one.addr && known.target == one.target) {
                assert!(Arc::ptr_eq(known, one), "what is known of one that stays is kept");
            }
            if !self.seen.iter().any(|known| Arc::ptr_eq(known, one)) {
                self.seen.push(Arc::clone(one));
            }
        }
        self.was_known |= !now.is_empty();
        let counts = self.endpoints.counts();
        assert_eq!(counts.ready + counts.ejected + counts.retiring, now.len());
    }

    fn ejected(&self) -> usize {
        self.endpoints.current().iter().filter(|one| one.is_ejected()).count()
    }

    /// One connection of the app's: attempts at one endpoint after the other.
    fn connect(&mut self, run: &mut SimulationRun) {
        let mut tried: Vec<Arc<Endpoint>> = Vec::new();
        while tried.len() < self.outbound.settings.attempts {
            let all = self.endpoints.current();
            let Some(endpoint) = self.balancer.choose(&all, &tried) else {
                assert!(all.iter().all(|one| tried.iter().any(|known| Arc::ptr_eq(known, one))), "one was not tried");
                break;
            };
            let now = Instant::now();
            let is_well = |one: &Arc<Endpoint>| !one.is_retiring() && one.availability(now) != Availability::Ejected;
            assert!(all.iter().any(|one| Arc::ptr_eq(one, &endpoint)), "{endpoint} is not in the set");
            assert!(!tried.iter().any(|one| Arc::ptr_eq(one, &endpoint)), "{endpoint} was tried");
            if !is_well(&endpoint) {
                run.saw("nobody is well");
                let left = all.iter().filter(|one| !tried.iter().any(|known| Arc::ptr_eq(known, one)));
                assert!(left.into_iter().all(|one| !is_well(one)), "one that is well was passed over");
            }
            tried.push(Arc::clone(&endpoint));
            let probes = endpoint.availability(now) == Availability::Probe;
            let before = endpoint.in_flight();
            let lease = self.endpoints.lease(Arc::clone(&endpoint));
            assert_eq!(endpoint.in_flight(), before + 1);
            if probes {
                run.saw("a probe");
                assert_eq!(endpoint.availability(now), Availability::Ejected, "one finds out, and not two");
            }
            run.step(format_args!("{endpoint} is dialled, of {}", all.len()));
            match run.below(5) {
                0 => {
                    drop(lease);
                    assert!(!probes || endpoint.availability(now) == Availability::Probe, "another may find out");
                }
                1 | 2 => {
                    drop(lease);
                    self.fail(&endpoint, run);
                }
                _ => {
                    self.endpoints.succeeded(&endpoint);
                    if run.once_in(20) {
                        self.endpoints.retires(&endpoint);
                        assert!(endpoint.is_retiring());
                    }
                    self.held.push(lease);
                    return;
                }
            }
        }
    }

    fn fail(&mut self, endpoint: &Endpoint, run: &mut SimulationRun) {
        let (was_ejected, all) = (endpoint.is_ejected(), self.endpoints.current().len());
        let failure = EndpointFailure::new(OutboundCloseReason::ConnectRefused, "it refused");
        match run.once_in(2) {
            true => self.endpoints.failed(endpoint, failure),
            false => self.endpoints.failed_behind_handshake(endpoint, failure),
        }
        if endpoint.is_ejected()
            && !was_ejected
            && self.endpoints.current().iter().any(|one| std::ptr::eq(&**one, endpoint))
        {
            run.saw("ejected");
            assert!(self.outbound.settings.eject.is_some());
            assert!(2 * self.ejected() <= all, "{} of {all} are ejected", self.ejected());
        }
    }

    /// Something becomes of a connection that lasts.
    fn go_on(&mut self, run: &mut SimulationRun) {
        if self.held.is_empty() {
            return;
        }
        let lease = self.held.swap_remove(run.below(self.held.len()));
        let endpoint = Arc::clone(lease.endpoint());
        run.step(format_args!("the connection to {endpoint} goes on"));
        match run.below(4) {
            0 => {
                self.endpoints.answered(&endpoint);
                self.held.push(lease);
            }
            1 => {
                drop(lease);
                self.fail(&endpoint, run);
            }
            2 => {
                self.endpoints.succeeded(&endpoint);
                self.endpoints.answered(&endpoint);
                assert!(!endpoint.is_ejected(), "it is well");
            }
            _ => drop(lease),
        }
    }
}

#[test]
fn under_every_schedule_the_right_endpoints_are_dialled_and_half_of_them_are_never_ejected() {
    let report = simulate("balancing", 400_000, |run| {
        with_paused_time(async {
            let mut scene = Scene::new(run);
            let weights = [(1, 0), (1 + run.below(12), 1), (1 + run.below(6), 2), (1 + run.below(6), 3)];
            while run.goes_on() {
                match run.pick(&weights) {
                    0 => scene.resolve(run),
                    1 => scene.connect(run),
                    2 => scene.go_on(run),
                    _ => {
                        let time = run.time(Duration::from_secs(30));
                        run.step(format_args!("{time:?} pass"));
                        advance(time).await;
                    }
                }
                let held: usize = scene.seen.iter().map(|one| one.in_flight()).sum();
                assert_eq!(held, scene.held.len());
            }
            scene.held.clear();
            assert!(scene.seen.iter().all(|one| one.in_flight() == 0));
            let is_known = scene.endpoints.wait(Duration::from_secs(1)).await.is_ok();
            assert!(is_known || !scene.was_known, "what was known once is known");
        });
    });
    report.has_seen(&["nobody could say", "nobody is well", "a probe", "ejected"]);
}
