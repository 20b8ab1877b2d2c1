//! Who may ask the forward proxy: whoever knows the password of this start, or is the same user.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64ct::{Base64, Encoding};
use hyper::HeaderMap;
use hyper::header::PROXY_AUTHORIZATION;
use rustls::crypto::GetRandomFailed;
use tokio::net::UnixStream;

use crate::crypto;

/// The user in the announced URL. It says nothing.
const USER: &str = "vestibule";

/// A password that is new with each start. Requests that the app is made to send by others do not know it.
pub struct ProxyPassword {
    password: String,
    /// What a client that knows it sends (RFC 7617).
    credentials: String,
}

impl ProxyPassword {
    /// One that nobody can guess.
    ///
    /// # Errors
    /// There is no randomness.
    pub fn random() -> Result<Self, GetRandomFailed> {
        let password = crypto::random_hex::<16>()?;
        let credentials = Base64::encode_string(format!("{USER}:{password}").as_bytes());
        Ok(Self { password, credentials })
    }

    /// `USER:PASSWORD`, as it stands in a URL: a secret.
    pub fn user_info(&self) -> String {
        format!("{USER}:{}", self.password)
    }

    /// Whether `fields` have it.
    pub(super) fn is_shown(&self, fields: &HeaderMap) -> bool {
        fields.get_all(PROXY_AUTHORIZATION).iter().any(|value| {
            let Some((scheme, shown)) = value.to_str().ok().and_then(|value| value.split_once(' ')) else {
                return false;
            };
            scheme.eq_ignore_ascii_case("basic")
                && verify_slices_are_equal(shown.trim().as_bytes(), self.credentials.as_bytes()).is_ok()
        })
    }
}

/// Without the secret.
impl fmt::Debug for ProxyPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyPassword").finish_non_exhaustive()
    }
}

/// Whether whoever has connected runs as our own user, or as root.
pub(super) fn is_same_user(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_of_this_start_is_known_and_no_other_and_is_not_written_anywhere() {
        let (password, other) = (ProxyPassword::random().unwrap(), ProxyPassword::random().unwrap());
        assert_ne!(password.user_info(), other.user_info());
        let shows = |text: &str| {
            let mut fields = HeaderMap::new();
            fields.insert(PROXY_AUTHORIZATION, text.parse().unwrap());
            password.is_shown(&fields)
        };
        let of = |password: &ProxyPassword| Base64::encode_string(password.user_info().as_bytes());
        assert!(shows(&format!("Basic {}", of(&password))) && shows(&format!("basic {}", of(&password))));
        for wrong in
            [format!("Basic {}", of(&other)), format!("Bearer {}", of(&password)), "Basic".to_owned(), of(&password)]
        {
            assert!(!shows(&wrong), "{wrong}");
        }
        assert!(!password.is_shown(&HeaderMap::new()));
        assert!(!format!("{password:?}").contains(&password.password));
    }
}
