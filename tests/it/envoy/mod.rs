//! In Envoy's place: the real binary, and files as the cell writes them.

use std::io;
use std::net::SocketAddr;

use crate::support::client::{Client, Connector, Ending};
use crate::support::diego::Container;

mod admin;
mod clients;
mod command;
mod handshakes;
mod places;
mod retirement;
mod rotation;
mod start;

const ID: &str = "id-cert-and-key";
const C2C: &str = "c2c-cert-and-key";
const CONTEXT: &str = "id-validation-context";

const GOROUTER: &str = "gorouter.service.cf.internal";
const SSH_PROXY: &str = "ssh-proxy.service.cf.internal";

/// A container whose clients must show certificates.
fn mtls() -> Container {
    Container { mtls: true, ..Container::default() }
}

/// A request and its answer through an app that echoes.
fn visit(connector: &Connector, addr: SocketAddr) -> io::Result<Client> {
    let mut client = connector.connect(addr)?;
    talk(&mut client)?;
    Ok(client)
}

fn talk(client: &mut Client) -> io::Result<()> {
    client.send(b"hello")?;
    assert_eq!(client.receive(5)?, b"hello");
    Ok(())
}

/// How a client's connection ends that has nothing more to say.
fn ending(client: &mut Client) -> Ending {
    client.receive_all().1
}
