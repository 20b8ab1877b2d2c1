//! What Vault says when it says no, and what helps.

use hyper::StatusCode;

use super::login::LoginError;
use crate::diagnostics::without_sent_secrets;
use crate::outbound::ApiError;

/// Characters of a server's own text that are kept.
const MAX_TEXT: usize = 300;

/// What helps where nothing else is known.
const ITS_LOG: &str = "see Vault's log and its audit log";

/// Why Vault has not done what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// There is no answer.
    #[error("{url}: {error}")]
    Unreachable {
        /// Whom we have asked.
        url: String,
        /// Why not.
        error: ApiError,
    },
    /// It has answered no.
    #[error("{url} answers {} to {operation}{}", .status.as_u16(), colon(.text))]
    Refused {
        /// Whom we have asked.
        url: String,
        /// What for: the path behind `/v1/`.
        operation: String,
        /// Its status.
        status: StatusCode,
        /// Its own words, bounded; empty: it has none.
        text: String,
    },
    /// What it has answered cannot be used.
    #[error("{url}: the answer to {operation} {what}")]
    Unusable {
        /// Whom we have asked.
        url: String,
        /// What for.
        operation: String,
        /// What is wrong with it.
        what: String,
    },
    /// Nothing was sent: it would have been refused.
    #[error("{0}")]
    NotSent(#[from] LoginError),
    /// The CAs that vouch for the server cannot be read.
    #[error("{0}")]
    Trust(String),
}

fn colon(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

/// What of its own answers a refusal is about, which says what helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VaultOperation {
    /// To let us in.
    Login,
    /// For a secret.
    Secret,
    /// To open a sealed value.
    Transit,
}

/// What a login is refused with for good, whatever the status: the text, and what helps.
const LOGIN_HELP: &[(&str, &str)] = &[
    (
        "no matching IP address",
        "the request did not come from the certificate's address (SNAT); the role needs disable_ip_matching=true",
    ),
    ("no matching role", "there is no such role; Vault stores role names in lower case"),
    ("on given certificate", "the certificate does not name instance, app, space and organization"),
    (
        "missing name in alias",
        "the certificate has nothing that the method could call its holder by; see its commonName",
    ),
    ("app but received", "the certificate names more than one app"),
    ("valid CF certs have one IP address", "the certificate must have exactly one IP address"),
    ("doesn't match role constraints", "the role admits others; look at its bound_application_ids and the like"),
    ("request is too old", "this machine's clock is behind Vault's, or the other way round; set it by NTP"),
    (
        "request is too far in the future",
        "this machine's clock is ahead of Vault's, or the other way round; set it by NTP",
    ),
    ("token is expired", "this machine's clock is behind Vault's; set it by NTP"),
    ("token not valid yet", "this machine's clock is ahead of Vault's; set it by NTP"),
    ("certificate has expired or is not yet valid", "look at both clocks, and whether the pair is rotated"),
    ("unknown authority", "give the method's configuration the CA that issues instance certificates"),
    ("incompatible key usage", "the method wants serverAuth in the certificate's extendedKeyUsage"),
    ("Invalid cert key usage", "Comcast's plugin wants keyAgreement in the certificate's keyUsage"),
    (
        "no chain matching all constraints",
        "the role wants another organizational unit, or another CA; see its allowed_organizational_units",
    ),
    ("invalid certificate or no client certificate supplied", "there is no such role, or TLS ends in front of Vault"),
    (
        "no client certificate found",
        "the listener of Vault does not ask for client certificates, or TLS ends in front of it",
    ),
    ("invalid audience", "the role's bound_audiences do not have the audience of the token"),
    (
        "no known key successfully validated",
        "the method does not have the instance's key; see jwt_validation_pubkeys, jwks_url",
    ),
    ("JWT Policy Not Found", "none of the policies is mapped to this organization or space"),
    ("no policies mapped", "map policies to this organization or space"),
    ("namespace not found", "correct the namespace"),
];

impl VaultError {
    /// Whether nothing but time may make it better.
    pub fn is_transient(&self, operation: VaultOperation) -> bool {
        match self {
            Self::Unreachable { error, .. } => error.is_transient(),
            // Vault says 500 of some errors that no time mends.
            Self::Refused { text, .. } if operation == VaultOperation::Login && login_help(text).is_some() => false,
            Self::Refused { status, .. } => {
                status.is_server_error() || matches!(status.as_u16(), 408 | 412 | 425 | 429)
            }
            Self::Unusable { .. } | Self::NotSent(_) | Self::Trust(_) => false,
        }
    }

    /// Whether we were refused for the pair that we have shown or signed with, or may have been: with another the answer may be another.
    pub(super) fn is_of_the_pair(&self, operation: VaultOperation) -> bool {
        match self {
            Self::Unreachable { error, .. } => error.is_rejection(),
            Self::Refused { status, text, .. } => {
                operation == VaultOperation::Login
                    && !self.is_transient(operation)
                    && (status.is_client_error() || login_help(text).is_some())
            }
            Self::Unusable { .. } | Self::NotSent(_) | Self::Trust(_) => false,
        }
    }

    /// Whether the token was refused, or what it may do.
    pub fn is_forbidden(&self) -> bool {
        matches!(self, Self::Refused { status: StatusCode::FORBIDDEN, .. })
    }

    /// What to do about it.
    pub fn help(&self, operation: VaultOperation) -> Option<&'static str> {
        let (status, text) = match self {
            Self::Refused { status, text, .. } => (status.as_u16(), text.as_str()),
            Self::Unreachable { error, .. } if error.is_rejection() => {
                return Some(
                    "give Vault's listener the CA that issues instance certificates; see whether the pair has expired, or was replaced",
                );
            }
            Self::Unreachable { error: ApiError::NotHttp(_) | ApiError::TooLarge(_), .. } => {
                return Some("see whether a Vault or OpenBao is at this address");
            }
            Self::Unreachable { error, .. } => {
                return error.is_transient().then_some("see whether the server runs, the security group, and DNS");
            }
            Self::Unusable { .. } | Self::NotSent(_) | Self::Trust(_) => return None,
        };
        let known = login_help(text).filter(|_| operation == VaultOperation::Login);
        let of_status = || match (operation, status) {
            (_, 503) => Some("Vault is sealed, or is no active node; unseal it"),
            (_, 300..400) => Some("name the active node, or a load balancer that leads to it"),
            (VaultOperation::Login, 403 | 404) => Some("there is no such method, mount or namespace; see the mount"),
            (VaultOperation::Secret, 403) => {
                Some("the token's policy does not grant read on this path; on KV 2 the path is MOUNT/data/NAME")
            }
            (VaultOperation::Transit, 403) => {
                Some("it is sealed for another app, or the policy does not grant update on MOUNT/decrypt/KEY")
            }
            (VaultOperation::Transit, 400) => Some("it is sealed by another key, or its text is not whole"),
            (VaultOperation::Transit, 404) => Some("there is no such mount or key"),
            (_, 429) => Some("Vault has too much to do, or a quota is used up; see its rate limit quotas"),
            (_, 400..600) => Some(ITS_LOG),
            _ => Some("see whether a Vault or OpenBao is at this address"),
        };
        known.or_else(of_status)
    }
}

fn login_help(text: &str) -> Option<&'static str> {
    LOGIN_HELP.iter().find(|(known, _)| text.contains(known)).map(|(_, help)| *help)
}

/// The server's own words in `body`, `{"errors": ["..."]}`: one line, bounded, and without any of the `secrets` that it was sent.
pub(super) fn own_words(body: &[u8], secrets: &[&str]) -> String {
    #[derive(serde::Deserialize)]
    struct Errors {
        #[serde(default)]
        errors: Vec<String>,
    }
    let Ok(Errors { errors }) = serde_json::from_slice(body) else { return String::new() };
    without_sent_secrets(MAX_TEXT, &errors.join("; "), secrets).as_str().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, text: &str) -> VaultError {
        let status = StatusCode::from_u16(status).unwrap();
        VaultError::Refused { url: "https://v".to_owned(), operation: "a".to_owned(), status, text: text.to_owned() }
    }

    #[test]
    fn the_servers_words_are_one_bounded_line_without_what_we_sent() {
        let words = |body: &str| {
            own_words(body.as_bytes(), &["hvs.SecretTokenThatNobodyMaySee", "eyJhbGciOiJSUzI1NiJ9.e30.c2ln"])
        };
        assert_eq!(
            words(r#"{"errors":["1 error occurred:\n\t* permission denied\n\n","b"]}"#),
            "1 error occurred: * permission denied ; b"
        );
        assert_eq!(words(r#"{"errors":[]}"#), "");
        assert_eq!(words("<html>"), "");
        assert_eq!(words(r#"{"errors":"x"}"#), "");
        assert_eq!(words(r#"{"errors":["no \"hvs.SecretTokenThatNobodyMaySee\", x"]}"#), "(what we sent)");
        assert!(!words(r#"{"errors":["(token=RetTokenThatNobodyMay eyJhbGciOiJSUzI1NiJ9.e30)"]}"#).contains("eyJ"));
        assert!(!words(r#"{"errors":["SecretTokenThatNobody"]}"#).contains("Nobody"));
        let long = format!(r#"{{"errors":["{}"]}}"#, "x\u{202e} ".repeat(10_000));
        assert!(words(&long).len() < 1_000 && !words(&long).contains('\u{202e}'));
    }

    #[test]
    fn what_is_permanent_is_told_apart_from_what_may_pass() {
        for (status, text, operation, transient) in [
            (500, "no matching role", VaultOperation::Login, false),
            (500, "no instance ID on given certificate", VaultOperation::Login, false),
            (500, "Could not get api /v2/info: timeout", VaultOperation::Login, true),
            (503, "Vault is sealed", VaultOperation::Login, true),
            (429, "", VaultOperation::Login, true),
            (400, "no matching IP address", VaultOperation::Login, false),
            (403, "permission denied", VaultOperation::Login, false),
            (404, "", VaultOperation::Login, false),
            (500, "internal error", VaultOperation::Secret, true),
            (502, "", VaultOperation::Secret, true),
            (403, "permission denied", VaultOperation::Secret, false),
            (400, "", VaultOperation::Transit, false),
            (307, "", VaultOperation::Login, false),
        ] {
            assert_eq!(refused(status, text).is_transient(operation), transient, "{status} {text}");
        }
    }

    #[test]
    fn a_login_that_is_refused_for_good_is_so_with_this_pair_and_may_not_be_with_another() {
        for (status, text, operation, is_so) in [
            (400, "certificate has expired or is not yet valid", VaultOperation::Login, true),
            (403, "permission denied", VaultOperation::Login, true),
            (500, "no instance ID on given certificate", VaultOperation::Login, true),
            (500, "internal error", VaultOperation::Login, false),
            (429, "", VaultOperation::Login, false),
            (307, "", VaultOperation::Login, false),
            (403, "permission denied", VaultOperation::Secret, false),
        ] {
            assert_eq!(refused(status, text).is_of_the_pair(operation), is_so, "{status} {text}");
        }
    }

    #[test]
    fn each_answer_to_a_login_that_is_known_is_tried_again_or_not_and_has_its_help() {
        for (status, text, transient, help) in [
            // The CF method, in the order of its checks.
            (400, "2 errors occurred: * crypto/rsa: verification error * crypto/rsa: verification error", false, ""),
            (400, "'role-name' is required", false, ""),
            (500, "no matching role", false, "lower case"),
            (400, "'signature' is required", false, ""),
            (400, "couldn't parse \"x\" as a time", false, ""),
            (400, "request is too old; signed at 2026-01-01", false, "NTP"),
            (400, "request is too far in the future; signed at 2026-01-01", false, "NTP"),
            (400, "no intermediate certificate found in -----BEGIN", false, ""),
            (400, "expected 2 certs but received 3", false, ""),
            (400, "certificate has expired or is not yet valid: current time", false, "clocks"),
            (400, "x509: certificate signed by unknown authority", false, "CA that issues"),
            (400, "x509: certificate specifies an incompatible key usage", false, "serverAuth"),
            (400, "not an rsa public key", false, ""),
            (500, "no instance ID on given certificate", false, "does not name"),
            (500, "no app ID on given certificate", false, "does not name"),
            (500, "expected 1 app but received 2", false, "more than one app"),
            (500, "valid CF certs have one IP address, but this has 0", false, "exactly one IP"),
            (400, "no matching IP address for \"10.0.0.1\"", false, "disable_ip_matching"),
            (400, "app ID X doesn't match role constraints of [Y]", false, "bound_application_ids"),
            (500, "Could not get api /v2/info: dial tcp", true, ""),
            (429, "", true, "quotas"),
            (101, "", false, "at this address"),
            (404, "namespace not found", false, "namespace"),
            (403, "permission denied", false, "mount"),
            (503, "Vault is sealed", true, "unseal"),
            // The others.
            (400, "no chain matching all constraints could be found for this login certificate", false, "allowed_org"),
            (400, "no client certificate found", false, "client certificates"),
            (400, "invalid certificate or no client certificate supplied", false, "no such role"),
            (400, "error validating token: invalid audience (aud) claim", false, "bound_audiences"),
            (400, "error validating token: token is expired", false, "clock"),
            (400, "no known key successfully validated the token signature", false, "jwks_url"),
            (500, "missing name in alias", false, "commonName"),
            (500, "x509: certificate signed by unknown authority", false, "CA that issues"),
            (400, "Invalid cert key usage", false, "keyAgreement"),
            (400, "missing CF cert organizational units", false, ""),
            (500, "JWT Policy Not Found", false, "mapped"),
            (400, "no policies mapped to app", false, "map policies"),
        ] {
            let error = refused(status, text);
            assert_eq!(error.is_transient(VaultOperation::Login), transient, "{status} {text}");
            let told = error.help(VaultOperation::Login).unwrap_or_default();
            assert!(told.contains(help) && (help.is_empty() == (told == ITS_LOG)), "{status} {text}: {told:?}");
        }
    }

    #[test]
    fn each_refusal_of_a_login_has_its_help() {
        let help = |text| refused(400, text).help(VaultOperation::Login).unwrap_or_default();
        assert!(help("no matching IP address").contains("disable_ip_matching"));
        assert_eq!(help("1 error occurred: * crypto/rsa: verification error"), ITS_LOG);
        assert!(help("request is too old; signed at ...").contains("clock"));
        assert!(refused(403, "permission denied").help(VaultOperation::Secret).unwrap().contains("MOUNT/data/NAME"));
        assert!(refused(503, "Vault is sealed").help(VaultOperation::Transit).unwrap().contains("unseal"));
    }
}
