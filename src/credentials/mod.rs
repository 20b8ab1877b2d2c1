//! What we show, and whom we trust: files → watch → load → check → swap → serve.

mod acquaintances;
mod admission;
mod aside;
mod crl;
mod load;
mod pair;
mod roots;
mod rotate;
mod rotations;
mod serving;
mod source;
mod trouble;
mod watch;

pub use admission::Admission;
pub use admission::AdmissionError;
pub use admission::AdmissionTexts;
pub use crl::Crl;
pub use crl::CrlError;
pub use load::LoadError;
pub use load::read_half;
pub use pair::Pair;
pub use pair::PairError;
pub use roots::Ca;
pub use roots::Roots;
pub use roots::RootsError;
pub use roots::Text;
pub use rotate::NothingToServe;
pub use rotate::Rotation;
pub use rotate::Shown;
pub use rotations::Rotations;
pub use serving::Admitting;
pub use serving::Current;
pub use serving::Gate;
pub use serving::Serving;
