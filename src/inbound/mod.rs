//! One connection: accept → ClientHello → dial → handshake → authorize → relay → access log entry.

mod close;
mod deadline;
mod error;
mod establish;
mod http;
mod linger;
mod relay_session;
mod service;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};

use close::close_connection;
pub use error::ConnectionError;
use error::TOO_MANY_CONNECTIONS;
use establish::{AdmittedClient, admit, dial, reject};
pub use http::{HttpInbound, HttpService};
use relay_session::{ActiveConnection, relay_until_closed};
pub use service::InboundService;

use crate::listener::{Service, Slot};
use crate::relay::Relay;
use crate::telemetry::AccessLogEntry;

impl Service<TcpListener> for InboundService {
    /// The life of one connection, in the order it happens.
    async fn serve(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, slot: Slot) {
        // The beginning and the end have boxes of their own: an idle connection has room for neither.
        let Some(mut active) = Box::pin(open_relay(stream, peer, &self, &slot)).await else { return };
        let reason = relay_until_closed::<false>(&mut active, &self).await;
        Box::pin(close_connection(active, reason, &self)).await;
    }

    fn reject(&self, stream: TcpStream, peer: SocketAddr) {
        let mut entry = AccessLogEntry::open(Arc::clone(&self.counters), self.access, peer, self.listener);
        // When the option cannot be set the socket is closed all the same.
        let _ = stream.set_zero_linger();
        entry.set_error(&TOO_MANY_CONNECTIONS);
        entry.close(TOO_MANY_CONNECTIONS.reason());
    }
}

/// Everything before the relay; `None` if it does not come to that, once the client has been told.
async fn open_relay(
    client: TcpStream,
    peer: SocketAddr,
    service: &InboundService,
    slot: &Slot,
) -> Option<ActiveConnection> {
    let (client, ready, mut entry) = admit(client, peer, service, slot).await?;
    let AdmittedClient { established, reservation, app, permit, authorization, proxy_header } = ready;
    let app = match app {
        Some(app) => app,
        None => match dial(service, &mut entry).await {
            Ok(app) => app,
            Err(error) => return reject(client, ConnectionError::UpstreamAfterHandshake(error), entry).await,
        },
    };
    let relay = Relay::new(&permit, client, established, app, proxy_header, reservation);
    Some(ActiveConnection { relay, authorization, entry })
}

#[cfg(test)]
mod tests {
    use std::future::Future;

    use super::{Arc, InboundService, Relay, Service, Slot, SocketAddr, TcpStream};

    fn size_of_future<F: Future>(_: fn(Arc<InboundService>, TcpStream, SocketAddr, Slot) -> F) -> usize {
        size_of::<F>()
    }

    /// The allocator has no class between 1,024 and 1,280 bytes, and tokio puts 104 of its own around a future.
    #[test]
    fn an_idle_connection_keeps_its_state_within_one_kibibyte_and_its_relay_within_a_quarter_of_it() {
        let serve = size_of_future(InboundService::serve);
        assert!(serve <= 920, "a connection's future has {serve} bytes");
        assert!(size_of::<Relay>() <= 256, "a relay has {} bytes", size_of::<Relay>());
    }
}
