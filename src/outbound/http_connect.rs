//! CONNECT: the way through an HTTP proxy (RFC 9110, 9.3.6).

use std::io;

use base64ct::{Base64, Encoding};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::error::AttemptError;
use crate::config::{HttpProxy, Target};
use crate::diagnostics::without_sent_secrets;

/// The most that is read of what the proxy says, in bytes.
const LONGEST_ANSWER: usize = 8 * 1024;

/// Characters that are repeated of it.
const MAX_TEXT: usize = 64;

/// Asks `proxy`, which has accepted `tcp`, for a way to `target`. Afterwards the connection is the server's.
///
/// # Errors
/// The proxy says no, or something that is no answer.
pub(super) async fn ask(tcp: &mut TcpStream, proxy: &HttpProxy, target: &Target) -> Result<(), AttemptError> {
    let authorization = proxy.authorization.as_ref();
    let authorization = authorization.map(|value| format!("Proxy-Authorization: {value}\r\n")).unwrap_or_default();
    // A name that is absolute for us is written without its dot for others.
    let target = target.to_string().replace(".:", ":");
    let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{authorization}\r\n");
    tcp.write_all(request.as_bytes()).await.map_err(AttemptError::ProxyBroken)?;
    let mut left = LONGEST_ANSWER;
    loop {
        let head = read_head(tcp, &mut left).await.map_err(AttemptError::ProxyBroken)?;
        let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line);
        match status(line.trim_end()) {
            Some(200..=299) => return Ok(()),
            // What the proxy says of its progress is no answer (RFC 9110, 15.2); one that switches to something else has given one.
            Some(100 | 102..=199) => {}
            _ => return Err(AttemptError::ProxyRefused(own_words(&line, proxy))),
        }
    }
}

/// The first `line` of what `proxy` says, without the credentials that it was sent. Its status is none.
fn own_words(line: &str, proxy: &HttpProxy) -> String {
    let sent = proxy.authorization.as_deref().map(sent_forms).unwrap_or_default();
    let secrets: Vec<_> = sent.iter().map(String::as_str).collect();
    let (start, words) = line.split_at(status(line.trim_end()).map_or(0, |_| STATUS_LENGTH));
    format!("{start} {}", without_sent_secrets(MAX_TEXT, words, &secrets)).trim().to_owned()
}

/// What may come back of an `authorization` in the Basic scheme (RFC 7617). Who has no password may have a secret for a name.
fn sent_forms(authorization: &str) -> Vec<String> {
    let encoded = authorization.strip_prefix("Basic ").unwrap_or(authorization);
    let decoded = Base64::decode_vec(encoded).unwrap_or_default();
    let pair = String::from_utf8_lossy(&decoded);
    let (user, password) = pair.split_once(':').unwrap_or((&pair, ""));
    let secret = if password.is_empty() { user } else { password };
    vec![encoded.to_owned(), secret.to_owned()]
}

/// How much of a line the version and the status are, in bytes.
const STATUS_LENGTH: usize = "HTTP/1.1 200".len();

/// The status in `line`, the first of an answer: `HTTP/1.1 200 OK`.
fn status(line: &str) -> Option<u16> {
    let (version, rest) = line.strip_prefix("HTTP/1.")?.split_once(' ')?;
    let status = rest.split(' ').next()?;
    let is_number = |text: &str, length| text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit());
    status.parse().ok().filter(|_| is_number(version, 1) && is_number(status, 3))
}

/// The next head of the answer, of `left` bytes at most. Byte by byte, so that nothing of what follows is taken: it is the server's.
async fn read_head(tcp: &mut TcpStream, left: &mut usize) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && !head.ends_with(b"\n\n") {
        *left =
            left.checked_sub(1).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "what it says has no end"))?;
        head.push(tcp.read_u8().await?);
    }
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Host;

    #[test]
    fn the_proxys_words_are_repeated_without_what_it_was_sent() {
        let said = |user: Option<&str>, line: &str| {
            let authorization = user.map(|user| format!("Basic {}", Base64::encode_string(user.as_bytes())));
            own_words(line, &HttpProxy { host: Host::Name("p".to_owned()), port: 1, authorization })
        };
        let user = Some("user:s3cret p@ss");
        for form in [
            "dXNlcjpzM2NyZXQgcEBzcw==",
            "user:s3cret p@ss",
            "s3cret p@ss",
            "s3cret%20p%40ss",
            "user%3as3cret%20p@ss",
            "czNjcmV0IHBAc3M=",
        ] {
            let said = said(user, &format!("HTTP/1.1 502 no {form} here\r"));
            assert_eq!(said, "HTTP/1.1 502 (what we sent)", "{form}");
        }
        assert_eq!(
            said(user, "HTTP/1.1 407 Proxy Authentication Required"),
            "HTTP/1.1 407 Proxy Authentication Required"
        );
        assert_eq!(said(Some("t0ken:"), "HTTP/1.1 407 t0ken"), "HTTP/1.1 407 (what we sent)");
        assert_eq!(said(None, "HTTP/1.1 502 Bad Gateway"), "HTTP/1.1 502 Bad Gateway");
        assert!(said(None, &"x".repeat(8000)).len() < 200);
    }
}
