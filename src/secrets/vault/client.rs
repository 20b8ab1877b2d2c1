//! Requests to Vault, one at a time.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use hyper::{Method, StatusCode};
use zeroize::Zeroizing;

use super::error::{VaultError, own_words};
use super::response::VaultToken;
use crate::config::values::api_url;
use crate::config::{ApiUrl, Vault, VaultMethod};
use crate::credentials::{ApiCas, ApiTrust, OutboundSnapshot, Pair};
use crate::outbound::{ApiLimits, ApiRequest, ApiResponse, ApiServer};

/// How long one request may take, and how large its answer may be.
const LIMITS: ApiLimits =
    ApiLimits { connect: Duration::from_secs(4), total: Duration::from_secs(10), body: 1024 * 1024 };

/// The one request of which nobody waits for the answer.
const REVOCATION: Duration = Duration::from_secs(2);

/// A server of Vault, as it is called with one pair.
pub(super) struct VaultClient {
    url: ApiUrl,
    /// `None`: nothing is encrypted.
    snapshot: Option<Arc<OutboundSnapshot>>,
    namespace: Option<HeaderValue>,
}

/// One request.
pub(super) struct VaultRequest<'a> {
    pub(super) method: Method,
    /// Behind `/v1/`, with its query.
    pub(super) path: &'a str,
    pub(super) token: Option<&'a VaultToken>,
    pub(super) body: Option<&'a [u8]>,
    /// What of the body nobody may see again in an error.
    pub(super) secrets: &'a [&'a str],
    pub(super) wrap_ttl: Option<Duration>,
}

impl<'a> VaultRequest<'a> {
    /// A question with `token`.
    pub(super) fn get(path: &'a str, token: &'a VaultToken) -> Self {
        Self { method: Method::GET, body: None, ..Self::post(path, Some(token), &[]) }
    }

    /// `body` for `path`.
    pub(super) fn post(path: &'a str, token: Option<&'a VaultToken>, body: &'a [u8]) -> Self {
        Self { method: Method::POST, path, token, body: Some(body), secrets: &[], wrap_ttl: None }
    }
}

/// What Vault has answered: with a status that says yes, or with a 404.
pub(super) struct VaultResponse {
    pub(super) body: Zeroizing<Vec<u8>>,
}

impl VaultClient {
    /// What calls the server of `config`, and shows it `pair` where that is what is logged in with.
    ///
    /// # Errors
    /// The CAs that vouch for it cannot be read. It blocks.
    pub(super) fn new(config: &Vault, pair: &Pair) -> Result<Self, VaultError> {
        let cas = ApiCas { given: config.ca.clone(), platform: config.platform_cas.clone(), option: config.ca_option };
        let shown = (config.method() == VaultMethod::Cert).then_some(pair);
        let snapshot = match config.url.is_tls {
            true => {
                let trust = ApiTrust::load(&cas).map_err(VaultError::Trust)?;
                let snapshot = trust.snapshot(shown).map_err(|error| VaultError::Trust(error.to_string()))?;
                Some(Arc::new(snapshot))
            }
            false => None,
        };
        let namespace = config.namespace.as_deref().and_then(|namespace| HeaderValue::try_from(namespace).ok());
        Ok(Self { url: config.url.clone(), snapshot, namespace })
    }

    /// Asks, and gives the answer if it is a yes.
    ///
    /// # Errors
    /// [`VaultError`]: there is no answer, or it is a no.
    pub(super) async fn call(&self, call: &VaultRequest<'_>) -> Result<VaultResponse, VaultError> {
        self.call_within(call, LIMITS.total).await
    }

    /// The same for a token that is to be no more.
    pub(super) async fn revoke(&self, token: &VaultToken) -> Result<(), VaultError> {
        self.call_within(&VaultRequest::post("auth/token/revoke-self", Some(token), b""), REVOCATION).await.map(drop)
    }

    async fn call_within(&self, call: &VaultRequest<'_>, total: Duration) -> Result<VaultResponse, VaultError> {
        let deadline = tokio::time::Instant::now() + total;
        let mut url = self.url.clone();
        let mut path = format!("/v1/{}", call.path);
        let mut response = self.send(&url, path, call, total).await?;
        // A standby names the active node; one that names another is not followed.
        if response.status == StatusCode::TEMPORARY_REDIRECT
            && let Some((active, there)) = redirect(&url, &response.headers)
        {
            (url, path) = (active, there);
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            response = self.send(&url, path, call, left).await?;
        }
        if response.status.is_success() {
            return Ok(VaultResponse { body: response.body });
        }
        let secrets: Vec<_> =
            call.token.map(VaultToken::text).into_iter().chain(call.secrets.iter().copied()).collect();
        let text = match super::response::missing(&response.body).filter(|_| response.status == StatusCode::NOT_FOUND) {
            Some(gone) => gone,
            None => own_words(&response.body, &secrets),
        };
        let (url, operation) = (url.to_string(), call.path.to_owned());
        Err(VaultError::Refused { url, operation, status: response.status, text })
    }

    async fn send(
        &self,
        url: &ApiUrl,
        path: String,
        call: &VaultRequest<'_>,
        total: Duration,
    ) -> Result<ApiResponse, VaultError> {
        let unreachable = |error| VaultError::Unreachable { url: url.to_string(), error };
        let server = match &self.snapshot {
            Some(snapshot) => ApiServer::new(url.clone(), Arc::clone(snapshot)),
            None => ApiServer::plain(url.clone()),
        };
        let body = call.body.map(Bytes::copy_from_slice).unwrap_or_default();
        let request = ApiRequest { method: call.method.clone(), path, headers: self.headers(call), body };
        server.call(request, ApiLimits { total, ..LIMITS }).await.map_err(unreachable)
    }

    fn headers(&self, call: &VaultRequest<'_>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("x-vault-request", HeaderValue::from_static("true"));
        if let Some(namespace) = &self.namespace {
            headers.insert("x-vault-namespace", namespace.clone());
        }
        // Invariant: a token is one word of ASCII.
        if let Some(mut token) = call.token.and_then(|token| HeaderValue::from_str(token.text()).ok()) {
            token.set_sensitive(true);
            headers.insert("x-vault-token", token);
        }
        if let Some(ttl) = call.wrap_ttl.and_then(|ttl| HeaderValue::try_from(format!("{}s", ttl.as_secs())).ok()) {
            headers.insert("x-vault-wrap-ttl", ttl);
        }
        if call.body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        headers
    }
}

/// Where a redirect leads, if that is as well protected as where it comes from: the server, and path and query.
fn redirect(from: &ApiUrl, headers: &HeaderMap) -> Option<(ApiUrl, String)> {
    let location = headers.get(LOCATION)?.to_str().ok()?;
    let scheme_end = location.find("://")? + 3;
    let path_start = scheme_end + location[scheme_end..].find('/')?;
    let (server, path) = location.split_at(path_start);
    let to = api_url(server).ok().filter(|to| to.is_tls == from.is_tls)?;
    Some((to, path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_is_followed_to_the_same_scheme_only() {
        let leads = |from: &str, to: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(LOCATION, HeaderValue::from_str(to).unwrap());
            redirect(&api_url(from).unwrap(), &headers).map(|(url, path)| (url.to_string(), path))
        };
        let (tls, plain) = ("https://standby:8200", "http://127.0.0.1:1");
        let there = ("https://active:8200".to_owned(), "/v1/a?b=c".to_owned());
        assert_eq!(leads(tls, "https://active:8200/v1/a?b=c"), Some(there));
        assert_eq!(
            leads(plain, "http://127.0.0.1:2/v1/a"),
            Some(("http://127.0.0.1:2".to_owned(), "/v1/a".to_owned()))
        );
        for (from, to) in [
            (tls, "http://active:8200/v1/a"),
            (tls, "http://127.0.0.1:8200/v1/a"),
            (plain, "https://active:8200/v1/a"),
            (plain, "http://active:8200/v1/a"),
            (tls, "/v1/a"),
            (tls, "https://user@active/v1/a"),
            (tls, "ftp://active/v1/a"),
            (tls, "https://active"),
        ] {
            assert_eq!(leads(from, to), None, "{from} to {to}");
        }
    }
}
