//! What all connections to the app of one client connection have carried.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::io::{Tally, Transferred};

/// Plaintext bytes that all connections to the app have carried.
#[derive(Debug, Default)]
pub(in crate::inbound::http) struct AppTotals(Mutex<TalliedConnections>);

#[derive(Debug, Default)]
struct TalliedConnections {
    /// By those that have ended.
    ended: Transferred,
    /// The others. Requests may hold them a moment longer than their client's connection lasts.
    open: Vec<Arc<Tally>>,
}

/// One connection among those that are counted, until it is dropped.
#[derive(Debug)]
pub(super) struct CountedConnection {
    tally: Arc<Tally>,
    totals: Arc<AppTotals>,
}

impl AppTotals {
    fn tallied(&self) -> MutexGuard<'_, TalliedConnections> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that was carried.
    pub(in crate::inbound::http) fn transferred(&self) -> Transferred {
        let tallied = self.tallied();
        tallied.open.iter().fold(tallied.ended, |all, tally| sum(all, tally.bytes()))
    }
}

fn sum(one: Transferred, other: Transferred) -> Transferred {
    Transferred { up: one.up + other.up, down: one.down + other.down }
}

impl CountedConnection {
    /// What is counted by `tally` counts as well from now on, in `totals`.
    pub(super) fn begin(tally: Arc<Tally>, totals: Arc<AppTotals>) -> Self {
        let mut tallied = totals.tallied();
        if tallied.open.is_empty() {
            // There is seldom a second one.
            tallied.open.reserve_exact(1);
        }
        tallied.open.push(Arc::clone(&tally));
        drop(tallied);
        Self { tally, totals }
    }

    /// What counts it.
    pub(super) fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }
}

impl Drop for CountedConnection {
    fn drop(&mut self) {
        let mut tallied = self.totals.tallied();
        tallied.open.retain(|open| !Arc::ptr_eq(open, &self.tally));
        tallied.ended = sum(tallied.ended, self.tally.bytes());
    }
}
