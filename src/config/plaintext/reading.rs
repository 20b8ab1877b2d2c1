//! Reading whether TLS is off, and what cannot be meant beside that.

use strum::{IntoStaticStr, VariantArray};

use super::AdmittedPeers;
use crate::config::reader::{OptionReader, Reported};
use crate::config::{ClientAuthConfig, HttpConfig, Listen, Network, RouterXfcc, values};
use crate::diagnostics::{Problem, Source};
use crate::policy::{PolicyMode, Rule};

/// `--tls`
#[derive(Debug, Clone, Copy, PartialEq, Eq, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
enum TlsSwitch {
    On,
    Off,
}

/// An element of `--from`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AdmittedPeer {
    Own,
    Network(Network),
}

const NO_HANDSHAKE: &str = "there is no handshake";

/// What has no meaning without TLS, and why.
const NEEDS_TLS: [(&str, &str, &str); 8] = [
    (
        "client-auth",
        "there is no handshake in which a certificate could be asked for",
        "take it out: --allow and routes judge whom the platform's proxy forwards",
    ),
    ("alpn", NO_HANDSHAKE, "take it out: HTTP/2 is known by its first bytes"),
    ("tls-min", NO_HANDSHAKE, "take it out"),
    ("dial", NO_HANDSHAKE, "take it out: the app is dialled for each request that needs it"),
    ("sni-host", NO_HANDSHAKE, "take it out"),
    ("accept-proxy-protocol", "the platform's proxy writes no PROXY header", "take it out"),
    ("xfcc-forward-from", "whoever may connect may say who calls", "take it out, and say by --from who may connect"),
    ("xfcc-absent", "nobody can tell who the platform's proxy is", "take it out: whoever is not named is anonymous"),
];

/// What has no meaning where no listener speaks TLS.
const NEEDS_HANDSHAKES: [&str; 2] = ["handshake-timeout", "max-handshakes"];

impl OptionReader {
    /// Whether TLS is off, as far as it can be read.
    pub(in crate::config) fn is_plaintext(&self) -> bool {
        self.sources.values("tls").last().is_some_and(|given| given.value == "off")
    }

    /// Who may connect without TLS; `None`: TLS is on. `reads_requests`: bytes are not only carried.
    pub(in crate::config) fn plaintext(&mut self, reads_requests: bool) -> Result<Option<AdmittedPeers>, Reported> {
        let (place, tls) = self.placed("tls", values::one_of::<TlsSwitch>)?;
        let peers = self.peers();
        if tls == TlsSwitch::On {
            return self.no_peers().and(peers).map(|_| None);
        }
        let mut noted = None;
        if !reads_requests {
            let help =
                "add --mode http (mode = \"http\" under the [[listener]]): without TLS only a request says who calls";
            noted = Some(self.report(Problem::new("bytes that are carried as they are need TLS", help).at(place)));
        }
        for (name, what, help) in NEEDS_TLS {
            if let Some(given) = self.user_given(name) {
                noted =
                    Some(self.report(Problem::new(format!("has no meaning with --tls off: {what}"), help).at(given)));
            }
        }
        match noted {
            Some(noted) => Err(noted),
            None => peers.map(Some),
        }
    }

    /// With TLS everybody may connect.
    fn no_peers(&mut self) -> Result<(), Reported> {
        let Some(place) = self.user_given("from").or_else(|| self.user_given("unsafe-from")) else { return Ok(()) };
        let what = "has no meaning with TLS, where a certificate says who it is";
        Err(self.report(Problem::new(what, "add --tls off, or take it out").at(place)))
    }

    fn peers(&mut self) -> Result<AdmittedPeers, Reported> {
        let is_unsafe = self.given("unsafe-from", values::switch);
        let from = self.all("from", from_whom)?;
        let is_unsafe = is_unsafe?.unwrap_or(false);
        let mut peers = AdmittedPeers { own: false, networks: Vec::new() };
        for (place, whom) in from {
            match whom {
                AdmittedPeer::Own => peers.own = true,
                AdmittedPeer::Network(network) if network.is_everybody() && !is_unsafe => {
                    let what = format!("{network} is everybody, who may then say that anybody calls");
                    let help = "name the networks of proxies that tell the truth, or add --unsafe-from";
                    return Err(self.report(Problem::new(what, help).at(place)));
                }
                AdmittedPeer::Network(network) => peers.networks.push(network),
            }
        }
        Ok(peers)
    }

    /// Where a listener without TLS listens if nobody says so: in the app's place.
    pub(in crate::config) fn listen_in_the_apps_place(&mut self) -> Result<(Source, Listen), Reported> {
        if self.user_given("listen").is_some() {
            return self.placed("listen", values::listen);
        }
        let place = Source::Platform("PORT".to_owned());
        let port = self.port.as_ref().filter(|port| !port.is_empty()).map(|port| port.to_str().unwrap_or_default());
        let port = match port.map(values::port) {
            Some(Ok(addr)) => return Ok((place, Listen::EveryAddress(addr.port()))),
            Some(Err(problem)) => problem.at(place),
            None => {
                let what = "neither --listen nor PORT says where the platform's proxy finds the app";
                Problem::new(what, "add --listen PORT").at(self.tls_place())
            }
        };
        Err(self.report(port))
    }

    fn tls_place(&self) -> Source {
        self.user_given("tls").unwrap_or(Source::Default("tls"))
    }

    /// Rules judge whom the platform's proxy forwards, who must not be able to say so himself.
    pub(in crate::config) fn require_sanitized_callers(
        &mut self,
        http: &HttpConfig,
        callers: &ClientAuthConfig,
    ) -> Result<(), Reported> {
        let ClientAuthConfig::Files(files) = callers else { return Ok(()) };
        // Whoever wants to be nobody may be.
        let admits_everybody = files.allow.contains(&Rule::Anonymous)
            && files.deny.is_empty()
            && files.policy.is_none()
            && files.routes.as_ref().is_none_or(Vec::is_empty);
        let is_audited = files.mode == Some(PolicyMode::Audit);
        if http.router_xfcc != RouterXfcc::Unknown || admits_everybody || is_audited {
            return Ok(());
        }
        let place = self.tls_place();
        Err(self.report(RouterXfcc::unsaid().at(place)))
    }

    /// Where nobody shakes hands nothing can be said of handshakes.
    pub(in crate::config) fn no_handshake_option(&mut self) -> Result<(), Reported> {
        // How long clients may be held is bounded by the timeout.
        let is_held = self.user_given("hold-until-ready").is_some();
        let mut result = Ok(());
        for name in NEEDS_HANDSHAKES {
            let Some(place) = self.user_given(name).filter(|_| !(is_held && name == "handshake-timeout")) else {
                continue;
            };
            let what = "no listener has a handshake: TLS is off";
            result = Err(self.report(Problem::new(what, "take it out").at(place)));
        }
        result
    }
}

/// `self`, or a network.
fn from_whom(text: &str) -> Result<AdmittedPeer, Problem> {
    match text {
        "self" => Ok(AdmittedPeer::Own),
        text => match values::network(text) {
            Ok(network) => Ok(AdmittedPeer::Network(network)),
            Err(Problem { what, help, .. }) => Err(Problem::new(what, format!("{help}; or self"))),
        },
    }
}
