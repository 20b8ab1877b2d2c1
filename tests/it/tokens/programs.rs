//! The programs of others, and how each is run; and ours, as they are run beside them.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::health;
use crate::support::machine::{lacks, python_that};
use crate::support::sidecar::VESTIBULE;

/// Where Vault has the methods that log an instance in.
pub(super) const LOGIN: &str = "/v1/auth/cf/login";

/// The path of a program.
pub(super) fn file(name: &str) -> String {
    format!("{}/tests/it/tokens/independent/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// What makes and judges tokens; `None` where the machine lacks it, which is said.
fn python() -> Option<&'static str> {
    let python = python_that("import cryptography");
    if python.is_none() {
        lacks("cryptography");
    }
    python
}

/// A folder that a maker has filled.
pub(super) struct Made {
    dir: TempDir,
    /// The cases, in the order in which they are to be run.
    pub(super) cases: Vec<Value>,
}

impl Made {
    /// Runs `maker FOLDER WORDS...`, which writes its cases to `list`.
    pub(super) fn by(maker: &str, words: &[&str], list: &str) -> Option<Self> {
        let dir = TempDir::new().unwrap();
        // No folders of compiled code beside the sources.
        let mut command = Command::new(python()?);
        let output = command.arg("-B").arg(file(maker)).arg(dir.path()).args(words).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let cases = std::fs::read_to_string(dir.path().join(list)).unwrap();
        let cases: Vec<_> = cases.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(!cases.is_empty());
        Some(Self { dir, cases })
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What stands in a file of it.
    pub(super) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }
}

/// A server that stands for one that we cannot run. It ends with the test.
pub(super) struct StandIn {
    child: Child,
    addr: SocketAddr,
}

impl StandIn {
    pub(super) fn start(name: &str) -> Option<Self> {
        let mut command = Command::new(python()?);
        let command = command.arg("-B").arg(file(name)).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Some(Self { child, addr: line.trim_end().parse().unwrap() })
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// Status and document of the answer.
    pub(super) fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.addr);
        let (head, body) = health::ask(self.addr, &format!("{head}Content-Length: {length}\r\n\r\n{body}"));
        (health::status(&head), serde_json::from_str(&body).unwrap())
    }

    /// Tells it how it is configured.
    pub(super) fn set(&self, path: &str, document: &Value) {
        assert_eq!(self.ask("POST", path, &document.to_string()), (200, serde_json::json!({})), "{path}: {document}");
    }

    /// Status and text of a login: the error, or what is granted.
    pub(super) fn login(&self, body: &str) -> (u16, String) {
        let (status, answer) = self.ask("POST", LOGIN, body);
        let text = match &answer["errors"][0] {
            Value::String(error) => error.clone(),
            _ => answer["auth"].to_string(),
        };
        (status, text)
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Runs a program to its end, with `input` to read.
pub(super) fn run(command: &mut Command, input: &str) -> Output {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Who knows enough need not read on.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// `vestibule token WORDS...` with this pair.
pub(super) fn token(cert: &Path, key: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(VESTIBULE);
    command.arg("token").args(words).env_clear().env("CF_INSTANCE_CERT", cert).env("CF_INSTANCE_KEY", key);
    command.output().unwrap()
}

/// The line that a `token` command has printed.
#[track_caller]
pub(super) fn line(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.strip_suffix('\n').unwrap().to_owned()
}

/// Status and document of `vestibule token verify --json OPTIONS...`, which reads the token.
pub(super) fn verify(token: &str, options: &[String]) -> (Option<i32>, Value) {
    let mut command = Command::new(VESTIBULE);
    let output = run(command.args(["token", "verify", "--json"]).args(options).env_clear(), token);
    let text = String::from_utf8_lossy(&output.stdout);
    // Whoever reads a verdict must not be able to use the token.
    if let Some(signature) = token.trim_end().rsplit('.').next().filter(|part| part.len() > 40) {
        let said = format!("{text}{}", String::from_utf8_lossy(&output.stderr));
        assert!(!said.contains(signature), "a verdict shows the token: {said}");
    }
    // A usage error has no document.
    let document = serde_json::from_str(&text).unwrap_or_else(|_| Value::String(format!("{output:?}")));
    (output.status.code(), document)
}
