//! Asks by way of a public route whether the router in front of it passes on what clients write in X-Forwarded-Client-Cert.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use hyper::body::Bytes;

use super::finding::{Findings, Subject};
use crate::cli::CheckedRoute;
use crate::credentials::{ApiCas, ApiTrust};
use crate::exit::Fault;
use crate::http::{MarkerOutcome, RouteCheck};
use crate::outbound::{ApiError, ApiLimits, ApiRequest, ApiResponse, ApiServer};
use crate::sidecar;

const LIMITS: ApiLimits =
    ApiLimits { connect: Duration::from_secs(5), total: Duration::from_secs(20), body: 1024 * 1024 };

/// Asks by way of `route`, and judges what is answered.
///
/// # Errors
/// The runtime cannot be made.
pub(super) fn check(route: &CheckedRoute, found: &mut Findings) -> Result<(), Fault> {
    let server = match server(route) {
        Ok(server) => server,
        Err(what) => {
            found.problem(Subject::Route, format!("{}: {what}", route.url), "until then nobody is asked");
            return Ok(());
        }
    };
    let check = RouteCheck::new(fastrand::u128(..));
    let path = if route.url.prefix.is_empty() { "/" } else { "" };
    let request =
        ApiRequest { method: Method::GET, path: path.to_owned(), headers: check.fields(), body: Bytes::new() };
    let answered = sidecar::runtime(1)?.block_on(server.call(request, LIMITS));
    note(route, check, answered, found);
    Ok(())
}

fn server(route: &CheckedRoute) -> Result<ApiServer, String> {
    let url = route.url.clone();
    if !url.is_tls {
        return Ok(ApiServer::plain(url));
    }
    let platform = std::env::var_os("CF_SYSTEM_CERT_PATH").filter(|path| !path.is_empty()).map(PathBuf::from);
    let trust = ApiTrust::load(&ApiCas { given: route.ca.clone(), platform, option: "--route-ca" })?;
    // Without a certificate of ours: what those write who have none is what matters.
    let snapshot = trust.snapshot(None).map_err(|error| error.to_string())?;
    Ok(ApiServer::new(url, Arc::new(snapshot)))
}

fn note(route: &CheckedRoute, check: RouteCheck, answered: Result<ApiResponse, ApiError>, found: &mut Findings) {
    let url = &route.url;
    let help = "see whether the route leads to this app, and a listener of it to which --xfcc-forward-from names the router or which has --tls off";
    match answered {
        Ok(answer) => match check.answered_by(&answer.headers) {
            Some(MarkerOutcome::Passed) => found.problem(
                Subject::Route,
                format!("{url}: the router passes what clients send in X-Forwarded-Client-Cert: callers can be forged by anybody"),
                "have the router set the field itself (gorouter: router.forwarded_client_cert: sanitize_set); until then believe no caller that comes by it",
            ),
            Some(MarkerOutcome::Removed) => {
                found.ok(Subject::Route, format!("{url}: what clients without a certificate send in X-Forwarded-Client-Cert is removed on the way"));
            }
            Some(MarkerOutcome::Replaced) => {
                found.ok(Subject::Route, format!("{url}: what clients without a certificate send in X-Forwarded-Client-Cert is replaced on the way"));
            }
            None => {
                let what = format!(
                    "{url}: nothing can be said of the router: status {} does not come from a Vestibule that believes it",
                    answer.status.as_u16()
                );
                found.warning(Subject::Route, what, help);
            }
        },
        Err(ApiError::TooLarge(_)) => {
            let what = format!("{url}: nothing can be said of the router: the answer does not come from a Vestibule that believes it");
            found.warning(Subject::Route, what, help);
        }
        Err(error) => {
            let what = format!("{url}: nothing can be said of the router: {error}");
            found.warning(Subject::Route, what, "see the URL, and whether it can be called from here");
        }
    }
}
