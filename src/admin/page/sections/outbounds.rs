//! The outbound listeners and the forward proxy: whom each dials.

use super::{Markup, entry, rules};
use crate::admin::status::{EndpointFailureStatus, ForwardProxyStatus, OutboundFailures, OutboundStatus};

pub(super) fn outbound(page: &mut Markup, outbound: &OutboundStatus) {
    page.raw("<div><h3>").text(&outbound.listener).raw(" to ").text(&outbound.to).raw("</h3><dl>");
    entry(page, "expects", |page| match outbound.expect.rules.is_empty() {
        true => {
            page.raw("<span class=\"bad\">whoever has the name</span>");
        }
        false => rules(page, &outbound.expect),
    });
    entry(page, "protocol", |page| {
        page.raw(outbound.protocol);
    });
    match outbound.requests {
        0 => entry(page, "connections", |page| {
            page.text(outbound.active).raw(" now, ").text(outbound.opened).raw(" so far");
        }),
        requests => entry(page, "requests", |page| {
            page.text(requests).raw(" so far");
        }),
    }
    failures(page, &outbound.failures);
    if let Some(error) = &outbound.lookup_error {
        entry(page, "lookup", |page| {
            page.raw("<span class=\"bad\">fails</span>");
            if let Some(since) = &outbound.lookup_failing_since {
                page.raw(" since ").text(since);
            }
            page.raw(": ").text(error);
        });
    }
    for endpoint in &outbound.endpoints {
        entry(page, "endpoint", |page| {
            page.text(&endpoint.addr).raw(if endpoint.state == "ready" {
                " <span class=\"good\">"
            } else {
                " <span class=\"bad\">"
            });
            page.raw(endpoint.state).raw("</span>");
            if let Some(seconds) = endpoint.ejected_seconds {
                page.raw(" for ").text(seconds).raw(" s");
            }
            page.raw(", ").text(endpoint.connections).raw(" connections");
            last_failure(page, endpoint.last_failure.as_ref());
        });
    }
    if outbound.more_endpoints > 0 {
        entry(page, "endpoints", |page| {
            page.raw("and ").text(outbound.more_endpoints).raw(" more");
        });
    }
    page.raw("</dl></div>");
}

pub(super) fn forward_proxy(page: &mut Markup, proxy: &ForwardProxyStatus) {
    page.raw("<div><h3>").text(&proxy.listener).raw(" is the forward proxy</h3><dl>");
    for listed in &proxy.to {
        entry(page, "listed", |page| {
            page.text(&listed.hosts).raw(" expects ");
            match listed.expect.rules.is_empty() {
                true => {
                    page.raw("<span class=\"bad\">whoever has the name</span>");
                }
                false => rules(page, &listed.expect),
            }
        });
    }
    entry(page, "others", |page| {
        page.raw(if proxy.unlisted == "refuse" { "are refused" } else { "are tunnelled" });
    });
    entry(page, "requests", |page| {
        page.text(proxy.requests).raw(" so far");
    });
    failures(page, &proxy.failures);
    for host in &proxy.hosts {
        entry(page, "server", |page| {
            page.text(&host.name).raw(": ").text(host.ready).raw(" ready");
            if host.ejected + host.retiring > 0 {
                page.raw(", <span class=\"bad\">").text(host.ejected).raw(" ejected, ").text(host.retiring);
                page.raw(" retiring</span>");
            }
            last_failure(page, host.last_failure.as_ref());
        });
    }
    if proxy.more_hosts > 0 {
        entry(page, "servers", |page| {
            page.raw("and ").text(proxy.more_hosts).raw(" more");
        });
    }
    page.raw("</dl></div>");
}

fn last_failure(page: &mut Markup, failure: Option<&EndpointFailureStatus>) {
    if let Some(EndpointFailureStatus { error, at, .. }) = failure {
        page.raw(", last failed at ").text(at).raw(": ").text(error);
    }
}

fn failures(page: &mut Markup, failures: &[OutboundFailures]) {
    for failed in failures {
        entry(page, "failed", |page| {
            page.text(failed.count).raw(" <span class=\"bad\">").raw(failed.close_reason).raw("</span>");
        });
    }
}
