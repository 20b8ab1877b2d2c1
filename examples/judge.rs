//! Who holds a certificate, and would these rules let it in? The code that answers the handshake, without one.
//!
//! ```text
//! cargo run --example judge -- creds/client.crt cf:app:1a12b29a-90c2-481b-b197-bc154f741e5d 'dns:*.apps.internal'
//! ```
//!
//! It verifies nothing: in the proxy `trust::ClientAuthenticator` has vouched for the chain before rules are asked.

use std::env;
use std::error::Error;
use std::fs;

use vestibule::identity::Client;
use vestibule::pem::Pem;
use vestibule::policy::{Policy, PolicyMode, Routes, Rule};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let path = arguments.next().ok_or("which certificate? Name a PEM file, and then rules")?;
    let allow = arguments.map(|rule| rule.parse()).collect::<Result<Vec<Rule>, _>>()?;

    let chain = Pem::read(&fs::read(&path)?)?.chain();
    let client = Client::from_chain(&chain)?;
    if let Some(certificate) = client.certificate() {
        println!("subject   {}", certificate.subject);
        match &certificate.identity {
            Ok(Some(identity)) => println!("identity  {identity:?}"),
            Ok(None) => println!("identity  none of Cloud Foundry's"),
            Err(unsound) => println!("identity  {unsound}"),
        }
    }

    let policy = Policy { mode: PolicyMode::Enforce, allow, deny: Vec::new(), routes: Routes::default() };
    match policy.authorize(&client, None) {
        Ok(permit) => println!("verdict   permit, by {}", permit.rule().map_or_else(String::new, ToString::to_string)),
        Err(denial) => println!("verdict   denial: {denial}"),
    }
    Ok(())
}
