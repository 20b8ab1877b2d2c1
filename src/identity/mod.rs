//! What a certificate says about its holder.
//!
//! A Cloud Foundry certificate names its holder in the subject: `OU=organization:GUID`, `OU=space:GUID`,
//! `OU=app:GUID`, and the instance in `CN`. Only the subject of the leaf is read here, and nothing else in a
//! certificate can add to it. An identity is complete and sound, or there is none: anything doubtful is an
//! [`IdentityError`] with its reason. A subject that somebody else has written out as text ([`DistinguishedName`]) is judged by the same code.
//!
//! Pure: no socket, no clock. [`certificate`] is the only file that parses X.509.

mod attribute;
pub mod certificate;
mod client;
pub mod critical;
mod distinguished_name;
mod guid;

pub use certificate::{AltNames, Certificate, CertificateError, KeyUsageBit, PublicKeyKind, Role};
pub use client::{ClaimedNames, Client, PeerCertificate, UnverifiedCertificate};
pub use distinguished_name::{DistinguishedName, MalformedName};
pub(crate) use distinguished_name::{byte_from_hex, name_text};
pub use guid::{AppInstanceId, Guid, MalformedGuid, MalformedInstanceId};

use std::fmt;

use strum::IntoStaticStr;

use attribute::{Attribute, AttributeKind};

/// What a Cloud Foundry certificate says. At least one of the three GUIDs is there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// `OU=organization:GUID`
    pub organization: Option<Guid>,
    /// `OU=space:GUID`
    pub space: Option<Guid>,
    /// `OU=app:GUID`
    pub app: Option<Guid>,
    /// `CN`; absent in the pair that announces a retirement.
    pub instance: Option<AppInstanceId>,
}

/// Where in the subject something was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IdentityField {
    /// `OU=organization:`
    Organization,
    /// `OU=space:`
    Space,
    /// `OU=app:`
    App,
    /// `CN`
    Instance,
}

/// Why a certificate that claims to be Cloud Foundry's has no identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum IdentityError {
    /// The bytes are not a certificate.
    #[error(transparent)]
    Unreadable(#[from] CertificateError),
    /// Nothing after the prefix, or an empty CN.
    #[error("{0} is empty in the subject")]
    Empty(IdentityField),
    /// Not a GUID in its usual form; for the instance, characters or a length that no instance id has.
    #[error("{0} is malformed in the subject")]
    Malformed(IdentityField),
    /// Blanks, control characters, NUL bytes, other letters or capitals in or before the prefix.
    #[error("{0} is disguised in the subject: its prefix is not written plainly")]
    Disguised(IdentityField),
    /// Neither PrintableString nor UTF8String.
    #[error("{0} has a string type in the subject that is neither PrintableString nor UTF8String")]
    StringType(IdentityField),
    /// Two values that differ.
    #[error("{0} occurs twice in the subject with different values")]
    Ambiguous(IdentityField),
}

impl Identity {
    /// Reads the subject of `leaf` (DER, without the rest of its chain).
    ///
    /// `Ok(None)` means that the certificate is not Cloud Foundry's: its subject has none of the three OUs.
    ///
    /// # Errors
    /// The bytes are not a certificate, or the subject is not sound; see [`IdentityError`].
    pub fn from_der(leaf: &[u8]) -> Result<Option<Self>, IdentityError> {
        Certificate::from_der(leaf)?.identity()
    }

    /// Reads the attributes of a subject, in any order.
    fn from_attributes(attributes: &[Attribute<'_>]) -> Result<Option<Self>, IdentityError> {
        let organization = read_unit(attributes, IdentityField::Organization)?;
        let space = read_unit(attributes, IdentityField::Space)?;
        let app = read_unit(attributes, IdentityField::App)?;
        if organization.is_none() && space.is_none() && app.is_none() {
            return Ok(None);
        }
        let mut instance = None;
        for attribute in attributes.iter().filter(|a| a.kind == AttributeKind::CommonName) {
            settle(&mut instance, read_instance(*attribute)?, IdentityField::Instance)?;
        }
        Ok(Some(Self { organization, space, app, instance }))
    }
}

impl IdentityField {
    /// How the OU begins; empty for the instance, which is not written in an OU.
    fn prefix(self) -> &'static str {
        match self {
            Self::Organization => "organization:",
            Self::Space => "space:",
            Self::App => "app:",
            Self::Instance => "",
        }
    }
}

impl fmt::Display for IdentityField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Organization => "the organization",
            Self::Space => "the space",
            Self::App => "the app",
            Self::Instance => "the instance",
        })
    }
}

impl IdentityError {
    /// One word out of a closed set, for logs and metrics.
    pub fn reason(&self) -> &'static str {
        self.into()
    }
}

/// The GUID of the OUs that are, or look like, those of `field`; `None` if there are none.
fn read_unit(attributes: &[Attribute<'_>], field: IdentityField) -> Result<Option<Guid>, IdentityError> {
    let mut unit = None;
    let units = attributes.iter().filter(|a| a.kind == AttributeKind::OrganizationalUnit);
    for attribute in units.filter(|a| resembles(a.value, field)) {
        if !attribute.plain {
            return Err(IdentityError::StringType(field));
        }
        let Some(guid) = attribute.value.strip_prefix(field.prefix().as_bytes()) else {
            return Err(IdentityError::Disguised(field));
        };
        if guid.is_empty() {
            return Err(IdentityError::Empty(field));
        }
        let guid = Guid::parse(guid).map_err(|MalformedGuid| IdentityError::Malformed(field))?;
        settle(&mut unit, guid, field)?;
    }
    Ok(unit)
}

/// How many of the attributes are those of `field`, equal ones counted too.
fn occurrences<'a>(attributes: impl Iterator<Item = Attribute<'a>>, field: IdentityField) -> usize {
    let kind = match field {
        IdentityField::Instance => AttributeKind::CommonName,
        IdentityField::Organization | IdentityField::Space | IdentityField::App => AttributeKind::OrganizationalUnit,
    };
    attributes.filter(|a| a.kind == kind && a.value.starts_with(field.prefix().as_bytes())).count()
}

/// Whether an OU looks like `field`'s to a careless reader: one who overlooks blanks, NUL bytes and letters that are
/// not ASCII, and does not tell capitals from small letters.
fn resembles(value: &[u8], field: IdentityField) -> bool {
    let seen = value.iter().filter(|b| b.is_ascii_graphic()).map(u8::to_ascii_lowercase);
    let prefix = field.prefix().bytes();
    seen.take(prefix.len()).eq(prefix)
}

fn read_instance(attribute: Attribute<'_>) -> Result<AppInstanceId, IdentityError> {
    if !attribute.plain {
        return Err(IdentityError::StringType(IdentityField::Instance));
    }
    if attribute.value.is_empty() {
        return Err(IdentityError::Empty(IdentityField::Instance));
    }
    AppInstanceId::parse(attribute.value)
        .map_err(|MalformedInstanceId| IdentityError::Malformed(IdentityField::Instance))
}

/// Fills `slot`, unless something else is in it already.
fn settle<T: PartialEq>(slot: &mut Option<T>, value: T, field: IdentityField) -> Result<(), IdentityError> {
    match slot {
        Some(earlier) if *earlier != value => Err(IdentityError::Ambiguous(field)),
        _ => {
            *slot = Some(value);
            Ok(())
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
