//! Clients that read steadily and slowly: whatever ends silent connections, or those that hold memory, leaves them alone.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use crate::support::app::App;
use crate::support::client::{Client, Ending, connector};
use crate::support::credentials::Credentials;
use crate::support::sidecar::{Setup, Sidecar};

/// More than the kernel's buffers hold.
const SIZE: usize = 10_000_000;

/// A client with a small receive buffer, of which the kernel of the other side therefore knows soon what it takes.
fn small_client(sidecar: &Sidecar, credentials: &Credentials) -> Client {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(64 * 1024).unwrap();
    socket.connect(&sidecar.addr().into()).unwrap();
    connector(credentials.instance()).handshake(TcpStream::from(socket)).unwrap()
}

/// An app that sends [`SIZE`] bytes to the next client and ends.
fn sender(app: &App) -> std::thread::JoinHandle<()> {
    let mut connection = app.accept();
    std::thread::spawn(move || {
        connection.write_all(&vec![3; SIZE]).unwrap();
        connection.shutdown(Shutdown::Write).unwrap();
    })
}

#[test]
fn a_client_that_reads_steadily_is_not_idle_however_slow_it_is() {
    let credentials = Credentials::new();
    let app = App::start();
    let sidecar = Setup::proxy(&credentials, app.addr()).arg("--idle-timeout").arg("1s").ready();
    let mut client = small_client(&sidecar, &credentials);
    let sending = sender(&app);
    // Some 400 KB a second: the kernel's send buffer has room again only after more than two limits.
    for _ in 0..80 {
        assert_eq!(client.receive(33_000).unwrap().len(), 33_000);
        std::thread::sleep(Duration::from_millis(80));
    }
    let (rest, ending) = client.receive_all();
    assert_eq!((rest.len(), ending), (SIZE - 80 * 33_000, Ending::CloseNotify));
    sending.join().unwrap();
    drop(client);
    assert_eq!(sidecar.access_log_entry("completed")["bytes_down"], SIZE);
}

#[test]
fn a_client_that_reads_nothing_is_idle_in_the_end() {
    let credentials = Credentials::new();
    let app = App::start();
    let sidecar = Setup::proxy(&credentials, app.addr()).arg("--idle-timeout").arg("500ms").ready();
    let client = small_client(&sidecar, &credentials);
    let mut connection = app.accept();
    let sending = std::thread::spawn(move || connection.write_all(&vec![3; 4 * SIZE]).is_err());
    assert!(sending.join().unwrap(), "the app sees the end");
    drop(client);
    sidecar.access_log_entry("idle_timeout");
}

#[test]
fn a_client_that_resets_in_the_middle_of_a_download_has_not_had_the_rest() {
    let credentials = Credentials::new();
    let app = App::start();
    let sidecar = Setup::proxy(&credentials, app.addr()).ready();
    let mut client = small_client(&sidecar, &credentials);
    client.close_notify();
    let mut connection = app.accept();
    connection.write_all(&vec![3; 3_000_000]).unwrap();
    connection.shutdown(Shutdown::Write).unwrap();
    for _ in 0..20 {
        client.receive(50_000).unwrap();
        std::thread::sleep(Duration::from_millis(25));
    }
    client.reset();
    let entry = sidecar.access_log_entry("client_reset");
    let down = entry["bytes_down"].as_u64().unwrap();
    assert!((400_000..2_500_000).contains(&down), "{entry}");
}
