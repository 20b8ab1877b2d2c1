//! Who calls, told in front of the first byte: the PROXY protocol, as haproxy's `doc/proxy-protocol.txt` defines it.
//!
//! [`ProxyHeader`] is what we tell the app; [`ReceivedHeader`] is what a load balancer in front of us tells us. Both are pure.
//! [`receive()`] reads a header from a connection.
//!
//! What the app is told in version 2, beside the two addresses:
//!
//! | type | what |
//! |---|---|
//! | `PP2_TYPE_ALPN` (0x01) | the protocol that was agreed on |
//! | `PP2_TYPE_AUTHORITY` (0x02) | the name that the client asked for (SNI) |
//! | `PP2_TYPE_SSL` (0x20) | flags; `verify` is 0 for a client whose certificate the trust anchors have vouched for, else 1 |
//! | within it 0x21, 0x22, 0x23 | `TLSv1.3` or `TLSv1.2`; the subject's only CN; the cipher suite as OpenSSL names it |
//! | [`SUBJECT`] (0xE0) | the whole subject of the client's certificate, RFC 4514, UTF-8, as in the access log |

mod decode;
mod encode;
mod receive;

pub use decode::{MalformedHeader, ReceivedHeader};
pub use encode::{ClientCertificate, ProxyHeader, SUBJECT, cipher_name, version_name};
pub use receive::{HeaderError, receive};

use std::net::SocketAddr;

/// What version 2 begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Version 1, in front of what we ask on our own behalf.
pub const LOCAL_V1: &[u8] = b"PROXY UNKNOWN\r\n";

/// Version 2, in front of what we ask on our own behalf: the command LOCAL.
pub const LOCAL_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";

/// The longest header of version 1, with its line end.
const LONGEST_V1: usize = 107;

/// The two ends of a client's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// The client.
    pub source: SocketAddr,
    /// What it has dialled.
    pub destination: SocketAddr,
}
