//! Routes as they are written, and the line for each error.

use std::path::Path;

use super::super::PolicyFile;

fn parse(text: &str) -> Result<Vec<String>, Vec<String>> {
    let file = PolicyFile::parse(Path::new("p.toml"), text);
    let shown = |file: PolicyFile| {
        let rules = |allow: &[super::super::Rule]| allow.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        file.routes.iter().map(|(place, route)| format!("{place}: {route}: {}", rules(&route.allow))).collect()
    };
    file.map(shown).map_err(|all| all.iter().map(ToString::to_string).collect())
}

#[test]
fn a_route_is_a_path_with_methods_and_rules() {
    let text = "allow = ['any']\n\n[[route]]\npath = '/metrics' # and below\nmethods = ['GET', 'HEAD']\n\
        allow = ['cf:any', 'anonymous']\n[[route]]\npath = '/health/'\nexact = true\nallow = []\n\
        [[route]]\nallow = ['any']\nexact = false\npath = '*'\n";
    assert_eq!(
        parse(text).unwrap(),
        [
            "p.toml:3: route: GET,HEAD /metrics: cf:any anonymous",
            "p.toml:7: route: exact /health/: ",
            "p.toml:11: route: *: any"
        ]
    );
    assert_eq!(parse("route = [{ path = '/', methods = ['BREW'], allow = ['any'] }]").unwrap().len(), 1);
}

#[test]
fn every_diagnostic_in_a_route_is_told_with_its_line() {
    let text = "[[route]]\n\
        [[route]]\npath = '/a/../b'\nmethods = []\nallow = 'any'\n\
        [[route]]\npath = 7\nexact = 'yes'\nmethods = ['get', 'G E T', '*', 1]\nallow = ['anny', 'any']\nalow = []\n\
        [[route]]\npath = '/a/'\nallow = ['any']\n";
    assert_eq!(
        parse(text).unwrap_err(),
        [
            "p.toml:1: route: has no path; write path = \"/metrics\" in it",
            "p.toml:1: route: has no allow; write allow = [\"cf:app:GUID\"] in it: who may",
            "p.toml:3: path: \"/a/../b\" is the path of no request; write \"/b\", to which it folds",
            "p.toml:4: methods: lists no method; write methods = [\"GET\"], or leave it out for all of them",
            "p.toml:5: allow: is of type string; write an array of strings",
            "p.toml:7: path: is of type integer; write a string",
            "p.toml:8: exact: is of type string; write true or false",
            "p.toml:9: methods: \"get\" is not GET: methods are compared exactly; write GET",
            "p.toml:9: methods: \"G E T\" is no method; write a method such as GET, or leave methods out for all of them",
            "p.toml:9: methods: \"*\" is no method; write a method such as GET, or leave methods out for all of them",
            "p.toml:9: methods: holds something of type integer; write strings only",
            "p.toml:10: allow: \"anny\": no such rule; the nearest is any",
            "p.toml:11: alow: no such key; the nearest is allow",
            "p.toml:13: path: \"/a/\" ends with /; write \"/a\", which means what is below it too, or exact = true",
        ]
    );
}

#[test]
fn what_is_no_table_is_no_route() {
    let table = "write each route as a table with the header [[route]]";
    for (text, what) in [
        ("route = '/a'", format!("is of type string; {table}")),
        ("[route]\npath = '/a'", format!("is of type table; {table}")),
        ("route = ['/a']", format!("holds something of type string beside tables; {table}")),
        ("route = []", "lists no route; write each route under [[route]], or leave it out".to_owned()),
    ] {
        assert_eq!(parse(text).unwrap_err(), [format!("p.toml:1: route: {what}")], "{text}");
    }
}
