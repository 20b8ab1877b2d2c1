//! Ports for programs that cannot be told "any free one".

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Result, bail};

/// Below the range that Linux takes the ports of outgoing connections from (32768 and up), of which there are thousands here.
const FIRST: u16 = 20_000;
const LAST: u16 = 32_000;

/// A port of 127.0.0.1 that nobody listens on, and another one each time until all have been given out.
///
/// # Errors
/// None is free.
pub(crate) fn free() -> Result<SocketAddr> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Two drivers at a time start at different places.
    let offset = u16::try_from(std::process::id() % u32::from(LAST - FIRST)).unwrap_or(0);
    for _ in FIRST..LAST {
        let step = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(offset) % (LAST - FIRST);
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, FIRST + step));
        if TcpListener::bind(addr).is_ok() {
            return Ok(addr);
        }
    }
    bail!("no port from {FIRST} to {LAST} of 127.0.0.1 is free")
}
