//! From what was typed about outbound listeners to what it means.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{
    ExpectedName, Host, Outbound, OutboundCa, OutboundListen, OutboundSettings, OutboundTimeouts, SettingsPlace, Target,
};
use crate::config::AppAddr;
use crate::config::options::{OPTIONS, Opt, Table};
use crate::config::reader::{Located, OptionReader, Reported};
use crate::config::values::Range;
use crate::config::{Listen, Listener, addresses, values};
use crate::diagnostics::redact::quote;
use crate::diagnostics::{Problem, Source};
use crate::policy::Rule;

/// How long a connection to an HTTP server waits for the next request: less than servers do, and long enough for a busy app.
const POOL_IDLE: Duration = Duration::from_secs(15);

/// The addresses of an outbound, and where they were given.
struct OutboundAddresses {
    place: Source,
    listen: OutboundListen,
    to: Vec<Target>,
}

/// An option that says something of outbound listeners, and nothing of the forward proxy.
struct ListenerOption {
    name: &'static str,
    /// The value that the proxy goes by, or would if it went by any; `None`: it goes by itself, whatever is said.
    means_proxy: Option<&'static str>,
    /// What it does in its place.
    instead: &'static str,
}

const LISTENERS_ALONE: [ListenerOption; 5] = [
    ListenerOption {
        name: "outbound-server-name",
        means_proxy: Some("off"),
        instead: "asks each server for the name that the request has",
    },
    ListenerOption { name: "outbound-protocol", means_proxy: None, instead: "speaks HTTP always" },
    ListenerOption {
        name: "outbound-preserve-host",
        means_proxy: None,
        instead: "sends the host that the request names",
    },
    ListenerOption {
        name: "outbound-required",
        means_proxy: Some("false"),
        instead: "knows no server before it is asked for one",
    },
    ListenerOption { name: "unsafe-listen", means_proxy: Some("false"), instead: "listens on loopback alone" },
];

impl OptionReader {
    /// The outbound listeners: those of `--outbound`, and the tables of the file.
    pub(in crate::config) fn outbounds(
        &mut self,
        platform_cas: Option<&Path>,
    ) -> Result<Vec<(Source, Outbound)>, Reported> {
        let given = self.all("outbound", values::outbound);
        // Read even where there is no listener: what is wrong in it would be so for the first one.
        let common = self.outbound_settings(platform_cas, None);
        let mut outbounds = given.and_then(|given| {
            let common = common?;
            let addresses =
                given.into_iter().map(|(place, (listen, to))| OutboundAddresses { place, listen, to: vec![to] });
            addresses.map(|addresses| self.outbound(addresses, common.clone())).collect::<Result<Vec<_>, _>>()
        });
        let has_listeners =
            self.sources.sections(Table::Outbound).next().is_some() || !self.sources.values("outbound").is_empty();
        let has_proxy = self.sources.values("forward-proxy").iter().any(|given| given.value != "off");
        let is_there = has_listeners || has_proxy;
        let is_meant = |option: &&Opt, place: &Source| match place {
            Source::Flag(_) => true,
            // A file may be one for many; but who may answer is not said in passing.
            place => option.name == "outbound-expect" && is_deliberate(place),
        };
        let lonely = OPTIONS.iter().filter(|option| option.table == Some(Table::Outbound) && !is_there);
        let lonely = lonely.filter_map(|option| Some((option, self.sources.values(option.name).first()?)));
        let lonely =
            lonely.map(|(option, given)| (option, &given.place)).find(|(option, place)| is_meant(option, place));
        if let Some(place) = lonely.map(|(_, place)| place.clone()) {
            let help = "add --outbound LISTEN=HOST:PORT, or leave it out";
            outbounds = Err(self.report(Problem::new("there is no outbound listener", help).at(place)));
        }
        if let Some(option) =
            LISTENERS_ALONE.iter().find(|option| !has_listeners && has_proxy && self.is_said_of_nobody(option))
            && let Some(place) = self.sources.values(option.name).first().map(|given| given.place.clone())
        {
            let what = format!("there is no outbound listener, and the forward proxy {}", option.instead);
            let problem = Problem::new(what, "leave it out, or add --outbound LISTEN=HOST:PORT");
            outbounds = Err(self.report(problem.at(place)));
        }
        let sections: Vec<_> = self.sources.sections(Table::Outbound).cloned().collect();
        let all = std::mem::take(&mut self.sources);
        for section in sections {
            self.sources = all.within_outbound(&section);
            let own: Vec<_> = section.given.keys().copied().collect();
            let mut read = self.outbound_of_table(section.place, platform_cas);
            if let Ok((_, outbound)) = &mut read {
                outbound.settings.doubts.iter_mut().for_each(|doubt| doubt.note_own(&own));
                outbound.settings.place = SettingsPlace::Table { expects: own.contains(&"outbound-expect") };
            }
            outbounds = match (outbounds, read) {
                (Ok(mut outbounds), Ok(read)) => {
                    outbounds.push(read);
                    Ok(outbounds)
                }
                (Err(noted), _) | (_, Err(noted)) => Err(noted),
            };
        }
        self.sources = all;
        outbounds
    }

    /// Whether `option` was given for this very start, with a value that the forward proxy does not go by.
    fn is_said_of_nobody(&self, option: &ListenerOption) -> bool {
        self.sources.values(option.name).first().is_some_and(|given| {
            let is_of_proxy = option.means_proxy.is_some_and(|value| given.value == value);
            match &given.place {
                Source::Flag(_) => !is_of_proxy,
                // A file may be one for many; but who may answer is not said in passing.
                place => option.name == "outbound-server-name" && is_deliberate(place) && !is_of_proxy,
            }
        })
    }

    fn outbound_of_table(
        &mut self,
        place: Source,
        platform_cas: Option<&Path>,
    ) -> Result<(Source, Outbound), Reported> {
        let listen = self.given("outbound-listen", values::outbound_listen);
        let to = self.all("outbound-to", values::target);
        let common = self.outbound_settings(platform_cas, None);
        let (listen, to, common) = (listen?, to?, common?);
        let mut missing =
            |what: &str, help: &str| self.report(Problem::new(format!("has no {what}"), help).at(place.clone()));
        let listen = listen.ok_or_else(|| missing("listen", "write listen = \"9000\", where the app dials us"))?;
        if to.is_empty() {
            return Err(missing("to", "write to = \"HOST:PORT\", whom we dial"));
        }
        let to = to.into_iter().map(|(_, target)| target).collect();
        self.outbound(OutboundAddresses { place, listen, to }, common)
    }

    /// One outbound, if its parts fit together.
    fn outbound(
        &mut self,
        addresses: OutboundAddresses,
        (settings, unsafe_listen): (OutboundSettings, bool),
    ) -> Result<(Source, Outbound), Reported> {
        let OutboundAddresses { place, listen, to } = addresses;
        let problem = match &listen {
            OutboundListen::At(addr) if !addr.ip().is_loopback() && !unsafe_listen => Some(Problem::new(
                format!("other hosts may reach {addr}, and would speak as this app"),
                format!("write 127.0.0.1:{}, or add --unsafe-listen", addr.port()),
            )),
            _ => None,
        };
        let problem = problem.or_else(|| {
            let is_address = |target: &&Target| matches!(target.host, Host::Ip(_));
            match (&settings.server_name, to.iter().find(is_address)) {
                (ExpectedName::Target, Some(address)) if !names_somebody(&settings.expect) => {
                    let what = format!("{address} has no name by which the server could be told from others");
                    // One that takes everybody, as `any`, tells nobody from others.
                    let help = match settings.expect.is_empty() {
                        true => "add --outbound-expect RULE, or --outbound-server-name NAME",
                        false => {
                            "expect somebody, as cf:app:GUID or dns:NAME, instead of everybody, or add --outbound-server-name NAME"
                        }
                    };
                    Some(Problem::new(what, help))
                }
                (ExpectedName::Unchecked, _) if !names_somebody(&settings.expect) => {
                    let what = "no name is checked, and no identity either: anybody could answer";
                    Some(Problem::new(
                        what,
                        "add --outbound-expect RULE, or leave out --outbound-server-name off",
                    ))
                }
                _ => None,
            }
        });
        if let Some(problem) = problem {
            return Err(self.report(problem.at(place)));
        }
        Ok((place, Outbound { listen, to, settings }))
    }

    /// What holds for servers that are dialled, and whether other hosts may reach us for it. `expects`: who may answer, where that is said
    /// elsewhere.
    pub(in crate::config) fn outbound_settings(
        &mut self,
        platform_cas: Option<&Path>,
        expects: Option<Vec<Rule>>,
    ) -> Result<(OutboundSettings, bool), Reported> {
        let step = |text: &str| values::duration(text, &Range::A_MILLISECOND_TO_TEN_MINUTES);
        let life = |text: &str| values::duration_or_off(text, &Range::A_MILLISECOND_TO_A_MONTH);
        let number = |text: &str| values::number(text, &(1..=1_000_000));
        let proxy = self.given("outbound-proxy", values::http_proxy);
        let no_proxy = self.all("outbound-no-proxy", values::no_proxy);
        let expect = expects.map_or_else(|| self.expected(), Ok);
        let server_name = self.given("outbound-server-name", values::server_name);
        let ca = self.all("outbound-ca", values::outbound_ca);
        let identity = self.required("outbound-identity", values::one_of);
        let balance = self.required("outbound-balance", values::one_of);
        let protocol = self.required("outbound-protocol", values::one_of);
        let preserve_host = self.given("outbound-preserve-host", values::switch);
        let eject_on = self.required("outbound-eject-on", values::one_of);
        let required = self.given("outbound-required", values::switch);
        let connect = self.required("outbound-connect-timeout", step);
        let handshake = self.required("outbound-handshake-timeout", step);
        let total = self.required("outbound-timeout", step);
        let idle = self.given("outbound-idle-timeout", life);
        let max_age = self.required("outbound-max-age", life);
        let attempts = self.required("outbound-attempts", |text| values::number(text, &(1..=100)));
        let eject = self.required("outbound-eject", values::eject);
        let max_connections = self.required("outbound-max-connections", number);
        let max_pending = self.required("outbound-max-pending", number);
        let refresh = self.required("outbound-refresh", |text| values::duration(text, &Range::A_SECOND_TO_A_DAY));
        let unsafe_listen = self.given("unsafe-listen", values::switch);
        let (expect, idle) = (expect?, idle?);
        if let Ok([]) = ca.as_deref() {
            self.reject_empty_list(
                "outbound-ca",
                "lists no CA",
                "write own-issuer, system or a path, or leave it out",
            )?;
        }
        let mut ca: Vec<_> = ca?.into_iter().map(|(_, ca)| ca).collect();
        if ca.is_empty() {
            ca = match expect.iter().any(Rule::is_cloud_foundry) {
                // The folder holds other CAs too, any of which could name an app.
                true => vec![OutboundCa::OwnIssuer],
                false => platform_cas
                    .map(|path| OutboundCa::Path(path.to_owned()))
                    .into_iter()
                    .chain([OutboundCa::System])
                    .collect(),
            };
        }
        let mut settings = OutboundSettings {
            proxy: proxy?,
            no_proxy: no_proxy?.into_iter().map(|(_, pattern)| pattern).collect(),
            expect,
            server_name: server_name?.unwrap_or(ExpectedName::Target),
            ca,
            platform_cas: platform_cas.map(Path::to_owned),
            identity: identity?,
            balance: balance?,
            protocol: protocol?,
            preserve_host: preserve_host?.unwrap_or(false),
            eject_on: eject_on?,
            required: required?.unwrap_or(false),
            timeouts: OutboundTimeouts {
                connect: connect?,
                handshake: handshake?,
                total: total?,
                idle: idle.flatten(),
                pool_idle: idle.unwrap_or(Some(POOL_IDLE)),
                max_age: max_age?,
            },
            attempts: attempts?,
            eject: eject?,
            max_connections: max_connections?,
            max_pending: max_pending?,
            refresh: refresh?,
            doubts: Vec::new(),
            place: SettingsPlace::Options,
        };
        settings.doubts = self.setting_doubts(&settings);
        Ok((settings, unsafe_listen?.unwrap_or(false)))
    }

    fn expected(&mut self) -> Result<Vec<Rule>, Reported> {
        let rules: Vec<Located<Rule>> = self.all("outbound-expect", str::parse)?;
        let anonymous = rules.iter().find(|(_, rule)| *rule == Rule::Anonymous);
        if let Some((place, _)) = anonymous {
            let problem = Problem::new("every server has a certificate", "name an app, or leave it out");
            return Err(self.report(problem.at(place.clone())));
        }
        if rules.is_empty() {
            let help = "write a rule, or leave it out where the server's name is enough";
            self.reject_empty_list("outbound-expect", "lists nobody", help)?;
        }
        Ok(rules.into_iter().map(|(_, rule)| rule).collect())
    }

    /// A list of the file that has nothing in it is not taken for one that was left out.
    fn reject_empty_list(
        &mut self,
        option: &'static str,
        what: &'static str,
        help: &'static str,
    ) -> Result<(), Reported> {
        if !self.sources.is_given(option) {
            return Ok(());
        }
        let path = self.sources.values("config").first().map(|given| PathBuf::from(&given.value));
        let key = option.trim_start_matches("outbound-").to_owned();
        let place = Source::File { path: path.unwrap_or_default(), line: None, key };
        Err(self.report(Problem::new(what, help).at(place)))
    }

    /// Neither do two outbound listeners want one address, nor one that others have; nor do we dial ourselves. `more` is where the app dials
    /// us beside: the forward proxy, the identity endpoint.
    pub(in crate::config) fn reject_duplicate_outbound_addresses(
        &mut self,
        outbounds: &[(Source, Outbound)],
        more: Vec<(Source, OutboundListen)>,
        inbound: &[Listener],
        others: &[(&'static str, Listen)],
        forward_proxy: Option<&OutboundSettings>,
    ) -> Result<(), Reported> {
        let (mut result, apps) = (Ok(()), inbound);
        let inbound = || inbound.iter().map(|listener| ("--listen", listener.listen));
        let listens = outbounds.iter().map(|(place, outbound)| (place.clone(), outbound.listen.clone()));
        let listens: Vec<_> = listens.chain(more).collect();
        for (i, (place, listen)) in listens.iter().enumerate() {
            if listens[..i].iter().any(|(_, earlier)| overlap(earlier, listen)) {
                let what = format!("{} is listened on twice", quote(&listen.to_string()));
                let problem = Problem::new(what, "give each an address of its own");
                result = Err(self.report(problem.at(place.clone())));
            }
            let taken = inbound()
                .chain(others.iter().copied())
                .find(|(_, other)| listen.tcp().iter().any(|addr| addresses::overlap(*other, Listen::At(*addr))));
            if let Some((option, _)) = taken {
                let what = format!("{} is taken by {option}", quote(&listen.to_string()));
                let problem = Problem::new(what, "give it an address of its own");
                result = Err(self.report(problem.at(place.clone())));
            }
            let is_apps = |listener: &&Listener| match (listen, &listener.app) {
                (OutboundListen::Unix(ours), AppAddr::Unix(app)) => ours == app,
                _ => listen.tcp().into_iter().any(|addr| addresses::is_apps(Listen::At(addr), listener)),
            };
            if let Some(listener) = apps.iter().find(is_apps) {
                let what = format!(
                    "{} is where the app listens, {}: whoever reaches the app would leave here in its name",
                    quote(&listen.to_string()),
                    listener.app
                );
                let problem = Problem::new(what, "give it an address of its own, or correct --app");
                result = Err(self.report(problem.at(place.clone())));
            }
        }
        let ours: Vec<_> = listens
            .iter()
            .flat_map(|(_, listen)| listen.tcp())
            .map(Listen::At)
            .chain(inbound().map(|(_, listen)| listen))
            .chain(others.iter().map(|(_, listen)| *listen))
            .collect();
        let is_ours = |host: &Host, port: u16| {
            addresses_of(host).into_iter().any(|ip| {
                let addr = SocketAddr::new(ip, port);
                ours.iter()
                    .any(|listen| addresses::covers(*listen, addr) && (ip.is_loopback() || *listen == Listen::At(addr)))
            })
        };
        let proxies = outbounds.iter().map(|(_, outbound)| &outbound.settings).chain(forward_proxy);
        let proxies = proxies.filter_map(|settings| settings.proxy.as_ref());
        if let Some(proxy) = proxies.into_iter().find(|proxy| is_ours(&proxy.host, proxy.port)) {
            let place = self.sources.values("outbound-proxy").first().map(|given| given.place.clone());
            let place = place.filter(|place| !matches!(place, Source::Default(_)));
            let place = place.or_else(|| outbounds.first().map(|(place, _)| place.clone()));
            let problem = Problem::new(
                format!("we would be our own proxy: we listen at {proxy} ourselves"),
                "name another proxy, or leave it out",
            );
            result = Err(self.report(problem.at(place.unwrap_or(Source::Flag("--outbound-proxy".to_owned())))));
        }
        for (place, outbound) in outbounds {
            let dialled = outbound.to.iter().find(|target| is_ours(&target.host, target.port));
            if let Some(target) = dialled {
                let problem = Problem::new(format!("we would dial ourselves at {target}"), "name another server");
                result = Err(self.report(problem.at(place.clone())));
            }
        }
        result
    }
}

/// What `host` certainly means before anybody looks it up (RFC 6761, 6.3).
fn addresses_of(host: &Host) -> Vec<IpAddr> {
    match host {
        Host::Ip(ip) => vec![*ip],
        Host::Name(name) if name.trim_end_matches('.') == "localhost" => {
            vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
        }
        Host::Name(_) => Vec::new(),
    }
}

/// Whether `expect` tells one server from others: the rule `any` does not.
pub(in crate::config) fn names_somebody(expect: &[Rule]) -> bool {
    !expect.is_empty() && !expect.contains(&Rule::Any)
}

/// Whether it was said for this very start: a variable may stand in an image for many.
pub(in crate::config) fn is_deliberate(place: &Source) -> bool {
    matches!(place, Source::Flag(_) | Source::File { .. })
}

/// Whether the kernel would refuse to open both. Port 0 is another port each time.
fn overlap(one: &OutboundListen, other: &OutboundListen) -> bool {
    match (one, other) {
        (OutboundListen::Unix(one), OutboundListen::Unix(other)) => one == other,
        _ => one
            .tcp()
            .iter()
            .any(|one| other.tcp().iter().any(|other| addresses::overlap(Listen::At(*one), Listen::At(*other)))),
    }
}
