//! Cipher suites of TLS 1.2 by the names that Envoy knows them by.

use crate::config::Tls12Suite;

/// What a name in the list of suites is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NamedSuite {
    /// One that we speak.
    Spoken(Tls12Suite),
    /// One that Envoy can speak and we cannot: it has no forward secrecy, or no AEAD.
    Weak,
    /// None that Envoy knows.
    UnknownFieldHandling,
}

/// OpenSSL's name, IANA's name.
const SPOKEN: [(Tls12Suite, &str, &str); 6] = [
    (Tls12Suite::EcdsaAes128, "ECDHE-ECDSA-AES128-GCM-SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
    (Tls12Suite::EcdsaAes256, "ECDHE-ECDSA-AES256-GCM-SHA384", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"),
    (Tls12Suite::EcdsaChacha20, "ECDHE-ECDSA-CHACHA20-POLY1305", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"),
    (Tls12Suite::RsaAes128, "ECDHE-RSA-AES128-GCM-SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
    (Tls12Suite::RsaAes256, "ECDHE-RSA-AES256-GCM-SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"),
    (Tls12Suite::RsaChacha20, "ECDHE-RSA-CHACHA20-POLY1305", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"),
];

/// What else Envoy's documentation lists for `cipher_suites`.
const WEAK: [&str; 12] = [
    "AES128-GCM-SHA256",
    "AES128-SHA",
    "AES256-GCM-SHA384",
    "AES256-SHA",
    "DES-CBC3-SHA",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-PSK-AES128-CBC-SHA",
    "ECDHE-PSK-AES256-CBC-SHA",
    "ECDHE-PSK-CHACHA20-POLY1305",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-RSA-AES256-SHA",
];

impl Tls12Suite {
    /// What `name` is, which may be OpenSSL's or IANA's.
    pub(super) fn named(name: &str) -> NamedSuite {
        match SPOKEN.iter().find(|(_, openssl, iana)| [*openssl, *iana].contains(&name)) {
            Some((suite, ..)) => NamedSuite::Spoken(*suite),
            None if WEAK.contains(&name) => NamedSuite::Weak,
            None => NamedSuite::UnknownFieldHandling,
        }
    }

    /// The name that Diego writes.
    pub fn openssl_name(self) -> &'static str {
        SPOKEN.iter().find(|(suite, ..)| *suite == self).map_or("", |(_, openssl, _)| openssl)
    }

    /// OpenSSL's names of those that we speak.
    pub(super) fn names() -> impl Iterator<Item = &'static str> {
        SPOKEN.iter().map(|(_, openssl, _)| *openssl)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::provider;

    #[test]
    fn the_suites_are_those_that_the_provider_speaks_in_tls_1_2() {
        let spoken = provider();
        let spoken = spoken.cipher_suites.iter().filter(|suite| suite.tls13().is_none());
        let mut spoken: Vec<_> = spoken.map(|suite| format!("{:?}", suite.suite())).collect();
        let mut named: Vec<_> = SPOKEN.iter().map(|(_, _, iana)| (*iana).to_owned()).collect();
        spoken.sort();
        named.sort();
        assert_eq!(named, spoken);
        for (suite, _, iana) in SPOKEN {
            let NamedSuite::Spoken(named) = Tls12Suite::named(iana) else { panic!("{iana}") };
            assert_eq!(named, suite);
        }
    }
}
