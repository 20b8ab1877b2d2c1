//! The policy file: TOML with `mode`, `allow`, `deny` and routes.

use std::path::Path;

use super::route_file::{LocatedRoute, ROUTE};
use super::rule_file::{RuleFileReader, entries, no_such_word};
use super::{PolicyMode, Rule};
use crate::diagnostics::Diagnostics;

const KEYS: [&str; 4] = ["mode", "allow", "deny", ROUTE];

/// What a policy file says. One that lists nothing admits nobody.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PolicyFile {
    /// `mode`, if it is there.
    pub mode: Option<PolicyMode>,
    /// `allow`
    pub allow: Vec<Rule>,
    /// `deny`
    pub deny: Vec<Rule>,
    /// `[[route]]`, each with its place.
    pub(crate) routes: Vec<LocatedRoute>,
}

impl PolicyFile {
    /// The largest file that is read, in bytes: some ten thousand rules.
    pub const LARGEST: u64 = 1024 * 1024;

    /// Reads the whole `text` of the file `path`.
    ///
    /// # Errors
    /// Every error in it, with its line.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Diagnostics> {
        const MODES: &str = "write \"enforce\" or \"audit\"";
        let mut reader = RuleFileReader::new(path, text);
        let mut file = Self::default();
        let table = reader.table("allow = [\"cf:app:GUID\"]").unwrap_or_default();
        for (key, at, value) in entries(&table) {
            match key {
                "mode" => {
                    let mode = |text: &str| text.parse().map_err(|_| no_such_word(text, "mode", MODES));
                    file.mode = reader.text(key, value, MODES, mode);
                }
                "allow" => file.allow = reader.rules(key, value),
                "deny" => file.deny = reader.rules(key, value),
                ROUTE => file.routes = reader.routes("[[route]]", value),
                unknown => reader.unknown(unknown, at, &KEYS),
            }
        }
        reader.finish(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<PolicyFile, Vec<String>> {
        PolicyFile::parse(Path::new("p.toml"), text).map_err(|all| all.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_file_is_a_mode_and_two_lists() {
        let file = parse(
            "mode = \"audit\" # for now\nallow = [\n  \"cf:any\",\n  'dns:*.example.com', # the router\n]\ndeny = []\n",
        );
        let allow = vec!["cf:any".parse().unwrap(), "dns:*.example.com".parse().unwrap()];
        assert_eq!(file, Ok(PolicyFile { mode: Some(PolicyMode::Audit), allow, ..PolicyFile::default() }));
    }

    #[test]
    fn a_file_that_lists_nothing_is_no_error_and_has_no_rule() {
        for text in ["", "# later\n", "allow = []", "mode = 'enforce'"] {
            let file = parse(text).unwrap();
            assert!(file.allow.is_empty() && file.deny.is_empty(), "{text}");
        }
    }

    #[test]
    fn all_diagnostics_are_reported_with_their_lines() {
        let text = "mode = 'strict'\n\nallow = [\n  'cf:any',\n  'cf:ap:x',\n  7,\n]\ndenny = []\ndeny = 'any'\n";
        assert_eq!(
            parse(text).unwrap_err(),
            [
                "p.toml:1: mode: \"strict\" is no mode; write \"enforce\" or \"audit\"",
                "p.toml:5: allow: \"cf:ap:x\": no such rule; the nearest is cf:app:GUID",
                "p.toml:6: allow: holds something of type integer; write strings only",
                "p.toml:8: denny: no such key; the nearest is deny",
                "p.toml:9: deny: is of type string; write an array of strings",
            ]
        );
    }

    #[test]
    fn broken_or_half_written_text_is_an_error_and_never_an_empty_list() {
        let whole = "mode = 'enforce'\nallow = ['cf:any',\n  'any']\n";
        for end in 1..whole.len() - 1 {
            let torn = &whole[..end];
            let complete = ["mode = 'enforce'", "mode = 'enforce'\n"].contains(&torn);
            assert_eq!(parse(torn).is_ok(), complete, "{torn:?}");
        }
        assert_eq!(
            parse("allow = []\nallow = ['any']").unwrap_err(),
            ["p.toml:2: not TOML: duplicate key; write allow = [\"cf:app:GUID\"]"]
        );
    }

    proptest! {
        #[test]
        fn whatever_is_in_the_file_nothing_panics(text in "(allow|deny|mode|=|\\[|\\]|'|\"|any|,|\n|(?s).){0,24}") {
            if let Err(lines) = parse(&text) {
                prop_assert!(!lines.is_empty() && lines.iter().all(|line| !line.contains('\n')));
            }
        }
    }
}
