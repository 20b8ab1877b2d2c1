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

/// A file that was written more recently than this may still be in the hands of its writer.
const FRESH: Duration = Duration::from_millis(100);

/// Between two readings.
const READ_AGAIN: Duration = Duration::from_millis(20);

/// A file as it was read.
struct Reading {
    text: String,
    /// Whether it was written just now, or at a time that has not come yet.
    fresh: bool,
}

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
        Mode::Validate => Bootstrap::parse(&path, &read(&path)?.text)?,
    };
    warnings.append(&mut bootstrap.notes);
    bootstrap.redirect(|name| secrets.of(name).map(Path::to_owned));
    if mode == Mode::Validate {
        let warnings: String = warnings.iter().map(|warning| format!("warning: {warning}\n")).collect();
        super::print(&format!("{warnings}configuration '{}' OK\n", path.display()))?;
        return Ok(Exit::Success);
    }
    let beside = Beside { drain, log_level, cpus: sys::limits::cpus() };
    serve::serve(bootstrap.into_config(path, beside), None, &warnings)
}

/// The bootstrap, once it is whole.
///
/// A text that ends where a line ends may well be read, with fewer listeners than were meant, or with one that asks no
/// client for a certificate. So what was written just now counts only if the next reading is the same. A file that has
/// been left alone for a while is read once: the listeners are awaited.
fn read_when_whole(path: &Path) -> Result<Bootstrap, Fault> {
    let deadline = Instant::now() + PATIENCE;
    let mut before = None;
    loop {
        let fault = match read(path) {
            Ok(Reading { text, fresh }) => {
                let parsed = Bootstrap::parse(path, &text);
                let stands_still = !fresh || before.as_ref() == Some(&text);
                before = Some(text);
                match parsed {
                    Ok(bootstrap) if stands_still => return Ok(bootstrap),
                    Ok(_) => Fault::new(Exit::Config, format!("{}: does not stand still", path.display())),
                    Err(mistakes) => mistakes.into(),
                }
            }
            Err(fault) => fault,
        };
        if Instant::now() >= deadline {
            return Err(fault);
        }
        thread::sleep(READ_AGAIN);
    }
}

fn read(path: &Path) -> Result<Reading, Fault> {
    let wrong = |error: io::Error| {
        let text = format!("{}: cannot be read: {error}; name the bootstrap by -c", path.display());
        Fault::new(Exit::Config, text)
    };
    let mut text = String::new();
    let mut file = fs::File::open(path).map_err(wrong)?;
    // One byte more than is allowed, for the reader to refuse.
    (&mut file).take(Bootstrap::LARGEST as u64 + 1).read_to_string(&mut text).map_err(wrong)?;
    // Asked after the reading, so that a writer who came in between is noticed.
    let written = file.metadata().and_then(|metadata| metadata.modified()).map_err(wrong)?;
    let fresh = written.elapsed().map_or(true, |age| age < FRESH);
    Ok(Reading { text, fresh })
}
