//! VCAP_SERVICES, and what is written like it: where credentials are references, and the same document with something else there.
//!
//! ```text
//! {"LABEL":[{"name":"NAME","credentials":{"credhub-ref":"((/c/...))"}}, ...], ...}
//! ```
//! Pure. Nothing but what is replaced changes: no blank, no order of members, no spelling of a number.

use std::ops::Range;

use super::SecretValue;
use super::json;
use super::json::{JsonError, Member};
use super::reference::{self, ReferenceLocation, SecretTemplate};
use crate::config::SecretSource;
use crate::diagnostics::{Problem, SafeText};

/// What a document has for us. Invariant: the spans are in order and do not overlap.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct DocumentReferences {
    /// Credentials that CredHub has.
    pub(super) bindings: Vec<CredHubBinding>,
    /// Strings that are references.
    pub(super) strings: Vec<ReferringString>,
}

/// A service whose credentials CredHub has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CredHubBinding {
    /// The name of the member of the document.
    pub(super) label: String,
    /// Its place in that list.
    pub(super) index: usize,
    /// As people know it.
    pub(super) service: ServiceName,
    /// Where its `credentials` stand, braces included.
    pub(super) credentials: Range<usize>,
    /// What they refer to, as it is written: `((/c/...))`.
    pub(super) reference: String,
}

/// A string below `credentials`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReferringString {
    /// In which.
    pub(super) service: ServiceName,
    /// Where it stands, quotes included.
    pub(super) span: Range<usize>,
    /// What it refers to.
    pub(super) template: SecretTemplate,
}

/// The name of a service instance, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServiceName(SafeText);

impl ServiceName {
    /// The service that is called `name`.
    pub(super) fn named(name: &str) -> Self {
        Self(SafeText::quoted(name))
    }
}

impl std::fmt::Display for ServiceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "service {}", self.0)
    }
}

/// Why a document cannot be resolved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum DocumentError {
    /// Nobody can tell what refers to what.
    #[error(transparent)]
    JsonError(#[from] JsonError),
    /// Readers would differ in which of them they take.
    #[error("has a member twice of which one has references: {0}; name each once")]
    Twice(SafeText),
    /// A reference that cannot be resolved.
    #[error("{0}: a string {1}")]
    Reference(ServiceName, Problem),
}

/// Why an answer is not taken for a document with its references resolved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum InterpolationError {
    /// Something else came.
    #[error("the answer {0}")]
    JsonError(#[from] JsonError),
    /// A service is missing.
    #[error("the answer has no credentials for {0}")]
    NoCredentials(ServiceName),
    /// Readers would differ in which of them they take.
    #[error("the answer has a member twice on the way to credentials: {0}")]
    Twice(SafeText),
    /// The services stand in another order than that in which they were sent.
    #[error("the answer has {found} in the place of {wanted}")]
    Misplaced {
        /// Who stands there.
        found: ServiceName,
        /// Who was sent there.
        wanted: ServiceName,
    },
    /// A service was left as it was.
    #[error("the answer leaves the reference of {0} as it was")]
    Unresolved(ServiceName),
}

/// What `text` has for `sources`. A document that is empty has nothing.
///
/// # Errors
/// [`DocumentError`]; where there is nothing for us, only that it is no JSON.
pub(super) fn find(text: &str, sources: &[SecretSource]) -> Result<DocumentReferences, DocumentError> {
    let mut found = DocumentReferences::default();
    if text.trim().is_empty() {
        return Ok(found);
    }
    let mut twice = None;
    for element in bindings(json::value(text)?, &mut twice) {
        let Binding { label, index, members, .. } = &element;
        let Some(credentials) = json::member(members, CREDENTIALS) else { continue };
        let reference = sources.contains(&SecretSource::Credhub).then(|| credhub_reference(credentials)).flatten();
        match reference {
            Some(reference) => found.bindings.push(CredHubBinding {
                label: label.clone(),
                index: *index,
                service: element.service(),
                credentials: json::span(text, credentials),
                reference,
            }),
            None => found.strings.extend(strings(text, credentials, &element, sources)?),
        }
    }
    match twice {
        Some(name) if !found.bindings.is_empty() || !found.strings.is_empty() => Err(DocumentError::Twice(name)),
        _ => Ok(found),
    }
}

/// The credentials in `answer` for each of `bindings`, as they are written there.
///
/// # Errors
/// [`InterpolationError`]: it is not a document in which all of them are resolved.
pub(super) fn answered<'a>(answer: &'a str, bindings: &[CredHubBinding]) -> Result<Vec<&'a str>, InterpolationError> {
    let mut twice = None;
    let elements = self::bindings(json::value(answer)?, &mut twice);
    if let Some(name) = twice {
        return Err(InterpolationError::Twice(name));
    }
    for element in &elements {
        let credentials = json::member(&element.members, CREDENTIALS);
        if credentials.and_then(credhub_reference).is_some() {
            return Err(InterpolationError::Unresolved(element.service()));
        }
    }
    let credentials_of = |binding: &CredHubBinding| {
        let missing = || InterpolationError::NoCredentials(binding.service.clone());
        let is_there = |element: &&Binding<'_>| element.label == binding.label && element.index == binding.index;
        let element = elements.iter().find(is_there).ok_or_else(missing)?;
        // A reference alone is sent without a name.
        if element.name().is_some() && element.service() != binding.service {
            let (found, wanted) = (element.service(), binding.service.clone());
            return Err(InterpolationError::Misplaced { found, wanted });
        }
        let credentials = json::member(&element.members, CREDENTIALS);
        credentials.filter(|credentials| credentials.starts_with('{')).ok_or_else(missing)
    };
    bindings.iter().map(credentials_of).collect()
}

/// What DATABASE_URL is set to by the launcher of buildpacks: the first `credentials.uri` of a database that it knows, with the scheme
/// that Ruby on Rails has for it.
pub(super) fn database_url(text: &str) -> Option<SecretValue> {
    bindings(json::value(text).ok()?, &mut None).iter().find_map(|binding| {
        let credentials = json::members(json::member(&binding.members, CREDENTIALS)?)?;
        let uri = json::secret_string(json::member(&credentials, "uri")?)?;
        let (scheme, rest) = uri.text()?.split_once(':')?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "mysql" | "mysql2" => "mysql2",
            "postgres" | "postgresql" => "postgres",
            _ => return None,
        };
        let mut url = SecretValue::with_capacity(scheme.len() + 1 + rest.len());
        [scheme, ":", rest].iter().for_each(|part| url.push(part.as_bytes()));
        Some(url)
    })
}

const CREDENTIALS: &str = "credentials";

/// An element of one of the lists.
struct Binding<'a> {
    label: String,
    index: usize,
    members: Vec<Member<'a>>,
}

impl Binding<'_> {
    fn name(&self) -> Option<String> {
        let names = ["name", "instance_name", "binding_name"].into_iter();
        names.filter_map(|key| json::string(json::member(&self.members, key)?)).find(|name| !name.is_empty())
    }

    fn service(&self) -> ServiceName {
        ServiceName::named(&self.name().unwrap_or_else(|| format!("{}[{}]", self.label, self.index)))
    }
}

/// All that a document binds. `twice` becomes the name of a member that stands twice on the way to credentials.
fn bindings<'a>(document: &'a str, twice: &mut Option<SafeText>) -> Vec<Binding<'a>> {
    let mut all = Vec::new();
    let lists = json::members(document).unwrap_or_default();
    *twice = first_twice(lists.iter().map(|(name, _)| name.as_str()));
    for (label, list) in lists {
        for (index, element) in json::elements(list).unwrap_or_default().into_iter().enumerate() {
            let Some(members) = json::members(element) else { continue };
            if members.iter().filter(|(name, _)| name == CREDENTIALS).count() > 1 {
                *twice = Some(SafeText::quoted(CREDENTIALS));
            }
            all.push(Binding { label: label.clone(), index, members });
        }
    }
    all
}

fn first_twice<'a>(names: impl Iterator<Item = &'a str>) -> Option<SafeText> {
    let mut seen = std::collections::HashSet::new();
    names.into_iter().find(|name| !seen.insert(*name)).map(SafeText::quoted)
}

/// What `credentials` refer to, if they are an object that refers to CredHub; by which member CredHub decides so.
fn credhub_reference(credentials: &str) -> Option<String> {
    let members = json::members(credentials)?;
    json::member(&members, "credhub_ref").or_else(|| json::member(&members, "credhub-ref")).and_then(json::string)
}

fn strings(
    text: &str,
    credentials: &str,
    binding: &Binding<'_>,
    sources: &[SecretSource],
) -> Result<Vec<ReferringString>, DocumentError> {
    let start = json::span(text, credentials).start;
    let mut strings = Vec::new();
    for span in json::strings(credentials) {
        let Some(value) = json::string(&credentials[span.clone()]) else { continue };
        let template = reference::parse(&value, sources, ReferenceLocation::Document);
        if let Some(template) = template.map_err(|problem| DocumentError::Reference(binding.service(), problem))? {
            let span = start + span.start..start + span.end;
            strings.push(ReferringString { service: binding.service(), span, template });
        }
    }
    Ok(strings)
}

#[cfg(test)]
mod tests;
