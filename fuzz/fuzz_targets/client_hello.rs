//! The first bytes of a connection: a ClientHello, or a reason why there is none, in bounded memory.
#![no_main]

use std::net::{TcpListener, TcpStream};
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use tokio::runtime::{Builder, Runtime};
use vestibule::tls::{HelloError, read_hello};

/// More than any ClientHello may have.
const LONGEST: usize = 128 * 1024;

fuzz_target!(|wire: &[u8]| {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    static ENDED: OnceLock<TcpStream> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| Builder::new_current_thread().enable_io().build().unwrap());
    // A client that has sent all that it will: what is read behind `wire` is the end.
    let client = ENDED.get_or_init(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        drop(listener.accept().unwrap());
        client.set_nonblocking(true).unwrap();
        client
    });
    let read = runtime.block_on(async {
        let mut client = tokio::net::TcpStream::from_std(client.try_clone().unwrap()).unwrap();
        let mut most = wire.len();
        let read = read_hello(&mut client, wire.to_vec(), |bytes| {
            most = most.max(bytes);
            Ok(())
        });
        let read = read.await;
        assert!(most <= LONGEST.max(wire.len()));
        read
    });
    match read {
        Ok(hello) => {
            let _ = (hello.server_name(), hello.offers_tls13(), hello.offers_any(&[b"h2".to_vec()]));
        }
        Err(HelloError::Io(error)) => panic!("{error}"),
        Err(error) => assert!(error.to_string().len() < 200),
    }
});
