//! `vestibule token jwt` and `token vault-cf` by themselves: what they print, and what they refuse.

use std::process::{Command, Output};

use serde_json::Value;
use vestibule::issuer::{CertificateAuthority, Credential, InstanceSpec, KeyKind};

use crate::support::credentials::{Credentials, issue_rsa};
use crate::support::sidecar::VESTIBULE;

fn token(credentials: &Credentials, words: &[&str]) -> Output {
    let mut command = Command::new(VESTIBULE);
    command.arg("token").args(words).env_clear();
    command.env("CF_INSTANCE_CERT", credentials.cert()).env("CF_INSTANCE_KEY", credentials.key());
    command.output().unwrap()
}

/// Status and stderr.
fn refused(credentials: &Credentials, words: &[&str]) -> (i32, String) {
    let output = token(credentials, words);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{words:?}");
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

fn printed(credentials: &Credentials, words: &[&str]) -> String {
    let output = token(credentials, words);
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""), "{words:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn write(credential: &Credential) -> Credentials {
    let credentials = Credentials::empty();
    credentials.folder.write(credential).unwrap();
    credentials
}

fn instance(change: impl FnOnce(&mut InstanceSpec)) -> Credentials {
    let mut spec = InstanceSpec::generate().unwrap();
    change(&mut spec);
    write(&issue_rsa(&spec))
}

#[test]
fn a_token_is_one_line_and_says_who_the_certificate_says() {
    let credentials = instance(|_| {});
    let text = printed(&credentials, &["jwt", "--audience", "billing", "--claim", "team=red=blue"]);
    assert!(text.ends_with('\n') && text.trim_end().bytes().all(|byte| byte.is_ascii_graphic()), "{text}");
    let claims: Value = {
        use base64ct::{Base64UrlUnpadded, Encoding};
        serde_json::from_slice(&Base64UrlUnpadded::decode_vec(text.split('.').nth(1).unwrap()).unwrap()).unwrap()
    };
    let identity = Command::new(VESTIBULE).args(["identity", "--json"]).arg(credentials.cert()).output().unwrap();
    let identity: Value = serde_json::from_slice(&identity.stdout).unwrap();
    for (claim, field) in
        [("org_guid", "organization"), ("space_guid", "space"), ("app_guid", "app"), ("cf_instance_guid", "instance")]
    {
        assert_eq!(claims[claim], identity[field]);
    }
    assert_eq!(claims["sub"], format!("cf:app:{}", identity["app"].as_str().unwrap()));
    assert_eq!(
        (&claims["iss"], &claims["aud"], &claims["team"]),
        (&claims["sub"], &"billing".into(), &"red=blue".into())
    );
}

#[test]
fn errors_are_all_told_at_once_and_nothing_is_printed() {
    let credentials = instance(|_| {});
    let (status, text) =
        refused(&credentials, &["jwt", "--ttl", "2h", "--form", "comcast", "--alg", "HS256", "--claim", "exp=1"]);
    assert_eq!(status, 2, "{text}");
    for flag in ["--audience", "--ttl", "--form", "--alg", "--claim"] {
        assert!(text.contains(&format!("vestibule: {flag}: ")), "{flag}: {text}");
    }
    for (words, told) in [
        (&["jwt", "--audience", "a", "--alg", "ES256"][..], "ES256 does not fit the key (RSA 2048); write RS256"),
        (&["jwt", "--audience", "a", "--form", "uaa"], "--form: uaa needs a client; add --client-id ID"),
        (
            &["jwt", "--audience", "a", "--form", "uaa", "--client-id", "c", "--bind"],
            "--bind: says nothing in the form uaa, which has no certificate; leave it out",
        ),
        (
            &["jwt", "--audience", "a", "--form", "uaa", "--client-id", "c", "--chain", "full"],
            "--chain: says nothing in the form uaa",
        ),
        (&["jwt", "--audience", "a", "--policy", "p"], "--policy: says nothing in this form"),
        (&["jwt", "--audience", "a", "--client-id", "c"], "--client-id: says nothing in this form"),
        (
            &["jwt", "--audience", "a", "--form", "comcast", "--policy", "p", "--chain", "none"],
            "--chain: none leaves nothing",
        ),
        (&["vault-cf"], "--role: is not given"),
        (&["vault-cf", "--role", ""], "--role: is empty"),
    ] {
        let (status, text) = refused(&credentials, words);
        assert!(status == 2 && text.contains(told), "{words:?}: {status} {text}");
    }
}

#[test]
fn without_a_pair_the_status_is_66_and_the_error_names_the_file() {
    let empty = Credentials::empty();
    for words in [&["jwt", "--audience", "a"][..], &["vault-cf", "--role", "r"]] {
        let (status, text) = refused(&empty, words);
        assert!(status == 66 && text.contains("no usable certificate and key: "), "{status} {text}");
        assert!(text.contains("instance.crt"), "{text}");
    }
}

#[test]
fn a_certificate_that_vouches_for_nobody_now_makes_no_token() {
    let retired = instance(|spec| spec.instance = None);
    let (status, text) = refused(&retired, &["jwt", "--audience", "a"]);
    assert_eq!((status, text.as_str()), (1, "vestibule: the instance is about to stop: it has no name any more\n"));
    let short = instance(|spec| spec.validity = std::time::Duration::from_secs(8));
    let (status, text) = refused(&short, &["jwt", "--audience", "a"]);
    assert!(status == 1 && text.contains("expires in less than 10 seconds"), "{text}");
}

#[test]
fn a_login_is_refused_here_with_the_reason_where_vault_would_refuse_it() {
    let words = ["vault-cf", "--role", "r"];
    let (status, text) = refused(&Credentials::new(), &words);
    assert!(status == 1 && text.contains("takes RSA keys"), "{text}");
    let (status, text) = refused(&instance(|spec| spec.instance = None), &words);
    assert!(status == 1 && text.contains("no CN"), "{text}");
    let mut alone = issue_rsa(&InstanceSpec::generate().unwrap());
    alone.cert_pem = alone.cert_pem.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap().to_owned();
    let (status, text) = refused(&write(&alone), &words);
    assert!(status == 1 && text.contains("CA that issued ours is not in the file"), "{text}");
    let now = std::time::SystemTime::now();
    let spec = InstanceSpec { key: KeyKind::Rsa2048, ..InstanceSpec::generate().unwrap() };
    let stranger = CertificateAuthority::generate(now).unwrap().issue(&spec, now).unwrap();
    let leaf = issue_rsa(&spec);
    let of = |pem: &str, at: usize| pem.split_inclusive("-----END CERTIFICATE-----\n").nth(at).unwrap().to_owned();
    let mixed = Credential { cert_pem: of(&leaf.cert_pem, 0) + &of(&stranger.cert_pem, 1), ..leaf };
    let (status, text) = refused(&write(&mixed), &words);
    assert!(status == 1 && text.contains("CA that issued ours is not in the file"), "{text}");
}

#[test]
fn a_role_in_capitals_is_told_of_and_sent_as_it_was_written() {
    let credentials = instance(|_| {});
    let output = token(&credentials, &["vault-cf", "--role", "MyRole"]);
    let body: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &body["role"]), (Some(0), &"MyRole".into()));
    assert!(String::from_utf8_lossy(&output.stderr).contains("Vault stores role names in lower case"));
}

#[test]
fn a_token_is_written_into_a_file_whole_and_with_its_mode_or_nothing_is_left() {
    use std::os::unix::fs::PermissionsExt;
    let credentials = instance(|_| {});
    let file = credentials.dir().join("token");
    let path = file.to_str().unwrap();
    for (mode, bits) in [(&[][..], 0o600), (&["--mode", "0640"], 0o640)] {
        assert_eq!(printed(&credentials, &[&["jwt", "--audience", "a", "--write", path], mode].concat()), "");
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o7777, bits);
        let token = std::fs::read_to_string(&file).unwrap();
        assert_eq!((token.split('.').count(), token.trim()), (3, token.as_str()));
    }
    let before = std::fs::read_dir(credentials.dir()).unwrap().count();
    for (target, status) in [("/proc/none/token", 78), (credentials.dir().to_str().unwrap(), 78), ("", 2)] {
        let (code, text) = refused(&credentials, &["jwt", "--audience", "a", "--write", target]);
        assert!(code == status && text.contains("--write: "), "{target}: {code} {text}");
        assert!(!text.contains("eyJ"), "a token in an error: {text}");
    }
    let (code, text) = refused(&credentials, &["jwt", "--audience", "a", "--mode", "0640"]);
    assert!(code == 2 && text.contains("add --write FILE"), "{text}");
    assert_eq!(std::fs::read_dir(credentials.dir()).unwrap().count(), before);
}

#[test]
fn a_token_is_written_over_no_file_that_it_is_made_of_and_over_no_device() {
    use std::os::unix::net::UnixListener;
    let credentials = instance(|_| {});
    let link = credentials.dir().join("link");
    std::os::unix::fs::symlink(credentials.dir(), &link).unwrap();
    let socket = credentials.dir().join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    let before = (std::fs::read(credentials.cert()).unwrap(), std::fs::read(credentials.key()).unwrap());
    let key = credentials.key();
    for (path, status, told) in [
        (key.clone(), 2, "we read it ourselves, as --key; name another file"),
        (link.join("instance.key"), 2, "as --key"),
        (credentials.cert(), 2, "as --cert"),
        (socket.clone(), 78, "it is a device, a pipe or a socket; name a file"),
    ] {
        let (code, text) = refused(&credentials, &["jwt", "--audience", "a", "--write", path.to_str().unwrap()]);
        assert!(code == status && text.contains(told), "{path:?}: {code} {text}");
    }
    assert_eq!((std::fs::read(credentials.cert()).unwrap(), std::fs::read(key).unwrap()), before);
    assert!(std::os::unix::fs::FileTypeExt::is_socket(&socket.metadata().unwrap().file_type()));
}

#[test]
fn what_would_be_told_apart_by_nobody_or_taken_by_nobody_is_refused_or_said() {
    let credentials = instance(|_| {});
    let (status, stderr) = refused(&credentials, &["jwt", "--audience", "a", "--claim", "x=1", "--claim", "x=2"]);
    assert!(status == 2 && stderr.contains("--claim: \"x\" is given twice"), "{stderr}");
    let long = format!("x={}", "y".repeat(16_000));
    let (status, stderr) = refused(&credentials, &["jwt", "--audience", "a", "--claim", &long]);
    assert!(status == 2 && stderr.contains("receivers take 16384"), "{stderr}");
    assert!(stderr.contains("its claims; ask for fewer or shorter"), "{stderr}");
    assert!(!stderr.contains("yyyy"), "{stderr}");
    let both = token(&credentials, &["jwt", "--audience", "a,b"]);
    assert_eq!(both.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&both.stderr).contains("give the option several times"), "{both:?}");
    let both = token(&credentials, &["jwt", "--audience", "a", "--form", "comcast", "--policy", "p,q"]);
    assert_eq!(both.status.code(), Some(0));
    let stderr = String::from_utf8_lossy(&both.stderr);
    assert!(stderr.contains("--policy: a comma is taken as part of the name"), "{stderr}");
    let vault =
        ["vault", "--addr", "http://127.0.0.1:1", "--method", "comcast", "--policy", "p,q", "--audience", "a,b"];
    let (_, stderr) = refused(&credentials, &vault);
    for option in ["--policy: a comma", "--audience: a comma"] {
        assert!(stderr.contains(option), "{stderr}");
    }
}
