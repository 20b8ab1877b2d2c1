//! `vestibule token verify` by itself: what it says, by which status, and what it never says.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::support::credentials::{Credentials, roots_pem};
use crate::support::sidecar::VESTIBULE;

/// An instance, and a receiver that has the CA.
struct Receiver {
    credentials: Credentials,
    ca: PathBuf,
}

impl Receiver {
    fn new() -> Self {
        let credentials = Credentials::new();
        let ca = credentials.dir().join("roots.pem");
        std::fs::write(&ca, roots_pem()).unwrap();
        Self { credentials, ca }
    }

    /// A file of the receiver's.
    fn file(&self, name: &str, text: &str) -> String {
        let path = self.credentials.dir().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn token(&self, words: &[&str]) -> String {
        let mut command = Command::new(VESTIBULE);
        command.args(["token", "jwt"]).args(words).env_clear();
        command.env("CF_INSTANCE_CERT", self.credentials.cert()).env("CF_INSTANCE_KEY", self.credentials.key());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Judges `token` for the audience `me`.
    fn verify(&self, token: &str, words: &[&str]) -> (i32, String, String) {
        let ca = self.ca.to_str().unwrap();
        told(run(&[&["--ca", ca, "--audience", "me"], words].concat(), token), token)
    }

    fn json(&self, token: &str, words: &[&str]) -> (i32, Value) {
        let (status, stdout, stderr) = self.verify(token, &[&["--json"], words].concat());
        (status, serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{stdout}{stderr}")))
    }
}

/// `vestibule token verify WORDS...` with `input` to read.
fn run(words: &[&str], input: &str) -> Output {
    let mut command = Command::new(VESTIBULE);
    command.args(["token", "verify"]).args(words).env_clear();
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Whoever has read enough need not read on.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// Status, stdout and stderr, in which nothing of `token` can be.
fn told(output: Output, token: &str) -> (i32, String, String) {
    let [stdout, stderr] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    for part in token.trim().split('.').filter(|part| part.len() > 40) {
        assert!(!stdout.contains(part) && !stderr.contains(part), "the token is shown: {stdout}{stderr}");
    }
    (output.status.code().unwrap(), stdout, stderr)
}

fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

#[test]
fn a_token_is_read_from_stdin_or_the_command_line_and_the_verdict_is_the_status() {
    let receiver = Receiver::new();
    let token = receiver.token(&["--audience", "me"]);
    // The time that is left is another at each look.
    let judged = |input: &str, words: &[&str]| {
        let (status, mut verdict) = receiver.json(input, words);
        let left = verdict.as_object_mut().unwrap().remove("ttl_seconds").unwrap();
        assert!((1..=86_400).contains(&left.as_u64().unwrap()), "{left}");
        (status, verdict)
    };
    let permit = judged(&token, &[]);
    assert_eq!((permit.0, &permit.1["verdict"], &permit.1["audience"]), (0, &json!("permit"), &json!("me")));
    let app = receiver.credentials.spec.app.to_string();
    assert_eq!((&permit.1["identity"]["app_guid"], &permit.1["reason"]), (&json!(app), &Value::Null));
    let line = token.trim_end();
    assert_eq!(judged(line, &[]), permit);
    assert_eq!(judged(&format!("{line}\r\n"), &["-"]), permit);
    assert_eq!(judged("", &[line]), permit);
    let (status, denial) = receiver.json(&token, &["--max-ttl", "1m"]);
    assert_eq!((status, &denial["reason"], &denial["check"]), (1, &json!("too_long"), &json!(6)));
    for (input, words) in [("", vec![]), ("x", vec![]), (token.as_str(), vec!["x"]), (&format!("{token}\n"), vec![])] {
        assert_eq!(receiver.json(input, &words).1["reason"], "malformed", "{words:?}");
    }
}

#[test]
fn in_text_each_thing_has_its_line() {
    let receiver = Receiver::new();
    let token = receiver.token(&["--audience", "me"]);
    let (status, text, stderr) = receiver.verify(&token, &[]);
    assert_eq!((status, stderr.as_str()), (0, ""));
    let app = receiver.credentials.spec.app;
    for line in ["verdict       permit", &format!("app           {app}"), "audience      me", "policies      none"] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
    let (status, text, _) = receiver.verify(&token, &["--require-bound"]);
    assert_eq!((status, text.lines().next()), (1, Some("verdict       denial")));
    assert!(text.contains("reason        not_bound (check 6): it is not bound to a certificate (cnf)"), "{text}");
}

#[test]
fn errors_are_all_told_at_once_and_nothing_is_read() {
    let receiver = Receiver::new();
    let token = receiver.token(&["--audience", "me"]);
    let words =
        ["--skew", "6m", "--max-ttl", "25h", "--form", "uaa", "--identity", "none", "--role", "r", "--peer", ""];
    let (status, stdout, stderr) = told(run(&words, &token), &token);
    assert_eq!((status, stdout.as_str()), (2, ""));
    for flag in ["--ca", "--audience", "--skew", "--max-ttl", "--form", "--identity", "--role", "--peer"] {
        assert!(stderr.contains(&format!("vestibule: {flag}: ")), "{flag}: {stderr}");
    }
    // A token in a wrong place is not shown either.
    let token = token.trim_end();
    for words in [vec![token, token], vec!["--form", token], vec!["--skew", token], vec![&*format!("--{token}")]] {
        let words = [&["--ca", "/nowhere", "--audience", "me"], &words[..]].concat();
        let (status, stdout, stderr) = told(run(&words, ""), token);
        assert_eq!((status, stdout.as_str(), stderr.is_empty()), (2, "", false));
    }
}

#[test]
fn a_file_that_cannot_be_read_is_66_and_roles_with_errors_are_78_with_their_lines() {
    let receiver = Receiver::new();
    let token = receiver.token(&["--audience", "me"]);
    let broken = receiver.file("broken", "not what it should be\n");
    for (words, status, said) in [
        (["--crl", &broken], 66, "broken"),
        (["--peer", &broken], 66, "no certificate in it"),
        (["--peer", "/nowhere/peer.crt"], 66, "cannot be read"),
        (["--replay-file", &broken], 66, "line 1 is not one that this command has written"),
        (["--replay-file", "/nowhere/used"], 66, "its folder does not exist"),
        (["--roles", &broken], 78, "broken:1: not TOML"),
        (["--roles", "/nowhere/roles.toml"], 78, "cannot be read"),
    ] {
        let (found, stdout, stderr) = receiver.verify(&token, &words);
        assert_eq!((found, stdout.as_str()), (status, ""), "{words:?}: {stderr}");
        assert!(stderr.contains(said), "{words:?}: {stderr}");
    }
    let (status, _, stderr) = told(run(&["--ca", &broken, "--audience", "me"], &token), &token);
    assert!(status == 66 && stderr.contains("broken"), "{stderr}");
    assert_eq!(std::fs::read_to_string(&broken).unwrap(), "not what it should be\n");
}

#[test]
fn a_token_that_is_to_count_once_counts_once_and_one_that_is_denied_is_not_used_up() {
    let receiver = Receiver::new();
    let token = receiver.token(&["--audience", "me", "--audience", "others"]);
    let file = receiver.credentials.dir().join("used");
    let words = ["--replay-file", file.to_str().unwrap()];
    assert_eq!(receiver.json(&token, &[&words[..], &["--max-ttl", "1m"]].concat()).1["reason"], "too_long");
    assert_eq!(receiver.json(&token, &words).0, 0);
    let (status, denial) = receiver.json(&token, &words);
    assert_eq!((status, &denial["reason"], &denial["check"]), (1, &json!("replayed"), &json!(7)));
    assert_eq!(receiver.json(&token, &[]).0, 0, "nobody has asked whether it was used");
    // What is remembered is of no use to whoever reads it.
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.lines().count() == 1 && !text.contains(&token[..40]), "{text}");
    assert!(!exists(&receiver.credentials.dir().join("used.lock")));
}

#[test]
fn a_bound_token_counts_with_the_callers_certificate_and_roles_say_what_it_grants() {
    let receiver = Receiver::new();
    let token = receiver.token(&["--audience", "me", "--bind"]);
    let cert = receiver.credentials.cert();
    let roles = format!(
        "[[role]]\nname = \"r\"\nallow = [\"cf:app:{}\"]\npolicies = [\"p\"]\nmax-ttl = \"90s\"\n",
        receiver.credentials.spec.app
    );
    let roles = receiver.file("roles.toml", &roles);
    let words = ["--peer", cert.to_str().unwrap(), "--roles", &roles, "--role", "r"];
    let (status, permit) = receiver.json(&token, &words);
    assert_eq!((status, &permit["policies"], &permit["role"]), (0, &json!(["p"]), &json!("r")));
    assert_eq!(permit["ttl_seconds"], 90);
    assert_eq!(receiver.json(&token, &words[2..]).1["reason"], "not_bound");
    assert_eq!(receiver.json(&token, &[&words[..5], &["R"]].concat()).1["reason"], "no_role");
}

#[test]
fn what_may_have_been_meant_is_said_beside_the_verdict() {
    let receiver = Receiver::new();
    let (_, _, stderr) = receiver.verify("", &[]);
    assert!(stderr.contains("nothing stands on stdin"), "{stderr}");
    let token = receiver.token(&["--audience", "me"]);
    let file = receiver.file("token", &token);
    let (status, _, stderr) = receiver.verify("", &[&file]);
    assert!(status == 1 && stderr.contains("TOKEN is the name of a file"), "{stderr}");
    assert_eq!(receiver.verify(&token, &[]).2, "");
    assert_eq!(receiver.verify("", &[token.trim_end()]).2, "");
    // A name without a slash, there or not.
    for (name, hint) in [
        ("token.jwt", "TOKEN is the name of a file"),
        ("my.token.jwt", "TOKEN is the name of a file"),
        ("tokn.jwt", "TOKEN looks like the name of a file, and there is none"),
        ("a.b.token", "TOKEN looks like the name of a file, and there is none"),
        ("token.txt", "TOKEN looks like the name of a file, and there is none"),
    ] {
        receiver.file("token.jwt", &token);
        receiver.file("my.token.jwt", &token);
        let mut command = Command::new(VESTIBULE);
        command.args(["token", "verify", "--audience", "me", "--ca"]).arg(&receiver.ca).arg(name);
        let output = command.current_dir(receiver.credentials.dir()).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && stderr.contains(hint), "{name}: {stderr}");
        assert!(stderr.contains("write < FILE in its place"), "{name}: {stderr}");
    }
    let (_, _, stderr) = receiver.verify(&token, &["--audience", "a,b"]);
    assert!(stderr.contains("--audience: a comma is taken as part of the name"), "{stderr}");
    let (_, denial) = receiver.json(&token, &["--form", "comcast"]);
    assert_eq!(denial["detail"], "its header has no JWK.x5c; it is written in the form standard");
}

#[test]
fn cas_that_are_not_there_are_said_by_the_option_that_names_them() {
    let receiver = Receiver::new();
    let folder = receiver.credentials.dir().join("none");
    std::fs::create_dir(&folder).unwrap();
    let folder = folder.to_str().unwrap();
    let (status, _, stderr) = told(run(&["--ca", folder, "--audience", "me"], ""), "");
    assert!(status != 0 && stderr.contains("give --ca a file or folder"), "{stderr}");
    assert!(!stderr.contains("client"), "{stderr}");
    let (status, _, stderr) = receiver.verify("", &["--crl", folder]);
    assert!(status != 0 && stderr.contains("give --crl a file or folder"), "{stderr}");
    assert!(!stderr.contains("client"), "{stderr}");
}

#[test]
fn a_replay_file_that_stays_locked_lets_nobody_in() {
    let receiver = Receiver::new();
    let token = receiver.token(&["--audience", "me"]);
    let file = receiver.file("used", "");
    let mut holder =
        Command::new("flock").args([&file, "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = holder.stdin.take().unwrap();
    // What it answers shows that it has the lock.
    stdin.write_all(b"x").unwrap();
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut [0; 1]).unwrap();
    let (status, stdout, stderr) = receiver.verify(&token, &["--replay-file", &file]);
    assert!(status != 0 && stdout.is_empty() && stderr.contains("another process has it locked"), "{stdout}{stderr}");
    drop(stdin);
    holder.wait().unwrap();
    assert_eq!(receiver.json(&token, &["--replay-file", &file]).0, 0);
}
