use super::*;

use proptest::prelude::*;

/// A block as every tool writes it.
fn block(label: &str, der: &[u8]) -> String {
    let base64 = Base64::encode_string(der);
    let lines: Vec<_> = base64.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn der(first: u8) -> Vec<u8> {
    (0..150).map(|at| first.wrapping_add(at)).collect()
}

/// What was read, without where it stood.
fn read(text: &[u8]) -> Vec<(BlockKind, Vec<u8>)> {
    Pem::read(text).unwrap().blocks.into_iter().map(|block| (block.kind, block.der)).collect()
}

fn fault(text: &[u8]) -> (usize, PemFault) {
    let error = Pem::read(text).unwrap_err();
    (error.line, error.fault)
}

fn two() -> (String, Vec<(BlockKind, Vec<u8>)>) {
    let text = block("CERTIFICATE", &der(1)) + &block("X509 CRL", &der(2));
    (text, vec![(BlockKind::Certificate, der(1)), (BlockKind::Crl, der(2))])
}

#[test]
fn blocks_are_read_however_their_lines_are_written() {
    let (text, both) = two();
    let indented: String = text.lines().map(|line| format!("    {line}  \n")).collect();
    for odd in [
        text.clone(),
        text.replace('\n', "\r\n"),
        text.replace('\n', "\r"),
        text.replace('\n', "\n\n"),
        text.replace("-----\n-----", "----------"),
        format!("\u{feff}{text}"),
        format!("\u{feff}{indented}"),
        indented.replace('\n', "\r\n"),
        text.trim_end().to_owned(),
        text.replace("-----\n-----", "-----   -----"),
        text.replace("-----\n-----", "-----"),
        text.replace("-----\n-----", "-----\n\u{feff}-----"),
    ] {
        assert_eq!(read(odd.as_bytes()), both, "{odd}");
    }
}

#[test]
fn text_around_blocks_is_text_whatever_dashes_are_in_it() {
    let (text, both) = two();
    for around in [
        "# managed - do not edit",
        "---",
        "-----",
        "------------",
        "----- header -----",
        "END",
        "-----END",
        "a:b",
        "\t",
    ] {
        let odd = format!("{around}\n{text}{around}\n{text}{around}");
        assert_eq!(read(odd.as_bytes()), [both.clone(), both.clone()].concat(), "{around}");
    }
    for (unsure, end) in
        [(true, "-"), (true, "-----"), (false, "-----\n"), (false, "------"), (false, "x-"), (false, "")]
    {
        assert_eq!(Pem::read((text.clone() + end).as_bytes()).unwrap().may_be_unfinished, unsure, "{end:?}");
    }
    assert!(read(b"no block at all - none\n").is_empty());
    assert!(read(b"").is_empty());
}

#[test]
fn every_label_leads_to_a_block_or_is_named() {
    let text = ["X509 CERTIFICATE", "RSA PRIVATE KEY", "EC PARAMETERS", "PUBLIC KEY", "MIIEvQIBADANBgkqhkiG9w0B"]
        .map(|label| block(label, &der(3)))
        .concat();
    let pem = Pem::read(text.as_bytes()).unwrap();
    assert_eq!(pem.certificates().count(), 1);
    let said = pem.passed_over(|kind| kind == BlockKind::Certificate);
    assert_eq!(
        said,
        [
            "line 7: a block RSA PRIVATE KEY is passed over",
            "line 19: a block PUBLIC KEY is passed over",
            "line 25: a block of an unknown kind is passed over"
        ]
    );
}

#[test]
fn marks_within_other_text_are_blocks_if_blocks_follow_and_are_named_if_not() {
    let (text, both) = two();
    let joined = format!("# the end of a file{text}");
    assert_eq!(read(joined.as_bytes()), both);
    let commented: String = text.lines().map(|line| format!("# {line}\n")).collect();
    let pem = Pem::read((commented + &text).as_bytes()).unwrap();
    assert_eq!((pem.blocks.len(), &pem.outside.stray_marks[..]), (2, &[1, 6, 7, 12][..]));
    assert_eq!(pem.passed_over(|_| true)[0], "line 1: a mark within other text is passed over");
}

#[test]
fn what_is_wrong_is_said_by_its_kind_and_its_line() {
    let key = block("RSA PRIVATE KEY", &der(4));
    let whole = |faulty: &str| format!("first line\n{faulty}");
    for (faulty, expected) in [
        (key.replace('\n', " "), PemFault::LineBreaksMissing(key.len() - 62)),
        (key.replace('\n', ""), PemFault::LineBreaksMissing(key.len() - 64)),
        (key.replace('\n', "\\n"), PemFault::LineBreaksEscaped),
        (key.replace("-----END RSA PRIVATE KEY-----", "-----END PRIVATE KEY-----"), PemFault::OtherEnd),
        (key.replace("-----END RSA PRIVATE KEY-----\n", &key), PemFault::NoEnd),
        (key.replace("KEY-----\nB", "KEY----\nB"), PemFault::MarkUnclosed),
        (key.replace("BwgJ", "B!gJ"), PemFault::NotBase64),
        (block("CERTIFICATE", b""), PemFault::Empty),
        (key.replacen("-----BEGIN", "----BEGIN", 1), PemFault::NoBegin),
        (key.replacen("-----BEGIN ", "-----begin ", 1), PemFault::NoBegin),
        (key.replacen("-----BEGIN ", "-----BEGIN\t", 1), PemFault::NoBegin),
    ] {
        assert_ne!(faulty, key, "{expected}");
        let (line, found) = fault(whole(&faulty).as_bytes());
        // It is the END mark that is noticed.
        let line = if found == PemFault::NoBegin { line - key.lines().count() + 1 } else { line };
        match (&found, &expected) {
            (PemFault::LineBreaksMissing(_), PemFault::LineBreaksMissing(_)) => {}
            _ => assert_eq!(found, expected, "{faulty}"),
        }
        assert_eq!(line, 2, "{faulty}");
    }
    assert!(
        fault(key.replace('\n', " ").as_bytes())
            .1
            .to_string()
            .starts_with("the line breaks are missing: one line of 2")
    );
}

#[test]
fn binary_data_between_blocks_is_named() {
    let (text, both) = two();
    let odd = [text.as_bytes(), &[0x30, 0x82, 1, 2, 0, b'\n'], text.as_bytes()].concat();
    assert_eq!(read(&odd), [both.clone(), both].concat());
    let said = Pem::read(&odd).unwrap().passed_over(|_| true);
    assert_eq!(said, ["line 13: what is not text is passed over"]);
}

#[test]
fn a_text_that_is_cut_off_is_torn_and_never_a_shorter_one() {
    let (text, both) = two();
    let first = block("CERTIFICATE", &der(1)).len();
    for end in 1..text.len() - 1 {
        match Pem::read(&text.as_bytes()[..end]) {
            Err(error) => assert_eq!(error.fault, PemFault::Torn, "{end}"),
            // Between two blocks, or where it cannot be told.
            Ok(pem) => {
                let near = end < 6 || (first - 1..first + 6).contains(&end);
                assert!(near && (pem.may_be_unfinished || end == first || end == first - 1), "{end}");
            }
        }
    }
    assert_eq!(read(text.as_bytes()), both);
}

#[test]
fn an_encrypted_key_is_known_for_one_in_both_forms() {
    let pkcs8 = block("ENCRYPTED PRIVATE KEY", &der(5));
    let pkcs1 = block("RSA PRIVATE KEY", &der(5))
        .replace("KEY-----\nB", "KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,0011\n\nB");
    for text in [pkcs8, pkcs1.clone(), pkcs1.replace('\n', "\r\n")] {
        let pem = Pem::read(text.as_bytes()).unwrap();
        assert_eq!(pem.blocks[0].kind, BlockKind::EncryptedKey, "{text}");
        assert!(pem.has_key() && pem.keys().next().is_none());
    }
    let with_comment = block("CERTIFICATE", &der(5)).replace("CATE-----\nB", "CATE-----\nComment: mine\n\nB");
    assert_eq!(read(with_comment.as_bytes()), [(BlockKind::Certificate, der(5))]);
}

#[test]
fn the_settings_of_a_trusted_certificate_are_heeded() {
    let certificate = [0x30, 3, 2, 1, 7];
    let client = [6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 2];
    let server = [6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 1];
    let tlv = |tag: u8, value: &[u8]| [&[tag, value.len() as u8], value].concat();
    let with = |settings: &[u8]| block("TRUSTED CERTIFICATE", &[&certificate[..], settings].concat());
    for (settings, rejects) in [
        (vec![], false),
        (tlv(0x30, &tlv(12, b"alias")), false),
        (tlv(0x30, &tlv(0x30, &client)), false),
        (tlv(0x30, &tlv(0x30, &server)), true),
        (tlv(0x30, &tlv(0xa0, &server)), false),
        (tlv(0x30, &tlv(0xa0, &[&server[..], &client].concat())), true),
    ] {
        let pem = Pem::read(with(&settings).as_bytes()).unwrap();
        let block = pem.certificates().next().unwrap();
        assert_eq!((&block.der[..], block.rejects_clients), (&certificate[..], rejects), "{settings:?}");
    }
    assert_eq!(fault(with(&[1, 2, 3]).as_bytes()).1, PemFault::TrustSettings);
}

#[test]
fn nothing_of_a_block_is_shown() {
    let text = block("RSA PRIVATE KEY", &der(6));
    let pem = Pem::read(text.as_bytes()).unwrap();
    assert_eq!(format!("{:?}", pem.blocks[0]), "Block { line: 1, kind: Key(Pkcs1), .. }");
}

proptest! {
    #[test]
    fn no_text_brings_it_down_and_no_mark_is_lost(
        parts in prop::collection::vec("-----BEGIN |-----END |-----|CERTIFICATE|RSA PRIVATE KEY|\\\\n|\n|\r| |QUJD|=|:|ENCRYPTED|-|[a-z]{1,3}", 0..40)
    ) {
        let text = parts.concat();
        if let Ok(pem) = Pem::read(text.as_bytes()) {
            let marks = text.matches("-----BEGIN ").count();
            prop_assert!(pem.blocks.len() + pem.outside.stray_marks.len() >= marks);
        }
    }

    #[test]
    fn what_tools_write_is_read_as_it_was_meant(
        blocks in prop::collection::vec((prop::sample::select(vec!["CERTIFICATE", "X509 CRL", "PRIVATE KEY"]), prop::collection::vec(any::<u8>(), 1..200)), 0..5),
        between in "[a-z# \n:-]{0,20}\n",
    ) {
        let text: String = blocks.iter().map(|(label, der)| format!("{between}{}", block(label, der))).collect();
        let found: Vec<_> = Pem::read(text.as_bytes()).unwrap().blocks.into_iter().map(|block| block.der).collect();
        prop_assert_eq!(found, blocks.into_iter().map(|(_, der)| der).collect::<Vec<_>>());
    }
}

#[test]
fn a_block_whose_marks_are_misspelt_at_both_ends_does_not_vanish_behind_a_good_one() {
    let good = block("CERTIFICATE", &der(1));
    let other = block("CERTIFICATE", &der(2));
    for misspelt in [
        other.to_lowercase().replace(&Base64::encode_string(&der(2)).to_lowercase(), ""),
        other.replace("-----BEGIN ", "-----begin ").replace("-----END ", "-----end "),
        other.replace("-----BEGIN ", "-----BEGIN\t").replace("-----END ", "-----END\t"),
        other.replace("-----BEGIN ", "-----BEGIN\u{a0}").replace("-----END ", "-----END\u{a0}"),
        other.replace("-----BEGIN ", "----BEGIN ").replace("-----END ", "----END "),
        other.replace("-----", "\u{2014}\u{2014}"),
        other.replace("-----BEGIN ", "-----BEGINN ").replace("-----END ", "-----ENDE "),
        other.lines().filter(|line| !line.starts_with('-')).map(|line| format!("{line}\n")).collect(),
        other.replace("-----BEGIN ", "---BEGIN ").replace("-----END ", "---END ").replace('\n', ""),
    ] {
        for text in [good.clone() + &misspelt, misspelt.clone() + &good] {
            let named = match Pem::read(text.as_bytes()) {
                Err(error) => matches!(error.fault, PemFault::NoMarks | PemFault::LineBreaksMissing(_)),
                Ok(pem) => !pem.passed_over(|_| true).is_empty(),
            };
            assert!(named, "{text}");
        }
    }
}

#[test]
fn fingerprints_and_prose_between_blocks_are_no_blocks() {
    let fingerprint = "9f86d081884c7d659a2feaa0c55ad0159f86d081884c7d659a2feaa0c55ad015";
    for prose in [
        fingerprint.to_owned(),
        fingerprint.to_uppercase(),
        format!("# SHA-256: {fingerprint}"),
        "The end of the certificates of the old data centre".to_owned(),
        "# from https://ca.example/Some/Long/Path/ThatGoesOnForLongerThanALine/Root".to_owned(),
        "Endpoint CA\n===========".to_owned(),
    ] {
        let text = format!("{prose}\n{}{prose}\n", block("CERTIFICATE", &der(1)));
        let pem = Pem::read(text.as_bytes()).unwrap();
        assert!(pem.passed_over(|_| true).len() <= 2 && pem.blocks.len() == 1, "{prose}");
        assert!(pem.outside.stray_marks.is_empty(), "{prose}");
    }
}
