//! Rules and routes, as far as there is room for them.

use serde::Serialize;

use crate::diagnostics::SafeText;
use crate::policy::{Route, Routes, Rule};

/// Rules of a list that are shown.
const MAX_RULES: usize = 10;

/// The beginning of a list of rules.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct Rules {
    pub(in crate::admin) rules: Vec<SafeText>,
    /// How many are left out.
    pub(in crate::admin) more: usize,
}

impl Rules {
    pub(super) fn of(rules: &[Rule]) -> Self {
        let shown = rules.iter().take(MAX_RULES).map(SafeText::of).collect();
        Self { rules: shown, more: rules.len().saturating_sub(MAX_RULES) }
    }

    /// Routes, each with those whom it admits.
    pub(super) fn of_routes(routes: &Routes) -> Self {
        let shown = |route: &Route| {
            let allow: Vec<_> = route.allow.iter().map(ToString::to_string).collect();
            let allow = if allow.is_empty() { "nobody".to_owned() } else { allow.join(", ") };
            SafeText::of(format_args!("{route}: {allow}"))
        };
        let more = routes.iter().len().saturating_sub(MAX_RULES);
        Self { rules: routes.iter().take(MAX_RULES).map(shown).collect(), more }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_shown_with_those_whom_they_admit() {
        let route = |allow: &[&str]| Route {
            path: "/a".parse().unwrap(),
            exact: false,
            methods: None,
            allow: allow.iter().map(|rule| rule.parse().unwrap()).collect(),
        };
        let shown = Rules::of_routes(&Routes::new(vec![route(&["cf:any", "anonymous"]), route(&[])]));
        let texts: Vec<_> = shown.rules.iter().map(SafeText::as_str).collect();
        assert_eq!((texts, shown.more), (vec!["/a: cf:any, anonymous", "/a: nobody"], 0));
        let many = Rules::of_routes(&Routes::new(vec![route(&["any"]); MAX_RULES + 2]));
        assert_eq!((many.rules.len(), many.more), (MAX_RULES, 2));
    }
}
