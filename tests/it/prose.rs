//! The form of what is written for people: lines that can be read, and the words that they search for.

use std::fs;
use std::path::{Path, PathBuf};

/// More characters make a line that nobody reads, and that no difference between two versions shows.
const LONGEST: usize = 400;

/// Every Markdown file below `folder` that is ours.
fn documents(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && !name.starts_with('.') && !["target", "fixtures", "corpus", "node_modules"].contains(&name)
        {
            found.extend(documents(&path));
        } else if name.ends_with(".md") {
            found.push(path);
        }
    }
    found
}

/// The lines of `text` that are prose, with their numbers. A row of a table has to be one line, and so has what programs print.
fn prose(text: &str) -> Vec<(usize, &str)> {
    let mut in_code = false;
    let mut lines = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        } else if !in_code && !line.starts_with('|') {
            lines.push((at + 1, line));
        }
    }
    lines
}

#[test]
fn no_line_of_prose_is_longer_than_400_characters() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let documents = documents(root);
    for name in ["README.md", "docs/secrets.md", "bench/RESULTS.md", "fuzz/README.md"] {
        assert!(documents.contains(&root.join(name)), "{name} was not read");
    }
    for document in documents {
        let text = fs::read_to_string(&document).unwrap();
        for (number, line) in prose(&text) {
            let length = line.chars().count();
            assert!(length <= LONGEST, "{}:{number} has {length} characters: {line}", document.display());
        }
    }
}

#[test]
fn what_people_search_for_stands_in_a_heading_of_the_readme() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let headings: Vec<_> =
        prose(&text).into_iter().map(|(_, line)| line).filter(|line| line.starts_with('#')).collect();
    let headings = headings.join("\n").to_lowercase();
    for words in [
        "tls termination",
        "mutual tls",
        "client certificate",
        "authorization",
        "allowlist",
        "access log",
        "metrics",
        "health",
        "graceful shutdown",
        "certificate rotation",
        "hot reload",
        "session resumption",
        "proxy protocol",
        "sidecar",
        "entrypoint",
        "load balancing",
        "egress",
    ] {
        assert!(headings.contains(words), "{words:?} is in none of\n{headings}");
    }
}
