//! haproxy, in TCP mode and in HTTP mode.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::{Peer, Site};

/// haproxy.
pub(super) struct Haproxy {
    program: PathBuf,
    speaks_http: bool,
}

/// haproxy, where it is installed.
pub(super) fn find() -> Option<Haproxy> {
    super::on_path("haproxy").map(|program| Haproxy { program, speaks_http: false })
}

/// The same in HTTP mode.
pub(super) fn find_for_http() -> Option<Haproxy> {
    find().map(|tcp| Haproxy { speaks_http: true, ..tcp })
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
        let (mode, alpn) = if self.speaks_http { ("http", "alpn h2,http/1.1") } else { ("tcp", "") };
        let config = format!(
            "global
    nbthread 1
    maxconn 9900
defaults
    mode {mode}
    timeout connect 1s
    timeout client 1h
    timeout server 1h
frontend tls
    bind {} ssl crt {} {verify} {alpn}
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

    fn speaks_http(&self) -> bool {
        self.speaks_http
    }
}
