//! Server names that rustls does not take.
//!
//! Clients ask for `[::1]`, `shop.example.com:8443` or `app-.example.com` as well, and one certificate serves whatever they ask
//! for. rustls ends such a handshake, and has no setting for it. So the extension (RFC 6066, 3) is given to rustls under a type that
//! it does not know, and passes over; the name counts as absent. Both sides prove by a hash over all messages that they have
//! seen the same ones: into that goes the ClientHello as it was sent. Connections with a name that rustls takes have nothing to
//! do with any of this.

use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::{Arc, LazyLock};

use rustls::crypto::CryptoProvider;
use rustls::crypto::hash::{Context, Hash, HashAlgorithm, Output};
use rustls::{CipherSuiteCommon, SupportedCipherSuite, Tls12CipherSuite, Tls13CipherSuite};

use crate::tls::client_hello::{self, ClientHelloMessage, Incomplete};

/// ExtensionType of server_name (RFC 6066, 1.1).
const SERVER_NAME: [u8; 2] = [0, 0];

/// Types that are kept for values without a meaning (RFC 8701), the second byte as the first.
const GREASE: [u8; 16] =
    [0x0a, 0x1a, 0x2a, 0x3a, 0x4a, 0x5a, 0x6a, 0x7a, 0x8a, 0x9a, 0xaa, 0xba, 0xca, 0xda, 0xea, 0xfa];

/// The ClientHellos of one connection (a HelloRetryRequest asks for a second one) whose server name was hidden.
#[derive(Debug, Clone, Default)]
pub(super) struct MaskedServerNames(Vec<Arc<HelloPatch>>);

/// The beginning of a ClientHello, up to the type of its server_name extension.
#[derive(Debug)]
struct HelloPatch {
    sent: Vec<u8>,
    given: Vec<u8>,
}

impl MaskedServerNames {
    /// Hides the server name of the ClientHello that `wire` begins with, in place. Nothing happens where it has none, and where it
    /// is not one that can be read.
    ///
    /// # Errors
    /// [`Incomplete`]: nothing of it may be given to rustls yet.
    pub(super) fn hide(&mut self, wire: &mut [u8]) -> Result<(), Incomplete> {
        let Some(ClientHelloMessage { bytes: message, places }) = client_hello::from_records(wire)? else {
            return Ok(());
        };
        let Some((at, replacement)) = name_extension(&message) else { return Ok(()) };
        let sent = message[..at + 2].to_vec();
        let mut given = sent.clone();
        given[at..].copy_from_slice(&replacement);
        for (place, byte) in places[at..].iter().zip(replacement) {
            wire[*place] = byte;
        }
        self.0.push(Arc::new(HelloPatch { sent, given }));
        Ok(())
    }

    /// Whether it is the first ClientHello alone whose name was hidden.
    pub(super) fn is_first_alone(&self) -> bool {
        self.0.len() == 1
    }

    /// Bytes of the beginnings that are kept.
    pub(super) fn memory(&self) -> usize {
        self.0.iter().map(|replaced| replaced.sent.len() + replaced.given.len()).sum()
    }

    /// As long as the guard lives, what this thread hashes by [`provider`] is what the client has sent.
    pub(super) fn in_force(&self) -> MaskGuard {
        IN_FORCE.set(self.clone());
        MaskGuard
    }

    /// `data` as it was sent: the beginning that is another one, and the rest.
    fn as_sent<'a>(&'a self, data: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        self.0.iter().find_map(|replaced| Some((&*replaced.sent, data.strip_prefix(&*replaced.given)?)))
    }
}

thread_local! {
    static IN_FORCE: RefCell<MaskedServerNames> = const { RefCell::new(MaskedServerNames(Vec::new())) };
}

/// While this lives, this thread hashes what the client has sent ([`MaskedServerNames::in_force`]).
#[must_use]
pub(super) struct MaskGuard;

impl Drop for MaskGuard {
    fn drop(&mut self) {
        IN_FORCE.take();
    }
}

/// `messages` of a handshake as the client has sent them, for a signature over them.
pub(super) fn as_sent(messages: &[u8]) -> Cow<'_, [u8]> {
    IN_FORCE.with_borrow(|hidden| match hidden.as_sent(messages) {
        Some((start, rest)) => Cow::Owned([start, rest].concat()),
        None => Cow::Borrowed(messages),
    })
}

/// `provider`, with hashes over what was sent.
pub(super) fn provider(provider: &CryptoProvider) -> Arc<CryptoProvider> {
    let cipher_suites = provider.cipher_suites.iter().map(hashing_as_sent).collect();
    Arc::new(CryptoProvider { cipher_suites, ..provider.clone() })
}

fn hashing_as_sent(suite: &SupportedCipherSuite) -> SupportedCipherSuite {
    static SUITES: LazyLock<Vec<SupportedCipherSuite>> =
        LazyLock::new(|| crate::crypto::provider().cipher_suites.iter().map(made_to_hash_as_sent).collect());
    // Every suite that is offered is one of the provider's.
    SUITES.iter().find(|known| known.suite() == suite.suite()).copied().unwrap_or(*suite)
}

/// Made once for each suite, as rustls wants them to last for ever.
fn made_to_hash_as_sent(suite: &SupportedCipherSuite) -> SupportedCipherSuite {
    let common = |common: &CipherSuiteCommon| CipherSuiteCommon {
        suite: common.suite,
        hash_provider: Box::leak(Box::new(OriginalTranscriptHash(common.hash_provider))),
        confidentiality_limit: common.confidentiality_limit,
    };
    match suite {
        SupportedCipherSuite::Tls13(suite) => SupportedCipherSuite::Tls13(Box::leak(Box::new(Tls13CipherSuite {
            common: common(&suite.common),
            hkdf_provider: suite.hkdf_provider,
            aead_alg: suite.aead_alg,
            quic: suite.quic,
        }))),
        SupportedCipherSuite::Tls12(suite) => SupportedCipherSuite::Tls12(Box::leak(Box::new(Tls12CipherSuite {
            common: common(&suite.common),
            prf_provider: suite.prf_provider,
            kx: suite.kx,
            sign: suite.sign,
            aead_alg: suite.aead_alg,
        }))),
    }
}

/// A hash over what the client has sent.
struct OriginalTranscriptHash(&'static dyn Hash);

impl Hash for OriginalTranscriptHash {
    fn start(&self) -> Box<dyn Context> {
        Box::new(Transcript(self.0.start()))
    }

    fn hash(&self, data: &[u8]) -> Output {
        self.0.hash(data)
    }

    fn output_len(&self) -> usize {
        self.0.output_len()
    }

    fn algorithm(&self) -> HashAlgorithm {
        self.0.algorithm()
    }

    fn fips(&self) -> bool {
        self.0.fips()
    }
}

struct Transcript(Box<dyn Context>);

impl Context for Transcript {
    fn fork_finish(&self) -> Output {
        self.0.fork_finish()
    }

    fn fork(&self) -> Box<dyn Context> {
        Box::new(Self(self.0.fork()))
    }

    fn finish(self: Box<Self>) -> Output {
        self.0.finish()
    }

    fn update(&mut self, data: &[u8]) {
        self.0.update(&as_sent(data));
    }
}

/// Where the type of the server_name extension stands in a ClientHello (RFC 8446, 4.1.2), and another type that the ClientHello does
/// not have.
fn name_extension(message: &[u8]) -> Option<(usize, [u8; 2])> {
    let extensions = client_hello::extensions(message)?;
    let is_there = |typ: &[u8; 2]| extensions.iter().any(|extension| extension.typ == *typ);
    let replacement = GREASE.iter().map(|byte| [*byte; 2]).find(|typ| !is_there(typ))?;
    // rustls refuses a message that has it twice.
    let name = extensions.iter().rfind(|extension| extension.typ == SERVER_NAME)?;
    Some((name.at, replacement))
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    use crate::tls::client_hello::{CLIENT_HELLO, HANDSHAKE};

    /// A ClientHello with these extensions, in records of at most `cut` bytes.
    fn hello(extensions: &[([u8; 2], &[u8])], cut: usize) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
        let mut list = Vec::new();
        for (typ, data) in extensions {
            list.extend(typ);
            list.extend((data.len() as u16).to_be_bytes());
            list.extend_from_slice(data);
        }
        body.extend((list.len() as u16).to_be_bytes());
        body.extend(list);
        let mut message = vec![CLIENT_HELLO, 0];
        message.extend((body.len() as u16).to_be_bytes());
        message.extend(body);
        let record = |part: &[u8]| [&[HANDSHAKE, 3, 1], &(part.len() as u16).to_be_bytes()[..], part].concat();
        message.chunks(cut).flat_map(record).collect()
    }

    #[test]
    fn a_name_is_hidden_wherever_its_extension_stands_and_what_was_sent_is_known() {
        let extensions: [([u8; 2], &[u8]); 3] =
            [([0x0a, 0x0a], b""), (SERVER_NAME, b"name"), ([0, 43], b"\x02\x03\x04")];
        let sent = hello(&extensions, 1 << 14);
        for cut in [1, 2, 3, 7, 1 << 14] {
            let mut wire = hello(&extensions, cut);
            for end in 0..wire.len() {
                assert!(
                    MaskedServerNames::default().hide(&mut wire.clone()[..end]).is_err(),
                    "{end} of {}",
                    wire.len()
                );
            }
            let before = wire.clone();
            let mut hidden = MaskedServerNames::default();
            hidden.hide(&mut wire).unwrap();
            assert!(hidden.is_first_alone());
            let given = client_hello::from_records(&wire).unwrap().unwrap().bytes;
            // 0x0a0a is there already.
            let expected: [([u8; 2], &[u8]); 3] = [extensions[0], ([0x1a, 0x1a], b"name"), extensions[2]];
            assert_eq!(given, hello(&expected, 1 << 14)[5..]);
            assert_eq!(wire.iter().zip(&before).filter(|(one, other)| one != other).count(), 2);
            let in_force = hidden.in_force();
            assert_eq!(*as_sent(&[&given[..], b"and more"].concat()), [&sent[5..], b"and more"].concat());
            assert_eq!(*as_sent(b"another message"), *b"another message");
            drop(in_force);
            assert_eq!(*as_sent(&given), *given);
        }
    }

    #[test]
    fn nothing_is_hidden_where_there_is_no_name() {
        for mut wire in
            [hello(&[([0, 43], b"\x02\x03\x04")], 99), b"\x16\x03\x03\0\x04\x02\0\0\0".to_vec(), b"GET / HTTP".to_vec()]
        {
            let before = wire.clone();
            let mut hidden = MaskedServerNames::default();
            hidden.hide(&mut wire).unwrap();
            assert!(!hidden.is_first_alone() && wire == before);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_bring_it_down(bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 1usize..100) {
            for mut wire in [bytes.clone(), hello(&[(SERVER_NAME, &bytes), ([0, 1], &bytes)], cut)] {
                wire.extend(&bytes);
                let before = wire.clone();
                let _ = MaskedServerNames::default().hide(&mut wire);
                prop_assert!(wire.iter().zip(&before).filter(|(one, other)| one != other).count() <= 2);
            }
            let mut torn = hello(&[(SERVER_NAME, b"name")], cut);
            for (byte, noise) in torn.iter_mut().skip(5).zip(&bytes) {
                *byte ^= noise & 1;
            }
            let _ = MaskedServerNames::default().hide(&mut torn);
        }
    }
}
