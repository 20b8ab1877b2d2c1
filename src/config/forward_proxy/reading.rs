//! From what was typed about the forward proxy to what it means.

use std::path::Path;

use super::{DEFAULT_PORT, ForwardProxy, ListedHosts, PortMapping, ProxyEnvironment};
use crate::config::options::{OPTIONS, Opt};
use crate::config::outbound::{ExpectedName, Host, HostPattern, OutboundListen, OutboundSettings, SettingsPlace};
use crate::config::raw_value::RawValue;
use crate::config::reader::{Located, OptionReader, Reported};
use crate::config::values::HostEntry;
use crate::config::{outbound, values};
use crate::diagnostics::redact::quote;
use crate::diagnostics::{Problem, Source};
use crate::policy::Rule;

impl OptionReader {
    /// The forward proxy, and where it was asked for; `None`: it was not.
    pub(in crate::config) fn forward_proxy(
        &mut self,
        platform_cas: Option<&Path>,
        starts_app: bool,
    ) -> Result<Option<(Source, ForwardProxy)>, Reported> {
        let listen = self.placed("forward-proxy", values::forward_proxy);
        // Read even where there is no proxy: what is wrong in it would be so with one.
        let listed = self.all("forward-proxy-to", values::listed);
        let unlisted = self.required("forward-proxy-unlisted", values::one_of);
        let tls_tunnel = self.required("forward-proxy-tls-tunnel", values::one_of);
        let map = self.all("forward-proxy-map", values::port_mapping);
        let announce = self.required("forward-proxy-announce", values::one_of);
        let secret = self.required("forward-proxy-secret", values::on_or_off);
        let allow_addresses = self.all("forward-proxy-allow-address", values::network);
        let (place, listen) = listen?;
        let Some(listen) = listen else {
            self.reject_orphan_forward_proxy_options()?;
            return Ok(None);
        };
        let others = self.outbound_settings(platform_cas, Some(Vec::new())).map(|(settings, _)| settings);
        let listed = listed.and_then(|listed| self.listed_hosts(listed, platform_cas));
        if let OutboundListen::At(addr) = &listen
            && !addr.ip().is_loopback()
        {
            let what = format!("other hosts may reach {addr}, and would speak as this app");
            let problem = Problem::new(what, format!("write 127.0.0.1:{}, or unix:/PATH", addr.port()));
            return Err(self.report(problem.at(place)));
        }
        let secret = secret?;
        if secret && !starts_app {
            let problem = Problem::new(
                "nobody would be told the password",
                "leave it out: with \"vestibule proxy\" the app is started by others",
            );
            return Err(self.report(problem.at(self.place_of("forward-proxy-secret", &place))));
        }
        let announce = announce?;
        if secret && announce == ProxyEnvironment::Off {
            let problem = Problem::new("nobody would be told the password", "leave out --forward-proxy-announce off");
            return Err(self.report(problem.at(self.place_of("forward-proxy-secret", &place))));
        }
        if secret && matches!(listen, OutboundListen::Unix(_)) {
            let problem =
                Problem::new("no URL of a socket file has a password", "leave it out: the file is ours alone");
            return Err(self.report(problem.at(self.place_of("forward-proxy-secret", &place))));
        }
        let map = map.and_then(|map| self.mapped_once(map));
        let proxy = ForwardProxy {
            listen,
            listed: listed?,
            unlisted: unlisted?,
            unlisted_settings: OutboundSettings { preserve_host: true, ..others? },
            tls_tunnel: tls_tunnel?,
            map: map?,
            announce,
            secret,
            allow_addresses: allow_addresses?.into_iter().map(|(_, network)| network).collect(),
        };
        Ok(Some((place, proxy)))
    }

    /// The port mappings, none of which maps the same host and port as another.
    fn mapped_once(&mut self, given: Vec<Located<PortMapping>>) -> Result<Vec<PortMapping>, Reported> {
        let mut map: Vec<PortMapping> = Vec::new();
        for (place, mapping) in given {
            let is_same = |known: &&PortMapping| {
                known.from.port == mapping.from.port
                    && HostPattern::Host(known.from.host.clone()).matches(&mapping.from.host)
            };
            match map.iter().find(is_same) {
                Some(known) if known.to != mapping.to => {
                    let what = format!("{} leads to port {} already", mapping.from, known.to);
                    return Err(self.report(Problem::new(what, "map each to one port").at(place)));
                }
                Some(_) => {}
                None => map.push(mapping),
            }
        }
        Ok(map)
    }

    /// Where `name` was given, else `otherwise`.
    fn place_of(&self, name: &'static str, otherwise: &Source) -> Source {
        self.sources.values(name).first().map_or_else(|| otherwise.clone(), |given| given.place.clone())
    }

    /// What is said of a proxy that nobody has asked for, nor turned off.
    fn reject_orphan_forward_proxy_options(&mut self) -> Result<(), Reported> {
        let is_turned_off =
            !matches!(self.sources.values("forward-proxy"), [RawValue { place: Source::Default(_), .. }]);
        let is_meant = |option: &Opt, place: &Source| match place {
            Source::Flag(_) => true,
            place => option.name == "forward-proxy-to" && outbound::is_deliberate(place),
        };
        let of_it = OPTIONS.iter().filter(|option| option.name.starts_with("forward-proxy-") && !is_turned_off);
        let mut given = of_it.filter_map(|option| Some((option, &self.sources.values(option.name).first()?.place)));
        let lonely = given.find(|(option, place)| is_meant(option, place)).map(|(_, place)| place.clone());
        let Some(place) = lonely else { return Ok(()) };
        let help = format!("add --forward-proxy on, which listens on 127.0.0.1:{DEFAULT_PORT}, or leave it out");
        Err(self.report(Problem::new("there is no forward proxy", help).at(place)))
    }

    /// Hosts that are named several times have several rules.
    fn listed_hosts(
        &mut self,
        given: Vec<Located<HostEntry>>,
        platform_cas: Option<&Path>,
    ) -> Result<Vec<ListedHosts>, Reported> {
        type HostRules = (Source, HostPattern, u16, Vec<Option<Rule>>);
        let mut gathered: Vec<HostRules> = Vec::new();
        for (place, (hosts, port, rule)) in given {
            match gathered.iter_mut().find(|(_, known, at, _)| *known == hosts && *at == port) {
                Some((.., rules)) => rules.push(rule),
                None => gathered.push((place, hosts, port, vec![rule])),
            }
        }
        let mut all = Ok(Vec::new());
        for (place, hosts, port, rules) in gathered {
            match (self.listed_one(place, hosts, port, rules, platform_cas), &mut all) {
                (Ok(listed), Ok(all)) => all.push(listed),
                (Ok(_), Err(_)) => {}
                (Err(noted), _) => all = Err(noted),
            }
        }
        let mut all = all?;
        all.sort_by_key(|listed| std::cmp::Reverse(listed.hosts.specificity()));
        Ok(all)
    }

    fn listed_one(
        &mut self,
        place: Source,
        hosts: HostPattern,
        port: u16,
        rules: Vec<Option<Rule>>,
        platform_cas: Option<&Path>,
    ) -> Result<ListedHosts, Reported> {
        let own: Vec<Rule> = rules.iter().flatten().cloned().collect();
        let is_mixed = !own.is_empty() && own.len() < rules.len();
        let has_own = !own.is_empty();
        let expects = has_own.then_some(own);
        let (mut settings, _) = self.outbound_settings(platform_cas, expects)?;
        settings.preserve_host = true;
        // One name for all hosts would be the name of none.
        if let ExpectedName::Given(_) = settings.server_name {
            settings.server_name = ExpectedName::Target;
        }
        let mut listed = ListedHosts { hosts, port, settings };
        listed.settings.place = SettingsPlace::Pattern { pattern: listed.to_string(), expects: has_own };
        let what = quote(&listed.to_string());
        let is_named = outbound::names_somebody(&listed.settings.expect);
        let has_no_name = matches!(listed.hosts, HostPattern::Network(_) | HostPattern::Host(Host::Ip(_)));
        let problem = match () {
            () if is_mixed => Some(Problem::new(
                format!("{what} is listed with a rule and without one, which lets anybody answer"),
                "write a rule behind each, or behind none",
            )),
            () if listed.settings.expect.contains(&Rule::Anonymous) => {
                Some(Problem::new("every server has a certificate", "name an app, or leave the rule out"))
            }
            () if has_no_name && !is_named => Some(Problem::new(
                format!("{what} has no name by which the server could be told from others"),
                "write =RULE behind it, such as =cf:app:GUID or =dns:NAME",
            )),
            () if listed.settings.server_name == ExpectedName::Unchecked && !is_named => Some(Problem::new(
                format!("no name is checked for {what}, and no identity either: anybody could answer"),
                "write =RULE behind it, or leave out --outbound-server-name off",
            )),
            () => None,
        };
        match problem {
            Some(problem) => Err(self.report(problem.at(place))),
            None => Ok(listed),
        }
    }
}
