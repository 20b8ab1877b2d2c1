//! From what was typed to what it means. Never stops at the first error.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::addresses::{is_apps, overlap, socket};
use super::reader::{OptionReader, Reported, is_user_given};
use super::sources::{Environment, Sources};
use super::values::Range;
use super::{Admin, AppConfig, Config, Limits, Listen, Listener, Log, PairSource, Timeouts, options, sources, values};
use crate::diagnostics::{Diagnostics, Problem, Source};

/// Turns everything that was typed into the truth, or into all errors in it.
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
        reader.reject_duplicate_outbound_addresses(
            &outbounds,
            more,
            listeners.as_deref().unwrap_or_default(),
            &others,
            forward_proxy.as_ref().ok().and_then(Option::as_ref).map(|(_, proxy)| &proxy.unlisted_settings),
        )?;
        Ok(outbounds.into_iter().map(|(_, outbound)| outbound).collect())
    });
    let app_files = reader.app_files(inputs.starts_app);
    let secrets = reader.secrets(inputs.environment, inputs.starts_app);
    let log = reader.log();
    let threads = reader.threads(inputs.cpus);
    let limits = reader.limits();
    let sandbox = reader.required("sandbox", values::one_of);

    // Only now, when everything has been read, may an error end the reading.
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
            sandbox: sandbox?,
            envoy: None,
        })
    };
    match config() {
        Ok(config) if reader.diagnostics.is_empty() => Ok(config),
        // Not empty: whoever holds a `Reported` has noted an error.
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

impl OptionReader {
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

    fn credential_timeout(&mut self) -> Result<Duration, Reported> {
        self.required("credential-timeout", |text| values::duration(text, &Range::ZERO_TO_AN_HOUR))
    }

    fn timeouts(&mut self) -> Result<Timeouts, Reported> {
        let life = |text: &str| values::duration_or_off(text, &Range::A_MILLISECOND_TO_A_MONTH);
        let handshake = self.required("handshake-timeout", step);
        let idle = self.required("idle-timeout", life);
        let max_age = self.required("max-age", life);
        Ok(Timeouts { handshake: handshake?, idle: idle?, max_age: max_age? })
    }

    fn log(&mut self) -> Result<Log, Reported> {
        let format = self.given("log-format", values::one_of);
        let level = self.required("log-level", values::one_of);
        let access = self.required("access-log", values::one_of);
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
pub(super) fn step(text: &str) -> Result<Duration, Problem> {
    values::duration(text, &Range::A_MILLISECOND_TO_TEN_MINUTES)
}

/// The two places, the one that is easier to change first: the command line, then the environment.
pub(super) fn in_order(one: &Source, other: &Source) -> (Source, Source) {
    (one.min(other).clone(), one.max(other).clone())
}
