//! Who the instance is, and how long its certificate is good.

use super::{Markup, code, entry, span, time};
use crate::admin::status::{PairStatus, Status};

pub(in crate::admin::page) fn identity(page: &mut Markup, status: &Status) {
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
            entry(page, "retirement", |page| {
                page.raw("<span class=\"bad\">retirement certificate received</span>");
            });
        }
        page.raw("</dl>");
    });
    let rotations = &status.rotations;
    page.raw("<dl>");
    entry(page, "rotations", |page| {
        page.text(rotations.succeeded).raw(" succeeded, ").text(rotations.failed).raw(" failed; now generation ");
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
