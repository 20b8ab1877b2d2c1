//! Tokens that can be handed out again: a signature takes milliseconds, and an app may ask for each of its requests.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::OnceCell;

use crate::telemetry::TokenCounters;
use crate::token::{IssuedToken, TokenRequest};

/// Requests of which tokens are kept, each of some KiB: an app asks for few, and whoever asks for many gains nothing.
const MAX_TOKENS: usize = 128;

/// Tokens of one generation of the pair, each until half of its life is over.
#[derive(Debug)]
pub(super) struct TokenCache {
    tokens: Mutex<Tokens>,
    counters: Arc<TokenCounters>,
}

#[derive(Debug, Default)]
struct Tokens {
    /// Of the pair that has signed them.
    generation: u64,
    /// Invariant: at most [`MAX_TOKENS`].
    known: HashMap<TokenRequest, Arc<CachedToken>>,
}

/// One token: those who ask for it while it is signed wait for the same.
type CachedToken = OnceCell<Arc<IssuedToken>>;

impl TokenCache {
    pub(super) fn new(counters: Arc<TokenCounters>) -> Self {
        Self { tokens: Mutex::default(), counters }
    }

    /// A token for `request` by the pair of `generation`, and whether it was signed for this call: else it was there, or on its way. `sign` signs
    /// one; if whoever waits for that goes away, the next who waits begins anew.
    ///
    /// # Errors
    /// Those of `sign`. Nothing is kept of them.
    pub(super) async fn get<E>(
        &self,
        request: &TokenRequest,
        generation: u64,
        now: SystemTime,
        sign: impl AsyncFnOnce() -> Result<IssuedToken, E>,
    ) -> Result<(Arc<IssuedToken>, bool), E> {
        let slot = self.slot(request, generation, now);
        let mut signed = false;
        let result = slot
            .get_or_try_init(async || {
                signed = true;
                sign().await.map(Arc::new)
            })
            .await
            .cloned();
        if signed {
            self.settle(request, &slot);
        }
        result.map(|token| (token, signed))
    }

    /// Drops all that another pair has signed than that of `generation`.
    pub(super) fn rotate(&self, generation: u64) {
        let mut tokens = self.lock();
        tokens.rotate(generation);
        self.count(&tokens);
    }

    fn slot(&self, request: &TokenRequest, generation: u64, now: SystemTime) -> Arc<CachedToken> {
        let mut tokens = self.lock();
        tokens.rotate(generation);
        if let Some(slot) = tokens.known.get(request)
            && slot.get().is_none_or(|token| is_fresh(token, now))
        {
            return Arc::clone(slot);
        }
        let slot = Arc::new(CachedToken::new());
        tokens.known.remove(request);
        if tokens.make_room(now) {
            tokens.known.insert(request.clone(), Arc::clone(&slot));
        }
        self.count(&tokens);
        slot
    }

    /// A slot that stayed empty is of no use.
    fn settle(&self, request: &TokenRequest, slot: &Arc<CachedToken>) {
        let mut tokens = self.lock();
        let is_empty = tokens.known.get(request).is_some_and(|known| Arc::ptr_eq(known, slot) && !known.initialized());
        if is_empty {
            tokens.known.remove(request);
        }
        self.count(&tokens);
    }

    fn count(&self, tokens: &Tokens) {
        self.counters.set_cached(tokens.known.values().filter(|slot| slot.initialized()).count());
    }

    fn lock(&self) -> MutexGuard<'_, Tokens> {
        // What a panic could leave behind is a token that is missing.
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tokens {
    /// A request that was slow may still know the pair before: it does not bring it back.
    fn rotate(&mut self, generation: u64) {
        if self.generation < generation {
            self.known.clear();
            self.generation = generation;
        }
    }

    /// Whether there is room for one more: what is no longer handed out goes first, and then what was signed first. What is being signed stays.
    fn make_room(&mut self, now: SystemTime) -> bool {
        if self.known.len() < MAX_TOKENS {
            return true;
        }
        self.known.retain(|_, slot| slot.get().is_none_or(|token| is_fresh(token, now)));
        if self.known.len() == MAX_TOKENS {
            let signed = self.known.iter().filter_map(|(request, slot)| Some((request, slot.get()?.issued_at)));
            let oldest = signed.min_by_key(|(_, issued_at)| *issued_at).map(|(request, _)| request.clone());
            oldest.and_then(|oldest| self.known.remove(&oldest));
        }
        self.known.len() < MAX_TOKENS
    }
}

/// Whether half of its life is still to come. One of the future comes from a clock that was set back: it is not trusted.
fn is_fresh(token: &IssuedToken, now: SystemTime) -> bool {
    let issued = UNIX_EPOCH + Duration::from_secs(token.issued_at);
    let life = Duration::from_secs(token.expires_at.saturating_sub(token.issued_at));
    now.duration_since(issued).is_ok_and(|age| age < life / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use crate::credentials::Pair;
    use crate::issuer::{CertificateAuthority, InstanceSpec, KeyKind};
    use crate::token;

    struct Signer {
        pair: Pair,
        now: SystemTime,
        signed: AtomicUsize,
    }

    impl Signer {
        fn new() -> Self {
            let now = SystemTime::now();
            let spec = InstanceSpec { key: KeyKind::P256, ..InstanceSpec::generate().unwrap() };
            let credential = CertificateAuthority::generate(now).unwrap().issue(&spec, now).unwrap();
            let (cert, key) = (credential.cert_pem.as_bytes(), credential.key_pem.as_bytes());
            let pair = Pair::from_pem(cert, key, &crate::crypto::provider()).unwrap();
            // Tokens know whole seconds.
            let now = UNIX_EPOCH + Duration::from_secs(now.duration_since(UNIX_EPOCH).unwrap().as_secs() + 5);
            Self { pair, now, signed: AtomicUsize::new(0) }
        }

        async fn sign(&self, request: &TokenRequest, after: u64) -> Result<IssuedToken, Infallible> {
            self.signed.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            Ok(token::issue(&self.pair, request, self.at(after)).unwrap())
        }

        fn at(&self, seconds: u64) -> SystemTime {
            self.now + Duration::from_secs(seconds)
        }

        async fn get(&self, cache: &TokenCache, request: &TokenRequest, generation: u64, after: u64) -> (String, bool) {
            let got = cache.get(request, generation, self.at(after), async || self.sign(request, after).await).await;
            let (token, signed) = got.unwrap();
            (token.jti.clone(), signed)
        }
    }

    fn request(audience: &str) -> TokenRequest {
        TokenRequest::new(audience, Duration::from_secs(60))
    }

    #[tokio::test]
    async fn a_token_is_handed_out_until_half_of_its_life_and_not_after_a_rotation() {
        let (signer, cache) = (Signer::new(), TokenCache::new(Arc::default()));
        let (first, signed) = signer.get(&cache, &request("a"), 1, 0).await;
        assert!(signed);
        assert_eq!(signer.get(&cache, &request("a"), 1, 29).await, (first.clone(), false));
        let (other, signed) = signer.get(&cache, &request("b"), 1, 29).await;
        assert!(signed && other != first);
        let (second, signed) = signer.get(&cache, &request("a"), 1, 30).await;
        assert!(signed && second != first);
        assert_eq!(cache.counters.cached(), 2);
        assert!(signer.get(&cache, &request("a"), 2, 31).await.1, "another pair");
        assert_eq!(cache.counters.cached(), 1, "all others are dropped");
        cache.rotate(3);
        assert_eq!(cache.counters.cached(), 0);
    }

    #[tokio::test]
    async fn those_who_ask_for_the_same_at_once_share_one_signature() {
        let (signer, cache) = (Signer::new(), TokenCache::new(Arc::default()));
        let request = request("a");
        let ask = || signer.get(&cache, &request, 1, 0);
        let ((one, a), (two, b), (three, c)) = tokio::join!(ask(), ask(), ask());
        assert_eq!([a, b, c].into_iter().filter(|signed| *signed).count(), 1);
        assert!(one == two && two == three);
        assert_eq!(signer.signed.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn what_fails_is_not_kept_and_who_goes_away_keeps_nobody_waiting() {
        let (signer, cache) = (Signer::new(), TokenCache::new(Arc::default()));
        let request = request("a");
        let failed = cache.get(&request, 1, signer.now, async || Err::<IssuedToken, _>("no")).await;
        assert_eq!(failed.unwrap_err(), "no");
        {
            let mut gone = std::pin::pin!(cache.get(&request, 1, signer.now, async || {
                std::future::pending::<Result<IssuedToken, Infallible>>().await
            }));
            assert!(futures_poll_once(gone.as_mut()).await);
        }
        assert!(signer.get(&cache, &request, 1, 0).await.1);
    }

    /// Whether it waits.
    async fn futures_poll_once<F: Future>(mut future: std::pin::Pin<&mut F>) -> bool {
        std::future::poll_fn(|context| std::task::Poll::Ready(future.as_mut().poll(context).is_pending())).await
    }

    #[tokio::test]
    async fn so_many_are_kept_and_the_oldest_goes_first() {
        let (signer, cache) = (Signer::new(), TokenCache::new(Arc::default()));
        for nth in 0..=MAX_TOKENS {
            signer.get(&cache, &request(&nth.to_string()), 1, u64::from(nth > 0)).await;
        }
        assert_eq!(cache.counters.cached(), MAX_TOKENS as u64);
        assert!(!signer.get(&cache, &request("1"), 1, 1).await.1);
        assert!(signer.get(&cache, &request("0"), 1, 1).await.1);
    }
}
