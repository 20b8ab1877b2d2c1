//! Routes as files have them: `[[route]]` with `path`, `exact`, `methods` and `allow`.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::rule_file::{RuleFileReader, entries};
use super::{Route, RoutePath};
use crate::diagnostics::redact::quote;
use crate::diagnostics::{Diagnostic, Problem, Source};

/// The key that routes stand under.
pub(crate) const ROUTE: &str = "route";

const KEYS: [&str; 4] = ["path", "exact", "methods", "allow"];

/// What is usually asked for; in small letters it is a slip.
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT"];

/// A route, and where it stands.
pub(crate) type LocatedRoute = (Source, Route);

/// The routes that are `given` for a listener, which reads requests or only carries bytes.
///
/// # Errors
/// There are some where no request is read, so that nobody would ask them.
pub(crate) fn where_requests_are_read(
    given: Vec<LocatedRoute>,
    reads_requests: bool,
) -> Result<Vec<Route>, Diagnostic> {
    match given.first() {
        Some((place, route)) if !reads_requests => {
            let what = format!("the route {} stands where no request is read: a listener of mode tcp", route.path);
            let help = "write mode = \"http\" for the listener, or take its routes out";
            Err(Problem::new(what, help).at(place.clone()))
        }
        _ => Ok(given.into_iter().map(|(_, route)| route).collect()),
    }
}

impl RuleFileReader<'_> {
    /// The routes in the tables that are `value`, each with the `header` over it.
    pub(crate) fn routes(&mut self, header: &str, value: &Spanned<DeValue<'_>>) -> Vec<LocatedRoute> {
        let help = format!("write each route as a table with the header {header}");
        let DeValue::Array(elements) = value.get_ref() else {
            self.wrong_type(ROUTE, value, &help);
            return Vec::new();
        };
        if elements.is_empty() {
            // It reads like "nobody may do anything", and would otherwise count like none at all.
            let help = format!("write each route under {header}, or leave it out");
            self.note(ROUTE, value.span().start, Problem::new("lists no route", help));
        }
        let mut routes = Vec::with_capacity(elements.len());
        for element in elements {
            let at = element.span().start;
            match element.get_ref() {
                DeValue::Table(table) => {
                    routes.extend(self.route(at, table).map(|route| (self.place(ROUTE, at), route)))
                }
                other => {
                    let what = format!("holds something of type {} beside tables", other.type_str());
                    self.note(ROUTE, at, Problem::new(what, help.clone()));
                }
            }
        }
        routes
    }

    /// The route that is `table`, at the byte `at` of the text.
    fn route(&mut self, at: usize, table: &DeTable<'_>) -> Option<Route> {
        let (mut path, mut exact, mut methods, mut allow) = (None, false, None, None);
        let mut has_path = false;
        for (key, at, value) in entries(table) {
            match key {
                "path" => {
                    has_path = true;
                    let read = self.text(key, value, "write a string", |text| text.parse::<RoutePath>());
                    path = read.map(|path| (path, value.span().start));
                }
                "exact" => match value.get_ref() {
                    DeValue::Boolean(truth) => exact = *truth,
                    _ => self.wrong_type(key, value, "write true or false"),
                },
                "methods" => methods = self.methods(key, value),
                "allow" => allow = Some(self.rules(key, value)),
                unknown => self.unknown(unknown, at, &KEYS),
            }
        }
        if !has_path {
            self.note(ROUTE, at, Problem::new("has no path", "write path = \"/metrics\" in it"));
        }
        if allow.is_none() {
            let help = "write allow = [\"cf:app:GUID\"] in it: who may";
            self.note(ROUTE, at, Problem::new("has no allow", help));
        }
        let (path, path_at) = path?;
        if !exact && path.as_str().len() > 1 && path.as_str().ends_with('/') {
            let whole = path.as_str().trim_end_matches('/');
            let help = format!("write {}, which means what is below it too, or exact = true", quote(whole));
            self.note("path", path_at, Problem::new(format!("{} ends with /", quote(path.as_str())), help));
        }
        Some(Route { path, exact, methods, allow: allow? })
    }

    /// Methods, one at least.
    fn methods(&mut self, key: &str, value: &Spanned<DeValue<'_>>) -> Option<Vec<String>> {
        if matches!(value.get_ref(), DeValue::Array(elements) if elements.is_empty()) {
            let help = "write methods = [\"GET\"], or leave it out for all of them";
            self.note(key, value.span().start, Problem::new("lists no method", help));
        }
        let methods = self.texts(key, value, parse_method);
        (!methods.is_empty()).then_some(methods)
    }
}

/// A method (RFC 9110, 9.1).
pub(crate) fn parse_method(text: &str) -> Result<String, Problem> {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if text.is_empty() || !text.chars().all(is_token) || text == "*" {
        let help = "write a method such as GET, or leave methods out for all of them";
        return Err(Problem::new(format!("{} is no method", quote(text)), help));
    }
    match METHODS.iter().find(|known| **known != text && known.eq_ignore_ascii_case(text)) {
        Some(known) => {
            let what = format!("{} is not {known}: methods are compared exactly", quote(text));
            Err(Problem::new(what, format!("write {known}")))
        }
        None => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests;
