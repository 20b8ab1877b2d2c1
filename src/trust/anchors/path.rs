//! The path from a certificate up to a trust anchor, as webpki finds it, and what webpki leaves to others.

use std::cell::OnceCell;
use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter, KeyUsage, VerifiedPath};

use super::{Ca, Inner, TrustAnchors};
use crate::identity::critical::{SignedBytesAlgorithm, WebpkiCertificate};
use crate::identity::{Certificate, CertificateError, Role};
use crate::policy::{Denial, DenialReason};
use crate::trust::chain;
use crate::trust::signed::{SignatureCheck, SignedObject};

/// When the certificates of a path have to be valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::trust) enum Dates {
    /// All of them at this time, that of the trust anchor too.
    At(SystemTime),
    /// At any time, and not even together: somebody else judges that.
    Ignored,
}

/// What the first certificate of a path has to be for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::trust) enum Purpose {
    /// To sign a handshake, in the role for which the trust anchors vouch.
    Own,
    /// Whatever it says: somebody else judges that. What the CAs above it may vouch for is judged all the same.
    Ignored,
}

/// What webpki asks of the extendedKeyUsage of each certificate. `None`: nothing.
struct RequiredUsage(Option<KeyUsage>);

impl ExtendedKeyUsageValidator for RequiredUsage {
    fn validate(&self, purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        self.0.as_ref().map_or(Ok(()), |usage| usage.validate(purposes))
    }
}

/// Which certificates of a chain a path leads through, and when the CA at its end is valid.
struct FoundPath {
    places: Vec<usize>,
    anchor: RangeInclusive<SystemTime>,
}

impl TrustAnchors {
    /// Whether one of the CAs vouches for the first certificate of `chain`, by way of the others. Gives when all certificates of that path
    /// are valid, the CA's included; that is no time at all where `dates` are ignored and do not meet.
    pub(in crate::trust) fn verify_path(
        &self,
        chain: &[CertificateDer<'_>],
        dates: Dates,
        purpose: Purpose,
    ) -> Result<RangeInclusive<SystemTime>, Denial> {
        chain::check_size(chain)?;
        let (readable, now): (Vec<_>, _) = match dates {
            Dates::At(now) => (chain.iter().map(|der| WebpkiCertificate::new(der)).collect(), unix(now)),
            Dates::Ignored => (chain.iter().map(|der| WebpkiCertificate::undated(der)).collect(), unix(UNIX_EPOCH)),
        };
        chain::check_paths(&readable)?;
        let (leaf, _) = readable.split_first().ok_or(DenialReason::NoCertificate)?;
        let shown: Vec<_> = readable.iter().map(|one| one.shown().clone()).collect();
        let Inner { anchors, algorithms, role, .. } = &*self.0;
        let over_signed = SignedBytesAlgorithm::all(algorithms.all, &readable);
        let over_signed: Vec<&dyn SignatureVerificationAlgorithm> = over_signed.iter().map(|one| one as _).collect();
        let found = OnceCell::new();
        let judge = |path: &VerifiedPath<'_>| {
            let ca = self.check_path(path, now, dates)?;
            let above = path.intermediate_certificates();
            let places = above.filter_map(|ca| shown.iter().position(|one| *one == ca.der()));
            // webpki asks no more once a path is good.
            let _ = found.set(FoundPath {
                places: std::iter::once(0).chain(places).collect(),
                anchor: ca.not_before..=ca.not_after,
            });
            Ok(())
        };
        let usage = RequiredUsage(match (purpose, role) {
            (Purpose::Own, Role::Client) => Some(KeyUsage::client_auth()),
            (Purpose::Own, Role::Server) => Some(KeyUsage::server_auth()),
            (Purpose::Ignored, _) => None,
        });
        let denial = |error: webpki::Error| match error {
            // webpki looks at it first, and a certificate that signs itself is mostly such a one.
            webpki::Error::CaUsedAsEndEntity if !self.have_signed(chain) => DenialReason::Untrusted.into(),
            error => chain::explain(&error, chain, *role).unwrap_or(reason(&error).into()),
        };
        EndEntityCert::try_from(leaf.shown())
            .and_then(|leaf| {
                leaf.verify_for_usage(&over_signed, anchors, &shown[1..], now, usage, None, Some(&judge)).map(|_| ())
            })
            .map_err(denial)?;
        if purpose == Purpose::Own {
            chain::check_key(&Certificate::from_der(&chain[0])?, algorithms)?;
        }
        // It vouches for nothing that has not been judged.
        let FoundPath { places, anchor } = found.into_inner().ok_or(DenialReason::Untrusted)?;
        Ok(common_dates(places.iter().map(|place| &chain[*place]), anchor)?)
    }

    /// Whether one of the CAs has signed the first certificate of `chain`, by way of the others, whatever else is wrong with it. The
    /// chain has been found to have few ways through it, so few signatures are looked at.
    fn have_signed(&self, chain: &[CertificateDer<'_>]) -> bool {
        let Inner { cas, algorithms, .. } = &*self.0;
        let Some((leaf, rest)) = chain.split_first() else { return false };
        let mut above: Vec<_> =
            rest.iter().filter_map(|der| Some((webpki::anchor_from_trusted_cert(der).ok()?, der))).collect();
        let mut below = leaf;
        loop {
            let readable = WebpkiCertificate::new(below);
            let certificate = EndEntityCert::try_from(readable.shown());
            let (Ok(certificate), Ok(signed)) = (certificate, SignedObject::from_der(below)) else {
                return false;
            };
            let has_signed = |subject: &[u8], key: &[u8]| {
                subject == certificate.issuer() && signed.verify_signature(key, algorithms) == SignatureCheck::Valid
            };
            if cas.iter().any(|ca| has_signed(ca.name(), ca.key())) {
                return true;
            }
            let by = |(ca, _): &(TrustAnchor<'_>, _)| has_signed(&ca.subject, &ca.subject_public_key_info);
            let Some(next) = above.iter().position(by) else { return false };
            below = above.swap_remove(next).1;
        }
    }

    /// Whether one of the CAs has issued the first certificate of `chain`, by way of the others, although it was denied for `reason`:
    /// it is past its time, before it, or taken back.
    pub(in crate::trust) fn have_issued(&self, chain: &[CertificateDer<'_>], reason: DenialReason) -> bool {
        match reason {
            // What a CRL names is looked at behind the signatures.
            DenialReason::Revoked => true,
            DenialReason::Expired | DenialReason::NotYetValid => self
                .verify_path(chain, Dates::Ignored, Purpose::Own)
                .map_or_else(|denial| denial.reason() == DenialReason::Revoked, |_| true),
            _ => reason.is_the_policys(),
        }
    }

    /// What webpki leaves to others: the key usage of the CAs in between, the dates of the anchor, and what the CRLs name. Gives the CA that the anchor is.
    fn check_path(&self, path: &VerifiedPath<'_>, now: UnixTime, dates: Dates) -> Result<&Ca, webpki::Error> {
        let may_sign = |der: &CertificateDer<'_>| {
            Certificate::from_der(der).is_ok_and(|certificate| certificate.ca_fault(self.0.role).is_none())
        };
        if !path.intermediate_certificates().all(|ca| may_sign(&ca.der())) {
            return Err(webpki::Error::EndEntityUsedAsCa);
        }
        let is_dated = dates != Dates::Ignored;
        let time = UNIX_EPOCH + Duration::from_secs(now.as_secs());
        // A CA whose certificate was renewed may be listed with its old and its new dates.
        let same = self.0.cas.iter().filter(|ca| ca.anchor == *path.anchor());
        let mut error = webpki::Error::UnknownIssuer;
        for ca in same {
            if ca.is_revoked {
                // It may be listed twice, as one that was renewed with its old key.
                error = webpki::Error::CertRevoked;
            } else if ca.path_len.is_some_and(|most| path_length(path) > usize::from(most)) {
                error = webpki::Error::PathLenConstraintViolated;
            } else if is_dated && time < ca.not_before {
                error = webpki::Error::CertNotValidYet { time: now, not_before: unix(ca.not_before) };
            } else if is_dated && time > ca.not_after {
                error = webpki::Error::CertExpired { time: now, not_after: unix(ca.not_after) };
            } else if self.0.crls.iter().any(|crl| crl.revokes(path, &self.0.algorithms)) {
                return Err(webpki::Error::CertRevoked);
            } else {
                return Ok(ca);
            }
        }
        Err(error)
    }
}

/// How many CAs stand between the anchor and the end of `path`; those that only renew a key do not count (RFC 5280, 4.2.1.9).
fn path_length(path: &VerifiedPath<'_>) -> usize {
    path.intermediate_certificates().filter(|ca| ca.issuer() != ca.subject()).count()
}

/// When all certificates of `chain` are valid, within `dates`.
fn common_dates<'a>(
    mut chain: impl Iterator<Item = &'a CertificateDer<'a>>,
    dates: RangeInclusive<SystemTime>,
) -> Result<RangeInclusive<SystemTime>, CertificateError> {
    chain.try_fold(dates, |dates, der| {
        let certificate = Certificate::from_der(der)?;
        Ok(certificate.not_before().max(*dates.start())..=certificate.not_after().min(*dates.end()))
    })
}

fn unix(time: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// webpki's errors as a closed set. What it does not know of is not trusted.
fn reason(error: &webpki::Error) -> DenialReason {
    use webpki::Error;
    match error {
        Error::CertExpired { .. } | Error::InvalidCertValidity => DenialReason::Expired,
        Error::CertNotValidYet { .. } => DenialReason::NotYetValid,
        Error::CertRevoked => DenialReason::Revoked,
        Error::RequiredEkuNotFoundContext(_) | Error::EmptyEkuExtension => DenialReason::WrongPurpose,
        Error::BadDer | Error::BadDerTime | Error::TrailingData(_) | Error::MalformedExtensions => {
            DenialReason::Malformed
        }
        _ => DenialReason::Untrusted,
    }
}
