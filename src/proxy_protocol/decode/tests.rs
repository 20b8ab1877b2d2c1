use ppp::{HeaderResult, PartialResult};
use proptest::prelude::*;

use super::*;

/// A header of version 2.
fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [SIGNATURE.as_slice(), &[command, family], &length, body].concat()
}

fn addresses(source: &str, destination: &str) -> Option<Addresses> {
    Some(Addresses { source: source.parse().unwrap(), destination: destination.parse().unwrap() })
}

#[test]
fn both_versions_are_read_and_what_follows_is_left() {
    let v4: &[u8] = &[192, 0, 2, 1, 198, 51, 100, 2, 0, 1, 0, 2];
    let mapped = [Ipv6Addr::from(0xffff_c000_0201).octets(), Ipv6Addr::LOCALHOST.octets()].concat();
    for (bytes, wanted) in [
        (b"PROXY TCP4 192.0.2.1 198.51.100.2 1 2\r\n".to_vec(), addresses("192.0.2.1:1", "198.51.100.2:2")),
        (b"PROXY TCP6 2001:db8::1 ::1 0 65535\r\n".to_vec(), addresses("[2001:db8::1]:0", "[::1]:65535")),
        (b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n".to_vec(), addresses("192.0.2.1:1", "[::1]:2")),
        (b"PROXY UNKNOWN\r\n".to_vec(), None),
        (b"PROXY UNKNOWN a b c d e f\r\n".to_vec(), None),
        (v2(0x21, 0x11, v4), addresses("192.0.2.1:1", "198.51.100.2:2")),
        (v2(0x21, 0x11, &[v4, &[0xE0, 0, 1, 7], &[0; 600]].concat()), addresses("192.0.2.1:1", "198.51.100.2:2")),
        (v2(0x21, 0x21, &[mapped.as_slice(), &[0, 1, 0, 2]].concat()), addresses("192.0.2.1:1", "[::1]:2")),
        (v2(0x20, 0x11, v4), None),
        (super::super::LOCAL_V1.to_vec(), None),
        (super::super::LOCAL_V2.to_vec(), None),
        (v2(0x20, 0x11, &[]), None),
        (v2(0x21, 0x00, &[1, 2, 3]), None),
        (v2(0x21, 0x12, v4), None),
        (v2(0x21, 0x31, &[0; 216]), None),
        (v2(0x21, 0x00, &[0; 4080]), None),
    ] {
        let length = bytes.len();
        let followed = [bytes.as_slice(), &[22, 3, 1]].concat();
        assert_eq!(
            ReceivedHeader::parse(&followed),
            Ok(Some(ReceivedHeader { length, addresses: wanted })),
            "{bytes:?}"
        );
        for cut in 0..length {
            assert_eq!(ReceivedHeader::parse(&bytes[..cut]), Ok(None), "{cut} of {bytes:?}");
        }
    }
}

#[test]
fn what_is_no_header_is_refused_as_soon_as_it_is_certain() {
    for (bytes, what) in [
        (vec![22, 3, 1], "it begins like neither version"),
        (b"PROXI".to_vec(), "it begins like neither version"),
        (b"\r\n\r\n\0\r\nQUIX".to_vec(), "it begins like neither version"),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "it begins like neither version"),
        ([b"PROXY UNKNOWN ".as_slice(), &[b'x'; 93]].concat(), "a line longer than 107 bytes"),
        (b"PROXY UNKNOWN\n".to_vec(), "a line that does not end in CR LF"),
        (b"PROXY UNKNOWN \xff\r\n".to_vec(), "a line that is not ASCII"),
        (v2(0x11, 0x11, &[0; 12]), "neither version 2 nor a command of it"),
        (v2(0x22, 0x11, &[0; 12]), "neither version 2 nor a command of it"),
        (v2(0x21, 0x41, &[0; 12]), "an address family or a transport that does not exist"),
        (v2(0x21, 0x13, &[0; 12]), "an address family or a transport that does not exist"),
        (v2(0x21, 0x11, &[0; 11]), "too short for its addresses"),
        (v2(0x21, 0x21, &[0; 35]), "too short for its addresses"),
        (v2(0x21, 0x00, &[0; 4081])[..16].to_vec(), "longer than 4 KiB"),
    ] {
        assert_eq!(ReceivedHeader::parse(&bytes), Err(MalformedHeader(what)), "{bytes:?}");
    }
    for line in [
        "TCP4 192.0.2.1 198.51.100.2 1",
        "TCP4 192.0.2.1 198.51.100.2 1 2 3",
        "TCP4  192.0.2.1 198.51.100.2 1 2",
        "TCP4 192.0.2.1 198.51.100.2 1 65536",
        "TCP4 192.0.2.1 198.51.100.2 1 02",
        "TCP4 192.0.2.1 198.51.100.2 +1 2",
        "TCP4 192.0.2.01 198.51.100.2 1 2",
        "TCP4 ::1 ::1 1 2",
        "TCP6 192.0.2.1 198.51.100.2 1 2",
        "TCP5 a b 1 2",
        "",
    ] {
        assert!(ReceivedHeader::parse(format!("PROXY {line}\r\n").as_bytes()).is_err(), "{line}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic_and_more_bytes_change_no_verdict(
        mark in prop::sample::select(vec![&b"PROXY "[..], b"PROXY TCP4 1.2.3.4 ", b"PROXY TCP6 ::1 ", SIGNATURE, b""]),
        head in prop::collection::vec(prop::sample::select(vec![0x20_u8, 0x21, 0x11, 0, 1, 36, b' ', b'1', b'.', b'\r', b'\n']), 0..40),
        tail: Vec<u8>,
    ) {
        let bytes = [mark, &head, &tail].concat();
        let whole = ReceivedHeader::parse(&bytes);
        for cut in 0..bytes.len() {
            let part = ReceivedHeader::parse(&bytes[..cut]);
            prop_assert!(part == Ok(None) || part == whole, "{cut}: {part:?}, then {whole:?}");
        }
        if let Ok(Some(header)) = whole {
            prop_assert!(header.length <= bytes.len());
        }
    }

    #[test]
    fn what_an_independent_reader_takes_for_addresses_we_do_too(body: [u8; 60], six: bool, command in 0x20..0x22_u8) {
        let bytes = v2(command, if six { 0x21 } else { 0x11 }, &body);
        let HeaderResult::V2(theirs) = HeaderResult::parse(&bytes) else { panic!("not version 2") };
        prop_assert!(theirs.is_complete());
        let theirs = theirs.unwrap();
        let ours = ReceivedHeader::parse(&bytes).unwrap().unwrap();
        prop_assert_eq!(ours.length, theirs.len());
        let source = match theirs.addresses {
            ppp::v2::Addresses::IPv4(a) => Some(canonical(a.source_address.into(), a.source_port)),
            ppp::v2::Addresses::IPv6(a) => Some(canonical(a.source_address.into(), a.source_port)),
            _ => None,
        };
        prop_assert_eq!(ours.addresses.map(|ends| ends.source), source.filter(|_| command == 0x21));
    }
}
