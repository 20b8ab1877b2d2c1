//! What is there for the app: its files, its tokens.

use super::{Markup, code, entry, time};
use crate::admin::status::Status;

/// The whole section, where there are any.
pub(in crate::admin::page) fn files(page: &mut Markup, status: &Status) {
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

/// A section of its own where there is an identity endpoint.
pub(in crate::admin::page) fn tokens(page: &mut Markup, status: &Status) {
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
