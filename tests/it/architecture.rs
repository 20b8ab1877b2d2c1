//! ARCHITECTURE's code map and table of crates are held to the code: what each room imports, and that imports point down.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Every file of Rust below `folder`.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// `text` without comments, and without what is built for tests alone.
fn built(text: &str) -> String {
    let code: Vec<&str> = text.lines().map(|line| line.split("//").next().unwrap()).collect();
    let code = code.join("\n");
    let mut kept = String::new();
    let mut rest = code.as_str();
    while let Some(at) = ["#[cfg(test)]", "#[cfg(any(test"].iter().filter_map(|mark| rest.find(mark)).min() {
        kept.push_str(&rest[..at]);
        let (mut depth, mut end) = (0, rest.len());
        for (offset, c) in rest[at..].char_indices() {
            depth += i32::from(c == '{') - i32::from(c == '}');
            if depth == 0 && (c == ';' || c == '}') {
                end = at + offset + 1;
                break;
            }
        }
        rest = &rest[end..];
    }
    kept + rest
}

/// Files that are modules of tests: their `mod` stands behind `#[cfg(test)]`.
fn is_test(path: &Path, all: &BTreeMap<PathBuf, String>) -> bool {
    path.ancestors().any(|module| {
        let Some(name) = module.file_stem().and_then(|name| name.to_str()).filter(|name| *name != "mod") else {
            return false;
        };
        let Some(folder) = module.parent() else { return false };
        let parents = [folder.join("mod.rs"), folder.join("lib.rs"), folder.with_extension("rs")];
        let declared = |text: &String| {
            let at = [format!("mod {name};"), format!("mod {name} {{")].iter().find_map(|named| text.find(named));
            at.is_some_and(|at| {
                text[..at].trim_end_matches("pub(crate) ").trim_end_matches("pub ").trim_end().ends_with(")]") && {
                    let attribute = text[..at].rsplit("#[").next().unwrap();
                    attribute.starts_with("cfg(test)") || attribute.starts_with("cfg(any(test")
                }
            })
        };
        parents.iter().filter_map(|parent| all.get(parent)).any(declared)
    })
}

/// The code of each room, a folder or file at the top of `src`, as it is built: a text for each file.
fn rooms() -> BTreeMap<String, Vec<String>> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let all: BTreeMap<PathBuf, String> =
        files(&src).into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect();
    let mut rooms = BTreeMap::<String, Vec<String>>::new();
    for (path, text) in &all {
        if is_test(path, &all) {
            continue;
        }
        let top = path.strip_prefix(&src).unwrap().components().next().unwrap().as_os_str().to_str().unwrap();
        rooms.entry(top.trim_end_matches(".rs").to_owned()).or_default().push(built(text));
    }
    rooms
}

/// What each room imports from the others.
fn imports() -> BTreeMap<String, BTreeSet<String>> {
    let mut rooms = rooms();
    // They know everything.
    for name in ["main", "lib"] {
        rooms.insert(name.to_owned(), Vec::new());
    }
    let imported = |name: &str, code: &str| {
        let mut imported = BTreeSet::new();
        for (at, _) in code.match_indices("crate::") {
            let behind = &code[at + "crate::".len()..];
            let list = match behind.strip_prefix('{') {
                Some(list) => list.split('}').next().unwrap(),
                None => behind.split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap(),
            };
            let named = list.split(',').map(|item| item.trim().split("::").next().unwrap().to_owned());
            imported.extend(named.filter(|room| room != name && !room.is_empty()));
        }
        imported
    };
    rooms
        .iter()
        .map(|(name, texts)| (name.clone(), texts.iter().flat_map(|code| imported(name, code)).collect()))
        .collect()
}

/// Whether `code` names the crate `name`: as `name::` or `use name;`, where that is not the end of another path.
fn names_crate(code: &str, name: &str) -> bool {
    code.match_indices(name).any(|(at, _)| {
        let (before, behind) = (&code[..at], &code[at + name.len()..]);
        let begins = !before.ends_with(|c: char| c.is_alphanumeric() || c == '_')
            && (!before.ends_with("::") || before.trim_end_matches("::").ends_with([' ', '(', '<', '&', '\n']));
        begins && (behind.starts_with("::") || before.ends_with("use ") && behind.starts_with([';', ' ']))
    })
}

/// The crates that the program is built with.
fn dependencies() -> BTreeSet<String> {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let section = manifest.split("\n[dependencies]\n").nth(1).unwrap().split("\n[").next().unwrap();
    let names = section.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(" = "));
    names.map(|(name, _)| name.to_owned()).collect()
}

/// The rows of the code map, in their order: a room, and those that it is said to know.
fn map() -> Vec<(String, BTreeSet<String>)> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md")).unwrap();
    let rows = text.lines().skip_while(|line| !line.starts_with("| in `src/` |")).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let quoted = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
        let room = quoted(cells[0]).remove(0);
        (
            room.trim_end_matches('/').trim_end_matches(".rs").to_owned(),
            quoted(cells[cells.len() - 1]).into_iter().collect(),
        )
    })
    .collect()
}

#[test]
fn the_code_map_says_what_each_room_imports() {
    let (imports, map) = (imports(), map());
    let named: BTreeSet<_> = map.iter().map(|(room, _)| room).collect();
    assert_eq!(named, imports.keys().collect(), "the rows of the code map are the rooms of src/");
    for (room, known) in &map {
        assert_eq!(known, &imports[room], "what {room} imports");
    }
    assert!(imports["sidecar"].contains("inbound") && imports["cli"].len() > 2, "nothing was read");
}

#[test]
fn imports_point_down_only() {
    let order: Vec<String> = map().into_iter().map(|(room, _)| room).collect();
    for (room, imported) in imports() {
        let at = order.iter().position(|other| *other == room).unwrap();
        for other in imported {
            let there = order.iter().position(|name| *name == other);
            assert!(there.is_some_and(|there| there > at), "{room} imports {other}, which stands above it");
        }
    }
}

/// The rows of the table of outside crates with `rooms` in their last cell.
fn crates_table(text: &str, rooms: &BTreeMap<String, Vec<String>>) -> (String, BTreeSet<String>) {
    let (mut rows, mut named) = (String::new(), BTreeSet::new());
    let lines = text.lines().skip_while(|line| *line != "| crate | what for | in `src/` |").skip(2);
    for row in lines.take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let crates: Vec<_> = cells[0].split(", ").map(str::to_owned).collect();
        let names_one = |code: &String| crates.iter().any(|name| names_crate(code, &name.replace('-', "_")));
        let homes = rooms.iter().filter(|(_, texts)| texts.iter().any(names_one));
        let homes: Vec<_> = homes.map(|(room, _)| format!("`{room}`")).collect();
        rows += &format!("| {} | {} | {} |\n", cells[0], cells[1], homes.join(", "));
        named.extend(crates);
    }
    (rows, named)
}

#[test]
fn the_table_of_crates_says_which_rooms_name_each_and_has_them_all() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md");
    let text = fs::read_to_string(&path).unwrap();
    let (rows, named) = crates_table(&text, &rooms());
    assert_eq!(named, dependencies(), "the rows of the table are the dependencies in Cargo.toml");
    let begin = text.find(rows.lines().next().unwrap().split(" | ").next().unwrap()).unwrap();
    let written = &text[begin..begin + text[begin..].find("\n\n").unwrap() + 1];
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, text.replace(written, &rows)).unwrap();
    } else {
        assert_eq!(
            written, rows,
            "ARCHITECTURE.md is stale: UPDATE_DOCS=1 cargo test --test it -- architecture writes it anew"
        );
    }
    for room in ["commands", "telemetry"] {
        assert!(rows.lines().any(|row| row.starts_with("| tracing") && row.contains(&format!("`{room}`"))), "{rows}");
    }
}

#[test]
fn a_crate_is_named_by_its_paths_and_by_nothing_else() {
    let text =
        "let a = der::Any; use memchr; fn f(x: &::nix::X) {} use crate::http::Y; let hyper_util = 1; self::toml::x()";
    for (name, is_named) in [
        ("der", true),
        ("memchr", true),
        ("nix", true),
        ("http", false),
        ("hyper", false),
        ("hyper_util", false),
        ("toml", false),
    ] {
        assert_eq!(names_crate(text, name), is_named, "{name}");
    }
}

#[test]
fn no_type_has_the_name_of_another() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut seen = BTreeMap::<String, PathBuf>::new();
    for path in files(&src) {
        let text = fs::read_to_string(&path).unwrap();
        for line in text.lines().take_while(|line| *line != "#[cfg(test)]") {
            let words: Vec<&str> = line.split_whitespace().skip_while(|word| word.starts_with("pub")).collect();
            let (Some("struct" | "enum" | "trait" | "type" | "union"), Some(name)) =
                (words.first().copied(), words.get(1))
            else {
                continue;
            };
            // What a trait has a type for has the trait's name for it.
            if line.starts_with(' ') && words[0] == "type" {
                continue;
            }
            let name: String = name.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if let Some(other) = seen.insert(name.clone(), path.clone()) {
                panic!("{name} is a type in {} and in {}", other.display(), path.display());
            }
        }
    }
    assert!(seen.len() > 200, "nothing was read");
}
