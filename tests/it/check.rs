//! The doctor, with the real binary.

mod broken;
mod http;

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::app;
use crate::support::app::App;
use crate::support::client::{Ending, read_to_end};
use crate::support::credentials::{Credentials, roots_pem};
use crate::support::machine::lacks;
use crate::support::sidecar::{Setup, VESTIBULE};

/// What a check printed, and its status.
struct Checked {
    out: String,
    err: String,
    status: Option<i32>,
}

fn check(credentials: &Credentials, args: &[&str]) -> Checked {
    let output = Command::new(VESTIBULE)
        .arg("check")
        .args(args)
        .env_clear()
        .env("CF_INSTANCE_CERT", credentials.cert())
        .env("CF_INSTANCE_KEY", credentials.key())
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Checked { out: text(output.stdout), err: text(output.stderr), status: output.status.code() }
}

impl Checked {
    /// The lines without those that say where there is more.
    fn findings(&self) -> Vec<&str> {
        self.out.lines().filter(|line| !line.starts_with("see ")).collect()
    }

    /// The lines about `subject`.
    fn about(&self, subject: &str) -> Vec<&str> {
        let is_about = |line: &&str| line.split_whitespace().nth(1) == Some(subject);
        self.findings().into_iter().filter(is_about).collect()
    }

    fn problems(&self) -> Vec<&str> {
        self.out.lines().filter(|line| line.starts_with("problem ")).collect()
    }
}

/// A port on which nobody listens now.
fn free_port() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string()
}

/// Names, sizes and modes of what is in a folder.
fn folder(path: &Path) -> BTreeSet<(String, u64, u32)> {
    let facts = |entry: fs::DirEntry| {
        let metadata = entry.metadata().unwrap();
        (entry.file_name().into_string().unwrap(), metadata.len(), metadata.permissions().mode())
    };
    fs::read_dir(path).unwrap().map(|entry| facts(entry.unwrap())).collect()
}

#[test]
fn a_sound_set_up_has_no_problem_and_is_left_as_it_was() {
    let credentials = Credentials::new();
    let before = folder(credentials.dir());
    let app = App::start();
    let listen = format!("127.0.0.1:{}", free_port());
    let app_addr = app.addr().to_string();

    let checked = check(&credentials, &["--listen", &listen, "--app", &app_addr]);

    assert_eq!((checked.problems(), checked.err.as_str(), checked.status), (vec![], "", Some(0)), "{}", checked.out);
    assert_eq!(checked.about("configuration"), [format!("ok       configuration {listen} to {app_addr}")]);
    assert_eq!(checked.about("listen"), [format!("ok       listen        {listen} is free")]);
    assert_eq!(checked.about("app"), [format!("ok       app           {app_addr} accepts connections")]);
    let identity = checked.about("identity")[0];
    assert!(identity.ends_with(&format!("instance {}", credentials.instance())), "{identity}");
    for subject in ["certificate", "chain", "validity", "inotify", "admin", "descriptors", "memory", "threads"] {
        assert_eq!(checked.about(subject).len(), 1, "{subject} in\n{}", checked.out);
    }
    assert_eq!(read_to_end(&app.accept()), (Vec::new(), Ending::Fin), "the app hears nothing but the knock");
    assert_eq!(folder(credentials.dir()), before);
}

/// Without `strace` this is left out: there is no other way to see what a process did not do.
#[test]
fn no_port_is_opened_and_no_file_is_changed() {
    let credentials = Credentials::new();
    let trace = tempfile::NamedTempFile::new().unwrap();
    let (app, listen) = (App::start(), format!("127.0.0.1:{}", free_port()));
    let ca = credentials.dir().join("ca.crt");
    let policy = credentials.dir().join("policy.toml");
    let socket = credentials.dir().join("admin.sock");
    fs::write(&ca, roots_pem()).unwrap();
    fs::write(&policy, "allow = ['any']").unwrap();
    let before = folder(credentials.dir());
    let traced = Command::new("strace")
        .args(["-f", "-qq", "-e", "trace=%file,%network,%desc", "-o"])
        .arg(trace.path())
        .args([VESTIBULE, "check", "--listen", &listen, "--app", &app.addr().to_string()])
        .args(["--client-ca", ca.to_str().unwrap(), "--policy", policy.to_str().unwrap()])
        .arg(format!("--admin=unix:{}", socket.display()))
        .env_clear()
        .env("CF_INSTANCE_CERT", credentials.cert())
        .env("CF_INSTANCE_KEY", credentials.key())
        .output();
    let Ok(traced) = traced else { return lacks("strace") };
    let calls = fs::read_to_string(trace.path()).unwrap();
    if calls.is_empty() {
        return lacks("strace");
    }
    assert_eq!(traced.status.code(), Some(0), "{}", String::from_utf8_lossy(&traced.stdout));
    assert!(calls.contains("connect("), "the app was dialled, so calls are seen: {calls}");
    // `13854 openat(AT_FDCWD, "/proc/self/cgroup", O_RDONLY|O_CLOEXEC) = 3`
    let changing = |call: &&str| {
        let name = call.split(' ').nth(1).unwrap_or_default().split('(').next().unwrap_or_default();
        match name {
            "open" | "openat" | "openat2" => {
                ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"].iter().any(|how| call.contains(how))
            }
            // The kernel's list of addresses is asked for by a socket that is no port.
            "bind" if call.contains("AF_NETLINK") => false,
            name => [
                "bind",
                "listen",
                "accept",
                "unlink",
                "rename",
                "mkdir",
                "rmdir",
                "chmod",
                "fchmod",
                "chown",
                "fchown",
                "lchown",
                "link",
                "symlink",
                "truncate",
                "ftruncate",
                "utime",
                "futime",
                "mknod",
                "creat",
                "setxattr",
            ]
            .iter()
            .any(|change| name.starts_with(change)),
        }
    };
    assert_eq!(calls.lines().filter(changing).collect::<Vec<_>>(), Vec::<&str>::new());
    assert_eq!(folder(credentials.dir()), before);
    assert!(!socket.exists());
}

#[test]
fn every_problem_is_told_in_one_run_and_the_status_is_1() {
    let mut credentials = Credentials::new();
    let other = credentials.issue();
    fs::write(credentials.key(), other.key_pem).unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let nobody = app::nobody().to_string();

    let checked = check(&credentials, &["--listen", &listen, "--app", &nobody]);

    assert_eq!((checked.err.as_str(), checked.status), ("", Some(1)), "{}", checked.out);
    let (cert, key) = (credentials.cert(), credentials.key());
    assert_eq!(
        checked.about("certificate"),
        [format!(
            "problem  certificate   {} and {}: the key does not belong to the certificate; write both anew; \
             if they are being replaced right now, check again in a moment",
            cert.display(),
            key.display()
        )]
    );
    let listening = checked.about("listen")[0];
    let holder = format!("process {}, listens on {listen}; stop it, or choose another --listen", std::process::id());
    assert!(listening.starts_with("problem ") && listening.ends_with(&holder), "{listening}");
    assert_eq!(
        checked.about("app"),
        [format!(
            "warning  app           {nobody}: nobody listens there now; start the app, or give --app or PORT the address on which it listens"
        )]
    );
}

#[test]
fn errors_of_the_configuration_are_findings() {
    let credentials = Credentials::new();
    let checked = check(&credentials, &["--idle-timeout", "10", "--threads", "0"]);
    assert_eq!((checked.err.as_str(), checked.status), ("", Some(1)));
    let lines = checked.findings();
    assert_eq!(lines.len(), 2, "{}", checked.out);
    assert!(
        checked.out.ends_with("\nsee      configuration docs/troubleshooting.md#check-configuration\n"),
        "{}",
        checked.out
    );
    assert!(lines[0].starts_with("problem  configuration --idle-timeout: \"10\" "), "{}", lines[0]);
    assert!(lines[1].starts_with("problem  configuration --threads: \"0\" is out of range; "), "{}", lines[1]);
}

#[test]
fn the_object_says_the_same_as_the_lines() {
    let credentials = Credentials::empty();
    let args = ["--listen", "127.0.0.1:0", "--app", "127.0.0.1:1"];
    let text = check(&credentials, &args);
    let json = check(&credentials, &[&args[..], &["--json"]].concat());

    let object: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((&object["ok"], json.status, text.status), (&Value::Bool(false), Some(1), Some(1)));
    let lines: Vec<String> = object["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| {
            let part = |name: &str| finding[name].as_str().unwrap_or_default().to_owned();
            let mend = finding["help"].as_str().map(|mend| format!("; {mend}")).unwrap_or_default();
            format!("{:<8} {:<13} {}{mend}", part("severity"), part("subject"), part("message"))
        })
        .collect();
    assert_eq!(lines, text.findings());
    assert_eq!(lines.iter().filter(|line| line.contains(": no such file; ")).count(), 2, "{lines:?}");
}

#[test]
fn a_check_beside_a_running_proxy_finds_it() {
    let credentials = Credentials::new();
    let app = app::echo().to_string();
    let sidecar = Setup::proxy(&credentials, &app).ready();
    let listen = sidecar.addr().to_string();

    let checked = check(&credentials, &["--listen", &listen, "--app", &app]);

    let pid = sidecar.pid();
    assert_eq!(
        checked.about("listen"),
        [format!("ok       listen        {listen}: vestibule listens there already, as process {pid}")]
    );
    assert_eq!(checked.status, Some(0), "{}", checked.out);
}

#[test]
fn an_app_that_other_hosts_reach_is_named() {
    let credentials = Credentials::new();
    let open = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = open.local_addr().unwrap().port();

    let checked = check(&credentials, &["--listen", "127.0.0.1:0", "--app", &port.to_string()]);

    assert_eq!(
        checked.about("app"),
        [
            format!("ok       app           127.0.0.1:{port} accepts connections"),
            format!(
                "warning  app           the app listens on 0.0.0.0:{port}, where other hosts reach it in plaintext; \
                 have it listen on 127.0.0.1:{port} alone"
            ),
        ]
    );
    assert_eq!(checked.status, Some(0), "a warning is no problem");
}

#[test]
fn who_may_come_in_is_looked_at_as_the_proxy_reads_it() {
    let credentials = Credentials::new();
    let ca = credentials.dir().join("ca.crt");
    let policy = credentials.dir().join("policy.toml");
    fs::write(&ca, roots_pem()).unwrap();
    fs::write(&policy, "allow = ['cf:same:org', 'anonymous']\ndeny = ['cf:same:org']").unwrap();
    let (ca, policy) = (ca.to_str().unwrap(), policy.to_str().unwrap());
    let args = ["--listen", "127.0.0.1:0", "--app", "127.0.0.1:1", "--client-ca", ca, "--policy", policy];

    let checked = check(&credentials, &args);
    assert_eq!(checked.about("client_ca"), [format!("ok       client_ca     2 CAs in {ca} may vouch for clients")]);
    assert_eq!(
        checked.about("rules"),
        [
            "ok       rules         2 rules to allow, 1 to deny",
            "warning  rules         allow cf:same:org admits nobody: deny cf:same:org beats it; take one of them out",
            "warning  rules         allow anonymous means nobody: every client must show a certificate; \
             add --client-auth request, or take the rule out",
        ]
    );
    assert_eq!(checked.status, Some(0), "{}", checked.out);

    fs::write(policy, "alow = []\nmode = 'off'").unwrap();
    let checked = check(&credentials, &args);
    assert_eq!(
        checked.about("rules"),
        [
            format!("problem  rules         {policy}:1: alow: no such key; the nearest is allow"),
            format!("problem  rules         {policy}:2: mode: \"off\" is no mode; write \"enforce\" or \"audit\""),
        ]
    );
    assert_eq!(checked.status, Some(1), "{}", checked.out);
    // What is refused here is refused there.
    let mut setup = Setup::proxy(&credentials, "127.0.0.1:1").arg("--credential-timeout").arg("300ms");
    for arg in &args[4..] {
        setup = setup.arg(arg);
    }
    assert_eq!(setup.start().exited().code(), Some(78));
}
