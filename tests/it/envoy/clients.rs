//! Whose certificates are asked for, and who is let in.

use rcgen::DnType;
use rustls::{AlertDescription, SupportedProtocolVersion};

use super::{GOROUTER, SSH_PROXY, mtls, visit};
use crate::support::app;
use crate::support::app::App;
use crate::support::cell::Cell;
use crate::support::client::{Connector, connector_with};
use crate::support::platform::Platform;

const BOTH: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

/// A container that trusts `platform`'s clients of these names.
fn trusting(platform: &Platform, names: &[&'static str], app: std::net::SocketAddr) -> Cell {
    let mut cell = Cell::unwritten(mtls(), &[app]);
    cell.trusted = platform.bundle();
    cell.names = names.to_vec();
    cell.update();
    cell
}

fn versioned(cell: &Cell, version: &'static SupportedProtocolVersion) -> Connector {
    connector_with(&cell.connector().name, &[version])
}

#[test]
fn the_listed_names_come_in_and_every_other_component_of_the_platform_does_not() {
    let platform = Platform::new();
    let cell = trusting(&platform, &[GOROUTER, SSH_PROXY], app::echo());
    let sidecar = cell.serving();
    let addr = sidecar.addr();
    for version in BOTH {
        let connector = || versioned(&cell, version);
        for name in [GOROUTER, SSH_PROXY] {
            visit(&platform.client(connector(), name), addr).unwrap();
        }
        for (who, wanted) in [
            // Alert 42, which gorouter takes for a certificate that was refused; Envoy's is 46, which it does not.
            (platform.client(connector(), "uaa.service.cf.internal"), AlertDescription::BadCertificate),
            (
                platform.client(connector(), "gorouter.service.cf.internal.example.com"),
                AlertDescription::BadCertificate,
            ),
            (platform.expired(connector(), GOROUTER), AlertDescription::CertificateExpired),
            (Platform::new().client(connector(), GOROUTER), AlertDescription::UnknownCA),
            (connector(), AlertDescription::CertificateRequired),
        ] {
            assert_eq!(who.alert(addr), wanted);
        }
    }
    for denial in ["not_allowed", "expired", "untrusted", "no_certificate"] {
        sidecar.wait_until(denial, |line| line["denial_reason"] == denial);
    }
}

#[test]
fn none_is_asked_for_between_containers() {
    let platform = Platform::new();
    let app = App::start();
    let cell = trusting(&platform, &[GOROUTER], app.addr());
    let sidecar = cell.serving();
    let addrs = sidecar.addrs();
    let mut client = cell.connector().connect(addrs[1]).unwrap();
    client.send(b"x").unwrap();
    std::io::Read::read_exact(&mut app.accept(), &mut [0; 1]).unwrap();
    assert_eq!(cell.connector().alert(addrs[0]), AlertDescription::CertificateRequired);
}

#[test]
fn a_denied_client_sends_nothing_to_the_app() {
    let platform = Platform::new();
    let app = App::start();
    let cell = trusting(&platform, &[GOROUTER], app.addr());
    let sidecar = cell.serving();
    let other = platform.client(versioned(&cell, &rustls::version::TLS13), "uaa.service.cf.internal");
    for _ in 0..20 {
        let mut client = other.connect(sidecar.addr()).unwrap();
        // In TLS 1.3 the client is done before we have judged it.
        let _ = client.send(b"DELETE / HTTP/1.1\r\n\r\n");
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut app.accept(), &mut bytes).unwrap();
        assert_eq!(bytes, b"");
    }
}

#[test]
fn without_a_list_of_names_every_client_under_the_roots_comes_in_and_nobody_else() {
    let platform = Platform::new();
    let cell = trusting(&platform, &[], app::echo());
    let sidecar = cell.serving();
    visit(&platform.client(cell.connector(), "anybody.example"), sidecar.addr()).unwrap();
    // One that claims to be Cloud Foundry's, and is not sound: Envoy does not look at that.
    let unsound = platform.client_with(cell.connector(), "x", |params| {
        params.distinguished_name.push(DnType::OrganizationalUnitName, "app:not-a-guid");
    });
    visit(&unsound, sidecar.addr()).unwrap();
    assert_eq!(Platform::new().client(cell.connector(), "x").alert(sidecar.addr()), AlertDescription::UnknownCA);
    assert_eq!(cell.connector().alert(sidecar.addr()), AlertDescription::CertificateRequired);
}

#[test]
fn without_roots_nobody_comes_in() {
    for names in [&[][..], &[GOROUTER]] {
        let platform = Platform::new();
        let mut cell = trusting(&platform, names, app::echo());
        cell.trusted = String::new();
        cell.write_context();
        let sidecar = cell.serving();
        assert_eq!(platform.client(cell.connector(), GOROUTER).alert(sidecar.addr()), AlertDescription::UnknownCA);
        assert_eq!(cell.connector().alert(sidecar.addr()), AlertDescription::CertificateRequired);
    }
}
