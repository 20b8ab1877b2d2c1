//! One entry for each connection, however it ends, and in it the bytes that both ends have counted.

mod cancelled;
mod endings;

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustls::SupportedProtocolVersion;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use tempfile::TempDir;
use vestibule::issuer::{Credential, InstanceSpec};

use crate::support::app::App;
use crate::support::client::{Client, Connector, Ending, connector, connector_with, read_to_end};
use crate::support::credentials::{Credentials, issue, roots, roots_pem};
use crate::support::sidecar::{Setup, Sidecar};
use crate::support::{TEST_TIMEOUT, app};

const BOTH: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

/// What became of one connection, as its client and the app have seen it.
struct ExpectedEntry {
    way: String,
    peer: String,
    reason: &'static str,
    up: u64,
    down: u64,
}

impl ExpectedEntry {
    /// A connection that carried nothing.
    fn nothing(way: &str, tcp: &TcpStream, reason: &'static str) -> Self {
        let peer = tcp.local_addr().unwrap().to_string();
        Self { way: way.to_owned(), peer, reason, up: 0, down: 0 }
    }
}

/// What the ends of one connection have counted.
struct Counted {
    peer: String,
    up: u64,
    down: u64,
}

impl Counted {
    fn seen(self, way: &str, reason: &'static str) -> ExpectedEntry {
        ExpectedEntry { way: way.to_owned(), peer: self.peer, reason, up: self.up, down: self.down }
    }
}

/// A client and the app's end of its connection, and the bytes that have arrived.
struct Pair {
    client: Client,
    app: TcpStream,
    up: u64,
    down: u64,
}

impl Pair {
    fn between(connector: &Connector, sidecar: &Sidecar, app: &App) -> Self {
        let client = connector.connect(sidecar.addr()).unwrap();
        Self { client, app: app.accept(), up: 0, down: 0 }
    }

    /// The client sends `n` bytes; the app counts them.
    fn up(&mut self, n: usize) {
        let sent: Vec<u8> = (0..n).map(|i| (i % 251) as u8).collect();
        let mut app = self.app.try_clone().unwrap();
        let received = std::thread::scope(|threads| {
            let reader = threads.spawn(move || {
                let mut received = vec![0; n];
                app.read_exact(&mut received).unwrap();
                received
            });
            self.client.send(&sent).unwrap();
            reader.join().unwrap()
        });
        assert!(received == sent);
        self.up += received.len() as u64;
    }

    /// The app sends `n` bytes; the client counts them.
    fn down(&mut self, n: usize) {
        let sent: Vec<u8> = (0..n).map(|i| (i % 249) as u8).collect();
        let mut app = self.app.try_clone().unwrap();
        let received = std::thread::scope(|threads| {
            threads.spawn(|| app.write_all(&sent).unwrap());
            self.client.receive(n).unwrap()
        });
        assert!(received == sent);
        self.down += received.len() as u64;
    }

    fn counted(&self) -> Counted {
        Counted { peer: self.client.tcp.local_addr().unwrap().to_string(), up: self.up, down: self.down }
    }
}

/// The entries so far.
fn access_log(sidecar: &Sidecar) -> Vec<Value> {
    sidecar.lines_of("connection closed")
}

/// Compares what the two ends have seen with the entries, the totals at the end, and the connections' number.
fn reconcile(mut sidecar: Sidecar, seen: Vec<ExpectedEntry>) -> usize {
    for ExpectedEntry { way, peer, .. } in &seen {
        sidecar.wait_until(&format!("entry of {way}"), |line| line["client_addr"] == peer.as_str());
    }
    sidecar.signal("TERM");
    sidecar.exited();
    let entries = access_log(&sidecar);
    let mut by_peer: HashMap<&str, Vec<&Value>> = HashMap::new();
    for entry in &entries {
        by_peer.entry(entry["client_addr"].as_str().unwrap()).or_default().push(entry);
    }
    for ExpectedEntry { way, peer, reason, up, down } in &seen {
        let [entry] = by_peer[peer.as_str()][..] else { panic!("more than one entry of {way}: {entries:#?}") };
        let found = (&entry["close_reason"], entry["bytes_up"].as_u64(), entry["bytes_down"].as_u64());
        assert_eq!(found, (&Value::from(*reason), Some(*up), Some(*down)), "{way}: {entry}");
    }
    assert_eq!(entries.len(), seen.len(), "every connection has one, and nothing else has: {entries:#?}");
    let sum = |field: &str| entries.iter().map(|entry| entry[field].as_u64().unwrap()).sum::<u64>();
    let (up, down) = seen.iter().fold((0, 0), |(up, down), seen| (up + seen.up, down + seen.down));
    assert_eq!((sum("bytes_up"), sum("bytes_down")), (up, down));
    let end = sidecar.wait_for("exited");
    let totals = ["bytes_up", "bytes_down", "connections"].map(|field| end[field].as_u64().unwrap());
    assert_eq!(totals, [up, down, seen.len() as u64]);
    seen.len()
}

#[test]
fn over_fifty_ways_to_end_the_records_are_the_connections_and_their_bytes_are_those_of_both_ends() {
    let stages: [fn() -> usize; 9] = [
        relays,
        silence_and_age,
        no_handshake,
        handshake_timeouts,
        no_app,
        no_room_and_no_pair,
        strangers,
        dismissed,
        drained,
    ];
    let ways: usize = std::thread::scope(|threads| {
        let running: Vec<_> = stages.map(|stage| threads.spawn(stage)).into();
        running.into_iter().map(|stage| stage.join().unwrap()).sum()
    });
    assert!(ways >= 50, "{ways}");
}

/// Each of the endings, in both versions, after more or fewer bytes.
fn relays() -> usize {
    const SIZES: [(usize, usize); 5] = [(0, 0), (1, 1), (16_384, 16_385), (100_000, 7), (3, 300_000)];
    let (credentials, app) = (Credentials::new(), App::start());
    let sidecar = Setup::proxy(&credentials, app.addr()).ready();
    let mut seen = Vec::new();
    for (nth, (way, reason, end)) in endings::ALL.into_iter().enumerate() {
        for (version, (up, down)) in BOTH.into_iter().zip(SIZES.into_iter().cycle().skip(nth)) {
            let mut pair = Pair::between(&connector_with(credentials.instance(), &[version]), &sidecar, &app);
            pair.up(up);
            pair.down(down);
            seen.push(end(pair).seen(way, reason));
        }
    }
    reconcile(sidecar, seen)
}

fn silence_and_age() -> usize {
    let mut ways = 0;
    for (option, limit, reason, ending) in [
        ("--idle-timeout", "300ms", "idle_timeout", Ending::CloseNotify),
        ("--max-age", "600ms", "max_age", Ending::Fin),
    ] {
        let (credentials, app) = (Credentials::new(), App::start());
        let sidecar = Setup::proxy(&credentials, app.addr()).arg(option).arg(limit).ready();
        let seen = BOTH.map(|version| {
            let mut pair = Pair::between(&connector_with(credentials.instance(), &[version]), &sidecar, &app);
            pair.up(70_000);
            pair.down(20);
            assert_eq!(pair.client.receive_all(), (Vec::new(), ending));
            pair.counted().seen(option, reason)
        });
        ways += reconcile(sidecar, seen.into());
    }
    ways
}

fn no_handshake() -> usize {
    let credentials = Credentials::new();
    let sidecar = Setup::proxy(&credentials, app::echo()).ready();
    let hello = connector(credentials.instance()).hello();
    let reset = |tcp: &TcpStream| socket2::SockRef::from(tcp).set_linger(Some(Duration::ZERO)).unwrap();
    let malformed = [22, 3, 1, 0, 4, 1, 0, 0, 0];
    let ways: [(&str, &[u8], bool, &str); 6] = [
        ("a probe", b"", false, "probe"),
        ("half a hello, then FIN", &hello[..100], false, "hello_incomplete"),
        ("half a hello, then RST", &hello[..100], true, "hello_incomplete"),
        ("plain HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", false, "not_tls"),
        ("a hello without sense", &malformed, false, "handshake_failed"),
        ("a hello, then FIN", &hello, false, "handshake_failed"),
    ];
    let mut seen = Vec::new();
    for (way, bytes, by_reset, reason) in ways {
        let mut tcp = TcpStream::connect(sidecar.addr()).unwrap();
        tcp.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        tcp.write_all(bytes).unwrap();
        if bytes == hello {
            tcp.read_exact(&mut [0; 1]).unwrap();
        }
        seen.push(ExpectedEntry::nothing(way, &tcp, reason));
        if by_reset {
            reset(&tcp);
        }
    }
    for version in BOTH {
        let other = connector_with("somebody-else.example", &[version]);
        let tcp = TcpStream::connect(sidecar.addr()).unwrap();
        seen.push(ExpectedEntry::nothing("an alert of the client's", &tcp, "handshake_failed"));
        assert!(other.handshake(tcp).is_err());
    }
    reconcile(sidecar, seen)
}

fn handshake_timeouts() -> usize {
    let credentials = Credentials::new();
    let sidecar = Setup::proxy(&credentials, app::echo()).arg("--handshake-timeout").arg("300ms").ready();
    let hello = connector(credentials.instance()).hello();
    let stuck = [("silence", 0), ("half a hello and silence", 100), ("a hello and silence", hello.len())];
    let clients = stuck.map(|(way, n)| {
        let mut tcp = TcpStream::connect(sidecar.addr()).unwrap();
        tcp.write_all(&hello[..n]).unwrap();
        (ExpectedEntry::nothing(way, &tcp, "handshake_timeout"), tcp)
    });
    let seen = clients.map(|(seen, tcp)| {
        read_to_end(&tcp);
        seen
    });
    reconcile(sidecar, seen.into())
}

/// A client that is reset in answer to its ClientHello.
fn reset_at_hello(way: &str, name: &str, sidecar: &Sidecar, reason: &'static str) -> ExpectedEntry {
    let mut tcp = TcpStream::connect(sidecar.addr()).unwrap();
    tcp.write_all(&connector(name).hello()).unwrap();
    assert_eq!(read_to_end(&tcp), (Vec::new(), Ending::Reset));
    ExpectedEntry::nothing(way, &tcp, reason)
}

fn no_app() -> usize {
    let credentials = Credentials::new();
    let name = credentials.instance();
    let refusing = Setup::proxy(&credentials, app::nobody()).ready();
    let seen = reset_at_hello("an app that refuses", name, &refusing, "app_refused");
    let ways = reconcile(refusing, vec![seen]);
    // A queue that is full: the kernel drops further attempts without a word.
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    full.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    full.listen(0).unwrap();
    let at = full.local_addr().unwrap().as_socket().unwrap();
    let _first = TcpStream::connect(at).unwrap();
    let waiting = Setup::proxy(&credentials, at).arg("--connect-timeout").arg("200ms").ready();
    let seen = reset_at_hello("an app that does not accept", name, &waiting, "app_timeout");
    ways + reconcile(waiting, vec![seen])
}

fn no_room_and_no_pair() -> usize {
    let (credentials, app) = (Credentials::new(), App::start());
    let sidecar = Setup::proxy(&credentials, app.addr()).arg("--max-connections").arg("1").ready();
    let mut pair = Pair::between(&connector(credentials.instance()), &sidecar, &app);
    pair.up(10);
    let turned_away = reset_at_hello("one too many", credentials.instance(), &sidecar, "overloaded");
    pair.down(10);
    let first = endings::app_is_done(pair).seen("the one that is enough", "completed");
    let ways = reconcile(sidecar, vec![turned_away, first]);

    let none_yet = Credentials::empty();
    let sidecar = Setup::proxy(&none_yet, app.addr()).start();
    sidecar.wait_for("listening");
    let seen = reset_at_hello("before the first pair", none_yet.instance(), &sidecar, "no_credential");
    ways + reconcile(sidecar, vec![seen])
}

/// A folder with the clients' CA and a policy.
struct AuthorizationSetup {
    credentials: Credentials,
    files: TempDir,
}

impl AuthorizationSetup {
    fn new(policy: &str) -> Self {
        let files = TempDir::new().unwrap();
        fs::write(files.path().join("ca.crt"), roots_pem()).unwrap();
        let setup = Self { credentials: Credentials::new(), files };
        setup.write_policy(policy);
        setup
    }

    fn write_policy(&self, text: &str) {
        let next = self.files.path().join(".next");
        fs::write(&next, text).unwrap();
        fs::rename(next, self.files.path().join("policy.toml")).unwrap();
    }

    fn before(&self, app: &App) -> Setup {
        let path = |name: &str| self.files.path().join(name).to_str().unwrap().to_owned();
        let setup = Setup::proxy(&self.credentials, app.addr());
        setup.arg("--client-ca").arg(&path("ca.crt")).arg("--policy").arg(&path("policy.toml"))
    }

    /// A client that shows `credential`.
    fn connector_as(&self, credential: &Credential) -> Connector {
        let mut connector = connector(self.credentials.instance());
        let chain = CertificateDer::pem_slice_iter(credential.cert_pem.as_bytes()).map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(credential.key_pem.as_bytes()).unwrap();
        let builder = rustls::ClientConfig::builder_with_provider(connector.config.crypto_provider().clone());
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots());
        connector.config = builder.with_client_auth_cert(chain, key).unwrap();
        connector
    }
}

fn strangers() -> usize {
    let (known, stranger) = (InstanceSpec::generate().unwrap(), InstanceSpec::generate().unwrap());
    let setup =
        AuthorizationSetup::new(&format!("allow = ['cf:app:{}']\ndeny = ['cf:space:{}']", known.app, known.space));
    let app = App::start();
    let sidecar = setup.before(&app).ready();
    let unknown_ca = {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["x".to_owned()]).unwrap().self_signed(&key).unwrap();
        Credential { cert_pem: certificate.pem(), key_pem: key.serialize_pem(), ..issue(&stranger) }
    };
    let connector = [
        ("nothing shown", connector(setup.credentials.instance())),
        ("shown what no CA vouches for", setup.connector_as(&unknown_ca)),
        ("no rule", setup.connector_as(&issue(&stranger))),
        ("a rule that denies", setup.connector_as(&issue(&known))),
    ];
    let seen = connector.map(|(way, connector)| {
        let tcp = TcpStream::connect(sidecar.addr()).unwrap();
        let seen = ExpectedEntry::nothing(way, &tcp, "denied");
        // In TLS 1.3 the alert comes after the client's own part.
        let client = connector.handshake(tcp);
        assert!(client.is_err() || client.is_ok_and(|mut client| client.receive(1).is_err()));
        seen
    });
    assert_eq!(app.unaccepted(), 0);
    reconcile(sidecar, seen.into())
}

/// Clients that have to go while they are connected: what the app still answers is on their entry as well.
fn dismissed() -> usize {
    let setup = AuthorizationSetup::new("allow = ['cf:any']");
    let app = App::start();
    let sidecar = setup.before(&app).ready();
    let (staying, spec) = (InstanceSpec::generate().unwrap(), InstanceSpec::generate().unwrap());
    let short = issue(&InstanceSpec { validity: Duration::from_secs(4), ..InstanceSpec::generate().unwrap() });
    let long = setup.connector_as(&issue(&spec));

    let mut expiring = Pair::between(&setup.connector_as(&short), &sidecar, &app);
    expiring.up(1000);
    let (answered, silent) = (Pair::between(&long, &sidecar, &app), Pair::between(&long, &sidecar, &app));
    let mut doomed = [answered, silent];
    doomed.iter_mut().for_each(|pair| pair.up(30_000));
    let mut seen = vec![answer_late(expiring).seen("its certificate expires", "peer_expired")];
    setup.write_policy(&format!("allow = ['cf:app:{}']", staying.app));
    let [answered, mut silent] = doomed;
    seen.push(answer_late(answered).seen("the rules change, and the app answers", "policy_changed"));
    assert_eq!(silent.client.receive_all(), (Vec::new(), Ending::Fin));
    seen.push(silent.counted().seen("the rules change, and the app does not answer", "policy_changed"));
    reconcile(sidecar, seen)
}

/// The client has to go; the app answers what it asked before.
fn answer_late(mut pair: Pair) -> Counted {
    assert_eq!(pair.app.read(&mut [0; 1]).unwrap(), 0, "nothing more comes");
    pair.app.write_all(b"the answer").unwrap();
    pair.app.shutdown(std::net::Shutdown::Both).unwrap();
    let (answer, ending) = pair.client.receive_all();
    assert_eq!((answer.as_slice(), ending), (&b"the answer"[..], Ending::CloseNotify));
    pair.down += answer.len() as u64;
    pair.counted()
}

fn drained() -> usize {
    let (credentials, app) = (Credentials::new(), App::start());
    let sidecar = Setup::proxy(&credentials, app.addr()).arg("--drain-timeout").arg("2s").ready();
    let connector = connector(credentials.instance());
    let [mut idle, mut busy, mut busy_half] = [(); 3].map(|()| Pair::between(&connector, &sidecar, &app));
    idle.up(100);
    idle.down(100);
    busy.up(5000);
    busy_half.up(50);
    busy_half.down(70_000);
    busy_half.up(50);
    sidecar.signal("TERM");
    assert_eq!(idle.client.receive_all(), (Vec::new(), Ending::CloseNotify));
    assert_eq!(busy.client.receive_all(), (Vec::new(), Ending::Fin));
    assert_eq!(busy_half.client.receive_all(), (Vec::new(), Ending::Fin));
    let busy = [busy, busy_half].map(|pair| pair.counted().seen("busy", "drain_timeout"));
    let seen = busy.into_iter().chain([idle.counted().seen("idle", "closed_idle")]).collect();
    reconcile(sidecar, seen)
}

#[test]
fn a_flood_leaves_some_records_and_says_how_many_were_left_out() {
    const FLOOD: u64 = 300;
    let credentials = Credentials::new();
    let sidecar = Setup::proxy(&credentials, app::nobody()).env("VESTIBULE_ACCESS_LOG", "denied").ready();
    let refused = || reset_at_hello("one of many", credentials.instance(), &sidecar, "app_refused");
    (0..FLOOD).for_each(|_| drop(refused()));
    let mut refusals = FLOOD;
    // The number of a second comes with the first entry behind it.
    let left_out = crate::support::eventually("all of them", || {
        drop(refused());
        refusals += 1;
        let entries = access_log(&sidecar);
        let left_out = entries.iter().filter_map(|entry| entry["suppressed"].as_u64()).sum::<u64>();
        (entries.len() as u64 + left_out == refusals).then_some(left_out)
    });
    assert!(left_out > 0);
}
