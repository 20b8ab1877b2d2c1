//! Tokens: how the instance proves who it is to those whom it does not dial itself, and how that is checked.
//!
//! A token is a JSON Web Token (JWT, RFC 7519) that the instance's own key has signed, with the certificates that vouch for that key in it.
//! Pure: no socket, no clock, no runtime.

mod algorithm;
mod issue;
mod vault_cf;

pub use algorithm::Algorithm;
pub use issue::{ChainPart, Claim, IssueError, IssuedToken, TokenForm, TokenRequest, issue};
pub use vault_cf::{VaultCfError, vault_cf_login};

#[cfg(test)]
mod tests;
