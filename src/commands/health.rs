//! `vestibule health` and `vestibule wait`: asking a running proxy by its admin address, where there is no curl.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};
use std::{io, thread};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::config::AdminAddr;
use crate::diagnostics::{LONGEST_LINE, SafeText};
use crate::exit::{Exit, Fault};

/// For one question, from the connection to the last byte of the answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Between two questions of `wait`.
const PAUSE: Duration = Duration::from_millis(50);

/// More than any answer to this question.
const LONGEST: usize = 64 * 1024;

const REQUEST: &[u8] = b"GET /readyz?verbose HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// What the proxy at an admin address says.
enum ProbeResult {
    /// With what is wrong all the same and does not stand in the way, one `... reload failing since ...` a line.
    Ready(Vec<String>),
    /// What stands in the way, one `[-]part: reason` a line.
    Waiting(String),
}

/// Asks once. What fails without standing in the way is said on stderr.
///
/// # Errors
/// [`Exit::Findings`] with what stands in the way, or why nobody answers.
pub(super) fn health(admin: Option<&AdminAddr>) -> Result<Exit, Fault> {
    let admin = admin.ok_or_else(nowhere)?;
    match ask(admin, Instant::now() + ANSWER_TIMEOUT) {
        Ok(ProbeResult::Ready(failing)) => {
            for line in failing {
                eprintln!("vestibule: {}", SafeText::up_to(LONGEST_LINE, line));
            }
            Ok(Exit::Success)
        }
        Ok(ProbeResult::Waiting(parts)) => Err(Fault::new(Exit::Findings, parts)),
        Err(error) => Err(nobody(admin, &error)),
    }
}

/// Asks until the proxy is ready, for at most `limit`; without any time, once.
///
/// # Errors
/// [`Exit::Findings`] with what is still awaited.
pub(super) fn wait(admin: Option<&AdminAddr>, limit: Duration) -> Result<Exit, Fault> {
    let admin = admin.ok_or_else(nowhere)?;
    let deadline = Instant::now() + limit;
    let mut before = None;
    loop {
        let by = Instant::now() + ANSWER_TIMEOUT;
        // A single question has the time that it needs.
        let outcome = match ask(admin, if limit.is_zero() { by } else { by.min(deadline) }) {
            Ok(ProbeResult::Ready(_)) => return Ok(Exit::Success),
            Ok(ProbeResult::Waiting(parts)) => Ok(parts),
            Err(error) => Err(error),
        };
        let is_over = Instant::now() >= deadline;
        // The last question may have been cut short, which says less than the one before it.
        let is_cut = is_over && outcome.as_ref().is_err_and(|error| error.kind() == ErrorKind::TimedOut);
        let outcome = before.take().filter(|_| is_cut).unwrap_or(outcome);
        if is_over {
            return Err(match outcome {
                Ok(parts) => Fault::new(Exit::Findings, format!("not ready within {limit:?}\n{parts}")),
                Err(error) => nobody(admin, &error),
            });
        }
        before = Some(outcome);
        thread::sleep(PAUSE.min(deadline.saturating_duration_since(Instant::now())));
    }
}

fn nowhere() -> Fault {
    Fault::new(Exit::Usage, "--admin is off, so there is nobody to ask; name the address that the proxy was given")
}

fn nobody(admin: &AdminAddr, error: &io::Error) -> Fault {
    let help = "start vestibule run or vestibule proxy, with the same --admin";
    Fault::new(Exit::Findings, format!("nobody answers at {admin}: {error}")).with_help(help)
}

/// Asks, and has the whole answer by `deadline`.
///
/// # Errors
/// The kernel's, [`ErrorKind::TimedOut`], or the answer is not one of ours.
fn ask(admin: &AdminAddr, deadline: Instant) -> io::Result<ProbeResult> {
    let (domain, addr) = match admin {
        AdminAddr::Tcp(addr) => (Domain::for_address(*addr), SockAddr::from(reachable(*addr))),
        AdminAddr::Unix(path) => (Domain::UNIX, SockAddr::unix(path)?),
    };
    let socket = Socket::new(domain, Type::STREAM, None)?;
    match admin {
        AdminAddr::Tcp(_) => socket.connect_timeout(&addr, left(deadline)?)?,
        // It waits for a place in the backlog, for no longer than a write would (unix(7)).
        AdminAddr::Unix(_) => {
            socket.set_write_timeout(Some(left(deadline)?))?;
            socket.connect(&addr).map_err(in_time)?;
        }
    }
    converse(&socket, deadline)
}

/// What is left until `deadline`, never zero.
///
/// # Errors
/// Nothing is.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(too_late()) } else { Ok(left) }
}

fn too_late() -> io::Error {
    io::Error::new(ErrorKind::TimedOut, "no whole answer has come in time")
}

/// A socket says of a timeout that it would have to wait.
fn in_time(error: io::Error) -> io::Error {
    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) { too_late() } else { error }
}

/// A server on every address is asked on loopback.
fn reachable(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, addr.port())
}

fn converse(mut socket: &Socket, deadline: Instant) -> io::Result<ProbeResult> {
    socket.set_write_timeout(Some(left(deadline)?))?;
    socket.write_all(REQUEST).map_err(in_time)?;
    let (mut text, mut piece) = (Vec::new(), [0; 4096]);
    while text.len() < LONGEST {
        // Whoever sends a byte now and then gains no time by that.
        socket.set_read_timeout(Some(left(deadline)?))?;
        match socket.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => text.extend_from_slice(&piece[..read]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(in_time(error)),
        }
    }
    let answer = std::str::from_utf8(&text).ok().and_then(parse);
    answer.ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "the answer is not from vestibule"))
}

fn parse(text: &str) -> Option<ProbeResult> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    match head.get(.."HTTP/1.1 200".len())? {
        "HTTP/1.1 200" if body.starts_with("[+]") => {
            let failing = body.lines().filter(|line| line.contains(" reload failing"));
            Some(ProbeResult::Ready(failing.filter(|line| !line.starts_with('[')).map(str::to_owned).collect()))
        }
        "HTTP/1.1 503" => {
            let parts: Vec<_> = body.lines().filter(|line| line.starts_with("[-]")).collect();
            (!parts.is_empty()).then(|| ProbeResult::Waiting(parts.join("\n")))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_of_ours_is_believed() {
        let ready = parse("HTTP/1.1 200 OK\r\na: b\r\n\r\n[+]certificate: x\npolicy reload failing since y: z\nok\n");
        assert!(matches!(ready, Some(ProbeResult::Ready(failing)) if failing == ["policy reload failing since y: z"]));
        let waiting =
            parse("HTTP/1.1 503 Service Unavailable\r\n\r\n[+]certificate: x\n[-]app: y\n[-]drain: z\nnot ready\n");
        assert!(matches!(waiting, Some(ProbeResult::Waiting(parts)) if parts == "[-]app: y\n[-]drain: z"));
        for other in
            ["", "HTTP/1.1 200 OK\r\n\r\n<html>", "HTTP/1.1 503 x\r\n\r\n", "HTTP/1.1 404 x\r\n\r\n[-]a: b", "SSH-2.0"]
        {
            assert!(parse(other).is_none(), "{other}");
        }
    }

    #[test]
    fn a_server_on_every_address_is_asked_on_loopback() {
        for (listens, asked) in [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:1", "[::1]:1"), ("10.0.0.1:1", "10.0.0.1:1")] {
            assert_eq!(reachable(listens.parse().unwrap()), asked.parse().unwrap());
        }
    }
}
