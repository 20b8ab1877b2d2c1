//! What the commands make of files without an end, of an output that takes nothing, and of signals.

use std::fs::{self, File};
use std::process::{Command, Output, Stdio};
use std::time::SystemTime;

use tempfile::TempDir;
use vestibule::issuer::CertificateAuthority;

use crate::health::{admin, get};
use crate::support::credentials::{Credentials, roots_pem};
use crate::support::sidecar::{Setup, VESTIBULE};
use crate::support::{app, eventually};

fn vestibule(args: &[&str]) -> Output {
    Command::new(VESTIBULE).args(args).env_clear().output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_file_without_an_end_is_not_read_to_its_end() {
    let credentials = Credentials::new();
    let ca = credentials.dir().join("client-ca.crt");
    fs::write(&ca, roots_pem()).unwrap();
    for (args, status, says) in [
        (vec!["identity", "/dev/zero"], 66, "/dev/zero: cannot be read: larger than 1 MiB"),
        (
            vec!["policy", "test", "--allow", "any", "--client-ca", ca.to_str().unwrap(), "--peer", "/dev/zero"],
            2,
            "--peer: /dev/zero: cannot be read: larger than 1 MiB",
        ),
        (vec!["proxy", "--config", "/dev/zero"], 2, "not a regular file; name a TOML file that can be read"),
    ] {
        let output = vestibule(&args);
        assert_eq!(output.status.code(), Some(status), "{args:?}: {}", said(&output));
        assert!(said(&output).contains(says), "{args:?}: {}", said(&output));
    }
}

#[test]
fn a_pipe_holds_a_certificate_and_is_not_waited_for_where_a_file_is_meant() {
    let credentials = Credentials::new();
    let folder = TempDir::new().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let pipe = pipe.to_str().unwrap();
    let ca = credentials.dir().join("client-ca.crt");
    fs::write(&ca, roots_pem()).unwrap();
    let (ca, same) = (ca.to_str().unwrap(), "cf:same:app");
    for args in [
        &["check", "--config", pipe][..],
        &["proxy", "--config", pipe],
        &["check", "--cert", pipe, "--client-ca", ca, "--allow", same],
        &["policy", "test", "--cert", pipe, "--key", pipe, "--client-ca", ca, "--allow", same, "--peer", ca],
    ] {
        assert!(!vestibule(args).status.success(), "it has ended: {args:?}");
    }
    let output = Command::new(VESTIBULE)
        .args(["identity", "/dev/stdin"])
        .stdin(Stdio::from(File::open(credentials.cert()).unwrap()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let reading = Command::new(VESTIBULE).args(["identity", pipe]).stdout(Stdio::piped()).spawn().unwrap();
    fs::write(pipe, fs::read(credentials.cert()).unwrap()).unwrap();
    let output = reading.wait_with_output().unwrap();
    assert!(output.status.success() && String::from_utf8(output.stdout).unwrap().contains("organization"));
}

#[test]
fn an_output_that_takes_nothing_is_said_alike_by_every_command() {
    let folder = TempDir::new().unwrap();
    let dir = folder.path().to_str().unwrap();
    for args in [
        vec!["--help"],
        vec!["--version"],
        vec!["proxy", "-h"],
        vec!["completions", "bash"],
        vec!["issuer", dir, "--once"],
    ] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = Command::new(VESTIBULE).args(&args).env_clear().stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(70), "{args:?}: {}", said(&output));
        assert!(said(&output).starts_with("vestibule: cannot write to stdout: "), "{args:?}: {}", said(&output));
        assert!(said(&output).contains("; see where stdout leads"), "{args:?}: {}", said(&output));
    }
}

#[test]
fn the_admin_address_of_a_listener_is_found_before_anything_is_opened() {
    let args = ["proxy", "--listen", "127.0.0.1:18799", "--admin", "127.0.0.1:18799"];
    let output = vestibule(&args);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(
        said(&output).contains("--admin: 127.0.0.1:18799 is taken by --listen 127.0.0.1:18799"),
        "{}",
        said(&output)
    );
    let output = Command::new(VESTIBULE).args(&args[..3]).env_clear().env("VESTIBULE_ADMIN", args[4]).output().unwrap();
    assert_eq!(output.status.code(), Some(78), "{}", said(&output));
}

#[test]
fn wait_without_any_time_asks_once_and_health_says_what_fails_without_standing_in_the_way() {
    let credentials = Credentials::new();
    let ca = credentials.dir().join("client-ca.crt");
    let good = CertificateAuthority::generate(SystemTime::now()).unwrap().roots_pem();
    fs::write(&ca, &good).unwrap();
    let setup = Setup::proxy(&credentials, app::echo()).arg("--admin").arg("127.0.0.1:0");
    let sidecar = setup.arg("--allow").arg("any").arg("--client-ca").arg(ca.to_str().unwrap()).ready();
    let admin = admin(&sidecar);
    let ask = |args: &[&str]| {
        Command::new(VESTIBULE).args(args).env_clear().env("VESTIBULE_ADMIN", admin.to_string()).output().unwrap()
    };
    let waited = ask(&["wait", "--timeout", "0s"]);
    assert_eq!(waited.status.code(), Some(0), "{}", said(&waited));
    assert_eq!((ask(&["health"]).status.code(), said(&ask(&["health"]))), (Some(0), String::new()));

    fs::write(&ca, "torn").unwrap();
    eventually("a failure", || get(admin, "/readyz?verbose").1.contains("reload failing").then_some(()));
    let healthy = ask(&["health"]);
    assert_eq!(healthy.status.code(), Some(0));
    assert!(said(&healthy).starts_with("vestibule: client CA reload failing since "), "{}", said(&healthy));
    assert!(healthy.stdout.is_empty());
    assert_eq!(said(&ask(&["wait"])), "", "it waits, and judges nothing else");
}

#[test]
fn an_ignored_signal_is_named_at_the_start_and_others_are_not() {
    let credentials = Credentials::new();
    let setup = Setup::proxy(&credentials, app::echo());
    let ordinary = setup.ready();
    let message = "signals stay ignored (inherited SIG_IGN), as in the background of a script";
    assert!(ordinary.lines_of(message).is_empty());
    // What a shell does with `command &` in a script.
    let script = "trap '' INT; exec \"$0\" proxy --listen 127.0.0.1:0 --app 127.0.0.1:1 --admin off --log-format json \
                  --cert /nonexistent --key /nonexistent --credential-timeout 100ms";
    let output = Command::new("sh").args(["-c", script, VESTIBULE]).env_clear().output().unwrap();
    let line = said(&output).lines().find(|line| line.contains(message)).map(str::to_owned);
    assert!(line.is_some_and(|line| line.contains("\"signals\":\"INT\"")), "{}", said(&output));
}
