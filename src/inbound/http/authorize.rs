//! Who calls, and whether this request may be made: by the rules in force now, whatever they were when the connection began.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use hyper::Uri;
use hyper::header::{HOST, HeaderMap};
use hyper::http::request::Parts;
use hyper::http::uri::PathAndQuery;

use super::connection::HttpConnection;
use crate::config::{XfccAbsent, XfccVerify};
use crate::credentials::Snapshot;
use crate::http::RouteCheck;
use crate::http::path::FoldedPath;
use crate::identity::Client;
use crate::policy::{Denial, Permit, RequestDenial, RequestVerdict};
use crate::telemetry::{CallerSource, RequestEntryFields, RequestReason};
use crate::trust::{ClientAuth, ForwardedCaller, ForwardedCallerError};

/// Why an anonymous caller is refused of whom a client speaks: that one may well have a certificate.
const NOBODY_FORWARDED: &str = "the request forwards nobody, and no rule admits the anonymous";

/// Whether the request of `parts` may be made; who calls, if that is not the client itself, and what decided is noted in `fields`. The target becomes
/// the one that was judged, if the app is to get that.
///
/// # Errors
/// Why not.
pub(super) fn authorize(
    connection: &HttpConnection,
    parts: &mut Parts,
    fields: &mut RequestEntryFields,
) -> Result<(), RequestReason> {
    if !connection.is_trusted {
        connection.counters.count_caller(CallerSource::Tls);
    }
    if !connection.judges_requests {
        // Whoever came in may ask for everything, and the connection ends once that is over.
        return Ok(());
    }
    let snapshot = connection.service.snapshots.load().ok_or(RequestReason::Overloaded)?;
    let caller = match connection.is_trusted {
        true => Some(caller(connection, &snapshot, &parts.headers, fields)?),
        false => None,
    };
    if connection.config.sni_host {
        require_own_host(connection, &snapshot, &parts.headers, fields)?;
    }
    let is_forwarded = caller.is_some();
    if is_forwarded {
        fields.caller.clone_from(&caller);
    }
    let client = caller.as_ref().unwrap_or(&connection.client);
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let auth = &snapshot.client_auth;
    let verdict = match auth.evaluate_request(client, parts.method.as_str(), target, connection.config.paths) {
        Some(verdict) => verdict,
        None if is_forwarded => return authorize_caller(auth, client, fields),
        None => return Ok(()),
    };
    if let Some(path) = note(verdict, is_forwarded, fields)? {
        parts.uri = with_path(&parts.uri, &path).ok_or(RequestReason::PathChanged)?;
    }
    Ok(())
}

/// Notes in `fields` what decided; the path that the app is to get, if that is another one than came.
fn note(
    verdict: RequestVerdict<'_>,
    is_forwarded: bool,
    fields: &mut RequestEntryFields,
) -> Result<Option<FoldedPath>, RequestReason> {
    let RequestVerdict { folded, route, result } = verdict;
    fields.route = route.map(|route| route.path.to_string());
    let changed = folded.filter(FoldedPath::is_changed);
    fields.path_folded = changed.as_ref().map(|path| path.as_str().to_owned());
    match result {
        Ok(permit) => {
            fields.rule = permit.rule().cloned();
            fields.would_deny = permit.would_deny().map(reason_of);
            Ok(changed)
        }
        Err(denial) => {
            if !matches!(denial, RequestDenial::PathChanged(_) | RequestDenial::PathUnfoldable(_)) {
                fields.rule = denial.denial().and_then(Denial::rule).cloned();
            }
            let is_forwarded_none = is_forwarded && matches!(denial, RequestDenial::CertificateRequired);
            fields.detail = Some(if is_forwarded_none { NOBODY_FORWARDED.to_owned() } else { denial.to_string() });
            Err(reason_of(&denial))
        }
    }
}

/// `uri`, with another path; `None`: hyper does not take it for one.
fn with_path(uri: &Uri, path: &FoldedPath) -> Option<Uri> {
    let target = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.as_str().to_owned(),
    };
    PathAndQuery::try_from(target).map(Uri::from).ok()
}

fn reason_of(denial: &RequestDenial) -> RequestReason {
    match denial {
        RequestDenial::CertificateRequired => RequestReason::CertificateRequired,
        RequestDenial::Denied(_) | RequestDenial::NotAllowed(_) => RequestReason::Denied,
        RequestDenial::PathNotAllowed => RequestReason::PathNotAllowed,
        RequestDenial::MethodNotAllowed => RequestReason::MethodNotAllowed,
        RequestDenial::PathAmbiguous | RequestDenial::PathUnfoldable(_) => RequestReason::PathAmbiguous,
        RequestDenial::PathChanged(_) => RequestReason::PathChanged,
    }
}

/// Whether the rules that admit clients admit `caller`.
fn authorize_caller(auth: &ClientAuth, caller: &Client, fields: &mut RequestEntryFields) -> Result<(), RequestReason> {
    let ClientAuth::Certificate(authenticator) = auth else { return Ok(()) };
    match authenticator.authorize_caller(caller) {
        Ok(permit) => {
            fields.rule = permit.rule().cloned();
            fields.would_deny = Permit::audited_denial(&permit).map(|_| RequestReason::Denied);
            Ok(())
        }
        Err(denial) => {
            fields.rule = denial.rule().cloned();
            let (reason, detail) = match caller {
                Client::Anonymous => (RequestReason::CertificateRequired, NOBODY_FORWARDED.to_owned()),
                Client::Authenticated(_) => (RequestReason::Denied, denial.to_string()),
            };
            fields.detail = Some(detail);
            Err(reason)
        }
    }
}

/// Who calls, by the word of a client that may forward it.
fn caller(
    connection: &HttpConnection,
    snapshot: &Snapshot,
    headers: &HeaderMap,
    fields: &mut RequestEntryFields,
) -> Result<Client, RequestReason> {
    if let Some(check) = RouteCheck::asked_by(headers) {
        fields.detail = Some(format!("what clients write in X-Forwarded-Client-Cert: {}", check.outcome(headers)));
        return Err(RequestReason::RouteCheck);
    }
    let values: Vec<_> = headers.get_all("x-forwarded-client-cert").iter().map(|value| value.as_bytes()).collect();
    let needs_certificate = connection.config.xfcc_verify == XfccVerify::Require;
    let forwarded = snapshot.client_auth.forwarded_caller(&values, needs_certificate, SystemTime::now());
    let forwarded = forwarded.map_err(|error| {
        connection.counters.count_caller(CallerSource::Invalid);
        fields.detail = Some(error.to_string());
        match error {
            ForwardedCallerError::Malformed(_) => RequestReason::XfccInvalid,
            ForwardedCallerError::Untrusted(_) => RequestReason::CallerUntrusted,
        }
    })?;
    let Some(ForwardedCaller { caller, form, is_verified }) = forwarded else {
        connection.counters.count_caller(CallerSource::Absent);
        return Ok(match connection.config.xfcc_absent {
            XfccAbsent::Anonymous => Client::Anonymous,
            XfccAbsent::Client => connection.client.clone(),
        });
    };
    connection.counters.count_caller(CallerSource::Xfcc);
    fields.caller_form = Some(form);
    fields.caller_verified = Some(is_verified);
    Ok(caller)
}

/// The request must be for a host that we are, or that the client has asked for in the handshake.
fn require_own_host(
    connection: &HttpConnection,
    snapshot: &Arc<Snapshot>,
    headers: &HeaderMap,
    fields: &mut RequestEntryFields,
) -> Result<(), RequestReason> {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let asked = connection.server_name.as_deref();
    let own = snapshot.own.as_ref().map_or(&[][..], |own| &own.names.dns);
    let names = own.iter().map(String::as_str).chain(asked);
    let ip = name.trim_start_matches('[').trim_end_matches(']').parse().ok();
    let ips = snapshot.own.as_ref().map_or(&[][..], |own| &own.names.ips);
    if names.into_iter().any(|known| known.eq_ignore_ascii_case(name)) || ip.is_some_and(|ip: IpAddr| ips.contains(&ip))
    {
        return Ok(());
    }
    let asked = asked.map_or("none", |asked| asked);
    fields.detail = Some(format!("the handshake asked for {asked}, and the certificate is for {}", own.join(", ")));
    Err(RequestReason::Misdirected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::path::fold;
    use crate::policy::DenialReason;

    #[test]
    fn the_policys_words_and_statuses_are_those_that_requests_are_answered_with() {
        for denial in [
            RequestDenial::CertificateRequired,
            RequestDenial::Denied(DenialReason::DeniedByRule.into()),
            RequestDenial::PathNotAllowed,
            RequestDenial::MethodNotAllowed,
            RequestDenial::NotAllowed(DenialReason::NotAllowed.into()),
            RequestDenial::PathAmbiguous,
            RequestDenial::PathUnfoldable(fold("/%2f").unwrap_err()),
            RequestDenial::PathChanged(fold("//a").unwrap()),
        ] {
            let reason = reason_of(&denial);
            assert_eq!((reason.as_str(), reason.status()), (denial.reason(), Some(denial.status())), "{denial}");
        }
    }
}
