//! Who may come in.
//!
//! A [`Policy`] is asked about a [`Client`](crate::identity::Client) and answers with a [`Permit`] or a [`Denial`], each
//! naming the [`Rule`] that decided. Deny beats allow; no rule matched means no; whatever is doubtful means no.
//!
//! Pure: no socket, no clock. The same code answers the handshake, `policy test` and audit mode.

mod alt_name;
mod decision;
mod denial;
mod doubt;
mod file;
mod pattern;
mod rule;
pub(crate) mod rule_file;

pub use alt_name::{AltName, AltNameKind};
pub use decision::{Permit, Policy, PolicyMode};
pub use denial::{Denial, DenialReason};
pub use file::PolicyFile;
pub(crate) use rule::guid_of;
pub use rule::{Rule, SameScope};

#[cfg(test)]
mod spellings;
#[cfg(test)]
mod tests;
