//! `vestibule envoy`: what Diego starts in a container, from the files that it writes for Envoy.

use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};
use std::{io, thread};

use super::serve;
use crate::cli::envoy::{EnvoyArgs, EnvoyCommand, EnvoyMode, USAGE};
use crate::config::envoy::{Bootstrap, Overrides};
use crate::exit::{Exit, Fault};
use crate::sandbox::EarlyThread;
use crate::sys;

/// Diego rewrites the bootstrap in place, and whoever reads it in that moment sees a part of it. It means the same each
/// time, so it is read until it is whole, for this long.
const STANDSTILL_TIMEOUT: Duration = Duration::from_secs(1);

/// A file that was written more recently than this may still be in the hands of its writer.
const FRESH: Duration = Duration::from_millis(100);

/// Between two readings.
const READ_AGAIN: Duration = Duration::from_millis(20);

/// A file as it was read.
struct BootstrapText {
    text: String,
    /// Whether it was written just now, or at a time that has not come yet.
    fresh: bool,
}

/// Does what Envoy would be asked to do.
///
/// # Errors
/// [`Fault`] with the status to end with. After a good start there is none but the kernel's.
#[inline(never)]
pub(super) fn run(command: EnvoyCommand, early: Option<EarlyThread>) -> Result<Exit, Fault> {
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
    let EnvoyArgs { config: path, drain, log_level, mode, sandbox, secrets, mut warnings } = args;
    let mut bootstrap = match mode {
        EnvoyMode::Serve => read_when_whole(&path, || read(&path))?,
        EnvoyMode::Validate => Bootstrap::parse(&path, &read(&path)?.text)?,
    };
    warnings.append(&mut bootstrap.notes);
    bootstrap.redirect(|name| secrets.of(name).map(Path::to_owned));
    if mode == EnvoyMode::Validate {
        let warnings: String = warnings.iter().map(|warning| format!("warning: {warning}\n")).collect();
        super::print(&format!("{warnings}configuration '{}' OK\n", path.display()))?;
        return Ok(Exit::Success);
    }
    let overrides = Overrides { drain, log_level, cpus: sys::limits::cpus_by_quota(), sandbox };
    Ok(serve::serve(bootstrap.into_config(path, overrides), None, &warnings, early))
}

/// The bootstrap, once it is whole.
///
/// A text that ends where a line ends may well be read, with fewer listeners than were meant, or with one that asks no
/// client for a certificate. So what was written just now counts only if the next reading is the same. A file that has
/// been left alone for a while is read once: the listeners are awaited.
fn read_when_whole(path: &Path, mut read: impl FnMut() -> Result<BootstrapText, Fault>) -> Result<Bootstrap, Fault> {
    let deadline = Instant::now() + STANDSTILL_TIMEOUT;
    let mut before = None;
    loop {
        let fault = match read() {
            Ok(BootstrapText { text, fresh }) => {
                let parsed = Bootstrap::parse(path, &text);
                let stands_still = !fresh || before.as_ref() == Some(&text);
                before = Some(text);
                match parsed {
                    Ok(bootstrap) if stands_still => return Ok(bootstrap),
                    Ok(_) => Fault::new(Exit::Config, format!("{}: does not stand still", path.display())),
                    Err(diagnostics) => diagnostics.into(),
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

fn read(path: &Path) -> Result<BootstrapText, Fault> {
    let wrong = |error: io::Error| {
        let text = format!("{}: cannot be read: {error}; name the bootstrap by -c", path.display());
        Fault::new(Exit::Config, text)
    };
    let mut text = String::new();
    let not_regular = || wrong(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    let mut file = sys::file::open_regular(path).map_err(wrong)?.ok_or_else(not_regular)?;
    // One byte more than is allowed, for the reader to refuse.
    (&mut file).take(Bootstrap::LARGEST as u64 + 1).read_to_string(&mut text).map_err(wrong)?;
    // Asked after the reading, so that a writer who came in between is noticed.
    let written = file.metadata().and_then(|metadata| metadata.modified()).map_err(wrong)?;
    // A time that has not come yet tells nothing.
    let fresh = written.elapsed().map_or(true, |age| age < FRESH);
    Ok(BootstrapText { text, fresh })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str =
        include_str!("../../tests/fixtures/diego/mtls-on_http2-on_ports-8080-9090/envoy_config/envoy.yaml");

    /// What is taken when the file reads like this, one text after the other, and how many readings that took.
    fn taken(readings: &[(&str, bool)]) -> (Result<Bootstrap, Fault>, usize) {
        let mut nth = 0;
        let read = || {
            let (text, fresh) = readings[nth.min(readings.len() - 1)];
            nth += 1;
            Ok(BootstrapText { text: text.to_owned(), fresh })
        };
        (read_when_whole(Path::new("envoy.yaml"), read), nth)
    }

    #[test]
    fn a_text_that_is_cut_off_and_reads_well_is_not_taken_for_the_whole() {
        let (at, _) = WHOLE.rmatch_indices("  - access_log: []\n").next().unwrap();
        let cut = &WHOLE[..at];
        let whole = Bootstrap::parse(Path::new("envoy.yaml"), WHOLE).unwrap();
        let less = Bootstrap::parse(Path::new("envoy.yaml"), cut).unwrap();
        assert_eq!((whole.listeners.len(), less.listeners.len()), (3, 2), "it reads well");

        let (found, readings) = taken(&[("", true), (cut, true), (WHOLE, true)]);
        assert_eq!((found.unwrap(), readings), (whole, 4));
    }

    #[test]
    fn what_has_been_left_alone_is_read_once() {
        assert_eq!(taken(&[(WHOLE, false)]).1, 1);
    }

    #[test]
    fn what_never_stands_still_is_not_served() {
        let texts: Vec<String> = (0..200).map(|nth| format!("{WHOLE}# {nth}\n")).collect();
        let readings: Vec<_> = texts.iter().map(|text| (text.as_str(), true)).collect();
        let (found, _) = taken(&readings);
        assert!(found.unwrap_err().message().contains("does not stand still"));
    }

    #[test]
    fn what_is_wrong_for_as_long_as_that_is_named() {
        let (found, _) = taken(&[("static_resources: {}\n", true)]);
        let fault = found.unwrap_err();
        assert_eq!(fault.exit, Exit::Config);
        assert!(fault.message().contains("static_resources.listeners"), "{}", fault.message());
    }
}
