//! What a listener shows and speaks.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::cipher_suite::*;
use rustls::{CipherSuite, ProtocolVersion, SupportedCipherSuite};

use super::{mtls, visit};
use crate::support::app;
use crate::support::cell::Cell;
use crate::support::client::{Connector, Ending, read_to_end};
use crate::support::diego::Container;

#[test]
fn each_listener_shows_the_pair_that_is_meant_for_it_and_leads_to_its_own_app() {
    for old_sds in [false, true] {
        let (first, second) = (app::App::start(), app::App::start());
        let container = Container { ports: &[8080, 9090], old_sds, clusters_reversed: old_sds, ..Container::default() };
        let cell = Cell::unwritten(container, &[first.addr(), second.addr()]);
        let (id, c2c) = cell.update();
        let sidecar = cell.serving();
        let addrs = sidecar.addrs();
        for (addr, leaf, app) in [(addrs[0], &id, &first), (addrs[1], &c2c, &first), (addrs[2], &id, &second)] {
            let mut client = cell.connector().connect(addr).unwrap();
            assert_eq!(client.leaf(), *leaf, "{addr}");
            assert_eq!(client.tls.peer_certificates().unwrap().len(), 2, "the leaf and the CA that issued it");
            // The app may speak first.
            let mut app = app.accept();
            app.write_all(b"SSH-2.0").unwrap();
            assert_eq!(client.receive(7).unwrap(), b"SSH-2.0");
        }
        assert_ne!(id, c2c);
    }
}

#[test]
fn alpn_is_chosen_where_the_file_has_it_and_nobody_is_turned_away_for_it() {
    let cell = Cell::new(Container { http2: true, ..Container::default() }, &[app::echo()]);
    let sidecar = cell.serving();
    let addrs = sidecar.addrs();
    for (offered, chosen) in [
        (&["h2", "http/1.1"][..], Some(&b"h2"[..])),
        (&["http/1.1", "h2"], Some(b"h2")),
        (&["http/1.1"], Some(b"http/1.1")),
        (&["spdy/3"], None),
        (&[], None),
    ] {
        let connector = cell.connector().alpn(offered);
        assert_eq!(visit(&connector, addrs[0]).unwrap().tls.alpn_protocol(), chosen, "{offered:?}");
        assert_eq!(
            visit(&connector, addrs[1]).unwrap().tls.alpn_protocol(),
            None,
            "{offered:?} from container to container"
        );
    }
}

/// A client that speaks these suites in this order, and no version that has none of them.
fn speaking(cell: &Cell, suites: &[SupportedCipherSuite]) -> Connector {
    let mut connector = cell.connector();
    let known = rustls::crypto::aws_lc_rs::default_provider();
    let provider = Arc::new(CryptoProvider { cipher_suites: suites.to_vec(), ..known });
    let versions: &[_] = match suites.iter().any(|suite| suite.tls13().is_some()) {
        true => rustls::ALL_VERSIONS,
        false => &[&rustls::version::TLS12],
    };
    connector.config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(crate::support::credentials::roots())
        .with_no_client_auth();
    connector
}

#[test]
fn in_tls_1_2_the_listed_suites_are_spoken_in_the_listed_order_and_no_others() {
    let cell = Cell::new(Container::default(), &[app::echo()]);
    let sidecar = cell.serving();
    let chosen = |suites: &[SupportedCipherSuite]| {
        let client = visit(&speaking(&cell, suites), sidecar.addr()).unwrap();
        (client.tls.protocol_version().unwrap(), client.tls.negotiated_cipher_suite().unwrap().suite())
    };
    let (aes128, aes256) = (TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384);
    let chacha = TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256;
    assert_eq!(
        chosen(&[chacha, aes128, aes256]),
        (ProtocolVersion::TLSv1_2, CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384)
    );
    assert_eq!(
        chosen(&[chacha, aes128]),
        (ProtocolVersion::TLSv1_2, CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256)
    );
    assert_eq!(speaking(&cell, &[chacha]).alert(sidecar.addr()), rustls::AlertDescription::HandshakeFailure);
    // The list says nothing of TLS 1.3, where the order is the client's.
    let (version, suite) = chosen(&[chacha, TLS13_CHACHA20_POLY1305_SHA256, TLS13_AES_128_GCM_SHA256]);
    assert_eq!((version, suite), (ProtocolVersion::TLSv1_3, CipherSuite::TLS13_CHACHA20_POLY1305_SHA256));
}

#[test]
fn the_newest_version_may_be_limited() {
    let mut cell = Cell::unwritten(Container::default(), &[app::echo()]);
    cell.edit("tls_maximum_protocol_version: TLS_AUTO", "tls_maximum_protocol_version: TLSv1_2");
    cell.update();
    let sidecar = cell.serving();
    let client = visit(&cell.connector(), sidecar.addr()).unwrap();
    assert_eq!(client.tls.protocol_version().unwrap(), ProtocolVersion::TLSv1_2);
    let newest_alone = crate::support::client::connector_with(&cell.connector().name, &[&rustls::version::TLS13]);
    assert_eq!(newest_alone.alert(sidecar.addr()), rustls::AlertDescription::ProtocolVersion);
}

#[test]
fn an_app_that_does_not_listen_is_a_reset_in_answer_to_the_hello_whoever_asks() {
    for container in [Container::default(), mtls()] {
        let cell = Cell::new(container, &[app::nobody()]);
        let sidecar = cell.serving();
        for addr in sidecar.addrs() {
            for _ in 0..5 {
                let mut tcp = TcpStream::connect(addr).unwrap();
                tcp.write_all(&cell.connector().hello()).unwrap();
                assert_eq!(
                    read_to_end(&tcp),
                    (Vec::new(), Ending::Reset),
                    "nothing of ours is sent, and nothing is signed"
                );
            }
        }
        let entry = sidecar.access_log_entry("app_refused");
        assert!(entry["handshake_ms"].is_null(), "{entry}");
    }
}
