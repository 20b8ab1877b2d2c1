//! Walking through a document, noting what is wrong on the way.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::schema::{FieldHandling, Message, MessageField, UnknownFieldHandling};
use super::yaml;
use super::yaml::Node;
use crate::diagnostics::redact::{may_be_secret_name, quote};
use crate::diagnostics::{Diagnostic, Diagnostics, Problem, Source};

/// Proof that an error in Envoy's document has been noted, which is why there is no value.
#[derive(Clone, Copy)]
pub(super) struct FieldProblem(());

/// A value and its path, `static_resources.listeners[2].name`. What is absent has a path as well, and says nothing.
#[derive(Clone)]
pub(super) struct LocatedNode<'n> {
    pub(super) node: &'n Node<'n>,
    pub(super) path: String,
}

/// What has been found wrong, or worth a line, so far.
pub(super) struct MessageReader<'p> {
    file: &'p Path,
    diagnostics: Vec<(String, Diagnostic)>,
    notes: Vec<String>,
}

impl<'n> LocatedNode<'n> {
    /// The whole document.
    pub(super) fn root(node: &'n Node<'n>) -> Self {
        Self { node, path: String::new() }
    }

    /// The field of that name; it says nothing where there is none.
    pub(super) fn field(&self, name: &str) -> Self {
        Self { node: self.node.get(name).unwrap_or(&Node::Null), path: self.within(name) }
    }

    /// The field at the end of a path of names.
    pub(super) fn along(&self, names: &[&str]) -> Self {
        names.iter().fold(self.clone(), |at, name| at.field(name))
    }

    /// The elements, if it is a list.
    pub(super) fn items(&self) -> Vec<Self> {
        let Node::List(nodes) = self.node else { return Vec::new() };
        let item = |(i, node)| Self { node, path: format!("{}[{i}]", self.path) };
        nodes.iter().enumerate().map(item).collect()
    }

    /// Whether it says nothing: it is not there, or empty.
    pub(super) fn is_absent(&self) -> bool {
        match self.node {
            Node::Null => true,
            Node::Text(text) => text.is_empty(),
            Node::List(nodes) => nodes.is_empty(),
            Node::Word(_) | Node::Map(_) => false,
        }
    }

    fn within(&self, name: &str) -> String {
        // A key that stands in the place of a field's name is not repeated.
        let name = if may_be_secret_name(name) { "(not shown)" } else { name };
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }
}

impl<'p> MessageReader<'p> {
    pub(super) fn new(file: &'p Path) -> Self {
        Self { file, diagnostics: Vec::new(), notes: Vec::new() }
    }

    /// The tree that `text` describes, or what is wrong with it as YAML.
    pub(super) fn tree<'t>(&self, text: &'t str, largest: usize) -> Result<Node<'t>, Diagnostics> {
        yaml::parse_yaml(text, largest).map_err(|not| {
            let place = Source::File { path: self.file.to_owned(), line: not.line, key: String::new() };
            Diagnostics::from(not.problem.at(place))
        })
    }

    /// `value`, unless an error has been noted; with it, what is worth a line in the log.
    pub(super) fn finish<T>(self, value: Result<T, FieldProblem>) -> Result<(T, Vec<String>), Diagnostics> {
        match value {
            Ok(value) if self.diagnostics.is_empty() => Ok((value, self.notes)),
            // Not empty: whoever holds a `Reported` has noted an error.
            _ => Err(Diagnostics::new(self.diagnostics.into_iter().map(|(_, diagnostic)| diagnostic).collect())),
        }
    }

    /// Notes an error, unless one is known about it or about what it stands in: it would be a consequence of that.
    pub(super) fn wrong(
        &mut self,
        at: &LocatedNode<'_>,
        what: impl Into<String>,
        help: impl Into<String>,
    ) -> FieldProblem {
        let covers = |known: &str| match at.path.strip_prefix(known) {
            Some(rest) => known.is_empty() || rest.is_empty() || rest.starts_with(['.', '[']),
            None => false,
        };
        if !self.diagnostics.iter().any(|(known, _)| covers(known)) {
            let place = Source::File { path: self.file.to_owned(), line: None, key: at.path.clone() };
            self.diagnostics.push((at.path.clone(), Problem::new(what, help).at(place)));
        }
        FieldProblem(())
    }

    /// Notes something that is no error and worth a line in the log.
    pub(super) fn note(&mut self, at: &LocatedNode<'_>, what: &str) {
        self.notes.push(format!("{}: {}: {what}", self.file.display(), at.path));
    }

    /// Judges every field of a message, and of the messages in it: whether we do what it says, or may overlook it.
    ///
    /// What is refused is never quoted: it may be a key.
    pub(super) fn check_keys(&mut self, at: &LocatedNode<'_>, message: &Message) {
        let Node::Map(entries) = at.node else {
            if !at.node.is_default() {
                self.wrong(at, format!("expected a mapping, found {}", at.node.kind()), "write its fields below it");
            }
            return;
        };
        if let Some(kind) = message.kind
            && at.field("@type").node.text() != Some(kind)
        {
            self.wrong(at, "this type is not supported", format!("the only '@type' here is {kind}"));
            return;
        }
        for (name, node) in entries {
            match message.field(name) {
                Some(field) => self.check_field(&LocatedNode { node, path: at.within(name) }, field),
                None if name == "@type" && message.kind.is_some() => {}
                None => self.check_unknown(at, name, node, message),
            }
        }
    }

    fn check_field(&mut self, at: &LocatedNode<'_>, field: &MessageField) {
        match &field.handling {
            FieldHandling::Message(message) => self.check_keys(at, message),
            FieldHandling::Messages(message) => match at.node {
                Node::List(_) => at.items().iter().for_each(|item| self.check_keys(item, message)),
                Node::Null => {}
                node => self.reject(at, format!("expected a list, found {}", node.kind()), "begin each with -"),
            },
            FieldHandling::Honoured(_) | FieldHandling::Ignored(_) => {}
            FieldHandling::Only(words) => match at.node {
                Node::Null => {}
                node if node.text().is_some_and(|text| words.contains(&text)) => {}
                _ => self.reject(at, format!("only {} is supported", words.join(" or ")), "write that, or nothing"),
            },
            FieldHandling::Refused(_) if at.node.is_unset() => {}
            FieldHandling::Empty(_) if matches!(at.node, Node::Map(entries) if entries.is_empty()) => {}
            FieldHandling::Empty(_) if at.node.is_unset() => {}
            FieldHandling::Refused(why) | FieldHandling::Empty(why) => {
                self.reject(at, format!("not supported: {why}"), "leave it out")
            }
        }
    }

    /// Notes an error that nobody waits for.
    fn reject(&mut self, at: &LocatedNode<'_>, what: String, help: &str) {
        self.wrong(at, what, help);
    }

    fn check_unknown(&mut self, at: &LocatedNode<'_>, name: &str, node: &Node<'_>, message: &Message) {
        let at = LocatedNode { node, path: at.within(presentable(name)) };
        // Envoy reads these names as well, and we would overlook what they say.
        if let Some(known) = message.field(&snake_case(name)) {
            self.wrong(&at, format!("this form of {} is not supported", known.name), format!("write {}", known.name));
        } else if node.is_default() {
            // Every field of a newer Envoy that a writer spells out.
        } else if message.unknown == UnknownFieldHandling::Warned || is_enum_like(node) {
            self.note(&at, "not known, and ignored");
        } else {
            self.wrong(&at, "not known, and it may decide what clients or the app see", "leave it out");
        }
    }

    /// The one element of a list.
    pub(super) fn single<'n>(&mut self, at: &LocatedNode<'n>) -> Result<LocatedNode<'n>, FieldProblem> {
        let mut items = at.items();
        let found = items.len();
        match items.pop() {
            Some(item) if found == 1 => Ok(item),
            _ => Err(self.wrong(at, format!("expected exactly one, found {found}"), "write one element")),
        }
    }

    /// Some text that must be there.
    pub(super) fn text<'n>(&mut self, at: &LocatedNode<'n>) -> Result<&'n str, FieldProblem> {
        match at.node.text() {
            Some(text) if !text.is_empty() => Ok(text),
            Some(_) => Err(self.wrong(at, "is empty", "write a value")),
            None if at.is_absent() => Err(self.wrong(at, "is missing", "write a value")),
            None => {
                let what = format!("expected a single value, found {}", at.node.kind());
                Err(self.wrong(at, what, "write a single value"))
            }
        }
    }

    /// A path that must be there.
    pub(super) fn path(&mut self, at: &LocatedNode<'_>) -> Result<PathBuf, FieldProblem> {
        let text = self.text(at)?;
        if text.contains('\0') {
            return Err(self.wrong(at, "holds a NUL character", "name a file"));
        }
        Ok(PathBuf::from(text))
    }

    /// A truth value; false where there is none.
    pub(super) fn flag(&mut self, at: &LocatedNode<'_>) -> Result<bool, FieldProblem> {
        match at.node {
            Node::Null => Ok(false),
            Node::Word(word) if word == "true" => Ok(true),
            Node::Word(word) if word == "false" => Ok(false),
            // `yes` and `"true"` are no truth values, and guessing would let strangers in.
            _ => Err(self.wrong(at, "is neither true nor false", "write true or false, without quotes")),
        }
    }

    /// A duration as protobuf writes it, `0.250s`; none where there is none.
    pub(super) fn duration(&mut self, at: &LocatedNode<'_>) -> Result<Option<Duration>, FieldProblem> {
        if at.is_absent() {
            return Ok(None);
        }
        let text = self.text(at)?;
        match duration(text) {
            Some(duration) if !duration.is_zero() => Ok(Some(duration)),
            Some(_) => Err(self.wrong(at, "no time at all", "write seconds, as in 0.250s")),
            None => Err(self.wrong(at, format!("{} is no duration", quote(text)), "write seconds, as in 0.250s")),
        }
    }

    /// An `Address`: TCP, and a number rather than a name.
    pub(super) fn socket(&mut self, at: &LocatedNode<'_>) -> Result<SocketAddr, FieldProblem> {
        if at.field("socket_address").is_absent() {
            return Err(self.wrong(&at.field("socket_address"), "is missing", "write address and port_value"));
        }
        let at = at.field("socket_address");
        let (ip, port) = (at.field("address"), at.field("port_value"));
        let ip = self.text(&ip).and_then(|text| {
            let problem = |_| self.wrong(&ip, format!("{} is no IP address", quote(text)), "write one, as in 0.0.0.0");
            text.parse::<IpAddr>().map_err(problem)
        });
        let port = self.text(&port).and_then(|text| {
            let problem = |_| self.wrong(&port, format!("{} is no port", quote(text)), "write a number up to 65535");
            text.parse::<u16>().map_err(problem)
        });
        Ok(SocketAddr::new(ip?, port?))
    }
}

/// `0.250s`: protobuf's JSON allows up to nine digits behind the point.
fn duration(text: &str) -> Option<Duration> {
    let number = text.strip_suffix('s')?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits(whole) || !is_digits(fraction) || fraction.len() > 9 {
        return None;
    }
    // Longer than a century is no deadline that anybody meant, and arithmetic with it would overflow.
    let seconds = whole.parse().ok().filter(|seconds| *seconds <= 100 * 366 * 24 * 3600)?;
    Some(Duration::new(seconds, format!("{fraction:0<9}").parse().ok()?))
}

/// `name` as a part of a path, or `?` where it does not look like a field of a message: a line of a key may have
/// slipped to where a name is expected.
fn presentable(name: &str) -> &str {
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_@.-".contains(c);
    let is_camel = |name: &str| name.len() <= 40 && name.chars().all(|c| is_part(c) || c.is_ascii_uppercase());
    // A key's lines are longer than a name, and have more capitals than a name has words.
    let capitals = name.chars().filter(char::is_ascii_uppercase).count();
    if is_camel(name) && capitals * 4 <= name.len() && !name.is_empty() { name } else { "?" }
}

/// `staticResources` as `static_resources`.
fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

/// Whether it is one of an enumeration's words: which of them is the default cannot be told of one that is not known.
fn is_enum_like(node: &Node<'_>) -> bool {
    let is_word = |word: &str| {
        word.len() <= 64 && word.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    };
    matches!(node, Node::Word(word) if word.starts_with(|c: char| c.is_ascii_uppercase()) && is_word(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_protobufs() {
        let read = |text| duration(text);
        assert_eq!(read("0.250s"), Some(Duration::from_millis(250)));
        assert_eq!(read("5s"), Some(Duration::from_secs(5)));
        assert_eq!(read("1.000000001s"), Some(Duration::new(1, 1)));
        for problem in
            ["", "s", "5", "0.25", "-1s", "+1s", ".5s", "5.s", "1.0000000001s", "1e3s", "99999999999s", "1 s"]
        {
            assert_eq!(read(problem), None, "{problem}");
        }
    }

    #[test]
    fn a_line_of_a_key_is_no_name() {
        for name in ["filter_chains", "filterChains", "@type", "x", "per_connection_buffer_limit_bytes"] {
            assert_eq!(presentable(name), name);
        }
        for line in [
            "MIIG4wIBAAKCAYEAsN4d/Go5R04JXWQfB6+aRZ+0zJBooDDad1a7mCmYrqEqrNlg",
            "rN2goyJoNK1cQrXyXbMWZASsjsaMhJ3",
            "yLM=",
            "-----BEGIN RSA PRIVATE KEY-----",
            "",
        ] {
            assert_eq!(presentable(line), "?", "{line}");
        }
    }
}
