//! The receivers, and how each is started on this machine.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use tempfile::TempDir;

use super::tokens::{FOR_NO_SIGNATURES, WITHOUT_KEY_USAGE};
use crate::support::machine::{VERIFIES_CHAINS, can, lacks, python_that};

/// What a receiver is written in.
#[derive(Debug, Clone, Copy)]
pub(super) enum Language {
    Python,
    Node,
    Java,
    Go,
}

/// A receiver that can be started.
pub(super) struct Program {
    pub(super) words: Vec<String>,
    /// Where it lies if it had to be compiled or copied.
    _dir: TempDir,
}

impl Language {
    /// The receiver, ready to be started; `None` where the machine lacks something, which is said.
    pub(super) fn program(self) -> Option<Program> {
        let dir = TempDir::new().unwrap();
        let words = match self {
            Self::Python => python(),
            Self::Node => node(dir.path()),
            Self::Java => java(dir.path()),
            Self::Go => go(dir.path()),
        };
        match words {
            Ok(words) => Some(Program { words, _dir: dir }),
            Err(lacking) => {
                lacks(lacking);
                None
            }
        }
    }

    /// The cases that it lets pass, and says so.
    pub(super) fn leaves_out(self) -> &'static [&'static str] {
        match self {
            // node:crypto shows the extended key usage alone.
            Self::Node => &[FOR_NO_SIGNATURES, WITHOUT_KEY_USAGE],
            Self::Python | Self::Java | Self::Go => &[],
        }
    }
}

/// How to start it, or what the machine lacks.
type Words = Result<Vec<String>, &'static str>;

fn python() -> Words {
    let python = python_that(VERIFIES_CHAINS).ok_or("cryptography 43 and PyJWT")?;
    Ok(vec![python.to_owned(), example("receiver.py").to_str().unwrap().to_owned()])
}

fn node(dir: &Path) -> Words {
    if !can(&["node", "--version"]) {
        return Err("Node.js");
    }
    let folders = env::var_os("NODE_PATH").unwrap_or_default();
    let jose = env::split_paths(&folders).map(|folder| folder.join("jose")).find(|jose| jose.is_dir()).ok_or("jose")?;
    // An ES module finds others in a folder beside itself, and by no variable.
    fs::create_dir(dir.join("node_modules")).unwrap();
    std::os::unix::fs::symlink(jose, dir.join("node_modules/jose")).unwrap();
    let copy = dir.join("receiver.mjs");
    fs::copy(example("receiver.mjs"), &copy).unwrap();
    Ok(vec!["node".to_owned(), copy.to_str().unwrap().to_owned()])
}

fn java(dir: &Path) -> Words {
    if !can(&["javac", "-version"]) {
        return Err("Java");
    }
    let jars = ["databind", "core", "annotations"].map(|part| format!("/usr/share/java/jackson-{part}.jar"));
    let jars = env::var("JACKSON").unwrap_or_else(|_| jars.join(":"));
    if !jars.split(':').all(|jar| Path::new(jar).is_file()) {
        return Err("Jackson");
    }
    let dir = dir.to_str().unwrap();
    let source = example("Receiver.java");
    let compiled = Command::new("javac").args(["-cp", &jars, "-d", dir]).arg(source).output().unwrap();
    assert!(compiled.status.success(), "{compiled:?}");
    // It lives for a moment, and is not worth a good compiler.
    let quick = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"];
    Ok([&["java"], &quick[..], &["-cp", &format!("{dir}:{jars}"), "Receiver"]]
        .concat()
        .iter()
        .map(|word| (*word).to_owned())
        .collect())
}

fn go(dir: &Path) -> Words {
    if !can(&["go", "version"]) {
        return Err("Go");
    }
    let program = dir.join("receiver");
    // Compiled where what is compiled once is kept.
    let built = Command::new("go")
        .args(["build", "-o"])
        .args([&program, &example("receiver.go")])
        .envs([("CGO_ENABLED", "0"), ("GOTOOLCHAIN", "local"), ("GO111MODULE", "off")])
        .env("GOCACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("go"))
        .output()
        .unwrap();
    assert!(built.status.success(), "{built:?}");
    Ok(vec![program.to_str().unwrap().to_owned()])
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/tokens").join(name)
}
