//! Whether an outbound listener has somebody to dial. Written by whoever keeps its endpoints, read by readiness.

use std::fmt;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Endpoints that are not counted yet: the name was never looked up.
const UNKNOWN: usize = usize::MAX;

/// An outbound listener, as readiness asks for it.
pub trait OutboundReadiness: fmt::Debug + Send + Sync {
    /// Whether the instance may be given work, as far as this is concerned.
    fn is_ready(&self) -> bool;

    /// How it stands, in a few words.
    fn describe(&self) -> String;
}

/// What is known of the endpoints behind one outbound listener.
#[derive(Debug)]
pub struct OutboundHealth {
    to: String,
    required: bool,
    endpoints: AtomicUsize,
    is_lookup_failing: AtomicBool,
}

impl OutboundHealth {
    /// That of the endpoints behind `to`, of which nothing is known yet. `required`: without one the instance is not ready.
    pub fn new(to: &str, required: bool) -> Self {
        let (endpoints, is_lookup_failing) = (AtomicUsize::new(UNKNOWN), AtomicBool::new(false));
        Self { to: to.to_owned(), required, endpoints, is_lookup_failing }
    }

    /// There are so many now.
    pub fn set(&self, endpoints: usize) {
        self.endpoints.store(endpoints.min(UNKNOWN - 1), Ordering::Relaxed);
    }

    /// Whether the name cannot be looked up now, so that what is known of it may be old.
    pub fn set_lookup_failing(&self, is_failing: bool) {
        self.is_lookup_failing.store(is_failing, Ordering::Relaxed);
    }

    /// Whether the instance may be given work, as far as this is concerned.
    pub fn is_ready(&self) -> bool {
        !self.required || !matches!(self.endpoints.load(Ordering::Relaxed), 0 | UNKNOWN)
    }

    /// How it stands, in a few words, where so many endpoints are `ejected` for now, and others `retiring`.
    pub fn describe(&self, ejected: usize, retiring: usize) -> String {
        let unless = if self.required { "" } else { " (not required)" };
        let old = match self.is_lookup_failing.load(Ordering::Relaxed) {
            true => ", as last known: it cannot be looked up now",
            false => "",
        };
        match self.endpoints.load(Ordering::Relaxed) {
            UNKNOWN => format!("{} has not been looked up with success yet{unless}", self.to),
            0 => format!("{} has no endpoint{unless}", self.to),
            1 => format!("{} has 1 endpoint{}{old}", self.to, apart(ejected, retiring, "which is")),
            n => format!("{} has {n} endpoints{}{old}", self.to, apart(ejected, retiring, "of which")),
        }
    }
}

/// What is said of those that get no new connections.
fn apart(ejected: usize, retiring: usize, which: &str) -> String {
    let count = |n: usize, what: &str| match (n, which) {
        (0, _) => None,
        (_, "which is") => Some(what.to_owned()),
        (1, _) => Some(format!("1 is {what}")),
        (n, _) => Some(format!("{n} are {what}")),
    };
    let parts: Vec<_> =
        [count(ejected, "ejected for now"), count(retiring, "retiring")].into_iter().flatten().collect();
    if parts.is_empty() { String::new() } else { format!(", {which} {}", parts.join(" and ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_that_is_required_and_has_nobody_to_dial_is_not_ready() {
        let said = |required, endpoints: Option<usize>| {
            let health = OutboundHealth::new("backend:1", required);
            if let Some(endpoints) = endpoints {
                health.set(endpoints);
            }
            (health.is_ready(), health.describe(0, 0))
        };
        assert_eq!(said(true, None), (false, "backend:1 has not been looked up with success yet".to_owned()));
        assert_eq!(said(true, Some(0)), (false, "backend:1 has no endpoint".to_owned()));
        assert_eq!(said(true, Some(1)), (true, "backend:1 has 1 endpoint".to_owned()));
        assert_eq!(said(false, Some(0)), (true, "backend:1 has no endpoint (not required)".to_owned()));
        assert_eq!(said(false, Some(3)), (true, "backend:1 has 3 endpoints".to_owned()));
        let old = OutboundHealth::new("backend:1", true);
        old.set(2);
        old.set_lookup_failing(true);
        let text = "backend:1 has 2 endpoints, as last known: it cannot be looked up now";
        assert_eq!((old.is_ready(), old.describe(0, 0)), (true, text.to_owned()));
        let some = OutboundHealth::new("backend:1", true);
        some.set(3);
        assert_eq!(some.describe(1, 0), "backend:1 has 3 endpoints, of which 1 is ejected for now");
        assert_eq!(some.describe(2, 1), "backend:1 has 3 endpoints, of which 2 are ejected for now and 1 is retiring");
        some.set(1);
        assert_eq!(some.describe(0, 1), "backend:1 has 1 endpoint, which is retiring");
    }
}
