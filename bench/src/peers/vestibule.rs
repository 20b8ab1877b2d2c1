//! Vestibule, at its defaults but for what all peers share, one thread; and the same with two.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::{Peer, Site};
use crate::credentials::Pair;

/// The build that the run is about.
pub(crate) const NAME: &str = "vestibule";

/// The same build with two threads.
pub(crate) const TWO_THREADS: &str = "two-threads";

/// Where the app asks for tokens, in the folder of the process.
pub(crate) const IDENTITY_SOCKET: &str = "identity.sock";

/// What a program that is linked with libraries has in it: the name of its loader.
const LOADER: &[u8] = b"/ld-linux";

/// A build of vestibule.
pub(super) struct Vestibule {
    name: String,
    binary: PathBuf,
    threads: &'static str,
}

impl Vestibule {
    /// The command of the proxy alone.
    pub(super) const PROXY: &str = "proxy";
    /// The command that starts the app as well.
    pub(super) const RUN: &str = "run";

    /// The one at `binary`, which the tables call `name`.
    pub(super) fn new(name: &str, binary: &Path) -> Self {
        Self { name: name.to_owned(), binary: binary.to_owned(), threads: "1" }
    }

    /// The one at `binary` with two threads.
    pub(super) fn with_two_threads(binary: &Path) -> Self {
        Self { threads: "2", ..Self::new(TWO_THREADS, binary) }
    }

    /// How `subcommand` of it is started; as [`Peer::command`].
    ///
    /// # Errors
    /// A file cannot be written.
    pub(super) fn command_as(&self, subcommand: &str, site: &Site<'_>) -> Result<Command> {
        let pair = site.credentials.first();
        let mut command = Command::new(&self.binary);
        command
            .args([subcommand, "--threads", self.threads])
            .args(["--listen", &site.listen.to_string(), "--app", &site.app.to_string()])
            .args(["--admin", &site.spare[0].to_string()])
            .arg("--cert")
            .arg(site.write("instance.crt", &pair.chain)?)
            .arg("--key")
            .arg(site.write("instance.key", &pair.key)?);
        Ok(command)
    }
}

impl Peer for Vestibule {
    fn name(&self) -> &str {
        &self.name
    }

    fn version(&self) -> String {
        let version = super::version_in(&super::says(&self.binary, &["--version"]));
        let dynamic =
            fs::read(&self.binary).is_ok_and(|program| program.windows(LOADER.len()).any(|part| part == LOADER));
        format!("{version} ({})", if dynamic { "dynamic" } else { "static" })
    }

    fn program(&self) -> &Path {
        &self.binary
    }

    fn command(&self, site: &Site<'_>) -> Result<Command> {
        let mut command = self.command_as(Self::PROXY, site)?;
        if site.asks_clients {
            command.args(["--client-auth", "require", "--client-ca"]).arg(&site.credentials.ca);
        }
        if let Some(which) = site.access_log {
            command.args(["--access-log", which]);
        }
        if site.gives_tokens {
            let socket = site.dir.join(IDENTITY_SOCKET);
            command.arg("--identity-listen").arg(format!("unix:{}", socket.display()));
            command.args(["--identity-audience", "bench"]);
        }
        Ok(command)
    }

    fn is_vestibule(&self) -> bool {
        true
    }

    fn rotates(&self) -> bool {
        true
    }

    fn rotate(&self, site: &Site<'_>, pair: &Pair) -> Result<()> {
        site.replace("instance.crt", &pair.chain)?;
        site.replace("instance.key", &pair.key)
    }
}
