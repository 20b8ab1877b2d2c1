//! What it takes to dial the servers of one outbound: who they are, which of them is next, and what they are shown.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::balance::Balancer;
use super::endpoints::Endpoints;
use super::error::OutboundError;
use crate::budget::MemoryBudget;
use crate::config::OutboundSettings;
use crate::credentials::{OutboundSnapshot, SnapshotReceiver};
use crate::telemetry::{OutboundCounters, OutboundLogEntry};

/// How long a connection waits for the first pair.
const FIRST_SNAPSHOT: Duration = Duration::from_secs(1);

/// Dials the servers of one outbound.
#[derive(Debug)]
pub struct Dialler {
    /// As it was configured.
    pub(super) settings: OutboundSettings,
    /// What servers are shown and judged by; `None`: they are neither, and nothing is encrypted.
    pub(super) snapshots: Option<SnapshotReceiver<OutboundSnapshot>>,
    /// The endpoints of the name, with what is known of each.
    pub(super) endpoints: Arc<Endpoints>,
    pub(super) balancer: Balancer,
    /// Room for those that wait for an endpoint.
    pub(super) pending: Arc<Semaphore>,
    /// What is counted.
    pub(super) counters: Arc<OutboundCounters>,
    /// What connections hold because a side does not take it is of this.
    pub(super) backlogs: Arc<MemoryBudget>,
}

impl Dialler {
    /// What dials `endpoints` as `settings` say, with what `snapshots` gives. What connections hold for a side that does not take it is of
    /// `backlogs`.
    pub fn new(
        settings: OutboundSettings,
        snapshots: Option<SnapshotReceiver<OutboundSnapshot>>,
        endpoints: Arc<Endpoints>,
        counters: Arc<OutboundCounters>,
        backlogs: Arc<MemoryBudget>,
    ) -> Self {
        Self {
            balancer: Balancer::new(settings.balance),
            pending: Arc::new(Semaphore::new(settings.max_pending.min(Semaphore::MAX_PERMITS))),
            settings,
            snapshots,
            endpoints,
            counters,
            backlogs,
        }
    }

    /// The generation of what servers are shown and judged by; 0 where they are not.
    pub(super) fn generation(&self) -> u64 {
        self.snapshots.as_ref().and_then(SnapshotReceiver::load).map_or(0, |snapshot| snapshot.generation)
    }

    /// What servers are shown now; `None`: nothing.
    pub(super) async fn snapshot(
        &self,
        entry: &mut OutboundLogEntry,
    ) -> Result<Option<Arc<OutboundSnapshot>>, OutboundError> {
        let Some(mut snapshots) = self.snapshots.clone() else { return Ok(None) };
        let Ok(Some(snapshot)) = timeout(FIRST_SNAPSHOT, snapshots.wait()).await else {
            return Err(OutboundError::NoCredentials);
        };
        entry.fields.generation = Some(snapshot.pair_generation);
        if snapshot.validity.is_some_and(|validity| validity.not_after < SystemTime::now()) {
            return Err(OutboundError::CredentialExpired);
        }
        Ok(Some(snapshot))
    }
}
