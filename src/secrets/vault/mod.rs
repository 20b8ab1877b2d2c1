//! Vault and OpenBao: the instance logs in with its pair, holds a token while it needs one, and is given secrets for it.
//!
//! ```text
//! pair → login → token → secrets
//!   rotated: log in anew, revoke the old token      retired, stopped: revoke
//! ```

mod answer;
mod client;
mod error;
mod login;
mod schedule;
mod session;
mod source;
mod stats;

pub use answer::VaultToken;
pub use error::{Asked, VaultError};
pub use login::{LoginRefusal, warnings};
pub use session::{Pairs, VaultSession};
pub use source::VaultSource;
pub use stats::VaultStats;
