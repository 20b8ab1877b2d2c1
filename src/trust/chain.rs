//! What is asked of a client's chain beside its signatures and dates: that it is short and simple enough to be looked at before
//! anything is known of the client, and that its key can sign a handshake.

use std::time::UNIX_EPOCH;

use aws_lc_rs::signature;
use aws_lc_rs::signature::{ParsedPublicKey, VerificationAlgorithm};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{AlgorithmIdentifier, CertificateDer, alg_id};
use webpki::EndEntityCert;

use crate::identity::critical::WebpkiCertificate;
use crate::identity::{Certificate, Role, critical};
use crate::policy::{Denial, DenialReason};

/// Certificates in a chain, the leaf among them. webpki follows no more than six CAs from one to the next, and
/// some clients send one or two that are not needed.
const MAX_CERTIFICATES: usize = 10;

/// Bytes in a chain. rustls takes no more than 64 KiB in a message.
const MAX_CHAIN_BYTES: usize = 60_000;

/// CAs in a path (webpki's own limit).
const MAX_DEPTH: usize = 6;

/// How often a certificate of the chain may be tried as the issuer of another. A plain chain needs one for each CA. CAs of one
/// name have to be tried one after the other, and each try may cost a signature.
const MAX_TRIES: usize = 16;

/// RSA keys whose signatures are verified, in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// Whether `chain` is small enough to be verified for a client of whom nothing is known. Nothing is verified here, and
/// nothing is read of a chain that is too long.
///
/// # Errors
/// [`DenialReason::ChainTooLong`], with what is too much of it.
pub(super) fn check_size(chain: &[CertificateDer<'_>]) -> Result<(), Denial> {
    let too_long = |what: String| Err(Denial::because(DenialReason::ChainTooLong, what));
    if chain.len() > MAX_CERTIFICATES {
        let help = "send one certificate and the CAs between it and the one that is trusted, and no others";
        return too_long(format!(
            "{} certificates, and no more than {MAX_CERTIFICATES} are looked at; {help}",
            chain.len()
        ));
    }
    let bytes: usize = chain.iter().map(|certificate| certificate.len()).sum();
    if bytes > MAX_CHAIN_BYTES {
        return too_long(format!(
            "{bytes} bytes, and no more than {MAX_CHAIN_BYTES} are looked at; send fewer or smaller ones"
        ));
    }
    Ok(())
}

/// Whether no more ways lead through `chain` than are tried.
///
/// # Errors
/// [`DenialReason::ChainTooLong`].
pub(super) fn check_paths(chain: &[WebpkiCertificate<'_>]) -> Result<(), Denial> {
    let read: Vec<_> = chain.iter().map(|one| EndEntityCert::try_from(one.shown()).ok()).collect();
    let ways =
        IssuerGraph { names: read.iter().map(|one| one.as_ref().map(|one| (one.subject(), one.issuer()))).collect() };
    let mut tries = MAX_TRIES;
    if ways.from(0, &mut vec![0], &mut tries).is_some() {
        return Ok(());
    }
    let what = "too many ways lead through it, because CAs of one name are in it; send one certificate for each CA";
    Err(Denial::because(DenialReason::ChainTooLong, what))
}

/// The subject and issuer of each certificate; `None` if it cannot be read.
struct IssuerGraph<'a> {
    names: Vec<Option<(&'a [u8], &'a [u8])>>,
}

impl IssuerGraph<'_> {
    /// Follows every way upwards, as webpki would. `None` once there are no `tries` left.
    fn from(&self, place: usize, path: &mut Vec<usize>, tries: &mut usize) -> Option<()> {
        let Some((_, issuer)) = self.names.get(place).copied().flatten().filter(|_| path.len() <= MAX_DEPTH) else {
            return Some(());
        };
        for (next, names) in self.names.iter().enumerate().skip(1) {
            if names.is_some_and(|(subject, _)| subject == issuer) && !path.contains(&next) {
                *tries = tries.checked_sub(1)?;
                path.push(next);
                self.from(next, path, tries)?;
                path.pop();
            }
        }
        Some(())
    }
}

/// Whether the key of `leaf` can make a signature that a handshake takes: one of `algorithms`, and a key that those can use.
///
/// # Errors
/// [`DenialReason::Unsupported`], with the key.
pub(super) fn check_key(leaf: &Certificate, algorithms: &WebPkiSupportedAlgorithms) -> Result<(), Denial> {
    if let Some(why) = leaf.signing_fault() {
        let what = format!("{why}; issue it with digitalSignature, or without a keyUsage");
        return Err(Denial::because(DenialReason::WrongPurpose, what));
    }
    let (algorithm, key) = leaf.public_key();
    let is_offered = algorithms
        .mapping
        .iter()
        .flat_map(|(_, algorithms)| algorithms.iter())
        .any(|known| known.public_key_alg_id().as_ref() == algorithm);
    let parser = PARSERS.iter().find(|(known, _)| known.as_ref() == algorithm);
    let is_sound = parser.is_some_and(|(_, parser)| ParsedPublicKey::new(*parser, key).is_ok());
    let fits = leaf.rsa_bits().is_none_or(|bits| RSA_BITS.contains(&bits));
    if is_offered && is_sound && fits {
        return Ok(());
    }
    let help = "issue it for RSA of 2048 to 8192 bits, P-256, P-384, P-521 or Ed25519";
    let what = format!("its key cannot sign a handshake here ({}); {help}", leaf.key_type());
    Err(Denial::because(DenialReason::Unsupported, what))
}

/// How keys are read for verifying what they have signed.
static PARSERS: [(AlgorithmIdentifier, &dyn VerificationAlgorithm); 5] = [
    (alg_id::ECDSA_P256, &signature::ECDSA_P256_SHA256_ASN1),
    (alg_id::ECDSA_P384, &signature::ECDSA_P384_SHA384_ASN1),
    (alg_id::ECDSA_P521, &signature::ECDSA_P521_SHA512_ASN1),
    (alg_id::ED25519, &signature::ED25519),
    (alg_id::RSA_ENCRYPTION, &signature::RSA_PKCS1_2048_8192_SHA256),
];

/// What there is to say of webpki's `error` about `chain` beside its kind; `None`: no more than that.
pub(super) fn explain(error: &webpki::Error, chain: &[CertificateDer<'_>], role: Role) -> Option<Denial> {
    let (reason, what) = match error {
        webpki::Error::UnsupportedCertVersion => {
            (DenialReason::Unsupported, "it is not of version 3; issue it with extensions".to_owned())
        }
        webpki::Error::UnsupportedCriticalExtension => {
            let unknown = chain.iter().find_map(|certificate| critical::unknown_critical(certificate));
            let which = unknown.map_or_else(|| "an extension".to_owned(), |id| format!("the extension {id}"));
            let what = format!("it calls {which} critical, which is not known here; issue it without, or not critical");
            (DenialReason::Unsupported, what)
        }
        webpki::Error::UnsupportedSignatureAlgorithmContext(_)
        | webpki::Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            let algorithm = chain.iter().find_map(|der| Certificate::from_der(der).ok()?.weak_signature());
            let which = algorithm.unwrap_or("an algorithm that is not known here");
            (DenialReason::Unsupported, format!("it is signed with {which}; have it signed with SHA-256 or better"))
        }
        webpki::Error::SignatureAlgorithmMismatch => {
            (DenialReason::Unsupported, "it names two algorithms for one signature; issue it anew".to_owned())
        }
        webpki::Error::InvalidSignatureForPublicKey | webpki::Error::UnknownIssuer => {
            let bits = chain.iter().skip(1).find_map(|der| Certificate::from_der(der).ok()?.rsa_bits());
            let bits = bits.filter(|bits| !RSA_BITS.contains(bits))?;
            let what = format!("a CA above it has an RSA key of {bits} bits; use CAs of 2048 to 8192 bits");
            (DenialReason::Unsupported, what)
        }
        webpki::Error::CertExpired { not_after, .. } => {
            let leaf = Certificate::from_der(chain.first()?).ok()?;
            let its_end = leaf.not_after().duration_since(UNIX_EPOCH).unwrap_or_default();
            if its_end.as_secs() == not_after.as_secs() {
                return None;
            }
            (DenialReason::Expired, "a CA above it has expired; have the certificate of that CA renewed".to_owned())
        }
        webpki::Error::RequiredEkuNotFoundContext(_) => {
            let usages = Certificate::from_der(chain.first()?).ok()?.extended_key_usages();
            let limiting = usages.filter(|usages| !usages.iter().any(|usage| usage == role.purpose()));
            let what = match limiting {
                Some(usages) => {
                    format!("its extendedKeyUsage is {}; have one issued with {}", usages.join(", "), role.purpose())
                }
                None => {
                    format!("the extendedKeyUsage of a CA above it lacks {}; issue it by another CA", role.purpose())
                }
            };
            (DenialReason::WrongPurpose, what)
        }
        webpki::Error::CaUsedAsEndEntity => {
            (DenialReason::ConstraintViolated, "it is a CA's itself; issue one that is not".to_owned())
        }
        webpki::Error::EndEntityUsedAsCa => {
            let limited = chain.iter().skip(1).find_map(|der| Certificate::from_der(der).ok()?.ca_fault(role));
            let what = match limited {
                Some(why) => format!("a CA above it {why}; issue that CA's anew"),
                None => {
                    "what is above it is not a CA's; send the certificates of the CAs that have issued it".to_owned()
                }
            };
            (DenialReason::ConstraintViolated, what)
        }
        webpki::Error::NameConstraintViolation => {
            let what = "name constraints of a CA above it do not permit its names (those on e-mail addresses and directory names permit none); issue it by another CA";
            (DenialReason::ConstraintViolated, what.to_owned())
        }
        webpki::Error::PathLenConstraintViolated => {
            let what =
                "more CAs are between it and a CA than that CA's path length allows; issue it by a CA further up";
            (DenialReason::ConstraintViolated, what.to_owned())
        }
        _ => return None,
    };
    Some(Denial::because(reason, what))
}
