//! From what was typed to what it means. Never stops at the first mistake.

use std::cmp::Ordering;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::options::{Preset, Table};
use super::reader::{Located, OptionReader, Reported};
use super::sources::{Environment, RawValue, Section, Sources};
use super::values::Range;
use super::{
    Admin, AdmittedPeers, AppAddr, AppConfig, ClientAuthConfig, Config, Dial, HttpConfig, Limits, Listen, Listener,
    Log, Network, PairFiles, PairSource, ProxyProtocol, Timeouts, TlsSettings, options, sources, values,
};
use crate::diagnostics::redact::quote;
use crate::diagnostics::{Diagnostics, Problem, Source};

/// Turns everything that was typed into the truth, or into all mistakes in it.
pub fn resolve(inputs: &Sources<'_>) -> Result<Config, Diagnostics> {
    let mut reader = OptionReader::new(inputs);

    let pair = reader.pair();
    let listeners = reader.listeners(pair);
    let app = reader.app(inputs.starts_app);
    let hold = reader.hold();
    let credential_timeout = reader.credential_timeout();
    let timeouts = reader.timeouts();
    let drain = reader.drain();
    let admin = reader.admin_beside(listeners.as_deref().unwrap_or_default());
    let actions = reader.admin_actions();
    let hosts = reader.admin_hosts();
    let metrics =
        reader.metrics(listeners.as_deref().unwrap_or_default(), admin.as_ref().ok().and_then(Option::as_ref));
    let platform_cas = inputs.environment.get("CF_SYSTEM_CERT_PATH").filter(|path| !path.is_empty()).map(Path::new);
    let forward_proxy = reader.forward_proxy(platform_cas, inputs.starts_app);
    let identity_endpoint = reader.identity_endpoint(inputs.starts_app);
    let outbounds = reader.outbounds(platform_cas).and_then(|outbounds| {
        let admin = admin.as_ref().ok().and_then(Option::as_ref).and_then(|admin| admin.addr.tcp());
        let metrics = metrics.as_ref().ok().copied().flatten();
        let others =
            admin.map(|addr| ("--admin", Listen::At(addr))).into_iter().chain(metrics.map(|at| ("--metrics", at)));
        let others: Vec<_> = others.collect();
        let proxy = forward_proxy.as_ref().ok().and_then(Option::as_ref);
        let proxy = proxy.map(|(place, proxy)| (place.clone(), proxy.listen.clone()));
        let endpoint = identity_endpoint.as_ref().ok().and_then(Option::as_ref);
        let endpoint = endpoint.map(|(place, endpoint)| (place.clone(), endpoint.listen.clone()));
        let more: Vec<_> = proxy.into_iter().chain(endpoint).collect();
        reader.no_outbound_address_twice(&outbounds, more, listeners.as_deref().unwrap_or_default(), &others)?;
        Ok(outbounds.into_iter().map(|(_, outbound)| outbound).collect())
    });
    let app_files = reader.app_files(inputs.starts_app);
    let secrets = reader.secrets(inputs.environment, inputs.starts_app);
    let log = reader.log();
    let threads = reader.threads(inputs.cpus);
    let limits = reader.limits();

    // Only now, when everything has been read, may a mistake end the reading.
    let config = move || {
        Ok::<_, Reported>(Config {
            listeners: listeners?,
            outbounds: outbounds?,
            forward_proxy: forward_proxy?.map(|(_, proxy)| proxy),
            app_files: app_files?,
            identity_endpoint: identity_endpoint?.map(|(_, endpoint)| endpoint),
            secrets: secrets?,
            app: AppConfig { hold_until_ready: hold?, ..app? },
            credential_timeout: Some(credential_timeout?),
            timeouts: timeouts?,
            drain: drain?,
            admin: match (admin?, actions?, hosts?) {
                (Some(admin), actions, hosts) => Some(Admin { actions, hosts, ..admin }),
                (None, ..) => None,
            },
            metrics: metrics?,
            log: log?,
            threads: threads?,
            limits: limits?,
            envoy: None,
        })
    };
    match config() {
        Ok(config) if reader.diagnostics.is_empty() => Ok(config),
        // Not empty: whoever holds a `Reported` has noted a mistake.
        _ => Err(Diagnostics::new(reader.diagnostics)),
    }
}

/// Where health is asked for, whatever else is wrong with the configuration.
pub fn admin(inputs: &Sources<'_>) -> Result<Option<Admin>, Diagnostics> {
    let mut reader = OptionReader::new(inputs);
    let admin = reader.admin();
    // What else is wrong in the file is for whoever serves; but where it may have named the address, nobody can guess it.
    let is_unknown = reader.sources.is_file_broken()
        && !reader.sources.values("admin").first().is_some_and(|given| is_user_given(&given.place));
    match admin {
        Ok(admin) if !is_unknown => Ok(admin),
        _ => Err(Diagnostics::new(reader.diagnostics)),
    }
}

/// Where the pair is, for whoever needs nothing else.
pub fn pair(inputs: &Sources<'_>) -> Result<PairSource, Diagnostics> {
    let mut reader = OptionReader::new(inputs);
    // What else is wrong in the file is for whoever serves; but where it may have named the pair, nobody can guess it.
    let is_given = |name| reader.sources.values(name).first().is_some_and(|given| is_user_given(&given.place));
    let is_unknown = reader.sources.is_file_broken() && !(is_given("cert") && is_given("key"));
    match reader.pair() {
        Ok(pair) if !is_unknown => Ok(pair),
        _ => Err(Diagnostics::new(reader.diagnostics)),
    }
}

/// Where the certificate is, as far as the environment says: what `identity` shows when no file is named.
pub fn certificate_path(environment: &Environment) -> Result<PathBuf, Diagnostics> {
    let given = options::serving("cert").and_then(|option| sources::without_flags(option, environment));
    let given = given.unwrap_or_default().into_iter().next();
    let given = given.ok_or_else(|| Problem::new("is not given", "name a file").at(Source::Default("cert")))?;
    Ok(values::path(&given.value).map_err(|problem| problem.at(given.place))?)
}

/// What a listener speaks that answers requests, best first.
const HTTP_ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The two ends of a listener.
type ListenerAddresses = (Located<Listen>, Located<AppAddr>);

/// A listener without its addresses and its pair.
#[derive(Clone)]
struct Common {
    connect: Duration,
    tls: TlsSettings,
    clients: ClientAuthConfig,
    dial: Dial,
    proxy_protocol: Option<ProxyProtocol>,
    accept_proxy_protocol: Vec<Network>,
    http: Option<Arc<HttpConfig>>,
    plaintext: Option<AdmittedPeers>,
}

impl Common {
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
    fn listeners(&mut self, pair: Result<PairSource, Reported>) -> Result<Vec<Listener>, Reported> {
        let sections = self.sources.sections(Table::Listener).cloned().collect::<Vec<_>>();
        let listeners = if sections.is_empty() { self.alike() } else { self.each_its_own(&sections) };
        let listeners = listeners?;
        let addresses: Vec<_> = listeners.iter().map(|(addresses, _)| addresses.clone()).collect();
        self.no_address_twice(&addresses)?;
        if listeners.iter().all(|(_, common)| common.plaintext.is_some()) {
            self.no_handshake_option()?;
        }
        let pair = pair?;
        Ok(listeners.into_iter().map(|(addresses, common)| common.at(addresses, pair.clone())).collect())
    }

    /// Listeners that differ in their addresses alone.
    fn alike(&mut self) -> Result<Vec<(ListenerAddresses, Common)>, Reported> {
        let common = self.common();
        let addresses = if self.sources.values("listener").is_empty() { self.one_listener() } else { self.several() };
        let (common, addresses) = (common?, addresses?);
        Ok(addresses.into_iter().map(|addresses| (addresses, common.clone())).collect())
    }

    /// The `[[listener]]`s of the file.
    fn each_its_own(&mut self, sections: &[Section]) -> Result<Vec<(ListenerAddresses, Common)>, Reported> {
        let mut listeners = self.no_address_beside(sections).map(|()| Vec::new());
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
    fn no_address_beside(&mut self, sections: &[Section]) -> Result<(), Reported> {
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
    fn common(&mut self) -> Result<Common, Reported> {
        let connect = self.one("connect-timeout", step);
        let http = self.http();
        let reads_requests = matches!(http, Ok(Some(_)));
        // Mistakes in how requests are read are said there.
        let plaintext = self.plaintext(reads_requests || http.is_err());
        let tls = self.tls(reads_requests);
        let clients = if self.is_plaintext() { self.callers() } else { self.clients(reads_requests) };
        let dial = self.given("dial", values::one_of);
        let proxy_protocol = self.one("proxy-protocol", values::one_of_or_off);
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
        Ok(Common { connect, tls, clients, dial, proxy_protocol, accept_proxy_protocol, http, plaintext })
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
    fn no_address_twice(&mut self, addresses: &[ListenerAddresses]) -> Result<(), Reported> {
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

    /// The admin listener. An address that was asked for has to be free; the default steps aside.
    fn admin_beside(&mut self, listeners: &[Listener]) -> Result<Option<Admin>, Reported> {
        let admin = self.admin()?;
        let asked = admin.as_ref().filter(|admin| admin.explicit).and_then(|admin| admin.addr.tcp());
        let clash = asked.and_then(|addr| {
            let taken = listeners.iter().find(|listener| overlap(listener.listen, Listen::At(addr)))?;
            Some((addr, taken.listen))
        });
        let place = self.sources.values("admin").first().map(|given| given.place.clone());
        let at_the_apps = |addr: &SocketAddr| listeners.iter().any(|listener| is_apps(Listen::At(*addr), listener));
        if let (Some(addr), Some(place)) = (asked.filter(at_the_apps), &place) {
            let what =
                format!("{addr} is where the app listens: whoever reaches the app would reach the admin listener");
            let help = "give the admin listener an address of its own, or correct --app";
            return Err(self.report(Problem::new(what, help).at(place.clone())));
        }
        match (clash, place) {
            (Some((addr, listen)), Some(place)) => {
                let what = format!("{addr} is taken by --listen {}", socket(listen));
                let help = "give the admin listener an address of its own, or turn it off";
                Err(self.report(Problem::new(what, help).at(place)))
            }
            _ => Ok(admin),
        }
    }

    /// The metrics listener, which wants an address of its own.
    fn metrics(&mut self, listeners: &[Listener], admin: Option<&Admin>) -> Result<Option<Listen>, Reported> {
        let (place, metrics) = self.placed("metrics", values::listen_or_off)?;
        let Some(metrics) = metrics else { return Ok(None) };
        let admin = admin.and_then(|admin| admin.addr.tcp()).map(|addr| ("--admin", Listen::At(addr)));
        if listeners.iter().any(|listener| is_apps(metrics, listener)) {
            let what = format!("{} is where the app listens", socket(metrics));
            let help = "give the metrics an address of their own, or correct --app";
            return Err(self.report(Problem::new(what, help).at(place)));
        }
        let taken = listeners.iter().map(|listener| ("--listen", listener.listen)).chain(admin);
        let clash = taken.into_iter().find(|(_, listen)| overlap(*listen, metrics));
        match clash {
            None => Ok(Some(metrics)),
            Some((option, listen)) => {
                let what = format!("{} is taken by {option} {}", socket(metrics), socket(listen));
                Err(self.report(Problem::new(what, "give the metrics an address of their own").at(place)))
            }
        }
    }

    /// `is_http`: the protocols that are spoken are known, unless fewer are asked for.
    fn tls(&mut self, is_http: bool) -> Result<TlsSettings, Reported> {
        let is_given = self.sources.values("alpn").first().is_some_and(|given| is_user_given(&given.place));
        let alpn = match is_http && !is_given {
            true => Ok(HTTP_ALPN.map(<[u8]>::to_vec).to_vec()),
            false => self.alpn(),
        };
        let min_version = self.one("tls-min", values::one_of);
        Ok(TlsSettings { alpn: alpn?, min_version: min_version?, ..TlsSettings::default() })
    }

    fn alpn(&mut self) -> Result<Vec<Vec<u8>>, Reported> {
        if matches!(self.sources.values("alpn"), [RawValue { value, .. }] if value == "off") {
            return Ok(Vec::new());
        }
        let mut protocols = Vec::new();
        for (place, protocol) in self.all("alpn", values::alpn)? {
            if protocols.contains(&protocol) {
                let what = format!("{} is there twice", quote(&String::from_utf8_lossy(&protocol)));
                return Err(self.report(Problem::new(what, "write each protocol once").at(place)));
            }
            protocols.push(protocol);
        }
        Ok(protocols)
    }

    fn credential_timeout(&mut self) -> Result<Duration, Reported> {
        self.one("credential-timeout", |text| values::duration(text, &Range::ZERO_TO_AN_HOUR))
    }

    fn pair(&mut self) -> Result<PairSource, Reported> {
        let cert = self.path("cert");
        let key = self.path("key");
        let (cert, key) = (cert?, key?);
        self.cert_and_key_from_one_place()?;
        Ok(PairSource::Files(PairFiles { cert, key }))
    }

    /// Half a pair from one place and half from another never match. Better to say so now than to wait for a pair
    /// that will not come.
    fn cert_and_key_from_one_place(&mut self) -> Result<(), Reported> {
        let halves = (self.sources.values("cert").first(), self.sources.values("key").first());
        let (Some(cert), Some(key)) = halves else { return Ok(()) };
        let (half, other) = match origin("cert", cert).cmp(&origin("key", key)) {
            Ordering::Less => (cert, "key"),
            Ordering::Equal => return Ok(()),
            Ordering::Greater => (key, "cert"),
        };
        let beside = options::serving(other).and_then(|other| match &half.place {
            Source::Flag(_) => Some(other.flag()),
            Source::Variable(_) => other.variable(),
            Source::File { .. } => other.key().map(str::to_owned),
            Source::Platform(_) | Source::Default(_) => other.platform.map(str::to_owned),
        });
        let problem =
            Problem::new(format!("has no {other} beside it"), format!("give {} too", beside.unwrap_or_default()));
        let place = half.place.clone();
        Err(self.report(problem.at(place)))
    }

    fn timeouts(&mut self) -> Result<Timeouts, Reported> {
        let life = |text: &str| values::duration_or_off(text, &Range::A_MILLISECOND_TO_A_MONTH);
        let handshake = self.one("handshake-timeout", step);
        let idle = self.one("idle-timeout", life);
        let max_age = self.one("max-age", life);
        Ok(Timeouts { handshake: handshake?, idle: idle?, max_age: max_age? })
    }

    fn log(&mut self) -> Result<Log, Reported> {
        let format = self.given("log-format", values::one_of);
        let level = self.one("log-level", values::one_of);
        let access = self.one("access-log", values::one_of);
        Ok(Log { format: format?, level: level?, access: access? })
    }

    fn threads(&mut self, cpus: usize) -> Result<usize, Reported> {
        // More than two threads buy nothing beside an app that needs the CPU itself.
        Ok(self.given("threads", |text| values::number(text, &(1..=256)))?.unwrap_or(cpus.clamp(1, 2)))
    }

    fn limits(&mut self) -> Result<Limits, Reported> {
        let number = |text: &str| values::number(text, &(1..=1_000_000));
        let connections = self.given("max-connections", number);
        let handshakes = self.given("max-handshakes", number);
        let memory = self.given("memory-limit", values::size);
        Ok(Limits { connections: connections?, handshakes: handshakes?, memory: memory? })
    }
}

/// How long one step of a connection may take.
fn step(text: &str) -> Result<Duration, Problem> {
    values::duration(text, &Range::A_MILLISECOND_TO_TEN_MINUTES)
}

/// Whether a person gave it, rather than the platform or the table.
pub(super) fn is_user_given(place: &Source) -> bool {
    matches!(place, Source::Flag(_) | Source::Variable(_) | Source::File { .. })
}

/// The two places, the one that is easier to change first: the command line, then the environment.
pub(super) fn in_order(one: &Source, other: &Source) -> (Source, Source) {
    (one.min(other).clone(), one.max(other).clone())
}

/// Whose word a credential's path is. The usual path counts as the default, whoever says it.
fn origin(name: &str, given: &RawValue) -> u8 {
    let default = options::serving(name).map(|option| option.default);
    let is_usual = matches!(default, Some(Preset::Value(path)) if given.value == path);
    match &given.place {
        place if is_user_given(place) => 0,
        Source::Platform(_) if !is_usual => 1,
        _ => 2,
    }
}

/// The address that is opened, with `[::]` for every address.
fn socket(listen: Listen) -> SocketAddr {
    match listen {
        Listen::EveryAddress(port) => (Ipv6Addr::UNSPECIFIED, port).into(),
        Listen::At(address) => address,
    }
}

/// Whether whoever dials `address` may reach `listen`.
pub(super) fn covers(listen: Listen, address: SocketAddr) -> bool {
    match listen {
        Listen::EveryAddress(port) => port == address.port(),
        Listen::At(at) if at.ip().is_unspecified() => at.port() == address.port() && at.is_ipv4() == address.is_ipv4(),
        Listen::At(at) => at == address,
    }
}

/// Whether `listen`, an address of ours, is where the app of `listener` is dialled: we would take its clients for ours.
pub(super) fn is_apps(listen: Listen, listener: &Listener) -> bool {
    listener.app.tcp().into_iter().any(|app| {
        // An app elsewhere may well have our port; one on loopback cannot.
        socket(listen).port() != 0 && covers(listen, app) && (app.ip().is_loopback() || socket(listen) == app)
    })
}

/// Whether the kernel would refuse to open both. Port 0 is another port each time.
pub(super) fn overlap(one: Listen, other: Listen) -> bool {
    socket(one).port() != 0 && (covers(one, socket(other)) || covers(other, socket(one)))
}
