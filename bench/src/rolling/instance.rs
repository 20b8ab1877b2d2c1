//! An instance of the app: a proxy and the app behind it, started and stopped as the platform does.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fmt, fs, thread};

use anyhow::{Context, Result, ensure};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::START;
use super::router::{Endpoint, Router};
use crate::credentials::Pair;
use crate::diego;
use crate::diego::Folder;
use crate::process::{Running, port};
use crate::wire::certificates::{Authority, Name, Usage, Validity, Wanted};

/// The name in the router's certificate, which instances ask for.
const ROUTER: &str = "gorouter.service.cf.internal";

/// What stands in front of the app, and who stops it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// Vestibule in Envoy's place.
    DropIn,
    /// Envoy itself.
    Envoy,
    /// `vestibule run`, which starts the app and gets TERM.
    Entrypoint,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::DropIn, Self::Envoy, Self::Entrypoint];

    /// Its name on the command line.
    pub(super) fn id(self) -> &'static str {
        match self {
            Self::DropIn => "drop-in",
            Self::Envoy => "envoy",
            Self::Entrypoint => "run",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DropIn => "`vestibule envoy`, Diego's files",
            Self::Envoy => "Envoy, Diego's files",
            Self::Entrypoint => "`vestibule run`, TERM",
        })
    }
}

/// Who an instance is: its pair, and the one that says that it is going.
pub(super) struct Identity {
    guid: String,
    id: Pair,
    retired: Pair,
}

impl Identity {
    /// Lets the product's issuer write both.
    ///
    /// # Errors
    /// It fails.
    pub(super) fn issue(vestibule: &Path, dir: &Path, at: usize) -> Result<Self> {
        let guid = format!("51f0a000-a1b2-4c3d-5e6f-{at:04x}");
        let issue =
            |more: &[&str]| Pair::issue(vestibule, dir, &[&["--key", "rsa-2048", "--instance", &guid], more].concat());
        Ok(Self { id: issue(&[])?, retired: issue(&["--retire"])?, guid })
    }
}

/// What instances of one kind are started with.
pub(super) struct Platform<'a> {
    /// What stands in front of the app.
    pub(super) kind: Kind,
    /// Between the retirement pair and TERM to the app.
    pub(super) pause: Duration,
    program: &'a Path,
    work: &'a Path,
    ca: PathBuf,
    clients: Authority,
}

impl<'a> Platform<'a> {
    /// `None` if Envoy is asked for and not there.
    ///
    /// # Errors
    /// A key cannot be made, or a file written.
    pub(super) fn new(
        kind: Kind,
        vestibule: &'a Path,
        envoy: Option<&'a Path>,
        work: &'a Path,
        pause: Duration,
    ) -> Result<Option<Self>> {
        let Some(program) = (if kind == Kind::Envoy { envoy } else { Some(vestibule) }) else { return Ok(None) };
        let clients = Authority::root("platform")?;
        fs::write(work.join(format!("{}-clients.crt", kind.id())), &clients.pem)?;
        Ok(Some(Self { kind, pause, program, work, ca: work.join("ca/ca.crt"), clients }))
    }

    /// How the router dials: with its certificate, verifying the instance's, without resumption.
    ///
    /// # Errors
    /// A certificate cannot be used.
    pub(super) fn router_config(&self) -> Result<Arc<ClientConfig>> {
        let mut roots = RootCertStore::empty();
        for der in CertificateDer::pem_file_iter(&self.ca).context("cannot read the CA")? {
            roots.add(der?)?;
        }
        let names = [Name::Dns(ROUTER)];
        let pair =
            self.clients.client(Wanted { names: &names, validity: Validity::Now, usage: Some(Usage::Client) })?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(
                CertificateDer::pem_slice_iter(pair.chain.as_bytes()).collect::<Result<_, _>>()?,
                PrivateKeyDer::from_pem_slice(pair.key.as_bytes())?,
            )?;
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }
}

/// One instance. Dropped, it is killed.
pub(super) struct Instance {
    /// What the router knows of it.
    pub(super) endpoint: Arc<Endpoint>,
    /// The app, where it is not the proxy's child.
    app: Option<Running>,
    proxy: Running,
    folder: Option<(Folder, Pair)>,
}

impl Instance {
    /// Starts one, at `addr` if given, and registers it as soon as proxy and app accept connections, which is what Diego asks of
    /// them; an entrypoint as soon as it has answered once, which is what its readiness tells.
    ///
    /// # Errors
    /// It does not within 30 seconds.
    pub(super) fn start(
        platform: &Platform<'_>,
        identity: &Identity,
        addr: Option<SocketAddr>,
        router: &Router,
    ) -> Result<Self> {
        let dir = platform.work.join(format!("{}-{}", platform.kind.id(), identity.guid));
        fs::create_dir_all(&dir)?;
        let log = |name: &str| dir.with_extension(format!("{name}.log"));
        let app = diego::app_addr()?;
        let mut web = Command::new(std::env::current_exe().context("cannot tell the path of this program")?);
        web.arg("web");
        if platform.kind == Kind::Entrypoint {
            let addr = addr.map_or_else(port::free, Ok)?;
            let command = platform.entrypoint(&dir, identity, addr, &web)?;
            let mut proxy = Running::start(&command, None, &log("proxy"))?;
            let endpoint = Endpoint::new(addr, &identity.guid);
            until_serves(router, &endpoint, &mut proxy)?;
            router.register(&endpoint);
            return Ok(Self { endpoint, app: None, proxy, folder: None });
        }
        let folder = Folder::write(&dir, &diego::Container { mtls: true, ..diego::container() }, &[app], addr)?;
        folder.id(&identity.id)?;
        folder.c2c(&identity.id)?;
        folder.clients(&platform.clients.pem, &[ROUTER])?;
        let subcommand = (platform.kind == Kind::DropIn).then_some("envoy");
        let mut proxy = Running::start(&folder.command(platform.program, subcommand), None, &log("proxy"))?;
        let mut process = Running::start(web.args(["--port", &app.port().to_string()]), None, &log("app"))?;
        until_accepts(app, &mut process)?;
        for listener in &folder.listeners {
            until_accepts(listener.addr, &mut proxy)?;
        }
        let endpoint = Endpoint::new(folder.listeners[0].addr, &identity.guid);
        router.register(&endpoint);
        Ok(Self { endpoint, app: Some(process), proxy, folder: Some((folder, identity.retired.clone())) })
    }

    /// Stops it as the platform does, and returns its route, which is still registered.
    ///
    /// # Errors
    /// The app cannot be told, or fails.
    pub(super) fn stop(&mut self, platform: &Platform<'_>) -> Result<Arc<Endpoint>> {
        let Some((folder, retired)) = &self.folder else {
            let status = self.proxy.terminate()?;
            ensure!(status.success(), "the entrypoint ended with {status}: {}", self.proxy.last_words());
            return Ok(Arc::clone(&self.endpoint));
        };
        // In Diego's order.
        folder.rewrite_the_same()?;
        folder.id(retired)?;
        folder.c2c(retired)?;
        folder.clients(&platform.clients.pem, &[ROUTER])?;
        thread::sleep(platform.pause);
        ensure!(!self.proxy.ended(), "the proxy has ended: {}", self.proxy.last_words());
        if let Some(app) = &mut self.app {
            let status = app.terminate()?;
            ensure!(status.success(), "the app ended with {status}: {}", app.last_words());
        }
        self.proxy.kill();
        Ok(Arc::clone(&self.endpoint))
    }
}

impl Platform<'_> {
    fn entrypoint(&self, dir: &Path, identity: &Identity, addr: SocketAddr, web: &Command) -> Result<Command> {
        let file = |name: &str, text: &str| {
            let path = dir.join(name);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
            Ok::<_, anyhow::Error>(path)
        };
        let mut command = Command::new(self.program);
        command
            .args(["run", "--admin", "off", "--log-level", "error", "--hide-app-port", "--hold-until-ready", "5s"])
            .args(["--listen", &addr.to_string()])
            .args(["--client-auth", "require", "--allow", &format!("dns:{ROUTER}"), "--client-ca"])
            .arg(file("clients.crt", &self.clients.pem)?)
            .arg("--cert")
            .arg(file("instance.crt", &identity.id.chain)?)
            .arg("--key")
            .arg(file("instance.key", &identity.id.key)?)
            .arg("--")
            .arg(web.get_program())
            .args(web.get_args());
        Ok(command)
    }
}

/// Waits until the instance has answered one request.
fn until_serves(router: &Router, endpoint: &Endpoint, process: &mut Running) -> Result<()> {
    let end = Instant::now() + START;
    while let Err((_, story)) = router.ask(endpoint) {
        ensure!(!process.ended(), "it ended at its start: {}", process.last_words());
        ensure!(Instant::now() < end, "it does not serve: {story}; {}", process.last_words());
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Waits until somebody listens, as the platform's health check does.
fn until_accepts(addr: SocketAddr, process: &mut Running) -> Result<()> {
    let end = Instant::now() + START;
    while TcpStream::connect(addr).is_err() {
        ensure!(!process.ended(), "it ended at its start: {}", process.last_words());
        ensure!(Instant::now() < end, "nobody listens at {addr} after {} s: {}", START.as_secs(), process.last_words());
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
