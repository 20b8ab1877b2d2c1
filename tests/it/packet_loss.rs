//! A network that loses packets between clients and us.

use std::path::Path;
use std::process::Command;

use crate::support::client::{Ending, connector};
use crate::support::credentials::Credentials;
use crate::support::machine::{can, in_namespaces, lacks};
use crate::support::sidecar::Setup;
use crate::support::{app, eventually};

/// Bytes each way.
const BYTES: usize = 200_000;

#[test]
fn what_is_carried_over_a_network_that_loses_packets_arrives_whole_and_ends_as_meant() {
    let test = "packet_loss::what_is_carried_over_a_network_that_loses_packets_arrives_whole_and_ends_as_meant";
    let loses = ["-m", "statistic", "--mode", "random", "--probability", "0.05", "-j", "DROP"];
    let rule = [&["unshare", "--user", "--map-root-user", "--net", "iptables", "-A", "INPUT"][..], &loses].concat();
    if !can(&rule) {
        return lacks("iptables");
    }
    if !in_namespaces(test, &["--net"], "ip link set lo up", Path::new("/")) {
        return;
    }
    let credentials = Credentials::new();
    let mut sidecar = Setup::proxy(&credentials, app::echo()).ready();
    // On the way of clients alone: the app is on this machine.
    let port = sidecar.addr().port().to_string();
    for end in ["--dport", "--sport"] {
        let mut iptables = Command::new("iptables");
        iptables.args(["-A", "INPUT", "-p", "tcp", end, &port]).args(loses);
        assert!(iptables.status().unwrap().success());
    }
    let connector = connector(credentials.instance());
    let clients: Vec<_> = (0..4_u8)
        .map(|number| {
            let (connector, addr) = (connector.clone(), sidecar.addr());
            std::thread::spawn(move || {
                let mut client = connector.connect(addr).unwrap();
                let sent: Vec<u8> = (0..BYTES).map(|at| (at as u8).wrapping_mul(31) ^ number).collect();
                let mut heard = Vec::new();
                for part in sent.chunks(20_000) {
                    client.send(part).unwrap();
                    heard.extend(client.receive(part.len()).unwrap());
                }
                client.close_notify();
                assert!(heard == sent, "client {number}");
                assert_eq!(client.receive_all(), (Vec::new(), Ending::CloseNotify), "client {number}");
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    let entries = eventually("the entries", || {
        let lines = sidecar.lines();
        let entries = lines.into_iter().filter(|line| line["close_reason"] == "completed").collect::<Vec<_>>();
        (entries.len() == 4).then_some(entries)
    });
    for entry in entries {
        assert_eq!((&entry["bytes_up"], &entry["bytes_down"]), (&BYTES.into(), &BYTES.into()), "{entry}");
    }
    sidecar.signal("TERM");
    assert_eq!(sidecar.exited().code(), Some(0));
}
