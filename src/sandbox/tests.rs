use super::*;

use std::fs::File;
use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::Command;
use std::{env, fs, io};

use rustix::net::{AddressFamily, Protocol, SendFlags, SocketType, ipproto, sendto, socket};
use rustix::process::{Resource, Rlimit, getppid, prlimit};
use rustix::thread::{CapabilitySet, capabilities};

use crate::config::resolve::resolve;
use crate::config::sources::{Environment, Sources};
use crate::config::{AppAddr, Config};

/// As somebody types it, in front of an app on `app`.
fn config(app: u16, flags: &[(&'static str, &Path)]) -> Config {
    let mut typed = vec![("app", app.to_string().into()), ("sandbox", "strict".into())];
    typed.extend(flags.iter().map(|(name, value)| (*name, value.as_os_str().to_owned())));
    let no_file = |_: &Path| Err(ErrorKind::NotFound.into());
    let environment = Environment::new();
    let inputs = Sources { flags: &typed, environment: &environment, read_file: &no_file, starts_app: false, cpus: 1 };
    resolve(&inputs).unwrap()
}

fn access(config: &Config) -> Access {
    Access::of(config, config.listeners.iter().map(|listener| &listener.app), None)
}

/// What `attempt` comes to on a thread that has given up all but `access`, and its report.
fn within<T: Send>(access: &Access, attempt: impl FnOnce() -> T + Send) -> (SandboxReport, T) {
    thread::scope(|scope| {
        let fenced = scope.spawn(|| (give_up(SandboxMode::BestEffort, access, RestrictScope::Trial), attempt()));
        fenced.join().unwrap()
    })
}

fn holds(report: &SandboxReport, protection: Protection) -> bool {
    report.applied().any(|applied| applied == protection)
}

fn refused<T>(result: io::Result<T>) -> bool {
    matches!(result, Err(error) if error.kind() == ErrorKind::PermissionDenied)
}

/// A pair in a folder, and a file beside it.
fn folders() -> (tempfile::TempDir, std::path::PathBuf, std::path::PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let (inside, outside) = (root.path().join("inside"), root.path().join("outside"));
    for folder in [&inside, &outside] {
        fs::create_dir(folder).unwrap();
        for name in ["tls.crt", "tls.key"] {
            fs::write(folder.join(name), "x").unwrap();
        }
    }
    (root, inside, outside)
}

#[test]
fn files_are_read_in_the_folders_of_the_configuration_and_written_where_it_says_so() {
    let (root, inside, outside) = folders();
    let written = root.path().join("written");
    fs::create_dir(&written).unwrap();
    let chain = format!("chain={}", written.join("chain").display());
    let config = config(
        1,
        &[("cert", &inside.join("tls.crt")), ("key", &inside.join("tls.key")), ("credential-file", Path::new(&chain))],
    );
    let (report, refusals) = within(&access(&config), || {
        assert_eq!(fs::read(inside.join("tls.key")).unwrap(), b"x");
        fs::write(written.join(".new"), "y").unwrap();
        fs::rename(written.join(".new"), written.join("chain")).unwrap();
        assert!(fs::read_to_string("/proc/self/stat").is_ok());
        [
            refused(fs::read(outside.join("tls.key"))),
            refused(fs::read("/etc/passwd")),
            refused(File::create(inside.join("new"))),
            refused(fs::remove_file(inside.join("tls.crt"))),
            refused(fs::create_dir(written.join("folder"))),
            fs::rename(written.join("chain"), outside.join("chain")).is_err(),
        ]
    });
    // Where the machine has no Landlock, none of it is.
    assert_eq!(refusals, [holds(&report, Protection::LandlockFiles); 6], "{report:?}");
    // Nothing of that holds for whoever tried it.
    assert!(fs::read(outside.join("tls.key")).is_ok());
}

#[test]
fn only_ports_that_are_dialled_are_dialled_and_nothing_listens() {
    let (_root, inside, _) = folders();
    let app = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = config(
        app.local_addr().unwrap().port(),
        &[("cert", &inside.join("tls.crt")), ("key", &inside.join("tls.key"))],
    );
    let (report, (dialled, listening, raw)) = within(&access(&config), || {
        assert!(TcpStream::connect(app.local_addr().unwrap()).is_ok());
        // DNS.
        assert!(UdpSocket::bind("127.0.0.1:0").is_ok());
        let raw = socket(AddressFamily::PACKET, SocketType::DGRAM, None).map_err(io::Error::from);
        let listening = TcpListener::bind("127.0.0.1:0");
        (refused(TcpStream::connect(other.local_addr().unwrap())), refused(listening), refused(raw))
    });
    assert!(holds(&report, Protection::Seccomp) && listening && raw, "{report:?}");
    // Before Linux 6.7 Landlock does not know of ports.
    assert_eq!(dialled, holds(&report, Protection::LandlockTcp), "{report:?}");
}

#[test]
fn ways_around_the_ports_and_the_folders_are_closed_as_well() {
    let (_root, inside, outside) = folders();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = other.local_addr().unwrap();
    let config = config(1, &[("cert", &inside.join("tls.crt")), ("key", &inside.join("tls.key"))]);
    let (report, refusals) = within(&access(&config), || {
        let opened =
            |kind, protocol: Option<Protocol>| socket(AddressFamily::INET, kind, protocol).map_err(io::Error::from);
        let stream = opened(SocketType::STREAM, None).unwrap();
        let fast_open = SendFlags::from_bits_retain(libc::MSG_FASTOPEN.unsigned_abs());
        let limit = Rlimit { current: Some(1), maximum: Some(1) };
        [
            // Landlock knows nothing of its connections.
            refused(opened(SocketType::STREAM, Some(ipproto::MPTCP))),
            refused(opened(SocketType::RAW, Some(ipproto::TCP))),
            refused(opened(SocketType::SEQPACKET, None)),
            // Nor that this is one.
            refused(sendto(&stream, b"x", fast_open, &at).map_err(io::Error::from)),
            refused(fs::set_permissions(outside.join("tls.key"), fs::Permissions::from_mode(0o666))),
            refused(prlimit(getppid(), Resource::Core, limit).map_err(io::Error::from)),
        ]
    });
    assert!(holds(&report, Protection::Seccomp), "{report:?}");
    assert_eq!(refusals, [true; 6]);
    other.set_nonblocking(true).unwrap();
    assert_eq!(other.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "nobody has come");
}

/// As root there are some forty of them at first; as anybody else mostly none, which is as good.
#[test]
fn of_roots_capabilities_those_are_left_that_files_of_others_and_signals_to_the_app_need() {
    let before = capabilities(None).unwrap();
    let after = thread::scope(|scope| {
        let fenced = scope.spawn(|| capabilities::restrict().map(|()| capabilities(None).unwrap()));
        fenced.join().unwrap().unwrap()
    });
    let files = CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH | CapabilitySet::FOWNER;
    let needed = files | CapabilitySet::KILL;
    assert_eq!((after.permitted, after.effective), (before.permitted & needed, before.effective & needed));
    assert!(after.inheritable.is_empty());
    assert_eq!(capabilities(None).unwrap(), before, "other threads keep what they had");
    let (report, ()) = within(&Access::default(), || ());
    assert!(holds(&report, Protection::Capabilities), "{report:?}");
}

#[test]
fn the_ports_are_those_of_the_app_of_outbounds_and_of_their_proxies() {
    let (_root, inside, _) = folders();
    let pair = [("cert", inside.join("tls.crt")), ("key", inside.join("tls.key"))];
    let ports = |more: &[(&'static str, &str)]| {
        let mut flags: Vec<(&'static str, &Path)> = pair.iter().map(|(name, path)| (*name, path.as_path())).collect();
        flags.extend(more.iter().map(|(name, value)| (*name, Path::new(*value))));
        access(&config(8080, &flags)).tcp_ports().map(|ports| ports.iter().copied().collect::<Vec<_>>())
    };
    assert_eq!(ports(&[]), Some(vec![8080]));
    let named = ("outbound-server-name", "backend.example");
    assert_eq!(ports(&[("outbound", "0=10.0.0.1:443"), named]), Some(vec![443, 8080]));
    assert_eq!(ports(&[("outbound", "0=db.example:5432")]), Some(vec![53, 5432, 8080]));
    let proxied = [("outbound", "0=10.0.0.1:443"), named, ("outbound-proxy", "http://10.0.0.2:3128")];
    assert_eq!(ports(&proxied), Some(vec![443, 3128, 8080]));
    let listed = [("forward-proxy", "on"), ("forward-proxy-to", "*.apps.internal:61443")];
    assert_eq!(ports(&listed), Some(vec![53, 8080, 61443]));
    let tunnel = [listed[0], listed[1], ("forward-proxy-unlisted", "tunnel")];
    assert_eq!(ports(&tunnel), None);
}

#[test]
fn where_there_is_no_sandbox_nothing_is_looked_at() {
    let (_root, inside, _) = folders();
    let config = config(1, &[("cert", &inside.join("tls.crt")), ("key", &inside.join("tls.key"))]);
    let off = Config { sandbox: SandboxMode::Off, ..config };
    assert_eq!(Access::of(&off, [AppAddr::Localhost(1)].iter(), None), Access::default());
    let report = enter(SandboxMode::Off, &Access::default(), None).unwrap();
    assert_eq!(report.applied().count(), 0);
}

/// A fork fails by itself; what replaces the process ends it.
#[test]
fn no_program_can_be_started_and_whoever_tries_to_become_one_is_ended() {
    const ROLE: &str = "VESTIBULE_TEST_ENDED";
    let access = Access::default();
    if env::var_os(ROLE).is_some() {
        within(&access, || Command::new("/bin/true").exec());
        return;
    }
    let (_, started) = within(&access, || Command::new("/bin/true").spawn().map(drop));
    assert!(refused(started));
    let test = format!("{}::no_program_can_be_started_and_whoever_tries_to_become_one_is_ended", module_path!());
    let test = test.trim_start_matches(concat!(env!("CARGO_PKG_NAME"), "::"));
    let ended = Command::new(env::current_exe().unwrap()).args(["--exact", test]).env(ROLE, "1").output().unwrap();
    assert_eq!(ended.status.signal(), Some(rustix::process::Signal::SYS.as_raw()), "{ended:?}");
}

#[test]
fn only_what_strict_cannot_do_without_keeps_it_from_starting() {
    let report = |missing: &[Protection]| {
        let of = |protection: &Protection| ProtectionStatus {
            protection: *protection,
            missing: missing.contains(protection).then(|| "too old".to_owned()),
        };
        SandboxReport { mode: SandboxMode::Strict, protections: Protection::VARIANTS.iter().map(of).collect() }
    };
    assert!(report(&[Protection::LandlockTcp, Protection::LandlockUnix]).shortfall().is_none());
    let fault = report(&[Protection::Seccomp, Protection::LandlockTcp]).shortfall().unwrap();
    assert_eq!(fault.exit, Exit::Unavailable);
    assert!(fault.message().contains("seccomp: too old") && !fault.message().contains("landlock"), "{fault:?}");
}
