//! What may be changed here, if `--admin-actions` names it: drain, reload, and the level of the log. By POST, and not for the
//! pages of other sites that happen to be open in somebody's browser.

use std::sync::{Mutex, PoisonError};

use hyper::header::{ALLOW, HOST, HeaderName, HeaderValue, ORIGIN};
use hyper::{Method, Request, StatusCode};
use strum::VariantArray;
use tokio::sync::mpsc;

use super::response::{AdminResponse, text};
use crate::config::{AdminAction, LogLevel};
use crate::lifecycle;
use crate::telemetry;

/// Requests that wait to be heard; a drain and its "now" fit.
const WAITING: usize = 4;

/// Set by browsers on each request, and not by pages (Fetch Metadata, W3C).
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The actions that are enabled.
#[derive(Debug)]
pub(super) struct Actions {
    enabled: Vec<AdminAction>,
    /// To whoever runs the process; `None` until it listens.
    open_request_channel: Option<mpsc::Sender<lifecycle::ControlRequest>>,
}

/// What one connection has asked for. It is passed on once the answer has been written: the end of the process may follow
/// faster than an answer does.
#[derive(Debug, Default)]
pub(super) struct PendingAction(
    Mutex<Option<(mpsc::OwnedPermit<lifecycle::ControlRequest>, lifecycle::ControlRequest)>>,
);

impl PendingAction {
    /// Passes it on, if there is one.
    pub(super) fn send(self) {
        // A panic elsewhere leaves nothing half done in here.
        let pending = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some((permit, asked)) = pending {
            permit.send(asked);
        }
    }
}

impl Actions {
    pub(super) fn new(enabled: &[AdminAction]) -> Self {
        Self { enabled: enabled.to_vec(), open_request_channel: None }
    }

    /// Where the requests arrive from now on.
    pub(super) fn requests(&mut self) -> mpsc::Receiver<lifecycle::ControlRequest> {
        let (sender, receiver) = mpsc::channel(WAITING);
        self.open_request_channel = Some(sender);
        receiver
    }

    /// The answer to `request`, with what is to follow in `pending`; `None` if it is about none of the actions.
    pub(super) fn answer<B>(&self, request: &Request<B>, pending: &PendingAction) -> Option<AdminResponse> {
        let action = match request.uri().path() {
            "/drain" => AdminAction::Drain,
            "/reload" => AdminAction::Reload,
            "/loglevel" => AdminAction::LogLevel,
            _ => return None,
        };
        let asks = request.method() == Method::GET || request.method() == Method::HEAD;
        Some(match action {
            AdminAction::LogLevel if asks => level(telemetry::log_level()),
            _ if request.method() != Method::POST => {
                let allowed = if action == AdminAction::LogLevel { "GET, HEAD, POST" } else { "POST" };
                let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, format!("only {allowed}\n"));
                answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
                answer
            }
            _ if !self.enabled.contains(&action) => {
                let name = action.as_str();
                text(StatusCode::FORBIDDEN, format!("not enabled; start the proxy with --admin-actions {name}\n"))
            }
            _ if is_from_another_site(request) => {
                text(StatusCode::FORBIDDEN, "a page of another site may not ask for this\n")
            }
            AdminAction::Drain => self.pass_on(lifecycle::ControlRequest::Stop, "drain", pending),
            AdminAction::Reload => self.pass_on(lifecycle::ControlRequest::Reload, "reload", pending),
            AdminAction::LogLevel => change_level(request.uri().query().unwrap_or_default()),
        })
    }

    fn pass_on(
        &self,
        asked: lifecycle::ControlRequest,
        action: &'static str,
        pending: &PendingAction,
    ) -> AdminResponse {
        let permit = self.open_request_channel.clone().and_then(|requests| requests.try_reserve_owned().ok());
        let Some(permit) = permit else {
            return text(StatusCode::SERVICE_UNAVAILABLE, "too many such requests wait already\n");
        };
        tracing::info!(action, "admin action accepted");
        *pending.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((permit, asked));
        text(StatusCode::ACCEPTED, "accepted\n")
    }
}

/// `?level=debug`
fn change_level(query: &str) -> AdminResponse {
    let Some(asked) = query.strip_prefix("level=").and_then(|asked| asked.parse::<LogLevel>().ok()) else {
        let words = LogLevel::VARIANTS.iter().map(|level| level.as_str()).collect::<Vec<_>>().join(", ");
        return text(StatusCode::BAD_REQUEST, format!("write ?level=LEVEL, one of {words}\n"));
    };
    // Told under whichever of the two levels lets it be read.
    let tell = || tracing::info!(level = asked.as_str(), "log level changed by admin action");
    let logged = tracing::enabled!(tracing::Level::INFO);
    if logged {
        tell();
    }
    telemetry::change_log_level(asked);
    if !logged {
        tell();
    }
    level(asked)
}

fn level(level: LogLevel) -> AdminResponse {
    text(StatusCode::OK, format!("{}\n", level.as_str()))
}

/// Whether a browser sends this on behalf of a page that did not come from here. Other programs send neither header.
fn is_from_another_site<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    let host = headers.get(HOST).map(HeaderValue::as_bytes);
    let is_here = |origin: &HeaderValue| origin.as_bytes().strip_prefix(b"http://").is_some_and(|at| Some(at) == host);
    let fetched = |site: &HeaderValue| site == "same-origin" || site == "none";
    !headers.get_all(ORIGIN).iter().all(is_here) || !headers.get_all(SEC_FETCH_SITE).iter().all(fetched)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(actions: &Actions, request: hyper::http::request::Builder) -> (StatusCode, PendingAction) {
        let pending = PendingAction::default();
        let answer = actions.answer(&request.body(()).unwrap(), &pending).unwrap();
        (answer.status(), pending)
    }

    fn post(target: &str) -> hyper::http::request::Builder {
        Request::builder().method(Method::POST).uri(target).header(HOST, "127.0.0.1:9901")
    }

    #[test]
    fn what_is_asked_arrives_after_the_answer_and_not_before() {
        let mut actions = Actions::new(&[AdminAction::Drain, AdminAction::Reload]);
        let mut requests = actions.requests();
        for (target, signal) in
            [("/drain", lifecycle::ControlRequest::Stop), ("/reload?x", lifecycle::ControlRequest::Reload)]
        {
            let (status, pending) = asked(&actions, post(target));
            assert_eq!(status, StatusCode::ACCEPTED);
            assert!(requests.try_recv().is_err());
            pending.send();
            assert_eq!(requests.try_recv().unwrap(), signal);
        }
    }

    #[test]
    fn more_requests_than_can_wait_are_told_so() {
        let mut actions = Actions::new(&[AdminAction::Drain]);
        assert_eq!(asked(&actions, post("/drain")).0, StatusCode::SERVICE_UNAVAILABLE, "nobody listens yet");
        let _requests = actions.requests();
        let pendings: Vec<_> = (0..WAITING).map(|_| asked(&actions, post("/drain"))).collect();
        assert!(pendings.iter().all(|(status, _)| *status == StatusCode::ACCEPTED));
        assert_eq!(asked(&actions, post("/drain")).0, StatusCode::SERVICE_UNAVAILABLE);
    }

    #[test]
    fn a_page_of_another_site_is_refused_and_our_own_is_not() {
        let mut actions = Actions::new(&[AdminAction::Reload]);
        let _requests = actions.requests();
        for (header, value, status) in [
            ("origin", "http://127.0.0.1:9901", StatusCode::ACCEPTED),
            ("origin", "http://127.0.0.1:8080", StatusCode::FORBIDDEN),
            ("origin", "https://127.0.0.1:9901", StatusCode::FORBIDDEN),
            ("origin", "http://evil.example", StatusCode::FORBIDDEN),
            ("origin", "null", StatusCode::FORBIDDEN),
            ("sec-fetch-site", "same-origin", StatusCode::ACCEPTED),
            ("sec-fetch-site", "none", StatusCode::ACCEPTED),
            ("sec-fetch-site", "same-site", StatusCode::FORBIDDEN),
            ("sec-fetch-site", "cross-site", StatusCode::FORBIDDEN),
            ("sec-fetch-site", "", StatusCode::FORBIDDEN),
        ] {
            assert_eq!(asked(&actions, post("/reload").header(header, value)).0, status, "{header}: {value}");
        }
        let both = post("/reload").header("origin", "http://127.0.0.1:9901").header("origin", "http://evil.example");
        assert_eq!(asked(&actions, both).0, StatusCode::FORBIDDEN);
    }

    #[test]
    fn what_is_not_enabled_is_forbidden_and_passed_on_to_nobody() {
        let mut actions = Actions::new(&[AdminAction::Drain]);
        let mut requests = actions.requests();
        for target in ["/reload", "/loglevel?level=trace"] {
            let (status, pending) = asked(&actions, post(target));
            assert_eq!(status, StatusCode::FORBIDDEN, "{target}");
            pending.send();
        }
        let (status, _) = asked(&actions, post("/drain").method(Method::GET));
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
        assert!(requests.try_recv().is_err());
        assert!(
            actions.answer(&Request::builder().uri("/livez").body(()).unwrap(), &PendingAction::default()).is_none()
        );
    }
}
