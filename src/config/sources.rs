//! What was typed: on the command line, in the environment, in the file.
//!
//! Nothing is judged here but names: an option that does not exist, a value of a kind that cannot be written down as
//! text. What a value means is [`super::resolve`]'s business.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;

use super::options::{Group, Opt, PREFIX, Preset, Table};
use super::raw_value::{ByName, RawValue, TomlTable, split};
use super::{file, options, values};
use crate::diagnostics::{Diagnostic, Problem, Source, nearest};
use crate::policy::route_file::LocatedRoute;

/// The environment by name.
pub type Environment = BTreeMap<String, OsString>;

/// All that a configuration is made of. Handed in, so that resolving is a pure function.
pub struct Sources<'a> {
    /// Option names and values as they stand on the command line; a switch has the value `true`.
    pub flags: &'a [(&'static str, OsString)],
    /// The environment.
    pub environment: &'a Environment,
    /// Reads the file that `--config` names.
    pub read_file: &'a dyn Fn(&Path) -> io::Result<String>,
    /// Whether the app is ours to start.
    pub starts_app: bool,
    /// How many CPUs are ours by quota.
    pub cpus: usize,
}

/// Every option's values from the highest source that has any.
#[derive(Debug, Clone, Default)]
pub struct GatheredValues {
    given: ByName,
    sections: Vec<TomlTable>,
    /// `[[route]]`, or what one listener has in its place.
    routes: Vec<LocatedRoute>,
    /// The file that was named cannot be read, or is not all TOML.
    is_file_broken: bool,
}

/// The options that are one list of rules.
pub(super) const ALLOWING: [&str; 4] = ["allow", "allow-app", "allow-space", "allow-org"];

impl GatheredValues {
    /// Collects what was given. Flag beats variable, variable beats file; a higher source replaces a lower one whole.
    pub fn gather(inputs: &Sources<'_>, diagnostics: &mut Vec<Diagnostic>) -> Self {
        let mut sources = Self::default();
        for (name, value) in inputs.flags {
            if let Some(option) = options::serving(name) {
                let place = Source::Flag(option.flag());
                sources.given.entry(option.name).or_default().extend(split(option, place, value));
            }
        }
        sources.lower(variables(inputs.environment, diagnostics));
        if let Some(named) = sources.values("config").first() {
            match values::path(&named.value) {
                Ok(path) => {
                    let contents = file::read(named, (inputs.read_file)(&path), diagnostics);
                    sources.lower(contents.given);
                    sources.sections = contents.sections;
                    sources.routes = contents.routes;
                    sources.is_file_broken = contents.is_broken;
                }
                Err(problem) => diagnostics.push(problem.at(named.place.clone())),
            }
        }
        for option in options::OPTIONS.iter().filter(|option| options::serving(option.name) == Some(option)) {
            sources.lower(preset(option, inputs.environment).map(|given| (option.name, given)));
        }
        sources
    }

    /// What was given for the option `name`, or its default; empty if there is neither.
    pub fn values(&self, name: &str) -> &[RawValue] {
        debug_assert!(options::serving(name).is_some(), "{name} is not in the table");
        self.given.get(name).map_or(&[], Vec::as_slice)
    }

    /// Whether the file may say what nobody could read.
    pub(super) fn is_file_broken(&self) -> bool {
        self.is_file_broken
    }

    /// Whether the option was given, if only as an empty list.
    pub(super) fn is_given(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    /// Who may ask for what.
    pub(super) fn routes(&self) -> &[LocatedRoute] {
        &self.routes
    }

    /// The tables of one kind in the file.
    pub(super) fn sections(&self, table: Table) -> impl Iterator<Item = &TomlTable> {
        self.sections.iter().filter(move |section| section.table == table)
    }

    /// What counts for one `[[outbound]]`: what it says itself, and what is said for all where it says nothing.
    pub(super) fn within_outbound(&self, section: &TomlTable) -> Self {
        let mut given = self.given.clone();
        given.extend(section.given.clone());
        Self { given, is_file_broken: self.is_file_broken, ..Self::default() }
    }

    /// What counts for one `[[listener]]`: what it says itself replaces what the file says for all. A flag or a variable
    /// beats both, as it beats the file.
    pub(super) fn within(&self, section: &TomlTable) -> Self {
        let is_typed = |name: &str| {
            let first = self.values(name).first();
            first.is_some_and(|given| matches!(given.place, Source::Flag(_) | Source::Variable(_)))
        };
        let says_off = section.given.get("client-auth").is_some_and(|values| values.iter().any(|v| v.value == "off"));
        let mut replaced: Vec<&str> = section.given.keys().copied().collect();
        if ALLOWING.iter().any(|name| section.given.contains_key(name)) {
            replaced.extend(ALLOWING);
        }
        if says_off && !is_typed("client-auth") {
            // A listener that says itself that it asks for no certificate is not one of those that the rules mean.
            replaced.extend(ALLOWING.iter().chain(&["deny", "policy"]));
        }
        let routes = match section.routes.as_slice() {
            [] if says_off && !is_typed("client-auth") => Vec::new(),
            [] => self.routes.clone(),
            own => own.to_vec(),
        };
        let mut given = self.given.clone();
        given.retain(|name, _| is_typed(name) || !replaced.contains(name));
        for (name, values) in &section.given {
            given.entry(name).or_insert_with(|| values.clone());
        }
        Self { given, routes, is_file_broken: self.is_file_broken, ..Self::default() }
    }

    /// Takes over those options that have no value yet.
    fn lower(&mut self, values: impl IntoIterator<Item = (&'static str, Vec<RawValue>)>) {
        for (name, values) in values {
            self.given.entry(name).or_insert(values);
        }
    }
}

/// What the environment alone says about `option`, or its default.
pub(super) fn without_flags(option: &'static Opt, environment: &Environment) -> Option<Vec<RawValue>> {
    let own = option.variable().and_then(|name| Some((environment.get(&name)?, name)));
    match own.filter(|(value, _)| !value.is_empty()) {
        Some((value, name)) => Some(split(option, Source::Variable(name), value)),
        None => preset(option, environment),
    }
}

/// Our own variables. An empty one counts as not set, unless it says who may come in: then it is read, and found wrong.
fn variables(environment: &Environment, diagnostics: &mut Vec<Diagnostic>) -> BTreeMap<&'static str, Vec<RawValue>> {
    let known: BTreeMap<String, &Opt> =
        options::OPTIONS.iter().filter_map(|option| Some((option.variable()?, option))).collect();
    let mut given = BTreeMap::new();
    for (name, value) in environment {
        if !name.starts_with(PREFIX) {
            continue;
        }
        let place = Source::Variable(name.clone());
        let option = known.get(name);
        // Who may come in must not depend on whether a template was filled in.
        if value.is_empty() && option.is_none_or(|option| option.group != Group::Clients) {
            continue;
        }
        if let Some(option) = option {
            given.insert(option.name, split(option, place, value));
        } else if !is_service_link(name, value) {
            // The prefix is left out: what all names share makes strangers look alike.
            let known = known.keys().filter_map(|name| name.strip_prefix(PREFIX));
            let help = match nearest(&name[PREFIX.len()..], known) {
                Some(nearest) => format!("the nearest is {PREFIX}{nearest}"),
                None => "vestibule run --help lists the options".to_owned(),
            };
            diagnostics.push(Problem::new("no such variable", help).at(place));
        }
    }
    given
}

/// Kubernetes puts variables such as `VESTIBULE_SERVICE_HOST` and `VESTIBULE_DEMO_PORT_8443_TCP_ADDR` into every
/// container as soon as a Service is called `vestibule` or `vestibule-demo`. Nobody typed them.
fn is_service_link(name: &str, value: &OsStr) -> bool {
    let is_url = value.to_str().is_some_and(|text| text.contains("://"));
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.ends_with("_PORT") && is_url
        || name.split_once("_PORT_").is_some_and(|(_, rest)| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// The platform's variable, else the default from the table.
fn preset(option: &'static Opt, environment: &Environment) -> Option<Vec<RawValue>> {
    let platform = option.platform.and_then(|name| Some((name, environment.get(name)?)));
    if let Some((name, value)) = platform.filter(|(_, value)| !value.is_empty()) {
        return Some(vec![RawValue { place: Source::Platform(name.to_owned()), value: value.clone() }]);
    }
    match option.default {
        Preset::Value(text) => Some(vec![RawValue { place: Source::Default(option.name), value: text.into() }]),
        Preset::Derived(_) | Preset::None => None,
    }
}
