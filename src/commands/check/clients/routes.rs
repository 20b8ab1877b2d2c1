//! Judges routes: those that can never decide, and those that admit nobody.

use super::{ClientChecks, Subject};
use crate::policy::{Policy, Route, Rule};

impl ClientChecks<'_> {
    pub(super) fn routes(&mut self, policy: &Policy) {
        if let Some(health) = policy.routes.health() {
            self.health(health, policy);
        }
        for (route, earlier) in policy.routes.shadowed() {
            let what = format!("the route {route} never decides: {earlier}, of the same path, has its methods");
            self.warning(Subject::Rules, &what, "take one of them out, or give it other methods");
        }
        for route in &policy.routes {
            if route.path.is_server() && !route.has_method("OPTIONS") {
                let what = format!("the route {route} never decides: only OPTIONS asks for *");
                self.warning(Subject::Rules, &what, "add OPTIONS to its methods, or take it out");
            }
            if route.allow.is_empty() {
                let what = format!("the route {route} admits nobody");
                self.warning(Subject::Rules, &what, "name in its allow who may, if somebody may");
            }
            self.rules_of(route, policy);
        }
    }

    fn health(&mut self, health: &Route, policy: &Policy) {
        let path = &health.path;
        let is_open = |route: &Route| route.path == *path && route.allow.contains(&Rule::Anonymous);
        if policy.deny.contains(&Rule::Anonymous) {
            let what = format!("--health-path {path} admits nobody: deny anonymous beats it");
            self.warning(Subject::Rules, &what, "take one of them out");
        } else if policy.allow.contains(&Rule::Anonymous) && policy.routes.is_empty()
            || policy.routes.iter().any(is_open)
        {
            self.ok(Subject::Rules, &format!("--health-path {path} adds nothing: the anonymous may ask for it"));
        } else {
            self.ok(Subject::Rules, &format!("{path} may be asked for by GET and HEAD without an identity"));
        }
    }

    fn rules_of(&mut self, route: &Route, policy: &Policy) {
        let list = format!("the route {route}: allow");
        for rule in &route.allow {
            if let Some(deny) = policy.deny.iter().find(|deny| deny.covers(rule)) {
                let what = format!("{list} {rule} admits nobody: deny {deny} beats it");
                self.warning(Subject::Rules, &what, "take one of them out");
            }
            self.rule(&list, rule);
        }
    }
}
