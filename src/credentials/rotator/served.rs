//! Who is served with which of the pairs, and of those who vouch.

use std::sync::Arc;

use crate::config::{OutboundSettings, PairSource, TlsSettings};
use crate::credentials::OutboundSnapshot;
use crate::credentials::snapshot::SnapshotPublisher;
use crate::trust::ClientPolicy;

/// What listeners with equal settings share.
#[derive(Debug)]
pub(super) struct ServedConfig {
    pub(super) pair: PairUse,
    pub(super) auth: ListenerAuth,
    pub(super) snapshots: SnapshotPublisher,
}

/// What a listener does with a pair.
#[derive(Debug, PartialEq)]
pub(super) enum PairUse {
    /// Handshakes are served with it, under these settings. Its index among the pairs.
    Served(usize, TlsSettings),
    /// It says who we are, if it is among the pairs and there: TLS is off.
    IdentityOnly(PairSource),
}

/// What one outbound listener is served with.
#[derive(Debug)]
pub(super) struct ServedOutbound {
    /// Its index among the pairs.
    pub(super) pair: usize,
    /// Its index among those who vouch for servers.
    pub(super) trust: usize,
    pub(super) settings: OutboundSettings,
    pub(super) snapshots: SnapshotPublisher<OutboundSnapshot>,
}

/// Who vouches for those who sign tokens.
#[derive(Debug)]
pub(super) struct ServedTokenTrust {
    /// Its index among the client CAs and rules.
    pub(super) client_policy: usize,
    pub(super) snapshots: SnapshotPublisher<Arc<ClientPolicy>>,
}

/// What clients are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ListenerAuth {
    Nothing,
    /// A certificate, which is judged by the client policy at this index of the rotator's.
    Certificate {
        client_policy: usize,
        required: bool,
    },
}
