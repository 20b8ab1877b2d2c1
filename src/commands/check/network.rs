//! Judges the addresses: those that we would open, and the app's.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::finding::{Findings, Subject};
use crate::commands::text;
use crate::config::{AppAddr, Listen, Listener};
use crate::sys::socket_tables;
use crate::sys::socket_tables::ListeningSocket;

/// What the kernel says about addresses.
#[derive(Debug, Default)]
pub(super) struct NetworkCheck {
    /// What listens in this network namespace.
    pub(super) listening: Vec<ListeningSocket>,
    /// The addresses of this machine; empty when they are not known.
    pub(super) local: Vec<IpAddr>,
    /// Ports below this one need a capability that we do not have; 0 when all may be opened.
    pub(super) first_open_port: u16,
}

/// Who holds a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PortHolder {
    pub(super) pid: u32,
    /// The program's name.
    pub(super) name: String,
    /// The program is this very one.
    pub(super) ours: bool,
}

/// What came of dialling the app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AppDialResult {
    Accepted,
    Refused,
    /// No answer within this time.
    TimedOut(Duration),
    /// The Unix socket's file does not exist.
    NoSocket,
    /// The Unix socket, or the way to it, is not ours to use.
    NotPermitted,
    /// Something else, as the kernel names it.
    Failed(String),
}

/// Judges whether `listen`, which `option` gives, could be opened. `holder` finds out who holds a socket.
pub(super) fn check_listen(
    listen: Listen,
    option: &str,
    network: &NetworkCheck,
    holder: &dyn Fn(u64) -> Option<PortHolder>,
    found: &mut Findings,
) {
    let (ip, port) = match listen {
        Listen::EveryAddress(port) => (None, port),
        Listen::At(addr) if addr.ip().is_unspecified() && addr.is_ipv6() => (None, addr.port()),
        Listen::At(addr) => (Some(addr.ip()), addr.port()),
    };
    if port == 0 {
        return found.ok(Subject::Listen, format!("{listen}: the kernel chooses a free port"));
    }
    if let Some(ip) = ip
        && !network.is_local(ip)
    {
        let what = format!("{listen}: this machine has no address {ip}");
        return found.problem(Subject::Listen, what, format!("listen on one of its own, or on all of them: {port}"));
    }
    if let Some(taken) = network.listening.iter().find(|socket| collides(ip, port, socket.addr)) {
        return check_taken(listen, option, taken, holder(taken.inode), found);
    }
    if port < network.first_open_port {
        let what = format!("{listen}: ports below {} need CAP_NET_BIND_SERVICE", network.first_open_port);
        return found.problem(Subject::Listen, what, "choose a higher port, such as 8443, or grant the capability");
    }
    found.ok(Subject::Listen, format!("{listen} is free"));
}

fn check_taken(
    listen: Listen,
    option: &str,
    taken: &ListeningSocket,
    holder: Option<PortHolder>,
    found: &mut Findings,
) {
    let addr = taken.addr;
    match holder {
        // The check is also run beside a proxy that works.
        Some(PortHolder { pid, ours: true, .. }) => {
            found.ok(Subject::Listen, format!("{listen}: vestibule listens there already, as process {pid}"));
        }
        Some(PortHolder { pid, name, .. }) => found.problem(
            Subject::Listen,
            format!("{listen}: {name}, process {pid}, listens on {addr}"),
            format!("stop it, or choose another {option}"),
        ),
        None => found.problem(
            Subject::Listen,
            format!("{listen}: another program listens on {addr}"),
            format!("stop it, or choose another {option}"),
        ),
    }
}

/// Whether the kernel would refuse to listen on `ip` (`None`: every address, of IPv6 and IPv4) beside `other`.
pub(super) fn collides(ip: Option<IpAddr>, port: u16, other: SocketAddr) -> bool {
    let taken = other.ip().to_canonical();
    other.port() == port
        && match ip {
            None => true,
            // A listener on `[::]` usually takes IPv4 as well; the table does not say.
            Some(ip) if taken.is_unspecified() => taken.is_ipv6() || ip.is_ipv4(),
            Some(ip) if ip.is_unspecified() => ip.is_ipv4() == taken.is_ipv4(),
            Some(ip) => ip == taken,
        }
}

impl NetworkCheck {
    pub(super) fn is_local(&self, ip: IpAddr) -> bool {
        self.local.is_empty() || ip.is_unspecified() || ip.is_loopback() && ip.is_ipv4() || self.local.contains(&ip)
    }
}

/// Judges whether the app can be reached by us, and by whom else.
pub(super) fn check_app(app: &AppAddr, dialled: &AppDialResult, network: &NetworkCheck, found: &mut Findings) {
    let start = "start the app";
    let said = match dialled {
        AppDialResult::Accepted => {
            found.ok(Subject::App, format!("{app} accepts connections"));
            None
        }
        AppDialResult::Refused => Some(match elsewhere(app, network) {
            Some(addr) => (
                format!("{app}: nobody listens there, but something does on {addr}"),
                format!("give --app {addr} if that is the app"),
            ),
            None => (
                format!("{app}: nobody listens there now"),
                format!("{start}, or give --app or PORT the address on which it listens"),
            ),
        }),
        AppDialResult::TimedOut(limit) => Some((
            format!("{app}: no answer within {}", text::duration(*limit)),
            "see whether the app is stuck, or raise --connect-timeout".to_owned(),
        )),
        AppDialResult::NoSocket => Some((
            format!("{app}: there is no such socket now"),
            format!("{start}, or give --app the path on which it listens"),
        )),
        AppDialResult::NotPermitted => Some((
            format!("{app}: this user may not connect to it"),
            "have the app make the socket writable for this user".to_owned(),
        )),
        AppDialResult::Failed(error) => {
            Some((format!("{app}: cannot be reached: {error}"), format!("{start}, or correct --app")))
        }
    };
    // Not a problem: the app may simply not have been started yet.
    if let Some((what, help)) = said {
        found.warning(Subject::App, what, help);
    }
    if let Some(addr) = app.tcp().first() {
        check_exposure(*addr, network, found);
    }
}

/// Judges what is told in front of the bytes (PROXY protocol): who is believed, and who may be believed wrongly.
pub(super) fn check_proxy_protocol(listener: &Listener, network: &NetworkCheck, found: &mut Findings) {
    if let Some(everybody) = listener.accept_proxy_protocol.iter().find(|network| network.is_everybody()) {
        let what = format!(
            "{}: --accept-proxy-protocol {everybody} lets every client choose its own address",
            listener.listen
        );
        found.warning(Subject::Listen, what, "list the load balancers alone");
    }
    let Some(version) = listener.proxy_protocol else { return };
    let app = &listener.app;
    let version: &str = version.into();
    found.ok(Subject::App, format!("{app} has to expect a PROXY header: --proxy-protocol {version}"));
    if let Some(addr) = app.tcp().first()
        && let Some(open) = exposed(*addr, network)
    {
        let what = format!("whoever reaches the app on {open} may tell it any address, as we do by --proxy-protocol");
        found.warning(Subject::App, what, format!("have it listen on 127.0.0.1:{} alone", addr.port()));
    }
}

/// A listening socket with the app's port on another address.
fn elsewhere(app: &AppAddr, network: &NetworkCheck) -> Option<SocketAddr> {
    socket_tables::elsewhere(&app.tcp(), network.listening.iter().map(|socket| socket.addr))
}

/// Whoever reaches the app past us meets neither TLS nor any check.
fn check_exposure(app: SocketAddr, network: &NetworkCheck, found: &mut Findings) {
    let here = app.ip().is_loopback() || network.local.contains(&app.ip());
    if !here && !network.local.is_empty() {
        let what = format!("{app} is another machine's: plaintext leaves this one");
        return found.warning(Subject::App, what, "run the proxy beside the app");
    }
    if let Some(socket) = exposed(app, network) {
        found.warning(
            Subject::App,
            format!("the app listens on {socket}, where other hosts reach it in plaintext"),
            format!("have it listen on 127.0.0.1:{} alone", app.port()),
        );
    }
}

/// A socket of the app's that other hosts reach.
fn exposed(app: SocketAddr, network: &NetworkCheck) -> Option<SocketAddr> {
    let open =
        network.listening.iter().map(|socket| SocketAddr::new(socket.addr.ip().to_canonical(), socket.addr.port()));
    let mut open = open.filter(|socket| socket.port() == app.port() && !socket.ip().is_loopback());
    open.find(|socket| socket.ip().is_unspecified() || socket.ip() == app.ip())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ProxyProtocol;

    use std::time::Duration;

    use crate::config::{ClientAuthConfig, Dial, PairFiles, PairSource, TlsSettings};

    fn network(listening: &[&str]) -> NetworkCheck {
        NetworkCheck {
            listening: listening.iter().map(|addr| ListeningSocket { addr: addr.parse().unwrap(), inode: 7 }).collect(),
            local: ["127.0.0.1", "::1", "10.255.1.2"].map(|ip| ip.parse().unwrap()).to_vec(),
            first_open_port: 1024,
        }
    }

    fn listen(listen: &str, listening: &[&str], holder: Option<PortHolder>) -> String {
        let listen = crate::config::values::listen(listen).unwrap();
        let mut found = Findings::default();
        check_listen(listen, "--listen", &network(listening), &|_| holder.clone(), &mut found);
        found.to_text()
    }

    fn app(app: &str, dialled: &AppDialResult, listening: &[&str]) -> String {
        let mut found = Findings::default();
        check_app(&crate::config::values::app(app).unwrap(), dialled, &network(listening), &mut found);
        found.to_text()
    }

    #[test]
    fn an_address_that_is_taken_names_who_holds_it() {
        let nginx = PortHolder { pid: 17, name: "nginx".to_owned(), ours: false };
        assert_eq!(
            listen("8443", &["0.0.0.0:8443"], Some(nginx)),
            "problem  listen        [::]:8443: nginx, process 17, listens on 0.0.0.0:8443; stop it, or choose another --listen\n"
        );
        assert_eq!(
            listen("127.0.0.1:8443", &["[::]:8443"], None),
            "problem  listen        127.0.0.1:8443: another program listens on [::]:8443; stop it, or choose another --listen\n"
        );
    }

    #[test]
    fn a_proxy_that_runs_already_is_no_problem() {
        let ours = PortHolder { pid: 17, name: "vestibule".to_owned(), ours: true };
        assert_eq!(
            listen("8443", &["[::]:8443"], Some(ours)),
            "ok       listen        [::]:8443: vestibule listens there already, as process 17\n"
        );
    }

    #[test]
    fn sockets_that_do_not_collide_leave_the_address_free() {
        for (address, listening) in [
            ("8443", "127.0.0.1:8080"),
            ("127.0.0.1:8443", "10.255.1.2:8443"),
            ("0.0.0.0:8443", "[::1]:8443"),
            ("[::1]:8443", "0.0.0.0:8443"),
        ] {
            let said = listen(address, &[listening], None);
            assert!(said.starts_with("ok       listen ") && said.ends_with(" is free\n"), "{address}: {said}");
        }
    }

    #[test]
    fn a_port_that_needs_a_capability_is_told_before_the_kernel_refuses_it() {
        assert_eq!(
            listen("443", &[], None),
            "problem  listen        [::]:443: ports below 1024 need CAP_NET_BIND_SERVICE; choose a higher port, such as 8443, or grant the capability\n"
        );
    }

    #[test]
    fn an_address_of_another_machine_cannot_be_opened() {
        assert_eq!(
            listen("10.0.0.9:8443", &[], None),
            "problem  listen        10.0.0.9:8443: this machine has no address 10.0.0.9; listen on one of its own, or on all of them: 8443\n"
        );
    }

    #[test]
    fn an_app_that_cannot_be_reached_is_a_warning_with_its_cause() {
        for (address, dialled, expected) in [
            (
                "8080",
                AppDialResult::Refused,
                "warning  app           127.0.0.1:8080: nobody listens there now; start the app, or give --app or PORT the address on which it listens\n",
            ),
            (
                "8080",
                AppDialResult::TimedOut(Duration::from_secs(1)),
                "warning  app           127.0.0.1:8080: no answer within 1s; see whether the app is stuck, or raise --connect-timeout\n",
            ),
            (
                "unix:/run/app.sock",
                AppDialResult::NoSocket,
                "warning  app           unix:/run/app.sock: there is no such socket now; start the app, or give --app the path on which it listens\n",
            ),
            (
                "unix:/run/app.sock",
                AppDialResult::NotPermitted,
                "warning  app           unix:/run/app.sock: this user may not connect to it; have the app make the socket writable for this user\n",
            ),
            (
                "8080",
                AppDialResult::Failed("network is down".to_owned()),
                "warning  app           127.0.0.1:8080: cannot be reached: network is down; start the app, or correct --app\n",
            ),
        ] {
            assert_eq!(app(address, &dialled, &[]), expected);
        }
    }

    #[test]
    fn an_app_on_another_address_is_named() {
        assert_eq!(
            app("8080", &AppDialResult::Refused, &["[::1]:8080"]),
            "warning  app           127.0.0.1:8080: nobody listens there, but something does on [::1]:8080; give --app [::1]:8080 if that is the app\n"
        );
    }

    #[test]
    fn an_app_that_other_hosts_reach_is_named_and_one_on_loopback_is_not() {
        assert_eq!(
            app("8080", &AppDialResult::Accepted, &["0.0.0.0:8080"]),
            "ok       app           127.0.0.1:8080 accepts connections\n\
             warning  app           the app listens on 0.0.0.0:8080, where other hosts reach it in plaintext; have it listen on 127.0.0.1:8080 alone\n"
        );
        assert_eq!(
            app("8080", &AppDialResult::Accepted, &["127.0.0.1:8080", "0.0.0.0:9090"]),
            "ok       app           127.0.0.1:8080 accepts connections\n"
        );
    }

    fn announced(proxy_protocol: Option<ProxyProtocol>, accept: &[&str], listening: &[&str]) -> String {
        let listener = Listener {
            listen: Listen::EveryAddress(8443),
            app: AppAddr::Tcp("127.0.0.1:8080".parse().unwrap()),
            connect_timeout: Duration::from_secs(1),
            pair: PairSource::Files(PairFiles { cert: "/c/tls.crt".into(), key: "/c/tls.key".into() }),
            tls: TlsSettings::default(),
            clients: ClientAuthConfig::None,
            dial: Dial::BeforeHandshake,
            proxy_protocol,
            accept_proxy_protocol: accept.iter().map(|text| crate::config::values::network(text).unwrap()).collect(),
            http: None,
            plaintext: None,
        };
        let mut found = Findings::default();
        check_proxy_protocol(&listener, &network(listening), &mut found);
        found.to_text()
    }

    #[test]
    fn a_client_that_may_choose_its_own_address_is_a_warning() {
        for everybody in ["0.0.0.0/0", "::/0"] {
            assert_eq!(
                announced(None, &["10.0.0.0/8", everybody], &[]),
                format!(
                    "warning  listen        [::]:8443: --accept-proxy-protocol {everybody} lets every client choose its own address; list the load balancers alone\n"
                )
            );
        }
        assert_eq!(announced(None, &["10.0.0.0/8", "192.0.2.1"], &[]), "");
    }

    #[test]
    fn an_app_that_others_may_lie_to_is_a_warning() {
        let expects = "ok       app           127.0.0.1:8080 has to expect a PROXY header: --proxy-protocol v1\n";
        assert_eq!(announced(Some(ProxyProtocol::V1), &[], &["127.0.0.1:8080"]), expects);
        assert_eq!(
            announced(Some(ProxyProtocol::V1), &[], &["0.0.0.0:8080"]),
            format!(
                "{expects}warning  app           whoever reaches the app on 0.0.0.0:8080 may tell it any address, as we do by --proxy-protocol; have it listen on 127.0.0.1:8080 alone\n"
            )
        );
    }

    #[test]
    fn an_app_on_another_machine_means_plaintext_on_the_wire() {
        assert_eq!(
            app("10.0.0.9:8080", &AppDialResult::Accepted, &[]),
            "ok       app           10.0.0.9:8080 accepts connections\n\
             warning  app           10.0.0.9:8080 is another machine's: plaintext leaves this one; run the proxy beside the app\n"
        );
    }
}
