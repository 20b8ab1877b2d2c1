//! Paths of requests: what is folded is folded once and for all, and holds nothing that could be read in two ways.

use vestibule::request_path::fold;

pub fn fuzz(path: &[u8]) {
    let Ok(folded) = fold(path) else { return };
    let text = folded.as_str();
    let twice = fold(text).expect("what is folded is a path");
    assert_eq!(twice.as_str(), text);
    assert!(!twice.is_changed());
    assert!(text == "*" || text.starts_with('/'));
    assert!(text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\?#".contains(&byte)));
    assert!(!text.contains("//"));
    assert!(text.split('/').all(|segment| !matches!(segment.split(';').next(), Some("." | ".."))));
}
