//! Whom we believe: the CAs that vouch for clients, what their CRLs have taken back, and who of them may come in.
//!
//! Nothing here knows of files that rotate, nor of a connection.

mod anchors;
mod chain;
mod client_auth;
mod crl;
mod forwarded_caller;
mod revocation;
mod server_auth;
mod server_denial;
mod signed;
mod token_chain;
mod verified_chains;

pub use anchors::{AnchorLabels, Ca, CrlIssuer, Text, TrustAnchors, TrustAnchorsError};
pub use client_auth::{ClientAuth, ClientAuthenticator, ClientPolicy, DeniedPeer};
pub use crl::{Crl, CrlError};
pub use forwarded_caller::{ForwardedCaller, ForwardedCallerError};
pub use server_auth::{AuthenticatedServer, NameCheck, OtherAnchors, ServerAuthenticator, ServerPolicy, who};
pub use server_denial::{ServerDenial, ServerDenialReason, ServerRemedies};
pub use signed::has_issued;
pub use token_chain::{TokenChain, TokenChainError};
