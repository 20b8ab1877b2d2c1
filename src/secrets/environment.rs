//! From what was fetched to what the app is started with.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::bindings::{BindingFolder, SERVICE_BINDING_ROOT};
use super::fetch::{FetchError, FetchKey, FetchResult, Fetches};
use super::files;
use super::files::{FolderError, SecretsFolder};
use super::plan::{Document, VCAP_SERVICES, VCAP_SERVICES_FILE_PATH, shown};
use super::reference::{Reference, SecretTemplate, TemplatePart};
use super::resolved::{LeasedFile, LeasedSecret, Resolved};
use super::source::{Request, SecretLease, SecretPart, SecretResponse, SourceError};
use super::variable::{AS_FILE, fits, unfit};
use super::vcap::{self, ServiceName};
use super::{Plan, SecretValue, json};
use crate::config::Secrets;
use crate::diagnostics::SafeText;
use crate::exit::{Exit, Fault};
use crate::telemetry::SecretCounters;

/// Puts what was fetched into the app's environment. Notes all that is wrong on the way.
pub(super) struct EnvironmentBuilder<'a> {
    fetched: &'a Fetches,
    secrets: &'a Secrets,
    resolved: Resolved,
    /// Files by what is in them.
    files: BTreeMap<(Request, Option<String>), PathBuf>,
    /// Files of bindings, with what is in them.
    binding_files: Vec<((Request, Option<String>), PathBuf)>,
    /// Variables by what is in them.
    holders: Vec<(Request, String)>,
    faults: Vec<Fault>,
    /// Names for which there was no answer. Where something has failed they are not worth a word.
    unanswered: Vec<String>,
}

/// What is wrong with one name.
enum NameError {
    Fault(Fault),
    Unanswered(String),
}

impl From<Fault> for NameError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl<'a> EnvironmentBuilder<'a> {
    pub(super) fn new(fetched: &'a Fetches, secrets: &'a Secrets) -> Self {
        Self {
            fetched,
            secrets,
            resolved: Resolved::default(),
            files: BTreeMap::new(),
            binding_files: Vec::new(),
            holders: Vec::new(),
            faults: Vec::new(),
            unanswered: Vec::new(),
        }
    }

    pub(super) fn assemble(&mut self, plan: &Plan) {
        self.resolved.remove.extend(plan.remove.iter().cloned());
        for (name, template) in &plan.variables {
            match self.fill(&shown(name), template) {
                Ok(Some(value)) => self.set(name, value),
                Ok(None) => self.resolved.remove.push(name.clone()),
                Err(error) => self.note(error),
            }
        }
        for (at, document) in plan.documents.iter().enumerate() {
            if let Err(error) = self.document(plan, at, document) {
                self.note(error);
            }
        }
        if let Some(root) = &plan.bindings
            && let Err(error) = self.bindings(&root.bindings)
        {
            self.note(error);
        }
    }

    fn note(&mut self, error: NameError) {
        match error {
            NameError::Fault(fault) => self.faults.push(fault),
            NameError::Unanswered(name) => self.unanswered.push(name),
        }
    }

    /// Sets a variable, if it can be one.
    fn set(&mut self, name: &OsStr, value: SecretValue) {
        match unfit(name, &value) {
            None => self.resolved.set.push((name.to_owned(), value)),
            Some(why) => {
                let what = format!("cannot resolve {}: what it refers to {why}", shown(name));
                self.faults.push(Fault::new(Exit::Unavailable, what).with_help(AS_FILE));
            }
        }
    }

    /// The value of a template for `name`; `None`: a part of it may be missing, and is.
    fn fill(&mut self, name: &str, template: &SecretTemplate) -> Result<Option<SecretValue>, NameError> {
        let mut value = SecretValue::with_capacity(0);
        for piece in &template.0 {
            match piece {
                TemplatePart::Text(text) => value.push(text.as_bytes()),
                TemplatePart::Reference(reference) => {
                    let Some(part) =
                        self.fetched.value(reference).map_err(|gap| unresolved(name, &reference.request, gap))?
                    else {
                        return Ok(None);
                    };
                    if reference.as_file {
                        let path = self.file(name, reference, part)?;
                        value.push(path.as_os_str().as_bytes());
                    } else {
                        self.holders.push((reference.request.clone(), name.to_owned()));
                        value.push(part.bytes());
                    }
                }
            }
        }
        Ok(Some(value))
    }

    /// The file with `value` in it, which `reference` stands for. What several refer to is in one file.
    fn file(&mut self, name: &str, reference: &Reference, value: &SecretValue) -> Result<PathBuf, Fault> {
        let what = (reference.request.clone(), reference.key.clone());
        if let Some(path) = self.files.get(&what) {
            return Ok(path.clone());
        }
        let path = self.folder().and_then(|folder| folder.add(name, value));
        let path = path.map_err(|error| unwritten(name, &error))?;
        self.files.insert(what, path.clone());
        Ok(path)
    }

    /// The folder for files, made when the first is needed.
    fn folder(&mut self) -> Result<Arc<SecretsFolder>, FolderError> {
        if let Some(folder) = &self.resolved.folder {
            return Ok(Arc::clone(folder));
        }
        let folder = Arc::new(SecretsFolder::create(self.secrets.dir.as_deref())?);
        self.resolved.folder = Some(Arc::clone(&folder));
        Ok(folder)
    }

    fn document(&mut self, plan: &Plan, at: usize, document: &Document) -> Result<(), NameError> {
        let mut parts = Vec::new();
        if !document.found.bindings.is_empty() {
            let credentials = self.fetched.credentials(&FetchKey::Document(at)).map_err(uninterpolated)?;
            let spans = document.found.bindings.iter().map(|binding| binding.credentials.clone());
            parts.extend(spans.zip(credentials.iter().cloned()));
        }
        for string in &document.found.strings {
            let name = document.name_of(&string.service);
            // None of them is optional.
            let Some(value) = self.fill(&name, &string.template)? else { continue };
            let quoted = json::quoted(&value).ok_or_else(|| {
                let what = format!("cannot resolve {name}: what a string refers to is no text");
                Fault::new(Exit::Unavailable, what).with_help(AS_FILE)
            })?;
            parts.push((string.span.clone(), quoted));
        }
        parts.sort_by_key(|(span, _)| span.start);
        let text = json::splice(&document.text, &parts);
        if !document.found.bindings.is_empty()
            && self.secrets.credhub.database_url
            && !plan.has_database_url
            && !self.resolved.set.iter().any(|(name, _)| name == "DATABASE_URL")
            && let Some(url) = text.text().and_then(vcap::database_url)
        {
            self.set(OsStr::new("DATABASE_URL"), url);
        }
        let is_variable = document.name == VCAP_SERVICES;
        if is_variable && fits(OsStr::new(VCAP_SERVICES), &text) {
            self.resolved.set.push((VCAP_SERVICES.into(), text));
            return Ok(());
        }
        if is_variable && plan.has_services_file {
            let what = "cannot resolve VCAP_SERVICES: once it is resolved it is longer than a variable can be (128 KiB), and \
                        VCAP_SERVICES_FILE_PATH, which would lead to it, leads to another document";
            let fault = Fault::new(Exit::Unavailable, what);
            return Err(fault.with_help("have the app started with one of the two alone").into());
        }
        let path = self.folder().and_then(|folder| folder.add("vcap-services.json", &text));
        let path = path.map_err(|error| unwritten(document.name, &error))?;
        if is_variable {
            tracing::warn!(
                file = %path.display(),
                "VCAP_SERVICES is longer than a variable can be (128 KiB) once it is resolved: the app has VCAP_SERVICES_FILE_PATH in its place"
            );
            self.resolved.remove.push(VCAP_SERVICES.into());
        }
        self.set_path(VCAP_SERVICES_FILE_PATH, &path);
        Ok(())
    }

    fn set_path(&mut self, name: &str, path: &Path) {
        self.resolved.set.push((name.into(), SecretValue::new(path.as_os_str().as_bytes().to_vec())));
    }

    fn bindings(&mut self, bindings: &[BindingFolder]) -> Result<(), NameError> {
        let failed = |error: FolderError| unwritten(SERVICE_BINDING_ROOT, &error);
        let root = self.folder().and_then(|folder| folder.add_folder("bindings")).map_err(failed)?;
        for (at, binding) in bindings.iter().enumerate() {
            let folder = root.join(&binding.name);
            files::make_folder(&folder).map_err(failed)?;
            for (name, bytes) in &binding.files {
                files::replace(&folder.join(name), &SecretValue::new(bytes.clone())).map_err(failed)?;
            }
            for (name, template) in &binding.templates {
                self.binding_file(&binding.shown_file(name), &folder.join(name), template)?;
            }
            if binding.reference.is_none() {
                continue;
            }
            let credentials = self.fetched.credentials(&FetchKey::Binding(at)).map_err(uninterpolated)?;
            let members = credentials.first().and_then(SecretValue::text).and_then(json::members).unwrap_or_default();
            for (name, value) in members {
                if !is_file_name(&name) {
                    let service = ServiceName::named(&binding.name);
                    let what = format!(
                        "Unable to interpolate credhub refs: {service} has a credential whose name cannot be that of a file: {}",
                        SafeText::quoted(&name)
                    );
                    let fault = Fault::new(Exit::Unavailable, what);
                    return Err(fault.with_help("bind it without files, or name it otherwise").into());
                }
                // What the platform says of the binding itself comes first, as where it writes the files.
                if binding.files.iter().any(|(known, _)| *known == name) {
                    tracing::warn!(binding = %ServiceName::named(&binding.name), credential = %SafeText::of(&name), "credential skipped: the service binding has a file of that name already");
                    continue;
                }
                let value = match json::part(value) {
                    SecretPart::Value(value) => value,
                    SecretPart::Null => SecretValue::from("null"),
                    SecretPart::NotText => {
                        let (service, name) = (ServiceName::named(&binding.name), SafeText::quoted(&name));
                        let what = format!(
                            "Unable to interpolate credhub refs: {service} has a credential that is a string and no text: {name}"
                        );
                        return Err(Fault::new(Exit::Unavailable, what).with_help("store it anew").into());
                    }
                };
                files::replace(&folder.join(&name), &value).map_err(failed)?;
            }
        }
        self.set_path(SERVICE_BINDING_ROOT, &root);
        Ok(())
    }

    /// A file of a binding, which the app expects where it is. One that is a secret and nothing else can be given another later.
    fn binding_file(&mut self, name: &str, path: &Path, template: &SecretTemplate) -> Result<(), NameError> {
        let failed = |error: FolderError| unwritten(name, &error);
        match &template.0[..] {
            [TemplatePart::Reference(reference)] if !reference.as_file => {
                let value = self.fetched.value(reference).map_err(|gap| unresolved(name, &reference.request, gap))?;
                if let Some(value) = value {
                    files::replace(path, value).map_err(failed)?;
                    let what = (reference.request.clone(), reference.key.clone());
                    self.binding_files.push((what, path.to_owned()));
                }
            }
            _ => {
                if let Some(value) = self.fill(name, template)? {
                    files::replace(path, &value).map_err(failed)?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn finish(mut self, plan: &Plan, counters: &SecretCounters) -> Result<Resolved, Fault> {
        if let Some(fault) = self.faults.into_iter().reduce(Fault::and) {
            return Err(fault);
        }
        if let Some(name) = self.unanswered.first() {
            let what =
                format!("cannot resolve {name}: there was no answer; this is a fault of vestibule, please report it");
            return Err(Fault::new(Exit::Internal, what));
        }
        let mut expiry: Option<SystemTime> = None;
        for (question, reply) in &self.fetched.asked {
            let (
                FetchKey::Reference(request),
                Some(Ok(FetchResult::Answer(SecretResponse { lease: Some(lease), .. }))),
            ) = (question, reply)
            else {
                continue;
            };
            let variables =
                self.holders.iter().filter(|(held, _)| held == request).map(|(_, name)| name.clone()).collect();
            let files = self.files.iter().chain(self.binding_files.iter().map(|(what, path)| (what, path)));
            let files = files.filter(|((held, _), _)| held == request);
            let files = files.map(|((_, key), path)| LeasedFile { path: path.clone(), key: key.clone() }).collect();
            let end = SystemTime::now() + lease.duration;
            expiry = Some(expiry.map_or(end, |earlier| earlier.min(end)));
            let lease = SecretLease { id: lease.id.clone(), ..*lease };
            self.resolved.leased.push(LeasedSecret { request: request.clone(), lease, variables, files });
        }
        counters.set_expiry(expiry);
        for (name, template) in &plan.variables {
            let of =
                template.references().map(|reference| reference.request.to_string()).collect::<Vec<_>>().join(", ");
            tracing::debug!(variable = shown(name), from = of, "secret resolved");
        }
        let bindings = plan.documents.iter().map(|document| document.found.bindings.len()).sum::<usize>();
        let folders =
            plan.bindings.iter().flat_map(|root| &root.bindings).filter(|binding| binding.reference.is_some());
        if !plan.is_empty() {
            tracing::info!(
                variables = plan.variables.len(),
                services = bindings + folders.count(),
                files = self.files.len() + self.binding_files.len(),
                leases = self.resolved.leased.len(),
                "secrets resolved"
            );
        }
        Ok(self.resolved)
    }
}

fn is_file_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && name.len() <= 255 && !name.contains(['/', '\0'])
}

fn unresolved(name: &str, request: &Request, gap: FetchError) -> NameError {
    match gap {
        FetchError::Refused(error) => fault(format!("cannot resolve {name}: {request}: {}", error.what), &error).into(),
        FetchError::NoAnswer(_) => NameError::Unanswered(name.to_owned()),
    }
}

fn uninterpolated(gap: FetchError) -> NameError {
    match gap {
        FetchError::Refused(error) => {
            fault(format!("Unable to interpolate credhub refs: {}", error.what), &error).into()
        }
        FetchError::NoAnswer(_) => NameError::Unanswered("the credhub refs".to_owned()),
    }
}

fn fault(what: String, error: &SourceError) -> Fault {
    let fault = Fault::new(Exit::Unavailable, what.replace('\n', " "));
    match &error.help {
        Some(help) => fault.with_help(help),
        None => fault,
    }
}

fn unwritten(name: &str, error: &FolderError) -> Fault {
    Fault::new(Exit::Unavailable, format!("cannot resolve {name}: its file cannot be written: {error}"))
}
