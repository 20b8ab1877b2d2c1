//! Which of several endpoints gets the next connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::time::Instant;

use super::endpoint::Endpoint;
use super::outlier::Availability;
use crate::config::Balance;

/// Chooses among endpoints.
#[derive(Debug)]
pub(super) struct Balancer {
    how: Balance,
    next: AtomicUsize,
}

impl Balancer {
    pub(super) fn new(how: Balance) -> Self {
        Self { how, next: AtomicUsize::new(0) }
    }

    /// One of `endpoints` that is not among those `tried`, of another family than the last of them if there is one. Those that are
    /// ejected or about to stop are chosen only if there is no other. `None`: all were tried.
    pub(super) fn choose(&self, endpoints: &[Arc<Endpoint>], tried: &[Arc<Endpoint>]) -> Option<Arc<Endpoint>> {
        let now = Instant::now();
        let left: Vec<&Arc<Endpoint>> =
            endpoints.iter().filter(|one| !tried.iter().any(|known| Arc::ptr_eq(known, one))).collect();
        let is_well = |one: &Arc<Endpoint>| !one.is_retiring() && one.availability(now) != Availability::Ejected;
        let well: Vec<_> = left.iter().copied().filter(|one| is_well(one)).collect();
        let among = if well.is_empty() { left } else { well };
        // The families take turns (RFC 8305, 4): where one does not work, the other may.
        let is_other_family =
            |one: &&Arc<Endpoint>| tried.last().is_some_and(|last| last.addr.is_ipv4() != one.addr.is_ipv4());
        let others: Vec<_> = among.iter().copied().filter(is_other_family).collect();
        let among = if others.is_empty() { among } else { others };
        let chosen = match (self.how, among.as_slice()) {
            (_, []) => return None,
            (_, [only]) => only,
            (Balance::First, [first, ..]) => first,
            (Balance::RoundRobin, all) => all[self.next.fetch_add(1, Ordering::Relaxed) % all.len()],
            (Balance::LeastConnections, all) => {
                let one = fastrand::usize(..all.len());
                let other = fastrand::usize(..all.len() - 1);
                let (one, other) = (all[one], all[if other >= one { other + 1 } else { other }]);
                // Ties fall to the one that was drawn first, which is random.
                if other.in_flight() < one.in_flight() { other } else { one }
            }
        };
        Some(Arc::clone(chosen))
    }
}
