//! The only file that parses X.509.
//!
//! A certificate may come from anybody, so nothing here panics, and every text that is made from one has its odd
//! characters escaped.

use std::fmt::Write;
use std::net::IpAddr;
use std::time::SystemTime;

use aws_lc_rs::digest;
use der::asn1::{AnyRef, ObjectIdentifier, UintRef};
use der::{Decode, Encode, Tag, Tagged};
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage};
use x509_cert::name::Name;

use super::distinguished_name::{name_for_field, name_text, only_common_name};
use super::{Identity, IdentityError, IdentityField};

pub(super) const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
pub(super) const ORGANIZATIONAL_UNIT: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.11");
const SUBJECT_ALT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");
const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");
/// The purposes that RFC 5280, 4.2.1.12, names.
const PURPOSES: [(&str, ObjectIdentifier); 7] = [
    ("clientAuth", CLIENT_AUTH),
    ("serverAuth", SERVER_AUTH),
    ("codeSigning", ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.3")),
    ("emailProtection", ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.4")),
    ("timeStamping", ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.8")),
    ("OCSPSigning", ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.9")),
    ("anyExtendedKeyUsage", ANY_EXTENDED_KEY_USAGE),
];
/// More purposes than these are counted and not named.
const MAX_PURPOSES: usize = 8;
const ANY_EXTENDED_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37.0");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// Algorithms that no signature of a certificate may be made with any more.
const WEAK_SIGNATURES: [(&str, ObjectIdentifier); 5] = [
    ("SHA-1", ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.5")),
    ("SHA-1", ObjectIdentifier::new_unwrap("1.2.840.10045.4.1")),
    ("SHA-1", ObjectIdentifier::new_unwrap("1.2.840.10040.4.3")),
    ("MD5", ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.4")),
    ("MD2", ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.2")),
];

/// On which side of a connection somebody shows a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Of those who dial us.
    Client,
    /// Of those whom we dial.
    Server,
}

impl Role {
    /// `clientAuth`: the purpose that its extendedKeyUsage has to allow.
    pub fn purpose(self) -> &'static str {
        match self {
            Self::Client => "clientAuth",
            Self::Server => "serverAuth",
        }
    }

    fn purpose_id(self) -> ObjectIdentifier {
        match self {
            Self::Client => CLIENT_AUTH,
            Self::Server => SERVER_AUTH,
        }
    }
}

/// What a key may be for by a keyUsage (RFC 5280, 4.2.1.3), as far as anybody here asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyUsageBit {
    /// `digitalSignature`
    DigitalSignature,
    /// `keyAgreement`
    KeyAgreement,
}

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

/// The subject's other names, each list in the order of the certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AltNames {
    /// dNSName, as written; ASCII, but not otherwise checked: it may be empty, and hold control characters.
    pub dns: Vec<String>,
    /// iPAddress.
    pub ips: Vec<IpAddr>,
    /// uniformResourceIdentifier, as written; ASCII, not otherwise checked.
    pub uris: Vec<String>,
    /// rfc822Name, as written; ASCII, not otherwise checked.
    pub emails: Vec<String>,
    /// There may be dNSNames that we were not told of; never so where the certificate itself was read.
    pub dns_is_untold: bool,
    /// The same of uniformResourceIdentifiers.
    pub uris_are_untold: bool,
}

/// One attribute of a subject.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attribute<'a> {
    pub(super) kind: AttributeKind,
    /// The bytes of the string, without tag and length.
    pub(super) value: &'a [u8],
    /// It is a PrintableString or a UTF8String.
    pub(super) plain: bool,
}

/// The attributes that an identity is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AttributeKind {
    OrganizationalUnit,
    CommonName,
    Other,
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

    /// It may sign other certificates: basicConstraints say so.
    pub fn is_ca(&self) -> bool {
        let constraints = self.parsed.tbs_certificate().get_extension::<BasicConstraints>();
        matches!(constraints, Ok(Some((_, BasicConstraints { ca: true, .. }))))
    }

    /// Why it may not vouch for those in `role` though it is a CA's: what its keyUsage (RFC 5280, 4.2.1.3) or extendedKeyUsage (4.2.1.12) leaves
    /// out, as a part of a sentence. Both limit nothing where they are absent.
    pub fn ca_fault(&self, role: Role) -> Option<&'static str> {
        let extensions = self.parsed.tbs_certificate();
        match extensions.get_extension::<KeyUsage>() {
            Ok(None) => {}
            Ok(Some((_, usage))) if usage.key_cert_sign() => {}
            Ok(Some(_)) => return Some("may not sign certificates (its keyUsage lacks keyCertSign)"),
            Err(_) => return Some("has a keyUsage that cannot be read"),
        }
        match extensions.get_extension::<ExtendedKeyUsage>() {
            Ok(None) => None,
            Ok(Some((_, usage)))
                if usage.0.iter().any(|id| [role.purpose_id(), ANY_EXTENDED_KEY_USAGE].contains(id)) =>
            {
                None
            }
            Ok(Some(_)) => Some(match role {
                Role::Client => "may not vouch for clients (its extendedKeyUsage lacks clientAuth)",
                Role::Server => "may not vouch for servers (its extendedKeyUsage lacks serverAuth)",
            }),
            Err(_) => Some("has an extendedKeyUsage that cannot be read"),
        }
    }

    /// What its key is for by its extendedKeyUsage (RFC 5280, 4.2.1.12), by the RFC's names or as object identifiers; at most nine
    /// texts, of which the last may count the rest. `None`: it has none, or none that can be read, and for that it is no limit.
    pub fn extended_key_usages(&self) -> Option<Vec<String>> {
        let (_, usage) = self.parsed.tbs_certificate().get_extension::<ExtendedKeyUsage>().ok()??;
        let name = |id: &ObjectIdentifier| match PURPOSES.iter().find(|(_, known)| known == id) {
            Some((name, _)) => (*name).to_owned(),
            None => id.to_string(),
        };
        let mut names: Vec<_> = usage.0.iter().take(MAX_PURPOSES).map(name).collect();
        if let Some(more) = usage.0.len().checked_sub(MAX_PURPOSES).filter(|more| *more > 0) {
            names.push(format!("{more} more"));
        }
        Some(names)
    }

    /// Why its key may not sign a handshake: a keyUsage without digitalSignature (RFC 8446, 4.4.2.2).
    pub fn signing_fault(&self) -> Option<&'static str> {
        match self.parsed.tbs_certificate().get_extension::<KeyUsage>() {
            Ok(None) => None,
            Ok(Some((_, usage))) if usage.digital_signature() => None,
            Ok(Some(_)) => Some("its keyUsage lacks digitalSignature"),
            Err(_) => Some("its keyUsage cannot be read"),
        }
    }

    /// Whether its keyUsage (RFC 5280, 4.2.1.3) is there and has this bit.
    pub fn has_key_usage(&self, bit: KeyUsageBit) -> bool {
        let Ok(Some((_, usage))) = self.parsed.tbs_certificate().get_extension::<KeyUsage>() else { return false };
        match bit {
            KeyUsageBit::DigitalSignature => usage.digital_signature(),
            KeyUsageBit::KeyAgreement => usage.key_agreement(),
        }
    }

    /// Whether its extendedKeyUsage (RFC 5280, 4.2.1.12) names the purpose of `role`, or is not there. anyExtendedKeyUsage does not name it.
    pub fn is_for(&self, role: Role) -> bool {
        match self.parsed.tbs_certificate().get_extension::<ExtendedKeyUsage>() {
            Ok(None) => true,
            Ok(Some((_, purposes))) => purposes.0.contains(&role.purpose_id()),
            Err(_) => false,
        }
    }

    /// How many CAs may stand between this one and an end of a chain (RFC 5280, 4.2.1.9); `None`: there is no limit.
    pub fn path_length(&self) -> Option<u8> {
        let constraints = self.parsed.tbs_certificate().get_extension::<BasicConstraints>();
        constraints.ok().flatten().and_then(|(_, constraints)| constraints.path_len_constraint)
    }

    /// The subject has a CN, whatever is in it.
    pub fn has_common_name(&self) -> bool {
        self.attributes().any(|a| a.kind == AttributeKind::CommonName && !a.value.is_empty())
    }

    /// How many OUs of the subject begin as those of `field` do, equal ones counted too.
    pub fn units(&self, field: IdentityField) -> usize {
        let units = self.attributes().filter(|a| a.kind == AttributeKind::OrganizationalUnit);
        units.filter(|a| a.value.starts_with(field.prefix().as_bytes())).count()
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

impl<'a> Attribute<'a> {
    pub(super) fn of(written: &'a AttributeTypeAndValue) -> Self {
        Self {
            kind: match written.oid {
                ORGANIZATIONAL_UNIT => AttributeKind::OrganizationalUnit,
                COMMON_NAME => AttributeKind::CommonName,
                _ => AttributeKind::Other,
            },
            value: written.value.value(),
            plain: matches!(written.value.tag(), Tag::PrintableString | Tag::Utf8String),
        }
    }
}

impl AltNames {
    /// Reads subjectAltName (RFC 5280, 4.2.1.6). Kinds of names that are of no use here are left out.
    fn of(certificate: &x509_cert::Certificate) -> Result<Self, CertificateError> {
        let extensions = certificate.tbs_certificate().extensions().map_or(&[][..], Vec::as_slice);
        let mut lists = extensions.iter().filter(|extension| extension.extn_id == SUBJECT_ALT_NAME);
        match (lists.next(), lists.next()) {
            (None, _) => Ok(Self::default()),
            (Some(list), None) => Self::read(list.extn_value.as_bytes()),
            (Some(_), Some(_)) => Err(CertificateError::AltNames),
        }
    }

    fn read(list: &[u8]) -> Result<Self, CertificateError> {
        let mut names = Self::default();
        for name in Vec::<AnyRef<'_>>::from_der(list).map_err(|_| CertificateError::AltNames)? {
            let Tag::ContextSpecific { constructed, number } = name.tag() else {
                return Err(CertificateError::AltNames);
            };
            match (number.value(), constructed) {
                (1, false) => names.emails.push(ascii(name.value())?),
                (2, false) => names.dns.push(ascii(name.value())?),
                (6, false) => names.uris.push(ascii(name.value())?),
                (7, false) => names.ips.push(ip(name.value())?),
                // Those are strings; taken apart they would be read differently by different readers.
                (1 | 2 | 6 | 7, true) => return Err(CertificateError::AltNames),
                _ => {}
            }
        }
        Ok(names)
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

fn ascii(bytes: &[u8]) -> Result<String, CertificateError> {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.is_ascii() => Ok(text.to_owned()),
        _ => Err(CertificateError::AltNames),
    }
}

fn ip(bytes: &[u8]) -> Result<IpAddr, CertificateError> {
    <[u8; 4]>::try_from(bytes)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .map_err(|_| CertificateError::AltNames)
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        push(&mut text, format_args!("{byte:02x}"));
        text
    })
}

/// Formats into `text`, which cannot fail.
pub(super) fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // A String takes everything; only the trait's signature knows of errors.
    let _ = text.write_fmt(arguments);
}
