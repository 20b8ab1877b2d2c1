//! PROXY headers as whoever stands in front of us sends them: more bytes change no verdict, another reader finds the same addresses, and what we
//! write of them is read as the same.

use std::net::{IpAddr, SocketAddr};

use ppp::HeaderResult;
use vestibule::proxy_protocol::{ProxyHeader, ReceivedHeader};

pub fn fuzz(bytes: &[u8]) {
    let read = ReceivedHeader::parse(bytes);
    for end in 0..bytes.len().min(256) {
        let begun = ReceivedHeader::parse(&bytes[..end]);
        assert!(begun == Ok(None) || begun == read, "{begun:?}, and then {read:?}");
    }
    let Ok(Some(header)) = read else { return };
    assert!(header.length <= bytes.len() && header.length <= ReceivedHeader::LONGEST);
    // What stands behind a header is no part of it.
    assert_eq!(ReceivedHeader::parse(&bytes[..header.length]), read);
    let Some(ends) = header.addresses else { return };
    assert_eq!(theirs(&bytes[..header.length]), Some((ends.source, ends.destination)));
    let written = ProxyHeader { addresses: Some(ends), ..ProxyHeader::default() };
    for bytes in [written.v1(), written.v2()] {
        let again = ReceivedHeader::parse(&bytes);
        assert!(again.is_ok_and(|again| again.is_some_and(|again| again.addresses == Some(ends))), "{again:?}");
    }
}

/// Source and destination, as another reader finds them.
fn theirs(bytes: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    fn end(ip: impl Into<IpAddr>, port: u16) -> SocketAddr {
        SocketAddr::new(ip.into().to_canonical(), port)
    }
    match HeaderResult::parse(bytes) {
        HeaderResult::V1(Ok(header)) => match header.addresses {
            ppp::v1::Addresses::Tcp4(ends) => {
                Some((end(ends.source_address, ends.source_port), end(ends.destination_address, ends.destination_port)))
            }
            ppp::v1::Addresses::Tcp6(ends) => {
                Some((end(ends.source_address, ends.source_port), end(ends.destination_address, ends.destination_port)))
            }
            ppp::v1::Addresses::Unknown => None,
        },
        HeaderResult::V2(Ok(header)) => match header.addresses {
            ppp::v2::Addresses::IPv4(ends) => {
                Some((end(ends.source_address, ends.source_port), end(ends.destination_address, ends.destination_port)))
            }
            ppp::v2::Addresses::IPv6(ends) => {
                Some((end(ends.source_address, ends.source_port), end(ends.destination_address, ends.destination_port)))
            }
            _ => None,
        },
        _ => None,
    }
}
