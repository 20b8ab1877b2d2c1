//! What the app is told of the endpoint, and what is left of it at the end.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{Answer, exists, post};
use crate::support::credentials::Credentials;
use crate::support::sidecar::{Setup, Sidecar};
use crate::support::{app, eventually};

/// `vestibule run` with `options` and a script as the app, which has written what it was told.
fn run(credentials: &Credentials, options: &[&str], script: &str) -> (Sidecar, String) {
    let file = credentials.dir().join("environment");
    let script = format!("env | grep ^CF_INSTANCE_IDENTITY | sort > {0}.new; mv {0}.new {0}; {script}", file.display());
    let nobody = app::nobody().to_string();
    let mut setup = Setup::command(&["run", "--listen", "127.0.0.1:0", "--app", &nobody]);
    for option in options {
        setup = setup.arg(option);
    }
    let sidecar = setup.credentials(credentials).arg("--").arg("sh").arg("-c").arg(&script).start();
    let told = eventually("what the app was told", || std::fs::read_to_string(&file).ok());
    (sidecar, told)
}

#[test]
fn the_app_is_told_of_a_socket_file_which_goes_with_the_proxy() {
    let credentials = Credentials::new();
    let socket = credentials.dir().join("identity.sock");
    let listen = format!("--identity-listen=unix:{}", socket.display());
    let (mut sidecar, told) = run(&credentials, &[&listen, "--identity-audience=vault"], "exit 0");
    assert_eq!(told, format!("CF_INSTANCE_IDENTITY_ENDPOINT=unix://{}\n", socket.display()));
    assert!(sidecar.exited().success());
    assert!(!exists(&socket));
}

#[test]
fn over_tcp_the_app_is_told_of_a_file_in_a_folder_that_goes_with_the_proxy() {
    let credentials = Credentials::new();
    let options = ["--identity-listen=127.0.0.1:0", "--identity-audience=vault"];
    let (mut sidecar, told) = run(&credentials, &options, "sleep 60");
    sidecar.wait_for("certificate loaded");
    let value = |name: &str| {
        let line = told.lines().find_map(|line| line.strip_prefix(&format!("CF_INSTANCE_IDENTITY_{name}=")));
        line.unwrap_or_else(|| panic!("{told}")).to_owned()
    };
    let addr = value("ENDPOINT").strip_prefix("http://").unwrap().parse().unwrap();
    let file = value("TOKEN_FILE");
    let file = Path::new(&file);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(file), mode(file.parent().unwrap())), (0o400, 0o700));
    let secret = std::fs::read_to_string(file).unwrap();
    let text = post("/token", r#"{"audience":"vault"}"#).replacen(
        "Host:",
        &format!("Authorization: Bearer {secret}\r\nHost:"),
        1,
    );
    assert!(!Answer::at(addr, &text).token().is_empty());
    sidecar.signal("TERM");
    sidecar.exited();
    assert!(!exists(file.parent().unwrap()), "{}", file.display());
}

#[test]
fn a_secret_that_somebody_cleans_away_is_there_again_and_the_log_says_so() {
    let credentials = Credentials::new();
    let options = ["--identity-listen=127.0.0.1:0", "--identity-audience=vault"];
    let (sidecar, told) = run(&credentials, &options, "sleep 60");
    let file = told.lines().find_map(|line| line.strip_prefix("CF_INSTANCE_IDENTITY_TOKEN_FILE=")).unwrap();
    let secret = std::fs::read_to_string(file).unwrap();
    std::fs::remove_dir_all(Path::new(file).parent().unwrap()).unwrap();
    let again = eventually("the secret", || std::fs::read_to_string(file).ok());
    assert_eq!(again, secret);
    let line = sidecar.wait_for("the bearer token of the identity endpoint was gone from its file, and is there again");
    assert_eq!((&line["level"], &line["path"]), (&"warn".into(), &file.into()));
}

#[test]
fn without_the_option_nothing_is_told_and_nothing_is_measured() {
    let credentials = Credentials::new();
    let metrics = crate::metrics::Measured::new(Setup::proxy(&credentials, app::nobody()));
    assert!(
        !metrics.series().keys().any(|series| series.starts_with("vestibule_token")),
        "nothing asked for, nothing measured"
    );
    let status: serde_json::Value =
        serde_json::from_str(&crate::health::get(metrics.admin(), "/status.json").1).unwrap();
    assert!(status["tokens"].is_null());
    assert!(!crate::health::get(metrics.admin(), "/").1.contains("Tokens"));
    let (mut sidecar, told) = run(&credentials, &[], "exit 0");
    sidecar.exited();
    assert_eq!(told, "");
}
