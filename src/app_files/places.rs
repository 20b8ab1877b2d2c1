//! Where the files are to be: judged once, at the start.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use crate::config::{Config, RotationHook};
use crate::diagnostics::Problem;
use crate::diagnostics::redact::quote_path;
use crate::exit::{Exit, Fault};
use crate::sys::atomic_file;
use crate::sys::atomic_file::WriteError;

/// Where the bearer token of the identity endpoint is written.
const TOKEN_FILE: &str = "--identity-token-file";

/// Refuses what could never be right, and removes what a process before us has left half-written.
///
/// # Errors
/// [`Exit::Config`], with a line for each file that cannot be where it should.
pub fn prepare(config: &Config) -> Result<(), Fault> {
    let refusals = refusals(config);
    if !refusals.is_empty() {
        return Err(Fault::new(Exit::Config, refusals.join("\n")));
    }
    if let Some(RotationHook::Exec { program, .. }) = &config.app_files.on_rotation
        && locate_program(program).is_none()
    {
        // It may be there by the first rotation.
        let program = quote_path(Path::new(program));
        tracing::warn!(%program, "the program of --on-rotation cannot be run now; check its spelling, and the execute bit");
    }
    for path in config.app_files.paths() {
        match atomic_file::remove_leftovers(path) {
            Ok(0) => {}
            Ok(files) => tracing::info!(path = %path.display(), files, "leftover temporary files removed"),
            // What is wrong with the place is said when the file is written.
            Err(error) => tracing::debug!(path = %path.display(), %error, "leftover temporary files not removed"),
        }
    }
    Ok(())
}

/// What is wrong with files of `config` and will not be over by waiting, each with its path and the remedy.
pub(crate) fn refusals(config: &Config) -> Vec<String> {
    let read: Vec<_> = config.paths_read().into_iter().map(|(option, path)| ReadPath::of(option, path)).collect();
    let mut seen: Vec<(ResolvedPath, &Path)> = Vec::new();
    let mut refusals = Vec::new();
    let secret = config.identity_endpoint.as_ref().and_then(|endpoint| endpoint.token_file.as_deref());
    for path in config.app_files.paths().chain(secret) {
        let place = ResolvedPath::of(path);
        // The secret's own path is in both.
        let own = (Some(path) == secret).then_some(TOKEN_FILE);
        let what = match atomic_file::check(path) {
            Err(error) if error.is_user_error() => Some(error.to_string()),
            // Whatever else is wrong there may be mended while we run.
            _ => seen
                .iter()
                .find(|(known, _)| *known == place)
                .map(|(_, other)| format!("it is the same file as {}; give each a path of its own", quote_path(other)))
                .or_else(|| {
                    let read = read.iter().find(|read| Some(read.option) != own && read.is_at(&place))?;
                    Some(format!("we read it ourselves, as {}; name another file, in another folder", read.option))
                }),
        };
        refusals.extend(what.map(|what| format!("cannot write {} for the app: {what}", quote_path(path))));
        seen.push((place, path));
    }
    refusals
}

/// The option of `read` that names the file at `path`, which is to be written, or the folder of it.
pub(crate) fn option_reading(path: &Path, read: &[(&'static str, &Path)]) -> Option<&'static str> {
    let place = ResolvedPath::of(path);
    read.iter().find(|(option, read)| ReadPath::of(option, read).is_at(&place)).map(|(option, _)| *option)
}

/// Whether `path` could be written now, as far as that shows without writing.
///
/// # Errors
/// What is wrong there, with the remedy.
pub(crate) fn check_place(path: &Path) -> Result<(), Problem> {
    atomic_file::check(path).map_err(|error| match error {
        WriteError::Kernel(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Problem::new(error.to_string(), "let this user read and write its folder")
        }
        other => {
            let (what, help) = other.parts();
            Problem::new(what, help.unwrap_or("see where the path leads"))
        }
    })?;
    atomic_file::check_access(path).map_err(|error| match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => Problem::new(error.to_string(), "name a folder that can be written to"),
        _ => Problem::new(error.to_string(), "let this user write in its folder"),
    })
}

/// The file of `program`, as the kernel or PATH leads to it, if this user may run it.
pub(crate) fn locate_program(program: &str) -> Option<PathBuf> {
    let runs = |path: &PathBuf| path.is_file() && access(path, Access::EXEC_OK).is_ok();
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(runs);
    }
    std::env::split_paths(&std::env::var_os("PATH")?).map(|folder| folder.join(program)).find(runs)
}

/// A folder as the kernel finds it, and the name in it.
#[derive(Debug, PartialEq, Eq)]
struct ResolvedPath {
    folder: PathBuf,
    name: OsString,
}

impl ResolvedPath {
    fn of(path: &Path) -> Self {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = fs::canonicalize(parent).unwrap_or_else(|_| parent.to_owned());
        Self { folder, name: path.file_name().unwrap_or_default().to_owned() }
    }
}

/// What we read ourselves.
struct ReadPath {
    option: &'static str,
    /// The name itself, which may be that of a symlink.
    named: ResolvedPath,
    /// What it leads to.
    found: PathBuf,
    is_folder: bool,
}

impl ReadPath {
    fn of(option: &'static str, path: &Path) -> Self {
        let found = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        Self { option, named: ResolvedPath::of(path), is_folder: found.is_dir(), found }
    }

    /// Whether a file at `place` would be read: it is this file, or in this folder.
    fn is_at(&self, place: &ResolvedPath) -> bool {
        self.named == *place
            || self.found == place.folder.join(&place.name)
            || self.is_folder && self.found == place.folder
    }
}
