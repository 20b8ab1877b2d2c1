//! How many connections fit.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::Slots;
use crate::config::Limits;
use crate::sys::cgroup;
use crate::sys::limits;

/// Descriptors that are not for connections: listeners, the runtime's, files that are read.
const DESCRIPTORS_OF_OURS: u64 = 64;

/// Two sockets: the client's and the app's.
const DESCRIPTORS_PER_CONNECTION: u64 = 2;

/// Connections at most, where neither descriptors nor memory set a bound.
const MOST_CONNECTIONS: u64 = 100_000;

/// What an idle connection costs at most, in bytes.
pub(crate) const MEMORY_PER_CONNECTION: u64 = 12 * 1024;

/// The app shares our memory limit; this part of it may be connections.
const SHARE_OF_MEMORY: u64 = 4;

/// Even in a tiny container.
const FEWEST_CONNECTIONS: u64 = 64;

/// How many connections and handshakes may be there at once: as told, or what the descriptor limit, which is raised, and
/// the control group's memory limit allow.
pub fn room(told: &Limits) -> (Slots, Arc<Semaphore>) {
    let descriptors = limits::raise_descriptor_limit().unwrap_or_else(|error| {
        tracing::warn!(%error, "the descriptor limit cannot be raised");
        1024
    });
    let fitting = fitting(Some(descriptors), cgroup::memory_limit());
    let connections = told.connections.unwrap_or(usize::try_from(fitting).unwrap_or(usize::MAX));
    let handshakes = told.handshakes.unwrap_or(connections);
    tracing::debug!(connections, handshakes, "limits");
    (Slots::new(connections), Arc::new(Semaphore::new(handshakes.min(Semaphore::MAX_PERMITS))))
}

/// Connections that fit a limit of `descriptors` and the container's `memory` in bytes; `None` is no limit.
pub(crate) fn fitting(descriptors: Option<u64>, memory: Option<u64>) -> u64 {
    let by_memory = memory.map(|bytes| (bytes / SHARE_OF_MEMORY / MEMORY_PER_CONNECTION).max(FEWEST_CONNECTIONS));
    let bounds = [descriptors.map(connections_within), by_memory, Some(MOST_CONNECTIONS)];
    bounds.into_iter().flatten().min().unwrap_or(MOST_CONNECTIONS)
}

/// Connections that a limit of `descriptors` has room for.
pub(crate) fn connections_within(descriptors: u64) -> u64 {
    // A small limit is shared evenly: to serve few is better than to turn everybody away.
    let ours = DESCRIPTORS_OF_OURS.min(descriptors / 2);
    ((descriptors - ours) / DESCRIPTORS_PER_CONNECTION).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scarcer_of_descriptors_and_memory_decides() {
        assert_eq!(fitting(None, None), MOST_CONNECTIONS);
        assert_eq!(fitting(Some(1024), None), 480);
        assert_eq!(fitting(None, Some(64 << 20)), 1365);
        assert_eq!(fitting(Some(1024), Some(64 << 20)), 480);
        assert_eq!(fitting(None, Some(1 << 20)), FEWEST_CONNECTIONS);
        assert_eq!(fitting(Some(0), Some(1 << 40)), 1);
    }
}
