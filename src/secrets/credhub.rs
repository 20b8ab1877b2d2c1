//! CredHub: the credentials that documents refer to, and single credentials, asked for with the instance's own certificate.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, StatusCode};
use serde::Deserialize;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use super::SecretValue;
use super::fetch::MAX_AT_ONCE;
use super::json;
use super::source::{Fetching, Request, SecretAnswer, SecretStore, SourceError};
use super::vcap::{self, CredHubBinding};
use crate::config::{ApiUrl, CredHubConfig};
use crate::credentials::{ApiCas, ApiTrust, OutboundSnapshot, ServedCertificate};
use crate::diagnostics::SafeText;
use crate::identity::Identity;
use crate::outbound::{ApiError, ApiLimits, ApiRequest, ApiResponse, ApiServer, AttemptError};

/// For one try.
const ONE_TRY: Duration = Duration::from_secs(5);

/// Tries for one question.
const TRIES: u32 = 3;

/// Between two tries.
const PAUSE: Duration = Duration::from_secs(1);

/// The largest answer, in bytes.
const LARGEST: usize = 8 * 1024 * 1024;

/// Characters that are repeated of what the server says.
const SHOWN: usize = 300;

/// Services that are named where several are missing.
const MOST_NAMED: usize = 5;

/// CredHub, as this instance speaks with it.
pub(super) struct CredHub {
    url: ApiUrl,
    trust: ApiTrust,
    /// For one question with all its tries.
    timeout: Duration,
    served: watch::Receiver<Vec<ServedCertificate>>,
    /// What connections are made with, since the pair of this generation.
    snapshot: Mutex<Option<(u64, Arc<OutboundSnapshot>)>>,
}

/// CredHub has not answered, or not what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
struct CredHubRefusal {
    status: Option<StatusCode>,
    what: String,
    help: Option<String>,
}

/// What CredHub says where something is wrong.
#[derive(Deserialize)]
struct ErrorBody {
    error: Option<String>,
    error_description: Option<String>,
}

impl CredHub {
    /// The CredHub of `config`; `None`: nobody has said where it is. The files of its CAs are read.
    ///
    /// # Errors
    /// A sentence with the remedy: the CAs cannot be used.
    pub(super) fn new(
        config: &CredHubConfig,
        served: watch::Receiver<Vec<ServedCertificate>>,
    ) -> Result<Option<Self>, String> {
        let Some(url) = config.url.clone() else { return Ok(None) };
        let trust = ApiTrust::load(&ApiCas {
            given: config.ca.clone(),
            platform: config.platform_cas.clone(),
            option: "--credhub-ca",
        })?;
        Ok(Some(Self { url, trust, timeout: config.timeout, served, snapshot: Mutex::default() }))
    }

    /// The same document as `document`, but for the credentials of `bindings`: those are CredHub's. All other bytes are as they were.
    ///
    /// # Errors
    /// A sentence with the remedy; where something is missing it names the service, which CredHub does not.
    pub(super) async fn interpolate(
        self: &Arc<Self>,
        document: &str,
        bindings: &[CredHubBinding],
    ) -> Result<Vec<SecretValue>, SourceError> {
        let sent = Bytes::copy_from_slice(document.as_bytes());
        match self.post(sent).await {
            Ok(answer) => taken(&answer, bindings).map_err(|what| self.error(self.unfit(what))),
            Err(refusal) if refusal.status == Some(StatusCode::NOT_FOUND) => {
                Err(self.name_missing(refusal, bindings).await)
            }
            Err(refusal) => Err(self.error(refusal)),
        }
    }

    /// Each service is asked for alone, so that what is missing has a name.
    async fn name_missing(self: &Arc<Self>, refusal: CredHubRefusal, bindings: &[CredHubBinding]) -> SourceError {
        let (mut missing, left) = match bindings {
            // There is nothing else that could be missing.
            [only] => (vec![only.clone()], &[][..]),
            several => (Vec::new(), several),
        };
        let mut left = left.iter().cloned();
        let mut asked = JoinSet::new();
        loop {
            while asked.len() < MAX_AT_ONCE
                && let Some(binding) = left.next()
            {
                let credhub = Arc::clone(self);
                asked.spawn(async move {
                    let answer = credhub.post(alone(&binding.reference)).await;
                    let is_missing = answer.is_err_and(|refusal| refusal.status == Some(StatusCode::NOT_FOUND));
                    is_missing.then_some(binding)
                });
            }
            match asked.join_next().await {
                None => break,
                Some(Ok(Some(binding))) => missing.push(binding),
                Some(_) => {}
            }
        }
        if missing.is_empty() {
            return SourceError { is_missing: true, ..self.error(refusal) };
        }
        missing.sort_by_key(|binding| binding.credentials.start);
        let named = missing.iter().take(MOST_NAMED).map(|binding| {
            let name = strip(&binding.reference);
            format!("{} refers to {}", binding.service, SafeText::up_to(SHOWN, name))
        });
        let mut named = named.collect::<Vec<_>>().join(", ");
        if missing.len() > MOST_NAMED {
            named += &format!(" and {} more", missing.len() - MOST_NAMED);
        }
        SourceError::missing(format!("{named}: {}", refusal.what)).with_help(self.missing_help())
    }

    fn missing_help(&self) -> String {
        let app =
            self.served.borrow().first().and_then(|served| Identity::from_der(served.pair.leaf()).ok().flatten()?.app);
        let (who, actor) = match app {
            Some(app) => (format!("app {app}"), format!("mtls-app:{app}")),
            None => ("this app".to_owned(), "mtls-app:GUID".to_owned()),
        };
        format!("it does not exist, or {who} may not read it: bind the service again, or grant {actor} read")
    }

    fn unfit(&self, what: impl fmt::Display) -> CredHubRefusal {
        let help = format!("see whether {} is a CredHub", self.url);
        CredHubRefusal { status: None, what: what.to_string(), help: Some(help) }
    }

    fn error(&self, refusal: CredHubRefusal) -> SourceError {
        SourceError { is_missing: false, what: refusal.what, help: refusal.help }
    }

    async fn post(&self, document: Bytes) -> Result<SecretValue, CredHubRefusal> {
        self.ask(Method::POST, "/api/v1/interpolate".to_owned(), document).await
    }

    /// A single credential.
    async fn get(&self, name: &str) -> Result<SecretAnswer, SourceError> {
        let path = format!("/api/v1/data?name={}&current=true", percent_encoded(name));
        match self.ask(Method::GET, path, Bytes::new()).await {
            Ok(answer) => credential(&answer)
                .ok_or_else(|| self.error(self.unfit(format!("{}: the answer has no credential in it", self.url)))),
            Err(refusal) if refusal.status == Some(StatusCode::NOT_FOUND) => {
                Err(SourceError::missing(refusal.what).with_help(self.missing_help()))
            }
            Err(refusal) => Err(self.error(refusal)),
        }
    }

    /// Asks until there is an answer of success, or no other try would help.
    async fn ask(&self, method: Method, path: String, body: Bytes) -> Result<SecretValue, CredHubRefusal> {
        let deadline = Instant::now() + self.timeout;
        let mut tries = 1;
        loop {
            let request =
                ApiRequest { method: method.clone(), path: path.clone(), headers: fields(&body), body: body.clone() };
            let asked = timeout_at(deadline, self.ask_once(request)).await;
            let (mut refusal, is_transient) = match asked {
                Ok(Ok(response)) if response.status.is_success() => return Ok(SecretValue::from(response.body)),
                Ok(Ok(response)) => (self.refused(&response), is_transient(response.status)),
                Ok(Err(Unanswered::NoPair)) => (self.unfit("there is no certificate to show yet"), false),
                Ok(Err(Unanswered::Error(error))) => (self.unanswered(&error), error.is_transient()),
                Err(_) => (self.unanswered(&ApiError::TimedOut(self.timeout)), false),
            };
            if !is_transient || tries == TRIES || Instant::now() + PAUSE >= deadline {
                if tries > 1 {
                    refusal.what += &format!(" (after {tries} tries)");
                }
                return Err(refusal);
            }
            tracing::debug!(attempt = tries, error = refusal.what, "CredHub is asked again");
            tries += 1;
            sleep(PAUSE).await;
        }
    }

    async fn ask_once(&self, request: ApiRequest) -> Result<ApiResponse, Unanswered> {
        let snapshot = self.snapshot().await?;
        let limits = ApiLimits { connect: ONE_TRY, total: ONE_TRY, body: LARGEST };
        ApiServer::new(self.url.clone(), snapshot).call(request, limits).await.map_err(Unanswered::Error)
    }

    /// What a connection is made with that shows the pair in service.
    async fn snapshot(&self) -> Result<Arc<OutboundSnapshot>, Unanswered> {
        let mut served = self.served.clone();
        let served = served.wait_for(|served| !served.is_empty()).await.map_err(|_| Unanswered::NoPair)?;
        let Some(first) = served.first() else { return Err(Unanswered::NoPair) };
        let mut known = self.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, snapshot)) = known.as_ref().filter(|(generation, _)| *generation == first.generation) {
            return Ok(Arc::clone(snapshot));
        }
        let snapshot = Arc::new(self.trust.snapshot(Some(&first.pair)).map_err(|_| Unanswered::NoPair)?);
        *known = Some((first.generation, Arc::clone(&snapshot)));
        Ok(snapshot)
    }

    fn unanswered(&self, error: &ApiError) -> CredHubRefusal {
        // Each of them has its remedy.
        CredHubRefusal { status: None, what: format!("{}: {error}", self.url), help: network_help(error) }
    }

    fn refused(&self, response: &ApiResponse) -> CredHubRefusal {
        let status = response.status;
        let said = serde_json::from_slice(&response.body).ok().and_then(|ErrorBody { error, error_description }| {
            let said: Vec<_> = error.into_iter().chain(error_description).collect();
            (!said.is_empty()).then(|| format!(": {}", SafeText::up_to(SHOWN, said.join(": "))))
        });
        let said = said.unwrap_or_default();
        let help = match status {
            StatusCode::BAD_REQUEST if said.contains("expected type") => {
                Some("a credhub-ref must point to a credential of type json")
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Some(
                "the certificate's first OU is no app GUID, or it is not for client authentication, or TLS ends in front of CredHub",
            ),
            StatusCode::NOT_FOUND => None,
            StatusCode::PAYLOAD_TOO_LARGE => Some("bind fewer services to one app"),
            status if status.is_redirection() => Some("correct --credhub-url: no redirect is followed"),
            status if status.is_server_error() => Some("see CredHub's log"),
            _ => None,
        };
        let what = format!("{} has answered {}{said}", self.url, status.as_u16());
        CredHubRefusal { status: Some(status), what, help: help.map(str::to_owned) }
    }
}

enum Unanswered {
    NoPair,
    Error(ApiError),
}

impl SecretStore for CredHub {
    fn fetch<'a>(&'a self, request: &'a Request) -> Fetching<'a> {
        Box::pin(async move {
            match request {
                Request::CredHub { name } => self.get(name).await,
                other => Err(SourceError::failed(format!("CredHub does not know what {other} is"))),
            }
        })
    }
}

/// What `answer` has in the place of the credentials of `bindings`.
pub(super) fn taken(answer: &SecretValue, bindings: &[CredHubBinding]) -> Result<Vec<SecretValue>, String> {
    let text = answer.text().ok_or("the answer is not UTF-8")?;
    let credentials = vcap::answered(text, bindings).map_err(|error| error.to_string())?;
    Ok(credentials.into_iter().map(SecretValue::from).collect())
}

/// The credential in the answer to a question by name.
pub(super) fn credential(answer: &SecretValue) -> Option<SecretAnswer> {
    let document = json::members(json::value(answer.text()?).ok()?)?;
    let newest = json::members(json::elements(json::member(&document, "data")?)?.first()?)?;
    let (kind, value) = (json::string(json::member(&newest, "type")?)?, json::member(&newest, "value")?);
    let fields = json::members(value).unwrap_or_default();
    let fields = fields.into_iter().map(|(name, value)| (name, json::as_text(value))).collect::<Vec<_>>();
    // Parts of a certificate or a user mean something for themselves; a document of JSON is one.
    let whole = (fields.is_empty() || kind == "json").then(|| json::as_text(value));
    Some(SecretAnswer { whole, fields, lease: None })
}

/// A document of one service, for whoever has only its reference.
pub(super) fn alone(reference: &str) -> Bytes {
    let document = serde_json::json!({ "name": [{ "credentials": { "credhub-ref": reference } }] });
    Bytes::from(document.to_string())
}

/// A name as CredHub has it: without the brackets around it.
pub(super) fn strip(reference: &str) -> &str {
    let reference = reference.strip_prefix("((").unwrap_or(reference);
    reference.strip_suffix("))").unwrap_or(reference)
}

fn fields(body: &Bytes) -> HeaderMap {
    let mut fields = HeaderMap::new();
    if !body.is_empty() {
        fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    fields
}

fn is_transient(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
}

fn network_help(error: &ApiError) -> Option<String> {
    match error {
        ApiError::TimedOut(_) | ApiError::NoAnswer(_) => {
            Some("see whether CredHub runs, and whether a security group lets the app reach it".to_owned())
        }
        ApiError::Connect {
            error:
                AttemptError::ConnectRefused
                | AttemptError::ConnectTimeout(_)
                | AttemptError::ConnectFailed(_)
                | AttemptError::HandshakeTimeout(_),
            ..
        } => Some("see whether CredHub runs, and whether a security group lets the app reach it".to_owned()),
        _ => None,
    }
}

/// A name within a query.
fn percent_encoded(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => encoded.push(byte.into()),
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_of_a_credential_has_a_whole_or_parts() {
        let answer = |data: &str| {
            let answer = credential(&SecretValue::from(
                format!(r#"{{"data":[{data},{{"type":"value","value":"old"}}]}}"#).as_str(),
            ))?;
            let fields: Vec<_> =
                answer.fields.iter().map(|(name, value)| format!("{name}={}", value.text().unwrap())).collect();
            Some((answer.whole.map(|whole| whole.text().unwrap().to_owned()), fields.join(" ")))
        };
        let whole = |text: &str| Some(text.to_owned());
        assert_eq!(answer(r#"{"type":"password","value":"p\u00e4"}"#), Some((whole("pä"), String::new())));
        assert_eq!(
            answer(r#"{"type":"json","value":{"a": 1.50,"b":"c"}}"#),
            Some((whole(r#"{"a": 1.50,"b":"c"}"#), "a=1.50 b=c".to_owned()))
        );
        assert_eq!(
            answer(r#"{"type":"user","value":{"username":"u","password":"p"}}"#),
            Some((None, "username=u password=p".to_owned()))
        );
        assert_eq!(answer(r#"{"type":"value"}"#), None);
        assert!(
            credential(&SecretValue::from(r#"{"data":[]}"#)).is_none() && credential(&SecretValue::from("x")).is_none()
        );
    }

    #[test]
    fn names_are_written_so_that_a_query_has_one_of_them() {
        assert_eq!(percent_encoded("/c/a b&current=false/ä"), "/c/a%20b%26current%3Dfalse/%C3%A4");
        assert_eq!(strip("((/c/x))"), "/c/x");
        assert_eq!(alone("((/c/\"x))"), r#"{"name":[{"credentials":{"credhub-ref":"((/c/\"x))"}}]}"#);
    }

    #[test]
    fn only_what_may_pass_is_asked_again() {
        let status = |code| is_transient(StatusCode::from_u16(code).unwrap());
        assert!([408, 429, 500, 502, 503].into_iter().all(status));
        assert!(![301, 400, 401, 403, 404, 413].into_iter().any(status));
    }
}
