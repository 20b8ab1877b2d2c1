//! What was typed, before anybody asks what it means.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use super::options::{Arity, Opt, Table};
use super::values::unquoted;
use crate::diagnostics::Source;
use crate::policy::route_file::LocatedRoute;

/// One value as it was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawValue {
    /// Where it was given.
    pub place: Source,
    /// What. A path may be any bytes; all else is text.
    pub value: OsString,
}

/// Values by the name of their option.
pub(super) type ByName = BTreeMap<&'static str, Vec<RawValue>>;

/// One table of the file.
#[derive(Debug, Clone)]
pub(super) struct TomlTable {
    pub(super) table: Table,
    pub(super) place: Source,
    pub(super) given: ByName,
    /// `[[listener.route]]`
    pub(super) routes: Vec<LocatedRoute>,
}

/// The values in one piece of text, which names several where the option takes several. One with quotes around it stays
/// whole, so that they are named as what is wrong with it.
pub(super) fn split(option: &Opt, place: Source, value: &OsStr) -> Vec<RawValue> {
    match (option.arity, value.to_str()) {
        (Arity::Many, Some(text)) if unquoted(value).is_ok() => {
            text.split(',').map(|part| RawValue { place: place.clone(), value: part.trim().into() }).collect()
        }
        _ => vec![RawValue { place, value: value.to_owned() }],
    }
}
