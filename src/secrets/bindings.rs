//! Bindings as files: a folder for each, and in it a file for each of its values.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::reference::{self, ReferenceLocation, SecretTemplate};
use super::vcap::ServiceName;
use crate::config::SecretSource;
use crate::diagnostics::{Problem, SafeText};
use crate::sys;

/// A folder for each binding, and in it a file for each of its values.
pub(super) const SERVICE_BINDING_ROOT: &str = "SERVICE_BINDING_ROOT";

/// In a folder of a binding: the file whose text refers to CredHub.
const REFERENCE_FILES: [&str; 2] = ["credhub-ref", "credhub_ref"];

/// Files of one binding, and bindings, at most: a folder of something else is not read to its end.
const MOST_ENTRIES: usize = 1000;

/// Bindings as files.
#[derive(Debug)]
pub(super) struct BindingRoot {
    pub(super) bindings: Vec<BindingFolder>,
}

/// One binding as files.
#[derive(Debug)]
pub(super) struct BindingFolder {
    pub(super) name: String,
    /// What all of it refers to at CredHub, if it does.
    pub(super) reference: Option<String>,
    /// Files whose text refers to secrets, by name.
    pub(super) templates: Vec<(String, SecretTemplate)>,
    /// All other files, by name.
    pub(super) files: Vec<(String, Vec<u8>)>,
}

impl BindingRoot {
    /// The bindings in `root`; `None`: none of them refers to one of `sources`.
    pub(super) fn read(root: &Path, sources: &[SecretSource]) -> Result<Option<Self>, Problem> {
        let wants = |source: SecretSource| sources.contains(&source);
        if ![SecretSource::Credhub, SecretSource::Vault, SecretSource::Transit].into_iter().any(wants) {
            return Ok(None);
        }
        // Builders of images name a folder that is there only where something is bound.
        if !wants(SecretSource::Credhub)
            && std::fs::metadata(root).is_err_and(|error| error.kind() == ErrorKind::NotFound)
        {
            return Ok(None);
        }
        let mut bindings = Vec::new();
        for (name, path) in entries(root)? {
            if path.is_dir() {
                bindings.push(BindingFolder::read(name, &path, sources)?);
            }
        }
        let refers = bindings.iter().any(|binding| binding.reference.is_some() || !binding.templates.is_empty());
        Ok(refers.then_some(Self { bindings }))
    }
}

impl BindingFolder {
    fn read(name: String, path: &Path, sources: &[SecretSource]) -> Result<Self, Problem> {
        let mut folder = Self { name, reference: None, templates: Vec::new(), files: Vec::new() };
        for (file, path) in entries(path)? {
            if path.is_dir() {
                continue;
            }
            let bytes = sys::file::read_regular(&path).map_err(|error| unread(&path, &error))?;
            let text = std::str::from_utf8(&bytes).ok();
            if sources.contains(&SecretSource::Credhub) && REFERENCE_FILES.contains(&file.as_str()) {
                let problem = || Problem::new(format!("{} is no text", path.display()), "write the name in UTF-8");
                folder.reference = Some(text.ok_or_else(problem)?.trim().to_owned());
                continue;
            }
            // Editors leave a newline at the end, which is no part of a reference.
            let text = text.map(|text| text.strip_suffix('\n').unwrap_or(text));
            let template = match text {
                Some(text) => reference::parse(text, sources, ReferenceLocation::Document).map_err(|problem| {
                    let what = format!("{}: file {} {}", folder.shown_name(), SafeText::quoted(&file), problem.what);
                    Problem::new(what, problem.help)
                })?,
                None => None,
            };
            match template {
                Some(template) => folder.templates.push((file, template)),
                None => folder.files.push((file, bytes)),
            }
        }
        Ok(folder)
    }

    fn shown_name(&self) -> ServiceName {
        ServiceName::named(&self.name)
    }

    /// For people.
    pub(super) fn shown(&self) -> String {
        format!("{SERVICE_BINDING_ROOT}: {}", self.shown_name())
    }

    /// One of its files, for people.
    pub(super) fn shown_file(&self, file: &str) -> String {
        format!("{}: file {}", self.shown(), SafeText::quoted(file))
    }
}

/// What is in `folder`, by name, but for what is hidden: Kubernetes keeps its own things there.
fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>, Problem> {
    let entries = std::fs::read_dir(folder).map_err(|error| unread(folder, &error))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| unread(folder, &error))?.path();
        let Some(name) = path.file_name().and_then(OsStr::to_str).filter(|name| !name.starts_with('.')) else {
            continue;
        };
        if found.len() == MOST_ENTRIES {
            let what = format!("{} has more than {MOST_ENTRIES} entries", folder.display());
            return Err(Problem::new(what, "name a folder of service bindings"));
        }
        found.push((name.to_owned(), path));
    }
    found.sort();
    Ok(found)
}

fn unread(path: &Path, error: &std::io::Error) -> Problem {
    Problem::new(
        format!("{} cannot be read: {error}", path.display()),
        "name a folder of service bindings that the app could read too",
    )
}
