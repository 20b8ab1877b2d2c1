//! A client of instances that does as gorouter does: a pool for each, other instances for what fails, and what it thinks of them.

use std::net::SocketAddr;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustls::ClientConfig;

use super::web;
use crate::wire::client::Client;
use crate::wire::end::End;
use crate::wire::gorouter::{Effect, Failure, Method, Phase};

/// How long an instance that was marked is left alone.
const INELIGIBLE: Duration = Duration::from_secs(30);

/// How often a request is tried.
const ATTEMPTS: usize = 3;

/// What the user gets when no instance is known.
const NOBODY: u16 = 503;

/// The way to one instance.
pub(super) struct Endpoint {
    /// Where its proxy listens.
    pub(super) addr: SocketAddr,
    name: String,
    idle: Mutex<Vec<Client>>,
    marked: Mutex<Option<Instant>>,
    answered: AtomicUsize,
    failed: Mutex<Option<Failure>>,
}

impl Endpoint {
    /// The way to an instance whose certificate must name `name`, not registered yet.
    pub(super) fn new(addr: SocketAddr, name: &str) -> Arc<Self> {
        Arc::new(Self {
            addr,
            name: name.to_owned(),
            idle: Mutex::default(),
            marked: Mutex::default(),
            answered: AtomicUsize::new(0),
            failed: Mutex::default(),
        })
    }

    /// The last failure of an attempt, for an error.
    pub(super) fn failed(&self) -> String {
        lock(&self.failed).as_ref().map_or_else(
            || "no attempt has failed".to_owned(),
            |it| format!("the last attempt that failed: {:?}: {}", it.phase, it.end),
        )
    }

    /// How many requests it has answered.
    pub(super) fn answered(&self) -> usize {
        self.answered.load(Relaxed)
    }

    fn is_eligible(&self) -> bool {
        lock(&self.marked).is_none_or(|since| since.elapsed() > INELIGIBLE)
    }
}

/// The routes of the app.
pub(super) struct Router {
    config: Arc<ClientConfig>,
    /// Those that requests are sent to.
    table: Mutex<Vec<Arc<Endpoint>>>,
    /// Those that the platform has registered, also when they were pruned since.
    registered: Mutex<Vec<Arc<Endpoint>>>,
    turn: AtomicUsize,
    retries: AtomicUsize,
}

impl Router {
    /// No routes yet.
    pub(super) fn new(config: Arc<ClientConfig>) -> Self {
        Self {
            config,
            table: Mutex::default(),
            registered: Mutex::default(),
            turn: AtomicUsize::new(0),
            retries: AtomicUsize::new(0),
        }
    }

    /// How often another attempt was made.
    pub(super) fn retries(&self) -> usize {
        self.retries.load(Relaxed)
    }

    /// A new instance. A route to the same address becomes this one's.
    pub(super) fn register(&self, endpoint: &Arc<Endpoint>) {
        for routes in [&self.table, &self.registered] {
            let mut routes = lock(routes);
            routes.retain(|it| it.addr != endpoint.addr);
            routes.push(Arc::clone(endpoint));
        }
    }

    /// The platform says that the instance is gone.
    pub(super) fn unregister(&self, gone: &Arc<Endpoint>) {
        [&self.table, &self.registered].iter().for_each(|routes| lock(routes).retain(|it| !Arc::ptr_eq(it, gone)));
    }

    /// The platform registers all that it knows again.
    pub(super) fn sync(&self) {
        let registered = lock(&self.registered).clone();
        let mut table = lock(&self.table);
        for endpoint in registered {
            if !table.iter().any(|it| Arc::ptr_eq(it, &endpoint)) {
                table.push(endpoint);
            }
        }
    }

    /// One request of a user.
    ///
    /// # Errors
    /// The status that the user gets, and how it came to that.
    pub(super) fn request(&self, method: Method) -> Result<(), (u16, String)> {
        let mut story = format!("{method:?}");
        for attempt in 1..=ATTEMPTS {
            let Some(endpoint) = self.next() else { return Err((NOBODY, format!("{story}: no instance is left"))) };
            let Err(failure) = self.attempt(&endpoint, method) else {
                endpoint.answered.fetch_add(1, Relaxed);
                return Ok(());
            };
            story += &format!("{} {:?}: {}", if attempt == 1 { "," } else { "; then" }, failure.phase, failure.end);
            *lock(&endpoint.failed) = Some(failure.clone());
            match failure.effect() {
                Effect::Kept => {}
                Effect::Marked => *lock(&endpoint.marked) = Some(Instant::now()),
                Effect::Pruned => lock(&self.table).retain(|it| !Arc::ptr_eq(it, &endpoint)),
            }
            if attempt == ATTEMPTS || !failure.is_retried(method) {
                return Err((failure.status(), story));
            }
            self.retries.fetch_add(1, Relaxed);
        }
        Ok(())
    }

    /// Asks one instance, whatever is thought of it.
    ///
    /// # Errors
    /// As [`Self::request`].
    pub(super) fn ask(&self, endpoint: &Endpoint) -> Result<(), (u16, String)> {
        self.attempt(endpoint, Method::Get)
            .map_err(|failure| (failure.status(), format!("{:?}: {}", failure.phase, failure.end)))
    }

    /// The one whose turn it is. When all are marked, all are as good as any.
    fn next(&self) -> Option<Arc<Endpoint>> {
        let table = lock(&self.table);
        let mut fit: Vec<_> = table.iter().filter(|endpoint| endpoint.is_eligible()).collect();
        if fit.is_empty() {
            fit = table.iter().collect();
        }
        let turn = self.turn.fetch_add(1, Relaxed);
        (!fit.is_empty()).then(|| Arc::clone(fit[turn % fit.len()]))
    }

    fn attempt(&self, endpoint: &Endpoint, method: Method) -> Result<(), Failure> {
        let mut client = self.connection(endpoint)?;
        let failed = |phase| move |end| Failure { phase, end };
        client.send(web::request(method).as_bytes()).map_err(failed(Phase::Writing))?;
        if answer(&mut client).map_err(failed(Phase::Reading))? {
            lock(&endpoint.idle).push(client);
        }
        Ok(())
    }

    /// The idle connection that was used last and is still good, or a new one.
    fn connection(&self, endpoint: &Endpoint) -> Result<Client, Failure> {
        loop {
            let Some(mut client) = lock(&endpoint.idle).pop() else { break };
            if client.is_open() {
                return Ok(client);
            }
        }
        let tcp = crate::wire::client::dial(endpoint.addr).map_err(|end| Failure { phase: Phase::Dial, end })?;
        Client::over(tcp, &self.config, &endpoint.name).map_err(|end| Failure { phase: Phase::Handshake, end })
    }
}

/// Reads one answer; whether the connection may be used again.
fn answer(client: &mut Client) -> Result<bool, End> {
    let (mut held, mut space) = (Vec::new(), [0; 1024]);
    loop {
        if held.ends_with(web::BODY.as_bytes()) {
            let text = String::from_utf8_lossy(&held);
            return match text.starts_with("HTTP/1.1 200 ") {
                true => Ok(!text.contains("Connection: close")),
                false => Err(End::Other(format!("an answer of its own: {text}"))),
            };
        }
        let n = client.receive_some(&mut space)?;
        held.extend_from_slice(&space[..n]);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is kept here is whole after each statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
