//! `vestibule envoy`: what Diego starts in a container, from the files that it writes for Envoy.

use std::fs;
use std::io;
use std::io::Read;
use std::path::Path;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use super::serve;
use crate::cli::envoy::EnvoyArgs;
use crate::cli::envoy::EnvoyCommand;
use crate::cli::envoy::Mode;
use crate::cli::envoy::USAGE;
use crate::config::envoy::Beside;
use crate::config::envoy::Bootstrap;
use crate::exit::Exit;
use crate::exit::Fault;
use crate::sys;

/// Diego rewrites the bootstrap in place, and whoever reads it in that moment sees a part of it. It means the same each
/// time, so it is read until it is whole, for this long.
const PATIENCE: Duration = Duration::from_secs(1);

/// Between two readings.
const READ_AGAIN: Duration = Duration::from_millis(20);

/// Does what Envoy would be asked to do.
///
/// # Errors
/// [`Fault`] with the status to end with. After a good start there is none but the kernel's.
pub(super) fn run(command: EnvoyCommand) -> Result<Exit, Fault> {
    let args = match command {
        EnvoyCommand::Version => {
            super::print(&format!("vestibule {} in the place of Envoy\n", env!("CARGO_PKG_VERSION")))?;
            return Ok(Exit::Success);
        }
        EnvoyCommand::Help => {
            super::print(&format!("{USAGE}\n"))?;
            return Ok(Exit::Success);
        }
        EnvoyCommand::Serve(args) => args,
    };
    let EnvoyArgs { config: path, drain, log_level, mode, secrets, mut warnings } = args;
    let mut bootstrap = match mode {
        Mode::Serve => read_when_whole(&path)?,
        Mode::Validate => read(&path)?,
    };
    warnings.append(&mut bootstrap.notes);
    bootstrap.redirect(|name| secrets.of(name).map(Path::to_owned));
    if mode == Mode::Validate {
        let warnings: String = warnings.iter().map(|warning| format!("warning: {warning}\n")).collect();
        super::print(&format!("{warnings}configuration '{}' OK\n", path.display()))?;
        return Ok(Exit::Success);
    }
    let beside = Beside { drain, log_level, cpus: sys::limits::cpus() };
    serve::serve(bootstrap.into_config(beside), None, &warnings)
}

fn read_when_whole(path: &Path) -> Result<Bootstrap, Fault> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match read(path) {
            Err(_) if Instant::now() < deadline => thread::sleep(READ_AGAIN),
            read => return read,
        }
    }
}

fn read(path: &Path) -> Result<Bootstrap, Fault> {
    let wrong = |error: io::Error| {
        let text = format!("{}: cannot be read: {error}; name the bootstrap by -c", path.display());
        Fault::new(Exit::Config, text)
    };
    let mut text = String::new();
    // One byte more than is allowed, for the reader to refuse.
    let file = fs::File::open(path).map_err(wrong)?;
    file.take(Bootstrap::LARGEST as u64 + 1).read_to_string(&mut text).map_err(wrong)?;
    Ok(Bootstrap::parse(path, &text)?)
}
