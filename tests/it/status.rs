//! The status page and `/status.json`: they say the same, and whatever others have written in it is only text.

mod http;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;

use aws_lc_rs::digest;
use base64ct::{Base64, Encoding};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tempfile::TempDir;
use vestibule::issuer::Credential;

use crate::health::{admin, ask, get, proxy, status};
use crate::support::client::{Connector, connector_under};
use crate::support::credentials::{Credentials, issue, roots, roots_pem};
use crate::support::sidecar::{Setup, Sidecar};
use crate::support::{app, eventually};

/// What the page may weigh, in bytes.
const MOST: usize = 40 * 1024;

/// How many denials are remembered.
const REMEMBERED: usize = 50;

fn page(admin: SocketAddr) -> String {
    let (status, page) = get(admin, "/");
    assert_eq!(status, 200);
    page
}

pub(crate) fn json(admin: SocketAddr) -> Value {
    let (status, text) = get(admin, "/status.json");
    assert_eq!(status, 200);
    serde_json::from_str(&text).unwrap()
}

/// The text of the page: without its markup, and with the escapes resolved.
fn text_of(page: &str) -> String {
    let body = page.split_once("<body>").unwrap().1.split_once("<script>").unwrap().0;
    let mut text = String::new();
    for piece in body.split('<') {
        // Each `<` begins a tag, for text has none.
        text += piece.split_once('>').map_or("", |(_, text)| text);
        text.push(' ');
    }
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&#34;", "\"").replace("&#39;", "'").replace("&amp;", "&")
}

/// What stands between `begin` and `end`.
fn between<'a>(text: &'a str, begin: &str, end: &str) -> &'a str {
    text.split_once(begin).unwrap().1.split_once(end).unwrap().0
}

/// Every text and number in `value` whose name is not among those that the page has in other words.
fn leaves(value: &Value, found: &mut Vec<String>) {
    const OTHERWISE: [&str; 14] = [
        "now",
        "uptime_seconds",
        "seconds_left",
        "since_seconds",
        "not_before",
        "bytes_up",
        "bytes_down",
        "verdict",
        "more",
        "pair",
        "source",
        "generation",
        "listener",
        "client_cas",
    ];
    match value {
        Value::Object(fields) => {
            fields
                .iter()
                .filter(|(name, _)| !OTHERWISE.contains(&name.as_str()))
                .for_each(|(_, value)| leaves(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| leaves(value, found)),
        Value::String(text) => found.push(text.clone()),
        Value::Number(number) => found.push(number.to_string()),
        Value::Null | Value::Bool(_) => {}
    }
}

/// Whatever the JSON says the page says too.
#[track_caller]
fn all_is_on(page: &str, seen: &Value) {
    let text = text_of(page);
    let mut said = Vec::new();
    leaves(seen, &mut said);
    assert!(said.len() > 40, "{said:?}");
    for said in &said {
        // A date has a blank where JSON has a T.
        let date = said.replacen('T', " ", 1);
        assert!(text.contains(said.as_str()) || text.contains(&date), "{said} in {text}");
    }
}

/// A client with a certificate, chain and key in PEM, that verifies `name` under `roots`.
fn showing(roots: &RootCertStore, name: &str, (chain, key): (&str, &str)) -> Connector {
    let mut client = connector_under(roots.clone(), name);
    let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).map(Result::unwrap).collect();
    client.config = ClientConfig::builder_with_provider(client.config.crypto_provider().clone())
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .unwrap()
        .with_root_certificates(roots.clone())
        .with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap())
        .unwrap();
    client
}

/// The same under the CA of the platform.
fn calling(credentials: &Credentials, as_whom: &Credential) -> Connector {
    showing(&roots(), credentials.instance(), (&as_whom.cert_pem, &as_whom.key_pem))
}

/// Comes, and is turned away.
fn turned_away(client: &Connector, sidecar: &Sidecar) {
    let Ok(mut client) = client.connect(sidecar.addr()) else { return };
    assert!(rustls::Stream::new(&mut client.tls, &mut client.tcp).read(&mut [0; 1]).is_err());
}

#[test]
fn page_and_json_say_the_same() {
    let credentials = Credentials::new();
    let files = TempDir::new().unwrap();
    let (ca, policy) = (files.path().join("ca.crt"), files.path().join("policy.toml"));
    fs::write(&ca, roots_pem()).unwrap();
    fs::write(&policy, "deny = [\"cn:somebody\"]\n").unwrap();
    let (friend, stranger) = (issue(&credentials.spec.sibling().unwrap()), Credentials::new());
    let sidecar = proxy(&credentials, app::echo())
        .arg("--client-ca")
        .arg(ca.to_str().unwrap())
        .arg("--policy")
        .arg(policy.to_str().unwrap())
        .arg("--allow")
        .arg("cf:same:space")
        .ready();
    let admin = admin(&sidecar);

    let mut client = calling(&credentials, &friend).connect(sidecar.addr()).unwrap();
    client.send(b"hello").unwrap();
    assert_eq!(client.receive(5).unwrap(), b"hello");
    turned_away(&calling(&credentials, &issue(&stranger.spec)), &sidecar);
    sidecar.access_log_entry("denied");
    eventually("the app", || (get(admin, "/readyz").0 == 200).then_some(()));

    let seen = json(admin);
    assert_eq!(
        (&seen["ready"], &seen["phase"], &seen["log_level"]),
        (&true.into(), &"running".into(), &"debug".into())
    );
    let own = &seen["pairs"][0];
    for (name, expected) in [
        ("org", credentials.spec.organization.to_string()),
        ("space", credentials.spec.space.to_string()),
        ("app", credentials.spec.app.to_string()),
        ("instance", credentials.instance().to_owned()),
        ("source", credentials.cert().display().to_string()),
    ] {
        assert_eq!(own[name], expected, "{name}");
    }
    assert_eq!((&own["generation"], &own["retirement"]), (&1.into(), &false.into()));
    assert!(own["seconds_left"].as_i64().unwrap() > 0);
    let parts: Vec<_> = seen["checks"].as_array().unwrap().iter().map(|part| part["check"].as_str().unwrap()).collect();
    assert_eq!(parts, ["listeners", "certificate", "app", "drain", "retirement"]);
    let listener = &seen["listeners"][0];
    assert_eq!(listener["listener"], sidecar.addr().to_string());
    assert_eq!((&listener["app_ready"], &listener["app_health"]), (&true.into(), &"accepts".into()));
    let rules = &listener["policy"];
    assert_eq!((&rules["mode"], &rules["certificate_required"]), (&"enforce".into(), &true.into()));
    assert_eq!(rules["allow"]["rules"], serde_json::json!(["cf:same:space"]));
    assert_eq!(rules["deny"]["rules"], serde_json::json!(["cn:somebody"]));
    assert_eq!(rules["rules_from"], serde_json::json!(["options", policy.to_str().unwrap()]));
    let connections = &seen["connections"];
    assert_eq!((&connections["active"], &connections["denied"]), (&1.into(), &1.into()));
    let buckets = connections["history"].as_array().unwrap();
    let sum = |name: &str| buckets.iter().map(|bucket| bucket[name].as_u64().unwrap()).sum::<u64>();
    assert_eq!((buckets.len(), sum("denied")), (60, 1));
    assert_eq!(sum("opened"), connections["opened"].as_u64().unwrap());
    let denial = &seen["denials"][0];
    assert_eq!((&denial["denial_reason"], &denial["verdict"]), (&"not_allowed".into(), &"denial".into()));
    assert_eq!(denial["app"], stranger.spec.app.to_string());
    let rows: Vec<_> =
        seen["clients"].as_array().unwrap().iter().map(|row| (&row["admitted"], &row["denied"])).collect();
    assert_eq!(rows, [(&1.into(), &0.into()), (&0.into(), &1.into())]);

    let page = page(admin);
    all_is_on(&page, &seen);
    assert!(page.contains("<html lang=\"en\">") && page.contains("<title>Ready – app "), "{page}");
    drop(client);
}

#[test]
fn retirement_drain_and_audit_are_told() {
    let mut credentials = Credentials::new();
    let files = TempDir::new().unwrap();
    let ca = files.path().join("ca.crt");
    fs::write(&ca, roots_pem()).unwrap();
    let app = app::App::start();
    let mut sidecar = proxy(&credentials, app.addr())
        .arg("--client-ca")
        .arg(ca.to_str().unwrap())
        .arg("--policy-mode")
        .arg("audit")
        .arg("--allow")
        .arg("cn:nobody")
        .env("VESTIBULE_APP_READY", "off")
        .ready();
    let admin = admin(&sidecar);
    assert!(page(admin).contains("Nobody has been denied yet."));
    let stranger = issue(&credentials.spec.sibling().unwrap());
    let mut busy = calling(&credentials, &stranger).connect(sidecar.addr()).unwrap();
    busy.send(b"?").unwrap();
    let mut app_end = app.accept();
    app_end.read_exact(&mut [0; 1]).unwrap();
    let seen = json(admin);
    assert_eq!((&seen["denials"][0]["verdict"], &seen["connections"]["denied"]), (&"audit".into(), &0.into()));
    let text = text_of(&page(admin));
    assert!(text.contains("not_allowed, let in by audit mode"), "{text}");
    assert!(text.contains("the denied come in, and are in the access log"), "{text}");

    credentials.spec = credentials.spec.retired();
    credentials.rotate();
    sidecar.wait_for("retirement certificate received; closing idle connections");
    eventually("the phase", || (json(admin)["phase"] == "retiring").then_some(()));
    let seen = json(admin);
    assert_eq!((&seen["ready"], &seen["pairs"][0]["retirement"]), (&false.into(), &true.into()));
    assert_eq!(seen["pairs"][0]["generation"], 2);
    sidecar.signal("TERM");
    sidecar.wait_for("listeners closed");
    assert_eq!(json(admin)["phase"], "draining");
    assert!(text_of(&page(admin)).contains("Not ready , draining"));
    sidecar.signal("TERM");
    sidecar.exited();
}

#[test]
fn a_browser_is_told_to_do_nothing_but_what_the_page_needs() {
    let credentials = Credentials::new();
    let sidecar = proxy(&credentials, app::echo()).ready();
    let admin = admin(&sidecar);
    let ask = |method: &str, path: &str, host: &str| {
        ask(admin, &format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n"))
    };
    for path in ["/", "/status.json"] {
        let (head, body) = ask("GET", path, "localhost");
        assert_eq!(status(&head), 200);
        for header in ["cache-control: no-store", "x-content-type-options: nosniff", "connection: close"] {
            assert!(head.contains(header), "{header} in {head}");
        }
        let (same, nothing) = ask("HEAD", path, "localhost");
        assert_eq!((status(&same), nothing.as_str()), (200, ""));
        let length = |head: &str| between(head, "content-length: ", "\r\n").parse::<usize>().unwrap();
        assert_eq!(length(&head), body.len());
        // The time on the page may have become longer by a digit.
        assert!(length(&same).abs_diff(body.len()) < 32, "{same}");
        assert_eq!(status(&ask("GET", path, "evil.example").0), 421);
        assert_eq!(status(&ask("POST", path, "localhost").0), 405);
    }
    // Not in lower case, as the other heads are here: hashes tell a from A.
    let mut tcp = TcpStream::connect(admin).unwrap();
    tcp.write_all(b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut head = String::new();
    tcp.read_to_string(&mut head).unwrap();
    assert!(head.contains("content-type: text/html; charset=utf-8") && head.contains("referrer-policy: no-referrer"));
    let page = page(admin);
    let hash = |text: &str| Base64::encode_string(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
    let expected = format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash(between(&page, "<style>", "</style>")),
        hash(between(&page, "<script>", "</script>"))
    );
    assert_eq!(between(&head, "content-security-policy: ", "\r\n"), expected);
    // What the policy would forbid, and what would make text into markup.
    for forbidden in [" style=", " onclick", " src=", "http://", "https://", "innerHTML", "eval(", "{{"] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    let (status, paths) = get(admin, "/nothing");
    assert_eq!((status, paths.as_str()), (404, "there are / /status.json /livez /readyz /healthz /metrics\n"));
}

/// What somebody may put into a certificate, 60 KiB of it.
fn hostile() -> String {
    let text = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\u{202e}\u{2066}{{state}}&amp;\u{7}";
    text.repeat(50 * 1024 / text.len())
}

/// Writes a pair that `ca` has signed for this CN; gives chain and key.
fn signed(ca: &Issuer<'_, KeyPair>, name: &str) -> (String, String) {
    let mut params = CertificateParams::new(vec!["hostile.example".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, ca).unwrap().pem(), key.serialize_pem())
}

fn write(dir: &Path, name: &str, text: &str) -> String {
    fs::write(dir.join(name), text).unwrap();
    dir.join(name).to_str().unwrap().to_owned()
}

#[test]
fn a_hostile_certificate_is_only_text_and_the_page_stays_small() {
    let dir = TempDir::new().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let root = params.self_signed(&key).unwrap().pem();
    let ca = Issuer::new(params, key);
    let (own, own_key) = signed(&ca, &hostile());
    let rules: Vec<_> = (0..100).map(|n| format!("\"cn:<b>&'rule {n}\"")).collect();
    let sidecar = Setup::command(&["proxy", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
        .arg("--app")
        .arg(&TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string())
        .arg("--cert")
        .arg(&write(dir.path(), "own.crt", &own))
        .arg("--key")
        .arg(&write(dir.path(), "own.key", &own_key))
        .arg("--client-ca")
        .arg(&write(dir.path(), "ca.crt", &root))
        .arg("--policy")
        .arg(&write(dir.path(), "policy.toml", &format!("allow = [{}]\n", rules.join(", "))))
        .ready();
    let admin = admin(&sidecar);
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(root.as_bytes()).unwrap()).unwrap();
    // Quotes grow most when they are escaped.
    for name in [hostile(), "\"".repeat(50 * 1024)] {
        let (chain, key) = signed(&ca, &name);
        let client = showing(&roots, "hostile.example", (&chain, &key));
        for _ in 0..=REMEMBERED {
            turned_away(&client, &sidecar);
        }
        let denied = eventually("the denials", || {
            let seen = json(admin);
            (seen["connections"]["active"] == 0).then(|| seen["denials"].as_array().unwrap().clone())
        });
        assert_eq!(denied.len(), REMEMBERED);
        assert_eq!(denied[0]["denial_reason"], "not_allowed");
        assert!(denied[0]["subject"].as_str().unwrap().contains('…'), "{}", denied[0]);

        let (page, text) = (page(admin), get(admin, "/status.json").1);
        assert!(page.len() < MOST, "{} bytes", page.len());
        for document in [&page, &text] {
            let obeyed =
                |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c) || c == '\u{2066}';
            assert!(!document.contains(obeyed));
        }
        assert_eq!(page.matches("<script").count(), 1, "ours alone");
        assert!(!page.contains("<img") && !page.contains("<b>&") && page.contains("&lt;b&gt;&amp;&#39;rule 0"));
        assert!(page.contains("and 90 more"));
        assert_eq!(page.matches("<li><time>").count(), REMEMBERED);
        for secret in ["PRIVATE KEY", own_key.lines().nth(1).unwrap(), own_key.lines().nth(2).unwrap()] {
            assert!(!page.contains(secret) && !text.contains(secret));
        }
    }
    assert!(text_of(&page(admin)).contains("subject CN=\\\"\\\""));
}
