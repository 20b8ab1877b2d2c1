//! Certificates that a CA has taken back.

use std::time::SystemTime;

use der::Decode;
use der::Encode;
use der::Sequence;
use der::asn1::AnyRef;
use der::asn1::BitStringRef;
use rustls::crypto::WebPkiSupportedAlgorithms;
use webpki::Cert;
use webpki::OwnedCertRevocationList;
use webpki::VerifiedPath;
use x509_cert::crl::TbsCertList;

use crate::identity::certificate::name_text;

/// A certificate revocation list (RFC 5280, section 5), whole and direct: deltas and indirect lists are refused.
///
/// It refuses what it names, and nothing else: a certificate of a CA without a list is accepted, and so is one that a
/// list past its nextUpdate does not name. What such a list does name stays refused.
#[derive(Debug)]
pub struct Crl {
    list: webpki::CertRevocationList<'static>,
    /// What the signature covers, in DER.
    signed: Vec<u8>,
    /// AlgorithmIdentifier, without tag and length.
    algorithm: Vec<u8>,
    signature: Vec<u8>,
}

/// CertificateList (RFC 5280, 5.1), as far as its signature goes.
#[derive(Sequence)]
struct Signed<'a> {
    to_be_signed: AnyRef<'a>,
    algorithm: AnyRef<'a>,
    signature: BitStringRef<'a>,
}

/// SubjectPublicKeyInfo (RFC 5280, 4.1.2.7), without tag and length.
struct PublicKey<'a> {
    algorithm: &'a [u8],
    key: &'a [u8],
}

/// The bytes are not a list that we can use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CrlError {
    /// Not a CRL of version 2 in DER, or one of a kind that is not supported.
    #[error("not a CRL that can be used ({0}); give a whole, direct CRL of version 2 with a nextUpdate")]
    List(webpki::Error),
    /// Its outer structure cannot be read.
    #[error("not a CRL")]
    Structure(#[from] der::Error),
}

impl Crl {
    /// Reads one CRL in DER. Its signature is checked when it names a certificate: only then is it known under which
    /// CA's key.
    pub(super) fn from_der(der: &[u8]) -> Result<Self, CrlError> {
        let list = OwnedCertRevocationList::from_der(der).map_err(CrlError::List)?;
        let parts = Signed::from_der(der)?;
        Ok(Self {
            list: list.into(),
            signed: parts.to_be_signed.to_der()?,
            algorithm: parts.algorithm.value().to_vec(),
            signature: parts.signature.raw_bytes().to_vec(),
        })
    }

    /// Whose list it is, as RFC 4514 writes it, and by when there is to be another. Reads the list anew.
    ///
    /// # Errors
    /// It cannot be read in full.
    pub fn edition(&self) -> Result<(String, Option<SystemTime>), CrlError> {
        let list: TbsCertList = TbsCertList::from_der(&self.signed)?;
        Ok((name_text(&list.issuer), list.next_update.map(|time| time.to_system_time())))
    }

    /// Whether it takes back a certificate of this path: one that the anchor or a CA below it has issued.
    pub(super) fn names_any_of(&self, path: &VerifiedPath<'_>, algorithms: &WebPkiSupportedAlgorithms) -> bool {
        let mut cert: &Cert<'_> = path.end_entity();
        for issuer in path.intermediate_certificates() {
            if self.names(cert) && self.may_be_signed_by(&issuer.subject_public_key_info(), algorithms) {
                return true;
            }
            cert = issuer;
        }
        self.names(cert) && self.may_be_signed_with(path.anchor().subject_public_key_info.as_ref(), algorithms)
    }

    /// Whether it names this serial number of an issuer of this name.
    fn names(&self, cert: &Cert<'_>) -> bool {
        // A list that cannot be searched is taken at its worst.
        self.list.issuer() == cert.issuer() && !matches!(self.list.find_serial(cert.serial()), Ok(None))
    }

    fn may_be_signed_by(&self, key: &[u8], algorithms: &WebPkiSupportedAlgorithms) -> bool {
        match AnyRef::from_der(key) {
            Ok(key) => self.may_be_signed_with(key.value(), algorithms),
            Err(_) => true,
        }
    }

    /// Whether the issuer with this key may have signed the list. Only a signature that proves to be another key's lets
    /// a named certificate go: a CA that was renewed under its old name has a list of its own.
    fn may_be_signed_with(&self, key: &[u8], algorithms: &WebPkiSupportedAlgorithms) -> bool {
        let Ok(key) = PublicKey::read(key) else { return true };
        let mut fitting =
            algorithms.all.iter().filter(|known| known.signature_alg_id().as_ref() == self.algorithm).peekable();
        if fitting.peek().is_none() {
            return true;
        }
        fitting
            .filter(|known| known.public_key_alg_id().as_ref() == key.algorithm)
            .any(|known| known.verify_signature(key.key, &self.signed, &self.signature).is_ok())
    }
}

impl<'a> PublicKey<'a> {
    fn read(info: &'a [u8]) -> Result<Self, der::Error> {
        let mut reader = der::SliceReader::new(info)?;
        let algorithm = AnyRef::decode(&mut reader)?;
        let key = BitStringRef::decode(&mut reader)?;
        Ok(Self { algorithm: algorithm.value(), key: key.raw_bytes() })
    }
}
