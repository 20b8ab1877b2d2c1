//! The bytes of a ClientHello: out of its records, and extension by extension (RFC 8446, 4.1.2).

/// ContentType, the first byte of each version, and HandshakeType (RFC 8446, 5.1 and 4).
pub(super) const HANDSHAKE: u8 = 22;
pub(super) const MAJOR_VERSION: u8 = 3;
pub(super) const CLIENT_HELLO: u8 = 1;

/// A ClientHello that is longer is rustls's to refuse. In bytes.
const LONGEST: usize = 0xffff;

/// Type and length in front of a message, and of an extension.
const MESSAGE_HEADER: usize = 4;
const EXTENSION_HEADER: usize = 4;

/// `client_version` and `random` in front of the rest.
const VERSION: usize = 2;
const RANDOM: usize = 32;

/// The ClientHello has not come whole.
#[derive(Debug)]
pub(super) struct Incomplete;

/// A message, out of records.
pub(super) struct ClientHelloMessage {
    pub(super) bytes: Vec<u8>,
    /// Where each of them stands among the records.
    pub(super) places: Vec<usize>,
}

/// One extension.
#[derive(Debug, Clone, Copy)]
pub(super) struct HelloExtension<'a> {
    /// Where its type stands in the message.
    pub(super) at: usize,
    /// Its ExtensionType.
    pub(super) typ: [u8; 2],
    pub(super) data: &'a [u8],
}

/// The ClientHello that the records in `wire` begin with; `None` if they begin with anything else, or with one that is too long to
/// be one.
pub(super) fn from_records(wire: &[u8]) -> Result<Option<ClientHelloMessage>, Incomplete> {
    let (mut bytes, mut places, mut at) = (Vec::new(), Vec::new(), 0);
    loop {
        let Some(&header) = wire[at..].first_chunk::<5>() else { return Err(Incomplete) };
        let [HANDSHAKE, MAJOR_VERSION, _, high, low] = header else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length == 0 {
            // No record of a handshake is empty (RFC 8446, 5.1).
            return Ok(None);
        }
        let start = at + header.len();
        at = start + length;
        bytes.extend_from_slice(wire.get(start..at).ok_or(Incomplete)?);
        places.extend(start..at);
        let Some(&[typ, high, middle, low]) = bytes.first_chunk() else { continue };
        let length = MESSAGE_HEADER + u32::from_be_bytes([0, high, middle, low]) as usize;
        if typ != CLIENT_HELLO || length > LONGEST {
            return Ok(None);
        }
        if bytes.len() >= length {
            bytes.truncate(length);
            return Ok(Some(ClientHelloMessage { bytes, places }));
        }
    }
}

/// Its `client_version`, which TLS 1.3 calls `legacy_version`; `None` where the message is shorter.
pub(super) fn legacy_version(message: &[u8]) -> Option<[u8; 2]> {
    message.get(MESSAGE_HEADER..)?.first_chunk().copied()
}

/// Its cipher suites, two bytes each; `None` where the message is shorter.
pub(super) fn suites(message: &[u8]) -> Option<&[u8]> {
    let at = suites_at(message)?;
    message.get(at + 2..)?.get(..length(message, at)?)
}

/// Where the length of the cipher suites stands, behind legacy_session_id.
fn suites_at(message: &[u8]) -> Option<usize> {
    let at = MESSAGE_HEADER + VERSION + RANDOM;
    Some(at + 1 + usize::from(*message.get(at)?))
}

/// The extensions of a ClientHello; `None` where they cannot be told apart.
pub(super) fn extensions(message: &[u8]) -> Option<Vec<HelloExtension<'_>>> {
    // cipher_suites, legacy_compression_methods, and the length of all extensions.
    let mut at = suites_at(message)?;
    at += 2 + length(message, at)?;
    at += 1 + usize::from(*message.get(at)?);
    at += 2;
    let mut found = Vec::new();
    while let Some(&typ) = message.get(at..)?.first_chunk::<2>() {
        let start = at + EXTENSION_HEADER;
        let end = start + length(message, at + typ.len())?;
        found.push(HelloExtension { at, typ, data: message.get(start..end)? });
        at = end;
    }
    Some(found)
}

fn length(message: &[u8], at: usize) -> Option<usize> {
    message.get(at..)?.first_chunk().map(|bytes| usize::from(u16::from_be_bytes(*bytes)))
}
