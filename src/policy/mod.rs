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

pub use alt_name::AltName;
pub use alt_name::AltNameKind;
pub use decision::Permit;
pub use decision::Policy;
pub use decision::PolicyMode;
pub use denial::Denial;
pub use denial::DenialReason;
pub use file::PolicyFile;
pub use rule::Rule;
pub use rule::SameScope;
pub(crate) use rule::guid_of;

#[cfg(test)]
mod spellings;
#[cfg(test)]
mod tests;
