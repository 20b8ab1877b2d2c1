//! Why a client may not come in.

use std::fmt;
use std::sync::Arc;

use strum::{EnumCount, IntoStaticStr, VariantArray};

use super::Rule;
use super::doubtful_name::DoubtfulName;
use crate::identity::{CertificateError, IdentityError};

/// Why a client may not come in. A closed set: dashboards are built on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EnumCount, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum DenialReason {
    /// No certificate was given.
    NoCertificate,
    /// None of the trust anchors vouches for the certificate.
    Untrusted,
    /// It, or a CA's above it, is past its last second.
    Expired,
    /// It, or a CA's above it, is before its first second.
    NotYetValid,
    /// A CRL names it, or a CA's above it.
    Revoked,
    /// Its extended key usage does not include clientAuth, or its key usage does not include digitalSignature.
    WrongPurpose,
    /// It is no certificate that can be read.
    Malformed,
    /// It, or a CA's above it, is of a kind that is not supported: its version, its signature, a critical extension, its
    /// key.
    Unsupported,
    /// A CA above it does not allow it: by its name constraints, its path length or its key usage; or the client's is a CA's itself.
    ConstraintViolated,
    /// More certificates came with it, or more ways lead through them, than are looked at for somebody unknown.
    ChainTooLong,
    /// It claims to be Cloud Foundry's, and is not sound.
    IdentityInvalid,
    /// A deny rule speaks of names of this kind, and it has one that is not written plainly: it might be the name that
    /// is denied.
    NameDoubtful,
    /// No rule admits it.
    NotAllowed,
    /// A rule denies it.
    DeniedByRule,
}

impl DenialReason {
    /// The name in the access log, metrics and JSON.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Whether the trust anchors have vouched for the certificate, and the policy has decided.
    pub fn is_the_policys(self) -> bool {
        matches!(self, Self::IdentityInvalid | Self::NameDoubtful | Self::NotAllowed | Self::DeniedByRule)
    }

    /// What an operator reads.
    fn sentence(self) -> &'static str {
        match self {
            Self::NoCertificate => "the client gave no certificate",
            Self::Untrusted => "no client CA vouches for the certificate",
            Self::Expired => "the certificate, or a CA's above it, has expired",
            Self::NotYetValid => "the certificate, or a CA's above it, is not valid yet",
            Self::Revoked => "a CRL names the certificate, or a CA's above it",
            Self::WrongPurpose => "the certificate is not for clients",
            Self::Malformed => "the certificate cannot be read",
            Self::Unsupported => "the certificate, or a CA's above it, is of a kind that is not supported",
            Self::ConstraintViolated => "the certificate is not allowed by the limits of a CA above it",
            Self::ChainTooLong => "the chain of certificates is too long",
            Self::IdentityInvalid => "the certificate claims to be Cloud Foundry's and is not sound",
            Self::NameDoubtful => "a name that is not written plainly might be one that a rule denies",
            Self::NotAllowed => "no rule admits the client",
            Self::DeniedByRule => "a rule denies the client",
        }
    }
}

impl fmt::Display for DenialReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A client may not come in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Denial {
    reason: DenialReason,
    rule: Option<Rule>,
    /// More about it, on one line.
    detail: Option<Arc<str>>,
}

impl Denial {
    /// A denial that no rule was needed for, and what is wrong.
    pub(crate) fn because(reason: DenialReason, detail: impl Into<Arc<str>>) -> Self {
        Self { reason, rule: None, detail: Some(detail.into()) }
    }

    /// A client on whom a rule was found that denies it.
    pub(super) fn denied_by(rule: &Rule) -> Self {
        Self { reason: DenialReason::DeniedByRule, rule: Some(rule.clone()), detail: None }
    }

    /// A client of whom it cannot be said that the rule does not mean it.
    pub(super) fn doubtful(rule: &Rule, doubt: &DoubtfulName<'_>) -> Self {
        Self { reason: DenialReason::NameDoubtful, rule: Some(rule.clone()), detail: Some(doubt.to_string().into()) }
    }

    /// The reason, from the closed set.
    pub fn reason(&self) -> DenialReason {
        self.reason
    }

    /// What is wrong, beside the reason; `None` if that says all.
    pub fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }

    /// The rule that decided; `None` if none did.
    pub fn rule(&self) -> Option<&Rule> {
        self.rule.as_ref()
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason.sentence())?;
        if let Some(rule) = &self.rule {
            write!(f, ": {rule}")?;
        }
        if let Some(detail) = &self.detail {
            write!(f, ": {detail}")?;
        }
        Ok(())
    }
}

/// A denial that no rule was needed for.
impl From<DenialReason> for Denial {
    fn from(reason: DenialReason) -> Self {
        Self { reason, rule: None, detail: None }
    }
}

impl From<IdentityError> for Denial {
    fn from(cause: IdentityError) -> Self {
        Self::because(DenialReason::IdentityInvalid, cause.to_string())
    }
}

/// A certificate that cannot be read says nothing of its holder.
impl From<CertificateError> for Denial {
    fn from(error: CertificateError) -> Self {
        Self::because(DenialReason::Malformed, error.to_string())
    }
}
