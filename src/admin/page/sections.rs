//! The sections of the page.

use super::markup::Markup;
use super::plot;
use crate::admin::status::{
    ForwardProxyStatus, ListenerStatus, OutboundFailures, OutboundStatus, PairStatus, PolicyStatus, Rules,
    SecretsStatus, Status,
};

pub(super) fn title(page: &mut Markup, status: &Status) {
    page.raw(word(status.ready));
    if let Some((name, text)) = status.pairs.first().and_then(|pair| pair.who.parts().next()) {
        page.raw(" – ").raw(name).raw(" ").text(text);
    }
    page.raw(" – Vestibule");
}

pub(super) fn state(page: &mut Markup, status: &Status) {
    mark(page, status.ready);
    page.raw(word(status.ready)).raw("</span>, ").raw(status.phase);
}

/// Begins what is good or bad, by more than a colour.
fn mark(page: &mut Markup, good: bool) {
    page.raw(if good {
        "<span class=\"good\"><span aria-hidden=\"true\">✓ </span>"
    } else {
        "<span class=\"bad\"><span aria-hidden=\"true\">✗ </span>"
    });
}

fn word(ready: bool) -> &'static str {
    if ready { "Ready" } else { "Not ready" }
}

pub(super) fn facts(page: &mut Markup, status: &Status) {
    page.raw("up for ").text(span(status.uptime_seconds)).raw(", log level ").raw(status.log_level);
    page.raw(", as of ");
    time(page, &status.now);
}

pub(super) fn identity(page: &mut Markup, status: &Status) {
    let several = status.pairs.len() > 1;
    page.each(&status.pairs, "<p class=\"none\">No certificate has been loaded yet.</p>", |page, pair| {
        if several {
            page.raw("<h3>").text(&pair.source).raw("</h3>");
        }
        page.raw("<dl>");
        for (name, text) in pair.who.parts() {
            entry(page, name, |page| code(page, text));
        }
        entry(page, "valid", |page| validity(page, pair));
        entry(page, "rotated", |page| {
            time(page, &pair.since);
            page.raw(", ").text(span(pair.since_seconds)).raw(" ago, generation ").text(pair.generation);
        });
        entry(page, "serial", |page| code(page, pair.serial.as_str()));
        if pair.retirement {
            entry(page, "sign", |page| {
                page.raw("<span class=\"bad\">the retirement pair</span>");
            });
        }
        page.raw("</dl>");
    });
    let rotations = &status.rotations;
    page.raw("<dl>");
    entry(page, "rotations", |page| {
        page.text(rotations.succeeded).raw(" taken, ").text(rotations.failed).raw(" failed; now generation ");
        page.text(rotations.generation);
    });
    for failing in &rotations.failing {
        entry(page, "failing", |page| {
            page.raw("<span class=\"bad\">").raw(failing.source).raw("</span> for ").text(span(failing.since_seconds));
            page.raw(match (failing.keeps_last_good, &failing.file) {
                (true, _) => ", the last good one stays: ",
                (false, Some(_)) => ", a file of a folder: ",
                (false, None) => ", there is none yet: ",
            });
            page.text(&failing.error);
        });
    }
    if rotations.failing_more > 0 {
        entry(page, "failing", |page| {
            page.raw("and ").text(rotations.failing_more).raw(" more");
        });
    }
    page.raw("</dl>");
}

fn validity(page: &mut Markup, pair: &PairStatus) {
    let (Some(end), Some(left)) = (&pair.not_after, pair.seconds_left) else {
        page.raw("<span class=\"bad\">the certificate cannot be read</span>");
        return;
    };
    match u64::try_from(left) {
        Ok(left) if left > 0 => page.raw("for ").text(span(left)).raw(", until "),
        _ => page.raw("<span class=\"bad\">no longer</span>, since "),
    };
    time(page, end);
}

pub(super) fn readiness(page: &mut Markup, status: &Status) {
    page.each(&status.checks, "", |page, part| {
        page.raw("<li>");
        mark(page, part.ready);
        page.raw(part.check).raw(if part.ready { "" } else { "<span class=\"unseen\"> is not ready</span>" });
        page.raw("</span> ");
        page.raw("<span>").text(&part.detail).raw("</span></li>");
    });
}

pub(super) fn connections(page: &mut Markup, status: &Status) {
    let now = &status.connections;
    let buckets = &now.history;
    let sum =
        |of: fn(&crate::telemetry::Bucket) -> u32| buckets.iter().map(|bucket| u64::from(of(bucket))).sum::<u64>();
    let most = buckets.iter().map(|bucket| bucket.active).max().unwrap_or_default();
    let minutes = buckets.len() as u64 * now.bucket_seconds / 60;
    page.raw("<figure><figcaption><b>").text(now.active).raw("</b> now, at most ").text(most).raw(" in the last ");
    page.text(minutes).raw(" minutes</figcaption>");
    plot::active(page, buckets);
    page.raw("</figure><figure><figcaption><b>").text(sum(|bucket| bucket.opened)).raw("</b> opened (up), <b>");
    page.text(sum(|bucket| bucket.denied)).raw("</b> denied (down) in the same time</figcaption>");
    plot::flow(page, buckets);
    page.raw("<p class=\"ends\" aria-hidden=\"true\"><span>").text(minutes);
    page.raw(" minutes ago</span><span>now</span></p></figure><dl>");
    entry(page, "in all", |page| {
        page.text(now.opened).raw(" opened, ").text(now.denied).raw(" denied");
    });
    entry(page, "carried", |page| {
        page.text(bytes(now.bytes_up)).raw(" up, ").text(bytes(now.bytes_down)).raw(" down, by those that have ended");
    });
    page.raw("</dl>");
}

pub(super) fn clients(page: &mut Markup, status: &Status) {
    if status.clients.is_empty() {
        page.raw("<p class=\"none\">Nobody has come with a certificate yet.</p>");
        return;
    }
    page.raw("<table><caption>By the app in the client's certificate, since the start</caption><thead><tr>");
    page.raw("<th scope=\"col\">App<th scope=\"col\" class=\"n\">Let in<th scope=\"col\" class=\"n\">Denied<tbody>");
    for row in &status.clients {
        page.raw("<tr><td>");
        match row.app.as_str() {
            "none" => {
                page.raw("certificates without an app");
            }
            "other" => {
                page.raw("all other apps");
            }
            app => code(page, app),
        }
        page.raw("<td class=\"n\">").text(row.admitted).raw("<td class=\"n\">").text(row.denied);
    }
    page.raw("</table>");
}

pub(super) fn listeners(page: &mut Markup, status: &Status) {
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
        if several {
            entry(page, "shows", |page| {
                page.text(&listener.pair);
            });
        }
        policy(page, listener);
        page.raw("</dl></div>");
    });
    page.each(&status.outbounds, "", outbound);
    if let Some(proxy) = &status.forward_proxy {
        forward_proxy(page, proxy);
    }
    if let Some(secrets) = &status.secrets {
        self::secrets(page, secrets);
    }
}

fn secrets(page: &mut Markup, secrets: &SecretsStatus) {
    page.raw("<div><h3>Secrets of the app</h3><dl>");
    for asked in &secrets.sources {
        entry(page, asked.source, |page| {
            page.text(asked.resolved).raw(" resolved");
            if asked.missing + asked.failed > 0 {
                page.raw(", <span class=\"bad\">").text(asked.missing).raw(" missing, ").text(asked.failed);
                page.raw(" failed</span>");
            }
        });
    }
    if let Some(expiry) = &secrets.expiry {
        entry(page, "the first ends", |page| time(page, expiry));
    }
    if let Some(renewal) = &secrets.next_renewal {
        entry(page, "the next is renewed", |page| time(page, renewal));
    }
    if let Some(token) = &secrets.vault_token {
        entry(page, "token of Vault", |page| {
            match &token.expiry {
                Some(expiry) => time(page.raw("ends "), expiry),
                None => {
                    page.raw("does not end");
                }
            }
            if let Some(renewal) = &token.next_renewal {
                time(page.raw(", is renewed "), renewal);
            }
        });
    }
    page.raw("</dl></div>");
}

fn forward_proxy(page: &mut Markup, proxy: &ForwardProxyStatus) {
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
        });
    }
    if proxy.more_hosts > 0 {
        entry(page, "servers", |page| {
            page.raw("and ").text(proxy.more_hosts).raw(" more");
        });
    }
    page.raw("</dl></div>");
}

/// A section of its own where there is an identity endpoint.
pub(super) fn tokens(page: &mut Markup, status: &Status) {
    let Some(tokens) = &status.tokens else { return };
    page.raw("<section aria-labelledby=\"h-tokens\">\n<h2 id=\"h-tokens\">Tokens</h2>\n");
    page.raw("<div id=\"tokens\" data-live><dl>");
    entry(page, "issued", |page| {
        page.text(tokens.issued).raw(" so far, ").text(tokens.cached).raw(" in the cache");
    });
    entry(page, "refused", |page| {
        page.text(tokens.refused).raw(" so far");
    });
    if let Some(last) = &tokens.last_error {
        entry(page, "last error", |page| {
            page.raw("<span class=\"bad\">").raw(last.error).raw("</span>, ");
            time(page, &last.at);
        });
    }
    page.raw("</dl></div>\n</section>\n");
}

fn failures(page: &mut Markup, failures: &[OutboundFailures]) {
    for failed in failures {
        entry(page, "failed", |page| {
            page.text(failed.count).raw(" <span class=\"bad\">").raw(failed.close_reason).raw("</span>");
        });
    }
}

fn outbound(page: &mut Markup, outbound: &OutboundStatus) {
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
            page.raw("<span class=\"bad\">").text(error).raw("</span>");
        });
    }
    for endpoint in &outbound.endpoints {
        entry(page, "endpoint", |page| {
            page.text(&endpoint.addr).raw(if endpoint.state == "ready" {
                " <span class=\"good\">"
            } else {
                " <span class=\"bad\">"
            });
            page.raw(endpoint.state).raw("</span>, ").text(endpoint.connections).raw(" connections");
        });
    }
    if outbound.more_endpoints > 0 {
        entry(page, "endpoints", |page| {
            page.raw("and ").text(outbound.more_endpoints).raw(" more");
        });
    }
    page.raw("</dl></div>");
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
    entry(page, "rules from", |page| {
        let mut first = true;
        page.each(rules_from, "nowhere: nobody may come in", |page, from| {
            page.raw(if std::mem::take(&mut first) { "" } else { ", " }).text(from);
        });
    });
}

fn rules(page: &mut Markup, Rules { rules, more }: &Rules) {
    if rules.is_empty() {
        page.raw("nobody");
        return;
    }
    page.raw("<ul>");
    page.each(rules, "", |page, rule| {
        page.raw("<li>");
        code(page, rule.as_str());
        page.raw("</li>");
    });
    if *more > 0 {
        page.raw("<li>and ").text(more).raw(" more</li>");
    }
    page.raw("</ul>");
}

/// The whole section, where there are any.
pub(super) fn files(page: &mut Markup, status: &Status) {
    if status.files.is_empty() {
        return;
    }
    page.raw("<section aria-labelledby=\"h-files\" class=\"wide\">\n<h2 id=\"h-files\">Files for the app</h2>\n");
    page.raw("<div id=\"files\" data-live><dl>");
    for file in &status.files {
        entry(page, file.form, |page| {
            code(page, file.path.as_str());
            match file.generation {
                Some(generation) => page.raw(", generation ").text(generation),
                None => page.raw(", not written yet"),
            };
            if let Some(error) = &file.error {
                page.raw(": <span class=\"bad\">").text(error).raw("</span>");
            }
        });
    }
    page.raw("</dl></div>\n</section>\n");
}

pub(super) fn denials(page: &mut Markup, status: &Status) {
    if status.denials.is_empty() {
        page.raw("<p class=\"none\">Nobody has been denied yet.</p>");
        return;
    }
    let several = status.listeners.len() > 1;
    page.raw("<p class=\"none\">The newest first; the reasons are those of the access log entries.</p><ol>");
    for denial in &status.denials {
        page.raw("<li>");
        time(page, &denial.at);
        page.raw("<div>").raw(denial.denial_reason).raw(if denial.verdict == "audit" {
            ", let in by audit mode"
        } else {
            ""
        });
        if let Some(rule) = &denial.rule {
            page.raw(" ");
            code(page, rule.as_str());
        }
        page.raw("</div><div>").text(denial.client_addr);
        if several {
            page.raw(" to ").text(denial.listener);
        }
        page.raw("<div>");
        for (name, text) in denial.who.parts() {
            page.raw("<code>").raw(name).raw(" ").text(text).raw("</code> ");
        }
        page.raw("</div></div></li>");
    }
    page.raw("</ol>");
}

pub(super) fn versions(page: &mut Markup, status: &Status) {
    page.raw("vestibule ").raw(status.version).raw(", ").raw(status.tls).raw(" on ").raw(status.crypto);
    page.raw(if status.fips { " (FIPS)" } else { "" }).raw(", started ");
    time(page, &status.started);
}

fn entry(page: &mut Markup, name: &'static str, add: impl FnOnce(&mut Markup)) {
    page.raw("<dt>").raw(name).raw("</dt><dd>");
    add(page);
    page.raw("</dd>");
}

fn code(page: &mut Markup, text: &str) {
    page.raw("<code>").text(text).raw("</code>");
}

/// A date as JSON has it, with a blank in it, as HTML allows, where it may be broken.
fn time(page: &mut Markup, date: &str) {
    page.raw("<time>").text(date.replacen('T', " ", 1)).raw("</time>");
}

/// In the two largest units: `3 d 4 h`.
fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min {} s", seconds % 60),
        (0, hours, minutes) => format!("{hours} h {} min", minutes % 60),
        (days, hours, _) => format!("{days} d {} h", hours % 24),
    }
}

fn bytes(bytes: u64) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let power = (0..units.len() - 1).find(|power| bytes >> (10 * (power + 1)) == 0).unwrap_or(units.len() - 1);
    match power {
        0 => format!("{bytes} bytes"),
        power => format!("{:.1} {}", bytes as f64 / f64::powi(1024.0, power as i32), units[power]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_are_short() {
        for (seconds, text) in [(0, "0 s"), (61, "1 min 1 s"), (86_399, "23 h 59 min"), (100_000, "1 d 3 h")] {
            assert_eq!(span(seconds), text);
        }
        for (size, text) in
            [(1023, "1023 bytes"), (1536, "1.5 KiB"), (1 << 40, "1.0 TiB"), (u64::MAX, "16777216.0 TiB")]
        {
            assert_eq!(bytes(size), text);
        }
    }
}
