//! The policy file: TOML with `mode`, `allow` and `deny`.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{PolicyMode, Rule};
use crate::diagnostics::redact::quote;
use crate::diagnostics::{Diagnostic, Diagnostics, Problem, Source, nearest};

const KEYS: [&str; 3] = ["mode", "allow", "deny"];

/// What a policy file says. One that lists nothing admits nobody.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PolicyFile {
    /// `mode`, if it is there.
    pub mode: Option<PolicyMode>,
    /// `allow`
    pub allow: Vec<Rule>,
    /// `deny`
    pub deny: Vec<Rule>,
}

impl PolicyFile {
    /// The largest file that is read, in bytes: some ten thousand rules.
    pub const LARGEST: u64 = 1024 * 1024;

    /// Reads the whole `text` of the file `path`.
    ///
    /// # Errors
    /// Every mistake in it, with its line.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Diagnostics> {
        let mut reader = PolicyReader { path, text, mistakes: Vec::new() };
        let file = reader.read();
        if reader.mistakes.is_empty() { Ok(file) } else { Err(Diagnostics::new(reader.mistakes)) }
    }
}

struct PolicyReader<'a> {
    path: &'a Path,
    text: &'a str,
    mistakes: Vec<Diagnostic>,
}

impl PolicyReader<'_> {
    fn read(&mut self) -> PolicyFile {
        let mut file = PolicyFile::default();
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in &errors {
            // Its first line alone: the whole error quotes the text around it.
            let message = error.message().lines().next().unwrap_or_default();
            let at = error.span().map_or(self.text.len(), |span| span.start);
            self.note("", at, Problem::new(format!("not TOML: {message}"), "write allow = [\"cf:app:GUID\"]"));
        }
        if !errors.is_empty() {
            // What the parser made of broken text is nothing to judge.
            return file;
        }
        let mut keys: Vec<_> = table.get_ref().iter().collect();
        keys.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in keys {
            let at = key.span().start;
            match key.get_ref().as_ref() {
                "mode" => file.mode = self.mode(value),
                "allow" => file.allow = self.rules("allow", value),
                "deny" => file.deny = self.rules("deny", value),
                unknown => {
                    let help = match nearest(unknown, KEYS.into_iter()) {
                        Some(known) => format!("the nearest is {known}"),
                        None => format!("write {}", KEYS.join(", ")),
                    };
                    self.note(unknown, at, Problem::new("no such key", help));
                }
            }
        }
        file
    }

    fn mode(&mut self, value: &Spanned<DeValue<'_>>) -> Option<PolicyMode> {
        const MEND: &str = "write \"enforce\" or \"audit\"";
        let what = match value.get_ref() {
            DeValue::String(word) => match word.parse() {
                Ok(mode) => return Some(mode),
                Err(_) => format!("{} is no mode", quote(word)),
            },
            other => format!("is of type {}", other.type_str()),
        };
        self.note("mode", value.span().start, Problem::new(what, MEND));
        None
    }

    fn rules(&mut self, key: &str, value: &Spanned<DeValue<'_>>) -> Vec<Rule> {
        let DeValue::Array(elements) = value.get_ref() else {
            let what = format!("is of type {}", value.get_ref().type_str());
            self.note(key, value.span().start, Problem::new(what, "write an array of strings"));
            return Vec::new();
        };
        let mut rules = Vec::with_capacity(elements.len());
        for element in elements {
            let rule = match element.get_ref() {
                DeValue::String(text) => text.parse(),
                other => {
                    Err(Problem::new(format!("holds something of type {}", other.type_str()), "write strings only"))
                }
            };
            match rule {
                Ok(rule) => rules.push(rule),
                Err(wrong) => self.note(key, element.span().start, wrong),
            }
        }
        rules
    }

    fn note(&mut self, key: &str, at: usize, wrong: Problem) {
        let before = self.text.as_bytes().get(..at).unwrap_or(self.text.as_bytes());
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        let place = Source::File { path: self.path.to_owned(), line: Some(line), key: key.to_owned() };
        self.mistakes.push(wrong.at(place));
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
        assert_eq!(file, Ok(PolicyFile { mode: Some(PolicyMode::Audit), allow, deny: vec![] }));
    }

    #[test]
    fn a_file_that_lists_nothing_is_no_mistake_and_has_no_rule() {
        for text in ["", "# later\n", "allow = []", "mode = 'enforce'"] {
            let file = parse(text).unwrap();
            assert!(file.allow.is_empty() && file.deny.is_empty(), "{text}");
        }
    }

    #[test]
    fn all_mistakes_are_reported_with_their_lines() {
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
    fn broken_or_half_written_text_is_a_mistake_and_never_an_empty_list() {
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
