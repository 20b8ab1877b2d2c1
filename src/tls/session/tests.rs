use std::io::Read;
use std::io::Write;
use std::ops::ControlFlow;
use std::sync::Arc;

use rustls::AlertDescription;
use rustls::CipherSuite;
use rustls::ClientConfig;
use rustls::ClientConnection;
use rustls::ContentType;
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::PrivateKeyDer;
use rustls::version::TLS12;
use rustls::version::TLS13;

use super::FRAGMENT;
use super::Session;
use super::WANTED_UPDATES;
use super::WARNINGS;
use crate::tls::Outgoing;
use crate::tls::negotiation::Negotiation;
use crate::tls::protection::Sealer;
use crate::tls::provider;

/// A client, and the session that it has shaken hands for.
struct Two {
    client: ClientConnection,
    session: Session,
}

/// What the session made of some bytes.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    /// This plaintext, and bytes that are not whole.
    Plaintext(Vec<u8>, usize),
    /// A violation, and these alerts of ours behind it.
    Violation,
}

fn with_suite(suite: CipherSuite) -> Two {
    let all = provider();
    let cipher_suites = all.cipher_suites.iter().filter(|known| known.suite() == suite).copied().collect::<Vec<_>>();
    assert_eq!(cipher_suites.len(), 1, "{suite:?}");
    shake_hands(Arc::new(CryptoProvider { cipher_suites, ..(*all).clone() }))
}

fn tls13() -> Two {
    with_suite(CipherSuite::TLS13_AES_128_GCM_SHA256)
}

fn tls12() -> Two {
    with_suite(CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256)
}

fn shake_hands(provider: Arc<CryptoProvider>) -> Two {
    let made = rcgen::generate_simple_self_signed(["app.test".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    server.enable_secret_extraction = true;
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.enable_secret_extraction = true;
    let mut client = ClientConnection::new(Arc::new(config), "app.test".try_into().unwrap()).unwrap();
    let mut negotiation = Negotiation::new(Arc::new(server)).unwrap();
    let (mut wire, mut out, mut early) = (Vec::new(), Outgoing::default(), Vec::new());
    while negotiation.is_under_way() || client.is_handshaking() {
        client.write_tls(&mut wire).unwrap();
        let used = negotiation.drive(&mut wire, &mut out, &mut early).unwrap();
        wire.drain(..used);
        client.read_tls(&mut out.bytes()).unwrap();
        client.process_new_packets().unwrap();
        out.clear();
    }
    assert!(early.is_empty() && wire.is_empty());
    let (_, session) = negotiation.finish().unwrap();
    Two { client, session }
}

impl Two {
    /// What the client wants to be sent, sealed.
    fn sealed_by_client(&mut self) -> Vec<u8> {
        let mut wire = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut wire).unwrap();
        }
        wire
    }

    /// The session's view of `wire`, and what it has to say to that.
    fn hear(&mut self, wire: &mut [u8]) -> (Heard, Outgoing) {
        let (mut out, mut plaintext) = (Outgoing::default(), Vec::new());
        let decrypted = self.session.decrypt(wire, &mut out, |payload| {
            plaintext.extend_from_slice(payload);
            ControlFlow::Continue(())
        });
        let heard = match decrypted {
            Ok(decrypted) => {
                assert!(!decrypted.stopped);
                Heard::Plaintext(plaintext, wire.len() - decrypted.used)
            }
            Err(_) => Heard::Violation,
        };
        (heard, out)
    }

    /// What the client makes of `out`.
    fn told(&mut self, out: &Outgoing) -> Result<Vec<u8>, rustls::Error> {
        let mut wire = out.bytes();
        let mut plaintext = Vec::new();
        while !wire.is_empty() {
            self.client.read_tls(&mut wire).unwrap();
            let state = self.client.process_new_packets()?;
            let mut part = vec![0; state.plaintext_bytes_to_read()];
            self.client.reader().read_exact(&mut part).unwrap();
            plaintext.extend(part);
        }
        Ok(plaintext)
    }

    fn send_and_hear(&mut self, plaintext: &[u8]) {
        self.client.writer().write_all(plaintext).unwrap();
        let mut wire = self.sealed_by_client();
        assert_eq!(self.hear(&mut wire).0, Heard::Plaintext(plaintext.to_vec(), 0));
    }

    fn answer_and_be_told(&mut self, plaintext: &[u8]) {
        let mut out = Outgoing::default();
        self.session.encrypt(plaintext, &mut out).unwrap();
        assert_eq!(self.told(&out).unwrap(), plaintext);
    }

    /// The client's keys, to send with them what no client would.
    fn rogue(self) -> (Session, Rogue) {
        let suite = self.client.negotiated_cipher_suite().unwrap();
        let secrets = self.client.dangerous_extract_secrets().unwrap();
        (self.session, Rogue(Sealer::new(suite, secrets.tx).unwrap()))
    }
}

struct Rogue(Sealer);

impl Rogue {
    fn says(&mut self, typ: ContentType, payload: &[u8]) -> Vec<u8> {
        let mut out = Outgoing::default();
        self.0.seal(typ, payload, &mut out).unwrap();
        out.bytes().to_vec()
    }
}

/// Whether the session takes `wire`, and how many bytes it has to say to it.
fn takes(session: &mut Session, wire: &mut [u8]) -> Option<usize> {
    let mut out = Outgoing::default();
    let taken = session.decrypt(wire, &mut out, |_| ControlFlow::Continue(())).ok();
    taken.map(|_| out.bytes().len())
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 131 % 251) as u8).collect()
}

#[test]
fn every_suite_carries_bytes_of_every_length_both_ways() {
    for suite in provider().cipher_suites.iter().map(rustls::SupportedCipherSuite::suite) {
        // The test's key signs with ECDSA.
        if suite.as_str().is_some_and(|name| name.contains("RSA")) {
            continue;
        }
        let mut two = with_suite(suite);
        for len in [1, 2, 15, 16, 17, 1000, FRAGMENT - 1, FRAGMENT, FRAGMENT + 1, 3 * FRAGMENT + 5] {
            two.send_and_hear(&bytes(len));
            two.answer_and_be_told(&bytes(len));
        }
        let mut out = Outgoing::default();
        two.session.close(&mut out).unwrap();
        two.told(&out).unwrap();
        assert_eq!(two.client.reader().read(&mut [0]).unwrap(), 0, "{suite:?}: close_notify");
        two.client.send_close_notify();
        let mut wire = two.sealed_by_client();
        wire.extend_from_slice(b"what follows is nobody's");
        assert_eq!(two.hear(&mut wire).0, Heard::Plaintext(Vec::new(), 0));
        assert!(two.session.client_closed());
    }
}

#[test]
fn pieces_arrive_whole_however_the_wire_is_cut() {
    let mut two = tls13();
    two.client.writer().write_all(&bytes(40)).unwrap();
    let whole = two.sealed_by_client();
    for cut in 0..whole.len() {
        assert_eq!(two.hear(&mut whole.clone()[..cut]).0, Heard::Plaintext(Vec::new(), cut));
    }
    assert_eq!(two.hear(&mut whole.clone()).0, Heard::Plaintext(bytes(40), 0));
}

#[test]
fn a_sink_that_breaks_off_gets_the_next_piece_later() {
    let mut two = tls13();
    for part in [b"one", b"two"] {
        two.client.writer().write_all(part).unwrap();
    }
    let mut wire = two.sealed_by_client();
    let mut out = Outgoing::default();
    let first = two.session.decrypt(&mut wire, &mut out, |payload| {
        assert_eq!(payload, b"one");
        ControlFlow::Break(())
    });
    let first = first.unwrap();
    assert!(first.stopped && first.used < wire.len());
    assert_eq!(two.hear(&mut wire[first.used..]).0, Heard::Plaintext(b"two".to_vec(), 0));
}

#[test]
fn one_bit_that_is_wrong_ends_the_session_with_bad_record_mac() {
    for mut two in [tls13(), tls12()] {
        two.client.writer().write_all(b"hello").unwrap();
        let mut wire = two.sealed_by_client();
        *wire.last_mut().unwrap() ^= 1;
        let (heard, out) = two.hear(&mut wire);
        assert_eq!(heard, Heard::Violation);
        assert_eq!(two.told(&out), Err(rustls::Error::AlertReceived(AlertDescription::BadRecordMac)));
    }
}

#[test]
fn a_piece_that_is_repeated_or_left_out_ends_the_session() {
    let mut two = tls13();
    two.client.writer().write_all(b"once").unwrap();
    let wire = two.sealed_by_client();
    assert_eq!(two.hear(&mut wire.clone()).0, Heard::Plaintext(b"once".to_vec(), 0));
    assert_eq!(two.hear(&mut wire.clone()).0, Heard::Violation);
    let mut two = tls12();
    two.client.writer().write_all(b"left out").unwrap();
    two.sealed_by_client();
    two.client.writer().write_all(b"sent").unwrap();
    let mut wire = two.sealed_by_client();
    assert_eq!(two.hear(&mut wire).0, Heard::Violation);
}

#[test]
fn headers_that_no_piece_has_end_the_session() {
    let cases: [(&[u8], AlertDescription); 5] = [
        (b"GET / HTTP/1.1\r\n", AlertDescription::ProtocolVersion),
        (&[23, 3, 3, 0xff, 0xff], AlertDescription::RecordOverflow),
        (&[20, 3, 3, 0, 1, 1], AlertDescription::UnexpectedMessage),
        (&[99, 3, 3, 0, 1, 1], AlertDescription::UnexpectedMessage),
        (&[23, 3, 3, 0, 0], AlertDescription::BadRecordMac),
    ];
    for (wire, alert) in cases {
        let mut two = tls13();
        let (heard, out) = two.hear(&mut wire.to_vec());
        assert_eq!(heard, Heard::Violation, "{wire:?}");
        assert_eq!(two.told(&out), Err(rustls::Error::AlertReceived(alert)), "{wire:?}");
    }
}

#[test]
fn a_client_that_takes_new_keys_is_followed_and_gets_new_ones() {
    let mut two = tls13();
    for round in 0..usize::from(WANTED_UPDATES) {
        two.client.refresh_traffic_keys().unwrap();
        two.client.writer().write_all(&bytes(round + 1)).unwrap();
        let mut wire = two.sealed_by_client();
        let (heard, out) = two.hear(&mut wire);
        assert_eq!(heard, Heard::Plaintext(bytes(round + 1), 0));
        assert_eq!(two.told(&out).unwrap(), b"");
        two.answer_and_be_told(b"with whichever keys are ours now");
    }
}

#[test]
fn keys_that_are_worn_out_are_replaced_in_tls13_and_end_the_session_in_tls12() {
    let mut two = tls13();
    for _ in 0..3 {
        two.session.0.sealer.wear_out();
        two.answer_and_be_told(&bytes(3 * FRAGMENT));
        two.send_and_hear(b"and the other way goes on");
    }
    let mut two = tls12();
    two.session.0.sealer.wear_out();
    let mut out = Outgoing::default();
    assert!(two.session.encrypt(b"too much", &mut out).is_err());
    assert_eq!(out.bytes(), b"");
    // There is room for the word that it ends.
    two.session.close(&mut out).unwrap();
    two.told(&out).unwrap();
    assert!(two.session.close(&mut out).is_ok() && two.session.close(&mut out).is_err());
}

#[test]
fn new_keys_may_be_announced_in_parts_but_nothing_else_may_stand_between_them() {
    let (mut session, mut rogue) = tls13().rogue();
    for part in [&[24, 0][..], &[0], &[1]] {
        assert_eq!(takes(&mut session, &mut rogue.says(ContentType::Handshake, part)), Some(0));
    }
    assert_eq!(takes(&mut session, &mut rogue.says(ContentType::ApplicationData, b"between")), None);
    let (mut session, mut rogue) = tls13().rogue();
    assert_eq!(takes(&mut session, &mut rogue.says(ContentType::Handshake, &[24, 0, 0, 1])), Some(0));
    assert_eq!(takes(&mut session, &mut rogue.says(ContentType::Handshake, &[0])), Some(0));
}

#[test]
fn messages_that_have_no_place_after_the_handshake_end_the_session() {
    let messages: [&[u8]; 8] = [
        &[],
        &[24, 0, 0, 1, 2],
        &[24, 0, 0, 2, 0, 0],
        &[24, 0, 0, 1, 0, 24, 0, 0, 1, 0],
        &[24, 0, 0, 1, 0, 0],
        &[1, 0, 0, 0],
        &[4, 0, 0, 0],
        &[20, 0, 0, 0],
    ];
    for message in messages {
        let (mut session, mut rogue) = tls13().rogue();
        assert_eq!(takes(&mut session, &mut rogue.says(ContentType::Handshake, message)), None, "{message:?}");
    }
    for typ in [ContentType::ChangeCipherSpec, ContentType::Heartbeat, ContentType::Unknown(0)] {
        let (mut session, mut rogue) = tls13().rogue();
        assert_eq!(takes(&mut session, &mut rogue.says(typ, &[1])), None, "{typ:?}");
    }
}

#[test]
fn a_client_that_asks_for_new_keys_without_end_is_cut_off() {
    let mut two = tls13();
    for _ in 0..WANTED_UPDATES {
        two.client.refresh_traffic_keys().unwrap();
        two.client.writer().write_all(b"x").unwrap();
        let mut wire = two.sealed_by_client();
        let (heard, out) = two.hear(&mut wire);
        assert_eq!(heard, Heard::Plaintext(b"x".to_vec(), 0));
        two.told(&out).unwrap();
    }
    two.client.refresh_traffic_keys().unwrap();
    let mut wire = two.sealed_by_client();
    assert_eq!(two.hear(&mut wire).0, Heard::Violation);
}

#[test]
fn new_keys_that_are_announced_and_not_taken_open_nothing_any_more() {
    let (mut session, mut rogue) = tls13().rogue();
    let announcement = [24, 0, 0, 1, 1];
    assert!(
        takes(&mut session, &mut rogue.says(ContentType::Handshake, &announcement)).is_some_and(|answer| answer > 0)
    );
    assert_eq!(takes(&mut session, &mut rogue.says(ContentType::ApplicationData, b"with the old ones")), None);
}

#[test]
fn warnings_are_borne_for_a_while_and_other_alerts_end_the_session_without_an_answer() {
    let (mut session, mut rogue) = tls12().rogue();
    for _ in 0..WARNINGS {
        assert_eq!(takes(&mut session, &mut rogue.says(ContentType::Alert, &[1, 90])), Some(0));
    }
    assert_eq!(takes(&mut session, &mut rogue.says(ContentType::Alert, &[1, 90])), None);
    for two in [tls13(), tls12()] {
        let (mut session, mut rogue) = two.rogue();
        let mut out = Outgoing::default();
        let mut wire = rogue.says(ContentType::Alert, &[2, 80]);
        assert!(session.decrypt(&mut wire, &mut out, |_| ControlFlow::Continue(())).is_err());
        assert_eq!(out.bytes(), b"");
    }
    let (mut session, mut rogue) = tls13().rogue();
    assert_eq!(takes(&mut session, &mut rogue.says(ContentType::Alert, &[1, 41])), None, "no warnings in TLS 1.3");
    let (mut session, mut rogue) = tls13().rogue();
    assert_eq!(takes(&mut session, &mut rogue.says(ContentType::Alert, &[1])), None, "half an alert");
}

#[test]
fn renegotiation_is_declined_once_and_then_ends_the_session() {
    let (mut session, mut rogue) = tls12().rogue();
    let declined = takes(&mut session, &mut rogue.says(ContentType::Handshake, &[1, 0, 0, 0]));
    assert!(declined.is_some_and(|answer| answer > 0));
    assert_eq!(takes(&mut session, &mut rogue.says(ContentType::ApplicationData, b"goes on")), Some(0));
    assert_eq!(takes(&mut session, &mut rogue.says(ContentType::Handshake, &[1, 0, 0, 0])), None);
    let (mut session, mut rogue) = tls12().rogue();
    assert_eq!(takes(&mut session, &mut rogue.says(ContentType::Handshake, &[0, 0, 0, 0])), None, "not a ClientHello");
}

#[test]
fn empty_pieces_of_application_data_are_passed_over() {
    let (mut session, mut rogue) = tls12().rogue();
    let mut wire = rogue.says(ContentType::ApplicationData, b"");
    let mut out = Outgoing::default();
    let decrypted = session.decrypt(&mut wire, &mut out, |_| unreachable!("nothing to hand on")).unwrap();
    assert_eq!(decrypted.used, wire.len());
}

#[test]
fn a_session_is_one_pointer_and_its_state_an_eighth_of_a_kibibyte() {
    assert_eq!(size_of::<Session>(), size_of::<usize>());
    let state = size_of::<super::State>();
    assert!(state <= 128, "{state} bytes");
}

proptest::proptest! {
    #[test]
    fn bytes_that_were_never_sealed_open_nothing(mut wire in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..64)) {
        let mut two = tls12();
        match two.hear(&mut wire).0 {
            Heard::Plaintext(plaintext, rest) => assert!(plaintext.is_empty() && rest == wire.len()),
            Heard::Violation => {}
        }
    }
}
