//! Why CredHub has not answered, or not what was asked, and what to do about it.

use std::time::SystemTime;

use hyper::StatusCode;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::Value;

use crate::config::ApiUrl;
use crate::credentials::Pair;
use crate::diagnostics::{SafeText, without_sent_secrets};
use crate::identity::{Certificate, Role};
use crate::outbound::{ApiError, ApiResponse, AttemptError};

/// Characters that are repeated of what the server says.
pub(super) const SHOWN: usize = 300;

/// What is shorter among the credentials of a service is the name of something, and in every other sentence.
const SHORTEST_CREDENTIAL: usize = 6;

/// The members that say which credential of CredHub is meant: names.
const REFERENCES: [&str; 2] = ["credhub-ref", "credhub_ref"];

/// CredHub has not answered, or not what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CredHubError {
    pub(super) status: Option<StatusCode>,
    /// Of the pair that was shown, and not of what was asked.
    pub(super) is_of_the_pair: bool,
    /// The same question may well be answered a little later.
    pub(super) is_transient: bool,
    pub(super) what: String,
    pub(super) help: Option<String>,
}

/// What CredHub says where something is wrong.
#[derive(Deserialize)]
struct ErrorBody {
    error: Option<String>,
    error_description: Option<String>,
}

impl CredHubError {
    /// What was answered is not what was asked.
    pub(super) fn unfit(url: &ApiUrl, what: String) -> Self {
        let help = Some(is_it_one(url));
        Self { status: None, is_of_the_pair: false, is_transient: false, what, help }
    }

    /// There is no answer to whoever has shown `pair`.
    pub(super) fn unanswered(url: &ApiUrl, error: &ApiError, pair: Option<&Pair>) -> Self {
        let is_of_the_pair = error.is_rejection();
        let help = match pair.filter(|_| is_of_the_pair) {
            Some(pair) => Some(shown(pair, SystemTime::now())),
            None => match error {
                ApiError::NotHttp(_) | ApiError::TooLarge(_) => Some(is_it_one(url)),
                // Others have their remedy in them.
                error => is_about_the_network(error)
                    .then(|| "see whether CredHub runs, and whether a security group lets the app reach it".to_owned()),
            },
        };
        let what = format!("{url}: {error}");
        Self { status: None, is_of_the_pair, is_transient: error.is_transient(), what, help }
    }

    /// `response` is no success. It was given to whoever has shown `pair`, and has `sent` this document.
    pub(super) fn refused(url: &ApiUrl, response: &ApiResponse, pair: &Pair, sent: &[u8]) -> Self {
        let status = response.status;
        let said = serde_json::from_slice(&response.body).ok().and_then(|ErrorBody { error, error_description }| {
            let said: Vec<_> = error.into_iter().chain(error_description).collect();
            let secrets = sent_credentials(sent);
            let secrets: Vec<_> = secrets.iter().map(String::as_str).collect();
            (!said.is_empty()).then(|| format!(": {}", without_sent_secrets(SHOWN, &said.join(": "), &secrets)))
        });
        let said = said.unwrap_or_default();
        let is_of_the_pair = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        let help = match status {
            StatusCode::BAD_REQUEST if said.contains("expected type") => {
                Some("a credhub-ref must point to a credential of type json")
            }
            StatusCode::PAYLOAD_TOO_LARGE => Some("bind fewer services to one app"),
            status if status.is_redirection() => Some("correct --credhub-url: no redirect is followed"),
            StatusCode::TOO_MANY_REQUESTS => Some("CredHub has too much to do: see who else asks it"),
            status if status.is_server_error() || status.is_client_error() => Some("see CredHub's log"),
            _ => None,
        };
        let help = match is_of_the_pair {
            true => shown(pair, SystemTime::now()),
            false => help.map_or_else(|| is_it_one(url), str::to_owned),
        };
        let help = Some(help);
        let what = format!("{url} has answered {}{said}", status.as_u16());
        Self { status: Some(status), is_of_the_pair, is_transient: is_transient(status), what, help }
    }
}

/// What may be a secret in a `document` that was sent: what stands in the credentials of services that have them without CredHub.
fn sent_credentials(document: &[u8]) -> Vec<String> {
    fn collect(value: &Value, is_credential: bool, found: &mut Vec<String>) {
        match value {
            Value::String(text) if is_credential && text.len() >= SHORTEST_CREDENTIAL => {
                // Whoever writes it by hand may not encode it.
                let user = text.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@'));
                let password = user.and_then(|(user, _)| user.split_once(':')).map(|(_, password)| password);
                let password = password.filter(|password| password.len() >= SHORTEST_CREDENTIAL);
                found.extend(password.map(|password| percent_decode_str(password).decode_utf8_lossy().into()));
                found.push(text.clone());
            }
            Value::Number(number) if is_credential => {
                found.extend(Some(number.to_string()).filter(|digits| digits.len() >= SHORTEST_CREDENTIAL));
            }
            Value::Array(values) => values.iter().for_each(|value| collect(value, is_credential, found)),
            Value::Object(members) => {
                for (name, value) in members.iter().filter(|(name, _)| !REFERENCES.contains(&name.as_str())) {
                    collect(value, is_credential || name == "credentials", found);
                }
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    if let Ok(document) = serde_json::from_slice(document) {
        collect(&document, false, &mut found);
    }
    found
}

/// Whom CredHub was shown, and why it may refuse that, as far as the certificate says so itself.
fn shown(pair: &Pair, now: SystemTime) -> String {
    let Ok(certificate) = Certificate::from_der(pair.leaf()) else {
        return "it was shown a certificate that cannot be read; write the file anew".to_owned();
    };
    let identity = certificate.identity().ok().flatten();
    let app = identity.as_ref().and_then(|identity| identity.app);
    let who = match app {
        Some(app) => format!("app {app}"),
        None => SafeText::up_to(SHOWN, certificate.subject()).as_str().to_owned(),
    };
    let instance = certificate.common_name().map(|name| format!(", instance {}", SafeText::up_to(SHOWN, name)));
    let until = jiff::Timestamp::try_from(certificate.not_after()).map(|until| format!(", valid until {until:.0}"));
    let who = who + &instance.unwrap_or_default() + &until.unwrap_or_default();
    let why = if certificate.not_after() < now {
        "it has expired: see whether what rotates it still runs"
    } else if certificate.not_before() > now {
        "it is not valid yet: set the clock of this machine"
    } else if app.is_none() {
        "CredHub wants an OU app:GUID in it"
    } else if !certificate.is_for(Role::Client) {
        "it is not for client authentication (extendedKeyUsage)"
    } else {
        "see CredHub's log for the reason: the certificate may be replaced, its CA not be known there, or TLS end in front of CredHub"
    };
    format!("it was shown the certificate of {who}; {why}")
}

fn is_it_one(url: &ApiUrl) -> String {
    format!("see whether {url} is a CredHub")
}

/// Whether the same request may well be answered otherwise a little later.
fn is_transient(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
}

fn is_about_the_network(error: &ApiError) -> bool {
    match error {
        ApiError::TimedOut(_) | ApiError::NoAnswer(_) => true,
        ApiError::Connect { error, .. } => matches!(
            error,
            AttemptError::ConnectRefused(_)
                | AttemptError::ConnectTimeout(_)
                | AttemptError::ConnectFailed(_)
                | AttemptError::Local(..)
                | AttemptError::HandshakeTimeout(_)
        ),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::crypto;
    use crate::issuer::{CertificateAuthority, InstanceSpec, KeyKind, SubjectKey};

    #[test]
    fn what_is_said_is_not_repeated_where_it_has_a_credential_that_was_sent() {
        let sent = br#"{"user-provided":[{"name":"mine","credentials":{"uri":"amqp://me:s3cr%40t-pw@mq/","list":["0ther-secret"],"pin":12345678,"port":5432,"url":"x://u:p@ss@h"}}],
            "db":[{"name":"users","credentials":{"credhub-ref":"((/c/users))"}}]}"#;
        let secrets = sent_credentials(sent);
        assert_eq!(secrets, ["0ther-secret", "12345678", "s3cr@t-pw", "amqp://me:s3cr%40t-pw@mq/", "x://u:p@ss@h"]);
        assert!(sent_credentials(b"not JSON").is_empty() && sent_credentials(&[]).is_empty());
    }

    #[test]
    fn only_what_may_pass_is_asked_again() {
        let status = |code| is_transient(StatusCode::from_u16(code).unwrap());
        assert!([408, 429, 500, 502, 503].into_iter().all(status));
        assert!(![301, 400, 401, 403, 404, 413].into_iter().any(status));
    }

    #[test]
    fn whom_it_was_shown_is_told_and_why_that_may_be_refused_only_as_far_as_it_is_known() {
        let now = SystemTime::now();
        let authority = CertificateAuthority::generate(now).unwrap();
        let key = SubjectKey::generate(KeyKind::P256).unwrap();
        let told = |spec: &InstanceSpec, at: SystemTime| {
            let issued = authority.issue_with_key(spec, &key, now).unwrap();
            let pair =
                Pair::from_pem(issued.cert_pem.as_bytes(), issued.key_pem.as_bytes(), &crypto::provider()).unwrap();
            shown(&pair, at)
        };
        let spec = InstanceSpec::generate().unwrap();
        let good = told(&spec, now);
        let (app, instance) = (spec.app.to_string(), spec.instance.as_ref().unwrap().as_str().to_owned());
        assert!(good.contains(&app) && good.contains(&instance) && good.contains("valid until 2"), "{good}");
        assert!(good.contains("see CredHub's log") && !good.contains("OU"), "{good}");
        let late = told(&spec, now + Duration::from_secs(365 * 24 * 3600));
        assert!(late.contains("it has expired") && !late.contains("log"), "{late}");
        let early = told(&spec, now - Duration::from_secs(365 * 24 * 3600));
        assert!(early.contains("not valid yet"), "{early}");
    }
}
