//! One certificate, read. Here and below is the only place that parses X.509.
//!
//! A certificate may come from anybody, so nothing here panics, and every text that is made from one has its odd
//! characters escaped.

use std::time::SystemTime;

use aws_lc_rs::digest;
use der::asn1::{AnyRef, ObjectIdentifier};
use der::{Decode, Encode};
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::name::Name;

use super::attribute::{Attribute, AttributeKind, hex};
use super::distinguished_name::{DistinguishedName, name_for_field, name_text, only_common_name};
use super::{Identity, IdentityError, IdentityField, occurrences};

mod alt_names;
mod public_key;
mod usage;

pub use alt_names::AltNames;
pub use public_key::PublicKeyKind;
pub use usage::{KeyUsageBit, Role};

/// Algorithms that no signature of a certificate may be made with any more.
const WEAK_SIGNATURES: [(&str, ObjectIdentifier); 5] = [
    ("SHA-1", ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.5")),
    ("SHA-1", ObjectIdentifier::new_unwrap("1.2.840.10045.4.1")),
    ("SHA-1", ObjectIdentifier::new_unwrap("1.2.840.10040.4.3")),
    ("MD5", ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.4")),
    ("MD2", ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.2")),
];

/// The bytes are not a certificate that we can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Not an X.509 certificate in DER (RFC 5280).
    #[error("not an X.509 certificate")]
    NotX509(#[source] der::Error),
    /// The subject's other names are malformed, or there are two lists of them.
    #[error("certificate has malformed subject alternative names")]
    AltNames,
}

/// One certificate, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    parsed: x509_cert::Certificate,
    alt_names: AltNames,
    /// The content of the key's AlgorithmIdentifier.
    key_algorithm: Vec<u8>,
    fingerprint: [u8; 32],
}

impl DistinguishedName {
    /// Whether it has the attributes of the certificate's subject, all of them and no other. The order and the RDNs do not matter, as
    /// they do not for an identity; programs write them differently.
    pub fn is_subject_of(&self, certificate: &Certificate) -> bool {
        let sorted = |attributes: &mut dyn Iterator<Item = &AttributeTypeAndValue>| {
            let mut all: Vec<_> = attributes.map(|one| (one.oid, one.value.value().to_vec())).collect();
            all.sort();
            all
        };
        sorted(&mut self.rdns.iter().flatten()) == sorted(&mut certificate.subject_name().iter())
    }
}

impl Certificate {
    /// Reads one certificate in DER.
    ///
    /// # Errors
    /// It is not a certificate, or its alternative names cannot be read.
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        let parsed = x509_cert::Certificate::from_der(der).map_err(CertificateError::NotX509)?;
        let alt_names = AltNames::of(&parsed)?;
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest::digest(&digest::SHA256, der).as_ref());
        let algorithm = parsed.tbs_certificate().subject_public_key_info().algorithm.to_der();
        let algorithm = algorithm.map_err(CertificateError::NotX509)?;
        let key_algorithm = AnyRef::from_der(&algorithm).map_err(CertificateError::NotX509)?.value().to_vec();
        Ok(Self { parsed, alt_names, key_algorithm, fingerprint })
    }

    /// The certificate in DER with which `bytes` begin, and what stands behind it; `None`: they begin with none.
    pub fn split_first(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (_, rest) = AnyRef::from_der_partial(bytes).ok()?;
        let first = Self::from_der(&bytes[..bytes.len() - rest.len()]).ok()?;
        Some((first, rest))
    }

    /// What the subject says if the certificate is Cloud Foundry's; `None` if it is not.
    ///
    /// # Errors
    /// It claims to be Cloud Foundry's, and is not sound.
    pub fn identity(&self) -> Result<Option<Identity>, IdentityError> {
        Identity::from_attributes(&self.attributes().collect::<Vec<_>>())
    }

    /// The subject as RFC 4514 writes it, every odd character escaped.
    pub fn subject(&self) -> String {
        name_text(self.subject_name())
    }

    /// The subject as Envoy writes it into X-Forwarded-Client-Cert; printable ASCII, without quotes.
    pub fn subject_for_field(&self) -> String {
        name_for_field(self.subject_name())
    }

    pub(super) fn subject_name(&self) -> &Name {
        self.parsed.tbs_certificate().subject()
    }

    /// The issuer as RFC 4514 writes it, every odd character escaped.
    pub fn issuer(&self) -> String {
        name_text(self.parsed.tbs_certificate().issuer())
    }

    /// The subject's CN, as written; `None` if there is none, more than one, or one that is not a PrintableString or
    /// UTF8String. Its characters are not otherwise checked.
    pub fn common_name(&self) -> Option<&str> {
        only_common_name(self.attributes())
    }

    /// The subject has a CN that [`Certificate::common_name`] does not give: several, or one of another string type.
    pub fn has_unclear_common_name(&self) -> bool {
        self.common_name().is_none() && self.attributes().any(|a| a.kind == AttributeKind::CommonName)
    }

    /// The subject's other names.
    pub fn alt_names(&self) -> &AltNames {
        &self.alt_names
    }

    /// The first second in which the certificate is valid.
    pub fn not_before(&self) -> SystemTime {
        self.parsed.tbs_certificate().validity().not_before.to_system_time()
    }

    /// The last second in which the certificate is valid.
    pub fn not_after(&self) -> SystemTime {
        self.parsed.tbs_certificate().validity().not_after.to_system_time()
    }

    /// The serial number in lower-case hexadecimal, two digits for each byte; without the zero that DER puts before a
    /// high first bit.
    pub fn serial(&self) -> String {
        let bytes = self.parsed.tbs_certificate().serial_number().as_bytes();
        match bytes {
            [0, rest @ ..] if !rest.is_empty() => hex(rest),
            _ => hex(bytes),
        }
    }

    /// The name of the algorithm with which it is signed, if that is one that was given up as too weak.
    pub fn weak_signature(&self) -> Option<&'static str> {
        let signed_with = self.parsed.signature_algorithm().oid;
        WEAK_SIGNATURES.iter().find(|(_, oid)| *oid == signed_with).map(|(name, _)| *name)
    }

    /// SHA-256 of the whole certificate in DER.
    pub fn fingerprint(&self) -> &[u8; 32] {
        &self.fingerprint
    }

    /// The fingerprint in lower-case hexadecimal.
    pub fn fingerprint_hex(&self) -> String {
        hex(&self.fingerprint)
    }

    /// The subject has a CN, whatever is in it.
    pub fn has_common_name(&self) -> bool {
        self.attributes().any(|a| a.kind == AttributeKind::CommonName && !a.value.is_empty())
    }

    /// How often `field` occurs in the subject, equal values counted too.
    pub fn units(&self, field: IdentityField) -> usize {
        occurrences(self.attributes(), field)
    }

    /// The platform's sign that this instance is about to stop: no CN, and a dNSName of length zero.
    pub fn is_retirement(&self) -> bool {
        !self.attributes().any(|a| a.kind == AttributeKind::CommonName)
            && self.alt_names.dns.iter().any(String::is_empty)
    }

    fn attributes(&self) -> impl Iterator<Item = Attribute<'_>> {
        self.subject_name().iter().map(Attribute::of)
    }
}
