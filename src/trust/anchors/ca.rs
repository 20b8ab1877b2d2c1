//! One trust anchor.

use std::time::SystemTime;

use rustls::pki_types::TrustAnchor;

use crate::identity::AltNames;
use crate::trust::signed::SignedObject;

/// A CA's name and key, and when it may vouch.
#[derive(Debug)]
pub struct Ca {
    pub(in crate::trust) anchor: TrustAnchor<'static>,
    /// Its name, as RFC 4514 writes it.
    pub subject: String,
    /// Its serial number in hexadecimal.
    pub serial: String,
    /// Its other names; CAs seldom have any.
    pub alt_names: AltNames,
    /// The first second in which it vouches.
    pub not_before: SystemTime,
    /// The last second in which it vouches.
    pub not_after: SystemTime,
    /// A CRL takes it back, or all those who have issued it vouches for nobody.
    pub is_revoked: bool,
    /// How many CAs may stand between it and a client.
    pub(in crate::trust) path_len: Option<u8>,
    /// Its issuer's name, without tag and length.
    pub(in crate::trust) issuer: Box<[u8]>,
    /// As it is written in DER, without tag and length.
    pub(in crate::trust) serial_number: Box<[u8]>,
    /// What its key is called in what it signs (RFC 5280, 4.2.1.2).
    pub(in crate::trust) key_identifier: Option<Box<[u8]>>,
    pub(in crate::trust) signed: SignedObject,
}

impl Ca {
    /// Its name, without tag and length.
    pub(in crate::trust) fn name(&self) -> &[u8] {
        self.anchor.subject.as_ref()
    }

    /// SubjectPublicKeyInfo, without tag and length.
    pub(in crate::trust) fn key(&self) -> &[u8] {
        self.anchor.subject_public_key_info.as_ref()
    }

    /// Whether both vouch for the same at the same time, and are taken back together.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let facts = |ca: &Self| (ca.not_before, ca.not_after, ca.path_len);
        self.anchor == other.anchor
            && facts(self) == facts(other)
            && (&self.issuer, &self.serial_number) == (&other.issuer, &other.serial_number)
    }
}
