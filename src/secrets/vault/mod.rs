//! Vault and OpenBao: the instance logs in with its pair, holds a token while it needs one, and is given secrets for it.
//!
//! ```text
//! pair → login → token → secrets
//!   rotated: log in anew, revoke the old token      retired, stopped: revoke
//! ```

mod client;
mod error;
mod held;
mod leases;
mod login;
mod response;
mod schedule;
mod session;
mod source;

pub use error::{VaultError, VaultOperation};
pub use leases::{LeaseEvent, keep_leases};
pub use login::{LoginError, warnings};
pub use response::VaultToken;
pub use session::{PairUpdates, VaultSession};
pub use source::VaultSource;

/// See [`super::fuzzing::vault_answer`].
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn fuzzing(bytes: &[u8]) {
    if let Ok(response::LoginResponse::Auth(auth)) = response::login(bytes) {
        assert!(hyper::header::HeaderValue::from_str(auth.token.text()).is_ok());
    }
    let secret = String::from_utf8_lossy(bytes);
    assert!(error::own_words(bytes, &[&secret]).chars().count() < 400);
    let _ = (response::token_renewal(bytes), response::lease_renewal(bytes), response::plaintext(bytes).is_ok());
    let _ = (response::missing(bytes), response::secret(bytes, None).is_ok(), response::secret(bytes, Some(1)).is_ok());
}
