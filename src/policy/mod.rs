//! Who may come in.
//!
//! A [`Policy`] is asked about a [`Client`](crate::identity::Client) and answers with a [`Permit`] or a [`Denial`], each
//! naming the [`Rule`] that decided. Deny beats allow; no rule matched means no; whatever is doubtful means no.
//!
//! Pure: no socket, no clock. The same code answers the handshake, `policy test` and audit mode.

mod allowlist;
mod alt_name;
mod denial;
mod doubt;
mod file;
mod pattern;
mod rule;

pub use allowlist::Mode;
pub use allowlist::Permit;
pub use allowlist::Policy;
pub use alt_name::AltName;
pub use alt_name::AltNameKind;
pub use denial::Denial;
pub use denial::Reason;
pub use file::PolicyFile;
pub use rule::Kin;
pub use rule::Rule;
pub(crate) use rule::guid_of;

#[cfg(test)]
mod spellings;
#[cfg(test)]
mod tests;
