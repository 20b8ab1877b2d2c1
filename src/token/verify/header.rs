//! The header: how the token is signed, and by whom it says so.

use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use rustls::pki_types::CertificateDer;
use serde_json::{Map, Value};

use super::denial::{TokenDenial, TokenDenialReason};
use crate::identity::Certificate;
use crate::token::Algorithm;

/// Certificates in a token.
const MAX_CERTIFICATES: usize = 6;

/// Parameters that change what the rest of a token means (RFC 7515, section 4.1; RFC 7516; RFC 7797), or where its key comes from.
const REFUSED: [&str; 7] = ["crit", "b64", "zip", "enc", "jku", "x5u", "jwk"];

/// Members of a private key (RFC 7518, section 6).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// What a header says, in a form that can be verified.
#[derive(Debug)]
pub(super) struct TokenHeader {
    pub(super) algorithm: Algorithm,
    /// Leaf first.
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) leaf: Certificate,
}

/// Where a header has its certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum X5cLocation {
    /// In `x5c`.
    TopLevel,
    /// In `x5c` of the parameter `JWK`, as Comcast's plugin wants it.
    InJwk,
}

impl TokenHeader {
    /// Reads `header`, and nothing in it is believed.
    pub(super) fn read(header: &Map<String, Value>, place: X5cLocation) -> Result<Self, TokenDenial> {
        if has_private_member(header) {
            return Err(
                TokenDenialReason::PrivateKey.because("this token carries its private key: replace that instance")
            );
        }
        if let Some(refused) = REFUSED.into_iter().find(|name| header.contains_key(*name)) {
            return Err(TokenDenialReason::Header.because(format!("its header has {refused}; make it without")));
        }
        let is_jwt = |typ: &Value| {
            typ.as_str().is_some_and(|typ| typ.eq_ignore_ascii_case("JWT") || typ.eq_ignore_ascii_case("JOSE"))
        };
        if header.get("typ").is_some_and(|typ| !is_jwt(typ)) {
            return Err(TokenDenialReason::Header.because("its type (typ) is neither JWT nor JOSE"));
        }
        let algorithm = header.get("alg").and_then(Value::as_str).and_then(|alg| alg.parse::<Algorithm>().ok());
        let Some(algorithm) = algorithm else {
            let what = "its algorithm (alg) is none of RS256, PS256, ES256, ES384 and EdDSA";
            return Err(TokenDenialReason::Algorithm.because(what));
        };
        let wrong = |what: &str| TokenDenialReason::X5c.because(what);
        let chain = read_chain(header, place).map_err(|what| wrong(&what))?;
        let leaf = chain.first().and_then(|leaf| Certificate::from_der(leaf).ok());
        let leaf = leaf.ok_or_else(|| wrong("its certificate cannot be read"))?;
        if leaf.is_ca() {
            return Err(wrong("the first certificate of x5c is a CA's; the leaf comes first"));
        }
        check_thumbprints(header, &leaf)?;
        if !algorithm.fits(leaf.public_key_kind()) {
            let what =
                format!("its algorithm {algorithm} does not fit the key of its certificate ({})", leaf.key_type());
            return Err(TokenDenialReason::Algorithm.because(what));
        }
        if algorithm == Algorithm::EdDsa && is_of_low_order(leaf.public_key().1) {
            let what = "the Ed25519 key of its certificate is of low order: anybody can sign with it";
            return Err(TokenDenialReason::Algorithm.because(what));
        }
        Ok(Self { algorithm, chain, leaf })
    }
}

/// Whether an Ed25519 public key is one of the few points under which anybody can make signatures (RFC 8032, section 5.1.7, leaves them to whoever
/// certifies keys): those whose order divides 8, in every encoding. The sign bit does not count.
fn is_of_low_order(key: &[u8]) -> bool {
    const ORDER_8: [[u8; 32]; 2] = [
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
            0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
            0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
        ],
    ];
    let Ok(mut y) = <[u8; 32]>::try_from(key) else { return false };
    y[31] &= 0x7f;
    let (low, middle, high) = (y[0], &y[1..31], y[31]);
    // 0 and 1; and p - 1, p and p + 1, where p = 2^255 - 19.
    let is_small = low <= 1 && middle.iter().all(|byte| *byte == 0) && high == 0;
    let is_near_p = (0xec..=0xee).contains(&low) && middle.iter().all(|byte| *byte == 0xff) && high == 0x7f;
    is_small || is_near_p || ORDER_8.contains(&y)
}

/// Whether an object of `header`, itself included, has a member of a private key.
fn has_private_member(header: &Map<String, Value>) -> bool {
    header.iter().any(|(name, value)| PRIVATE.contains(&name.as_str()) || holds_private_member(value))
}

fn holds_private_member(value: &Value) -> bool {
    match value {
        Value::Object(object) => has_private_member(object),
        Value::Array(values) => values.iter().any(holds_private_member),
        _ => false,
    }
}

fn read_chain(header: &Map<String, Value>, place: X5cLocation) -> Result<Vec<CertificateDer<'static>>, String> {
    let (x5c, name) = match place {
        X5cLocation::TopLevel => (header.get("x5c"), "x5c"),
        X5cLocation::InJwk => (header.get("JWK").and_then(|jwk| jwk.get("x5c")), "JWK.x5c"),
    };
    let Some(x5c) = x5c else {
        let other = match place {
            X5cLocation::TopLevel => header.contains_key("JWK").then_some("comcast"),
            X5cLocation::InJwk => header.contains_key("x5c").then_some("standard"),
        };
        let hint = other.map(|form| format!("; it is written in the form {form}")).unwrap_or_default();
        return Err(format!("its header has no {name}{hint}"));
    };
    let elements = x5c.as_array().filter(|elements| !elements.is_empty());
    let elements = elements.ok_or_else(|| format!("its {name} is not a list of certificates"))?;
    if elements.len() > MAX_CERTIFICATES {
        return Err(format!(
            "its {name} has {} certificates, and no more than {MAX_CERTIFICATES} are looked at",
            elements.len()
        ));
    }
    let read = |(at, element): (usize, &Value)| {
        let text = element.as_str().ok_or_else(|| format!("{name}[{at}] is no text"))?;
        let der =
            Base64::decode_vec(text).map_err(|_| format!("{name}[{at}] is not base64 with padding, on one line"))?;
        Certificate::from_der(&der).map_err(|_| format!("{name}[{at}] is not exactly one certificate in DER"))?;
        Ok(CertificateDer::from(der))
    };
    elements.iter().enumerate().map(read).collect()
}

/// The names by which the header means its certificate have to mean this one.
fn check_thumbprints(header: &Map<String, Value>, leaf: &Certificate) -> Result<(), TokenDenial> {
    let thumbprint = Base64UrlUnpadded::encode_string(leaf.fingerprint());
    let is_it = |value: &Value| value.as_str() == Some(&thumbprint);
    if header.get("x5t#S256").is_some_and(|value| !is_it(value)) {
        return Err(TokenDenialReason::X5c.because("its x5t#S256 is not the thumbprint of its certificate"));
    }
    let is_thumbprint = |kid: &str| {
        kid.len() == thumbprint.len() && kid.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let kid = header.get("kid").filter(|kid| kid.as_str().is_some_and(is_thumbprint));
    if kid.is_some_and(|kid| !is_it(kid)) {
        return Err(TokenDenialReason::X5c.because("its kid is not the thumbprint of its certificate"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ed25519_keys_under_which_anybody_can_sign_are_told_from_others() {
        let with = |first: u8, middle: u8, last: u8| {
            let mut key = [middle; 32];
            (key[0], key[31]) = (first, last);
            key
        };
        for key in [
            with(0, 0, 0),
            with(1, 0, 0),
            with(1, 0, 0x80),
            with(0xec, 0xff, 0x7f),
            with(0xed, 0xff, 0xff),
            with(0xee, 0xff, 0x7f),
        ] {
            assert!(is_of_low_order(&key), "{key:?}");
        }
        for key in [with(2, 0, 0), with(0xeb, 0xff, 0x7f), with(9, 7, 5)] {
            assert!(!is_of_low_order(&key), "{key:?}");
        }
        assert!(!is_of_low_order(&[0; 31]));
    }
}
