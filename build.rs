//! Tells the linker of the static build in which order the code stands: `layout/start.ld`.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=layout/start.ld");
    let is = |name, value| env::var(name).is_ok_and(|is| is == value);
    // Its names are those of a build that is linked as one; in others they would be sought in vain.
    if is("CARGO_CFG_TARGET_ENV", "musl") && is("CARGO_CFG_TARGET_ARCH", "x86_64") && is("PROFILE", "release") {
        let layout = env::var("CARGO_MANIFEST_DIR").unwrap_or_default() + "/layout/start.ld";
        println!("cargo::rustc-link-arg-bin=vestibule=-Wl,-T,{layout}");
    }
}
