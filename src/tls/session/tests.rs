use std::io::{Read, Write};
use std::ops::ControlFlow;
use std::sync::Arc;

use rustls::{AlertDescription, CipherSuite, ClientConfig, ClientConnection, ContentType, ServerConfig};

use super::messages::UPDATES_WITHOUT_DATA;
use super::{MAX_FRAGMENT, Session, WARNINGS};
use crate::crypto::provider;
use crate::io::Outgoing;
use crate::tls::Violation;
use crate::tls::handshake_driver::HandshakeDriver;
use crate::tls::record::HEADER;
use crate::tls::test_peer::{Received, TestClient, configs, provider_with};

/// A client, and the session that it has shaken hands for.
struct ConnectedSession {
    client: ClientConnection,
    session: Session,
}

/// What the session made of some bytes.
#[derive(Debug, PartialEq, Eq)]
enum DecryptOutcome {
    /// This plaintext, and bytes that are not whole.
    Plaintext(Vec<u8>, usize),
    /// A violation, and these alerts of ours behind it.
    Violation,
}

fn tls13() -> ConnectedSession {
    with_suite(CipherSuite::TLS13_AES_128_GCM_SHA256)
}

fn tls12() -> ConnectedSession {
    with_suite(CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256)
}

fn with_suite(suite: CipherSuite) -> ConnectedSession {
    let (server, client) = configs(provider_with(suite));
    let mut client = ClientConnection::new(Arc::new(client), "app.test".try_into().unwrap()).unwrap();
    let mut negotiation = HandshakeDriver::with_client(Arc::new(server), None).unwrap();
    let (mut wire, mut out) = (Vec::new(), Outgoing::default());
    while negotiation.is_under_way() || client.is_handshaking() {
        client.write_tls(&mut wire).unwrap();
        let used = negotiation.drive(&mut wire, &mut out).unwrap();
        wire.drain(..used);
        client.read_tls(&mut out.bytes()).unwrap();
        client.process_new_packets().unwrap();
        out.clear();
    }
    assert!(wire.is_empty());
    let (_, session) = negotiation.finish().unwrap();
    ConnectedSession { client, session }
}

/// A session with a client that says what no client would.
fn rogue13() -> (Session, TestClient) {
    rogue(CipherSuite::TLS13_AES_128_GCM_SHA256)
}

fn rogue12() -> (Session, TestClient) {
    rogue(CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256)
}

fn rogue(suite: CipherSuite) -> (Session, TestClient) {
    let (server, client) = configs(provider_with(suite));
    let mut negotiation = HandshakeDriver::with_client(Arc::new(server), None).unwrap();
    let mut answer = |wire: &mut Vec<u8>| {
        let mut out = Outgoing::default();
        let used = negotiation.drive(wire, &mut out).unwrap();
        assert_eq!(used, wire.len());
        out.bytes().to_vec()
    };
    let (mut rogue, mut last) = TestClient::connect(Arc::new(client), &mut answer).unwrap();
    rogue.receive(&answer(&mut last)).unwrap();
    (negotiation.finish().unwrap().1, rogue)
}

impl ConnectedSession {
    /// What the client wants to be sent, sealed.
    fn sealed_by_client(&mut self) -> Vec<u8> {
        let mut wire = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut wire).unwrap();
        }
        wire
    }

    /// The session's view of `wire`, and what it has to say to that.
    fn hear(&mut self, wire: &mut [u8]) -> (DecryptOutcome, Outgoing) {
        let (mut out, mut plaintext) = (Outgoing::default(), Vec::new());
        let decrypted = self.session.decrypt(wire, &mut out, |payload| {
            plaintext.extend_from_slice(payload);
            ControlFlow::Continue(())
        });
        let heard = match decrypted {
            Ok(decrypted) => {
                assert!(!decrypted.paused);
                DecryptOutcome::Plaintext(plaintext, wire.len() - decrypted.used)
            }
            Err(_) => DecryptOutcome::Violation,
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
        assert_eq!(self.hear(&mut wire).0, DecryptOutcome::Plaintext(plaintext.to_vec(), 0));
    }

    fn answer_and_be_told(&mut self, plaintext: &[u8]) {
        let mut out = Outgoing::default();
        self.session.encrypt(plaintext, &mut out).unwrap();
        assert_eq!(self.told(&out).unwrap(), plaintext);
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
        for len in [1, 2, 15, 16, 17, 1000, MAX_FRAGMENT - 1, MAX_FRAGMENT, MAX_FRAGMENT + 1, 3 * MAX_FRAGMENT + 5] {
            two.send_and_hear(&bytes(len));
            two.answer_and_be_told(&bytes(len));
        }
        let mut out = Outgoing::default();
        two.session.close_notify(&mut out).unwrap();
        two.told(&out).unwrap();
        assert_eq!(two.client.reader().read(&mut [0]).unwrap(), 0, "{suite:?}: close_notify");
        two.client.send_close_notify();
        let mut wire = two.sealed_by_client();
        wire.extend_from_slice(b"what follows is nobody's");
        assert_eq!(two.hear(&mut wire).0, DecryptOutcome::Plaintext(Vec::new(), 0));
        assert!(two.session.peer_closed());
    }
}

#[test]
fn records_arrive_whole_however_the_wire_is_cut() {
    let mut two = tls13();
    two.client.writer().write_all(&bytes(40)).unwrap();
    let whole = two.sealed_by_client();
    for cut in 0..whole.len() {
        assert_eq!(two.hear(&mut whole.clone()[..cut]).0, DecryptOutcome::Plaintext(Vec::new(), cut));
    }
    assert_eq!(two.hear(&mut whole.clone()).0, DecryptOutcome::Plaintext(bytes(40), 0));
}

#[test]
fn a_sink_that_breaks_off_gets_the_next_record_later() {
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
    assert!(first.paused && first.used < wire.len());
    assert_eq!(two.hear(&mut wire[first.used..]).0, DecryptOutcome::Plaintext(b"two".to_vec(), 0));
}

#[test]
fn one_bit_that_is_wrong_ends_the_session_with_bad_record_mac() {
    for mut two in [tls13(), tls12()] {
        two.client.writer().write_all(b"hello").unwrap();
        let mut wire = two.sealed_by_client();
        *wire.last_mut().unwrap() ^= 1;
        let (heard, out) = two.hear(&mut wire);
        assert_eq!(heard, DecryptOutcome::Violation);
        assert_eq!(two.told(&out), Err(rustls::Error::AlertReceived(AlertDescription::BadRecordMac)));
    }
}

#[test]
fn a_record_that_is_repeated_or_left_out_ends_the_session() {
    let mut two = tls13();
    two.client.writer().write_all(b"once").unwrap();
    let wire = two.sealed_by_client();
    assert_eq!(two.hear(&mut wire.clone()).0, DecryptOutcome::Plaintext(b"once".to_vec(), 0));
    assert_eq!(two.hear(&mut wire.clone()).0, DecryptOutcome::Violation);
    let mut two = tls12();
    two.client.writer().write_all(b"left out").unwrap();
    two.sealed_by_client();
    two.client.writer().write_all(b"sent").unwrap();
    let mut wire = two.sealed_by_client();
    assert_eq!(two.hear(&mut wire).0, DecryptOutcome::Violation);
}

#[test]
fn headers_that_no_record_has_end_the_session() {
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
        assert_eq!(heard, DecryptOutcome::Violation, "{wire:?}");
        assert_eq!(two.told(&out), Err(rustls::Error::AlertReceived(alert)), "{wire:?}");
    }
}

#[test]
fn a_client_that_takes_new_keys_is_followed_and_gets_new_ones() {
    let mut two = tls13();
    for round in 0..4 * usize::from(UPDATES_WITHOUT_DATA) {
        two.client.refresh_traffic_keys().unwrap();
        two.client.writer().write_all(&bytes(round + 1)).unwrap();
        let mut wire = two.sealed_by_client();
        assert_eq!(two.hear(&mut wire).0, DecryptOutcome::Plaintext(bytes(round + 1), 0));
        assert!(two.session.owes_key_update());
        if round % 2 == 0 {
            let mut out = Outgoing::default();
            two.session.write_key_update(&mut out).unwrap();
            assert_eq!(two.told(&out).unwrap(), b"");
            assert!(!two.session.owes_key_update());
        }
        two.answer_and_be_told(b"with whichever keys are ours now");
        assert!(!two.session.owes_key_update());
    }
}

#[test]
fn keys_that_are_worn_out_are_replaced_in_tls13_and_end_the_session_in_tls12() {
    let mut two = tls13();
    for _ in 0..3 {
        two.session.0.sealer.as_mut().unwrap().wear_out();
        two.answer_and_be_told(&bytes(3 * MAX_FRAGMENT));
        two.send_and_hear(b"and the other way goes on");
    }
    let mut two = tls12();
    two.session.0.sealer.as_mut().unwrap().wear_out();
    let mut out = Outgoing::default();
    assert!(two.session.encrypt(b"too much", &mut out).is_err());
    assert_eq!(out.bytes(), b"");
    // There is room for the word that it ends.
    two.session.close_notify(&mut out).unwrap();
    two.told(&out).unwrap();
}

#[test]
fn new_keys_may_be_announced_in_parts_but_nothing_else_may_stand_between_them() {
    let (mut session, mut rogue) = rogue13();
    for part in [&[24, 0][..], &[0], &[1]] {
        assert_eq!(takes(&mut session, &mut rogue.seal(ContentType::Handshake, part)), Some(0));
    }
    assert_eq!(takes(&mut session, &mut rogue.seal(ContentType::ApplicationData, b"between")), None);
    let (mut session, mut rogue) = rogue13();
    assert_eq!(takes(&mut session, &mut rogue.seal(ContentType::Handshake, &[24, 0, 0, 1])), Some(0));
    assert_eq!(takes(&mut session, &mut rogue.seal(ContentType::Handshake, &[0])), Some(0));
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
        let (mut session, mut rogue) = rogue13();
        assert_eq!(takes(&mut session, &mut rogue.seal(ContentType::Handshake, message)), None, "{message:?}");
    }
    for typ in [ContentType::ChangeCipherSpec, ContentType::Heartbeat, ContentType::Unknown(0)] {
        let (mut session, mut rogue) = rogue13();
        assert_eq!(takes(&mut session, &mut rogue.seal(typ, &[1])), None, "{typ:?}");
    }
}

#[test]
fn a_client_that_takes_new_keys_without_end_and_without_data_is_cut_off() {
    let (mut session, mut rogue) = rogue13();
    for _ in 0..UPDATES_WITHOUT_DATA {
        assert_eq!(takes(&mut session, &mut rogue.update_keys(true)), Some(0));
    }
    assert_eq!(takes(&mut session, &mut rogue.update_keys(false)), None);
}

#[test]
fn data_of_either_side_between_them_lets_a_client_take_new_keys_for_ever() {
    let (mut session, mut rogue) = rogue13();
    for round in 0..3 * UPDATES_WITHOUT_DATA {
        assert_eq!(takes(&mut session, &mut rogue.update_keys(round % 2 == 1)), Some(0));
        if round % (UPDATES_WITHOUT_DATA - 2) != 0 {
            continue;
        }
        if round % 4 == 0 {
            session.encrypt(b"x", &mut Outgoing::default()).unwrap();
        } else {
            assert_eq!(takes(&mut session, &mut rogue.seal(ContentType::ApplicationData, b"x")), Some(0));
        }
    }
    // An empty record is no data.
    for _ in 0..=UPDATES_WITHOUT_DATA {
        takes(&mut session, &mut rogue.seal(ContentType::ApplicationData, b""));
        if takes(&mut session, &mut rogue.update_keys(false)).is_none() {
            return;
        }
    }
    panic!("it goes on without end");
}

#[test]
fn any_number_of_wanted_key_updates_is_answered_by_one() {
    let (mut session, mut rogue) = rogue13();
    for _ in 0..5 {
        takes(&mut session, &mut rogue.update_keys(true)).unwrap();
    }
    let mut out = Outgoing::default();
    session.write_key_update(&mut out).unwrap();
    let one = out.bytes().len();
    session.write_key_update(&mut out).unwrap();
    assert!(one > 0 && out.bytes().len() == one, "{one}");
}

#[test]
fn nothing_is_sealed_behind_close_notify_whatever_the_client_still_says() {
    let (mut session, mut rogue) = rogue13();
    takes(&mut session, &mut rogue.update_keys(true)).unwrap();
    let mut out = Outgoing::default();
    session.close_notify(&mut out).unwrap();
    out.clear();
    assert!(!session.owes_key_update(), "the answer that was owed is not given any more");
    // Its keys are followed all the same.
    for _ in 0..3 {
        assert_eq!(takes(&mut session, &mut rogue.update_keys(true)), Some(0));
        assert_eq!(takes(&mut session, &mut rogue.seal(ContentType::ApplicationData, b"the upload")), Some(0));
    }
    assert!(!session.owes_key_update());
    session.write_key_update(&mut out).unwrap();
    session.close_notify(&mut out).unwrap();
    assert!(session.encrypt(b"too late", &mut out).is_err());
    assert_eq!(takes(&mut session, &mut rogue.seal(ContentType::ChangeCipherSpec, &[1])), None);
    assert_eq!(out.bytes(), b"");

    let (mut session, mut rogue) = rogue12();
    session.close_notify(&mut Outgoing::default()).unwrap();
    assert_eq!(
        takes(&mut session, &mut rogue.seal(ContentType::Handshake, &[1, 0, 0, 0])),
        Some(0),
        "declined in silence"
    );
    assert_eq!(takes(&mut session, &mut rogue.seal(ContentType::ApplicationData, b"goes on")), Some(0));
}

#[test]
fn new_keys_that_are_announced_and_not_taken_open_nothing_any_more() {
    let (mut session, mut rogue) = rogue13();
    assert_eq!(takes(&mut session, &mut rogue.seal(ContentType::Handshake, &[24, 0, 0, 1, 1])), Some(0));
    assert_eq!(takes(&mut session, &mut rogue.seal(ContentType::ApplicationData, b"with the old ones")), None);
}

#[test]
fn warnings_are_borne_for_a_while_and_other_alerts_end_the_session_without_an_answer() {
    let (mut session, mut rogue) = rogue12();
    for _ in 0..WARNINGS {
        assert_eq!(takes(&mut session, &mut rogue.seal(ContentType::Alert, &[1, 90])), Some(0));
    }
    assert_eq!(takes(&mut session, &mut rogue.seal(ContentType::Alert, &[1, 90])), None);
    for (mut session, mut rogue) in [rogue13(), rogue12()] {
        let mut out = Outgoing::default();
        let mut wire = rogue.seal(ContentType::Alert, &[2, 80]);
        assert!(session.decrypt(&mut wire, &mut out, |_| ControlFlow::Continue(())).is_err());
        assert_eq!(out.bytes(), b"");
    }
    let (mut session, mut rogue) = rogue13();
    assert_eq!(takes(&mut session, &mut rogue.seal(ContentType::Alert, &[1, 41])), None, "no warnings in TLS 1.3");
    let (mut session, mut rogue) = rogue13();
    assert_eq!(takes(&mut session, &mut rogue.seal(ContentType::Alert, &[1])), None, "half an alert");
}

#[test]
fn a_client_is_told_what_is_wrong_with_its_alert() {
    let (half, none): (&[u8], &[u8]) = (&[1], &[]);
    let cases = [
        (rogue13(), half, AlertDescription::DecodeError),
        (rogue13(), none, AlertDescription::UnexpectedMessage),
        (rogue12(), half, AlertDescription::DecodeError),
        (rogue12(), none, AlertDescription::DecodeError),
    ];
    for ((mut session, mut rogue), payload, alert) in cases {
        let (mut out, mut wire) = (Outgoing::default(), rogue.seal(ContentType::Alert, payload));
        assert!(session.decrypt(&mut wire, &mut out, |_| ControlFlow::Continue(())).is_err());
        assert_eq!(rogue.receive(out.bytes()).unwrap(), [Received::Alert(alert)], "{payload:?}");
    }
}

#[test]
fn new_keys_are_announced_by_one_byte_and_another_message_is_told_apart_from_another_length() {
    let cases: [(&[u8], AlertDescription); 4] = [
        (&[24, 0, 0, 2, 0, 0], AlertDescription::DecodeError),
        (&[24, 0, 0, 0], AlertDescription::DecodeError),
        (&[24, 0, 0, 1, 0, 0], AlertDescription::UnexpectedMessage),
        (&[11, 0, 0, 1, 0], AlertDescription::UnexpectedMessage),
    ];
    for (payload, alert) in cases {
        let (mut session, mut rogue) = rogue13();
        let (mut out, mut wire) = (Outgoing::default(), rogue.seal(ContentType::Handshake, payload));
        assert!(session.decrypt(&mut wire, &mut out, |_| ControlFlow::Continue(())).is_err());
        assert_eq!(rogue.receive(out.bytes()).unwrap(), [Received::Alert(alert)], "{payload:?}");
    }
}

#[test]
fn a_sealed_record_is_longer_than_its_plaintext_by_no_more_than_its_version_allows() {
    for (mut two, expansion) in [(tls13(), 256), (tls12(), 2048)] {
        let header = |length: usize| [&[23, 3, 3][..], &u16::try_from(length).unwrap().to_be_bytes()].concat();
        let most = MAX_FRAGMENT + expansion;
        assert_eq!(
            two.hear(&mut header(most)).0,
            DecryptOutcome::Plaintext(Vec::new(), HEADER),
            "the rest is waited for"
        );
        let (heard, out) = two.hear(&mut header(most + 1));
        assert_eq!(heard, DecryptOutcome::Violation);
        assert_eq!(two.told(&out), Err(rustls::Error::AlertReceived(AlertDescription::RecordOverflow)));
    }
}

#[test]
fn renegotiation_is_declined_once_and_then_ends_the_session() {
    let (mut session, mut rogue) = rogue12();
    let declined = takes(&mut session, &mut rogue.seal(ContentType::Handshake, &[1, 0, 0, 0]));
    assert!(declined.is_some_and(|answer| answer > 0));
    assert_eq!(takes(&mut session, &mut rogue.seal(ContentType::ApplicationData, b"goes on")), Some(0));
    assert_eq!(takes(&mut session, &mut rogue.seal(ContentType::Handshake, &[1, 0, 0, 0])), None);
    let (mut session, mut rogue) = rogue12();
    assert_eq!(takes(&mut session, &mut rogue.seal(ContentType::Handshake, &[0, 0, 0, 0])), None, "not a ClientHello");
}

/// Our session with a server, that server, whose keys seal whatever it is made to say, and what it has said behind its Finished; whether
/// the session was resumed.
fn with_server(server: &Arc<ServerConfig>, client: &Arc<ClientConfig>) -> (Session, Session, Vec<u8>, bool) {
    let mut ours = HandshakeDriver::with_server(Arc::clone(client), "app.test".try_into().unwrap()).unwrap();
    let mut theirs = HandshakeDriver::with_client(Arc::clone(server), None).unwrap();
    let (mut to_us, mut to_them, mut out) = (Vec::new(), Vec::new(), Outgoing::default());
    while ours.is_under_way() || theirs.is_under_way() {
        if ours.is_under_way() {
            out.clear();
            let used = ours.drive(&mut to_us, &mut out).unwrap();
            to_us.drain(..used);
            to_them.extend_from_slice(out.bytes());
        }
        if theirs.is_under_way() {
            out.clear();
            let used = theirs.drive(&mut to_them, &mut out).unwrap();
            to_them.drain(..used);
            to_us.extend_from_slice(out.bytes());
        }
    }
    let (negotiated, ours) = ours.finish().unwrap();
    (ours, theirs.finish().unwrap().1, to_us, negotiated.resumed)
}

fn with_rogue_server(suite: CipherSuite) -> (Session, Session) {
    let (server, client) = configs(provider_with(suite));
    let (mut ours, theirs, mut tickets, _) = with_server(&Arc::new(server), &Arc::new(client));
    assert_eq!(takes(&mut ours, &mut tickets), Some(0));
    (ours, theirs)
}

/// One record of the server's that holds `payload`.
fn sealed(server: &mut Session, typ: ContentType, payload: &[u8]) -> Vec<u8> {
    let mut out = Outgoing::default();
    server.0.sealer.as_mut().unwrap().seal(typ, payload, &mut out).unwrap();
    out.bytes().to_vec()
}

const TLS13: CipherSuite = CipherSuite::TLS13_AES_128_GCM_SHA256;
const TLS12: CipherSuite = CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256;

/// A ticket (RFC 8446, 4.6.1): lifetime, what is added to its age, nonce, itself, no extensions.
const TICKET: [u8; 22] = [4, 0, 0, 18, 0, 0, 14, 16, 1, 2, 3, 4, 1, 0, 0, 4, 7, 7, 7, 7, 0, 0];

#[test]
fn a_servers_tickets_are_kept_for_its_next_session() {
    for suite in [TLS13, TLS12] {
        let (server, client) = configs(provider_with(suite));
        let (server, client) = (Arc::new(server), Arc::new(client));
        let (mut ours, mut theirs, mut tickets, resumed) = with_server(&server, &client);
        assert!(!resumed);
        assert_eq!(takes(&mut ours, &mut tickets), Some(0));
        // Both ways, and by either side's keys.
        let mut out = Outgoing::default();
        ours.encrypt(b"question", &mut out).unwrap();
        assert_eq!(takes(&mut theirs, &mut out.bytes().to_vec()), Some(0));
        let mut answer = Outgoing::default();
        theirs.encrypt(b"answer", &mut answer).unwrap();
        assert_eq!(takes(&mut ours, &mut answer.bytes().to_vec()), Some(0));
        assert!(with_server(&server, &client).3, "{suite:?} is resumed");
    }
}

#[test]
fn a_servers_messages_may_come_in_parts_and_several_at_once() {
    let (mut ours, mut theirs) = with_rogue_server(TLS13);
    assert_eq!(ours.memory(), 0);
    for (nth, part) in TICKET.chunks(1).enumerate() {
        let is_whole = nth + 1 == TICKET.len();
        assert_eq!(takes(&mut ours, &mut sealed(&mut theirs, ContentType::Handshake, part)), Some(0));
        assert!(if is_whole { ours.memory() == 0 } else { ours.memory() > nth }, "what waits for its rest is memory");
    }
    let several = [&TICKET[..], &TICKET, &TICKET[..9]].concat();
    assert_eq!(takes(&mut ours, &mut sealed(&mut theirs, ContentType::Handshake, &several)), Some(0));
    let rest = [&TICKET[9..], &[24, 0, 0, 1, 1]].concat();
    assert_eq!(takes(&mut ours, &mut sealed(&mut theirs, ContentType::Handshake, &rest)), Some(0));
    assert!(ours.owes_key_update());
    assert_eq!(takes(&mut ours, &mut sealed(&mut theirs, ContentType::ApplicationData, b"with the old keys")), None);
}

#[test]
fn what_a_server_has_no_place_for_after_the_handshake_ends_the_session() {
    let too_long = [4, 1, 0, 0, 0];
    let twice = [[24, 0, 0, 1, 0]; 2].concat();
    let unreadable = [4, 0, 0, 1, 0];
    let messages: [&[u8]; 8] =
        [&[], &[1, 0, 0, 0], &[0, 0, 0, 0], &[20, 0, 0, 0], &[24, 0, 0, 2, 0, 0], &too_long, &twice, &unreadable];
    for message in messages {
        let (mut ours, mut theirs) = with_rogue_server(TLS13);
        let said = sealed(&mut theirs, ContentType::Handshake, message);
        assert_eq!(takes(&mut ours, &mut said.clone()), None, "{message:?}");
    }
    let (mut ours, mut theirs) = with_rogue_server(TLS13);
    assert_eq!(takes(&mut ours, &mut sealed(&mut theirs, ContentType::Handshake, &TICKET[..5])), Some(0));
    assert_eq!(takes(&mut ours, &mut sealed(&mut theirs, ContentType::ApplicationData, b"between")), None);
}

#[test]
fn a_server_that_wants_to_renegotiate_is_declined_once() {
    let (mut ours, mut theirs) = with_rogue_server(TLS12);
    let declined = takes(&mut ours, &mut sealed(&mut theirs, ContentType::Handshake, &[0, 0, 0, 0]));
    assert!(declined.is_some_and(|answer| answer > 0));
    assert_eq!(takes(&mut ours, &mut sealed(&mut theirs, ContentType::ApplicationData, b"goes on")), Some(0));
    assert_eq!(takes(&mut ours, &mut sealed(&mut theirs, ContentType::Handshake, &[0, 0, 0, 0])), None);
    // Its message may come in parts, with nothing between them, and another may not stand behind it.
    let (mut ours, mut theirs) = with_rogue_server(TLS12);
    assert_eq!(takes(&mut ours, &mut sealed(&mut theirs, ContentType::Handshake, &[0])), Some(0));
    let declined = takes(&mut ours, &mut sealed(&mut theirs, ContentType::Handshake, &[0, 0, 0]));
    assert!(declined.is_some_and(|answer| answer > 0));
    let (mut ours, mut theirs) = with_rogue_server(TLS12);
    assert_eq!(takes(&mut ours, &mut sealed(&mut theirs, ContentType::Handshake, &[0])), Some(0));
    assert_eq!(takes(&mut ours, &mut sealed(&mut theirs, ContentType::ApplicationData, b"between")), None);
    let (mut ours, mut theirs) = with_rogue_server(TLS12);
    assert_eq!(takes(&mut ours, &mut sealed(&mut theirs, ContentType::Handshake, &[0; 8])), None);
    let (mut ours, mut theirs) = with_rogue_server(TLS12);
    assert_eq!(takes(&mut ours, &mut sealed(&mut theirs, ContentType::Handshake, &TICKET)), None);
}

#[test]
fn the_alert_that_ends_a_session_is_known() {
    for (suite, alert) in [(TLS13, AlertDescription::CertificateRequired), (TLS12, AlertDescription::BadCertificate)] {
        let (mut ours, mut theirs) = with_rogue_server(suite);
        let mut wire = sealed(&mut theirs, ContentType::Alert, &[2, u8::from(alert)]);
        let mut out = Outgoing::default();
        let ended = ours.decrypt(&mut wire, &mut out, |_| ControlFlow::Continue(())).unwrap_err();
        assert_eq!((ended, out.bytes()), (Violation::Received(alert), &b""[..]));
    }
}

#[test]
fn empty_records_of_application_data_are_passed_over() {
    let (mut session, mut rogue) = rogue12();
    let mut wire = rogue.seal(ContentType::ApplicationData, b"");
    let mut out = Outgoing::default();
    let decrypted = session.decrypt(&mut wire, &mut out, |_| unreachable!("nothing to hand on")).unwrap();
    assert_eq!(decrypted.used, wire.len());
}

#[test]
fn a_session_is_one_pointer_and_its_state_an_eighth_of_a_kibibyte() {
    assert_eq!(size_of::<Session>(), size_of::<usize>());
    let state = size_of::<super::SessionState>();
    assert!(state <= 128, "{state} bytes");
}

proptest::proptest! {
    #[test]
    fn bytes_that_were_never_sealed_open_nothing(mut wire in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..64)) {
        let mut two = tls12();
        match two.hear(&mut wire).0 {
            DecryptOutcome::Plaintext(plaintext, rest) => assert!(plaintext.is_empty() && rest == wire.len()),
            DecryptOutcome::Violation => {}
        }
    }
}
