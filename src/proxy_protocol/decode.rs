//! What a load balancer in front of us says, as bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Addresses, LONGEST_V1, SIGNATURE};

/// Signature, version and command, family, length.
const FIXED: usize = SIGNATURE.len() + 4;

/// The longest header of version 2 that is read, with its TLVs, in bytes. A sender that knows nothing of the receiver
/// keeps below 536.
const LONGEST_V2: usize = 4096;

/// Two IPv4 addresses and two ports.
const ADDRESSES_V4: usize = 12;
/// Two IPv6 addresses and two ports.
const ADDRESSES_V6: usize = 36;
/// Two paths of Unix sockets.
const ADDRESSES_UNIX: usize = 216;

/// A whole header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceivedHeader {
    /// How many bytes it has; what follows them is the client's.
    pub length: usize,
    /// The client's connection, IPv4-mapped addresses as IPv4. `None` where the sender speaks for itself (`LOCAL`, as its
    /// health checks do) or does not know (`UNKNOWN`).
    pub addresses: Option<Addresses>,
}

/// The bytes are no header, whatever may follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MalformedHeader(&'static str);

impl ReceivedHeader {
    /// The longest header of either version, in bytes.
    pub const LONGEST: usize = LONGEST_V2;

    /// Reads the header in front of `bytes`; `None` as long as its end has not come. TLVs are skipped.
    ///
    /// # Errors
    /// [`MalformedHeader`], as soon as it is certain.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, MalformedHeader> {
        let begins = |mark: &[u8]| bytes.iter().zip(mark).all(|(a, b)| a == b);
        if begins(b"PROXY ") {
            parse_v1(bytes)
        } else if begins(SIGNATURE) {
            parse_v2(bytes)
        } else {
            Err(MalformedHeader("it begins like neither version"))
        }
    }
}

/// Version 1: one line of text.
fn parse_v1(bytes: &[u8]) -> Result<Option<ReceivedHeader>, MalformedHeader> {
    let within = &bytes[..bytes.len().min(LONGEST_V1)];
    let Some(end) = within.iter().position(|byte| *byte == b'\n') else {
        return if within.len() == LONGEST_V1 {
            Err(MalformedHeader("a line longer than 107 bytes"))
        } else {
            Ok(None)
        };
    };
    let line = within[..end].strip_suffix(b"\r").ok_or(MalformedHeader("a line that does not end in CR LF"))?;
    let line = str::from_utf8(line).map_err(|_| MalformedHeader("a line that is not ASCII"))?;
    let words: Vec<&str> = line.split(' ').collect();
    let ends = match words[..] {
        [_, "UNKNOWN", ..] => None,
        [_, "TCP4", source, destination, source_port, destination_port] => {
            let ip = |text: &str| text.parse().map(Ipv4Addr::into);
            Some(addresses_v1(ip, [source, destination], [source_port, destination_port])?)
        }
        [_, "TCP6", source, destination, source_port, destination_port] => {
            let ip = |text: &str| text.parse().map(Ipv6Addr::into);
            Some(addresses_v1(ip, [source, destination], [source_port, destination_port])?)
        }
        _ => {
            return Err(MalformedHeader("a line that is not PROXY TCP4, TCP6 or UNKNOWN, two addresses and two ports"));
        }
    };
    Ok(Some(ReceivedHeader { length: end + 1, addresses: ends }))
}

fn addresses_v1<E>(
    ip: impl Fn(&str) -> Result<IpAddr, E>,
    [source, destination]: [&str; 2],
    [source_port, destination_port]: [&str; 2],
) -> Result<Addresses, MalformedHeader> {
    let end = |address: &str, port: &str| {
        let address = ip(address).map_err(|_| MalformedHeader("an address that is not one"))?;
        Ok(canonical(address, decimal(port).ok_or(MalformedHeader("a port that is not one"))?))
    };
    Ok(Addresses { source: end(source, source_port)?, destination: end(destination, destination_port)? })
}

/// A port as the protocol writes it: digits, and no zero in front. `parse` alone would take `+1` and `01`.
fn decimal(port: &str) -> Option<u16> {
    port.parse().ok().filter(|number: &u16| number.to_string() == port)
}

/// Version 2: binary.
fn parse_v2(bytes: &[u8]) -> Result<Option<ReceivedHeader>, MalformedHeader> {
    let Some((fixed, rest)) = bytes.split_at_checked(FIXED) else { return Ok(None) };
    let (command, family) = (fixed[SIGNATURE.len()], fixed[SIGNATURE.len() + 1]);
    let length = usize::from(u16::from_be_bytes([fixed[FIXED - 2], fixed[FIXED - 1]]));
    let is_local = match command {
        0x20 => true,
        0x21 => false,
        _ => return Err(MalformedHeader("neither version 2 nor a command of it")),
    };
    if FIXED + length > LONGEST_V2 {
        return Err(MalformedHeader("longer than 4 KiB"));
    }
    // The upper half is the address family, the lower one stream or datagram; 0 is "unspecified" in both.
    let addresses = match (family >> 4, family & 0x0f) {
        (0, 0..=2) => 0,
        (1, 0..=2) => ADDRESSES_V4,
        (2, 0..=2) => ADDRESSES_V6,
        (3, 0..=2) => ADDRESSES_UNIX,
        _ => return Err(MalformedHeader("an address family or a transport that does not exist")),
    };
    if !is_local && length < addresses {
        return Err(MalformedHeader("too short for its addresses"));
    }
    let Some(body) = rest.get(..length) else { return Ok(None) };
    // What the sender says of its own connection is to be skipped, and what is not TCP is nothing that we could be sent.
    let ends = match family {
        _ if is_local => None,
        0x11 => addresses_v2::<4>(body),
        0x21 => addresses_v2::<16>(body),
        _ => None,
    };
    Ok(Some(ReceivedHeader { length: FIXED + length, addresses: ends }))
}

/// Two addresses of `N` bytes and two ports. `None` if `body` is too short, which has been checked.
fn addresses_v2<const N: usize>(body: &[u8]) -> Option<Addresses>
where
    IpAddr: From<[u8; N]>,
{
    let (source, rest) = body.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    let (source_port, rest) = rest.split_first_chunk::<2>()?;
    let (destination_port, _) = rest.split_first_chunk::<2>()?;
    let end = |ip: &[u8; N], port: &[u8; 2]| canonical(IpAddr::from(*ip), u16::from_be_bytes(*port));
    Some(Addresses { source: end(source, source_port), destination: end(destination, destination_port) })
}

fn canonical(ip: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(ip.to_canonical(), port)
}

#[cfg(test)]
mod tests;
