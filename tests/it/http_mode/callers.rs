//! Callers that come by way of a router: rules judge whom it forwards.

use std::process::Command;
use std::time::{Duration, SystemTime};

use base64ct::{Base64, Encoding};
use vestibule::issuer::{CertificateAuthority, Credential, InstanceSpec};

use super::talk::{Answer, Talk};
use super::{Front, GET, fields};
use crate::clients::{Backend, someone};
use crate::support::credentials::{issue_at, leaf};
use crate::support::http_app::HttpApp;
use crate::support::platform::Platform;
use crate::support::sidecar::VESTIBULE;

const ROUTER: &str = "gorouter.service.cf.internal";
const FROM: &str = "--xfcc-forward-from dns:gorouter.service.cf.internal --router-xfcc sanitize-set";

/// What stands behind a router.
struct Behind {
    app: HttpApp,
    platform: Platform,
    front: Front,
}

impl Behind {
    fn new(options: &str) -> Self {
        let (app, platform, backend) = (HttpApp::saying("ok"), Platform::new(), Backend::new());
        trust(&backend, &platform);
        let front = Front::with(backend, app.addr(), &format!("{FROM} {options}"));
        Self { app, platform, front }
    }

    fn router(&self) -> Talk {
        let connector = self.platform.client(self.front.connector(), ROUTER);
        Talk::by(&connector, self.front.sidecar.addr())
    }

    /// What the router gets for a request that forwards this.
    fn forwards(&self, value: &str) -> Answer {
        self.router().ask(&forwarding(value))
    }
}

/// Clients under the platform's CA may come in, beside instances.
fn trust(backend: &Backend, platform: &Platform) {
    let both = std::fs::read_to_string(backend.ca()).unwrap() + &platform.bundle();
    std::fs::write(backend.ca(), both).unwrap();
}

fn forwarding(value: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Client-Cert: {value}\r\n\r\n")
}

/// The certificate as gorouter forwards it.
fn raw(credential: &Credential) -> String {
    Base64::encode_string(&leaf(credential.cert_pem.as_bytes()))
}

#[test]
fn one_app_may_call_another_may_not_and_nobody_is_asked_for_a_certificate() {
    let ((green, green_pair), (blue, blue_pair)) = (someone(), someone());
    let behind = Behind::new(&format!("--allow cf:app:{}", green.app));

    assert_eq!(behind.forwards(&raw(&green_pair)).text(), "ok");
    behind.forwards(&raw(&blue_pair)).is_ours(403, "denied");
    let nobody = behind.router().ask(GET);
    nobody.is_ours(401, "certificate_required");
    assert_eq!(nobody.fields("www-authenticate"), ["ClientCertificate"]);
    assert_eq!(behind.app.asked().len(), 1);

    let entries = behind.front.requests(3);
    let of = |status: u16| entries.iter().find(|entry| entry["status"] == status).unwrap();
    assert_eq!(of(200)["caller_app"], green.app.to_string());
    assert_eq!(of(200)["caller_space"], green.space.to_string());
    assert_eq!(of(200)["caller_org"], green.organization.to_string());
    assert_eq!(of(200)["caller_instance"], green.instance.as_ref().unwrap().as_str());
    assert_eq!((&of(200)["caller_form"], &of(200)["caller_verified"]), (&"raw".into(), &true.into()));
    assert_eq!(of(200)["rule"], format!("cf:app:{}", green.app));
    assert!(of(200)["client_app"].is_null() && of(200)["client_subject"].is_string(), "{}", of(200));
    assert_eq!(of(403)["caller_app"], blue.app.to_string());
    assert_eq!(of(401)["anonymous_caller"], true);
}

#[test]
fn what_the_router_says_reaches_the_app_as_it_is_and_no_other_spelling_of_it_does() {
    let (spec, pair) = someone();
    let behind = Behind::new("--allow any --caller-headers");
    let value = raw(&pair);
    let request = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Client-Cert: {value}\r\nX_Forwarded_Client_Cert: forged\r\n\
         X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: http\r\nX-Cf-Applicationid: one\r\n\
         X-Vestibule-App: forged\r\n\r\n"
    );
    assert_eq!(behind.router().ask(&request).text(), "ok");
    let head = &behind.app.asked()[0].head;
    assert_eq!(fields(head, "x-forwarded-client-cert"), [value.as_str()]);
    assert_eq!(fields(head, "x-forwarded-for"), ["1.2.3.4"]);
    assert_eq!(fields(head, "x-forwarded-proto"), ["http"]);
    assert_eq!(fields(head, "x-cf-applicationid"), ["one"]);
    assert!(!head.contains("forged"), "{head}");
    // Whoever has called, and not the router.
    assert_eq!(fields(head, "x-vestibule-app"), [spec.app.to_string()]);
    assert_eq!(fields(head, "x-vestibule-subject-kind"), ["cf"]);
}

#[test]
fn where_nobody_is_forwarded_the_app_reads_of_nobody() {
    let behind = Behind::new("--allow any,anonymous --caller-headers");
    assert_eq!(behind.router().ask(GET).text(), "ok");
    let head = &behind.app.asked()[0].head;
    assert!(fields(head, "x-forwarded-client-cert").is_empty(), "{head}");
    assert_eq!(fields(head, "x-vestibule-subject-kind"), ["anonymous"]);
}

#[test]
fn the_router_itself_is_judged_where_that_is_asked_for_and_by_no_rule_but_the_allowlist() {
    let named = Behind::new(&format!("--xfcc-absent client --allow dns:{ROUTER}"));
    assert_eq!(named.router().ask(GET).text(), "ok");
    assert_eq!(named.front.requests(1)[0]["rule"], format!("dns:{ROUTER}"));
    // It comes in for what it may forward, and may ask for nothing itself.
    let (spec, pair) = someone();
    let unnamed = Behind::new(&format!("--xfcc-absent client --allow cf:app:{}", spec.app));
    unnamed.router().ask(GET).is_ours(403, "denied");
    assert_eq!(unnamed.forwards(&raw(&pair)).text(), "ok");
}

#[test]
fn a_forwarded_certificate_of_the_router_does_not_make_a_caller_of_it() {
    let (spec, _) = someone();
    let behind = Behind::new(&format!("--allow cf:app:{}", spec.app));
    let shown = behind.platform.certificate(ROUTER);
    behind.forwards(&Base64::encode_string(&shown)).is_ours(403, "denied");
}

#[test]
fn who_cannot_be_believed_is_refused_and_what_is_no_identity_too() {
    let (spec, pair) = someone();
    let behind = Behind::new("--allow any");
    let stranger = CertificateAuthority::generate(SystemTime::now()).unwrap().issue(&spec, SystemTime::now()).unwrap();
    let hours = |hours: u64| SystemTime::now() - Duration::from_secs(3600 * hours);
    let old = issue_at(&InstanceSpec { validity: Duration::from_secs(60), ..spec.clone() }, hours(2));
    for untrusted in [&stranger, &old] {
        behind.forwards(&raw(untrusted)).is_ours(403, "caller_untrusted");
    }
    let good = raw(&pair);
    for invalid in [
        "",
        "nonsense",
        "AA==",
        &good[..good.len() - 8],
        &format!("{good},{good}"),
        &format!("{good}\r\nX-Forwarded-Client-Cert: {good}"),
        "Hash=00",
        "Subject=\"CN=a,OU=app:nobody\";Unknown=1",
    ] {
        behind.forwards(invalid).is_ours(400, "xfcc_invalid");
    }
    assert!(behind.app.asked().is_empty());
}

#[test]
fn the_routers_word_counts_for_a_subject_alone_unless_a_certificate_is_required() {
    let (spec, _) = someone();
    let instance = spec.instance.as_ref().unwrap().as_str();
    let subject = format!(
        "Hash={};Subject=\"CN={instance},OU=organization:{}+OU=space:{}+OU=app:{}\"",
        "ab".repeat(32),
        spec.organization,
        spec.space,
        spec.app
    );
    let behind = Behind::new(&format!("--allow cf:app:{}", spec.app));
    assert_eq!(behind.forwards(&subject).text(), "ok");
    let entry = &behind.front.requests(1)[0];
    assert_eq!(entry["caller_app"], spec.app.to_string());
    assert_eq!((&entry["caller_form"], &entry["caller_verified"]), (&"envoy".into(), &false.into()));
    let behind = Behind::new(&format!("--xfcc-verify require --allow cf:app:{}", spec.app));
    behind.forwards(&subject).is_ours(403, "caller_untrusted");
}

#[test]
fn an_app_that_calls_by_itself_forwards_nobody() {
    let ((green, green_pair), (_, blue_pair)) = (someone(), someone());
    let behind = Behind::new(&format!("--allow cf:app:{}", green.app));
    let mut green = behind.front.talk_as(&green_pair);
    assert_eq!(green.ask(&forwarding(&raw(&blue_pair))).text(), "ok");
    assert_eq!(fields(&behind.app.asked()[0].head, "x-forwarded-client-cert"), [raw(&green_pair)]);
}

#[test]
fn without_a_word_on_what_the_router_does_the_program_starts_for_an_audit_alone() {
    let (platform, app) = (Platform::new(), HttpApp::saying("ok"));
    let unsaid = format!("--allow cf:any --xfcc-forward-from dns:{ROUTER}");
    let backend = Backend::new();
    trust(&backend, &platform);
    let mut sidecar = Front::setup(&backend, app.addr(), &unsaid).start();
    assert_eq!(sidecar.exited().code(), Some(2));
    let said = format!("{:?}", sidecar.lines());
    assert!(said.contains("xfcc-forward-from") && said.contains("--router-xfcc"), "{said}");

    let config = backend.files.path().join("vestibule.toml");
    let text = format!(
        "[[listener]]\nlisten = '127.0.0.1:0'\napp = '{}'\nmode = 'http'\nclient-ca = '{}'\nallow = 'cf:any'\n\
         xfcc-forward-from = 'dns:{ROUTER}'\n",
        app.addr(),
        backend.ca().display()
    );
    std::fs::write(&config, text).unwrap();
    let started = crate::support::sidecar::Setup::command(&["proxy", "--config", config.to_str().unwrap()])
        .credentials(&backend.credentials)
        .start();
    let mut sidecar = started;
    assert_eq!(sidecar.exited().code(), Some(78));

    let front = Front::with(backend, app.addr(), &format!("{unsaid} --policy-mode audit"));
    let (_, pair) = someone();
    let connector = platform.client(front.connector(), ROUTER);
    let mut router = Talk::by(&connector, front.sidecar.addr());
    assert_eq!(router.ask(&forwarding(&raw(&pair))).text(), "ok");
    let other = Base64::encode_string(&platform.certificate("other.test"));
    assert_eq!(router.ask(&forwarding(&other)).text(), "ok");
    let entries = front.requests(2);
    assert!(entries[0]["would_deny"].is_null(), "{}", entries[0]);
    assert_eq!(entries[1]["would_deny"], "denied");
}

#[test]
fn a_caller_whom_rules_were_asked_about_cannot_be_nominated_away() {
    let (spec, pair) = someone();
    let behind = Behind::new(&format!("--allow cf:app:{}", spec.app));
    let value = raw(&pair);
    let request = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Client-Cert: {value}\r\nX-Forwarded-For: 9.9.9.9\r\nX-Mine: 1\r\n\
         Connection: X-Forwarded-Client-Cert, X-Forwarded-For, X-Mine\r\n\r\n"
    );
    assert_eq!(behind.router().ask(&request).text(), "ok");
    let head = &behind.app.asked()[0].head;
    assert_eq!(fields(head, "x-forwarded-client-cert"), [value.as_str()]);
    assert_eq!(fields(head, "x-forwarded-for"), ["9.9.9.9"]);
    assert!(fields(head, "x-mine").is_empty() && fields(head, "connection").is_empty(), "{head}");
}

/// Fields that say where a request comes from, as CGI and its like read them.
const ORIGIN_SPELLINGS: [&str; 6] = [
    "X_Forwarded_For",
    "X_Forwarded_Proto",
    "X.Forwarded.Proto",
    "X_Forwarded-Host",
    "X_Cf_ApplicationId",
    "X_Vcap_Request_Id",
];

#[test]
fn other_spellings_of_where_a_request_comes_from_reach_the_app_from_nobody() {
    let behind = Behind::new("--allow any --client-auth request --forwarded-for set");
    let forged: String = ORIGIN_SPELLINGS.iter().map(|name| format!("{name}: forged\r\n")).collect();
    let request =
        format!("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Client-Cert: {}\r\n{forged}\r\n", raw(&someone().1));
    assert_eq!(behind.router().ask(&request).text(), "ok");
    assert_eq!(behind.front.talk_as(&someone().1).ask(&request).text(), "ok");
    for asked in behind.app.asked() {
        assert!(!asked.head.contains("forged"), "{}", asked.head);
    }
}

#[test]
fn nobody_in_particular_may_not_be_a_router() {
    let options = "proxy --mode http --listen 127.0.0.1:0 --client-auth request --allow any --router-xfcc forward";
    let mut command = Command::new(VESTIBULE);
    command.args(options.split(' ')).args(["--xfcc-forward-from", "anonymous"]).env_clear();
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("--xfcc-forward-from: would have everybody say who calls"), "{said}");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn the_start_says_what_of_whom_a_router_forwards_is_not_certain() {
    let backend = Backend::new();
    let options = "--xfcc-forward-from any --xfcc-absent client --client-auth request --allow any --policy-mode audit";
    let front = Front::with(backend, HttpApp::saying("ok").addr(), options);
    let warned: Vec<_> = front.sidecar.lines().into_iter().filter(|line| line["level"] == "warn").collect();
    let says = |text: &str| warned.iter().any(|line| line.to_string().contains(text));
    for text in ["--router-xfcc", "--xfcc-absent client", "whoever has a certificate may say that anybody calls"] {
        assert!(says(text), "{text}: {warned:?}");
    }
}
