//! Vault and OpenBao: the instance logs in with its pair, holds a token while it needs one, and is given secrets for it.
//!
//! ```text
//! pair → login → token → secrets
//!   rotated: log in anew, revoke the old token      retired, stopped: revoke
//! ```

mod answer;
mod client;
mod error;
mod held;
mod leases;
mod login;
mod schedule;
mod session;
mod source;

pub use answer::VaultToken;
pub use error::{Asked, VaultError};
pub use leases::{LeaseEvent, keep_leases};
pub use login::{LoginRefusal, warnings};
pub use session::{Pairs, VaultSession};
pub use source::VaultSource;

/// See [`super::fuzzing::vault_answer`].
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn fuzzing(bytes: &[u8]) {
    if let Ok(answer::LoginAnswer::Auth(auth)) = answer::login(bytes) {
        assert!(hyper::header::HeaderValue::from_str(auth.token.text()).is_ok());
    }
    let secret = String::from_utf8_lossy(bytes);
    assert!(error::own_words(bytes, &[&secret]).chars().count() < 400);
    let _ = (answer::token_renewal(bytes), answer::lease_renewal(bytes), answer::plaintext(bytes).is_ok());
    let _ = (answer::missing(bytes), answer::secret(bytes, None).is_ok(), answer::secret(bytes, Some(1)).is_ok());
}
