//! The lookups of one outbound listener: each name at its own time, so that one that nobody answers keeps no other waiting.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::{EndpointRoom, Endpoints, LookupFailure, MIN_REFRESH, ResolveState};
use crate::budget::MemoryBudget;
use crate::outbound::endpoint::lock;
use crate::outbound::resolve::{Resolution, resolve};
use crate::telemetry::ResolveResult;

/// A failure of an endpoint has its name looked up at once, but no sooner than so long after the last lookup.
const MIN_REFRESH_ON_FAILURE: Duration = Duration::from_secs(1);

/// Names that are looked up at once.
const MAX_AT_ONCE: usize = 16;

/// What an endpoint takes that was looked up, in bytes.
const ENDPOINT: usize = 320;

/// As many addresses of a name are used however little memory there is.
const FEW: usize = 16;

/// One name, and what has come of its last lookup.
#[derive(Debug)]
struct LookedUpName {
    name: String,
    /// When it is looked up next; `None`: that is going on.
    due: Option<Instant>,
    /// When that has ended; `None`: it was not looked up yet.
    last: Option<Instant>,
    /// Why nobody could say.
    failure: Option<String>,
}

impl Endpoints {
    /// Keeps the endpoints up to date, for ever. At once done where there is no name.
    pub async fn run(&self) {
        let begins =
            |name: &str| LookedUpName { name: name.to_owned(), due: Some(Instant::now()), last: None, failure: None };
        let mut names: Vec<_> = self.names().into_iter().map(begins).collect();
        let mut found: Vec<(String, Vec<IpAddr>)> = Vec::new();
        let (mut asking, mut is_known_empty) = (JoinSet::new(), false);
        if names.is_empty() {
            return std::future::pending().await;
        }
        loop {
            let next = loop {
                let next = names.iter_mut().enumerate().filter_map(|(nth, one)| Some((one.due?, nth, one)));
                match next.min_by_key(|(due, nth, _)| (*due, *nth)) {
                    // Whoever is done makes room.
                    _ if asking.len() >= MAX_AT_ONCE => break None,
                    Some((due, nth, one)) if due <= Instant::now() => {
                        one.due = None;
                        let (name, budget) = (one.name.clone(), self.budget());
                        asking.spawn(async move {
                            let began = std::time::Instant::now();
                            (nth, resolve(&name, budget.as_ref()).await, began)
                        });
                    }
                    next => break next.map(|(due, ..)| due),
                }
            };
            tokio::select! {
                Some(joined) = asking.join_next() => {
                    let (nth, resolution, began) = match joined {
                        Ok(looked_up) => looked_up,
                        // A fault of ours, which is not to be taken for an answer.
                        Err(error) => match error.try_into_panic() {
                            Ok(panic) => std::panic::resume_unwind(panic),
                            Err(_) => return,
                        },
                    };
                    self.counters.count_resolve(result_of(&resolution), began);
                    self.looked_up(&mut names[nth], resolution, &mut found);
                    if names.iter().all(|one| one.last.is_some()) {
                        self.note_all(&names);
                        self.report_emptiness(&names, &mut is_known_empty);
                    }
                }
                () = async { sleep_until(next.unwrap_or_else(Instant::now)).await }, if next.is_some() => {}
                () = self.failed.notified() => {
                    for one in &mut names {
                        let soonest = one.last.map(|last| last + MIN_REFRESH_ON_FAILURE);
                        one.due = one.due.map(|due| soonest.map_or(due, |soonest| due.min(soonest)));
                    }
                }
            }
        }
    }

    /// What has come of looking up `one`, beside what was `found` of all names.
    fn looked_up(&self, one: &mut LookedUpName, resolution: Resolution, found: &mut Vec<(String, Vec<IpAddr>)>) {
        let now = Instant::now();
        one.last = Some(now);
        match self.resolved(&one.name, resolution, found) {
            Ok(holds) => {
                one.due = Some(now + self.refresh.min(holds.max(MIN_REFRESH)));
                if one.failure.take().is_some() {
                    tracing::info!(to = %self.name, name = one.name, "name lookup recovered");
                }
            }
            Err(why) => {
                one.due = Some(now + MIN_REFRESH);
                let why = format!("{}: {why}", one.name);
                if one.failure.is_none() {
                    tracing::warn!(to = %self.name, error = %why, "name lookup failed; the addresses that were known, if any, go on; see DNS and /etc/resolv.conf");
                }
                one.failure = Some(why);
            }
        }
    }

    /// All of them were looked up.
    fn note_all(&self, names: &[LookedUpName]) {
        match names.iter().find_map(|one| one.failure.clone()) {
            Some(why) => self.note_failure(why),
            None => {
                *lock(&self.lookup_failure) = None;
                self.health.set_lookup_failing(false);
                self.know();
            }
        }
    }

    /// Says once that nobody is left to be dialled, all of `names` having been looked up, and once that there is somebody again. A lookup that
    /// has failed empties nothing, and is said elsewhere.
    fn report_emptiness(&self, names: &[LookedUpName], is_known_empty: &mut bool) {
        let endpoints = self.current().len();
        match *is_known_empty {
            true if endpoints > 0 => {
                *is_known_empty = false;
                tracing::info!(to = %self.name, endpoints, "endpoints found again");
            }
            false if endpoints == 0 && names.iter().all(|one| one.failure.is_none()) => {
                *is_known_empty = true;
                let why = self.nobody().with_remedy();
                tracing::warn!(to = %self.name, error = %why, "no endpoint left: connections are refused until a lookup finds one");
            }
            true | false => {}
        }
    }

    /// `name` resolves to this, beside what was `found` of all names, and one name does not wait for another. Gives for how long it holds.
    ///
    /// # Errors
    /// Why nobody could say; then what was known holds.
    pub(in crate::outbound) fn resolved(
        &self,
        name: &str,
        resolution: Resolution,
        found: &mut Vec<(String, Vec<IpAddr>)>,
    ) -> Result<Duration, String> {
        let (mut addresses, holds) = match resolution {
            Resolution::Addresses(addresses, ttl) => (addresses, ttl),
            Resolution::Partly(mut addresses, family) => {
                let known = found.iter().filter(|(known, _)| known == name).flat_map(|(_, known)| known);
                addresses.extend(known.filter(|ip| family.has(**ip)));
                (addresses, Duration::ZERO)
            }
            Resolution::Empty => (Vec::new(), Duration::ZERO),
            Resolution::Failed(why) => return Err(why),
        };
        found.retain(|(known, _)| known != name);
        self.fit(&mut addresses, found.iter().map(|(_, known)| known.len()).sum());
        found.push((name.to_owned(), addresses));
        self.replace(found);
        if !self.current().is_empty() {
            self.know();
        }
        Ok(holds)
    }

    fn budget(&self) -> Option<Arc<MemoryBudget>> {
        self.room.as_ref().map(|room| Arc::clone(&lock(room).lookups))
    }

    /// Leaves as many of `addresses`, beside so many `others`, as there is memory for: whoever owns a zone says how many there are.
    fn fit(&self, addresses: &mut Vec<IpAddr>, others: usize) {
        let Some(room) = &self.room else { return };
        let EndpointRoom { reservation, is_short, .. } = &mut *lock(room);
        let (all, size) = (addresses.len(), |count: usize| (others + count) * ENDPOINT);
        while addresses.len() > FEW && reservation.try_resize_for_speed(size(addresses.len())).is_err() {
            addresses.truncate((addresses.len() / 2).max(FEW));
        }
        reservation.set(size(addresses.len()));
        let was_short = std::mem::replace(is_short, addresses.len() < all);
        if *is_short && !was_short {
            tracing::warn!(to = %self.name, used = addresses.len(), found = all, "memory is short: some addresses are left out; raise the container's memory limit (or --memory-limit)");
        }
    }

    fn note_failure(&self, why: String) {
        let since = lock(&self.lookup_failure).as_ref().map_or_else(SystemTime::now, |failure| failure.since);
        *lock(&self.lookup_failure) = Some(LookupFailure { error: why.clone(), since });
        self.health.set_lookup_failing(true);
        self.known.send_if_modified(|known| match known {
            ResolveState::Resolved => false,
            ResolveState::Pending | ResolveState::Failed(_) => {
                *known = ResolveState::Failed(why);
                true
            }
        });
    }
}

fn result_of(resolution: &Resolution) -> ResolveResult {
    match resolution {
        Resolution::Addresses(..) | Resolution::Partly(..) => ResolveResult::Success,
        Resolution::Empty => ResolveResult::Empty,
        Resolution::Failed(_) => ResolveResult::Failed,
    }
}
