//! JSON of strangers, which everybody has to read alike (RFC 7159, section 4; RFC 8725, section 2.4).
//!
//! Readers differ in what they make of a member that occurs twice, and one who believes the first is told something else than one who believes the
//! last. So such an object is refused, and with it whatever is nested deeper than anything of ours.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserializer, de};
use serde_json::{Map, Number, Value};

/// Objects and arrays within each other, the outermost counted.
const MAX_DEPTH: usize = 8;

/// Why a text is not the one object that was asked for. It names nothing of the text, which may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StrictJsonError {
    /// Not JSON, or another kind of value, or something stands behind it.
    #[error("is not one JSON object")]
    NotAnObject,
    /// An object, at whatever depth, has two members of one name.
    #[error("has a member twice in one object")]
    Duplicate,
    /// Arrays or objects in more than seven others.
    #[error("is nested deeper than {MAX_DEPTH}")]
    TooDeep,
}

/// Reads `bytes` as one JSON object in UTF-8, with nothing but white space around it. How long it may be is the caller's to say: time and memory grow with
/// its length and with nothing else.
///
/// # Errors
/// [`StrictJsonError`]
pub fn object(bytes: &[u8]) -> Result<Map<String, Value>, StrictJsonError> {
    let flaw = Cell::new(StrictJsonError::NotAnObject);
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let read = Strict { depth: 1, flaw: &flaw }.deserialize(&mut deserializer);
    match read.and_then(|value| deserializer.end().map(|()| value)) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(StrictJsonError::NotAnObject),
        Err(_) => Err(flaw.get()),
    }
}

/// Reads a value that stands in `depth` - 1 others. An error of serde's is a text, so what was wrong is left in `flaw`.
#[derive(Clone, Copy)]
struct Strict<'a> {
    depth: usize,
    flaw: &'a Cell<StrictJsonError>,
}

impl Strict<'_> {
    /// For what stands in this value.
    fn inside(self) -> Self {
        Self { depth: self.depth + 1, ..self }
    }

    fn fail<E: de::Error>(self, flaw: StrictJsonError) -> E {
        self.flaw.set(flaw);
        E::custom(flaw)
    }

    fn check_depth<E: de::Error>(self) -> Result<(), E> {
        if self.depth > MAX_DEPTH { Err(self.fail(StrictJsonError::TooDeep)) } else { Ok(()) }
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| self.fail(StrictJsonError::NotAnObject))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        self.check_depth()?;
        let mut array = Vec::new();
        while let Some(element) = elements.next_element_seed(self.inside())? {
            array.push(element);
        }
        Ok(array.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        self.check_depth()?;
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if object.contains_key(&name) {
                return Err(self.fail(StrictJsonError::Duplicate));
            }
            object.insert(name, members.next_value_seed(self.inside())?);
        }
        Ok(object.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_object_is_read_with_the_types_of_its_values() {
        let text = r#" {"a":1,"b":-1,"c":1.0,"d":1e9,"e":"\u0061","f":[true,null,{}],"g":18446744073709551616} "#;
        let members = object(text.as_bytes()).unwrap();
        assert_eq!(members, serde_json::from_str(text).unwrap());
        assert!(members["a"].is_u64() && members["c"].is_f64() && members["d"].is_f64() && members["g"].is_f64());
    }

    #[test]
    fn a_member_that_occurs_twice_is_refused_at_any_depth_however_its_name_is_written() {
        for text in [
            r#"{"alg":"none","alg":"RS256"}"#,
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":1}"#,
            r#"{"x":{"a":1,"b":2,"a":3}}"#,
            r#"{"x":[[{"a":1,"a":1}]]}"#,
            r#"{"":1,"":1}"#,
        ] {
            assert_eq!(object(text.as_bytes()), Err(StrictJsonError::Duplicate), "{text}");
        }
        assert!(object(br#"{"a":{"a":[{"a":1},{"a":1}]}}"#).is_ok());
    }

    #[test]
    fn eight_levels_are_read_and_nine_are_not() {
        let nested = |levels: usize| format!("{}{}", "{\"a\":".repeat(levels) + "1", "}".repeat(levels));
        assert!(object(nested(8).as_bytes()).is_ok());
        assert_eq!(object(nested(9).as_bytes()), Err(StrictJsonError::TooDeep));
        assert!(object(br#"{"a":[[[[[[[1]]]]]]]}"#).is_ok());
        assert_eq!(object(br#"{"a":[[[[[[[[1]]]]]]]]}"#), Err(StrictJsonError::TooDeep));
        assert_eq!(object("{\"a\":".repeat(100_000).as_bytes()), Err(StrictJsonError::TooDeep));
    }

    #[test]
    fn everything_else_is_not_one_object() {
        for text in [
            "",
            " ",
            "null",
            "[]",
            "\"a\"",
            "1",
            "{",
            "{}}",
            "{}{}",
            "{} x",
            "{},",
            "{\"a\":1,}",
            "{'a':1}",
            "{a:1}",
            "{\"a\":1e999}",
            "{\"a\":01}",
            "{\"a\":NaN}",
            "{\"a\":\"\u{1}\"}",
            "{\"a\":\"\\ud800\"}",
            "\u{feff}{}",
            "{}//",
            "{\"a\":1}\0",
        ] {
            assert_eq!(object(text.as_bytes()), Err(StrictJsonError::NotAnObject), "{text:?}");
        }
        assert_eq!(object(b"{\"a\":\"\xff\"}"), Err(StrictJsonError::NotAnObject));
        assert_eq!(object(b"{\"\xff\":1}"), Err(StrictJsonError::NotAnObject));
    }

    proptest! {
        #[test]
        fn whatever_is_read_is_what_serde_json_reads(text in r#"[{}\[\]",:a0-9e. \\u-]{0,40}"#) {
            if let Ok(members) = object(text.as_bytes()) {
                prop_assert_eq!(Value::Object(members), serde_json::from_str::<Value>(&text).unwrap());
            }
        }
    }
}
