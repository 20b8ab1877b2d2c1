//! What is counted and said of tokens: those that were signed, those that were asked for, and those that were judged.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use strum::{EnumCount, IntoStaticStr, VariantArray};

use super::bounded_counter::{BoundedCounter, Counts};
use super::histogram::{Histogram, HistogramSnapshot};
use super::limiter::LineLimiter;

/// Forms of tokens, and a few more than there are.
const MAX_FORMS: usize = 8;

/// Verdicts on tokens, and a few more than there are.
const MAX_VERDICTS: usize = 64;

/// What became of a request to the identity endpoint: a closed set, the `error` of its answer and the label of its count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumCount, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum TokenRequestResult {
    /// A token was signed for it.
    Signed,
    /// It got a token that was there.
    Cached,
    /// It was told who the instance is.
    Identity,
    /// It was told what is thought of a token.
    Verified,
    /// The kernel says that another user asks.
    PeerNotAllowed,
    /// It names another host.
    Misdirected,
    /// It was passed on by somebody, or comes from a web page.
    Forwarded,
    /// It has no `X-Identity-Request: true`.
    HeaderMissing,
    /// It does not know the secret.
    Unauthorized,
    /// There is nothing at its path.
    NotFound,
    /// Another method is meant.
    MethodNotAllowed,
    /// Its head is too large.
    HeadTooLarge,
    /// Its head did not come in time.
    HeadTimeout,
    /// Its body is too large.
    BodyTooLarge,
    /// Its body did not come in time.
    BodyTimeout,
    /// Its body is not JSON by its type.
    MediaType,
    /// Its body, or its query, is not what is asked for.
    BadRequest,
    /// Tokens do not live for so long, or so short.
    TtlOutOfRange,
    /// Our key makes no tokens of that form.
    FormNotPossible,
    /// No token may be asked for this audience.
    AudienceNotAllowed,
    /// There were too many of them.
    RateLimited,
    /// There is no pair yet.
    NoPair,
    /// A certificate of the pair has expired.
    Expired,
    /// A certificate of the pair is not valid yet.
    NotYetValid,
    /// The platform has announced that the instance is about to stop.
    Retired,
    /// The pair is not one to make tokens with.
    UnusablePair,
    /// The CAs that vouch for tokens have not been loaded yet.
    NoTrustAnchors,
    /// A fault of ours.
    Internal,
}

impl TokenRequestResult {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Whether the request got what it asked for.
    pub fn is_success(self) -> bool {
        matches!(self, Self::Signed | Self::Cached | Self::Identity | Self::Verified)
    }
}

/// Totals since the start. There are none where nobody can ask for tokens.
#[derive(Debug, Default)]
pub struct TokenCounters {
    signed: BoundedCounter<&'static str, MAX_FORMS>,
    signature_times: Histogram,
    requests: [AtomicU64; TokenRequestResult::COUNT],
    verdicts: BoundedCounter<&'static str, MAX_VERDICTS>,
    cached: AtomicU64,
    last_refusal: Mutex<Option<(SystemTime, TokenRequestResult)>>,
    limiter: LineLimiter<{ TokenRequestResult::COUNT }>,
    denials: LineLimiter<1>,
}

impl TokenCounters {
    /// A token of this `form` was signed, which `took` so long.
    pub fn count_signed(&self, form: &'static str, took: Duration) {
        self.signed.count(&form);
        self.signature_times.count(took);
    }

    /// Tokens that were signed for requests, of whatever form.
    pub(crate) fn issued(&self) -> u64 {
        self.signature_times().count()
    }

    /// A request got what it asked for.
    pub fn count_request(&self, result: TokenRequestResult) {
        self.requests[result as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// A request of the user `peer_uid`, where that is known, was refused: counted, and said, unless there are too many.
    pub fn count_rejection(&self, error: TokenRequestResult, peer_uid: Option<u32>) {
        self.count_request(error);
        *self.last_refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some((SystemTime::now(), error));
        if let Some(left_out) = self.limiter.admit(error as usize, Instant::now()) {
            let suppressed = (left_out > 0).then_some(left_out);
            tracing::warn!(error = error.as_str(), peer_uid, suppressed, "token request refused");
        }
    }

    /// A token was judged: `permit`, or the reason of its denial.
    pub fn count_verdict(&self, verdict: &'static str) {
        self.verdicts.count(&verdict);
    }

    /// Whether one more line may say that a token was denied, and how many were left out before it; `None`: there were too many.
    pub fn admit_denial(&self) -> Option<u64> {
        self.denials.admit(0, Instant::now())
    }

    /// So many tokens wait to be asked for again.
    pub fn set_cached(&self, tokens: usize) {
        self.cached.store(tokens as u64, Ordering::Relaxed);
    }

    /// Tokens that were signed, by form.
    pub(crate) fn signed(&self) -> Counts<&'static str> {
        self.signed.counts()
    }

    /// How long signatures took, with all that belongs to a token.
    pub(crate) fn signature_times(&self) -> HistogramSnapshot {
        self.signature_times.snapshot()
    }

    /// Requests that ended so.
    pub fn requests(&self, result: TokenRequestResult) -> u64 {
        self.requests[result as usize].load(Ordering::Relaxed)
    }

    /// Verdicts on tokens.
    pub(crate) fn verdicts(&self) -> Counts<&'static str> {
        self.verdicts.counts()
    }

    /// Tokens that wait to be asked for again.
    pub fn cached(&self) -> u64 {
        self.cached.load(Ordering::Relaxed)
    }

    /// When a request was last refused, and why.
    pub fn last_refusal(&self) -> Option<(SystemTime, TokenRequestResult)> {
        *self.last_refusal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
