//! Judges what stands behind the leaf.

use std::time::{SystemTime, UNIX_EPOCH};

use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, RootCertStore};

use super::finding::{Findings, Subject};
use crate::crypto::provider;
use crate::identity::Certificate;

const ORDER: &str = "write the leaf first, then the CA that issued it, then the CA above that";

/// Judges the order of the chain, and whether each certificate signed the one before it. `ders` and `chain` are the same
/// certificates, leaf first; there is one at least.
pub(super) fn check(ders: &[CertificateDer<'_>], chain: &[Certificate], found: &mut Findings) {
    let Some((leaf, above)) = chain.split_first() else { return };
    if leaf.is_ca() {
        let what = format!("the first certificate, {}, is a CA's: clients refuse it for a server", leaf.subject());
        return found.problem(Subject::Chain, what, ORDER);
    }
    if above.is_empty() {
        return if leaf.issuer() == leaf.subject() {
            let what = "the certificate is self-signed: only clients that were given this very one can verify it";
            found.warning(Subject::Chain, what, "have it issued by a CA");
        } else {
            let what = format!("no CA follows the leaf: clients that lack {} cannot verify it", leaf.issuer());
            found.warning(Subject::Chain, what, "append the issuing CA's certificate to the file");
        };
    }
    for (index, (below, ca)) in chain.iter().zip(above).enumerate() {
        let (below_at, ca_at) = (index + 1, index + 2);
        if ca.subject() != below.issuer() {
            let what = format!(
                "certificate {ca_at}, {}, did not issue certificate {below_at}, whose issuer is {}",
                ca.subject(),
                below.issuer()
            );
            return found.problem(Subject::Chain, what, ORDER);
        }
        if !ca.is_ca() {
            let what = format!("certificate {ca_at}, {}, is not a CA's", ca.subject());
            return found.problem(Subject::Chain, what, "have the pair issued by a CA");
        }
    }
    match verify(ders, chain) {
        Ok(()) => found.ok(Subject::Chain, format!("issued by {}; {}", leaf.issuer(), behind(above.len()))),
        Err(error) => check_unverified(leaf, &error, found),
    }
}

fn behind(count: usize) -> String {
    if count == 1 { "1 CA follows the leaf".to_owned() } else { format!("{count} CAs follow the leaf") }
}

fn check_unverified(leaf: &Certificate, error: &Error, found: &mut Findings) {
    match error {
        Error::InvalidCertificate(CertificateError::BadSignature) => found.problem(
            Subject::Chain,
            format!("a signature is not by the CA that follows, though the name is right: {}", leaf.issuer()),
            "another CA of that name issued it: append that one instead",
        ),
        Error::InvalidCertificate(
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. },
        ) => {
            found.problem(
                Subject::Chain,
                "the certificate is not for servers: its extended key usage lacks serverAuth",
                "have it issued with serverAuth",
            );
        }
        error => found.warning(
            Subject::Chain,
            format!("the chain cannot be verified: {error}"),
            "verify it with the program that dials us, or have it issued anew",
        ),
    }
}

/// Verifies the signatures with what our own TLS uses, under the last certificate as the root.
fn verify(ders: &[CertificateDer<'_>], chain: &[Certificate]) -> Result<(), Error> {
    let [leaf, between @ .., root] = ders else { return Ok(()) };
    let mut roots = RootCertStore::empty();
    roots.add(root.clone().into_owned())?;
    let leaf = ParsedCertificate::try_from(leaf)?;
    let algorithms = provider().signature_verification_algorithms.all;
    verify_server_cert_signed_by_trust_anchor(&leaf, &roots, between, moment_in(chain), algorithms)
}

/// A time at which all certificates are valid, if there is one: dates are judged elsewhere.
fn moment_in(chain: &[Certificate]) -> UnixTime {
    let latest = chain.iter().map(Certificate::not_before).max().unwrap_or(SystemTime::UNIX_EPOCH);
    UnixTime::since_unix_epoch(latest.duration_since(UNIX_EPOCH).unwrap_or_default())
}
