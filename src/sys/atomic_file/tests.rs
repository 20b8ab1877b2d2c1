use super::*;

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn a_file_is_made_and_replaced_with_its_mode_and_nothing_is_left_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    replace(&path, b"first", 0o640).unwrap();
    assert_eq!((fs::read(&path).unwrap(), mode(&path)), (b"first".to_vec(), 0o640));
    let before = fs::metadata(&path).unwrap().ino();
    let held = File::open(&path).unwrap();
    replace(&path, b"second", 0o400).unwrap();
    assert_eq!((fs::read(&path).unwrap(), mode(&path)), (b"second".to_vec(), 0o400));
    assert_ne!(fs::metadata(&path).unwrap().ino(), before, "it was written in place");
    assert_eq!(io::read_to_string(held).unwrap(), "first", "who reads the old file reads it to its end");
    assert_eq!(names(folder.path()), ["token"]);
}

#[test]
fn a_symlink_is_replaced_itself_and_what_it_leads_to_stays() {
    let folder = tempfile::tempdir().unwrap();
    let (path, other) = (folder.path().join("token"), folder.path().join("other"));
    fs::write(&other, "other's").unwrap();
    symlink(&other, &path).unwrap();
    replace(&path, b"ours", 0o600).unwrap();
    assert!(fs::symlink_metadata(&path).unwrap().is_file());
    assert_eq!(fs::read_to_string(&other).unwrap(), "other's");
    symlink(folder.path().join("nowhere"), folder.path().join("dangling")).unwrap();
    replace(&folder.path().join("dangling"), b"ours", 0o600).unwrap();
    assert_eq!(names(folder.path()), ["dangling", "other", "token"]);
}

#[test]
fn what_cannot_be_a_file_of_ours_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |path: &Path| {
        let error = replace(path, b"ours", 0o600).unwrap_err();
        assert_eq!(check(path).unwrap_err().to_string(), error.to_string());
        error.to_string()
    };
    fs::create_dir(folder.path().join("folder")).unwrap();
    assert_eq!(refused(&folder.path().join("folder")), "it is a folder; name a file");
    assert_eq!(refused(&folder.path().join("new/")), "it is a folder; name a file");
    assert_eq!(refused(Path::new("/")), "it is a folder; name a file");
    assert_eq!(refused(&folder.path().join("nowhere/token")), "its folder does not exist; make it");
    fs::write(folder.path().join("file"), "").unwrap();
    assert_eq!(refused(&folder.path().join("file/token")), "its folder is not a folder; name another");
    let open = folder.path().join("folder");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    assert!(refused(&open.join("token")).starts_with("others may write in its folder, which has no sticky bit"));
    assert_eq!(names(&open), [""; 0]);
    fs::set_permissions(&open, fs::Permissions::from_mode(0o1777)).unwrap();
    replace(&open.join("token"), b"ours", 0o600).unwrap();
    assert_eq!(names(&open), ["token"]);
}

#[test]
fn what_fails_half_way_leaves_the_old_file_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    replace(&path, b"old", 0o600).unwrap();
    let place = TargetPath::open(&path).unwrap();
    let (temporary, mut file) = TemporaryFile::create(place).unwrap();
    file.write_all(b"ne").unwrap();
    assert_eq!(names(folder.path()).len(), 2);
    drop(temporary);
    assert_eq!((names(folder.path()), fs::read(&path).unwrap()), (vec!["token".to_owned()], b"old".to_vec()));
}

#[test]
fn leftovers_of_this_file_are_removed_and_everything_else_stays() {
    let folder = tempfile::tempdir().unwrap();
    let others = [
        ".token.abcdefgh.vestibul",
        ".token.abcdefg.vestibule",
        ".token.abcdefghi.vestibule",
        ".token.abcd-fgh.vestibule",
        ".other.abcdefgh.vestibule",
        "token.abcdefgh.vestibule",
        "token",
    ];
    for name in others {
        fs::write(folder.path().join(name), "").unwrap();
    }
    fs::create_dir(folder.path().join(".token.isfolder.vestibule")).unwrap();
    let path = folder.path().join("token");
    let place = TargetPath::open(&path).unwrap();
    // As a process leaves it that is killed: nothing runs at its end.
    std::mem::forget(TemporaryFile::create(place).unwrap());
    fs::write(folder.path().join(".token.aZ09bcde.vestibule"), "half").unwrap();
    // A symlink that was kept for the way back.
    symlink("token", folder.path().join(".token.ISsymlnk.vestibule")).unwrap();
    assert_eq!(remove_leftovers(&path).unwrap(), 3);
    assert_eq!(remove_leftovers(&path).unwrap(), 0);
    let mut stay: Vec<_> = others.map(str::to_owned).to_vec();
    stay.push(".token.isfolder.vestibule".to_owned());
    stay.sort();
    assert_eq!(names(folder.path()), stay);
}

/// A key and a chain that are there, and their successors, staged.
fn staged(folder: &Path) -> Vec<StagedFile> {
    ["key", "chain"]
        .map(|name| {
            let path = folder.join(name);
            if !path.exists() {
                replace(&path, format!("old {name}").as_bytes(), 0o640).unwrap();
            }
            stage(&path, format!("new {name}").as_bytes(), 0o600).unwrap()
        })
        .into()
}

/// Has nothing be renamed to `path` any more.
fn obstruct(path: &Path) {
    fs::remove_file(path).unwrap();
    fs::create_dir(path).unwrap();
}

#[test]
fn files_that_belong_together_are_replaced_together_and_nothing_is_left_beside_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    commit_together(staged(folder.path())).unwrap();
    assert_eq!(fs::read(path("key")).unwrap(), b"new key");
    assert_eq!((fs::read(path("chain")).unwrap(), mode(&path("chain"))), (b"new chain".to_vec(), 0o600));
    assert_eq!(names(folder.path()), ["chain", "key"]);
    fs::remove_file(path("key")).unwrap();
    let first = stage(&path("key"), b"first", 0o600).unwrap();
    commit_together(vec![first]).unwrap();
    assert_eq!(names(folder.path()), ["chain", "key"]);
    commit_together(Vec::new()).unwrap();
}

#[test]
fn where_one_file_cannot_be_replaced_those_before_it_are_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let files = staged(folder.path());
    let before = fs::metadata(path("key")).unwrap().ino();
    obstruct(&path("chain"));
    let errors = commit_together(files).unwrap_err();
    assert!(matches!(errors.as_slice(), [None, Some(_)]), "{errors:?}");
    assert_eq!((fs::read(path("key")).unwrap(), mode(&path("key"))), (b"old key".to_vec(), 0o640));
    assert_eq!(fs::metadata(path("key")).unwrap().ino(), before, "the old file itself is back");
    assert_eq!(names(folder.path()), ["chain", "key"], "nothing of ours is left");
}

#[test]
fn where_nothing_was_there_before_nothing_is_there_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let files = staged(folder.path());
    fs::remove_file(path("key")).unwrap();
    obstruct(&path("chain"));
    commit_together(files).unwrap_err();
    assert_eq!(names(folder.path()), ["chain"]);
}

#[test]
fn a_symlink_that_was_replaced_is_back_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("other"), "other's").unwrap();
    symlink("other", path("key")).unwrap();
    let files = staged(folder.path());
    obstruct(&path("chain"));
    commit_together(files).unwrap_err();
    assert_eq!(fs::read_link(path("key")).unwrap(), Path::new("other"));
    assert_eq!(names(folder.path()), ["chain", "key", "other"]);
}

#[test]
fn where_there_are_no_hard_links_a_copy_with_mode_and_owner_is_the_way_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    fs::write(&path, "old").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).unwrap();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&path, Some(4242), Some(4243)).unwrap();
    }
    let was = fs::metadata(&path).unwrap();
    let place = TargetPath::open(&path).unwrap();
    let mut old = together::OldFile::copy(&place).unwrap();
    assert_eq!(names(folder.path()).len(), 2);
    replace(&path, b"new", 0o600).unwrap();
    old.put_back(&place).unwrap();
    let is = fs::metadata(&path).unwrap();
    assert_eq!((is.uid(), is.gid(), is.mode()), (was.uid(), was.gid(), was.mode()));
    assert_eq!((fs::read_to_string(&path).unwrap(), names(folder.path())), ("old".to_owned(), vec!["key".to_owned()]));
    drop(together::OldFile::copy(&place).unwrap());
    fs::remove_file(&path).unwrap();
    let mut none = together::OldFile::copy(&place).unwrap();
    replace(&path, b"new", 0o600).unwrap();
    none.put_back(&place).unwrap();
    assert_eq!(names(folder.path()), [""; 0]);
}
