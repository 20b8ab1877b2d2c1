//! The real binary, and facts about processes to wait for.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{fs, thread};

use vestibule::signal::Signal;

use crate::support::machine::lacks;

/// How long any single fact is waited for.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// The folder of a pair as the platform writes it, so that the proxy beside the app has one.
const PAIR: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/diego/mtls-off_http2-off_ports-8080/cf-instance-credentials");

/// The binary under test.
pub(crate) const VESTIBULE: &str = env!("CARGO_BIN_EXE_vestibule");

/// Gives `command` what the proxy beside the app needs to start, on a port that no other test has.
pub(crate) fn with_pair(command: &mut Command) -> &mut Command {
    command
        .env("CF_INSTANCE_CERT", format!("{PAIR}/instance.crt"))
        .env("CF_INSTANCE_KEY", format!("{PAIR}/instance.key"))
        .env("VESTIBULE_LISTEN", "127.0.0.1:0")
        .env("VESTIBULE_ADMIN", "off")
        .env("VESTIBULE_LOG_LEVEL", "off")
}

/// `vestibule run -- COMMAND`, as the first process of a session without a terminal, like a container's.
pub(crate) fn run<S: AsRef<OsStr>>(command: impl IntoIterator<Item = S>) -> Run {
    let mut line = vec![VESTIBULE.into(), "run".into(), "--".into()];
    line.extend(command.into_iter().map(|word| word.as_ref().to_owned()));
    start(line)
}

/// `vestibule run -- sh -c SCRIPT`.
pub(crate) fn run_sh(script: &str) -> Run {
    run(["sh", "-c", script])
}

/// Any command line in a session of its own; with the pair in its environment.
pub(crate) fn start<S: AsRef<OsStr>>(line: impl IntoIterator<Item = S>) -> Run {
    // setsid(1) becomes the program it starts, so the number we know is the program's.
    let mut command = Command::new("setsid");
    command.args(line).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = with_pair(&mut command).spawn().expect("setsid (util-linux) is needed");
    let lines = lines(child.stdout.take().expect("piped"));
    Run { child, lines }
}

fn lines(stdout: ChildStdout) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// A running command. Killed on drop.
pub(crate) struct Run {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Run {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line on stdout.
    pub(crate) fn line(&self) -> String {
        self.lines.recv_timeout(DEADLINE).expect("a line on stdout in time")
    }

    /// Reads stdout until `line` comes.
    pub(crate) fn until(&self, line: &str) {
        while self.line() != line {}
    }

    /// Everything that is left on stdout, once nobody can write to it any more.
    pub(crate) fn rest(&self) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            match self.lines.recv_timeout(DEADLINE) {
                Ok(line) => all.push(line),
                Err(mpsc::RecvTimeoutError::Disconnected) => return all,
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("stdout is still open; so far: {all:?}"),
            }
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        signal_process(self.id(), signal);
    }

    /// The exit code, once it has ended. A shell's `128 + n` if a signal ended the program itself.
    pub(crate) fn code(&mut self) -> i32 {
        use std::os::unix::process::ExitStatusExt;
        let status = eventually("the end of the program", || self.child.try_wait().expect("our child"));
        assert_eq!(status.signal(), None, "the program itself was ended by a signal");
        status.code().expect("a code")
    }

    /// Everything on stderr. To be called after the end.
    pub(crate) fn errors(&mut self) -> String {
        let mut text = String::new();
        self.child.stderr.take().expect("not taken before").read_to_string(&mut text).expect("text");
        text
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        end_session(&mut self.child);
    }
}

/// Ends `leader` and whatever is left of its session: an app that we are no longer there for, its children.
pub(crate) fn end_session(leader: &mut Child) {
    let _ = leader.kill();
    let _ = leader.wait();
    let left: Vec<_> = processes().filter(|process| process.session == leader.id()).map(|process| process.id).collect();
    if !left.is_empty() {
        let _ = Command::new("kill").arg("-KILL").args(left).stderr(Stdio::null()).status();
    }
}

/// Sends `signal` to the process with this number.
pub(crate) fn signal_process(id: u32, signal: Signal) {
    let sent = Command::new("sh").args(["-c", &format!("kill -{} {id}", signal.number())]).status().expect("sh");
    assert!(sent.success(), "kill -{signal} {id}");
}

/// The value of `fact`, as soon as there is one.
pub(crate) fn eventually<T>(what: &str, mut fact: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = fact() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A process as `/proc/ID/stat` tells of it.
pub(crate) struct Process {
    pub(crate) id: String,
    /// `Z` has ended and has not been reaped, `T` is stopped.
    pub(crate) state: char,
    parent: u32,
    session: u32,
}

impl Process {
    /// `None` when there is none with this number.
    pub(crate) fn find(id: impl ToString) -> Option<Self> {
        let id = id.to_string();
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        let (_, fields) = stat.rsplit_once(')')?;
        let fields: Vec<_> = fields.split_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse().ok();
        Some(Self { state: fields.first()?.chars().next()?, parent: number(1)?, session: number(3)?, id })
    }
}

fn processes() -> impl Iterator<Item = Process> {
    let all = fs::read_dir("/proc").expect("/proc").flatten();
    let named = all.filter_map(|entry| entry.file_name().into_string().ok());
    named.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())).filter_map(Process::find)
}

/// The numbers of the children of process `id`.
pub(crate) fn children_of(id: u32) -> Vec<String> {
    processes().filter(|process| process.parent == id).map(|process| process.id).collect()
}

/// The state letters of the children of process `id`.
pub(crate) fn children(id: u32) -> Vec<char> {
    processes().filter(|process| process.parent == id).map(|process| process.state).collect()
}

/// Whether there is a process with this number that has not ended.
pub(crate) fn lives(id: u32) -> bool {
    Process::find(id).is_some_and(|process| process.state != 'Z')
}

/// Whether this machine lets us make PID namespaces; says so when it does not.
pub(crate) fn pid_namespaces() -> bool {
    let works = Command::new("unshare")
        .args(["--pid", "--fork", "--mount-proc", "true"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !works {
        lacks("PID namespaces");
    }
    works
}
