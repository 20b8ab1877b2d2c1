//! Certificates of every kind that OpenSSL can make, shown by OpenSSL: the handshake and `policy test` come to the same.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::app;
use crate::support::credentials::Credentials;
use crate::support::sidecar::{Setup, Sidecar, VESTIBULE};

const P256: &[&str] = &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
const RULES: [&str; 8] =
    ["--allow", "any", "--deny", "dns:evil.example", "--deny", "uri:spiffe://o/admin/*", "--deny", "cn:Bob"];

/// A folder with a CA, and a proxy that trusts it.
struct Bench {
    dir: TempDir,
    sidecar: Sidecar,
    _credentials: Credentials,
}

impl Bench {
    fn new() -> Self {
        let (dir, credentials) = (TempDir::new().unwrap(), Credentials::new());
        let made = ["-nodes", "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=ca", "-days", "9"];
        openssl(dir.path(), &[&["req", "-x509", "-newkey"], P256, &made].concat());
        let ca = dir.path().join("ca.crt");
        let proxy = Setup::proxy(&credentials, app::echo());
        let proxy = RULES.iter().fold(proxy, |proxy, arg| proxy.arg(arg)).arg("--client-ca").arg(ca.to_str().unwrap());
        let sidecar = proxy.ready();
        Self { dir, sidecar, _credentials: credentials }
    }

    /// `leaf.crt` with this key, subject and extensions.
    fn issue(&self, key: &[&str], subject: &str, extensions: &str, more: &[&str]) {
        let dir = self.dir.path();
        std::fs::write(dir.join("leaf.ext"), extensions).unwrap();
        let made = ["-nodes", "-utf8", "-keyout", "leaf.key", "-out", "leaf.csr", "-subj", subject];
        openssl(dir, &[&["req", "-newkey"], key, &made].concat());
        let signed = ["x509", "-req", "-in", "leaf.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-out", "leaf.crt"];
        let extended: &[&str] = if extensions.is_empty() { &[] } else { &["-extfile", "leaf.ext"] };
        openssl(dir, &[&signed[..], &["-CAcreateserial", "-days", "5"], extended, more].concat());
    }

    /// Whether a handshake with `leaf.crt` comes to a permit, by the entry that it leaves; and the entry.
    fn shake(&self, version: &str) -> (bool, Value) {
        let before = self.sidecar.lines_of("connection closed").len();
        let mut client = Command::new("openssl")
            .args(["s_client", version, "-cert", "leaf.crt", "-key", "leaf.key", "-cipher", "DEFAULT@SECLEVEL=0"])
            .args(["-quiet", "-no_ign_eof", "-connect", &self.sidecar.addr().to_string()])
            .current_dir(&self.dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the openssl program; install it");
        // A closed pipe means that it has given up already.
        let _ = client.stdin.take().unwrap().write_all(b"x\n");
        let entry =
            crate::support::eventually("a entry", || self.sidecar.lines_of("connection closed").get(before).cloned());
        let _ = client.kill();
        client.wait().unwrap();
        (entry["verdict"] == "permit", entry)
    }

    /// What `policy test` says of `leaf.crt`.
    fn test(&self) -> Value {
        let output = Command::new(VESTIBULE)
            .args(["policy", "test", "--json", "--peer", "leaf.crt", "--client-ca", "ca.crt"])
            .args(RULES)
            .env_clear()
            .current_dir(&self.dir)
            .output()
            .unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }

    /// Both, in both versions, and what they came to.
    #[track_caller]
    fn agreed(&self, what: &str) -> Value {
        let said = self.test();
        for version in ["-tls1_3", "-tls1_2"] {
            let (permitted, entry) = self.shake(version);
            assert_eq!(permitted, said["verdict"] == "permit", "{what} with {version}: {said} but {entry}");
            // A client that knows that its key is of no use shows nothing.
            if !permitted && entry["denial_reason"] != "no_certificate" {
                assert_eq!(entry["denial_reason"], said["denial_reason"], "{what} with {version}");
            }
        }
        said
    }
}

fn openssl(dir: &Path, args: &[&str]) {
    let output = Command::new("openssl").args(args).current_dir(dir).output().expect("the openssl program; install it");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn policy_test_and_the_handshake_agree_on_every_kind_of_key() {
    let bench = Bench::new();
    for (key, permitted) in [
        (&["rsa:1024"][..], false),
        (&["rsa:2048"], true),
        (&["rsa:3072"], true),
        (&["rsa-pss", "-pkeyopt", "rsa_keygen_bits:2048"], false),
        (P256, true),
        (&["ec", "-pkeyopt", "ec_paramgen_curve:P-384"], true),
        (&["ec", "-pkeyopt", "ec_paramgen_curve:P-521"], true),
        (&["ec", "-pkeyopt", "ec_paramgen_curve:secp256k1"], false),
        (&["ec", "-pkeyopt", "ec_paramgen_curve:brainpoolP256r1"], false),
        (&["ed25519"], true),
        (&["ed448"], false),
    ] {
        bench.issue(key, "/CN=x", "keyUsage=digitalSignature", &[]);
        let said = bench.agreed(&format!("{key:?}"));
        assert_eq!(said["verdict"] == "permit", permitted, "{key:?}: {said}");
        assert!(permitted || said["denial_reason"] == "unsupported", "{said}");
    }
}

#[test]
fn each_kind_of_certificate_that_is_not_supported_says_which_and_what_to_do() {
    let bench = Bench::new();
    for (extensions, more, detail) in [
        ("", &[][..], "it is not of version 3; issue it with extensions"),
        ("subjectAltName=DNS:a.b", &["-sha1"], "it is signed with SHA-1; have it signed with SHA-256 or better"),
        ("1.2.3.4=critical,DER:0500", &[], "it calls the extension 1.2.3.4 critical"),
        ("policyConstraints=critical,requireExplicitPolicy:0", &[], "it calls the extension 2.5.29.36 critical"),
    ] {
        bench.issue(P256, "/CN=x", extensions, more);
        let said = bench.agreed(extensions);
        assert_eq!(said["denial_reason"], "unsupported", "{said}");
        assert!(said["detail"].as_str().unwrap().contains(detail), "{said}");
    }
    bench.issue(P256, "/CN=x", "certificatePolicies=critical,1.2.3.4", &[]);
    assert_eq!(bench.agreed("critical policies")["verdict"], "permit");
}

#[test]
fn a_denied_name_does_not_come_in_under_another_spelling() {
    let bench = Bench::new();
    for (subject, names) in [
        ("/CN=x", "DNS:evil.example."),
        ("/CN=x", "DNS:*.example"),
        ("/CN=x", "URI:spiffe://o/admin/a%2e"),
        ("/CN=x", "URI:spiffe://o/admin/a?x"),
        ("/CN=x", "URI:SPIFFE://o/admin/a"),
        ("/CN=x", "URI:spiffe://o//admin/a"),
        ("/CN=Bob/CN=Bob", "DNS:good.example"),
        ("/CN=Bob ", "DNS:good.example"),
    ] {
        bench.issue(P256, subject, &format!("subjectAltName={names}"), &[]);
        assert_eq!(bench.agreed(names)["denial_reason"], "name_doubtful", "{subject} {names}");
    }
    bench.issue(P256, "/CN=Bobby", "subjectAltName=DNS:good.example,URI:spiffe://o/web/a", &[]);
    assert_eq!(bench.agreed("others")["verdict"], "permit");
}

#[test]
fn the_record_of_a_client_with_a_long_subject_is_short_and_says_where_it_was_cut() {
    let bench = Bench::new();
    bench.issue(
        P256,
        &"/O=abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz".repeat(230),
        "keyUsage=digitalSignature",
        &[],
    );
    let (permitted, entry) = bench.shake("-tls1_3");
    let subject = entry["client_subject"].as_str().unwrap();
    assert!(permitted && subject.ends_with(" more)") && subject.contains('…'), "{entry}");
    assert!(entry.to_string().len() < 2048, "{entry}");
}
