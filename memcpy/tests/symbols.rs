//! The symbols that the static build is linked with: `cargo test --target x86_64-unknown-linux-musl -p vestibule-memcpy`.

#![cfg(all(target_arch = "x86_64", target_env = "musl"))]

use std::hint::black_box;

use vestibule_memcpy as _;

/// Around what is copied, to see that nothing else is written.
const MARGIN: usize = 80;

#[test]
fn whatever_the_program_copies_arrives_whole() {
    for len in (0..=300).chain([2047, 2048, 2113, 70_000]) {
        let source: Vec<u8> = (0..len).map(|at| (at * 131 % 251) as u8).collect();
        let mut target = vec![0; MARGIN + len + MARGIN];
        target[MARGIN..MARGIN + len].copy_from_slice(&source[..black_box(len)]);
        assert!(target[MARGIN..MARGIN + len].iter().eq(&source), "{len} bytes");
        assert!(target[..MARGIN].iter().chain(&target[MARGIN + len..]).all(|byte| *byte == 0), "around {len} bytes");
    }
}

#[test]
fn whatever_the_program_moves_arrives_whole_in_both_directions() {
    for len in (1..=300).chain([2048, 5000]) {
        for by in [1, 7, 64, 65] {
            let before: Vec<u8> = (0..len + by).map(|at| (at * 131 % 251) as u8).collect();
            let (mut up, mut down) = (before.clone(), before.clone());
            up.copy_within(..black_box(len), by);
            assert!(up[by..].iter().eq(&before[..len]), "{len} bytes up by {by}");
            down.copy_within(black_box(by).., 0);
            assert!(down[..len].iter().eq(&before[by..]), "{len} bytes down by {by}");
        }
    }
}
