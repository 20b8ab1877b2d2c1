//! The listeners: the app behind each, how it is spoken to, and who may come in.

use super::outbounds::{forward_proxy, outbound};
use super::{Markup, entry, rules, time};
use crate::admin::status::{HttpStatus, ListenerStatus, PolicyStatus, Status};

pub(in crate::admin::page) fn listeners(page: &mut Markup, status: &Status) {
    let several = status.pairs.len() > 1;
    page.each(&status.listeners, "", |page, listener| {
        page.raw("<div><h3>").text(listener.listener).raw("</h3><dl>");
        entry(page, "app", |page| {
            page.text(&listener.app).raw(if listener.app_ready {
                " <span class=\"good\">"
            } else {
                " <span class=\"bad\">"
            });
            page.text(&listener.app_health).raw("</span>");
        });
        match &listener.pair {
            Some(pair) if several => entry(page, "shows", |page| {
                page.text(pair);
            }),
            Some(_) => {}
            None => entry(page, "TLS", |page| {
                page.raw("off");
            }),
        }
        if let Some(status) = &listener.http {
            http(page, status);
        }
        policy(page, listener);
        page.raw("</dl></div>");
    });
    page.each(&status.outbounds, "", outbound);
    if let Some(proxy) = &status.forward_proxy {
        forward_proxy(page, proxy);
    }
    if let Some(secrets) = &status.secrets {
        super::secrets(page, secrets);
    }
}

fn policy(page: &mut Markup, listener: &ListenerStatus) {
    let Some(policy) = &listener.policy else {
        let clients = match listener.generation {
            None => "nobody yet: nothing has been loaded",
            Some(_) => "everybody; no certificate is asked for",
        };
        return entry(page, "clients", |page| {
            page.raw(clients);
        });
    };
    let PolicyStatus { mode, certificate_required, allow, deny, rules_from, client_ca, client_cas, .. } = policy;
    entry(page, "clients", |page| {
        page.raw(if *certificate_required { "with a certificate" } else { "with a certificate, or without one" });
        page.raw(" under ").text(client_cas).raw(if *client_cas == 1 { " CA" } else { " CAs" });
        page.each(client_ca, "", |page, path| {
            page.raw(" ").text(path);
        });
    });
    if let Some(not_after) = &policy.client_ca_not_after {
        entry(page, "CAs valid", |page| {
            page.raw("until ");
            time(page, not_after);
        });
    }
    for crls in &policy.client_crls {
        entry(page, "CRL of", |page| {
            page.text(&crls.issuer);
            if let Some(next_update) = &crls.next_update {
                page.raw(if crls.is_overdue { ", <span class=\"bad\">no longer current</span>: " } else { ", " });
                page.raw(if crls.is_overdue { "the next update was due by " } else { "next update by " });
                time(page, next_update);
            }
        });
    }
    entry(page, "mode", |page| {
        page.raw(mode);
        if *mode == "audit" {
            page.raw(": <span class=\"bad\">the denied come in, and are in the access log</span>");
        }
    });
    entry(page, "allow", |page| rules(page, allow));
    entry(page, "deny", |page| rules(page, deny));
    if let Some(routes) = &policy.routes {
        entry(page, "routes", |page| rules(page, routes));
    }
    entry(page, "rules from", |page| {
        let mut first = true;
        page.each(rules_from, "nowhere: nobody may come in", |page, from| {
            page.raw(if std::mem::take(&mut first) { "" } else { ", " }).text(from);
        });
    });
}

/// How requests are served, and how those were that came.
fn http(page: &mut Markup, status: &HttpStatus) {
    entry(page, "speaks", |page| {
        page.raw("HTTP, and <code>").raw(status.app_protocol).raw("</code> to the app");
    });
    entry(page, "identity", |page| {
        page.raw("to the app by <code>xfcc ").raw(status.xfcc).raw("</code>");
        page.each(&status.xfcc_forms, "", |page, form| {
            page.raw(" <code>").raw(form).raw("</code>");
        });
    });
    if let Some(router) = status.router_xfcc {
        entry(page, "forwarded", |page| {
            page.raw("by these, which are said to do <code>").raw(router).raw("</code>: ");
            rules(page, &status.forward_from);
        });
    }
    let counts = &status.requests;
    entry(page, "requests", |page| {
        page.text(counts.active).raw(" now, ").text(counts.total).raw(" so far");
        for answers in &counts.classes {
            page.raw(", ").text(answers.count).raw(" ").raw(answers.class);
        }
        page.raw("; ").text(counts.retries).raw(" sent twice, ").text(counts.upgraded).raw(" upgraded now");
    });
    for failed in &counts.failures {
        entry(page, "failed", |page| {
            page.text(failed.count).raw(" <span class=\"bad\">").raw(failed.reason).raw("</span>");
        });
    }
}
