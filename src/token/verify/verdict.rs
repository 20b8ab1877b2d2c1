//! What is said of a token: the same for the command and for the endpoint.

use std::time::{Duration, UNIX_EPOCH};

use serde::Serialize;

use super::{TokenDenial, VerifiedToken};
use crate::diagnostics::{LONGEST_FIELD, SafeText};
use crate::identity::Client;
use crate::token::identity_claims;

/// What is said of a token, under the names that JSON gives. Nothing in it can be used as a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TokenVerdict {
    /// `permit` or `denial`.
    pub verdict: &'static str,
    /// Why not, out of a closed set.
    pub reason: Option<&'static str>,
    /// The number of the check that has failed.
    pub check: Option<u8>,
    /// The reason as a sentence.
    pub detail: Option<SafeText>,
    /// Whose it is, once a CA has vouched for that.
    pub identity: Option<VerdictIdentity>,
    /// Which of the audiences that were asked about it is for.
    pub audience: Option<String>,
    /// Its name, once it is known who has given it.
    pub jti: Option<String>,
    /// RFC 3339.
    pub expires_at: Option<String>,
    /// What is granted.
    pub policies: Vec<String>,
    /// By which role, if one was asked for.
    pub role: Option<String>,
    /// For how long it may be granted.
    pub ttl_seconds: Option<u64>,
    /// SHA-256 of the certificate whose key is to have signed it, in hexadecimal; believed or not.
    pub fingerprint_sha256: Option<String>,
    /// What a receiver should know although the token is good.
    pub warnings: Vec<&'static str>,
}

/// Whom a certificate names, under the names that tokens have for it. What it does not say is null.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "each says its own name")]
pub struct VerdictIdentity {
    pub org_guid: Option<String>,
    pub space_guid: Option<String>,
    pub app_guid: Option<String>,
    pub cf_instance_guid: Option<String>,
    /// As RFC 4514 writes it.
    pub subject: Option<SafeText>,
    /// The other names by which a token may mean it.
    pub uris: Vec<SafeText>,
}

impl From<&VerifiedToken> for TokenVerdict {
    fn from(token: &VerifiedToken) -> Self {
        let expires_at = UNIX_EPOCH + Duration::from_secs(u64::try_from(token.expires_at()).unwrap_or(0));
        let expires_at = jiff::Timestamp::try_from(expires_at).ok().map(|time| format!("{time:.0}"));
        Self {
            verdict: "permit",
            reason: None,
            check: None,
            detail: None,
            identity: Some(VerdictIdentity::of(token.client())),
            audience: token.audience().map(str::to_owned),
            jti: token.jti().map(str::to_owned),
            expires_at,
            policies: token.grant().policies.clone(),
            role: token.grant().role.clone(),
            ttl_seconds: Some(token.ttl_seconds()),
            fingerprint_sha256: Some(hex(token.fingerprint())),
            warnings: token.warnings().to_vec(),
        }
    }
}

impl From<&TokenDenial> for TokenVerdict {
    fn from(denial: &TokenDenial) -> Self {
        Self {
            verdict: "denial",
            reason: Some(denial.reason.as_str()),
            check: Some(denial.reason.check()),
            detail: Some(SafeText::up_to(LONGEST_FIELD, denial)),
            identity: denial.client.as_ref().map(VerdictIdentity::of),
            audience: None,
            jti: denial.jti.clone(),
            expires_at: None,
            policies: Vec::new(),
            role: None,
            ttl_seconds: None,
            fingerprint_sha256: denial.fingerprint.as_ref().map(hex),
            warnings: Vec::new(),
        }
    }
}

impl VerdictIdentity {
    fn of(client: &Client) -> Self {
        let [org_guid, space_guid, app_guid, cf_instance_guid] =
            identity_claims(client.identity()).map(|(_, value)| value);
        let certificate = client.certificate();
        let uris = certificate.map_or(&[][..], |certificate| certificate.names.uris.as_slice());
        Self {
            org_guid,
            space_guid,
            app_guid,
            cf_instance_guid,
            subject: certificate.map(|certificate| SafeText::up_to(LONGEST_FIELD, &certificate.subject)),
            uris: uris.iter().map(|uri| SafeText::up_to(LONGEST_FIELD, uri)).collect(),
        }
    }
}

fn hex(fingerprint: &[u8; 32]) -> String {
    fingerprint.iter().map(|byte| format!("{byte:02x}")).collect()
}
