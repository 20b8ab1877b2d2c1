//! Whatever is resolved, and by whom: nothing of it comes anywhere but to the app.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use memchr::memmem::find;
use serde_json::{Value, json};

use super::Instance;
use crate::support::credhub::CredHub;
use crate::support::http_app::{HttpApp, Reply};
use crate::support::sidecar::{Setup, VESTIBULE};

/// Consecutive bytes of a secret that may not occur.
const FORBIDDEN: usize = 8;

/// What nobody but the app may see, or nobody but we and the server.
struct Secrets {
    /// By the servers.
    given: Vec<Vec<u8>>,
    /// To log in.
    sent: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Secrets {
    fn all(&self) -> Vec<Vec<u8>> {
        self.given.iter().cloned().chain(self.sent.lock().unwrap().iter().cloned()).collect()
    }

    /// Fails if there is a part of a secret in `text`: as it is, as base64 of any alignment, or in hexadecimal.
    fn are_kept_in(&self, text: &[u8], whence: &str) {
        let lower = text.to_ascii_lowercase();
        for secret in self.all() {
            let name = String::from_utf8_lossy(&secret).into_owned();
            // What stands at both ends of base64 depends on the neighbours.
            let alignments = [secret.clone(), [b"x", &secret[..]].concat(), [b"xx", &secret[..]].concat()];
            let base64 = alignments.iter().flat_map(|form| {
                let forms = [Base64::encode_string(form), Base64UrlUnpadded::encode_string(form)];
                forms.map(|text| text.as_bytes()[4..text.len() - 4].to_vec())
            });
            let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
            let said =
                |text: &[u8], form: &[u8], length: usize| form.windows(length).any(|part| find(text, part).is_some());
            assert!(!said(text, &secret, FORBIDDEN), "{whence}: {name}");
            assert!(!base64.into_iter().any(|form| said(text, &form, 12)), "{whence}: {name}, in base64");
            assert!(!said(&lower, hex.as_bytes(), 2 * FORBIDDEN), "{whence}: {name}, in hexadecimal");
        }
    }
}

/// A Vault with a secret, one with a lease, and what is sealed. What is sent to log in is a secret as well.
fn vault(sent: Arc<Mutex<Vec<Vec<u8>>>>) -> HttpApp {
    HttpApp::start(move |asked| {
        let body = match asked.head.split(' ').nth(1).unwrap() {
            "/v1/auth/jwt/login" => {
                let body: Value = serde_json::from_slice(&asked.body).unwrap();
                let jwt = body["jwt"].as_str().unwrap();
                // Claims and certificate are no secret; whoever has the signature can log in.
                sent.lock().unwrap().push(jwt.rsplit('.').next().unwrap().as_bytes().to_vec());
                json!({ "auth": { "client_token": "hvs.Qk7TokenOfVaultZz", "accessor": "AccessorOfTheTokenJ5", "lease_duration": 3600, "renewable": true } })
            }
            "/v1/kv/static" => json!({ "data": { "p": "Pz3StaticOfVaultWq" } }),
            "/v1/database/creds/app" => {
                json!({ "lease_id": "database/creds/app/Lx8IdOfTheLeaseRt", "lease_duration": 3600, "renewable": true, "data": { "p": "Yn4LeasedOfVaultVb" } })
            }
            "/v1/transit/decrypt/app" => {
                json!({ "data": { "plaintext": Base64::encode_string(b"Kd6SealedOfVaultHm") } })
            }
            _ => json!({}),
        };
        Reply::ok(&body.to_string())
    })
}

/// Every file below `folder`, but for `others`.
fn files(folder: &Path, others: &[&Path], found: &mut Vec<(String, Vec<u8>)>) {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    for path in paths.filter(|path| !others.contains(&path.as_path())) {
        if path.is_dir() {
            files(&path, others, found);
        } else if path.is_file() {
            found.push((path.display().to_string(), fs::read(&path).unwrap()));
        }
    }
}

#[test]
fn nothing_of_any_secret_is_in_what_we_write_or_show_or_leave_behind() {
    let instance = Instance::new();
    let sent = Arc::new(Mutex::new(Vec::new()));
    let vault = vault(Arc::clone(&sent));
    let credhub = CredHub::knowing(&[
        ("/c/db", json!({ "uri": "mysql://u:Gf2BindingOfCredhubNc@h/d" })),
        ("/single", json!("Td9SingleOfCredhubXe")),
    ]);
    let source = instance.path("source");
    fs::write(&source, "Br5ContentOfFileOj").unwrap();
    let secrets = Secrets {
        given: [
            "Qk7TokenOfVaultZz",
            "AccessorOfTheTokenJ5",
            "Pz3StaticOfVaultWq",
            "Yn4LeasedOfVaultVb",
            "Lx8IdOfTheLeaseRt",
            "Kd6SealedOfVaultHm",
            "Gf2BindingOfCredhubNc",
            "Td9SingleOfCredhubXe",
            "Br5ContentOfFileOj",
        ]
        .map(|value| value.as_bytes().to_vec())
        .to_vec(),
        sent,
    };
    let (folder, temporary) = (instance.path("secrets"), instance.path("tmp"));
    let (out, stdout) = (instance.out(), instance.path("stdout"));
    fs::create_dir_all(&folder).unwrap();
    fs::create_dir_all(&temporary).unwrap();
    let app = format!(
        "cp /proc/self/environ {}.new; mv {}.new {}; exec sleep 60",
        out.display(),
        out.display(),
        out.display()
    );
    let run = format!("exec {VESTIBULE} run \"$@\" > {}", stdout.display());
    let (url, credhub_url, ca) = (format!("http://{}", vault.addr()), credhub.url(), credhub.ca());
    let admin = format!("unix:{}", instance.path("admin").display());
    let args = [
        &["-c", &run, "sh", "--listen", "127.0.0.1:0", "--resolve", "credhub,vault,transit,file"][..],
        &["--secrets-dir", folder.to_str().unwrap(), "--admin", &admin],
        &["--credhub-url", &credhub_url, "--credhub-ca", ca.to_str().unwrap()],
        &["--vault-addr", &url, "--vault-method", "jwt", "--vault-role", "app", "--vault-audience", "vault"],
        &["--", "sh", "-c", &app],
    ]
    .concat();
    let mut sidecar = Setup::program("sh", &args)
        .credentials(&instance.credentials)
        .env("VESTIBULE_LOG_LEVEL", "trace")
        .env("TMPDIR", temporary.to_str().unwrap())
        .env("VCAP_SERVICES", r#"{"a":[{"name":"db","credentials":{"credhub-ref":"((/c/db))"}},{"name":"s","credentials":{"p":"transit:transit/app:vault:v1:AAAA"}}]}"#)
        .env("STATIC", "a ${vault:kv/static#p} b")
        .env("LEASED", "vault:database/creds/app#p?file")
        .env("SINGLE", "credhub:/single")
        .env("SINGLE_FILE", "credhub:/single?file")
        .env("OF_FILE", &format!("file:{}", source.display()))
        .start();
    let environment = crate::support::eventually("the app's environment", || fs::read(&out).ok());
    // The test of the test: the app has them all, and the search finds them.
    let got = String::from_utf8_lossy(&environment).into_owned();
    for value in [
        "Pz3StaticOfVaultWq",
        "Kd6SealedOfVaultHm",
        "Gf2BindingOfCredhubNc",
        "Td9SingleOfCredhubXe",
        "Br5ContentOfFileOj",
    ] {
        assert!(got.contains(value), "{value} in {got}");
    }
    let noticed =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| secrets.are_kept_in(&environment, "the app")));
    assert!(noticed.is_err());

    for path in ["/", "/status.json", "/metrics", "/readyz?verbose", "/livez"] {
        secrets.are_kept_in(instance.admin(path).as_bytes(), path);
    }
    let pid = sidecar.pid();
    for file in ["environ", "cmdline"] {
        secrets.are_kept_in(&fs::read(format!("/proc/{pid}/{file}")).unwrap(), file);
    }
    sidecar.signal("TERM");
    sidecar.exited();
    let log: String = sidecar.lines().iter().map(|line| format!("{line}\n")).collect();
    assert!(log.contains("Vault token revoked"), "{log}");
    secrets.are_kept_in(log.as_bytes(), "the log");
    secrets.are_kept_in(&fs::read(&stdout).unwrap(), "stdout");
    let mut left = Vec::new();
    files(instance.folder.path(), &[&out, &source], &mut left);
    files(instance.credentials.dir(), &[], &mut left);
    for (name, bytes) in &left {
        secrets.are_kept_in(bytes, name);
        secrets.are_kept_in(name.as_bytes(), name);
    }
    assert!(fs::read_dir(&folder).unwrap().next().is_none(), "the folder is gone");
}
