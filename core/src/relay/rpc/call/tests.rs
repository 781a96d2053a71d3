use alloc::format;
use alloc::string::ToString as _;
use alloc::vec;

use super::*;

const BOUNDS: Bounds<'_> = Bounds {
    directory: "/w",
    max_file_bytes: 4,
    max_depth: 3,
    command_timeout: Duration::from_secs(30),
    max_time: Duration::from_secs(600),
};

fn read(method: Method, params: &str) -> Result<Call, String> {
    let raw = Raw::parse(params).expect("JSON");
    Call::parse(method, raw, &BOUNDS).map_err(|invalid| {
        let answer = invalid.answer(method);
        let told = Raw::parse(&answer).and_then(|answer| answer.get("error")?.text());
        assert_eq!(
            told.expect("an error").to_lossy(),
            invalid.to_string(),
            "{answer}"
        );
        answer
    })
}

/// `path` relative to the working directory, as the request names it.
fn at(named: &str, below: &str) -> Place {
    let (named, below) = (named.to_string(), below.to_string());
    Place { named, below }
}

fn request(error: &str) -> Result<Call, String> {
    Err(super::super::error(error))
}

fn failed(error: &str) -> Result<Call, String> {
    Err(super::super::failure(error))
}

fn not_run(error: &str) -> Result<Call, String> {
    Err(super::super::not_run(error))
}

/// A JSON string of so many letters.
fn long(bytes: usize) -> String {
    format!("\"{}\"", "a".repeat(bytes))
}

#[test]
fn methods_have_names() {
    for method in Method::ALL {
        assert_eq!(method.name().parse(), Ok(method));
        assert!(UnknownMethod.to_string().contains(method.name()));
        let null = read(method, "null").unwrap_err();
        let first = first_parameter(method).name();
        let error = format!("Cannot read properties of null (reading '{first}')");
        assert_eq!(Err(null), request(&error));
    }
    assert_eq!("Bash".parse::<Method>(), Err(UnknownMethod));
    assert!(
        UnknownMethod
            .to_string()
            .contains("one of bash, readFile, ")
    );
    let names = [
        (Parameter::Content, "content"),
        (Parameter::ExpectedHash, "expectedHash"),
        (Parameter::Directory, "cwd"),
    ];
    for (parameter, name) in names {
        assert_eq!(parameter.name(), name);
    }
}

#[test]
fn a_place_has_both_names() {
    let place = at("a/../b", "b");
    assert_eq!((place.named(), place.below()), ("a/../b", "b"));
}

/// Covers: R6.4
#[test]
fn paths_are_read_or_refused_alike_in_all_methods() {
    let exact = "b".repeat(MAX_PATH_BYTES);
    for (path, expected) in [
        (r#""a/../b""#, Ok(at("a/../b", "b"))),
        (r#""\u002fw\/é""#, Ok(at("/w/é", "é"))),
        (r#""""#, Ok(at("", ""))),
        (&format!("\"{exact}\""), Ok(at(&exact, &exact))),
        (
            &long(MAX_PATH_BYTES + 1),
            failed("The path has more than 4096 bytes").map(|_| at("", "")),
        ),
        (
            r#""..\/x""#,
            failed("Access denied: Path '../x' is outside the working directory")
                .map(|_| at("", "")),
        ),
        (
            r#""/wx""#,
            failed("Access denied: Path '/wx' is outside the working directory")
                .map(|_| at("", "")),
        ),
        (
            r#""a\ud800""#,
            failed("The argument 'path' must be a string of Unicode").map(|_| at("", "")),
        ),
        (
            r#""a\u0000b""#,
            failed("The argument 'path' must be a string without null bytes").map(|_| at("", "")),
        ),
    ] {
        let text = format!(r#"{{"path":{path},"content":"","x":"\ud800"}}"#);
        let of = |call: fn(Place) -> Call| expected.clone().map(call);
        assert_eq!(
            read(Method::ReadFile, &text),
            of(|path| Call::ReadFile { path })
        );
        assert_eq!(
            read(Method::ListDirectory, &text),
            of(|path| Call::ListDirectory { path })
        );
        assert_eq!(
            read(Method::GetDirectoryTree, &text),
            of(|path| Call::GetDirectoryTree { path, depth: 0 })
        );
        assert_eq!(
            read(Method::WriteFile, &text),
            of(|path| Call::WriteFile {
                path,
                content: vec![],
                expected_hash: None
            })
        );
        // The same for where a command runs, where nothing is the working directory.
        let text = format!(r#"{{"command":"c","args":[],"cwd":{path}}}"#);
        let told = |answer: String| answer.replace("The path has", "The cwd has");
        let told = |answer: String| told(answer).replace("'path'", "'cwd'");
        let place = expected.clone().map_err(told);
        let place = place.map(|place| {
            if place.named.is_empty() {
                working()
            } else {
                place
            }
        });
        let directory = read(Method::Bash, &text).map(|call| match call {
            Call::Bash { directory, .. } => directory,
            other => panic!("{other:?}"),
        });
        assert_eq!(directory, place, "{text}");
        for method in [Method::Ripgrep, Method::Difftastic] {
            let directory = read(method, &text).map(|call| match call {
                Call::Tool(invocation) => invocation.directory,
                other => panic!("{other:?}"),
            });
            assert_eq!(directory, place, "{text}");
        }
    }
}

#[test]
fn what_is_no_text_is_named() {
    let digits = format!("1{}", "0".repeat(32));
    for (value, words) in [
        ("null", "null"),
        ("true", "type boolean (true)"),
        ("1e999", "type number (1e999)"),
        (&digits[..32], &format!("type number ({})", &digits[..32])),
        (&digits, "type number"),
        ("[1]", "an instance of Array"),
        ("{}", "an instance of Object"),
    ] {
        let text = format!(r#"{{"path":{value}}}"#);
        let expected = request(&format!(
            "The \"paths[1]\" argument must be of type string. Received {words}"
        ));
        assert_eq!(read(Method::ReadFile, &text), expected);
    }
    // What is no object has no members.
    for text in ["{}", "[]", "7", "\"path\"", "true"] {
        let expected =
            request("The \"paths[1]\" argument must be of type string. Received undefined");
        assert_eq!(read(Method::WriteFile, text), expected);
    }
}

#[test]
fn commands_are_bounded_and_run_somewhere() {
    let command = |command: &str, named: &str, below: &str| {
        Ok(Call::Bash {
            command: command.to_string(),
            directory: at(named, below),
            timeout: BOUNDS.command_timeout,
        })
    };
    let exact = long(MAX_ARGUMENT_BYTES);
    for (params, expected) in [
        (r#"{"command":"c"}"#, command("c", ".", "")),
        (r#"{"command":"","cwd":null}"#, command("", ".", "")),
        (r#"{"command":"c","cwd":"/"}"#, command("c", ".", "")),
        (
            r#"{"command":"c","cwd":"/w/d/"}"#,
            command("c", "/w/d/", "d"),
        ),
        (
            &format!(r#"{{"command":{exact}}}"#),
            command(exact.trim_matches('"'), ".", ""),
        ),
        (
            &format!(r#"{{"command":{}}}"#, long(MAX_ARGUMENT_BYTES + 1)),
            not_run("The command has more than 131071 bytes"),
        ),
        (
            "{}",
            not_run("The \"command\" argument must be of type string. Received undefined"),
        ),
        (
            r#"{"command":"\udc00"}"#,
            not_run("The argument 'command' must be a string of Unicode"),
        ),
        (
            r#"{"command":"\u0000"}"#,
            not_run("The argument 'command' must be a string without null bytes"),
        ),
        (
            r#"{"command":"c","cwd":7}"#,
            request("The \"paths[1]\" argument must be of type string. Received type number (7)"),
        ),
    ] {
        assert_eq!(read(Method::Bash, params), expected, "{params:.99}");
    }
    assert_eq!(
        not_run("e"),
        Err(r#"{"success":false,"stdout":"","stderr":"e","exitCode":1,"error":"e"}"#.to_string())
    );
}

#[test]
fn timeouts_are_unsigned_integers_and_bounded() {
    for (value, seconds) in [
        ("null", 30),
        ("0", 30),
        ("-0", 30),
        ("0e9", 30),
        ("2000", 2),
        ("2e3", 2),
        ("2000.0", 2),
        ("600000", 600),
        ("600001", 600),
        ("18446744073709551615", 600),
        ("18446744073709551616", 600),
        ("1e300", 600),
        ("1e309", 600),
    ] {
        let text = format!(r#"{{"command":"c","timeout":{value}}}"#);
        match read(Method::Bash, &text) {
            Ok(Call::Bash { timeout, .. }) => assert_eq!(timeout.as_secs(), seconds, "{value}"),
            other => panic!("{value}: {other:?}"),
        }
    }
    for (value, words) in [
        ("-1", "type number (-1)"),
        ("1.5", "type number (1.5)"),
        ("-1e300", "type number (-1e300)"),
        ("1e-9", "type number (1e-9)"),
        ("\"5\"", "type string"),
        ("false", "type boolean (false)"),
        ("[]", "an instance of Array"),
    ] {
        let text = format!(r#"{{"command":"c","timeout":{value}}}"#);
        let expected = not_run(&format!(
            "The value of \"timeout\" is out of range. It must be an unsigned integer. Received {words}"
        ));
        assert_eq!(read(Method::Bash, &text), expected);
    }
}

#[test]
fn depths_are_numbers_and_bounded() {
    for (value, levels) in [
        ("null", 0),
        ("0", 0),
        ("-0", 0),
        ("-0.0", 0),
        ("1", 1),
        ("3.0", 3),
        ("4", 3),
        ("4294967296", 3),
        ("1e999", 3),
    ] {
        let text = format!(r#"{{"path":"d","maxDepth":{value}}}"#);
        let (path, depth) = (at("d", "d"), levels);
        let expected = Ok(Call::GetDirectoryTree { path, depth });
        assert_eq!(read(Method::GetDirectoryTree, &text), expected, "{value}");
    }
    for value in ["-1", "-0.1", "-1e999"] {
        let text = format!(r#"{{"path":"d","maxDepth":{value}}}"#);
        let expected = failed("maxDepth must be non-negative");
        assert_eq!(read(Method::GetDirectoryTree, &text), expected, "{value}");
    }
    for (value, words) in [
        ("\"1\"", "type string"),
        ("{}", "an instance of Object"),
        ("1.5", "type number (1.5)"),
    ] {
        let text = format!(r#"{{"path":"d","maxDepth":{value}}}"#);
        let expected = failed(&format!(
            "The \"maxDepth\" argument must be an integer. Received {words}"
        ));
        assert_eq!(read(Method::GetDirectoryTree, &text), expected);
    }
}

#[test]
fn what_is_written_is_decoded_and_bounded() {
    let written = |content: &[u8], hash: Option<&str>| {
        Ok(Call::WriteFile {
            path: at("p", "p"),
            content: content.to_vec(),
            expected_hash: hash.map(String::from),
        })
    };
    let hash = long(MAX_HASH_BYTES);
    for (members, expected) in [
        (r#""content":"AAECAw==""#, written(&[0, 1, 2, 3], None)),
        (
            r#""content":"AAECAwQ=""#,
            failed("The content has more than 4 bytes"),
        ),
        (
            r#""content":"AA==","expectedHash":null"#,
            written(&[0], None),
        ),
        (
            r#""content":"AA==","expectedHash":"""#,
            written(&[0], Some("")),
        ),
        (
            &format!(r#""content":"AA==","expectedHash":{hash}"#),
            written(&[0], Some(hash.trim_matches('"'))),
        ),
        (
            &format!(
                r#""content":"AA==","expectedHash":{}"#,
                long(MAX_HASH_BYTES + 1)
            ),
            failed("The expectedHash has more than 256 bytes"),
        ),
        (
            r#""content":"","expectedHash":5"#,
            failed("The hash must be a string. Received type number (5)"),
        ),
        (
            r#""expectedHash":"x""#,
            failed(
                "The first argument must be of type string or an instance of Buffer, ArrayBuffer, or Array or an Array-like Object. Received undefined",
            ),
        ),
        (
            r#""content":"\ud800""#,
            failed("The argument 'content' must be a string of Unicode"),
        ),
    ] {
        let text = format!(r#"{{"path":"p",{members}}}"#);
        assert_eq!(read(Method::WriteFile, &text), expected, "{text}");
    }
}
