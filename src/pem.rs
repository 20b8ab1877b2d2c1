//! The only reader of PEM (RFC 7468; RFC 1421 for what is encrypted), and its writer.
//!
//! What OpenSSL, Go and nginx read is read, and nothing vanishes: each BEGIN mark leads to a block that was understood, or that is
//! named as passed over, or the text is refused. Nothing that is said of a text repeats any of it may be a key.
//!
//! Pure: no file, no clock.

use base64ct::{Base64, Encoding};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

mod block;
mod error;
mod explanatory_text;
mod pkcs8;
mod trust_settings;
mod write;

pub use block::{Block, BlockKind, KeyForm};
pub use error::{PemError, PemFault};
pub use explanatory_text::ExplanatoryText;
pub use pkcs8::{Pkcs8Error, private_key_in_pkcs8, to_pkcs8};
use trust_settings::trusted_certificate;
pub use write::{certificates, private_key};

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Labels that tools write, and that may be repeated. (What stands in the place of a label may be part of a key.)
const LABELS: [(&str, BlockKind); 22] = [
    ("CERTIFICATE", BlockKind::Certificate),
    ("X509 CERTIFICATE", BlockKind::Certificate),
    ("TRUSTED CERTIFICATE", BlockKind::TrustedCertificate),
    ("X509 CRL", BlockKind::Crl),
    ("PRIVATE KEY", BlockKind::Key(KeyForm::Pkcs8)),
    ("RSA PRIVATE KEY", BlockKind::Key(KeyForm::Pkcs1)),
    ("EC PRIVATE KEY", BlockKind::Key(KeyForm::Sec1)),
    ("ENCRYPTED PRIVATE KEY", BlockKind::EncryptedKey),
    ("EC PARAMETERS", BlockKind::Parameters),
    ("DH PARAMETERS", BlockKind::Parameters),
    ("X9.42 DH PARAMETERS", BlockKind::Parameters),
    ("DSA PARAMETERS", BlockKind::Parameters),
    ("DSA PRIVATE KEY", BlockKind::Other),
    ("ANY PRIVATE KEY", BlockKind::Other),
    ("OPENSSH PRIVATE KEY", BlockKind::Other),
    ("PUBLIC KEY", BlockKind::Other),
    ("RSA PUBLIC KEY", BlockKind::Other),
    ("CERTIFICATE REQUEST", BlockKind::Other),
    ("NEW CERTIFICATE REQUEST", BlockKind::Other),
    ("ATTRIBUTE CERTIFICATE", BlockKind::Other),
    ("PKCS7", BlockKind::Other),
    ("CMS", BlockKind::Other),
];

/// What a text holds.
#[derive(Debug, Default)]
pub struct Pem {
    /// In the order of the text.
    pub blocks: Vec<Block>,
    /// What stands outside of them.
    pub outside: ExplanatoryText,
    /// The text ends with what may be the beginning of a mark: it may not be written to its end.
    pub may_be_unfinished: bool,
}

impl Pem {
    /// Reads all of `text`.
    ///
    /// # Errors
    /// [`PemError`], for the first block that cannot be understood.
    pub fn read(text: &[u8]) -> Result<Self, PemError> {
        let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        let mut scan = Scan { text, at: 0, line: 1 };
        let mut pem = Self::default();
        loop {
            let behind = scan.clone();
            let found = scan.advance_to(BEGIN);
            pem.outside.scan(behind.up_to(if found { scan.at } else { text.len() }))?;
            if !found {
                break;
            }
            let (line, within_text) = (scan.line, !scan.begins_line());
            let mut ahead = scan.clone();
            match ahead.block() {
                Ok(block) => {
                    pem.blocks.push(Block { line, ..block });
                    scan = ahead;
                }
                // It may be what somebody has written about a block, or a block that is put out of use.
                Err(_) if within_text => {
                    pem.outside.stray_marks.push(line);
                    scan.at += BEGIN.len();
                }
                Err(fault) => return Err(PemError { line, fault }),
            }
        }
        let last = text[scan.at..].rsplit(|byte| is_line_end(*byte)).next().unwrap_or_default().trim_ascii_start();
        // No more than dashes may be anything, and is not taken for torn.
        if last.len() > DASHES.len() && BEGIN.starts_with(last) {
            return Err(PemError { line: scan.last_line(), fault: PemFault::Torn });
        }
        pem.may_be_unfinished = !last.is_empty() && BEGIN.starts_with(last);
        Ok(pem)
    }

    /// The certificates, in their order.
    pub fn certificates(&self) -> impl Iterator<Item = &Block> {
        self.blocks.iter().filter(|block| matches!(block.kind, BlockKind::Certificate | BlockKind::TrustedCertificate))
    }

    /// The revocation lists, in their order.
    pub fn crls(&self) -> impl Iterator<Item = &Block> {
        self.blocks.iter().filter(|block| block.kind == BlockKind::Crl)
    }

    /// The private keys that are not encrypted, in their order.
    pub fn keys(&self) -> impl Iterator<Item = (&Block, KeyForm)> {
        self.blocks.iter().filter_map(|block| match block.kind {
            BlockKind::Key(form) => Some((block, form)),
            _ => None,
        })
    }

    /// The certificates as rustls takes them.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.certificates().map(|block| CertificateDer::from(block.der.clone())).collect()
    }

    /// The first private key that is not encrypted, as rustls takes it.
    pub fn private_key(&self) -> Option<PrivateKeyDer<'static>> {
        let (block, form) = self.keys().next()?;
        let der = block.der.clone();
        Some(match form {
            KeyForm::Pkcs8 => PrivateKeyDer::Pkcs8(der.into()),
            KeyForm::Pkcs1 => PrivateKeyDer::Pkcs1(der.into()),
            KeyForm::Sec1 => PrivateKeyDer::Sec1(der.into()),
        })
    }

    /// Whether there is a private key, encrypted or not.
    pub fn has_key(&self) -> bool {
        self.blocks.iter().any(|block| matches!(block.kind, BlockKind::Key(_) | BlockKind::EncryptedKey))
    }

    /// A sentence for each block and mark that is passed over, where `wanted` are read. Parameters are passed over without a word, for
    /// they stand in the key as well.
    pub fn passed_over(&self, wanted: impl Fn(BlockKind) -> bool) -> Vec<String> {
        let others = self.blocks.iter().filter(|block| block.kind != BlockKind::Parameters && !wanted(block.kind));
        let blocks = others.map(|block| (block.line, format!("line {}: {block} is passed over", block.line)));
        let mut all: Vec<_> = blocks.chain(self.outside.sentences()).collect();
        all.sort();
        all.into_iter().map(|(_, sentence)| sentence).collect()
    }
}

/// A place in a text.
#[derive(Clone)]
struct Scan<'a> {
    text: &'a [u8],
    at: usize,
    /// Counted from 1.
    line: usize,
}

impl<'a> Scan<'a> {
    /// The same place in the text that ends at `end`.
    fn up_to(self, end: usize) -> Self {
        Self { text: &self.text[..end], ..self }
    }

    /// Goes to where `wanted` begins; whether there is one.
    fn advance_to(&mut self, wanted: &[u8]) -> bool {
        let Some(found) = memchr::memmem::find(&self.text[self.at..], wanted) else { return false };
        self.advance(found);
        true
    }

    fn advance(&mut self, bytes: usize) {
        let passed = &self.text[self.at..self.at + bytes];
        self.line += lines_in(passed, self.text.get(self.at + bytes));
        self.at += bytes;
    }

    fn last_line(&self) -> usize {
        self.line + lines_in(&self.text[self.at..], None)
    }

    /// Whether nothing but blanks and an END mark stands in front of this place in its line.
    fn begins_line(&self) -> bool {
        let before = self.text[..self.at].rsplit(|byte| is_line_end(*byte)).next().unwrap_or_default().trim_ascii();
        before.is_empty() || before.starts_with(END) && before.ends_with(DASHES)
    }

    /// Reads the block that begins here, and goes behind it.
    fn block(&mut self) -> Result<Block, PemFault> {
        self.advance(BEGIN.len());
        let label = self.label().map_err(|unclosed| match unclosed {
            true => PemFault::Torn,
            false => PemFault::MarkUnclosed,
        })?;
        let start = self.at;
        if !self.advance_to(DASHES) {
            return Err(torn_or_flat(&self.text[start..]));
        }
        let body = &self.text[start..self.at];
        if let Some(flat) = flat(body) {
            return Err(flat);
        }
        if !self.text[self.at..].starts_with(END) {
            // Half a mark at the end of the text is what a writer has just begun.
            let torn = END.starts_with(&self.text[self.at..]);
            return Err(if torn { PemFault::Torn } else { PemFault::NoEnd });
        }
        self.advance(END.len());
        let end = self.label().map_err(|_| PemFault::Torn)?;
        // The next mark may begin with the dashes that end this one.
        let shared = self.at - DASHES.len();
        if self.text[shared..].starts_with(BEGIN) {
            self.at = shared;
        }
        if end != label {
            return Err(PemFault::OtherEnd);
        }
        let known = LABELS.iter().find(|(known, _)| known.as_bytes() == label);
        let (label, kind) = known.map_or((None, BlockKind::Other), |(label, kind)| (Some(*label), *kind));
        let block = Block { line: self.line, kind, label, der: Vec::new(), rejects_clients: false };
        let Some(base64) = without_headers(body) else { return Ok(Block { kind: encrypted(kind), ..block }) };
        match kind {
            // Whatever they hold, it is not looked at.
            BlockKind::Other | BlockKind::Parameters | BlockKind::EncryptedKey => Ok(block),
            BlockKind::TrustedCertificate => {
                let (der, rejects_clients) = trusted_certificate(&decode(base64)?)?;
                Ok(Block { der, rejects_clients, ..block })
            }
            BlockKind::Certificate | BlockKind::Crl | BlockKind::Key(_) => Ok(Block { der: decode(base64)?, ..block }),
        }
    }

    /// The label up to the last dashes of a mark, which it goes behind.
    ///
    /// # Errors
    /// There are no such dashes in this line; `true`: nor a line behind it.
    fn label(&mut self) -> Result<&'a [u8], bool> {
        let rest = &self.text[self.at..];
        let line_end = rest.iter().position(|byte| is_line_end(*byte));
        let line = &rest[..line_end.unwrap_or(rest.len())];
        let length = memchr::memmem::find(line, DASHES).ok_or(line_end.is_none())?;
        self.at += length + DASHES.len();
        Ok(&line[..length])
    }
}

fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

/// Ends of lines in `text`, which `next` follows: LF, CR, or both together, as PEM has them (RFC 7468, 3); what people write here has LF.
fn lines_in(text: &[u8], next: Option<&u8>) -> usize {
    let following = text.iter().skip(1).chain(next).map(Some).chain([None]);
    let pairs = text.iter().zip(following);
    pairs.filter(|(byte, next)| **byte == b'\n' || **byte == b'\r' && next.is_none_or(|next| *next != b'\n')).count()
}

/// A block that has no END mark behind it.
fn torn_or_flat(body: &[u8]) -> PemFault {
    flat(body).unwrap_or(PemFault::Torn)
}

/// What is wrong with the line breaks of what stands between two marks, or behind the first one.
fn flat(body: &[u8]) -> Option<PemFault> {
    if memchr::memmem::find(body, b"\\n").is_some() {
        return Some(PemFault::LineBreaksEscaped);
    }
    let first = body.split(|byte| is_line_end(*byte)).next().unwrap_or_default();
    if !first.trim_ascii().is_empty() {
        return Some(PemFault::LineBreaksMissing(first.len()));
    }
    None
}

/// What stands behind the headers of RFC 1421; `None` if they say that it is encrypted.
fn without_headers(body: &[u8]) -> Option<&[u8]> {
    if !body.contains(&b':') {
        return Some(body);
    }
    let is_encrypted = memchr::memmem::find(body, b"ENCRYPTED").is_some();
    // An empty line ends them.
    let blank =
        [&b"\n\n"[..], b"\r\n\r\n", b"\r\r"].iter().filter_map(|blank| memchr::memmem::rfind(body, blank)).max();
    if is_encrypted { None } else { Some(&body[blank.unwrap_or_default()..]) }
}

fn encrypted(kind: BlockKind) -> BlockKind {
    match kind {
        BlockKind::Key(_) => BlockKind::EncryptedKey,
        _ => BlockKind::Other,
    }
}

fn decode(base64: &[u8]) -> Result<Vec<u8>, PemFault> {
    // Decoded where it stands: a list of what was revoked may have megabytes.
    let mut bytes = Vec::with_capacity(base64.len());
    bytes.extend(base64.iter().filter(|byte| !byte.is_ascii_whitespace()));
    if bytes.is_empty() {
        return Err(PemFault::Empty);
    }
    let length = Base64::decode_in_place(&mut bytes).map_err(|_| PemFault::NotBase64)?.len();
    bytes.truncate(length);
    bytes.shrink_to_fit();
    Ok(bytes)
}

#[cfg(test)]
mod tests;
