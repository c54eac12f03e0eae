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
target_dir=${CARGO_TARGET_DIR:-target}
skipped() { echo "SKIPPED fuzz: $1" >&2; exit 0; }

command -v c++ >/dev/null || skipped "no C++ compiler (package g++)"
# Beside what else is built here, so that nobody's own tools change.
PATH=$PATH:$target_dir/tools/bin
if ! cargo fuzz --version >/dev/null 2>&1; then
    echo "fuzz: building cargo-fuzz"
    cargo install --quiet --locked --root "$target_dir/tools" cargo-fuzz || skipped "cargo-fuzz cannot be installed"
fi

targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(cd fuzz/fuzz_targets && printf '%s\n' *.rs | sed 's/\.rs$//')

# No sanitizer: there is no unsafe code in what is fuzzed, and a stable compiler will do. Overflows are looked for.
build=(--sanitizer none --debug-assertions --fuzz-dir fuzz --target-dir "$target_dir/fuzz")
cargo fuzz build "${build[@]}"

found=0
for target in "${targets[@]}"; do
    mkdir -p "fuzz/corpus/$target"
    echo "fuzz: $target, $seconds s"
    # What is new goes into the first folder, which git ignores.
    cargo fuzz run "${build[@]}" "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- \
        -max_total_time="$seconds" -max_len=4096 -timeout=10 -rss_limit_mb=512 -print_final_stats=1 -verbosity=0 \
        2>&1 | sed '/Recommended dictionary/,/End of recommended/d' || found=1
done
[ $found -eq 0 ] || echo "fuzz: findings, see above" >&2
exit $found
