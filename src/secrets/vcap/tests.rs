use super::*;

use proptest::prelude::*;
use strum::VariantArray;

const ALL: &[SecretSource] = SecretSource::VARIANTS;
const CREDHUB: &[SecretSource] = &[SecretSource::Credhub];

fn references(text: &str) -> Vec<String> {
    find(text, ALL).unwrap().bindings.into_iter().map(|binding| binding.reference).collect()
}

#[test]
fn references_are_found_where_credhub_looks_for_them_and_nowhere_else() {
    assert_eq!(references(r#"{"a":[{"credentials":{"credhub-ref":"((/x))"}}]}"#), ["((/x))"]);
    assert_eq!(references(r#"{"a":[{"credentials":{"credhub_ref":"/y","b":1}}]}"#), ["/y"]);
    assert_eq!(references(r#"{"a":[{"credentials":{"credhub-ref":"/x","credhub_ref":"/y"}}]}"#), ["/y"]);
    assert_eq!(references(r#"{"a":[{"credentials":{"credhub\u002dref":"\/x"}}]}"#), ["/x"]);
    let two = r#"{"a":[1,{"credentials":{"credhub-ref":"/1"}}],"b":"c","d":[{"credentials":{"credhub-ref":"/2"}}]}"#;
    assert_eq!(references(two), ["/1", "/2"]);
    for none in [
        "",
        " \n",
        "{}",
        "[]",
        "\"credhub-ref\"",
        r#"{"a":{"credentials":{"credhub-ref":"/x"}}}"#,
        r#"{"a":[{"credhub-ref":"/x"}]}"#,
        r#"{"a":[{"credentials":{"a":{"credhub-ref":"/x"}}}]}"#,
        r#"{"a":[{"credentials":{"credhub-ref":1}}]}"#,
        r#"{"a":[{"credentials":{"credhub_ref":1,"credhub-ref":"/x"}}]}"#,
        r#"{"a":[{"credentials":"credhub-ref"}]}"#,
        r#"{"a":[{"credentials":{"b":1,"b":2}}],"a":[]}"#,
    ] {
        assert_eq!(find(none, ALL), Ok(DocumentReferences::default()), "{none}");
    }
}

#[test]
fn sealed_and_stored_values_are_found_below_credentials_at_any_depth() {
    let text = r#"{"a":[{"name":"db","note":"vault:a#b","credentials":
        {"vault:a#b":"x","p":"vault:a#b","q":{"r":["transit:m\/k:vault:v1:AA==","file:/etc/x","a${vault:a#c}"]}}}]}"#;
    let found = find(text, ALL).unwrap();
    let spans: Vec<_> = found.strings.iter().map(|string| &text[string.span.clone()]).collect();
    assert_eq!(spans, ["\"vault:a#b\"", "\"transit:m\\/k:vault:v1:AA==\"", "\"a${vault:a#c}\""]);
    assert_eq!(found.strings[0].service.to_string(), "service \"db\"");
    assert_eq!(find(text, CREDHUB), Ok(DocumentReferences::default()));
    // What CredHub replaces whole has nothing of its own.
    let both = r#"{"a":[{"credentials":{"credhub-ref":"/x","p":"vault:a#b"}}]}"#;
    assert_eq!(
        (find(both, ALL).unwrap().strings.len(), find(both, &[SecretSource::Vault]).unwrap().strings.len()),
        (0, 1)
    );
}

#[test]
fn a_document_that_readers_may_take_in_two_ways_is_refused_if_it_has_references() {
    let refused = |text: &str| find(text, ALL).unwrap_err().to_string();
    let twice = r#"{"a":[{"credentials":{"credhub-ref":"/x"}}],"a":[]}"#;
    assert!(refused(twice).starts_with("has a member twice of which one has references: \"a\""));
    let twice = r#"{"a":[{"credentials":{"credhub-ref":"/x"},"credentials":{"p":"vault:a#b"}}]}"#;
    assert!(refused(twice).contains("\"credentials\""));
    assert_eq!(refused("{\"hidden\":[}"), "is not JSON: line 1, column 12");
    let wrong = r#"{"a":[{"instance_name":"db","credentials":{"p":"vault:hidden"}}]}"#;
    assert_eq!(
        refused(wrong),
        "service \"db\": a string does not say which part of the secret is meant; write vault:PATH#KEY, such as vault:secret/data/app#password"
    );
}

#[test]
fn an_answer_counts_only_with_all_references_resolved() {
    let text = r#"{"a":[{"credentials":{"x":1}},{"name":"db","credentials":{"credhub-ref":"/x"}}]}"#;
    let bindings = find(text, CREDHUB).unwrap().bindings;
    let answered =
        |answer: &str| answered(answer, &bindings).map(|all| all.join("")).map_err(|error| error.to_string());
    let good = r#"{"a":[{"credentials":{"x":1.0}},{"credentials": {"uri" : "u"} ,"name":"db"}]}"#;
    assert_eq!(answered(good), Ok("{\"uri\" : \"u\"}".to_owned()));
    let none = "the answer has no credentials for service \"db\"";
    for answer in [
        "{}",
        "[]",
        "null",
        r#"{"a":[{"credentials":{}}]}"#,
        r#"{"a":[1,{"credentials":"hidden"}]}"#,
        r#"{"a":[1,{}]}"#,
    ] {
        assert_eq!(answered(answer), Err(none.to_owned()), "{answer}");
    }
    assert_eq!(answered(text), Err("the answer leaves the reference of service \"db\" as it was".to_owned()));
    let left = r#"{"a":[{"credentials":{"credhub_ref":"/y"}},{"credentials":{}}]}"#;
    assert_eq!(answered(left), Err("the answer leaves the reference of service \"a[0]\" as it was".to_owned()));
    let other = r#"{"a":[{},{"name":"cache","credentials":{"p":"1"}}]}"#;
    assert_eq!(
        answered(other),
        Err("the answer has service \"cache\" in the place of service \"db\"".to_owned()),
        "it is not taken by its place alone"
    );
    let twice = r#"{"a":[{},{"name":"db","credentials":{"p":"1"},"credentials":{"p":"2"}}]}"#;
    let said = "the answer has a member twice on the way to credentials: \"credentials\"";
    assert_eq!(answered(twice), Err(said.to_owned()));
    let lists = r#"{"a":[{},{"name":"db","credentials":{"p":"1"}}],"a":[]}"#;
    assert_eq!(answered(lists).unwrap_err(), said.replace("\"credentials\"", "\"a\""));
    assert_eq!(answered("<html>"), Err("the answer is not JSON: line 1, column 1".to_owned()));
}

#[test]
fn the_first_database_that_rails_knows_is_the_database_url() {
    let url = |uris: &[&str]| {
        let bindings: Vec<_> = uris.iter().map(|uri| format!(r#"{{"credentials":{{"uri":"{uri}"}}}}"#)).collect();
        database_url(&format!(r#"{{"a":[1,{{}}],"b":[{}]}}"#, bindings.join(",")))
            .map(|url| url.text().unwrap().to_owned())
    };
    assert_eq!(url(&["amqp://x", "mysql://u:p@h/d?a=b", "postgres://y"]), Some("mysql2://u:p@h/d?a=b".to_owned()));
    assert_eq!(url(&["postgresql://y"]), Some("postgres://y".to_owned()));
    assert_eq!(url(&["postgres://y"]), Some("postgres://y".to_owned()));
    assert_eq!(url(&["mysql2://y"]), Some("mysql2://y".to_owned()));
    assert_eq!((url(&["redis://y", "mysql"]), database_url("no json").is_none()), (None, true));
}

/// Some blanks, a member or an element that is nothing to us, and how numbers and strings may be spelled.
fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("1.50".to_owned()),
        Just("12345678901234567890".to_owned()),
        Just("1e400".to_owned()),
        Just("true".to_owned()),
        Just(r#""\u00e4\/\"{[""#.to_owned()),
        "\"[a-zäß {}:,]{0,8}\"",
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(|all| format!("[ {} ]", all.join(" ,"))),
            prop::collection::vec(inner, 0..3).prop_map(|all| {
                let members: Vec<_> = all.iter().enumerate().map(|(i, value)| format!("\"m{i}\"\t:{value}")).collect();
                format!("{{{}\n}}", members.join(", "))
            }),
        ]
    })
}

/// A document twice: with references, and with what they stand for.
fn documents() -> impl Strategy<Value = (String, String, usize)> {
    let binding = (value(), any::<Option<bool>>(), "[ \n\t]{0,2}");
    let list = prop::collection::vec(binding, 0..4);
    prop::collection::vec((list, value()), 0..4).prop_map(|lists| {
        let (mut with, mut without, mut count) = ("{".to_owned(), "{".to_owned(), 0);
        for (i, (list, other)) in lists.into_iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            let mut parts = (Vec::new(), Vec::new());
            for (value, reference, blank) in list {
                let (reference, credentials) = match reference {
                    None => (value.clone(), value.clone()),
                    Some(is_snake) => {
                        count += 1;
                        let name = if is_snake { "credhub_ref" } else { "credhub-ref" };
                        (format!("{{{blank}\"{name}\" :\"((/{count}))\",\"o\":{value}}}"), format!("{{\"n\":{count}}}"))
                    }
                };
                let around =
                    |credentials: &str| format!("{{\"v\":{value},{blank}\"credentials\"{blank}:{credentials}{blank}}}");
                parts.0.push(around(&reference));
                parts.1.push(around(&credentials));
            }
            for (text, parts) in [(&mut with, parts.0), (&mut without, parts.1)] {
                text.push_str(&format!("{comma} \"l{i}\": [{}] ,\"x{i}\":{other}", parts.join(" , ")));
            }
        }
        (with + "}\n", without + "}\n", count)
    })
}

proptest! {
    #[test]
    fn all_other_bytes_stay_as_they_were((with, without, count) in documents()) {
        let found = find(&with, CREDHUB).unwrap();
        prop_assert_eq!(found.bindings.len(), count);
        let references: Vec<_> = found.bindings.iter().map(|binding| binding.reference.clone()).collect();
        prop_assert_eq!(references, (1..=count).map(|i| format!("((/{i}))")).collect::<Vec<_>>());
        // CredHub writes the document anew, in its own way.
        let answer: serde_json::Value = match serde_json::from_str(&without.replace("1e400", "0")) {
            Ok(answer) => answer,
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
        };
        let answer = answer.to_string();
        let credentials = answered(&answer, &found.bindings).unwrap();
        let parts: Vec<_> = found.bindings.iter().zip(credentials).map(|(binding, credentials)| (binding.credentials.clone(), SecretValue::from(credentials))).collect();
        let spliced = json::splice(&with, &parts);
        prop_assert_eq!(spliced.text().unwrap(), without);
    }

    #[test]
    fn any_text_is_read_without_harm(text in "\\PC{0,80}", json in value()) {
        for text in [text, json] {
            if let Ok(found) = find(&text, ALL) {
                prop_assert!(found.bindings.is_empty() && found.strings.is_empty());
            }
            let _ = database_url(&text);
        }
    }
}
