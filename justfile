# What is done often, by name: `just` lists it. CI calls the same recipes, by .ci/run.
# Lines are plain shell, each by itself, so that .ci/run can also do them where there is no just.

# This list
list:
    @just --list --unsorted

# Does it compile? Seconds, where a build takes minutes
check:
    cargo check --all-targets --locked

# The tests of one subject, a file of tests/it: `just subject rotation`
subject name:
    cargo test --locked --test it {{name}}

# All tests
test:
    env --default-signal cargo test --locked --no-fail-fast

# The tests of the whole program within a strict sandbox, but for those of what it does not permit
test-sandboxed:
    env --default-signal TESTS_SANDBOX=strict VESTIBULE_SANDBOX=strict cargo test --locked --no-fail-fast --test it -- --exact \
        --skip app_files::hooks::what_a_program_leaves_behind_goes_on_and_nobody_stays_a_zombie \
        --skip app_files::hooks::a_program_that_hangs_is_killed_with_its_group_and_the_next_rotation_has_its_turn \
        --skip app_files::places::a_folder_that_is_replaced_by_a_symlink_is_followed_and_one_that_others_may_write_is_not \
        --skip envoy::start::nothing_that_becomes_of_the_folder_ends_it \
        --skip rotation::a_folder_that_is_swapped_whole_is_picked_up \
        --skip vault::resolving::a_standby_is_followed_once_and_with_the_token \
        --skip watching::a_folder_that_is_removed_and_made_again_is_watched_again

# Formats everything
format:
    cargo fmt
    cargo fmt --manifest-path bench/Cargo.toml
    cargo fmt --manifest-path fuzz/Cargo.toml

# Writes the generated pages, the man page and the completions anew
docs:
    UPDATE_DOCS=1 cargo test --locked --test it -- docs:: manual::

# Is everything formatted?
formatted:
    cargo fmt --check
    cargo fmt --check --manifest-path bench/Cargo.toml
    cargo fmt --check --manifest-path fuzz/Cargo.toml

# What comes in from others: licences, one TLS stack, duplicates, sources (deny.toml)
deny:
    cargo deny --locked check bans licenses sources

# Are there advisories about what we use, or has it been withdrawn? Asks RustSec's database on GitHub
advisories:
    cargo deny --locked check advisories

# Lints, of the product and of what stands beside it
lint:
    cargo clippy --all-targets --locked -- -D warnings
    cargo clippy --manifest-path bench/Cargo.toml --all-targets --locked --target-dir "${CARGO_TARGET_DIR:-target}" -- -D warnings
    cargo clippy --manifest-path fuzz/Cargo.toml --all-targets --locked --target-dir "${CARGO_TARGET_DIR:-target}" -- -D warnings

# The documentation of the code; with the examples, so that the libraries are those that the lints have looked at
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --locked --lib --examples

# What is in contrib (needs promtool)
contrib:
    contrib/check.sh

# Are the files for Docker Compose, Kubernetes and GitHub what their schemas ask for (needs check-jsonschema and kubernetes-validate)
schemas:
    check-jsonschema --builtin-schema vendor.compose-spec deploy/compose/compose.yaml
    check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
    kubernetes-validate --strict --kubernetes-version 1.30.0 deploy/kubernetes/native-sidecar.yaml
    kubernetes-validate --strict deploy/kubernetes/native-sidecar.yaml

# The memcpy of the static build, which is not the one that the tests are linked with
memcpy:
    cargo test --locked --target x86_64-unknown-linux-musl -p vestibule-memcpy

# Each fuzz target for two seconds, with its seeds (fuzz/README.md)
fuzz-smoke:
    FUZZ_JOBS="$(nproc)" fuzz/run 2

# The static binary, in a third of the time that the one of a release takes
static:
    cargo build --locked --profile quick --target "$(uname -m)-unknown-linux-musl"

# Two hours of mixed load in every mode with that binary: does anything grow, fail or stay behind? (docs/soak.md)
soak *options:
    python3 bench/soak --program "${STATIC_BINARY:-target/$(uname -m)-unknown-linux-musl/quick/vestibule}" {{options}}

# The same for two minutes, which say nothing of memory
soak-smoke:
    python3 bench/soak --brief --minutes 2 --quiet-every 1 --program "${STATIC_BINARY:-target/$(uname -m)-unknown-linux-musl/quick/vestibule}"

# Starts that binary where there is nothing else
smoke:
    deploy/smoke "${STATIC_BINARY:-target/$(uname -m)-unknown-linux-musl/quick/vestibule}"

# Makes an image of it without an engine, and starts that (needs buildah and root)
image:
    deploy/image/build "${STATIC_BINARY:-target/$(uname -m)-unknown-linux-musl/quick/vestibule}"

# The static binary for arm64, on x86_64 (Debian, with gcc-aarch64-linux-gnu)
arm64:
    rustup target add aarch64-unknown-linux-musl
    bash -c '. release/cross aarch64-unknown-linux-musl && cargo build --locked --profile quick --target aarch64-unknown-linux-musl'

# Starts that one, by qemu (Debian: qemu-user-static)
smoke-arm64:
    deploy/smoke --emulator qemu-aarch64-static target/aarch64-unknown-linux-musl/quick/vestibule

# Attacks the static binary with testssl.sh, sslscan, sslyze, tlsfuzzer, h2spec and others (docs/attack-tools.md): 20 minutes
attack:
    tests/attack/tools target/attack-tools
    tests/attack/run "${STATIC_BINARY:-target/$(uname -m)-unknown-linux-musl/quick/vestibule}" --tools target/attack-tools

# The files of a release, in dist (RELEASING.md)
release:
    release/make

# Everything that CI runs, after installing what is missing (Debian)
ci:
    .ci/run
