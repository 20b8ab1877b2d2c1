//! What stands in `tests/fixtures/http-cases/`; its README says what it means.

use std::path::Path;

use serde_json::Value;

/// Bytes as text: each is the character of its number (Latin-1).
pub(super) fn latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// The bytes of a text whose characters are one byte each.
pub(super) fn bytes(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(c).unwrap_or_else(|_| panic!("{text:?}: {c:?} is no byte"))).collect()
}

/// One case.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) group: String,
    /// What is written, part by part.
    pub(super) send: Vec<Vec<u8>>,
    pub(super) settings: Value,
    value: Value,
}

/// What must become of it at the app.
#[derive(Debug, Clone)]
pub(super) enum AtApp {
    /// Not one byte.
    Nothing,
    /// Perhaps a part of a request, never a whole one.
    Incomplete,
    /// Not judged.
    Any,
    /// These.
    Requests(Vec<Wanted>),
}

/// A request that must reach the app.
#[derive(Debug, Clone, Default)]
pub(super) struct Wanted {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) fields: Vec<(String, String)>,
    pub(super) body: String,
    /// `None`: not judged.
    pub(super) trailers: Option<Vec<(String, String)>>,
}

/// The cases of a file, or the one that `VESTIBULE_HTTP_CASE` names.
pub(super) fn of(file: &str) -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/http-cases").join(file);
    let document: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let cases = document["cases"].as_array().unwrap().iter().map(Case::read);
    let only = std::env::var("VESTIBULE_HTTP_CASE").ok();
    cases.filter(|case| only.as_ref().is_none_or(|only| case.name == *only)).collect()
}

impl Case {
    fn read(value: &Value) -> Self {
        Self {
            name: text(&value["name"]),
            group: value["group"].as_str().unwrap_or_default().to_owned(),
            send: value["send"].as_array().unwrap().iter().map(part).collect(),
            settings: value["settings"].clone(),
            value: value.clone(),
        }
    }

    /// A member that is text.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.value[key].as_str()
    }

    /// A member that is true or false.
    pub(super) fn is(&self, key: &str) -> Option<bool> {
        self.value[key].as_bool()
    }

    /// A member that is a list of texts; empty if it is not there.
    pub(super) fn list(&self, key: &str) -> Vec<String> {
        self.value[key].as_array().map(|list| list.iter().map(text).collect()).unwrap_or_default()
    }

    /// What the app must have got.
    pub(super) fn app(&self) -> AtApp {
        match &self.value["app"] {
            Value::Null => AtApp::Nothing,
            Value::String(word) if word == "incomplete" => AtApp::Incomplete,
            Value::String(word) if word == "any" => AtApp::Any,
            Value::Array(list) => AtApp::Requests(list.iter().map(wanted).collect()),
            one @ Value::Object(_) => AtApp::Requests(vec![wanted(one)]),
            other => panic!("{}: app: {other}", self.name),
        }
    }
}

fn part(value: &Value) -> Vec<u8> {
    let once = match (&value["text"], &value["base64"]) {
        (Value::String(text), Value::Null) => bytes(text),
        (Value::Null, Value::String(base64)) => {
            use base64ct::{Base64, Encoding};
            Base64::decode_vec(base64).unwrap()
        }
        _ => panic!("neither text nor base64: {value}"),
    };
    once.repeat(value["times"].as_u64().map_or(1, |times| usize::try_from(times).unwrap()))
}

fn wanted(value: &Value) -> Wanted {
    let known = ["method", "target", "fields", "body", "trailers"];
    for key in value.as_object().unwrap().keys() {
        assert!(known.contains(&key.as_str()), "{key}: no member of a request is called so");
    }
    Wanted {
        method: text(&value["method"]),
        target: text(&value["target"]),
        fields: pairs(&value["fields"]),
        body: text(&value["body"]),
        trailers: (value["trailers"] != "any").then(|| pairs(&value["trailers"])),
    }
}

fn pairs(value: &Value) -> Vec<(String, String)> {
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().map(|pair| (text(&pair[0]), text(&pair[1]))).collect()
}

#[track_caller]
fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_is_read_and_no_name_comes_twice() {
        for (file, count) in [("requests-h1.json", 144), ("requests-h2.json", 72), ("answers-h1.json", 26)] {
            if std::env::var_os("VESTIBULE_HTTP_CASE").is_some() {
                return;
            }
            let cases = of(file);
            assert_eq!(cases.len(), count, "{file}");
            let names: std::collections::BTreeSet<_> = cases.iter().map(|case| &case.name).collect();
            assert_eq!(names.len(), count, "{file}");
            for case in cases {
                case.app();
            }
        }
    }

    #[test]
    fn a_character_is_one_byte_and_a_part_is_repeated() {
        assert_eq!(part(&serde_json::json!({"text": "a\u{ff}", "times": 2})), b"a\xffa\xff");
        assert_eq!(part(&serde_json::json!({"base64": "AAE="})), [0, 1]);
        assert_eq!(latin1(b"\xc3\xa4"), "\u{c3}\u{a4}");
    }
}
