//! What is counted, whatever is logged.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use super::limiter::Limiter;
use crate::connection::Reason;

/// Totals since the start. Counted once per connection, never per read.
#[derive(Debug, Default)]
pub struct Counters {
    opened: AtomicU64,
    ended: [AtomicU64; Reason::ALL.len()],
    bytes_up: AtomicU64,
    bytes_down: AtomicU64,
    pub(super) limiter: Limiter,
}

impl Counters {
    pub(super) fn opened(&self) {
        self.opened.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn ended(&self, reason: Reason, bytes_up: u64, bytes_down: u64) {
        self.ended[reason as usize].fetch_add(1, Ordering::Relaxed);
        self.bytes_up.fetch_add(bytes_up, Ordering::Relaxed);
        self.bytes_down.fetch_add(bytes_down, Ordering::Relaxed);
    }

    /// Connections that were accepted.
    pub fn connections(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// Connections that are there now.
    pub fn active(&self) -> u64 {
        let ended: u64 = self.ended.iter().map(|count| count.load(Ordering::Relaxed)).sum();
        self.connections().saturating_sub(ended)
    }

    /// Connections that ended for `reason`.
    pub fn count(&self, reason: Reason) -> u64 {
        self.ended[reason as usize].load(Ordering::Relaxed)
    }

    /// Plaintext bytes from clients to the app, and back, of connections that have ended.
    pub fn bytes(&self) -> (u64, u64) {
        (self.bytes_up.load(Ordering::Relaxed), self.bytes_down.load(Ordering::Relaxed))
    }
}
