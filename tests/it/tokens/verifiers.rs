//! Verifiers of others, and what they say of our tokens.

use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use super::programs::{file, line, run, token, verify};
use crate::support::machine::{VERIFIES_CHAINS, can, lacks, python_that};
use crate::support::sidecar::VESTIBULE;

const AUDIENCE: &str = "https://billing.example";

/// Each kind of key, and the algorithm that is asked for beside its own.
const KINDS: [(&str, &[&str]); 7] = [
    ("rsa-2048", &[]),
    ("rsa-2048", &["--alg", "PS256"]),
    ("rsa-3072", &[]),
    ("rsa-4096", &[]),
    ("p-256", &[]),
    ("p-384", &[]),
    ("ed25519", &[]),
];

/// A token of ours, and the CA that vouches for it.
struct Ours {
    dir: TempDir,
    token: String,
}

impl Ours {
    fn of(kind: &str, more: &[&str]) -> Self {
        let dir = TempDir::new().unwrap();
        let mut issuer = Command::new(VESTIBULE);
        let output = issuer.arg("issuer").arg(dir.path()).args(["--once", "--key", kind]).env_clear().output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let (cert, key) = (dir.path().join("instance.crt"), dir.path().join("instance.key"));
        let token = line(&token(&cert, &key, &[&["jwt", "--audience", AUDIENCE], more].concat()));
        Self { dir, token }
    }

    fn ca(&self) -> String {
        self.dir.path().join("authority/root.crt").to_str().unwrap().to_owned()
    }

    /// The token with a bit of its signature turned.
    fn turned(&self) -> String {
        let (signed, signature) = self.token.rsplit_once('.').unwrap();
        let first = if signature.starts_with('A') { 'B' } else { 'A' };
        format!("{signed}.{first}{}", &signature[1..])
    }
}

/// What a verifier looks at.
#[derive(Clone, Copy, PartialEq)]
enum Judges {
    Signature,
    Path,
    Both,
}

/// `program CA AUDIENCE` accepts tokens of each kind, and refuses what it judges where that is not right.
fn accepts(judges: Judges, program: &[String]) {
    let judge = |token: &str, ca: &str| -> Output {
        run(Command::new(&program[0]).args(&program[1..]).arg(ca).arg(AUDIENCE), token)
    };
    let stranger = Ours::of("p-256", &[]);
    for (kind, more) in KINDS {
        let ours = Ours::of(kind, more);
        let output = judge(&ours.token, &ours.ca());
        assert!(output.status.success(), "{kind} {more:?}: {output:?}");
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        if let Some(claims) = told["claims"].as_object() {
            assert_eq!(claims["aud"], AUDIENCE);
            assert_eq!(claims["sub"], claims["iss"]);
        }
        if judges != Judges::Path {
            assert!(!judge(&ours.turned(), &ours.ca()).status.success(), "{kind} {more:?}: a bit was turned");
        }
        if judges != Judges::Signature {
            assert!(!judge(&ours.token, &stranger.ca()).status.success(), "{kind} {more:?}: another CA");
        }
    }
}

/// By `verifier` of Python, which needs `module`.
fn python(judges: Judges, verifier: &str, module: &str) {
    python_with(judges, verifier, &format!("import cryptography, {module}"), module);
}

/// The same; without what can do `statement` the machine lacks `what`.
fn python_with(judges: Judges, verifier: &str, statement: &str, what: &str) {
    let Some(python) = python_that(statement) else { return lacks(what) };
    accepts(judges, &[python, "-B", &file("independent_verifiers.py"), verifier].map(str::to_owned));
}

#[test]
fn pyjwt_accepts_our_tokens_by_their_x5c() {
    python(Judges::Signature, "pyjwt", "jwt");
}

#[test]
fn jwcrypto_accepts_our_tokens_by_their_x5c() {
    python(Judges::Signature, "jwcrypto", "jwcrypto");
}

#[test]
fn our_tokens_are_what_the_rfcs_say_to_the_byte() {
    python(Judges::Signature, "by_hand", "cryptography");
}

#[test]
fn pythons_cryptography_finds_the_path_of_our_tokens() {
    python_with(Judges::Path, "policy_builder", VERIFIES_CHAINS, "cryptography 43 and PyJWT");
}

#[test]
fn openssl_finds_the_path_of_our_tokens() {
    python(Judges::Path, "openssl", "cryptography");
}

#[test]
fn jose_accepts_our_tokens_and_node_their_chain() {
    if !can(&["node", "-e", "require('jose')"]) {
        return lacks("jose");
    }
    accepts(Judges::Both, &["node".to_owned(), file("jose_verifier.js")]);
}

#[test]
fn java_accepts_our_tokens_and_finds_their_path() {
    if !can(&["javac", "-version"]) {
        return lacks("Java");
    }
    let classes = TempDir::new().unwrap();
    let classes = classes.path().to_str().unwrap();
    let compiled = Command::new("javac").args(["-d", classes, &file("PkixVerifier.java")]).output().unwrap();
    assert!(compiled.status.success(), "{compiled:?}");
    accepts(Judges::Both, &["java", "-cp", classes, "PkixVerifier"].map(str::to_owned));
}

#[test]
fn the_thumbprint_is_that_of_openssls_der() {
    let Some(python) = python_that("import cryptography") else { return lacks("cryptography") };
    for (kind, more) in KINDS {
        let ours = Ours::of(kind, more);
        let program = ["-B", &file("independent_verifiers.py"), "thumbprint", &ours.ca(), AUDIENCE];
        let output = run(Command::new(python).args(program), &ours.token);
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        let header = ours.token.split('.').next().unwrap();
        let header = <base64ct::Base64UrlUnpadded as base64ct::Encoding>::decode_vec(header).unwrap();
        let header: Value = serde_json::from_slice(&header).unwrap();
        let mark = &told["thumbprint"];
        assert_eq!((&header["x5t#S256"], &header["kid"]), (mark, mark), "{kind}");
    }
}

#[test]
fn our_own_verifier_accepts_our_tokens_and_judges_both() {
    let stranger = Ours::of("p-256", &[]);
    for (kind, more) in KINDS {
        let ours = Ours::of(kind, more);
        let judge = |token: &str, ca: &str| {
            let (status, said) = verify(token, &["--ca", ca, "--audience", AUDIENCE].map(str::to_owned));
            (status, said["reason"].clone())
        };
        assert_eq!(judge(&ours.token, &ours.ca()), (Some(0), Value::Null), "{kind} {more:?}");
        assert_eq!(judge(&ours.turned(), &ours.ca()), (Some(1), "signature".into()), "{kind} {more:?}");
        assert_eq!(judge(&ours.token, &stranger.ca()), (Some(1), "untrusted".into()), "{kind} {more:?}");
    }
}
