use hyper::header::{HeaderName, HeaderValue};
use proptest::prelude::*;
use strum::VariantArray;

use super::super::{
    ForwardedIdentity, XfccDetail, XfccError, XfccFields, XfccForm, caller_fields, conflict, identity_fields,
    is_exact_spelling, is_identity_name, parse,
};
use super::{
    HASH, INSTANCE, SUBJECT, USUAL, UTF8, bodies, diego, encoded, holder, identity_headers, in_envoys_form, leaf_pem,
};
use crate::identity::tests::AttributeSpec;
use crate::identity::{ClaimedNames, Client, DistinguishedName};

fn shown(fields: &[(HeaderName, HeaderValue)]) -> Vec<(&str, &str)> {
    fields.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect()
}

#[test]
fn the_words_of_forms_and_details_are_those_of_the_options() {
    let words: Vec<_> = XfccForm::VARIANTS.iter().map(|form| form.as_str()).collect();
    assert_eq!(words, ["raw", "envoy", "rfc9440"]);
    let words: Vec<_> = XfccDetail::VARIANTS.iter().map(|detail| detail.as_str()).collect();
    assert_eq!(words, ["by", "hash", "cert", "chain", "subject", "uri", "dns"]);
    assert_eq!("rfc9440".parse(), Ok(XfccForm::Rfc9440));
}

#[test]
fn the_raw_form_is_the_leaf_in_one_line_of_base64() {
    let fields = identity_headers(&diego(), &[XfccForm::Raw], &USUAL).fields;
    assert_eq!(shown(&fields), [("x-forwarded-client-cert", bodies()[0].as_str())]);
}

#[test]
fn envoys_form_has_envoys_order_with_every_value_in_quotes() {
    let usual = format!("Hash=\"{HASH}\";Subject=\"{SUBJECT}\";URI=\"\";DNS=\"{INSTANCE}\"");
    assert_eq!(in_envoys_form(&diego(), &USUAL), (usual, 0));
    let mut all = XfccDetail::VARIANTS.to_vec();
    all.reverse();
    all.push(XfccDetail::Hash);
    let own = ["spiffe://one".to_owned(), "spiffe://two".to_owned()];
    let client = diego();
    let fields = identity_fields(client.certificate().unwrap(), &own, &[XfccForm::Envoy], &all).fields;
    let cert = encoded(leaf_pem());
    let chain = encoded(&super::DIEGO[super::DIEGO.find("-----BEGIN").unwrap()..]);
    let whole = format!(
        "By=\"spiffe://one\";By=\"spiffe://two\";Hash=\"{HASH}\";Cert=\"{cert}\";Chain=\"{chain}\";\
         Subject=\"{SUBJECT}\";URI=\"\";DNS=\"{INSTANCE}\""
    );
    assert_eq!(shown(&fields), [("x-forwarded-client-cert", whole.as_str())]);
    assert!(
        cert.starts_with("-----BEGIN%20CERTIFICATE-----%0AMII") && cert.ends_with("-----END%20CERTIFICATE-----%0A")
    );
}

#[test]
fn rfc_9440_has_the_leaf_and_what_stands_behind_it_apart() {
    let fields = identity_headers(&diego(), &[XfccForm::Rfc9440], &USUAL).fields;
    let [leaf, ca] = bodies().try_into().unwrap();
    let (leaf, ca) = (format!(":{leaf}:"), format!(":{ca}:"));
    assert_eq!(shown(&fields), [("client-cert", leaf.as_str()), ("client-cert-chain", ca.as_str())]);
    let alone = identity_headers(&holder(&[], &[], &[]), &[XfccForm::Rfc9440], &USUAL).fields;
    assert_eq!(alone.len(), 1, "there is no chain to speak of");
}

#[test]
fn several_forms_go_together_but_for_two_that_are_one_field() {
    let fields = identity_headers(&diego(), &[XfccForm::Rfc9440, XfccForm::Envoy], &USUAL).fields;
    let names: Vec<_> = fields.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["client-cert", "client-cert-chain", "x-forwarded-client-cert"]);
    assert_eq!(conflict(&[XfccForm::Rfc9440, XfccForm::Envoy]), None);
    assert_eq!(conflict(&[XfccForm::Envoy, XfccForm::Raw]), Some((XfccForm::Raw, XfccForm::Envoy)));
    let both = identity_headers(&diego(), &[XfccForm::Envoy, XfccForm::Raw], &USUAL).fields;
    assert_eq!(both, identity_headers(&diego(), &[XfccForm::Envoy], &USUAL).fields, "never two lines");
}

#[test]
fn nothing_is_said_where_there_is_nothing_to_say() {
    assert_eq!(identity_headers(&diego(), &[XfccForm::Envoy], &[]), XfccFields::default());
    let subject = DistinguishedName::parse(SUBJECT).unwrap();
    let named = Client::from_names(ClaimedNames { subject, dns: None, uris: None });
    assert_eq!(identity_headers(&named, XfccForm::VARIANTS, &USUAL), XfccFields::default());
}

#[test]
fn names_that_envoy_writes_as_they_are_cannot_forge_a_key_or_an_element() {
    let client = holder(&[&[(3, UTF8, "a\",Möller".as_bytes())]], &["spiffe://one;DNS=admin"], &["x\"y,Hash=00"]);
    let details = [XfccDetail::Subject, XfccDetail::Uri, XfccDetail::Dns];
    let written = "Subject=\"CN=a\\22\\2CM\\C3\\B6ller\";URI=\"spiffe://one;DNS=admin\";DNS=\"x\\\"y,Hash=00\"";
    assert_eq!(in_envoys_form(&client, &details), (written.to_owned(), 0));
}

#[test]
fn names_that_readers_read_differently_are_left_out_and_counted() {
    let client = holder(&[], &["", "spiffe://a\\", "spiffe://b"], &["a\nb", "c\0", "d\x7f", "e\\\";DNS=", "", "f g"]);
    let (written, left_out) = in_envoys_form(&client, &[XfccDetail::Uri, XfccDetail::Dns]);
    assert_eq!((written.as_str(), left_out), ("URI=\"spiffe://b\";DNS=\"\";DNS=\"f g\"", 6));
    let own = ["spiffe://own\n".to_owned(), "spiffe://own".to_owned()];
    let identity_headers = identity_fields(client.certificate().unwrap(), &own, &[XfccForm::Envoy], &[XfccDetail::By]);
    assert_eq!(
        (shown(&identity_headers.fields), identity_headers.left_out),
        (vec![("x-forwarded-client-cert", "By=\"spiffe://own\"")], 1)
    );
    // Where none remains, nobody is told that there is none.
    let none = holder(&[], &["spiffe://a\n"], &[]);
    assert_eq!(in_envoys_form(&none, &USUAL[..3]).0.matches("URI").count(), 0);
}

#[test]
fn the_caller_is_told_in_our_own_words() {
    let fields = caller_fields(&diego());
    assert_eq!(
        shown(&fields),
        [
            ("x-vestibule-app", super::APP),
            ("x-vestibule-space", "2a0c8e64-31f7-4b6e-a3ad-5d9d2c5b7e22"),
            ("x-vestibule-org", "c9f1d2b3-44e5-4c66-9d77-8e88f9990a33"),
            ("x-vestibule-instance", INSTANCE),
            ("x-vestibule-subject-kind", "cf"),
        ]
    );
    assert!(fields.iter().all(|(name, _)| is_identity_name(name.as_str()) && is_exact_spelling(name.as_str())));
    let unsound: &[&[AttributeSpec<'_>]] = &[&[(11, UTF8, b"app:web")]];
    for (client, kind) in [
        (Client::Anonymous, "anonymous"),
        (holder(&[], &[], &["a.example"]), "dns"),
        (holder(&[], &["spiffe://a"], &[""]), "other"),
        (holder(&[&[(3, UTF8, b"a")]], &[], &[]), "other"),
        (holder(unsound, &[], &["a.example"]), "other"),
    ] {
        assert_eq!(shown(&caller_fields(&client)), [("x-vestibule-subject-kind", kind)]);
    }
}

/// The pairs as two kinds of readers see them: to one, `\\` is a backslash; to the other only `\"` means anything.
fn as_read(text: &str, knows_backslashes: bool) -> Vec<&str> {
    let (mut quoted, mut escaped, mut start, mut pairs) = (false, false, 0, Vec::new());
    for (at, c) in text.char_indices() {
        let is_escaped = escaped && (c == '"' || knows_backslashes);
        match c {
            _ if is_escaped => {}
            '"' => quoted = !quoted,
            ';' | ',' if !quoted => {
                pairs.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
        escaped = c == '\\' && !is_escaped;
    }
    assert!(!quoted, "{text}");
    pairs.push(&text[start..]);
    pairs
}

/// Names as they should not be.
const NAMES: &str = "(spiffe://|\\\\|\"|,|;|=|URI=|DNS=|Hash=|[a-z0-9./]|\n|\u{0}| ){0,10}";

proptest! {
    #[test]
    fn whoever_reads_it_sees_the_names_of_the_certificate_and_no_other(
        uris in prop::collection::vec(NAMES, 0..3),
        dns in prop::collection::vec(NAMES, 0..3),
        name in NAMES,
        unit in "(app:7d6b3f5e-9a1c-4f0e-8b59-0f6a3a1d2c11|app:x|a)",
        unit_tag in prop::sample::select(vec![UTF8, UTF8, 19, 22]),
    ) {
        let borrowed = |names: &[String]| names.iter().map(|name| name.clone().leak() as &str).collect::<Vec<_>>();
        let subject: &[&[AttributeSpec<'_>]] = &[&[(11, unit_tag, unit.as_bytes())], &[(3, UTF8, name.as_bytes())]];
        let client = holder(subject, &borrowed(&uris), &borrowed(&dns));
        let (text, left_out) = in_envoys_form(&client, &USUAL);
        let writable = |name: &&String| !name.contains(|c: char| c == '\\' || c.is_ascii_control());
        let uris_left: Vec<_> = uris.iter().filter(writable).filter(|uri| !uri.is_empty()).cloned().collect();
        let dns_left: Vec<_> = dns.iter().filter(writable).cloned().collect();
        prop_assert_eq!(left_out, uris.len() + dns.len() - uris_left.len() - dns_left.len());
        for knows_backslashes in [true, false] {
            let pairs = as_read(&text, knows_backslashes);
            let count = |key: &str| pairs.iter().filter(|pair| pair.starts_with(key)).count();
            prop_assert_eq!((count("Hash=\""), count("Subject=\"")), (1, 1));
            prop_assert_eq!(count("URI=\""), if uris.is_empty() { 1 } else { uris_left.len() });
            prop_assert_eq!(count("DNS=\""), dns_left.len());
            prop_assert_eq!(pairs.len(), 2 + count("URI=\"") + count("DNS=\""));
        }
        let original = client.certificate().unwrap();
        match (parse(&[text.as_bytes()]), &original.identity) {
            (Ok(ForwardedIdentity::Named { client: read, hash }), Ok(identity)) => {
                let read = read.certificate().unwrap();
                prop_assert_eq!(read.identity.as_ref(), Ok(identity));
                prop_assert_eq!(&read.common_name, &original.common_name);
                prop_assert_eq!(read.common_name_is_unclear, original.common_name_is_unclear);
                prop_assert_eq!((&read.names.uris, &read.names.dns), (&uris_left, &dns_left));
                prop_assert_eq!(read.names.uris_are_untold, !uris.is_empty() && uris_left.is_empty());
                prop_assert_eq!(read.names.dns_is_untold, dns_left.is_empty());
                prop_assert!(hash.is_some());
            }
            (Err(XfccError::Unsound(error)), Err(expected)) => prop_assert_eq!(&error, expected),
            (other, expected) => prop_assert!(false, "{:?} of {:?}: {}", other, expected, text),
        }
    }
}
