//! One connection of the client, and what it asks for.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, HandshakeKind};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::app;

/// Longer than anything here takes on a busy machine; a proxy that has lost a connection is found out by it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Whom the client dials, and how.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The proxy.
    pub(crate) addr: SocketAddr,
    /// How it speaks TLS; `None` for the relay without TLS.
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// An open connection to a proxy.
pub(crate) struct Connection {
    stream: Box<dyn Stream>,
    /// Whether the handshake was a resumption.
    pub(crate) resumed: bool,
    /// The server's certificate, where there was TLS and no resumption.
    pub(crate) certificate: Option<Vec<u8>>,
}

impl Connection {
    /// Dials, and shakes hands.
    ///
    /// # Errors
    /// The proxy refuses, or does not answer within 20 seconds.
    pub(crate) async fn open(target: &Target) -> Result<Self> {
        timeout(PATIENCE, Self::open_patiently(target)).await.context("no handshake within 20 s")?
    }

    async fn open_patiently(target: &Target) -> Result<Self> {
        let tcp = TcpStream::connect(target.addr).await.with_context(|| format!("cannot dial {}", target.addr))?;
        tcp.set_nodelay(true)?;
        let Some(config) = &target.tls else {
            return Ok(Self { stream: Box::new(tcp), resumed: false, certificate: None });
        };
        let name = ServerName::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST).into());
        let tls = TlsConnector::from(Arc::clone(config)).connect(name, tcp).await.context("the handshake failed")?;
        let session = tls.get_ref().1;
        let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
        let certificate = session.peer_certificates().and_then(|chain| chain.first()).map(|der| der.to_vec());
        Ok(Self { stream: Box::new(tls), resumed, certificate })
    }

    /// One small request and its answer, which must be the app's to the byte.
    ///
    /// # Errors
    /// The answer is cut off, late or another one.
    pub(crate) async fn request(&mut self) -> Result<()> {
        timeout(PATIENCE, async {
            self.stream.write_all(app::SMALL.as_bytes()).await?;
            self.stream.flush().await?;
            self.answer().await
        })
        .await
        .context("no answer within 20 s")?
    }

    /// Lets the app send `bytes`.
    ///
    /// # Errors
    /// The answer is cut off.
    pub(crate) async fn down(&mut self, bytes: u64) -> Result<()> {
        self.stream.write_all(app::down(bytes).as_bytes()).await?;
        self.stream.flush().await?;
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n").len() as u64;
        let mut block = vec![0; 256 * 1024];
        let mut left = head + bytes;
        while left > 0 {
            let part = block.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            match self.stream.read(&mut block[..part]).await? {
                0 => bail!("the answer was cut off {left} bytes early"),
                read => left -= read as u64,
            }
        }
        ensure!(block[0] == b'd', "the answer holds other bytes than the app sent");
        Ok(())
    }

    /// Sends `bytes` to the app, and waits until it says that it has them.
    ///
    /// # Errors
    /// The connection is cut off.
    pub(crate) async fn up(&mut self, bytes: u64) -> Result<()> {
        self.stream.write_all(app::up(bytes).as_bytes()).await?;
        let block = vec![b'u'; 256 * 1024];
        let mut left = bytes;
        while left > 0 {
            let part = block.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            self.stream.write_all(&block[..part]).await?;
            left -= part as u64;
        }
        self.stream.flush().await?;
        self.answer().await
    }

    /// Says goodbye, and reads until the proxy has done so too: then nothing of the connection is left to be paid for.
    pub(crate) async fn close(mut self) {
        let mut rest = [0; 1024];
        // However the other side ends it, it is ended.
        let _ = timeout(PATIENCE, async {
            self.stream.shutdown().await?;
            while self.stream.read(&mut rest).await? > 0 {}
            std::io::Result::Ok(())
        })
        .await;
    }

    async fn answer(&mut self) -> Result<()> {
        let mut answer = [0; app::ANSWER.len()];
        self.stream.read_exact(&mut answer).await.context("the answer was cut off")?;
        ensure!(answer == *app::ANSWER.as_bytes(), "the answer is not what the app sent");
        Ok(())
    }
}
