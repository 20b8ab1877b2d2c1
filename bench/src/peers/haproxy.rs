//! haproxy in TCP mode.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::{Peer, Site};

/// haproxy.
pub(super) struct Haproxy {
    program: PathBuf,
}

/// haproxy, where it is installed.
pub(super) fn find() -> Option<Haproxy> {
    super::on_path("haproxy").map(|program| Haproxy { program })
}

impl Peer for Haproxy {
    fn name(&self) -> &str {
        "haproxy"
    }

    fn version(&self) -> String {
        super::version_in(&super::says(&self.program, &["-v"]))
    }

    fn program(&self) -> &Path {
        &self.program
    }

    fn command(&self, site: &Site<'_>) -> Result<Command> {
        let pem = site.write("server.pem", &site.credentials.first().combined())?;
        let verify = if site.asks_clients {
            format!("ca-file {} verify required", site.credentials.ca.display())
        } else {
            String::new()
        };
        let config = format!(
            "global
    nbthread 1
    maxconn 9900
defaults
    mode tcp
    timeout connect 1s
    timeout client 1h
    timeout server 1h
frontend tls
    bind {} ssl crt {} {verify}
    default_backend app
backend app
    server app {}
",
            site.listen,
            pem.display(),
            site.app
        );
        let mut command = Command::new(&self.program);
        command.arg("-db").arg("-f").arg(site.write("haproxy.cfg", &config)?);
        Ok(command)
    }
}
