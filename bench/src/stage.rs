//! What a sample is taken on: one fresh process of one peer, with the app behind it and the client in front of it.

use std::cell::Cell;
use std::fs;
use std::future::Future;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::app::{Addresses, HandshakeCount};
use crate::credentials::{Credentials, Rsa};
use crate::load::{Client, Connection, Target};
use crate::peers::{Peer, Site};
use crate::process::place::Places;
use crate::process::{Running, exec, pages, place, port};

/// How long a peer may take until it serves; Envoy on a busy machine needs seconds.
const START: Duration = Duration::from_secs(30);

/// What a connection that has just been closed may still cost its server.
const SETTLE: Duration = Duration::from_millis(50);

/// Pairs for rotations, all of one CA.
const PAIRS: usize = 6;

/// How much is done for one sample.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// For how long a rate is measured.
    pub(crate) time: Duration,
    /// Bytes each way over each of the bulk connections.
    pub(crate) bulk: u64,
    /// How often a peer is started for one figure.
    pub(crate) starts: usize,
    /// How many idle connections there are, in the larger of the two measures of memory; 0 leaves it out.
    pub(crate) many: usize,
}

/// What all samples share: the app, the credentials, the client's runtime, and a folder that is removed at the end.
pub(crate) struct Bench {
    /// Drives the client, on this thread.
    pub(crate) runtime: Runtime,
    /// How much is done for one sample.
    pub(crate) sizes: Sizes,
    /// Who runs on which CPU.
    pub(crate) places: Places,
    /// How many descriptors a process may hold.
    pub(crate) descriptors: u64,
    app: Addresses,
    rsa_2048: Credentials,
    rsa_3072: Credentials,
    sites: Cell<usize>,
    // Dropped in this order: first the process, then the folder of its log.
    _app: Running,
    work: TempDir,
}

/// How a peer is set up for a sample.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    /// The size of its key.
    pub(crate) rsa: Rsa,
    /// Whether it asks clients for a certificate.
    pub(crate) asks_clients: bool,
    /// Vestibule's access log, where it is not the default.
    pub(crate) access_log: Option<&'static str>,
    /// Whether a server that is dialled in TLS gives tickets.
    pub(crate) tickets: bool,
    /// Whether vestibule gives the app tokens.
    pub(crate) gives_tokens: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self { rsa: Rsa::Bits2048, asks_clients: false, access_log: None, tickets: true, gives_tokens: false }
    }
}

impl Bench {
    /// Starts the app, lets `vestibule` issue the credentials, and takes this thread to the client's CPU.
    ///
    /// # Errors
    /// Something of that fails.
    pub(crate) fn new(vestibule: &Path, sizes: Sizes, pin: bool) -> Result<Self> {
        let descriptors = exec::raise_descriptors()?;
        let work = tempfile::Builder::new().prefix("vestibule-bench-").tempdir().context("cannot make a folder")?;
        let issue = |name: &str, rsa, pairs| Credentials::issue(vestibule, &work.path().join(name), rsa, pairs);
        let (rsa_2048, rsa_3072) = (issue("rsa-2048", Rsa::Bits2048, PAIRS)?, issue("rsa-3072", Rsa::Bits3072, 1)?);
        let places = if pin { Places::share_out()? } else { Places::default() };
        let (app, addr) = start_app(work.path(), &work.path().join("rsa-2048"), places.app)?;
        if let Some(cpu) = places.client {
            place::stay_on(cpu)?;
        }
        let (runtime, sites) = (crate::runtime()?, Cell::new(0));
        Ok(Self { runtime, sizes, places, descriptors, app: addr, rsa_2048, rsa_3072, sites, _app: app, work })
    }

    /// What the keys of this size came with.
    pub(crate) fn credentials(&self, rsa: Rsa) -> &Credentials {
        match rsa {
            Rsa::Bits2048 => &self.rsa_2048,
            Rsa::Bits3072 => &self.rsa_3072,
        }
    }

    /// A folder and ports for one process.
    ///
    /// # Errors
    /// No port is free, or the folder cannot be made.
    pub(crate) fn site(&self, peer: &dyn Peer, setup: Setup) -> Result<Site<'_>> {
        self.sites.set(self.sites.get() + 1);
        let dir = self.work.path().join(format!("{}-{}", peer.name(), self.sites.get()));
        fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        Ok(Site {
            dir,
            listen: port::free()?,
            spare: [port::free()?, port::free()?],
            app: self.app.plain,
            server: if setup.tickets { self.app.tls } else { self.app.tls_without_tickets },
            credentials: self.credentials(setup.rsa),
            asks_clients: setup.asks_clients,
            access_log: setup.access_log,
            gives_tokens: setup.gives_tokens,
        })
    }

    /// A fresh process of `peer` that listens; no client has spoken to it.
    ///
    /// # Errors
    /// It ends, or does not listen within 30 seconds.
    pub(crate) fn listening(&self, peer: &dyn Peer, setup: Setup) -> Result<Stage<'_>> {
        let site = self.site(peer, setup)?;
        self.staged(site, peer, setup, |command, log| Running::start(command, self.places.peer, log))
    }

    /// The same, of a copy of the program of which so many pages are in memory.
    ///
    /// # Errors
    /// As [`Self::listening`], and when the program cannot be copied.
    pub(crate) fn listening_from(&self, peer: &dyn Peer, setup: Setup, pages: Pages) -> Result<Stage<'_>> {
        let site = self.site(peer, setup)?;
        let program = self.program(peer, &site, pages)?;
        self.staged(site, peer, setup, |command, log| {
            Running::start(&pages::with_copy(command, peer.program(), &program), self.places.peer, log)
        })
    }

    /// A copy of the program of `peer`, of which so many pages are in memory. The program itself may be another process's too, and
    /// cannot be dropped from the page cache then.
    ///
    /// # Errors
    /// It cannot be read, or there is no room for it.
    pub(crate) fn program(&self, peer: &dyn Peer, site: &Site<'_>, pages: Pages) -> Result<PathBuf> {
        if pages == Pages::Written {
            let copy = site.dir.join("program");
            pages::write(peer.program(), &copy)?;
            return Ok(copy);
        }
        let copy = self.work.path().join(format!("{}-program", peer.name()));
        if !copy.exists() {
            pages::write(peer.program(), &copy)?;
        }
        if pages == Pages::Evicted {
            pages::evict(&copy)?;
        }
        Ok(copy)
    }

    /// A process that `start` starts, on `site`, as soon as it listens.
    ///
    /// # Errors
    /// As [`Self::listening`].
    pub(crate) fn staged<'b>(
        &'b self,
        site: Site<'b>,
        peer: &dyn Peer,
        setup: Setup,
        start: impl FnOnce(&Command, &Path) -> Result<Running>,
    ) -> Result<Stage<'b>> {
        let mut stage = self.begun(site, peer, setup, start)?;
        stage.until(|stage| TcpStream::connect(stage.site.listen).map(drop).context("it does not listen"))?;
        Ok(stage)
    }

    /// A fresh process of `peer` that nobody has dialled: it may not listen yet.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn untouched(&self, peer: &dyn Peer, setup: Setup) -> Result<Stage<'_>> {
        let site = self.site(peer, setup)?;
        self.begun(site, peer, setup, |command, log| Running::start(command, self.places.peer, log))
    }

    fn begun<'b>(
        &'b self,
        site: Site<'b>,
        peer: &dyn Peer,
        setup: Setup,
        start: impl FnOnce(&Command, &Path) -> Result<Running>,
    ) -> Result<Stage<'b>> {
        let command = peer.command(&site)?;
        let process = start(&command, &log_of(&site.dir))?;
        let (tls, rewrites_heads) = (peer.speaks_tls(), peer.speaks_http());
        let named = peer.is_told_the_server().then_some(site.server);
        Ok(Stage { bench: self, process, site, setup, tls, rewrites_heads, named })
    }

    /// A fresh process of `peer` that has served one client, who verified everything.
    ///
    /// # Errors
    /// It ends, or does not serve within 30 seconds.
    pub(crate) fn serving(&self, peer: &dyn Peer, setup: Setup) -> Result<Stage<'_>> {
        let mut stage = self.listening(peer, setup)?;
        stage.until_served()?;
        Ok(stage)
    }
}

/// Which pages of the program's file are in memory when a process starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pages {
    /// None: the start reads it from the disk.
    Evicted,
    /// Those that the last start has left.
    AsTheyAre,
    /// All, since it was written in one go just before.
    Written,
}

/// What some work took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// CPU time of the process that is measured.
    pub(crate) cpu: Duration,
    /// From its beginning to its end.
    pub(crate) wall: Duration,
}

impl Cost {
    /// CPU microseconds for each of `count`.
    pub(crate) fn us_each(self, count: f64) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / count
    }

    /// How many of `count` a second.
    pub(crate) fn rate(self, count: f64) -> f64 {
        count / self.wall.as_secs_f64()
    }
}

/// One process of a peer. Dropped, the process is killed and its folder removed.
pub(crate) struct Stage<'b> {
    /// What all samples share.
    pub(crate) bench: &'b Bench,
    /// The process.
    pub(crate) process: Running,
    /// Where it runs.
    pub(crate) site: Site<'b>,
    setup: Setup,
    tls: bool,
    rewrites_heads: bool,
    named: Option<SocketAddr>,
}

impl Stage<'_> {
    /// How `client` dials this process. Where certificates are asked for it has one, unless it brought another.
    ///
    /// # Errors
    /// A certificate or key cannot be used.
    pub(crate) fn target<'a>(&'a self, mut client: Client<'a>) -> Result<Target> {
        if self.setup.asks_clients && client.pair.is_none() {
            client.pair = Some(&self.site.credentials.client);
        }
        let tls = if self.tls { Some(client.config()?) } else { None };
        Ok(Target { addr: self.site.listen, tls, rewrites_heads: self.rewrites_heads, named: self.named })
    }

    /// How a client dials the server behind this process without it, in mutual TLS.
    ///
    /// # Errors
    /// A certificate or key cannot be used.
    pub(crate) fn direct(&self) -> Result<Target> {
        let client = Client { pair: Some(&self.site.credentials.client), ..Client::default() };
        Ok(Target { addr: self.site.server, tls: Some(client.config()?), rewrites_heads: false, named: None })
    }

    /// How many handshakes the server behind this process has had, but for that of whoever asks.
    ///
    /// # Errors
    /// It does not answer.
    pub(crate) fn handshakes(&self) -> Result<HandshakeCount> {
        let target = self.direct()?;
        self.bench.runtime.block_on(async {
            let mut connection = Connection::open(&target).await?;
            let HandshakeCount { full, resumed } = connection.handshakes().await?;
            connection.close().await;
            Ok(HandshakeCount { full: full - 1, resumed })
        })
    }

    /// Waits until one client, who verifies everything, has been served.
    ///
    /// # Errors
    /// The process ends, or nobody is served within 30 seconds.
    pub(crate) fn until_served(&mut self) -> Result<()> {
        let ca = Some(self.site.credentials.ca.as_path());
        let target = self.target(Client { ca, ..Client::default() })?;
        self.until(|stage| {
            stage.bench.runtime.block_on(async {
                let mut connection = Connection::open(&target).await?;
                connection.request().await?;
                connection.close().await;
                Ok(())
            })
        })
    }

    /// Lets the client do `work`, and returns what comes of it and what it took.
    ///
    /// # Errors
    /// Those of `work`, or the process has ended.
    pub(crate) fn cost_of<T>(&self, work: impl Future<Output = Result<T>>) -> Result<(T, Cost)> {
        let (before, start) = (self.process.cpu()?, Instant::now());
        let done = self.bench.runtime.block_on(work).with_context(|| self.said())?;
        let wall = start.elapsed();
        sleep(SETTLE);
        Ok((done, Cost { cpu: self.process.cpu()? - before, wall }))
    }

    /// What the process wrote last, for an error.
    pub(crate) fn said(&self) -> String {
        match self.process.last_words() {
            words if words.is_empty() => "it wrote nothing".to_owned(),
            words => format!("it wrote: {words}"),
        }
    }

    /// Tries until it succeeds, for as long as a start may take.
    fn until(&mut self, attempt: impl Fn(&Self) -> Result<()>) -> Result<()> {
        let end = Instant::now() + START;
        while let Err(error) = attempt(self) {
            if self.process.ended() {
                bail!("it ended at its start; {}", self.said());
            }
            if Instant::now() > end {
                return Err(error.context(format!("not ready after {} s; {}", START.as_secs(), self.said())));
            }
            sleep(Duration::from_micros(200));
        }
        Ok(())
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        // The process may write to it until it is killed, so what is left goes with the folder around it.
        let _ = fs::remove_dir_all(&self.site.dir);
        let _ = fs::remove_file(log_of(&self.site.dir));
    }
}

/// Where a process that runs in `dir` writes its output: beside it, since some watch the folder for changes, and every line would be one.
fn log_of(dir: &Path) -> PathBuf {
    dir.with_extension("log")
}

/// Starts the app, and waits until it says where it listens.
fn start_app(work: &Path, credentials: &Path, cpu: Option<usize>) -> Result<(Running, Addresses)> {
    let mut command = Command::new(std::env::current_exe().context("cannot tell the path of this program")?);
    command.arg("app").arg(credentials);
    let log = work.join("app.log");
    let mut app = Running::start(&command, cpu, &log)?;
    loop {
        let said = fs::read_to_string(&log)?;
        if let Some(addr) = said.strip_suffix('\n').and_then(|line| line.parse().ok()) {
            return Ok((app, addr));
        }
        if app.ended() {
            bail!("the app ended at its start: {said}");
        }
        sleep(Duration::from_millis(1));
    }
}
