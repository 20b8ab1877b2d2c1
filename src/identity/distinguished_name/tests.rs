use proptest::prelude::*;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::{DistinguishedName, MalformedName};
use crate::identity::tests::{AttributeSpec, certificate};
use crate::identity::{Certificate, IdentityError, IdentityField};

const DIEGO: &[u8] = include_bytes!(
    "../../../tests/fixtures/diego/mtls-on_http2-on_ports-8080-9090/cf-instance-credentials/instance.crt"
);
const APP: &str = "7d6b3f5e-9a1c-4f0e-8b59-0f6a3a1d2c11";
const OTHER: &str = "00000000-0000-4000-8000-000000000000";

const PRINTABLE: u8 = 19;
const UTF8: u8 = 12;
const IA5: u8 = 22;

fn holder(subject: &[&[AttributeSpec<'_>]]) -> Certificate {
    Certificate::from_der(&certificate(subject, &[], &[])).unwrap()
}

fn read(text: &str) -> DistinguishedName {
    DistinguishedName::parse(text).unwrap()
}

#[test]
fn diegos_subject_is_written_as_openssl_and_envoy_print_it() {
    let leaf = Certificate::from_der(&CertificateDer::from_pem_slice(DIEGO).unwrap()).unwrap();
    // `openssl x509 -noout -subject -nameopt RFC2253`
    assert_eq!(
        leaf.subject_for_field(),
        "CN=51f0a007-a1b2-4c3d-5e6f-7a07,OU=organization:c9f1d2b3-44e5-4c66-9d77-8e88f9990a33\
         +OU=space:2a0c8e64-31f7-4b6e-a3ad-5d9d2c5b7e22+OU=app:7d6b3f5e-9a1c-4f0e-8b59-0f6a3a1d2c11"
    );
}

#[test]
fn what_a_field_or_a_careless_reader_might_take_for_its_own_is_written_in_digits() {
    for (value, tag, written) in [
        ("Möller", UTF8, "CN=M\\C3\\B6ller"),
        ("a,OU=app:x", UTF8, "CN=a\\2COU=app:x"),
        ("a\"b\\c;d+e<f>", UTF8, "CN=a\\22b\\5Cc\\3Bd\\2Be\\3Cf\\3E"),
        (" a b ", UTF8, "CN=\\20a b\\20"),
        (" ", UTF8, "CN=\\20"),
        ("#a#", UTF8, "CN=\\23a#"),
        ("a\0\n\x7f", UTF8, "CN=a\\00\\0A\\7F"),
        ("", PRINTABLE, "CN="),
        // No identity is read from this one, so nobody else is to.
        ("abc", IA5, "CN=#1603616263"),
    ] {
        assert_eq!(holder(&[&[(3, tag, value.as_bytes())]]).subject_for_field(), written, "{value:?}");
    }
    assert_eq!(holder(&[&[(3, UTF8, b"\xff")]]).subject_for_field(), "CN=#0C01FF");
    assert_eq!(holder(&[&[(10, IA5, b"abc")]]).subject_for_field(), "O=abc");
    assert_eq!(holder(&[&[(99, UTF8, b"abc")]]).subject_for_field(), "2.5.4.99=#0C03616263");
    assert_eq!(holder(&[]).subject_for_field(), "");
    let three: [&[AttributeSpec<'_>]; 2] = [&[(11, UTF8, b"1"), (11, UTF8, b"2")], &[(3, UTF8, b"3")]];
    assert_eq!(holder(&three).subject_for_field(), "CN=3,OU=2+OU=1");
}

#[test]
fn the_examples_of_rfc_4514_are_read() {
    for (text, shown) in [
        ("", ""),
        ("UID=jsmith,DC=example,DC=net", "UID=jsmith,DC=example,DC=net"),
        ("OU=Sales+CN=J.  Smith,DC=example,DC=net", "OU=Sales+CN=J.  Smith,DC=example,DC=net"),
        ("CN=James \\\"Jim\\\" Smith\\, III,DC=net", "CN=James \\\"Jim\\\" Smith\\, III,DC=net"),
        ("CN=Before\\0dAfter,DC=net", "CN=Before\\0dAfter,DC=net"),
        ("1.3.6.1.4.1.1466.0=#04024869", "1.3.6.1.4.1.1466.0=#04024869"),
        ("CN=Lu\\C4\\8Di\\C4\\87", "CN=Lučić"),
        ("cn=a\\ ,OU=\\#b\\=,commonName=", "CN=a\\ ,OU=\\#b=,CN="),
        ("emailAddress=a@b.example,serialNumber=1,street=x", "EMAILADDRESS=a@b.example,SERIALNUMBER=1,STREET=x"),
    ] {
        assert_eq!(read(text).to_string(), shown, "{text}");
    }
}

#[test]
fn what_could_be_read_in_another_way_is_refused() {
    use MalformedName::{Escape, Hexadecimal, NoType, NotEscaped, NotUtf8, UnknownType};
    for (text, why) in [
        ("CN", NoType),
        ("=a", NoType),
        ("CN=a,", NoType),
        ("CN=a+", NoType),
        (",CN=a", NoType),
        ("CN=a,b", NoType),
        ("CN=a, OU=b", UnknownType),
        ("CN =a", UnknownType),
        ("OID.2.5.4.3=a", UnknownType),
        ("E=a", UnknownType),
        ("/CN=a", UnknownType),
        ("O\\U=a", UnknownType),
        ("CN=\"a, b\"", NotEscaped),
        ("CN=a;OU=b", NotEscaped),
        ("CN=<a>", NotEscaped),
        ("CN= a", NotEscaped),
        ("CN=a ", NotEscaped),
        ("CN=a\0", NotEscaped),
        ("CN=a\\", Escape),
        ("CN=\\a", Escape),
        ("CN=\\xyz", Escape),
        ("CN=\\4", Escape),
        ("CN=\\4,OU=b", Escape),
        ("CN=\\C3", NotUtf8),
        ("CN=#", Hexadecimal),
        ("CN=#0", Hexadecimal),
        ("CN=#0C0161FF", Hexadecimal),
        ("CN=#0C02", Hexadecimal),
        ("CN=#xx", Hexadecimal),
    ] {
        assert_eq!(DistinguishedName::parse(text), Err(why), "{text}");
    }
}

#[test]
fn an_identity_in_text_is_judged_as_one_in_a_certificate() {
    let app = format!("OU=app:{APP}");
    let identity = |text: &str| read(text).identity();
    assert_eq!(identity(&app).unwrap().unwrap().app, Some(APP.parse().unwrap()));
    assert_eq!(identity(&format!("CN=x+{app},O=y")).unwrap().unwrap().instance.unwrap().as_str(), "x");
    for other in ["CN=x", "O=app:x", "CN=app:x", ""] {
        assert_eq!(identity(other), Ok(None), "{other}");
    }
    // Whatever the type is called.
    for kind in ["ou", "organizationalUnitName", "2.5.4.11"] {
        assert!(identity(&format!("{kind}=app:{APP}")).unwrap().is_some(), "{kind}");
    }
    let hex = |tag: u8, text: &str| {
        let digits: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
        format!("OU=#{tag:02x}{:02x}{digits}", text.len())
    };
    assert!(identity(&hex(PRINTABLE, &app[3..])).unwrap().is_some());
    for (text, error) in [
        (hex(IA5, &app[3..]), IdentityError::StringType(IdentityField::App)),
        (format!("{app},OU=app:{OTHER}"), IdentityError::Ambiguous(IdentityField::App)),
        ("OU=app:".to_owned(), IdentityError::Empty(IdentityField::App)),
        ("OU=app:web".to_owned(), IdentityError::Malformed(IdentityField::App)),
        (format!("OU=\\20app:{APP}"), IdentityError::Disguised(IdentityField::App)),
        (format!("{app},CN=a,CN=b"), IdentityError::Ambiguous(IdentityField::Instance)),
    ] {
        assert_eq!(identity(&text), Err(error), "{text}");
    }
    // A comma that is escaped begins nothing.
    assert_eq!(identity(&format!("CN=x\\,{app}")), Ok(None));
    assert_eq!(identity(&format!("CN=x\\2C{app}")), Ok(None));
}

#[test]
fn a_subject_belongs_to_a_certificate_whatever_order_a_program_writes_it_in() {
    let certificate = holder(&[&[(11, PRINTABLE, b"1"), (11, UTF8, b"2")], &[(3, UTF8, b"3")]]);
    for text in ["CN=3,OU=2+OU=1", "OU=1,OU=2,CN=3"] {
        assert!(read(text).is_subject_of(&certificate), "{text}");
    }
    for text in ["", "CN=3,OU=2", "CN=3,OU=2+OU=1+OU=1", "CN=3,OU=2+O=1", "OU=3,OU=2,OU=1"] {
        assert!(!read(text).is_subject_of(&certificate), "{text}");
    }
}

#[test]
fn a_common_name_in_text_is_unclear_where_there_are_two() {
    assert_eq!((read("CN=a").common_name(), read("CN=a").has_unclear_common_name()), (Some("a"), false));
    assert_eq!((read("O=a").common_name(), read("O=a").has_unclear_common_name()), (None, false));
    for text in ["CN=a,CN=a", "CN=#160161"] {
        assert_eq!((read(text).common_name(), read(text).has_unclear_common_name()), (None, true), "{text}");
    }
}

/// Values as people and attackers write them.
fn value() -> impl Strategy<Value = String> {
    let claim = format!("(app|space|organization|App| app):({APP}|{OTHER}|x|)");
    let odd = "(\\\\|\"|,|\\+|=|;|<|>|#| |é|\u{0}|\n|[a-z0-9]|OU=app:){0,8}";
    proptest::string::string_regex(&format!("{claim}|{odd}")).unwrap()
}

proptest! {
    #[test]
    fn a_subject_says_the_same_in_text_as_in_its_certificate(
        attributes in prop::collection::vec((prop::sample::select(vec![3_u8, 10, 11, 11, 99]), prop::sample::select(vec![UTF8, UTF8, PRINTABLE, IA5, 20, 30]), value()), 0..4),
        several: bool,
    ) {
        let written: Vec<AttributeSpec<'_>> = attributes.iter().map(|(arc, tag, value)| (*arc, *tag, value.as_bytes())).collect();
        let rdns: Vec<&[AttributeSpec<'_>]> = match several {
            true => written.chunks(1).collect(),
            false => written.chunks(3).collect(),
        };
        let Ok(certificate) = Certificate::from_der(&certificate(&rdns, &[], &[])) else { return Ok(()) };
        let text = certificate.subject_for_field();
        prop_assert!(text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()));
        prop_assert!(!text.contains('"') && !text.contains("\\\\"), "{}", text);
        let name = read(&text);
        prop_assert!(name.is_subject_of(&certificate), "{}", text);
        prop_assert_eq!(name.identity(), certificate.identity());
        prop_assert_eq!(name.common_name(), certificate.common_name());
        prop_assert_eq!(name.has_unclear_common_name(), certificate.has_unclear_common_name());
    }

    #[test]
    fn no_text_makes_the_reader_panic_and_what_it_reads_it_shows(text in "(CN|OU|2\\.5\\.4\\.3|=|,|\\+|\\\\|#|0C0161|[0-9A-F]{2}| |a|é|(?s).){0,12}") {
        if let Ok(name) = DistinguishedName::parse(&text) {
            prop_assert_eq!(read(&name.to_string()).to_string(), name.to_string());
        }
    }
}
