//! The proxy as a whole: `Config` → [`Sidecar`] (listening) → `Exit`. The only file that wires the parts together.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::sync::Semaphore;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio::time::timeout;
use tokio::time::timeout_at;

use crate::config::Config;
use crate::config::Listener;
use crate::connection::Reason;
use crate::connection::Service;
use crate::credentials::Rotation;
use crate::credentials::Shown;
use crate::exit::Exit;
use crate::exit::Fault;
use crate::identity::Certificate;
use crate::lifecycle::Guards;
use crate::lifecycle::Phase;
use crate::lifecycle::Remaining;
use crate::lifecycle::Tasks;
use crate::listener;
use crate::listener::Slots;
use crate::supervisor::App;
use crate::supervisor::AppCommand;
use crate::supervisor::AppStatus;
use crate::supervisor::Asked;
use crate::supervisor::Signal;
use crate::supervisor::Signals;
use crate::sys::limits;
use crate::telemetry::Counters;

/// Descriptors that are not for connections: listeners, the runtime's, files that are read.
const DESCRIPTORS_OF_OURS: u64 = 64;

/// Two sockets: the client's and the app's.
const DESCRIPTORS_PER_CONNECTION: u64 = 2;

/// Connections at most, where the descriptor limit sets no bound.
pub(crate) const MOST_CONNECTIONS: u64 = 100_000;

/// When the app has ended by itself: how long its last bytes may take to reach the clients.
const LAST_BYTES: Duration = Duration::from_secs(2);

/// After the drain's time is over: for the last records to be written.
const LAST_RECORDS: Duration = Duration::from_millis(250);

/// A proxy whose listeners are open.
#[derive(Debug)]
pub struct Sidecar {
    config: Config,
    doors: Vec<(Listener, TcpListener, SocketAddr)>,
    rotation: Rotation,
    look: Arc<Notify>,
}

impl Sidecar {
    /// Opens every listener. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`Exit::AddressUnavailable`] with one line for each address that could not be opened.
    pub fn open(config: Config) -> Result<Self, Fault> {
        let mut doors = Vec::new();
        let mut failures = Vec::new();
        for door in &config.listeners {
            match listener::open(door.listen).and_then(|socket| Ok((socket.local_addr()?, socket))) {
                Ok((addr, socket)) => doors.push((door.clone(), socket, addr)),
                Err(error) => failures.push(format!("cannot listen on {}: {}", door.listen, mend_for(&error))),
            }
        }
        if failures.is_empty() {
            let look = Arc::new(Notify::new());
            let rotation = Rotation::new(config.credential.clone(), Arc::clone(&look));
            Ok(Self { config, doors, rotation, look })
        } else {
            Err(Fault::new(Exit::AddressUnavailable, failures.join("\n")))
        }
    }

    /// The addresses that are listened on, in the order of the configuration.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.doors.iter().map(|(_, _, addr)| *addr)
    }

    /// Tells of each pair as it is taken into service; `None` before the first.
    pub fn shown(&self) -> watch::Receiver<Option<Shown>> {
        self.rotation.shown()
    }

    /// Serves until a signal, the end of the app, or a fault ends it.
    ///
    /// # Errors
    /// [`Fault`] with the status to end with.
    pub async fn run(self, command: Option<AppCommand>) -> Result<Exit, Fault> {
        let internal = |error: io::Error| Fault::new(Exit::Internal, format!("cannot listen for signals: {error}"));
        let signals = if command.is_some() { Signals::for_run() } else { Signals::for_proxy() }.map_err(internal)?;
        let mut tasks = Tasks::default();
        let app = match &command {
            None => None,
            Some(command) => {
                let (app, reaper) = App::spawn(command)?;
                tasks.start("reaper", reaper.run());
                tracing::info!(pid = app.id(), program = %command.program.to_string_lossy(), "app started");
                Some(app)
            }
        };
        let running = self.start(&mut tasks, signals, app);
        running.serve(tasks).await
    }

    /// Starts everything that runs until the end.
    fn start(self, tasks: &mut Tasks, signals: Signals, app: Option<App>) -> Running {
        let Self { config, doors, mut rotation, look } = self;
        let counters = Arc::new(Counters::default());
        let phase = watch::Sender::new(Phase::Running);
        let guards = Guards::default();
        // The app has been started: it keeps the limits that the container was given.
        let (slots, handshakes) = room(&config);
        let mut accepting = JoinSet::new();
        for (door, socket, addr) in doors {
            tracing::info!(listener = %addr, app = %door.app, "listening");
            let service = Service {
                listener: addr,
                current: rotation.serve(&door.tls),
                app: door.app,
                timeouts: config.timeouts.clone(),
                handshakes: Arc::clone(&handshakes),
                phase: phase.subscribe(),
                counters: Arc::clone(&counters),
                access: config.log.access,
            };
            accepting.spawn(listener::accept(socket, Arc::new(service), slots.clone(), guards.guard()));
        }
        let rotation = Arc::new(rotation);
        let shown = rotation.shown();
        tasks.start("rotation", {
            let rotation = Arc::clone(&rotation);
            async move { rotation.run().await }
        });
        Running { config, signals, app, rotation, shown, look, phase, guards, accepting, counters }
    }
}

/// How many connections and handshakes may be there at once.
fn room(config: &Config) -> (Slots, Arc<Semaphore>) {
    let descriptors = limits::raise_descriptor_limit().unwrap_or_else(|error| {
        tracing::warn!(%error, "the descriptor limit cannot be raised");
        1024
    });
    let fitting = connections_within(descriptors).min(MOST_CONNECTIONS);
    let connections = config.limits.connections.unwrap_or(usize::try_from(fitting).unwrap_or(usize::MAX));
    let handshakes = config.limits.handshakes.unwrap_or(connections);
    (Slots::new(connections), Arc::new(Semaphore::new(handshakes.min(Semaphore::MAX_PERMITS))))
}

/// Connections that a limit of `descriptors` has room for.
pub(crate) fn connections_within(descriptors: u64) -> u64 {
    descriptors.saturating_sub(DESCRIPTORS_OF_OURS) / DESCRIPTORS_PER_CONNECTION
}

fn mend_for(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "the address is in use; stop the other program or choose another --listen".to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            "not permitted; ports below 1024 need CAP_NET_BIND_SERVICE, choose a higher one".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
        _ => error.to_string(),
    }
}

/// A proxy that serves.
struct Running {
    config: Config,
    signals: Signals,
    app: Option<App>,
    rotation: Arc<Rotation>,
    shown: watch::Receiver<Option<Shown>>,
    look: Arc<Notify>,
    phase: watch::Sender<Phase>,
    guards: Guards,
    accepting: JoinSet<()>,
    counters: Arc<Counters>,
}

/// What ends the serving.
enum Turn {
    /// TERM or INT.
    Asked,
    /// The app has ended by itself.
    AppEnded(AppStatus),
    /// We cannot go on.
    Broken(Fault),
}

impl Running {
    async fn serve(mut self, mut tasks: Tasks) -> Result<Exit, Fault> {
        let exit = match self.until_a_turn(&mut tasks).await {
            Turn::Asked => Ok(self.drain().await),
            Turn::AppEnded(status) => {
                tracing::info!(%status, "app ended");
                self.close_listeners().await;
                self.finish(Instant::now() + LAST_BYTES).await;
                Ok(status.into())
            }
            Turn::Broken(fault) => {
                tracing::error!(error = %fault.message, "giving up");
                self.close_listeners().await;
                self.stop_app().await;
                Err(fault)
            }
        };
        let code = exit.as_ref().map_or_else(|fault| fault.exit, |exit| *exit).code();
        self.say_farewell(code);
        exit
    }

    /// Serves until something ends it.
    async fn until_a_turn(&mut self, tasks: &mut Tasks) -> Turn {
        let rotation = Arc::clone(&self.rotation);
        let mut first = std::pin::pin!(rotation.first());
        let mut waiting = true;
        let app = self.app.clone();
        loop {
            tokio::select! {
                fault = tasks.ended_early() => return Turn::Broken(fault),
                asked = self.signals.asked(app.as_ref()) => match asked {
                    Asked::Stop { .. } => return Turn::Asked,
                    Asked::LookAgain => self.look.notify_one(),
                },
                status = ended(app.as_ref()) => return Turn::AppEnded(status),
                loaded = &mut first, if waiting => match loaded {
                    Ok(()) => waiting = false,
                    Err(error) => return Turn::Broken(self.no_credential(&error)),
                },
                Ok(()) = self.shown.changed() => {
                    let shown = self.shown.borrow_and_update().clone();
                    if let Some(shown) = shown {
                        self.announce(&shown);
                    }
                }
            }
        }
    }

    fn no_credential(&self, error: &dyn std::error::Error) -> Fault {
        let files = &self.config.credential;
        Fault::new(
            Exit::NoCredential,
            format!(
                "no usable certificate and key within {:?}: {error}\nlooked at {} and {}; set --cert and --key, or CF_INSTANCE_CERT and CF_INSTANCE_KEY",
                files.timeout,
                files.cert.display(),
                files.key.display()
            ),
        )
    }

    /// Says which pair is shown now, and takes the platform's sign when it is the retirement pair.
    fn announce(&self, shown: &Shown) {
        let certificate = Certificate::from_der(shown.pair.leaf());
        let retiring = certificate.as_ref().is_ok_and(Certificate::is_retirement);
        let instance = certificate.as_ref().ok().and_then(|certificate| certificate.common_name().map(str::to_owned));
        let not_after =
            certificate.ok().and_then(|certificate| jiff::Timestamp::try_from(certificate.not_after()).ok());
        let not_after = not_after.map(tracing::field::display);
        let generation = shown.generation;
        if retiring {
            tracing::info!(generation, not_after, "retiring: the platform has shown the retirement pair");
        } else if generation == 1 {
            tracing::info!(generation, instance, not_after, "ready");
        } else {
            tracing::info!(generation, instance, not_after, "rotated");
        }
        self.phase.send_if_modified(|phase| {
            let next = if retiring { Phase::Retiring } else { Phase::Running };
            let changes = *phase < Phase::Draining && *phase != next;
            if changes {
                *phase = next;
            }
            changes
        });
    }

    /// From "stop" to "gone": no new work, finish what runs. A second signal skips ahead.
    async fn drain(&mut self) -> Exit {
        let drain = self.config.drain.clone();
        tracing::info!(delay = ?drain.delay, timeout = ?drain.timeout, active = self.counters.active(), "draining");
        let _ = timeout(drain.delay, self.second_stop()).await;
        let deadline = Instant::now() + drain.timeout;
        self.close_listeners().await;
        if let Some(app) = &self.app {
            app.signal(Signal::TERM);
        }
        let deadline = if self.finish(deadline).await { Instant::now() } else { deadline };
        match self.end_app(deadline).await {
            Some(status) => status.into(),
            None => Exit::Success,
        }
    }

    /// From here on the kernel refuses new connections; what it had queued is served.
    async fn close_listeners(&mut self) {
        self.phase.send_replace(Phase::Draining);
        while self.accepting.join_next().await.is_some() {}
        tracing::debug!("listeners closed");
    }

    /// Waits for the connections to end, until `deadline` or a signal; closes what is left then. Whether it was a signal.
    async fn finish(&mut self, deadline: Instant) -> bool {
        let mut remaining = std::mem::take(&mut self.guards).close();
        let skipped = tokio::select! {
            () = gone_by(&mut remaining, deadline) => false,
            () = self.second_stop() => true,
        };
        let left = self.counters.active();
        if left > 0 {
            tracing::warn!(left, skipped, "closing the connections that are left");
        }
        self.phase.send_replace(Phase::Closing);
        let _ = timeout(LAST_RECORDS, remaining.gone()).await;
        skipped
    }

    /// Waits for the app to end, until `deadline` or a signal; kills it then. `None` without an app.
    async fn end_app(&mut self, deadline: Instant) -> Option<AppStatus> {
        let app = self.app.clone()?;
        let ended = tokio::select! {
            ended = timeout_at(deadline, app.exited()) => ended.ok(),
            () = self.second_stop() => None,
        };
        if let Some(status) = ended {
            tracing::info!(%status, "app ended");
            return Some(status);
        }
        tracing::warn!("the app has not ended in time and is killed");
        app.kill();
        Some(app.exited().await)
    }

    /// After a fault of ours: the app must not be left behind.
    async fn stop_app(&mut self) {
        if let Some(app) = &self.app {
            app.signal(Signal::TERM);
        }
        self.end_app(Instant::now() + self.config.drain.timeout).await;
    }

    /// Waits for a TERM or INT that comes while we are going already.
    async fn second_stop(&mut self) {
        loop {
            if let Asked::Stop { .. } = self.signals.asked(self.app.as_ref()).await {
                return;
            }
        }
    }

    fn say_farewell(&self, code: u8) {
        let (bytes_up, bytes_down) = self.counters.bytes();
        tracing::info!(
            code,
            connections = self.counters.connections(),
            probes = self.counters.count(Reason::Probe),
            bytes_up,
            bytes_down,
            "exited"
        );
    }
}

/// Waits for the app to end; for ever without one.
async fn ended(app: Option<&App>) -> AppStatus {
    match app {
        Some(app) => app.exited().await,
        None => std::future::pending().await,
    }
}

async fn gone_by(remaining: &mut Remaining, deadline: Instant) {
    let _ = timeout_at(deadline, remaining.gone()).await;
}
