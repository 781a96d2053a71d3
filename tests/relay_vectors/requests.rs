//! Requests for our methods, and the paths that they may name.

use hallway_core::relay::cipher::OpenError;
use hallway_core::relay::path::confine;
use hallway_core::relay::raw::Raw;
use hallway_core::relay::rpc::{self, Refusal, Request};

use crate::codecs::without_blanks;
use crate::crypto::{cipher, no_value, nonce};
use crate::generation;
use crate::js::Js;

/// What a method of the examples returns for its parameters, as plaintext.
fn call(method: &str, params: &str) -> Option<String> {
    Some(match method {
        "echo" => format!(r#"{{"got":{params}}}"#),
        "void" => rpc::NOTHING.to_owned(),
        "nul" => "null".to_owned(),
        "boom" => rpc::error("kaput"),
        "boom2" => rpc::error(rpc::UNKNOWN_ERROR),
        _ => return None,
    })
}

/// Covers: R2.16, R2.18, R2.19, R2.20, R2.21, R2.22
#[test]
fn relay_vectors_rpc() {
    generation("rpc", |section, source| {
        for row in section.rows() {
            let cipher = cipher(&row.at("variant").str(), &source.at("keyHex").bytes());
            let expected = row.at("responseDecrypted");
            let payload = Raw::parse(&row.raw).expect("JSON");
            let request = Request::parse(payload).expect("a method");
            let answer = request.method_in("S1").and_then(|method| {
                // A method that is not there is so whatever its parameters are.
                call(&method, "").ok_or(Refusal::UnknownMethod)?;
                let params = request.open(&cipher)?;
                call(&method, params.raw().as_str()).ok_or(Refusal::UnknownMethod)
            });
            let answer = match answer {
                Ok(answer) => answer,
                Err(refusal) if deviates(refusal, expected) => {
                    let length = without_blanks(&expected.at("value").raw).len();
                    let length = (length + cipher.overhead()) as f64;
                    assert_eq!(length, row.at("responseLength").number());
                    assert_eq!(
                        Js::read(&rpc::error(&refusal.text())).at("error").str(),
                        refusal.text()
                    );
                    continue;
                }
                Err(refusal) => rpc::error(&refusal.text()),
            };
            let sealed = cipher.seal_text(nonce(&[1; 24]), &answer).expect("small");
            let length = answer.len() + cipher.overhead();
            assert_eq!(
                length as f64,
                row.at("responseLength").number(),
                "{}",
                row.raw
            );
            match cipher.open_text(&sealed) {
                Ok(opened) => {
                    let value = Js::read(opened.raw().as_str());
                    assert_eq!(&value, expected.at("value"), "{}", row.raw);
                }
                Err(error) => {
                    assert_eq!(error, OpenError::Empty, "{}", row.raw);
                    assert!(no_value(expected), "{}", row.raw);
                }
            }
        }
    });
}

/// Where we differ, the reference did what we must not, or spoke of its own platform: it called
/// the method with `null` because it could not read, or said what Node says of no string.
fn deviates(refusal: Refusal, expected: &Js) -> bool {
    match refusal {
        Refusal::Unreadable(OpenError::NoNonce) | Refusal::UnknownMethod => false,
        Refusal::Unreadable(_) => {
            assert_eq!(expected.at("value").at("got").raw, "null");
            true
        }
        Refusal::NoParams => {
            let text = expected.at("value").at("error").str();
            assert!(text.starts_with("The first argument must be of type string"));
            true
        }
        other => panic!("{other:?}"),
    }
}

/// Covers: R6.4
#[test]
fn relay_vectors_validate_path() {
    generation("validatePath", |section, _| {
        for row in section.rows() {
            let path = row.at("path").str();
            let confined = confine(&row.at("cwd").str(), &path);
            assert_eq!(confined.is_ok(), row.at("valid").bool(), "{}", row.raw);
            if let Err(outside) = confined {
                assert_eq!(outside.to_string(), row.at("error").str());
            }
        }
    });
}

/// The rule for paths, on every row that names one. What the methods do with files and
/// processes is checked where they are: in the shell.
/// Covers: R6.4
#[test]
fn relay_vectors_common_handlers_deny_what_is_outside() {
    const METHODS: &[&str] = &[
        "bash",
        "readFile",
        "writeFile",
        "listDirectory",
        "getDirectoryTree",
        "ripgrep",
        "difftastic",
    ];
    generation("commonHandlers", |section, _| {
        for row in section.rows() {
            let method = row.at("method").str();
            assert!(METHODS.contains(&method.as_str()), "no test knows {method}");
            let request = row.at("request");
            let named = if request.is_null() {
                None
            } else {
                request.get("path").or_else(|| request.get("cwd"))
            };
            let error = row.at("response").get("error").map(Js::str);
            let denial = named
                .map(|path| path.str().replace("<W>", "/W"))
                .and_then(|path| {
                    // `bash` takes `/` for no directory at all.
                    let confined = confine("/W", &path).err()?;
                    (method != "bash" || path != "/").then(|| confined.to_string())
                });
            // A tree does not go through the rule: the reference lists what it is asked for.
            let denied = error.filter(|text| text.starts_with("Access denied"));
            assert_eq!(denial, denied, "{}", row.raw);
        }
    });
}
