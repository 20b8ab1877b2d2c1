//! The question of `check --route`: whether a router passes on what clients write in X-Forwarded-Client-Cert.
//!
//! The question is a request by way of the router, with a number of its own in a field that routers pass, and the same number where an identity
//! belongs. It is answered by whoever believes the router, in place of the app, with the number and what has become of the identity. So the
//! answer cannot come from a cache or from somebody else, nothing reaches the app, and no number is ever an identity.
//!
//! Strangers may ask as well. They learn what any malformed identity would have told them (400 `xfcc_invalid`, or not), and they get no
//! further: the request is refused whatever it says.

use std::fmt;
use std::str::FromStr;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};

/// The field that has the number, in the question and in the answer.
pub(crate) const ROUTE_CHECK: HeaderName = HeaderName::from_static("vestibule-route-check");

/// Where routers write who calls.
const IDENTITY: HeaderName = HeaderName::from_static("x-forwarded-client-cert");

/// What stands in front of the number where an identity belongs.
const MARK: &str = "vestibule-route-check/";

/// One question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RouteCheck {
    number: u128,
}

/// What has become of what the question says where an identity belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MarkerOutcome {
    /// It has come, by itself or beside others.
    Passed,
    /// Nothing has come.
    Removed,
    /// Something else has come.
    Replaced,
}

impl RouteCheck {
    /// A question with a number that nobody can guess.
    pub(crate) fn new(number: u128) -> Self {
        Self { number }
    }

    /// The question that `fields` ask, if they ask one.
    pub(crate) fn asked_by(fields: &HeaderMap) -> Option<Self> {
        let text = fields.get(ROUTE_CHECK)?.to_str().ok()?;
        let is_number = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        u128::from_str_radix(text, 16).ok().filter(|_| is_number).map(Self::new)
    }

    /// What it asks with.
    pub(crate) fn fields(self) -> HeaderMap {
        let mut fields = HeaderMap::new();
        let number = self.to_string();
        let value = |text: &str| HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""));
        fields.insert(IDENTITY, value(&format!("{MARK}{number}")));
        fields.insert(ROUTE_CHECK, value(&number));
        fields
    }

    /// What has become of it on its way to whoever has got `fields`.
    pub(crate) fn outcome(self, fields: &HeaderMap) -> MarkerOutcome {
        let mark = format!("{MARK}{self}");
        let mut came = fields.get_all(IDENTITY).iter().peekable();
        if came.peek().is_none() {
            return MarkerOutcome::Removed;
        }
        let has_mark = |value: &HeaderValue| value.as_bytes().windows(mark.len()).any(|part| part == mark.as_bytes());
        if came.any(has_mark) { MarkerOutcome::Passed } else { MarkerOutcome::Replaced }
    }

    /// The answer to it.
    pub(crate) fn answer(self, outcome: MarkerOutcome) -> HeaderValue {
        HeaderValue::try_from(format!("{self} {outcome}")).unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    /// What an answer with `fields` says; `None`: it is no answer to this question.
    pub(crate) fn answered_by(self, fields: &HeaderMap) -> Option<MarkerOutcome> {
        let (number, outcome) = fields.get(ROUTE_CHECK)?.to_str().ok()?.split_once(' ')?;
        outcome.parse().ok().filter(|_| number == self.to_string())
    }
}

impl fmt::Display for RouteCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.number)
    }
}

impl fmt::Display for MarkerOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passed => "passed",
            Self::Removed => "removed",
            Self::Replaced => "replaced",
        })
    }
}

impl FromStr for MarkerOutcome {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Passed, Self::Removed, Self::Replaced].into_iter().find(|outcome| outcome.to_string() == text).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUESTION: RouteCheck = RouteCheck { number: 0xab };

    #[test]
    fn what_has_become_of_the_mark_is_told_to_whoever_asked() {
        let mut fields = QUESTION.fields();
        assert_eq!(RouteCheck::asked_by(&fields), Some(QUESTION));
        assert_eq!(QUESTION.outcome(&fields), MarkerOutcome::Passed);
        fields.append(IDENTITY, HeaderValue::from_static("By=x"));
        assert_eq!(QUESTION.outcome(&fields), MarkerOutcome::Passed);
        fields.insert(IDENTITY, HeaderValue::try_from(format!("{MARK}{QUESTION},By=x")).unwrap());
        assert_eq!(QUESTION.outcome(&fields), MarkerOutcome::Passed);
        fields.insert(IDENTITY, HeaderValue::from_static("vestibule-route-check/00"));
        assert_eq!(QUESTION.outcome(&fields), MarkerOutcome::Replaced);
        fields.remove(IDENTITY);
        assert_eq!(QUESTION.outcome(&fields), MarkerOutcome::Removed);
        for outcome in [MarkerOutcome::Passed, MarkerOutcome::Removed, MarkerOutcome::Replaced] {
            let answer: HeaderMap = [(ROUTE_CHECK, QUESTION.answer(outcome))].into_iter().collect();
            assert_eq!(QUESTION.answered_by(&answer), Some(outcome));
            assert_eq!(RouteCheck::new(1).answered_by(&answer), None, "an answer to another question");
        }
    }

    #[test]
    fn what_is_no_number_is_no_question() {
        for text in ["", "ab", &"g".repeat(32), &"A".repeat(32), &"0".repeat(33), &format!("+{}", "0".repeat(31))] {
            let fields: HeaderMap = [(ROUTE_CHECK, HeaderValue::try_from(text).unwrap())].into_iter().collect();
            assert_eq!(RouteCheck::asked_by(&fields), None, "{text}");
        }
    }
}
