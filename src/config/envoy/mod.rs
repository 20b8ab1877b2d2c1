//! The two documents that Diego writes for Envoy, and what they mean.
//!
//! A document is a tree of `yaml` values. It is first held against the `fields` that are known of each message:
//! what would change behaviour and is not supported is refused with its path. Then what is left is read. The manual's
//! table of fields is made from the same description.
//!
//! Of a field that is not known at all:
//!
//! | its value | where connections are described (`static_resources`, secrets) | elsewhere (`admin`, `node`, the top level) |
//! |---|---|---|
//! | a default: null, false, zero, empty | ignored | ignored |
//! | a word of an enumeration, `LIKE_THIS` | ignored with a line in the log | ignored with a line in the log |
//! | anything else | refused | ignored with a line in the log |
//!
//! Diego's writer spells out every default, so a newer Diego names fields that nobody uses: these must never stop an
//! app. It spells out enumerations too, and the default of one that is not known cannot be told. (Envoy refuses every
//! field that it does not know, whatever its value.)

mod bootstrap;
mod config;
mod fields;
mod reader;
mod schema;
pub mod sds;
mod suite;
mod yaml;

pub use bootstrap::{Bootstrap, EnvoyListener};
pub use config::{EnvoyCompat, Overrides};
pub use schema::ManualRow;

/// The fields of `envoy.yaml`, and what becomes of each.
pub fn bootstrap_fields() -> Vec<ManualRow> {
    fields::BOOTSTRAP.rows()
}

/// The fields of the files that hold secrets, and what becomes of each.
pub fn secret_fields() -> Vec<ManualRow> {
    sds::RESPONSE.rows()
}
