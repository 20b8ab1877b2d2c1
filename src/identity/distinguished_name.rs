//! Names in text: as RFC 4514 writes them for people and logs, and as Envoy writes them into a field of HTTP; and the reader of what
//! others have written there.
//!
//! The reader takes no text that two readers might read differently, and what it reads goes through the same code as the subject of a
//! certificate.

use std::fmt;

use der::asn1::{Any, AnyRef, ObjectIdentifier};
use der::{Decode, Encode, Tag, Tagged};
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::name::Name;

use super::attribute::{Attribute, AttributeKind, COMMON_NAME, ORGANIZATIONAL_UNIT, hex, push};
use super::{Identity, IdentityError, IdentityField, occurrences};

/// The short names that RFC 4514 gives in section 3, and the two that everybody else writes.
const SHORT_NAMES: [(&str, ObjectIdentifier); 11] = [
    ("CN", COMMON_NAME),
    ("OU", ORGANIZATIONAL_UNIT),
    ("O", ObjectIdentifier::new_unwrap("2.5.4.10")),
    ("L", ObjectIdentifier::new_unwrap("2.5.4.7")),
    ("ST", ObjectIdentifier::new_unwrap("2.5.4.8")),
    ("C", ObjectIdentifier::new_unwrap("2.5.4.6")),
    ("STREET", ObjectIdentifier::new_unwrap("2.5.4.9")),
    ("DC", ObjectIdentifier::new_unwrap("0.9.2342.19200300.100.1.25")),
    ("UID", ObjectIdentifier::new_unwrap("0.9.2342.19200300.100.1.1")),
    ("SERIALNUMBER", ObjectIdentifier::new_unwrap("2.5.4.5")),
    ("EMAILADDRESS", ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.1")),
];

/// The short and the long name that OpenSSL has for an attribute, and so Envoy. It writes the short one.
const OPENSSL_NAMES: [(&str, &str, ObjectIdentifier); 26] = [
    ("CN", "commonName", COMMON_NAME),
    ("OU", "organizationalUnitName", ORGANIZATIONAL_UNIT),
    ("O", "organizationName", ObjectIdentifier::new_unwrap("2.5.4.10")),
    ("L", "localityName", ObjectIdentifier::new_unwrap("2.5.4.7")),
    ("ST", "stateOrProvinceName", ObjectIdentifier::new_unwrap("2.5.4.8")),
    ("C", "countryName", ObjectIdentifier::new_unwrap("2.5.4.6")),
    ("street", "streetAddress", ObjectIdentifier::new_unwrap("2.5.4.9")),
    ("DC", "domainComponent", ObjectIdentifier::new_unwrap("0.9.2342.19200300.100.1.25")),
    ("UID", "userId", ObjectIdentifier::new_unwrap("0.9.2342.19200300.100.1.1")),
    ("serialNumber", "serialNumber", ObjectIdentifier::new_unwrap("2.5.4.5")),
    ("emailAddress", "emailAddress", ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.1")),
    ("SN", "surname", ObjectIdentifier::new_unwrap("2.5.4.4")),
    ("GN", "givenName", ObjectIdentifier::new_unwrap("2.5.4.42")),
    ("title", "title", ObjectIdentifier::new_unwrap("2.5.4.12")),
    ("description", "description", ObjectIdentifier::new_unwrap("2.5.4.13")),
    ("businessCategory", "businessCategory", ObjectIdentifier::new_unwrap("2.5.4.15")),
    ("postalAddress", "postalAddress", ObjectIdentifier::new_unwrap("2.5.4.16")),
    ("postalCode", "postalCode", ObjectIdentifier::new_unwrap("2.5.4.17")),
    ("name", "name", ObjectIdentifier::new_unwrap("2.5.4.41")),
    ("initials", "initials", ObjectIdentifier::new_unwrap("2.5.4.43")),
    ("generationQualifier", "generationQualifier", ObjectIdentifier::new_unwrap("2.5.4.44")),
    ("x500UniqueIdentifier", "x500UniqueIdentifier", ObjectIdentifier::new_unwrap("2.5.4.45")),
    ("dnQualifier", "dnQualifier", ObjectIdentifier::new_unwrap("2.5.4.46")),
    ("pseudonym", "pseudonym", ObjectIdentifier::new_unwrap("2.5.4.65")),
    ("role", "role", ObjectIdentifier::new_unwrap("2.5.4.72")),
    ("unstructuredName", "unstructuredName", ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.2")),
];

/// What has to be escaped wherever it stands (RFC 4514, 2.4).
const SPECIAL: &[u8] = b"\"+,;<>\\";

/// A name that was read from text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DistinguishedName {
    /// As they are written: the last RDN of the certificate first. None is empty.
    pub(super) rdns: Vec<Vec<AttributeTypeAndValue>>,
}

/// Why a text is no name that can be read in one way only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedName {
    /// No `=`, or none where one belongs.
    #[error("an attribute without a type in front of it")]
    NoType,
    /// Neither one of the names that are known nor an object identifier.
    #[error("an attribute of an unknown type")]
    UnknownType,
    /// A character that means something, or a blank at an end, stands there as it is.
    #[error("a special character or a blank at an end that is not escaped")]
    NotEscaped,
    /// A backslash in front of what needs none.
    #[error("a backslash that escapes nothing")]
    Escape,
    /// `#` with anything but one value in DER behind it.
    #[error("a value in hexadecimal that cannot be read")]
    Hexadecimal,
    /// The bytes of a value are no text.
    #[error("a value that is not UTF-8")]
    NotUtf8,
}

impl DistinguishedName {
    /// Reads a name as RFC 4514 defines it, and nothing that earlier rules allowed: no quotes, no `;`, no blanks around a mark.
    ///
    /// # Errors
    /// [`MalformedName`], which repeats nothing of the text.
    pub fn parse(text: &str) -> Result<Self, MalformedName> {
        let mut rdns = Vec::new();
        let mut rest = text.as_bytes();
        if rest.is_empty() {
            return Ok(Self { rdns });
        }
        let mut rdn = Vec::new();
        loop {
            let end = attribute_end(rest);
            rdn.push(attribute(&rest[..end])?);
            let mark = rest.get(end);
            if mark != Some(&b'+') {
                rdns.push(std::mem::take(&mut rdn));
            }
            if mark.is_none() {
                return Ok(Self { rdns });
            }
            rest = &rest[end + 1..];
        }
    }

    /// What it says as the subject of a certificate that is Cloud Foundry's; `None` if it is none of those.
    ///
    /// # Errors
    /// It claims to be Cloud Foundry's, and is not sound.
    pub fn identity(&self) -> Result<Option<Identity>, IdentityError> {
        Identity::from_attributes(&self.attributes().collect::<Vec<_>>())
    }

    /// A part of a Cloud Foundry identity that it has more than once, equal values counted too.
    pub fn repeated_field(&self) -> Option<IdentityField> {
        use IdentityField::{App, Instance, Organization, Space};
        [Organization, Space, App, Instance].into_iter().find(|field| occurrences(self.attributes(), *field) > 1)
    }

    /// As [`crate::identity::Certificate::common_name`].
    pub fn common_name(&self) -> Option<&str> {
        only_common_name(self.attributes())
    }

    /// As [`crate::identity::Certificate::has_unclear_common_name`].
    pub fn has_unclear_common_name(&self) -> bool {
        self.common_name().is_none() && self.attributes().any(|a| a.kind == AttributeKind::CommonName)
    }

    /// In the order of the certificate, as far as that can be known.
    fn attributes(&self) -> impl Iterator<Item = Attribute<'_>> {
        self.rdns.iter().flatten().rev().map(Attribute::of)
    }
}

/// As RFC 4514 writes it, every odd character escaped: fit for a log.
impl fmt::Display for DistinguishedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&joined(self.rdns.iter().map(|rdn| rdn.iter()), push_attribute))
    }
}

/// The only CN of a subject; `None` if there is none, more than one, or one that is not a PrintableString or UTF8String.
pub(super) fn only_common_name<'a>(attributes: impl Iterator<Item = Attribute<'a>>) -> Option<&'a str> {
    let mut names = attributes.filter(|a| a.kind == AttributeKind::CommonName);
    match (names.next(), names.next()) {
        (Some(name), None) if name.plain => std::str::from_utf8(name.value).ok(),
        _ => None,
    }
}

/// The name as RFC 4514 writes it: the last RDN first, RDNs divided by commas, the attributes of one by plus signs.
pub(crate) fn name_text(name: &Name) -> String {
    let rdns: Vec<_> = name.iter_rdn().collect();
    joined(rdns.into_iter().rev().map(|rdn| rdn.iter()), push_attribute)
}

/// The name as Envoy writes it (XN_FLAG_RFC2253 of OpenSSL): everything in reverse, the attributes of an RDN too; types by OpenSSL's
/// short names; what is not ASCII as `\C3\B6`.
///
/// Where Envoy writes `\,` it is `\2C` here, which is the same name (RFC 4514, 2.4): with the backslash lost on the way or taken for one
/// of the field's own, a comma would begin an attribute, and these digits begin nothing. Neither a quote nor two backslashes in a row
/// are in it. A CN or OU of a string type that no identity is read from stays the bytes that it is, so that no reader takes it for text.
pub(super) fn name_for_field(name: &Name) -> String {
    let rdns: Vec<_> = name.iter_rdn().collect();
    let reversed = |attributes: Vec<_>| attributes.into_iter().rev();
    joined(rdns.into_iter().rev().map(|rdn| reversed(rdn.iter().collect())), push_attribute_for_field)
}

fn joined<'a, R>(rdns: impl Iterator<Item = R>, push_one: fn(&mut String, &AttributeTypeAndValue)) -> String
where
    R: Iterator<Item = &'a AttributeTypeAndValue>,
{
    let mut text = String::new();
    for (i, rdn) in rdns.enumerate() {
        for (j, attribute) in rdn.enumerate() {
            text.push_str(match (i, j) {
                (0, 0) => "",
                (_, 0) => ",",
                _ => "+",
            });
            push_one(&mut text, attribute);
        }
    }
    text
}

fn push_attribute(text: &mut String, attribute: &AttributeTypeAndValue) {
    let name = SHORT_NAMES.iter().find(|(_, oid)| *oid == attribute.oid).map(|(name, _)| name);
    let value = match attribute.value.tag() {
        Tag::PrintableString | Tag::Utf8String | Tag::Ia5String => std::str::from_utf8(attribute.value.value()).ok(),
        _ => None,
    };
    match (name, value) {
        (Some(name), Some(value)) => {
            push(text, format_args!("{name}="));
            push_escaped(text, value);
        }
        // RFC 4514, 2.4: what has no short name or no text is written as its bytes.
        _ => push(text, format_args!("{}=#{}", attribute.oid, hex(&attribute.value.to_der().unwrap_or_default()))),
    }
}

/// RFC 4514, 2.4; and beyond it every character that a terminal or a log might take for something else.
fn push_escaped(text: &mut String, value: &str) {
    let last = value.chars().count().saturating_sub(1);
    for (i, c) in value.chars().enumerate() {
        match c {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => push(text, format_args!("\\{c}")),
            ' ' if i == 0 || i == last => text.push_str("\\ "),
            '#' if i == 0 => text.push_str("\\#"),
            c if c == ' ' || c.is_ascii_graphic() || c.is_alphanumeric() => text.push(c),
            c => c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| push(text, format_args!("\\{byte:02x}"))),
        }
    }
}

fn push_attribute_for_field(text: &mut String, attribute: &AttributeTypeAndValue) {
    let bytes = attribute.value.value();
    let is_text = match Attribute::of(attribute) {
        Attribute { plain: true, .. } => true,
        Attribute { kind: AttributeKind::Other, .. } => attribute.value.tag() == Tag::Ia5String,
        _ => false,
    };
    let name = OPENSSL_NAMES.iter().find(|(_, _, oid)| *oid == attribute.oid).map(|(short, ..)| *short);
    match name {
        Some(name) => push(text, format_args!("{name}=")),
        None => push(text, format_args!("{}=", attribute.oid)),
    }
    if name.is_none() || !is_text || std::str::from_utf8(bytes).is_err() {
        let der = attribute.value.to_der().unwrap_or_default();
        push(text, format_args!("#{}", hex(&der).to_ascii_uppercase()));
        return;
    }
    for (i, byte) in bytes.iter().enumerate() {
        let at_an_end = i == 0 || i + 1 == bytes.len();
        match byte {
            b' ' if !at_an_end => text.push(' '),
            b'#' if i == 0 => text.push_str("\\23"),
            byte if byte.is_ascii_graphic() && !SPECIAL.contains(byte) => text.push(char::from(*byte)),
            byte => push(text, format_args!("\\{byte:02X}")),
        }
    }
}

/// Where the attribute at the beginning of `text` ends: at the first `,` or `+` that is not escaped.
fn attribute_end(text: &[u8]) -> usize {
    let mut escaped = false;
    let end = text.iter().position(|byte| match (escaped, byte) {
        (true, _) => {
            escaped = false;
            false
        }
        (false, b'\\') => {
            escaped = true;
            false
        }
        (false, byte) => matches!(byte, b',' | b'+'),
    });
    end.unwrap_or(text.len())
}

fn attribute(text: &[u8]) -> Result<AttributeTypeAndValue, MalformedName> {
    let equals = text.iter().position(|byte| *byte == b'=').ok_or(MalformedName::NoType)?;
    let (kind, value) = (&text[..equals], &text[equals + 1..]);
    Ok(AttributeTypeAndValue {
        oid: attribute_type(kind)?,
        value: match value.strip_prefix(b"#") {
            Some(digits) => hexadecimal(digits)?,
            None => Any::new(Tag::Utf8String, unescaped(value)?).map_err(|_| MalformedName::NotUtf8)?,
        },
    })
}

fn attribute_type(text: &[u8]) -> Result<ObjectIdentifier, MalformedName> {
    let text = std::str::from_utf8(text).map_err(|_| MalformedName::UnknownType)?;
    if text.is_empty() {
        return Err(MalformedName::NoType);
    }
    let is = |name: &str| name.eq_ignore_ascii_case(text);
    match OPENSSL_NAMES.iter().find(|(short, long, _)| is(short) || is(long)) {
        Some((.., oid)) => Ok(*oid),
        None => ObjectIdentifier::new(text).map_err(|_| MalformedName::UnknownType),
    }
}

/// One value in DER, each byte in two digits.
fn hexadecimal(digits: &[u8]) -> Result<Any, MalformedName> {
    let (pairs, rest) = digits.as_chunks::<2>();
    let der: Option<Vec<u8>> = pairs.iter().map(|pair| byte_from_hex(*pair)).collect();
    let der = der.filter(|_| rest.is_empty()).ok_or(MalformedName::Hexadecimal)?;
    AnyRef::from_der(&der).map(Any::from).map_err(|_| MalformedName::Hexadecimal)
}

/// The byte that two hexadecimal digits write.
pub(crate) fn byte_from_hex([high, low]: [u8; 2]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? << 4 | digit(low)?).ok()
}

/// The text that a value writes.
fn unescaped(value: &[u8]) -> Result<Vec<u8>, MalformedName> {
    let mut text = Vec::with_capacity(value.len());
    let mut at = 0;
    while let Some(byte) = value.get(at) {
        let is_last = at + 1 == value.len();
        match byte {
            b'\\' => {
                let (byte, length) = match (value.get(at + 1), value.get(at + 2)) {
                    (Some(byte), _) if SPECIAL.contains(byte) || b" #=".contains(byte) => (*byte, 2),
                    (Some(high), Some(low)) => (byte_from_hex([*high, *low]).ok_or(MalformedName::Escape)?, 3),
                    _ => return Err(MalformedName::Escape),
                };
                text.push(byte);
                at += length;
                continue;
            }
            b' ' if at == 0 || is_last => return Err(MalformedName::NotEscaped),
            byte if SPECIAL.contains(byte) || *byte == 0 => return Err(MalformedName::NotEscaped),
            byte => text.push(*byte),
        }
        at += 1;
    }
    if std::str::from_utf8(&text).is_err() {
        return Err(MalformedName::NotUtf8);
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
