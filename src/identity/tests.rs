use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::{Certificate, CertificateError, Identity, IdentityError, IdentityField};

const DIEGO: &[u8] =
    include_bytes!("../../tests/fixtures/diego/mtls-on_http2-on_ports-8080-9090/cf-instance-credentials/instance.crt");
const ROUTER: &[u8] = include_bytes!("../../tests/fixtures/diego/pki/gorouter-client.pem");
const APP: &str = "7d6b3f5e-9a1c-4f0e-8b59-0f6a3a1d2c11";
const SPACE: &str = "2a0c8e64-31f7-4b6e-a3ad-5d9d2c5b7e22";
const ORGANIZATION: &str = "c9f1d2b3-44e5-4c66-9d77-8e88f9990a33";
const OTHER: &str = "00000000-0000-4000-8000-000000000000";

const PRINTABLE: u8 = 19;
const UTF8: u8 = 12;

fn diego() -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(DIEGO).map(Result::unwrap).collect()
}

/// One attribute as these tests write it: arc of id-at (3 is CN, 11 is OU, 10 is O), string tag, bytes.
pub(crate) type AttributeSpec<'a> = (u8, u8, &'a [u8]);

fn ou(text: &str) -> AttributeSpec<'_> {
    (11, PRINTABLE, text.as_bytes())
}

fn cn(text: &str) -> AttributeSpec<'_> {
    (3, PRINTABLE, text.as_bytes())
}

/// DER by hand, so that what is read here was not written by the library that reads it.
pub(crate) fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let value = parts.concat();
    let mut out = vec![tag];
    match value.len() {
        n @ 0..=127 => out.push(n as u8),
        n @ 128..=255 => out.extend([0x81, n as u8]),
        n => out.extend([0x82, (n >> 8) as u8, n as u8]),
    }
    out.extend(value);
    out
}

pub(crate) fn name(rdns: &[&[AttributeSpec<'_>]]) -> Vec<u8> {
    let attribute =
        |(arc, tag, value): &AttributeSpec<'_>| tlv(0x30, &[&tlv(0x06, &[&[0x55, 4, *arc]]), &tlv(*tag, &[value])]);
    let rdn = |rdn: &&[AttributeSpec<'_>]| tlv(0x31, &[&rdn.iter().flat_map(attribute).collect::<Vec<u8>>()]);
    tlv(0x30, &[&rdns.iter().flat_map(rdn).collect::<Vec<u8>>()])
}

/// A certificate with this subject and issuer and these bytes as its list of alternative names.
pub(crate) fn certificate(
    subject: &[&[AttributeSpec<'_>]],
    issuer: &[&[AttributeSpec<'_>]],
    alt_names: &[&[u8]],
) -> Vec<u8> {
    let ed25519 = tlv(0x30, &[&tlv(0x06, &[&[0x2b, 0x65, 0x70]])]);
    let validity = tlv(0x30, &[&tlv(23, &[b"260101000000Z"]), &tlv(23, &[b"270101000000Z"])]);
    let key = tlv(0x30, &[&ed25519, &tlv(3, &[&[0; 33]])]);
    let list = |names: &[u8]| tlv(0x30, &[&tlv(0x06, &[&[0x55, 0x1d, 17]]), &tlv(4, &[names])]);
    let extensions = tlv(0xa3, &[&tlv(0x30, &[&alt_names.iter().flat_map(|names| list(names)).collect::<Vec<u8>>()])]);
    let extensions = if alt_names.is_empty() { Vec::new() } else { extensions };
    let version = tlv(0xa0, &[&tlv(2, &[&[2]])]);
    let tbs =
        tlv(0x30, &[&version, &tlv(2, &[&[7]]), &ed25519, &name(issuer), &validity, &name(subject), &key, &extensions]);
    tlv(0x30, &[&tbs, &ed25519, &tlv(3, &[&[0; 65]])])
}

fn identify(subject: &[&[AttributeSpec<'_>]]) -> Result<Option<Identity>, IdentityError> {
    Identity::from_der(&certificate(subject, &[], &[]))
}

fn whole() -> Identity {
    Identity {
        organization: Some(ORGANIZATION.parse().unwrap()),
        space: Some(SPACE.parse().unwrap()),
        app: Some(APP.parse().unwrap()),
        instance: Some("51f0a007-a1b2-4c3d-5e6f-7a07".parse().unwrap()),
    }
}

fn unit(prefix: &str, guid: &str) -> String {
    format!("{prefix}:{guid}")
}

#[test]
fn diegos_certificate_names_its_holder() {
    assert_eq!(Identity::from_der(&diego()[0]), Ok(Some(whole())));
}

#[test]
fn diegos_certificate_has_the_facts_that_openssl_prints() {
    let leaf = Certificate::from_der(&diego()[0]).unwrap();
    assert_eq!(
        leaf.subject(),
        format!("CN=51f0a007-a1b2-4c3d-5e6f-7a07,OU=app:{APP}+OU=space:{SPACE}+OU=organization:{ORGANIZATION}")
    );
    assert_eq!(leaf.issuer(), "CN=instance-identity-ca");
    assert_eq!(leaf.alt_names().dns, ["51f0a007-a1b2-4c3d-5e6f-7a07"]);
    assert_eq!(leaf.alt_names().ips, ["10.255.117.107".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(leaf.serial(), "4786c23f02040eb27d597a841c96c4");
    assert_eq!(leaf.key_type(), "RSA 3072");
    assert_eq!(leaf.not_before(), UNIX_EPOCH + Duration::from_secs(1_795_308_931));
    assert_eq!(leaf.not_after(), leaf.not_before() + Duration::from_secs(86_400));
    assert_eq!(leaf.common_name(), Some("51f0a007-a1b2-4c3d-5e6f-7a07"));
    assert_eq!(leaf.fingerprint_hex(), "1326f435093a1ed0df1b94333636d89d2f38aba8a1e666a2d88ea37f597578a1");
    assert!(!leaf.is_ca() && !leaf.is_retirement());
    let issuing = Certificate::from_der(&diego()[1]).unwrap();
    assert!(issuing.is_ca());
    assert_eq!(issuing.key_type(), "RSA 2048");
    assert_eq!(issuing.identity(), Ok(None));
}

#[test]
fn the_routers_certificate_is_not_cloud_foundrys() {
    let leaf = Certificate::from_der(&CertificateDer::from_pem_slice(ROUTER).unwrap()).unwrap();
    assert_eq!(leaf.identity(), Ok(None));
    assert_eq!(leaf.alt_names().dns, ["gorouter.service.cf.internal"]);
    assert_eq!(leaf.common_name(), None);
    assert_eq!(leaf.serial(), "a2fbf8afbaf75219c04fbf63ac9f74");
}

#[test]
fn order_grouping_string_type_and_case_do_not_matter() {
    let (a, s, o) = (unit("app", APP), unit("space", SPACE), unit("organization", ORGANIZATION));
    let id = cn("51f0a007-a1b2-4c3d-5e6f-7a07");
    assert_eq!(identify(&[&[ou(&a), ou(&s), ou(&o)], &[id]]), Ok(Some(whole())));
    assert_eq!(identify(&[&[id], &[ou(&o)], &[ou(&s)], &[ou(&a)]]), Ok(Some(whole())));
    assert_eq!(identify(&[&[ou(&o), ou(&a)], &[ou(&s), id]]), Ok(Some(whole())), "not in DER's order");
    let utf8 = |text: &'static str| (11, UTF8, text.as_bytes());
    let shouted = utf8("app:7D6B3F5E-9A1C-4F0E-8B59-0F6A3A1D2C11");
    assert_eq!(identify(&[&[shouted], &[ou(&s)], &[ou(&o)], &[id]]), Ok(Some(whole())));
    assert_eq!(identify(&[&[ou(&a)], &[shouted], &[ou(&s)], &[ou(&o)], &[id]]), Ok(Some(whole())), "said twice");
}

#[test]
fn parts_may_be_missing_but_one_must_be_there() {
    let a = unit("app", APP);
    let identity = identify(&[&[ou(&a)]]).unwrap().unwrap();
    assert_eq!(identity, Identity { organization: None, space: None, instance: None, ..whole() });
    assert_eq!(identify(&[]), Ok(None));
    assert_eq!(identify(&[&[cn("51f0a007-a1b2-4c3d-5e6f-7a07")]]), Ok(None));
    assert_eq!(identify(&[&[ou("Engineering")], &[ou("apparel:blue")], &[ou(APP)]]), Ok(None));
}

#[test]
fn look_alikes_elsewhere_never_count() {
    let a = unit("app", APP);
    assert_eq!(identify(&[&[cn(&a)]]), Ok(None), "CN");
    assert_eq!(identify(&[&[(10, PRINTABLE, a.as_bytes())]]), Ok(None), "O");
    assert_eq!(Identity::from_der(&certificate(&[&[cn("x")]], &[&[ou(&a)]], &[])), Ok(None), "issuer");
    let names = tlv(0x30, &[&tlv(0x82, &[a.as_bytes()]), &tlv(0xa4, &[&name(&[&[ou(&a)]])])]);
    assert_eq!(Identity::from_der(&certificate(&[&[cn("x")]], &[], &[&names])), Ok(None), "alternative names");
    let other = unit("app", OTHER);
    let der = certificate(&[&[ou(&a)]], &[&[ou(&other)]], &[]);
    assert_eq!(Identity::from_der(&der).unwrap().unwrap().app, Some(APP.parse().unwrap()));
}

#[test]
fn what_is_doubtful_is_invalid_and_says_why() {
    use IdentityField::{App, Instance};
    let a = unit("app", APP);
    let odd = |text: &str, expected: IdentityError| {
        assert_eq!(identify(&[&[(11, UTF8, text.as_bytes())]]), Err(expected), "{text:?}");
    };
    odd("app:", IdentityError::Empty(App));
    odd("space:", IdentityError::Empty(IdentityField::Space));
    odd("organization:x", IdentityError::Malformed(IdentityField::Organization));
    for tail in [" ", "\0", "\n", "0", "\u{a0}", "\0.example"] {
        odd(&format!("{a}{tail}"), IdentityError::Malformed(App));
    }
    odd(&format!("app: {APP}"), IdentityError::Malformed(App));
    odd(&format!("app:{{{APP}}}"), IdentityError::Malformed(App));
    for disguise in [" app:", "\0app:", "a\0pp:", "App:", "APP:", "app :", "\u{200b}app:", "\u{feff}app:"] {
        odd(&format!("{disguise}{APP}"), IdentityError::Disguised(App));
    }
    let other = unit("app", OTHER);
    assert_eq!(identify(&[&[ou(&a), ou(&other)]]), Err(IdentityError::Ambiguous(App)));
    assert_eq!(identify(&[&[ou(&other)], &[ou(&a)]]), Err(IdentityError::Ambiguous(App)));
    assert_eq!(identify(&[&[ou(&a)], &[ou("app:")]]), Err(IdentityError::Empty(App)));
    assert_eq!(identify(&[&[ou(&a)], &[cn("one")], &[cn("two")]]), Err(IdentityError::Ambiguous(Instance)));
    assert_eq!(identify(&[&[ou(&a)], &[cn("")]]), Err(IdentityError::Empty(Instance)));
    for id in [" one", "one ", "o\0ne", "one/two", "*", &"x".repeat(65)] {
        assert_eq!(identify(&[&[ou(&a)], &[cn(id)]]), Err(IdentityError::Malformed(Instance)), "{id:?}");
    }
}

#[test]
fn odd_string_types_are_invalid_where_they_matter_and_ignored_elsewhere() {
    let a = unit("app", APP);
    let utf16: Vec<u8> = a.encode_utf16().flat_map(u16::to_be_bytes).collect();
    for (tag, bytes) in [(20, a.as_bytes()), (22, a.as_bytes()), (4, a.as_bytes()), (30, &utf16)] {
        assert_eq!(identify(&[&[(11, tag, bytes)]]), Err(IdentityError::StringType(IdentityField::App)), "tag {tag}");
    }
    let universal = identify(&[&[(11, 28, b"\0\0\0a")]]);
    assert!(matches!(universal, Err(IdentityError::Unreadable(_))), "a type that nobody has used for decades");
    let plain = ou(&a);
    assert_eq!(identify(&[&[plain], &[(11, 20, b"Sales")]]).unwrap().unwrap().app, Some(APP.parse().unwrap()));
    assert_eq!(identify(&[&[plain], &[(3, 20, b"one")]]), Err(IdentityError::StringType(IdentityField::Instance)));
}

#[test]
fn hostile_names_are_escaped() {
    let subject =
        |text: &str| Certificate::from_der(&certificate(&[&[(3, UTF8, text.as_bytes())]], &[], &[])).unwrap().subject();
    assert_eq!(subject("plain name"), "CN=plain name");
    assert_eq!(subject("Zoë"), "CN=Zoë");
    assert_eq!(subject("a,OU=app:x+b;\"<>\\"), r#"CN=a\,OU=app:x\+b\;\"\<\>\\"#);
    assert_eq!(subject(" # "), r"CN=\ #\ ");
    assert_eq!(subject("#x"), r"CN=\#x");
    assert_eq!(subject("a\0\n\x1b[2J"), r"CN=a\00\0a\1b[2J");
    assert_eq!(subject("\u{202e}evil"), r"CN=\e2\80\aeevil");
    let bytes = certificate(&[&[(3, UTF8, b"\xff")], &[(99, PRINTABLE, b"x")]], &[], &[]);
    assert_eq!(Certificate::from_der(&bytes).unwrap().subject(), "2.5.4.99=#130178,2.5.4.3=#0c01ff");
}

#[test]
fn a_retirement_has_no_cn_and_an_empty_dns_name() {
    let a = unit("app", APP);
    let empty = tlv(0x30, &[&tlv(0x82, &[]), &tlv(0x87, &[&[10, 0, 0, 1]])]);
    let named = tlv(0x30, &[&tlv(0x82, &[b"x"])]);
    let is = |subject: &[&[AttributeSpec<'_>]], names: &[&[u8]]| {
        Certificate::from_der(&certificate(subject, &[], names)).unwrap().is_retirement()
    };
    assert!(is(&[&[ou(&a)]], &[&empty]));
    assert!(!is(&[&[ou(&a)], &[cn("one")]], &[&empty]));
    assert!(!is(&[&[ou(&a)], &[cn("")]], &[&empty]));
    assert!(!is(&[&[ou(&a)]], &[&named]));
    assert!(!is(&[&[ou(&a)]], &[]));
}

#[test]
fn malformed_alternative_names_are_refused_and_unknown_kinds_left_out() {
    let read = |names: &[&[u8]]| {
        Certificate::from_der(&certificate(&[], &[], names)).map(|certificate| certificate.alt_names().clone())
    };
    let list = |name: &[u8]| tlv(0x30, &[name]);
    for name in [
        tlv(0x87, &[&[1, 2, 3]]),
        tlv(0x82, &[b"\xff"]),
        tlv(0xa2, &[&tlv(22, &[b"x"])]),
        tlv(0x0c, &[b"x"]),
        vec![0x82, 9],
    ] {
        assert_eq!(read(&[&list(&name)]), Err(CertificateError::AltNames), "{name:x?}");
    }
    let once = list(&tlv(0x82, &[b"x"]));
    assert_eq!(read(&[&once, &once]), Err(CertificateError::AltNames), "two lists");
    let names = read(&[&tlv(0x30, &[&tlv(0xa3, &[&tlv(0x30, &[])]), &tlv(0x88, &[&[0x2a, 3]]), &tlv(0x82, &[b"x"])])]);
    assert_eq!(names.unwrap().dns, ["x"]);
}

#[test]
fn names_of_every_kind_are_read_from_another_librarys_certificate() {
    let mut parameters = rcgen::CertificateParams::new(vec!["a.example".to_owned(), "::1".to_owned()]).unwrap();
    parameters.subject_alt_names.push(rcgen::SanType::URI("spiffe://example/a".try_into().unwrap()));
    parameters.subject_alt_names.push(rcgen::SanType::Rfc822Name("a@example".try_into().unwrap()));
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let leaf = Certificate::from_der(parameters.self_signed(&key).unwrap().der()).unwrap();
    let names = leaf.alt_names();
    assert_eq!(
        (names.dns.as_slice(), names.uris.as_slice()),
        (&["a.example".to_owned()][..], &["spiffe://example/a".to_owned()][..])
    );
    assert_eq!(names.ips, ["::1".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(names.emails, ["a@example"]);
    assert_eq!(leaf.key_type(), "P-384");
    assert_eq!(leaf.identity(), Ok(None));
}

#[test]
fn bytes_that_are_no_certificate_are_refused() {
    let leaf = diego()[0].to_vec();
    let trailing = [&leaf[..], &[0]].concat();
    for der in [&[][..], b"-----BEGIN CERTIFICATE-----", &leaf[..leaf.len() - 1], &trailing] {
        let error = Identity::from_der(der).unwrap_err();
        assert!(matches!(error, IdentityError::Unreadable(CertificateError::NotX509(_))), "{error}");
        assert_eq!(error.reason(), "unreadable");
    }
}

#[test]
fn a_subject_with_thousands_of_attributes_is_read_to_its_end() {
    let units: Vec<String> = (0..3000).map(|i| format!("{:04}", 3000 - i)).collect();
    let attributes: Vec<AttributeSpec<'_>> = units.iter().map(|unit| ou(unit)).collect();
    let der = certificate(&[&attributes], &[], &[]);
    assert_eq!(Identity::from_der(&der), Ok(None));
}

/// Reads everything there is to read.
fn read_all(der: &[u8]) {
    let _ = Identity::from_der(der);
    if let Ok(certificate) = Certificate::from_der(der) {
        let _ = (certificate.subject(), certificate.issuer(), certificate.serial(), certificate.key_type());
        let _ = (certificate.not_before(), certificate.not_after(), certificate.is_ca(), certificate.is_retirement());
        let _ = certificate.common_name();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_mutation_of_a_certificate_panics(
        which in 0..2_usize,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut der = diego()[which].to_vec();
        for (at, byte) in edits {
            let at = at.index(der.len());
            der[at] = byte;
        }
        if let Some(cut) = cut {
            der.truncate(cut.index(der.len()));
        }
        read_all(&der);
    }

    #[test]
    fn no_bytes_panic(der in prop::collection::vec(any::<u8>(), 0..512)) {
        read_all(&der);
    }

    #[test]
    fn an_ou_counts_only_if_it_is_exactly_a_prefix_and_a_guid(
        value in prop::collection::vec(prop_oneof![Just(b' '), Just(0), Just(b'-'), any::<u8>()], 0..4),
        at in any::<prop::sample::Index>(),
    ) {
        let mut text = unit("app", APP).into_bytes();
        let at = at.index(text.len() + 1);
        text.splice(at..at, value.iter().copied());
        let counted = matches!(identify(&[&[(11, UTF8, &text)]]), Ok(Some(_)));
        prop_assert_eq!(counted, value.is_empty());
    }

    #[test]
    fn any_subset_in_any_order_is_read_alike(
        order in Just(vec![0, 1, 2, 3]).prop_shuffle(),
        kept in prop::collection::vec(any::<bool>(), 4),
        grouped: bool,
        upper: bool,
    ) {
        let case = |guid: &str| if upper { guid.to_uppercase() } else { guid.to_owned() };
        let texts = [unit("app", &case(APP)), unit("space", &case(SPACE)), unit("organization", &case(ORGANIZATION))];
        let all = [ou(&texts[0]), ou(&texts[1]), ou(&texts[2]), cn("51f0a007-a1b2-4c3d-5e6f-7a07")];
        let chosen: Vec<AttributeSpec<'_>> = order.into_iter().filter(|i| kept[*i]).map(|i| all[i]).collect();
        let single: Vec<&[AttributeSpec<'_>]> = chosen.chunks(1).collect();
        let together: [&[AttributeSpec<'_>]; 1] = [&chosen];
        let identity = identify(if grouped && !chosen.is_empty() { &together } else { &single });
        let expected = Identity {
            app: whole().app.filter(|_| kept[0]),
            space: whole().space.filter(|_| kept[1]),
            organization: whole().organization.filter(|_| kept[2]),
            instance: whole().instance.filter(|_| kept[3]),
        };
        prop_assert_eq!(identity, Ok((kept[0] || kept[1] || kept[2]).then_some(expected)));
    }
}
