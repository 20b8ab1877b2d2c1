//! Both kinds of relay, as the simulation drives them.

use std::future::Future;
use std::time::Duration;

use super::memory_socket::MemorySocket;
use crate::io::Transferred;
use crate::relay::{PlainRelay, Relay, RelayEnd};

/// What both kinds of relay have.
pub(super) trait SimulatedRelay: Future<Output = RelayEnd> + Unpin {
    /// Whether it ends idle connections in a drain.
    const DRAINS: bool;

    fn memory(&self) -> usize;
    fn keeps_for_a_side(&self) -> bool;
    fn transferred(&self) -> Transferred;
    fn set_idle_timeout(&mut self, limit: Duration);
    fn set_drain_idle_timeout(&mut self, limit: Duration);
    fn end_after_backlog(&mut self);
}

impl SimulatedRelay for Relay<MemorySocket, MemorySocket> {
    const DRAINS: bool = true;

    fn memory(&self) -> usize {
        self.memory()
    }

    fn keeps_for_a_side(&self) -> bool {
        !self.to_app.is_empty() || !self.to_client.is_empty()
    }

    fn transferred(&self) -> Transferred {
        self.transferred()
    }

    fn set_idle_timeout(&mut self, limit: Duration) {
        self.set_idle_timeout(limit);
    }

    fn set_drain_idle_timeout(&mut self, limit: Duration) {
        self.set_drain_idle_timeout(limit);
    }

    fn end_after_backlog(&mut self) {
        self.end_after_backlog();
    }
}

impl SimulatedRelay for PlainRelay<MemorySocket, MemorySocket> {
    const DRAINS: bool = false;

    fn memory(&self) -> usize {
        self.memory()
    }

    fn keeps_for_a_side(&self) -> bool {
        self.memory() > 0
    }

    fn transferred(&self) -> Transferred {
        self.transferred()
    }

    fn set_idle_timeout(&mut self, limit: Duration) {
        self.set_idle_timeout(limit);
    }

    fn set_drain_idle_timeout(&mut self, _: Duration) {
        unreachable!("a drain ends WebSocket connections alone");
    }

    fn end_after_backlog(&mut self) {
        self.end_after_backlog();
    }
}
