//! The subject's other names (RFC 5280, 4.2.1.6).

use std::net::IpAddr;

use der::asn1::{AnyRef, ObjectIdentifier};
use der::{Decode, Tag, Tagged};

use super::CertificateError;

const SUBJECT_ALT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");

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

impl AltNames {
    /// Reads subjectAltName (RFC 5280, 4.2.1.6). Kinds of names that are of no use here are left out.
    pub(super) fn of(certificate: &x509_cert::Certificate) -> Result<Self, CertificateError> {
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
