//! What the app inherits: what we were given, and nothing of ours.

use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};

use crate::supervisor::process::{VESTIBULE, eventually, run, start, with_pair};
use crate::support::credentials::Credentials;
use crate::support::sidecar::Setup;

/// Signals 32 and 33 belong to the libc, whose posix_spawn(3) leaves them ignored; it takes them back before it uses them.
const OF_THE_LIBC: u64 = 0b11 << 31;

/// The masks of blocked, ignored and handled signals in the output of `grep ^Sig /proc/self/status`.
fn masks(lines: &[String]) -> [u64; 3] {
    ["SigBlk:", "SigIgn:", "SigCgt:"].map(|name| {
        let mask = lines.iter().find_map(|line| line.strip_prefix(name)).expect(name);
        u64::from_str_radix(mask.trim(), 16).unwrap() & !OF_THE_LIBC
    })
}

fn shell(script: &str) -> Vec<String> {
    let output = Command::new("sh").args(["-c", script]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn the_apps_signals_are_as_a_plain_shell_leaves_them() {
    let ours = masks(&run(["grep", "^Sig", "/proc/self/status"]).rest());
    assert_eq!(ours, masks(&shell("grep ^Sig /proc/self/status; :")));
    assert_eq!(ours[..2], [0, 0]);
}

#[test]
fn signals_that_were_ignored_before_us_stay_ignored_for_the_app() {
    let script = format!("trap '' HUP QUIT; exec {VESTIBULE} run -- grep ^Sig /proc/self/status");
    let [blocked, ignored, _] = masks(&start(["sh", "-c", &script]).rest());
    assert_eq!((blocked, ignored), (0, 0b101));
}

#[test]
fn the_app_dies_of_a_broken_pipe_as_it_would_in_a_shell() {
    let mut app = start(["sh", "-c", &format!("{VESTIBULE} run -- sh -c 'yes; echo $? >&2' | head -n 1")]);
    assert_eq!(app.rest(), ["y"]);
    assert_eq!(app.code(), 0);
    assert!(app.errors().lines().any(|line| line == "141"), "128 and SIGPIPE");
}

#[test]
fn what_we_write_beyond_the_limit_of_a_files_size_fails_and_ends_neither_us_nor_the_app() {
    let credentials = Credentials::new();
    let token = credentials.dir().join("token");
    let log = credentials.dir().join("log");
    // Of a log without an end as much is written as there may be.
    let script = format!(
        "ulimit -f 1; exec {VESTIBULE} run --listen 127.0.0.1:0 --app 127.0.0.1:1 --identity-file a={} -- sh -c '{}'",
        token.display(),
        "echo started; read -r _; exit 7"
    );
    let mut command = Command::new("sh");
    command.args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped());
    command.stderr(fs::File::create(&log).unwrap());
    with_pair(&mut command).env("VESTIBULE_LOG_LEVEL", "trace").env("VESTIBULE_LOG_FORMAT", "json");
    command.env("CF_INSTANCE_CERT", credentials.cert()).env("CF_INSTANCE_KEY", credentials.key());
    let mut proxy = command.spawn().unwrap();
    let mut started = [0; 8];
    proxy.stdout.take().unwrap().read_exact(&mut started).unwrap();
    // dash counts blocks of 512 bytes, other shells of 1024.
    eventually("as much of the log as there may be", || (fs::metadata(&log).unwrap().len() >= 512).then_some(()));
    drop(proxy.stdin.take());
    assert_eq!(proxy.wait().unwrap().code(), Some(7));
    assert!(!token.exists(), "it is longer than it may be");
}

#[test]
fn a_file_for_the_app_that_is_longer_than_files_may_be_is_told_of_like_a_full_disk() {
    let credentials = Credentials::new();
    let token = credentials.dir().join("token");
    let file = format!("--identity-file=a={}", token.display());
    let script = format!("ulimit -f 1; exec {VESTIBULE} proxy --listen 127.0.0.1:0 --app 127.0.0.1:1 \"$0\"");
    let mut sidecar = Setup::program("sh", &["-c", &script, &file]).credentials(&credentials).start();
    let line = sidecar.wait_for("app file not written");
    assert!(line["error"].as_str().unwrap().contains("File too large"), "{line}");
    sidecar.wait_for("certificate loaded");
    sidecar.signal("TERM");
    assert_eq!(sidecar.exited().code(), Some(0));
    assert!(!token.exists());
}

#[test]
fn the_app_dies_of_a_file_that_is_too_long_as_it_would_in_a_shell() {
    let folder = tempfile::tempdir().unwrap();
    let write = format!("head -c 9000 /dev/zero >{}; echo $?", folder.path().join("file").display());
    let mut app = start(["sh", "-c", &format!("ulimit -f 1; exec {VESTIBULE} run -- sh -c '{write}'")]);
    assert_eq!(app.rest(), ["153"], "128 and SIGXFSZ");
    assert_eq!(app.code(), 0);
}

#[test]
fn none_of_our_descriptors_reaches_the_app() {
    let mut plain = Command::new("ls");
    let plain = with_pair(plain.arg("/proc/self/fd").stdin(std::process::Stdio::null())).output().unwrap();
    let plain: Vec<String> = String::from_utf8(plain.stdout).unwrap().lines().map(str::to_owned).collect();
    let mut ours = run(["ls", "/proc/self/fd"]).rest();
    ours.sort();
    let mut expected = plain;
    expected.sort();
    assert_eq!(ours, expected);
}

#[test]
fn limits_umask_nice_value_folder_and_oom_score_are_what_we_were_given() {
    let report = "umask; ulimit -n; ulimit -Hn; ulimit -c; nice; pwd; cat /proc/self/oom_score_adj";
    let given = "cd /usr; umask 027; ulimit -c 0; ulimit -n 200; exec nice -n 3";
    let ours = start(["sh", "-c", &format!("{given} {VESTIBULE} run -- sh -c '{report}'")]).rest();
    let plain = start(["sh", "-c", &format!("{given} sh -c '{report}'")]).rest();
    assert_eq!(ours, plain);
    assert_eq!((ours[0].as_str(), ours[1].as_str(), ours[5].as_str()), ("0027", "200", "/usr"));
}

#[test]
fn the_app_leads_a_process_group_of_its_own_in_our_session() {
    let app = run([
        "sh",
        "-c",
        "read -r id _ _ parent group session _ </proc/self/stat; echo $parent $group $session; echo $$",
    ]);
    // `read` is the shell's own, so /proc/self is the app.
    let line = app.line();
    let (us, id) = (app.id().to_string(), app.line());
    assert_eq!(line.split(' ').collect::<Vec<_>>(), [us.as_str(), id.as_str(), us.as_str()]);
}

#[test]
fn stdin_stdout_and_stderr_are_the_apps_own() {
    let mut app = start(["sh", "-c", &format!("echo question | {VESTIBULE} run -- sh -c 'cat; echo aside >&2'")]);
    assert_eq!(app.rest(), ["question"]);
    assert_eq!(app.code(), 0);
    assert!(app.errors().lines().any(|line| line == "aside"));
}
