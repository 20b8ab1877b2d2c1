//! What RFCs have a server refuse in a ClientHello, and rustls answers, or refuses by another alert.

use std::borrow::Cow;

use rustls::AlertDescription;

use crate::tls::client_hello::{self, HelloExtension};
use crate::tls::record::HEADER;

/// ExtensionType (RFC 8446, 4.2; RFC 5746, 3.2).
const SUPPORTED_GROUPS: [u8; 2] = [0, 10];
const SUPPORTED_VERSIONS: [u8; 2] = [0, 43];
const KEY_SHARE: [u8; 2] = [0, 51];
const RENEGOTIATION_INFO: [u8; 2] = [0xff, 1];

/// Versions, as they are on the wire.
const SSL3: [u8; 2] = [3, 0];
const TLS10: [u8; 2] = [3, 1];
const TLS11: [u8; 2] = [3, 2];
const TLS13: [u8; 2] = [3, 4];

/// TLS_FALLBACK_SCSV: a suite that says that a newer version has been tried before (RFC 7507).
const FALLBACK: [u8; 2] = [0x56, 0];

/// `renegotiation_info` of a client that shakes hands for the first time: a length of nothing.
const FIRST_HANDSHAKE: &[u8] = &[0];

/// A rule that a ClientHello breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BrokenRule {
    /// The alert that the rule asks for.
    pub(super) alert: AlertDescription,
    /// What is wrong, and where it is forbidden.
    pub(super) what: &'static str,
}

/// The rules that a ClientHello breaks; the first one of each kind.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct BrokenRules {
    /// One for all servers.
    pub(super) always: Option<BrokenRule>,
    /// One for servers that speak TLS 1.3.
    pub(super) with_tls13: Option<BrokenRule>,
}

/// What is wrong with the ClientHello that is whole in the records of `wire`. What cannot be told is rustls's to refuse.
pub(super) fn broken_by(wire: &[u8]) -> BrokenRules {
    message(wire).and_then(|message| judge(&message)).unwrap_or_default()
}

/// The version of the ClientHello in the records of `wire`, where it is older than TLS 1.2: its `client_version` (RFC 5246, 7.4.1.2).
pub(super) fn old_version(wire: &[u8]) -> Option<&'static str> {
    match client_hello::legacy_version(&message(wire)?)? {
        TLS11 => Some("1.1"),
        TLS10 => Some("1.0"),
        SSL3 => Some("SSL 3.0"),
        _ => None,
    }
}

fn judge(message: &[u8]) -> Option<BrokenRules> {
    let (version, suites) = (client_hello::legacy_version(message)?, client_hello::suites(message)?);
    let extensions = client_hello::extensions(message)?;
    let extension = |typ| extensions.iter().find(|extension| extension.typ == typ);
    let always = if version <= SSL3 {
        broken(AlertDescription::ProtocolVersion, "its version is that of SSL 3.0 or older (RFC 8446, D.5)")
    } else if extension(RENEGOTIATION_INFO).is_some_and(|extension| extension.data != FIRST_HANDSHAKE) {
        broken(AlertDescription::HandshakeFailure, "it renegotiates what was never agreed on (RFC 5746, 3.6)")
    } else {
        None
    };
    let knows_tls13 = extension(SUPPORTED_VERSIONS).is_some_and(names_tls13);
    let with_tls13 = if !knows_tls13 && suites.chunks_exact(FALLBACK.len()).any(|suite| suite == FALLBACK) {
        broken(
            AlertDescription::InappropriateFallback,
            "it falls back from TLS 1.3, which is spoken here (RFC 7507, 3)",
        )
    } else if knows_tls13 && extension(SUPPORTED_GROUPS).is_some() && extension(KEY_SHARE).is_none() {
        broken(AlertDescription::MissingExtension, "it has supported_groups and no key_share (RFC 8446, 9.2)")
    } else {
        None
    };
    Some(BrokenRules { always, with_tls13 })
}

fn broken(alert: AlertDescription, what: &'static str) -> Option<BrokenRule> {
    Some(BrokenRule { alert, what })
}

/// The ClientHello, which mostly has one record of its own.
fn message(wire: &[u8]) -> Option<Cow<'_, [u8]>> {
    if let Some((&[client_hello::HANDSHAKE, client_hello::MAJOR_VERSION, _, high, low], body)) =
        wire.split_first_chunk::<HEADER>()
    {
        let record = body.get(..usize::from(u16::from_be_bytes([high, low])))?;
        if let [client_hello::CLIENT_HELLO, length @ ..] = record
            && let Some((&[high, middle, low], rest)) = length.split_first_chunk()
            && let Some(end) = rest.get(..u32::from_be_bytes([0, high, middle, low]) as usize)
        {
            return Some(Cow::Borrowed(&record[..record.len() - rest.len() + end.len()]));
        }
    }
    let message = client_hello::from_records(wire).ok()??;
    Some(Cow::Owned(message.bytes))
}

/// Whether TLS 1.3 is among the versions (RFC 8446, 4.2.1).
fn names_tls13(extension: &HelloExtension<'_>) -> bool {
    let Some((_, versions)) = extension.data.split_first() else { return false };
    versions.chunks_exact(TLS13.len()).any(|version| version == TLS13)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ClientHello of this version with these extensions, in records of at most `cut` bytes.
    fn hello(version: [u8; 2], extensions: &[([u8; 2], &[u8])], cut: usize) -> Vec<u8> {
        hello_with(&[0x13, 1], version, extensions, cut)
    }

    fn hello_with(suites: &[u8], version: [u8; 2], extensions: &[([u8; 2], &[u8])], cut: usize) -> Vec<u8> {
        let list: Vec<u8> = extensions
            .iter()
            .flat_map(|(typ, data)| [&typ[..], &u16::try_from(data.len()).unwrap().to_be_bytes(), data].concat())
            .collect();
        let mut body = [&version[..], &[7; 32], &[0, 0, u8::try_from(suites.len()).unwrap()], suites, &[1, 0]].concat();
        body.extend(u16::try_from(list.len()).unwrap().to_be_bytes());
        body.extend(list);
        let mut message = vec![client_hello::CLIENT_HELLO, 0];
        message.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        message.extend(body);
        let record = |part: &[u8]| [&[22, 3, 1], &u16::try_from(part.len()).unwrap().to_be_bytes()[..], part].concat();
        message.chunks(cut).flat_map(record).collect()
    }

    const VERSIONS: ([u8; 2], &[u8]) = (SUPPORTED_VERSIONS, &[4, 3, 4, 3, 3]);
    const GROUPS: ([u8; 2], &[u8]) = (SUPPORTED_GROUPS, &[0, 2, 0, 29]);
    const SHARE: ([u8; 2], &[u8]) = (KEY_SHARE, &[0, 0]);

    #[test]
    fn each_rule_has_its_alert_however_the_client_hello_is_cut_into_records() {
        type Case = ([u8; 2], Vec<([u8; 2], &'static [u8])>, Option<AlertDescription>, Option<AlertDescription>);
        let cases: [Case; 9] = [
            ([3, 3], vec![VERSIONS, GROUPS, SHARE, (RENEGOTIATION_INFO, &[0])], None, None),
            ([3, 3], vec![GROUPS], None, None),
            ([3, 3], vec![(SUPPORTED_VERSIONS, &[2, 3, 3]), GROUPS], None, None),
            ([3, 1], vec![VERSIONS, GROUPS, SHARE], None, None),
            ([3, 3], vec![VERSIONS, GROUPS], None, Some(AlertDescription::MissingExtension)),
            ([3, 0], vec![VERSIONS, GROUPS, SHARE], Some(AlertDescription::ProtocolVersion), None),
            ([0, 2], vec![], Some(AlertDescription::ProtocolVersion), None),
            ([3, 3], vec![(RENEGOTIATION_INFO, &[1, 9])], Some(AlertDescription::HandshakeFailure), None),
            ([3, 3], vec![(RENEGOTIATION_INFO, &[])], Some(AlertDescription::HandshakeFailure), None),
        ];
        for (version, extensions, always, with_tls13) in cases {
            for cut in [1, 3, 60, 1 << 14] {
                let mut wire = hello(version, &extensions, cut);
                let alerts = |wire: &[u8]| {
                    let BrokenRules { always, with_tls13 } = broken_by(wire);
                    (always.map(|rule| rule.alert), with_tls13.map(|rule| rule.alert))
                };
                assert_eq!(alerts(&wire), (always, with_tls13), "{version:?} {extensions:?} {cut}");
                wire.extend([20, 3, 3, 0, 1, 1]);
                assert_eq!(alerts(&wire), (always, with_tls13), "with something behind it");
            }
        }
    }

    #[test]
    fn a_client_that_falls_back_from_tls_1_3_is_known_by_its_suites() {
        let falls_back = [0xc0, 0x2f, 0x56, 0];
        let rule = broken_by(&hello_with(&falls_back, [3, 3], &[], 99)).with_tls13;
        assert_eq!(rule.map(|rule| rule.alert), Some(AlertDescription::InappropriateFallback));
        assert_eq!(broken_by(&hello_with(&falls_back, [3, 3], &[VERSIONS, GROUPS, SHARE], 99)), BrokenRules::default());
        // The same two bytes, and not as one suite.
        assert_eq!(broken_by(&hello_with(&[0xc0, 0x56, 0, 0x2f], [3, 3], &[], 99)), BrokenRules::default());
    }

    #[test]
    fn a_version_older_than_tls_1_2_is_known_however_the_client_hello_is_cut_into_records_and_only_if_it_is_one() {
        for cut in [1, 3, 7, 60, 1 << 14] {
            let old = |version| old_version(&hello(version, &[GROUPS], cut));
            assert_eq!([[3, 0], [3, 1], [3, 2]].map(old), [Some("SSL 3.0"), Some("1.0"), Some("1.1")], "{cut}");
            assert_eq!([[3, 3], [3, 4], [2, 0]].map(old), [None; 3], "{cut}");
        }
        for (at, other) in [(0, 0xe0), (1, 2)] {
            let mut wire = hello([3, 0], &[GROUPS], 1 << 14);
            wire[at] = other;
            assert_eq!(old_version(&wire), None, "the record is of no handshake, or of no TLS");
        }
        let behind_an_empty_record = [&[22, 3, 1, 0, 0][..], &hello([3, 0], &[GROUPS], 1 << 14)].concat();
        assert_eq!(old_version(&behind_an_empty_record), None);
        // What looks like it stands behind the only record.
        assert_eq!(old_version(&[22, 3, 0, 0, 2, 1, 0, 0, 22, 3, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0]), None);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_bring_it_down(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300), cut in 1usize..100) {
            let _ = broken_by(&bytes);
            let torn = hello([3, 3], &[(RENEGOTIATION_INFO, &bytes), (SUPPORTED_VERSIONS, &bytes)], cut);
            for end in 0..torn.len() {
                let _ = broken_by(&torn[..end]);
            }
        }
    }
}
