//! Judges the files for the app and what follows a rotation. Nothing is written and nothing is run.

use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::finding::{Findings, Subject};
use crate::app_files;
use crate::config::{Config, RotationHook};
use crate::diagnostics::redact::quote_path;

/// Judges each file and the hook.
pub(super) fn judge(config: &Config, found: &mut Findings) {
    let refusals = app_files::refusals(config);
    for refusal in &refusals {
        found.problem(Subject::Files, refusal, "until then no start succeeds");
    }
    let mut good = 0;
    for path in config.app_files.paths() {
        match app_files::judge_place(path) {
            Ok(()) => good += 1,
            // Said above.
            Err(_) if !refusals.is_empty() => {}
            Err(why) => {
                let (what, help) = why.split_once("; ").unwrap_or((&why, "see where the path leads"));
                found.problem(Subject::Files, format!("cannot write {} for the app: {what}", quote_path(path)), help);
            }
        }
    }
    if good > 0 && refusals.is_empty() {
        let files = if good == 1 { "1 file".to_owned() } else { format!("{good} files") };
        found.ok(Subject::Files, format!("{files} for the app can be written by this user"));
    }
    if let Some(RotationHook::Exec { program, .. }) = &config.app_files.on_rotation {
        match locate(program) {
            Some(path) => found.ok(Subject::Files, format!("after a rotation {} is run", quote_path(&path))),
            None => {
                let what = format!("{} cannot be run after a rotation", quote_path(Path::new(program)));
                found.problem(Subject::Files, what, "check the spelling of --on-rotation, and the execute bit");
            }
        }
    }
}

/// The file of `program`, as the kernel or PATH leads to it, if this user may run it.
fn locate(program: &str) -> Option<PathBuf> {
    let runs = |path: &PathBuf| path.is_file() && access(path, Access::EXEC_OK).is_ok();
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(runs);
    }
    std::env::split_paths(&std::env::var_os("PATH")?).map(|folder| folder.join(program)).find(runs)
}
