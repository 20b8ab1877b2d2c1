//! Broken set-ups, each with what the doctor says of it.

use std::fs;
use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::support::credentials::{Credentials, issue_at, roots_pem};
use crate::support::sidecar::VESTIBULE;

/// A set-up of which one thing is broken: its name, how it is broken, the options, and what is said. `DIR` stands for the
/// credentials' folder, `TAKEN` for a port on which somebody listens.
type Broken = (&'static str, fn(&mut Credentials), &'static [&'static str], &'static str);

const DAY: Duration = Duration::from_secs(24 * 3600);

fn sound(_: &mut Credentials) {}

fn put(credentials: &Credentials, name: &str, text: impl AsRef<[u8]>) {
    fs::write(credentials.dir().join(name), text).unwrap();
}

fn with_roots(credentials: &mut Credentials) {
    put(credentials, "ca.crt", roots_pem());
}

/// A pair that was issued so long ago, or is going to be.
fn issued_at(credentials: &Credentials, now: SystemTime) {
    let pair = issue_at(&credentials.spec, now);
    credentials.folder.write(&pair).unwrap();
}

#[rustfmt::skip] // One set-up a line or two.
const BROKEN: &[Broken] = &[
    ("a listener without a port", sound, &["--listen=everywhere"],
     "problem configuration --listen: \"everywhere\" is not an address"),
    ("an app by its name", sound, &["--app=shop.example:80"],
     "problem configuration --app: \"shop.example\" is a name; write an IP address such as 127.0.0.1:80"),
    ("a TLS version of the past", sound, &["--tls-min=1.1"],
     "problem configuration --tls-min: \"1.1\" is not among the choices; write 1.2 or 1.3"),
    ("a duration without a unit", sound, &["--max-age=10"],
     "problem configuration --max-age: \"10\" has no unit"),
    ("half a pair", sound, &["--cert=DIR/instance.crt"],
     "problem configuration --cert: has no key beside it; give --key too"),
    ("a listener where the app is", sound, &["--listen=8080"],
     "problem configuration --listen: we would listen where the app is, 127.0.0.1:8080; give one of them another port"),
    ("two ways to say where", sound, &["--listener=1=2", "--listen=3"],
     "problem configuration --listen: given beside --listener; write every listener as LISTEN=APP"),
    ("actions without a place", sound, &["--admin=off", "--admin-actions=drain"],
     "problem configuration --admin: given beside --admin-actions; there would be nowhere to ask"),
    ("a network with a host in it", sound, &["--accept-proxy-protocol=10.1.2.3/8"],
     "problem configuration --accept-proxy-protocol: \"10.1.2.3/8\" names a host and a network at once"),
    ("a file that is not there", sound, &["--config=DIR/none.toml"],
     "problem configuration --config: "),
    ("a delay beyond the end", sound, &["--drain-delay=9s"],
     "problem configuration --drain-delay: 9s is longer than the whole drain, 8s"),
    ("a hold beyond the handshake", sound, &["--hold-until-ready=10s"],
     "problem configuration --hold-until-ready: 10s is not shorter than the handshake timeout, 10s"),
    ("a signal that does not exist", sound, &["--signal-map=TRM:3"],
     "problem configuration --signal-map: \"TRM\" is not a signal"),
    ("a rule that does not exist", sound, &["--client-ca=DIR/ca.crt", "--allow=cf:ap:x"],
     "problem configuration --allow: \"cf:ap:x\": no such rule; the nearest is cf:app:GUID"),
    ("a variable with a slip in it", sound, &["VESTIBULE_LISTN=1"],
     "problem configuration VESTIBULE_LISTN: no such variable; the nearest is VESTIBULE_LISTEN"),

    ("no certificate", |c| fs::remove_file(c.cert()).unwrap(), &[],
     "problem certificate DIR/instance.crt: no such file; give the right path by --cert or CF_INSTANCE_CERT"),
    ("no key", |c| fs::remove_file(c.key()).unwrap(), &[],
     "problem certificate DIR/instance.key: no such file; give the right path by --key or CF_INSTANCE_KEY"),
    ("an empty certificate", |c| put(c, "instance.crt", ""), &[],
     "problem certificate DIR/instance.crt: the file is empty; have it written anew, under another name and then renamed"),
    ("a certificate cut off", |c| put(c, "instance.crt", &fs::read(c.cert()).unwrap()[..300]), &[],
     "problem certificate DIR/instance.crt: the certificate file is torn or not PEM"),
    ("a key that is none", |c| put(c, "instance.key", "hello\n"), &[],
     "problem certificate DIR/instance.key: the key file holds no PRIVATE KEY"),
    ("an encrypted key", |c| put(c, "instance.key", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"), &[],
     "problem certificate DIR/instance.key: the key is encrypted, and there is nobody to ask for its passphrase"),
    ("a folder for a key", sound, &["--cert=DIR/instance.crt", "--key=DIR"],
     "problem certificate DIR: not a regular file"),
    ("certificate and key exchanged", sound, &["--cert=DIR/instance.key", "--key=DIR/instance.crt"],
     "problem certificate DIR/instance.key holds the key and DIR/instance.crt the certificate; exchange --cert and --key"),
    ("the key of another certificate", |c| { let other = c.issue().key_pem; put(c, "instance.key", other); }, &[],
     "problem certificate DIR/instance.crt and DIR/instance.key: the key does not belong to the certificate"),
    ("an expired certificate", |c| issued_at(c, SystemTime::now() - 2 * DAY), &[],
     "problem validity expired 1d ago"),
    ("a certificate of tomorrow", |c| issued_at(c, SystemTime::now() + 2 * DAY), &[],
     "problem validity "),
    ("a certificate without its CA", |c| {
        let text = fs::read_to_string(c.cert()).unwrap();
        let end = text.find("-----END CERTIFICATE-----\n").unwrap() + "-----END CERTIFICATE-----\n".len();
        put(c, "instance.crt", &text[..end]);
     }, &[],
     "warning chain "),
    ("the retirement pair", |c| { c.spec = c.spec.retired(); c.rotate(); }, &[],
     "warning retirement "),

    ("no client CA", sound, &["--client-ca=DIR/none.crt", "--allow=any"],
     "problem client_ca DIR/none.crt: no such file"),
    ("a client CA cut off", |c| put(c, "ca.crt", &roots_pem()[..300]), &["--client-ca=DIR/ca.crt", "--allow=any"],
     "problem client_ca DIR/ca.crt: torn or not PEM"),
    ("a folder without a client CA", |c| fs::create_dir(c.dir().join("cas")).unwrap(), &["--client-ca=DIR/cas", "--allow=any"],
     "problem client_ca no client CA in "),
    ("no CRL", with_roots, &["--client-ca=DIR/ca.crt", "--allow=any", "--client-crl=DIR/none.crl"],
     "problem crl DIR/none.crl: no such file"),
    ("a policy with a slip in it", |c| { with_roots(c); put(c, "p.toml", "alow = []"); }, &["--client-ca=DIR/ca.crt", "--policy=DIR/p.toml"],
     "problem rules DIR/p.toml:1: alow: no such key; the nearest is allow"),
    ("a policy that admits nobody", |c| { with_roots(c); put(c, "p.toml", "allow = []"); }, &["--client-ca=DIR/ca.crt", "--policy=DIR/p.toml"],
     "problem rules no rule admits anybody"),
    ("a policy that was cut off before its first byte", |c| { with_roots(c); put(c, "p.toml", ""); }, &["--client-ca=DIR/ca.crt", "--policy=DIR/p.toml"],
     "problem rules DIR/p.toml: the file is empty"),
    ("a rule that another one beats", with_roots, &["--client-ca=DIR/ca.crt", "--allow=cf:same:org", "--deny=cf:same:org"],
     "warning rules allow cf:same:org admits nobody: deny cf:same:org beats it; take one of them out"),
    ("a rule that can mean nobody", with_roots, &["--client-ca=DIR/ca.crt", "--allow=anonymous,any"],
     "problem configuration --allow: nobody is anonymous where a certificate is required; add --client-auth request"),
    ("certificates without rules", with_roots, &["--client-ca=DIR/ca.crt", "--client-auth=require"],
     "warning rules no rule is given: every client with a certificate under these CAs comes in"),
    ("rules that are only recorded", with_roots, &["--client-ca=DIR/ca.crt", "--allow=cf:same:org", "--policy-mode=audit"],
     "warning rules mode audit: "),

    ("a port that is taken", sound, &["--listen=127.0.0.1:TAKEN"],
     "problem listen 127.0.0.1:TAKEN: "),
    ("another machine's address", sound, &["--listen=192.0.2.1:8443"],
     "problem listen 192.0.2.1:8443: this machine has no address 192.0.2.1"),
    ("believing everybody", sound, &["--accept-proxy-protocol=0.0.0.0/0"],
     "warning listen [::]:0: --accept-proxy-protocol 0.0.0.0/0 lets every client choose its own address"),
    ("nobody behind the port", sound, &["--app=127.0.0.1:1"],
     "warning app 127.0.0.1:1: nobody listens there now; start the app"),
    ("no socket of the app's", sound, &["--app=unix:DIR/app.sock"],
     "warning app unix:DIR/app.sock: there is no such socket now"),
    ("another machine's app", sound, &["--app=192.0.2.1:8080", "--connect-timeout=50ms"],
     "warning app 192.0.2.1:8080 is another machine's: plaintext leaves this one"),
    ("health on a port that is taken", sound, &["--admin=127.0.0.1:TAKEN"],
     "problem admin 127.0.0.1:TAKEN: "),
    ("health where the app is", sound, &["--admin=127.0.0.1:8080"],
     "problem configuration --admin: 127.0.0.1:8080 is where the app listens"),
    ("health in a folder that is not there", sound, &["--admin=unix:DIR/none/a.sock"],
     "problem admin unix:DIR/none/a.sock: there is no such folder"),
    ("a drain for everybody", sound, &["--admin=0.0.0.0:9902", "--admin-actions=drain"],
     "warning admin 0.0.0.0:9902: other hosts can ask there for drain"),

    ("more threads than CPUs", sound, &["--threads=256"],
     "warning threads 256 worker threads on "),
    ("a drain that the platform cuts short", sound, &["VCAP_APPLICATION={}", "--drain-timeout=30s"],
     "warning drain --drain-timeout is 30s; Cloud Foundry kills 10s after TERM"),
    ("less patience than routers have", sound, &["VCAP_APPLICATION={}", "--idle-timeout=30s"],
     "warning timeouts --idle-timeout 30s ends connections that routers keep for 1m 30s"),
];

#[test]
fn every_broken_set_up_is_told_with_its_help() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let mut missed = Vec::new();
    for (name, breaks, options, expected) in BROKEN {
        let mut credentials = Credentials::new();
        breaks(&mut credentials);
        let dir = credentials.dir().to_str().unwrap().to_owned();
        let filled = |text: &str| text.replace("DIR", &dir).replace("TAKEN", &port);
        let mut command = Command::new(VESTIBULE);
        command.arg("check").env_clear();
        command.env("CF_INSTANCE_CERT", credentials.cert()).env("CF_INSTANCE_KEY", credentials.key());
        command.env("VESTIBULE_LISTEN", "0").env("VESTIBULE_ADMIN", "127.0.0.1:0");
        for option in options.iter().map(|option| filled(option)) {
            match option.split_once('=') {
                Some((variable, value)) if !option.starts_with('-') => command.env(variable, value),
                _ => command.arg(option),
            };
        }
        if options.iter().any(|option| option.starts_with("--listener")) {
            command.env_remove("VESTIBULE_LISTEN");
        }
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<_> = said.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        let found = lines.iter().find(|line| line.starts_with(&filled(expected)));
        let status = if said.contains("problem ") { 1 } else { 0 };
        // A mend stands behind a semicolon.
        if !found.is_some_and(|line| line.contains("; ")) || output.status.code() != Some(status) {
            missed.push(format!(
                "{name}: {:?}\n{said}{}",
                output.status.code(),
                String::from_utf8_lossy(&output.stderr)
            ));
        }
    }
    assert!(missed.is_empty(), "{} of {}:\n{}", missed.len(), BROKEN.len(), missed.join("\n"));
}
