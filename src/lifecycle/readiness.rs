//! Readiness: whether this instance should be given work, check by check.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use strum::{EnumString, IntoStaticStr, VariantArray};

use super::{Health, OutboundReadiness};
use crate::identity::Certificate;

/// What readiness is made of, in the order in which it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, VariantArray, IntoStaticStr, EnumString)]
#[strum(serialize_all = "snake_case")]
pub enum Check {
    /// The listeners are open.
    Listeners,
    /// A certificate that has not expired is served.
    Certificate,
    /// What the app's environment refers to is resolved, where that was asked for.
    Secrets,
    /// The app accepts.
    App,
    /// Those whom the app dials through us can be dialled, where that is required.
    Outbound,
    /// Nobody has asked us to stop.
    Drain,
    /// The platform has not shown the retirement certificate.
    Retirement,
}

impl Check {
    /// The name in `/readyz`.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The part that is called `name`.
    pub fn named(name: &str) -> Option<Self> {
        name.parse().ok()
    }
}

/// The result of one check. Shown as `[+]certificate: until 2026-01-02T03:04:05Z` or `[-]app: ...`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckStatus {
    /// The check.
    pub check: Check,
    /// Whether the check passes.
    pub ready: bool,
    /// What was found, in a few words.
    pub detail: String,
}

impl fmt::Display for CheckStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}]{}: {}", if self.ready { '+' } else { '-' }, self.check.as_str(), self.detail)
    }
}

/// From when to when a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// Its first moment.
    pub not_before: SystemTime,
    /// Its end.
    pub not_after: SystemTime,
}

impl Validity {
    /// The validity of `certificate`.
    pub fn of(certificate: &Certificate) -> Self {
        Self { not_before: certificate.not_before(), not_after: certificate.not_after() }
    }

    /// While both are valid.
    pub fn and(self, other: Self) -> Self {
        Self { not_before: self.not_before.max(other.not_before), not_after: self.not_after.min(other.not_after) }
    }
}

/// What is known of all parts. Written by the sidecar as things happen, read when somebody asks.
#[derive(Debug)]
pub struct Readiness {
    listeners: usize,
    /// Some listener speaks TLS.
    shows_pair: bool,
    apps: Vec<Arc<Health>>,
    outbounds: Vec<Arc<dyn OutboundReadiness>>,
    state: Mutex<ReadinessState>,
}

/// What changes in the state of a process.
#[derive(Debug, Default)]
struct ReadinessState {
    closed: bool,
    /// How it stands with secrets; `None`: nobody has asked for any.
    secrets: Option<SecretsStep>,
    /// The validity of the served certificate.
    pair: Option<Validity>,
    /// Every listener has what it serves with.
    is_loaded: bool,
    retiring: bool,
    /// The step of the drain.
    drain: Option<Cow<'static, str>>,
}

/// How it stands with the app's secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretsStep {
    /// They are fetched, and the app is not started yet.
    Resolving,
    /// The app has them.
    Resolved,
}

impl Readiness {
    /// Of a proxy with this many open listeners, these apps behind them, and these whom the app dials through it.
    pub fn new(listeners: usize, apps: Vec<Arc<Health>>, outbounds: Vec<Arc<dyn OutboundReadiness>>) -> Self {
        Self { listeners, shows_pair: true, apps, outbounds, state: Mutex::default() }
    }

    /// The same, where no listener speaks TLS: a certificate may be there, and nobody waits for it.
    pub fn without_tls(self) -> Self {
        Self { shows_pair: false, ..self }
    }

    /// Every listener has what it serves with.
    pub fn set_loaded(&self) {
        self.state().is_loaded = true;
    }

    /// A pair with this validity is served.
    pub fn set_serving(&self, validity: Validity) {
        self.state().pair = Some(validity);
    }

    /// Whether a retirement certificate was received.
    pub fn set_retiring(&self, retiring: bool) {
        self.state().retiring = retiring;
    }

    /// The validity of the certificate that is served; `None` before the first.
    pub fn validity(&self) -> Option<Validity> {
        self.state().pair
    }

    /// The app's secrets have come to `step`.
    pub fn set_secrets(&self, step: SecretsStep) {
        self.state().secrets = Some(step);
    }

    /// The listeners are closed.
    pub fn set_closed(&self) {
        self.state().closed = true;
    }

    /// The drain has come to `step`, in words.
    pub fn set_drain_step(&self, step: impl Into<Cow<'static, str>>) {
        self.state().drain = Some(step.into());
    }

    /// How everything stands at `now`, in the order of [`Check::VARIANTS`]; the app once for each way to it, and each outbound.
    pub fn checks(&self, now: SystemTime) -> Vec<CheckStatus> {
        let state = self.state();
        let check = |part, ready, detail: String| CheckStatus { check: part, ready, detail };
        let pair = match state.pair.map(|validity| validity.not_after) {
            _ if !self.shows_pair && state.is_loaded => {
                check(Check::Certificate, true, "not needed, TLS is off".to_owned())
            }
            _ if !self.shows_pair => {
                check(Check::Certificate, false, "client CAs and rules are not loaded yet".to_owned())
            }
            None => check(
                Check::Certificate,
                false,
                "none is served yet: it, or client CAs and rules, are not usable".to_owned(),
            ),
            Some(end) if end <= now => check(Check::Certificate, false, format!("expired at {}", Date(end))),
            Some(end) => check(Check::Certificate, true, format!("until {}", Date(end))),
        };
        let open = if state.closed { "closed".to_owned() } else { format!("{} open", self.listeners) };
        let mut checks = vec![check(Check::Listeners, !state.closed, open), pair];
        checks.extend(state.secrets.map(|step| match step {
            SecretsStep::Resolving => {
                check(Check::Secrets, false, "not resolved yet; the app is not started".to_owned())
            }
            SecretsStep::Resolved => check(Check::Secrets, true, "resolved".to_owned()),
        }));
        checks.extend(
            self.apps.iter().map(|app| check(Check::App, app.is_ready(), format!("{} {}", app.addr(), app.describe()))),
        );
        checks.extend(
            self.outbounds.iter().map(|outbound| check(Check::Outbound, outbound.is_ready(), outbound.describe())),
        );
        let drain = state.drain.as_deref().unwrap_or("not draining");
        checks.push(check(Check::Drain, state.drain.is_none(), drain.to_owned()));
        let retirement = if state.retiring { "retirement certificate received" } else { "not retiring" };
        checks.push(check(Check::Retirement, !state.retiring, retirement.to_owned()));
        checks
    }

    fn state(&self) -> MutexGuard<'_, ReadinessState> {
        // Each field is written whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// RFC 3339, or that there is no such date.
struct Date(SystemTime);

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::try_from(self.0) {
            Ok(date) => write!(f, "{date:.0}"),
            Err(_) => f.write_str("a date out of range"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::time::Duration;

    fn readiness(probed: bool) -> Readiness {
        Readiness::new(1, vec![Arc::new(Health::new("127.0.0.1:8080", probed))], Vec::new())
    }

    fn shown(readiness: &Readiness, now: SystemTime) -> Vec<String> {
        readiness.checks(now).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_part_says_how_it_stands() {
        let readiness = readiness(false);
        let (now, day) = (SystemTime::UNIX_EPOCH, Duration::from_secs(86_400));
        assert_eq!(
            shown(&readiness, now),
            [
                "[+]listeners: 1 open",
                "[-]certificate: none is served yet: it, or client CAs and rules, are not usable",
                "[+]app: 127.0.0.1:8080 is never asked",
                "[+]drain: not draining",
                "[+]retirement: not retiring",
            ]
        );
        readiness.set_serving(Validity { not_before: now, not_after: now + day });
        assert_eq!(shown(&readiness, now)[1], "[+]certificate: until 1970-01-02T00:00:00Z");
        assert_eq!(shown(&readiness, now + day)[1], "[-]certificate: expired at 1970-01-02T00:00:00Z");
        assert!(readiness.checks(now).iter().all(|check| check.ready));

        readiness.set_serving(Validity { not_before: now, not_after: now + day });
        readiness.set_retiring(true);
        readiness.set_drain_step("listeners closed");
        readiness.set_closed();
        let ready: Vec<_> = readiness.checks(now).iter().map(|check| check.ready).collect();
        assert_eq!(ready, [false, true, true, false, false]);
    }

    #[test]
    fn where_tls_is_off_no_certificate_is_waited_for() {
        let readiness = readiness(false).without_tls();
        let now = SystemTime::now();
        assert_eq!(shown(&readiness, now)[1], "[-]certificate: client CAs and rules are not loaded yet");
        readiness.set_loaded();
        assert_eq!(shown(&readiness, now)[1], "[+]certificate: not needed, TLS is off");
    }

    #[test]
    fn an_app_that_has_not_been_ready_is_not() {
        assert_eq!(shown(&readiness(true), SystemTime::now())[2], "[-]app: 127.0.0.1:8080 does not accept yet");
    }

    #[test]
    fn every_part_is_found_by_its_name() {
        for &part in Check::VARIANTS {
            assert_eq!(Check::named(part.as_str()), Some(part));
        }
        assert_eq!(Check::named("App"), None);
    }
}
