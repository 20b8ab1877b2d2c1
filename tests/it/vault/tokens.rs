//! `vestibule token vault`: one token printed, or kept fresh in a file.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{TOKEN, path, paths, refused, said, url, vault};
use crate::support::credentials::{Credentials, issue, issue_rsa};
use crate::support::http_app::{HttpApp, Reply};
use crate::support::machine::lacks;
use crate::support::sidecar::{Setup, VESTIBULE};

fn rsa() -> Credentials {
    let credentials = Credentials::empty();
    credentials.folder.write(&issue_rsa(&credentials.spec)).unwrap();
    credentials
}

fn token(credentials: &Credentials, words: &[&str]) -> Output {
    let mut command = Command::new(VESTIBULE);
    command.args(["token", "vault"]).args(words).env_clear();
    command.env("CF_INSTANCE_CERT", credentials.cert()).env("CF_INSTANCE_KEY", credentials.key());
    command.output().unwrap()
}

/// A Vault with each method, that gives the token `TOKEN`.
fn any_method() -> HttpApp {
    vault(|asked| {
        let auth = json!({ "auth": { "client_token": TOKEN, "lease_duration": 60, "renewable": true } });
        path(asked).ends_with("/login").then(|| said(200, &auth))
    })
}

#[test]
fn a_token_is_printed_for_each_method_that_needs_no_certificate_of_the_connection() {
    let (credentials, vault) = (rsa(), any_method());
    let at = url(&vault);
    for (words, login, member) in [
        (&["--role", "app"][..], "auth/cf/login", "signature"),
        (&["--role", "app", "--mount", "/team/cf/"], "auth/team/cf/login", "cf_instance_cert"),
        (&["--method", "jwt", "--role", "app", "--audience", "a"], "auth/jwt/login", "jwt"),
        (&["--method", "comcast", "--policy", "p,q"], "auth/cloudfoundry/login", "jwt"),
    ] {
        let output = token(&credentials, &[words, &["--addr", &at]].concat());
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{TOKEN}\n"), "{output:?}");
        assert_eq!(output.status.code(), Some(0));
        let asked = vault.asked().pop().unwrap();
        assert_eq!(path(&asked), format!("/v1/{login}"));
        let body: Value = serde_json::from_slice(&asked.body).unwrap();
        assert!(body[member].is_string(), "{body}");
    }
    assert!(!paths(&vault).contains(&"auth/token/revoke-self".to_owned()), "it is the caller's");
}

#[test]
fn what_the_server_would_refuse_is_not_sent() {
    let (rsa, vault) = (rsa(), any_method());
    let at = url(&vault);
    let ec = Credentials::new();
    let retired = Credentials::empty();
    retired.folder.write(&issue_rsa(&retired.spec.retired())).unwrap();
    let jwt = ["--method", "jwt", "--role", "app", "--audience", "a"];
    for (credentials, words, why) in [
        (&ec, &["--role", "app"][..], "RSA keys"),
        (&ec, &["--method", "comcast", "--policy", "p"], "needs an RSA key"),
        (&retired, &jwt, "about to stop"),
        (&retired, &["--role", "app"], ""),
    ] {
        let output = token(credentials, &[words, &["--addr", &at]].concat());
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("nothing was sent to Vault") && said.contains(why), "{said}");
    }
    for (words, why) in [
        (&["--method", "jwt", "--role", "app"][..], "--audience"),
        (&["--method", "comcast"], "--policy"),
        (&["--role", "app", "--policy", "p"], "--policy"),
        (&["--method", "cert", "--role", "app"], "asks for no certificate"),
        (&[], "--role"),
        (&["--role", "app", "--once"], "--once"),
        (&["--role", "app", "--wrap-ttl", "1m", "--write", "/tmp/x"], "--wrap-ttl"),
        (&["--role", "app", "--mount", "a//b"], "--mount"),
    ] {
        let output = token(&rsa, &[words, &["--addr", &at]].concat());
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(why), "{said}");
    }
    for addr in ["http://vault.example:8200", "https://user:hidden@vault.example", "vault:8200"] {
        let output = token(&rsa, &["--role", "app", "--addr", addr]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && said.contains("--addr") && !said.contains("hidden"), "{said}");
    }
    assert_eq!(vault.asked().len(), 0);
}

#[test]
fn the_variables_of_vaults_own_tools_say_where_it_is() {
    let (credentials, vault) = (rsa(), any_method());
    let mut command = Command::new(VESTIBULE);
    command.args(["token", "vault", "--role", "app"]).env_clear().env("VAULT_ADDR", url(&vault));
    command.env("VAULT_NAMESPACE", "team").env("VAULT_TOKEN", "hvs.another");
    command.env("CF_INSTANCE_CERT", credentials.cert()).env("CF_INSTANCE_KEY", credentials.key());
    assert_eq!(command.output().unwrap().status.code(), Some(0));
    let head = vault.asked().pop().unwrap().head.to_ascii_lowercase();
    assert!(head.contains("x-vault-namespace: team\r\n") && !head.contains("hvs.another"), "{head}");
}

#[test]
fn a_refusal_is_status_1_and_leaves_the_file_as_it_was() {
    let (credentials, vault) = (rsa(), vault(|_| Some(refused(400, &["no matching IP address"]))));
    let file = credentials.dir().join("token");
    fs::write(&file, "old").unwrap();
    let output =
        token(&credentials, &["--addr", &url(&vault), "--role", "app", "--write", file.to_str().unwrap(), "--once"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && said.contains("disable_ip_matching"), "{said}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "old");
}

fn wait_for_file(path: &std::path::Path, wanted: Option<&str>) {
    let began = Instant::now();
    while fs::read_to_string(path).ok().as_deref() != wanted {
        assert!(began.elapsed() < Duration::from_secs(30), "{wanted:?} has not come to be");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn keeping(credentials: &Credentials, vault: &HttpApp, file: &str) -> Setup {
    let at = url(vault);
    let words =
        ["token", "vault", "--addr", &at, "--method", "jwt", "--role", "app", "--audience", "a", "--write", file];
    let setup = Setup::command(&[]);
    words.iter().fold(setup, |setup, word| setup.arg(word)).credentials(credentials)
}

#[test]
fn a_file_is_kept_fresh_over_rotations_and_goes_with_its_token() {
    let (mut credentials, vault) = (Credentials::new(), vault(|_| None));
    let file = credentials.dir().join("token");
    let mut keeping = keeping(&credentials, &vault, file.to_str().unwrap()).start();
    wait_for_file(&file, Some(&format!("{TOKEN}0")));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    credentials.rotate();
    wait_for_file(&file, Some(&format!("{TOKEN}1")));
    keeping.wait_for("Vault token revoked");
    keeping.signal("TERM");
    assert_eq!(keeping.exited().code(), Some(0));
    assert!(!file.exists());
    let (login, revoke) = ("auth/jwt/login", "auth/token/revoke-self");
    assert_eq!(paths(&vault), [login, login, revoke, revoke]);
    let revoked: Vec<_> = vault
        .asked()
        .iter()
        .filter(|asked| path(asked).ends_with("revoke-self"))
        .map(|asked| asked.head.lines().find_map(|line| line.strip_prefix("x-vault-token: ")).unwrap().to_owned())
        .collect();
    assert_eq!(revoked, [format!("{TOKEN}0"), format!("{TOKEN}1")]);
    assert!(!keeping.lines().iter().any(|line| line.to_string().contains(TOKEN)), "a token is in the log");
}

#[test]
fn at_a_retirement_the_token_is_revoked_and_the_file_goes() {
    let (credentials, vault) = (Credentials::new(), vault(|_| None));
    let file = credentials.dir().join("token");
    let mut keeping = keeping(&credentials, &vault, file.to_str().unwrap()).start();
    wait_for_file(&file, Some(&format!("{TOKEN}0")));
    credentials.folder.write(&issue(&credentials.spec.retired())).unwrap();
    wait_for_file(&file, None);
    keeping.wait_for("Vault token revoked");
    keeping.signal("TERM");
    assert_eq!(keeping.exited().code(), Some(0));
    assert_eq!(paths(&vault), ["auth/jwt/login", "auth/token/revoke-self"]);
}

#[test]
fn a_rotation_in_the_middle_of_a_login_is_followed_by_a_login_with_the_new_pair() {
    let (rotated, is_rotated) = mpsc::channel();
    let is_rotated = Mutex::new(Some(is_rotated));
    let mut credentials = Credentials::new();
    let vault = vault(move |asked| {
        // The first login has its answer once the pair was replaced.
        if path(asked) == "/v1/auth/jwt/login"
            && let Some(is_rotated) = is_rotated.lock().unwrap().take()
        {
            is_rotated.recv().unwrap();
        }
        None
    });
    let file = credentials.dir().join("token");
    let mut keeping = keeping(&credentials, &vault, file.to_str().unwrap()).start();
    let began = Instant::now();
    while vault.asked().is_empty() {
        assert!(began.elapsed() < Duration::from_secs(30));
        std::thread::yield_now();
    }
    credentials.rotate();
    keeping.wait_for("certificate rotated");
    rotated.send(()).unwrap();
    wait_for_file(&file, Some(&format!("{TOKEN}1")));
    keeping.signal("TERM");
    keeping.exited();
    let kid = |body: &[u8]| {
        use base64ct::{Base64UrlUnpadded, Encoding};
        let body: Value = serde_json::from_slice(body).unwrap();
        let header = body["jwt"].as_str().unwrap().split('.').next().unwrap().to_owned();
        serde_json::from_slice::<Value>(&Base64UrlUnpadded::decode_vec(&header).unwrap()).unwrap()["kid"].clone()
    };
    let logins: Vec<_> =
        vault.asked().iter().filter(|asked| path(asked).ends_with("/login")).map(|asked| kid(&asked.body)).collect();
    assert!(logins.len() == 2 && logins[0] != logins[1], "{logins:?}");
}

#[test]
fn a_short_token_is_renewed_and_one_whose_renewal_has_no_answer_is_replaced() {
    let credentials = Credentials::new();
    let short = HttpApp::start({
        let logins = AtomicUsize::new(0);
        let renewals = AtomicUsize::new(0);
        move |asked| match path(asked) {
            "/v1/auth/jwt/login" => {
                let token = format!("{TOKEN}{}", logins.fetch_add(1, Ordering::Relaxed));
                said(200, &json!({ "auth": { "client_token": token, "lease_duration": 2, "renewable": true } }))
            }
            "/v1/auth/token/renew-self" if renewals.fetch_add(1, Ordering::Relaxed) == 0 => {
                said(200, &json!({ "auth": { "lease_duration": 2, "renewable": true } }))
            }
            _ => Reply::Send(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()),
        }
    });
    let file = credentials.dir().join("token");
    let mut keeping = keeping(&credentials, &short, file.to_str().unwrap()).start();
    wait_for_file(&file, Some(&format!("{TOKEN}1")));
    keeping.signal("TERM");
    keeping.exited();
    let (login, renew, revoke) = ("auth/jwt/login", "auth/token/renew-self", "auth/token/revoke-self");
    assert_eq!(paths(&short)[..5], [login, renew, renew, login, revoke]);
}

/// Without `strace` this is left out: nobody but the process itself can ask for its mark.
#[test]
fn whoever_holds_a_token_marks_its_memory_as_none_to_be_dumped_before_anybody_is_asked() {
    let (credentials, vault) = (rsa(), any_method());
    let (address, trace) = (url(&vault), tempfile::NamedTempFile::new().unwrap());
    let at = ["--addr", address.as_str()];
    for words in [
        [&["token", "vault", "--role", "app"][..], &at].concat(),
        [&["check", "--connect", "--resolve", "vault", "--vault-role", "app", "--vault-addr"][..], &at[1..]].concat(),
    ] {
        let traced = Command::new("strace")
            .args(["-f", "-qq", "-e", "trace=prctl,connect", "-o"])
            .arg(trace.path())
            .arg(VESTIBULE)
            .args(&words)
            .env_clear()
            .env("A", "vault:secret/data/app#password")
            .env("CF_INSTANCE_CERT", credentials.cert())
            .env("CF_INSTANCE_KEY", credentials.key())
            .output();
        let calls = std::fs::read_to_string(trace.path()).unwrap();
        if traced.is_err() || calls.is_empty() {
            return lacks("strace");
        }
        let marked = calls.find("PR_SET_DUMPABLE, SUID_DUMP_DISABLE").unwrap_or_else(|| panic!("{words:?}: {calls}"));
        let port = format!("htons({})", vault.addr().port());
        let asked = calls.find(&port).unwrap_or_else(|| panic!("{words:?}: {calls}"));
        assert!(marked < asked, "{words:?}: {calls}");
    }
}
