//! The parameters of calls, against serde_json's own tree of them.

use std::time::Duration;

use hallway_core::relay::raw::Raw;
use hallway_core::relay::rpc::{
    Bounds, Call, Invocation, MAX_HASH_BYTES, MAX_PATH_BYTES, Method, Place,
};
use serde_json::Value;

use super::spelled;
use super::told::steps;

const BOUNDS: Bounds<'_> = Bounds {
    directory: "/w/d",
    max_file_bytes: 16,
    max_depth: 4,
    command_timeout: Duration::from_secs(30),
    max_time: Duration::from_secs(600),
};

/// What makes a tool read or run something that no path names.
const FORBIDDEN: [&str; 14] = [
    "--pre",
    "--pre-glob",
    "--file",
    "-f",
    "--ignore-file",
    "--search-zip",
    "-z",
    "--hostname-bin",
    "--follow",
    "-L",
    "--type-add",
    "--debug",
    "--override",
    "--dump-syntax",
];

/// Takes `text` for the parameters of every method: what is read is what serde_json's tree has,
/// and nothing of it leads out.
pub(super) fn check_calls(text: &str) {
    let Some(raw) = Raw::parse(text) else { return };
    // Lone surrogates and numbers beyond a double have no tree.
    let tree = serde_json::from_str::<Value>(text).ok();
    for method in Method::ALL {
        let call = Call::parse(method, raw, &BOUNDS);
        if let Err(invalid) = &call {
            let answer: Value =
                serde_json::from_str(&invalid.answer(method)).expect("an answer is JSON");
            assert_eq!(answer["error"], invalid.to_string());
        }
        if let Some(tree) = &tree {
            check_refusal(method, tree, call.is_ok());
        }
        if let Ok(call) = call {
            check_call(method, &call, tree.as_ref().unwrap_or(&Value::Null));
        }
    }
}

/// Whether it is read at all.
fn check_refusal(method: Method, tree: &Value, is_read: bool) {
    let path = |name| tree.get(name).is_some_and(|path| is_inside(path, ""));
    let cwd = match &tree["cwd"] {
        Value::Null => true,
        // As the reference has it.
        Value::String(cwd) if cwd == "/" => method == Method::Bash,
        cwd => is_inside(cwd, ""),
    };
    let text = |name| plain(&tree[name]).is_some();
    let fits = match method {
        Method::Bash => match &tree["timeout"] {
            Value::Null => text("command") && cwd,
            timeout => match integer(timeout) {
                Some(is_integer) => text("command") && cwd && is_integer,
                None => return,
            },
        },
        Method::ReadFile | Method::ListDirectory => path("path"),
        Method::WriteFile => {
            let content = plain(&tree["content"]).map(spelled);
            let hash = &tree["expectedHash"];
            let hash =
                hash.is_null() || plain(hash).is_some_and(|hash| hash.len() <= MAX_HASH_BYTES);
            path("path") && content.is_some_and(|content| content.len() <= 16) && hash
        }
        Method::GetDirectoryTree => {
            let depth = &tree["maxDepth"];
            match integer(depth) {
                _ if depth.is_null() => path("path"),
                Some(is_integer) => path("path") && is_integer,
                None => return,
            }
        }
        Method::Ripgrep | Method::Difftastic => {
            let args = tree["args"].as_array();
            let strings = args.is_some_and(|args| args.iter().all(|arg| plain(arg).is_some()));
            assert!(!is_read || (cwd && strings), "{tree}");
            let below = tree["cwd"].as_str().unwrap_or_default();
            let names = |arg: &Value| {
                plain(arg).is_some_and(|arg| !arg.starts_with('-')) && is_inside(arg, below)
            };
            if !(cwd && args.is_some_and(|args| args.iter().all(names))) {
                return;
            }
            true
        }
    };
    assert_eq!(is_read, fits, "{method:?} {tree}");
}

fn check_call(method: Method, call: &Call, tree: &Value) {
    let named = |path: &Place, name: &str| {
        check_place(path, "");
        assert!(tree.is_null() || tree[name] == path.named(), "{tree}");
    };
    match (call, method) {
        (
            Call::Bash {
                command,
                directory,
                timeout,
            },
            Method::Bash,
        ) => {
            check_place(directory, "");
            assert!(tree.is_null() || tree["command"] == **command);
            assert!(*timeout > Duration::ZERO && *timeout <= BOUNDS.max_time);
            if let Some(wanted @ 1..=600_000) = tree["timeout"].as_u64() {
                assert_eq!(timeout.as_millis(), u128::from(wanted));
            }
        }
        (Call::ReadFile { path }, Method::ReadFile)
        | (Call::ListDirectory { path }, Method::ListDirectory) => named(path, "path"),
        (
            Call::WriteFile {
                path,
                content,
                expected_hash,
            },
            Method::WriteFile,
        ) => {
            named(path, "path");
            assert!(content.len() <= BOUNDS.max_file_bytes);
            if !tree.is_null() {
                assert_eq!(
                    *content,
                    spelled(tree["content"].as_str().unwrap_or_default())
                );
                assert_eq!(expected_hash.as_deref(), tree["expectedHash"].as_str());
            }
        }
        (Call::GetDirectoryTree { path, depth }, Method::GetDirectoryTree) => {
            named(path, "path");
            assert!(*depth <= BOUNDS.max_depth);
            if let Some(wanted) = tree["maxDepth"].as_u64() {
                assert_eq!(u64::from(*depth), wanted.min(BOUNDS.max_depth.into()));
            }
        }
        (Call::Tool(invocation), Method::Ripgrep | Method::Difftastic) => {
            check_invocation(invocation, tree);
        }
        other => panic!("{other:?}"),
    }
}

/// Each word is one of the app's, or joined of two of them, or one that is always there.
fn check_invocation(invocation: &Invocation, tree: &Value) {
    check_place(&invocation.directory, "");
    let args = tree["args"].as_array();
    let is_given =
        |word: &str| args.is_none_or(|args| args.iter().any(|arg| arg.as_str() == Some(word)));
    for option in &invocation.options {
        let name = option.split('=').next().unwrap_or_default();
        assert!(option.starts_with('-') && option != "--", "{option}");
        assert!(!FORBIDDEN.contains(&name), "{option}");
        // A value cannot be taken for an option.
        assert!(!option.contains('=') || option.starts_with("--"));
    }
    assert!(invocation.pattern.as_deref().is_none_or(is_given));
    for path in &invocation.paths {
        assert!(is_given(path.named()), "{path:?}");
        check_place(path, invocation.directory.below());
    }
}

/// It is where its name leads from `below` the working directory, step by step.
fn check_place(place: &Place, below: &str) {
    assert!(place.named().len() <= MAX_PATH_BYTES && !place.named().contains('\0'));
    let base = steps(Vec::new(), BOUNDS.directory);
    let from = steps(base.clone(), below);
    let from = if place.named().starts_with('/') {
        Vec::new()
    } else {
        from
    };
    let reached = steps(from, place.named());
    assert!(reached.starts_with(&base), "{place:?} leads out");
    assert_eq!(place.below(), reached[base.len()..].join("/"));
}

/// A string that the system takes.
fn plain(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.contains('\0'))
}

fn is_inside(path: &Value, below: &str) -> bool {
    let Some(path) = plain(path).filter(|path| path.len() <= MAX_PATH_BYTES) else {
        return false;
    };
    let base = steps(Vec::new(), BOUNDS.directory);
    let from = if path.starts_with('/') {
        Vec::new()
    } else if below.starts_with('/') {
        steps(Vec::new(), below)
    } else {
        steps(base.clone(), below)
    };
    steps(from, path).starts_with(&base)
}

/// Whether it is an unsigned integer; `None` where a double does not keep what the text says.
fn integer(value: &Value) -> Option<bool> {
    let Some(double) = value.as_f64() else {
        return Some(false);
    };
    if value.is_u64() || double < 0.0 {
        return Some(value.is_u64());
    }
    // What is too small for a double is zero there, too.
    let is_exact = double < 1e15 && (double - double.round()).abs() > 1e-9;
    is_exact.then_some(false)
}
