//! The signature algorithms of tokens (RFC 7518, section 3.1; RFC 8037).

use std::ops::RangeInclusive;

use rustls::SignatureScheme;
use strum::{Display, EnumString, IntoStaticStr, VariantArray};

use crate::identity::PublicKeyKind;

/// RSA keys that sign tokens, in bits: what rustls signs with.
const RSA_BITS: RangeInclusive<usize> = 2048..=4096;

/// How a token is signed. A closed set: nothing else is made, and nothing else is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, VariantArray, IntoStaticStr, EnumString, Display)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    #[strum(serialize = "RS256")]
    Rs256,
    /// RSASSA-PSS with SHA-256, MGF1 with SHA-256, and a salt as long as the digest.
    #[strum(serialize = "PS256")]
    Ps256,
    /// ECDSA on P-256 with SHA-256.
    #[strum(serialize = "ES256")]
    Es256,
    /// ECDSA on P-384 with SHA-384.
    #[strum(serialize = "ES384")]
    Es384,
    /// Ed25519, which is all that `EdDSA` means here.
    #[strum(serialize = "EdDSA")]
    EdDsa,
}

impl Algorithm {
    /// The name in the header parameter `alg`.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// What a key of this kind signs with where nothing else is asked for; `None`: it signs no tokens.
    pub fn of_key(key: PublicKeyKind) -> Option<Self> {
        match key {
            PublicKeyKind::Rsa { bits } if RSA_BITS.contains(&bits) => Some(Self::Rs256),
            PublicKeyKind::P256 => Some(Self::Es256),
            PublicKeyKind::P384 => Some(Self::Es384),
            PublicKeyKind::Ed25519 => Some(Self::EdDsa),
            PublicKeyKind::Rsa { .. } | PublicKeyKind::P521 | PublicKeyKind::Other => None,
        }
    }

    /// Whether a key of this kind makes such signatures.
    pub fn fits(self, key: PublicKeyKind) -> bool {
        match (Self::of_key(key), self) {
            (Some(Self::Rs256), Self::Ps256) => true,
            (own, asked) => own == Some(asked),
        }
    }

    /// The same as rustls calls it.
    pub(super) fn scheme(self) -> SignatureScheme {
        match self {
            Self::Rs256 => SignatureScheme::RSA_PKCS1_SHA256,
            Self::Ps256 => SignatureScheme::RSA_PSS_SHA256,
            Self::Es256 => SignatureScheme::ECDSA_NISTP256_SHA256,
            Self::Es384 => SignatureScheme::ECDSA_NISTP384_SHA384,
            Self::EdDsa => SignatureScheme::ED25519,
        }
    }

    /// Bytes of each of the two numbers that an ECDSA signature is (RFC 7518, section 3.4); `None`: its signatures are no such pair.
    pub(super) fn ecdsa_half(self) -> Option<usize> {
        match self {
            Self::Es256 => Some(32),
            Self::Es384 => Some(48),
            Self::Rs256 | Self::Ps256 | Self::EdDsa => None,
        }
    }
}
