//! Tokens: how the instance proves who it is to those whom it does not dial itself, and how that is checked.
//!
//! A token is a JSON Web Token (JWT, RFC 7519) that the instance's own key has signed, with the certificates that vouch for that key in it.
//! Pure: no socket, no clock, no runtime; of files only that of roles is read here.

mod algorithm;
mod compact;
mod identity_claims;
mod issue;
mod issue_error;
mod replay;
mod roles;
mod roles_file;
pub mod strict_json;
mod vault_cf;
mod verify;

pub use algorithm::Algorithm;
pub use identity_claims::identity_claims;
pub use issue::{ChainPart, Claim, IssuedToken, TokenForm, TokenRequest, issue};
pub use issue_error::{IssueError, TokenParts};
pub use replay::{ReplayCache, ReplayError};
pub use roles::{Grant, RoleDenial, Roles};
pub use roles_file::{RolesFile, RolesFileError, RolesUpdate};
pub use vault_cf::{VaultCfError, vault_cf_login};
pub use verify::{
    CallerCertificate, RequiredIdentity, TokenDenial, TokenDenialReason, TokenQuestion, TokenVerdict, VerdictIdentity,
    VerifiedForm, VerifiedToken, Verifier,
};

/// In bytes; what is longer is no token.
pub const LONGEST_TOKEN: usize = compact::LONGEST;

#[cfg(test)]
mod tests;
