//! Fields that frame a message, in spellings that only some read so.

use hyper::header::{CONTENT_LENGTH, HeaderName, TRANSFER_ENCODING};

/// The fields that say where a body ends. Of all that frame a message or name its server they alone have a `-`.
static FRAMING: [HeaderName; 2] = [CONTENT_LENGTH, TRANSFER_ENCODING];

/// The field for which many servers would take `name`, which is another: CGI and its like read `_` for `-`, and some any other letter. A body would
/// end there for them where it does not for us.
pub(crate) fn framing_lookalike(name: &HeaderName) -> Option<&'static HeaderName> {
    let is_read_as = |known: &HeaderName| {
        let (known, name) = (known.as_str().as_bytes(), name.as_str().as_bytes());
        let is_same = |(known, byte): (&u8, &u8)| known == byte || *known == b'-' && !byte.is_ascii_alphanumeric();
        known.len() == name.len() && known != name && known.iter().zip(name).all(is_same)
    };
    FRAMING.iter().find(|known| is_read_as(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_some_read_as_a_length_or_a_coding_is_known_and_no_other() {
        for (name, expected) in [
            ("content_length", Some("content-length")),
            ("content.length", Some("content-length")),
            ("Transfer_Encoding", Some("transfer-encoding")),
            ("transfer~encoding", Some("transfer-encoding")),
            ("content-length", None),
            ("transfer-encoding", None),
            ("contentxlength", None),
            ("content_lengths", None),
            ("x_transfer_encoding", None),
            ("content_type", None),
        ] {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            assert_eq!(framing_lookalike(&name).map(HeaderName::as_str), expected, "{name}");
        }
    }
}
