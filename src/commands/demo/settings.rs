//! What the parts of the demo have in common: the kind of their keys, and how they are configured.

use std::ffi::OsString;
use std::io;
use std::path::Path;

use crate::config::resolve::resolve;
use crate::config::sources::{Environment, Sources};
use crate::config::{Config, Log};
use crate::exit::{Exit, Fault};
use crate::issuer::{IssuerError, KeyKind};

/// A P-256 key is made in a fraction of a millisecond; Diego's RSA 3072 would keep a core busy at each rotation.
pub(super) const KEY: KeyKind = KeyKind::P256;

/// A stop that waits for long answers would only be a nuisance here.
const DRAIN: &str = "1s";

/// A configuration as if `add` had typed it. The environment is not asked: the demo is the same wherever it runs.
pub(super) fn resolved(log: &Log, add: impl FnOnce(&mut Vec<(&'static str, OsString)>)) -> Result<Config, Fault> {
    let no_file = |_: &Path| Err(io::ErrorKind::NotFound.into());
    let mut flags = vec![("drain-timeout", DRAIN.into())];
    add(&mut flags);
    let inputs =
        Sources { flags: &flags, environment: &Environment::new(), read_file: &no_file, starts_app: false, cpus: 1 };
    Ok(Config { log: log.clone(), ..resolve(&inputs)? })
}

/// The issuer has failed.
pub(super) fn issuing(error: IssuerError) -> Fault {
    Fault::new(Exit::Internal, error.to_string())
}
