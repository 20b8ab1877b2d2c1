//! The chain of a token: who vouches for it, judged apart from dates and purpose, of which a receiver is told by themselves.

use std::ops::RangeInclusive;
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;

use super::TrustAnchors;
use super::anchors::{Dates, Purpose};
use super::signed::has_issued;
use crate::identity::Client;
use crate::policy::{Denial, DenialReason};

/// A chain for which one of the trust anchors vouches, whatever the time is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenChain {
    /// Whom the first certificate names.
    pub client: Client,
    /// From the latest first second of all certificates of the path to their earliest last one, the trust anchor's included. It is empty
    /// where they are never valid together.
    pub dates: RangeInclusive<SystemTime>,
}

/// Why nobody vouches for a chain, as a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenChainError {
    /// No trust anchor has issued it.
    Untrusted(String),
    /// A CRL names a certificate of the path.
    Revoked(String),
}

impl TrustAnchors {
    /// Whether one of the CAs vouches for the first certificate of `chain`, by way of the others, each of which has issued the one before it.
    ///
    /// Checked are signatures, the limits of CAs, and that no CRL names any of them. When they are valid is told and not judged (a path
    /// that is valid at the time `now` is preferred), and neither is what the first certificate is for.
    ///
    /// # Errors
    /// [`TokenChainError`], with the reason why not.
    pub fn verify_token_chain(
        &self,
        chain: &[CertificateDer<'_>],
        now: SystemTime,
    ) -> Result<TokenChain, TokenChainError> {
        if let Some((client, dates)) = self.known_token_chains().find(chain, now) {
            return Ok(TokenChain { client, dates });
        }
        let verify = |dates| self.verify_path(chain, dates, Purpose::Ignored);
        let dates = verify(Dates::At(now)).or_else(|denial| match denial.reason() {
            // Who is not trusted is not told of dates, so the rest of the path has to be good. And it has to be the dates that were wrong.
            DenialReason::Expired | DenialReason::NotYetValid => {
                verify(Dates::Ignored).and_then(|dates| if dates.contains(&now) { Err(denial) } else { Ok(dates) })
            }
            _ => Err(denial),
        })?;
        // Behind the path: a stranger is not worth more signatures.
        if let Some(at) = chain.windows(2).position(|pair| !has_issued(&pair[1], &pair[0])) {
            let what = format!("x5c[{}] has not issued the certificate before it", at + 1);
            return Err(TokenChainError::Untrusted(what));
        }
        let client = Client::from_chain(chain).map_err(Denial::from)?;
        if dates.contains(&now) {
            self.known_token_chains().keep(client.clone(), dates.clone());
        }
        Ok(TokenChain { client, dates })
    }
}

impl From<Denial> for TokenChainError {
    fn from(denial: Denial) -> Self {
        let detail = denial.detail().map(str::to_owned);
        match denial.reason() {
            DenialReason::Revoked => {
                Self::Revoked(detail.unwrap_or("a CRL names its certificate, or a CA's above it".to_owned()))
            }
            _ => Self::Untrusted(detail.unwrap_or("no trusted CA has issued its certificate".to_owned())),
        }
    }
}
