//! What it takes to dial the servers of one outbound: who they are, which of them is next, and what they are shown.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::attempts::{Attempts, Connected};
use super::balance::Balancer;
use super::endpoints::{Endpoint, Endpoints};
use super::error::OutboundError;
use crate::budget::MemoryBudget;
use crate::config::OutboundSettings;
use crate::credentials::{OutboundSnapshot, SnapshotReceiver};
use crate::telemetry::{OutboundCounters, OutboundLogEntry};

/// How long a first lookup is waited for; later ones are never.
const FIRST_LOOKUP: Duration = Duration::from_secs(3);

/// How long a connection waits for the first pair.
const FIRST_SNAPSHOT: Duration = Duration::from_secs(1);

/// Dials the servers of one outbound.
#[derive(Debug)]
pub struct Dialler {
    /// As it was configured.
    pub(super) settings: OutboundSettings,
    /// What servers are shown and judged by; `None`: they are neither, and nothing is encrypted.
    pub(super) snapshots: Option<SnapshotReceiver<OutboundSnapshot>>,
    /// Who there is.
    pub(super) endpoints: Arc<Endpoints>,
    pub(super) balancer: Balancer,
    pending: Arc<Semaphore>,
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

    /// Finds an endpoint that answers and may. What is learned on the way gets in `entry`.
    ///
    /// # Errors
    /// [`OutboundError`]: that of the most telling attempt. Nothing of the app's was sent to anybody.
    pub(super) async fn connect(&self, entry: &mut OutboundLogEntry) -> Result<Connected, OutboundError> {
        self.attempts(&[], entry).await?.run(None, entry).await
    }

    /// Attempts at endpoints other than those `tried`, once it is known who there is and there is something to show them.
    ///
    /// # Errors
    /// [`OutboundError`]: it does not come to an attempt.
    pub(super) async fn attempts(
        &self,
        tried: &[Arc<Endpoint>],
        entry: &mut OutboundLogEntry,
    ) -> Result<Attempts<'_>, OutboundError> {
        let Ok(pending) = self.pending.try_acquire() else {
            return Err(OutboundError::overloaded_by_pending());
        };
        let deadline = tokio::time::Instant::now() + self.settings.timeouts.total;
        let began = Instant::now();
        if let Err(why) = self.endpoints.wait(FIRST_LOOKUP.min(self.settings.timeouts.total)).await {
            self.endpoints.request_lookup();
            return Err(OutboundError::ResolveFailed(why));
        }
        entry.fields.resolve = Some(began.elapsed()).filter(|waited| *waited >= Duration::from_millis(1));
        let snapshot = self.snapshot(entry).await?;
        Ok(Attempts::new(self, snapshot, tried, deadline, pending))
    }

    /// The generation of what servers are shown and judged by; 0 where they are not.
    pub(super) fn generation(&self) -> u64 {
        self.snapshots.as_ref().and_then(SnapshotReceiver::load).map_or(0, |snapshot| snapshot.generation)
    }

    /// What servers are shown now; `None`: nothing.
    async fn snapshot(&self, entry: &mut OutboundLogEntry) -> Result<Option<Arc<OutboundSnapshot>>, OutboundError> {
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
