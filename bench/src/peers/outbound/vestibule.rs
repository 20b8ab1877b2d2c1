//! Vestibule with an outbound listener, at its defaults but for limits; and without one.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::HTTP;
use crate::credentials::SERVER_APP;
use crate::peers::vestibule::Vestibule;
use crate::peers::{Peer, Site};

/// A build of vestibule that dials the server for its clients.
pub(super) struct Outbound {
    build: Vestibule,
    way: Way,
}

/// How the client's bytes get to the server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// As they are.
    Tcp,
    /// Request by request.
    Http,
    /// Request by request, each of which names the server.
    ForwardProxy,
}

impl Outbound {
    /// The one at `binary`, which the tables call `name`.
    pub(super) fn new(name: &str, binary: &Path, way: Way) -> Self {
        Self { build: Vestibule::new(name, binary), way }
    }
}

impl Peer for Outbound {
    fn name(&self) -> &str {
        self.build.name()
    }

    fn version(&self) -> String {
        self.build.version()
    }

    fn program(&self) -> &Path {
        self.build.program()
    }

    fn command(&self, site: &Site<'_>) -> Result<Command> {
        let mut command = instance(self.program(), site)?;
        command.args(["--listen", &site.spare[1].to_string()]).arg("--outbound-ca").arg(&site.credentials.ca);
        let (listen, server) = (site.listen, site.server);
        if self.way == Way::ForwardProxy {
            command
                .args(["--forward-proxy", &listen.to_string(), "--forward-proxy-allow-address", "127.0.0.0/8"])
                .args(["--forward-proxy-to", &format!("{server}=cf:app:{SERVER_APP}")]);
            return Ok(command);
        }
        command
            .args(["--outbound", &format!("{listen}={server}")])
            .args(["--outbound-expect", &format!("cf:app:{SERVER_APP}")])
            .args(["--outbound-max-connections", "9900"]);
        if self.way == Way::Http {
            command.args(["--outbound-protocol", HTTP]);
        }
        Ok(command)
    }

    fn speaks_tls(&self) -> bool {
        false
    }

    fn speaks_http(&self) -> bool {
        self.way != Way::Tcp
    }

    fn is_told_the_server(&self) -> bool {
        self.way == Way::ForwardProxy
    }

    fn is_vestibule(&self) -> bool {
        true
    }
}

/// The same without an outbound listener.
pub(super) struct Without {
    name: &'static str,
    binary: PathBuf,
}

impl Without {
    /// The build at `binary`, which the tables call `name`.
    pub(super) fn new(name: &'static str, binary: &Path) -> Self {
        Self { name, binary: binary.to_owned() }
    }
}

impl Peer for Without {
    fn name(&self) -> &str {
        self.name
    }

    fn version(&self) -> String {
        "the same".to_owned()
    }

    fn program(&self) -> &Path {
        &self.binary
    }

    fn command(&self, site: &Site<'_>) -> Result<Command> {
        let mut command = instance(&self.binary, site)?;
        command.args(["--listen", &site.listen.to_string()]);
        Ok(command)
    }

    fn carries(&self) -> bool {
        false
    }
}

/// An instance whose certificate servers take.
fn instance(binary: &Path, site: &Site<'_>) -> Result<Command> {
    let pair = &site.credentials.client;
    let mut command = Command::new(binary);
    command
        .args(["proxy", "--threads", "1"])
        .args(["--app", &site.app.to_string(), "--admin", &site.spare[0].to_string()])
        .arg("--cert")
        .arg(site.write("instance.crt", &pair.chain)?)
        .arg("--key")
        .arg(site.write("instance.key", &pair.key)?);
    Ok(command)
}
