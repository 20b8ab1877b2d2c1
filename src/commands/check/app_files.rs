//! Judges the files for the app and what follows a rotation. Nothing is written and nothing is run.

use std::path::Path;

use super::finding::{Findings, Subject};
use crate::app_files;
use crate::config::{Config, RotationHook};
use crate::diagnostics::Problem;
use crate::diagnostics::redact::quote_path;

/// Judges each file and the hook.
pub(super) fn check(config: &Config, found: &mut Findings) {
    let refusals = app_files::refusals(config);
    for refusal in &refusals {
        found.problem(Subject::Files, refusal, "until then no start succeeds");
    }
    let mut good = 0;
    for path in config.app_files.paths() {
        match app_files::check_place(path) {
            Ok(()) => good += 1,
            // Said above.
            Err(_) if !refusals.is_empty() => {}
            Err(Problem { what, help }) => {
                found.problem(Subject::Files, format!("cannot write {} for the app: {what}", quote_path(path)), help);
            }
        }
    }
    if good > 0 && refusals.is_empty() {
        let files = if good == 1 { "1 file".to_owned() } else { format!("{good} files") };
        found.ok(Subject::Files, format!("{files} for the app can be written by this user"));
    }
    if let Some(RotationHook::Exec { program, .. }) = &config.app_files.on_rotation {
        match app_files::locate_program(program) {
            Some(path) => found.ok(Subject::Files, format!("after a rotation {} is run", quote_path(&path))),
            None => {
                let what = format!("{} cannot be run after a rotation", quote_path(Path::new(program)));
                found.problem(Subject::Files, what, "check the spelling of --on-rotation, and the execute bit");
            }
        }
    }
}
