//! The real binary, on port 0, watched through its own log.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::credentials::Credentials;
use super::eventually;

/// The path of the binary under test.
pub(crate) const VESTIBULE: &str = env!("CARGO_BIN_EXE_vestibule");

/// A running `vestibule`. Killed when the test is done with it.
pub(crate) struct Sidecar {
    child: Child,
    log: Arc<Mutex<Vec<Value>>>,
    reading: Arc<Mutex<()>>,
}

/// What a `vestibule` is started with, before it is.
pub(crate) struct Setup(Command);

impl Setup {
    /// `vestibule ARGS...` with no platform variable of the machine's own, logging everything as JSON.
    pub(crate) fn command(args: &[&str]) -> Self {
        Self::program(VESTIBULE, args)
    }

    /// Another program that becomes a `vestibule` in the end.
    pub(crate) fn program(program: &str, args: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(args).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("VESTIBULE_LOG_FORMAT", "json").env("VESTIBULE_LOG_LEVEL", "debug");
        command.env("VESTIBULE_ACCESS_LOG", "all").env("VESTIBULE_ADMIN", "off");
        // Most apps are the test's own: what reaches them has to come from the test's clients.
        command.env("VESTIBULE_APP_READY", "off");
        // Everything once more, within a sandbox.
        if let Some(mode) = std::env::var_os("TESTS_SANDBOX") {
            command.env("VESTIBULE_SANDBOX", mode);
        }
        Self(command)
    }

    /// `vestibule proxy` in front of `app`, on a free port of 127.0.0.1.
    pub(crate) fn proxy(credentials: &Credentials, app: impl std::fmt::Display) -> Self {
        Self::command(&["proxy", "--listen", "127.0.0.1:0", "--app", &app.to_string()]).credentials(credentials)
    }

    /// `CF_INSTANCE_CERT` and `CF_INSTANCE_KEY`, as the platform sets them.
    pub(crate) fn credentials(self, credentials: &Credentials) -> Self {
        let (cert, key) = (credentials.cert(), credentials.key());
        self.env("CF_INSTANCE_CERT", cert.to_str().unwrap()).env("CF_INSTANCE_KEY", key.to_str().unwrap())
    }

    pub(crate) fn arg(mut self, arg: &str) -> Self {
        self.0.arg(arg);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.0.env(name, value);
        self
    }

    /// Starts it and follows its log.
    pub(crate) fn start(mut self) -> Sidecar {
        let mut child = self.0.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let lines = Arc::clone(&log);
        let reading = Arc::new(Mutex::new(()));
        let gate = Arc::clone(&reading);
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                drop(gate.lock().unwrap_or_else(PoisonError::into_inner));
                // What the app or a panic writes is kept as text.
                let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
                lines.lock().unwrap().push(line);
            }
        });
        Sidecar { child, log, reading }
    }

    /// Starts it and waits until it serves its first pair.
    pub(crate) fn ready(self) -> Sidecar {
        let sidecar = self.start();
        sidecar.wait_for("certificate loaded");
        sidecar
    }
}

impl Sidecar {
    /// Where its first listener is.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addrs()[0]
    }

    /// Where its listeners are, in order. Waits until it says so.
    pub(crate) fn addrs(&self) -> Vec<SocketAddr> {
        self.wait_for("listening");
        let listening = self.lines().into_iter().filter(|line| line["message"] == "listening");
        listening.map(|line| line["listener"].as_str().unwrap().parse().unwrap()).collect()
    }

    /// All log lines so far.
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.log.lock().unwrap().clone()
    }

    /// Nobody reads its stderr until what is given is dropped.
    pub(crate) fn unread(&self) -> MutexGuard<'_, ()> {
        self.reading.lock().unwrap()
    }

    /// The lines with this message.
    pub(crate) fn lines_of(&self, message: &str) -> Vec<Value> {
        self.lines().into_iter().filter(|line| line["message"] == message).collect()
    }

    /// The lines with this message, once there are so many. More than that are a fault.
    #[track_caller]
    pub(crate) fn lines_eventually(&self, message: &str, count: usize) -> Vec<Value> {
        let lines = eventually(message, || Some(self.lines_of(message)).filter(|lines| lines.len() >= count));
        assert_eq!(lines.len(), count, "{lines:#?}");
        lines
    }

    /// Waits for a line with this message.
    #[track_caller]
    pub(crate) fn wait_for(&self, message: &str) -> Value {
        self.wait_until(&format!("a line {message:?}"), |line| line["message"] == message)
    }

    /// Waits for the access log entry of a connection that ended for `reason`.
    #[track_caller]
    pub(crate) fn access_log_entry(&self, reason: &str) -> Value {
        self.wait_until(&format!("an access log entry {reason:?}"), |line| line["close_reason"] == reason)
    }

    #[track_caller]
    pub(crate) fn wait_until(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually(what, || self.lines().into_iter().find(&wanted))
        }));
        found.unwrap_or_else(|_| panic!("no {what} in:\n{:#?}", self.lines()))
    }

    /// The reasons of the access log entries so far.
    pub(crate) fn reasons(&self) -> Vec<String> {
        let lines = self.lines();
        lines.iter().filter_map(|line| line["close_reason"].as_str().map(str::to_owned)).collect()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends it a signal by name, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// Waits for it to end.
    #[track_caller]
    pub(crate) fn exited(&mut self) -> ExitStatus {
        let log = Arc::clone(&self.log);
        let child = &mut self.child;
        let status = eventually("its end", || child.try_wait().unwrap());
        // Its last lines may still be in the pipe.
        eventually("the end of its log", || (Arc::strong_count(&log) <= 2).then_some(()));
        status
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        // By TERM first, so that an app below it ends as well; twice, so that nothing is waited for.
        let deadline = Instant::now() + Duration::from_secs(3);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            let _ = Command::new("kill").args(["-s", "TERM", &self.pid().to_string()]).status();
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            for line in self.lines() {
                eprintln!("{line}");
            }
        }
    }
}
