use base64ct::{Base64, Encoding};
use proptest::prelude::*;

use super::super::{ForwardedIdentity, XfccDetail, XfccError, XfccForm, parse};
use super::{APP, DIEGO, HASH, INSTANCE, SUBJECT, USUAL, bodies, chain, diego, encoded, in_envoys_form, leaf_pem};
use crate::identity::{Client, IdentityError, IdentityField, MalformedName};

fn read(text: &str) -> Result<ForwardedIdentity, XfccError> {
    parse(&[text.as_bytes()])
}

/// Who is named, where the certificate is not there.
fn named(text: &str) -> Client {
    match read(text) {
        Ok(ForwardedIdentity::Named { client, .. }) => client,
        other => panic!("{other:?} from {text}"),
    }
}

#[test]
fn gorouters_form_is_one_certificate_in_base64() {
    let der = chain().remove(0);
    assert_eq!(read(&bodies()[0]), Ok(ForwardedIdentity::Certificate { der, form: XfccForm::Raw }));
}

#[test]
fn base64_of_anything_but_one_certificate_is_refused() {
    let leaf = chain().remove(0).to_vec();
    let with = |more: &[u8]| Base64::encode_string(&[&leaf, more].concat());
    let body = bodies().remove(0);
    for text in [
        Base64::encode_string(&leaf[..leaf.len() - 1]),
        Base64::encode_string(b"hello"),
        body[..body.len() - 1].to_owned(),
        format!("{}=", with(&[])),
        "AAAA".to_owned(),
        "a".to_owned(),
    ] {
        assert_eq!(read(&text), Err(XfccError::NotACertificate), "{text}");
    }
    let urls = body.replace('+', "-").replace('/', "_");
    assert!(read(&urls).is_err() && urls != body);
    for text in [DIEGO.replace('\n', ""), format!(" {body}"), format!(":{body}:"), String::new()] {
        assert!(matches!(read(&text), Err(XfccError::NoPair | XfccError::UnknownKey)), "{:?}", read(&text));
    }
}

/// Whoever takes the marks out of a PEM file has its chain too, and in base64 that may decode or not.
#[test]
fn a_certificate_with_another_one_behind_it_is_told_as_such() {
    let leaf = chain().remove(0).to_vec();
    let (body, ca) = (bodies().remove(0), bodies().remove(1));
    let together = |more: &[u8]| Base64::encode_string(&[&leaf, more].concat());
    for text in [
        format!("{body}{ca}"),
        format!("{body}{body}"),
        format!("{body},{ca}"),
        format!("{body} {ca}"),
        format!("{body};Chain=\"a\""),
        together(&chain()[1]),
        together(b"\0"),
    ] {
        assert_eq!(read(&text), Err(XfccError::BehindCertificate), "{text}");
        let said = XfccError::BehindCertificate.to_string();
        assert!(said.contains("more than one certificate") && !said.contains(&body[..9]), "{said}");
    }
    for length in 1..body.len() {
        assert_eq!(read(&body[..length]), Err(XfccError::NotACertificate), "{length}");
    }
}

#[test]
fn there_is_one_line_of_printable_ascii_and_no_more_than_16_kib_of_it() {
    let body = bodies().remove(0);
    assert_eq!(parse(&[]), Err(XfccError::Lines(0)));
    assert_eq!(parse(&[body.as_bytes(), body.as_bytes()]), Err(XfccError::Lines(2)));
    let long = |length: usize| format!("Subject=\"{SUBJECT}\";URI=\"{}\"", "a".repeat(length - SUBJECT.len() - 17));
    assert_eq!(long(16 * 1024).len(), 16 * 1024);
    assert!(read(&long(16 * 1024)).is_ok());
    assert_eq!(read(&long(16 * 1024 + 1)), Err(XfccError::TooLong));
    for byte in [b"\n", b"\t", b"\0", b"\x7f", b"\xff"] {
        let value = [format!("Subject=\"{SUBJECT}").as_bytes(), byte, b"\""].concat();
        assert_eq!(parse(&[&value]), Err(XfccError::NotPrintable), "{byte:?}");
    }
}

#[test]
fn what_envoy_writes_of_diegos_certificate_names_its_holder() {
    let text = format!("By=spiffe://us;Hash={HASH};Subject=\"{SUBJECT}\";URI=;DNS={INSTANCE}");
    let Ok(ForwardedIdentity::Named { client, hash }) = read(&text) else { panic!("not read") };
    assert_eq!(hash.unwrap()[..2], [0x13, 0x26]);
    assert_eq!(client.identity(), diego().identity());
    let (read, original) = (client.certificate().unwrap(), diego());
    let original = original.certificate().unwrap();
    assert_eq!(read.common_name, original.common_name);
    assert_eq!(read.names.dns, original.names.dns);
    assert!(!read.names.dns_is_untold && !read.names.uris_are_untold && read.names.uris.is_empty());
    assert!(read.subject.starts_with("CN=51f0") && read.chain.is_empty());
    // As RFC 0055 has it: no more than these two.
    let few = named(&format!("Hash={HASH};Subject=\"{SUBJECT}\""));
    let names = &few.certificate().unwrap().names;
    assert!(names.dns_is_untold && names.uris_are_untold);
    // Keys are read in any case, values in quotes or without.
    assert_eq!(named(&format!("SUBJECT=\"{SUBJECT}\";hash=\"{}\"", HASH.to_uppercase())), few);
    assert!(named("subject=\"\";Dns=\"a\";uri=\"c=d\";dNS=b").certificate().unwrap().names.dns == ["a", "b"]);
    assert_eq!(named("Subject=;URI=").certificate().unwrap().common_name, None);
}

#[test]
fn what_is_not_exactly_one_element_of_known_pairs_is_refused() {
    let subject = format!("Subject=\"{SUBJECT}\"");
    let with = |more: &str| format!("{subject}{more}");
    for (text, error) in [
        (with(","), XfccError::SeveralElements),
        (with(&format!(",{subject}")), XfccError::SeveralElements),
        (format!("Hash={HASH},{subject}"), XfccError::SeveralElements),
        (with(";"), XfccError::NoPair),
        (with(";;URI="), XfccError::NoPair),
        (format!(";{subject}"), XfccError::NoPair),
        (with(";x"), XfccError::NoPair),
        (with("; URI=a"), XfccError::NoPair),
        (with(";URI =a"), XfccError::NoPair),
        (with(";Email=a"), XfccError::UnknownKey),
        (with(" ;URI=a"), XfccError::NotSeparated("Subject")),
        (with("x"), XfccError::NotSeparated("Subject")),
        (with(&format!(";{subject}")), XfccError::Repeated("Subject")),
        (with(&format!(";Hash={HASH};hash={HASH}")), XfccError::Repeated("Hash")),
        (with(";By=a;By=a"), XfccError::Repeated("By")),
        (with(";URI=a\"b\""), XfccError::NotQuoted("URI")),
        (with(";URI=a=b"), XfccError::NotQuoted("URI")),
        (with(";DNS=a\\b"), XfccError::NotQuoted("DNS")),
        ("Subject=CN=a".to_owned(), XfccError::NotQuoted("Subject")),
        (with(";DNS=\"a"), XfccError::NotClosed("DNS")),
        (with(";DNS=\"a\\\""), XfccError::NotClosed("DNS")),
        (with(";DNS=\"a\\\\\""), XfccError::Ambiguous("DNS")),
        (with(";DNS=\"a\\b\""), XfccError::Ambiguous("DNS")),
        (with(";Hash="), XfccError::Hash),
        (with(&format!(";Hash={}", &HASH[1..])), XfccError::Hash),
        (with(&format!(";Hash={HASH}0")), XfccError::Hash),
        (with(&format!(";Hash=x{}", &HASH[1..])), XfccError::Hash),
        (format!("Hash={HASH};By=a;URI=spiffe://a;DNS=b"), XfccError::NothingNamed),
        ("Subject=\"CN=a, OU=b\"".to_owned(), XfccError::Subject(MalformedName::UnknownType)),
        ("Subject=\"CN=a\\\"b\"".to_owned(), XfccError::Ambiguous("Subject")),
        ("Subject=\"CN=a\\\\,OU=b\"".to_owned(), XfccError::Ambiguous("Subject")),
        ("Subject=\"/CN=a\"".to_owned(), XfccError::Subject(MalformedName::UnknownType)),
    ] {
        assert_eq!(read(&text), Err(error), "{text}");
    }
    assert!(read(&with(&";URI=a".repeat(63))).is_ok());
    assert_eq!(read(&with(&";URI=a".repeat(64))), Err(XfccError::TooManyPairs));
}

/// Envoy puts no quotes around names, whatever is in them.
#[test]
fn names_with_marks_in_them_as_envoy_writes_them_are_refused_where_that_can_be_told() {
    let forged = format!("Hash={HASH};Subject=\"CN=a\";URI=;DNS=x\"y,Hash=00");
    assert_eq!(read(&forged), Err(XfccError::NotQuoted("DNS")));
    for (name, key) in [
        (format!("URI=spiffe://one;Subject=\"OU=app:{APP}\""), "Subject"),
        (format!("DNS=one;Hash={HASH}"), "Hash"),
        (format!("URI=spiffe://one;Cert={}", encoded(leaf_pem())), "Cert"),
        ("Subject=\"CN=a\";DNS=one;URI=spiffe://admin".to_owned(), "URI"),
    ] {
        assert_eq!(read(&name), Err(XfccError::BehindName(key)), "{name}");
    }
    // This one cannot be told from a certificate with both names; so who relies on names asks for quotes or certificates.
    let names = named("Subject=\"CN=a\";URI=spiffe://one;DNS=admin");
    assert_eq!(names.certificate().unwrap().names.uris, ["spiffe://one"]);
    for uri in
        ["spiffe://one;Subject=x", "spiffe://one;Hash=00", "spiffe://one,Hash=00", "spiffe://one;x", "spiffe://one?a=b"]
    {
        let text = format!("Hash={HASH};Subject=\"CN=a\";URI={uri}");
        assert!(read(&text).is_err(), "{text}");
    }
}

#[test]
fn an_identity_that_is_not_sound_is_nobodys() {
    let unsound = |subject: &str| read(&format!("Subject=\"{subject}\""));
    let app = IdentityField::App;
    for (subject, error) in [
        (format!("OU=app:{APP}+OU=app:00000000-0000-4000-8000-000000000000"), IdentityError::Ambiguous(app)),
        ("OU=app:web".to_owned(), IdentityError::Malformed(app)),
        (format!("OU=App:{APP}"), IdentityError::Disguised(app)),
        (format!("OU=\\00app:{APP}"), IdentityError::Disguised(app)),
    ] {
        assert_eq!(unsound(&subject), Err(XfccError::Unsound(error)), "{subject}");
    }
    for (subject, field) in [
        (format!("OU=app:{APP}+OU=app:{APP}"), app),
        (format!("{SUBJECT},OU=app:{APP}"), app),
        (format!("OU=app:{APP},OU=space:{APP},OU=space:{APP}"), IdentityField::Space),
        (format!("CN={INSTANCE},{SUBJECT}"), IdentityField::Instance),
    ] {
        assert_eq!(unsound(&subject), Err(XfccError::RepeatedField(field)), "{subject}");
    }
    assert_eq!(named(&format!("Subject=\"CN=x\\,OU=app:{APP}\"")).identity(), None);
    // Nothing else is Cloud Foundry's, and may be there twice.
    assert_eq!(named("Subject=\"OU=a,OU=a,CN=x\"").identity(), None);
}

#[test]
fn with_a_certificate_everything_else_belongs_to_it() {
    let cert = format!("Cert=\"{}\"", encoded(leaf_pem()));
    let certificate = Ok(ForwardedIdentity::Certificate { der: chain().remove(0), form: XfccForm::Envoy });
    assert_eq!(read(&cert), certificate);
    let all = [&USUAL[..], &[XfccDetail::Cert, XfccDetail::Chain]].concat();
    assert_eq!(read(&in_envoys_form(&diego(), &all).0), certificate);
    // A program that keeps the certificate's order, as Go does.
    let other_order: Vec<_> = SUBJECT.split('+').rev().collect();
    let other_order = other_order.join("+").replace("CN=51f0a007-a1b2-4c3d-5e6f-7a07,", "");
    assert_eq!(read(&format!("{cert};Subject=\"CN={INSTANCE},{other_order}\"")), certificate);
    for (more, key) in [
        (format!("Hash={}", HASH.replace('1', "2")), "Hash"),
        ("Subject=\"CN=other\"".to_owned(), "Subject"),
        ("Subject=\"\"".to_owned(), "Subject"),
        ("URI=\"spiffe://a\"".to_owned(), "URI"),
        (format!("DNS=\"{INSTANCE}\";DNS=\"b\""), "DNS"),
    ] {
        assert_eq!(read(&format!("{cert};{more}")), Err(XfccError::Disagrees(key)), "{more}");
        assert_eq!(read(&format!("{more};{cert}")), Err(XfccError::Disagrees(key)), "{more}");
    }
}

#[test]
fn a_chain_begins_with_the_certificate_of_whoever_else_is_named() {
    let (leaf, chain_of) = (encoded(leaf_pem()), |text: &str| format!("Chain=\"{}\"", encoded(text)));
    let whole = &DIEGO[DIEGO.find("-----BEGIN").unwrap()..];
    let others = &whole[whole[1..].find("-----BEGIN").unwrap() + 1..];
    let (own, other) = (chain_of(whole), chain_of(others));
    let subject = format!("Subject=\"{SUBJECT}\"");
    for said in [subject.clone(), format!("Hash={HASH};{subject}"), format!("Cert=\"{leaf}\"")] {
        assert!(read(&format!("{said};{own}")).is_ok(), "{said}");
    }
    assert_eq!(read(&format!("Cert=\"{leaf}\";{other}")), Err(XfccError::Disagrees("Chain")));
    assert_eq!(read(&format!("{other};Cert=\"{leaf}\"")), Err(XfccError::Disagrees("Chain")));
    assert_eq!(read(&format!("{subject};{other}")), Err(XfccError::Disagrees("Subject")));
    assert_eq!(read(&format!("Hash={};{subject};{own}", HASH.replace('1', "2"))), Err(XfccError::Disagrees("Hash")));
    assert_eq!(read(&own), Err(XfccError::NothingNamed), "a chain alone names nobody");
}

#[test]
fn pem_is_exactly_one_certificate_and_a_chain_is_certificates() {
    let leaf = encoded(leaf_pem());
    let subject = format!("Subject=\"{SUBJECT}\"");
    let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    for pem in [
        String::new(),
        "a".to_owned(),
        format!("{leaf}{leaf}"),
        format!("a{leaf}"),
        format!("{leaf}a"),
        format!("{leaf}%"),
        format!("{leaf}%0"),
        format!("{leaf}%zz"),
        leaf.replace("%0A", ""),
        leaf.replacen("%2F", "%20-", 1),
        leaf.replace("CERTIFICATE", "X509%20CRL"),
        leaf.replacen("MII", "MIA", 1),
        encoded(key),
        bodies()[0].clone(),
    ] {
        assert_eq!(read(&format!("{subject};Cert=\"{pem}\"")), Err(XfccError::NotPem("Cert")), "{pem}");
    }
    let chain = encoded(&DIEGO[DIEGO.find("-----BEGIN").unwrap()..]);
    assert!(read(&format!("{subject};Chain=\"{chain}\"")).is_ok());
    for pem in [String::new(), format!("{chain}a"), format!("{chain}{}", encoded(key)), "%zz".to_owned()] {
        assert_eq!(read(&format!("{subject};Chain=\"{pem}\"")), Err(XfccError::NotPem("Chain")), "{pem}");
    }
}

#[test]
fn an_error_says_what_is_wrong_and_repeats_nothing() {
    let said = |text: &str| read(text).unwrap_err().to_string();
    assert_eq!(
        said("Subject=\"OU=app:marker\""),
        "X-Forwarded-Client-Cert has a Subject that is not sound: the app is malformed in the subject"
    );
    assert_eq!(
        said("Subject=\"CN=marker\";URI=marker=1"),
        "X-Forwarded-Client-Cert has marks in URI that are not in quotes; they may be part of a name or end it"
    );
    for text in ["marker", "marker=marker", "Hash=marker", "Cert=marker", "Chain=%marker", "Subject=\"marker=marker\""]
    {
        assert!(!said(text).contains("marker"), "{}", said(text));
        assert_eq!(read(text).unwrap_err().reason(), "xfcc_invalid");
    }
}

proptest! {
    #[test]
    fn nothing_makes_the_reader_panic_and_whom_it_names_has_a_sound_identity(
        text in "(Subject=|By=|Hash=|Cert=|Chain=|URI=|DNS=|OU=app:|CN=|7d6b3f5e-9a1c-4f0e-8b59-0f6a3a1d2c11|\"|;|,|\\\\|%|=|a|(?s).){0,12}"
    ) {
        match read(&text) {
            Ok(ForwardedIdentity::Named { client, .. }) => prop_assert!(client.certificate().unwrap().identity.is_ok()),
            Ok(ForwardedIdentity::Certificate { .. }) => prop_assert!(false, "{} is no certificate", text),
            Err(error) => prop_assert!(error.to_string().len() < 200),
        }
    }
}
