//! Judges how requests are served: what is spoken, what the app is told of who calls, and who may say so.

use super::clients::own_identity;
use super::finding::{Findings, Subject};
use crate::config::{
    AppProtocol, AppReady, ClientAuthConfig, Config, HttpConfig, Listener, RouterXfcc, XfccAbsent, XfccMode,
};
use crate::policy::Rule;
use crate::xfcc::XfccForm;

/// Judges each listener that speaks HTTP.
pub(super) fn check(config: &Config, found: &mut Findings) {
    let own = config.pair_files().and_then(|files| own_identity(&files.cert));
    let usual = if own.is_some() { XfccForm::Raw } else { XfccForm::Envoy };
    for listener in &config.listeners {
        if let Some(http) = &listener.http {
            check_listener(listener, http, usual, found);
            check_probe(listener, http, &config.app.ready, found);
        }
    }
}

fn check_listener(listener: &Listener, http: &HttpConfig, usual: XfccForm, found: &mut Findings) {
    let at = listener.listen;
    let speaks = |protocol: &[u8]| listener.tls.alpn.iter().any(|listed| listed == protocol);
    let spoken = match (speaks(b"h2"), speaks(b"http/1.1")) {
        (true, true) => "HTTP/2 and HTTP/1.1",
        (true, false) => "HTTP/2, and HTTP/1.1 where nothing is agreed on",
        (false, _) => "HTTP/1.1",
    };
    let app = match http.app_protocol {
        AppProtocol::Http1 => "HTTP/1.1",
        AppProtocol::H2c => "HTTP/2 without TLS",
    };
    let told = told(listener, http, usual);
    found.ok(Subject::Http, format!("{at}: clients may speak {spoken}, and {app} goes to the app, which {told}"));
    if !listener.tls.alpn.is_empty() && !speaks(b"http/1.1") {
        let what = format!(
            "{at}: --alpn has no http/1.1: clients that speak nothing else are told of no protocol, and some leave"
        );
        found.warning(Subject::Http, what, "add http/1.1, or leave --alpn out");
    }
    check_forwarded(listener, http, found);
}

/// What the app is told of its client, behind "which".
fn told(listener: &Listener, http: &HttpConfig, usual: XfccForm) -> String {
    if listener.plaintext.is_some() {
        return "is told who calls as the proxy in front of us writes it".to_owned();
    }
    if listener.clients == ClientAuthConfig::None {
        return "is not told who calls: no certificate is asked for (--client-auth)".to_owned();
    }
    match http.xfcc {
        XfccMode::Sanitize => "is not told who calls (--xfcc sanitize)".to_owned(),
        XfccMode::ForwardOnly | XfccMode::AlwaysForwardOnly => {
            "is told who calls by the client's word alone".to_owned()
        }
        XfccMode::SanitizeSet | XfccMode::AppendForward => {
            let usual = [usual];
            let forms = if http.xfcc_forms.is_empty() { &usual[..] } else { &http.xfcc_forms };
            let fields = forms.iter().map(|form| match form {
                XfccForm::Raw => "X-Forwarded-Client-Cert (raw)",
                XfccForm::Envoy => "X-Forwarded-Client-Cert (envoy)",
                XfccForm::Rfc9440 => "Client-Cert (rfc9440)",
            });
            format!("is told who calls by {}", fields.collect::<Vec<_>>().join(" and "))
        }
    }
}

/// Who may write who calls.
fn check_forwarded(listener: &Listener, http: &HttpConfig, found: &mut Findings) {
    let at = listener.listen;
    if let Some((what, help)) = http.xfcc_doubt() {
        found.warning(Subject::Http, format!("{at}: {what}"), help);
    }
    let is_plaintext = listener.plaintext.is_some();
    if http.forward_from.is_empty() && !is_plaintext {
        return;
    }
    let from: Vec<_> = http.forward_from.iter().map(Rule::to_string).collect();
    let from = if is_plaintext { "whoever may connect".to_owned() } else { from.join(" or ") };
    if http.forward_from.iter().any(|rule| matches!(rule, Rule::Any | Rule::CloudFoundry)) {
        let what = format!("{at}: {from} may say that anybody calls: whoever has a certificate");
        found.warning(Subject::Http, what, "name the router: --xfcc-forward-from dns:gorouter.service.cf.internal");
    }
    let router: &str = http.router_xfcc.into();
    match http.router_xfcc {
        // Rules admit whoever wants to be nobody.
        RouterXfcc::Unknown if is_plaintext && !listener.clients.is_audited() => {}
        RouterXfcc::SanitizeSet | RouterXfcc::Forward => {
            found.ok(Subject::Http, format!("{at}: {from} may say who has called it, by --router-xfcc {router}"));
        }
        RouterXfcc::Unknown => found.warning(
            Subject::Http,
            format!("{at}: {from} may say who has called it, and passes on what anybody writes for all that is known"),
            "see what it does, and say so by --router-xfcc",
        ),
    }
    if http.xfcc_absent == XfccAbsent::Client {
        let what = format!(
            "{at}: --xfcc-absent client judges {from} itself where it forwards nobody, which is anybody's choice who leaves the field out"
        );
        found.warning(Subject::Http, what, "leave it out: such callers are anonymous");
    }
}

/// An app that speaks nothing but HTTP/2 does not answer a probe in HTTP/1.1.
fn check_probe(listener: &Listener, http: &HttpConfig, ready: &AppReady, found: &mut Findings) {
    if let (AppProtocol::H2c, AppReady::Http(path)) = (http.app_protocol, ready) {
        let what =
            format!("{}: --app-ready http:{path} asks the app in HTTP/1.1, and --app-protocol says h2c", listener.app);
        found.warning(Subject::Http, what, "see whether it answers both, or leave --app-ready at tcp");
    }
}
