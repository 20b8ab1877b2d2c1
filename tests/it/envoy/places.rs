//! Machines and containers of all kinds.

use std::process::Command;

use super::{ID, visit};
use crate::support::cell::Cell;
use crate::support::diego::Container;
use crate::support::machine::lacks;
use crate::support::sidecar::{Setup, Sidecar, VESTIBULE};
use crate::support::{app, eventually};

/// Whether a user namespace of one's own may be had here.
fn namespaces_are_permitted() -> bool {
    let permitted = Command::new("unshare").args(["--user", "--map-root-user", "true"]).status();
    let permitted = permitted.is_ok_and(|status| status.success());
    if !permitted {
        lacks("user namespaces");
    }
    permitted
}

/// Starts the proxy by `script`, in which `$0` is its whole command, as uid 0 of a user namespace of its own.
fn in_a_namespace(cell: &Cell, script: &str) -> Sidecar {
    let bootstrap = cell.bootstrap();
    let command = format!("{VESTIBULE} envoy -c {} --log-level debug", bootstrap.display());
    let script = script.replace("$0", &command);
    let sidecar = Setup::program("unshare", &["--user", "--map-root-user", "sh", "-c", &script]).start();
    cell.wait_for_listeners(&sidecar);
    sidecar.wait_for("certificate loaded");
    sidecar
}

fn serves_and_rotates(cell: &Cell, sidecar: &Sidecar) {
    visit(&cell.connector(), sidecar.addr()).unwrap();
    let leaf = cell.rotate(ID);
    let connector = cell.connector().afresh();
    eventually("the new pair", || (visit(&connector, sidecar.addr()).ok()?.leaf() == leaf).then_some(()));
}

#[test]
fn uid_0_of_a_user_namespace_without_any_capability_is_enough() {
    if !namespaces_are_permitted() {
        return;
    }
    let cell = Cell::new(Container::default(), &[app::echo()]);
    let sidecar = in_a_namespace(&cell, "exec setpriv --bounding-set=-all --inh-caps=-all --no-new-privs $0");
    let status = std::fs::read_to_string(format!("/proc/{}/status", sidecar.pid())).unwrap();
    assert!(status.contains("CapEff:\t0000000000000000"), "{status}");
    serves_and_rotates(&cell, &sidecar);
}

#[test]
fn without_inotify_the_secrets_are_polled() {
    if !namespaces_are_permitted() {
        return;
    }
    let cell = Cell::new(Container::default(), &[app::echo()]);
    let sidecar = in_a_namespace(&cell, "echo 0 > /proc/sys/user/max_inotify_instances || exit 99; exec $0");
    sidecar.wait_until("a word about polling", |line| {
        line["message"].as_str().is_some_and(|message| message.starts_with("inotify unavailable"))
    });
    serves_and_rotates(&cell, &sidecar);
}

#[test]
fn listeners_and_app_may_have_ipv6_addresses() {
    let Ok(app) = std::net::TcpListener::bind("[::1]:0") else {
        return lacks("IPv6");
    };
    let mut cell = Cell::unwritten(Container::default(), &[app.local_addr().unwrap()]);
    cell.edit("address: 127.0.0.1", "address: '::1'");
    cell.update();
    let sidecar = cell.serving();
    for addr in sidecar.addrs() {
        assert!(addr.is_ipv6(), "{addr}");
        let mut client = cell.connector().connect(addr).unwrap();
        client.send(b"x").unwrap();
        let (mut app_end, from) = app.accept().unwrap();
        assert!(from.is_ipv6());
        std::io::Read::read_exact(&mut app_end, &mut [0; 1]).unwrap();
    }
    serves_nothing_else(&cell, &sidecar);
}

/// Its addresses are those of the file. On another of the same port somebody else may well listen, but with another certificate.
fn serves_nothing_else(cell: &Cell, sidecar: &Sidecar) {
    for addr in sidecar.addrs() {
        assert!(cell.connector().connect(([127, 0, 0, 1], addr.port()).into()).is_err(), "{addr}");
    }
}
