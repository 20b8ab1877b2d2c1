//! The floor: a relay without TLS, as plain as tokio makes it. What a proxy costs beyond this, TLS and the proxy cost.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream};

/// As large as the kernel's usual receive buffers are at first; larger ones gain nothing.
const BUFFER: usize = 64 * 1024;

/// Relays between clients of `listen` and `app`, on one thread, until it is killed.
///
/// # Errors
/// Those of the kernel.
pub(crate) fn serve(listen: SocketAddr, app: SocketAddr) -> Result<()> {
    crate::runtime()?.block_on(async {
        let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
        loop {
            let (client, _) = listener.accept().await.context("cannot accept")?;
            // Either side may leave at any time; the other one sees it.
            tokio::spawn(async move { drop(connection(client, app).await) });
        }
    })
}

async fn connection(mut client: TcpStream, app: SocketAddr) -> std::io::Result<()> {
    let mut app = TcpStream::connect(app).await?;
    client.set_nodelay(true)?;
    app.set_nodelay(true)?;
    copy_bidirectional_with_sizes(&mut client, &mut app, BUFFER, BUFFER).await?;
    Ok(())
}
