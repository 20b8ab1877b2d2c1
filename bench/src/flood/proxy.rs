//! The proxy that is flooded, in its control group.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context, Result, anyhow, ensure};
use rustls::ClientConfig;

use super::group::Group;
use super::kind::Kind;
use crate::credentials::{Credentials, Pair, Rsa};
use crate::load::tls;
use crate::process::{Running, port};
use crate::wire::client::{Client, dial};

/// How long the proxy may take to accept.
const START: Duration = Duration::from_secs(20);

/// What all floods share.
pub(super) struct World {
    binary: PathBuf,
    work: PathBuf,
    credentials: Credentials,
    limit: u64,
}

/// A proxy in a group of its own. Dropped, it is killed, and the group removed: in this order.
pub(super) struct Proxy {
    running: Running,
    /// Where it listens.
    pub(super) addr: SocketAddr,
    /// Where the flood comes: another listener, where it speaks HTTP.
    pub(super) flooded: SocketAddr,
    admin: SocketAddr,
    asking: Arc<ClientConfig>,
    flooding: Arc<ClientConfig>,
    /// Its group.
    pub(super) group: Group,
}

impl World {
    /// Issues credentials; the proxy's group has `memory` MiB.
    ///
    /// # Errors
    /// The issuer fails.
    pub(super) fn new(binary: &Path, work: &Path, memory: u64) -> Result<Self> {
        let credentials = Credentials::issue(binary, &work.join("ca"), Rsa::Bits2048, 1)?;
        fs::write(work.join("instance.crt"), &credentials.first().chain)?;
        fs::write(work.join("instance.key"), &credentials.first().key)?;
        Ok(Self { binary: binary.to_owned(), work: work.to_owned(), credentials, limit: memory << 20 })
    }
}

impl Proxy {
    /// Starts one in front of `app`, at its defaults.
    ///
    /// # Errors
    /// It does not start, or there can be no group for it.
    pub(super) fn start(world: &World, kind: Kind, app: SocketAddr) -> Result<Self> {
        let group = Group::create(kind.id(), world.limit)?;
        let (addr, admin) = (port::free()?, port::free()?);
        // It has to be in the group before it looks for its limit.
        let mut command = Command::new("sh");
        command.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]).arg(group.members()).arg(&world.binary);
        command.arg("proxy");
        let flooded = if kind.speaks_http() {
            let http = port::free()?;
            let file = world.work.join("listeners.toml");
            fs::write(&file, listeners(addr, http, app))?;
            command.arg("--config").arg(file);
            http
        } else {
            command.args(["--listen", &addr.to_string(), "--app", &app.to_string()]);
            addr
        };
        command.args(["--admin", &admin.to_string(), "--cert"]).arg(world.work.join("instance.crt"));
        command.arg("--key").arg(world.work.join("instance.key"));
        let client = &world.credentials.client;
        let mut flooding = tls::Client { http2: kind.speaks_http2(), ..Default::default() };
        let mut asking = tls::Client::default();
        let large = Pair { chain: client.chain.repeat(kind.chains(client.chain.len())), key: client.key.clone() };
        if kind.shows_certificates() {
            command.args(["--client-auth", "require", "--client-ca"]).arg(&world.credentials.ca);
            (asking.pair, flooding.pair) = (Some(client), Some(&large));
        }
        let (asking, flooding) = (asking.config()?, flooding.config()?);
        let running = Running::start(&command, None, &world.work.join(format!("{}.log", kind.id())))?;
        let mut proxy = Self { running, addr, flooded, admin, asking, flooding, group };
        let end = Instant::now() + START;
        while dial(addr).and(dial(flooded)).is_err() {
            ensure!(!proxy.ended() && Instant::now() < end, "vestibule does not start: {}", proxy.last_words());
            thread::sleep(Duration::from_millis(20));
        }
        if kind.speaks_http2() {
            let client = Client::connect(flooded, &proxy.flooding, "localhost");
            let alpn = client.map_err(|end| anyhow!("no connection for HTTP/2: {end:?}"))?.alpn();
            ensure!(alpn == "h2", "vestibule does not speak HTTP/2, but {alpn}");
        }
        Ok(proxy)
    }

    /// How established traffic dials it.
    pub(super) fn client(&self) -> &Arc<ClientConfig> {
        &self.asking
    }

    /// How a flood dials it.
    pub(super) fn flooding(&self) -> &Arc<ClientConfig> {
        &self.flooding
    }

    /// Whether it has ended, which nobody has asked it to.
    pub(super) fn ended(&mut self) -> bool {
        self.running.ended()
    }

    /// What it wrote last.
    pub(super) fn last_words(&self) -> String {
        self.running.last_words()
    }

    /// Connections that it has turned away, as it counts them itself.
    ///
    /// # Errors
    /// It does not answer.
    pub(super) fn refused(&self) -> Result<u64> {
        let mut tcp = dial(self.admin).map_err(|end| anyhow!("no metrics: {end:?}"))?;
        write!(tcp, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        let mut text = String::new();
        tcp.read_to_string(&mut text)?;
        let series = "vestibule_connections_closed_total{reason=\"overloaded\"} ";
        let value = text.lines().find_map(|line| line.strip_prefix(series)).context("no such metric")?;
        Ok(value.trim().parse()?)
    }
}

/// The configuration file of two listeners in front of `app`: one carries bytes, the other serves HTTP.
fn listeners(tcp: SocketAddr, http: SocketAddr, app: SocketAddr) -> String {
    format!(
        "[[listener]]\nlisten = \"{tcp}\"\napp = \"{app}\"\n\n[[listener]]\nlisten = \"{http}\"\napp = \"{app}\"\nmode = \"http\"\n"
    )
}
