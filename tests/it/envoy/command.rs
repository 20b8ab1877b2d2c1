//! As the cell starts it, and as others might.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{C2C, CONTEXT, GOROUTER, ID, mtls, visit};
use crate::support::cell::Cell;
use crate::support::client::Ending;
use crate::support::diego::Container;
use crate::support::platform::Platform;
use crate::support::sidecar::{Setup, VESTIBULE};
use crate::support::{app, eventually};

/// The program under the name that the cell calls it by.
fn called_envoy(folder: &Path) -> PathBuf {
    let path = folder.join("envoy");
    symlink(VESTIBULE, &path).unwrap();
    path
}

/// What the cell runs, but for the paths.
fn wrapper(cell: &Cell, envoy: &Path, level: &str) -> String {
    let (envoy, bootstrap) = (envoy.display(), cell.bootstrap());
    format!(
        "trap 'kill -9 0' TERM; {envoy} -c {} --drain-time-s 900 --log-level {level}& pid=$!; wait $pid",
        bootstrap.display()
    )
}

#[test]
fn under_the_cells_shell_it_serves_until_the_group_is_killed() {
    let cell = Cell::new(Container::default(), &[app::echo()]);
    let bin = tempfile::tempdir().unwrap();
    let script = wrapper(&cell, &called_envoy(bin.path()), "debug");
    // A group of its own: the trap kills whoever is in it.
    let mut sidecar = Setup::program("setsid", &["sh", "-c", &script]).start();
    cell.wait_for_listeners(&sidecar);
    sidecar.wait_for("certificate loaded");
    let addr = sidecar.addr();
    visit(&cell.connector(), addr).unwrap();
    sidecar.signal("TERM");
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&sidecar.exited()), Some(9));
    eventually("the port to be free", || TcpStream::connect(addr).is_err().then_some(()));
}

#[test]
fn the_cells_shell_passes_on_the_status_of_a_start_that_fails() {
    let mut cell = Cell::new(Container::default(), &[app::echo()]);
    cell.edit("type: STATIC", "type: LOGICAL_DNS");
    cell.update();
    let bin = tempfile::tempdir().unwrap();
    let script = wrapper(&cell, &called_envoy(bin.path()), "critical");
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("static_resources.clusters[0].type"), "even at this level: {said}");
}

#[test]
fn a_healthy_life_at_the_level_critical_prints_nothing_at_all() {
    let platform = Platform::new();
    let app = app::echo();
    let mut cell = Cell::unwritten(mtls(), &[app]);
    let addrs = cell.on_known_ports();
    cell.trusted = platform.bundle();
    cell.names = vec![GOROUTER];
    cell.update();
    let printed = tempfile::tempdir().unwrap();
    let file = |name: &str| fs::File::create(printed.path().join(name)).unwrap();
    let mut child = Command::new(called_envoy(printed.path()))
        .args(["-c", cell.bootstrap().to_str().unwrap(), "--drain-time-s", "900", "--log-level", "critical"])
        .env_clear()
        .stdin(Stdio::null())
        .stdout(file("stdout"))
        .stderr(file("stderr"))
        .spawn()
        .unwrap();
    let gorouter = platform.client(cell.connector(), GOROUTER).afresh();
    let shows = |addr, leaf| {
        eventually("the pair", || (visit(&gorouter, addr).ok()?.leaf() == leaf).then_some(()));
    };
    eventually("the first pair", || visit(&gorouter, addrs[0]).ok());
    for addr in &addrs[..2] {
        for _ in 0..50 {
            drop(TcpStream::connect(addr).unwrap());
        }
        visit(&gorouter, *addr).unwrap();
    }
    cell.connector().alert(addrs[0]);
    let (id, c2c) = cell.update();
    shows(addrs[0], id);
    shows(addrs[1], c2c);
    let mut idle = visit(&gorouter, addrs[0]).unwrap();
    let admin = addrs.last().unwrap();
    assert!(Command::new("curl").args(["-s", &format!("http://{admin}/certs")]).output().unwrap().status.success());
    cell.retire();
    assert_eq!(super::ending(&mut idle), Ending::CloseNotify);
    assert!(child.try_wait().unwrap().is_none());
    child.kill().unwrap();
    child.wait().unwrap();
    for name in ["stdout", "stderr"] {
        assert_eq!(fs::read_to_string(printed.path().join(name)).unwrap(), "", "{name}");
    }
}

#[test]
fn flags_that_envoy_knows_are_passed_over_and_unknown_ones_with_a_warning() {
    let cell = Cell::new(Container::default(), &[app::echo()]);
    let more = ["--concurrency", "7", "--disable-hot-restart", "--base-id=3", "--from-the-future", "yes"];
    let sidecar = more.iter().fold(cell.setup(), |setup, arg| setup.arg(arg)).start();
    cell.wait_for_listeners(&sidecar);
    sidecar.wait_for("certificate loaded");
    let warnings: Vec<_> = sidecar.lines().into_iter().filter(|line| line["level"] == "warn").collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0]["detail"].as_str().unwrap().contains("--from-the-future"), "{warnings:?}");
    visit(&cell.connector(), sidecar.addr()).unwrap();
}

#[test]
fn our_own_variables_and_the_platforms_are_not_read() {
    let cell = Cell::new(Container::default(), &[app::echo()]);
    let nonsense =
        ["VESTIBULE_LISTEN", "VESTIBULE_CERT", "VESTIBULE_CLIENT_CA", "VESTIBULE_CONFIG", "CF_INSTANCE_CERT"];
    let setup = nonsense.iter().fold(cell.setup(), |setup, name| setup.env(name, "nonsense"));
    let sidecar = setup.start();
    cell.wait_for_listeners(&sidecar);
    sidecar.wait_for("certificate loaded");
    visit(&cell.connector(), sidecar.addr()).unwrap();
}

fn output(args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(VESTIBULE).arg("envoy").args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_bootstrap_can_be_looked_at_without_serving_it() {
    let mut cell = Cell::new(mtls(), &[app::nobody()]);
    let path = cell.bootstrap();
    let path = path.to_str().unwrap();
    let ok = (Some(0), format!("configuration '{path}' OK\n"), String::new());
    assert_eq!(output(&["-c", path, "--mode", "validate"]), ok);
    cell.edit("    filter_chains:\n", "    filter_chain:\n");
    cell.update();
    let (code, stdout, stderr) = output(&["-c", path, "--mode", "validate"]);
    assert_eq!((code, stdout.as_str()), (Some(78), ""));
    assert!(stderr.contains("static_resources.listeners[0].filter_chain"), "{stderr}");
    let (code, _, stderr) = output(&["-c", "/nonexistent/envoy.yaml", "--mode", "validate"]);
    assert_eq!(code, Some(78));
    assert!(stderr.contains("/nonexistent/envoy.yaml"), "{stderr}");
}

#[test]
fn the_version_says_what_it_is() {
    let (code, stdout, stderr) = output(&["--version"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert_eq!(stdout, format!("vestibule {} in the place of Envoy\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn secrets_are_found_where_the_flags_for_windows_say() {
    let platform = Platform::new();
    let mut cell = Cell::unwritten(mtls(), &[app::echo()]);
    let here = cell.dir().to_str().unwrap().to_owned();
    cell.trusted = platform.bundle();
    cell.names = vec![GOROUTER];
    cell.edit(&format!("path: {here}"), "path: /etc/cf-assets/nowhere");
    let (id, c2c) = cell.update();
    let setup = [("--id-creds", ID), ("--c2c-creds", C2C), ("--id-validation", CONTEXT)]
        .iter()
        .fold(cell.setup(), |setup, (flag, name)| setup.arg(flag).arg(cell.secret(name).to_str().unwrap()));
    let sidecar = setup.start();
    cell.wait_for_listeners(&sidecar);
    eventually("both pairs", || (sidecar.lines_of("certificate loaded").len() == 2).then_some(()));
    let addrs = sidecar.addrs();
    let gorouter = platform.client(cell.connector(), GOROUTER).afresh();
    assert_eq!(visit(&gorouter, addrs[0]).unwrap().leaf(), id);
    assert_eq!(visit(&gorouter, addrs[1]).unwrap().leaf(), c2c);
    let leaf = cell.rotate(ID);
    eventually("the new pair", || (visit(&gorouter, addrs[0]).ok()?.leaf() == leaf).then_some(()));
}
