//! What clients may offer: versions, suites, groups, protocols, names.

use anyhow::Result;
use rustls::crypto::aws_lc_rs::cipher_suite as suite;
use rustls::version::{TLS12, TLS13};
use rustls::{NamedGroup, SupportedCipherSuite};

use crate::differential::Seen;
use crate::differential::app::Mode;
use crate::differential::ask::Ask;
use crate::differential::ground::Ground;
use crate::differential::world::{Side, World};
use crate::wire::client::Client;

/// Offers of TLS 1.2. The files allow AES-256 and AES-128 with RSA, in this order.
const SUITES_12: &[(&str, &[SupportedCipherSuite])] = &[
    (
        "AES-128 before AES-256",
        &[suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384],
    ),
    (
        "AES-256 before AES-128",
        &[suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256],
    ),
    ("AES-128 alone", &[suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]),
    ("ChaCha20 alone", &[suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256]),
    ("ECDSA alone", &[suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]),
];

/// Offers of TLS 1.3.
const SUITES_13: &[(&str, &[SupportedCipherSuite])] = &[
    ("AES-128 before AES-256", &[suite::TLS13_AES_128_GCM_SHA256, suite::TLS13_AES_256_GCM_SHA384]),
    ("AES-256 before AES-128", &[suite::TLS13_AES_256_GCM_SHA384, suite::TLS13_AES_128_GCM_SHA256]),
    ("ChaCha20 before AES-128", &[suite::TLS13_CHACHA20_POLY1305_SHA256, suite::TLS13_AES_128_GCM_SHA256]),
    ("ChaCha20 alone", &[suite::TLS13_CHACHA20_POLY1305_SHA256]),
];

/// Where it is not groups that matter.
const ONE: &[NamedGroup] = &[NamedGroup::X25519];

const GROUPS: &[(&str, &[NamedGroup])] = &[
    ("X25519MLKEM768, X25519", &[NamedGroup::X25519MLKEM768, NamedGroup::X25519]),
    ("X25519, X25519MLKEM768", &[NamedGroup::X25519, NamedGroup::X25519MLKEM768]),
    ("P-384, P-256", &[NamedGroup::secp384r1, NamedGroup::secp256r1]),
    ("X25519", &[NamedGroup::X25519]),
    ("P-256", &[NamedGroup::secp256r1]),
    ("P-384", &[NamedGroup::secp384r1]),
];

const PROTOCOLS: &[(&str, &[&str])] = &[
    ("none", &[]),
    ("h2, http/1.1", &["h2", "http/1.1"]),
    ("http/1.1, h2", &["http/1.1", "h2"]),
    ("http/1.1", &["http/1.1"]),
    ("another alone", &["ssh"]),
    ("the list as one name", &["h2,http/1.1"]),
];

pub(super) fn run(world: &World, side: Side, seen: &mut Seen) -> Result<()> {
    let ground = Ground::usual(world, side, false, Mode::Echo)?;
    let mut offer = |line: String, ask: Ask<'_>| {
        let config = ask.config()?;
        let got = ground.connect(&config).map_or_else(|end| end.to_string(), |client| client.negotiated());
        seen.note(line, got);
        Ok::<_, anyhow::Error>(())
    };
    for (line, suites) in SUITES_12 {
        offer(format!("TLS 1.2, {line}"), Ask { versions: &[&TLS12], suites, ..Ask::default() })?;
    }
    for (line, suites) in SUITES_13 {
        offer(format!("TLS 1.3, {line}"), Ask { versions: &[&TLS13], suites, groups: ONE, ..Ask::default() })?;
    }
    for (version, versions) in crate::differential::ask::VERSIONS {
        for (line, groups) in GROUPS {
            let suites = if version == "TLS 1.3" { &[suite::TLS13_AES_128_GCM_SHA256][..] } else { SUITES_12[0].1 };
            offer(format!("{version}, groups {line}"), Ask { versions, groups, suites, ..Ask::default() })?;
        }
        for (line, alpn) in PROTOCOLS {
            let suites = if version == "TLS 1.3" { &[suite::TLS13_AES_128_GCM_SHA256][..] } else { SUITES_12[0].1 };
            offer(format!("{version}, ALPN {line}"), Ask { versions, alpn, suites, groups: ONE, ..Ask::default() })?;
        }
    }
    let config = Ask::default().config()?;
    for name in ["another.apps.internal", "127.0.0.1"] {
        let leaf = Client::connect(ground.addr(0), &config, name)
            .map_or_else(|end| end.to_string(), |client| world.label(&client.leaf()).to_owned());
        seen.note(format!("the client asks for {name}"), leaf);
    }
    Ok(())
}
