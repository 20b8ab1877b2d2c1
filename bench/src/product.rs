//! The product's binary: built, or named by whoever asks.

use std::env;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

use crate::args::ProductArgs;

/// The folder of this crate.
pub(crate) const HERE: &str = env!("CARGO_MANIFEST_DIR");

/// The binary to measure; unless one is named, it is built as it is shipped.
///
/// # Errors
/// The build fails, or there is no such file.
pub(crate) fn binary(args: &ProductArgs) -> Result<PathBuf> {
    let path = match &args.binary {
        Some(path) => path.clone(),
        None => build()?,
    };
    path.canonicalize().with_context(|| format!("there is no binary {}", path.display()))
}

fn build() -> Result<PathBuf> {
    let root = root();
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    eprintln!("building vestibule ...");
    let built = Command::new(cargo)
        .args(["build", "--release", "--locked", "--quiet", "--bin", "vestibule"])
        .current_dir(root)
        .status()
        .context("cannot start cargo")?;
    ensure!(built.success(), "the build of vestibule failed ({built})");
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    Ok(root.join(target).join("release/vestibule"))
}

/// The folder of the product: this crate is kept in a folder of it.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(HERE);
    here.parent().unwrap_or(here)
}
