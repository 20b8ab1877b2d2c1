//! What one handshake is served with: one snapshot of everything that rotates.

use std::sync::Arc;

use tokio::sync::watch;

use crate::tls::ServerConfigs;
use crate::trust::ClientAuth;

/// What one handshake is served with. Replaced whole, never edited.
#[derive(Debug)]
pub struct Snapshot {
    /// The pair under the listener's TLS settings, with ticket keys of its own.
    pub server_configs: ServerConfigs,
    /// Who may come in. The offer asks the same.
    pub client_auth: ClientAuth,
    /// On every connection's record, so that a bad rotation is visible. Counts from 1.
    pub generation: u64,
}

/// What is served now, and that it changes. Empty until the first pair, roots and rules have been loaded.
pub type SnapshotReceiver = watch::Receiver<Option<Arc<Snapshot>>>;
