//! What an identity may do: roles that are asked for by name, and policies that are granted without.

use std::path::Path;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::values;
use crate::config::values::Range;
use crate::diagnostics::redact::quote;
use crate::diagnostics::{Diagnostics, Problem};
use crate::identity::Client;
use crate::policy::rule_file::{RuleFileReader, entries};
use crate::policy::{Policy, PolicyMode, Routes, Rule};

const ROLE_KEYS: [&str; 5] = ["name", "allow", "deny", "policies", "max-ttl"];

/// What a file of roles says. One that lists nothing grants nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Roles {
    roles: Vec<(String, RoleEntry)>,
    grants: Vec<RoleEntry>,
}

/// Who is granted what.
#[derive(Debug, Clone, PartialEq, Eq)]
struct RoleEntry {
    whom: Policy,
    policies: Vec<String>,
    max_ttl: Option<Duration>,
}

/// What somebody is granted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grant {
    /// The role that was asked for.
    pub role: Option<String>,
    /// Each once, in the order of the file.
    pub policies: Vec<String>,
    /// For how long at most.
    pub max_ttl: Option<Duration>,
}

/// Why something is not granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoleDenial {
    /// There is no such role, or the identity does not have it.
    NoRole,
    /// One of the policies that were asked for is not granted.
    PolicyNotGranted,
}

impl Roles {
    /// The largest file that is read, in bytes.
    pub const LARGEST: u64 = 1024 * 1024;

    /// Reads the whole `text` of the file `path`.
    ///
    /// # Errors
    /// Every error in it, with its line. A file that cannot be read is never one that grants nothing.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Diagnostics> {
        let mut reader = RuleFileReader::new(path, text);
        let mut roles = Self::default();
        let table = reader.table("[[role]], name = \"NAME\", allow = [\"cf:app:GUID\"], policies = [\"POLICY\"]");
        for (key, at, value) in entries(&table.unwrap_or_default()) {
            match key {
                "role" => {
                    for table in tables(&mut reader, key, value) {
                        let (name, entry) = read_entry(&mut reader, table, true);
                        let Some((name, at)) = name else { continue };
                        if roles.roles.iter().any(|(known, _)| *known == name) {
                            let what = format!("the role {} is there twice", quote(&name));
                            reader.note("name", at, Problem::new(what, "give each another name"));
                        }
                        roles.roles.push((name, entry));
                    }
                }
                "grant" => {
                    for table in tables(&mut reader, key, value) {
                        let (_, entry) = read_entry(&mut reader, table, false);
                        roles.grants.push(entry);
                    }
                }
                unknown => reader.unknown(unknown, at, &["role", "grant"]),
            }
        }
        reader.finish(roles)
    }

    /// What `client` is granted that asks for `role`, or for the policies `asked`, or for both, or for nothing in particular.
    ///
    /// # Errors
    /// [`RoleDenial`]. Of policies that are asked for all are granted or none.
    pub fn grant(&self, client: &Client, role: Option<&str>, asked: Option<&[String]>) -> Result<Grant, RoleDenial> {
        let matching: Vec<&RoleEntry> = match role {
            Some(role) => {
                let found = self.roles.iter().find(|(name, _)| name == role).map(|(_, entry)| entry);
                vec![found.filter(|entry| entry.means(client)).ok_or(RoleDenial::NoRole)?]
            }
            None => self.grants.iter().filter(|entry| entry.means(client)).collect(),
        };
        let mut granted = Vec::new();
        for policy in matching.iter().flat_map(|entry| &entry.policies) {
            if !granted.contains(policy) {
                granted.push(policy.clone());
            }
        }
        if let Some(asked) = asked {
            if !asked.iter().all(|policy| granted.contains(policy)) {
                return Err(RoleDenial::PolicyNotGranted);
            }
            // Those alone: whoever asks for less gets less.
            granted.retain(|policy| asked.contains(policy));
        }
        let max_ttl = matching.iter().filter_map(|entry| entry.max_ttl).min();
        Ok(Grant { role: role.map(str::to_owned), policies: granted, max_ttl })
    }

    /// A sentence for each role and grant that means nobody.
    pub fn nobodies(&self) -> Vec<String> {
        let roles = self.roles.iter().map(|(name, entry)| (format!("the role {}", quote(name)), entry));
        let grants = self.grants.iter().enumerate().map(|(at, entry)| (format!("[[grant]] number {}", at + 1), entry));
        let nobody = roles.chain(grants).filter(|(_, entry)| {
            entry.whom.allow.iter().all(|rule| entry.whom.deny.iter().any(|deny| deny.covers(rule)))
        });
        nobody.map(|(name, _)| format!("{name} means nobody: it allows nobody whom it does not deny")).collect()
    }
}

impl RoleEntry {
    fn means(&self, client: &Client) -> bool {
        self.whom.authorize(client, None).is_ok()
    }
}

fn tables<'b, 'a>(
    reader: &mut RuleFileReader<'a>,
    key: &str,
    value: &'b Spanned<DeValue<'a>>,
) -> Vec<(usize, &'b DeTable<'a>)> {
    let help = format!("write [[{key}]]");
    let DeValue::Array(elements) = value.get_ref() else {
        reader.wrong_type(key, value, &help);
        return Vec::new();
    };
    let mut tables = Vec::new();
    for element in elements {
        match element.get_ref() {
            DeValue::Table(table) => tables.push((element.span().start, table)),
            _ => reader.wrong_type(key, element, &help),
        }
    }
    tables
}

/// One table, with its name and where that stands if it `is_named`.
fn read_entry(
    reader: &mut RuleFileReader<'_>,
    (start, table): (usize, &DeTable<'_>),
    is_named: bool,
) -> (Option<(String, usize)>, RoleEntry) {
    let known = if is_named { &ROLE_KEYS[..] } else { &ROLE_KEYS[1..] };
    let mut name = None;
    let mut entry = RoleEntry {
        whom: Policy { mode: PolicyMode::Enforce, allow: Vec::new(), deny: Vec::new(), routes: Routes::default() },
        policies: Vec::new(),
        max_ttl: None,
    };
    for (key, at, value) in entries(table) {
        match key {
            "name" if is_named => name = reader.text(key, value, "write a string", values::name).map(|name| (name, at)),
            "allow" => entry.whom.allow = reader.texts(key, value, rule),
            "deny" => entry.whom.deny = reader.texts(key, value, rule),
            "policies" => entry.policies = reader.texts(key, value, values::name),
            "max-ttl" => {
                let duration = |text: &str| values::duration(text, &Range::A_SECOND_TO_TEN_YEARS);
                entry.max_ttl = reader.text(key, value, "write a string such as \"1h\"", duration);
            }
            unknown => reader.unknown(unknown, at, known),
        }
    }
    if is_named && !table.iter().any(|(key, _)| key.get_ref() == "name") {
        reader.note("role", start, Problem::new("has no name", "write name = \"NAME\" in it"));
    }
    (name, entry)
}

/// A rule that means others than ourselves and the anonymous, whom no token is of.
fn rule(text: &str) -> Result<Rule, Problem> {
    let rule: Rule = text.parse()?;
    match rule {
        Rule::Same(_) => Err(Problem::new(
            format!("{} compares with ourselves, and a receiver of tokens is nobody's neighbour", quote(text)),
            "write cf:app:, cf:space: or cf:org: with a GUID",
        )),
        Rule::Anonymous => Err(Problem::new("anonymous means those without a certificate", "leave it out")),
        rule => Ok(rule),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Roles, Vec<String>> {
        Roles::parse(Path::new("r.toml"), text).map_err(|all| all.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn all_diagnostics_are_reported_with_their_lines() {
        let text = r#"
[[role]]
name = "a"
allow = ["cf:any", "cf:same:space"]
polices = ["p"]

[[role]]
name = "a"
allow = ["anonymous"]
max-ttl = "1"

[[role]]
policies = [""]

[[grant]]
name = "b"
max-ttl = 7

[[grants]]
allow = ["any"]
"#;
        assert_eq!(
            parse(text).unwrap_err(),
            [
                "r.toml:4: allow: \"cf:same:space\" compares with ourselves, and a receiver of tokens is nobody's neighbour; write cf:app:, cf:space: or cf:org: with a GUID",
                "r.toml:5: polices: no such key; the nearest is policies",
                "r.toml:9: allow: anonymous means those without a certificate; leave it out",
                "r.toml:10: max-ttl: \"1\" has no unit; write 1s or 1ms",
                "r.toml:8: name: the role \"a\" is there twice; give each another name",
                "r.toml:13: policies: is empty; write a name",
                "r.toml:12: role: has no name; write name = \"NAME\" in it",
                "r.toml:16: name: no such key; write allow, deny, policies, max-ttl",
                "r.toml:17: max-ttl: is of type integer; write a string such as \"1h\"",
                "r.toml:19: grants: no such key; the nearest is grant",
            ]
        );
        assert_eq!(parse("role = 1").unwrap_err(), ["r.toml:1: role: is of type integer; write [[role]]"]);
        assert_eq!(parse("[role]\nname = 'a'").unwrap_err(), ["r.toml:1: role: is of type table; write [[role]]"]);
        assert!(parse("[[role]]\nname = 'a'\nname = 'b'").unwrap_err()[0].contains("not TOML: duplicate key"));
    }

    #[test]
    fn a_file_that_lists_nothing_grants_nothing_and_a_broken_one_is_no_such_file() {
        for text in
            ["", "# later\n", "role = []\ngrant = []\n", "[[grant]]\n", "[[grant]]\nallow = []\npolicies = ['p']"]
        {
            let granted = parse(text).unwrap().grant(&Client::Anonymous, None, None);
            assert_eq!(granted, Ok(Grant::default()), "{text}");
        }
        for text in ["[[grant", "[[grant]]\nallow = ['any'", "[[grant]]\nallow"] {
            assert!(parse(text).unwrap_err()[0].contains("not TOML"), "{text}");
        }
    }

    #[test]
    fn who_means_nobody_is_named() {
        let text = "[[role]]\nname = 'a'\n[[role]]\nname = 'b'\nallow = ['any']\n[[grant]]\nallow = ['cf:any']\ndeny = ['any']\n";
        let nobody = "means nobody: it allows nobody whom it does not deny";
        let expected = [format!("the role \"a\" {nobody}"), format!("[[grant]] number 1 {nobody}")];
        assert_eq!(parse(text).unwrap().nobodies(), expected);
    }

    proptest! {
        #[test]
        fn whatever_is_in_the_file_nothing_panics(
            text in "(\\[\\[role\\]\\]|\\[\\[grant\\]\\]|name|allow|deny|max-ttl|=|\\[|\\]|'|\"|any|,|\n|(?s).){0,24}"
        ) {
            if let Err(lines) = parse(&text) {
                prop_assert!(!lines.is_empty() && lines.iter().all(|line| !line.contains('\n')));
            }
        }
    }
}
