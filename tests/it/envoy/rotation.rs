//! One secret changes, and nothing else.

use std::fs;
use std::time::{Duration, Instant};

use rustls::HandshakeKind;

use super::{C2C, CONTEXT, GOROUTER, ID, SSH_PROXY, ending, mtls, talk, visit};
use crate::support::cell::Cell;
use crate::support::client::Ending;
use crate::support::credentials::{issue, issue_rsa};
use crate::support::diego::{Container, sds_pair};
use crate::support::platform::Platform;
use crate::support::{app, eventually};

#[test]
fn a_pair_that_rotates_alone_leaves_the_other_listeners_generation_and_tickets_alone() {
    for (changed, other) in [(ID, C2C), (C2C, ID)] {
        let cell = Cell::new(Container::default(), &[app::echo()]);
        let sidecar = cell.serving();
        let addrs = sidecar.addrs();
        let at = |name| if name == ID { addrs[0] } else { addrs[1] };
        // Each with a store of tickets of its own.
        let (here, there) = (cell.connector(), cell.connector());
        visit(&here, at(changed)).unwrap();
        let untouched = visit(&there, at(other)).unwrap().leaf();
        let mut running = visit(&cell.connector(), at(changed)).unwrap();

        let leaf = cell.rotate(changed);
        let line = sidecar.wait_for("certificate rotated");
        assert_eq!(line["pair"], changed);

        let client = visit(&here, at(changed)).unwrap();
        assert_eq!((client.tls.handshake_kind(), client.leaf()), (Some(HandshakeKind::Full), leaf));
        let client = visit(&there, at(other)).unwrap();
        assert_eq!((client.tls.handshake_kind(), client.leaf()), (Some(HandshakeKind::Resumed), untouched));
        talk(&mut running).unwrap();
        assert_eq!(sidecar.lines_of("certificate rotated").len(), 1);
    }
}

#[test]
fn a_name_that_is_taken_off_the_list_ends_that_clients_connections_and_no_others() {
    let platform = Platform::new();
    let mut cell = Cell::unwritten(mtls(), &[app::echo()]);
    cell.trusted = platform.bundle();
    cell.names = vec![GOROUTER, SSH_PROXY];
    cell.update();
    let sidecar = cell.serving();
    let addrs = sidecar.addrs();
    let (gorouter, ssh_proxy) =
        (platform.client(cell.connector(), GOROUTER), platform.client(cell.connector(), SSH_PROXY));
    let mut stays = visit(&gorouter, addrs[0]).unwrap();
    let mut goes = visit(&ssh_proxy, addrs[0]).unwrap();
    let mut anonymous = visit(&cell.connector(), addrs[1]).unwrap();

    cell.names = vec![GOROUTER];
    let began = Instant::now();
    cell.write_context();
    goes.receive_all();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    sidecar.access_log_entry("policy_changed");
    talk(&mut stays).unwrap();
    talk(&mut anonymous).unwrap();
    assert_eq!(ssh_proxy.alert(addrs[0]), rustls::AlertDescription::BadCertificate, "nor may it resume");
    visit(&gorouter, addrs[0]).unwrap();
    assert!(sidecar.lines_of("certificate rotated").is_empty(), "the pairs are the same");
}

#[test]
fn a_context_that_is_rewritten_slowly_in_place_ends_no_connection() {
    let platform = Platform::new();
    let mut cell = Cell::unwritten(mtls(), &[app::echo()]);
    cell.trusted = platform.bundle();
    cell.names = vec![GOROUTER, SSH_PROXY];
    cell.update();
    let sidecar = cell.serving();
    let addr = sidecar.addrs()[0];
    let mut stays = visit(&platform.client(cell.connector(), SSH_PROXY), addr).unwrap();
    let whole = fs::read_to_string(cell.secret(CONTEXT)).unwrap();
    // Without the second of its names it still reads as a document.
    let name = whole.lines().find(|line| line.contains(SSH_PROXY)).unwrap();
    let part = whole.replace(&format!("{name}\n"), "");
    fs::write(cell.secret(CONTEXT), part).unwrap();
    sidecar.signal("HUP");
    std::thread::sleep(Duration::from_millis(600));
    fs::write(cell.secret(CONTEXT), format!("# anew\n{whole}")).unwrap();
    // What is looked at next is in service when it says so.
    cell.rotate(ID);
    sidecar.wait_for("certificate rotated");
    talk(&mut stays).unwrap();
    assert!(sidecar.lines_of("client CAs and rules reloaded").is_empty());
    // For good, it counts.
    fs::write(cell.secret(CONTEXT), whole.replace(&format!("{name}\n"), "")).unwrap();
    stays.receive_all();
    sidecar.access_log_entry("policy_changed");
}

#[test]
fn a_broken_secret_keeps_the_last_good_one_and_says_so_once() {
    let platform = Platform::new();
    let mut cell = Cell::unwritten(mtls(), &[app::echo()]);
    cell.trusted = platform.bundle();
    cell.names = vec![GOROUTER];
    let (id, c2c) = cell.update();
    let mut sidecar = cell.serving();
    let addrs = sidecar.addrs();
    let gorouter = platform.client(cell.connector(), GOROUTER).afresh();
    let mut running = visit(&gorouter, addrs[0]).unwrap();
    let good = |name| fs::read_to_string(cell.secret(name)).unwrap();
    let (good_id, good_c2c) = (good(ID), good(C2C));
    let (chain, key) = (issue_rsa(&cell.spec).cert_pem, issue(&cell.spec).key_pem);
    for (name, text, said) in [
        (ID, good_id[..good_id.len() / 3].to_owned(), "sds-id-cert-and-key.yaml"),
        (ID, sds_pair(ID, &chain, &key), "the key does not belong to the certificate"),
        (C2C, String::new(), "the file is empty"),
        (CONTEXT, "resources: []\n".to_owned(), "found 0"),
    ] {
        cell.replace(name, &text);
        sidecar.wait_until(said, |line| {
            line["level"] == "warn" && line["error"].as_str().is_some_and(|error| error.contains(said))
        });
        assert_eq!(visit(&cell.connector().afresh(), addrs[1]).unwrap().leaf(), c2c, "{said}");
        assert_eq!(visit(&gorouter, addrs[0]).unwrap().leaf(), id, "{said}");
        talk(&mut running).unwrap();
    }
    fs::remove_file(cell.secret(C2C)).unwrap();
    visit(&cell.connector().afresh(), addrs[1]).unwrap();
    assert!(sidecar.is_running());
    cell.replace(C2C, &good_c2c);
    let (id, c2c) = cell.update();
    eventually("both new pairs", || {
        let shown = |connector, addr| visit(connector, addr).ok().map(|client| client.leaf());
        let both = (shown(&gorouter, addrs[0])?, shown(&cell.connector().afresh(), addrs[1])?);
        (both == (id.clone(), c2c.clone())).then_some(())
    });
    for line in sidecar.lines() {
        assert!(!line.to_string().contains("PRIVATE KEY-----"), "{line}");
    }
}

#[test]
fn hundreds_of_rotations_of_everything_under_load_fail_no_request() {
    let platform = Platform::new();
    let mut cell = Cell::unwritten(mtls(), &[app::echo()]);
    cell.trusted = platform.bundle();
    cell.names = vec![GOROUTER];
    cell.update();
    let sidecar = cell.serving();
    let addrs = sidecar.addrs();
    let gorouter = platform.client(cell.connector(), GOROUTER);
    let done = std::sync::atomic::AtomicBool::new(false);
    let served = std::thread::scope(|scope| {
        let load = |connector: crate::support::client::Connector, addr| {
            let done = &done;
            scope.spawn(move || {
                let mut served = 0;
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    visit(&connector, addr).unwrap();
                    served += 1;
                }
                served
            })
        };
        let clients = [load(gorouter.clone(), addrs[0]), load(cell.connector(), addrs[1])];
        let mut last = None;
        for _ in 0..100 {
            last = Some(cell.update());
        }
        let (id, c2c) = last.unwrap();
        let shows = |connector: &crate::support::client::Connector, addr, leaf| {
            eventually("the last pair", || (visit(connector, addr).ok()?.leaf() == leaf).then_some(()));
        };
        shows(&gorouter, addrs[0], id);
        shows(&cell.connector(), addrs[1], c2c);
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().unwrap()).sum::<usize>()
    });
    assert!(served > 10, "{served} requests are no load");
    assert!(sidecar.lines().iter().all(|line| line["level"] != "warn"), "{:#?}", sidecar.lines());
    let mut last = visit(&gorouter, addrs[0]).unwrap();
    last.close_notify();
    assert_eq!(ending(&mut last), Ending::CloseNotify);
}
