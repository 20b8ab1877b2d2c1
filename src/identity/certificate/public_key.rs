//! The key that a certificate vouches for.

use der::Decode;
use der::asn1::{ObjectIdentifier, UintRef};

use super::Certificate;

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// The kind of a public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PublicKeyKind {
    /// RSA.
    Rsa {
        /// Of the modulus; 0 if it cannot be read.
        bits: usize,
    },
    /// ECDSA on P-256.
    P256,
    /// ECDSA on P-384.
    P384,
    /// ECDSA on P-521.
    P521,
    /// Ed25519.
    Ed25519,
    /// Another one.
    Other,
}

impl Certificate {
    /// Kind and size of the key: `RSA 3072`, `P-256`, `P-384`, `P-521`, `Ed25519`; else the algorithm's OID.
    pub fn key_type(&self) -> String {
        let key = self.parsed.tbs_certificate().subject_public_key_info();
        match (self.public_key_kind(), self.curve()) {
            (PublicKeyKind::Rsa { bits: 0 }, _) => "RSA".to_owned(),
            (PublicKeyKind::Rsa { bits }, _) => format!("RSA {bits}"),
            (PublicKeyKind::P256, _) => "P-256".to_owned(),
            (PublicKeyKind::P384, _) => "P-384".to_owned(),
            (PublicKeyKind::P521, _) => "P-521".to_owned(),
            (PublicKeyKind::Ed25519, _) => "Ed25519".to_owned(),
            (PublicKeyKind::Other, Some(curve)) => format!("EC {curve}"),
            (PublicKeyKind::Other, None) if key.algorithm.oid == EC => "EC".to_owned(),
            (PublicKeyKind::Other, None) => key.algorithm.oid.to_string(),
        }
    }

    /// Kind and size of the key.
    pub fn public_key_kind(&self) -> PublicKeyKind {
        let key = self.parsed.tbs_certificate().subject_public_key_info();
        match key.algorithm.oid {
            RSA => PublicKeyKind::Rsa { bits: rsa_bits(key.subject_public_key.raw_bytes()).unwrap_or(0) },
            EC => match self.curve() {
                Some(P256) => PublicKeyKind::P256,
                Some(P384) => PublicKeyKind::P384,
                Some(P521) => PublicKeyKind::P521,
                _ => PublicKeyKind::Other,
            },
            ED25519 => PublicKeyKind::Ed25519,
            _ => PublicKeyKind::Other,
        }
    }

    /// The curve of an EC key, where it is named.
    fn curve(&self) -> Option<ObjectIdentifier> {
        let algorithm = &self.parsed.tbs_certificate().subject_public_key_info().algorithm;
        algorithm.parameters.as_ref().filter(|_| algorithm.oid == EC)?.decode_as::<ObjectIdentifier>().ok()
    }

    /// Modulus and exponent of an RSA key, as big-endian numbers without leading zeros; `None` if it is no RSA key.
    pub fn rsa_public_key(&self) -> Option<(&[u8], &[u8])> {
        let key = self.parsed.tbs_certificate().subject_public_key_info();
        let RsaPublicKey { modulus, exponent } =
            RsaPublicKey::from_der(key.subject_public_key.raw_bytes()).ok().filter(|_| key.algorithm.oid == RSA)?;
        Some((modulus.as_bytes(), exponent.as_bytes()))
    }

    /// The key: its algorithm as in SubjectPublicKeyInfo, without tag and length, and its bits.
    pub fn public_key(&self) -> (&[u8], &[u8]) {
        let key = self.parsed.tbs_certificate().subject_public_key_info();
        (&self.key_algorithm, key.subject_public_key.raw_bytes())
    }

    /// The bits of the modulus of an RSA key; 0 if it cannot be read. `None` if it is no RSA key.
    pub fn rsa_bits(&self) -> Option<usize> {
        match self.public_key_kind() {
            PublicKeyKind::Rsa { bits } => Some(bits),
            _ => None,
        }
    }
}

/// An RSA public key (RFC 8017, appendix A.1.1).
#[derive(der::Sequence)]
struct RsaPublicKey<'a> {
    modulus: UintRef<'a>,
    exponent: UintRef<'a>,
}

fn rsa_bits(key: &[u8]) -> Option<usize> {
    let modulus = RsaPublicKey::from_der(key).ok()?.modulus;
    let first = modulus.as_bytes().first()?;
    Some(modulus.as_bytes().len() * 8 - first.leading_zeros() as usize)
}
