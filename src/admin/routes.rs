//! What is answered to whom.

use std::time::SystemTime;

use hyper::header::{ACCEPT, ALLOW, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY, VARY};
use hyper::{Method, Request, StatusCode};
use strum::VariantArray;

use super::response::{AdminResponse, text};
use super::state::AdminState;
use super::status::{MAX_FAILING, Status};
use super::{content_negotiation, page};
use crate::diagnostics::{LONGEST_LINE, SafeText, date};
use crate::lifecycle::Check;

/// What is answered here; what may be done is beside it.
const PATHS: [&str; 6] = ["/", "/status.json", "/livez", "/readyz", "/healthz", "/metrics"];

/// What is answered where `--metrics` listens.
const SCRAPED: [&str; 3] = ["/metrics", "/livez", "/readyz"];

/// The answer to `request`. HEAD is answered as GET; hyper leaves the body out.
pub(super) fn answer<B>(request: &Request<B>, view: &AdminState) -> AdminResponse {
    if let Some(answer) = view.envoy.as_ref().and_then(|envoy| envoy.answer(request, &view.readiness, &view.metrics)) {
        return answer;
    }
    answer_one_of(&PATHS, request, view, Details::Included)
}

/// The same to whoever scrapes metrics or probes: nothing that tells who calls, or of our configuration.
pub(super) fn answer_scraper<B>(request: &Request<B>, view: &AdminState) -> AdminResponse {
    answer_one_of(&SCRAPED, request, view, Details::Omitted)
}

/// Whether `/readyz?verbose` says more than `ok`: where the app is, what is wrong with which file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Details {
    Included,
    Omitted,
}

fn answer_one_of<B>(paths: &[&str], request: &Request<B>, view: &AdminState, details: Details) -> AdminResponse {
    let path = request.uri().path();
    if !paths.contains(&path) {
        return text(StatusCode::NOT_FOUND, format!("there are {}\n", paths.join(" ")));
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return answer;
    }
    match path {
        // Whoever gets an answer at all has found us alive.
        "/livez" => text(StatusCode::OK, "ok\n"),
        "/metrics" => metrics(request, view),
        "/" => html(page::render(&Status::of(&view.readiness, &view.status_sources))),
        "/status.json" => json(&Status::of(&view.readiness, &view.status_sources)),
        _ => ready(request.uri().query().unwrap_or_default(), view, details),
    }
}

/// The answer to a request for a host that we are not.
pub(super) fn misdirected() -> AdminResponse {
    text(StatusCode::MISDIRECTED_REQUEST, "ask by an IP address, by localhost, or by a name that --admin-host lists\n")
}

/// `?verbose` lists the parts; `?exclude=CHECK`, any number of times, leaves one out.
fn ready(query: &str, view: &AdminState, details: Details) -> AdminResponse {
    let (mut verbose, mut excluded) = (false, Vec::new());
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match (name, Check::named(value)) {
            ("verbose", _) => verbose = details == Details::Included,
            ("exclude", Some(part)) => excluded.push(part),
            ("exclude", None) => {
                let known: Vec<_> = Check::VARIANTS.iter().map(|part| part.as_str()).collect();
                return text(StatusCode::BAD_REQUEST, format!("the checks are {}\n", known.join(", ")));
            }
            _ => return text(StatusCode::BAD_REQUEST, "there are ?verbose and ?exclude=CHECK\n"),
        }
    }
    let checks = view.readiness.checks(SystemTime::now());
    let left_out = |part: Check| excluded.contains(&part);
    let ready = checks.iter().all(|check| check.ready || left_out(check.check));
    let mut body = String::new();
    if verbose {
        for check in checks.iter().filter(|check| !left_out(check.check)) {
            body += &format!("{check}\n");
        }
        for part in &excluded {
            body += &format!("[+]{}: excluded\n", part.as_str());
        }
        // For people: what was good last stays in service, and the instance ready.
        let failures = view.status_sources.rotation_stats.files().failures;
        for failure in failures.iter().take(MAX_FAILING) {
            let error = SafeText::up_to(LONGEST_LINE, &failure.error);
            body += &format!("{} reload failing since {}: {error}\n", failure.kind, date(failure.since));
        }
        if let Some(more) = failures.len().checked_sub(MAX_FAILING).filter(|more| *more > 0) {
            body += &format!("and {more} more reload failing\n");
        }
    }
    body += if ready { "ok\n" } else { "not ready\n" };
    text(if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, body)
}

/// OpenMetrics for whoever asks for it, else what every Prometheus reads.
fn metrics<B>(request: &Request<B>, view: &AdminState) -> AdminResponse {
    let accepted = request.headers().get_all(ACCEPT).iter().filter_map(|accept| accept.to_str().ok());
    let (written, media_type) = match content_negotiation::prefers_open_metrics(accepted) {
        true => (view.metrics.open_metrics(), content_negotiation::OPEN_METRICS),
        false => (Ok(view.metrics.prometheus_text()), content_negotiation::CLASSIC),
    };
    let Ok(body) = written else {
        return text(StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be written\n");
    };
    let mut answer = text(StatusCode::OK, body);
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    answer.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    answer
}

fn html(body: String) -> AdminResponse {
    let mut answer = text(StatusCode::OK, body);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CONTENT_SECURITY_POLICY, page::POLICY.clone());
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    answer
}

fn json(status: &Status) -> AdminResponse {
    let Ok(body) = serde_json::to_vec(status) else {
        return text(StatusCode::INTERNAL_SERVER_ERROR, "the status could not be written\n");
    };
    let mut answer = text(StatusCode::OK, body);
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}
