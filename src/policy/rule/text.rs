//! How a rule is written, and what was probably meant where it is not one.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::{Rule, SameScope};
use crate::diagnostics::redact::{may_be_secret_in_name, quote};
use crate::diagnostics::{Problem, nearest};
use crate::identity::{AppInstanceId, Guid};
use crate::policy::pattern::{DnsPattern, LONGEST_TEXT, UriPattern};

/// How a rule begins, with what stands for the rest of it.
const FORMS: [(&str, &str); 13] = [
    ("cf:app:", "GUID"),
    ("cf:space:", "GUID"),
    ("cf:org:", "GUID"),
    ("cf:instance:", "ID"),
    ("cf:any", ""),
    ("cf:same:app", ""),
    ("cf:same:space", ""),
    ("cf:same:org", ""),
    ("dns:", "NAME"),
    ("uri:", "URI"),
    ("cn:", "NAME"),
    ("any", ""),
    ("anonymous", ""),
];

/// What is written by mistake, and how the rule that is meant begins.
const SLIPS: [(&str, &str); 21] = [
    ("app:", "cf:app:"),
    ("space:", "cf:space:"),
    ("org:", "cf:org:"),
    ("organization:", "cf:org:"),
    ("organisation:", "cf:org:"),
    ("cf:organization:", "cf:org:"),
    ("cf:organisation:", "cf:org:"),
    ("instance:", "cf:instance:"),
    ("ou=app:", "cf:app:"),
    ("ou=space:", "cf:space:"),
    ("ou=organization:", "cf:org:"),
    ("cn=", "cn:"),
    ("san:", "dns:"),
    ("spiffe:", "uri:"),
    ("same:app", "cf:same:app"),
    ("same:space", "cf:same:space"),
    ("same:org", "cf:same:org"),
    ("cf:same:organization", "cf:same:org"),
    ("cf:*", "cf:any"),
    ("*", "any"),
    ("all", "any"),
];

impl FromStr for Rule {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let within = |wrong: Problem| Problem::new(format!("{}: {}", quote(text), wrong.what), wrong.help);
        match text {
            "cf:any" => return Ok(Self::CloudFoundry),
            "cf:same:app" => return Ok(Self::Same(SameScope::App)),
            "cf:same:space" => return Ok(Self::Same(SameScope::Space)),
            "cf:same:org" => return Ok(Self::Same(SameScope::Organization)),
            "any" => return Ok(Self::Any),
            "anonymous" => return Ok(Self::Anonymous),
            _ => {}
        }
        if may_be_secret_in_name(text) {
            return Err(Problem::new("looks like a key itself", help_for("")));
        }
        let form = FORMS.iter().find_map(|(form, _)| Some((*form, text.strip_prefix(form)?)));
        match form {
            Some(("cf:app:", guid)) => guid_of("app", guid).map(Self::App),
            Some(("cf:space:", guid)) => guid_of("space", guid).map(Self::Space),
            Some(("cf:org:", guid)) => guid_of("org", guid).map(Self::Organization),
            Some(("cf:instance:", id)) => instance(id).map(Self::Instance),
            Some(("dns:", name)) => DnsPattern::parse(name).map(Self::Dns),
            Some(("uri:", uri)) => UriPattern::parse(uri).map(Self::Uri),
            Some(("cn:", name)) => common_name(name).map(Self::CommonName),
            _ => Err(Problem::new("no such rule", help_for(text))),
        }
        .map_err(within)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::App(guid) => write!(f, "cf:app:{guid}"),
            Self::Space(guid) => write!(f, "cf:space:{guid}"),
            Self::Organization(guid) => write!(f, "cf:org:{guid}"),
            Self::Instance(id) => write!(f, "cf:instance:{id}"),
            Self::CloudFoundry => f.write_str("cf:any"),
            Self::Same(SameScope::App) => f.write_str("cf:same:app"),
            Self::Same(SameScope::Space) => f.write_str("cf:same:space"),
            Self::Same(SameScope::Organization) => f.write_str("cf:same:org"),
            Self::Dns(pattern) => write!(f, "dns:{pattern}"),
            Self::Uri(pattern) => write!(f, "uri:{pattern}"),
            Self::CommonName(name) => write!(f, "cn:{name}"),
            Self::Any => f.write_str("any"),
            Self::Anonymous => f.write_str("anonymous"),
            Self::AltName(name) => write!(f, "san:{name}"),
            Self::Trusted => f.write_str("trusted"),
        }
    }
}

/// A GUID on its own, as `--allow-app` and its like take it; `kind` is what the cf command line calls it.
pub(crate) fn guid_of(kind: &str, text: &str) -> Result<Guid, Problem> {
    let help = || format!("write the GUID that cf {kind} NAME --guid prints");
    text.parse().map_err(|_| Problem::new(format!("{} is not a GUID", quote(text)), help()))
}

fn instance(id: &str) -> Result<AppInstanceId, Problem> {
    let help = "write the CN of the instance's certificate, letters, digits and dashes";
    id.parse().map_err(|_| Problem::new(format!("{} is not an instance's id", quote(id)), help))
}

fn common_name(name: &str) -> Result<Arc<str>, Problem> {
    if name.starts_with(['"', '\'']) || name.ends_with(['"', '\'']) {
        return Err(Problem::new("the quotes would be part of the name", "leave them out"));
    }
    if name.contains('*') {
        return Err(Problem::new("a CN has no wildcard", "write the whole name, or dns:*.NAME"));
    }
    let plain =
        !name.is_empty() && name.trim() == name && name.len() <= LONGEST_TEXT && !name.chars().any(char::is_control);
    if plain { Ok(name.into()) } else { Err(Problem::new("it is no CN", "write cn:NAME such as cn:gorouter")) }
}

/// What was probably meant.
fn help_for(text: &str) -> String {
    let complete = |form: &str| {
        let rest = FORMS.iter().find(|(known, _)| *known == form).map_or("", |(_, rest)| rest);
        format!("the nearest is {form}{rest}")
    };
    if text.parse::<Guid>().is_ok() {
        return format!("write cf:app:{text}, cf:space:{text} or cf:org:{text}");
    }
    if text.contains("://") && UriPattern::parse(text).is_ok() {
        return "the nearest is uri:URI".to_owned();
    }
    let lower = text.to_ascii_lowercase();
    let begins = |(slip, form): &(&str, &'static str)| lower.starts_with(slip).then_some(*form);
    let whole = |(slip, _): &&(&str, &str)| slip.ends_with([':', '=']) || lower == *slip;
    if let Some(form) = SLIPS.iter().filter(whole).find_map(begins) {
        return complete(form);
    }
    // With the name or GUID taken off, so that it is the beginning alone that is compared.
    let head = lower.rfind(':').map_or(lower.as_str(), |colon| &lower[..=colon]);
    let known = || FORMS.iter().map(|(form, _)| *form);
    if let Some(form) = nearest(&lower, known()).or_else(|| nearest(head, known())) {
        return complete(form);
    }
    if text.contains('.') && DnsPattern::parse(text).is_ok() {
        return "the nearest is dns:NAME".to_owned();
    }
    "write cf:app:GUID, cf:space:GUID, cf:org:GUID, cf:same:org, dns:NAME or any".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GUID: &str = "7d6b3f5e-9a1c-4f0e-8b59-0f6a3a1d2c11";

    #[test]
    fn every_form_is_written_as_it_was_read_in_its_canonical_case() {
        for (text, written) in [
            (format!("cf:app:{GUID}"), format!("cf:app:{GUID}")),
            (format!("cf:space:{}", GUID.to_uppercase()), format!("cf:space:{GUID}")),
            (format!("cf:org:{GUID}"), format!("cf:org:{GUID}")),
            ("cf:instance:51F0a007-a1b2".to_owned(), "cf:instance:51f0a007-a1b2".to_owned()),
            ("dns:*.Example.COM".to_owned(), "dns:*.example.com".to_owned()),
            ("uri:spiffe://example.org/NS/*".to_owned(), "uri:spiffe://example.org/NS/*".to_owned()),
            ("cn:Mr. Router, II".to_owned(), "cn:Mr. Router, II".to_owned()),
        ] {
            assert_eq!(text.parse::<Rule>().unwrap().to_string(), written);
        }
        for text in ["cf:any", "cf:same:app", "cf:same:space", "cf:same:org", "any", "anonymous"] {
            assert_eq!(text.parse::<Rule>().unwrap().to_string(), text);
        }
    }

    #[test]
    #[rustfmt::skip] // What is typed, and what is said, in one column each.
    fn a_rule_that_cannot_be_read_is_shown_with_what_is_wrong_and_the_help() {
        for (text, said) in [
            ("", "\"\": no such rule; write cf:app:GUID, cf:space:GUID, cf:org:GUID, cf:same:org, dns:NAME or any"),
            ("cf:ap:x", "\"cf:ap:x\": no such rule; the nearest is cf:app:GUID"),
            ("cf:app", "\"cf:app\": no such rule; the nearest is cf:app:GUID"),
            ("CF:APP:x", "\"CF:APP:x\": no such rule; the nearest is cf:app:GUID"),
            ("app:x", "\"app:x\": no such rule; the nearest is cf:app:GUID"),
            ("cf:organization:x", "\"cf:organization:x\": no such rule; the nearest is cf:org:GUID"),
            ("OU=app:x", "\"OU=app:x\": no such rule; the nearest is cf:app:GUID"),
            ("cf:same:spaces", "\"cf:same:spaces\": no such rule; the nearest is cf:same:space"),
            ("cf:all", "\"cf:all\": no such rule; the nearest is cf:any"),
            ("anonymus", "\"anonymus\": no such rule; the nearest is anonymous"),
            ("Any", "\"Any\": no such rule; the nearest is any"),
            ("*", "\"*\": no such rule; the nearest is any"),
            (" any", "\" any\": no such rule; the nearest is any"),
            (GUID, &format!("\"{GUID}\": no such rule; write cf:app:{GUID}, cf:space:{GUID} or cf:org:{GUID}")),
            ("gorouter.service.cf.internal", "\"gorouter.service.cf.internal\": no such rule; the nearest is dns:NAME"),
            ("spiffe://example.org/a", "\"spiffe://example.org/a\": no such rule; the nearest is uri:URI"),
            ("cf:app:web", "\"cf:app:web\": \"web\" is not a GUID; write the GUID that cf app NAME --guid prints"),
            ("cf:org:", "\"cf:org:\": \"\" is not a GUID; write the GUID that cf org NAME --guid prints"),
            ("cf:instance:*", "\"cf:instance:*\": \"*\" is not an instance's id; write the CN of the instance's certificate, letters, digits and dashes"),
            ("dns:a.*.b", "\"dns:a.*.b\": a * stands only for the whole first label; write dns:*.NAME"),
            ("cn:*", "\"cn:*\": a CN has no wildcard; write the whole name, or dns:*.NAME"),
            ("cn:", "\"cn:\": it is no CN; write cn:NAME such as cn:gorouter"),
            ("cn: x", "\"cn: x\": it is no CN; write cn:NAME such as cn:gorouter"),
        ] {
            assert_eq!(text.parse::<Rule>().unwrap_err().to_string(), said);
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic_and_what_it_reads_it_writes(text in "(cf:|app:|same:|dns:|uri:|cn:|any|anonymous|\\*|\\.|/|:|[a-z0-9-]{1,9}|(?s).){0,9}") {
            match text.parse::<Rule>() {
                Ok(rule) => prop_assert_eq!(rule.to_string().parse::<Rule>(), Ok(rule)),
                Err(wrong) => prop_assert!(!wrong.to_string().contains('\n')),
            }
        }
    }
}
