//! The chain of a token: who vouches for it, judged apart from dates and purpose, of which a receiver is told by themselves.

use std::time::SystemTime;

use rustls::pki_types::CertificateDer;

use super::TrustAnchors;
use super::anchors::Dates;
use super::signed::has_issued;
use crate::identity::{Certificate, Client};
use crate::policy::DenialReason;

/// A chain that leads to one of the trust anchors, whatever the time is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VouchedChain {
    /// Who the first certificate is about.
    pub client: Client,
    /// The latest first second of all certificates of the path, the trust anchor's included.
    pub not_before: SystemTime,
    /// Their earliest last second.
    pub not_after: SystemTime,
    /// What keeps its key from signing for a client, where that is what the certificate itself is not for.
    pub purpose: Result<(), String>,
}

/// Why a chain leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BrokenChain {
    /// No trust anchor vouches for it.
    Untrusted(String),
    /// A CRL names a certificate of the path.
    Revoked(String),
    /// Its certificates are at no time valid together.
    NeverValid,
}

impl TrustAnchors {
    /// Whether one of the CAs vouches for the first certificate of `chain` by way of all the others, each of which has issued the one before
    /// it: signatures, limits of CAs, name constraints, CRLs. The dates and what the first certificate is for are not judged, but told.
    ///
    /// # Errors
    /// [`BrokenChain`].
    pub fn vouch_for_chain(&self, chain: &[CertificateDer<'_>], now: SystemTime) -> Result<VouchedChain, BrokenChain> {
        let unreadable = |_| BrokenChain::Untrusted("a certificate of it cannot be read".to_owned());
        for (at, pair) in chain.windows(2).enumerate() {
            if !has_issued(&pair[1], &pair[0]) {
                let what = format!("the certificate x5c[{}] has not issued the one before it", at + 1);
                return Err(BrokenChain::Untrusted(what));
            }
        }
        let certificates =
            chain.iter().map(|der| Certificate::from_der(der)).collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
        let begin = certificates.iter().map(Certificate::not_before).max();
        let end = certificates.iter().map(Certificate::not_after).min();
        let (Some(leaf), Some(begin), Some(end)) = (certificates.first(), begin, end) else {
            return Err(BrokenChain::Untrusted("there is no certificate".to_owned()));
        };
        let client = || Client::from_chain(chain).map_err(unreadable);
        let vouched =
            |not_before, not_after, purpose| Ok(VouchedChain { client: client()?, not_before, not_after, purpose });
        if let Some((client, dates)) = self.verified_before(chain, now) {
            let (not_before, not_after) = dates.into_inner();
            return Ok(VouchedChain { client, not_before, not_after, purpose: Ok(()) });
        }
        // Once more at a time at which their dates do not matter, so that a clock that is wrong does not hide whose the chain is.
        let verified =
            self.verify_and_keep(chain, now).map(|(_, anchor)| anchor).or_else(|denial| match begin <= end {
                true => self.verify_path(chain, begin, Dates::BelowTheAnchor),
                false => Err(denial),
            });
        let denial = match verified {
            Ok(anchor) => return vouched(begin.max(*anchor.start()), end.min(*anchor.end()), Ok(())),
            Err(denial) => denial,
        };
        let detail = || denial.detail().unwrap_or_else(|| denial.reason().as_str()).to_owned();
        match denial.reason() {
            DenialReason::Revoked => Err(BrokenChain::Revoked("a CRL names it, or a CA's above it".to_owned())),
            DenialReason::Expired | DenialReason::NotYetValid if self.have_signed(chain) => {
                Err(BrokenChain::NeverValid)
            }
            DenialReason::WrongPurpose if self.have_signed(chain) && !leaf.may_sign_for_client() => {
                vouched(begin, end, Err(detail()))
            }
            DenialReason::Untrusted => Err(BrokenChain::Untrusted("no CA of --ca vouches for it".to_owned())),
            _ => Err(BrokenChain::Untrusted(detail())),
        }
    }
}
