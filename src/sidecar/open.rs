//! The proxy with its listeners open, before it serves.

use std::env;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::{Notify, watch};

use super::child::{Launchers, signal_handler_fault, start_child};
use super::forward_proxy::BoundForwardProxy;
use super::identity_endpoint::BoundIdentityEndpoint;
use super::inbound::BoundListener;
use super::outbound::{BoundOutbound, OutboundSockets, OwnAddresses};
use super::platform_pair::PlatformPair;
use super::running::Running;
use super::shared::Shared;
use super::sockets::cannot_listen;
use super::{app_files, inbound, outbound};
use crate::admin::BoundAdmin;
use crate::config::{Admin, AppAddr, Config, RotationHook};
use crate::credentials::{Rotator, ServedCertificate};
use crate::exit::{Exit, Fault};
use crate::lifecycle::{Readiness, Tasks};
use crate::listener;
use crate::listener::DescriptorLimit;
use crate::sandbox::{Access, SandboxReport};
use crate::supervisor::{App, AppCommand, HiddenPort, INSTANCE_PORTS, Reaper, Signals};
use crate::sys::limits;

/// A proxy whose listeners are open.
#[derive(Debug)]
pub struct Sidecar {
    pub(super) config: Config,
    pub(super) admin: Option<BoundAdmin>,
    pub(super) metrics: Option<BoundAdmin>,
    pub(super) hidden: Option<HiddenPort>,
    pub(super) listeners: Vec<BoundListener>,
    pub(super) outbounds: OutboundSockets,
    pub(super) rotator: Rotator,
    /// Has the rotator load everything anew.
    pub(super) reload: Arc<Notify>,
    /// What the process has given up.
    pub(super) sandbox: Arc<SandboxReport>,
    /// What starts programs outside of that, once it was given up.
    pub(super) launchers: Launchers,
    /// The app, once it was started, who waits for it, and the signals that are passed on to it.
    pub(super) child: Option<(App, Reaper, Signals)>,
}

impl Sidecar {
    /// Opens every listener. It needs no runtime, and starts no thread.
    ///
    /// # Errors
    /// [`Exit::Unavailable`] with one line for each address that could not be opened; [`Exit::Config`] where a file for the app
    /// can never be where it should.
    pub fn open(config: Config) -> Result<Self, Fault> {
        let apps = config.listeners.iter().map(|listener| &listener.app);
        crate::sandbox::require(config.sandbox, &Access::of(&config, apps, None))?;
        crate::app_files::prepare(&config)?;
        let mut listeners = Vec::new();
        let mut failures = Vec::new();
        for listener in &config.listeners {
            match listener::open(listener.listen).and_then(|socket| Ok((socket.local_addr()?, socket))) {
                Ok((addr, socket)) => listeners.push(BoundListener { config: listener.clone(), socket, addr }),
                Err(error) => failures.push(cannot_listen(listener.listen, &error, "--listen")),
            }
        }
        let mut outbounds = OutboundSockets::default();
        for outbound in &config.outbounds {
            match BoundOutbound::open(outbound) {
                Ok(bound) => outbounds.listeners.push(bound),
                Err(failure) => failures.push(failure),
            }
        }
        match config.forward_proxy.as_ref().map(BoundForwardProxy::open).transpose() {
            Ok(bound) => outbounds.forward_proxy = bound,
            Err(failure) => failures.push(failure),
        }
        match config.identity_endpoint.as_ref().map(BoundIdentityEndpoint::open).transpose() {
            Ok(bound) => outbounds.identity_endpoint = bound,
            Err(failure) => failures.push(failure),
        }
        if let Some(fault) = failures.into_iter().reduce(Fault::and) {
            return Err(fault);
        }
        outbounds.identity_endpoint = outbounds.identity_endpoint.map(BoundIdentityEndpoint::load_roles).transpose()?;
        let hidden = if config.app.hide_port { hide_app(&mut listeners)? } else { None };
        // The default steps aside: whoever reaches the app would reach it.
        let is_the_apps = |admin: &&Admin| admin.addr.tcp().is_some_and(|addr| config.is_where_an_app_listens(addr));
        let in_the_way = config.admin.as_ref().filter(|admin| !admin.explicit).filter(is_the_apps);
        if let Some(admin) = in_the_way {
            tracing::warn!(admin = %admin.addr, "the admin address is where the app listens, so there is no admin listener; choose another by --admin, or off");
        }
        let admin = BoundAdmin::open(config.admin.as_ref().filter(|_| in_the_way.is_none()))?;
        let metrics = BoundAdmin::open_metrics(config.metrics)?;
        let reload = Arc::new(Notify::new());
        let rotator = Rotator::new(Arc::clone(&reload));
        let sandbox = Arc::new(SandboxReport::none(config.sandbox));
        let launchers = Launchers::default();
        Ok(Self {
            config,
            admin,
            metrics,
            hidden,
            listeners,
            outbounds,
            rotator,
            reload,
            sandbox,
            launchers,
            child: None,
        })
    }

    /// Starts the app. To be called within a runtime without threads of its own, before there are any: whatever fences the proxy in
    /// later is taken over by its threads, and never by the app.
    ///
    /// # Errors
    /// The app cannot be started, or its signals cannot be heard: [`App::spawn`].
    pub fn start_app(&mut self, mut command: AppCommand) -> Result<(), Fault> {
        command.env_set.extend(self.app_environment());
        let signals = Signals::for_run(&command.map).map_err(|error| signal_handler_fault(&error))?;
        let (app, reaper) = start_child(&command, None)?;
        self.child = Some((app, reaper, signals));
        Ok(())
    }

    /// What the app is told of us.
    pub(super) fn app_environment(&self) -> Vec<(OsString, OsString)> {
        let mut variables = Vec::new();
        if let Some(hidden) = self.hidden {
            variables.extend(hidden.environment(env::var_os(INSTANCE_PORTS)));
        }
        if let Some(proxy) = &self.outbounds.forward_proxy {
            variables.extend(proxy.environment(|name| env::var_os(name)));
        }
        if let Some(endpoint) = &self.outbounds.identity_endpoint {
            variables.extend(endpoint.environment());
        }
        variables
    }

    /// The addresses that are listened on, in the order of the configuration.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.listeners.iter().map(|listener| listener.addr)
    }

    /// Where the app dials us, of those that listen on TCP, in the order of the configuration.
    pub fn outbound_addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.outbounds.listeners.iter().filter_map(BoundOutbound::addr)
    }

    /// Tells of each pair as it is taken into service, in the order of the listeners that first show them.
    pub fn served(&self) -> watch::Receiver<Vec<ServedCertificate>> {
        self.rotator.served()
    }

    /// Serves until a signal, the end of the app, or a fault ends it. Must be called within a runtime.
    ///
    /// # Errors
    /// [`Fault`] with the status to end with.
    pub async fn run(mut self) -> Result<Exit, Fault> {
        let mut tasks = Tasks::default();
        let runs_program = self.launchers.hook.is_none()
            && matches!(self.config.app_files.on_rotation, Some(RotationHook::Exec { .. }));
        let (app, reaper, mut signals) = match self.child.take() {
            Some((app, reaper, signals)) => (Some(app), Some(reaper), signals),
            None => {
                let reaper = if runs_program { Some(Reaper::without_app()?) } else { None };
                (None, reaper, Signals::for_proxy().map_err(|error| signal_handler_fault(&error))?)
            }
        };
        let programs = reaper.as_ref().map(Reaper::programs);
        if let Some(reaper) = reaper {
            tasks.start("reaper", reaper.run());
        }
        if let Some(requests) = self.admin.as_mut().and_then(BoundAdmin::requests) {
            signals.add_requests(requests);
        }
        let mut running = self.start(&mut tasks, signals, DescriptorLimit::Raised)?;
        running.start_hook(app.clone(), programs, &mut tasks);
        running.app = app;
        running.accept()?;
        Box::pin(running.serve(tasks)).await
    }

    /// Where the status page is; `None` if the admin listener is off, or its address was taken.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin.as_ref().and_then(BoundAdmin::addr)
    }

    /// Starts everything that runs until the end, but for accepting.
    pub(super) fn start(
        self,
        tasks: &mut Tasks,
        signals: Signals,
        descriptors: DescriptorLimit,
    ) -> Result<Running, Fault> {
        let Self { config, admin, metrics, listeners, outbounds, mut rotator, reload, sandbox, launchers, .. } = self;
        // The commands have done so before; whoever embeds us may not.
        if let Err(error) = limits::keep_memory_private() {
            tracing::warn!(%error, "cannot mark the process non-dumpable (PR_SET_DUMPABLE)");
        }
        let shared = Shared::new(&config, descriptors);
        let own = OwnAddresses {
            inbound: listeners.iter().map(|listener| listener.addr).collect(),
            admin: [&admin, &metrics].into_iter().flatten().filter_map(BoundAdmin::addr).collect(),
        };
        let inbound = inbound::start(listeners, &config, &shared, &mut rotator, tasks);
        let outbound = outbound::start(outbounds, &config, &shared, &mut rotator, tasks, own);
        let app_files = app_files::start(&config.app_files, rotator.served(), tasks);
        let platform_pair = PlatformPair::watch(&config, tasks);
        let rotator = Arc::new(rotator);
        tasks.start("rotation", {
            let rotator = Arc::clone(&rotator);
            async move { rotator.run().await }
        });
        let readiness = Readiness::new(
            inbound.listeners.len(),
            inbound.upstreams.iter().map(|app| Arc::clone(app.health())).collect(),
            outbound.overview.listeners.iter().map(|outbound| Arc::clone(&outbound.endpoints) as _).collect(),
        );
        let speaks_tls = config.listeners.iter().any(|listener| listener.plaintext.is_none());
        let readiness = Arc::new(if speaks_tls { readiness } else { readiness.without_tls() });
        let running = Running {
            served: rotator.served(),
            config,
            signals,
            app: None,
            inbound,
            outbound,
            app_files,
            rotator,
            reload,
            sandbox,
            hook_launcher: launchers.hook,
            shared,
            readiness,
            logged: Vec::new(),
            own_retires: false,
            platform_pair,
            platform_retires: false,
            secrets_folder: None,
            vault: None,
            lease_events: None,
        };
        if admin.is_some() || metrics.is_some() {
            let state = Arc::new(running.admin_state());
            for (name, server) in [("admin", admin), ("metrics", metrics)] {
                if let Some(server) = server {
                    tasks.start(name, server.listen()?.run(Arc::clone(&state)));
                }
            }
        }
        Ok(running)
    }
}

/// Gives the app another port than the one that was configured, which others know.
fn hide_app(listeners: &mut [BoundListener]) -> Result<Option<HiddenPort>, Fault> {
    // Invariant: with a hidden port all listeners lead to the app's own one, on TCP.
    let known = listeners.first().and_then(|listener| listener.config.app.tcp().first().map(SocketAddr::port));
    let Some(known) = known else { return Ok(None) };
    let hidden = HiddenPort::find(known)
        .map_err(|error| Fault::new(Exit::Unavailable, format!("cannot hide the app's port: {error}")))?;
    for listener in listeners {
        listener.config.app = AppAddr::Tcp(hidden.addr());
    }
    Ok(Some(hidden))
}
