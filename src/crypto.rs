//! The one crypto provider.

use std::sync::{Arc, LazyLock};

use rustls::crypto::aws_lc_rs::{cipher_suite, kx_group};
use rustls::crypto::{CryptoProvider, GetRandomFailed, SupportedKxGroup, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::AlgorithmIdentifier;
use rustls::{SignatureScheme, SupportedCipherSuite};

use crate::config::Tls12Suite;

/// Written out, so that an upgrade of rustls cannot change quietly what we speak.
/// The order is ours to say only where a client has none: rustls takes the client's first suite that is in the list.
static SUITES: &[SupportedCipherSuite] = &[
    cipher_suite::TLS13_AES_128_GCM_SHA256,
    cipher_suite::TLS13_AES_256_GCM_SHA384,
    cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];

static GROUPS: &[&dyn SupportedKxGroup] =
    &[kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1];

/// How others may sign. What is asked for here has to be what `trust` takes of a client's key.
static SCHEMES: &[SignatureScheme] = &[
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP521_SHA512,
    SignatureScheme::ED25519,
    SignatureScheme::RSA_PSS_SHA512,
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PKCS1_SHA512,
    SignatureScheme::RSA_PKCS1_SHA384,
    SignatureScheme::RSA_PKCS1_SHA256,
];

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    let known = aws_lc_rs::default_provider();
    Arc::new(CryptoProvider {
        cipher_suites: SUITES.to_vec(),
        kx_groups: GROUPS.to_vec(),
        signature_verification_algorithms: ours_of(known.signature_verification_algorithms),
        ..known
    })
});

/// What verifies [`SCHEMES`], and chains whose keys are of the same kinds. Made once, as rustls wants it to last for ever.
fn ours_of(known: WebPkiSupportedAlgorithms) -> WebPkiSupportedAlgorithms {
    let mapping: Vec<_> = known.mapping.iter().filter(|(scheme, _)| SCHEMES.contains(scheme)).copied().collect();
    let is_ours = |key: AlgorithmIdentifier| {
        mapping.iter().flat_map(|(_, them)| them.iter()).any(|it| it.public_key_alg_id() == key)
    };
    let all: Vec<_> = known.all.iter().filter(|it| is_ours(it.public_key_alg_id())).copied().collect();
    WebPkiSupportedAlgorithms { all: all.leak(), mapping: mapping.leak() }
}

/// aws-lc-rs with our cipher suites (ECDHE and AEAD only) and groups, X25519MLKEM768 first.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::clone(&PROVIDER)
}

/// The same with these suites of TLS 1.2, in their order; with all of them if none is listed.
pub(super) fn provider_of(suites: &[Tls12Suite]) -> Arc<CryptoProvider> {
    if suites.is_empty() {
        return provider();
    }
    let tls13 = SUITES.iter().filter(|suite| suite.tls13().is_some()).copied();
    let cipher_suites = tls13.chain(suites.iter().copied().map(suite)).collect();
    Arc::new(CryptoProvider { cipher_suites, ..(*provider()).clone() })
}

/// `N` random bytes in hexadecimal: what nobody can guess.
///
/// # Errors
/// The system has no randomness.
pub fn random_hex<const N: usize>() -> Result<String, GetRandomFailed> {
    let mut bytes = [0; N];
    PROVIDER.secure_random.fill(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn suite(suite: Tls12Suite) -> SupportedCipherSuite {
    match suite {
        Tls12Suite::EcdsaAes128 => cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        Tls12Suite::EcdsaAes256 => cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        Tls12Suite::EcdsaChacha20 => cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        Tls12Suite::RsaAes128 => cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        Tls12Suite::RsaAes256 => cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        Tls12Suite::RsaChacha20 => cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_verified_by_the_schemes_that_are_listed_and_by_no_others() {
        let algorithms = provider().signature_verification_algorithms;
        assert_eq!(algorithms.supported_schemes(), SCHEMES);
        // Three curves with three hashes each, Ed25519, and RSA: PSS, PKCS #1, and PKCS #1 without parameters.
        assert_eq!(algorithms.all.len(), 9 + 1 + 3 + 3 + 3);
    }

    #[test]
    fn suites_that_are_listed_are_the_only_ones_of_tls12_and_in_their_order() {
        let provider = provider_of(&[Tls12Suite::RsaAes256, Tls12Suite::RsaAes128]);
        let names: Vec<_> = provider.cipher_suites.iter().map(|suite| format!("{:?}", suite.suite())).collect();
        assert_eq!(
            names,
            [
                "TLS13_AES_128_GCM_SHA256",
                "TLS13_AES_256_GCM_SHA384",
                "TLS13_CHACHA20_POLY1305_SHA256",
                "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
                "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            ]
        );
        assert_eq!(provider_of(&[]).cipher_suites.len(), SUITES.len());
    }

    #[test]
    fn the_post_quantum_hybrid_is_preferred_and_every_suite_is_forward_secret() {
        let provider = provider();
        let groups: Vec<_> = provider.kx_groups.iter().map(|group| format!("{:?}", group.name())).collect();
        assert_eq!(groups, ["X25519MLKEM768", "X25519", "secp256r1", "secp384r1"]);
        for suite in &provider.cipher_suites {
            let name = format!("{:?}", suite.suite());
            assert!(name.starts_with("TLS13_") || name.starts_with("TLS_ECDHE_"), "{name}");
            assert!(name.contains("GCM") || name.contains("POLY1305"), "{name}");
        }
    }
}
