//! The compact serialization of a signed token (RFC 7515, section 7.1), and the check of its signature.

use aws_lc_rs::signature;
use aws_lc_rs::signature::{UnparsedPublicKey, VerificationAlgorithm};
use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::{Map, Value};

use super::{Algorithm, strict_json};
use crate::identity::Certificate;

/// In bytes; a token with a chain of RSA-4096 has 6 KiB.
pub(super) const LONGEST: usize = 16 * 1024;

/// A token, taken apart. Nothing of it is believed yet.
#[derive(Debug)]
pub(super) struct CompactToken<'a> {
    pub(super) header: Map<String, Value>,
    pub(super) claims: Map<String, Value>,
    /// What the signature covers: the bytes that were received.
    signed: &'a [u8],
    signature: Vec<u8>,
}

impl<'a> CompactToken<'a> {
    /// Takes `token` apart.
    ///
    /// # Errors
    /// A sentence without anything of the token: it is longer than 16 KiB, not three parts of canonical base64url without padding, or header or
    /// claims are no JSON object that can be read in one way only.
    pub(super) fn read(token: &'a str) -> Result<Self, String> {
        if token.len() > LONGEST {
            return Err(format!("it is longer than {} KiB", LONGEST / 1024));
        }
        let (signed, signature) = token.rsplit_once('.').ok_or_else(|| what_it_is(token))?;
        let (header, claims) = signed.split_once('.').ok_or_else(|| what_it_is(token))?;
        if claims.contains('.') || token.contains(|one: char| one.is_ascii_whitespace() || one == '"') {
            return Err(what_it_is(token));
        }
        let decode = |part: &str, name: &str| {
            Base64UrlUnpadded::decode_vec(part)
                .map_err(|_| format!("its {name} is not base64url as RFC 7515 writes it, without padding"))
        };
        let object = |part: &str, name: &str| {
            strict_json::object(&decode(part, name)?).map_err(|error| format!("its {name} {error}"))
        };
        Ok(Self {
            header: object(header, "header")?,
            claims: object(claims, "payload")?,
            signed: signed.as_bytes(),
            signature: decode(signature, "signature")?,
        })
    }

    /// Whether the key of `certificate` has made the signature, by `algorithm`, which fits that key.
    pub(super) fn is_signed_by(&self, certificate: &Certificate, algorithm: Algorithm) -> bool {
        let (_, key) = certificate.public_key();
        UnparsedPublicKey::new(verification(algorithm), key).verify(self.signed, &self.signature).is_ok()
    }
}

/// What stands in the place of a token that is not three parts on one line: mostly a token with something around it.
fn what_it_is(text: &str) -> String {
    let begin = text.trim_start();
    if begin.is_empty() {
        return "it is empty".to_owned();
    }
    if begin.get(..7).is_some_and(|begin| begin.eq_ignore_ascii_case("bearer ")) {
        return "it begins with Bearer; send what stands behind that".to_owned();
    }
    if begin.starts_with('{') {
        return "it is JSON; send the token in it, in compact form".to_owned();
    }
    if text.contains('"') {
        return "it has quotation marks; send it without".to_owned();
    }
    if text.contains(|one: char| one.is_ascii_whitespace()) {
        return "it has white space in it or around it; send it on one line, and nothing else".to_owned();
    }
    match text.split('.').count() {
        1 => "it has no dot in it, and a token is three parts with dots between".to_owned(),
        5 => "it has five parts, so it is encrypted (JWE); send one that is signed".to_owned(),
        parts => format!("it has {parts} parts with dots between, and a token has three"),
    }
}

fn verification(algorithm: Algorithm) -> &'static dyn VerificationAlgorithm {
    match algorithm {
        Algorithm::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
        Algorithm::Es256 => &signature::ECDSA_P256_SHA256_FIXED,
        Algorithm::Es384 => &signature::ECDSA_P384_SHA384_FIXED,
        Algorithm::EdDsa => &signature::ED25519,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(text: &str) -> String {
        Base64UrlUnpadded::encode_string(text.as_bytes())
    }

    #[test]
    fn a_token_is_three_parts_and_no_other_number_or_alphabet() {
        let (header, claims) = (part("{}"), part("{\"a\":1}"));
        assert!(CompactToken::read(&format!("{header}.{claims}.")).is_ok());
        assert!(CompactToken::read(&format!("{header}.{claims}.AA")).is_ok());
        for token in [
            String::new(),
            ".".to_owned(),
            "..".to_owned(),
            format!("{header}.{claims}"),
            format!("{header}.{claims}.AA.AA"),
            format!("{header}.{claims}.AA=="),
            // The same byte, written in another way.
            format!("{header}.{claims}.AB"),
            format!("{header}.{claims}.A+"),
            format!("{header}.{claims}. AA"),
            format!("{header}.{claims}.AA\n"),
            format!("{header}.{}.AA", part("[]")),
            format!("{{\"payload\":\"{claims}\"}}"),
        ] {
            assert!(CompactToken::read(&token).is_err(), "{token}");
        }
    }

    #[test]
    fn what_is_no_token_is_told_by_what_it_is() {
        let token = format!("{}.{}.AA", part("{}"), part("{}"));
        for (text, what) in [
            (String::new(), "it is empty"),
            (" \n".to_owned(), "it is empty"),
            (format!("Bearer {token}"), "it begins with Bearer; send what stands behind that"),
            (format!("\"{token}\""), "it has quotation marks; send it without"),
            (format!("{{\"token\":\"{token}\"}}"), "it is JSON; send the token in it, in compact form"),
            (
                format!("{token}\n{token}"),
                "it has white space in it or around it; send it on one line, and nothing else",
            ),
            (format!("{token}.AA.AA"), "it has five parts, so it is encrypted (JWE); send one that is signed"),
            (format!("{token}.AA"), "it has 4 parts with dots between, and a token has three"),
            ("é".to_owned(), "it has no dot in it, and a token is three parts with dots between"),
            (format!("{}.{}.AA", part("{}"), part("[]")), "its payload is not one JSON object"),
            (format!("{}.{}.AA", part("{\"a\":1,\"a\":1}"), part("{}")), "its header has a member twice in one object"),
            (
                format!("{}.{}.AA", part("{}"), part(&format!("{{\"a\":{}{}}}", "[".repeat(9), "]".repeat(9)))),
                "its payload is nested deeper than 8",
            ),
        ] {
            assert_eq!(CompactToken::read(&text).unwrap_err(), what, "{text}");
        }
    }

    #[test]
    fn a_token_of_16_kib_is_read_and_a_longer_one_is_not() {
        let of = |bytes: usize| {
            let begin = format!("{}.{}.", part("{}"), part("{}"));
            let rest = bytes - begin.len();
            format!("{begin}{}", "A".repeat(rest))
        };
        assert!(CompactToken::read(&of(LONGEST)).is_ok());
        assert_eq!(CompactToken::read(&of(LONGEST + 1)).unwrap_err(), "it is longer than 16 KiB");
    }
}
