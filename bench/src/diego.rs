//! The folder that Diego writes for the proxy of a container: the texts of the product's own tests, with ports that are free here.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::credentials::Pair;
use crate::process::port;

#[allow(clippy::unwrap_used, reason = "the texts belong to the tests, which may")]
#[path = "../../tests/it/support/diego.rs"]
mod texts;

pub(crate) use texts::Container;

/// A listener of a container.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listener {
    /// The port that it would have in a container: 61443 is the one between containers.
    pub(crate) port: u16,
    /// Where it is here.
    pub(crate) addr: SocketAddr,
}

/// The folder of one container.
#[derive(Debug)]
pub(crate) struct Folder {
    dir: PathBuf,
    bootstrap: String,
    /// The proxy's listeners, in the order of the file.
    pub(crate) listeners: Vec<Listener>,
}

impl Folder {
    /// Writes `envoy.yaml` for `container` into `dir`, with `apps` for its app ports in their order, and the first listener at `first`.
    ///
    /// # Errors
    /// A file cannot be written, or no port is free.
    pub(crate) fn write(
        dir: &Path,
        container: &Container,
        apps: &[SocketAddr],
        first: Option<SocketAddr>,
    ) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let mut text = container.envoy_yaml().replace("/etc/cf-assets/envoy_config", &dir.display().to_string());
        let mut replace = |from: u16, to: SocketAddr| {
            text = text.replace(&format!("port_value: {from}\n"), &format!("port_value: {}\n", to.port()));
        };
        let mut listeners = Vec::new();
        for (_, port) in container.listeners() {
            let addr = match first {
                Some(addr) if listeners.is_empty() => addr,
                _ => port::free()?,
            };
            replace(port, addr);
            listeners.push(Listener { port, addr });
        }
        replace(container.admin_port(), port::free()?);
        container.ports.iter().zip(apps).for_each(|(port, addr)| replace(*port, *addr));
        let folder = Self { dir: dir.to_owned(), bootstrap: text, listeners };
        folder.rewrite(&folder.bootstrap)?;
        Ok(folder)
    }

    /// Writes another text in the place of `envoy.yaml`, as Diego does: truncated and written.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn rewrite(&self, text: &str) -> Result<()> {
        fs::write(self.bootstrap(), text).context("cannot write envoy.yaml")
    }

    /// Writes `envoy.yaml` anew as it was.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn rewrite_the_same(&self) -> Result<()> {
        self.rewrite(&self.bootstrap)
    }

    /// The path of `envoy.yaml`.
    pub(crate) fn bootstrap(&self) -> PathBuf {
        self.dir.join("envoy.yaml")
    }

    /// Replaces the pair of the instance.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn id(&self, pair: &Pair) -> Result<()> {
        self.replace("id-cert-and-key", &texts::sds_pair("id-cert-and-key", &pair.chain, &pair.key))
    }

    /// Replaces the pair between containers.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn c2c(&self, pair: &Pair) -> Result<()> {
        self.replace("c2c-cert-and-key", &texts::sds_pair("c2c-cert-and-key", &pair.chain, &pair.key))
    }

    /// Replaces what decides which clients may come in.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn clients(&self, roots: &str, names: &[&str]) -> Result<()> {
        self.replace("id-validation-context", &texts::sds_validation_context(roots, names))
    }

    /// Replaces the file of a secret: written beside it, then renamed.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn replace(&self, secret: &str, text: &str) -> Result<()> {
        let new = self.dir.join(format!("sds-{secret}.yaml.tmp"));
        fs::write(&new, text).with_context(|| format!("cannot write {}", new.display()))?;
        fs::rename(&new, new.with_extension("")).with_context(|| format!("cannot rename {}", new.display()))
    }

    /// `program` with Diego's arguments; those for Envoy alone let several of them run at a time, and are nothing to Vestibule.
    pub(crate) fn command(&self, program: &Path, subcommand: Option<&str>) -> Command {
        let mut command = Command::new(program);
        command.args(subcommand).arg("-c").arg(self.bootstrap());
        command.args(["--drain-time-s", "900", "--log-level", "critical", "--disable-hot-restart"]);
        command
    }
}

/// A container whose address is that of this machine.
pub(crate) fn container() -> Container {
    Container { ip: "127.0.0.1", ..Container::default() }
}

/// Where an app may listen.
///
/// # Errors
/// No port is free.
pub(crate) fn app_addr() -> Result<SocketAddr> {
    Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port::free()?.port())))
}
