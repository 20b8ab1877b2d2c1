//! What has come to the listeners: connections, client apps, denials.

use super::{Markup, bytes, code, entry, time};
use crate::admin::page::plot;
use crate::admin::status::Status;

pub(in crate::admin::page) fn connections(page: &mut Markup, status: &Status) {
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
    entry(page, "transferred", |page| {
        page.text(bytes(now.bytes_up)).raw(" up, ").text(bytes(now.bytes_down)).raw(" down, by those that have ended");
    });
    page.raw("</dl>");
}

pub(in crate::admin::page) fn clients(page: &mut Markup, status: &Status) {
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

pub(in crate::admin::page) fn denials(page: &mut Markup, status: &Status) {
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
