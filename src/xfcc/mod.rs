//! Who calls, as fields of HTTP.
//!
//! [`identity_fields`] writes what a certificate says for the app, in the forms that others write and read; [`caller_fields`] writes the
//! identity in words of our own. [`parse`] reads X-Forwarded-Client-Cert of a proxy whose word counts. [`is_identity_name`] tells which
//! names of fields speak of identities, so that nobody else sets them, and [`is_origin_name`] which speak of where a request comes from.
//!
//! # What is written so that it reads in one way
//!
//! Envoy's form is pairs `Key=value`, parted by `;`, and elements of them, parted by `,`. Envoy itself writes names as they stand in the
//! certificate: one with a `;` in it begins a key. Here every value is in quotes, and in them there is no backslash that two readers
//! take differently:
//!
//! - `\"` is a quote within a URI or DNS name.
//! - A name with a backslash or a control byte is left out, and counted: some readers take `\\"` for a quote, others for the end.
//! - In the subject a backslash is Envoy's own, in front of two digits: `\C3\B6`.
//!
//! The reader keeps to the same: what is refused as ambiguous is never guessed.
//!
//! Pure: no socket, no clock.

use strum::{EnumString, IntoStaticStr, VariantArray};

mod error;
mod names;
mod pairs;
mod parse;
#[cfg(test)]
mod tests;
mod write;

pub use error::XfccError;
pub use names::{is_exact_spelling, is_identity_name, is_origin_name};
pub use parse::{ForwardedIdentity, parse};
pub use write::{XfccFields, caller_fields, identity_fields};

/// The longest value that is looked at.
const MAX_VALUE: usize = 16 * 1024;

/// In which form the app is told what the client's certificate says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, VariantArray, IntoStaticStr, EnumString)]
#[strum(serialize_all = "lowercase")]
pub enum XfccForm {
    /// X-Forwarded-Client-Cert with the certificate in base64, as gorouter writes it.
    Raw,
    /// X-Forwarded-Client-Cert with Envoy's pairs.
    Envoy,
    /// Client-Cert and Client-Cert-Chain (RFC 9440).
    Rfc9440,
}

/// What is told in Envoy's form, in the order in which it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, VariantArray, IntoStaticStr, EnumString)]
#[strum(serialize_all = "lowercase")]
pub enum XfccDetail {
    /// The URIs of our own certificate.
    By,
    /// SHA-256 of the client's certificate.
    Hash,
    /// The client's certificate.
    Cert,
    /// All certificates that the client has shown, its own first.
    Chain,
    /// The subject.
    Subject,
    /// The URIs among the alternative names.
    Uri,
    /// The DNS names among them.
    Dns,
}

impl XfccForm {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl XfccDetail {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The key in Envoy's spelling. It is read in any case.
    pub fn key(self) -> &'static str {
        match self {
            Self::By => "By",
            Self::Hash => "Hash",
            Self::Cert => "Cert",
            Self::Chain => "Chain",
            Self::Subject => "Subject",
            Self::Uri => "URI",
            Self::Dns => "DNS",
        }
    }
}

/// Two forms that would be the same field, which is written once.
pub fn conflict(forms: &[XfccForm]) -> Option<(XfccForm, XfccForm)> {
    let both = [XfccForm::Raw, XfccForm::Envoy];
    both.iter().all(|form| forms.contains(form)).then_some((both[0], both[1]))
}
