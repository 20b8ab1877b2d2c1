//! JSON by the bytes that it is written in, so that all but what is replaced stays as it was. No message has anything of the text in it.

use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{SecretPart, SecretValue};

/// A text is no JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not JSON: line {line}, column {column}")]
pub(super) struct JsonError {
    /// From 1.
    pub(super) line: usize,
    /// From 1.
    pub(super) column: usize,
}

impl From<serde_json::Error> for JsonError {
    // Its own text may repeat what stands there.
    fn from(error: serde_json::Error) -> Self {
        Self { line: error.line(), column: error.column() }
    }
}

/// A member of an object: its name, and its value as it is written.
pub(super) type Member<'a> = (String, &'a str);

/// The value in `text`, without the blanks around it.
pub(super) fn value(text: &str) -> Result<&str, JsonError> {
    Ok(serde_json::from_str::<&RawValue>(text)?.get())
}

/// The members of the object `json`, in its order, those of one name all; `None` for what is no object.
pub(super) fn members(json: &str) -> Option<Vec<Member<'_>>> {
    // A message of the parser's would have what else stands there in it.
    let Members(members) = json.trim_start().starts_with('{').then(|| serde_json::from_str(json).ok()).flatten()?;
    let name = |raw: &RawValue| string(raw.get()).unwrap_or_else(|| raw.get().to_owned());
    Some(members.into_iter().map(|(key, value)| (name(key), value.get())).collect())
}

/// The elements of the array `json`; `None` for what is no array.
pub(super) fn elements(json: &str) -> Option<Vec<&str>> {
    let Elements(elements) = json.trim_start().starts_with('[').then(|| serde_json::from_str(json).ok()).flatten()?;
    Some(elements.into_iter().map(RawValue::get).collect())
}

/// The member called `name`. Of several of one name the last counts, as for most readers.
pub(super) fn member<'a>(members: &[Member<'a>], name: &str) -> Option<&'a str> {
    members.iter().rfind(|(known, _)| known == name).map(|(_, value)| *value)
}

/// What the string `json` says; `None` for what is no string, or no text.
pub(super) fn string(json: &str) -> Option<String> {
    json.starts_with('"').then(|| serde_json::from_str(json).ok()).flatten()
}

/// The same for a string that is secret.
pub(super) fn secret_string(json: &str) -> Option<SecretValue> {
    string(json).map(|text| SecretValue::new(text.into_bytes()))
}

/// What a member is where values are text: a string is what it says, all else but null is JSON as it is written.
pub(super) fn part(json: &str) -> SecretPart {
    match json {
        "null" => SecretPart::Null,
        string if string.starts_with('"') => secret_string(string).map_or(SecretPart::NotText, SecretPart::Value),
        other => SecretPart::Value(SecretValue::from(other)),
    }
}

/// `value` as a string of JSON; `None` if it is no text.
pub(super) fn quoted(value: &SecretValue) -> Option<SecretValue> {
    let text = value.text()?;
    // Escaped it is six times as long at most, and then nothing moves while it is written.
    let mut quoted = Vec::with_capacity(text.len().saturating_mul(6) + 2);
    serde_json::to_writer(&mut quoted, text).ok()?;
    Some(SecretValue::new(quoted))
}

/// Where `part`, which was taken from `text`, stands in it.
pub(super) fn span(text: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr() as usize - text.as_ptr() as usize;
    start..start + part.len()
}

/// The strings in `json`, which is one value, that are no names of members: where each stands, with its quotes.
pub(super) fn strings(json: &str) -> impl Iterator<Item = Range<usize>> {
    let bytes = json.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let start = at + bytes.get(at..)?.iter().position(|byte| *byte == b'"')?;
            let end = end_of_string(bytes, start)?;
            at = end;
            let next = bytes[end..].iter().find(|byte| !byte.is_ascii_whitespace());
            if next != Some(&b':') {
                return Some(start..end);
            }
        }
    })
}

/// Behind the quotes that close the string whose first are at `start`.
fn end_of_string(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// `text` with other bytes in the place of some of its parts, which are in order and do not overlap.
pub(super) fn splice(text: &str, parts: &[(Range<usize>, SecretValue)]) -> SecretValue {
    let added: usize = parts.iter().map(|(_, value)| value.bytes().len()).sum();
    let mut spliced = SecretValue::with_capacity(text.len() + added);
    let mut at = 0;
    for (range, value) in parts {
        spliced.push(&text.as_bytes()[at..range.start]);
        spliced.push(value.bytes());
        at = range.end;
    }
    spliced.push(&text.as_bytes()[at..]);
    spliced
}

struct Members<'a>(Vec<(&'a RawValue, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EachMember;
        impl<'de> Visitor<'de> for EachMember {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(EachMember)
    }
}

struct Elements<'a>(Vec<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Elements<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EachElement;
        impl<'de> Visitor<'de> for EachElement {
            type Value = Elements<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = seq.next_element()? {
                    elements.push(element);
                }
                Ok(Elements(elements))
            }
        }
        deserializer.deserialize_seq(EachElement)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_and_elements_are_parts_of_the_text_itself() {
        let text = r#" { "a" : [ 1.50 , "x" ] , "\u0061" : { } , "\ud800":1e400 } "#;
        let members = members(value(text).unwrap()).unwrap();
        let named = members.iter().map(|(name, value)| (name.as_str(), *value)).collect::<Vec<_>>();
        assert_eq!(named, [("a", "[ 1.50 , \"x\" ]"), ("a", "{ }"), ("\"\\ud800\"", "1e400")]);
        assert_eq!(member(&members, "a"), Some("{ }"));
        assert_eq!(&text[span(text, members[2].1)], "1e400");
        assert_eq!(elements(members[0].1).unwrap(), ["1.50", "\"x\""]);
        assert!(elements(members[1].1).is_none() && super::members(members[0].1).is_none());
    }

    #[test]
    fn strings_that_are_values_are_found_whatever_stands_in_them() {
        let json = r#"{"a":"b\"{","c\\":["\\",{"d" : "e:"},1,null],"f" :"g"}"#;
        let found: Vec<_> = strings(json).map(|range| &json[range]).collect();
        assert_eq!(found, [r#""b\"{""#, r#""\\""#, r#""e:""#, r#""g""#]);
        assert_eq!(strings("\"x\"").count(), 1);
    }

    #[test]
    fn depth_is_no_danger() {
        let deep = "[".repeat(200_000) + "\"x\"" + &"]".repeat(200_000);
        assert_eq!(strings(value(&deep).unwrap()).count(), 1);
        assert_eq!(elements(&deep).map(|elements| elements.len()), Some(1));
    }

    #[test]
    fn what_is_no_json_is_said_by_its_place_alone() {
        assert_eq!(value("{\n \"hidden\"").unwrap_err().to_string(), "is not JSON: line 2, column 9");
        assert!(value("{} x").is_err() && value("").is_err());
    }

    #[test]
    fn a_value_is_written_as_a_string_that_says_the_same() {
        for text in ["", "a\"\\\n\u{1}\u{7f}ä€𝄞", "\u{1}".repeat(100).as_str()] {
            assert_eq!(string(quoted(&SecretValue::from(text)).unwrap().text().unwrap()).unwrap(), text);
        }
        assert!(quoted(&SecretValue::new(vec![0xff])).is_none());
    }

    #[test]
    fn a_part_is_its_text_or_json_and_never_what_only_looks_like_a_value() {
        let value = |json: &str| match part(json) {
            SecretPart::Value(value) => value.text().map(str::to_owned),
            SecretPart::Null | SecretPart::NotText => None,
        };
        assert_eq!(value("{\"a\": 1.50}").as_deref(), Some("{\"a\": 1.50}"));
        assert_eq!(value("\"a\\n\"").as_deref(), Some("a\n"));
        assert_eq!(value("\"null\"").as_deref(), Some("null"));
        assert!(matches!(part("null"), SecretPart::Null));
        assert!(matches!(part(r#""half \ud800 of it""#), SecretPart::NotText));
    }
}
