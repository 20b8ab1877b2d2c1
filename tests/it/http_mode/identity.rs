//! Who the client is, as the app is told.

use base64ct::{Base64, Encoding};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use vestibule::issuer::Credential;

use super::{Front, GET, fields};
use crate::clients::someone;
use crate::support::credentials::leaf;
use crate::support::http_app::HttpApp;

const XFCC: &str = "x-forwarded-client-cert";

/// The head that the app gets of `request`, sent by the holder of `credential`, or by nobody.
fn head(options: &str, credential: Option<&Credential>, request: &str) -> String {
    let app = HttpApp::saying("ok");
    let front = Front::open(app.addr(), options);
    let mut talk = match credential {
        Some(credential) => front.talk_as(credential),
        None => front.talk(),
    };
    assert_eq!(talk.ask(request).text(), "ok");
    app.asked()[0].head.clone()
}

fn base64(der: &[u8]) -> String {
    Base64::encode_string(der)
}

fn sha256(bytes: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_app_gets_the_certificate_of_its_client_on_one_line_by_itself() {
    let (_, pair) = someone();
    let der = leaf(pair.cert_pem.as_bytes());
    let head = head("", Some(&pair), GET);
    let value = fields(&head, XFCC);
    assert_eq!(Base64::decode_vec(value[0]).unwrap(), der.as_ref());
    assert_eq!((value.len(), value[0]), (1, base64(&der).as_str()));
}

#[test]
fn envoys_form_has_the_hash_and_the_subject_in_the_order_that_envoy_writes() {
    let (spec, pair) = someone();
    let der = leaf(pair.cert_pem.as_bytes());
    let head = head("--xfcc-form envoy", Some(&pair), GET);
    let instance = spec.instance.as_ref().unwrap().as_str();
    let subject =
        format!("CN={instance},OU=organization:{}+OU=space:{}+OU=app:{}", spec.organization, spec.space, spec.app);
    let start = format!("Hash=\"{}\";Subject=\"{subject}\";URI=\"\"", sha256(&der));
    let value = fields(&head, XFCC);
    assert!(value.len() == 1 && value[0].starts_with(&start), "{value:?} and not {start}");
}

#[test]
fn envoys_form_has_the_details_that_are_asked_for_and_no_others() {
    let (_, pair) = someone();
    let der = leaf(pair.cert_pem.as_bytes());
    let with = head("--xfcc-form envoy --xfcc-details hash", Some(&pair), GET);
    assert_eq!(fields(&with, XFCC), [format!("Hash=\"{}\"", sha256(&der))]);
    let with = head("--xfcc-form envoy --xfcc-details cert", Some(&pair), GET);
    let pem = pair.cert_pem.split_inclusive("-----END CERTIFICATE-----").next().unwrap();
    let mut encoded = String::new();
    for letter in format!("{}\n", pem.trim()).chars() {
        match letter {
            '+' => encoded.push_str("%2B"),
            '/' => encoded.push_str("%2F"),
            '=' => encoded.push_str("%3D"),
            ' ' => encoded.push_str("%20"),
            '\n' => encoded.push_str("%0A"),
            _ => encoded.push(letter),
        }
    }
    assert_eq!(fields(&with, XFCC), [format!("Cert=\"{encoded}\"")]);
}

#[test]
fn rfc9440_has_fields_of_its_own_alone_or_beside_another_form() {
    let (_, pair) = someone();
    let ders: Vec<_> = CertificateDer::pem_slice_iter(pair.cert_pem.as_bytes()).map(Result::unwrap).collect();
    let sequence = |der: &CertificateDer<'_>| format!(":{}:", base64(der));
    let chain: Vec<_> = ders[1..].iter().map(sequence).collect();
    for (options, raw) in [("--xfcc-form rfc9440", vec![]), ("--xfcc-form raw,rfc9440", vec![base64(&ders[0])])] {
        let forged = "GET / HTTP/1.1\r\nHost: a\r\nClient-Cert: :AA==:\r\nClient-Cert-Chain: :AA==:\r\n\r\n";
        let head = head(options, Some(&pair), forged);
        assert_eq!(fields(&head, "client-cert"), [sequence(&ders[0])]);
        assert_eq!(fields(&head, "client-cert-chain"), [chain.join(", ")]);
        assert_eq!(fields(&head, XFCC), raw);
    }
}

/// A request that forwards two identities, in two spellings, and names the field as one for this connection alone.
const FORGED: &str = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Client-Cert: one\r\nX_Forwarded_Client.Cert: two\r\n\
    x-vestibule-app: forged\r\nConnection: X-Forwarded-Client-Cert, X-Vestibule-App\r\n\r\n";

/// The same, in the spelling that counts, on two lines.
const FORWARDED: &str =
    "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Client-Cert: one\r\nX-Forwarded-Client-Cert: two\r\n\r\n";

#[test]
fn what_a_client_says_of_itself_never_arrives_and_cannot_have_ours_removed() {
    let (_, pair) = someone();
    let der = leaf(pair.cert_pem.as_bytes());
    let with = head("", Some(&pair), FORGED);
    assert_eq!(fields(&with, XFCC), [base64(&der)]);
    let without = head("", None, FORGED);
    for name in [XFCC, "x-vestibule-app", "x_forwarded_client.cert"] {
        assert!(fields(&without, name).is_empty(), "{without}");
    }
    assert!(!with.contains("two") && !with.contains("forged"), "{with}");
}

#[test]
fn trailers_forge_no_identity() {
    let (_, pair) = someone();
    let app = HttpApp::saying("ok");
    let front = Front::open(app.addr(), "");
    let request = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\
        Trailer: X-Forwarded-Client-Cert, X_Forwarded_Client_Cert, X-Sum\r\n\r\n3\r\nabc\r\n0\r\n\
        X-Forwarded-Client-Cert: one\r\nX_Forwarded_Client_Cert: two\r\nX-Sum: 3\r\n\r\n";
    assert_eq!(front.talk_as(&pair).ask(request).text(), "ok");
    let body = String::from_utf8(app.asked()[0].body.clone()).unwrap().to_ascii_lowercase();
    assert!(body.contains("x-sum: 3\r\n") && !body.contains("client"), "{body}");
}

#[test]
fn the_modes_pass_set_and_add_as_envoys_of_the_same_names() {
    let (_, pair) = someone();
    let own = base64(&leaf(pair.cert_pem.as_bytes()));
    let sent = vec!["one".to_owned(), "two".to_owned()];
    for (mode, with, without) in [
        ("sanitize", vec![], vec![]),
        ("sanitize-set", vec![own.clone()], vec![]),
        ("append-forward", vec![format!("one,two,{own}")], vec![]),
        ("forward-only", sent.clone(), vec![]),
        ("always-forward-only", sent.clone(), sent.clone()),
    ] {
        let options = format!("--xfcc {mode}");
        assert_eq!(fields(&head(&options, Some(&pair), FORWARDED), XFCC), with, "{mode}");
        assert_eq!(fields(&head(&options, None, FORWARDED), XFCC), without, "{mode}, anonymous");
    }
    let alone = head("--xfcc append-forward", Some(&pair), GET);
    assert_eq!(fields(&alone, XFCC), [own]);
}

#[test]
fn fields_of_our_own_have_the_parts_of_the_identity() {
    let (spec, pair) = someone();
    let instance = spec.instance.as_ref().unwrap().as_str();
    let with = head("--caller-headers", Some(&pair), FORGED);
    assert_eq!(fields(&with, "x-vestibule-app"), [spec.app.to_string()]);
    assert_eq!(fields(&with, "x-vestibule-space"), [spec.space.to_string()]);
    assert_eq!(fields(&with, "x-vestibule-org"), [spec.organization.to_string()]);
    assert_eq!(fields(&with, "x-vestibule-instance"), [instance]);
    assert_eq!(fields(&with, "x-vestibule-subject-kind"), ["cf"]);
    let without = head("--caller-headers", None, FORGED);
    assert!(fields(&without, "x-vestibule-app").is_empty(), "{without}");
    assert_eq!(fields(&without, "x-vestibule-subject-kind"), ["anonymous"]);
}
