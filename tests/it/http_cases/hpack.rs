//! Field sections of HTTP/2 (HPACK, RFC 7541), read.

use std::collections::VecDeque;

use super::cases::latin1;
use super::message::Fields;

/// The length of each symbol's Huffman code, and of EOS at last; the code is canonical, so nothing else is needed.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// One direction's state.
#[derive(Debug)]
pub(super) struct Decoder {
    /// The newest first.
    dynamic: VecDeque<(String, String)>,
    size: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { dynamic: VecDeque::new(), size: 4096 }
    }
}

impl Decoder {
    /// The fields of a whole section.
    pub(super) fn fields(&mut self, mut block: &[u8]) -> Result<Fields, String> {
        let mut fields = Fields::new();
        while let Some(first) = block.first() {
            match first {
                0x80.. => {
                    let index = integer(&mut block, 7)?;
                    fields.push(self.indexed(index)?);
                }
                0x40.. => {
                    let field = self.literal(&mut block, 6)?;
                    self.dynamic.push_front(field.clone());
                    self.evict();
                    fields.push(field);
                }
                0x20.. => {
                    self.size = integer(&mut block, 5)?;
                    self.evict();
                }
                _ => fields.push(self.literal(&mut block, 4)?),
            }
        }
        Ok(fields)
    }

    fn literal(&self, block: &mut &[u8], bits: u32) -> Result<(String, String), String> {
        let name = match integer(block, bits)? {
            0 => string(block)?,
            index => self.indexed(index)?.0,
        };
        Ok((name, string(block)?))
    }

    fn indexed(&self, index: usize) -> Result<(String, String), String> {
        let none = || format!("HPACK: no entry {index}");
        match STATIC.get(index.checked_sub(1).ok_or_else(none)?) {
            Some((name, value)) => Ok(((*name).to_owned(), (*value).to_owned())),
            None => self.dynamic.get(index - 1 - STATIC.len()).cloned().ok_or_else(none),
        }
    }

    fn evict(&mut self) {
        let taken = |entries: &VecDeque<(String, String)>| -> usize {
            entries.iter().map(|(name, value)| name.chars().count() + value.chars().count() + 32).sum()
        };
        while taken(&self.dynamic) > self.size {
            self.dynamic.pop_back();
        }
    }
}

/// An integer with a prefix of so many bits.
fn integer(block: &mut &[u8], bits: u32) -> Result<usize, String> {
    let cut = || "HPACK: an integer is cut off".to_owned();
    let (first, mut rest) = block.split_first().ok_or_else(cut)?;
    let most = (1 << bits) - 1;
    let mut value = usize::from(*first) & most;
    if value == most {
        for shift in (0..28).step_by(7) {
            let (byte, behind) = rest.split_first().ok_or_else(cut)?;
            rest = behind;
            value += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                *block = rest;
                return Ok(value);
            }
        }
        return Err("HPACK: an integer without end".to_owned());
    }
    *block = rest;
    Ok(value)
}

fn string(block: &mut &[u8]) -> Result<String, String> {
    let is_huffman = block.first().is_some_and(|byte| byte & 0x80 != 0);
    let length = integer(block, 7)?;
    let (bytes, rest) = block.split_at_checked(length).ok_or("HPACK: a string is cut off")?;
    *block = rest;
    if is_huffman { huffman(bytes).map(|bytes| latin1(&bytes)) } else { Ok(latin1(bytes)) }
}

fn huffman(bytes: &[u8]) -> Result<Vec<u8>, String> {
    // By length and then by symbol, codes count up.
    let mut symbols: Vec<usize> = (0..LENGTHS.len()).collect();
    symbols.sort_by_key(|symbol| (LENGTHS[*symbol], *symbol));
    let mut codes = std::collections::HashMap::new();
    let (mut code, mut length) = (0_u32, LENGTHS[symbols[0]]);
    for symbol in symbols {
        code <<= LENGTHS[symbol] - length;
        length = LENGTHS[symbol];
        codes.insert((length, code), symbol);
        code = code.wrapping_add(1);
    }
    let (mut text, mut code, mut length) = (Vec::new(), 0_u32, 0_u8);
    for bit in bytes.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)) {
        (code, length) = (code << 1 | u32::from(bit), length + 1);
        if let Some(symbol) = codes.get(&(length, code)) {
            text.push(u8::try_from(*symbol).map_err(|_| "HPACK: EOS in a string")?);
            (code, length) = (0, 0);
        } else if length > 30 {
            return Err("HPACK: no such Huffman code".to_owned());
        }
    }
    // What is left is the beginning of EOS: ones.
    if length > 7 || code != (1 << length) - 1 { Err("HPACK: padded wrongly".to_owned()) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let hex: String = hex.split_whitespace().collect();
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    /// RFC 7541, C.6: with Huffman codes, and a table of 256 bytes from which entries are evicted.
    #[test]
    fn the_responses_of_the_standard_are_read_as_it_says() {
        let mut decoder = Decoder { size: 256, ..Decoder::default() };
        let first = "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d
            29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3";
        let fields = |list: &[(&str, &str)]| -> Fields {
            list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let (location, date) = (("location", "https://www.example.com"), ("date", "Mon, 21 Oct 2013 20:13:21 GMT"));
        let private = ("cache-control", "private");
        assert_eq!(decoder.fields(&bytes(first)), Ok(fields(&[(":status", "302"), private, date, location])));
        let second = "4883 640e ffc1 c0bf";
        assert_eq!(decoder.fields(&bytes(second)), Ok(fields(&[(":status", "307"), private, date, location])));
        let third = "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d
            d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07";
        let cookie = ("set-cookie", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1");
        let date = ("date", "Mon, 21 Oct 2013 20:13:22 GMT");
        let wanted = [(":status", "200"), private, date, location, ("content-encoding", "gzip"), cookie];
        assert_eq!(decoder.fields(&bytes(third)), Ok(fields(&wanted)));
        assert_eq!(decoder.dynamic.len(), 3);
    }

    #[test]
    fn what_is_cut_off_or_padded_wrongly_is_a_fault() {
        for hex in ["48", "4883 64", "ff", "ffff ffff ffff ff", "80", "c0", "4881 64", "4884 ffff ffff"] {
            assert!(Decoder::default().fields(&bytes(hex)).is_err(), "{hex}");
        }
    }
}
