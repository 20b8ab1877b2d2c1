//! The record layer: TLS carries bytes in records of at most 16 KiB, each encrypted and authenticated by itself (RFC 8446,
//! section 5; RFC 5246, section 6.2).
//!
//! rustls makes the keys, and it opens what the client has sealed, in place. What goes to the client is sealed here, from the
//! caller's buffer into the caller's buffer: rustls would copy it twice, and allocate for each record.

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey,
};
use rustls::crypto::cipher;
use rustls::crypto::cipher::{AeadKey, InboundOpaqueMessage, InboundPlainMessage, Iv, MessageDecrypter};
use rustls::{AlertDescription, ConnectionTrafficSecrets, ContentType, ProtocolVersion, SupportedCipherSuite};

use crate::io::Outgoing;

/// The most plaintext in one record (RFC 8446, 5.1).
pub(super) const MAX_FRAGMENT: usize = 16 * 1024;

/// Type, version and length in front of each record.
pub(super) const HEADER: usize = 5;

/// By how much a record may be longer than its plaintext, in TLS 1.2 (RFC 5246, 6.2.3) and in TLS 1.3 (RFC 8446, 5.2).
const EXPANSION_TLS12: usize = 2048;
const EXPANSION_TLS13: usize = 256;

/// The authentication tag, of all our suites.
const TAG: usize = 16;

/// A key has sealed as much as it may, and TLS 1.2 knows no way to another one.
#[derive(Debug, thiserror::Error)]
#[error("the keys have been used for as long as they may be")]
pub struct KeyLimitReached;

/// Seals what goes to the client.
pub(super) struct Sealer {
    key: LessSafeKey,
    iv: Iv,
    seq: u64,
    /// How many records the key is good for.
    limit: u64,
    layout: NonceLayout,
}

/// The layout of a sealed record, by version and cipher suite.
#[derive(Clone, Copy, PartialEq, Eq)]
enum NonceLayout {
    /// The type is sealed with the plaintext.
    Tls13,
    /// Eight bytes of the nonce stand in front (RFC 5288).
    Tls12Explicit,
    /// The nonce is derived (RFC 7905).
    Tls12Implicit,
}

impl Sealer {
    /// With keys that have sealed `seq` records already.
    ///
    /// # Errors
    /// A kind of keys that is not ours.
    pub(super) fn new(
        suite: SupportedCipherSuite,
        (seq, secrets): (u64, ConnectionTrafficSecrets),
    ) -> Result<Self, rustls::Error> {
        let (algorithm, key, iv) = parts(secrets)?;
        let key = UnboundKey::new(algorithm, key.as_ref()).map_err(|_| unknown())?;
        let (layout, common) = match suite {
            SupportedCipherSuite::Tls13(suite) => (NonceLayout::Tls13, &suite.common),
            SupportedCipherSuite::Tls12(suite) => match suite.aead_alg.key_block_shape().explicit_nonce_len {
                0 => (NonceLayout::Tls12Implicit, &suite.common),
                _ => (NonceLayout::Tls12Explicit, &suite.common),
            },
        };
        Ok(Self { key: LessSafeKey::new(key), iv, seq, limit: common.confidentiality_limit, layout })
    }

    /// Whether the keys must be replaced before they seal anything but the word of that.
    pub(super) fn is_worn_out(&self) -> bool {
        self.seq >= self.limit
    }

    /// As if the key had sealed as much as it may.
    #[cfg(test)]
    pub(super) fn wear_out(&mut self) {
        // The nonces stay those that follow.
        self.limit = self.seq;
    }

    /// Appends `plaintext`, of at most [`MAX_FRAGMENT`] bytes, to `out` as one record.
    ///
    /// # Errors
    /// [`KeyLimitReached`]. `out` is as it was.
    pub(super) fn seal(
        &mut self,
        typ: ContentType,
        plaintext: &[u8],
        out: &mut Outgoing,
    ) -> Result<(), KeyLimitReached> {
        // Beyond its limit a key has one record for the word that it is replaced, and one for an alert.
        if self.seq > self.limit.saturating_add(1) {
            return Err(KeyLimitReached);
        }
        let inner = [u8::from(typ)];
        let (outer, explicit, hidden) = match self.layout {
            NonceLayout::Tls13 => (ContentType::ApplicationData, 0, &inner[..]),
            NonceLayout::Tls12Explicit => (typ, 8, &[][..]),
            NonceLayout::Tls12Implicit => (typ, 0, &[][..]),
        };
        let seq = self.seq;
        let nonce = cipher::Nonce::new(&self.iv, seq).0;
        // Whatever happens, this nonce is not used again.
        self.seq += 1;
        let length = explicit + plaintext.len() + hidden.len() + TAG;
        let before = out.bytes().len();
        let (header, body) = out.extend(HEADER + length).split_at_mut(HEADER);
        let [high, low] = u16::try_from(length).map_err(|_| KeyLimitReached)?.to_be_bytes();
        header.copy_from_slice(&[u8::from(outer), 3, 3, high, low]);
        let (told, body) = body.split_at_mut(explicit);
        told.copy_from_slice(&nonce[NONCE_LEN - explicit..]);
        let (ciphertext, end) = body.split_at_mut(plaintext.len());
        let nonce = Nonce::assume_unique_for_key(nonce);
        let sealed = match self.layout {
            NonceLayout::Tls13 => {
                let aad = Aad::from(cipher::make_tls13_aad(length));
                self.key.seal_out_of_place_scatter(nonce, aad, plaintext, ciphertext, hidden, end)
            }
            NonceLayout::Tls12Explicit | NonceLayout::Tls12Implicit => {
                let aad = Aad::from(cipher::make_tls12_aad(seq, typ, ProtocolVersion::TLSv1_2, plaintext.len()));
                self.key.seal_out_of_place_scatter(nonce, aad, plaintext, ciphertext, hidden, end)
            }
        };
        sealed.map_err(|_| {
            out.truncate(before);
            KeyLimitReached
        })
    }
}

/// Opens what the client has sealed.
pub(super) struct Opener {
    decrypter: Box<dyn MessageDecrypter>,
    seq: u64,
}

impl Opener {
    /// With keys that have opened `seq` records already.
    ///
    /// # Errors
    /// A kind of keys that is not ours.
    pub(super) fn new(
        suite: SupportedCipherSuite,
        (seq, secrets): (u64, ConnectionTrafficSecrets),
    ) -> Result<Self, rustls::Error> {
        let (_, key, iv) = parts(secrets)?;
        let decrypter = match suite {
            SupportedCipherSuite::Tls13(suite) => suite.aead_alg.decrypter(key, iv),
            SupportedCipherSuite::Tls12(suite) => {
                let fixed = suite.aead_alg.key_block_shape().fixed_iv_len;
                suite.aead_alg.decrypter(key, &iv.as_ref()[..fixed])
            }
        };
        Ok(Self { decrypter, seq })
    }

    /// What `record` holds, in place.
    ///
    /// # Errors
    /// The alert that says what is wrong with it.
    pub(super) fn open<'a>(&mut self, record: Record<'a>) -> Result<InboundPlainMessage<'a>, AlertDescription> {
        let Record { typ, version, body } = record;
        let sealed = InboundOpaqueMessage::new(typ, version, body);
        let opened = self.decrypter.decrypt(sealed, self.seq).map_err(|error| match error {
            rustls::Error::DecryptError => AlertDescription::BadRecordMac,
            rustls::Error::PeerSentOversizedRecord => AlertDescription::RecordOverflow,
            _ => AlertDescription::UnexpectedMessage,
        })?;
        self.seq += 1;
        Ok(opened)
    }
}

/// The length on the wire of the record that `wire` begins with, header included, as that says (RFC 8446, 5.1); `None` as long as
/// the header is not whole.
pub fn record_length(wire: &[u8]) -> Option<usize> {
    let &[_, _, _, high, low] = wire.first_chunk::<HEADER>()?;
    Some(HEADER + usize::from(u16::from_be_bytes([high, low])))
}

/// A sealed record, as it came.
pub(super) struct Record<'a> {
    typ: ContentType,
    version: ProtocolVersion,
    body: &'a mut [u8],
}

impl<'a> Record<'a> {
    /// The first record in `wire`, which `suite` has sealed, and its length there; `None` as long as it is not whole.
    ///
    /// # Errors
    /// The alert that says what is wrong with its header.
    pub(super) fn first_in(
        wire: &'a mut [u8],
        suite: SupportedCipherSuite,
    ) -> Result<Option<(Self, usize)>, AlertDescription> {
        let Some((&mut [typ, major, minor, high, low], rest)) = wire.split_first_chunk_mut::<HEADER>() else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if major != 3 {
            return Err(AlertDescription::ProtocolVersion);
        }
        let expansion = if suite.tls13().is_some() { EXPANSION_TLS13 } else { EXPANSION_TLS12 };
        if length > MAX_FRAGMENT + expansion {
            return Err(AlertDescription::RecordOverflow);
        }
        let typ = ContentType::from(typ);
        // In front of a Finished a client may send an unprotected change_cipher_spec (RFC 8446, 5); here it is too late for it.
        if !matches!(typ, ContentType::ApplicationData | ContentType::Alert | ContentType::Handshake) {
            return Err(AlertDescription::UnexpectedMessage);
        }
        let version = ProtocolVersion::from(u16::from_be_bytes([major, minor]));
        Ok(rest.get_mut(..length).map(|body| (Self { typ, version, body }, HEADER + length)))
    }
}

/// What keys consist of, and what they are for.
fn parts(secrets: ConnectionTrafficSecrets) -> Result<(&'static Algorithm, AeadKey, Iv), rustls::Error> {
    Ok(match secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
        ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
        ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv),
        _ => return Err(unknown()),
    })
}

fn unknown() -> rustls::Error {
    rustls::Error::General("keys of a kind that is not offered".to_owned())
}
