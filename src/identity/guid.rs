//! The names of Cloud Foundry's things.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A GUID: 8-4-4-4-12 hexadecimal digits, of either case; written in lower case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Guid(u128);

/// The text is not a GUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a GUID; write it like 7d6b3f5e-9a1c-4f0e-8b59-0f6a3a1d2c11")]
pub struct MalformedGuid;

impl Guid {
    /// Reads exactly the 36 characters of a GUID.
    ///
    /// # Errors
    /// Anything else, blanks included.
    pub fn parse(text: &[u8]) -> Result<Self, MalformedGuid> {
        if text.len() != 36 {
            return Err(MalformedGuid);
        }
        let mut bits = 0_u128;
        for (i, byte) in text.iter().enumerate() {
            match (i, byte) {
                (8 | 13 | 18 | 23, b'-') => {}
                (8 | 13 | 18 | 23, _) => return Err(MalformedGuid),
                _ => {
                    let digit = char::from(*byte).to_digit(16).ok_or(MalformedGuid)?;
                    bits = bits << 4 | u128::from(digit);
                }
            }
        }
        Ok(Self(bits))
    }

    /// The version 4 GUID (RFC 9562) made of these random bytes.
    pub fn from_random(bytes: [u8; 16]) -> Self {
        let version_and_variant = 0xf000 << 64 | 0b11 << 62;
        Self(u128::from_be_bytes(bytes) & !version_and_variant | 0x4000 << 64 | 0b10 << 62)
    }
}

impl FromStr for Guid {
    type Err = MalformedGuid;

    fn from_str(text: &str) -> Result<Self, MalformedGuid> {
        Self::parse(text.as_bytes())
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        // Several stand in each line of the access log: by five numbers of the standard library's they would be most of what it costs.
        let (mut text, mut left) = ([b'-'; 36], self.0);
        for (i, byte) in text.iter_mut().enumerate() {
            if !matches!(i, 8 | 13 | 18 | 23) {
                *byte = DIGITS[(left >> 124) as usize];
                left <<= 4;
            }
        }
        f.write_str(str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Guid({self})")
    }
}

/// The name of one app instance, which is also the container's. Often a full GUID, often shorter
/// (`51f0a007-a1b2-4c3d-5e6f-7a07`).
///
/// 1 to 64 letters, digits, `-`, `_` and `.`, the first and the last of them a letter or a digit; kept in lower case.
/// 64 is the longest CN there is (RFC 5280, `ub-common-name`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppInstanceId(Arc<str>);

/// The text is not an instance id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not an instance id; write 1 to 64 letters, digits, '-', '_' or '.', beginning and ending with a letter or digit"
)]
pub struct MalformedInstanceId;

impl AppInstanceId {
    /// Reads an instance id.
    ///
    /// # Errors
    /// It is empty or too long, or has other characters, blanks included.
    pub fn parse(text: &[u8]) -> Result<Self, MalformedInstanceId> {
        let (Some(first), Some(last)) = (text.first(), text.last()) else { return Err(MalformedInstanceId) };
        let inner = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if text.len() > 64 || !first.is_ascii_alphanumeric() || !last.is_ascii_alphanumeric() || !text.iter().all(inner)
        {
            return Err(MalformedInstanceId);
        }
        Ok(Self(text.iter().map(|b| char::from(b.to_ascii_lowercase())).collect::<String>().into()))
    }

    /// The id as text, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AppInstanceId {
    type Err = MalformedInstanceId;

    fn from_str(text: &str) -> Result<Self, MalformedInstanceId> {
        Self::parse(text.as_bytes())
    }
}

impl fmt::Display for AppInstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for AppInstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AppInstanceId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::{AppInstanceId, Guid};
    use proptest::prelude::*;

    #[test]
    fn a_guid_is_read_in_either_case_and_written_in_lower_case() {
        let guid: Guid = "7D6B3F5E-9a1c-4F0E-8B59-0f6a3a1d2c11".parse().unwrap();
        assert_eq!(guid.to_string(), "7d6b3f5e-9a1c-4f0e-8b59-0f6a3a1d2c11");
        assert_eq!(guid, "7d6b3f5e-9a1c-4f0e-8b59-0f6a3a1d2c11".parse().unwrap());
    }

    #[test]
    fn what_only_resembles_a_guid_is_refused() {
        for text in [
            "",
            "7d6b3f5e9a1c4f0e8b590f6a3a1d2c11",
            "{7d6b3f5e-9a1c-4f0e-8b59-0f6a3a1d2c11}",
            " 7d6b3f5e-9a1c-4f0e-8b59-0f6a3a1d2c11",
            "7d6b3f5e-9a1c-4f0e-8b59-0f6a3a1d2c1 ",
            "7d6b3f5e-9a1c-4f0e-8b59-0f6a3a1d2c1g",
            "7d6b3f5e-9a1c-4f0e-8b590-f6a3a1d2c11",
            "7d6b3f5e-9a1c-4f0e-8b59-0f6a3a1d2c111",
            "+d6b3f5e-9a1c-4f0e-8b59-0f6a3a1d2c11",
            "7d6b3f5e-9a1c-4f0e-8b59-0f6a3a1d2c\0\0",
        ] {
            assert!(text.parse::<Guid>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_random_guid_says_that_it_is_of_version_4() {
        assert_eq!(Guid::from_random([0xff; 16]).to_string(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(Guid::from_random([0; 16]).to_string(), "00000000-0000-4000-8000-000000000000");
    }

    #[test]
    fn an_instance_id_need_not_be_a_guid() {
        for text in
            ["51f0a007-a1b2-4c3d-5e6f-7a07", "7d6b3f5e-9a1c-4f0e-8b59-0f6a3a1d2c11", "web.0", "a", &"x".repeat(64)]
        {
            assert_eq!(text.parse::<AppInstanceId>().unwrap().as_str(), text);
        }
        assert_eq!("AB-cd".parse::<AppInstanceId>().unwrap().as_str(), "ab-cd");
    }

    #[test]
    fn an_instance_id_has_no_odd_characters_and_is_never_long() {
        for text in ["", " a", "a ", "a\0b", "a/b", "a*b", "a,b", "é", "-a", "a.", "..", &"x".repeat(65)] {
            assert!(text.parse::<AppInstanceId>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn every_guid_is_read_as_it_was_written(bits: u128) {
            let guid = Guid(bits);
            prop_assert_eq!(guid.to_string().parse::<Guid>(), Ok(guid));
            prop_assert_eq!(guid.to_string().to_uppercase().parse::<Guid>(), Ok(guid));
        }
    }
}
