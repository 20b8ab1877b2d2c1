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
use tokio_rustls::client::TlsStream;

use crate::app;
use crate::app::HandshakeCount;
use crate::load::pace::Asks;

/// Longer than anything here takes on a busy machine; a proxy that has lost a connection is found out by it.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Whom the client dials, and how.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The proxy.
    pub(crate) addr: SocketAddr,
    /// How it speaks TLS; `None` for the relay without TLS.
    pub(crate) tls: Option<Arc<ClientConfig>>,
    /// Whether it writes heads of its own: of answers only the status and the body are the app's then.
    pub(crate) rewrites_heads: bool,
    /// The server that its requests name, where it is a proxy that is told so by each.
    pub(crate) named: Option<SocketAddr>,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// An open connection to a proxy.
pub(crate) struct Connection {
    stream: Box<dyn Stream>,
    rewrites_heads: bool,
    named: Option<SocketAddr>,
    /// The request for the small answer.
    small: String,
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
        let Some(config) = &target.tls else {
            return Ok(Self::over(Box::new(dial(target.addr).await?), target));
        };
        let tls = shake_hands(target.addr, config).await?;
        let session = tls.get_ref().1;
        let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
        let certificate = session.peer_certificates().and_then(|chain| chain.first()).map(|der| der.to_vec());
        Ok(Self { resumed, certificate, ..Self::over(Box::new(tls), target) })
    }

    fn over(stream: Box<dyn Stream>, target: &Target) -> Self {
        let &Target { rewrites_heads, named, .. } = target;
        let small = naming(named, app::SMALL.to_owned());
        Self { stream, rewrites_heads, named, small, resumed: false, certificate: None }
    }

    /// One small request and its answer, which must be the app's to the byte.
    ///
    /// # Errors
    /// The answer is cut off, late or another one.
    pub(crate) async fn request(&mut self) -> Result<()> {
        timeout(PATIENCE, async {
            self.stream.write_all(self.small.as_bytes()).await?;
            self.stream.flush().await?;
            self.answer().await
        })
        .await
        .context("no answer within 20 s")?
    }

    /// Asks the app how many handshakes it has had, this connection's among them.
    ///
    /// # Errors
    /// The answer is cut off, or another one.
    pub(crate) async fn handshakes(&mut self) -> Result<HandshakeCount> {
        self.stream.write_all(app::HANDSHAKES.as_bytes()).await?;
        self.stream.flush().await?;
        let mut answer = [0; HandshakeCount::ANSWER];
        self.stream.read_exact(&mut answer).await.context("the answer was cut off")?;
        String::from_utf8_lossy(&answer).parse()
    }

    /// Lets the app send `bytes`.
    ///
    /// # Errors
    /// The answer is cut off.
    pub(crate) async fn down(&mut self, bytes: u64) -> Result<()> {
        self.stream.write_all(naming(self.named, app::down(bytes)).as_bytes()).await?;
        self.stream.flush().await?;
        let mut block = vec![0; 256 * 1024];
        let (head, read) = self.head(&mut block).await?;
        let mut left = (head as u64 + bytes).checked_sub(read as u64).context("the answer is longer than it says")?;
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
        self.stream.write_all(naming(self.named, app::up(bytes)).as_bytes()).await?;
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
        if !self.rewrites_heads {
            let mut answer = [0; app::ANSWER.len()];
            self.stream.read_exact(&mut answer).await.context("the answer was cut off")?;
            ensure!(answer == *app::ANSWER.as_bytes(), "the answer is not what the app sent");
            return Ok(());
        }
        let mut answer = [0; 1024];
        let (head, read) = self.head(&mut answer).await?;
        let end = head + app::ANSWER_BODY.len();
        ensure!(read <= end && end <= answer.len(), "the answer is longer than what the app sent");
        self.stream.read_exact(&mut answer[read..end]).await.context("the answer was cut off")?;
        ensure!(answer[head..end] == *app::ANSWER_BODY.as_bytes(), "the answer is not what the app sent");
        Ok(())
    }

    /// Reads until the head of an answer is whole, which must be a good one. Returns its length, and how many bytes were read.
    async fn head(&mut self, into: &mut [u8]) -> Result<(usize, usize)> {
        let mut read = 0;
        let head = loop {
            match self.stream.read(&mut into[read..]).await? {
                0 => bail!("the answer was cut off in its head"),
                more => read += more,
            }
            if let Some(at) = into[..read].windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
        };
        ensure!(
            into.starts_with(b"HTTP/1.1 200 "),
            "the answer is a bad one: {}",
            String::from_utf8_lossy(&into[..head])
        );
        Ok((head, read))
    }
}

impl Asks for Connection {
    async fn open(target: &Target) -> Result<Self> {
        Self::open(target).await
    }

    async fn request(&mut self) -> Result<()> {
        self.request().await
    }

    async fn down(&mut self, bytes: u64) -> Result<()> {
        self.down(bytes).await
    }

    async fn up(&mut self, bytes: u64) -> Result<()> {
        self.up(bytes).await
    }
}

async fn dial(addr: SocketAddr) -> Result<TcpStream> {
    let tcp = TcpStream::connect(addr).await.with_context(|| format!("cannot dial {addr}"))?;
    tcp.set_nodelay(true)?;
    Ok(tcp)
}

/// A TLS connection to the proxy at `addr`.
///
/// # Errors
/// The proxy refuses.
pub(super) async fn shake_hands(addr: SocketAddr, config: &Arc<ClientConfig>) -> Result<TlsStream<TcpStream>> {
    let (tcp, name) = (dial(addr).await?, ServerName::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST).into()));
    TlsConnector::from(Arc::clone(config)).connect(name, tcp).await.context("the handshake failed")
}

/// `request`, with `server` in its first line as proxies are told it.
fn naming(server: Option<SocketAddr>, request: String) -> String {
    match server {
        Some(server) => request.replacen(" /", &format!(" http://{server}/"), 1),
        None => request,
    }
}
