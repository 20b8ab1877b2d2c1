//! The proxy within a program of one's own, configured as on the command line. Here it is its own app: it issues itself a pair, and
//! serves what this program answers in plaintext.
//!
//! ```text
//! cargo run --example embed -- --listen 127.0.0.1:8443        # options of `vestibule proxy` that have a value
//! curl --cacert /tmp/vestibule-embed/ca.crt https://127.0.0.1:8443/
//! ```

use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::SystemTime;

use vestibule::config::options;
use vestibule::config::resolve::resolve;
use vestibule::config::sources::{Environment, Sources};
use vestibule::issuer::{CertificateAuthority, Folder, InstanceSpec};
use vestibule::sidecar::{Sidecar, runtime};

fn main() -> Result<(), Box<dyn Error>> {
    // A pair of a development CA; in earnest the platform writes one, and replaces it.
    let folder = env::temp_dir().join("vestibule-embed");
    fs::create_dir_all(&folder)?;
    let authority = CertificateAuthority::generate(SystemTime::now())?;
    let pair = Folder::instance(&folder);
    pair.write(&authority.issue(&InstanceSpec::generate()?, SystemTime::now())?)?;
    authority.write_roots(&folder.join("ca.crt"))?;

    let app = TcpListener::bind("127.0.0.1:0")?;
    let app_address = app.local_addr()?;
    thread::spawn(move || app.incoming().flatten().for_each(|client| drop(answer(client))));

    // What stands on the command line comes last, and replaces what is said here.
    let mut flags: Vec<(&'static str, OsString)> = vec![
        ("cert", pair.cert().into()),
        ("key", pair.key().into()),
        ("app", app_address.to_string().into()),
        ("admin", "off".into()),
    ];
    let mut arguments = env::args().skip(1);
    while let (Some(flag), Some(value)) = (arguments.next(), arguments.next()) {
        let name = flag.trim_start_matches("--");
        let option = options::of("proxy").find(|option| option.name == name).ok_or("no option of vestibule proxy")?;
        flags.retain(|(known, _)| *known != option.name);
        flags.push((option.name, value.into()));
    }
    let sources = Sources {
        flags: &flags,
        environment: &Environment::new(),
        read_file: &|path| fs::read_to_string(path),
        starts_app: false,
        cpus: 1,
    };
    let config = resolve(&sources).map_err(|diagnostics| diagnostics.lines())?;

    let threads = config.threads;
    let sidecar = Sidecar::open(config)?;
    for address in sidecar.addresses() {
        println!("listening on {address}; ca.crt is in {}", folder.display());
    }
    // Until TERM or INT; a rotation is a pair written to the same folder.
    runtime(threads)?.block_on(sidecar.run())?;
    Ok(())
}

/// Answers one request, whatever it is, and closes.
fn answer(mut client: TcpStream) -> std::io::Result<()> {
    let mut request = [0; 4096];
    let _ = client.read(&mut request)?;
    client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nConnection: close\r\n\r\nit is I, app")
}
