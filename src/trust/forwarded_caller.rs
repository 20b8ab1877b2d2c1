//! Who calls, by the word of a client that may forward it.

use std::time::SystemTime;

use super::ClientAuth;
use crate::identity::Client;
use crate::xfcc;
use crate::xfcc::{ForwardedIdentity, XfccError};

/// Who calls, by the word of a client that may forward it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardedCaller {
    /// Who it is.
    pub caller: Client,
    /// How that was forwarded: `raw`, `envoy`.
    pub form: &'static str,
    /// Whether a client CA vouches for it, or the client's word alone.
    pub is_verified: bool,
}

/// Why nobody is believed to call.
#[derive(Debug, thiserror::Error)]
pub enum ForwardedCallerError {
    /// What was forwarded is malformed, or there are two.
    #[error(transparent)]
    Malformed(#[from] XfccError),
    /// No client CA vouches for it.
    #[error("{0}")]
    Untrusted(String),
}

impl ForwardedCallerError {
    /// The word for it in our answers and logs, and the status.
    pub fn reason(&self) -> (&'static str, u16) {
        match self {
            Self::Malformed(_) => ("xfcc_invalid", 400),
            Self::Untrusted(_) => ("caller_untrusted", 403),
        }
    }
}

impl ClientAuth {
    /// Who calls, as the `values` of X-Forwarded-Client-Cert say, at the time `now`; `None`: there are none. `needs_certificate`: names alone do
    /// not count.
    ///
    /// # Errors
    /// [`ForwardedCallerError`].
    pub fn forwarded_caller(
        &self,
        values: &[&[u8]],
        needs_certificate: bool,
        now: SystemTime,
    ) -> Result<Option<ForwardedCaller>, ForwardedCallerError> {
        if values.is_empty() {
            return Ok(None);
        }
        let untrusted = |why: &str| Err(ForwardedCallerError::Untrusted(why.to_owned()));
        let (caller, form, is_verified) = match (xfcc::parse(values)?, self) {
            (ForwardedIdentity::Certificate { der, form }, Self::Certificate(authenticator)) => {
                let verified = authenticator.anchors().verify(&[der], now);
                let caller = verified.map_err(|denial| ForwardedCallerError::Untrusted(denial.to_string()))?;
                (caller, form.as_str(), true)
            }
            (ForwardedIdentity::Certificate { .. }, Self::None) => {
                return untrusted("there is no client CA to verify it by");
            }
            (ForwardedIdentity::Named { .. }, _) if needs_certificate => {
                return untrusted("there is no certificate in it to verify (--xfcc-verify require)");
            }
            (ForwardedIdentity::Named { client, .. }, _) => (client, "envoy", false),
        };
        Ok(Some(ForwardedCaller { caller, form, is_verified }))
    }
}
