//! What `policy test` prints, as text and as JSON.

use std::fmt::{Display, Write};

use serde::Serialize;

use crate::cli::TestedRequest;
use crate::diagnostics::{LONGEST_FIELD, SafeText};
use crate::http::path;
use crate::identity::{Client, Identity};
use crate::policy::{Denial, Permit, RequestDenial, RequestPermit, Route, Rule};
use crate::trust::{AuthenticatedServer, ForwardedCallerError, ServerDenial};

/// What `vestibule policy test` prints, under the names that `--json` gives.
#[derive(Serialize)]
pub(super) struct PolicyTestResult {
    listener: String,
    /// Whom the app dials there; `None`: clients are judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    mode: &'static str,
    /// The request that is judged, if one is.
    #[serde(skip_serializing_if = "Option::is_none", flatten)]
    request: Option<RequestResult>,
    #[serde(flatten)]
    pub(super) judgement: ExplainedVerdict,
    /// The client that forwards who calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<SafeText>,
    /// Why nobody looks at what the client writes in X-Forwarded-Client-Cert, where it was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_xfcc_not_judged: Option<&'static str>,
    /// The client shows no certificate.
    #[serde(skip)]
    is_anonymous: bool,
    /// What the certificate says, believed or not.
    identity: Option<CertificateParts>,
    subject: Option<SafeText>,
    serial: Option<SafeText>,
}

/// A verdict, and why it is so.
#[derive(Serialize)]
pub(super) struct ExplainedVerdict {
    pub(super) verdict: TestVerdict,
    /// The rule that decided, if one did.
    rule: Option<String>,
    /// Why not; with a permit, why not if audit mode had not let the client in.
    denial_reason: Option<&'static str>,
    /// The reason as a sentence.
    detail: Option<SafeText>,
    /// The status that a request is answered with that may not pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
}

/// A request, and what is made of it.
#[derive(Serialize)]
pub(super) struct RequestResult {
    method: SafeText,
    path: SafeText,
    /// The path that is judged; `None`: it is ambiguous.
    folded: Option<String>,
    /// The route that it is judged by, if there is one.
    route: Option<String>,
}

#[derive(Serialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum TestVerdict {
    Permit,
    Denial,
}

/// A Cloud Foundry identity.
#[derive(Serialize)]
struct CertificateParts {
    organization: Option<String>,
    space: Option<String>,
    app: Option<String>,
    instance: Option<String>,
}

impl ExplainedVerdict {
    fn new(verdict: TestVerdict, rule: Option<&Rule>, denial: Option<(&'static str, &dyn Display)>) -> Self {
        Self {
            verdict,
            rule: rule.map(ToString::to_string),
            denial_reason: denial.map(|(reason, _)| reason),
            detail: denial.map(|(_, sentence)| SafeText::up_to(LONGEST_FIELD, sentence)),
            status: None,
        }
    }

    /// On a client, who asks to come in.
    pub(super) fn of_client(judged: &Result<Permit, Denial>) -> Self {
        let (verdict, rule, denial) = match judged {
            Ok(permit) => (TestVerdict::Permit, permit.rule(), permit.audited_denial()),
            Err(denial) => (TestVerdict::Denial, denial.rule(), Some(denial)),
        };
        Self::new(verdict, rule, denial.map(|denial| (denial.reason().as_str(), denial as &dyn Display)))
    }

    /// On a caller whom a client forwards, where requests are not judged by their paths.
    pub(super) fn for_forwarded_caller(caller: &Client, judged: &Result<Permit, Denial>) -> Self {
        let (reason, status) = match caller {
            Client::Anonymous => ("certificate_required", 401),
            Client::Authenticated(_) => ("denied", 403),
        };
        let judgement = Self::of_client(judged);
        match judgement.denial_reason {
            Some(_) => Self { denial_reason: Some(reason), status: Some(status), ..judgement },
            None => judgement,
        }
    }

    /// On a caller whom nobody believes in.
    pub(super) fn of_forwarded(error: &ForwardedCallerError) -> Self {
        let (reason, status) = error.reason();
        Self { status: Some(status), ..Self::new(TestVerdict::Denial, None, Some((reason, error))) }
    }

    /// On a request of a client who has come in.
    pub(super) fn of_request(judged: &Result<RequestPermit, RequestDenial>) -> Self {
        let (verdict, rule, denial) = match judged {
            Ok(permit) => (TestVerdict::Permit, permit.rule(), permit.would_deny()),
            Err(denial) => (TestVerdict::Denial, denial.denial().and_then(Denial::rule), Some(denial)),
        };
        let judgement = Self::new(verdict, rule, denial.map(|denial| (denial.reason(), denial as &dyn Display)));
        Self { status: denial.map(RequestDenial::status), ..judgement }
    }
}

impl RequestResult {
    /// `request`, which is judged by `route`.
    pub(super) fn of(request: &TestedRequest, route: Option<&Route>) -> Self {
        Self {
            method: SafeText::up_to(LONGEST_FIELD, &request.method),
            path: SafeText::up_to(LONGEST_FIELD, &request.path),
            folded: path::fold(&request.path).ok().map(|folded| folded.to_string()),
            route: route.map(ToString::to_string),
        }
    }
}

impl PolicyTestResult {
    /// Of a client that connects to `listener`.
    pub(super) fn of(
        listener: String,
        mode: &'static str,
        judgement: ExplainedVerdict,
        client: Option<&Client>,
    ) -> Self {
        let holder = client.and_then(Client::certificate);
        Self {
            listener,
            to: None,
            mode,
            request: None,
            client: None,
            client_xfcc_not_judged: None,
            judgement,
            is_anonymous: client == Some(&Client::Anonymous),
            identity: client.and_then(Client::identity).map(CertificateParts::of),
            subject: holder.map(|holder| SafeText::up_to(LONGEST_FIELD, &holder.subject)),
            serial: holder.map(|holder| SafeText::up_to(LONGEST_FIELD, &holder.serial)),
        }
    }

    /// The same, where `client` has forwarded who calls.
    pub(super) fn forwarded_by(self, client: &Client) -> Self {
        let client = match client.certificate() {
            Some(holder) => SafeText::up_to(LONGEST_FIELD, &holder.subject),
            None => SafeText::up_to(LONGEST_FIELD, "whoever may connect (--tls off)"),
        };
        Self { client: Some(client), ..self }
    }

    /// The same, where for `why` nobody looks at what the client writes in X-Forwarded-Client-Cert.
    pub(super) fn without_xfcc(self, why: Option<&'static str>) -> Self {
        Self { client_xfcc_not_judged: why, ..self }
    }

    /// The same, with the `request` that was judged.
    pub(super) fn with(self, request: Option<RequestResult>) -> Self {
        Self { request, ..self }
    }

    /// Of a server that is dialled as `to` for whoever connects to `listener`.
    pub(super) fn of_server(
        (listener, to): (String, String),
        mode: &'static str,
        judged: &Result<AuthenticatedServer, ServerDenial>,
    ) -> Self {
        let certificate = match judged {
            Ok(server) => Some(&server.certificate),
            Err(denial) => denial.certificate.as_ref(),
        };
        let rule = judged.as_ref().ok().and_then(|server| server.permit.as_ref()?.rule());
        let denial = judged.as_ref().err();
        Self {
            listener,
            to: Some(to),
            mode,
            request: None,
            client: None,
            client_xfcc_not_judged: None,
            judgement: ExplainedVerdict::new(
                if denial.is_none() { TestVerdict::Permit } else { TestVerdict::Denial },
                rule,
                denial.map(|denial| (denial.reason.as_str(), denial as &dyn Display)),
            ),
            is_anonymous: false,
            identity: certificate
                .and_then(|holder| Some(CertificateParts::of(holder.identity.as_ref().ok()?.as_ref()?))),
            subject: certificate.map(|holder| SafeText::up_to(LONGEST_FIELD, &holder.subject)),
            serial: certificate.map(|holder| SafeText::up_to(LONGEST_FIELD, &holder.serial)),
        }
    }

    pub(super) fn to_text(&self) -> String {
        let ExplainedVerdict { verdict, rule, denial_reason, detail, status } = &self.judgement;
        let mut out = String::new();
        let mut line = |name: &str, value: &str| {
            // A String takes everything; only the trait's signature knows of errors.
            let _ = writeln!(out, "{name:<14}{value}");
        };
        line("listener", &self.listener);
        if let Some(to) = &self.to {
            line("to", to);
        }
        if let Some(RequestResult { method, path, folded, route }) = &self.request {
            line("method", method.as_str());
            line("path", path.as_str());
            line("folded", folded.as_deref().unwrap_or("none"));
            line("route", route.as_deref().unwrap_or("none"));
        }
        if let Some(client) = &self.client {
            line("client", &format!("{}, which forwards who calls", client.as_str()));
        }
        if let Some(why) = self.client_xfcc_not_judged {
            line("client-xfcc", &format!("not judged: {why}"));
        }
        line("verdict", if *verdict == TestVerdict::Permit { "permit" } else { "denial" });
        line("rule", rule.as_deref().unwrap_or("none"));
        if let (Some(reason), Some(detail)) = (denial_reason, detail) {
            line("reason", &format!("{reason}: {detail}"));
        }
        if let Some(status) = status {
            line("status", &status.to_string());
        }
        if *verdict == TestVerdict::Permit && denial_reason.is_some() {
            line("audit", "let in all the same; mode enforce would refuse");
        }
        if self.is_anonymous {
            line("caller", "anonymous, without a certificate");
        }
        if let Some(parts) = &self.identity {
            let named = [
                ("organization", &parts.organization),
                ("space", &parts.space),
                ("app", &parts.app),
                ("instance", &parts.instance),
            ];
            for (name, value) in named {
                line(name, value.as_deref().unwrap_or("none"));
            }
        }
        for (name, value) in [("subject", &self.subject), ("serial", &self.serial)] {
            if let Some(value) = value {
                line(name, value.as_str());
            }
        }
        match (denial_reason, &self.to) {
            (Some(_), None) if status.is_some() => line("see", "docs/http-routes.md#denied-requests-status-and-reason"),
            (Some(reason), None) => line("see", &format!("docs/troubleshooting.md#denied-{reason}")),
            (Some(_), Some(_)) => line("see", "docs/reference/access-log.md#outbound-reasons"),
            (None, _) => {}
        }
        out
    }
}

impl CertificateParts {
    fn of(identity: &Identity) -> Self {
        Self {
            organization: identity.organization.map(|guid| guid.to_string()),
            space: identity.space.map(|guid| guid.to_string()),
            app: identity.app.map(|guid| guid.to_string()),
            instance: identity.instance.as_ref().map(ToString::to_string),
        }
    }
}
