//! All fuzz targets in one program, so that the library is linked once. `FUZZ_TARGET` says which of them is run, and the arguments are
//! libFuzzer's; where it says nothing, the targets are listed with their dictionaries, as `fuzz/run` wants to know them.
#![no_main]

mod api_response;
mod bootstrap;
mod certificate;
mod client_hello;
mod config_file;
mod credhub_answer;
mod dns_answer;
mod frames;
mod header;
mod identity_connection;
mod json;
mod key_line;
mod pair;
mod path;
mod pem;
mod policy_file;
mod proxy_request;
mod request;
mod response;
mod roles;
mod rule;
mod sds;
mod secret_document;
mod secret_reference;
mod session;
mod session_with_server;
mod target;
mod token;
mod trust_anchors;
mod vault_answer;
mod xfcc;

use std::process::exit;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

/// What is tried by itself.
struct Target {
    name: &'static str,
    /// The file in `dictionaries/` with the words of its format, or nothing.
    dictionary: &'static str,
    /// Panics if something does not hold for these bytes.
    fuzz: fn(&[u8]),
}

/// The target of each module, with its dictionary.
macro_rules! targets {
    ($($module:ident $($dictionary:literal)?,)*) => {
        &[$(Target {
            name: stringify!($module),
            dictionary: concat!($($dictionary)?),
            fuzz: |bytes| $module::fuzz(Input::of(bytes)),
        },)*]
    };
}

/// In the order of importance: what any stranger may send comes first.
const TARGETS: &[Target] = targets![
    session,
    session_with_server,
    client_hello,
    request "http.dict",
    response "http.dict",
    proxy_request "http.dict",
    frames,
    header,
    dns_answer "dns.dict",
    certificate,
    trust_anchors "pem.dict",
    pem "pem.dict",
    xfcc "http.dict",
    token "json.dict",
    identity_connection "http.dict",
    json "json.dict",
    path "http.dict",
    api_response "http.dict",
    vault_answer "json.dict",
    credhub_answer "json.dict",
    target "http.dict",
    rule "toml.dict",
    policy_file "toml.dict",
    roles "toml.dict",
    pair "pem.dict",
    sds "pem.dict",
    bootstrap "yaml.dict",
    config_file "toml.dict",
    secret_reference,
    secret_document "json.dict",
];

/// What a target takes.
trait Input<'a> {
    /// As much of these bytes as can be taken.
    fn of(bytes: &'a [u8]) -> Self;
}

impl<'a> Input<'a> for &'a [u8] {
    fn of(bytes: &'a [u8]) -> Self {
        bytes
    }
}

impl<'a> Input<'a> for &'a str {
    /// Up to the first byte that is not UTF-8.
    fn of(bytes: &'a [u8]) -> Self {
        bytes.utf8_chunks().next().map_or("", |chunk| chunk.valid())
    }
}

/// What `FUZZ_TARGET` names.
static TARGET: OnceLock<&Target> = OnceLock::new();

/// The target that is to be run; ends the process where there is none.
#[expect(clippy::disallowed_methods, reason = "nothing is left behind here, and main is libFuzzer's")]
fn chosen() -> &'static Target {
    let Some(name) = std::env::var_os("FUZZ_TARGET") else {
        for target in TARGETS {
            println!("{}\t{}", target.name, target.dictionary);
        }
        exit(0);
    };
    TARGETS.iter().find(|target| name == target.name).unwrap_or_else(|| {
        eprintln!("there is no target {}: without FUZZ_TARGET all are listed", name.display());
        exit(2);
    })
}

fuzz_target!(init: TARGET.get_or_init(chosen), |bytes: &[u8]| (TARGET.get_or_init(chosen).fuzz)(bytes));
