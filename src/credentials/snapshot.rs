//! What one handshake is served with: one snapshot of everything that rotates.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use tokio::sync::watch;

use crate::identity::PeerCertificate;
use crate::tls::ServerConfigs;
use crate::trust::ClientAuth;

/// What one handshake is served with. Replaced whole, never edited.
#[derive(Debug)]
pub struct Snapshot {
    /// The pair under the listener's TLS settings, with ticket keys of its own; `None`: TLS is off.
    pub server_configs: Option<ServerConfigs>,
    /// Who may come in; `server_configs` judges client certificates by the same in the handshake.
    pub client_auth: ClientAuth,
    /// What our own certificate says of us; `None` where it cannot be read so, or is not there.
    pub own: Option<Arc<PeerCertificate>>,
    /// In every connection's access log entry, so that a bad rotation is visible. Counts from 1.
    pub generation: u64,
}

/// Where the rotator publishes the snapshots of one listener. The pointer that handshakes read and the number that wakes those who wait are in
/// here together, so that they cannot disagree.
#[derive(Debug)]
pub(super) struct SnapshotPublisher<S = Snapshot> {
    current: Arc<ArcSwapOption<S>>,
    /// Of the snapshot, and 0 before there is one.
    generation: watch::Sender<u64>,
}

/// What is served now, and that it changes. Empty until the first pair, trust anchors and rules have been loaded. Cheap to clone.
#[derive(Debug)]
pub struct SnapshotReceiver<S = Snapshot> {
    current: Arc<ArcSwapOption<S>>,
    generation: watch::Receiver<u64>,
}

impl<S> SnapshotPublisher<S> {
    /// With nothing to serve yet.
    pub(super) fn new() -> Self {
        Self { current: Arc::default(), generation: watch::Sender::new(0) }
    }

    /// Has every handshake from now on served with `snapshot` of `generation`, and wakes who waits for another.
    pub(super) fn publish(&self, snapshot: S, generation: u64) {
        // The pointer first: whoever is woken finds it.
        self.current.store(Some(Arc::new(snapshot)));
        self.generation.send_replace(generation);
    }

    /// The number of what is served now; 0 before there is something.
    pub(super) fn generation(&self) -> u64 {
        *self.generation.borrow()
    }

    /// Another one who is told.
    pub(super) fn subscribe(&self) -> SnapshotReceiver<S> {
        SnapshotReceiver { current: Arc::clone(&self.current), generation: self.generation.subscribe() }
    }
}

impl<S> Clone for SnapshotReceiver<S> {
    fn clone(&self) -> Self {
        Self { current: Arc::clone(&self.current), generation: self.generation.clone() }
    }
}

impl<S> SnapshotReceiver<S> {
    /// What is served now; `None` before there is something. It takes no lock, and no thread waits for another.
    pub fn load(&self) -> Option<Arc<S>> {
        self.current.load_full()
    }

    /// What is served now, once there is something. Cancel safe. `None`: there never will be, as the rotator is gone.
    pub async fn wait(&mut self) -> Option<Arc<S>> {
        self.generation.wait_for(|generation| *generation > 0).await.ok()?;
        self.load()
    }

    /// The number of what is served, and that it changes: for whoever waits beside other things. A number that was seen is not newer than
    /// what is then loaded.
    pub fn generations(&self) -> watch::Receiver<u64> {
        self.generation.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;
    use crate::credentials::Pair;
    use crate::crypto::provider;
    use crate::issuer::{CertificateAuthority, InstanceSpec};

    fn snapshot(generation: u64) -> Snapshot {
        let authority = CertificateAuthority::generate(std::time::SystemTime::now()).unwrap();
        let credential = authority.issue(&InstanceSpec::generate().unwrap(), std::time::SystemTime::now()).unwrap();
        let (cert, key) = (credential.cert_pem.as_bytes(), credential.key_pem.as_bytes());
        let pair = Pair::from_pem(cert, key, &provider()).unwrap();
        let configs = ServerConfigs::new(pair.certified_key(), &Default::default(), &ClientAuth::None).unwrap();
        Snapshot { server_configs: Some(configs), client_auth: ClientAuth::None, own: None, generation }
    }

    #[tokio::test]
    async fn who_waits_is_woken_by_each_snapshot_and_finds_it() {
        let publisher = SnapshotPublisher::new();
        let mut receiver = publisher.subscribe();
        assert!(receiver.load().is_none());
        let never = Duration::from_millis(20);
        assert!(timeout(never, receiver.wait()).await.is_err(), "there is none yet");
        publisher.publish(snapshot(1), 1);
        assert_eq!(receiver.wait().await.unwrap().generation, 1);
        let mut generations = receiver.generations();
        assert_eq!(*generations.borrow_and_update(), 1);
        assert!(timeout(never, generations.changed()).await.is_err(), "it was seen");
        publisher.publish(snapshot(2), 2);
        generations.changed().await.unwrap();
        assert_eq!(receiver.load().unwrap().generation, 2);
        drop(publisher);
        assert_eq!(receiver.load().unwrap().generation, 2, "the last one stays");
    }
}
