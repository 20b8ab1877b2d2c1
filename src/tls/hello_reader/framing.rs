//! Where the ClientHello ends among its records, before anybody parses it.

use crate::tls::client_hello::CLIENT_HELLO;
use crate::tls::record::{HEADER, MAX_FRAGMENT};

/// The longest ClientHello, in bytes: as long as BoringSSL takes it. One with X25519MLKEM768 has some 1,800.
pub(super) const MAX_HELLO_BYTES: usize = 16 * 1024;

/// The length of a handshake message's header (RFC 8446, 4).
const HANDSHAKE_HEADER_LEN: usize = 4;

/// Whether the bytes begin as a record with a handshake does: type 22, version 3.x (RFC 8446, 5.1).
pub(super) fn speaks_tls(wire: &[u8]) -> bool {
    matches!(wire, [22, 3, ..] | [22])
}

/// What has come so far.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HelloProgress {
    /// The beginning of a ClientHello.
    Incomplete,
    /// A ClientHello, and the record in which it ends.
    Complete,
    /// The beginning of a ClientHello that is longer than [`MAX_HELLO_BYTES`].
    TooLong,
    /// A handshake record that is longer than [`MAX_FRAGMENT`].
    RecordTooLong,
    /// Something else.
    Other,
}

/// Finds the end of the ClientHello in its records, looking at each header once. No parser, and no copy of the bytes, is needed
/// until then: those who never send the rest cost no more than what they have sent.
#[derive(Debug, Default)]
pub(super) struct Framing {
    /// Where the first record begins that is not whole.
    next: usize,
    /// Bytes of the message in the records before it.
    before: usize,
    /// Its first bytes: type and length (RFC 8446, 4).
    head: [u8; HANDSHAKE_HEADER_LEN],
}

impl Framing {
    /// Takes notice of what has come behind the bytes of the last call.
    pub(super) fn advance(&mut self, wire: &[u8]) -> HelloProgress {
        loop {
            let rest = &wire[self.next..];
            let Some((header, body)) = rest.split_first_chunk::<HEADER>() else {
                return if speaks_tls(rest) || rest.is_empty() {
                    HelloProgress::Incomplete
                } else {
                    HelloProgress::Other
                };
            };
            let &[typ, major, _, high, low] = header;
            let length = usize::from(u16::from_be_bytes([high, low]));
            if (typ, major) != (22, 3) || length == 0 {
                return HelloProgress::Other;
            }
            if length > MAX_FRAGMENT {
                return HelloProgress::RecordTooLong;
            }
            let fragment = &body[..body.len().min(length)];
            let room = self.head.get_mut(self.before..).unwrap_or_default();
            for (place, byte) in room.iter_mut().zip(fragment) {
                *place = *byte;
            }
            let (come, [kind, head @ ..]) = (self.before + fragment.len(), self.head);
            if come > 0 && kind != CLIENT_HELLO {
                return HelloProgress::Other;
            }
            let message = HANDSHAKE_HEADER_LEN + head.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
            if come >= HANDSHAKE_HEADER_LEN && message > MAX_HELLO_BYTES {
                return HelloProgress::TooLong;
            }
            if fragment.len() < length {
                return HelloProgress::Incomplete;
            }
            self.next += HEADER + length;
            self.before = come;
            if come >= HANDSHAKE_HEADER_LEN && come >= message {
                return HelloProgress::Complete;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ClientHello of `length` bytes with its head, in records of up to `record` bytes.
    fn hello(length: usize, record: usize) -> Vec<u8> {
        let mut message = vec![0; length];
        message[..HANDSHAKE_HEADER_LEN]
            .copy_from_slice(&u32::try_from(length - HANDSHAKE_HEADER_LEN).unwrap().to_be_bytes());
        message[0] = CLIENT_HELLO;
        let records = message.chunks(record).flat_map(|part| {
            let [high, low] = u16::try_from(part.len()).unwrap().to_be_bytes();
            [&[22, 3, 1, high, low], part].concat()
        });
        records.collect()
    }

    #[test]
    fn the_end_of_a_client_hello_is_found_however_it_is_cut_into_records_and_reads() {
        for (length, record) in [(512, 16384), (1800, 1000), (1800, 1), (MAX_HELLO_BYTES, 16384), (9000, 7)] {
            let wire = hello(length, record);
            for read in [1, 3, 1448, wire.len()] {
                let mut framing = Framing::default();
                let ends = (0..wire.len()).step_by(read).map(|start| (start + read).min(wire.len()));
                for end in ends {
                    let wanted = if end == wire.len() { HelloProgress::Complete } else { HelloProgress::Incomplete };
                    assert_eq!(framing.advance(&wire[..end]), wanted, "{length} {record} {read} {end}");
                }
            }
            let behind = [wire.as_slice(), &[20, 3, 3, 0, 1, 1]].concat();
            assert_eq!(Framing::default().advance(&behind), HelloProgress::Complete);
        }
    }

    #[test]
    fn a_client_hello_that_is_too_long_is_known_by_its_first_bytes() {
        for record in [16384, 1] {
            let wire = hello(MAX_HELLO_BYTES + 1, record);
            // As many bytes as four records of one byte each.
            let head = HANDSHAKE_HEADER_LEN * (HEADER + 1);
            assert_eq!(Framing::default().advance(&wire[..head]), HelloProgress::TooLong);
            assert_eq!(Framing::default().advance(&wire), HelloProgress::TooLong);
        }
    }

    #[test]
    fn a_record_of_more_than_16_kib_is_known_by_its_header() {
        let header = |length: usize| [&[22, 3, 1], &u16::try_from(length).unwrap().to_be_bytes()[..]].concat();
        assert_eq!(Framing::default().advance(&header(MAX_FRAGMENT)), HelloProgress::Incomplete);
        assert_eq!(Framing::default().advance(&header(MAX_FRAGMENT + 1)), HelloProgress::RecordTooLong);
        let second = [hello(512, 100)[..105].to_vec(), header(MAX_FRAGMENT + 1)].concat();
        assert_eq!(Framing::default().advance(&second), HelloProgress::RecordTooLong);
    }

    #[test]
    fn what_begins_in_another_way_is_something_else() {
        let not_a_hello = [22, 3, 1, 0, 4, 2, 0, 0, 0];
        let wires: [&[u8]; 6] =
            [b"GET / HTTP/1.1", b"G", &[21, 3, 3, 0, 2, 1, 0], &not_a_hello, &[22, 2], &[22, 3, 3, 0, 0]];
        for wire in wires {
            assert_eq!(Framing::default().advance(wire), HelloProgress::Other, "{wire:?}");
        }
        for wire in [&[][..], &[22], &[22, 3], &[22, 3, 1, 2]] {
            assert_eq!(Framing::default().advance(wire), HelloProgress::Incomplete, "{wire:?}");
        }
    }
}
