//! YAML, read into a tree, within bounds: the documents are small and plain, and whatever else YAML can do is refused.
//!
//! JSON is YAML, so JSON is read as well.

use std::borrow::Cow;
use std::collections::HashSet;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, StrInput};

use crate::diagnostics::Problem;

/// How deep lists and mappings may stand in each other. Diego's documents are 15 deep.
const DEEPEST: usize = 64;

/// How many values a document may have. A container with a hundred ports has some ten thousand.
const MAX_VALUES: usize = 100_000;

const MEND: &str = "write it as Diego does: plain YAML or JSON, one document";

/// A value. It has no `Debug`: it may be a key.
pub(super) enum Node<'a> {
    /// `null`, `~` or nothing at all.
    Null,
    /// A word without quotes, which may be a number or a truth value.
    Word(Cow<'a, str>),
    /// Text in quotes or in a block.
    Text(Cow<'a, str>),
    /// A list.
    List(Vec<Self>),
    /// A mapping in the order in which it was written. No key is there twice.
    Map(Vec<(Cow<'a, str>, Self)>),
}

/// What is wrong with a document as YAML, and in which line, from 1; `None` where all of it is meant.
pub(super) struct YamlError {
    pub(super) line: Option<usize>,
    pub(super) problem: Problem,
}

impl YamlError {
    /// The parser's own messages name what it expected, and never quote the document.
    fn at(marker: &Marker, what: impl std::fmt::Display) -> Self {
        Self { line: Some(marker.line()), problem: Problem::new(format!("column {}: {what}", marker.col() + 1), MEND) }
    }
}

/// Reads a document of at most `largest` bytes.
pub(super) fn parse_yaml(text: &str, largest: usize) -> Result<Node<'_>, YamlError> {
    if text.len() > largest {
        let what = format!("larger than {} MiB", largest / 1024 / 1024);
        return Err(YamlError { line: None, problem: Problem::new(what, "leave out what is not needed") });
    }
    let mut root = None;
    let mut open: Vec<OpenNode<'_>> = Vec::new();
    let mut values = 0;
    let mut parser = Parser::new_from_str(text);
    while let Some((event, at)) = next(&mut parser)? {
        let event = plain(event).map_err(|what| YamlError::at(&at, what))?;
        if root.is_some() && !matches!(event, Plain::Mark) {
            return Err(YamlError::at(&at, "a second document"));
        }
        let node = match event {
            Plain::Mark => continue,
            Plain::Scalar(node) => node,
            Plain::Begin(collection) => {
                if open.len() == DEEPEST {
                    return Err(YamlError::at(&at, format_args!("more than {DEEPEST} levels deep")));
                }
                open.push(collection);
                continue;
            }
            Plain::End => match open.pop() {
                Some(collection) => collection.close(),
                None => continue,
            },
        };
        values += 1;
        if values > MAX_VALUES {
            return Err(YamlError::at(&at, format_args!("more than {MAX_VALUES} values")));
        }
        match open.last_mut() {
            Some(collection) => collection.add(node).map_err(|what| YamlError::at(&at, what))?,
            None => root = Some(node),
        }
    }
    match root {
        None | Some(Node::Null) => Err(YamlError { line: None, problem: Problem::new("is empty", MEND) }),
        Some(root) => Ok(root),
    }
}

fn next<'a>(parser: &mut Parser<'a, StrInput<'a>>) -> Result<Option<(Event<'a>, Marker)>, YamlError> {
    match parser.next_event() {
        None => Ok(None),
        Some(Ok((event, span))) => Ok(Some((event, span.start))),
        Some(Err(error)) => Err(YamlError::at(error.marker(), format_args!("not YAML: {}", error.info()))),
    }
}

/// An event of a document that uses neither anchors nor tags.
enum Plain<'a> {
    /// Nothing that has a value.
    Mark,
    Scalar(Node<'a>),
    Begin(OpenNode<'a>),
    End,
}

fn plain(event: Event<'_>) -> Result<Plain<'_>, &'static str> {
    let (anchor, tag, plain) = match event {
        Event::Alias(_) => return Err("an alias"),
        Event::Scalar(text, style, anchor, tag) => (anchor, tag, Plain::Scalar(scalar(text, style))),
        Event::SequenceStart(anchor, tag) => (anchor, tag, Plain::Begin(OpenNode::List(Vec::new()))),
        Event::MappingStart(anchor, tag) => {
            let map = OpenNode::Map { entries: Vec::new(), keys: HashSet::new(), key: None };
            (anchor, tag, Plain::Begin(map))
        }
        Event::SequenceEnd | Event::MappingEnd => return Ok(Plain::End),
        Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {
            return Ok(Plain::Mark);
        }
    };
    match (anchor, tag) {
        (0, None) => Ok(plain),
        (0, Some(_)) => Err("a tag"),
        _ => Err("an anchor"),
    }
}

fn scalar(text: Cow<'_, str>, style: ScalarStyle) -> Node<'_> {
    match style {
        ScalarStyle::Plain if matches!(&*text, "" | "~" | "null" | "Null" | "NULL") => Node::Null,
        ScalarStyle::Plain => Node::Word(text),
        _ => Node::Text(text),
    }
}

/// A list or a mapping whose end has not come yet.
enum OpenNode<'a> {
    List(Vec<Node<'a>>),
    Map {
        entries: Vec<(Cow<'a, str>, Node<'a>)>,
        keys: HashSet<Cow<'a, str>>,
        /// The key whose value comes next.
        key: Option<Cow<'a, str>>,
    },
}

impl<'a> OpenNode<'a> {
    fn add(&mut self, node: Node<'a>) -> Result<(), &'static str> {
        match self {
            Self::List(nodes) => nodes.push(node),
            Self::Map { entries, keys, key } => match key.take() {
                Some(key) => entries.push((key, node)),
                None => match node {
                    Node::Word(name) | Node::Text(name) if keys.insert(name.clone()) => *key = Some(name),
                    Node::Word(_) | Node::Text(_) => return Err("a key that is there already"),
                    Node::Null | Node::List(_) | Node::Map(_) => return Err("a key that is no text"),
                },
            },
        }
        Ok(())
    }

    fn close(self) -> Node<'a> {
        match self {
            Self::List(nodes) => Node::List(nodes),
            Self::Map { entries, .. } => Node::Map(entries),
        }
    }
}

impl Node<'_> {
    /// What kind of thing it is, for a person.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Word(_) | Self::Text(_) => "a single value",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }

    /// Whether it says nothing: a writer that spells out the defaults puts it where nothing was said. A mapping does
    /// say something, even an empty one: such a writer leaves out what is not there.
    pub(super) fn is_unset(&self) -> bool {
        match self {
            Self::Null => true,
            // 64-bit numbers are text.
            Self::Word(text) | Self::Text(text) => matches!(&**text, "" | "false" | "0"),
            Self::List(nodes) => nodes.is_empty(),
            Self::Map(_) => false,
        }
    }

    /// Whether there is nothing in it but what says nothing.
    pub(super) fn is_default(&self) -> bool {
        match self {
            Self::Map(entries) => entries.iter().all(|(_, node)| node.is_default()),
            node => node.is_unset(),
        }
    }

    /// The value of `key`, if this is a mapping that has it.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Map(entries) => entries.iter().find(|(name, _)| name == key).map(|(_, node)| node),
            _ => None,
        }
    }

    /// A single value, quoted or not.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Word(text) | Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    const LARGEST: usize = 4 * 1024 * 1024;

    /// What is wrong, and in which line.
    fn refused(text: &str) -> (Option<usize>, String) {
        let started = Instant::now();
        let Err(YamlError { line, problem }) = parse_yaml(text, LARGEST) else { panic!("read: {:.60}", text) };
        // Far more than it takes, and far less than a bomb would.
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}: {:.60}", started.elapsed(), text);
        (line, problem.what)
    }

    #[test]
    fn anchors_aliases_and_tags_are_refused_with_their_line() {
        assert_eq!(refused("a: 1\nb: &x 2\n"), (Some(2), "column 4: an anchor".into()));
        assert_eq!(refused("a: !!binary x\n"), (Some(1), "column 4: a tag".into()));
        assert!(refused("a: &x [&y []]\nb: *x\n").1.contains("an anchor"));
        assert!(refused("a: *x\n").1.contains("not YAML: while parsing node, found unknown anchor"));
    }

    #[test]
    fn a_key_that_is_there_twice_is_refused() {
        assert_eq!(refused("a: 1\nb: 2\n\"a\": 3\n"), (Some(3), "column 1: a key that is there already".into()));
        assert_eq!(refused("? [a]\n: 1\n").1, "column 5: a key that is no text");
    }

    #[test]
    fn a_document_is_one_and_not_empty() {
        for empty in ["", "# nothing\n", "---\n", "null", "~"] {
            assert_eq!(refused(empty), (None, "is empty".into()), "{empty:?}");
        }
        assert_eq!(refused("a: 1\n---\nb: 2\n"), (Some(3), "column 1: a second document".into()));
    }

    #[test]
    fn what_is_hostile_is_refused_quickly() {
        assert_eq!(refused(&"x".repeat(100_000_000)), (None, "larger than 4 MiB".into()));
        for deep in ["[", "{a: ", "[[[\n", "- ", "? ", "{", "- - \n"] {
            refused(&deep.repeat(LARGEST / deep.len()));
        }
        for wide in ["- a\n", "? \n", "a, "] {
            let many = if wide == "a, " { format!("[{}]", wide.repeat(1_000_000)) } else { wide.repeat(1_000_000) };
            refused(&many);
        }
        let nested: String = (0..2000).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
        assert_eq!(refused(&nested).1, "column 65: more than 64 levels deep");
        // The classic: nine levels of nine.
        refused("a: &a [x]\nb: &b [*a,*a,*a]\nc: &c [*b,*b,*b]\n");
    }

    #[test]
    fn a_large_text_is_read_at_once() {
        let pem = format!("  {}\n", "A".repeat(64)).repeat(8_000);
        let text = format!("a: |\n{pem}");
        let reading = || {
            let started = Instant::now();
            let Ok(root) = parse_yaml(&text, LARGEST) else { panic!("half a mebibyte") };
            assert_eq!(root.get("a").and_then(Node::text).map(str::len), Some(8_000 * 65));
            started.elapsed()
        };
        // A busy machine makes some readings long, and a reader that is slow all of them.
        let limit = Duration::from_millis(200);
        assert!((0..10).any(|_| reading() < limit), "none within {limit:?}");
    }

    #[test]
    fn json_is_yaml() {
        let Ok(root) = parse_yaml("{\"a\": [1, \"2\", true, null, {\"b\": \"\\u0041\"}]}", LARGEST) else {
            panic!("JSON")
        };
        let Some(Node::List(items)) = root.get("a") else { panic!("a list") };
        assert_eq!(items.iter().map(Node::text).collect::<Vec<_>>(), [Some("1"), Some("2"), Some("true"), None, None]);
        assert_eq!(items[4].get("b").and_then(Node::text), Some("A"));
    }
}
