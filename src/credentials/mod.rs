//! What we show, and whom we trust: files → watch → load → check the pair → swap → serve.

mod admission;
mod crl;
mod load;
mod pair;
mod roots;
mod rotate;
mod verifier;
mod watch;

use std::sync::Arc;

use arc_swap::ArcSwapOption;

pub use admission::Admission;
pub use admission::AdmissionError;
pub use admission::AdmissionTexts;
pub use crl::CrlError;
pub use load::LoadError;
pub use load::Texts;
pub use load::read_half;
pub use pair::Pair;
pub use pair::PairError;
pub use roots::Roots;
pub use roots::RootsError;
pub use roots::Text;
pub use rotate::Rotation;
pub use rotate::Shown;

use crate::tls::Offer;

/// What one handshake is served with. Replaced whole, never edited.
#[derive(Debug)]
pub struct Serving {
    /// The pair under the listener's TLS settings, with ticket keys of its own: old tickets die with the old pair.
    pub offer: Offer,
    /// On every connection's record, so that a bad rotation is visible. Counts from 1.
    pub generation: u64,
}

/// What is served now. Empty until the first pair has been loaded.
#[derive(Debug, Clone, Default)]
pub struct Current(Arc<ArcSwapOption<Serving>>);

impl Current {
    /// One generation, for the handshake and all that follows from it.
    pub fn get(&self) -> Option<Arc<Serving>> {
        self.0.load_full()
    }

    fn set(&self, serving: Serving) {
        self.0.store(Some(Arc::new(serving)));
    }
}
