//! The proxy as a whole: `Config` → [`Sidecar`] (listening) → `Exit`. The only file that wires the parts together.

mod rotation_events;
mod shutdown;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;
use std::{env, io};

use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::admin::{AdminServer, AdminState, Envoy, ListenerInfo, StatusSources};
use crate::config::{AppAddr, ClientAuthConfig, ClientAuthFiles, Config, Listener};
use crate::credentials::{Rotator, ServedCertificate};
use crate::exit::{Exit, Fault};
use crate::inbound::Service;
use crate::lifecycle::{DrainGuards, Phase, Readiness, Tasks};
use crate::listener;
use crate::listener::Capacity;
use crate::metrics::Metrics;
use crate::supervisor::{App, AppCommand, AppStatus, HiddenPort, INSTANCE_PORTS, Request, Signals};
use crate::sys::limits;
use crate::telemetry::{CloseReason, Counters};
use crate::tls::SigningLimiter;
use crate::upstream::Upstream;

/// A proxy whose listeners are open.
#[derive(Debug)]
pub struct Sidecar {
    config: Config,
    admin: Option<AdminServer>,
    hidden: Option<HiddenPort>,
    doors: Vec<(Listener, TcpListener, SocketAddr)>,
    rotation: Rotator,
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
                Err(error) => failures.push(format!("cannot listen on {}: {}", door.listen, bind_help(&error))),
            }
        }
        if !failures.is_empty() {
            return Err(Fault::new(Exit::AddressUnavailable, failures.join("\n")));
        }
        let hidden = if config.app.hide_port { hide_app(&mut doors)? } else { None };
        let admin = AdminServer::open(config.admin.as_ref())?;
        let look = Arc::new(Notify::new());
        let rotation = Rotator::new(Arc::clone(&look));
        Ok(Self { config, admin, hidden, doors, rotation, look })
    }

    /// The addresses that are listened on, in the order of the configuration.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.doors.iter().map(|(_, _, addr)| *addr)
    }

    /// Tells of each pair as it is taken into service, in the order of the listeners that first show them.
    pub fn shown(&self) -> watch::Receiver<Vec<ServedCertificate>> {
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
        let guards = DrainGuards::default();
        // The app has been started: it keeps the limits that the container was given, and may be debugged.
        if let Err(error) = limits::keep_memory_private() {
            tracing::warn!(%error, "cannot mark the process non-dumpable (PR_SET_DUMPABLE)");
        }
        let Capacity { slots, handshakes, budgets } = listener::limits(&config.limits);
        let turns = Arc::new(SigningLimiter::new(config.threads));
        let mut accepting = JoinSet::new();
        let ours: Arc<[SocketAddr]> = doors.iter().map(|(_, _, addr)| *addr).collect();
        let mut upstreams: Vec<Arc<Upstream>> = Vec::new();
        let mut seen = Vec::new();
        for (door, socket, addr) in doors {
            tracing::info!(listener = %addr, app = %door.app, "listening");
            if let ClientAuthConfig::Files(ClientAuthFiles { any_implied: true, .. }) = &door.clients {
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
            seen.push(ListenerInfo { listener: addr, app, pair, clients, current: current.clone() });
            let service = Service {
                listener: addr,
                snapshots: current,
                dial: door.dial,
                app: upstream,
                proxy_protocol: door.proxy_protocol,
                accept_proxy_protocol: door.accept_proxy_protocol,
                timeouts: config.timeouts.clone(),
                handshakes: Arc::clone(&handshakes),
                budgets: Arc::clone(&budgets),
                signing: Arc::clone(&turns),
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
            let overview = StatusSources { counters, rotations, shown, phase, listeners: seen, started };
            tasks.start("admin", admin.run(AdminState { readiness: Arc::clone(&readiness), metrics, overview, envoy }));
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
    Upstream::new(door.app.clone(), door.connect, ready, hold).with_probe_prefix(door.proxy_protocol)
}

fn bind_help(error: &io::Error) -> String {
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
    rotation: Arc<Rotator>,
    shown: watch::Receiver<Vec<ServedCertificate>>,
    look: Arc<Notify>,
    phase: watch::Sender<Phase>,
    guards: DrainGuards,
    accepting: JoinSet<()>,
    counters: Arc<Counters>,
    readiness: Arc<Readiness>,
}

/// What ends the serving.
enum StopCause {
    /// TERM or INT.
    Asked,
    /// The app has ended by itself.
    AppEnded(AppStatus),
    /// We cannot go on.
    Broken(Fault),
}

impl Running {
    async fn serve(mut self, mut tasks: Tasks) -> Result<Exit, Fault> {
        let exit = match self.run_until_stopped(&mut tasks).await {
            StopCause::Asked => Ok(self.drain().await),
            StopCause::AppEnded(status) => {
                tracing::info!(%status, "app ended");
                let mut remaining = self.close_listeners("the app has ended").await;
                self.finish(&mut remaining, Instant::now() + self.config.drain.timeout).await;
                self.kill_process_group(Instant::now() + shutdown::GROUP_GRACE).await;
                Ok(status.into())
            }
            StopCause::Broken(fault) => {
                self.close_listeners("giving up").await;
                self.terminate_app();
                self.stop_app(Instant::now() + self.config.drain.timeout).await;
                Err(fault)
            }
        };
        let code = exit.as_ref().map_or_else(|fault| fault.exit, |exit| *exit).code();
        self.log_exit(code);
        exit
    }

    /// Serves until something ends it.
    async fn run_until_stopped(&mut self, tasks: &mut Tasks) -> StopCause {
        let rotation = Arc::clone(&self.rotation);
        let mut first = std::pin::pin!(rotation.first(self.config.credential_timeout));
        let mut waiting = true;
        let mut announced = Vec::new();
        let app = self.app.clone();
        loop {
            tokio::select! {
                fault = tasks.ended_early() => return StopCause::Broken(fault),
                asked = self.signals.next_request(app.as_ref()) => match asked {
                    Request::Stop { .. } => return StopCause::Asked,
                    Request::Reload => self.look.notify_one(),
                },
                status = ended(app.as_ref()) => return StopCause::AppEnded(status),
                loaded = &mut first, if waiting => match loaded {
                    Ok(()) => waiting = false,
                    Err(error) => return StopCause::Broken(self.nothing_to_serve(&error)),
                },
                Ok(()) = self.shown.changed() => {
                    let shown = self.shown.borrow_and_update().clone();
                    self.log_pair(&shown, &announced);
                    announced = shown;
                }
            }
        }
    }

    /// Waits for a TERM or INT that comes while we are going already.
    async fn second_stop(&mut self) {
        loop {
            if let Request::Stop { .. } = self.signals.next_request(self.app.as_ref()).await {
                return;
            }
        }
    }

    fn log_exit(&self, code: u8) {
        let (bytes_up, bytes_down) = self.counters.bytes();
        tracing::info!(
            code,
            connections = self.counters.connections(),
            probes = self.counters.count(CloseReason::Probe),
            denied = self.counters.count(CloseReason::Denied),
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
