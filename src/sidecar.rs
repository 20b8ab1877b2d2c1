//! The proxy as a whole: `Config` → [`Sidecar`] (listening) → `Exit`. The only file that wires the parts together.

mod going;
mod pairs;

use std::env;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::admin::Envoy;
use crate::admin::Listening;
use crate::admin::Overview;
use crate::admin::Server;
use crate::admin::View;
use crate::config::AppAddr;
use crate::config::Certified;
use crate::config::Clients;
use crate::config::Config;
use crate::config::Listener;
use crate::connection::Reason;
use crate::connection::Service;
use crate::credentials::Rotation;
use crate::credentials::Shown;
use crate::exit::Exit;
use crate::exit::Fault;
use crate::lifecycle::Guards;
use crate::lifecycle::Phase;
use crate::lifecycle::Readiness;
use crate::lifecycle::Tasks;
use crate::listener;
use crate::listener::Room;
use crate::supervisor::App;
use crate::supervisor::AppCommand;
use crate::supervisor::AppStatus;
use crate::supervisor::Asked;
use crate::supervisor::HiddenPort;
use crate::supervisor::INSTANCE_PORTS;
use crate::supervisor::Signals;
use crate::sys::limits;
use crate::telemetry::Counters;
use crate::telemetry::Metrics;
use crate::tls::Turns;
use crate::upstream::Upstream;

/// A proxy whose listeners are open.
#[derive(Debug)]
pub struct Sidecar {
    config: Config,
    admin: Option<Server>,
    hidden: Option<HiddenPort>,
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
        if !failures.is_empty() {
            return Err(Fault::new(Exit::AddressUnavailable, failures.join("\n")));
        }
        let hidden = if config.app.hide_port { hide_app(&mut doors)? } else { None };
        let admin = Server::open(config.admin.as_ref())?;
        let look = Arc::new(Notify::new());
        let rotation = Rotation::new(Arc::clone(&look));
        Ok(Self { config, admin, hidden, doors, rotation, look })
    }

    /// The addresses that are listened on, in the order of the configuration.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.doors.iter().map(|(_, _, addr)| *addr)
    }

    /// Tells of each pair as it is taken into service, in the order of the listeners that first show them.
    pub fn shown(&self) -> watch::Receiver<Vec<Shown>> {
        self.rotation.shown()
    }

    /// Serves until a signal, the end of the app, or a fault ends it.
    ///
    /// # Errors
    /// [`Fault`] with the status to end with.
    pub async fn run(mut self, mut command: Option<AppCommand>) -> Result<Exit, Fault> {
        if let (Some(command), Some(hidden)) = (&mut command, self.hidden) {
            command.env_set.extend(hidden.environment(env::var_os(INSTANCE_PORTS)));
        }
        let internal = |error: io::Error| Fault::new(Exit::Internal, format!("cannot listen for signals: {error}"));
        let mut signals =
            if command.is_some() { Signals::for_run() } else { Signals::for_proxy() }.map_err(internal)?;
        if let Some(admin) = &mut self.admin {
            signals.hear_also(admin.requests());
        }
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
        let Self { config, admin, doors, mut rotation, look, .. } = self;
        let counters = Arc::new(Counters::default());
        let phase = watch::Sender::new(Phase::Running);
        let guards = Guards::default();
        // The app has been started: it keeps the limits that the container was given, and may be debugged.
        if let Err(error) = limits::keep_memory_private() {
            tracing::warn!(%error, "our memory cannot be kept from core dumps");
        }
        let Room { slots, handshakes, budgets } = listener::room(&config.limits);
        let turns = Arc::new(Turns::new(config.threads));
        let mut accepting = JoinSet::new();
        let ours: Arc<[SocketAddr]> = doors.iter().map(|(_, _, addr)| *addr).collect();
        let mut upstreams: Vec<Arc<Upstream>> = Vec::new();
        let mut seen = Vec::new();
        for (door, socket, addr) in doors {
            tracing::info!(listener = %addr, app = %door.app, "listening");
            if let Clients::Certified(Certified { any_implied: true, .. }) = &door.clients {
                tracing::info!(listener = %addr, "no rule is given: every client with a certificate under the client CAs may come in");
            }
            let known = upstreams.iter().find(|upstream| *upstream.addr() == door.app);
            let upstream = known.cloned().unwrap_or_else(|| {
                let upstream = Arc::new(self::upstream(&config, &door));
                tasks.start("app watch", {
                    let (upstream, ours) = (Arc::clone(&upstream), Arc::clone(&ours));
                    async move { upstream.watch(&ours).await }
                });
                upstreams.push(Arc::clone(&upstream));
                upstream
            });
            let current = rotation.serve(&door.pair, &door.tls, &door.clients);
            let (app, pair, clients) = (Arc::clone(&upstream), door.pair, door.clients);
            seen.push(Listening { listener: addr, app, pair, clients, current: current.clone() });
            let service = Service {
                listener: addr,
                current,
                dial: door.dial,
                app: upstream,
                proxy_protocol: door.proxy_protocol,
                accept_proxy_protocol: door.accept_proxy_protocol,
                timeouts: config.timeouts.clone(),
                handshakes: Arc::clone(&handshakes),
                budgets: Arc::clone(&budgets),
                turns: Arc::clone(&turns),
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
        let readiness = Arc::new(Readiness::new(ours.len(), upstreams.clone()));
        if let Some(admin) = admin {
            let metrics =
                Metrics::new(Arc::clone(&counters), Arc::clone(&budgets), rotation.rotations(), Arc::clone(&readiness));
            let served = seen.iter().map(|listening| (listening.listener, listening.current.clone())).collect();
            let envoy = config.envoy.as_ref().map(|place| Envoy::new(place, &config, served, shown.clone()));
            let (rotations, phase) = (rotation.rotations(), phase.subscribe());
            let (counters, shown, started) = (Arc::clone(&counters), shown.clone(), SystemTime::now());
            let overview = Overview { counters, rotations, shown, phase, listeners: seen, started };
            tasks.start("admin", admin.run(View { readiness: Arc::clone(&readiness), metrics, overview, envoy }));
        }
        Running {
            config,
            signals,
            app,
            upstreams,
            rotation,
            shown,
            look,
            phase,
            guards,
            accepting,
            counters,
            readiness,
        }
    }
}

/// Gives the app another port than the one that was configured, which others know.
fn hide_app(doors: &mut [(Listener, TcpListener, SocketAddr)]) -> Result<Option<HiddenPort>, Fault> {
    // Invariant: with a hidden port there is one listener, and the app is on TCP.
    let [(Listener { app, .. }, ..)] = doors else { return Ok(None) };
    let Some(known) = app.tcp().first().map(SocketAddr::port) else { return Ok(None) };
    let hidden = HiddenPort::find(known)
        .map_err(|error| Fault::new(Exit::AddressUnavailable, format!("cannot hide the app's port: {error}")))?;
    *app = AppAddr::Tcp(hidden.addr());
    Ok(Some(hidden))
}

/// The way to the app behind `door`.
fn upstream(config: &Config, door: &Listener) -> Upstream {
    let (ready, hold) = (config.app.ready.clone(), config.app.hold);
    Upstream::new(door.app.clone(), door.connect, ready, hold).announcing(door.proxy_protocol)
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
    upstreams: Vec<Arc<Upstream>>,
    rotation: Arc<Rotation>,
    shown: watch::Receiver<Vec<Shown>>,
    look: Arc<Notify>,
    phase: watch::Sender<Phase>,
    guards: Guards,
    accepting: JoinSet<()>,
    counters: Arc<Counters>,
    readiness: Arc<Readiness>,
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
                let mut remaining = self.close_listeners("the app has ended").await;
                self.finish(&mut remaining, Instant::now() + self.config.drain.timeout).await;
                self.end_rest(Instant::now() + going::LAST_WORK).await;
                Ok(status.into())
            }
            Turn::Broken(fault) => {
                self.close_listeners("giving up").await;
                self.tell_app();
                self.end_app(Instant::now() + self.config.drain.timeout).await;
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
        let mut first = std::pin::pin!(rotation.first(self.config.credential_timeout));
        let mut waiting = true;
        let mut announced = Vec::new();
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
                    Err(error) => return Turn::Broken(self.nothing_to_serve(&error)),
                },
                Ok(()) = self.shown.changed() => {
                    let shown = self.shown.borrow_and_update().clone();
                    self.announce(&shown, &announced);
                    announced = shown;
                }
            }
        }
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
            denied = self.counters.count(Reason::Denied),
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
