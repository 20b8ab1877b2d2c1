//! Key pairs, and the forms in which they are written.

use std::fmt;

use aws_lc_rs::encoding::{AsDer, EcPrivateKeyRfc5915Der, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
};
use der::pem::LineEnding;
use strum::{EnumString, VariantArray};

use super::IssuerError;
use crate::pem::{KeyForm, Pem, private_key_in_pkcs8};

/// Which kind of key a leaf has. Diego's is RSA 3072.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, VariantArray, strum::Display, EnumString)]
#[strum(parse_err_ty = UnknownKeyKind, parse_err_fn = unknown)]
pub enum KeyKind {
    /// RSA, 2048 bits: Diego's until 2025.
    #[strum(serialize = "rsa-2048")]
    Rsa2048,
    /// RSA, 3072 bits: Diego's.
    #[default]
    #[strum(serialize = "rsa-3072")]
    Rsa3072,
    /// RSA, 4096 bits.
    #[strum(serialize = "rsa-4096")]
    Rsa4096,
    /// ECDSA on P-256.
    #[strum(serialize = "p-256")]
    P256,
    /// ECDSA on P-384.
    #[strum(serialize = "p-384")]
    P384,
    /// Ed25519.
    #[strum(serialize = "ed25519")]
    Ed25519,
}

/// No key kind has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown kind of key; write rsa-2048, rsa-3072, rsa-4096, p-256, p-384 or ed25519")]
pub struct UnknownKeyKind;

fn unknown(_: &str) -> UnknownKeyKind {
    UnknownKeyKind
}

/// A key pair that a certificate can be issued for.
#[derive(Clone)]
pub struct SubjectKey {
    kind: KeyKind,
    /// SubjectPublicKeyInfo (RFC 5280).
    public: Vec<u8>,
    /// PrivateKeyInfo (RFC 5208).
    pkcs8: Vec<u8>,
    /// The older form, by its PEM label: PKCS#1 or SEC1. Ed25519 has none.
    traditional: Option<(&'static str, Vec<u8>)>,
}

impl SubjectKey {
    /// A new key pair. RSA takes some tenths of a second.
    ///
    /// # Errors
    /// The cryptographic library failed.
    pub fn generate(kind: KeyKind) -> Result<Self, IssuerError> {
        match kind {
            KeyKind::Rsa2048 => Self::rsa(kind, KeySize::Rsa2048),
            KeyKind::Rsa3072 => Self::rsa(kind, KeySize::Rsa3072),
            KeyKind::Rsa4096 => Self::rsa(kind, KeySize::Rsa4096),
            KeyKind::P256 => Self::ecdsa(kind, &ECDSA_P256_SHA256_ASN1_SIGNING),
            KeyKind::P384 => Self::ecdsa(kind, &ECDSA_P384_SHA384_ASN1_SIGNING),
            KeyKind::Ed25519 => Self::ed25519(),
        }
    }

    /// The kind it was generated as.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// PEM as Diego and OpenSSL write it: `RSA PRIVATE KEY` (PKCS#1) or `EC PRIVATE KEY` (SEC1); PKCS#8 for Ed25519.
    ///
    /// # Errors
    /// Never for a key from [`SubjectKey::generate`].
    pub fn to_pem(&self) -> Result<String, IssuerError> {
        match &self.traditional {
            Some((label, der)) => pem(label, der),
            None => self.to_pkcs8_pem(),
        }
    }

    /// PEM as PKCS#8, `PRIVATE KEY`.
    ///
    /// # Errors
    /// Never for a key from [`SubjectKey::generate`].
    pub fn to_pkcs8_pem(&self) -> Result<String, IssuerError> {
        pem("PRIVATE KEY", &self.pkcs8)
    }

    /// SubjectPublicKeyInfo in DER.
    pub(super) fn public(&self) -> &[u8] {
        &self.public
    }

    fn rsa(kind: KeyKind, size: KeySize) -> Result<Self, IssuerError> {
        let pair = rsa::KeyPair::generate(size).map_err(|_| GENERATING)?;
        let pkcs8 = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).map_err(|_| GENERATING)?.as_ref().to_vec();
        let pkcs1 = private_key_in_pkcs8(&pkcs8).map_err(|_| GENERATING)?.to_vec();
        let public = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).map_err(|_| GENERATING)?;
        Ok(Self { kind, public: public.as_ref().to_vec(), pkcs8, traditional: Some(("RSA PRIVATE KEY", pkcs1)) })
    }

    fn ecdsa(kind: KeyKind, algorithm: &'static EcdsaSigningAlgorithm) -> Result<Self, IssuerError> {
        let pair = EcdsaKeyPair::generate(algorithm).map_err(|_| GENERATING)?;
        let pkcs8 = pair.to_pkcs8v1().map_err(|_| GENERATING)?.as_ref().to_vec();
        let sec1 = AsDer::<EcPrivateKeyRfc5915Der<'_>>::as_der(&pair.private_key()).map_err(|_| GENERATING)?;
        let public = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).map_err(|_| GENERATING)?;
        let traditional = Some(("EC PRIVATE KEY", sec1.as_ref().to_vec()));
        Ok(Self { kind, public: public.as_ref().to_vec(), pkcs8, traditional })
    }

    fn ed25519() -> Result<Self, IssuerError> {
        let pair = Ed25519KeyPair::generate().map_err(|_| GENERATING)?;
        let pkcs8 = pair.to_pkcs8v1().map_err(|_| GENERATING)?.as_ref().to_vec();
        let public = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).map_err(|_| GENERATING)?;
        Ok(Self { kind: KeyKind::Ed25519, public: public.as_ref().to_vec(), pkcs8, traditional: None })
    }
}

const GENERATING: IssuerError = IssuerError::Crypto("generating a key");

impl fmt::Debug for SubjectKey {
    /// Without the private half.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubjectKey").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// The RSA key of a CA, which signs with sha256WithRSAEncryption.
pub(super) struct SigningKey {
    pair: rsa::KeyPair,
    /// SubjectPublicKeyInfo in DER.
    public: Vec<u8>,
}

impl SigningKey {
    /// Reads a key as [`SubjectKey::to_pem`] writes it for RSA.
    pub(super) fn from_pem(pem: &str) -> Result<Self, IssuerError> {
        let reading = || IssuerError::Crypto("reading a CA's key");
        let pem = Pem::read(pem.as_bytes()).map_err(|_| reading())?;
        let (key, _) = pem.keys().find(|(_, form)| *form == KeyForm::Pkcs1).ok_or_else(reading)?;
        let pair = rsa::KeyPair::from_der(&key.der).map_err(|_| reading())?;
        let public = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).map_err(|_| reading())?;
        Ok(Self { public: public.as_ref().to_vec(), pair })
    }

    pub(super) fn public(&self) -> &[u8] {
        &self.public
    }

    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, IssuerError> {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
            .map_err(|_| IssuerError::Crypto("signing a certificate"))?;
        Ok(signature)
    }
}

/// One PEM block, lines of 64 characters, as Go writes it.
pub(super) fn pem(label: &str, der: &[u8]) -> Result<String, IssuerError> {
    der::pem::encode_string(label, LineEnding::LF, der).map_err(|_| IssuerError::Crypto("writing PEM"))
}
