//! What a machine may lack, so that a test cannot run on it.

use std::path::Path;
use std::process::{Command, Stdio};

/// Says that a test is left out, for want of `what`.
///
/// # Panics
/// CI names in `TESTS_LACK` what its machine lacks, with commas between; what is not named there must not be missing.
pub(crate) fn lacks(what: &str) {
    if let Ok(named) = std::env::var("TESTS_LACK") {
        let is_named = named.split(',').any(|named| named == what);
        assert!(is_named, "this machine lacks {what}, and TESTS_LACK does not name it");
    }
    eprintln!("left out: this machine lacks {what}");
}

/// Runs the test called `test` as root of its own in these `namespaces` (as unshare(1) calls them), once the shell has done what `prepare` says,
/// to which `argument` is `$1`; whether this is there already.
pub(crate) fn in_namespaces(test: &str, namespaces: &[&str], prepare: &str, argument: &Path) -> bool {
    if std::env::var_os("TESTS_ALONE").is_some() {
        return true;
    }
    let unshare = |more: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user"]).args(namespaces).args(more);
        command
    };
    if !unshare(&["true"]).status().is_ok_and(|status| status.success()) {
        lacks("user namespaces");
        return false;
    }
    let script = format!("{prepare} && exec \"$2\" --exact \"$3\" --nocapture");
    let status = unshare(&["sh", "-c", &script, "sh"])
        .arg(argument)
        .arg(std::env::current_exe().unwrap())
        .arg(test)
        .env("TESTS_ALONE", "1")
        .status()
        .unwrap();
    assert!(status.success(), "{test}: {status}");
    false
}

/// Whether this program, with its arguments, can be run and ends well.
pub(crate) fn can(program: &[&str]) -> bool {
    let mut command = Command::new(program[0]);
    command.args(&program[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// What a Python can do whose `cryptography` verifies the chains of clients.
pub(crate) const VERIFIES_CHAINS: &str = "import jwt; from cryptography.x509.verification import ClientVerifier";

/// The Python that can do `statement`.
///
/// Modules of the distribution are known to its own Python alone, which may not be the first.
pub(crate) fn python_that(statement: &str) -> Option<&'static str> {
    ["python3", "/usr/bin/python3"].into_iter().find(|python| can(&[python, "-c", statement]))
}
