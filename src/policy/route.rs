//! Which requests somebody may make: by path and method.

use std::fmt;
use std::str::FromStr;

use super::Rule;
use crate::diagnostics::Problem;
use crate::diagnostics::redact::quote;
use crate::http::certain_part;
use crate::http::path::{self, FoldedPath};

/// The longest path that a route may have.
const LONGEST_PATH: usize = 2048;

/// A path, and who may ask for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Route {
    /// With everything below it, by whole segments.
    pub path: RoutePath,
    /// It alone, and nothing below it.
    pub exact: bool,
    /// The methods that it is about, compared exactly; `None`: all. Invariant: never empty.
    pub methods: Option<Vec<String>>,
    /// Who may; empty: nobody.
    pub allow: Vec<Rule>,
}

/// The path of a route: folded, and `*` for `OPTIONS *`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RoutePath {
    text: String,
    /// As a lenient app reads it, where that is another.
    lenient: Option<Vec<u8>>,
}

/// Which requests may be made, and by whom. Empty: requests are not judged by their paths.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Routes {
    /// Those with methods before those for all methods; else as they were given.
    routes: Vec<Route>,
    /// Where health is asked for by callers without identity. It decides before the others, and on nobody else.
    health: Option<Box<Route>>,
}

/// Why no route is one for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoRoute {
    /// None has this path.
    Path,
    /// Those that have this path have other methods.
    Method,
    /// By the path as it stands it is one route, and another by the path as some apps read it.
    Ambiguous,
}

impl Route {
    /// Whether it is about requests with this method.
    pub fn has_method(&self, method: &str) -> bool {
        self.methods.as_ref().is_none_or(|methods| methods.iter().any(|own| own == method))
    }

    /// Its path as it stands, or as a lenient app reads it.
    fn reading(&self, lenient: bool) -> &[u8] {
        self.path.lenient.as_deref().filter(|_| lenient).unwrap_or(self.path.text.as_bytes())
    }

    /// Whether it has `path`, in the same reading.
    fn has_path(&self, path: &[u8], lenient: bool) -> bool {
        let own = self.reading(lenient);
        match path.strip_prefix(own) {
            Some([]) => true,
            // Nothing is below *, and everything that begins with / is below /.
            Some(rest) => !self.exact && own != b"*" && (own == b"/" || rest.first() == Some(&b'/')),
            None => false,
        }
    }

    fn is_of_the_path_of(&self, other: &Self) -> bool {
        self.exact == other.exact && self.path == other.path
    }
}

impl Routes {
    /// These routes. The longest path decides, then `exact`, then methods; of those that are equal in all that, the first.
    pub fn new(mut routes: Vec<Route>) -> Self {
        routes.sort_by_key(|route| route.methods.is_none());
        Self { routes, health: None }
    }

    /// The same, and callers without identity may ask for `path` alone by GET and HEAD.
    pub fn with_health(self, path: Option<RoutePath>) -> Self {
        let methods = Some(vec!["GET".to_owned(), "HEAD".to_owned()]);
        let health = path.map(|path| Box::new(Route { path, exact: true, methods, allow: vec![Rule::Anonymous] }));
        Self { health, ..self }
    }

    /// Where health is asked for by callers without identity.
    pub fn health(&self) -> Option<&Route> {
        self.health.as_deref()
    }

    /// Whether there is none but for health checks.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> std::slice::Iter<'_, Route> {
        self.routes.iter()
    }

    /// The rules of all routes: who may make some request.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.health.iter().map(Box::as_ref).chain(&self.routes).flat_map(|route| &route.allow)
    }

    /// The route that decides on a request.
    pub(super) fn find(&self, method: &str, path: &FoldedPath) -> Result<&Route, NoRoute> {
        let found = self.closest(method, path.as_str().as_bytes(), false)?;
        let lenient = path.lenient();
        if lenient.is_none() && self.routes.iter().all(|route| route.path.lenient.is_none()) {
            return Ok(found);
        }
        let path = lenient.as_deref().unwrap_or(path.as_str().as_bytes());
        match self.closest(method, path, true) {
            Ok(other) if std::ptr::eq(found, other) => Ok(found),
            Ok(_) | Err(_) => Err(NoRoute::Ambiguous),
        }
    }

    /// Every route that may decide on a request for `path`, if apps read it differently: the one for what stands before the first doubtful place,
    /// which is the first, and all at and below that.
    ///
    /// # Errors
    /// There is none for some reading.
    pub(super) fn of_every_reading(&self, method: &str, path: &[u8]) -> Result<Vec<&Route>, NoRoute> {
        let certain = certain_part(path);
        // What no route names stands for all else below it.
        let else_below = [certain, b"\0"].concat();
        let mut found = vec![self.closest(method, &else_below, false)?, self.closest(method, &else_below, true)?];
        let is_near = |path: &[u8]| path.starts_with(certain) || [path, b"/"].concat() == certain;
        for route in
            self.routes.iter().filter(|route| [false, true].iter().any(|as_read| is_near(route.reading(*as_read))))
        {
            let mut alike = self.routes.iter().filter(|other| other.is_of_the_path_of(route));
            found.push(alike.find(|other| other.has_method(method)).ok_or(NoRoute::Method)?);
        }
        Ok(found)
    }

    /// The longest path decides, and `exact` among those of one length; then the methods.
    fn closest(&self, method: &str, path: &[u8], lenient: bool) -> Result<&Route, NoRoute> {
        let closeness = |route: &&Route| (route.reading(lenient).len(), route.exact);
        let having_path = self.routes.iter().filter(|route| route.has_path(path, lenient));
        let closest = having_path.clone().map(|route| closeness(&route)).max().ok_or(NoRoute::Path)?;
        let mut closest = having_path.filter(|route| closeness(route) == closest);
        closest.find(|route| route.has_method(method)).ok_or(NoRoute::Method)
    }

    /// Routes that never decide, for others of the same path have all their methods; each with the first of these.
    pub fn shadowed(&self) -> impl Iterator<Item = (&Route, &Route)> {
        self.routes.iter().enumerate().filter_map(|(at, route)| {
            let mut earlier = self.routes[..at].iter().filter(|earlier| earlier.is_of_the_path_of(route));
            let is_covered = match &route.methods {
                Some(methods) => methods.iter().all(|method| earlier.clone().any(|earlier| earlier.has_method(method))),
                None => earlier.clone().any(|earlier| earlier.methods.is_none()),
            };
            earlier.next().filter(|_| is_covered).map(|earlier| (route, earlier))
        })
    }
}

impl RoutePath {
    /// The path.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is `*`, which only `OPTIONS` asks for.
    pub fn is_server(&self) -> bool {
        self.text == "*"
    }
}

impl FromStr for RoutePath {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let wrong = |what: String, help: &str| Err(Problem::new(format!("{} {what}", quote(text)), help));
        if text.len() > LONGEST_PATH {
            return Err(Problem::new(format!("longer than {LONGEST_PATH} bytes"), "write the beginning of the path"));
        }
        if !text.starts_with('/') && text != "*" {
            return wrong("does not begin with /".to_owned(), "write a path such as /metrics, or * for OPTIONS *");
        }
        for (mark, part) in [('?', "query"), ('#', "fragment")] {
            if text.contains(mark) {
                let what = format!("has a {part}, which is not judged");
                return wrong(what, &format!("leave out {mark} and what follows"));
            }
        }
        if let Some(before) = before_pattern(text) {
            let help =
                format!("write {}, which means everything below it too, or a route for each path", quote(before));
            return wrong("looks like a pattern, and routes have none".to_owned(), &help);
        }
        match path::fold(text) {
            Ok(folded) if folded.is_changed() => {
                let help = format!("write {}, to which it folds", quote(folded.as_str()));
                wrong("is the path of no request".to_owned(), &help)
            }
            Ok(folded) => Ok(Self { text: folded.as_str().to_owned(), lenient: folded.lenient() }),
            Err(why) => {
                let help = "write the path plainly, and characters beyond ASCII and blanks encoded, as in /caf%C3%A9";
                wrong(format!("is the path of no request: {why}"), help)
            }
        }
    }
}

/// What stands before the first segment of `path` that other programs take for a pattern: `/a/*`, `/a/**`, `/a/{id}`, `/a/:id`. Taken as it stands it
/// would be the path of hardly a request, and a shorter route decide on those that are meant.
fn before_pattern(path: &str) -> Option<&str> {
    let is_pattern = |segment: &str| {
        segment.contains('*') || segment.starts_with(':') || (segment.contains('{') && segment.contains('}'))
    };
    let mut end = 0;
    for segment in path.split('/').skip(1) {
        if is_pattern(segment) {
            return Some(if end == 0 { "/" } else { &path[..end] });
        }
        end += 1 + segment.len();
    }
    None
}

impl fmt::Display for RoutePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// `/metrics`, `exact /health`, `GET,HEAD /metrics`
impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(methods) = &self.methods {
            write!(f, "{} ", methods.join(","))?;
        }
        if self.exact {
            f.write_str("exact ")?;
        }
        write!(f, "{}", self.path)
    }
}

impl<'a> IntoIterator for &'a Routes {
    type Item = &'a Route;
    type IntoIter = std::slice::Iter<'a, Route>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
pub(super) mod tests;
