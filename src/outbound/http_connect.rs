//! CONNECT: the way through an HTTP proxy (RFC 9110, 9.3.6).

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::error::AttemptError;
use crate::config::{HttpProxy, Target};
use crate::diagnostics::SafeText;

/// The longest head of an answer that is read, in bytes.
const LONGEST_HEAD: usize = 8 * 1024;

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
    tcp.write_all(request.as_bytes()).await.map_err(AttemptError::ConnectFailed)?;
    let head = read_head(tcp).await.map_err(AttemptError::ConnectFailed)?;
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1));
    match status {
        Some(status) if status.len() == 3 && status.starts_with('2') => Ok(()),
        _ => Err(AttemptError::ProxyRefused(SafeText::of(line.trim_end()).to_string())),
    }
}

/// The head of the answer. Byte by byte, so that nothing of what follows is taken: it is the server's.
async fn read_head(tcp: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && !head.ends_with(b"\n\n") {
        if head.len() == LONGEST_HEAD {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the proxy's answer has no end"));
        }
        head.push(tcp.read_u8().await?);
    }
    Ok(head)
}
