//! The steps in which the kernel resolves a path.

use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Symlinks followed before a path counts as a loop; the kernel's own bound (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// One look-up of a name in a folder.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PathStep {
    /// Where it is looked up.
    pub(crate) folder: PathBuf,
    /// What is looked up there.
    pub(crate) name: OsString,
    /// It is the last name of the path, or of a symlink's target: whoever replaces that replaces something in this folder.
    pub(crate) is_last: bool,
}

/// The look-ups in which the kernel resolves `path`, symlinks included, as far as it exists; and where they end.
pub(crate) fn resolve(path: &Path) -> (Vec<PathStep>, PathBuf) {
    let mut steps = Vec::new();
    let mut links = 0;
    let mut at = PathBuf::from("/");
    // A relative path is meant from where we were started.
    let mut ahead = components(&std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
    while let Some((name, is_last)) = ahead.pop() {
        if name == ".." {
            at.pop();
            continue;
        }
        steps.push(PathStep { folder: at.clone(), name: name.clone(), is_last });
        let next = at.join(&name);
        match fs::read_link(&next) {
            Ok(target) => {
                links += 1;
                if links > MAX_LINKS {
                    break;
                }
                if target.is_absolute() {
                    at = PathBuf::from("/");
                }
                ahead.extend(components(&target));
            }
            Err(_) => at = next,
        }
    }
    (steps, at)
}

/// The names of a path, the last one first, and whether each is that one.
fn components(path: &Path) -> Vec<(OsString, bool)> {
    let names = path.components().rev().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    names.enumerate().map(|(at, name)| (name, at == 0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::os::unix::fs::symlink;

    #[test]
    fn the_steps_of_a_path_follow_symlinks_as_kubernetes_lays_them() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        fs::create_dir(root.join("..v1")).unwrap();
        fs::write(root.join("..v1/tls.crt"), "x").unwrap();
        symlink("..v1", root.join("..data")).unwrap();
        symlink("..data/tls.crt", root.join("tls.crt")).unwrap();

        let (steps, end) = resolve(&root.join("tls.crt"));
        assert_eq!(end, root.join("..v1/tls.crt"));

        let step =
            |folder: &Path, name: &str, is_last| PathStep { folder: folder.to_owned(), name: name.into(), is_last };
        for (name, is_last) in [("tls.crt", true), ("..data", false), ("..v1", true)] {
            assert!(steps.contains(&step(&root, name, is_last)), "{name} in {steps:?}");
        }
        assert!(steps.contains(&step(&root.join("..v1"), "tls.crt", true)), "{steps:?}");
    }

    #[test]
    fn a_loop_of_symlinks_ends() {
        let root = tempfile::tempdir().unwrap();
        symlink("b", root.path().join("a")).unwrap();
        symlink("a", root.path().join("b")).unwrap();
        assert!(resolve(&root.path().join("a")).0.len() <= 2 * MAX_LINKS);
    }
}
