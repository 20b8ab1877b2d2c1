//! The listeners: where they are, what they lead to, and what they have in common.

mod meaning;

use std::sync::Arc;
use std::time::Duration;

use super::addresses::{covers, overlap, socket};
use super::options::Table;
use super::raw_value::{RawValue, TomlTable};
use super::reader::{Located, OptionReader, Reported, is_user_given};
use super::resolve::{in_order, step};
use super::{
    AdmittedPeers, AppAddr, ClientAuthConfig, Dial, HttpConfig, Listen, Listener, Network, PairSource, ProxyProtocol,
    TlsSettings, values,
};
use crate::diagnostics::redact::quote;
use crate::diagnostics::{Problem, Source};

/// What a listener speaks that answers requests, best first.
const HTTP_ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The two ends of a listener.
type ListenerAddresses = (Located<Listen>, Located<AppAddr>);

/// A listener without its addresses and its pair.
#[derive(Clone)]
struct ListenerSettings {
    connect: Duration,
    tls: TlsSettings,
    clients: ClientAuthConfig,
    dial: Dial,
    proxy_protocol: Option<ProxyProtocol>,
    accept_proxy_protocol: Vec<Network>,
    http: Option<Arc<HttpConfig>>,
    plaintext: Option<AdmittedPeers>,
}

impl ListenerSettings {
    fn at(self, ((_, listen), (_, app)): ListenerAddresses, pair: PairSource) -> Listener {
        let Self { connect, tls, clients, dial, proxy_protocol, accept_proxy_protocol, http, plaintext } = self;
        Listener {
            listen,
            app,
            connect_timeout: connect,
            pair,
            tls,
            clients,
            dial,
            proxy_protocol,
            accept_proxy_protocol,
            http,
            plaintext,
        }
    }
}

impl OptionReader {
    pub(super) fn listeners(&mut self, pair: Result<PairSource, Reported>) -> Result<Vec<Listener>, Reported> {
        let sections = self.sources.sections(Table::Listener).cloned().collect::<Vec<_>>();
        let listeners = if sections.is_empty() { self.alike() } else { self.each_its_own(&sections) };
        let listeners = listeners?;
        let addresses: Vec<_> = listeners.iter().map(|(addresses, _)| addresses.clone()).collect();
        self.reject_duplicate_addresses(&addresses)?;
        if listeners.iter().all(|(_, common)| common.plaintext.is_some()) {
            self.no_handshake_option()?;
        }
        let settings = listeners.iter().map(|(_, settings)| settings);
        self.all_has_meaning(&sections, settings.clone()).and(self.no_drain_of_carried_http(settings))?;
        let pair = pair?;
        Ok(listeners.into_iter().map(|(addresses, common)| common.at(addresses, pair.clone())).collect())
    }

    /// Listeners that differ in their addresses alone.
    fn alike(&mut self) -> Result<Vec<(ListenerAddresses, ListenerSettings)>, Reported> {
        let common = self.common();
        let addresses = if self.sources.values("listener").is_empty() { self.one_listener() } else { self.several() };
        let (common, addresses) = (common?, addresses?);
        Ok(addresses.into_iter().map(|addresses| (addresses, common.clone())).collect())
    }

    /// The `[[listener]]`s of the file.
    fn each_its_own(&mut self, sections: &[TomlTable]) -> Result<Vec<(ListenerAddresses, ListenerSettings)>, Reported> {
        let mut listeners = self.reject_single_address(sections).map(|()| Vec::new());
        let all = std::mem::take(&mut self.sources);
        for section in sections {
            self.sources = all.within(section);
            let (common, addresses) = (self.common(), self.one_listener());
            listeners = match (listeners, common, addresses) {
                (Ok(mut listeners), Ok(common), Ok(addresses)) => {
                    listeners.extend(addresses.into_iter().map(|addresses| (addresses, common.clone())));
                    Ok(listeners)
                }
                (Err(noted), _, _) | (_, Err(noted), _) | (_, _, Err(noted)) => Err(noted),
            };
        }
        self.sources = all;
        listeners
    }

    /// Beside `[[listener]]` nothing else may say where listeners are.
    fn reject_single_address(&mut self, sections: &[TomlTable]) -> Result<(), Reported> {
        let Some(section) = sections.first() else { return Ok(()) };
        let mut result = Ok(());
        for name in ["listen", "app", "listener"] {
            let Some(place) = self.sources.values(name).first().map(|given| given.place.clone()) else { continue };
            if is_user_given(&place) {
                let (place, other) = in_order(&place, &section.place);
                let help = "write listen and app under each [[listener]]";
                result = Err(self.report(Problem::new(format!("given beside {other}"), help).at(place)));
            }
        }
        result
    }

    /// What listeners may have in common.
    fn common(&mut self) -> Result<ListenerSettings, Reported> {
        let connect = self.required("connect-timeout", step);
        let http = self.http();
        // Errors in how requests are read are said there, and are not why something else has no meaning.
        let reads_requests = !matches!(http, Ok(None));
        let plaintext = self.plaintext(reads_requests);
        let tls = self.tls(reads_requests);
        let clients = if self.is_plaintext() { self.callers() } else { self.clients(reads_requests) };
        let dial = self.given("dial", values::one_of);
        let proxy_protocol = self.required("proxy-protocol", values::one_of_or_off);
        let accept_proxy_protocol = self.all("accept-proxy-protocol", values::network);
        let (connect, http, plaintext, tls, mut clients, dial) = (connect?, http?, plaintext?, tls?, clients?, dial?);
        let dial = dial.unwrap_or(match clients {
            ClientAuthConfig::None => Dial::BeforeHandshake,
            ClientAuthConfig::Files(_) | ClientAuthConfig::ValidationContext(_) => Dial::AfterAuthorization,
        });
        let accept_proxy_protocol = accept_proxy_protocol?.into_iter().map(|(_, network)| network).collect();
        match (&http, &plaintext) {
            (Some(http), None) => self.admit_forwarding_clients(http, &mut clients)?,
            (Some(http), Some(_)) => self.require_sanitized_callers(http, &clients)?,
            (None, _) => {}
        }
        if let Some(http) = &http {
            self.admit_health_checks(http, &mut clients)?;
        }
        let (proxy_protocol, http) = (proxy_protocol?, http.map(Arc::new));
        Ok(ListenerSettings { connect, tls, clients, dial, proxy_protocol, accept_proxy_protocol, http, plaintext })
    }

    fn one_listener(&mut self) -> Result<Vec<ListenerAddresses>, Reported> {
        let listen = match self.is_plaintext() {
            true => self.listen_in_the_apps_place(),
            false => self.placed("listen", values::listen),
        };
        let app = self.own_app();
        Ok(vec![(listen?, app?)])
    }

    /// The app that needs no name.
    fn own_app(&mut self) -> Result<Located<AppAddr>, Reported> {
        match self.sources.values("app") {
            [RawValue { place: Source::Platform(_), .. }] => {
                self.placed("app", |text| values::port(text).map(AppAddr::Tcp))
            }
            _ => self.placed("app", values::app),
        }
    }

    fn several(&mut self) -> Result<Vec<ListenerAddresses>, Reported> {
        let mut noted = None;
        for name in ["listen", "app"] {
            let both = (self.sources.values(name).first(), self.sources.values("listener").first());
            let (Some(single), Some(several)) = both else { continue };
            if !is_user_given(&single.place) {
                continue;
            }
            let (place, other) = in_order(&single.place, &several.place);
            let problem = Problem::new(format!("given beside {other}"), "write every listener as LISTEN=APP");
            noted = Some(self.report(problem.at(place)));
        }
        let starts_app = self.starts_app;
        let listeners = self.all("listener", |text| values::listener(text, starts_app))?;
        if let Some(noted) = noted {
            return Err(noted);
        }
        let named = |(at, (listen, app)): Located<(Listen, Option<AppAddr>)>| {
            let app = app.map_or_else(|| self.own_app(), |app| Ok((at.clone(), app)))?;
            Ok(((at, listen), app))
        };
        listeners.into_iter().map(named).collect()
    }

    /// Neither do two listeners want one address, nor does one want the app's: we would dial ourselves.
    fn reject_duplicate_addresses(&mut self, addresses: &[ListenerAddresses]) -> Result<(), Reported> {
        let (mut result, hides_app) = (Ok(()), self.hides_app_port());
        for (i, ((place, listen), _)) in addresses.iter().enumerate() {
            for ((_, earlier), _) in &addresses[..i] {
                if overlap(*earlier, *listen) {
                    let what = format!("{} and {} overlap", socket(*earlier), socket(*listen));
                    let problem = Problem::new(what, "give each listener an address of its own");
                    result = Err(self.report(problem.at(place.clone())));
                }
            }
            let apps = addresses.iter().flat_map(|(_, (place, app))| app.tcp().into_iter().map(move |at| (place, at)));
            // An app whose port is hidden is not where others look for it.
            for (app_place, app) in apps.filter(|_| !hides_app) {
                // An app elsewhere may well have our port; an app on loopback cannot.
                if covers(*listen, app) && (app.ip().is_loopback() || socket(*listen) == app) {
                    let what = format!("we would listen where the app is, {app}");
                    let help = match self.is_plaintext() && self.starts_app {
                        true => "add --hide-app-port, so that the app gets another one",
                        false => "give one of them another port",
                    };
                    let problem = Problem::new(what, help);
                    result = Err(self.report(problem.at(in_order(place, app_place).0)));
                }
            }
        }
        result
    }

    /// `is_http`: the protocols that are spoken are known, unless fewer are asked for.
    fn tls(&mut self, is_http: bool) -> Result<TlsSettings, Reported> {
        let is_given = self.sources.values("alpn").first().is_some_and(|given| is_user_given(&given.place));
        let alpn = match is_http && !is_given {
            true => Ok(HTTP_ALPN.map(<[u8]>::to_vec).to_vec()),
            false => self.alpn(is_http),
        };
        let min_version = self.required("tls-min", values::one_of);
        Ok(TlsSettings { alpn: alpn?, min_version: min_version?, ..TlsSettings::default() })
    }

    fn alpn(&mut self, is_http: bool) -> Result<Vec<Vec<u8>>, Reported> {
        if matches!(self.sources.values("alpn"), [RawValue { value, .. }] if value == "off") {
            return Ok(Vec::new());
        }
        let mut protocols = Vec::new();
        for (place, protocol) in self.all("alpn", values::alpn)? {
            if is_http && !HTTP_ALPN.contains(&protocol.as_slice()) {
                let protocol = quote(&String::from_utf8_lossy(&protocol));
                let what = format!("{protocol} is nothing that a listener of mode http speaks");
                let help = "write h2, http/1.1 or both, or leave it out, which means both";
                return Err(self.report(Problem::new(what, help).at(place)));
            }
            if protocols.contains(&protocol) {
                let what = format!("{} is there twice", quote(&String::from_utf8_lossy(&protocol)));
                return Err(self.report(Problem::new(what, "write each protocol once").at(place)));
            }
            protocols.push(protocol);
        }
        Ok(protocols)
    }
}
