//! Why nobody is believed to call.

use super::MAX_VALUE;
use crate::identity::{IdentityError, IdentityField, MalformedName};

/// Why nobody is believed to call. Nothing of the value is repeated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum XfccError {
    /// Several fields, or none.
    #[error("X-Forwarded-Client-Cert has {0} lines, of which there must be one")]
    Lines(usize),
    /// Longer than anything that is written.
    #[error("X-Forwarded-Client-Cert is longer than {MAX_VALUE} bytes")]
    TooLong,
    /// Control characters, tabs, or bytes beyond ASCII.
    #[error("X-Forwarded-Client-Cert has a byte that is not printable ASCII")]
    NotPrintable,
    /// Base64 of something else.
    #[error("X-Forwarded-Client-Cert is no single certificate in base64")]
    NotACertificate,
    /// A certificate in base64 that does not end there: whoever takes all of a PEM file has its chain too.
    #[error(
        "X-Forwarded-Client-Cert has more than one certificate, or something else behind the first; have the client's own alone in it"
    )]
    BehindCertificate,
    /// Something that is no `key=value`.
    #[error("X-Forwarded-Client-Cert is neither base64 nor pairs of Key=value, parted by ;")]
    NoPair,
    /// More than one client is named, or one for each proxy on the way.
    #[error("X-Forwarded-Client-Cert has several elements; have the proxy in front set the field and not append to it")]
    SeveralElements,
    /// Too much to look at.
    #[error("X-Forwarded-Client-Cert has too many pairs")]
    TooManyPairs,
    /// Nobody knows what it means.
    #[error("X-Forwarded-Client-Cert has an unknown key")]
    UnknownKey,
    /// It stands there twice, and may not.
    #[error("X-Forwarded-Client-Cert has {0} more than once")]
    Repeated(&'static str),
    /// A value with marks in it that are not known to be part of it.
    #[error("X-Forwarded-Client-Cert has marks in {0} that are not in quotes; they may be part of a name or end it")]
    NotQuoted(&'static str),
    /// What is written in front of all names.
    #[error("X-Forwarded-Client-Cert has {0} behind a name that is not in quotes, and of which it may be a part")]
    BehindName(&'static str),
    /// A quote that is never closed.
    #[error("X-Forwarded-Client-Cert has a quote in {0} that is not closed")]
    NotClosed(&'static str),
    /// Text behind a closing quote.
    #[error("X-Forwarded-Client-Cert has something between {0} and the next key")]
    NotSeparated(&'static str),
    /// Readers differ on what the backslash means.
    #[error("X-Forwarded-Client-Cert has a backslash in {0} that can be read in two ways")]
    Ambiguous(&'static str),
    /// No SHA-256.
    #[error("X-Forwarded-Client-Cert has a Hash that is not 64 hexadecimal digits")]
    Hash,
    /// Not encoded as Envoy does.
    #[error("X-Forwarded-Client-Cert has a {0} that is not percent-encoded PEM of certificates alone")]
    NotPem(&'static str),
    /// The subject cannot be read.
    #[error("X-Forwarded-Client-Cert has a Subject with {0}")]
    Subject(MalformedName),
    /// The subject claims an identity of Cloud Foundry's that is not sound.
    #[error("X-Forwarded-Client-Cert has a Subject that is not sound: {0}")]
    Unsound(IdentityError),
    /// The subject claims one part of a Cloud Foundry identity twice, if only in the same words.
    #[error("X-Forwarded-Client-Cert has a Subject that names {0} more than once")]
    RepeatedField(IdentityField),
    /// The certificate says something else.
    #[error("X-Forwarded-Client-Cert has a {0} that does not belong to the certificate beside it")]
    Disagrees(&'static str),
    /// Nothing that a rule could judge.
    #[error("X-Forwarded-Client-Cert has neither Cert nor Subject; have the proxy write one of them")]
    NothingNamed,
}

impl XfccError {
    /// The word for it in an answer, the access log and metrics: whatever is wrong, the same.
    pub fn reason(&self) -> &'static str {
        "xfcc_invalid"
    }
}
