//! What certificates and CRLs have in common: content, and a signature over it (RFC 5280, 4.1 and 5.1).

use der::asn1::{AnyRef, BitStringRef};
use der::{Decode, Encode, Sequence};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use crate::crypto::provider;
use crate::identity::critical::WebpkiCertificate;

/// A certificate or a CRL, as far as its signature goes.
#[derive(Debug)]
pub(super) struct SignedObject {
    /// What the signature covers, in DER.
    pub(super) content: Vec<u8>,
    /// AlgorithmIdentifier, without tag and length.
    pub(super) algorithm: Vec<u8>,
    signature: Vec<u8>,
}

/// What comes of checking a signature with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SignatureCheck {
    /// The signature was made with this key.
    Valid,
    /// It was made with another key, or over another content.
    Invalid,
    /// Nobody here can tell: the key or the algorithm is of a kind that we do not verify.
    Unknown,
}

/// Certificate and CertificateList alike.
#[derive(Sequence)]
struct SignedParts<'a> {
    content: AnyRef<'a>,
    algorithm: AnyRef<'a>,
    signature: BitStringRef<'a>,
}

/// SubjectPublicKeyInfo (RFC 5280, 4.1.2.7), without tag and length.
struct PublicKey<'a> {
    algorithm: &'a [u8],
    key: &'a [u8],
}

impl SignedObject {
    /// Takes a certificate or CRL in DER apart.
    ///
    /// # Errors
    /// The object is neither a certificate nor a CRL.
    pub(super) fn from_der(der: &[u8]) -> Result<Self, der::Error> {
        let parts = SignedParts::from_der(der)?;
        Ok(Self {
            content: parts.content.to_der()?,
            algorithm: parts.algorithm.value().to_vec(),
            signature: parts.signature.raw_bytes().to_vec(),
        })
    }

    /// Whether the holder of this key (SubjectPublicKeyInfo, without tag and length) has signed it.
    pub(super) fn verify_signature(&self, key: &[u8], algorithms: &WebPkiSupportedAlgorithms) -> SignatureCheck {
        let Ok(key) = PublicKey::read(key) else { return SignatureCheck::Unknown };
        let mut fitting =
            algorithms.all.iter().filter(|known| known.signature_alg_id().as_ref() == self.algorithm).peekable();
        if fitting.peek().is_none() {
            return SignatureCheck::Unknown;
        }
        let good = fitting
            .filter(|known| known.public_key_alg_id().as_ref() == key.algorithm)
            .any(|known| known.verify_signature(key.key, &self.content, &self.signature).is_ok());
        if good { SignatureCheck::Valid } else { SignatureCheck::Invalid }
    }

    /// Whether the holder of this key may have signed it. Only a signature that proves to be another key's says no: what
    /// cannot be verified is taken at its worst.
    pub(super) fn may_be_by(&self, key: &[u8], algorithms: &WebPkiSupportedAlgorithms) -> bool {
        self.verify_signature(key, algorithms) != SignatureCheck::Invalid
    }
}

/// Whether the certificate `child` says that the subject of `parent` has issued it, and the key of `parent` has signed it (both DER). Dates,
/// and whether `parent` may issue anything, are not judged.
pub fn has_issued(parent: &CertificateDer<'_>, child: &CertificateDer<'_>) -> bool {
    let (parent, shown) = (WebpkiCertificate::new(parent), WebpkiCertificate::new(child));
    let above = webpki::anchor_from_trusted_cert(parent.shown());
    let (Ok(above), Ok(below)) = (above, EndEntityCert::try_from(shown.shown())) else {
        return false;
    };
    let is_named = below.issuer() == above.subject.as_ref();
    let algorithms = provider().signature_verification_algorithms;
    is_named
        && SignedObject::from_der(child).is_ok_and(|signed| {
            signed.verify_signature(&above.subject_public_key_info, &algorithms) == SignatureCheck::Valid
        })
}

impl<'a> PublicKey<'a> {
    fn read(info: &'a [u8]) -> Result<Self, der::Error> {
        let mut reader = der::SliceReader::new(info)?;
        let algorithm = AnyRef::decode(&mut reader)?;
        let key = BitStringRef::decode(&mut reader)?;
        Ok(Self { algorithm: algorithm.value(), key: key.raw_bytes() })
    }
}
