//! Envoy's form, taken apart: one element of pairs, and nothing that can be read in two ways.

use std::borrow::Cow;

use strum::VariantArray;

use super::{XfccDetail, XfccError};

/// More pairs than these are refused.
const MAX_PAIRS: usize = 64;

/// What stands behind a key.
#[derive(Debug, Clone, Copy)]
pub(super) struct PairValue<'a> {
    /// As it is written, without the quotes.
    pub(super) text: &'a str,
    quoted: bool,
}

/// The pairs of `text`, in their order; it is known to be printable ASCII.
pub(super) fn pairs(text: &str) -> Result<Vec<(XfccDetail, PairValue<'_>)>, XfccError> {
    let mut pairs = Vec::new();
    let mut rest = text;
    let mut bare_name = None;
    loop {
        let (detail, behind) = key(rest)?;
        let is_name = matches!(detail, XfccDetail::Uri | XfccDetail::Dns);
        if !is_name && pairs.iter().any(|(other, _)| *other == detail) {
            return Err(XfccError::Repeated(detail.key()));
        }
        // Envoy writes a name as it is, whatever is in it; what it writes in front of names can only be part of one there.
        if bare_name.is_some_and(|bare| detail < bare) {
            return Err(XfccError::BehindName(detail.key()));
        }
        if pairs.len() == MAX_PAIRS {
            return Err(XfccError::TooManyPairs);
        }
        let (value, behind) = PairValue::read(behind, detail.key())?;
        if is_name && !value.quoted {
            bare_name = Some(detail);
        }
        pairs.push((detail, value));
        match behind.as_bytes().first() {
            None => return Ok(pairs),
            Some(b';') => rest = &behind[1..],
            Some(b',') => return Err(XfccError::SeveralElements),
            Some(_) => return Err(XfccError::NotSeparated(detail.key())),
        }
    }
}

fn key(text: &str) -> Result<(XfccDetail, &str), XfccError> {
    let (key, behind) = text.split_once('=').ok_or(XfccError::NoPair)?;
    let known = XfccDetail::VARIANTS.iter().find(|detail| detail.key().eq_ignore_ascii_case(key));
    let is_word = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric());
    known.map(|detail| (*detail, behind)).ok_or(if is_word { XfccError::UnknownKey } else { XfccError::NoPair })
}

impl<'a> PairValue<'a> {
    /// The value at the beginning of `text`, and what stands behind it.
    fn read(text: &'a str, key: &'static str) -> Result<(Self, &'a str), XfccError> {
        let Some(inner) = text.strip_prefix('"') else {
            let end = text.find([';', ',']).unwrap_or(text.len());
            let (value, behind) = text.split_at(end);
            // They may be part of a name, or what follows it.
            if value.contains(['=', '"', '\\']) {
                return Err(XfccError::NotQuoted(key));
            }
            return Ok((Self { text: value, quoted: false }, behind));
        };
        let mut escaped = false;
        for (at, byte) in inner.bytes().enumerate() {
            match (escaped, byte) {
                // Whether it escapes the one behind it, or that one a quote, is read differently.
                (true, b'\\') => return Err(XfccError::Ambiguous(key)),
                (false, b'\\') => escaped = true,
                (false, b'"') => return Ok((Self { text: &inner[..at], quoted: true }, &inner[at + 1..])),
                _ => escaped = false,
            }
        }
        Err(XfccError::NotClosed(key))
    }

    /// The text of any value but a subject: in quotes, `\"` is a quote, and no other backslash is there.
    pub(super) fn plain(self, key: &'static str) -> Result<Cow<'a, str>, XfccError> {
        if !self.quoted || !self.text.contains('\\') {
            return Ok(self.text.into());
        }
        let text = self.text.replace("\\\"", "\"");
        if text.contains('\\') { Err(XfccError::Ambiguous(key)) } else { Ok(text.into()) }
    }

    /// The text of a subject, whose backslashes are its own. One before a quote may be the field's.
    pub(super) fn name(self) -> Result<&'a str, XfccError> {
        let is_plain = !self.text.contains('"');
        is_plain.then_some(self.text).ok_or(XfccError::Ambiguous(XfccDetail::Subject.key()))
    }
}
