//! How the documents' fields are described: once, for the reading and for the manual.

/// A message of Envoy's API, with the fields that we know.
pub(super) struct Message {
    /// The only `@type` it may be of, where a document may hold messages of any type.
    pub(super) kind: Option<&'static str>,
    /// What becomes of a field that is not in the list and says something.
    pub(super) unknown: UnknownFieldHandling,
    /// Every field of it that we know, which is all that Envoy 1.40 has.
    pub(super) fields: &'static [MessageField],
}

/// What becomes of a field that is not known and has no default value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum UnknownFieldHandling {
    /// It may decide who comes in or what becomes of the bytes.
    Refused,
    /// It concerns Envoy as a program. A newer Diego must not stop an app, so a line in the log is all.
    Warned,
}

/// A field of a message.
pub(super) struct MessageField {
    pub(super) name: &'static str,
    pub(super) handling: FieldHandling,
}

/// What becomes of a field.
pub(super) enum FieldHandling {
    /// The field is a message.
    Message(&'static Message),
    /// The field is a list of messages.
    Messages(&'static Message),
    /// The field is read; in what way.
    Honoured(&'static str),
    /// It cannot change what anybody sees of a connection, whatever it says; why not.
    Ignored(&'static str),
    /// It may be absent or one of these words, which are what we do anyway.
    Only(&'static [&'static str]),
    /// It may be false, zero or empty, and nothing else; why not.
    Refused(&'static str),
    /// It is a mapping from names that are ours to choose, and may have no entry; why not.
    Empty(&'static str),
}

/// A line of the manual: a field, and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManualRow {
    /// The path of the field, with `[]` for each element of a list.
    pub field: String,
    /// `honoured`, `ignored` or `refused`.
    pub handling: &'static str,
    /// In what way, or why.
    pub meaning: String,
}

pub(super) const fn message(name: &'static str, message: &'static Message) -> MessageField {
    MessageField { name, handling: FieldHandling::Message(message) }
}

pub(super) const fn messages(name: &'static str, message: &'static Message) -> MessageField {
    MessageField { name, handling: FieldHandling::Messages(message) }
}

pub(super) const fn honoured(name: &'static str, how: &'static str) -> MessageField {
    MessageField { name, handling: FieldHandling::Honoured(how) }
}

pub(super) const fn ignored(name: &'static str, why: &'static str) -> MessageField {
    MessageField { name, handling: FieldHandling::Ignored(why) }
}

pub(super) const fn only(name: &'static str, words: &'static [&'static str]) -> MessageField {
    MessageField { name, handling: FieldHandling::Only(words) }
}

pub(super) const fn refused(name: &'static str, why: &'static str) -> MessageField {
    MessageField { name, handling: FieldHandling::Refused(why) }
}

pub(super) const fn empty(name: &'static str, why: &'static str) -> MessageField {
    MessageField { name, handling: FieldHandling::Empty(why) }
}

impl Message {
    /// The field of that name.
    pub(super) fn field(&self, name: &str) -> Option<&MessageField> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// The lines of the manual for everything in it, in the order in which it is described.
    pub(super) fn rows(&self) -> Vec<ManualRow> {
        let mut rows = Vec::new();
        self.add_rows("", &mut rows);
        rows
    }

    fn add_rows(&self, path: &str, rows: &mut Vec<ManualRow>) {
        let within = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        if let Some(kind) = self.kind {
            rows.push(ManualRow {
                field: within("@type"),
                handling: "refused",
                meaning: format!("unless it is `{kind}`"),
            });
        }
        for field in self.fields {
            let path = within(field.name);
            let (handling, meaning) = match &field.handling {
                FieldHandling::Message(message) => {
                    message.add_rows(&path, rows);
                    continue;
                }
                FieldHandling::Messages(message) => {
                    message.add_rows(&format!("{path}[]"), rows);
                    continue;
                }
                FieldHandling::Honoured(how) => ("honoured", (*how).to_owned()),
                FieldHandling::Ignored(why) => ("ignored", (*why).to_owned()),
                FieldHandling::Only(words) => {
                    let words: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
                    ("refused", format!("unless it is absent or {}", words.join(" or ")))
                }
                FieldHandling::Refused(why) | FieldHandling::Empty(why) => {
                    ("refused", format!("unless it is false, 0 or empty: {why}"))
                }
            };
            rows.push(ManualRow { field: path, handling, meaning });
        }
    }
}
