//! Addresses as text.

use std::fmt::Write;
use std::net::SocketAddr;

/// Characters of the longest: `[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255%4294967295]:65535`.
const LONGEST: usize = 65;

/// An address and its port as text, without memory of its own. Two stand in each line of the access log, and what the standard library does
/// for the parts of one is a fifth of what the line costs.
#[derive(Debug, Clone, Copy)]
pub(super) struct AddrText {
    bytes: [u8; LONGEST],
    length: usize,
}

impl AddrText {
    /// That of `addr`.
    pub(super) fn of(addr: SocketAddr) -> Self {
        let mut text = Self { bytes: [0; LONGEST], length: 0 };
        match addr {
            SocketAddr::V4(addr) => {
                let mut number = itoa::Buffer::new();
                for (octet, mark) in addr.ip().octets().into_iter().zip(["", ".", ".", "."]) {
                    text.push(mark);
                    text.push(number.format(octet));
                }
                text.push(":");
                text.push(number.format(addr.port()));
            }
            // There is room for all that may be written.
            SocketAddr::V6(addr) => drop(write!(text, "{addr}")),
        }
        text
    }

    /// The text.
    pub(super) fn as_str(&self) -> &str {
        self.bytes.get(..self.length).and_then(|bytes| str::from_utf8(bytes).ok()).unwrap_or_default()
    }

    fn push(&mut self, part: &str) {
        let end = self.length + part.len();
        if let Some(room) = self.bytes.get_mut(self.length..end) {
            room.copy_from_slice(part.as_bytes());
            self.length = end;
        }
    }
}

impl Write for AddrText {
    fn write_str(&mut self, part: &str) -> std::fmt::Result {
        self.push(part);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_as_everywhere_else() {
        for text in [
            "1.2.3.4:5",
            "255.255.255.255:65535",
            "0.0.0.0:0",
            "127.0.0.1:8443",
            "[::]:80",
            "[::ffff:10.255.0.1]:8443",
            "[fe80::1%4294967295]:65535",
            "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535",
        ] {
            let addr: SocketAddr = text.parse().unwrap();
            assert_eq!((AddrText::of(addr).as_str(), addr.to_string().as_str()), (text, text));
        }
    }
}
