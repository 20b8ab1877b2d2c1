//! What all connections to the app of one client connection have carried.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::io::{ByteMeter, Transferred};

/// Plaintext bytes that all connections to the app have carried.
#[derive(Debug, Default)]
pub(in crate::inbound::http) struct AppTotals(Mutex<MeteredConnections>);

#[derive(Debug, Default)]
struct MeteredConnections {
    /// By those that have ended.
    ended: Transferred,
    /// The others. Requests may hold them a moment longer than their client's connection lasts.
    open: Vec<Arc<ByteMeter>>,
}

/// One connection among those that are counted, until it is dropped.
#[derive(Debug)]
pub(super) struct CountedConnection {
    meter: Arc<ByteMeter>,
    totals: Arc<AppTotals>,
}

impl AppTotals {
    fn metered(&self) -> MutexGuard<'_, MeteredConnections> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that was carried.
    pub(in crate::inbound::http) fn transferred(&self) -> Transferred {
        let metered = self.metered();
        metered.open.iter().fold(metered.ended, |all, meter| sum(all, meter.bytes()))
    }
}

fn sum(one: Transferred, other: Transferred) -> Transferred {
    Transferred { up: one.up + other.up, down: one.down + other.down }
}

impl CountedConnection {
    /// What is counted by `meter` counts as well from now on, in `totals`.
    pub(super) fn begin(meter: Arc<ByteMeter>, totals: Arc<AppTotals>) -> Self {
        let mut metered = totals.metered();
        if metered.open.is_empty() {
            // There is seldom a second one.
            metered.open.reserve_exact(1);
        }
        metered.open.push(Arc::clone(&meter));
        drop(metered);
        Self { meter, totals }
    }

    /// What counts it.
    pub(super) fn meter(&self) -> &Arc<ByteMeter> {
        &self.meter
    }
}

impl Drop for CountedConnection {
    fn drop(&mut self) {
        let mut metered = self.totals.metered();
        metered.open.retain(|open| !Arc::ptr_eq(open, &self.meter));
        metered.ended = sum(metered.ended, self.meter.bytes());
    }
}
