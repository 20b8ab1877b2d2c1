//! The status page: one document without anything from elsewhere. `page/page.html` is its frame, and what stands in
//! `{{braces}}` there is written here.

mod markup;
mod plot;
mod sections;

use std::sync::LazyLock;

use aws_lc_rs::digest;
use base64ct::Base64;
use base64ct::Encoding;
use hyper::header::HeaderValue;

use self::markup::Markup;
use super::status::Status;

const FRAME: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = include_str!("page/refresh.js");

/// What a browser lets the page do: our style, our script, and asking us again. Should text of a client ever become markup, it
/// could still do nothing.
pub(super) static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = |text: &str| Base64::encode_string(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash(STYLE),
        hash(SCRIPT)
    );
    // Invariant: it is ASCII without control characters.
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
});

/// The page that shows `status`.
pub(super) fn render(status: &Status) -> String {
    let mut page = Markup::default();
    let mut frame = FRAME;
    while let Some((before, (slot, after))) =
        frame.split_once("{{").and_then(|(before, rest)| Some((before, rest.split_once("}}")?)))
    {
        page.raw(before);
        fill(&mut page, slot, status);
        frame = after;
    }
    page.raw(frame);
    page.into_string()
}

fn fill(page: &mut Markup, slot: &str, status: &Status) {
    match slot {
        "style" => {
            page.raw(STYLE);
        }
        "script" => {
            page.raw(SCRIPT);
        }
        "title" => sections::title(page, status),
        "state" => sections::state(page, status),
        "facts" => sections::facts(page, status),
        "identity" => sections::identity(page, status),
        "readiness" => sections::readiness(page, status),
        "connections" => sections::connections(page, status),
        "callers" => sections::callers(page, status),
        "listeners" => sections::listeners(page, status),
        "denials" => sections::denials(page, status),
        "versions" => sections::versions(page, status),
        unknown => unreachable!("no slot {unknown}: the frame is of this program"),
    }
}
