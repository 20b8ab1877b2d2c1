//! The first moments, and what is in the files by then.

use std::fs;
use std::io::Write;
use std::net::TcpStream;

use super::{C2C, CONTEXT, ID, mtls, visit};
use crate::support::app::App;
use crate::support::cell::Cell;
use crate::support::client::{Ending, read_to_end};
use crate::support::diego::Container;
use crate::support::{app, eventually};

#[test]
fn the_listeners_are_open_before_the_app_and_before_any_secret() {
    let cell = Cell::unwritten(mtls(), &[app::nobody()]);
    fs::write(cell.bootstrap(), cell.bootstrap_text()).unwrap();
    let mut sidecar = cell.listening();
    for addr in sidecar.addrs() {
        let mut tcp = TcpStream::connect(addr).unwrap();
        tcp.write_all(&cell.connector().hello()).unwrap();
        assert_eq!(read_to_end(&tcp), (Vec::new(), Ending::Reset));
    }
    sidecar.access_log_entry("no_credential");
    let open = sidecar.lines().iter().rposition(|line| line["message"] == "listening").unwrap();
    cell.update();
    eventually("both pairs", || (sidecar.lines_of("certificate loaded").len() == 2).then_some(()));
    let ready = sidecar.lines().iter().position(|line| line["message"] == "certificate loaded").unwrap();
    assert!(open < ready);
    assert!(sidecar.is_running());
}

#[test]
fn a_secret_that_is_missing_or_broken_at_the_start_is_served_as_soon_as_it_is_good() {
    let app = app::echo();
    for broken in [None, Some(""), Some("resources: []\n"), Some("resources:\n- name: [")] {
        let cell = Cell::new(Container::default(), &[app]);
        match broken {
            None => fs::remove_file(cell.secret(C2C)).unwrap(),
            Some(text) => fs::write(cell.secret(C2C), text).unwrap(),
        }
        let mut sidecar = cell.listening();
        sidecar.wait_for("certificate loaded");
        let addrs = sidecar.addrs();
        visit(&cell.connector(), addrs[0]).unwrap();
        assert!(cell.connector().connect(addrs[1]).is_err(), "{broken:?}");
        let leaf = cell.rotate(C2C);
        eventually("the pair", || Some(visit(&cell.connector(), addrs[1]).ok()?.leaf() == leaf).filter(|same| *same));
        assert!(sidecar.is_running());
        sidecar.wait_until("the second pair", |line| line["message"] == "certificate loaded" && line["pair"] == C2C);
        let ready: Vec<_> = sidecar.lines_of("certificate loaded").iter().map(|line| line["pair"].clone()).collect();
        assert_eq!(ready, [ID, C2C], "each pair is ready once");
    }
}

#[test]
fn while_the_roots_are_missing_nobody_is_let_in() {
    let cell = Cell::new(mtls(), &[app::echo()]);
    fs::remove_file(cell.secret(CONTEXT)).unwrap();
    let sidecar = cell.listening();
    sidecar.wait_for("certificate loaded");
    let addrs = sidecar.addrs();
    visit(&cell.connector(), addrs[1]).unwrap();
    assert!(cell.connector().connect(addrs[0]).is_err());
    sidecar.access_log_entry("no_credential");
}

#[test]
fn a_bootstrap_that_is_being_rewritten_at_the_start_is_awaited() {
    for torn in ["", "admin:\n  access_log: []\n"] {
        let cell = Cell::new(mtls(), &[app::echo()]);
        fs::write(cell.bootstrap(), torn).unwrap();
        let sidecar = cell.setup().start();
        fs::write(cell.bootstrap(), cell.bootstrap_text()).unwrap();
        cell.wait_for_listeners(&sidecar);
        sidecar.wait_for("certificate loaded");
    }
}

#[test]
fn what_becomes_of_the_bootstrap_after_the_start_changes_nothing() {
    let cell = Cell::new(Container::default(), &[app::echo()]);
    let mut sidecar = cell.serving();
    let half = &cell.bootstrap_text()[..cell.bootstrap_text().len() / 2];
    let refused = cell.bootstrap_text().replace("type: STATIC", "type: LOGICAL_DNS");
    for (nth, text) in ["", half, "\u{0}\u{1}: [", &refused].into_iter().enumerate() {
        fs::write(cell.bootstrap(), text).unwrap();
        // The folder has been looked at after that.
        let leaf = cell.rotate(ID);
        eventually("the new pair", || (sidecar.lines_of("certificate rotated").len() == nth + 1).then_some(()));
        let addrs = sidecar.addrs();
        assert_eq!(visit(&cell.connector(), addrs[0]).unwrap().leaf(), leaf);
        visit(&cell.connector(), addrs[1]).unwrap();
    }
    fs::remove_file(cell.bootstrap()).unwrap();
    visit(&cell.connector(), sidecar.addr()).unwrap();
    assert!(sidecar.is_running());
    assert!(
        sidecar.lines().iter().all(|line| line["level"] != "warn" && line["level"] != "error"),
        "{:#?}",
        sidecar.lines()
    );
}

#[test]
fn nothing_that_becomes_of_the_folder_ends_it() {
    let cell = Cell::new(Container::default(), &[app::echo()]);
    let mut sidecar = cell.serving();
    fs::remove_dir_all(cell.dir()).unwrap();
    sidecar.wait_until("a word about it", |line| line["level"] == "warn");
    for addr in sidecar.addrs() {
        visit(&cell.connector(), addr).unwrap();
    }
    fs::create_dir(cell.dir()).unwrap();
    let leaf = cell.rotate(ID);
    eventually("the new pair", || (visit(&cell.connector(), sidecar.addr()).ok()?.leaf() == leaf).then_some(()));
    assert!(sidecar.is_running());
}

#[test]
fn health_checks_reach_no_app_and_leave_no_line() {
    let app = App::start();
    let cell = Cell::new(Container { ports: &[8080, 2222], ..Container::default() }, &[app.addr(), app.addr()]);
    let sidecar = cell.serving();
    for addr in sidecar.addrs() {
        for _ in 0..100 {
            drop(TcpStream::connect(addr).unwrap());
        }
    }
    // One that says something, behind all of them.
    let mut client = cell.connector().connect(sidecar.addr()).unwrap();
    client.send(b"x").unwrap();
    std::io::Read::read_exact(&mut app.accept(), &mut [0; 1]).unwrap();
    assert_eq!(app.unaccepted(), 0, "no other connection has reached the app");
    let probes = sidecar.lines().into_iter().filter(|line| line["close_reason"] == "probe" && line["level"] != "debug");
    assert_eq!(probes.count(), 0);
}
