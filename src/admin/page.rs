//! The status page: one document without anything from elsewhere. `page/page.html` is its frame, and what stands in
//! `{{braces}}` there is written here.

mod markup;
mod plot;
mod sections;

use std::sync::LazyLock;

use aws_lc_rs::digest;
use base64ct::{Base64, Encoding};
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
        "clients" => sections::clients(page, status),
        "listeners" => sections::listeners(page, status),
        "files" => sections::files(page, status),
        "tokens" => sections::tokens(page, status),
        "denials" => sections::denials(page, status),
        "versions" => sections::versions(page, status),
        unknown => unreachable!("no slot {unknown}: the frame is of this program"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::path::PathBuf;
    use std::sync::Arc;
    use std::time::{Duration, SystemTime};

    use tokio::sync::watch;

    use crate::admin::status::StatusSources;
    use crate::config::{PairFiles, PairSource, SdsSecretRef};
    use crate::credentials::{Pair, ServedCertificate};
    use crate::issuer::{CertificateAuthority, InstanceSpec};
    use crate::lifecycle::{Phase, Readiness};

    #[test]
    fn several_pairs_are_told_apart_and_what_is_over_is_said_so() {
        let now = SystemTime::now();
        let authority = CertificateAuthority::generate(now).unwrap();
        let spec = InstanceSpec::generate().unwrap();
        let shown = |source, generation, at| {
            let credential = authority.issue(&spec, at).unwrap();
            let (chain, key) = (credential.cert_pem.as_bytes(), credential.key_pem.as_bytes());
            let pair = Pair::from_pem(chain, key, &crate::crypto::provider()).unwrap();
            ServedCertificate { source, pair, generation, since: now }
        };
        let files = PairFiles { cert: PathBuf::from("/a/<b>.crt"), key: PathBuf::from("/a/the.key") };
        let secret = SdsSecretRef { name: "server".to_owned(), path: PathBuf::from("/c/sds.yaml") };
        let long_ago = now - Duration::from_secs(48 * 3600);
        let pairs = vec![shown(PairSource::Files(files), 3, now), shown(PairSource::Secret(secret), 1, long_ago)];
        let overview = StatusSources {
            counters: Arc::default(),
            rotation_stats: Arc::default(),
            served: watch::Sender::new(pairs).subscribe(),
            phase: watch::Sender::new(Phase::Running).subscribe(),
            listeners: Vec::new(),
            outbound: crate::outbound::OutboundOverview::default(),
            app_files: None,
            sandbox: Arc::new(crate::sandbox::SandboxReport::none(crate::config::SandboxMode::Off)),
            started: now,
        };
        let page = render(&Status::of(&Readiness::new(0, Vec::new(), Vec::new()), &overview));
        for text in
            ["<h3>/a/&lt;b&gt;.crt</h3>", "<h3>server in /c/sds.yaml</h3>", "ago, generation 3", "ago, generation 1"]
        {
            assert!(page.contains(text), "{text} in {page}");
        }
        assert_eq!(page.matches("<dt>valid</dt><dd>for ").count(), 1);
        assert_eq!(page.matches("<dt>valid</dt><dd><span class=\"bad\">no longer</span>, since ").count(), 1);
        assert!(!page.contains("the.key") && !page.contains("{{"));
    }
}
