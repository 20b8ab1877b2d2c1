//! The same with the real OpenBao.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::app_secrets::Instance;
use crate::support::credentials::{Credentials, issue_rsa, roots_pem};
use crate::support::machine::lacks;
use crate::support::sidecar::{Setup, VESTIBULE};

/// A server in memory, with TLS that asks for client certificates.
struct Bao {
    server: Child,
    addr: String,
    folder: TempDir,
}

impl Bao {
    /// `None`: there is none on this machine.
    fn start() -> Option<Self> {
        if Command::new("bao").arg("version").output().is_err() {
            lacks("openbao");
            return None;
        }
        let folder = TempDir::new().unwrap();
        // It takes no port 0; somebody may take this one in between.
        let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = Command::new("bao");
        command.args(["server", "-dev", "-dev-tls", "-dev-no-store-token", "-dev-root-token-id=root"]);
        command
            .arg(format!("-dev-listen-address={addr}"))
            .arg(format!("-dev-tls-cert-dir={}", folder.path().display()));
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let server = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let bao = Self { server, addr: format!("https://{addr}"), folder };
        let began = Instant::now();
        while !bao.command(&["status"]).output().unwrap().status.success() {
            let log = fs::read_to_string(bao.folder.path().join("log")).unwrap();
            assert!(began.elapsed() < Duration::from_secs(60), "OpenBao has not started: {log}");
            std::thread::sleep(Duration::from_millis(100));
        }
        Some(bao)
    }

    fn ca(&self) -> PathBuf {
        self.folder.path().join("vault-ca.pem")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("bao");
        command.args(words).env("BAO_ADDR", &self.addr).env("BAO_TOKEN", "root").env("BAO_CACERT", self.ca());
        command
    }

    /// What `bao WORDS` prints.
    #[track_caller]
    fn bao(&self, words: &[&str]) -> String {
        let output = self.command(words).output().unwrap();
        assert!(output.status.success(), "bao {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// A file with this text.
    fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Whether the token is good.
    fn knows(&self, token: &str) -> bool {
        self.command(&["token", "lookup"]).env("BAO_TOKEN", token).output().unwrap().status.success()
    }

    /// The cert method, and one policy for all apps: each is named in it by its role, which is called like the app.
    fn enable_cert(&self) {
        self.bao(&["auth", "enable", "cert"]);
        self.bao(&["write", "auth/cert/config", "enable_identity_alias_metadata=true"]);
        let list: Value = serde_json::from_str(&self.bao(&["auth", "list", "-format=json"])).unwrap();
        let app = format!(
            "{{{{identity.entity.aliases.{}.metadata.cert_name}}}}",
            list["cert/"]["accessor"].as_str().unwrap()
        );
        let policy = format!(
            "path \"secret/data/apps/{app}/*\" {{ capabilities = [\"read\"] }}\n\
             path \"transit/decrypt/app-{app}\" {{ capabilities = [\"update\"] }}\n\
             path \"kv1/*\" {{ capabilities = [\"read\"] }}\n"
        );
        let policy = self.file("policy.hcl", &policy);
        self.bao(&["policy", "write", "apps", &policy]);
        self.bao(&["secrets", "enable", "transit"]);
        self.bao(&["secrets", "enable", "-path=kv1", "-version=1", "kv"]);
    }

    /// Lets the app of `credentials` in, as the role that is called like it.
    fn admit(&self, credentials: &Credentials, more: &[&str]) {
        let app = &credentials.spec.app;
        let ca = format!("certificate=@{}", self.file("instance-ca.pem", &roots_pem()));
        let unit = format!("allowed_organizational_units=app:{app}");
        let role = format!("auth/cert/certs/{app}");
        self.bao(&[&["write", &role, &ca, &unit, "token_policies=apps", "token_ttl=1h"], more].concat());
    }

    /// How `vestibule run` logs in as the app of `credentials`.
    fn options(&self, credentials: &Credentials) -> Vec<String> {
        let (ca, role) = (self.ca(), credentials.spec.app.to_string());
        let words = ["--vault-addr", &self.addr, "--vault-ca", ca.to_str().unwrap(), "--vault-method", "cert"];
        words.into_iter().chain(["--vault-role", &role]).map(str::to_owned).collect()
    }

    /// `vestibule run` with its secrets.
    fn run(&self, instance: &Instance) -> Setup {
        let options = self.options(&instance.credentials);
        instance.resolving("vault,transit", &options.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

impl Drop for Bao {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn token(credentials: &Credentials, bao: &Bao, words: &[&str]) -> Result<String, String> {
    let mut command = Command::new(VESTIBULE);
    command.args(["token", "vault"]).args(words).env_clear().env("VAULT_ADDR", &bao.addr).env("VAULT_CACERT", bao.ca());
    command.env("CF_INSTANCE_CERT", credentials.cert()).env("CF_INSTANCE_KEY", credentials.key());
    let output = command.output().unwrap();
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout).unwrap().trim_end().to_owned()),
        false => Err(String::from_utf8(output.stderr).unwrap()),
    }
}

#[test]
fn one_policy_gives_each_its_own_secrets_of_both_versions_of_kv_and_its_sealed_values() {
    let Some(bao) = Bao::start() else { return };
    bao.enable_cert();
    let (instance, other) = (Instance::new(), Instance::new());
    bao.admit(&instance.credentials, &[]);
    bao.admit(&other.credentials, &[]);
    let name = instance.credentials.spec.app.to_string();
    let path = format!("secret/apps/{name}/db");
    bao.bao(&["kv", "put", &path, "password=first"]);
    bao.bao(&["kv", "put", &path, "password=second"]);
    bao.bao(&["kv", "put", "kv1/shared", "password=of kv 1"]);
    // Anybody may seal, with the published key and without Vault.
    bao.bao(&["write", "-f", &format!("transit/keys/app-{name}"), "type=rsa-3072"]);
    let sealed = seal(&bao, &name, "opened");
    let data = format!("secret/data/apps/{name}/db");
    let setup = || {
        let setup = bao
            .run(&instance)
            .env("NEWEST", &format!("vault:{data}#password"))
            .env("FIRST", &format!("vault:{data}#password#1"));
        setup.env("KV1", "vault:kv1/shared#password").env("SEALED", &format!("transit:transit/app-{name}:{sealed}"))
    };
    let outcome = instance.outcome(setup());
    for (name, value) in [("NEWEST", "second"), ("FIRST", "first"), ("KV1", "of kv 1"), ("SEALED", "opened")] {
        assert_eq!(outcome.value(name), Some(value));
    }
    assert!(outcome.log.contains("Vault token revoked"), "{}", outcome.log);

    // Another app may neither read nor open it.
    for reference in [format!("vault:{data}#password"), format!("transit:transit/app-{name}:{sealed}")] {
        let outcome = other.outcome(bao.run(&other).env("A", &reference));
        assert!(outcome.failure().contains("answers 403"), "{}", outcome.failure());
    }

    bao.bao(&["kv", "delete", "-versions=1", &path]);
    fs::remove_file(instance.out()).unwrap();
    let outcome = instance.outcome(setup());
    assert!(outcome.failure().contains("version 1 was deleted"), "{}", outcome.failure());
    bao.bao(&["kv", "destroy", "-versions=1", &path]);
    let outcome = instance.outcome(setup());
    assert!(outcome.failure().contains("version 1 was destroyed"), "{}", outcome.failure());
    let optional = bao.run(&instance).env("A", &format!("vault:{data}#password#1?optional"));
    assert_eq!(instance.outcome(optional).value("A"), None);
}

/// What the manual says: `openssl` and the published key.
fn seal(bao: &Bao, name: &str, value: &str) -> String {
    let key = bao.bao(&["read", "-format=json", &format!("transit/keys/app-{name}")]);
    let key: Value = serde_json::from_str(&key).unwrap();
    let public = bao.file("public.pem", key["data"]["keys"]["1"]["public_key"].as_str().unwrap());
    let value = bao.file("value", value);
    let script = format!(
        "printf 'vault:v1:%s' \"$(openssl pkeyutl -encrypt -pubin -inkey {public} -pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256 -pkeyopt rsa_mgf1_md:sha256 -in {value} | base64 -w0)\""
    );
    let sealed = Command::new("sh").args(["-c", &script]).output().unwrap();
    String::from_utf8(sealed.stdout).unwrap()
}

#[test]
fn a_login_by_jwt_needs_the_instances_key_at_the_server() {
    let Some(bao) = Bao::start() else { return };
    let credentials = Credentials::new();
    bao.bao(&["auth", "enable", "jwt"]);
    let pem = fs::read_to_string(credentials.cert()).unwrap();
    let end = "-----END CERTIFICATE-----\n";
    let leaf = bao.file("leaf.pem", &pem[..pem.find(end).unwrap() + end.len()]);
    bao.bao(&["write", "auth/jwt/config", &format!("jwt_validation_pubkeys=@{leaf}")]);
    bao.bao(&[
        "write",
        "auth/jwt/role/app",
        "role_type=jwt",
        "bound_audiences=vault",
        "user_claim=sub",
        "token_ttl=1m",
    ]);
    let login = |audience| token(&credentials, &bao, &["--method", "jwt", "--role", "app", "--audience", audience]);
    assert!(bao.knows(&login("vault").unwrap()));
    assert!(login("other").unwrap_err().contains("bound_audiences"));
    let another = Credentials::empty();
    another.folder.write(&issue_rsa(&another.spec)).unwrap();
    let refused = token(&another, &bao, &["--method", "jwt", "--role", "app", "--audience", "vault"]).unwrap_err();
    assert!(refused.contains("jwt_validation_pubkeys"), "{refused}");
}

#[test]
fn a_rotation_is_a_login_anew_and_the_old_token_is_gone() {
    let Some(bao) = Bao::start() else { return };
    bao.enable_cert();
    let mut credentials = Credentials::new();
    bao.admit(&credentials, &[]);
    let file = credentials.dir().join("token");
    let (ca, role) = (bao.ca(), credentials.spec.app.to_string());
    let words =
        ["token", "vault", "--addr", &bao.addr, "--ca", ca.to_str().unwrap(), "--method", "cert", "--role", &role];
    let setup = words.iter().fold(Setup::command(&[]), |setup, word| setup.arg(word));
    let mut keeping = setup.arg("--write").arg(file.to_str().unwrap()).credentials(&credentials).start();
    keeping.wait_for("Vault token written");
    let first = fs::read_to_string(&file).unwrap();
    assert!(bao.knows(&first));
    credentials.rotate();
    keeping.wait_for("Vault token revoked");
    let second = fs::read_to_string(&file).unwrap();
    assert!(first != second && bao.knows(&second) && !bao.knows(&first));
    keeping.signal("TERM");
    assert_eq!(keeping.exited().code(), Some(0));
    assert!(!file.exists() && !bao.knows(&second));
}

#[test]
fn wrapped_tokens_batch_tokens_and_tokens_of_few_uses_serve_too() {
    let Some(bao) = Bao::start() else { return };
    bao.enable_cert();
    let instance = Instance::new();
    bao.admit(&instance.credentials, &[]);
    let role = instance.credentials.spec.app.to_string();
    let wrapped =
        token(&instance.credentials, &bao, &["--method", "cert", "--role", &role, "--wrap-ttl", "1m"]).unwrap();
    let unwrapped = bao.command(&["unwrap", "-field=token"]).env("BAO_TOKEN", &wrapped).output().unwrap();
    assert!(bao.knows(String::from_utf8(unwrapped.stdout).unwrap().trim()));
    let again = bao.command(&["unwrap"]).env("BAO_TOKEN", &wrapped).output().unwrap();
    assert!(!again.status.success());

    bao.bao(&["kv", "put", "kv1/a", "x=1"]);
    bao.bao(&["kv", "put", "kv1/b", "x=2"]);
    for setting in ["token_num_uses=1", "token_type=batch"] {
        bao.bao(&["delete", &format!("auth/cert/certs/{role}")]);
        bao.admit(&instance.credentials, &[setting]);
        let setup = bao.run(&instance).env("A", "vault:kv1/a#x").env("B", "vault:kv1/b#x");
        let outcome = instance.outcome(setup);
        assert_eq!((outcome.value("A"), outcome.value("B")), (Some("1"), Some("2")), "{setting}");
    }
}

#[test]
fn a_role_of_another_app_lets_nobody_else_in() {
    let Some(bao) = Bao::start() else { return };
    bao.enable_cert();
    let (credentials, other) = (Credentials::new(), Credentials::new());
    bao.admit(&credentials, &[]);
    let role = credentials.spec.app.to_string();
    assert!(token(&credentials, &bao, &["--method", "cert", "--role", &role]).is_ok());
    let refused = token(&other, &bao, &["--method", "cert", "--role", &role]).unwrap_err();
    assert!(refused.contains("allowed_organizational_units"), "{refused}");
    let unknown = token(&credentials, &bao, &["--method", "cert", "--role", "nobody"]).unwrap_err();
    assert!(unknown.contains("no such role"), "{unknown}");
}
