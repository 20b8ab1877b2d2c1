//! Secrets of the app: resolved before it starts, all of them or none, and told to nobody else.

mod checking;
mod documents;
pub(crate) mod failures;
mod files;
mod rotating;
mod scale;
mod silence;
mod starting;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitStatus;

use tempfile::TempDir;

use crate::support::credentials::Credentials;
use crate::support::credhub::CredHub;
use crate::support::eventually;
use crate::support::sidecar::{Setup, Sidecar};

/// An instance whose app needs secrets. Its app writes its environment into a file, and ends.
pub(crate) struct Instance {
    pub(crate) credentials: Credentials,
    folder: TempDir,
}

/// How a start has ended.
pub(crate) struct Outcome {
    pub(crate) status: ExitStatus,
    /// What the app was started with; none if it was not.
    pub(crate) environment: Option<BTreeMap<String, String>>,
    /// All that was said.
    pub(crate) log: String,
    /// The errors among it.
    pub(crate) errors: Vec<String>,
}

impl Instance {
    pub(crate) fn new() -> Self {
        Self { credentials: Credentials::new(), folder: TempDir::new().unwrap() }
    }

    /// Where the app writes what it was started with.
    pub(crate) fn out(&self) -> PathBuf {
        self.folder.path().join("environ")
    }

    /// A folder of the instance's own.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `vestibule run`, with the secrets of `sources` in a folder of the test's own, and `options`.
    pub(crate) fn resolving(&self, sources: &str, options: &[&str]) -> Setup {
        let out = self.out();
        self.running(sources, options, &["cp", "/proc/self/environ", out.to_str().unwrap()])
    }

    /// The same with another app.
    pub(crate) fn running(&self, sources: &str, options: &[&str], app: &[&str]) -> Setup {
        let secrets = self.path("secrets");
        std::fs::create_dir_all(&secrets).unwrap();
        let mut args =
            vec!["run", "--listen", "127.0.0.1:0", "--resolve", sources, "--secrets-dir", secrets.to_str().unwrap()];
        args.extend(options);
        args.push("--");
        args.extend(app);
        Setup::command(&args).credentials(&self.credentials)
    }

    /// The same with `credhub` to ask.
    pub(crate) fn with_credhub(&self, credhub: &CredHub) -> Setup {
        let ca = credhub.ca();
        self.resolving("credhub", &["--credhub-url", &credhub.url(), "--credhub-ca", ca.to_str().unwrap()])
    }

    /// What the admin listener answers, which is at the socket file `admin` of the instance.
    pub(crate) fn admin(&self, path: &str) -> String {
        use std::io::{Read, Write};
        let mut stream =
            eventually("the admin listener", || std::os::unix::net::UnixStream::connect(self.path("admin")).ok());
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    /// Waits for the end.
    pub(crate) fn outcome(&self, setup: Setup) -> Outcome {
        self.ended(setup.start())
    }

    pub(crate) fn ended(&self, mut sidecar: Sidecar) -> Outcome {
        let status = sidecar.exited();
        let environment = std::fs::read(self.out()).ok().map(|bytes| {
            let text = String::from_utf8(bytes).unwrap();
            let variable = |line: &str| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
            text.split('\0').filter_map(variable).collect()
        });
        let lines = sidecar.lines();
        let errors = lines.iter().filter(|line| line["level"] == "error");
        let errors = errors.map(|line| {
            let help = line["help"].as_str().unwrap_or_default();
            format!("{}; {help}", line["message"].as_str().unwrap())
        });
        let errors = errors.collect();
        let log = lines.iter().map(|line| format!("{line}\n")).collect();
        Outcome { status, environment, log, errors }
    }
}

impl Outcome {
    /// The value of a variable of the app, which was started and has ended well.
    #[track_caller]
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        assert!(self.status.success(), "{}", self.log);
        self.environment.as_ref().expect("the app was not started").get(name).map(String::as_str)
    }

    /// The one error with which the start has failed, and no app was started.
    #[track_caller]
    pub(crate) fn failure(&self) -> &str {
        assert_eq!(self.status.code(), Some(69), "{}", self.log);
        assert!(self.environment.is_none(), "the app was started");
        match &self.errors[..] {
            [error] => error,
            errors => panic!("{errors:?}"),
        }
    }
}
