//! Extensions that a certificate calls critical: whoever does not know one must not accept the certificate (RFC 5280, 4.2).
//!
//! webpki knows those that it acts on, and refuses all others. One of the others may be accepted without acting on it:
//! certificatePolicies. They limit a chain only where somebody asks for a policy; nobody does here, and a CA that does (by
//! policyConstraints, which is critical and refused) is not accepted. So webpki is shown such a certificate with this one mark
//! turned off, and the signature is verified over the bytes that were signed: [`SignedBytesAlgorithm`]. In the same way it can be shown one without its
//! dates.

use std::ops::Range;

use der::asn1::{AnyRef, ObjectIdentifier};
use der::{Decode, Reader, SliceReader, Tag, TagNumber, Tagged};
use rustls::pki_types::{AlgorithmIdentifier, CertificateDer, InvalidSignature, SignatureVerificationAlgorithm};
use x509_cert::ext::pkix::CertificatePolicies;

const CERTIFICATE_POLICIES: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.32");

/// Those that webpki acts on: keyUsage, subjectAltName, basicConstraints, nameConstraints, cRLDistributionPoints and
/// extKeyUsage.
const WEBPKI_EXTENSIONS: [ObjectIdentifier; 6] = [
    ObjectIdentifier::new_unwrap("2.5.29.15"),
    ObjectIdentifier::new_unwrap("2.5.29.17"),
    ObjectIdentifier::new_unwrap("2.5.29.19"),
    ObjectIdentifier::new_unwrap("2.5.29.30"),
    ObjectIdentifier::new_unwrap("2.5.29.31"),
    ObjectIdentifier::new_unwrap("2.5.29.37"),
];

/// The first and the last second that a UTCTime and webpki know.
const ALWAYS: [&str; 2] = ["19700101000000Z", "20491231235959Z"];

/// A certificate as it may be shown to webpki.
#[derive(Debug)]
pub struct WebpkiCertificate<'a> {
    /// What was signed, where that is not what is shown.
    signed: Option<&'a [u8]>,
    /// Where the signed part stands, in what is shown.
    part: Range<usize>,
    shown: CertificateDer<'a>,
}

/// An algorithm that verifies the signature of a [`WebpkiCertificate`] over the bytes that were signed, and all others as it would.
#[derive(Debug)]
pub struct SignedBytesAlgorithm<'a> {
    algorithm: &'a dyn SignatureVerificationAlgorithm,
    chain: &'a [WebpkiCertificate<'a>],
}

/// One extension, and where its mark stands if it is critical.
struct Extension<'a> {
    id: ObjectIdentifier,
    critical: Option<usize>,
    value: &'a [u8],
}

impl<'a> WebpkiCertificate<'a> {
    /// The certificate `der` without the mark on its policies, if it has one and they can be read; else as it is.
    pub fn new(der: &'a [u8]) -> Self {
        Self::unmarked(der).unwrap_or_else(|| Self { signed: None, part: 0..0, shown: CertificateDer::from(der) })
    }

    /// The same, and to webpki it is valid from 1970 to 2049: for whoever judges its dates apart.
    pub fn undated(der: &'a [u8]) -> Self {
        let readable = Self::new(der);
        let Some((part, dates)) = validity(der) else { return readable };
        let mut shown = readable.shown.to_vec();
        for (Range { start, end }, date) in dates.into_iter().zip(ALWAYS) {
            // A UTCTime lacks the century; a time of another length is refused whatever it is.
            let date = if end - start == date.len() { date } else { &date[2..] };
            if end - start == date.len() {
                shown[start..end].copy_from_slice(date.as_bytes());
            }
        }
        Self { signed: Some(&der[part.clone()]), part, shown: shown.into() }
    }

    /// The certificate for webpki, in which nothing but that mark, and the dates of one that is undated, may differ from what was sent.
    pub fn shown(&self) -> &CertificateDer<'a> {
        &self.shown
    }

    fn unmarked(der: &'a [u8]) -> Option<Self> {
        let (part, extensions) = extensions(der)?;
        let mut policies = extensions.iter().filter(|extension| extension.id == CERTIFICATE_POLICIES);
        let (Some(Extension { critical: Some(mark), value, .. }), None) = (policies.next(), policies.next()) else {
            return None;
        };
        CertificatePolicies::from_der(value).ok()?;
        let mut shown = der.to_vec();
        // FALSE is as long as TRUE, so that nothing else moves.
        *shown.get_mut(*mark)? = 0;
        Some(Self { signed: Some(der.get(part.clone())?), part, shown: shown.into() })
    }
}

impl<'a> SignedBytesAlgorithm<'a> {
    /// Each of `algorithms`, for certificates of `chain`.
    pub fn all(algorithms: &[&'a dyn SignatureVerificationAlgorithm], chain: &'a [WebpkiCertificate<'a>]) -> Vec<Self> {
        algorithms.iter().map(|algorithm| Self { algorithm: *algorithm, chain }).collect()
    }
}

impl SignatureVerificationAlgorithm for SignedBytesAlgorithm<'_> {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let is_shown =
            |one: &&WebpkiCertificate<'_>| one.signed.is_some() && one.shown.get(one.part.clone()) == Some(message);
        let verify = |signed: &[u8]| self.algorithm.verify_signature(key, signed, signature);
        // Several may be shown alike, such as two that differ in their dates.
        let mut signed = self.chain.iter().filter(is_shown).filter_map(|one| one.signed).peekable();
        if signed.peek().is_none() {
            return verify(message);
        }
        signed.find_map(|signed| verify(signed).ok()).ok_or(InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.signature_alg_id()
    }

    fn fips(&self) -> bool {
        self.algorithm.fips()
    }
}

/// The first extension of the certificate `der` that is critical and that nobody here acts on.
pub fn unknown_critical(der: &[u8]) -> Option<ObjectIdentifier> {
    let is_unknown = |one: &&Extension<'_>| match one.id {
        CERTIFICATE_POLICIES => CertificatePolicies::from_der(one.value).is_err(),
        id => !WEBPKI_EXTENSIONS.contains(&id),
    };
    let (_, extensions) = extensions(der)?;
    extensions.iter().filter(|one| one.critical.is_some()).find(is_unknown).map(|one| one.id)
}

/// Where the signed part of the certificate `der` stands, and its fields; `None` if it is not DER of that shape.
fn fields(der: &[u8]) -> Option<(Range<usize>, Vec<DerElement<'_>>)> {
    let [certificate] = &DerElement::of(der, 0)?[..] else { return None };
    let inside = certificate.inside(Tag::Sequence)?;
    let signed = inside.first()?;
    let part = certificate.start..signed.start + signed.value().len();
    Some((part, signed.inside(Tag::Sequence)?))
}

/// Where the signed part of the certificate `der` stands, and its two dates in it.
fn validity(der: &[u8]) -> Option<(Range<usize>, [Range<usize>; 2])> {
    let (part, fields) = fields(der)?;
    // The version is left out where it is 1.
    let has_version = matches!(fields.first()?.any.tag(), Tag::ContextSpecific { .. });
    let validity = fields.get(if has_version { 4 } else { 3 })?.inside(Tag::Sequence)?;
    let [begin, end] = &validity[..] else { return None };
    let place = |date: &DerElement<'_>| date.start..date.start + date.value().len();
    Some((part, [place(begin), place(end)]))
}

/// Where the signed part of the certificate `der` stands, and its extensions; `None` if it is not DER of that shape.
fn extensions(der: &[u8]) -> Option<(Range<usize>, Vec<Extension<'_>>)> {
    let (part, fields) = fields(der)?;
    let wanted = Tag::ContextSpecific { constructed: true, number: TagNumber(3) };
    let Some(list) = fields.iter().find(|field| field.any.tag() == wanted) else {
        return Some((part, Vec::new()));
    };
    let [list] = &list.inside(wanted)?[..] else { return None };
    let extensions = list.inside(Tag::Sequence)?.iter().map(Extension::read).collect::<Option<_>>()?;
    Some((part, extensions))
}

impl<'a> Extension<'a> {
    fn read(element: &DerElement<'a>) -> Option<Self> {
        let fields = element.inside(Tag::Sequence)?;
        let (id, critical, value) = match &fields[..] {
            [id, value] => (id, None, value),
            [id, critical, value] if critical.any.tag() == Tag::Boolean => (id, Some(critical), value),
            _ => return None,
        };
        if value.any.tag() != Tag::OctetString {
            return None;
        }
        let marked = critical.filter(|critical| critical.value() == [0xff]);
        Some(Self {
            id: id.any.decode_as().ok()?,
            critical: marked.map(|critical| critical.start),
            value: value.value(),
        })
    }
}

/// A value in DER, and where its content begins in the whole.
struct DerElement<'a> {
    any: AnyRef<'a>,
    start: usize,
}

impl<'a> DerElement<'a> {
    /// The values that stand one behind the other in `bytes`, which begin at `start`.
    fn of(bytes: &'a [u8], start: usize) -> Option<Vec<Self>> {
        let mut reader = SliceReader::new(bytes).ok()?;
        let mut found = Vec::new();
        while !reader.is_finished() {
            let any = AnyRef::decode(&mut reader).ok()?;
            let end = usize::try_from(reader.position()).ok()?;
            found.push(Self { any, start: start + end - any.value().len() });
        }
        Some(found)
    }

    fn value(&self) -> &'a [u8] {
        self.any.value()
    }

    /// What is in it, if it is a `tag`.
    fn inside(&self, tag: Tag) -> Option<Vec<Self>> {
        if self.any.tag() == tag { Self::of(self.value(), self.start) } else { None }
    }
}
