//! The committed corpora of the fuzz targets, replayed on stable through the checks that the
//! targets run; and the three lists of targets (checks, corpora, binaries), which must be one.

use std::fs;
use std::path::{Path, PathBuf};

use hallway_tests::fuzzing::{Operations, TARGETS};

/// Has no corpus: it must fail.
const CANARY: &str = "canary";

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

/// What is in a directory, sorted.
fn entries(directory: &Path) -> Vec<PathBuf> {
    let list = fs::read_dir(directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
    let mut entries: Vec<_> = list.map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries
}

fn name(path: &Path) -> &str {
    path.file_stem().and_then(|name| name.to_str()).unwrap()
}

#[test]
fn every_corpus_holds() {
    let mut violations = Vec::new();
    for (target, check) in TARGETS {
        let files = entries(&fuzz().join("corpus").join(target));
        assert!(!files.is_empty(), "the corpus of {target} is empty");
        for file in files {
            let bytes = fs::read(&file).unwrap();
            if std::panic::catch_unwind(|| check(&bytes)).is_err() {
                violations.push(format!("{target}/{}", name(&file)));
            }
        }
    }
    assert!(violations.is_empty(), "violated by {violations:#?}");
}

#[test]
fn the_canary_fails_on_an_accepted_message_and_on_nothing_less() {
    let accepted = fs::read(fuzz().join("corpus/operations/seed-message")).unwrap();
    let accepted = Operations::read(&accepted).unwrap();
    let said = std::panic::catch_unwind(|| accepted.canary()).unwrap_err();
    let said = said.downcast_ref::<String>().unwrap();
    assert!(said.contains("the canary's planted failure"), "{said}");
    Operations::read(b"").unwrap().canary();
}

#[test]
fn checks_corpora_sources_and_binaries_are_the_same_targets() {
    let checks: Vec<_> = TARGETS.iter().map(|(target, _)| *target).collect();
    let with_canary = || {
        let mut all: Vec<_> = checks.iter().chain([&CANARY]).collect();
        all.sort();
        all.into_iter().map(|target| (*target).to_owned())
    };
    assert!(checks.is_sorted(), "the table is in order");

    let corpora = entries(&fuzz().join("corpus"));
    let corpora: Vec<_> = corpora.iter().map(|path| name(path)).collect();
    assert_eq!(corpora, checks, "fuzz/corpus");

    let sources = entries(&fuzz().join("fuzz_targets"));
    let sources: Vec<_> = sources.iter().map(|path| name(path).to_owned()).collect();
    assert_eq!(
        sources,
        with_canary().collect::<Vec<_>>(),
        "fuzz/fuzz_targets"
    );

    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    let mut binaries: Vec<_> = manifest
        .split("[[bin]]")
        .skip(1)
        .map(|bin| bin.split('"').nth(1).unwrap().to_owned())
        .collect();
    binaries.sort();
    assert_eq!(
        binaries,
        with_canary().collect::<Vec<_>>(),
        "fuzz/Cargo.toml"
    );
}
