//! A whole connection of whatever bytes: no panic, and what is answered is a whole answer, or nothing.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by failing")]

use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::{Notify, watch};

use super::connection::{LocalStream, answer};
use super::{EndpointVerifier, IdentityService};
use crate::config::{IdentityEndpoint, OutboundListen, PairFiles, PairSource, TokenVerification};
use crate::credentials::{Pair, Rotator, ServedCertificate};
use crate::crypto::provider;
use crate::issuer::{CertificateAuthority, InstanceSpec, KeyKind};
use crate::telemetry::TokenCounters;

/// An answer is never longer: it has a token at most, or an error with a sentence.
const LONGEST_ANSWER: usize = 32 * 1024;

/// A connection that does not end by itself once nothing more comes would be a fault.
const TIMEOUT: Duration = Duration::from_secs(10);

static SERVED: LazyLock<ServedCertificate> = LazyLock::new(|| {
    let now = SystemTime::now();
    let spec = InstanceSpec { key: KeyKind::P256, ..InstanceSpec::generate().unwrap() };
    let made = CertificateAuthority::generate(now).unwrap().issue(&spec, now).unwrap();
    let pair = Pair::from_pem(made.cert_pem.as_bytes(), made.key_pem.as_bytes(), &provider()).unwrap();
    let source = PairSource::Files(PairFiles { cert: "instance.crt".into(), key: "instance.key".into() });
    ServedCertificate { source, pair, generation: 1, since: now }
});

impl LocalStream for DuplexStream {
    fn peer_uid(&self) -> Option<io::Result<u32>> {
        None
    }

    async fn has_sent(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Has a connection served of which `bytes` come, in pieces of `piece`, and its end once something is answered, or nothing for the time `wait`:
/// whoever ends a connection before that has given up. Gives the statuses of what is answered.
///
/// # Panics
/// Where that is no whole answer, or does not end.
pub fn connection(bytes: &[u8], piece: usize, wait: Duration) -> Vec<u16> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let answered = runtime.block_on(serve(bytes, piece.max(1), wait));
    statuses(&answered, bytes)
}

fn service() -> IdentityService {
    let verification = TokenVerification {
        ca: vec!["/nowhere/ca.crt".into()],
        crl: Vec::new(),
        roles: None,
        max_ttl: Duration::from_secs(3600),
        skew: Duration::from_secs(60),
    };
    let config = IdentityEndpoint {
        listen: OutboundListen::Unix("/nowhere/socket".into()),
        audiences: vec!["a".to_owned()],
        ttl: Duration::from_secs(300),
        peer_uids: Vec::new(),
        rate: 1000,
        token_file: None,
        verification: Some(verification.clone()),
    };
    let mut rotator = Rotator::new(Arc::new(Notify::new()));
    let trust = rotator.add_token_trust(verification.trust_files());
    let verifier = EndpointVerifier::new(verification, trust, None);
    let (_, served) = watch::channel(vec![SERVED.clone()]);
    let pair = SERVED.source.clone();
    IdentityService::new(config, None, Some(Arc::new(verifier)), pair, served, Arc::new(TokenCounters::default()))
}

/// All that is sent back.
async fn serve(bytes: &[u8], piece: usize, wait: Duration) -> Vec<u8> {
    let (near, far) = tokio::io::duplex(LONGEST_ANSWER);
    let (mut answers, mut requests) = tokio::io::split(near);
    let begun = Notify::new();
    let send = async {
        for piece in bytes.chunks(piece) {
            // Whoever has answered need not read on.
            if requests.write_all(piece).await.is_err() {
                break;
            }
        }
        let _ = tokio::time::timeout(wait, begun.notified()).await;
        let _ = requests.shutdown().await;
    };
    let receive = async {
        let mut answered = Vec::new();
        answers.read_buf(&mut answered).await.unwrap();
        begun.notify_one();
        answers.read_to_end(&mut answered).await.unwrap();
        answered
    };
    let service = service();
    let has_asked = AtomicBool::new(false);
    let all = async { tokio::join!(answer(&service, far, None, &has_asked), send, receive).2 };
    tokio::time::timeout(TIMEOUT, all).await.expect("the connection ends")
}

/// The statuses of `answered`, each of which is whole, to a connection of which `bytes` came.
fn statuses(mut answered: &[u8], bytes: &[u8]) -> Vec<u16> {
    let mut statuses = Vec::new();
    while !answered.is_empty() {
        assert!(statuses.last().is_none_or(|status| *status == 100), "nothing stands behind an answer");
        let end = answered.windows(4).position(|four| four == b"\r\n\r\n").expect("the end of the head") + 4;
        let head = std::str::from_utf8(&answered[..end]).unwrap();
        let (version, rest) = head.split_once(' ').unwrap();
        assert!(matches!(version, "HTTP/1.0" | "HTTP/1.1"), "{head}");
        let status = rest[..3].parse().unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(0, |length| length.parse().unwrap());
        answered = &answered[end..];
        // What HEAD asks for has the length of a body, and no body.
        let is_bodiless = answered.is_empty() && bytes.trim_ascii_start().starts_with(b"HEAD ");
        answered = if is_bodiless { answered } else { answered.split_at_checked(length).expect("the whole body").1 };
        assert_eq!(status == 100, length == 0, "{head}");
        statuses.push(status);
    }
    statuses
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::{TIMEOUT, connection};

    const HEAD: &str = "Host: localhost\r\nX-Identity-Request: true\r\n";

    #[test]
    fn a_whole_connection_gets_one_whole_answer_however_it_is_cut() {
        let json = |path: &str, body: &str| {
            let length = body.len();
            format!(
                "POST {path} HTTP/1.1\r\n{HEAD}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
            )
        };
        for (bytes, statuses) in [
            (format!("GET /identity HTTP/1.1\r\n{HEAD}\r\n"), &[200][..]),
            (format!("GET /token?audience=a HTTP/1.1\r\n{HEAD}Accept: text/plain\r\n\r\n"), &[200]),
            (json("/token", r#"{"audience":"a","fresh":true}"#), &[200]),
            (json("/token", r#"{"audience":"b"}"#), &[403]),
            (json("/verify", r#"{"token":"x","audience":"a"}"#), &[503]),
            (json("/token", "{"), &[400]),
            (format!("HEAD /identity HTTP/1.1\r\n{HEAD}\r\n"), &[405]),
            ("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n".to_owned(), &[421]),
            ("\x16\x03\x01".to_owned(), &[400]),
        ] {
            for piece in [1, 7, 1 << 16] {
                assert_eq!(connection(bytes.as_bytes(), piece, TIMEOUT), statuses, "{piece}: {bytes}");
            }
        }
        for bytes in ["", "GET /identity HT"] {
            assert_eq!(connection(bytes.as_bytes(), 1, Duration::ZERO), [0; 0], "{bytes}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_bytes_behind_a_head_that_is_right_get_an_answer_or_the_end(
            start in "(GET|POST|HEAD|PUT) /(token|identity|verify|)(\\?audience=a)? HTTP/1\\.[01]",
            fields in "((Content-Length|Expect|Transfer-Encoding|Content-Type): (5|100-continue|chunked|application/json)\r\n){0,3}",
            body in "\\PC{0,40}|\\{\"audience\":\"[ab]\"\\}|5\r\nhello\r\n0\r\n\r\n",
            piece in 1..64usize,
        ) {
            connection(format!("{start}\r\n{HEAD}{fields}\r\n{body}").as_bytes(), piece, Duration::from_millis(20));
        }
    }
}
