//! Certificates and rules in words, and what the words say that is to come of them.

use crate::identity::Client;
use crate::identity::tests::{certificate, tlv};

const GREEN: &str = "7d6b3f5e-9a1c-4f0e-8b59-0f6a3a1d2c11";
const BLUE: &str = "00000000-0000-4000-8000-00000000b10e";
const SPACE: &str = "2a0c8e64-31f7-4b6e-a3ad-5d9d2c5b7e22";
const OTHER_SPACE: &str = "11111111-31f7-4b6e-a3ad-5d9d2c5b7e22";
const ORG: &str = "c9f1d2b3-44e5-4c66-9d77-8e88f9990a33";
const OTHER_ORG: &str = "22222222-44e5-4c66-9d77-8e88f9990a33";
const INSTANCE: &str = "51f0a007-a1b2-4c3d-5e6f-7a07";

/// A certificate in words: its subject's attributes and its alternative names, `ou=app:GUID`, `dns=a.example`.
pub(in crate::policy) type CertificateText = Vec<String>;

pub(in crate::policy) fn words(text: &str) -> CertificateText {
    let text = text
        .replace("GREEN", GREEN)
        .replace("BLUE", BLUE)
        .replace("OTHERSPACE", OTHER_SPACE)
        .replace("SPACE", SPACE)
        .replace("OTHERORG", OTHER_ORG)
        .replace("ORG", ORG)
        .replace("INSTANCE", INSTANCE);
    text.split_whitespace().map(|word| word.replace('~', " ")).collect()
}

/// Every certificate of the matrix.
pub(super) fn certificates() -> Vec<CertificateText> {
    let ours = "ou=organization:ORG ou=space:SPACE ou=app:GREEN cn=INSTANCE";
    let texts = [
        // Cloud Foundry's, whole and in part.
        ours.to_owned(),
        ours.replace("GREEN", "BLUE"),
        ours.replace("SPACE", "OTHERSPACE"),
        ours.replace("ORG", "OTHERORG"),
        ours.replace("INSTANCE", "other-instance"),
        "ou=organization:OTHERORG ou=space:OTHERSPACE ou=app:BLUE cn=other-instance".to_owned(),
        "ou=app:GREEN".to_owned(),
        "ou=space:SPACE".to_owned(),
        "ou=organization:ORG".to_owned(),
        "ou=app:GREEN cn=INSTANCE".to_owned(),
        "ou=app:GREEN ou=space:SPACE ou=organization:ORG".to_owned(),
        "cn=INSTANCE ou=app:GREEN ou=app:GREEN".to_owned(),
        "ou=Sales ou=app:GREEN cn=INSTANCE".to_owned(),
        // Cloud Foundry's, with names that an app may choose.
        format!("{ours} dns=INSTANCE ip=10.0.0.7"),
        format!("{ours} dns=gorouter.service.cf.internal"),
        format!("{ours} dns=a.example.com dns=gorouter.service.cf.internal uri=spiffe://example.org/ns/web"),
        ours.replace("INSTANCE", "gorouter"),
        format!("ou=app:BLUE cn=router dns=app:{GREEN}"),
        // Not Cloud Foundry's.
        "cn=gorouter".to_owned(),
        "cn=Gorouter".to_owned(),
        "cn=gorouter~".to_owned(),
        "cn=gorouter cn=other".to_owned(),
        "o=gorouter".to_owned(),
        "ou=gorouter".to_owned(),
        "dns=gorouter.service.cf.internal".to_owned(),
        "cn=router dns=gorouter.service.cf.internal".to_owned(),
        "cn=router dns=ssh-proxy.service.cf.internal".to_owned(),
        "cn=router dns=GoRouter.Service.CF.Internal".to_owned(),
        "cn=router dns=gorouter.service.cf.internal.evil.com".to_owned(),
        "cn=router dns=x.gorouter.service.cf.internal".to_owned(),
        "cn=router dns=a.example.com".to_owned(),
        "cn=router dns=a.b.example.com".to_owned(),
        "cn=router dns=example.com".to_owned(),
        "cn=router dns=*.example.com".to_owned(),
        "cn=router dns=A.EXAMPLE.COM".to_owned(),
        "cn=a.example.com".to_owned(),
        "cn=gorouter.service.cf.internal".to_owned(),
        "cn=router uri=spiffe://example.org/ns/web".to_owned(),
        "cn=router uri=spiffe://example.org/ns/web/deeper".to_owned(),
        "cn=router uri=spiffe://example.org/ns/".to_owned(),
        "cn=router uri=spiffe://example.org/other".to_owned(),
        "cn=router uri=https://gorouter.service.cf.internal".to_owned(),
        "cn=router email=gorouter.service.cf.internal".to_owned(),
        "cn=router ip=10.0.0.7".to_owned(),
        "".to_owned(),
        "ou=Sales o=Example cn=somebody".to_owned(),
        // Look-alikes of Cloud Foundry's.
        format!("cn=app:{GREEN}"),
        format!("o=app:{GREEN} cn=somebody"),
        format!("cn=somebody dns=app.{GREEN}"),
        format!("cn=somebody uri=app:{GREEN}"),
        format!("cn=somebody email=app:{GREEN}"),
        format!("ou={GREEN} cn={INSTANCE}"),
        format!("ou=apps:{GREEN}"),
        format!("l=app:{GREEN} cn=INSTANCE"),
        // Unsound.
        "ou=app:GREEN ou=app:BLUE cn=INSTANCE".to_owned(),
        "ou=app:BLUE ou=app:GREEN ou=space:SPACE".to_owned(),
        "ou=app: ou=space:SPACE cn=INSTANCE".to_owned(),
        "ou=app:GREEN~ cn=INSTANCE".to_owned(),
        "ou=~app:GREEN cn=INSTANCE".to_owned(),
        "ou=App:GREEN cn=INSTANCE".to_owned(),
        "ou=app:green cn=INSTANCE".to_owned(),
        "ou=app:GREEN cn=one cn=two".to_owned(),
        "ou=app:GREEN cn=in/valid".to_owned(),
        "ou=app:GREEN ou=space:".to_owned(),
        "ou=space:SPACE ou=space:OTHERSPACE ou=app:GREEN dns=gorouter.service.cf.internal".to_owned(),
    ];
    texts.iter().map(|text| words(text)).collect()
}

/// Every set of rules of the matrix: allow, deny.
pub(super) fn rule_sets() -> Vec<(CertificateText, CertificateText)> {
    [
        ("", ""),
        ("any", ""),
        ("anonymous", ""),
        ("cf:any", ""),
        ("cf:app:GREEN", ""),
        ("cf:app:BLUE", ""),
        ("cf:app:GREEN cf:app:BLUE", ""),
        ("cf:space:SPACE", ""),
        ("cf:org:ORG", ""),
        ("cf:instance:INSTANCE", ""),
        ("cf:same:app", ""),
        ("cf:same:space", ""),
        ("cf:same:org", ""),
        ("dns:gorouter.service.cf.internal", ""),
        ("dns:*.example.com", ""),
        ("uri:spiffe://example.org/ns/web", ""),
        ("uri:spiffe://example.org/ns/*", ""),
        ("cn:gorouter", ""),
        ("cn:INSTANCE", ""),
        ("any", "cf:app:BLUE"),
        ("any", "cf:any"),
        ("any", "any"),
        ("any anonymous", "dns:gorouter.service.cf.internal"),
        ("any", "dns:a.example.com"),
        ("any", "dns:*.example.com"),
        ("any", "cn:gorouter"),
        ("any", "uri:spiffe://example.org/ns/*"),
        ("dns:*.example.com", "uri:spiffe://example.org/ns/web cn:somebody"),
        ("cf:org:ORG", "cf:space:SPACE"),
        ("cf:any dns:*.example.com", "cf:instance:INSTANCE cn:router"),
        ("cf:app:GREEN dns:gorouter.service.cf.internal", "anonymous"),
        ("", "cf:app:BLUE"),
    ]
    .map(|(allow, deny)| (words(allow), words(deny)))
    .to_vec()
}

/// The certificate that these words describe, written by hand: no library that reads it has made it. All attributes of
/// the subject stand in one RDN or in one each.
pub(in crate::policy) fn client(words: &CertificateText, in_one_rdn: bool) -> Client {
    let (mut subject, mut names) = (Vec::new(), Vec::new());
    for (i, (kind, value)) in words.iter().map(|word| word.split_once('=').unwrap()).enumerate() {
        let string_type = if i % 2 == 0 { 12 } else { 19 };
        let mut attribute = |arc| subject.push((arc, string_type, value.as_bytes()));
        match kind {
            "cn" => attribute(3),
            "l" => attribute(7),
            "o" => attribute(10),
            "ou" => attribute(11),
            "email" => names.extend(tlv(0x81, &[value.as_bytes()])),
            "dns" => names.extend(tlv(0x82, &[value.as_bytes()])),
            "uri" => names.extend(tlv(0x86, &[value.as_bytes()])),
            "ip" => names.extend(tlv(0x87, &[&value.parse::<std::net::Ipv4Addr>().unwrap().octets()])),
            kind => panic!("{kind}"),
        }
    }
    let names = tlv(0x30, &[&names]);
    let lists: &[&[u8]] = if names.len() > 2 { &[&names] } else { &[] };
    let rdns: Vec<_> = if in_one_rdn && !subject.is_empty() { vec![&subject[..]] } else { subject.chunks(1).collect() };
    // Its issuer is of another app, which must not matter.
    let stranger = format!("app:{BLUE}");
    Client::from_leaf(&certificate(&rdns, &[&[(11, 12, stranger.as_bytes())]], lists)).unwrap()
}

fn all_of<'a>(words: &'a CertificateText, kind: &str) -> Vec<&'a str> {
    words.iter().filter_map(|word| word.strip_prefix(kind)?.strip_prefix('=')).collect()
}

fn is_guid(text: &str) -> bool {
    let digits = text.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
    digits && text.chars().all(|c| c == '-' || c.is_ascii_hexdigit())
}

/// What the words say of the identity: `None` if it is unsound, else the values of app, space, organization, instance.
pub(super) fn expected_identity(words: &CertificateText) -> Option<[Option<String>; 4]> {
    let mut parts = [const { None }; 4];
    for (part, prefix) in parts.iter_mut().zip(["app:", "space:", "organization:"]) {
        for unit in all_of(words, "ou") {
            if unit.replace(' ', "").to_lowercase().starts_with(prefix) {
                let guid = unit.strip_prefix(prefix).filter(|guid| is_guid(guid))?;
                if part.as_ref().is_some_and(|earlier| earlier != guid) {
                    return None;
                }
                *part = Some(guid.to_owned());
            }
        }
    }
    if parts.iter().all(Option::is_none) {
        return Some(parts);
    }
    for cn in all_of(words, "cn") {
        let sound = !cn.is_empty() && cn.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        if !sound || parts[3].as_ref().is_some_and(|earlier| earlier != cn) {
            return None;
        }
        parts[3] = Some(cn.to_owned());
    }
    Some(parts)
}

/// Whether a rule, in its words, means the holder of a certificate, in its words.
pub(super) fn expected_match(rule: &str, words: &CertificateText, denies: bool) -> bool {
    let Some(identity) = expected_identity(words) else { return false };
    let of_cf = identity.iter().any(Option::is_some);
    let [app, space, organization, instance] = identity;
    let is = |part: Option<String>, value: &str| part.as_deref() == Some(value);
    let below = |name: &str, parent: &str| {
        let labels: Vec<_> = name.split('.').collect();
        labels.len() == parent.split('.').count() + 1 && labels[1..].join(".") == parent && labels[0] != "*"
    };
    let (kind, value) = rule.rsplit_once(':').unwrap_or((rule, ""));
    match (kind, value) {
        ("any", "") => true,
        ("anonymous", "") => false,
        ("cf", "any") => of_cf,
        ("cf:app", guid) => is(app, guid),
        ("cf:space", guid) => is(space, guid),
        ("cf:org", guid) => is(organization, guid),
        ("cf:instance", id) => is(instance, id),
        ("cf:same", "app") => is(app, GREEN),
        ("cf:same", "space") => is(space, SPACE),
        ("cf:same", "org") => is(organization, ORG),
        ("dns", name) => {
            let names = all_of(words, "dns").into_iter().map(str::to_lowercase);
            let parent = name.strip_prefix("*.");
            (denies || !of_cf) && names.into_iter().any(|n| parent.map_or(n == name, |parent| below(&n, parent)))
        }
        ("uri:spiffe", uri) => {
            let parent = uri.strip_suffix('*');
            let meant =
                |u: &str| u == uri || parent.is_some_and(|parent| u.len() > parent.len() && u.starts_with(parent));
            (denies || !of_cf) && all_of(words, "uri").iter().filter_map(|u| u.strip_prefix("spiffe:")).any(meant)
        }
        ("cn", name) => (denies || !of_cf) && all_of(words, "cn") == [name],
        other => panic!("{other:?}"),
    }
}

/// Whether a holder who is not meant by a rule that denies might be, under a name that is written in another way.
pub(super) fn expected_doubt(rule: &str, words: &CertificateText) -> bool {
    let Some(identity) = expected_identity(words) else { return false };
    let is_sign = |name: &str| name.is_empty() && identity.iter().any(Option::is_some);
    let plain = |name: &str| {
        let label = |label: &str| !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        name.split('.').all(label)
    };
    let (cns, names) = (all_of(words, "cn"), all_of(words, "dns"));
    let (kind, value) = rule.rsplit_once(':').unwrap_or((rule, ""));
    match kind {
        "dns" if names.is_empty() => {
            let by_wildcard = |cn: &str| {
                value
                    .strip_prefix("*.")
                    .is_some_and(|parent| cn.split_once('.').is_some_and(|(_, rest)| rest == parent))
            };
            cns.len() > 1 || cns.iter().any(|cn| *cn == value || by_wildcard(cn))
        }
        "dns" => names.iter().filter(|name| !is_sign(name)).any(|name| match name.strip_prefix("*.") {
            Some(parent) => !plain(parent) || value.split_once('.').is_some_and(|(_, of)| of == parent),
            None => !plain(name),
        }),
        "cn" => cns.len() > 1 || cns.iter().any(|cn| cn.trim() != *cn || cn.eq_ignore_ascii_case(value)),
        "uri:spiffe" => all_of(words, "uri").iter().any(|uri| uri.starts_with("spiffe:") && uri.ends_with('/')),
        _ => false,
    }
}
