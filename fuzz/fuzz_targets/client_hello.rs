//! The first bytes of a connection: a ClientHello, or a reason why there is none, in bounded memory, and the same however they come.

use std::net::{TcpListener, TcpStream};
use std::sync::OnceLock;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream as AsyncTcpStream;
use tokio::runtime::{Builder, Runtime};
use vestibule::tls::{Hello, HelloError, read_hello};

/// More than any ClientHello may have.
const LONGEST: usize = 128 * 1024;

/// What was learned of a ClientHello: the server's name, whether TLS 1.3 is spoken, and two of the protocols.
type Learned = (Option<String>, bool, [bool; 2]);

pub fn fuzz(input: &[u8]) {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let Some((first, wire)) = input.split_first() else { return };
    let runtime = RUNTIME.get_or_init(|| Builder::new_current_thread().enable_io().build().unwrap());
    let (whole, cut) = runtime.block_on(async { (at_once(wire).await, in_parts(wire, usize::from(*first)).await) });
    assert_eq!(whole, cut, "of which {first} bytes came first");
}

/// All has come at once, and nothing follows.
async fn at_once(wire: &[u8]) -> Result<Learned, &'static str> {
    static ENDED: OnceLock<TcpStream> = OnceLock::new();
    let ended = ENDED.get_or_init(|| {
        let (client, server) = connected();
        drop(server);
        client
    });
    let mut client = AsyncTcpStream::from_std(ended.try_clone().unwrap()).unwrap();
    read(&mut client, wire).await
}

/// So many bytes come first, and then the others and the end.
async fn in_parts(wire: &[u8], first: usize) -> Result<Learned, &'static str> {
    let (client, server) = connected();
    let [mut client, mut server] = [client, server].map(|stream| AsyncTcpStream::from_std(stream).unwrap());
    let (first, rest) = wire.split_at(first.min(wire.len()));
    client.write_all(rest).await.unwrap();
    client.shutdown().await.unwrap();
    let learned = read(&mut server, first).await;
    // There are more inputs than ports that could wait.
    server.set_zero_linger().unwrap();
    learned
}

async fn read(client: &mut AsyncTcpStream, begun: &[u8]) -> Result<Learned, &'static str> {
    let mut most = begun.len();
    let read = read_hello(client, begun.to_vec(), |bytes| {
        most = most.max(bytes);
        Ok(())
    });
    let read = read.await;
    assert!(most <= LONGEST.max(begun.len()));
    match read {
        Ok(hello) => Ok(learned(&hello)),
        Err(HelloError::Io(error)) => panic!("{error}"),
        Err(error) => {
            assert!(error.to_string().len() < 200);
            Err(match error {
                HelloError::Probe => "probe",
                HelloError::Incomplete => "incomplete",
                HelloError::NotTls { .. } => "not TLS",
                HelloError::PlainHttp => "plain HTTP",
                HelloError::Malformed { .. } => "malformed",
                HelloError::Forbidden { what, .. } => what,
                HelloError::OldTls(version) => version,
                HelloError::TooLong { .. } => "too long",
                HelloError::Exhausted(_) | HelloError::Io(_) => "exhausted",
            })
        }
    }
}

fn learned(hello: &Hello) -> Learned {
    let offers = [&b"h2"[..], b"http/1.1"].map(|protocol| hello.offers_any(&[protocol.to_vec()]));
    (hello.server_name().map(str::to_owned), hello.offers_tls13(), offers)
}

/// Two ends of a connection.
fn connected() -> (TcpStream, TcpStream) {
    static LISTENER: OnceLock<TcpListener> = OnceLock::new();
    let listener = LISTENER.get_or_init(|| TcpListener::bind("127.0.0.1:0").unwrap());
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    for end in [&client, &server] {
        end.set_nonblocking(true).unwrap();
    }
    (client, server)
}
