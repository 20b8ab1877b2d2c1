//! Files of roles: what is wrong is said in lines, and nobody is granted what the file does not name.

use std::path::Path;
use std::sync::LazyLock;

use vestibule::identity::Client;
use vestibule::pem::Pem;
use vestibule::token::Roles;

use crate::key_line::{repeats_key, with_key};

static INSTANCE: &[u8] =
    include_bytes!("../../tests/fixtures/diego/mtls-on_http2-on_ports-8080-9090/cf-instance-credentials/instance.crt");

static CLIENT: LazyLock<Client> = LazyLock::new(|| Client::from_chain(&Pem::read(INSTANCE).unwrap().chain()).unwrap());

pub fn fuzz(text: &str) {
    let text = with_key(text);
    match Roles::parse(Path::new("roles.toml"), &text) {
        Ok(roles) => {
            let granted = roles.grant(&CLIENT, None, None).expect("whoever asks for nothing is not refused");
            assert!(granted.policies.iter().all(|policy| !policy.is_empty()));
            let asked = ["not in any file".to_owned() + &text];
            assert!(roles.grant(&CLIENT, None, Some(&asked)).is_err());
        }
        Err(diagnostics) => {
            let is_sound = |said: &str| !said.contains('\n') && !repeats_key(said);
            assert!(diagnostics.iter().all(|diagnostic| is_sound(&diagnostic.to_string())), "{diagnostics:?}");
        }
    }
}
