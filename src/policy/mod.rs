//! Who may come in.
//!
//! A [`Policy`] is asked about a [`Client`](crate::identity::Client) and answers with a [`Permit`] or a [`Denial`], each
//! naming the [`Rule`] that decided. Deny beats allow; no rule matched means no; whatever is doubtful means no.
//! Where there are [`Routes`] it is asked about each request as well, and answers with a [`RequestPermit`] or a [`RequestDenial`].
//!
//! Pure: no socket, no clock. The same code answers the handshake, `policy test` and audit mode.

mod alt_name;
mod decision;
mod denial;
mod doubtful_name;
mod file;
mod path_handling;
mod pattern;
mod request;
mod route;
pub(crate) mod route_file;
mod rule;
pub(crate) mod rule_file;

pub use alt_name::{AltName, AltNameKind};
pub use decision::{Permit, Policy, PolicyMode};
pub use denial::{Denial, DenialReason};
pub use file::PolicyFile;
pub use path_handling::{AmbiguousPaths, ChangedPaths, PathHandling};
pub use request::{RequestDenial, RequestPermit, RequestVerdict};
pub use route::{Route, RoutePath, Routes};
pub(crate) use route_file::parse_method;
pub(crate) use rule::guid_of;
pub use rule::{Rule, SameScope};

#[cfg(test)]
mod spellings;
#[cfg(test)]
mod tests;
