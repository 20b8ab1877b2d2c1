//! The identity endpoint: opened before the app is started, which is told where it is.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::outbound_socket::{OutboundSocket, open_sockets};
use crate::config::{IdentityEndpoint, OutboundListen};
use crate::exit::{Exit, Fault};
use crate::identity_endpoint::BearerTokenFile;
use crate::listener::SocketFileMode;
use crate::token::RolesFile;

/// Where the app finds it.
const ENDPOINT: &str = "CF_INSTANCE_IDENTITY_ENDPOINT";

/// Where the app finds what it has to know.
const TOKEN_FILE: &str = "CF_INSTANCE_IDENTITY_TOKEN_FILE";

/// The identity endpoint, open.
#[derive(Debug)]
pub(super) struct BoundIdentityEndpoint {
    pub(super) config: IdentityEndpoint,
    pub(super) sockets: Vec<OutboundSocket>,
    pub(super) bearer_token: Option<BearerTokenFile>,
    pub(super) roles: Option<Arc<RolesFile>>,
}

impl BoundIdentityEndpoint {
    /// Opens where `config` says, and writes the secret, if one is needed.
    ///
    /// # Errors
    /// [`Exit::Unavailable`], with what is wrong.
    pub(super) fn open(config: &IdentityEndpoint) -> Result<Self, Fault> {
        let own = rustix::process::geteuid().as_raw();
        let is_ours_alone = config.peer_uids.iter().all(|uid| *uid == own);
        let access = if is_ours_alone { SocketFileMode::Owner } else { SocketFileMode::Everybody };
        let sockets = open_sockets(&config.listen, access, "--identity-listen")?;
        let bearer_token = config.is_on_tcp().then(|| BearerTokenFile::write(config.token_file.as_deref())).transpose();
        let bearer_token = bearer_token.map_err(|error| {
            Fault::new(Exit::Unavailable, format!("cannot write the bearer token of --identity-listen: {error}"))
        })?;
        Ok(Self { config: config.clone(), sockets, bearer_token, roles: None })
    }

    /// Reads the file of roles, if there is to be one.
    ///
    /// # Errors
    /// [`Exit::Config`]: it cannot be used, and there is no last good state to fall back on.
    pub(super) fn load_roles(mut self) -> Result<Self, Fault> {
        let path = self.config.verification.as_ref().and_then(|verification| verification.roles.as_deref());
        let roles = path.map(RolesFile::load).transpose();
        self.roles = roles
            .map_err(|error| Fault::new(Exit::Config, error.to_string()).with_help("correct --token-roles"))?
            .map(Arc::new);
        Ok(self)
    }

    /// Where it is, as a URL.
    pub(super) fn url(&self) -> String {
        match (&self.config.listen, self.sockets.first().and_then(OutboundSocket::addr)) {
            (OutboundListen::Unix(path), _) => format!("unix://{}", absolute(path).display()),
            (_, Some(addr)) => format!("http://{addr}"),
            (listen, None) => format!("http://{listen}"),
        }
    }

    /// The variables that the app is started with. (Our own tools would refuse names of ours that they do not know.)
    pub(super) fn environment(&self) -> Vec<(OsString, OsString)> {
        let endpoint = (ENDPOINT.into(), self.url().into());
        let bearer_token =
            self.bearer_token.as_ref().map(|bearer_token| (TOKEN_FILE.into(), absolute(bearer_token.path()).into()));
        std::iter::once(endpoint).chain(bearer_token).collect()
    }
}

/// `path` for the app, which may run in another folder.
fn absolute(path: &Path) -> PathBuf {
    // It fails where there is no folder to run in; then nobody knows better.
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
