//! Judges whom the app may dial through us; with `--connect`, by shaking hands with each.

use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;

use super::finding::{Findings, Subject};
use super::network;
use super::network::{NetworkCheck, PortHolder};
use crate::config::{
    Config, ForwardProxy, Host, HostPattern, IdentityUse, Listen, Network, Outbound, OutboundListen, OutboundSettings,
    PairSource, SettingsPlace, Target, Unlisted,
};
use crate::credentials::{InitialLoadError, OutboundSnapshot};
use crate::diagnostics::{LONGEST_LINE, bounded};
use crate::exit::{Exit, Fault};
use crate::outbound::{AddressRejection, AddressRules, EndpointProbe, METADATA, Probes, probe};
use crate::trust::who;

/// Judges each outbound. Nothing is opened and nobody is dialled unless `connects`.
///
/// # Errors
/// The runtime cannot be made.
pub(super) fn check(
    config: &Config,
    connects: bool,
    network: &NetworkCheck,
    holder: &dyn Fn(u64) -> Option<PortHolder>,
    found: &mut Findings,
) -> Result<(), Fault> {
    let Some(pair) = config.listeners.first().map(|listener| &listener.pair) else { return Ok(()) };
    for outbound in &config.outbounds {
        check_listen(&outbound.listen, (Subject::Outbound, "--outbound"), network, holder, found);
        check_port(&outbound.listen, found);
        let subject = format!("{} to {}", outbound.listen, outbound.name());
        let asked = if connects { ProbeState::Elsewhere } else { ProbeState::NotYet };
        let Some(snapshot) = check_trust(&subject, &outbound.settings, pair, asked, found) else { continue };
        if connects {
            connect(outbound, AddressRules::default(), snapshot, found)?;
        }
    }
    for doubt in config.outbound_doubts() {
        found.warning(Subject::Outbound, format!("{}: {}", doubt.place, doubt.what), doubt.help);
    }
    if let Some(proxy) = &config.forward_proxy {
        check_listen(&proxy.listen, (Subject::Outbound, "--forward-proxy"), network, holder, found);
        check_allowed(&proxy.allow_addresses, found);
        check_forward_proxy(proxy, pair, connects, found)?;
    }
    Ok(())
}

/// An app that is not told where to dial us does not find a port of the kernel's choice.
fn check_port(listen: &OutboundListen, found: &mut Findings) {
    if listen.tcp().iter().any(|addr| addr.port() == 0) {
        let what = format!("{listen}: the kernel chooses the port anew at every start, and the app is not told which");
        found.warning(Subject::Outbound, what, "write the port that the app dials");
    }
}

/// Whoever opens a network to the app seldom means the address in it at which the machine's credentials are had.
fn check_allowed(allowed: &[Network], found: &mut Findings) {
    for network in allowed.iter().filter(|network| !network.is_one_address()) {
        if let Some(metadata) = METADATA.iter().find(|ip| network.contains(**ip)) {
            let what = format!(
                "--forward-proxy-allow-address {network} lets whoever asks the proxy reach {metadata}, where clouds give out the machine's credentials"
            );
            found.warning(Subject::Outbound, what, "name the addresses alone that are meant");
        }
    }
}

/// Hosts that are listed by name are asked who they are; who is below a domain nobody knows.
fn check_forward_proxy(
    proxy: &ForwardProxy,
    pair: &PairSource,
    connects: bool,
    found: &mut Findings,
) -> Result<(), Fault> {
    let at = &proxy.listen;
    match proxy.unlisted {
        Unlisted::Refuse if proxy.listed.is_empty() => {
            let what = format!("{at} is a forward proxy that refuses every request: no server is listed");
            found.warning(Subject::Outbound, what, "add --forward-proxy-to \"*.apps.internal:61443\"");
        }
        Unlisted::Refuse => {}
        Unlisted::Tunnel => found.ok(
            Subject::Outbound,
            format!("{at} is a forward proxy that passes on requests for servers that are not listed, without our certificate"),
        ),
    }
    for dangling in proxy.dangling_mappings() {
        let becomes = match proxy.unlisted {
            Unlisted::Refuse => "is refused (403)",
            Unlisted::Tunnel => "is passed on without our certificate",
        };
        let what = format!(
            "forward proxy {at}: {dangling} leads to a port that is not listed, so what comes for it {becomes}"
        );
        found.warning(
            Subject::Outbound,
            what,
            format!("list {} by --forward-proxy-to, or correct --forward-proxy-map", dangling.dialled()),
        );
    }
    let rules = || AddressRules::guarded(Vec::new(), proxy.allow_addresses.clone());
    for listed in &proxy.listed {
        let subject = format!("forward proxy {at} to {listed}");
        if let HostPattern::Host(Host::Ip(ip)) = &listed.hosts
            && let Some(rejection) = rules().rejection(SocketAddr::new(*ip, listed.port))
        {
            let what = format!("{subject}: every request is refused (403), as {rejection}");
            let help = match rejection {
                AddressRejection::Loopback | AddressRejection::Own => {
                    format!("list another server, or add --forward-proxy-allow-address {ip}")
                }
                // Hardly anybody should.
                _ => "list another server".to_owned(),
            };
            found.warning(Subject::Outbound, what, help);
        }
        let asked = match &listed.hosts {
            HostPattern::Host(_) if connects => ProbeState::Elsewhere,
            HostPattern::Host(_) => ProbeState::NotYet,
            HostPattern::Below(_) | HostPattern::Network(_) if connects => ProbeState::Nobody,
            HostPattern::Below(_) | HostPattern::Network(_) => ProbeState::NobodyYet,
        };
        let Some(snapshot) = check_trust(&subject, &listed.settings, pair, asked, found) else { continue };
        if let HostPattern::Host(host) = &listed.hosts
            && connects
        {
            let to = vec![Target { host: host.clone(), port: listed.port }];
            let outbound = Outbound { listen: at.clone(), to, settings: listed.settings.clone() };
            connect(&outbound, rules(), snapshot, found)?;
        }
    }
    Ok(())
}

/// Whether a handshake with the servers of an outbound is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ProbeState {
    /// It is answered elsewhere.
    Elsewhere,
    /// `--connect` would answer it.
    NotYet,
    /// It would not: no server is named.
    NobodyYet,
    /// It does not, as no server is named.
    Nobody,
}

/// Judges where the app dials us, which `option` says and which belongs to `subject`.
pub(super) fn check_listen(
    listen: &OutboundListen,
    (subject, option): (Subject, &'static str),
    network: &NetworkCheck,
    holder: &dyn Fn(u64) -> Option<PortHolder>,
    found: &mut Findings,
) {
    match listen {
        OutboundListen::Unix(path) => {
            let folder = path.parent().filter(|folder| !folder.is_dir());
            if let Some(folder) = folder {
                let what = format!("{listen}: there is no folder {}", folder.display());
                found.problem(subject, what, "make it, or name another");
            }
            if std::fs::metadata(path).is_ok_and(|file| !file.file_type().is_socket()) {
                let what = format!("{listen}: there is a file or a folder that is no socket");
                found.problem(subject, what, "name another path");
            }
        }
        OutboundListen::Loopback(_) | OutboundListen::At(_) => {
            // The other family is only listened on where there is one.
            for addr in listen.tcp().into_iter().take(1) {
                network::check_listen(Listen::At(addr), option, network, holder, found);
            }
        }
    }
}

/// What would be served for `subject`, if there is something wrong with it that is not said elsewhere.
fn check_trust(
    subject: &str,
    settings: &OutboundSettings,
    pair: &PairSource,
    asked: ProbeState,
    found: &mut Findings,
) -> Option<OutboundSnapshot> {
    let snapshot = match OutboundSnapshot::load(pair, settings) {
        Ok(snapshot) => snapshot,
        // The pair is judged for itself.
        Err(error) if matches!(*error, InitialLoadError::Pair(_)) => return None,
        Err(error) => {
            let help = "correct --outbound-ca: until it can be read, nobody is dialled";
            found.problem(Subject::Outbound, format!("{subject}: {error}"), help);
            return None;
        }
    };
    let cas = snapshot.authenticator.anchors().cas().len();
    if cas == 0 {
        let what = format!(
            "{subject}: no CA vouches for servers, as none that has signed our certificate follows it in its file, and none of that name stands in $CF_SYSTEM_CERT_PATH"
        );
        found.problem(Subject::Outbound, what, "add the issuing CA to the file of --cert, or give --outbound-ca PATH");
        return None;
    }
    let cas = if cas == 1 { "1 CA".to_owned() } else { format!("{cas} CAs") };
    let more = match asked {
        ProbeState::Elsewhere => "",
        ProbeState::NotYet => "; --connect asks who does",
        ProbeState::NobodyYet => {
            "; it names no single server, so --connect does not ask who does: list one by its name for that"
        }
        ProbeState::Nobody => {
            "; nobody was asked, as it names no single server: add --forward-proxy-to NAME:PORT with one of them to ask that one"
        }
    };
    if settings.expects_anybody() {
        found.warning(
            Subject::Outbound,
            format!("{subject}: whoever has the name is believed, under {cas}{more}"),
            advise_rule(settings, &snapshot),
        );
    } else {
        let rules: Vec<_> = settings.expect.iter().map(ToString::to_string).collect();
        found.ok(Subject::Outbound, format!("{subject}: {} may answer, under {cas}{more}", rules.join(" or ")));
    }
    Some(snapshot)
}

/// How to say who may answer by `settings`, by a rule that a server of the same platform as the pair of `snapshot` can meet.
fn advise_rule(settings: &OutboundSettings, snapshot: &OutboundSnapshot) -> String {
    let is_cloud_foundry = snapshot.authenticator.own().is_some_and(|own| own.app.is_some());
    let (rule, why) = match is_cloud_foundry {
        true => ("cf:app:GUID", "a route can be mapped to another app"),
        false => ("dns:NAME, or uri:URI as SPIFFE has them", "the name that is dialled can lead elsewhere"),
    };
    match &settings.place {
        SettingsPlace::Options | SettingsPlace::Table { expects: false } => {
            format!("add --outbound-expect {rule}: {why}")
        }
        SettingsPlace::Table { expects: true } => {
            format!("let the key expect of its [[outbound]] table name somebody, as {rule}: {why}")
        }
        SettingsPlace::Pattern { pattern, .. } => format!("write --forward-proxy-to {pattern}={rule}: {why}"),
    }
}

fn connect(
    outbound: &Outbound,
    rules: AddressRules,
    snapshot: OutboundSnapshot,
    found: &mut Findings,
) -> Result<(), Fault> {
    let internal = |error: std::io::Error| Fault::new(Exit::Internal, format!("runtime cannot start: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(internal)?;
    let to = outbound.name();
    match runtime.block_on(probe(outbound, rules, snapshot)) {
        Err(error) => {
            let help =
                error.remedy().unwrap_or_else(|| "see whether it runs, and whether its name and port are right".into());
            found.problem(Subject::Outbound, format!("{to}: {error}"), help);
        }
        Ok(Probes { probes, left_out }) => {
            if left_out > 0 {
                let what = format!("{to} has {left_out} more addresses, of which none was asked");
                found.ok(Subject::Outbound, what);
            }
            for EndpointProbe { addr, result, has_asked } in probes {
                let at = if to == addr.to_string() { to.clone() } else { format!("{to} at {addr}") };
                match result {
                    Ok(server) => {
                        let rule = server.permit.as_ref().and_then(|permit| permit.rule());
                        let by = rule.map_or_else(|| "its name".to_owned(), ToString::to_string);
                        let who = bounded(LONGEST_LINE, format_args!("{}", who(&server.certificate)));
                        let retires = if server.is_retiring { ", and is about to stop" } else { "" };
                        let what = format!("{at} is {who}, who may answer by {by}{retires}");
                        if has_asked || outbound.settings.identity == IdentityUse::Never {
                            found.ok(Subject::Outbound, what);
                        } else {
                            let what =
                                format!("{what}; it has not asked for our certificate, so it does not know who calls");
                            let help = "nothing, if that is meant; else dial the port on which it asks for certificates: the platform's 61443 does not";
                            found.warning(Subject::Outbound, what, help);
                        }
                    }
                    Err(error) => {
                        found.problem(Subject::Outbound, format!("{at}: {error}"), error.remedy());
                    }
                }
            }
        }
    }
    Ok(())
}
