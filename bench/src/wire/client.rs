//! A TLS client over a blocking socket that says how and when a connection closed.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use nix::libc::linger;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::Linger;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind};

use super::end::End;

/// How long a client waits for what should come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// A connection of a client.
pub(crate) struct Client {
    /// The TLS side of it.
    pub(crate) tls: ClientConnection,
    /// The socket.
    pub(crate) tcp: TcpStream,
}

impl Client {
    /// Dials, and shakes hands until the client is done; `name` is sent as SNI and verified where `config` verifies.
    ///
    /// # Errors
    /// How the connection closed instead.
    pub(crate) fn connect(addr: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> Result<Self, End> {
        let tcp = dial(addr)?;
        Self::over(tcp, config, name)
    }

    /// Shakes hands over `tcp`.
    ///
    /// # Errors
    /// How the connection closed instead.
    pub(crate) fn over(tcp: TcpStream, config: &Arc<ClientConfig>, name: &str) -> Result<Self, End> {
        let name = ServerName::try_from(name.to_owned()).map_err(|error| End::Other(error.to_string()))?;
        let tls = ClientConnection::new(Arc::clone(config), name).map_err(|error| End::Other(error.to_string()))?;
        let mut client = Self { tls, tcp };
        while client.tls.is_handshaking() {
            client.tls.complete_io(&mut client.tcp).map_err(|error| End::of(&error))?;
        }
        // The client's last flight.
        client.flush()?;
        Ok(client)
    }

    /// Sends `bytes`, whole.
    ///
    /// # Errors
    /// How the connection closed instead.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<(), End> {
        let mut stream = rustls::Stream::new(&mut self.tls, &mut self.tcp);
        stream.write_all(bytes).and_then(|()| stream.flush()).map_err(|error| End::of(&error))
    }

    /// Receives what is there next; fails with how the other side's sending ended.
    ///
    /// # Errors
    /// How the other side's sending ended, [`RelayEnd::Silence`] if it has not.
    pub(crate) fn receive_some(&mut self, space: &mut [u8]) -> Result<usize, End> {
        loop {
            match rustls::Stream::new(&mut self.tls, &mut self.tcp).read(space) {
                Ok(0) => return Err(End::CloseNotify),
                Ok(n) => return Ok(n),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(End::of(&error)),
            }
        }
    }

    /// Receives exactly `n` bytes.
    ///
    /// # Errors
    /// How the other side's sending ended before.
    pub(crate) fn receive(&mut self, n: usize) -> Result<Vec<u8>, End> {
        let mut bytes = vec![0; n];
        let mut at = 0;
        while at < n {
            at += self.receive_some(&mut bytes[at..])?;
        }
        Ok(bytes)
    }

    /// Receives until the other side's sending ends, and says how.
    pub(crate) fn receive_all(&mut self) -> (Vec<u8>, End) {
        let (mut bytes, mut space) = (Vec::new(), vec![0; 64 * 1024]);
        loop {
            match self.receive_some(&mut space) {
                Ok(n) => bytes.extend_from_slice(&space[..n]),
                Err(end) => return (bytes, end),
            }
        }
    }

    /// How the connection ends within `time`, if nothing but its end is to come.
    pub(crate) fn end_within(&mut self, time: Duration) -> End {
        let end = match self.tcp.set_read_timeout(Some(time)) {
            Ok(()) => self.receive_all().1,
            Err(error) => End::of(&error),
        };
        // The socket has taken the other timeout, so it takes this one.
        let _ = self.tcp.set_read_timeout(Some(PATIENCE));
        end
    }

    /// Sends close_notify, and leaves TCP open.
    ///
    /// # Errors
    /// How the connection closed instead.
    pub(crate) fn close_notify(&mut self) -> Result<(), End> {
        self.tls.send_close_notify();
        self.flush()
    }

    /// Sends FIN, without close_notify unless that was sent before.
    ///
    /// # Errors
    /// How the connection closed instead.
    pub(crate) fn fin(&self) -> Result<(), End> {
        self.tcp.shutdown(Shutdown::Write).map_err(|error| End::of(&error))
    }

    /// Whether nothing has come but what keeps a connection open, as the reader of Go's pool would find.
    pub(crate) fn is_open(&mut self) -> bool {
        if self.tcp.set_nonblocking(true).is_err() {
            return false;
        }
        let open = loop {
            match self.tls.read_tls(&mut self.tcp) {
                Ok(0) => break false,
                Ok(_) => match self.tls.process_new_packets() {
                    Ok(state) if !state.peer_has_closed() => {}
                    _ => break false,
                },
                Err(error) => break error.kind() == ErrorKind::WouldBlock,
            }
        };
        open && self.tcp.set_nonblocking(false).is_ok()
    }

    /// Version, suite, group and ALPN of the connection.
    pub(crate) fn negotiated(&self) -> String {
        let version = self.tls.protocol_version().and_then(|it| it.as_str()).unwrap_or("none");
        let suite = self.tls.negotiated_cipher_suite().and_then(|it| it.suite().as_str()).unwrap_or("none");
        let group = self.tls.negotiated_key_exchange_group().and_then(|it| it.name().as_str()).unwrap_or("none");
        format!("{version} {suite} {group}, ALPN {}", self.alpn())
    }

    /// The protocol that was agreed on.
    pub(crate) fn alpn(&self) -> String {
        self.tls.alpn_protocol().map_or_else(|| "none".to_owned(), |it| String::from_utf8_lossy(it).into_owned())
    }

    /// Whether the handshake was a resumption.
    pub(crate) fn resumed(&self) -> bool {
        self.tls.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The certificate that was shown, DER.
    pub(crate) fn leaf(&self) -> Vec<u8> {
        self.tls.peer_certificates().and_then(|chain| chain.first()).map(|der| der.to_vec()).unwrap_or_default()
    }

    fn flush(&mut self) -> Result<(), End> {
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.tcp).map_err(|error| End::of(&error))?;
        }
        Ok(())
    }
}

/// A TCP connection with the usual timeouts.
///
/// # Errors
/// Nobody listens.
pub(crate) fn dial(addr: SocketAddr) -> Result<TcpStream, End> {
    let tcp = TcpStream::connect_timeout(&addr, PATIENCE).map_err(|error| End::of(&error))?;
    let set = tcp
        .set_nodelay(true)
        .and_then(|()| tcp.set_read_timeout(Some(PATIENCE)))
        .and_then(|()| tcp.set_write_timeout(Some(PATIENCE)));
    set.map_err(|error| End::of(&error))?;
    Ok(tcp)
}

/// Reads until the other side's sending ends; what came, and how it ended: by FIN, by RST or not at all.
pub(crate) fn read_to_end(mut tcp: &TcpStream) -> (Vec<u8>, End) {
    let (mut bytes, mut space) = (Vec::new(), vec![0; 64 * 1024]);
    loop {
        match tcp.read(&mut space) {
            Ok(0) => return (bytes, End::Fin),
            Ok(n) => bytes.extend_from_slice(&space[..n]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return (bytes, End::of(&error)),
        }
    }
}

/// Closes with RST.
pub(crate) fn reset(tcp: TcpStream) {
    // An ordinary close would follow if the kernel did not know the option.
    let _ = setsockopt(&tcp, Linger, &linger { l_onoff: 1, l_linger: 0 });
    drop(tcp);
}
