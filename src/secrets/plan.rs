//! What the app's environment refers to, read before anybody is asked.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::bindings::{BindingRoot, SERVICE_BINDING_ROOT};
use super::credhub;
use super::reference::{self, Reference, ReferenceLocation, SecretTemplate, TemplatePart};
use super::source::Request;
use super::vcap::{self, DocumentError, DocumentReferences, ServiceName};
use crate::config::options::PREFIX;
use crate::config::{SecretSource, Secrets};
use crate::diagnostics::{Diagnostic, Diagnostics, Problem, SafeText, Source};
use crate::sys;

/// Service bindings as one document.
pub(super) const VCAP_SERVICES: &str = "VCAP_SERVICES";

/// The same document in a file.
pub(super) const VCAP_SERVICES_FILE_PATH: &str = "VCAP_SERVICES_FILE_PATH";

/// What the platform tells its launcher; nothing of it is for the app.
const VCAP_PLATFORM_OPTIONS: &str = "VCAP_PLATFORM_OPTIONS";

/// With this the launcher leaves references alone. For ours there is `--resolve`.
const CREDHUB_SKIP_INTERPOLATION: &str = "CREDHUB_SKIP_INTERPOLATION";

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
    /// The folder of bindings, if one of them refers to a secret.
    pub(super) bindings: Option<BindingRoot>,
    /// Variables that the app does not get.
    pub(super) remove: Vec<OsString>,
    /// The app has a DATABASE_URL of its own.
    pub(super) has_database_url: bool,
    /// The app has a document in a file already.
    pub(super) has_services_file: bool,
    /// CredHub is to be asked, and nobody has said where it is.
    knows_no_credhub: bool,
    /// So these are left alone.
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
        plan.has_services_file = is_set(VCAP_SERVICES_FILE_PATH);
        if credhub && environment.contains_key(OsStr::new(VCAP_PLATFORM_OPTIONS)) {
            plan.remove.push(VCAP_PLATFORM_OPTIONS.into());
        }
        // Whom nobody can ask resolves no document; a variable that means it has no other sense.
        let no_credhub = credhub && secrets.credhub.url.is_none();
        plan.knows_no_credhub = no_credhub;
        let mut in_documents = secrets.resolve.clone();
        in_documents.retain(|source| !(no_credhub && *source == SecretSource::Credhub));
        for (name, value) in environment {
            let Some(shown) = name.to_str().filter(|name| !name.starts_with(PREFIX)) else { continue };
            let place = Source::Variable(shown.to_owned());
            let Some(text) = value.to_str() else {
                if refers(shown, &value.to_string_lossy(), &in_documents, &secrets.resolve) {
                    let problem =
                        Problem::new("refers to secrets, and has bytes that are no text", "write it in UTF-8");
                    wrong.push(problem.at(place));
                }
                continue;
            };
            // What stands in a document becomes a part of a document.
            let template = match is_document(shown, text) {
                true => Ok(None),
                false => reference::parse(text, &secrets.resolve, ReferenceLocation::Variable),
            };
            match template {
                Ok(Some(template)) if no_credhub && template.refers_to(SecretSource::Credhub) => {
                    let problem = Problem::new(
                        "refers to CredHub, and nobody has said where that is",
                        "give --credhub-url https://HOST:PORT",
                    );
                    wrong.push(problem.at(place));
                }
                Ok(Some(template)) => plan.variables.push((name.clone(), template)),
                Ok(None) if shown == VCAP_SERVICES => {
                    plan.add(VCAP_SERVICES, text.to_owned(), &in_documents, place, &mut wrong);
                }
                Ok(None) => {}
                Err(problem) => wrong.push(problem.at(place)),
            }
        }
        if let Some(path) = environment.get(OsStr::new(VCAP_SERVICES_FILE_PATH)).filter(|path| !path.is_empty()) {
            plan.add_file(Path::new(path), &in_documents, &mut wrong);
        }
        if let Some(root) = environment.get(OsStr::new(SERVICE_BINDING_ROOT)).filter(|path| !path.is_empty()) {
            let of_credhub = || BindingRoot::read(Path::new(root), &[SecretSource::Credhub]);
            plan.credhub_left_alone |= no_credhub && of_credhub().is_ok_and(|found| found.is_some());
            match BindingRoot::read(Path::new(root), &in_documents) {
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
        self.credhub_left_alone |= self.knows_no_credhub
            && vcap::find(&text, &[SecretSource::Credhub]).is_ok_and(|found| !found.bindings.is_empty());
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

    /// All that refers to secrets but for documents and bindings as a whole.
    pub(super) fn templates(&self) -> impl Iterator<Item = &SecretTemplate> {
        let strings = self.documents.iter().flat_map(|document| &document.found.strings);
        let folders = self.bindings.iter().flat_map(|root| &root.bindings);
        let variables = self.variables.iter().map(|(_, template)| template);
        let files = folders.flat_map(|folder| folder.templates.iter().map(|(_, template)| template));
        variables.chain(strings.map(|string| &string.template)).chain(files)
    }

    /// Whether anything refers to `source`.
    pub fn refers_to(&self, source: SecretSource) -> bool {
        let by_folder = || {
            let mut folders = self.bindings.iter().flat_map(|root| &root.bindings);
            folders.any(|folder| folder.reference.is_some())
        };
        let by_document = || self.documents.iter().any(|document| !document.found.bindings.is_empty());
        self.templates().any(|template| template.refers_to(source))
            || source == SecretSource::Credhub && (by_document() || by_folder())
    }

    /// The files that it refers to.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.templates().flat_map(SecretTemplate::references).filter_map(|reference| match &reference.request {
            Request::File { path } => Some(path.as_path()),
            _ => None,
        })
    }

    /// Whether the app gets files for sure. What becomes too large for a variable is seen only when it is there.
    pub fn needs_files(&self) -> bool {
        let in_files = |document: &Document| document.name == VCAP_SERVICES_FILE_PATH;
        self.bindings.is_some()
            || self.documents.iter().any(in_files)
            || self.templates().flat_map(SecretTemplate::references).any(|reference| reference.as_file)
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
        let folders = self.bindings.iter().flat_map(|root| &root.bindings).flat_map(|folder| {
            let files = folder.templates.iter().map(|(file, template)| of_template(folder.shown_file(file), template));
            let whole = folder.reference.iter().map(|reference| (folder.shown(), credhub_name(reference)));
            files.chain(whole)
        });
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
            tracing::warn!(detail = what, help, "secret references left unresolved");
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

/// Whether the variable `name` is read as a document, and not as one value.
fn is_document(name: &str, text: &str) -> bool {
    name == VCAP_SERVICES && text.trim_start().starts_with(['{', '['])
}

/// Whether the variable `name` refers to anything, or was meant to.
fn refers(name: &str, text: &str, in_documents: &[SecretSource], sources: &[SecretSource]) -> bool {
    match is_document(name, text) {
        true => {
            !vcap::find(text, in_documents).is_ok_and(|found| found.bindings.is_empty() && found.strings.is_empty())
        }
        false => !matches!(reference::parse(text, sources, ReferenceLocation::Variable), Ok(None)),
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
            TemplatePart::Reference(reference) => Some(reference),
            TemplatePart::Text(_) => None,
        })
    }

    fn refers_to(&self, source: SecretSource) -> bool {
        self.references().any(|reference| reference.request.source() == source)
    }
}

fn problem(error: DocumentError) -> Problem {
    match error {
        DocumentError::JsonError(error) => {
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
