//! CONNECT: the way through an HTTP proxy (RFC 9110, 9.3.6).

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::error::AttemptError;
use crate::config::{HttpProxy, Target};
use crate::diagnostics::SafeText;

/// The most that is read of what the proxy says, in bytes.
const LONGEST_ANSWER: usize = 8 * 1024;

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
            _ => return Err(AttemptError::ProxyRefused(SafeText::of(line.trim_end()).to_string())),
        }
    }
}

/// The status in `line`, the first of an answer: `HTTP/1.1 200 OK`.
fn status(line: &str) -> Option<u16> {
    let status = line.strip_prefix("HTTP/1.")?.split(' ').nth(1)?;
    let is_status = status.len() == 3 && status.bytes().all(|byte| byte.is_ascii_digit());
    status.parse().ok().filter(|_| is_status)
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
