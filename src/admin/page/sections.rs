//! The sections of the page.

mod app;
mod connections;
mod identity;
mod listeners;
mod outbounds;

use super::markup::Markup;
use crate::admin::status::{Rules, SandboxStatus, SecretsStatus, Status};

pub(super) use app::{files, tokens};
pub(super) use connections::{clients, connections, denials};
pub(super) use identity::identity;
pub(super) use listeners::listeners;

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

pub(super) fn readiness(page: &mut Markup, status: &Status) {
    page.each(&status.checks, "", |page, part| {
        page.raw("<li>");
        mark(page, part.ready);
        page.raw(part.check).raw(if part.ready { "" } else { "<span class=\"unseen\"> is not ready</span>" });
        page.raw("</span> ");
        page.raw("<span>").text(&part.detail).raw("</span></li>");
    });
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
        entry(page, "Vault token", |page| {
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

pub(super) fn versions(page: &mut Markup, status: &Status) {
    page.raw("vestibule ").raw(status.version).raw(", ").raw(status.tls).raw(" on ").raw(status.crypto);
    page.raw(if status.fips { " (FIPS)" } else { "" }).raw(", sandbox ").raw(status.sandbox.mode);
    sandbox(page, &status.sandbox);
    page.raw(", started ");
    time(page, &status.started);
}

/// What holds, and what does not and why; nothing where there is no sandbox.
fn sandbox(page: &mut Markup, sandbox: &SandboxStatus) {
    let (applied, missing): (Vec<_>, Vec<_>) = sandbox.protections.iter().partition(|entry| entry.applied);
    if !applied.is_empty() {
        let words: Vec<_> = applied.iter().map(|entry| entry.protection).collect();
        page.raw(" (").text(words.join(", ")).raw(")");
    }
    for entry in missing {
        page.raw(" <span class=\"bad\">without ").raw(entry.protection).raw("</span>");
        if let Some(why) = &entry.detail {
            page.raw(": ").text(why);
        }
    }
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
