//! Whether a token is to be believed: a pure function of the token, the trust anchors, the roles, the time, and what was used before.
//!
//! The checks are made in the order of [`TokenDenialReason`], and the first that fails decides.

mod certificate;
mod claims;
mod denial;
mod header;
mod question;
mod verdict;

use std::time::SystemTime;

use serde_json::{Map, Value};

pub use denial::{TokenDenial, TokenDenialReason};
pub use question::{CallerCertificate, RequiredIdentity, TokenQuestion, VerifiedForm, Verifier};
pub use verdict::{TokenVerdict, VerdictIdentity};

use self::claims::{CheckedClaims, ClaimVerifier, asked_policies, seconds};
use self::header::{TokenHeader, X5cLocation};
use super::compact::CompactToken;
use super::replay::ReplayError;
use super::roles::{Grant, RoleDenial};
use crate::identity::Client;
use crate::trust::TokenChain;

/// A token that is believed. [`Verifier::verify`] is the only place that makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct VerifiedToken {
    client: Client,
    fingerprint: [u8; 32],
    claims: VerifiedClaims,
    grant: Grant,
    ttl_seconds: u64,
    warnings: Vec<&'static str>,
}

/// What of the claims others may want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
struct VerifiedClaims {
    audience: Option<String>,
    jti: Option<String>,
    expires_at: i64,
}

impl Verifier {
    /// Whether the token of `question` is to be believed at the time `now`, and what it grants.
    ///
    /// # Errors
    /// [`TokenDenial`]: the first check that fails.
    pub fn verify(&self, question: &TokenQuestion<'_>, now: SystemTime) -> Result<VerifiedToken, TokenDenial> {
        let token = CompactToken::read(question.token).map_err(|what| TokenDenialReason::Malformed.because(what))?;
        let place = match question.form {
            VerifiedForm::Standard => X5cLocation::TopLevel,
            VerifiedForm::Comcast => X5cLocation::InJwk,
        };
        let header = TokenHeader::read(&token.header, place)?;
        let known = |denial: TokenDenial| TokenDenial { fingerprint: Some(*header.leaf.fingerprint()), ..denial };
        let path = self.anchors.verify_token_chain(&header.chain, now).map_err(|broken| known(broken.into()))?;
        let known = |denial| TokenDenial { client: Some(path.client.clone()), ..known(denial) };
        certificate::check(&header.leaf, &path, question.form, self.identity, now).map_err(known)?;
        if !token.is_signed_by(&header.leaf, header.algorithm) {
            return Err(known(TokenDenialReason::Signature.because("the key of its certificate has not signed it")));
        }
        let jti = token.claims.get("jti").and_then(|jti| jti.as_str()).map(str::to_owned);
        let known = |denial| TokenDenial { jti: jti.clone(), ..known(denial) };
        let verifier =
            ClaimVerifier { verifier: self, question, claims: &token.claims, path: &path, now: seconds(now) };
        let claims = verifier.check().map_err(known)?;
        self.note_use(&header, &claims, question, now).map_err(known)?;
        let grant = self.grant(&path, &token.claims, question).map_err(known)?;
        let CheckedClaims { audience, jti, expires_at, mut warnings, .. } = claims;
        if question.form == VerifiedForm::Comcast && self.roles.is_none() {
            warnings.push("it asks for policies, and without roles none is granted");
        }
        let left = path.dates.end().duration_since(now).unwrap_or_default();
        Ok(VerifiedToken {
            fingerprint: *header.leaf.fingerprint(),
            // Never 0, which some take for no limit.
            ttl_seconds: grant.max_ttl.map_or(left, |most| most.min(left)).as_secs().max(1),
            client: path.client,
            claims: VerifiedClaims { audience, jti, expires_at },
            grant,
            warnings,
        })
    }

    fn note_use(
        &self,
        header: &TokenHeader,
        claims: &CheckedClaims,
        question: &TokenQuestion<'_>,
        now: SystemTime,
    ) -> Result<(), TokenDenial> {
        let Some(cache) = question.once else { return Ok(()) };
        let Some(jti) = &claims.jti else {
            return Err(TokenDenialReason::Replayed.because("it has no jti, by which it could be told from others"));
        };
        let skew = i64::try_from(self.skew.as_secs()).unwrap_or(i64::MAX);
        let end = claims.expires_at.saturating_add(skew);
        cache.first_use(header.leaf.fingerprint(), jti, end, seconds(now)).map_err(|error| {
            let reason = match error {
                ReplayError::Replayed => TokenDenialReason::Replayed,
                ReplayError::Full => TokenDenialReason::ReplayCacheFull,
            };
            reason.because(error.to_string())
        })
    }

    fn grant(
        &self,
        path: &TokenChain,
        claims: &Map<String, Value>,
        question: &TokenQuestion<'_>,
    ) -> Result<Grant, TokenDenial> {
        let asked = match question.form {
            VerifiedForm::Standard => None,
            VerifiedForm::Comcast => Some(asked_policies(claims)?),
        };
        let granted = match (&self.roles, question.role) {
            (Some(roles), role) => roles.grant(&path.client, role, asked.as_deref()),
            (None, Some(_)) => Err(RoleDenial::NoRole),
            (None, None) => Ok(Grant::default()),
        };
        granted.map_err(|denial| match denial {
            RoleDenial::NoRole => TokenDenialReason::NoRole.because("its instance does not have this role"),
            RoleDenial::PolicyNotGranted => {
                TokenDenialReason::PolicyNotGranted.because("a policy that it asks for is not granted to its instance")
            }
        })
    }
}

impl VerifiedToken {
    /// Whose it is.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// SHA-256 of the certificate whose key has signed it.
    pub fn fingerprint(&self) -> &[u8; 32] {
        &self.fingerprint
    }

    /// For whom it is; `None` where the form does without.
    pub fn audience(&self) -> Option<&str> {
        self.claims.audience.as_deref()
    }

    /// Its name.
    pub fn jti(&self) -> Option<&str> {
        self.claims.jti.as_deref()
    }

    /// Its last second, since 1970.
    pub fn expires_at(&self) -> i64 {
        self.claims.expires_at
    }

    /// What it grants, by which role.
    pub fn grant(&self) -> &Grant {
        &self.grant
    }

    /// For how long what it grants may be granted: at least a second, and not beyond the certificates.
    pub fn ttl_seconds(&self) -> u64 {
        self.ttl_seconds
    }

    /// What a receiver should know all the same, as parts of sentences.
    pub fn warnings(&self) -> &[&'static str] {
        &self.warnings
    }
}

#[cfg(test)]
mod tests;
