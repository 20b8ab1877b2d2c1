//! YAML as a tree of JSON values: block style, flow style, several documents.

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};

/// The documents of a text. Words without quotes are text too, but for numbers and truth values.
///
/// # Panics
/// The text is not YAML, has a key twice, or does what none of our files needs: anchors, and keys that are no words.
pub(crate) fn documents(text: &str) -> Vec<Value> {
    let mut events = Parser::new_from_str(text).map(|event| event.unwrap().0);
    let mut documents = Vec::new();
    while let Some(event) = events.next() {
        match event {
            Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
            event => documents.push(node(event, &mut events)),
        }
    }
    documents
}

fn node<'a>(event: Event<'a>, events: &mut impl Iterator<Item = Event<'a>>) -> Value {
    match event {
        Event::Scalar(text, ScalarStyle::Plain, ..) => match serde_json::from_str(&text) {
            Ok(value @ (Value::Number(_) | Value::Bool(_) | Value::Null)) => value,
            _ => Value::String(text.into_owned()),
        },
        Event::Scalar(text, ..) => Value::String(text.into_owned()),
        Event::SequenceStart(..) => {
            let mut list = Vec::new();
            while let Some(event) = events.next().filter(|event| *event != Event::SequenceEnd) {
                list.push(node(event, events));
            }
            Value::Array(list)
        }
        Event::MappingStart(..) => {
            let mut map = Map::new();
            while let Some(event) = events.next().filter(|event| *event != Event::MappingEnd) {
                let Value::String(key) = node(event, events) else { panic!("a key that is no word") };
                let value = events.next().unwrap();
                let value = node(value, events);
                assert!(map.insert(key.clone(), value).is_none(), "{key} is there twice");
            }
            Value::Object(map)
        }
        other => panic!("{other:?} is in none of our files"),
    }
}

#[test]
fn documents_lists_mappings_and_words_are_told_apart() {
    let text = "# none\na: [1, \"1\", x y, true]\nb:\n- c: {d: 'e'}\n  f: |\n    g\n---\nh: ~\n";
    let expected = [
        serde_json::json!({"a": [1, "1", "x y", true], "b": [{"c": {"d": "e"}, "f": "g\n"}]}),
        serde_json::json!({"h": "~"}),
    ];
    assert_eq!(documents(text), expected);
}
