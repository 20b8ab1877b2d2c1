//! The pair of the platform's own proxy, which shows some seconds before TERM that the instance is to go. Ours never does.

use std::future::pending;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;

use crate::config::{Config, PLATFORM_PAIR, PairSource, SdsSecretRef};
use crate::credentials::{Rotator, ServedCertificate};
use crate::identity::Certificate;
use crate::lifecycle::Tasks;
use crate::sys;

/// What it is called there.
pub(super) const NAME: &str = "id-cert-and-key";

/// What that proxy shows; never anything where we do not stand behind it.
#[derive(Debug, Default)]
pub(super) struct PlatformPair(Option<watch::Receiver<Vec<ServedCertificate>>>);

impl PlatformPair {
    /// Watches it, where a listener stands behind that proxy and the file can be read.
    pub(super) fn watch(config: &Config, tasks: &mut Tasks) -> Self {
        let is_behind_it = config.listeners.iter().any(|listener| listener.plaintext.is_some());
        if !is_behind_it || !matches!(sys::file::open_regular(Path::new(PLATFORM_PAIR)), Ok(Some(_))) {
            return Self(None);
        }
        let mut rotator = Rotator::new(Arc::default());
        rotator.add_pair(&PairSource::Secret(SdsSecretRef {
            name: NAME.to_owned(),
            path: Path::new(PLATFORM_PAIR).to_owned(),
        }));
        let served = rotator.served();
        tasks.start("retirement watch", async move { rotator.run().await });
        Self(Some(served))
    }

    /// Waits until another one is shown, and gives whether it is the one before the end. Cancel safe.
    pub(super) async fn changed(&mut self) -> bool {
        let Some(served) = &mut self.0 else { return pending().await };
        if served.changed().await.is_err() {
            // The process is about to end.
            return pending().await;
        }
        let served = served.borrow_and_update();
        served.iter().any(|shown| Certificate::from_der(shown.pair.leaf()).is_ok_and(|leaf| leaf.is_retirement()))
    }
}
