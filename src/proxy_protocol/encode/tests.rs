use ppp::{HeaderResult, v2};
use proptest::prelude::*;

use super::*;
use crate::proxy_protocol::ReceivedHeader;

fn addresses(source: &str, destination: &str) -> Option<Addresses> {
    Some(Addresses { source: source.parse().unwrap(), destination: destination.parse().unwrap() })
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

/// Types and values as an independent reader finds them.
fn tlvs(bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let header = v2::Header::try_from(bytes).unwrap();
    assert_eq!((header.version, header.command), (v2::Version::Two, v2::Command::Proxy));
    header.tlvs().map(|tlv| tlv.unwrap()).map(|tlv| (tlv.kind, tlv.value.to_vec())).collect()
}

/// Flags, verify, and the TLVs within.
fn ssl(tlvs: &[(u8, Vec<u8>)]) -> (u8, u32, Vec<(u8, String)>) {
    let value = &tlvs.iter().find(|(kind, _)| *kind == 0x20).unwrap().1;
    let mut within = Vec::new();
    let mut rest = &value[5..];
    while let [kind, high, low, more @ ..] = rest {
        let (inner, after) = more.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        within.push((*kind, String::from_utf8(inner.to_vec()).unwrap()));
        rest = after;
    }
    assert!(rest.is_empty());
    (value[0], u32::from_be_bytes(value[1..5].try_into().unwrap()), within)
}

#[test]
fn version_1_is_one_line_in_the_family_of_both_ends() {
    for (addresses, line) in [
        (addresses("192.0.2.1:1", "198.51.100.2:65535"), "PROXY TCP4 192.0.2.1 198.51.100.2 1 65535\r\n"),
        (addresses("[::ffff:192.0.2.1]:1", "198.51.100.2:2"), "PROXY TCP4 192.0.2.1 198.51.100.2 1 2\r\n"),
        (addresses("[2001:db8::1]:1", "[2001:db8::2]:2"), "PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n"),
        (addresses("192.0.2.1:1", "[2001:db8::2]:2"), "PROXY TCP6 ::ffff:c000:201 2001:db8::2 1 2\r\n"),
        (None, "PROXY UNKNOWN\r\n"),
    ] {
        assert_eq!(text(ProxyHeader { addresses, ..ProxyHeader::default() }.v1()), line);
    }
    let widest = "[1111:2222:3333:4444:5555:6666:7777:8888]:65535";
    let line = ProxyHeader { addresses: addresses(widest, widest), ..ProxyHeader::default() }.v1();
    assert!(line.len() <= 107, "{}", line.len());
}

#[test]
fn version_2_tells_everything_that_is_known() {
    let header = ProxyHeader {
        addresses: addresses("[2001:db8::1]:1", "192.0.2.2:2"),
        alpn: Some(b"h2"),
        server_name: Some("a.example"),
        tls_version: Some("TLSv1.3"),
        cipher: cipher_name(CipherSuite::TLS13_AES_128_GCM_SHA256),
        certificate: Some(ClientCertificate { common_name: Some("é"), subject: "CN=é,OU=app:x", earlier: false }),
    };
    let bytes = header.v2();
    let header = v2::Header::try_from(bytes.as_slice()).unwrap();
    let v2::Addresses::IPv6(addresses) = header.addresses else { panic!("{:?}", header.addresses) };
    assert_eq!(addresses.source_address.to_string(), "2001:db8::1");
    assert_eq!(addresses.destination_address.to_string(), "::ffff:192.0.2.2");
    assert_eq!((addresses.source_port, addresses.destination_port), (1, 2));
    let tlvs = tlvs(&bytes);
    assert_eq!(tlvs.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), [0x01, 0x02, 0x20, 0xE0]);
    assert_eq!((tlvs[0].1.as_slice(), tlvs[1].1.as_slice()), (&b"h2"[..], &b"a.example"[..]));
    assert_eq!(text(tlvs[3].1.clone()), "CN=é,OU=app:x");
    let within = [(0x21, "TLSv1.3"), (0x22, "é"), (0x23, "TLS_AES_128_GCM_SHA256")];
    assert_eq!(ssl(&tlvs), (0x07, 0, within.map(|(kind, value)| (kind, value.to_owned())).to_vec()));
}

#[test]
fn the_flags_say_when_a_certificate_was_shown_and_verify_is_0_for_those_alone() {
    let certificate = |earlier| Some(ClientCertificate { common_name: None, subject: "", earlier });
    for (certificate, flags, verify) in [(None, 1, 1), (certificate(true), 5, 0), (certificate(false), 7, 0)] {
        let addresses = addresses("192.0.2.1:1", "192.0.2.2:2");
        let bytes = ProxyHeader { addresses, certificate, ..ProxyHeader::default() }.v2();
        assert_eq!(ssl(&tlvs(&bytes)), (flags, verify, vec![]));
    }
}

#[test]
fn what_is_too_long_is_left_out_and_the_length_is_right() {
    let (long, longer) = ("x".repeat(16 * 1024), "x".repeat(16 * 1024 + 1));
    for (value, kinds) in [(&long, vec![0x20, 0xE0]), (&longer, vec![0x20])] {
        let certificate = Some(ClientCertificate { common_name: Some(value), subject: value, earlier: false });
        let alpn = [b'a'; 256];
        let addresses = addresses("192.0.2.1:1", "192.0.2.2:2");
        let bytes = ProxyHeader { addresses, certificate, alpn: Some(&alpn), ..ProxyHeader::default() }.v2();
        let tlvs = tlvs(&bytes);
        assert_eq!(tlvs.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), kinds);
        assert_eq!(ssl(&tlvs).2.len(), kinds.len() - 1);
        assert_eq!(bytes.len(), 16 + usize::from(u16::from_be_bytes([bytes[14], bytes[15]])));
    }
}

#[test]
fn each_of_our_cipher_suites_has_a_name() {
    for suite in &crate::crypto::provider().cipher_suites {
        assert!(cipher_name(suite.suite()).is_some(), "{:?}", suite.suite());
    }
}

proptest! {
    #[test]
    fn hostile_text_changes_nothing_else_and_our_own_reader_agrees(
        source: SocketAddr, destination: SocketAddr,
        name in "(?s).{0,80}", subject in "(\\r\\n|\\x00|PROXY |QUIT\n|(?s).){0,80}", alpn: Vec<u8>, earlier: bool,
    ) {
        let certificate = Some(ClientCertificate { common_name: Some(&name), subject: &subject, earlier });
        let header = ProxyHeader {
            addresses: Some(Addresses { source, destination }), alpn: Some(&alpn), server_name: Some(&name), certificate,
            ..ProxyHeader::default()
        };
        let bytes = header.v2();
        let tlvs = tlvs(&bytes);
        prop_assert_eq!(&tlvs.last().unwrap().1, subject.as_bytes());
        let canonical = |addr: SocketAddr| SocketAddr::new(addr.ip().to_canonical(), addr.port());
        let ends = Some(Addresses { source: canonical(source), destination: canonical(destination) });
        prop_assert_eq!(ReceivedHeader::parse(&bytes), Ok(Some(ReceivedHeader { length: bytes.len(), addresses: ends })));
        let line = header.v1();
        prop_assert!(line.len() <= 107);
        prop_assert!(matches!(HeaderResult::parse(&line), HeaderResult::V1(Ok(_))));
        prop_assert_eq!(ReceivedHeader::parse(&line), Ok(Some(ReceivedHeader { length: line.len(), addresses: ends })));
    }
}
