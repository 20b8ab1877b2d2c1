//! The forward proxy: opened before the app is started, which is told where it is.

use std::ffi::OsString;
use std::sync::Arc;

use super::outbound_socket::{OutboundSocket, open_sockets};
use super::proxy_environment;
use crate::config::{ForwardProxy, OutboundListen, Unlisted};
use crate::exit::{Exit, Fault};
use crate::listener::SocketFileMode;
use crate::outbound::ProxyPassword;

/// The forward proxy, open.
#[derive(Debug)]
pub(super) struct BoundForwardProxy {
    /// As it was configured.
    pub(super) config: Arc<ForwardProxy>,
    pub(super) sockets: Vec<OutboundSocket>,
    /// What the app has to show.
    pub(super) password: Option<ProxyPassword>,
}

impl BoundForwardProxy {
    /// Opens where `config` says.
    ///
    /// # Errors
    /// [`Exit::Unavailable`], with what is wrong.
    pub(super) fn open(config: &ForwardProxy) -> Result<Self, Fault> {
        let sockets = open_sockets(&config.listen, SocketFileMode::Owner, "--forward-proxy")?;
        let password = config.secret.then(ProxyPassword::random).transpose();
        let password = password.map_err(|_| {
            let message = "cannot make a password for --forward-proxy-secret: the system has no randomness";
            Fault::new(Exit::Unavailable, message)
        })?;
        Ok(Self { config: Arc::new(config.clone()), sockets, password })
    }

    /// Where it is, for people.
    pub(super) fn name(&self) -> String {
        match self.sockets.first().and_then(OutboundSocket::addr) {
            Some(addr) => addr.to_string(),
            None => self.config.listen.to_string(),
        }
    }

    /// Where it is, for the app: may have the password.
    fn url(&self) -> String {
        match (&self.config.listen, &self.password) {
            (OutboundListen::Unix(_), _) => self.name(),
            (_, Some(password)) => format!("http://{}@{}", password.user_info(), self.name()),
            (_, None) => format!("http://{}", self.name()),
        }
    }

    /// The variables that the app is started with, beside those that `known` has.
    pub(super) fn environment(&self, known: impl Fn(&str) -> Option<OsString>) -> Vec<(OsString, OsString)> {
        proxy_environment::environment(self.config.announce, self.config.unlisted, &self.url(), known)
    }

    /// Says where it is and for whom, and what may surprise.
    pub(super) fn log(&self) {
        let (at, listed) = (self.name(), &self.config.listed);
        let hosts: Vec<_> = listed.iter().map(ToString::to_string).collect();
        let hosts = hosts.join(",");
        tracing::info!(forward_proxy = %at, to = hosts, "forward proxy listening");
        if listed.is_empty() && self.config.unlisted == Unlisted::Refuse {
            tracing::warn!(
                forward_proxy = %at,
                "no server is listed, so every request is refused; add --forward-proxy-to \"*.apps.internal:61443\""
            );
        }
        for mapping in self.config.dangling_mappings() {
            tracing::warn!(
                forward_proxy = %at,
                to = %mapping.dialled(),
                "--forward-proxy-map leads to a port that is not listed, so what comes for it is not sent on as this instance; list it by --forward-proxy-to"
            );
        }
        for hosts in listed.iter().filter(|hosts| hosts.settings.expects_anybody()) {
            tracing::warn!(
                forward_proxy = %at,
                to = %hosts,
                "outbound server not authorized by a rule: whoever has a certificate for the name is believed, and a route can be mapped to another app; write whom you expect behind it: =cf:app:GUID or =cf:same:space on Cloud Foundry, elsewhere =dns:NAME or =uri:URI"
            );
        }
    }
}
