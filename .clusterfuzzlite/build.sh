#!/bin/bash -eu
# Builds every fuzz target but the canary with AddressSanitizer into $OUT, each with its
# committed corpus, the dictionary and its options: the layout that ClusterFuzzLite and OSS-Fuzz
# expect.
cargo fuzz build --release --debug-assertions
built=fuzz/target/x86_64-unknown-linux-gnu/release
for target in $(cargo fuzz list | grep -vx canary); do
    cp "$built/$target" "$OUT/"
    zip --quiet --junk-paths --recurse-paths "$OUT/${target}_seed_corpus.zip" "fuzz/corpus/$target"
    cp fuzz/hallway.dict "$OUT/$target.dict"
    { echo "[libfuzzer]" && fuzz/options "$target" | sed 's/^-//; s/=/ = /'; } >"$OUT/$target.options"
done
