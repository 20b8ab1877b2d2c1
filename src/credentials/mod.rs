//! What we show, and whom we trust: files → watch → load → check → swap → serve.

mod api_trust;
mod blocking;
mod client_policy;
mod client_policy_source;
mod expiry;
mod file_kind;
mod load;
mod load_failure;
mod outbound;
mod pair;
mod private_key;
mod rotation_stats;
mod rotator;
mod served;
mod server_trust;
mod snapshot;
mod source;
mod trust_error;
mod trust_files;
mod watch;

pub use api_trust::{ApiCas, ApiTrust};
pub(crate) use blocking::run_blocking;
pub use client_policy::ClientPolicyFiles;
pub use expiry::renewal_overdue;
pub use file_kind::FileKind;
pub use load::{LoadError, read_half};
pub use load_failure::ReloadFailure;
pub use outbound::{OutboundSnapshot, PairValidity};
pub use pair::{Pair, PairError};
pub use private_key::read_private_key;
pub use rotation_stats::{FileStates, RotationStats};
pub use rotator::Rotator;
pub use served::{InitialLoadError, ServedCertificate};
pub(crate) use server_trust::system_cas;
pub use snapshot::{Snapshot, SnapshotReceiver};
pub use trust_error::TrustError;
