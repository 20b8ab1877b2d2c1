//! The claims: when the token counts, for whom, and who it says it is.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::{Map, Value};

use super::denial::{TokenDenial, TokenDenialReason};
use super::question::{CallerCertificate, TokenQuestion, VerifiedForm, Verifier};
use crate::token::identity_claims;
use crate::trust::TokenChain;

/// What is known of a token by its claims, once they were judged.
pub(super) struct CheckedClaims {
    pub(super) audience: Option<String>,
    pub(super) jti: Option<String>,
    /// In seconds since 1970: `exp`, or the end of the certificates where the form does without.
    pub(super) expires_at: i64,
    /// What the receiver should know though the token is good.
    pub(super) warnings: Vec<&'static str>,
}

/// Claims under the rules of one verifier, at one time.
pub(super) struct ClaimVerifier<'a> {
    pub(super) verifier: &'a Verifier,
    pub(super) question: &'a TokenQuestion<'a>,
    pub(super) claims: &'a Map<String, Value>,
    pub(super) path: &'a TokenChain,
    pub(super) now: i64,
}

/// A claim that is a time.
enum ClaimDate {
    Missing,
    /// There, and no whole number.
    Odd,
    /// In seconds since 1970.
    At(i64),
}

impl ClaimVerifier<'_> {
    pub(super) fn check(&self) -> Result<CheckedClaims, TokenDenial> {
        let mut warnings = Vec::new();
        let expires_at = self.dates(&mut warnings)?;
        let audience = self.audience(&mut warnings)?;
        self.subject()?;
        self.binding()?;
        let jti = self.claims.get("jti").and_then(Value::as_str).filter(|jti| !jti.is_empty()).map(str::to_owned);
        Ok(CheckedClaims { audience, jti, expires_at, warnings })
    }

    /// When the token ends.
    fn dates(&self, warnings: &mut Vec<&'static str>) -> Result<i64, TokenDenial> {
        let (now, skew) = (self.now, whole_seconds(self.verifier.skew));
        let is_comcast = self.question.form == VerifiedForm::Comcast;
        let end = seconds(*self.path.dates.end());
        let wrong = |reason: TokenDenialReason, name: &str| {
            reason.because(format!("its {name} is missing, or not a whole number of seconds"))
        };
        let exp = match self.date("exp") {
            // On that second it is over (RFC 7519, section 4.1.4).
            ClaimDate::At(exp) if now >= exp.saturating_add(skew) => {
                return Err(TokenDenialReason::Expired.because("it has expired (exp); ask for another"));
            }
            ClaimDate::At(exp) => Some(exp),
            ClaimDate::Missing if is_comcast => None,
            ClaimDate::Missing | ClaimDate::Odd => return Err(wrong(TokenDenialReason::Expired, "exp")),
        };
        match self.date("nbf") {
            ClaimDate::At(nbf) if now < nbf.saturating_sub(skew) => {
                return Err(TokenDenialReason::NotYetValid.because("it is not valid yet (nbf); look at both clocks"));
            }
            ClaimDate::At(_) => {}
            ClaimDate::Missing | ClaimDate::Odd => return Err(wrong(TokenDenialReason::NotYetValid, "nbf")),
        }
        let iat = match self.date("iat") {
            ClaimDate::At(iat) if now < iat.saturating_sub(skew) => {
                return Err(
                    TokenDenialReason::IssuedInFuture.because("it was issued in the future (iat); look at both clocks")
                );
            }
            ClaimDate::At(iat) => iat,
            ClaimDate::Missing if is_comcast => now,
            ClaimDate::Missing | ClaimDate::Odd => return Err(wrong(TokenDenialReason::IssuedInFuture, "iat")),
        };
        let most = whole_seconds(self.verifier.max_ttl);
        let life = exp.map_or_else(|| end.saturating_sub(now), |exp| exp.saturating_sub(iat));
        if life > most {
            let what = match exp {
                Some(_) => format!("it lives for {life} s, and no more than {most} s are believed (--max-ttl)"),
                None => format!(
                    "it has no exp, so it lives as long as its certificate, and no more than {most} s are believed (--max-ttl)"
                ),
            };
            return Err(TokenDenialReason::TooLong.because(what));
        }
        if exp.is_some_and(|exp| exp > end) {
            return Err(
                TokenDenialReason::OutlivesCertificate.because("it lives for longer than a certificate of its path")
            );
        }
        if exp.is_none() {
            warnings.push("it has no exp: it can be used again until its certificate ends");
        }
        Ok(exp.unwrap_or(end))
    }

    fn audience(&self, warnings: &mut Vec<&'static str>) -> Result<Option<String>, TokenDenial> {
        let accepted = self.question.audiences;
        let audiences: Vec<&Value> = match self.claims.get("aud") {
            Some(Value::Array(all)) => all.iter().collect(),
            Some(one) => vec![one],
            None if self.question.form == VerifiedForm::Comcast => {
                warnings.push("it has no aud: whoever has received it can use it as well");
                return Ok(None);
            }
            None => Vec::new(),
        };
        let audiences: Option<Vec<&str>> = audiences.into_iter().map(Value::as_str).collect();
        let found =
            audiences.and_then(|audiences| accepted.iter().find(|accepted| audiences.contains(&accepted.as_str())));
        match found {
            Some(audience) => Ok(Some(audience.clone())),
            None => {
                let what = format!("it is not for {} (aud)", accepted.join(" or "));
                Err(TokenDenialReason::Audience.because(what))
            }
        }
    }

    fn subject(&self) -> Result<(), TokenDenial> {
        let mismatch = |what: &str| TokenDenialReason::SubjectMismatch.because(what);
        let is_comcast = self.question.form == VerifiedForm::Comcast;
        let identity = self.path.client.identity();
        let text = |name: &str| self.claims.get(name).map(Value::as_str);
        match text("sub") {
            None if is_comcast => {}
            Some(Some(sub)) if self.names().iter().any(|name| name == sub) => {}
            _ => return Err(mismatch("its sub is not the app of its certificate")),
        }
        for (name, expected) in identity_claims(identity) {
            if let Some(said) = text(name)
                && (said.is_none() || said != expected.as_deref())
            {
                return Err(mismatch(&format!("its {name} is not that of its certificate")));
            }
        }
        let issuers = [self.verifier.issuer.as_deref(), text("sub").flatten()];
        match text("iss") {
            None => Ok(()),
            Some(Some(iss)) if issuers.contains(&Some(iss)) => Ok(()),
            Some(_) => Err(mismatch("its iss is neither its sub nor the issuer that is accepted (--issuer)")),
        }
    }

    /// By which names its certificate may be meant.
    fn names(&self) -> Vec<String> {
        match (self.path.client.identity(), self.path.client.certificate()) {
            (Some(identity), _) => identity.app.iter().map(|app| format!("cf:app:{app}")).collect(),
            (None, Some(certificate)) => certificate.names.uris.clone(),
            (None, None) => Vec::new(),
        }
    }

    fn binding(&self) -> Result<(), TokenDenial> {
        let not_bound = |what: &str| TokenDenialReason::NotBound.because(what);
        let Some(cnf) = self.claims.get("cnf") else {
            return match self.verifier.require_bound {
                true => Err(not_bound("it is not bound to a certificate (cnf); make it with --bind")),
                false => Ok(()),
            };
        };
        let CallerCertificate::Known(caller) = self.question.caller else {
            return Err(not_bound(
                "it counts only together with a certificate (cnf), and the caller's is not known (--peer CERT; peer in POST /verify)",
            ));
        };
        let bound = cnf.get("x5t#S256").and_then(Value::as_str);
        match bound == Some(&Base64UrlUnpadded::encode_string(&caller)) {
            true => Ok(()),
            false => Err(not_bound("it counts only together with another certificate than the caller's (cnf)")),
        }
    }

    fn date(&self, name: &str) -> ClaimDate {
        match self.claims.get(name) {
            None => ClaimDate::Missing,
            Some(Value::Number(number)) => match (number.as_i64(), number.as_u64()) {
                (Some(at), _) => ClaimDate::At(at),
                // Beyond the end of all clocks.
                (None, Some(_)) => ClaimDate::At(i64::MAX),
                (None, None) => ClaimDate::Odd,
            },
            Some(_) => ClaimDate::Odd,
        }
    }
}

/// The policies that a token of the form comcast asks for.
///
/// # Errors
/// It asks for none, or for what has no name: whoever makes such tokens means something by them.
pub(super) fn asked_policies(claims: &Map<String, Value>) -> Result<Vec<String>, TokenDenial> {
    let all = claims.get("Policies").and_then(Value::as_array).filter(|all| !all.is_empty());
    all.and_then(|all| all.iter().map(|one| one.as_str().map(str::to_owned)).collect())
        .ok_or_else(|| TokenDenialReason::PolicyNotGranted.because("its Policies is not a list of names"))
}

/// Whole seconds since 1970.
pub(super) fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn whole_seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
