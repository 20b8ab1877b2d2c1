//! A denied name, written in every other way that some reader takes for the same: none of them comes in.

use proptest::prelude::*;

use super::{DenialReason, Policy, PolicyMode, Routes, Rule};
use crate::identity::Client;
use crate::identity::tests::{certificate, tlv};

/// The tags of the kinds of names (RFC 5280, 4.2.1.6).
const DNS: u8 = 0x82;
const URI: u8 = 0x86;

const UTF8: u8 = 12;
const PRINTABLE: u8 = 19;
const T61: u8 = 20;
const UNIVERSAL: u8 = 28;
const BMP: u8 = 30;

/// The reason why not, for a certificate with these CNs (string type, bytes) and other names (tag, bytes).
fn judged(deny: &str, cns: &[(u8, &[u8])], names: &[(u8, &[u8])]) -> Result<(), DenialReason> {
    let policy = Policy {
        mode: PolicyMode::Enforce,
        allow: vec![Rule::Any],
        deny: vec![deny.parse().unwrap()],
        routes: Routes::default(),
    };
    let subject: Vec<_> = cns.iter().map(|(tag, text)| (3, *tag, *text)).collect();
    let list = tlv(0x30, &[&names.iter().flat_map(|(tag, name)| tlv(*tag, &[name])).collect::<Vec<u8>>()]);
    let lists: &[&[u8]] = if names.is_empty() { &[] } else { &[&list] };
    let rdns: Vec<_> = subject.chunks(1).collect();
    // What cannot be read is refused before anybody asks the rules.
    let client = Client::from_leaf(&certificate(&rdns, &[], lists)).map_err(|_| DenialReason::Malformed)?;
    policy.authorize(&client, None).map(|_| ()).map_err(|denial| denial.reason())
}

#[test]
fn a_dns_name_that_is_denied_does_not_come_in_under_another_spelling() {
    for (rule, spelled) in [
        ("dns:evil.example", "evil.example."),
        ("dns:evil.example", "evil.example.."),
        ("dns:evil.example", ".evil.example"),
        ("dns:evil.example", "evil..example"),
        ("dns:evil.example", "evil.example\0"),
        ("dns:evil.example", "evil.example\0.good.example"),
        ("dns:evil.example", " evil.example"),
        ("dns:evil.example", "evil.example\t"),
        ("dns:evil.example", "evil.example:443"),
        ("dns:evil.example", "x@evil.example"),
        ("dns:evil.example", "evil%2eexample"),
        ("dns:evil.example", "xn--evil-.example"),
        ("dns:evil.example", "*.example"),
        ("dns:evil.example", "*"),
        ("dns:evil.example", "*.*"),
        ("dns:evil.example", "ev*.example"),
        ("dns:evil.example", "*vil.example."),
        ("dns:*.evil.example", "*.evil.example"),
        ("dns:*.evil.example", "a.evil.example."),
        ("dns:*.evil.example", "a b.evil.example"),
        ("dns:evil.example", ""),
    ] {
        let said = judged(rule, &[], &[(DNS, b"good.example"), (DNS, spelled.as_bytes())]);
        assert_eq!(said, Err(DenialReason::NameDoubtful), "{spelled:?} for {rule}");
    }
    for spelled in ["EVIL.Example", "evil.example"] {
        assert_eq!(judged("dns:evil.example", &[], &[(DNS, spelled.as_bytes())]), Err(DenialReason::DeniedByRule));
    }
    assert_eq!(
        judged("dns:xn--bcher-kva.example", &[], &[(DNS, "bücher.example".as_bytes())]),
        Err(DenialReason::Malformed)
    );
    assert_eq!(judged("dns:evil.example", &[], &[(DNS | 0x20, b"\x16\x0cevil.example")]), Err(DenialReason::Malformed));
    for plain in ["good.example", "devil.example", "a.evil.example", "*.good.example", "*.evil.example", "evil", "a_b"]
    {
        assert_eq!(judged("dns:evil.example", &[], &[(DNS, plain.as_bytes())]), Ok(()), "{plain}");
    }
}

#[test]
fn a_cn_does_not_stand_in_for_the_dns_name_that_is_denied() {
    for cn in ["evil.example", "EVIL.example.", "evil.example ", "*.example", "evil.example\0x", "évil.example"] {
        let said = judged("dns:evil.example", &[(UTF8, cn.as_bytes())], &[]);
        assert_eq!(said, Err(DenialReason::NameDoubtful), "{cn:?}");
    }
    assert_eq!(judged("dns:evil.example", &[(T61, b"x")], &[]), Err(DenialReason::NameDoubtful));
    assert_eq!(judged("dns:*.example", &[(UTF8, b"evil.example")], &[]), Err(DenialReason::NameDoubtful));
    // With a DNS name beside it, it is no name of a host for anybody.
    assert_eq!(judged("dns:evil.example", &[(UTF8, b"evil.example")], &[(DNS, b"good.example")]), Ok(()));
    for cn in ["Jürgen", "good.example", "Bob Smith", "evil"] {
        assert_eq!(judged("dns:evil.example", &[(UTF8, cn.as_bytes())], &[]), Ok(()), "{cn}");
    }
    assert_eq!(judged("dns:evil.example", &[], &[]), Ok(()), "it has no name at all");
}

#[test]
fn a_uri_that_is_denied_does_not_come_in_under_another_spelling() {
    for (rule, spelled) in [
        ("uri:spiffe://o/admin/*", "spiffe://o/admin/a%2e"),
        ("uri:spiffe://o/admin/*", "spiffe://o/admin/a?x"),
        ("uri:spiffe://o/admin/*", "spiffe://o/admin/a#x"),
        ("uri:spiffe://o/admin/*", "SPIFFE://o/admin/a"),
        ("uri:spiffe://o/admin/*", "spiffe://O/admin/a"),
        ("uri:spiffe://o/admin/*", "spiffe://o/Admin/a"),
        ("uri:spiffe://o/admin/*", "spiffe://o//admin/a"),
        ("uri:spiffe://o/admin/*", "spiffe:////o/admin/a"),
        ("uri:spiffe://o/admin/*", "spiffe:/o/admin/a"),
        ("uri:spiffe://o/admin/*", "spiffe:o/admin/a"),
        ("uri:spiffe://o/admin/*", "spiffe://o/x/../admin/a"),
        ("uri:spiffe://o/admin/*", "spiffe://o/./admin/a"),
        ("uri:spiffe://o/admin/*", "spiffe://o/%61dmin/a"),
        ("uri:spiffe://o/admin/*", "spiffe://o/admin//a"),
        ("uri:spiffe://o/admin/*", "spiffe://o/admin/a/"),
        ("uri:spiffe://o/admin/*", "spiffe://x@o/admin/a"),
        ("uri:spiffe://o/admin/*", "spiffe://o:/admin/a"),
        ("uri:spiffe://o/admin/*", "spiffe://o:8443/admin/a"),
        ("uri:spiffe://o/admin/*", "spiffe://o./admin/a"),
        ("uri:spiffe://o/admin/*", "spiffe://o\\admin/a"),
        ("uri:spiffe://o/admin/*", "spiffe://o/admin/a\0"),
        ("uri:spiffe://o/admin/*", " spiffe://o/admin/a"),
        ("uri:spiffe://o/admin/*", "sp%69ffe://o/admin/a"),
        ("uri:spiffe://o/admin/*", "spiffe"),
        ("uri:spiffe://o/admin/*", ""),
        ("uri:spiffe://o/admin", "spiffe://o/admin/"),
        ("uri:spiffe://o/admin", "spiffe://o/admin?"),
        ("uri:spiffe://o/admin/", "spiffe://o/admin"),
        ("uri:spiffe://O/admin", "spiffe://o/admin"),
        ("uri:spiffe://o/%61dmin", "spiffe://o/admin"),
        ("uri:https://o:443/admin", "https://o/admin"),
        ("uri:https://o/admin", "https://o:443/admin"),
        ("uri:https://o:8443/admin", "https://o:08443/admin"),
        ("uri:urn:uuid:f81d", "urn:UUID:F81D"),
        ("uri:urn:uuid:f81d", "URN:uuid:f81d"),
    ] {
        let said = judged(rule, &[], &[(URI, b"spiffe://good/x"), (URI, spelled.as_bytes())]);
        assert_eq!(said, Err(DenialReason::NameDoubtful), "{spelled:?} for {rule}");
    }
    for plain in
        ["spiffe://o/web/a", "spiffe://o/admin", "spiffe://other/admin/a", "https://o/admin/a?x=%2e", "urn:x:y"]
    {
        assert_eq!(judged("uri:spiffe://o/admin/*", &[], &[(URI, plain.as_bytes())]), Ok(()), "{plain}");
    }
    assert_eq!(judged("uri:https://o:8443/admin", &[], &[(URI, b"https://o:9443/admin")]), Ok(()));
}

#[test]
fn a_cn_that_is_denied_does_not_come_in_under_another_spelling() {
    let two: [&[(u8, &[u8])]; 3] = [
        &[(UTF8, b"Bob"), (UTF8, b"Bob")],
        &[(UTF8, b"Alice"), (PRINTABLE, b"Bob")],
        &[(UTF8, b"Alice"), (T61, b"Bob")],
    ];
    for cns in two {
        assert_eq!(judged("cn:Bob", cns, &[]), Err(DenialReason::NameDoubtful), "{cns:?}");
    }
    // A UniversalString cannot be read at all.
    assert_eq!(judged("cn:Bob", &[(UNIVERSAL, b"\0\0\0B\0\0\0o\0\0\0b")], &[]), Err(DenialReason::Malformed));
    let wide: &[(u8, &[u8])] = &[(T61, b"Bob"), (BMP, b"\0B\0o\0b"), (22, b"Bob")];
    for cn in wide {
        assert_eq!(judged("cn:Bob", &[*cn], &[]), Err(DenialReason::NameDoubtful), "{cn:?}");
    }
    for cn in ["Bob ", " Bob", "bob", "BOB", "B ob", "Bob\0", "B\u{200b}ob", "Bob\n", "Воb", "Ｂｏｂ", ""] {
        assert_eq!(judged("cn:Bob", &[(UTF8, cn.as_bytes())], &[]), Err(DenialReason::NameDoubtful), "{cn:?}");
    }
    assert_eq!(judged("cn:Bob", &[(PRINTABLE, b"Bob")], &[]), Err(DenialReason::DeniedByRule));
    for cn in ["Alice", "Bobby", "Bob Smith"] {
        assert_eq!(judged("cn:Bob", &[(UTF8, cn.as_bytes())], &[]), Ok(()), "{cn}");
    }
    assert_eq!(judged("cn:Bob", &[], &[(DNS, b"bob")]), Ok(()));
}

#[test]
fn what_is_doubtful_is_so_for_deny_rules_of_its_kind_alone() {
    let odd: &[(u8, &[u8])] = &[(DNS, b"evil.example."), (URI, b"x://y?")];
    for rule in ["cn:Bob", "cf:any", "cf:app:7d6b3f5e-9a1c-4f0e-8b59-0f6a3a1d2c11", "anonymous"] {
        assert_eq!(judged(rule, &[], odd), Ok(()), "{rule}");
    }
    let policy = Policy {
        mode: PolicyMode::Enforce,
        allow: vec!["dns:evil.example".parse().unwrap()],
        deny: vec![],
        routes: Routes::default(),
    };
    let list = tlv(0x30, &[&tlv(DNS, &[b"evil.example."])]);
    let client = Client::from_leaf(&certificate(&[], &[], &[&list])).unwrap();
    assert_eq!(policy.authorize(&client, None).unwrap_err().reason(), DenialReason::NotAllowed, "an allow stays exact");
}

#[test]
fn a_doubt_names_its_rule_and_the_name_and_shows_no_more_than_the_beginning_of_it() {
    let name = format!("{}\u{1b}.", "a".repeat(60_000 / 2));
    let list = tlv(0x30, &[&tlv(DNS, &[name.as_bytes()])]);
    let client = Client::from_leaf(&certificate(&[], &[], &[&list])).unwrap();
    let policy = Policy {
        mode: PolicyMode::Enforce,
        allow: vec![Rule::Any],
        deny: vec!["dns:evil.example".parse().unwrap()],
        routes: Routes::default(),
    };
    let denial = policy.authorize(&client, None).unwrap_err();
    assert_eq!(denial.rule().map(ToString::to_string).as_deref(), Some("dns:evil.example"));
    let text = denial.to_string();
    assert!(text.starts_with(
        "a name that is not written plainly might be one that a rule denies: dns:evil.example: the DNS name \"aaa"
    ));
    assert!(text.len() < 300 && text.ends_with(" is not written plainly"), "{text}");
}

/// Ways to write a name that some reader undoes.
fn spelling() -> impl Strategy<Value = fn(&str, usize) -> String> {
    fn at(name: &str, place: usize) -> (&str, &str) {
        name.split_at(place % (name.len() + 1))
    }
    let ways: [fn(&str, usize) -> String; 10] = [
        |name, _| name.to_owned(),
        |name, _| name.to_ascii_uppercase(),
        |name, _| format!("{name}."),
        |name, _| format!("{name}/"),
        |name, place| format!("{}\0{}", at(name, place).0, at(name, place).1),
        |name, place| format!("{} {}", at(name, place).0, at(name, place).1),
        |name, place| format!("{}\t{}", at(name, place).0, at(name, place).1),
        |name, place| {
            let (start, rest) = at(name, place);
            let mut rest = rest.bytes();
            let first = rest.next().map_or(String::new(), |byte| format!("%{byte:02x}"));
            format!("{start}{first}{}", String::from_utf8(rest.collect()).unwrap())
        },
        |name, place| format!("{}#{}", name, place),
        |name, place| format!("{}?{}", name, place),
    ];
    prop::sample::select(ways.to_vec())
}

proptest! {
    #[test]
    fn a_deny_never_admits_a_differently_spelled_name(
        name in "[a-z][a-z0-9]{0,5}(\\.[a-z][a-z0-9]{0,5}){0,3}",
        path in "[a-z]{1,5}(/[a-z]{1,5}){0,2}",
        ways in prop::collection::vec((spelling(), 0usize..40), 1..3),
    ) {
        let spelled = |text: &str| ways.iter().fold(text.to_owned(), |text, (way, place)| way(&text, *place));
        let uri = format!("spiffe://{name}/{path}");
        let (dns, cn, uri_rule) = (format!("dns:{name}"), format!("cn:{name}"), format!("uri:{uri}"));
        prop_assert!(judged(&dns, &[], &[(DNS, spelled(&name).as_bytes())]).is_err());
        // A mark within a CN is another text, and no reader of CNs undoes it; so is a dot at the end of a path.
        let is_another = |text: &str| text.contains(['%', '#', '?', '/']) || text.ends_with('.');
        let text = spelled(&name);
        prop_assert!(is_another(&text) || judged(&cn, &[(UTF8, text.as_bytes())], &[]).is_err());
        let text = spelled(&uri);
        prop_assert!(text.ends_with('.') || judged(&uri_rule, &[], &[(URI, text.as_bytes())]).is_err());
    }

    #[test]
    fn a_plain_name_that_is_another_comes_in_as_without_the_deny(
        name in "[a-m]{1,8}(\\.[a-m]{1,8}){0,2}",
        other in "[n-z]{1,8}(\\.[n-z]{1,8}){0,2}",
    ) {
        prop_assert_eq!(judged(&format!("dns:{name}"), &[], &[(DNS, other.as_bytes())]), Ok(()));
        prop_assert_eq!(judged(&format!("cn:{name}"), &[(UTF8, other.as_bytes())], &[]), Ok(()));
        let uri = format!("spiffe://{other}/{name}");
        prop_assert_eq!(judged(&format!("uri:spiffe://{name}/*"), &[], &[(URI, uri.as_bytes())]), Ok(()));
    }
}
