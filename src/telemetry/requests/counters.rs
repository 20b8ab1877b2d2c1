//! What is counted of the requests of one listener.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use strum::{EnumCount, IntoStaticStr, VariantArray};

use super::RequestReason;
use crate::telemetry::histogram::{Histogram, HistogramSnapshot};
use crate::telemetry::limiter::LineLimiter;

/// Methods with a count of their own, whatever clients send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumCount, VariantArray, IntoStaticStr)]
#[expect(missing_docs, reason = "each says its own name")]
pub enum MethodLabel {
    #[strum(serialize = "GET")]
    Get,
    #[strum(serialize = "HEAD")]
    Head,
    #[strum(serialize = "POST")]
    Post,
    #[strum(serialize = "PUT")]
    Put,
    #[strum(serialize = "PATCH")]
    Patch,
    #[strum(serialize = "DELETE")]
    Delete,
    #[strum(serialize = "OPTIONS")]
    Options,
    #[strum(serialize = "other")]
    Other,
}

/// Where it is known from who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumCount, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum CallerSource {
    /// The client calls itself: its handshake says who it is, if anybody.
    Tls,
    /// X-Forwarded-Client-Cert says it.
    Xfcc,
    /// There was none.
    Absent,
    /// It could not be believed.
    Invalid,
}

/// Why a client of HTTP/2 is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumCount, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum GoawayReason {
    /// It has sent too many control frames.
    ControlFrames,
    /// There is no memory for what it has begun.
    Memory,
}

/// What fields say that only a proxy may write, for what is counted of them: a name of a few, whatever clients send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumCount, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum StrippedField {
    /// Whom a proxy has seen a certificate of.
    XForwardedClientCert,
    /// The same of RFC 9440, its chain included.
    ClientCert,
    /// The same of Traefik.
    XForwardedTlsClientCert,
    /// The same of Linkerd.
    L5dClientId,
    /// Ours.
    XVestibule,
    /// Where a request comes from, in another spelling.
    XForwarded,
    /// How a message is framed, in another spelling, or what CGI takes for a variable of its own.
    Other,
}

impl StrippedField {
    /// What the field `name` counts as, in whatever spelling.
    pub fn of(name: &str) -> Self {
        let folded: String = name
            .chars()
            .map(|letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' })
            .collect();
        // The longer names of those that begin alike come first.
        let kinds = [
            ("x-forwarded-client-cert", Self::XForwardedClientCert),
            ("x-forwarded-tls-client-cert", Self::XForwardedTlsClientCert),
            ("client-cert", Self::ClientCert),
            ("l5d-client-id", Self::L5dClientId),
            ("x-vestibule-", Self::XVestibule),
            ("x-forwarded-", Self::XForwarded),
            ("x-cf-", Self::XForwarded),
            ("x-vcap-", Self::XForwarded),
        ];
        kinds.iter().find(|(start, _)| folded.starts_with(start)).map_or(Self::Other, |(_, kind)| *kind)
    }
}

/// Classes of statuses, by their first digit.
const CLASSES: usize = 9;

/// What is counted of the requests of one listener. Counted once for a request, never for a read.
#[derive(Debug)]
pub struct RequestCounters {
    by_class: [[AtomicU64; CLASSES]; MethodLabel::COUNT],
    ended: [AtomicU64; RequestReason::COUNT],
    active: AtomicUsize,
    upgraded: AtomicUsize,
    retries: AtomicU64,
    stripped: [AtomicU64; StrippedField::COUNT],
    drain_closes: AtomicU64,
    goaways: [AtomicU64; GoawayReason::COUNT],
    downgrades: AtomicU64,
    callers: [AtomicU64; CallerSource::COUNT],
    app_reused: AtomicU64,
    app_opened: AtomicU64,
    times: Histogram,
    pub(super) limiter: LineLimiter<{ RequestReason::COUNT }>,
}

impl Default for RequestCounters {
    fn default() -> Self {
        Self {
            by_class: std::array::from_fn(|_| std::array::from_fn(|_| AtomicU64::default())),
            ended: std::array::from_fn(|_| AtomicU64::default()),
            active: AtomicUsize::default(),
            upgraded: AtomicUsize::default(),
            retries: AtomicU64::default(),
            stripped: std::array::from_fn(|_| AtomicU64::default()),
            drain_closes: AtomicU64::default(),
            goaways: Default::default(),
            downgrades: AtomicU64::default(),
            callers: std::array::from_fn(|_| AtomicU64::default()),
            app_reused: AtomicU64::default(),
            app_opened: AtomicU64::default(),
            times: Histogram::default(),
            limiter: LineLimiter::default(),
        }
    }
}

impl MethodLabel {
    /// That of `method`.
    pub fn of(method: &str) -> Self {
        let known = Self::VARIANTS.iter().find(|label| <&str>::from(**label) == method);
        known.copied().unwrap_or(Self::Other)
    }
}

impl RequestCounters {
    pub(super) fn count_opened(&self) {
        self.active.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_ended(
        &self,
        method: MethodLabel,
        status: Option<u16>,
        reason: Option<RequestReason>,
        took: Duration,
    ) {
        self.active.fetch_sub(1, Ordering::Relaxed);
        let class = status.map(|status| usize::from(status / 100).wrapping_sub(1));
        if let Some(count) = class.and_then(|class| self.by_class[method as usize].get(class)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(reason) = reason {
            self.ended[reason as usize].fetch_add(1, Ordering::Relaxed);
        }
        self.times.count(took);
    }

    /// A connection became another protocol (`1`), or one that had has ended (`-1`).
    pub fn count_upgraded(&self, change: isize) {
        // Two's complement: adding it is subtracting.
        self.upgraded.fetch_add(change as usize, Ordering::Relaxed);
    }

    /// A request was sent to the app a second time.
    pub fn count_retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// A field was taken from a request that only a proxy may write.
    pub fn count_stripped(&self, field: StrippedField) {
        self.stripped[field as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// A client was told to let go of its connection, as the instance goes.
    pub fn count_drain_close(&self) {
        self.drain_closes.fetch_add(1, Ordering::Relaxed);
    }

    /// An HTTP/2 connection was ended because of what its client did.
    pub fn count_goaway(&self, reason: GoawayReason) {
        self.goaways[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// A client that had offered HTTP/2 and HTTP/1.1 was given the latter, as there was no memory for one more connection of the former.
    pub fn count_downgrade(&self) {
        self.downgrades.fetch_add(1, Ordering::Relaxed);
    }

    /// It is known from there who calls.
    pub fn count_caller(&self, source: CallerSource) {
        self.callers[source as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Requests of which it was known from there who called.
    pub fn callers(&self, source: CallerSource) -> u64 {
        self.callers[source as usize].load(Ordering::Relaxed)
    }

    /// A request was sent on a connection to the app that was there (`reused`), or on one that was made for it.
    pub fn count_app_connection(&self, reused: bool) {
        let count = if reused { &self.app_reused } else { &self.app_opened };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Answers of a class, `2` for 2xx, to requests by `method`.
    pub fn by_class(&self, method: MethodLabel, class: usize) -> u64 {
        self.by_class[method as usize].get(class.wrapping_sub(1)).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Requests that ended for `reason`.
    pub fn ended(&self, reason: RequestReason) -> u64 {
        self.ended[reason as usize].load(Ordering::Relaxed)
    }

    /// Requests that are under way.
    pub fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }

    /// Connections that have become another protocol.
    pub fn upgraded(&self) -> usize {
        self.upgraded.load(Ordering::Relaxed)
    }

    /// Requests that were sent to the app a second time.
    pub fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }

    /// Fields that were taken from requests because only a proxy may write them.
    pub fn stripped(&self, field: StrippedField) -> u64 {
        self.stripped[field as usize].load(Ordering::Relaxed)
    }

    /// Clients that were told to let go of their connections, as the instance goes.
    pub fn drain_closes(&self) -> u64 {
        self.drain_closes.load(Ordering::Relaxed)
    }

    /// HTTP/2 connections that were ended because of what their clients did.
    pub fn goaways(&self, reason: GoawayReason) -> u64 {
        self.goaways[reason as usize].load(Ordering::Relaxed)
    }

    /// Clients that were given HTTP/1.1 because there was no memory for one more connection of HTTP/2.
    pub fn downgrades(&self) -> u64 {
        self.downgrades.load(Ordering::Relaxed)
    }

    /// Requests on connections to the app that were there (`reused`), or were made for them.
    pub fn upstream_requests(&self, reused: bool) -> u64 {
        if reused { &self.app_reused } else { &self.app_opened }.load(Ordering::Relaxed)
    }

    /// All requests that have ended.
    pub fn total(&self) -> u64 {
        self.by_class.iter().flatten().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// How long requests took, from the head to the end of the answer.
    pub(crate) fn times(&self) -> HistogramSnapshot {
        self.times.snapshot()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_field_counts_as_one_of_a_few() {
        for (name, kind) in [
            ("X_Forwarded_Client.Cert", StrippedField::XForwardedClientCert),
            ("client_cert_chain", StrippedField::ClientCert),
            ("x-forwarded-tls-client-cert-info", StrippedField::XForwardedTlsClientCert),
            ("x_forwarded_for", StrippedField::XForwarded),
            ("X_Cf_Applicationid", StrippedField::XForwarded),
            ("x-vestibule-app", StrippedField::XVestibule),
            ("content_length", StrippedField::Other),
        ] {
            assert_eq!(StrippedField::of(name), kind, "{name}");
        }
        assert_eq!(<&str>::from(StrippedField::L5dClientId), "l5d-client-id");
    }

    #[test]
    fn any_method_has_one_of_a_few_labels() {
        assert_eq!(MethodLabel::of("GET"), MethodLabel::Get);
        for other in ["get", "PROPFIND", "", "GET "] {
            assert_eq!(MethodLabel::of(other), MethodLabel::Other, "{other}");
        }
    }
}
