//! Certificates that a CA has taken back.

use std::collections::HashSet;
use std::time::SystemTime;

use der::asn1::{AnyRef, ContextSpecific, ObjectIdentifier, SequenceRef};
use der::{Decode, Encode, Reader, SliceReader, Tag, TagNumber, Tagged};
use rustls::crypto::WebPkiSupportedAlgorithms;
use webpki::{Cert, VerifiedPath};
use x509_cert::ext::pkix::AuthorityKeyIdentifier;
use x509_cert::ext::pkix::crl::dp::IssuingDistributionPoint;
use x509_cert::ext::{Extension, Extensions};
use x509_cert::name::Name;
use x509_cert::time::Time;

use super::anchors::ca::Ca;
use super::signed::SignedObject;
use crate::identity::name_text;

/// Which key has signed (RFC 5280, 5.2.1): the signature tells whose the list is, and this whose it was meant to be where the signature holds
/// with no key that we know.
const AUTHORITY_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.35");

/// Extensions of a CRL that say nothing about what it means, or that are taken note of.
const IGNORED_EXTENSIONS: [ObjectIdentifier; 3] = [
    AUTHORITY_KEY,
    // cRLNumber: each CRL that is given counts.
    ObjectIdentifier::new_unwrap("2.5.29.20"),
    // reasonCode: what is named is refused, whatever the reason.
    ObjectIdentifier::new_unwrap("2.5.29.21"),
];
const DELTA: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.27");
const DISTRIBUTION_POINT: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.28");
const CERTIFICATE_ISSUER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.29");

/// A certificate revocation list (RFC 5280, section 5) of version 1 or 2, whole and direct: deltas and indirect lists are
/// refused.
///
/// It refuses what it names, whatever reason and date it gives, and nothing else: a certificate of a CA without a list is
/// accepted, and so is one that a list past its nextUpdate does not name. What such a list does name stays refused.
#[derive(Debug)]
pub struct Crl {
    /// Where it was read, for messages.
    pub place: String,
    /// Whose list it is, as RFC 4514 writes it.
    pub issuer: String,
    /// When it was issued.
    pub this_update: SystemTime,
    /// By when there is to be another; `None`: it does not say.
    pub next_update: Option<SystemTime>,
    name: IssuerName,
    /// Serial numbers, as [`plain`] has them.
    serials: HashSet<Box<[u8]>>,
    /// The identifier of the key that has signed it, as the list says.
    key_identifier: Option<Box<[u8]>>,
    signed: SignedObject,
}

/// A name, to be compared with that of another certificate or CRL.
#[derive(Debug, Clone, PartialEq, Eq)]
struct IssuerName {
    /// Name (RFC 5280, 4.1.2.4), without tag and length.
    der: Box<[u8]>,
    /// As text without what RFC 5280, 7.1, leaves out of comparisons; `None` if it cannot be read as a name.
    text: Option<String>,
}

/// The bytes are not a list that we can use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CrlError {
    /// Its structure cannot be read.
    #[error("not a CRL; give a whole, direct CRL of version 1 or 2")]
    Structure(#[from] der::Error),
    /// Neither version 1 nor 2.
    #[error("a CRL of a version that is not known; give one of version 1 or 2")]
    Version,
    /// Its signature algorithm is given twice, and differs.
    #[error("a CRL that names two signature algorithms; have it issued anew")]
    Algorithms,
    /// A delta CRL, which only says what has changed.
    #[error("a delta CRL, which only says what has changed; give the whole CRL")]
    Delta,
    /// It names certificates of other CAs.
    #[error("an indirect CRL, which names certificates of several CAs; give each CA's own CRL")]
    Indirect,
    /// It does not say everything about any certificate.
    #[error("a CRL for {0} alone; give the whole CRL")]
    Partial(&'static str),
    /// It has to be understood to be used, and is not.
    #[error("a CRL with the critical extension {0}, which is not known; have it issued without")]
    Critical(ObjectIdentifier),
}

impl Crl {
    /// Reads one CRL in DER, found at `place`. Its signature is checked when it names a certificate: only then is it known
    /// under which CA's key.
    pub(super) fn from_der(der: &[u8], place: String) -> Result<Self, CrlError> {
        let signed = SignedObject::from_der(der)?;
        let list = <&SequenceRef>::from_der(&signed.content)?;
        let mut reader = SliceReader::new(list.as_ref())?;
        // "If present, MUST be v2" (RFC 5280, 5.1.2.1), which is written as 1.
        if Option::<u8>::decode(&mut reader)?.is_some_and(|version| version != 1) {
            return Err(CrlError::Version);
        }
        let algorithm = AnyRef::decode(&mut reader)?;
        let issuer = AnyRef::decode(&mut reader)?;
        let this_update = Time::decode(&mut reader)?;
        let next_update = Option::<Time>::decode(&mut reader)?;
        let revoked = Option::<&SequenceRef>::decode(&mut reader)?;
        let extensions = ContextSpecific::<Extensions>::decode_explicit(&mut reader, TagNumber(0))?;
        reader.finish()?;
        if algorithm.value() != signed.algorithm {
            return Err(CrlError::Algorithms);
        }
        extensions.iter().flat_map(|extensions| &extensions.value).try_for_each(usable)?;
        let name = Name::from_der(&issuer.to_der()?)?;
        Ok(Self {
            place,
            issuer: name_text(&name),
            this_update: this_update.to_system_time(),
            next_update: next_update.map(|time| time.to_system_time()),
            name: IssuerName { der: issuer.value().into(), text: Some(comparable(&name)) },
            serials: revoked.map_or(Ok(HashSet::new()), |revoked| serials(revoked.as_ref()))?,
            key_identifier: extensions.iter().flat_map(|extensions| &extensions.value).find_map(key_identifier),
            signed,
        })
    }

    /// Whether it takes back a certificate of this path: one that the anchor or a CA below it has issued.
    pub(super) fn revokes(&self, path: &VerifiedPath<'_>, algorithms: &WebPkiSupportedAlgorithms) -> bool {
        let mut cert: &Cert<'_> = path.end_entity();
        for issuer in path.intermediate_certificates() {
            // A key that cannot be read has verified nothing either.
            let key = issuer.subject_public_key_info();
            let key = AnyRef::from_der(&key).map_or(&[][..], |key| key.value());
            if self.names(cert.issuer(), cert.serial()) && self.may_be_by(key, algorithms) {
                return true;
            }
            cert = issuer;
        }
        self.names(cert.issuer(), cert.serial())
            && self.may_be_by(path.anchor().subject_public_key_info.as_ref(), algorithms)
    }

    /// Whether it names this serial number of an issuer of this name (without tag and length).
    pub(super) fn names(&self, issuer: &[u8], serial: &[u8]) -> bool {
        self.serials.contains(plain(serial)) && self.is_issued_by(issuer)
    }

    /// Whether the issuer of this name (without tag and length) is whose list it claims to be.
    pub(super) fn is_issued_by(&self, issuer: &[u8]) -> bool {
        *self.name.der == *issuer || self.name.text.is_some() && self.name.text == IssuerName::of(issuer).text
    }

    /// Whether the holder of this key (SubjectPublicKeyInfo, without tag and length) may have signed it. A CA that was
    /// renewed under its old name with another key has a list of its own.
    pub(super) fn may_be_by(&self, key: &[u8], algorithms: &WebPkiSupportedAlgorithms) -> bool {
        self.signed.may_be_by(key, algorithms)
    }

    /// Whether its signature was to hold with the key of one of `cas` and holds with none: it has the name of such a CA, and does not say that it is
    /// another key's. It is damaged, or comes from a CA that is not listed; what it revokes nobody can tell.
    pub(super) fn lacks_signature_of(&self, cas: &[Ca], algorithms: &WebPkiSupportedAlgorithms) -> bool {
        let namesakes: Vec<_> = cas.iter().filter(|ca| self.is_issued_by(ca.name())).collect();
        let says_another = |ca: &Ca| {
            self.key_identifier.as_ref().zip(ca.key_identifier.as_ref()).is_some_and(|(named, own)| named != own)
        };
        !namesakes.iter().any(|ca| self.may_be_by(ca.key(), algorithms)) && !namesakes.iter().all(|ca| says_another(ca))
    }

    /// Whether everything that it names is named by one of `others`, too.
    pub(super) fn is_covered_by(&self, others: &[Self]) -> bool {
        let same: Vec<_> = others.iter().filter(|other| other.name == self.name).collect();
        // Most often the list has grown.
        same.iter().any(|other| self.serials.is_subset(&other.serials))
            || self.serials.iter().all(|serial| same.iter().any(|other| other.serials.contains(serial)))
    }
}

impl IssuerName {
    fn of(der: &[u8]) -> Self {
        let whole = AnyRef::new(Tag::Sequence, der).and_then(|name| name.to_der());
        let text = whole.and_then(|name| Name::from_der(&name)).ok().map(|name| comparable(&name));
        Self { der: der.into(), text }
    }
}

/// A name without what makes no difference: the kind of string, upper and lower case, the number of blanks.
fn comparable(name: &Name) -> String {
    name_text(name).to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A serial number without the zeros in front, which not everybody writes alike.
fn plain(serial: &[u8]) -> &[u8] {
    let zeros = serial.iter().take_while(|byte| **byte == 0).count();
    &serial[zeros..]
}

/// The serial numbers in revokedCertificates.
fn serials(revoked: &[u8]) -> Result<HashSet<Box<[u8]>>, CrlError> {
    let mut serials = HashSet::new();
    let mut reader = SliceReader::new(revoked)?;
    while !reader.is_finished() {
        let mut entry = SliceReader::new(<&SequenceRef>::decode(&mut reader)?.as_ref())?;
        let serial = AnyRef::decode(&mut entry)?;
        if serial.tag() != Tag::Integer {
            return Err(der::Error::from(serial.tag().unexpected_error(Some(Tag::Integer))).into());
        }
        // When it was taken back is not asked: a day in the future is the error of somebody's clock.
        let _since = AnyRef::decode(&mut entry)?;
        Option::<Extensions>::decode(&mut entry)?.iter().flatten().try_for_each(usable)?;
        entry.finish()?;
        serials.insert(plain(serial.value()).into());
    }
    Ok(serials)
}

/// The identifier of the key that has signed, if it is what `extension` says.
fn key_identifier(extension: &Extension) -> Option<Box<[u8]>> {
    let value = (extension.extn_id == AUTHORITY_KEY).then(|| extension.extn_value.as_bytes())?;
    let authority = AuthorityKeyIdentifier::from_der(value).ok()?;
    Some(authority.key_identifier?.as_bytes().into())
}

/// Whether a list may be used that has this extension, of its own or of an entry (RFC 5280, 5.2 and 5.3).
fn usable(extension: &Extension) -> Result<(), CrlError> {
    match extension.extn_id {
        DELTA => Err(CrlError::Delta),
        CERTIFICATE_ISSUER => Err(CrlError::Indirect),
        DISTRIBUTION_POINT => {
            let point = IssuingDistributionPoint::from_der(extension.extn_value.as_bytes())?;
            if point.indirect_crl {
                return Err(CrlError::Indirect);
            }
            if point.only_contains_attribute_certs {
                return Err(CrlError::Partial("attribute certificates"));
            }
            // Certificates of users or of CAs alone: what such a list names is refused, like what any other names.
            point.only_some_reasons.map_or(Ok(()), |_| Err(CrlError::Partial("some reasons")))
        }
        known if IGNORED_EXTENSIONS.contains(&known) => Ok(()),
        unknown if extension.critical => Err(CrlError::Critical(unknown)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
