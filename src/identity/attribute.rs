//! One attribute of a name, as it stands in a certificate.

use std::fmt::Write;

use der::asn1::ObjectIdentifier;
use der::{Tag, Tagged};
use x509_cert::attr::AttributeTypeAndValue;

pub(super) const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
pub(super) const ORGANIZATIONAL_UNIT: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.11");

/// One attribute of a subject.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attribute<'a> {
    pub(super) kind: AttributeKind,
    /// The bytes of the string, without tag and length.
    pub(super) value: &'a [u8],
    /// It is a PrintableString or a UTF8String.
    pub(super) plain: bool,
}

/// The attributes that an identity is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AttributeKind {
    OrganizationalUnit,
    CommonName,
    Other,
}

impl<'a> Attribute<'a> {
    pub(super) fn of(written: &'a AttributeTypeAndValue) -> Self {
        Self {
            kind: match written.oid {
                ORGANIZATIONAL_UNIT => AttributeKind::OrganizationalUnit,
                COMMON_NAME => AttributeKind::CommonName,
                _ => AttributeKind::Other,
            },
            value: written.value.value(),
            plain: matches!(written.value.tag(), Tag::PrintableString | Tag::Utf8String),
        }
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        push(&mut text, format_args!("{byte:02x}"));
        text
    })
}

/// Formats into `text`, which cannot fail.
pub(super) fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // A String takes everything; only the trait's signature knows of errors.
    let _ = text.write_fmt(arguments);
}
