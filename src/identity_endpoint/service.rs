//! What is answered to whom.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hyper::body::Incoming;
use hyper::header::ACCEPT;
use hyper::{Method, Request, StatusCode};
use serde::Serialize;
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::timeout;

use super::bearer_token::{BearerToken, BearerTokenFile};
use super::cache::TokenCache;
use super::identity::{IdentityResponse, date};
use super::rate::RateLimit;
use super::rejection::EndpointRejection;
use super::response::{EndpointResponse, json, respond};
use super::token_request::{EndpointTokenRequest, MAX_BODY, MEMBERS, TokenBody};
use super::verification::{EndpointVerifier, VerifyBody, VerifyRequest};
use super::{body, protections, verification};
use crate::budget::{Budgets, MemoryBudget, Reservation};
use crate::config::{IdentityEndpoint, PairSource};
use crate::credentials::{Pair, ServedCertificate, run_blocking};
use crate::telemetry::{TokenCounters, TokenRequestResult};
use crate::token;
use crate::token::{IssuedToken, TokenRequest, TokenVerdict};

/// Connections at once; further ones wait in the kernel's backlog.
pub const MAX_CONNECTIONS: usize = 64;

/// Connections of users who may not ask, beside those, that are waited for a moment before they are closed.
pub const MAX_REFUSED: usize = 16;

/// So many signatures at once after a pause, for each of the rate.
const BURST: u32 = 5;

/// Requests a second, and at once, whatever they are answered from.
const REQUESTS: u32 = 200;

/// How long a request waits for the first pair.
const FIRST_PAIR: Duration = Duration::from_secs(1);

/// RFC 8693, section 3.
const TOKEN_TYPE: &str = "urn:ietf:params:oauth:token-type:jwt";

/// What all connections share.
#[derive(Debug)]
pub struct IdentityService {
    config: IdentityEndpoint,
    /// Who may connect to a socket file.
    peers: Vec<u32>,
    /// What a request over TCP has to know; `None`: the kernel says who asks.
    bearer_token: Option<BearerToken>,
    /// What tokens of others are judged by; `None`: they are not.
    verifier: Option<Arc<EndpointVerifier>>,
    /// The pair that signs.
    pair: PairSource,
    served: watch::Receiver<Vec<ServedCertificate>>,
    cache: TokenCache,
    requests: RateLimit,
    signatures: RateLimit,
    /// Whose turn it is to sign or to verify: one at a time, so that there is a core for the relay.
    turn: Semaphore,
    /// Room for those who may not ask.
    refused: Semaphore,
    /// Of heads that come in part.
    heads: Arc<MemoryBudget>,
    counters: Arc<TokenCounters>,
}

/// The answer to a request for a token.
#[derive(Serialize)]
struct TokenResponse<'a> {
    token: &'a str,
    token_type: &'static str,
    expires_at: String,
    expires_in: u64,
}

impl IdentityService {
    /// Answers as `config` says, with the pair of `pair` of those that are `served`. `secret`: what requests have to know. `verifier`: of tokens of
    /// others.
    pub fn new(
        config: IdentityEndpoint,
        bearer_token: Option<&BearerTokenFile>,
        verifier: Option<Arc<EndpointVerifier>>,
        pair: PairSource,
        served: watch::Receiver<Vec<ServedCertificate>>,
        counters: Arc<TokenCounters>,
    ) -> Self {
        let own = rustix::process::geteuid().as_raw();
        let peers = if config.peer_uids.is_empty() { vec![own] } else { config.peer_uids.clone() };
        let now = Instant::now();
        Self {
            peers,
            bearer_token: bearer_token.map(|file| file.bearer_token.clone()),
            verifier,
            pair,
            served,
            cache: TokenCache::new(Arc::clone(&counters)),
            requests: RateLimit::new(REQUESTS, REQUESTS, now),
            signatures: RateLimit::new(config.rate, config.rate * BURST, now),
            turn: Semaphore::new(1),
            refused: Semaphore::new(MAX_REFUSED),
            heads: Budgets::new(None, None).backlogs,
            counters,
            config,
        }
    }

    /// Drops what was signed by a pair that is no longer served, for ever.
    pub async fn forget_rotated(self: Arc<Self>) {
        let mut served = self.served.clone();
        while served.changed().await.is_ok() {
            if let Some(current) = self.current() {
                self.cache.rotate(current.generation);
            }
        }
        // The rotator is gone, and with it the process.
        std::future::pending().await
    }

    /// Whether the user `uid` may ask by a socket file.
    pub(super) fn admits(&self, uid: u32) -> bool {
        self.peers.contains(&uid)
    }

    /// A place among those who may not ask and are waited for; `None`: there are enough of them.
    pub(super) fn may_linger(&self) -> Option<SemaphorePermit<'_>> {
        self.refused.try_acquire().ok()
    }

    pub(super) fn refused(&self, error: TokenRequestResult, peer_uid: Option<u32>) {
        self.counters.count_rejection(error, peer_uid);
    }

    /// The answer to `request` of the user `peer_uid`, where that is known.
    pub(super) async fn answer(&self, request: Request<Incoming>, peer_uid: Option<u32>) -> EndpointResponse {
        match self.route(request, peer_uid).await {
            Ok((result, response)) => {
                self.counters.count_request(result);
                response
            }
            Err(refusal) => self.reject(refusal, peer_uid),
        }
    }

    /// The answer to a request of the user `peer_uid` that is refused.
    pub(super) fn reject(&self, refusal: EndpointRejection, peer_uid: Option<u32>) -> EndpointResponse {
        self.refused(refusal.error, peer_uid);
        refusal.into_response()
    }

    /// What is kept of heads that come in part: bounded by their number and length alone.
    pub(super) fn unlimited(&self) -> Reservation {
        self.heads.reservation()
    }

    async fn route(
        &self,
        request: Request<Incoming>,
        peer_uid: Option<u32>,
    ) -> Result<(TokenRequestResult, EndpointResponse), EndpointRejection> {
        protections::check(&request, self.bearer_token.as_ref())?;
        // Before the body is read: what is refused because of it has cost as much.
        self.requests.take(Instant::now()).map_err(EndpointRejection::rate_limited)?;
        if let ("/verify", Some(verifier)) = (request.uri().path(), &self.verifier) {
            if request.method() != Method::POST {
                return Err(EndpointRejection::method("POST"));
            }
            let asked = body::read::<VerifyBody>(request, verification::MAX_BODY, &verification::MEMBERS).await?;
            return self.verify(verifier, asked.meaning()?).await;
        }
        match (request.uri().path(), request.method()) {
            ("/identity", &Method::GET) => {
                let identity = IdentityResponse::of(&self.pair().await?, SystemTime::now())?;
                Ok((TokenRequestResult::Identity, json(StatusCode::OK, &identity)?))
            }
            ("/identity", _) => Err(EndpointRejection::method("GET")),
            ("/token", &Method::GET) => {
                let asked = TokenBody::of_query(request.uri().query().unwrap_or_default())?;
                let is_plain = wants_plain_text(&request);
                self.token(asked.meaning(&self.config)?, is_plain, peer_uid).await
            }
            ("/token", &Method::POST) => {
                let is_plain = wants_plain_text(&request);
                let asked = body::read::<TokenBody>(request, MAX_BODY, &MEMBERS).await?;
                self.token(asked.meaning(&self.config)?, is_plain, peer_uid).await
            }
            ("/token", _) => Err(EndpointRejection::method("GET, POST")),
            _ => {
                let verify = if self.verifier.is_some() { ", POST /verify" } else { "" };
                let there = format!("there are GET /identity, POST /token, GET /token?audience=AUD{verify}");
                Err(EndpointRejection::new(TokenRequestResult::NotFound, there))
            }
        }
    }

    async fn verify(
        &self,
        verifier: &Arc<EndpointVerifier>,
        asked: VerifyRequest,
    ) -> Result<(TokenRequestResult, EndpointResponse), EndpointRejection> {
        // Never an error: it is not closed.
        let turn = self.turn.acquire().await.ok();
        let verifier = Arc::clone(verifier);
        let verdict = run_blocking(move || verifier.verify(&asked, SystemTime::now())).await;
        drop(turn);
        let verdict = verdict.map_err(|_| panicked())??;
        self.counters.count_verdict(verdict.reason());
        let said = verdict.said();
        self.log_verdict(&said, verdict.is_permit());
        let status = if verdict.is_permit() { StatusCode::OK } else { StatusCode::FORBIDDEN };
        Ok((TokenRequestResult::Verified, json(status, &said)?))
    }

    fn log_verdict(&self, said: &TokenVerdict, is_permit: bool) {
        let (jti, fingerprint) = (said.jti.as_deref(), said.fingerprint_sha256.as_deref());
        let identity = said.identity.as_ref();
        let (app, space) =
            (identity.and_then(|who| who.app_guid.as_deref()), identity.and_then(|who| who.space_guid.as_deref()));
        if is_permit {
            tracing::debug!(audience = said.audience, jti, fingerprint, app, space, "token verified");
        } else if let Some(left_out) = self.counters.admit_denial() {
            let suppressed = (left_out > 0).then_some(left_out);
            tracing::info!(
                reason = said.reason,
                check = said.check,
                jti,
                fingerprint,
                app,
                space,
                suppressed,
                "token denied"
            );
        }
    }

    async fn token(
        &self,
        asked: EndpointTokenRequest,
        is_plain: bool,
        peer_uid: Option<u32>,
    ) -> Result<(TokenRequestResult, EndpointResponse), EndpointRejection> {
        let EndpointTokenRequest { request, fresh } = asked;
        let ServedCertificate { pair, generation, .. } = self.pair().await?;
        let sign = async || self.sign(pair, request.clone()).await;
        let (token, is_new) = match fresh {
            true => (Arc::new(sign().await?), true),
            false => self.cache.get(&request, generation, SystemTime::now(), sign).await?,
        };
        let (audience, form) = (request.audience.first().map(String::as_str), request.form.as_str());
        let (jti, expires) = (token.jti.as_str(), UNIX_EPOCH + Duration::from_secs(token.expires_at));
        let expires_at = date(expires);
        if is_new {
            tracing::info!(audience, form, jti, expires_at, peer_uid, generation, "token issued");
        } else {
            tracing::debug!(audience, form, jti, expires_at, peer_uid, generation, "token issued");
        }
        let result = if is_new { TokenRequestResult::Signed } else { TokenRequestResult::Cached };
        if is_plain {
            return Ok((result, respond(StatusCode::OK, "text/plain; charset=utf-8", token.text().to_owned())));
        }
        let expires_in = expires.duration_since(SystemTime::now()).unwrap_or_default().as_secs();
        let answer = TokenResponse { token: token.text(), token_type: TOKEN_TYPE, expires_at, expires_in };
        Ok((result, json(StatusCode::OK, &answer)?))
    }

    /// Signs a token beside the threads that relay, once it is our turn.
    async fn sign(&self, pair: Pair, request: TokenRequest) -> Result<IssuedToken, EndpointRejection> {
        self.signatures.take(Instant::now()).map_err(EndpointRejection::rate_limited)?;
        // Never an error: it is not closed.
        let _turn = self.turn.acquire().await.ok();
        let counters = Arc::clone(&self.counters);
        let issued = run_blocking(move || {
            let began = Instant::now();
            let issued = token::issue(&pair, &request, SystemTime::now());
            if issued.is_ok() {
                counters.count_signed(request.form.as_str(), began.elapsed());
            }
            issued
        });
        match issued.await {
            Ok(issued) => issued.map_err(|error| EndpointRejection::of_issue(&error)),
            Err(_) => Err(panicked()),
        }
    }

    /// The pair that signs. The app may ask before the first one was read, as it is started first: it waits a moment.
    async fn pair(&self) -> Result<ServedCertificate, EndpointRejection> {
        let mut served = self.served.clone();
        let is_ours = |served: &Vec<ServedCertificate>| served.iter().any(|served| served.source == self.pair);
        let _ = timeout(FIRST_PAIR, served.wait_for(is_ours)).await;
        let detail = "there is no usable certificate and key yet";
        self.current().ok_or_else(|| EndpointRejection::new(TokenRequestResult::NoPair, detail))
    }

    fn current(&self) -> Option<ServedCertificate> {
        self.served.borrow().iter().find(|served| served.source == self.pair).cloned()
    }
}

fn panicked() -> EndpointRejection {
    EndpointRejection::new(TokenRequestResult::Internal, "this is a fault of vestibule; please report it, with the log")
}

/// Whether the token alone is wanted: for shells, and for readers that take an answer as it is. What is liked best counts, and of such the first
/// (RFC 9110, section 12.5.1).
fn wants_plain_text<B>(request: &Request<B>) -> bool {
    let accepted = request.headers().get_all(ACCEPT).iter().filter_map(|accept| accept.to_str().ok());
    let mut best = ("", 0.0_f32);
    for media_type in accepted.flat_map(|accept| accept.split(',')) {
        let mut parts = media_type.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        let weight = weight.map_or(1.0, |weight| weight.parse().unwrap_or(0.0));
        if weight > best.1 {
            best = (name, weight);
        }
    }
    best.0.eq_ignore_ascii_case("text/plain")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_alone_is_for_those_who_like_plain_text_best() {
        let wants = |accept: &str| wants_plain_text(&Request::builder().header(ACCEPT, accept).body(()).unwrap());
        for accept in [
            "text/plain",
            "TEXT/PLAIN; charset=utf-8",
            "text/plain, application/json",
            "text/plain, */*;q=0.1",
            "application/json;q=0.5, text/plain",
        ] {
            assert!(wants(accept), "{accept}");
        }
        for accept in [
            "",
            "*/*",
            "application/json",
            "application/json, text/plain, */*",
            "text/plain;q=0.5, application/json",
            "text/plain;q=0",
            "text/plain;q=x",
            "text/plainer",
        ] {
            assert!(!wants(accept), "{accept}");
        }
        assert!(!wants_plain_text(&Request::new(())));
    }
}
