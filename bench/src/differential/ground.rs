//! What a case is tried on: one of the two, with Diego's files and an app behind it.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustls::ClientConfig;
use tempfile::TempDir;

use super::app::{App, Mode};
use super::ask::Ask;
use super::world::{GUID, ROUTER, Side, World};
use crate::diego;
use crate::diego::{Container, Folder, Listener};
use crate::process::Running;
use crate::wire::client::Client;
use crate::wire::end::End;

/// How long a start may take.
const START: Duration = Duration::from_secs(30);

/// How long the rest of a start may take once the listener between containers serves.
const ENOUGH: Duration = Duration::from_secs(3);

/// The port of that listener in a container.
const C2C: u16 = 61443;

/// How long a denial may take to reach a client that believes its handshake to be over.
const DENIAL: Duration = Duration::from_millis(300);

/// How long a rotation may take.
const ROTATION: Duration = Duration::from_secs(3);

/// What the files say.
pub(super) struct Plan<'a> {
    /// `envoy.yaml`.
    pub(super) container: Container,
    /// The CAs of clients, PEM.
    pub(super) roots: &'a str,
    /// One of these must be in a client's certificate.
    pub(super) names: &'a [&'a str],
    /// What the app does.
    pub(super) mode: Mode,
}

/// One of the two, with all around it. Dropped, everything ends.
pub(super) struct Ground<'w> {
    /// Its files.
    pub(super) folder: Folder,
    /// Its apps, in the order of their ports.
    pub(super) apps: Vec<App>,
    /// The process.
    pub(super) process: Running,
    world: &'w World,
    _dir: TempDir,
}

impl<'w> Ground<'w> {
    /// Writes the files, starts the apps and the proxy, and waits until a good client could be served.
    ///
    /// # Errors
    /// It is not within 30 seconds.
    pub(super) fn start(world: &'w World, side: Side, plan: &Plan<'_>) -> Result<Self> {
        let dir = world.folder()?;
        let apps = plan.container.ports.iter().map(|_| App::start(diego::app_addr()?, plan.mode));
        let apps = apps.collect::<Result<Vec<_>>>()?;
        let addrs: Vec<_> = apps.iter().map(|app| app.addr).collect();
        let folder = Folder::write(&dir.path().join("envoy_config"), &plan.container, &addrs, None)?;
        folder.id(&world.id)?;
        folder.c2c(&world.c2c)?;
        folder.clients(plan.roots, plan.names)?;
        let subcommand = (side == Side::Vestibule).then_some("envoy");
        let command = folder.command(world.program(side), subcommand);
        let process = Running::start(&command, None, &dir.path().join("log"))?;
        let mut ground = Self { folder, apps, process, world, _dir: dir };
        ground.until_up()?;
        ground.apps.iter().for_each(App::forget);
        Ok(ground)
    }

    /// With a client's certificate or without, HTTP/2 offered, one port, an app that echoes.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub(super) fn usual(world: &'w World, side: Side, mtls: bool, mode: Mode) -> Result<Self> {
        let roots = if mtls { world.platform.pem.as_str() } else { "" };
        let names: &[&str] = if mtls { &[ROUTER] } else { &[] };
        let container = Container { mtls, http2: true, ..diego::container() };
        Self::start(world, side, &Plan { container, roots, names, mode })
    }

    /// Where a listener is.
    pub(super) fn addr(&self, listener: usize) -> SocketAddr {
        self.folder.listeners[listener].addr
    }

    /// A client of the first listener.
    ///
    /// # Errors
    /// How the connection closed instead.
    pub(super) fn connect(&self, config: &Arc<ClientConfig>) -> Result<Client, End> {
        Client::connect(self.addr(0), config, GUID)
    }

    /// The same, and the app's end of the connection.
    ///
    /// # Errors
    /// There is no connection.
    pub(super) fn through(&self, config: &Arc<ClientConfig>) -> Result<(Client, std::net::TcpStream)> {
        self.apps[0].forget();
        let mut client = match self.connect(config) {
            Ok(client) => client,
            Err(end) => bail!("no connection: {end}"),
        };
        let mut app = self.apps[0].next()?;
        // Both ends are of one connection, and both ways work.
        client.send(b"up").map_err(|end| anyhow::anyhow!("up: {end}"))?;
        let mut two = [0; 2];
        std::io::Read::read_exact(&mut app, &mut two).context("up")?;
        app.write_all(b"dn").context("down")?;
        ensure!(client.receive(2).map_err(|end| anyhow::anyhow!("down: {end}"))? == b"dn", "other bytes came down");
        Ok((client, app))
    }

    /// What a client of `listener` gets: served, or how it was refused, and when.
    pub(super) fn verdict(&self, listener: usize, config: &Arc<ClientConfig>) -> String {
        match Client::connect(self.addr(listener), config, GUID) {
            Err(end) => format!("{end} in the handshake"),
            Ok(mut client) => greet(&mut client).map_or_else(|end| format!("{end} after it"), |()| "served".to_owned()),
        }
    }

    /// What a listener serves, by the name that the world has for it.
    pub(super) fn served(&self, listener: usize, config: &Arc<ClientConfig>) -> String {
        match Client::connect(self.addr(listener), config, GUID) {
            Err(end) => end.to_string(),
            Ok(client) => self.world.label(&client.leaf()).to_owned(),
        }
    }

    /// What a listener serves as soon as it is `wanted`, or after as long as a rotation may take.
    pub(super) fn comes_to_serve(&self, listener: usize, wanted: &str, config: &Arc<ClientConfig>) -> String {
        self.comes_to(wanted, || self.served(listener, config))
    }

    /// What `look` sees as soon as that is `wanted`, or after as long as a rotation may take.
    pub(super) fn comes_to(&self, wanted: &str, look: impl Fn() -> String) -> String {
        let end = Instant::now() + ROTATION;
        loop {
            let seen = look();
            if seen == wanted || Instant::now() > end {
                return seen;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// How the router asks.
    ///
    /// # Errors
    /// Its certificate cannot be used.
    pub(super) fn router(&self) -> Result<Arc<ClientConfig>> {
        Ask { pair: Some(&self.world.router), ..Ask::default() }.config()
    }

    /// Waits until all listeners serve the router. Where the files say that nobody is let in, it is enough that the listener between
    /// containers, which asks for no certificate, has served for a while.
    fn until_up(&mut self) -> Result<()> {
        let end = Instant::now() + START;
        let config = self.router()?;
        let mut since = None;
        loop {
            let serves = |it: &&Listener| Client::connect(it.addr, &config, GUID).is_ok();
            let serving: Vec<_> = self.folder.listeners.iter().filter(serves).collect();
            if serving.iter().any(|it| it.port == C2C) {
                since.get_or_insert_with(Instant::now);
            }
            if serving.len() == self.folder.listeners.len() || since.is_some_and(|since| since.elapsed() > ENOUGH) {
                return Ok(());
            }
            ensure!(!self.process.ended(), "it ended at its start: {}", self.process.last_words());
            ensure!(Instant::now() < end, "it does not serve: {}", self.process.last_words());
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Reads first, in case there is a denial on its way, then has something echoed.
pub(super) fn greet(client: &mut Client) -> Result<(), End> {
    match client.end_within(DENIAL) {
        End::Silence => {}
        end => return Err(end),
    }
    client.send(b"hello")?;
    match client.receive(5)?.as_slice() {
        b"hello" => Ok(()),
        other => Err(End::Other(format!("other bytes: {other:?}"))),
    }
}
