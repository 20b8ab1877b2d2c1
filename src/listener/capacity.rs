//! How many connections fit, and how much memory strangers may have us hold.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Slots;
use crate::budget::Budgets;
use crate::config::{Config, Limits};
use crate::sys::limits;

/// Descriptors that are not for connections: listeners, the runtime's, files that are read.
const RESERVED_DESCRIPTORS: u64 = 64;

/// Two sockets: the client's and the app's.
const DESCRIPTORS_PER_CONNECTION: u64 = 2;

/// Connections at most, where neither descriptors nor memory set a bound.
const MAX_CONNECTIONS: u64 = 100_000;

/// What an idle connection costs at most, in bytes: its memory here, and what the kernel charges the control group for its two
/// sockets.
const IDLE_CONNECTION_BYTES: u64 = 12 * 1024;

/// What a relay may hold however short memory is, in bytes: the record that the client is sending, and a small read from the app.
const RELAY_BYTES: u64 = 24 * 1024;

/// What takes the place of that where requests are served, in bytes: two connections on which hyper speaks, the rest of a record, and of either
/// message a part that is on its way.
const HTTP_SERVING_BYTES: u64 = 52 * 1024;

/// What is done with clients' connections, and what one costs at most once the budgets are spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionCost {
    /// Bytes are carried.
    Relay,
    /// Requests are served, at some listener at least.
    Http,
}

impl ConnectionCost {
    /// That of what `config` says.
    pub fn of(config: &Config) -> Self {
        if config.listeners.iter().any(|listener| listener.http.is_some()) { Self::Http } else { Self::Relay }
    }

    /// In bytes.
    pub(crate) fn bytes(self) -> u64 {
        IDLE_CONNECTION_BYTES
            + match self {
                Self::Relay => RELAY_BYTES,
                Self::Http => HTTP_SERVING_BYTES,
            }
    }
}

/// The app shares our memory limit. Connections may have three of so many parts of it, and each of the three budgets one, two of
/// them half as much again for HTTP/2, so that an attack costs seven eighths at worst; idle connections cost a third of theirs.
const PARTS_OF_MEMORY: u64 = 8;
const PARTS_FOR_CONNECTIONS: u64 = 3;

/// What a request of the app's own takes at most where HTTP is spoken with its server, in bytes: two connections on which hyper speaks, a session
/// of TLS with the rest of a record, and of a body what was read and is not taken.
const HTTP_EXCHANGE_BYTES: u64 = 112 * 1024;

/// What all of them may take, of those parts.
const PARTS_FOR_HTTP_EXCHANGES: u64 = 2;

/// Even in a tiny container.
const MIN_HTTP_EXCHANGES: u64 = 16;

/// How many descriptors there are if nobody says: the soft limit of most systems.
const DESCRIPTORS_ASSUMED: u64 = 1024;

/// Even in a tiny container.
const MIN_CONNECTIONS: u64 = 64;

/// What there is room for.
#[derive(Debug)]
pub struct Capacity {
    /// Connections at once.
    pub slots: Slots,
    /// How many these are.
    pub connections: usize,
    /// Handshakes at once.
    pub handshakes: Arc<Semaphore>,
    /// Requests of the app's own at once, where HTTP is spoken with their servers.
    pub http_exchanges: usize,
    /// Bytes that they may have us hold.
    pub budgets: Arc<Budgets>,
    /// Room for connections that there will be once the descriptor limit has been raised.
    held_back: Option<OwnedSemaphorePermit>,
}

/// When the limit of open descriptors is raised to the highest that we may set. A child inherits the limits of the moment in which it is
/// born, and the app has to find those that the container was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DescriptorLimit {
    /// Now: the app was started, or is not ours to start.
    Raised,
    /// Later, by [`Capacity::raise_descriptor_limit`].
    AsGiven,
}

impl Capacity {
    /// Raises the limit of open descriptors, and gives free what was held back until then.
    pub fn raise_descriptor_limit(&mut self) {
        if raised_descriptor_limit().is_some() {
            self.held_back = None;
        }
    }
}

/// The limit of open descriptors, raised; `None`: the kernel does not let us.
fn raised_descriptor_limit() -> Option<u64> {
    let raised = limits::raise_descriptor_limit().inspect_err(|error| {
        tracing::warn!(%error, assumed = DESCRIPTORS_ASSUMED, "cannot raise the open files limit (RLIMIT_NOFILE); raise ulimit -n of the container");
    });
    raised.ok()
}

/// What may be there at once: as told, or what the descriptor limit, as it is once it was raised, and the control group's memory limit allow,
/// where each connection costs `cost`.
pub fn capacity(configured: &Limits, limit: DescriptorLimit, cost: ConnectionCost) -> Capacity {
    let descriptors = match limit {
        DescriptorLimit::Raised => raised_descriptor_limit().unwrap_or(DESCRIPTORS_ASSUMED),
        DescriptorLimit::AsGiven => limits::highest_descriptor_limit(),
    };
    let memory = configured.memory.or_else(limits::memory_limit);
    let fitting = max_connections(Some(descriptors), memory, cost);
    let connections = configured.connections.unwrap_or(usize::try_from(fitting).unwrap_or(usize::MAX));
    let handshakes = configured.handshakes.unwrap_or(connections);
    tracing::debug!(connections, handshakes, memory, "connection limits");
    let budget = memory.map(|bytes| bytes / PARTS_OF_MEMORY);
    let slots = Slots::new(connections);
    let held_back = match limit {
        DescriptorLimit::Raised => None,
        DescriptorLimit::AsGiven => {
            let now = usize::try_from(connections_within(limits::descriptor_limit())).unwrap_or(usize::MAX);
            slots.hold_back(now)
        }
    };
    let http_exchanges = memory.map_or(u64::MAX, http_exchanges_in_memory);
    Capacity {
        http_exchanges: usize::try_from(http_exchanges).unwrap_or(usize::MAX),
        slots,
        held_back,
        connections,
        handshakes: Arc::new(Semaphore::new(handshakes.min(Semaphore::MAX_PERMITS))),
        budgets: Arc::new(Budgets::new(budget, budget)),
    }
}

/// Connections of this `cost` that fit a limit of `descriptors` and the container's `memory` in bytes; `None` is no limit.
pub(crate) fn max_connections(descriptors: Option<u64>, memory: Option<u64>, cost: ConnectionCost) -> u64 {
    let within_memory = memory.map(|memory| connections_in_memory(memory, cost));
    let bounds = [descriptors.map(connections_within), within_memory, Some(MAX_CONNECTIONS)];
    bounds.into_iter().flatten().min().unwrap_or(MAX_CONNECTIONS)
}

/// Connections that a limit of `descriptors` has room for.
pub(crate) fn connections_within(descriptors: u64) -> u64 {
    // A small limit is shared evenly: to serve few is better than to turn everybody away.
    let ours = RESERVED_DESCRIPTORS.min(descriptors / 2);
    ((descriptors - ours) / DESCRIPTORS_PER_CONNECTION).max(1)
}

/// Connections of this `cost` that the container's `memory` in bytes has room for.
pub(crate) fn connections_in_memory(memory: u64, cost: ConnectionCost) -> u64 {
    (memory / PARTS_OF_MEMORY * PARTS_FOR_CONNECTIONS / cost.bytes()).max(MIN_CONNECTIONS)
}

/// Requests of the app's own, under way at once, that the container's `memory` in bytes has room for.
fn http_exchanges_in_memory(memory: u64) -> u64 {
    (memory / PARTS_OF_MEMORY * PARTS_FOR_HTTP_EXCHANGES / HTTP_EXCHANGE_BYTES).max(MIN_HTTP_EXCHANGES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_requests_are_under_way_as_a_quarter_of_the_memory_has_room_for() {
        assert_eq!(http_exchanges_in_memory(32 << 20), 73);
        assert_eq!(http_exchanges_in_memory(1 << 30), 2340);
        assert_eq!(http_exchanges_in_memory(1 << 20), MIN_HTTP_EXCHANGES);
    }

    #[test]
    fn the_scarcer_of_descriptors_and_memory_decides() {
        let relay = |descriptors, memory| max_connections(descriptors, memory, ConnectionCost::Relay);
        assert_eq!(relay(None, None), MAX_CONNECTIONS);
        assert_eq!(relay(Some(1024), None), 480);
        assert_eq!(relay(None, Some(32 << 20)), 341);
        assert_eq!(max_connections(None, Some(32 << 20), ConnectionCost::Http), 192);
        assert_eq!(relay(Some(1024), Some(64 << 20)), 480);
        assert_eq!(relay(None, Some(1 << 20)), MIN_CONNECTIONS);
        assert_eq!(relay(Some(0), Some(1 << 40)), 1);
    }

    #[test]
    fn budgets_are_a_part_of_the_memory_limit_and_absent_without_one() {
        let configured = |memory| Limits { memory, ..Limits::default() };
        let of = |memory| capacity(&configured(memory), DescriptorLimit::Raised, ConnectionCost::Relay);
        let Capacity { budgets, .. } = of(Some(32 << 20));
        assert_eq!((budgets.handshakes.limit(), budgets.backlogs.limit()), (Some(4 << 20), Some(4 << 20)));
        let Capacity { budgets, .. } = of(Some(u64::MAX));
        assert!(budgets.handshakes.limit() > Some(1 << 40));
    }
}
