//! Secrets: resolved before the app starts, by the instance's own identity.
//!
//! ```text
//! environment → Plan (what it refers to) → SecretStores (whom to ask) → resolve (all of it, or nothing) → the app's environment
//! ```
//! What the app's variables and service bindings refer to is fetched and given to the app alone: no value comes into our own environment, a
//! log line or a message.

mod bindings;
mod credhub;
mod environment;
mod fetch;
mod files;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod json;
mod plan;
mod reference;
mod resolve;
mod resolved;
mod rotation;
mod source;
mod sources;
mod variable;
pub mod vault;
mod vcap;

pub use crate::secret::SecretValue;
pub use files::{FolderError, SecretsFolder};
pub use plan::{AppEnvironment, Plan};
pub use reference::{Reference, ReferenceLocation, SecretTemplate, TemplatePart};
pub use resolve::{probe, resolve};
pub use resolved::{LeasedFile, LeasedSecret, Resolved, ResolvedName};
pub use source::{FetchFuture, LastError, Request, SecretLease, SecretPart, SecretResponse, SecretStore, SourceError};
pub use sources::SecretStores;
