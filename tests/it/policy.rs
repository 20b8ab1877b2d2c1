//! `vestibule policy test`: the verdict, the rule and the reason, by the real binary.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;
use vestibule::issuer::{Credential, InstanceSpec};

use crate::support::credentials::{Credentials, issue, roots_pem};
use crate::support::sidecar::VESTIBULE;

const DAY: Duration = Duration::from_secs(86_400);

/// What `policy test` said.
struct Said {
    status: i32,
    stdout: String,
    stderr: String,
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {} {}", self.stdout, self.stderr))
    }

    /// Verdict, reason and rule.
    fn verdict(&self) -> (i32, Value, Value, Value) {
        let said = self.json();
        (self.status, said["verdict"].clone(), said["denial_reason"].clone(), said["rule"].clone())
    }

    #[track_caller]
    fn usage(&self, says: &str) {
        assert_eq!((self.status, self.stdout.as_str()), (2, ""), "{}", self.stderr);
        assert!(self.stderr.contains(says), "{}", self.stderr);
    }
}

/// Files for `policy test` to read.
struct Bench {
    dir: TempDir,
}

impl Bench {
    /// With the platform's CA in `cf.crt`.
    fn new() -> Self {
        let bench = Self { dir: TempDir::new().unwrap() };
        bench.write("cf.crt", &roots_pem());
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.path(name), text).unwrap();
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Runs it with the CAs of `cf.crt`; `@name` stands for a file here.
    fn test(&self, args: &str) -> Said {
        let mut command = Command::new(VESTIBULE);
        command.args(["policy", "test"]).env_clear().env("CF_SYSTEM_CERT_PATH", self.path("cf.crt"));
        for arg in args.split_whitespace() {
            match arg.strip_prefix('@') {
                Some(name) => command.arg(self.path(name)),
                None => command.arg(arg),
            };
        }
        let output = command.output().unwrap();
        Said {
            status: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// A CA of rcgen's, and what it signs.
struct Ca {
    params: CertificateParams,
    key: KeyPair,
    pem: String,
}

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "internal-ca");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { params, key, pem }
    }

    /// A certificate for this name, until then, for that purpose.
    fn sign(&self, dns: &str, not_after: SystemTime, purpose: ExtendedKeyUsagePurpose) -> String {
        let mut params = CertificateParams::new(vec![dns.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "router");
        params.not_before = (SystemTime::now() - 3 * DAY).into();
        params.not_after = not_after.into();
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().unwrap();
        params.signed_by(&key, &Issuer::from_params(&self.params, &self.key)).unwrap().pem()
    }
}

#[test]
fn green_comes_in_and_blue_does_not() {
    let (bench, green, blue) = (Bench::new(), Credentials::new(), Credentials::new());
    let rule = format!("cf:app:{}", green.spec.app);
    let test = |peer: &Credentials| {
        bench.test(&format!("--json --allow-app {} --peer {}", green.spec.app, peer.cert().display()))
    };
    let permitted = test(&green);
    assert_eq!(permitted.verdict(), (0, json!("permit"), Value::Null, json!(rule)));
    let identity = json!({
        "organization": green.spec.organization.to_string(),
        "space": green.spec.space.to_string(),
        "app": green.spec.app.to_string(),
        "instance": green.instance(),
    });
    assert_eq!(permitted.json()["identity"], identity);
    let denied = test(&blue);
    assert_eq!(denied.verdict(), (1, json!("denial"), json!("not_allowed"), Value::Null));
    assert_eq!(denied.json()["identity"]["app"], json!(blue.spec.app.to_string()));
}

#[test]
fn the_text_says_the_same_in_lines() {
    let (bench, green) = (Bench::new(), Credentials::new());
    let said =
        bench.test(&format!("--allow any --deny cf:org:{} --peer {}", green.spec.organization, green.cert().display()));
    assert_eq!(said.status, 1);
    let organization = green.spec.organization;
    let expected = [
        "listener      [::]:8443".to_owned(),
        "verdict       denial".to_owned(),
        format!("rule          cf:org:{organization}"),
        format!("reason        denied_by_rule: a rule denies the client: cf:org:{organization}"),
        format!("organization  {organization}"),
    ];
    let lines: Vec<_> = said.stdout.lines().take(expected.len()).collect();
    assert_eq!(lines, expected);
}

#[test]
fn the_router_is_known_by_its_name_and_an_app_of_that_name_is_not() {
    let (bench, ca, app) = (Bench::new(), Ca::new(), Credentials::new());
    bench.write("cf.crt", &(roots_pem() + &ca.pem.repeat(3)));
    let peer = ca.sign("gorouter.service.cf.internal", SystemTime::now() + DAY, ExtendedKeyUsagePurpose::ClientAuth);
    bench.write("router.crt", &peer);
    let said = bench.test("--json --allow dns:GoRouter.service.cf.internal --peer @router.crt");
    assert_eq!(said.verdict(), (0, json!("permit"), Value::Null, json!("dns:gorouter.service.cf.internal")));
    assert_eq!(said.json()["identity"], Value::Null);
    // Every instance has its own id as a DNS name, and as CN.
    let args = format!("--json --allow dns:{0}.x,dns:{0},cn:{0} --peer {1}", app.instance(), app.cert().display());
    assert_eq!(bench.test(&args).verdict(), (1, json!("denial"), json!("not_allowed"), Value::Null));
}

#[test]
fn what_the_roots_do_not_vouch_for_is_denied_whatever_the_rules_say() {
    use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
    let (bench, ca, stranger) = (Bench::new(), Ca::new(), Ca::new());
    bench.write("ca.crt", &ca.pem);
    let tomorrow = SystemTime::now() + DAY;
    for (certificate, reason) in [
        (ca.sign("a", tomorrow, ClientAuth), None),
        (stranger.sign("a", tomorrow, ClientAuth), Some("untrusted")),
        (stranger.sign("a", tomorrow, ClientAuth) + &stranger.pem, Some("untrusted")),
        (ca.sign("a", SystemTime::now() - DAY, ClientAuth), Some("expired")),
        (ca.sign("a", tomorrow, ServerAuth), Some("wrong_purpose")),
    ] {
        bench.write("peer.crt", &certificate);
        for mode in ["enforce", "audit"] {
            let args = format!("--json --client-ca @ca.crt --allow any --policy-mode {mode} --peer @peer.crt");
            let said = bench.test(&args);
            let verdict = if reason.is_some() { (1, json!("denial")) } else { (0, json!("permit")) };
            assert_eq!((said.status, said.json()["verdict"].clone()), verdict, "{reason:?} {mode}");
            assert_eq!(said.json()["denial_reason"], json!(reason));
            if reason == Some("wrong_purpose") {
                assert!(
                    said.stdout.contains("its extendedKeyUsage is serverAuth; have one issued with clientAuth"),
                    "{}",
                    said.stdout
                );
            }
        }
    }
}

#[test]
fn rules_on_what_is_shared_follow_our_own_certificate() {
    let (bench, own, stranger) = (Bench::new(), Credentials::new(), Credentials::new());
    let test = |rule: &str, peer: &Credentials| {
        let (cert, key) = (own.cert(), own.key());
        let own = format!("--cert {} --key {}", cert.display(), key.display());
        bench.test(&format!("--json {own} --allow {rule} --peer {}", peer.cert().display()))
    };
    for rule in ["cf:same:app", "cf:same:space", "cf:same:org"] {
        assert_eq!(test(rule, &own).verdict(), (0, json!("permit"), Value::Null, json!(rule)));
        assert_eq!(test(rule, &stranger).verdict(), (1, json!("denial"), json!("not_allowed"), Value::Null));
    }
    let without = bench.test(&format!("--allow cf:same:app --peer {}", own.cert().display()));
    without.usage("a rule cf:same compares clients with it: give --cert and --key");
}

#[test]
fn a_policy_file_is_read_whole_and_one_that_lists_nothing_admits_nobody() {
    let (bench, app) = (Bench::new(), Credentials::new());
    let test = |text: &str| {
        bench.write("policy.toml", text);
        bench.test(&format!("--json --policy @policy.toml --peer {}", app.cert().display()))
    };
    assert_eq!(test("allow = ['cf:any']").verdict(), (0, json!("permit"), Value::Null, json!("cf:any")));
    test("").usage("the file is empty");
    for nothing in ["# soon\n", "allow = []", "mode = 'enforce'\ndeny = ['cf:any']\n# last"] {
        assert_eq!(test(nothing).status, 1, "{nothing}");
    }
    let audited = test("mode = 'audit'\nallow = ['cn:x']");
    assert_eq!(audited.verdict(), (0, json!("permit"), json!("not_allowed"), Value::Null));
    let broken = test("allow = ['cf:app:web', 'any']\n\ndenny = []\n");
    broken.usage("policy.toml:1: allow: \"cf:app:web\": \"web\" is not a GUID");
    broken.usage("policy.toml:3: denny: no such key; the nearest is deny");
    test("allow = ['any'").usage("policy.toml:");
}

#[test]
fn each_listener_gives_its_own_verdict() {
    let (bench, app) = (Bench::new(), Credentials::new());
    let text = format!(
        "[[listener]]\nlisten = 1\nallow = ['cf:any']\n[[listener]]\nlisten = 2\nallow = ['cn:x']\n\
         [[listener]]\nlisten = 3\nclient-auth = 'off'\n# {}",
        app.instance()
    );
    bench.write("vestibule.toml", &text);
    let said = bench.test(&format!("--json --config @vestibule.toml --peer {}", app.cert().display()));
    let verdicts: Vec<_> =
        said.json().as_array().unwrap().iter().map(|v| (v["listener"].clone(), v["verdict"].clone())).collect();
    assert_eq!(verdicts, [(json!("[::]:1"), json!("permit")), (json!("[::]:2"), json!("denial"))]);
    assert_eq!(said.status, 1);
}

#[test]
fn what_cannot_be_judged_is_a_usage_fault_and_never_a_verdict() {
    let (bench, app) = (Bench::new(), Credentials::new());
    let peer = format!("--peer {}", app.cert().display());
    bench.test("--allow any").usage("--peer: is not given; name a file with the client's certificate chain");
    bench.test(&peer).usage("no listener asks for client certificates, and nobody is dialled; add --allow RULE, --client-auth require or --outbound");
    bench.test("--allow any --peer /nowhere").usage("--peer: /nowhere: cannot be read");
    bench.write("junk", "junk");
    bench.test("--allow any --peer @junk").usage("no certificate in it; give the client's chain in PEM");
    bench
        .test(&format!("--allow cf:ap:x {peer}"))
        .usage("--allow: \"cf:ap:x\": no such rule; the nearest is cf:app:GUID");
    bench
        .test(&format!("--client-auth off --allow any {peer}"))
        .usage("without client certificates no rule can be kept");
    bench.write("cf.crt", "");
    bench.test(&format!("--allow any {peer}")).usage("cf.crt: the file is empty");
    bench.write("cf.crt", "no CA");
    bench.test(&format!("--allow any {peer}")).usage("cf.crt: no certificate in PEM in it");
    fs::remove_file(bench.path("cf.crt")).unwrap();
    bench.test(&format!("--allow any {peer}")).usage("cf.crt: no such file");
}

/// X-Forwarded-Client-Cert as gorouter writes it.
fn raw(credential: &Credential) -> String {
    let (_, rest) = credential.cert_pem.split_once("-----BEGIN CERTIFICATE-----").unwrap();
    rest.split_once("-----END").unwrap().0.split_whitespace().collect()
}

#[test]
fn a_client_that_forwards_who_calls_is_asked_for_a_caller_as_the_proxy_would() {
    let bench = Bench::new();
    let [router, green, blue] = [(); 3].map(|()| InstanceSpec::generate().unwrap());
    bench.write("router.crt", &issue(&router).cert_pem);
    let rules = format!(
        "--json --mode http --client-ca {} --allow cf:app:{} --xfcc-forward-from cf:app:{} --router-xfcc sanitize-set",
        bench.path("cf.crt").display(),
        green.app,
        router.app,
    );
    let test = |caller: &str| {
        let client = bench.path("router.crt");
        bench.test(&format!("--client {} {caller} --path /x {rules}", client.display()))
    };
    let said = test(&format!("--client-xfcc {}", raw(&issue(&green))));
    let rule = format!("cf:app:{}", green.app);
    assert_eq!(said.verdict(), (0, json!("permit"), Value::Null, json!(rule)));
    assert_eq!(said.json()["identity"]["app"], green.app.to_string());
    assert!(said.json()["client"].is_string(), "{}", said.stdout);
    let said = test(&format!("--client-xfcc {}", raw(&issue(&blue))));
    assert_eq!(
        (said.status, &said.json()["status"], &said.json()["denial_reason"]),
        (1, &json!(403), &json!("denied"))
    );
    let said = test("");
    assert_eq!((said.status, &said.json()["status"]), (1, &json!(401)));
    assert_eq!(said.json()["denial_reason"], "certificate_required");
    let said = test("--client-xfcc garbage==");
    assert_eq!((said.status, &said.json()["status"]), (1, &json!(400)));
    assert_eq!(said.json()["denial_reason"], "xfcc_invalid");
    // Whoever may not forward is judged itself, and that is said.
    bench.write("green.crt", &issue(&green).cert_pem);
    bench.write("blue.crt", &issue(&blue).cert_pem);
    let key = "client_xfcc_not_judged";
    let of = |client: &str, rules: &str| {
        let client = format!("--client {} --client-xfcc garbage", bench.path(client).display());
        bench.test(&format!("{client} --path /x {rules}"))
    };
    let said = of("green.crt", &rules);
    assert_eq!(said.verdict(), (0, json!("permit"), Value::Null, json!(rule)));
    assert_eq!(said.json()[key], "the client may not forward who calls: no --xfcc-forward-from names it");
    let said = of("blue.crt", &rules);
    assert_eq!((said.status, &said.json()[key]), (1, &json!("the client does not get as far as its request")));
    let (plain, mode) = (format!("--client-ca {} --allow any", bench.path("cf.crt").display()), "--mode http");
    let said = of("green.crt", &format!("{plain} {mode}"));
    let line = "client-xfcc   not judged: nobody may forward who calls: --xfcc-forward-from is not given\nverdict       permit\n";
    assert!(said.stdout.contains(line) && said.status == 0, "{}", said.stdout);
    let said = of("green.crt", &plain);
    assert!(said.stdout.contains("client-xfcc   not judged: no request is read here"), "{}", said.stdout);
    for caller in ["", "--client-xfcc garbage=="] {
        assert_eq!(test(caller).json().get(key), None, "a router's word is judged, and nothing is said of none");
    }
    // --peer says no less who connects.
    let peer = bench.path("router.crt");
    let said = bench.test(&format!("--peer {} --path /x {rules}", peer.display()));
    assert_eq!((said.status, &said.json()["status"]), (1, &json!(401)));
    bench.test(&format!("--client {} {rules}", peer.display())).usage("--client: says nothing without a path");
    bench
        .test(&format!("--peer {0} --client {0} --path / {rules}", peer.display()))
        .usage("--client: says who connects");
}
