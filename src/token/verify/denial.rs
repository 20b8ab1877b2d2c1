//! Why a token is not believed.

use std::fmt;

use strum::{IntoStaticStr, VariantArray};

use crate::identity::Client;
use crate::trust::TokenChainError;

/// Why a token is not believed. A closed set, in the order in which it is asked: the first that fails decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum TokenDenialReason {
    /// It is no compact JWS with a header and claims that can be read in one way only.
    Malformed,
    /// It carries a private key.
    PrivateKey,
    /// Its header has a parameter that changes what the rest means, or another type.
    Header,
    /// Its algorithm is none of ours, or not one of its key.
    Algorithm,
    /// Its certificates cannot be read, or are not those that it names.
    X5c,
    /// No CA vouches for it.
    Untrusted,
    /// A CRL names its certificate, or a CA's above it.
    Revoked,
    /// A certificate of its path is past its last second.
    CertificateExpired,
    /// A certificate of its path is before its first second.
    CertificateNotYetValid,
    /// Its certificate is not for signing as a client.
    KeyUsage,
    /// Its certificate does not name organization, space and app.
    IdentityMissing,
    /// What its certificate names is not sound.
    IdentityMalformed,
    /// Its instance is about to stop, or has.
    Retired,
    /// The key of its certificate has not signed it.
    Signature,
    /// It is past `exp`, or has none.
    Expired,
    /// It is before `nbf`, or has none.
    NotYetValid,
    /// It is before `iat`, or has none.
    IssuedInFuture,
    /// It lives for longer than tokens are believed.
    TooLong,
    /// It lives for longer than its certificates.
    OutlivesCertificate,
    /// It is for somebody else, or for nobody.
    Audience,
    /// It says another name than its certificate.
    SubjectMismatch,
    /// It counts only together with another certificate than the caller's.
    NotBound,
    /// It was there before, or cannot be told from others.
    Replayed,
    /// There is no room to remember it by.
    ReplayCacheFull,
    /// Its identity does not have the role.
    NoRole,
    /// A policy was asked for that is not granted.
    PolicyNotGranted,
}

/// A token that is not believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenDenial {
    /// Why.
    pub reason: TokenDenialReason,
    /// More about it, on one line, without anything of the token that its sender could not have known; escaped by whoever shows it.
    pub detail: String,
    /// Whom its certificate names; `None` as long as no CA has vouched for that.
    pub client: Option<Client>,
    /// The fingerprint of its certificate, once that was read.
    pub fingerprint: Option<[u8; 32]>,
    /// The claim `jti`, once the signature was verified.
    pub jti: Option<String>,
}

impl TokenDenialReason {
    /// The word in JSON, logs and metrics.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The number of the check that has failed: 1 to 5 are those of the platform's identity, 0 is about the form, 6 about the claims, 7 about the
    /// use, 8 about roles.
    pub fn check(self) -> u8 {
        match self {
            Self::Malformed | Self::PrivateKey | Self::Header | Self::Algorithm | Self::X5c => 0,
            Self::Untrusted | Self::Revoked => 1,
            Self::CertificateExpired | Self::CertificateNotYetValid => 2,
            Self::KeyUsage => 3,
            Self::IdentityMissing | Self::IdentityMalformed | Self::Retired => 4,
            Self::Signature => 5,
            Self::Expired | Self::NotYetValid | Self::IssuedInFuture => 6,
            Self::TooLong | Self::OutlivesCertificate => 6,
            Self::Audience | Self::SubjectMismatch | Self::NotBound => 6,
            Self::Replayed | Self::ReplayCacheFull => 7,
            Self::NoRole | Self::PolicyNotGranted => 8,
        }
    }

    /// A denial of this kind, of which nothing is known yet but what is wrong.
    pub(super) fn because(self, detail: impl Into<String>) -> TokenDenial {
        TokenDenial { reason: self, detail: detail.into(), client: None, fingerprint: None, jti: None }
    }
}

impl From<TokenChainError> for TokenDenial {
    fn from(broken: TokenChainError) -> Self {
        match broken {
            TokenChainError::Untrusted(what) => TokenDenialReason::Untrusted.because(what),
            TokenChainError::Revoked(what) => TokenDenialReason::Revoked.because(what),
        }
    }
}

/// What is wrong.
impl fmt::Display for TokenDenial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for TokenDenial {}
