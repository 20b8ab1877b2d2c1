//! ghostunnel, a TLS proxy in Go.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::{Peer, Site};

/// ghostunnel.
pub(super) struct Ghostunnel {
    pub(super) program: PathBuf,
}

/// ghostunnel, where it is on `PATH`.
pub(super) fn find() -> Option<Ghostunnel> {
    super::on_path("ghostunnel").map(|program| Ghostunnel { program })
}

impl Peer for Ghostunnel {
    fn name(&self) -> &str {
        "ghostunnel"
    }

    fn version(&self) -> String {
        super::version_in(&super::says(&self.program, &["--version"]))
    }

    fn program(&self) -> &Path {
        &self.program
    }

    fn command(&self, site: &Site<'_>) -> Result<Command> {
        let pair = site.credentials.first();
        // One thread that runs Go code, as the others have one worker. It can only be told by its environment.
        let mut command = Command::new("env");
        command.arg("GOMAXPROCS=1").arg(&self.program).arg("server");
        command.args(["--listen", &site.listen.to_string(), "--target", &site.app.to_string()]);
        command.arg("--cert").arg(site.write("server.crt", &pair.chain)?);
        command.arg("--key").arg(site.write("server.key", &pair.key)?);
        command.arg("--cacert").arg(&site.credentials.ca);
        command.arg("--quiet=all");
        command.arg(if site.asks_clients { "--allow-all" } else { "--disable-authentication" });
        Ok(command)
    }
}
