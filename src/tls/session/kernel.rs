//! What rustls keeps of a session: what makes the keys that follow, and takes tickets.

use rustls::client::ClientConnectionData;
use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;
use rustls::{AlertDescription, ConnectionTrafficSecrets};

/// The types of a server's messages behind the handshake (RFC 8446, 4.6): a ticket for another session, and that it takes new keys.
const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;

/// More bytes than that no message has; rustls takes as many.
const LONGEST_MESSAGE: usize = 0xffff;

/// rustls's part of a session, of either side.
pub(super) enum Kernel {
    Server(KernelConnection<ServerConnectionData>),
    Client {
        kernel: KernelConnection<ClientConnectionData>,
        /// What has come of a message that is not whole.
        message: Vec<u8>,
    },
}

/// What came of the bytes of a server's messages.
pub(super) enum ServerMessages {
    /// Messages that are done with.
    Whole,
    /// And the beginning of another.
    Part,
    /// The server takes new keys, and may want us to do the same.
    KeyUpdate(u8),
}

/// What a key is made of, and the number of the first record that it is for.
type NextSecrets = Result<(u64, ConnectionTrafficSecrets), rustls::Error>;

impl Kernel {
    /// That of a client.
    pub(super) fn with_server(kernel: KernelConnection<ClientConnectionData>) -> Self {
        Self::Client { kernel, message: Vec::new() }
    }

    /// Whether the peer is the server.
    pub(super) fn is_of_a_client(&self) -> bool {
        matches!(self, Self::Client { .. })
    }

    /// Bytes of a message that is not whole.
    pub(super) fn memory(&self) -> usize {
        match self {
            Self::Server(_) => 0,
            Self::Client { message, .. } => message.capacity(),
        }
    }

    /// Opens what the peer seals from now on.
    pub(super) fn next_rx(&mut self) -> NextSecrets {
        match self {
            Self::Server(kernel) => kernel.update_rx_secret(),
            Self::Client { kernel, .. } => kernel.update_rx_secret(),
        }
    }

    /// Seals what we send from now on.
    pub(super) fn next_tx(&mut self) -> NextSecrets {
        match self {
            Self::Server(kernel) => kernel.update_tx_secret(),
            Self::Client { kernel, .. } => kernel.update_tx_secret(),
        }
    }

    /// Takes what a record has of a server's messages, as far as they are whole. Tickets are kept for other sessions.
    ///
    /// # Errors
    /// The alert that says what is wrong with them.
    pub(super) fn take_messages(&mut self, payload: &[u8]) -> Result<ServerMessages, AlertDescription> {
        let Self::Client { kernel, message } = self else { return Err(AlertDescription::UnexpectedMessage) };
        if payload.is_empty() {
            return Err(AlertDescription::UnexpectedMessage);
        }
        let mut joined = std::mem::take(message);
        let is_joined = !joined.is_empty();
        if is_joined {
            joined.extend_from_slice(payload);
        }
        let mut rest = if is_joined { &joined[..] } else { payload };
        while let [typ, high, middle, low, after @ ..] = rest {
            let length = u32::from_be_bytes([0, *high, *middle, *low]) as usize;
            if length > LONGEST_MESSAGE {
                return Err(AlertDescription::DecodeError);
            }
            let Some((content, after)) = after.split_at_checked(length) else { break };
            match (*typ, content, after) {
                (NEW_SESSION_TICKET, ticket, after) => {
                    kernel.handle_new_session_ticket(ticket).map_err(|_| AlertDescription::DecodeError)?;
                    rest = after;
                }
                // It has to be the last of its record: the next one is sealed with the new keys.
                (KEY_UPDATE, &[want], []) => return Ok(ServerMessages::KeyUpdate(want)),
                _ => return Err(AlertDescription::UnexpectedMessage),
            }
        }
        let left = rest.len();
        if left == 0 {
            return Ok(ServerMessages::Whole);
        }
        *message = match is_joined {
            // In place: a message that comes byte by byte is not copied as often.
            true => {
                joined.drain(..joined.len() - left);
                joined
            }
            false => rest.to_vec(),
        };
        Ok(ServerMessages::Part)
    }
}
