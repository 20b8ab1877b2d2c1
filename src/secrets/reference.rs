//! References: what stands in the place of a secret, and says whom to ask for it.
//!
//! ```text
//! vault:PATH#KEY[#VERSION]   ${vault:PATH#KEY} within a longer value   transit:MOUNT/KEY:vault:v1:...   credhub:/NAME[#KEY]   file:/PATH
//! ```
//! each with `?file`, `?optional` or `?file&optional` behind it. Pure: any text at all, and no message repeats any of it.

use std::path::PathBuf;

use super::Request;
use crate::config::SecretSource;
use crate::diagnostics::Problem;

/// One reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// What its source is asked.
    pub request: Request,
    /// Which part of the answer is meant; `None`: the whole.
    pub key: Option<String>,
    /// The value goes into a file, and its path takes the value's place.
    pub as_file: bool,
    /// A secret that is missing is no failure.
    pub optional: bool,
}

/// A part of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplatePart {
    /// It stays as it is.
    Text(String),
    /// It is resolved.
    Reference(Reference),
}

/// A value that refers to secrets. Invariant: at least one of its pieces is a reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretTemplate(pub Vec<TemplatePart>);

/// Where a value stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReferenceLocation {
    /// In a variable of the app.
    Variable,
    /// In a string below `credentials`, which others than the app's owner may have written.
    Document,
}

/// What stands in a value, if it is for one of `sources`; `None`: nothing does, and the value is left alone.
///
/// # Errors
/// [`Problem`]: it is meant for one of them, and is none that can be resolved.
pub(super) fn parse(
    value: &str,
    sources: &[SecretSource],
    place: ReferenceLocation,
) -> Result<Option<SecretTemplate>, Problem> {
    let of = |source: SecretSource| sources.contains(&source);
    let is_sealed = |text: &str| text.strip_prefix("vault:").is_some_and(is_ciphertext);
    if (of(SecretSource::Vault) || of(SecretSource::Transit)) && is_sealed(value) {
        return Err(Problem::new(
            "is a sealed value, and does not say which key opens it",
            "write transit:MOUNT/KEY: in front of vault:v1:...",
        ));
    }
    let whole = |reference| Ok(Some(SecretTemplate(vec![TemplatePart::Reference(reference)])));
    if of(SecretSource::Vault) {
        if value.starts_with(">>vault:") || value.contains("${>>vault:") {
            return Err(Problem::new("would write to Vault, which is not done", "write vault:PATH#KEY"));
        }
        if let Some(rest) = value.strip_prefix("vault:") {
            return whole(vault(rest, place)?);
        }
        if value.contains(INLINE) {
            return inline(value, place).map(Some);
        }
    }
    if of(SecretSource::Transit)
        && let Some(rest) = value.strip_prefix("transit:")
    {
        return whole(transit(rest, place)?);
    }
    if place == ReferenceLocation::Document {
        return Ok(None);
    }
    if of(SecretSource::Credhub)
        && let Some(rest) = value.strip_prefix("credhub:")
    {
        return whole(credhub(rest)?);
    }
    // `file:///x` and `file:x` are URLs of others.
    if of(SecretSource::File)
        && let Some(rest) = value.strip_prefix("file:")
        && rest.starts_with('/')
        && !rest.starts_with("//")
    {
        return whole(file(rest)?);
    }
    Ok(None)
}

/// How a reference within a longer value begins.
const INLINE: &str = "${vault:";

fn inline(value: &str, place: ReferenceLocation) -> Result<SecretTemplate, Problem> {
    let mut pieces = Vec::new();
    let mut rest = value;
    while let Some(at) = rest.find(INLINE) {
        if at > 0 {
            pieces.push(TemplatePart::Text(rest[..at].to_owned()));
        }
        let behind = &rest[at + INLINE.len()..];
        let Some((reference, after)) = behind.split_once('}') else {
            return Err(Problem::new("has ${vault: without a } behind it", "write ${vault:PATH#KEY}"));
        };
        if is_ciphertext(reference) {
            let help = "write transit:MOUNT/KEY:vault:v1:... as the whole value";
            return Err(Problem::new("has a sealed value that does not say which key opens it", help));
        }
        pieces.push(TemplatePart::Reference(vault(reference, place)?));
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(TemplatePart::Text(rest.to_owned()));
    }
    Ok(SecretTemplate(pieces))
}

/// Whether `text` goes on like what the transit engine writes behind `vault:`.
fn is_ciphertext(text: &str) -> bool {
    let version = text.strip_prefix('v').and_then(|rest| rest.split_once(':')).map(|(version, _)| version);
    version.is_some_and(|version| !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit()))
}

fn vault(text: &str, place: ReferenceLocation) -> Result<Reference, Problem> {
    const HELP: &str = "write vault:PATH#KEY, such as vault:secret/data/app#password";
    if text == "login" {
        return Err(Problem::new(
            "asks for a token, which the app is not given: ours is not for others",
            "write it by vestibule token vault --write FILE, or refer to the secrets themselves",
        ));
    }
    let (text, options) = options(text, place)?;
    let mut parts = text.split('#');
    let (path, key, version) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    let Some(key) = key.filter(|key| !key.is_empty()) else {
        return Err(Problem::new("does not say which part of the secret is meant", HELP));
    };
    if key.contains("${") {
        return Err(Problem::new(
            "has a template in the place of a key, which is not filled in",
            "write ${vault:PATH#KEY} for each part, with the text around it",
        ));
    }
    if parts.next().is_some() {
        return Err(Problem::new("has more than two # in it", "write vault:PATH#KEY#VERSION"));
    }
    is_path(path).then_some(()).ok_or_else(|| {
        Problem::new(
            "has no path that could be asked for",
            "write it as it stands behind /v1/ in Vault's API, such as secret/data/app, without . and .. in it",
        )
    })?;
    is_printable(key).then_some(()).ok_or_else(|| Problem::new("has a key that is no text", HELP))?;
    let version = match version {
        None => None,
        Some(version) => Some(version.parse().ok().filter(|version| *version > 0).ok_or_else(|| {
            Problem::new("has a version that is no number above 0", "write vault:PATH#KEY#3, or leave it out")
        })?),
    };
    let request = Request::Vault { path: path.to_owned(), version };
    Ok(options.of(request, Some(key.to_owned())))
}

fn transit(text: &str, place: ReferenceLocation) -> Result<Reference, Problem> {
    const HELP: &str = "write transit:MOUNT/KEY:vault:v1:..., such as transit:transit/app:vault:v1:...";
    let wrong = |what: &str| Problem::new(what, HELP);
    let (text, options) = options(text, place)?;
    let at = text.find(":vault:").ok_or_else(|| wrong("has no sealed value in it"))?;
    let (place, ciphertext) = (&text[..at], &text[at + 1..]);
    let (mount, key) = place.rsplit_once('/').ok_or_else(|| wrong("does not say which key opens it"))?;
    if !is_path(mount) || !is_path(key) {
        return Err(wrong("does not say which key opens it"));
    }
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    let sealed = ciphertext.strip_prefix("vault:").filter(|rest| is_ciphertext(rest));
    let sealed = sealed.and_then(|rest| rest.split_once(':')).map(|(_, sealed)| sealed);
    if !sealed.is_some_and(|sealed| !sealed.is_empty() && sealed.bytes().all(is_base64)) {
        return Err(wrong("has a sealed value that is not whole"));
    }
    let (mount, key, ciphertext) = (mount.to_owned(), key.to_owned(), ciphertext.to_owned());
    Ok(options.of(Request::Transit { mount, key, ciphertext }, None))
}

fn credhub(text: &str) -> Result<Reference, Problem> {
    const HELP: &str = "write credhub:/NAME, or credhub:/NAME#KEY for a part of it";
    let (text, options) = options(text, ReferenceLocation::Variable)?;
    let (name, key) = match text.split_once('#') {
        Some((name, key)) => (name, Some(key)),
        None => (text, None),
    };
    if !name.strip_prefix('/').is_some_and(is_path) {
        return Err(Problem::new("has no name that CredHub could know", HELP));
    }
    if key.is_some_and(|key| key.is_empty() || key.contains('#') || !is_printable(key)) {
        return Err(Problem::new("has a # without a key behind it", HELP));
    }
    Ok(options.of(Request::CredHub { name: name.to_owned() }, key.map(str::to_owned)))
}

fn file(text: &str) -> Result<Reference, Problem> {
    let (path, options) = options(text, ReferenceLocation::Variable)?;
    if !is_printable(path) || path.ends_with('/') {
        return Err(Problem::new("names no file", "write file:/PATH"));
    }
    Ok(options.of(Request::File { path: PathBuf::from(path) }, None))
}

/// What stands behind the `?`.
#[derive(Default)]
struct Options {
    as_file: bool,
    optional: bool,
}

impl Options {
    fn of(self, request: Request, key: Option<String>) -> Reference {
        Reference { request, key, as_file: self.as_file, optional: self.optional }
    }
}

fn options(text: &str, place: ReferenceLocation) -> Result<(&str, Options), Problem> {
    let Some((text, words)) = text.rsplit_once('?') else { return Ok((text, Options::default())) };
    let mut options = Options::default();
    for word in words.split('&') {
        let option = match word {
            "file" => &mut options.as_file,
            "optional" => &mut options.optional,
            _ => {
                let help = "write ?file, ?optional or ?file&optional at its end";
                return Err(Problem::new("has something else behind its ? than an option", help));
            }
        };
        if std::mem::replace(option, true) {
            return Err(Problem::new("has an option twice", "write it once"));
        }
    }
    if options.optional && place == ReferenceLocation::Document {
        return Err(Problem::new(
            "is ?optional, which only a variable can be: nothing would be left in its place",
            "leave it out",
        ));
    }
    Ok((text, options))
}

/// Whether `text` is one path or name that leads to one thing alone, whoever reads it.
fn is_path(text: &str) -> bool {
    let is_segment = |segment: &str| !matches!(segment, "" | "." | "..");
    is_printable(text) && !text.contains(['?', '#', '\\']) && text.split('/').all(is_segment)
}

fn is_printable(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests;
