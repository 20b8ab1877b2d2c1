//! What the app is told.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use rustls::{CipherSuite, ProtocolVersion};

use super::{Addresses, SIGNATURE};

/// The type of our own TLV: the subject of the client's certificate as RFC 4514 writes it, UTF-8, as in the access log. The
/// first of those that the protocol leaves to applications (`PP2_TYPE_MIN_CUSTOM`).
pub const SUBJECT: u8 = 0xE0;

const ALPN: u8 = 0x01;
const AUTHORITY: u8 = 0x02;
const SSL: u8 = 0x20;
const SSL_VERSION: u8 = 0x21;
const SSL_CN: u8 = 0x22;
const SSL_CIPHER: u8 = 0x23;

/// `PP2_CLIENT_SSL`: the client came over TLS.
const CLIENT_SSL: u8 = 0x01;
/// `PP2_CLIENT_CERT_CONN`: it has shown a certificate on this connection.
const CLIENT_CERT_CONN: u8 = 0x02;
/// `PP2_CLIENT_CERT_SESS`: it has shown one in the session that this connection belongs to.
const CLIENT_CERT_SESS: u8 = 0x04;

/// Names of protocols and hosts are shorter (RFC 7301, RFC 1035), in bytes.
const LONGEST_NAME: usize = 255;

/// A CN or subject that is longer is left out, in bytes. It keeps the whole below 64 KiB.
const LONGEST_TEXT: usize = 16 * 1024;

/// Version 2, command PROXY; in the lower half of the byte 0 would be LOCAL.
const PROXY: u8 = 0x21;
/// `AF_INET` and `SOCK_STREAM`.
const TCP4: u8 = 0x11;
/// `AF_INET6` and `SOCK_STREAM`.
const TCP6: u8 = 0x21;
/// `AF_UNSPEC`
const UNKNOWN: u8 = 0x00;

/// What is known of a client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProxyHeader<'a> {
    /// `None`: not known.
    pub addresses: Option<Addresses>,
    /// The protocol that was agreed on (RFC 7301).
    pub alpn: Option<&'a [u8]>,
    /// The name that the client asked for.
    pub server_name: Option<&'a str>,
    /// `TLSv1.3`; see [`version_name`].
    pub tls_version: Option<&'static str>,
    /// As OpenSSL names it; see [`cipher_name`].
    pub cipher: Option<&'static str>,
    /// The certificate that the client has shown.
    pub certificate: Option<ClientCertificate<'a>>,
}

/// A client's certificate, for which the trust anchors have vouched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientCertificate<'a> {
    /// The subject's only CN.
    pub common_name: Option<&'a str>,
    /// The subject, as RFC 4514 writes it.
    pub subject: &'a str,
    /// It was shown in the session that was resumed, and not on this connection.
    pub earlier: bool,
}

/// The two ends in one family: IPv4 if both are, else IPv6 with IPv4 mapped.
enum AddressFamily {
    V4(SocketAddrV4, SocketAddrV4),
    V6(SocketAddrV6, SocketAddrV6),
}

impl Addresses {
    fn family(self) -> AddressFamily {
        let canonical = |addr: SocketAddr| (addr.ip().to_canonical(), addr.port());
        let mapped = |(ip, port): (IpAddr, u16)| match ip {
            IpAddr::V4(ip) => SocketAddrV6::new(ip.to_ipv6_mapped(), port, 0, 0),
            IpAddr::V6(ip) => SocketAddrV6::new(ip, port, 0, 0),
        };
        match (canonical(self.source), canonical(self.destination)) {
            ((IpAddr::V4(source), source_port), (IpAddr::V4(destination), destination_port)) => AddressFamily::V4(
                SocketAddrV4::new(source, source_port),
                SocketAddrV4::new(destination, destination_port),
            ),
            (source, destination) => AddressFamily::V6(mapped(source), mapped(destination)),
        }
    }
}

impl ProxyHeader<'_> {
    /// One line of text: the addresses and nothing else, so nothing that a client can write. At most 107 bytes.
    pub fn v1(&self) -> Vec<u8> {
        let line = match self.addresses.map(Addresses::family) {
            None => "PROXY UNKNOWN\r\n".to_owned(),
            Some(AddressFamily::V4(source, destination)) => {
                format!("PROXY TCP4 {} {} {} {}\r\n", source.ip(), destination.ip(), source.port(), destination.port())
            }
            Some(AddressFamily::V6(source, destination)) => format!(
                "PROXY TCP6 {} {} {} {}\r\n",
                hexadecimal(*source.ip()),
                hexadecimal(*destination.ip()),
                source.port(),
                destination.port()
            ),
        };
        line.into_bytes()
    }

    /// Binary, with everything that is known. Every text has its length in front of it, so its characters do not matter.
    pub fn v2(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(256);
        let family = match self.addresses.map(Addresses::family) {
            None => UNKNOWN,
            Some(AddressFamily::V4(source, destination)) => {
                body.extend_from_slice(&source.ip().octets());
                body.extend_from_slice(&destination.ip().octets());
                body.extend_from_slice(&source.port().to_be_bytes());
                body.extend_from_slice(&destination.port().to_be_bytes());
                TCP4
            }
            Some(AddressFamily::V6(source, destination)) => {
                body.extend_from_slice(&source.ip().octets());
                body.extend_from_slice(&destination.ip().octets());
                body.extend_from_slice(&source.port().to_be_bytes());
                body.extend_from_slice(&destination.port().to_be_bytes());
                TCP6
            }
        };
        tlv(&mut body, ALPN, self.alpn, LONGEST_NAME);
        tlv(&mut body, AUTHORITY, self.server_name.map(str::as_bytes), LONGEST_NAME);
        let ssl = self.ssl();
        tlv(&mut body, SSL, Some(&ssl), usize::from(u16::MAX));
        tlv(&mut body, SUBJECT, self.certificate.map(|shown| shown.subject.as_bytes()), LONGEST_TEXT);

        let mut header = Vec::with_capacity(SIGNATURE.len() + 4 + body.len());
        header.extend_from_slice(SIGNATURE);
        header.extend_from_slice(&[PROXY, family]);
        header.extend_from_slice(&length(&body));
        header.append(&mut body);
        header
    }

    fn ssl(&self) -> Vec<u8> {
        let (flags, verify) = match self.certificate {
            None => (CLIENT_SSL, 1_u32),
            Some(ClientCertificate { earlier: true, .. }) => (CLIENT_SSL | CLIENT_CERT_SESS, 0),
            Some(ClientCertificate { earlier: false, .. }) => (CLIENT_SSL | CLIENT_CERT_CONN | CLIENT_CERT_SESS, 0),
        };
        let mut ssl = vec![flags];
        ssl.extend_from_slice(&verify.to_be_bytes());
        tlv(&mut ssl, SSL_VERSION, self.tls_version.map(str::as_bytes), LONGEST_NAME);
        let common_name = self.certificate.and_then(|shown| shown.common_name);
        tlv(&mut ssl, SSL_CN, common_name.map(str::as_bytes), LONGEST_TEXT);
        tlv(&mut ssl, SSL_CIPHER, self.cipher.map(str::as_bytes), LONGEST_NAME);
        ssl
    }
}

/// Appends one type, length and value. A value that is not there, or longer than `longest`, is left out.
fn tlv(out: &mut Vec<u8>, kind: u8, value: Option<&[u8]>, longest: usize) {
    if let Some(value) = value.filter(|value| value.len() <= longest) {
        out.push(kind);
        out.extend_from_slice(&length(value));
        out.extend_from_slice(value);
    }
}

/// Invariant: `bytes` is shorter than 64 KiB. Two texts of 16 KiB, five names and two addresses are.
fn length(bytes: &[u8]) -> [u8; 2] {
    debug_assert!(bytes.len() <= usize::from(u16::MAX));
    u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes()
}

/// An IPv6 address without dots: version 1 knows groups of hexadecimal digits alone.
fn hexadecimal(ip: Ipv6Addr) -> String {
    match ip.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] => format!("::ffff:{high:x}:{low:x}"),
        _ => ip.to_string(),
    }
}

/// The name that OpenSSL gives to a protocol version of ours.
pub fn version_name(version: ProtocolVersion) -> Option<&'static str> {
    match version {
        ProtocolVersion::TLSv1_2 => Some("TLSv1.2"),
        ProtocolVersion::TLSv1_3 => Some("TLSv1.3"),
        _ => None,
    }
}

/// The name that OpenSSL gives to a cipher suite of ours, which is the one that readers of `PP2_SUBTYPE_SSL_CIPHER`
/// expect.
pub fn cipher_name(suite: CipherSuite) -> Option<&'static str> {
    Some(match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => "ECDHE-ECDSA-AES128-GCM-SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => "ECDHE-ECDSA-AES256-GCM-SHA384",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-ECDSA-CHACHA20-POLY1305",
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => "ECDHE-RSA-AES128-GCM-SHA256",
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => "ECDHE-RSA-AES256-GCM-SHA384",
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-RSA-CHACHA20-POLY1305",
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
