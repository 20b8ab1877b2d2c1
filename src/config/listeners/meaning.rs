//! Options of HTTP that have no meaning beside what else their listener is told: whoever writes one expects that something comes of it.

use super::ListenerSettings;
use crate::config::raw_value::TomlTable;
use crate::config::reader::{OptionReader, Reported, user_given};
use crate::config::{AppProtocol, ClientAuthConfig, HttpConfig, XfccMode};
use crate::diagnostics::{Problem, Source};
use crate::xfcc::XfccForm;

/// Where an option has a meaning, and what is said where it has none.
struct Meaning {
    option: &'static str,
    holds: fn(&ListenerSettings, &HttpConfig) -> bool,
    what: &'static str,
    help: &'static str,
}

const NOBODY_FORWARDS: &str = "has no meaning without --xfcc-forward-from: nobody may say who calls";
const NAME_ROUTER: &str = "name the router by --xfcc-forward-from, or take it out";
const NOBODY_IS_KNOWN: &str = "has no meaning where no certificate is asked for: nobody has an identity";
const ASK: &str = "add --client-auth request and --allow RULE, or take it out";
const PROXY_SAYS: &str = "has no meaning with --tls off: what the platform's proxy says is passed on as it comes";
const NOT_WRITTEN: &str = "is how the client's identity is written, and by this --xfcc it is not";
const LEAVE_XFCC_OUT: &str = "leave --xfcc out, or take it out";
const NO_ROUTES: &str = "is about routes, and there are none";
const ADD_ROUTES: &str = "add a [[route]] or --policy FILE, or take it out";
const NOTHING_CHANGES: &str = "has no meaning where no connection becomes another protocol: the app speaks h2c";
const TAKE_OUT: &str = "take it out";

const fn meaning(
    option: &'static str,
    holds: fn(&ListenerSettings, &HttpConfig) -> bool,
    what: &'static str,
    help: &'static str,
) -> Meaning {
    Meaning { option, holds, what, help }
}

/// Of several for one option the first that does not hold is said.
const MEANINGS: &[Meaning] = &[
    meaning("router-xfcc", believes_forwarded, NOBODY_FORWARDS, NAME_ROUTER),
    meaning("xfcc-absent", believes_forwarded, NOBODY_FORWARDS, NAME_ROUTER),
    meaning("xfcc-verify", believes_forwarded, NOBODY_FORWARDS, NAME_ROUTER),
    meaning("xfcc", has_tls, PROXY_SAYS, TAKE_OUT),
    meaning("xfcc-form", has_tls, PROXY_SAYS, TAKE_OUT),
    meaning("xfcc-details", has_tls, PROXY_SAYS, TAKE_OUT),
    meaning("forwarded-for", has_tls, PROXY_SAYS, TAKE_OUT),
    meaning("forwarded", has_tls, PROXY_SAYS, TAKE_OUT),
    meaning(
        "xfcc",
        |_, http| http.forward_from.is_empty() || http.xfcc == XfccMode::SanitizeSet,
        "contradicts --xfcc-forward-from: what the clients that it names forward is passed on, and everybody else's is replaced",
        "take one of them out",
    ),
    meaning(
        "xfcc",
        |listener, http| {
            asks_for_certificates(listener, http)
                || !matches!(http.xfcc, XfccMode::AppendForward | XfccMode::ForwardOnly)
        },
        "is about clients with a certificate, and none is asked for",
        ASK,
    ),
    meaning("xfcc-form", asks_for_certificates, NOBODY_IS_KNOWN, ASK),
    meaning("xfcc-details", asks_for_certificates, NOBODY_IS_KNOWN, ASK),
    meaning("caller-headers", asks_for_certificates, NOBODY_IS_KNOWN, ASK),
    meaning("xfcc-form", writes_identity, NOT_WRITTEN, LEAVE_XFCC_OUT),
    meaning("xfcc-details", writes_identity, NOT_WRITTEN, LEAVE_XFCC_OUT),
    meaning(
        "xfcc-details",
        |_, http| http.xfcc_forms.contains(&XfccForm::Envoy),
        "lists the parts of Envoy's form, and --xfcc-form has another",
        "add envoy to --xfcc-form, or take it out",
    ),
    meaning("path-ambiguous", may_have_routes, NO_ROUTES, ADD_ROUTES),
    meaning("path-changed", may_have_routes, NO_ROUTES, ADD_ROUTES),
    meaning(
        "h2-window-timeout",
        |listener, _| listener.plaintext.is_some() || listener.tls.alpn.iter().any(|protocol| protocol == b"h2"),
        "has no meaning where clients may not speak HTTP/2 (--alpn)",
        "add h2 to --alpn, or take it out",
    ),
    meaning("upgrade", app_may_change, NOTHING_CHANGES, TAKE_OUT),
    meaning("upgrade-drain", app_may_change, NOTHING_CHANGES, TAKE_OUT),
    meaning(
        "upgrade-drain",
        |_, http| !http.upgrades.is_none(),
        "has no meaning beside --upgrade off: no connection becomes another protocol",
        "take one of them out",
    ),
];

/// Options whose usual value says that something is kept from the app: whoever types it relies on that. What the usual value of the
/// others says holds without them as well, or nobody is worse off without it.
const PROTECTS_ANYWAY: &[&str] = &["xfcc", "path-ambiguous", "path-changed", "forwarded-for"];

fn believes_forwarded(listener: &ListenerSettings, http: &HttpConfig) -> bool {
    listener.plaintext.is_some() || !http.forward_from.is_empty()
}

fn has_tls(listener: &ListenerSettings, _: &HttpConfig) -> bool {
    listener.plaintext.is_none()
}

fn asks_for_certificates(listener: &ListenerSettings, _: &HttpConfig) -> bool {
    listener.clients != ClientAuthConfig::None
}

fn writes_identity(_: &ListenerSettings, http: &HttpConfig) -> bool {
    matches!(http.xfcc, XfccMode::SanitizeSet | XfccMode::AppendForward)
}

fn may_have_routes(listener: &ListenerSettings, _: &HttpConfig) -> bool {
    listener.clients.may_have_routes()
}

fn app_may_change(_: &ListenerSettings, http: &HttpConfig) -> bool {
    http.app_protocol == AppProtocol::Http1
}

impl OptionReader {
    /// Whether everything that was said of HTTP has a meaning. What is said for all listeners is meant for those where it has one.
    ///
    /// # Errors
    /// Something has none where it was said, or nowhere.
    pub(super) fn all_has_meaning<'a>(
        &mut self,
        sections: &[TomlTable],
        listeners: impl Iterator<Item = &'a ListenerSettings> + Clone,
    ) -> Result<(), Reported> {
        let (mut result, mut said) = (Ok(()), Vec::<Source>::new());
        for Meaning { option, holds, what, help } in MEANINGS {
            let holds = |listener: &ListenerSettings| listener.http.as_ref().map(|http| holds(listener, http));
            let own = sections.iter().zip(listeners.clone()).filter(|(_, listener)| holds(listener) == Some(false));
            let own = own.filter_map(|(section, _)| user_given(option, section.given.get(option)?));
            let mut known = listeners.clone().filter_map(holds).peekable();
            let is_nowhere = known.peek().is_some() && !known.any(|holds| holds);
            let all = match PROTECTS_ANYWAY.contains(option) {
                true => self.claimed(option),
                false => self.user_given(option),
            };
            let all = all.filter(|_| is_nowhere);
            for place in own.chain(all).collect::<Vec<_>>() {
                if said.contains(&place) {
                    continue;
                }
                said.push(place.clone());
                result = Err(self.report(Problem::new(*what, *help).at(place)));
            }
        }
        result
    }

    /// How HTTP ends at TCP listeners is not how it ends where requests are served.
    ///
    /// # Errors
    /// There are no others, and something was said of it.
    pub(super) fn no_drain_of_carried_http<'a>(
        &mut self,
        mut listeners: impl Iterator<Item = &'a ListenerSettings>,
    ) -> Result<(), Reported> {
        let Some(place) = self.user_given("drain-http").filter(|_| listeners.all(|one| one.http.is_some())) else {
            return Ok(());
        };
        let what =
            "is about listeners that carry bytes, and there is none: where requests are served they always end so";
        Err(self.report(Problem::new(what, TAKE_OUT).at(place)))
    }
}
