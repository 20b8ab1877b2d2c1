//! The requests of a listener that speaks HTTP.

use serde::Serialize;
use strum::VariantArray;

use super::Rules;
use crate::config::HttpConfig;
use crate::telemetry::{MethodLabel, RequestCounters, RequestReason};

/// How a listener speaks HTTP, and what is counted there.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct HttpStatus {
    /// What the app speaks: `http1`, `h2c`.
    pub(in crate::admin) app_protocol: &'static str,
    /// What becomes of X-Forwarded-Client-Cert.
    pub(in crate::admin) xfcc: &'static str,
    /// How the client's identity is written, where that is configured; empty: as our own identity suggests.
    pub(in crate::admin) xfcc_forms: Vec<&'static str>,
    /// Clients that may forward who has called them.
    pub(in crate::admin) forward_from: Rules,
    /// What those do with what others forward to them; none where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::admin) router_xfcc: Option<&'static str>,
    pub(in crate::admin) requests: RequestCounts,
}

/// Since the start.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct RequestCounts {
    /// Those that have ended.
    pub(in crate::admin) total: u64,
    pub(in crate::admin) active: usize,
    /// Connections that are another protocol now.
    pub(in crate::admin) upgraded: usize,
    /// Those that were sent to the app a second time.
    pub(in crate::admin) retries: u64,
    /// Answers by the class of their status; those that occurred.
    pub(in crate::admin) classes: Vec<ClassCount>,
    /// Requests that did not get the app's whole answer, by the `reason` of their access log entries; those that occurred.
    pub(in crate::admin) failures: Vec<RequestFailures>,
}

#[derive(Debug, Serialize)]
pub(in crate::admin) struct ClassCount {
    /// `2xx`
    pub(in crate::admin) class: &'static str,
    pub(in crate::admin) count: u64,
}

#[derive(Debug, Serialize)]
pub(in crate::admin) struct RequestFailures {
    pub(in crate::admin) reason: &'static str,
    pub(in crate::admin) count: u64,
}

/// Classes of statuses that HTTP has.
const CLASSES: [(usize, &str); 5] = [(1, "1xx"), (2, "2xx"), (3, "3xx"), (4, "4xx"), (5, "5xx")];

impl HttpStatus {
    pub(super) fn of(config: &HttpConfig, counters: &RequestCounters) -> Self {
        Self {
            app_protocol: config.app_protocol.into(),
            xfcc: config.xfcc.into(),
            xfcc_forms: config.xfcc_forms.iter().map(|form| (*form).into()).collect(),
            forward_from: Rules::of(&config.forward_from),
            router_xfcc: (!config.forward_from.is_empty()).then(|| config.router_xfcc.into()),
            requests: RequestCounts::of(counters),
        }
    }
}

impl RequestCounts {
    fn of(counters: &RequestCounters) -> Self {
        let answers = |class| MethodLabel::VARIANTS.iter().map(|method| counters.by_class(*method, class)).sum();
        let classes = CLASSES.iter().map(|(class, name)| ClassCount { class: name, count: answers(*class) });
        let failures = RequestReason::VARIANTS
            .iter()
            .map(|reason| RequestFailures { reason: reason.as_str(), count: counters.ended(*reason) });
        Self {
            total: counters.total(),
            active: counters.active(),
            upgraded: counters.upgraded(),
            retries: counters.retries(),
            classes: classes.filter(|counted| counted.count > 0).collect(),
            failures: failures.filter(|counted| counted.count > 0).collect(),
        }
    }
}
