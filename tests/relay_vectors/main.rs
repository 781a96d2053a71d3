//! Every row of `tests/vectors/relay.json`, and of the file that `HALLWAY_RELAY_VECTORS` names,
//! which has the same shape with any section missing. A section that no test knows fails.

mod codecs;
mod crypto;
mod js;
mod plaintexts;
mod requests;
mod sends;

use js::Js;

/// The sections that hold for every generation, and those that each generation has.
const SHARED: &[&str] = &[
    "base64",
    "deriveKey",
    "contentKeyPair",
    "backoffMaxDelayMs",
    "socketio",
    "reconnectionDelays",
];
const GENERATION: &[&str] = &[
    "source",
    "keyHex",
    "otherKeyHex",
    "encrypt",
    "decryptFailures",
    "dataKeyWrap",
    "pairing",
    "auth",
    "rpc",
    "validatePath",
    "userMessageSchema",
    "rawJSONLinesSchema",
    "clientSends",
    "commonHandlers",
];
/// What a generation is called: both are read by the same rules but where a test says so.
const GENERATIONS: [&str; 2] = ["seed", "latest"];

/// The first key of the examples, which some sections do not repeat.
const K1: [u8; 32] = [
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25,
    26, 27, 28, 29, 30, 31,
];

/// The files of examples. The committed one comes first and has every section.
fn files() -> Vec<Js> {
    let mut files = vec![Js::read(include_str!("../vectors/relay.json"))];
    if let Some(path) = std::env::var_os("HALLWAY_RELAY_VECTORS") {
        let text = std::fs::read_to_string(&path)
            .unwrap_or_else(|e| panic!("HALLWAY_RELAY_VECTORS: {}: {e}", path.display()));
        files.push(Js::read(&text));
    }
    files
}

/// Calls `check` with that section of each file that has it.
fn shared(name: &str, check: impl Fn(&Js)) {
    assert!(SHARED.contains(&name));
    for (at, file) in files().iter().enumerate() {
        let section = file.get("shared").and_then(|shared| shared.get(name));
        assert!(section.is_some() || at > 0, "{name} is not committed");
        section.into_iter().for_each(&check);
    }
}

/// Calls `check` with that section of each generation that has it, and with the generation.
fn generation(name: &str, check: impl Fn(&Js, &Js)) {
    assert!(GENERATION.contains(&name));
    for (at, file) in files().iter().enumerate() {
        let all = GENERATIONS.iter().filter_map(|called| file.get(called));
        let having: Vec<_> = all.filter(|source| source.get(name).is_some()).collect();
        assert!(!having.is_empty() || at > 0, "{name} is not committed");
        for source in having {
            check(source.at(name), source);
        }
    }
}

#[test]
fn relay_vectors_have_no_section_that_is_not_checked() {
    // The reader's own ground: what is equal in JavaScript, and what is not.
    assert_eq!(
        Js::read(r#"{"a":1e1,"b":"\u0061"}"#),
        Js::read(r#"{"b":"a","a":10}"#)
    );
    assert_ne!(Js::read(r#""\ud800""#), Js::read(r#""\ufffd""#));
    for file in files() {
        for (called, sections) in file.members() {
            let known = match called.as_str() {
                "shared" => SHARED,
                name if GENERATIONS.contains(&name) => GENERATION,
                other => panic!("no test knows {other}"),
            };
            for (name, _) in sections.members() {
                assert!(
                    known.contains(&name.as_str()),
                    "no test knows {called}.{name}"
                );
            }
        }
    }
}
