//! One address behind an outbound listener, and what is known of it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::endpoint_failure::{EndpointFailure, FailureNotes};
use super::outlier::{Availability, Outlier};
use crate::config::{HttpProxy, Target};

/// One address behind an outbound listener.
#[derive(Debug)]
pub struct Endpoint {
    /// Where it is dialled.
    pub addr: SocketAddr,
    /// Who is behind it, whose name it has to have.
    pub target: Target,
    /// The HTTP proxy that it is, which leads to `target`.
    pub proxy: Option<Arc<HttpProxy>>,
    pub(super) in_flight: AtomicUsize,
    pub(super) outlier: Mutex<Outlier>,
    pub(super) retires_until: Mutex<Option<Instant>>,
    pub(super) failures: Mutex<FailureNotes>,
}

/// One connection to an endpoint, which counts as long as this is there.
#[derive(Debug)]
pub struct EndpointLease(Arc<Endpoint>);

impl EndpointLease {
    pub(super) fn new(endpoint: Arc<Endpoint>) -> Self {
        endpoint.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(endpoint)
    }

    /// Whose it is.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.0
    }
}

impl Drop for EndpointLease {
    fn drop(&mut self) {
        // Whatever became of it: another one may find out how it is.
        lock(&self.0.outlier).abandon_probe();
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Endpoint {
    pub(super) fn new(addr: SocketAddr, target: Target, proxy: Option<Arc<HttpProxy>>) -> Self {
        Self {
            addr,
            target,
            proxy,
            in_flight: AtomicUsize::new(0),
            outlier: Mutex::default(),
            retires_until: Mutex::default(),
            failures: Mutex::default(),
        }
    }

    /// Connections to it.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Whether it has said that it is about to stop.
    pub fn is_retiring(&self) -> bool {
        lock(&self.retires_until).is_some_and(|until| until > Instant::now())
    }

    pub(super) fn availability(&self, now: Instant) -> Availability {
        lock(&self.outlier).availability(now)
    }

    /// What it has failed with last.
    pub fn last_failure(&self) -> Option<EndpointFailure> {
        lock(&self.failures).last()
    }

    /// How much longer it is left alone; `None`: it is not.
    pub fn ejected_for(&self) -> Option<Duration> {
        lock(&self.outlier).ejected_for(Instant::now())
    }

    /// Whether it is left alone for a while.
    pub fn is_ejected(&self) -> bool {
        self.availability(Instant::now()) == Availability::Ejected
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.addr)
    }
}

/// Nothing in these can be left half-written.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
