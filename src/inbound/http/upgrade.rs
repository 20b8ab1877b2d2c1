//! The end of HTTP on a connection whose two sides have agreed to speak another protocol (RFC 9110, 7.8): bytes are carried from there on.

use std::sync::{Mutex, MutexGuard, PoisonError};

use hyper::header::HeaderValue;

use super::body::AppExchange;
use crate::config::UpgradeDrain;
use crate::http::RequestHeads;
use crate::io::AppStream;
use crate::telemetry::{RequestLogEntry, RequestReason};

/// What a connection becomes behind the answer that is under way.
#[derive(Debug)]
pub(super) struct UpgradeSlot {
    heads: RequestHeads,
    pending: Mutex<Option<PendingUpgrade>>,
}

/// An upgrade on which the app has agreed.
#[derive(Debug)]
pub(super) struct PendingUpgrade {
    exchange: AppExchange,
}

/// A connection to the app that speaks another protocol.
#[derive(Debug)]
pub(super) struct UpgradedApp {
    pub(super) stream: AppStream,
    /// What it has said behind its answer.
    pub(super) first: Vec<u8>,
    /// The entry of the request that has asked for it.
    pub(super) entry: RequestLogEntry,
    /// What becomes of it while the instance goes.
    drain: UpgradeDrain,
}

impl UpgradeSlot {
    /// That of a connection on which `heads` are judged.
    pub(super) fn new(heads: RequestHeads) -> Self {
        Self { heads, pending: Mutex::default() }
    }

    fn pending(&self) -> MutexGuard<'_, Option<PendingUpgrade>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the body of the request that is under way does not follow its own rules.
    pub(super) fn is_broken(&self) -> bool {
        self.heads.is_broken()
    }

    /// Once the answer was sent, the connection becomes `protocol`.
    pub(super) fn set(&self, mut exchange: AppExchange, protocol: Option<HeaderValue>) {
        exchange.entry.fields.upgraded = protocol.and_then(|protocol| protocol.to_str().ok().map(str::to_owned));
        *self.pending() = Some(PendingUpgrade { exchange });
    }

    /// Whether it becomes something.
    pub(super) fn is_set(&self) -> bool {
        self.pending().is_some()
    }

    /// What it becomes.
    pub(super) fn take(&self) -> Option<PendingUpgrade> {
        self.pending().take()
    }
}

impl UpgradedApp {
    /// What the app has said already, if its frames are to be followed, so that its client can be told that the instance goes.
    pub(super) fn followed_frames(&self) -> Option<&[u8]> {
        let is_web_socket =
            self.entry.fields.upgraded.as_ref().is_some_and(|protocol| protocol.eq_ignore_ascii_case("websocket"));
        (is_web_socket && self.drain == UpgradeDrain::Close).then_some(&self.first)
    }
}

impl PendingUpgrade {
    /// The app's side of it; `None`: the app has gone meanwhile, which the entry says.
    pub(super) async fn app(self) -> Option<UpgradedApp> {
        let AppExchange { entry, app, guard, .. } = self.exchange;
        let drain = guard.connection().config.upgrade_drain;
        match app.into_switched().await {
            Some((stream, first)) => Some(UpgradedApp { stream, first: first.to_vec(), entry, drain }),
            None => {
                entry.close(Some(RequestReason::AppClosed));
                None
            }
        }
    }
}
