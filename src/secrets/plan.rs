//! What the app's environment refers to, read before anybody is asked.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::credhub;
use super::reference::{self, Piece, Reference, ReferencePlace, SecretTemplate};
use super::vcap::{self, DocumentError, DocumentReferences, ServiceName};
use crate::config::options::PREFIX;
use crate::config::{SecretSource, Secrets};
use crate::diagnostics::{Diagnostic, Diagnostics, Problem, SafeText, Source};
use crate::sys;

/// ServiceName bindings as one document.
pub(super) const VCAP_SERVICES: &str = "VCAP_SERVICES";

/// The same document in a file.
pub(super) const VCAP_SERVICES_FILE_PATH: &str = "VCAP_SERVICES_FILE_PATH";

/// A folder for each binding, and in it a file for each of its values.
pub(super) const SERVICE_BINDING_ROOT: &str = "SERVICE_BINDING_ROOT";

/// What the platform tells its launcher; nothing of it is for the app.
const VCAP_PLATFORM_OPTIONS: &str = "VCAP_PLATFORM_OPTIONS";

/// With this the launcher leaves references alone. For ours there is `--resolve`.
const CREDHUB_SKIP_INTERPOLATION: &str = "CREDHUB_SKIP_INTERPOLATION";

/// In a folder of a binding: the file whose text refers to CredHub.
const REFERENCE_FILES: [&str; 2] = ["credhub-ref", "credhub_ref"];

/// Files of one binding, and bindings, at most: a folder of something else is not read to its end.
const MOST_ENTRIES: usize = 1000;

/// Characters that are repeated of a reference.
const MOST_SHOWN: usize = 300;

/// The environment of the app, as it would be without us.
pub type AppEnvironment = BTreeMap<OsString, OsString>;

/// What the app's environment refers to.
#[derive(Debug, Default)]
pub struct Plan {
    /// Variables that are, or have in them, references.
    pub(super) variables: Vec<(OsString, SecretTemplate)>,
    /// Documents that have references.
    pub(super) documents: Vec<Document>,
    /// The folder of bindings, if one of them refers to CredHub.
    pub(super) bindings: Option<BindingRoot>,
    /// Variables that the app does not get.
    pub(super) remove: Vec<OsString>,
    /// The app has a DATABASE_URL of its own.
    pub(super) has_database_url: bool,
    /// References to CredHub are left alone, as nobody has said where it is.
    credhub_left_alone: bool,
    /// The launcher was told to leave them alone.
    launcher_skips: bool,
}

/// A document that has references.
#[derive(Debug)]
pub(super) struct Document {
    /// The variable that has it, or the path to it.
    pub(super) name: &'static str,
    pub(super) text: String,
    pub(super) found: DocumentReferences,
}

/// Bindings as files.
#[derive(Debug)]
pub(super) struct BindingRoot {
    pub(super) bindings: Vec<BindingFolder>,
}

/// One binding as files.
#[derive(Debug)]
pub(super) struct BindingFolder {
    pub(super) name: String,
    /// What it refers to, if it does.
    pub(super) reference: Option<String>,
    /// All other files, by name.
    pub(super) files: Vec<(String, Vec<u8>)>,
}

impl Plan {
    /// What `environment` asks of the sources of `secrets`. The documents that it leads to are read.
    ///
    /// # Errors
    /// All that is wrong in it, each with its remedy.
    pub fn read(secrets: &Secrets, environment: &AppEnvironment) -> Result<Self, Diagnostics> {
        let mut plan = Self::default();
        let mut wrong = Vec::new();
        let credhub = secrets.resolves(SecretSource::Credhub);
        let is_set = |name: &str| environment.get(OsStr::new(name)).is_some_and(|value| !value.is_empty());
        plan.launcher_skips = credhub && is_set(CREDHUB_SKIP_INTERPOLATION);
        plan.has_database_url = environment.contains_key(OsStr::new("DATABASE_URL"));
        if credhub && environment.contains_key(OsStr::new(VCAP_PLATFORM_OPTIONS)) {
            plan.remove.push(VCAP_PLATFORM_OPTIONS.into());
        }
        // Whom nobody can ask resolves no document; a variable that means it has no other sense.
        let no_credhub = credhub && secrets.credhub.url.is_none();
        let mut in_documents = secrets.resolve.clone();
        in_documents.retain(|source| !(no_credhub && *source == SecretSource::Credhub));
        for (name, value) in environment {
            let (Some(shown), Some(text)) = (name.to_str(), value.to_str()) else { continue };
            if shown.starts_with(PREFIX) {
                continue;
            }
            let at = |problem: Problem| problem.at(Source::Variable(shown.to_owned()));
            match reference::parse(text, &secrets.resolve, ReferencePlace::Variable) {
                Ok(Some(template)) if no_credhub && template.refers_to(SecretSource::Credhub) => {
                    let problem = Problem::new(
                        "refers to CredHub, and nobody has said where that is",
                        "give --credhub-url https://HOST:PORT",
                    );
                    wrong.push(at(problem));
                }
                Ok(Some(template)) => plan.variables.push((name.clone(), template)),
                Ok(None) if shown == VCAP_SERVICES => {
                    plan.credhub_left_alone |= no_credhub
                        && vcap::find(text, &[SecretSource::Credhub]).is_ok_and(|found| !found.bindings.is_empty());
                    plan.add(
                        VCAP_SERVICES,
                        text.to_owned(),
                        &in_documents,
                        Source::Variable(shown.to_owned()),
                        &mut wrong,
                    );
                }
                Ok(None) => {}
                Err(problem) => wrong.push(at(problem)),
            }
        }
        if let Some(path) = environment.get(OsStr::new(VCAP_SERVICES_FILE_PATH)).filter(|path| !path.is_empty()) {
            plan.add_file(Path::new(path), &in_documents, &mut wrong);
        }
        let root = environment.get(OsStr::new(SERVICE_BINDING_ROOT)).filter(|path| !path.is_empty());
        if let Some(root) = root.filter(|_| in_documents.contains(&SecretSource::Credhub)) {
            match BindingRoot::read(Path::new(root)) {
                Ok(root) => plan.bindings = root,
                Err(problem) => wrong.push(problem.at(Source::Variable(SERVICE_BINDING_ROOT.to_owned()))),
            }
        }
        if wrong.is_empty() { Ok(plan) } else { Err(Diagnostics::new(wrong)) }
    }

    fn add(
        &mut self,
        name: &'static str,
        text: String,
        sources: &[SecretSource],
        place: Source,
        wrong: &mut Vec<Diagnostic>,
    ) {
        match vcap::find(&text, sources) {
            Ok(found) if found.bindings.is_empty() && found.strings.is_empty() => {}
            Ok(found) => self.documents.push(Document { name, text, found }),
            Err(error) => wrong.push(problem(error).at(place)),
        }
    }

    fn add_file(&mut self, path: &Path, sources: &[SecretSource], wrong: &mut Vec<Diagnostic>) {
        match sys::file::read_text(path) {
            Ok(text) => {
                let place = Source::File { path: path.to_owned(), line: None, key: String::new() };
                self.add(VCAP_SERVICES_FILE_PATH, text, sources, place, wrong);
            }
            Err(error) => {
                let what = format!("{} cannot be read: {error}", path.display());
                let problem = Problem::new(what, "name a file that the app could read too");
                wrong.push(problem.at(Source::Variable(VCAP_SERVICES_FILE_PATH.to_owned())));
            }
        }
    }

    /// Whether anything refers to `source`.
    pub fn refers_to(&self, source: SecretSource) -> bool {
        let strings = self.documents.iter().flat_map(|document| &document.found.strings);
        let templates =
            self.variables.iter().map(|(_, template)| template).chain(strings.map(|string| &string.template));
        let by_document =
            || self.bindings.is_some() || self.documents.iter().any(|document| !document.found.bindings.is_empty());
        templates.into_iter().any(|template| template.refers_to(source))
            || source == SecretSource::Credhub && by_document()
    }

    /// Whether there is nothing to ask for.
    pub fn is_empty(&self) -> bool {
        self.variables.is_empty() && self.documents.is_empty() && self.bindings.is_none()
    }

    /// Each name that refers to secrets, and to which, as people know them.
    pub fn names(&self) -> Vec<(String, String)> {
        let of_template = |name: String, template: &SecretTemplate| {
            let requests: Vec<_> = template.references().map(|reference| reference.request.to_string()).collect();
            (name, requests.join(", "))
        };
        let variables = self.variables.iter().map(|(name, template)| of_template(shown(name), template));
        let documents = self.documents.iter().flat_map(|document| {
            let strings = document.found.strings.iter();
            let strings = strings.map(|string| of_template(document.name_of(&string.service), &string.template));
            let bindings = document.found.bindings.iter();
            strings
                .chain(bindings.map(|binding| (document.name_of(&binding.service), credhub_name(&binding.reference))))
        });
        let folders = self.bindings.iter().flat_map(|root| &root.bindings);
        let folders = folders.filter_map(|folder| Some((folder.shown(), credhub_name(folder.reference.as_ref()?))));
        variables.chain(documents).chain(folders).collect()
    }

    /// What is not resolved though it was asked for, and what to do about it.
    pub fn left_alone(&self) -> Option<(&'static str, &'static str)> {
        self.credhub_left_alone.then_some((
            "references to CredHub are left alone: nobody has said where it is",
            "give --credhub-url https://HOST:PORT",
        ))
    }

    /// Says what may surprise.
    pub fn log(&self) {
        if self.launcher_skips {
            tracing::info!(
                "{CREDHUB_SKIP_INTERPOLATION} is set, which is for the platform's launcher; --resolve credhub resolves references all the same"
            );
        }
        if let Some((what, help)) = self.left_alone() {
            tracing::warn!(help, "{what}");
        } else if self.is_empty() {
            tracing::debug!("no secrets to resolve: the app's environment has no reference");
        }
    }
}

impl Document {
    /// One of its services, for people.
    pub(super) fn name_of(&self, service: &ServiceName) -> String {
        format!("{}: {service}", self.name)
    }
}

impl BindingFolder {
    /// For people.
    pub(super) fn shown(&self) -> String {
        format!("{SERVICE_BINDING_ROOT}: {}", ServiceName::named(&self.name))
    }
}

/// The name of a variable, for people.
pub(super) fn shown(name: &OsStr) -> String {
    SafeText::of(name.to_string_lossy()).as_str().to_owned()
}

/// A credential of CredHub as people know it, from what refers to it.
pub(super) fn credhub_name(reference: &str) -> String {
    format!("credhub:{}", SafeText::up_to(MOST_SHOWN, credhub::strip(reference)))
}

impl SecretTemplate {
    /// Its references.
    pub(super) fn references(&self) -> impl Iterator<Item = &Reference> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Reference(reference) => Some(reference),
            Piece::Text(_) => None,
        })
    }

    fn refers_to(&self, source: SecretSource) -> bool {
        self.references().any(|reference| reference.request.source() == source)
    }
}

impl BindingRoot {
    /// The bindings in `root`; `None`: none of them refers to CredHub.
    fn read(root: &Path) -> Result<Option<Self>, Problem> {
        let mut bindings = Vec::new();
        for (name, path) in entries(root)? {
            if path.is_dir() {
                bindings.push(BindingFolder::read(name, &path)?);
            }
        }
        let refers = bindings.iter().any(|binding| binding.reference.is_some());
        Ok(refers.then_some(Self { bindings }))
    }
}

impl BindingFolder {
    fn read(name: String, path: &Path) -> Result<Self, Problem> {
        let (mut reference, mut files) = (None, Vec::new());
        for (file, path) in entries(path)? {
            if path.is_dir() {
                continue;
            }
            let bytes = sys::file::read_regular(&path).map_err(|error| unread(&path, &error))?;
            match std::str::from_utf8(&bytes) {
                Ok(text) if REFERENCE_FILES.contains(&file.as_str()) => reference = Some(text.trim().to_owned()),
                _ => files.push((file, bytes)),
            }
        }
        Ok(Self { name, reference, files })
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

fn problem(error: DocumentError) -> Problem {
    match error {
        DocumentError::NotJson(error) => {
            Problem::new(error.to_string(), "write a JSON document, or leave out --resolve")
        }
        DocumentError::Twice(name) => Problem::new(
            format!("has references, and the member {name} twice: readers differ in which counts"),
            "name each once",
        ),
        DocumentError::Reference(service, Problem { what, help }) => {
            Problem::new(format!("{service}: a string {what}"), help)
        }
    }
}
