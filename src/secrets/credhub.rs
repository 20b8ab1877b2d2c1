//! CredHub: the credentials that documents refer to, and single credentials, asked for with the instance's own certificate.

mod error;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, StatusCode};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use self::error::{CredHubError, SHOWN};
use super::source::{FetchFuture, LastError, MAX_AT_ONCE, Request, SecretResponse, SecretStore, SourceError};
use super::vcap::{self, CredHubBinding};
use super::{SecretValue, json, rotation};
use crate::config::{ApiUrl, CredHubConfig};
use crate::credentials::{ApiCas, ApiTrust, OutboundSnapshot, ServedCertificate};
use crate::diagnostics::SafeText;
use crate::identity::Identity;
use crate::outbound::{ApiError, ApiLimits, ApiRequest, ApiServer};
use crate::sys::limits;

/// For one try.
const ONE_TRY: Duration = Duration::from_secs(5);

/// Tries for one question.
const TRIES: u32 = 3;

/// Between two tries.
const PAUSE: Duration = Duration::from_secs(1);

/// The largest answer, in bytes, and what may be one however little memory there is: the environment of a process has no room for more.
const LARGEST: usize = 8 * 1024 * 1024;
const LARGEST_ANYWHERE: usize = 256 * 1024;

/// The part of the memory limit that an answer may have: one in so many. It is there as it came, as what it says, and as what the app gets.
const PARTS_OF_MEMORY: u64 = 16;

/// Services that are named where several are missing.
const MOST_NAMED: usize = 5;

/// For the search of what is missing, service by service: with the question before it, less than all secrets together have.
const NAMING: Duration = Duration::from_secs(8);

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

/// The largest answer where the container has so much memory, in bytes.
fn largest(memory: Option<u64>) -> usize {
    let part = memory.map_or(LARGEST, |memory| usize::try_from(memory / PARTS_OF_MEMORY).unwrap_or(LARGEST));
    part.clamp(LARGEST_ANYWHERE, LARGEST)
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
        last_error: &LastError,
    ) -> Result<Vec<SecretValue>, SourceError> {
        let sent = Bytes::copy_from_slice(document.as_bytes());
        match self.post(sent, last_error).await {
            Ok(answer) => taken(&answer, bindings).map_err(|what| self.error(CredHubError::unfit(&self.url, what))),
            Err(refusal) if refusal.status == Some(StatusCode::NOT_FOUND) => {
                last_error.note(self.error(refusal.clone()));
                Err(self.name_missing(refusal, bindings).await)
            }
            Err(refusal) => Err(self.error(refusal)),
        }
    }

    /// Each service is asked for alone, so that what is missing has a name; as many as can be named, and as long as there is time.
    async fn name_missing(self: &Arc<Self>, refusal: CredHubError, bindings: &[CredHubBinding]) -> SourceError {
        let (mut missing, left) = match bindings {
            // There is nothing else that could be missing.
            [only] => (vec![only.clone()], &[][..]),
            several => (Vec::new(), several),
        };
        let mut left = left.iter().cloned();
        let (mut asked, until) = (JoinSet::new(), Instant::now() + NAMING);
        while missing.len() <= MOST_NAMED {
            while asked.len() < MAX_AT_ONCE
                && let Some(binding) = left.next()
            {
                let credhub = Arc::clone(self);
                asked.spawn(async move {
                    let answer = credhub.post(alone(&binding.reference), &LastError::default()).await;
                    let is_missing = answer.is_err_and(|refusal| refusal.status == Some(StatusCode::NOT_FOUND));
                    is_missing.then_some(binding)
                });
            }
            match timeout_at(until, asked.join_next()).await {
                Ok(None) | Err(_) => break,
                Ok(Some(Ok(Some(binding)))) => missing.push(binding),
                Ok(Some(_)) => {}
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
            named += " and others";
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

    fn error(&self, refusal: CredHubError) -> SourceError {
        SourceError { is_missing: false, what: refusal.what, help: refusal.help }
    }

    async fn post(&self, document: Bytes, last_error: &LastError) -> Result<SecretValue, CredHubError> {
        self.ask(Method::POST, "/api/v1/interpolate".to_owned(), document, last_error).await
    }

    /// A single credential.
    async fn get(&self, name: &str, last_error: &LastError) -> Result<SecretResponse, SourceError> {
        let path = format!("/api/v1/data?name={}&current=true", percent_encoded(name));
        match self.ask(Method::GET, path, Bytes::new(), last_error).await {
            Ok(answer) => credential(&answer)
                .ok_or_else(|| format!("{}: the answer has no credential in it", self.url))
                .map_err(|what| self.error(CredHubError::unfit(&self.url, what))),
            Err(refusal) if refusal.status == Some(StatusCode::NOT_FOUND) => {
                Err(SourceError::missing(refusal.what).with_help(self.missing_help()))
            }
            Err(refusal) => Err(self.error(refusal)),
        }
    }

    /// Asks until there is an answer of success, or no other try would help.
    async fn ask(
        &self,
        method: Method,
        path: String,
        body: Bytes,
        last_error: &LastError,
    ) -> Result<SecretValue, CredHubError> {
        let deadline = Instant::now() + self.timeout;
        let mut tries = 1;
        loop {
            let request =
                ApiRequest { method: method.clone(), path: path.clone(), headers: fields(&body), body: body.clone() };
            let mut shown = None;
            let asked = timeout_at(deadline, self.ask_once(request, &mut shown)).await;
            let mut refusal = match asked {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(refusal)) => refusal,
                Err(_) => CredHubError {
                    is_transient: false,
                    ..CredHubError::unanswered(&self.url, &ApiError::TimedOut(self.timeout), None)
                },
            };
            let shown = shown.map(|served| served.generation).filter(|_| refusal.is_of_the_pair);
            if let Some(generation) = shown
                && let Ok(true) = timeout_at(deadline, rotation::has_successor(&self.served, generation)).await
            {
                tracing::debug!(
                    generation,
                    error = refusal.what,
                    "CredHub request failed; retrying with the new certificate"
                );
                continue;
            }
            if !refusal.is_transient || tries == TRIES || Instant::now() + PAUSE >= deadline {
                if tries > 1 {
                    refusal.what += &format!(" (after {tries} tries)");
                }
                return Err(refusal);
            }
            tracing::debug!(attempt = tries, error = refusal.what, "CredHub request failed; retrying");
            last_error.note(self.error(refusal));
            tries += 1;
            sleep(PAUSE).await;
        }
    }

    /// One try, with the pair in service, which is told as soon as it is known.
    async fn ask_once(
        &self,
        request: ApiRequest,
        shown: &mut Option<ServedCertificate>,
    ) -> Result<SecretValue, CredHubError> {
        let no_pair = || CredHubError::unfit(&self.url, "there is no certificate to show yet".to_owned());
        let mut served = self.served.clone();
        let served = match served.wait_for(|served| !served.is_empty()).await {
            Ok(served) => served.first().cloned(),
            Err(_) => None,
        };
        let served = shown.insert(served.ok_or_else(no_pair)?);
        let snapshot = self.snapshot(served).ok_or_else(no_pair)?;
        let limits = ApiLimits { connect: ONE_TRY, total: ONE_TRY, body: largest(limits::memory_limit()) };
        let sent = request.body.clone();
        match ApiServer::new(self.url.clone(), snapshot).call(request, limits).await {
            Ok(response) if response.status.is_success() => Ok(SecretValue::from(response.body)),
            Ok(response) => Err(CredHubError::refused(&self.url, &response, &served.pair, &sent)),
            Err(error) => Err(CredHubError::unanswered(&self.url, &error, Some(&served.pair))),
        }
    }

    /// What a connection is made with that shows this pair.
    fn snapshot(&self, served: &ServedCertificate) -> Option<Arc<OutboundSnapshot>> {
        let mut known = self.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, snapshot)) = known.as_ref().filter(|(generation, _)| *generation == served.generation) {
            return Some(Arc::clone(snapshot));
        }
        let snapshot = Arc::new(self.trust.snapshot(Some(&served.pair)).ok()?);
        *known = Some((served.generation, Arc::clone(&snapshot)));
        Some(snapshot)
    }
}

impl SecretStore for CredHub {
    fn fetch<'a>(&'a self, request: &'a Request, last_error: &'a LastError) -> FetchFuture<'a> {
        Box::pin(async move {
            match request {
                Request::CredHub { name } => self.get(name, last_error).await,
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
pub(super) fn credential(answer: &SecretValue) -> Option<SecretResponse> {
    let document = json::members(json::value(answer.text()?).ok()?)?;
    let newest = json::members(json::elements(json::member(&document, "data")?)?.first()?)?;
    let (kind, value) = (json::string(json::member(&newest, "type")?)?, json::member(&newest, "value")?);
    let fields = json::members(value).unwrap_or_default();
    let fields = fields.into_iter().map(|(name, value)| (name, json::part(value))).collect::<Vec<_>>();
    // Parts of a certificate or a user mean something for themselves; a document of JSON is one.
    let whole = (fields.is_empty() || kind == "json").then(|| json::part(value));
    Some(SecretResponse { whole, fields, lease: None })
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
    use crate::secrets::SecretPart;

    #[test]
    fn an_answer_has_a_part_of_the_memory_and_never_less_than_the_environment_has_room_for() {
        assert_eq!(largest(None), 8 << 20);
        assert_eq!(largest(Some(1 << 30)), 8 << 20);
        assert_eq!(largest(Some(32 << 20)), 2 << 20);
        assert_eq!(largest(Some(1 << 20)), 256 << 10);
    }

    #[test]
    fn the_newest_version_of_a_credential_has_a_whole_or_parts() {
        let answer = |data: &str| {
            let answer = credential(&SecretValue::from(
                format!(r#"{{"data":[{data},{{"type":"value","value":"old"}}]}}"#).as_str(),
            ))?;
            let text = |part: &SecretPart| match part {
                SecretPart::Value(value) => value.text().unwrap().to_owned(),
                SecretPart::Null => "(null)".to_owned(),
                SecretPart::NotText => "(no text)".to_owned(),
            };
            let fields: Vec<_> = answer.fields.iter().map(|(name, part)| format!("{name}={}", text(part))).collect();
            Some((answer.whole.as_ref().map(text), fields.join(" ")))
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
}
