//! The product's binary: built, or named by whoever asks.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::args::ProductArgs;

/// The folder of this crate.
pub(crate) const HERE: &str = env!("CARGO_MANIFEST_DIR");

/// What a build is linked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Linked {
    /// All that it needs: as it is shipped.
    Static,
    /// The C library of this machine, which is all that valgrind understands.
    Dynamic,
}

/// The binary to measure; unless one is named, it is built.
///
/// # Errors
/// The build fails, or there is no such file.
pub(crate) fn binary(args: &ProductArgs, linked: Linked) -> Result<PathBuf> {
    let path = match &args.binary {
        Some(path) => path.clone(),
        None => build(linked)?,
    };
    path.canonicalize().with_context(|| format!("there is no binary {}", path.display()))
}

fn build(linked: Linked) -> Result<PathBuf> {
    let root = root();
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--release", "--locked", "--quiet", "--bin", "vestibule"]).current_dir(root);
    let mut folder = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    if linked == Linked::Static {
        let musl = format!("{}-unknown-linux-musl", env::consts::ARCH);
        if can_build_for(&musl) {
            cargo.args(["--target", &musl]);
            folder.push(musl);
        } else {
            eprintln!(
                "the static build needs musl-tools and `rustup target add {musl}`: what is measured instead is linked with this machine's C library"
            );
        }
    }
    eprintln!("building vestibule ...");
    let built = cargo.status().context("cannot start cargo")?;
    ensure!(built.success(), "the build of vestibule failed ({built})");
    Ok(root.join(folder).join("release/vestibule"))
}

/// Whether Rust's and C's libraries for `musl` are there.
fn can_build_for(musl: &str) -> bool {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let libraries = Command::new(rustc).args(["--print", "target-libdir", "--target", musl]).output();
    let has_rust = libraries.is_ok_and(|out| Path::new(String::from_utf8_lossy(&out.stdout).trim()).is_dir());
    has_rust && Command::new("musl-gcc").arg("--version").output().is_ok_and(|out| out.status.success())
}

/// The folder of the product: this crate is kept in a folder of it.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(HERE);
    here.parent().unwrap_or(here)
}
