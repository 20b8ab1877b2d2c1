//! A signature by itself: no server can do a full handshake for less CPU with the same library.

use std::time::Duration;

use anyhow::{Result, anyhow};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PSS_SHA256, RsaKeyPair};
use rustls::pki_types::PrivatePkcs1KeyDer;
use rustls::pki_types::pem::PemObject;

use crate::credentials::Rsa;
use crate::process::cpu;
use crate::stage::Bench;

/// The row that this goes to.
pub(crate) const ROW: &str = "(signature alone)";

/// The figures that it goes to, with their keys.
pub(crate) const FIGURES: [(&str, &str, Rsa); 2] =
    [("handshake-2048", "rsa-2048", Rsa::Bits2048), ("handshake-3072", "rsa-3072", Rsa::Bits3072)];

/// CPU of one signature as TLS 1.3 has it (RSA-PSS, SHA-256), by aws-lc, in microseconds.
///
/// # Errors
/// The key cannot be used.
pub(crate) fn cost(bench: &Bench, rsa: Rsa) -> Result<f64> {
    let der = PrivatePkcs1KeyDer::from_pem_slice(bench.credentials(rsa).first().key.as_bytes())?;
    let key = RsaKeyPair::from_der(der.secret_pkcs1_der()).map_err(|_| anyhow!("aws-lc refuses the key"))?;
    let (random, mut signature) = (SystemRandom::new(), vec![0; key.public_modulus_len()]);
    let mut sign = |message: &[u8]| {
        let signed = key.sign(&RSA_PSS_SHA256, &random, message, &mut signature);
        signed.map_err(|_| anyhow!("aws-lc cannot sign with the key"))
    };
    sign(b"warm up")?;
    let (start, mut count) = (cpu::of_thread()?, 0_u32);
    let mut spent = Duration::ZERO;
    while spent < bench.sizes.time / 4 {
        for _ in 0..32 {
            sign(&[0x20; 130])?;
        }
        count += 32;
        spent = cpu::of_thread()? - start;
    }
    Ok(spent.as_secs_f64() * 1e6 / f64::from(count))
}
