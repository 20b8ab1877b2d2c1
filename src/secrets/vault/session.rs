//! The token that we hold: asked for when it is first needed, renewed, replaced when the pair is, and revoked at the end.

mod asking;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{Mutex, Notify, watch};
use tokio::time::{sleep_until, timeout};

use super::client::VaultRequest;
use super::error::{VaultError, VaultOperation};
use super::held::HeldToken;
use super::response::{self, Auth, LoginResponse, Renewal, VaultToken};
use super::schedule::{Failed, RenewalSchedule, RenewalStep};
use crate::config::{Vault, VaultMethod};
use crate::credentials::ServedCertificate;
use crate::identity::Certificate;
use crate::secrets::rotation;
use crate::telemetry::{VaultCounters, VaultTokenTimes};

/// All revocations at the end together, in case there are several tokens.
const LAST_REVOCATIONS: Duration = Duration::from_secs(2);

/// From a new token to the revocation of the one before.
const GRACE: Duration = Duration::from_secs(2);

/// Told of each pair that is in service; the first of them is ours.
pub type PairUpdates = watch::Receiver<Vec<ServedCertificate>>;

/// A session with one server of Vault.
pub struct VaultSession {
    config: Vault,
    pairs: PairUpdates,
    state: Mutex<VaultSessionState>,
    /// The token that is there, for whoever writes it elsewhere.
    tokens: watch::Sender<Option<VaultToken>>,
    /// A token has lost the last of its leases.
    freed: Notify,
    counters: Arc<VaultCounters>,
}

struct VaultSessionState {
    current: Option<Arc<HeldToken>>,
    schedule: RenewalSchedule,
    /// Tokens before, for a moment, or as long as leases end with them.
    kept: Vec<(Arc<HeldToken>, RenewalSchedule)>,
    /// The pair that was in service when the last token was asked for.
    generation: u64,
    /// The pair for which a login is due, or was: what fails by it is not tried again at once.
    noticed: u64,
    /// The platform has announced that the instance is about to stop.
    is_retired: bool,
    /// Which token each lease ends with.
    holders: HashMap<String, Arc<HeldToken>>,
    /// A failure of this text was logged, and nothing better since.
    reported: Option<String>,
}

impl VaultSession {
    /// A session in which nobody has logged in yet.
    pub fn new(config: Vault, pairs: PairUpdates, counters: Arc<VaultCounters>) -> Self {
        let state = VaultSessionState {
            current: None,
            schedule: RenewalSchedule::new(Instant::now()),
            kept: Vec::new(),
            generation: 0,
            noticed: 0,
            is_retired: false,
            holders: HashMap::new(),
            reported: None,
        };
        let (tokens, freed) = (watch::Sender::new(None), Notify::new());
        Self { config, pairs, state: Mutex::new(state), tokens, freed, counters }
    }

    /// Whom it is with.
    pub fn config(&self) -> &Vault {
        &self.config
    }

    /// Tells of each token as it comes, and of its end.
    pub fn tokens(&self) -> watch::Receiver<Option<VaultToken>> {
        self.tokens.subscribe()
    }

    /// One login, of which the caller gets the token and we keep nothing.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn log_in_once(&self) -> Result<VaultToken, VaultError> {
        let (answer, _, _) = self.ask_for_token().await?;
        Ok(match answer {
            LoginResponse::Auth(auth) => auth.token,
            LoginResponse::Wrapped(wrapped) => wrapped.token,
        })
    }

    /// The token to be used once now: the one that is there, or a new one. Whoever comes meanwhile waits for the same login.
    pub(super) async fn token(&self) -> Result<Arc<HeldToken>, VaultError> {
        let mut state = self.state.lock().await;
        if let Some(held) = state.current.as_ref().filter(|held| held.take_use()) {
            return Ok(Arc::clone(held));
        }
        if state.is_retired {
            return Err(self.unusable("was not asked for: the instance is about to stop"));
        }
        self.log_in(&mut state).await?;
        let held = state.current.as_ref().filter(|held| held.take_use());
        held.map(Arc::clone).ok_or_else(|| self.unusable("can be used by nobody"))
    }

    /// `held` is of no use any more, as `error` says: the next one to ask for a token gets another.
    pub(super) async fn forget(&self, held: &Arc<HeldToken>, error: &VaultError) {
        let mut state = self.state.lock().await;
        if let Some(old) = state.current.take_if(|current| Arc::ptr_eq(current, held)) {
            let now = Instant::now();
            if !error.is_forbidden() {
                // Good for whoever shows another pair, until it is revoked.
                state.kept.push((old, RenewalSchedule::due(now + GRACE)));
            }
            state.schedule.log_in_anew(now);
        }
    }

    /// Whether `held` is good for nothing, where something else was refused by `error`: somebody may have revoked the token, or the server
    /// does not take the pair any more that was shown, and there is another.
    pub(super) async fn is_gone(&self, held: &HeldToken, error: &VaultError) -> bool {
        if error.is_forbidden() {
            let lookup = held.client.call(&VaultRequest::get("auth/token/lookup-self", &held.token)).await;
            return lookup.is_err_and(|error| error.is_forbidden());
        }
        error.is_of_the_pair(VaultOperation::Secret) && rotation::has_successor(&self.pairs, held.generation).await
    }

    /// From now on the lease `id` ends with `held`.
    pub(super) async fn hold(&self, id: &str, held: Arc<HeldToken>) {
        held.add_lease();
        self.state.lock().await.holders.insert(id.to_owned(), held);
    }

    /// One lease that was to end with `held` has ended before; a token of an earlier pair that has no other is revoked.
    pub(super) fn release(&self, held: &HeldToken) {
        held.remove_lease();
        if !held.has_leases() {
            self.freed.notify_one();
        }
    }

    /// The token that the lease `id` ends with, which is the caller's to let go.
    pub(super) async fn take_holder(&self, id: &str) -> Option<Arc<HeldToken>> {
        self.state.lock().await.holders.remove(id)
    }

    /// When the token ends that the lease `id` ends with, if it is one that is not renewed any more.
    pub(super) async fn end_of_holder(&self, id: &str) -> Option<Instant> {
        let state = self.state.lock().await;
        let held = state.holders.get(id)?;
        let (_, schedule) = state.kept.iter().find(|(kept, _)| Arc::ptr_eq(kept, held))?;
        // The cert method looks at the pair again, which is another one by now.
        schedule.ends().filter(|_| self.config.method() == VaultMethod::Cert || schedule.next().is_none())
    }

    /// Makes the lease `id` last for `wanted` from now on; `None`: it was answered without one.
    pub(super) async fn renew_lease(&self, id: &str, wanted: Duration) -> Result<Option<Renewal>, VaultError> {
        let held = self.state.lock().await.holders.get(id).cloned();
        let held = match held {
            Some(held) => held,
            None => self.token().await?,
        };
        let body = serde_json::json!({ "lease_id": id, "increment": wanted.as_secs() }).to_string();
        let reply =
            held.client.call(&VaultRequest::post("sys/leases/renew", Some(&held.token), body.as_bytes())).await?;
        Ok(response::lease_renewal(&reply.body))
    }

    /// Keeps a token, for ever. What fails is logged, and tried again. Dropping it loses nothing but what it is doing.
    pub async fn run(&self) {
        let mut pairs = self.pairs.clone();
        loop {
            self.notice_pair().await;
            let (due, kept) = {
                let state = self.state.lock().await;
                self.publish(&state);
                let kept = state.kept.iter().filter_map(|(_, schedule)| schedule.next().map(|(at, _)| at)).min();
                (state.schedule.next().filter(|_| !state.is_retired), kept)
            };
            let wake = async |at: Option<Instant>| match at {
                Some(at) => sleep_until(at.into()).await,
                None => std::future::pending().await,
            };
            tokio::select! {
                changed = pairs.changed() => if changed.is_err() {
                    // Nobody will tell us of another pair.
                    return std::future::pending().await;
                },
                () = wake(due.map(|(at, _)| at)) => match due {
                    Some((_, RenewalStep::Renew)) => self.renew().await,
                    _ => self.replace().await,
                },
                () = wake(kept) => self.renew_kept().await,
                () = self.freed.notified() => self.renew_kept().await,
            }
        }
    }

    /// Another pair is a new beginning, and one that announces a retirement the end.
    async fn notice_pair(&self) {
        let (generation, is_retirement) = {
            let served = self.pairs.borrow();
            let Some(served) = served.first() else { return };
            let leaf = Certificate::from_der(served.pair.leaf());
            (served.generation, leaf.is_ok_and(|leaf| leaf.is_retirement()))
        };
        let mut state = self.state.lock().await;
        if is_retirement {
            if !std::mem::replace(&mut state.is_retired, true) {
                tracing::info!("retirement certificate received; the Vault token is revoked unless it holds leases");
                let free = state.current.take_if(|held| !held.has_leases());
                drop(state);
                if let Some(held) = free {
                    self.tokens.send_replace(None);
                    held.revoke(&held.client).await;
                }
            }
        } else if std::mem::replace(&mut state.noticed, generation) != generation && state.generation != generation {
            state.schedule.log_in_anew(Instant::now());
        }
    }

    /// Logs in anew, and lets the old token go.
    async fn replace(&self) {
        let mut state = self.state.lock().await;
        if let Err(error) = self.log_in(&mut state).await {
            self.note_failure(&mut state, &error, VaultOperation::Login);
        }
    }

    /// Logs in with the pair in service. The token before is revoked, but for one that holds leases.
    async fn log_in(&self, state: &mut VaultSessionState) -> Result<(), VaultError> {
        let (answer, client, generation) = self.ask_for_token().await?;
        let auth = match answer {
            LoginResponse::Auth(auth) => auth,
            LoginResponse::Wrapped(wrapped) => self.unwrap(&client, &wrapped).await?,
        };
        let Auth { lease, renewable, .. } = auth;
        let (now, renewal) = (Instant::now(), Renewal { lease, renewable });
        self.tokens.send_replace(Some(auth.token.clone()));
        let old = state.current.replace(Arc::new(HeldToken::new(auth, client, generation)));
        let mut schedule = RenewalSchedule::new(now);
        schedule.logged_in(now, renewal);
        let old_schedule = std::mem::replace(&mut state.schedule, schedule);
        state.generation = generation;
        state.reported = None;
        self.publish(state);
        tracing::info!(
            url = %self.config.url,
            method = self.config.method().as_str(),
            role = self.config.role(),
            lease_seconds = lease.as_secs(),
            renewable,
            generation,
            "Vault login succeeded"
        );
        match old {
            Some(old) if old.has_leases() => state.kept.push((old, old_schedule)),
            // Whoever has just read it somewhere may use it once more.
            Some(old) => state.kept.push((old, RenewalSchedule::due(now + GRACE))),
            None => {}
        }
        Ok(())
    }

    /// Makes the token last longer.
    async fn renew(&self) {
        let mut state = self.state.lock().await;
        let Some(held) = state.current.clone() else { return state.schedule.log_in_anew(Instant::now()) };
        match held.renew().await {
            Ok(renewal) => {
                state.schedule.renewed(Instant::now(), renewal);
                let lease_seconds = renewal.map(|renewal| renewal.lease.as_secs());
                tracing::debug!(lease_seconds, "Vault token renewed");
            }
            Err(error) => self.note_failure(&mut state, &error, VaultOperation::Secret),
        }
    }

    /// The same for those that are kept; one with which nothing ends is revoked. Dropping it loses none of them.
    async fn renew_kept(&self) {
        let mut state = self.state.lock().await;
        let now = Instant::now();
        // One that is not renewed any more waits for the end of its leases, and for nothing else.
        let is_due = |(held, schedule): &(Arc<HeldToken>, RenewalSchedule)| match schedule.next() {
            Some((at, _)) => at <= now,
            None => !held.has_leases(),
        };
        while let Some(place) = state.kept.iter().position(is_due) {
            let held = Arc::clone(&state.kept[place].0);
            if !held.has_leases() {
                held.revoke(&state.current.as_ref().unwrap_or(&held).client).await;
                state.kept.remove(place);
                continue;
            }
            // The cert method looks at the pair again, which is another one by now.
            let renewal = match self.config.method() {
                VaultMethod::Cert => None,
                _ => held.renew().await.ok().flatten(),
            };
            let schedule = &mut state.kept[place].1;
            match renewal {
                Some(renewal) => schedule.logged_in(now, Renewal { renewable: true, ..renewal }),
                // What it has left it keeps.
                None => {
                    tracing::debug!("Vault token of an earlier certificate not renewed; its leases end with it");
                    schedule.give_up();
                }
            }
        }
    }

    /// Revokes every token, within two seconds; what does not come of it ends by its own lease. No other is asked for.
    pub async fn revoke(&self) {
        self.tokens.send_replace(None);
        self.counters.set_token(None);
        let revocations = async {
            let mut state = self.state.lock().await;
            state.is_retired = true;
            // Whoever comes meanwhile waits for it, and whatever is interrupted is left for the next.
            let newest = state.current.clone();
            let next = |state: &VaultSessionState| {
                state.current.as_ref().or(state.kept.first().map(|(held, _)| held)).cloned()
            };
            while let Some(held) = next(&state) {
                held.revoke(&newest.as_ref().unwrap_or(&held).client).await;
                if state.current.take().is_none() {
                    state.kept.remove(0);
                }
            }
        };
        if timeout(LAST_REVOCATIONS, revocations).await.is_err() {
            tracing::warn!("the Vault token could not be revoked in time; it ends with its lease");
        }
    }

    fn note_failure(&self, state: &mut VaultSessionState, error: &VaultError, operation: VaultOperation) {
        let failed = if error.is_transient(operation) { Failed::Transient } else { Failed::Refused };
        let is_login = operation == VaultOperation::Login;
        state.schedule.failed(Instant::now(), failed, fastrand::f64());
        let text = match error.help(operation).filter(|_| is_login) {
            Some(help) => format!("{error}; {help}"),
            None => error.to_string(),
        };
        // Once, and not each time that it is tried.
        if state.reported.as_ref() == Some(&text) {
            return;
        }
        match (is_login, failed) {
            (true, Failed::Refused) => {
                tracing::error!(error = %text, "Vault login refused; it is tried again every 5 minutes")
            }
            (true, Failed::Transient) => tracing::warn!(error = %text, "Vault login failed; it is tried again"),
            (false, _) => tracing::warn!(error = %text, "Vault token not renewed"),
        }
        state.reported = Some(text);
    }

    /// Tells others when the token ends, and what is next; never the token.
    fn publish(&self, state: &VaultSessionState) {
        let (now, date) = (Instant::now(), SystemTime::now());
        let at = |at: Instant| date + at.saturating_duration_since(now);
        let next = state.schedule.next().filter(|_| !state.is_retired);
        let times =
            VaultTokenTimes { expiry: state.schedule.ends().map(at), next_renewal: next.map(|(next, _)| at(next)) };
        self.counters.set_token(state.current.as_ref().map(|_| times));
    }

    fn login_path(&self) -> String {
        format!("auth/{}/login", self.config.mount)
    }

    fn unusable(&self, what: &str) -> VaultError {
        VaultError::Unusable { url: self.config.url.to_string(), operation: self.login_path(), what: what.to_owned() }
    }
}
