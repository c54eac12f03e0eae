#!/usr/bin/env bash
# Fuzzes each target for a while, with bounded memory: docs/testing.md.
#
#   scripts/fuzz.sh [TARGET...]    all of fuzz/fuzz_targets, or those named; FUZZ_SECONDS each (30)
#
# exit 0 when nothing was found, or, with SKIPPED and the reason on standard error, when this machine cannot fuzz; 1 with a finding, whose
# input lies in fuzz/artifacts.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${FUZZ_SECONDS:-30}
skipped() { echo "SKIPPED fuzz: $1" >&2; exit 0; }

cargo +nightly --version >/dev/null 2>&1 || skipped "no nightly toolchain (rustup toolchain install nightly)"
cargo fuzz --version >/dev/null 2>&1 || skipped "cargo-fuzz is missing (cargo install cargo-fuzz)"
command -v c++ >/dev/null || skipped "no C++ compiler (package g++)"

targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(cd fuzz/fuzz_targets && printf '%s\n' *.rs | sed 's/\.rs$//')

# No sanitizer: there is no unsafe code in what is fuzzed. Overflows are looked for.
build=(--sanitizer none --debug-assertions --fuzz-dir fuzz --target-dir "${CARGO_TARGET_DIR:-target}/fuzz")
cargo +nightly fuzz build "${build[@]}"

found=0
for target in "${targets[@]}"; do
    mkdir -p "fuzz/corpus/$target"
    echo "fuzz: $target, $seconds s"
    # What is new goes into the first folder, which git ignores.
    cargo +nightly fuzz run "${build[@]}" "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- \
        -max_total_time="$seconds" -max_len=4096 -timeout=10 -rss_limit_mb=512 -print_final_stats=1 -verbosity=0 \
        2>&1 | sed '/Recommended dictionary/,/End of recommended/d' || found=1
done
[ $found -eq 0 ] || echo "fuzz: findings, see above" >&2
exit $found
