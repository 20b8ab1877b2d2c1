use super::*;

use proptest::prelude::*;
use strum::VariantArray;

const ALL: &[SecretSource] = SecretSource::VARIANTS;

fn parsed(value: &str) -> Reference {
    match &parse(value, ALL, ReferenceLocation::Variable).unwrap().unwrap().0[..] {
        [TemplatePart::Reference(reference)] => reference.clone(),
        pieces => panic!("{pieces:?}"),
    }
}

fn kv(path: &str, version: Option<u32>) -> Request {
    Request::Vault { path: path.to_owned(), version }
}

fn plain(request: Request, key: Option<&str>) -> Reference {
    Reference { request, key: key.map(str::to_owned), as_file: false, optional: false }
}

#[test]
fn a_whole_value_is_a_reference_to_one_secret() {
    assert_eq!(parsed("vault:secret/data/app#pass word"), plain(kv("secret/data/app", None), Some("pass word")));
    assert_eq!(parsed("vault:secret/data/app#a.b#3"), plain(kv("secret/data/app", Some(3)), Some("a.b")));
    assert_eq!(parsed("credhub:/c/broker/x"), plain(Request::CredHub { name: "/c/broker/x".to_owned() }, None));
    assert_eq!(parsed("credhub:/x#user"), plain(Request::CredHub { name: "/x".to_owned() }, Some("user")));
    assert_eq!(parsed("file:/etc/secret"), plain(Request::File { path: "/etc/secret".into() }, None));
    let sealed = Request::Transit {
        mount: "team/transit".to_owned(),
        key: "app-1".to_owned(),
        ciphertext: "vault:v2:Ab+/cd==".to_owned(),
    };
    assert_eq!(parsed("transit:team/transit/app-1:vault:v2:Ab+/cd=="), plain(sealed, None));
}

#[test]
fn options_stand_at_the_end_of_each_kind() {
    for value in ["vault:a/b#c", "credhub:/a", "file:/a", "transit:m/k:vault:v1:AA=="] {
        let options = |options: &str| {
            let reference = parsed(&format!("{value}{options}"));
            assert_eq!(Reference { as_file: false, optional: false, ..reference.clone() }, parsed(value));
            (reference.as_file, reference.optional)
        };
        assert_eq!(options("?file"), (true, false));
        assert_eq!(options("?optional"), (false, true));
        assert_eq!(options("?file&optional"), (true, true));
        assert_eq!(options("?optional&file"), (true, true));
    }
}

#[test]
fn references_stand_within_a_longer_value_several_times() {
    let Some(SecretTemplate(pieces)) =
        parse("pg://${vault:a#u}:${vault:a#p?file}@h/$x{", ALL, ReferenceLocation::Variable).unwrap()
    else {
        panic!("none");
    };
    let reference = |key, as_file| TemplatePart::Reference(Reference { as_file, ..plain(kv("a", None), Some(key)) });
    let text = |text: &str| TemplatePart::Text(text.to_owned());
    assert_eq!(pieces, [text("pg://"), reference("u", false), text(":"), reference("p", true), text("@h/$x{")]);
    assert_eq!(parse("${vault:a#b}", ALL, ReferenceLocation::Document).unwrap().unwrap().0.len(), 1);
}

#[test]
fn what_is_for_a_source_that_is_not_listed_is_left_alone() {
    for (value, source) in [
        ("vault:a#b", SecretSource::Vault),
        ("x${vault:a#b}", SecretSource::Vault),
        (">>vault:a#b", SecretSource::Vault),
        ("transit:m/k:vault:v1:AA==", SecretSource::Transit),
        ("credhub:/a", SecretSource::Credhub),
        ("file:/a", SecretSource::File),
    ] {
        let others: Vec<_> = ALL.iter().copied().filter(|other| *other != source).collect();
        assert_eq!(parse(value, &others, ReferenceLocation::Variable), Ok(None), "{value}");
        assert_ne!(parse(value, &[source], ReferenceLocation::Variable), Ok(None), "{value}");
    }
    for value in
        ["", "vault", "Vault:a#b", "file:///a", "file:a.db?mode=ro", "$vault:a", "postgres://a?b", " vault:a#b"]
    {
        assert_eq!(parse(value, ALL, ReferenceLocation::Variable), Ok(None), "{value}");
    }
}

#[test]
fn documents_refer_to_vault_alone() {
    for value in ["credhub:/a", "file:/etc/passwd", "file:/a?optional"] {
        assert_eq!(parse(value, ALL, ReferenceLocation::Document), Ok(None), "{value}");
    }
    assert!(parse("vault:a#b?file", ALL, ReferenceLocation::Document).unwrap().is_some());
    assert!(parse("transit:m/k:vault:v1:AA==", ALL, ReferenceLocation::Document).unwrap().is_some());
    assert!(
        parse("vault:a#b?optional", ALL, ReferenceLocation::Document).unwrap_err().what.contains("only a variable")
    );
}

#[test]
fn what_cannot_be_resolved_is_refused_with_the_remedy_and_not_repeated() {
    for (value, what) in [
        (">>vault:hidden#b", "would write"),
        ("x${>>vault:hidden#b}", "would write"),
        ("vault:hidden#${.user}", "template"),
        ("${vault:hidden#${.user}}", "template"),
        ("vault:v1:hidden", "which key opens it"),
        ("${vault:v1:hidden}", "which key opens it"),
        ("vault:login", "asks for a token"),
        ("vault:", "which part"),
        ("vault:hidden", "which part"),
        ("vault:hidden#", "which part"),
        ("vault:#hidden", "no path"),
        ("vault:/hidden#b", "no path"),
        ("vault:hidden//a#b", "no path"),
        ("vault:hidden/../a#b", "no path"),
        ("vault:hidden?x/a#b", "behind its ?"),
        ("vault:hidden\0#b", "no path"),
        ("vault:hidden#b\n", "no text"),
        ("vault:hidden#b#", "version"),
        ("vault:hidden#b#0", "version"),
        ("vault:hidden#b#-1", "version"),
        ("vault:hidden#b#1#2", "more than two #"),
        ("vault:hidden#b?File", "behind its ?"),
        ("vault:hidden#b?", "behind its ?"),
        ("vault:hidden#b?file&file", "twice"),
        ("a${vault:hidden#b", "without a }"),
        ("transit:hidden", "no sealed value"),
        ("transit:hidden:vault:v1:AA", "which key"),
        ("transit:/hidden:vault:v1:AA", "which key"),
        ("transit:m/hidden:vault:AA", "not whole"),
        ("transit:m/hidden:vault:v1:", "not whole"),
        ("transit:m/hidden:vault:v1:A A", "not whole"),
        ("credhub:hidden", "no name"),
        ("credhub:/", "no name"),
        ("credhub:/hidden/..", "no name"),
        ("credhub:/hidden#", "without a key"),
        ("credhub:/hidden#a#b", "without a key"),
        ("file:/hidden/", "no file"),
        ("file:/hidden?mode", "behind its ?"),
    ] {
        let problem = parse(value, ALL, ReferenceLocation::Variable).expect_err(value);
        assert!(problem.what.contains(what), "{value}: {problem}");
        assert!(!problem.help.is_empty() && !problem.to_string().contains("hidden"), "{value}: {problem}");
    }
}

proptest! {
    #[test]
    fn any_text_is_read_and_what_is_left_alone_has_nothing_of_ours(text in "(vault:|transit:|file:|credhub:|\\$\\{vault:|>>)?[ -~#?:/.}]{0,20}\\PC{0,3}") {
        for place in [ReferenceLocation::Variable, ReferenceLocation::Document] {
            if let Ok(Some(SecretTemplate(pieces))) = parse(&text, ALL, place) {
                prop_assert!(pieces.iter().any(|piece| matches!(piece, TemplatePart::Reference(_))));
                for piece in pieces {
                    if let TemplatePart::Text(text) = piece {
                        prop_assert!(!text.contains(INLINE));
                    }
                }
            }
        }
    }
}
