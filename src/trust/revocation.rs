//! What the CRLs say of the CAs that are listed themselves.
//!
//! A CA that is listed vouches without anybody above it, and so no path leads through those who could take it back. Their
//! CRLs count all the same: an intermediate CA that is listed beside its root must not outlive its revocation.

use rustls::crypto::WebPkiSupportedAlgorithms;

use super::Crl;
use super::anchors::ca::Ca;

/// Marks each of `cas` that one of `crls` takes back, or all of whose listed issuers are taken back. Gives a note on each of
/// them, and on each list that none of `cas` has signed.
pub(super) fn apply(cas: &mut [Ca], crls: &[Crl], algorithms: &WebPkiSupportedAlgorithms) -> Vec<String> {
    let mut notes = Vec::new();
    for crl in crls {
        let namesakes: Vec<&Ca> = cas.iter().filter(|ca| crl.is_issued_by(ca.name())).collect();
        if namesakes.iter().any(|ca| crl.may_be_by(ca.key(), algorithms)) {
            for ca in cas.iter_mut().filter(|ca| crl.names(&ca.issuer, &ca.serial_number)) {
                ca.is_revoked = true;
                notes.push(format!("{}: it revokes the CA {}, which vouches for nobody", crl.place, ca.subject));
            }
            continue;
        }
        let (place, issuer) = (&crl.place, &crl.issuer);
        let why = if namesakes.is_empty() { "is not among them" } else { "is among them, with another key" };
        notes.push(format!(
            "{place}: no CA of ours has signed this CRL: {issuer} {why}; it counts only for certificates below such a CA that clients send along"
        ));
        for ca in cas.iter().filter(|ca| crl.names(&ca.issuer, &ca.serial_number)) {
            notes.push(format!("{place}: it names the CA {}, which vouches all the same", ca.subject));
        }
    }
    while let Some(at) = (0..cas.len()).find(|at| !cas[*at].is_revoked && stands_on_revoked(&cas[*at], cas, algorithms))
    {
        cas[at].is_revoked = true;
        notes.push(format!("the issuer of the CA {} is revoked, so it vouches for nobody", cas[at].subject));
    }
    notes
}

/// Whether those of `cas` that have issued `ca` are there, and are all taken back.
fn stands_on_revoked(ca: &Ca, cas: &[Ca], algorithms: &WebPkiSupportedAlgorithms) -> bool {
    if ca.name() == &*ca.issuer || cas.iter().all(|other| !other.is_revoked) {
        return false;
    }
    let mut issuers = cas
        .iter()
        .filter(|other| other.name() == &*ca.issuer && ca.signed.may_be_by(other.key(), algorithms))
        .peekable();
    issuers.peek().is_some() && issuers.all(|issuer| issuer.is_revoked)
}

#[cfg(test)]
mod tests;
