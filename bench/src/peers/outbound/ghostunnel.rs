//! ghostunnel's client mode.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::credentials::SERVER_APP;
use crate::peers::ghostunnel::Ghostunnel;
use crate::peers::{Peer, Site};

/// ghostunnel, for clients.
pub(super) struct GhostunnelClient(pub(super) Ghostunnel);

impl Peer for GhostunnelClient {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn version(&self) -> String {
        self.0.version()
    }

    fn program(&self) -> &Path {
        &self.0.program
    }

    fn command(&self, site: &Site<'_>) -> Result<Command> {
        let pair = &site.credentials.client;
        // One thread that runs Go code, as the others have one worker. It can only be told by its environment.
        let mut command = Command::new("env");
        command.arg("GOMAXPROCS=1").arg(self.program()).arg("client");
        command.args(["--listen", &site.listen.to_string(), "--target", &site.server.to_string()]);
        command.arg("--cert").arg(site.write("client.crt", &pair.chain)?);
        command.arg("--key").arg(site.write("client.key", &pair.key)?);
        command.arg("--cacert").arg(&site.credentials.ca);
        command.args(["--verify-ou", &format!("app:{SERVER_APP}"), "--quiet=all"]);
        Ok(command)
    }

    fn speaks_tls(&self) -> bool {
        false
    }
}
