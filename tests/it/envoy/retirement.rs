//! The platform's sign that the instance is about to stop, which is a pair without a name.

use std::io::{Read, Write};
use std::time::Duration;

use super::{GOROUTER, ending, mtls, talk, visit};
use crate::support::app::App;
use crate::support::cell::Cell;
use crate::support::client::Ending;
use crate::support::diego::Container;
use crate::support::platform::Platform;
use crate::support::{app, eventually};

/// Longer than what counts as idle while an instance goes.
const LONGER_THAN_IDLE: Duration = Duration::from_millis(300);

#[test]
fn the_pair_without_a_name_is_shown_idle_connections_end_gently_and_busy_ones_go_on() {
    let platform = Platform::new();
    let app = App::start();
    let mut cell = Cell::unwritten(mtls(), &[app.addr()]);
    cell.trusted = platform.bundle();
    cell.names = vec![GOROUTER];
    cell.update();
    let mut sidecar = cell.serving();
    let addrs = sidecar.addrs();
    let gorouter = platform.client(cell.connector(), GOROUTER).afresh();
    let connect = |app_answers: bool| {
        let mut client = gorouter.connect(addrs[0]).unwrap();
        let mut app_end = app.accept();
        client.send(b"request").unwrap();
        app_end.read_exact(&mut [0; 7]).unwrap();
        if app_answers {
            app_end.write_all(b"answer").unwrap();
            client.receive(6).unwrap();
        }
        (client, app_end)
    };
    let (mut idle, mut idle_app) = connect(true);
    let (mut busy, mut busy_app) = connect(false);

    let (id, c2c) = cell.retire();
    eventually("a word about both pairs", || {
        (sidecar.lines_of("retirement certificate received; closing idle connections").len() == 2).then_some(())
    });
    assert_eq!(ending(&mut idle), Ending::CloseNotify);
    assert_eq!(idle_app.read(&mut [0; 1]).unwrap(), 0, "the app sees an end of file");

    // A router finds that this is not the instance that it wants, and goes elsewhere.
    let error = gorouter.connect(addrs[0]).err().unwrap();
    assert!(error.to_string().contains("certificate not valid for name"), "{error}");
    let anybody = gorouter.clone().unverified();
    for (addr, leaf) in [(addrs[0], id), (addrs[1], c2c)] {
        let mut client = anybody.connect(addr).unwrap();
        assert_eq!(client.leaf(), leaf);
        // Whoever does not mind is served.
        client.send(b"late").unwrap();
        loop {
            // The client above had the app dialled as well.
            let mut app_end = app.accept();
            if app_end.read_exact(&mut [0; 4]).is_ok() {
                break;
            }
        }
    }

    std::thread::sleep(LONGER_THAN_IDLE);
    busy_app.write_all(b"late answer").unwrap();
    assert_eq!(busy.receive(11).unwrap(), b"late answer");
    assert_eq!(ending(&mut busy), Ending::CloseNotify, "now it is idle");
    assert!(sidecar.is_running());
}

#[test]
fn a_regular_pair_after_the_retirement_pair_ends_the_retirement() {
    let mut cell = Cell::new(Container::default(), &[app::echo()]);
    let mut sidecar = cell.serving();
    cell.retire();
    sidecar.wait_for("retirement certificate received; closing idle connections");
    let (id, _) = cell.update();
    eventually("the regular pairs", || (sidecar.lines_of("certificate rotated").len() == 2).then_some(()));
    let mut client = visit(&cell.connector(), sidecar.addr()).unwrap();
    assert_eq!(client.leaf(), id);
    std::thread::sleep(LONGER_THAN_IDLE);
    talk(&mut client).unwrap();
    assert!(sidecar.is_running());
}
