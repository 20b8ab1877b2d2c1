//! Judges the admin listener: whether it can be opened, and who else reaches it.

use std::net::SocketAddr;

use strum::VariantArray;

use super::finding::{Findings, Subject};
use super::network::{NetworkCheck, PortHolder, collides};
use crate::config::{Admin, AdminAction, AdminAddr, Config, Listen};

const ELSEWHERE: &str = "choose another --admin, or off";

/// Judges `config.admin`. `holder` finds out who holds a socket, and `folder_exists` whether that of a Unix socket is there.
pub(super) fn check(
    config: &Config,
    network: &NetworkCheck,
    holder: &dyn Fn(u64) -> Option<PortHolder>,
    folder_exists: bool,
    found: &mut Findings,
) {
    let Some(admin) = &config.admin else {
        return found.ok(Subject::Admin, "off: neither health nor anything else can be asked for");
    };
    match &admin.addr {
        AdminAddr::Unix(_) if folder_exists => found.ok(Subject::Admin, format!("{} can be opened", admin.addr)),
        AdminAddr::Unix(_) => {
            let what = format!("{}: there is no such folder", admin.addr);
            found.problem(Subject::Admin, what, format!("make it, or {ELSEWHERE}"));
        }
        AdminAddr::Tcp(addr) => {
            check_address(config, admin, *addr, network, holder, found);
            check_reach(admin, *addr, found);
        }
    }
}

fn check_address(
    config: &Config,
    admin: &Admin,
    addr: SocketAddr,
    network: &NetworkCheck,
    holder: &dyn Fn(u64) -> Option<PortHolder>,
    found: &mut Findings,
) {
    let port = addr.port();
    let listens = |listen: Listen| {
        let (ip, taken) = match listen {
            Listen::EveryAddress(port) => (None, port),
            Listen::At(at) => (Some(at.ip()), at.port()),
        };
        port != 0 && collides(ip, taken, addr)
    };
    // We open it before the app starts.
    let is_the_apps = config.is_where_an_app_listens(addr);
    let taken = network.listening.iter().find(|socket| port != 0 && collides(Some(addr.ip()), port, socket.addr));
    let said = match taken.map(|socket| (socket, holder(socket.inode))) {
        _ if config.listeners.iter().any(|listener| listens(listener.listen)) => {
            format!("{addr} is the address of a listener too")
        }
        _ if is_the_apps => format!("{addr} is the app's address too"),
        _ if !network.is_local(addr.ip()) => format!("{addr}: this machine has no address {}", addr.ip()),
        None => return found.ok(Subject::Admin, format!("{addr} is free")),
        Some((_, Some(PortHolder { pid, ours: true, .. }))) => {
            return found.ok(Subject::Admin, format!("{addr}: vestibule listens there already, as process {pid}"));
        }
        Some((_, Some(PortHolder { pid, name, .. }))) => format!("{addr}: {name}, process {pid}, listens there"),
        Some((socket, None)) => format!("{addr}: another program listens on {}", socket.addr),
    };
    if admin.explicit {
        found.problem(Subject::Admin, said, ELSEWHERE);
    } else {
        // The default steps aside.
        found.warning(Subject::Admin, format!("{said}: cannot bind admin address, and would go on without"), ELSEWHERE);
    }
}

fn check_reach(admin: &Admin, addr: SocketAddr, found: &mut Findings) {
    if addr.ip().is_loopback() {
        return;
    }
    let actions: Vec<_> = AdminAction::VARIANTS
        .iter()
        .filter(|action| admin.actions.contains(action))
        .map(|action| action.as_str())
        .collect();
    let what = match actions.as_slice() {
        [] => format!("{addr}: other hosts can ask there how this instance is"),
        actions => format!("{addr}: other hosts can ask there for {}", actions.join(", ")),
    };
    found.warning(Subject::Admin, what, "listen on 127.0.0.1 or unix:/PATH, or see that nobody else reaches it");
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::path::Path;

    use crate::config::resolve::resolve;
    use crate::config::sources::{Environment, Sources};
    use crate::sys::socket_tables::ListeningSocket;

    /// What is said of `--admin`, with an app on 8080 and a listener on 8443, where somebody listens on 9901 already.
    fn admin(flags: &[(&'static str, &str)], holder: Option<PortHolder>) -> String {
        let flags: Vec<_> = flags.iter().map(|(name, value)| (*name, (*value).into())).collect();
        let config = resolve(&Sources {
            flags: &flags,
            environment: &Environment::new(),
            read_file: &|_: &Path| Ok(String::new()),
            starts_app: true,
            cpus: 1,
        })
        .unwrap();
        let network = NetworkCheck {
            listening: vec![ListeningSocket { addr: "127.0.0.1:9901".parse().unwrap(), inode: 7 }],
            local: ["127.0.0.1", "10.255.1.2"].map(|ip| ip.parse().unwrap()).to_vec(),
            first_open_port: 1024,
        };
        let mut found = Findings::default();
        check(&config, &network, &|_| holder.clone(), false, &mut found);
        found.to_text()
    }

    fn holder(ours: bool) -> Option<PortHolder> {
        Some(PortHolder { pid: 17, name: "envoy".to_owned(), ours })
    }

    #[test]
    fn an_address_that_is_taken_is_a_problem_if_it_was_asked_for_and_else_a_warning() {
        assert_eq!(
            admin(&[], holder(false)),
            "warning  admin         127.0.0.1:9901: envoy, process 17, listens there: cannot bind admin address, and would go on without; choose another --admin, or off\n"
        );
        assert_eq!(
            admin(&[("admin", "9901")], None),
            "problem  admin         127.0.0.1:9901: another program listens on 127.0.0.1:9901; choose another --admin, or off\n"
        );
        assert_eq!(
            admin(&[], holder(true)),
            "ok       admin         127.0.0.1:9901: vestibule listens there already, as process 17\n"
        );
        assert_eq!(admin(&[("admin", "9902")], None), "ok       admin         127.0.0.1:9902 is free\n");
    }

    #[test]
    fn an_address_that_a_listener_or_the_app_needs_is_a_problem() {
        assert_eq!(
            admin(&[("listen", "127.0.0.1:9901")], None),
            "warning  admin         127.0.0.1:9901 is the address of a listener too: cannot bind admin address, and would go on without; choose another --admin, or off\n"
        );
        assert_eq!(
            admin(&[("app", "9901")], None),
            "warning  admin         127.0.0.1:9901 is the app's address too: cannot bind admin address, and would go on without; choose another --admin, or off\n"
        );
        assert_eq!(
            admin(&[("admin", "10.0.0.9:9900")], None).lines().next().unwrap(),
            "problem  admin         10.0.0.9:9900: this machine has no address 10.0.0.9; choose another --admin, or off"
        );
    }

    #[test]
    fn who_else_can_ask_is_told() {
        let said = admin(&[("admin", "10.255.1.2:9902")], None);
        assert_eq!(
            said.lines().nth(1).unwrap(),
            "warning  admin         10.255.1.2:9902: other hosts can ask there how this instance is; \
             listen on 127.0.0.1 or unix:/PATH, or see that nobody else reaches it"
        );
        let said = admin(&[("admin", "0.0.0.0:9902"), ("admin-actions", "drain"), ("admin-actions", "reload")], None);
        assert!(said.contains("0.0.0.0:9902: other hosts can ask there for drain, reload; "), "{said}");
    }

    #[test]
    fn a_unix_socket_needs_its_folder() {
        assert_eq!(
            admin(&[("admin", "unix:/none/a.sock")], None),
            "problem  admin         unix:/none/a.sock: there is no such folder; make it, or choose another --admin, or off\n"
        );
        assert_eq!(
            admin(&[("admin", "off")], None),
            "ok       admin         off: neither health nor anything else can be asked for\n"
        );
    }
}
