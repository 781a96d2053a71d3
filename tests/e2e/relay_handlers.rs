//! The methods that the app may ask for: the examples of relay.md, and what must not be got.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use hallway::core::relay::raw::Raw;
use hallway::relay::handlers::{HandlerLimits, Handlers, Method, NO_LANDLOCK};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tempfile::TempDir;

/// The directory that the examples are about.
fn directory() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir_all(at("d/e")).unwrap();
    for (name, content) in [
        ("a.bin", &b"\0\xff"[..]),
        ("b.txt", b"B\n"),
        ("d/f", b"x"),
        ("é", b""),
        ("Z", b""),
    ] {
        fs::write(at(name), content).unwrap();
    }
    symlink("/etc", at("link")).unwrap();
    dir
}

fn real(dir: &TempDir) -> String {
    let path = dir.path().canonicalize().unwrap();
    path.to_str().unwrap().to_owned()
}

fn handlers(dir: &TempDir, limits: HandlerLimits) -> Handlers {
    Handlers::new(Path::new(&real(dir)), Method::ALL, limits).unwrap()
}

async fn call(handlers: &Handlers, method: &str, params: &Value) -> Value {
    let params = params.to_string();
    let answer = handlers.call(method, Raw::parse(&params).unwrap()).await;
    serde_json::from_str(&answer.expect("it is allowed")).unwrap()
}

type File = BTreeMap<String, BTreeMap<String, Box<RawValue>>>;

/// The rows of `commonHandlers` of each generation of each file.
fn sections() -> Vec<Vec<Value>> {
    let mut texts = vec![include_str!("../vectors/relay.json").to_owned()];
    if let Some(path) = std::env::var_os("HALLWAY_RELAY_VECTORS") {
        texts.push(fs::read_to_string(path).unwrap());
    }
    let mut out = Vec::new();
    for text in texts {
        // Other sections hold what no parser of Unicode takes.
        let file: File = serde_json::from_str(&text).unwrap();
        let of = |generation| file.get(generation)?.get("commonHandlers");
        let found = ["seed", "latest"].into_iter().filter_map(of);
        out.extend(found.map(|section| serde_json::from_str(section.get()).unwrap()));
    }
    out
}

/// Makes of the answer what the example says of it, where the example names no value.
fn blurred(answer: &Value, example: &Value) -> Value {
    match (answer, example) {
        (Value::Object(answer), Value::Object(example)) => {
            let mut out = answer.clone();
            let kind = answer.get("type").and_then(Value::as_str);
            for (name, value) in &mut out {
                let Some(expected) = example.get(name) else {
                    continue;
                };
                *value = match (name.as_str(), kind) {
                    // The size of a directory is its file system's.
                    ("size", Some("directory")) if value.is_u64() => expected.clone(),
                    _ => blurred(value, expected),
                };
            }
            // A link is not followed, so that nothing is said of what it leads to.
            if kind == Some("other") && !out.contains_key("size") {
                for name in ["size", "modified"] {
                    out.insert(
                        name.to_owned(),
                        example.get(name).cloned().unwrap_or_default(),
                    );
                }
            }
            Value::Object(out)
        }
        (Value::Array(answer), Value::Array(example)) if answer.len() == example.len() => {
            let both = answer.iter().zip(example);
            both.map(|(answer, example)| blurred(answer, example))
                .collect()
        }
        (Value::Number(_), Value::String(text)) if text == "<ms>" => example.clone(),
        (Value::String(answer), Value::String(text))
            if *text == format!("<{} chars>", answer.len()) =>
        {
            example.clone()
        }
        _ => answer.clone(),
    }
}

/// Covers: R6.5
#[tokio::test]
async fn relay_vectors_common_handlers() {
    for rows in sections() {
        let dir = directory();
        let handlers = handlers(&dir, HandlerLimits::DEFAULT);
        assert!(!rows.is_empty());
        for row in rows {
            let text = row.to_string().replace("<W>", &real(&dir));
            let row: Value = serde_json::from_str(&text).unwrap();
            let method = row["method"].as_str().unwrap();
            let answer = call(&handlers, method, &row["request"]).await;
            if text.contains("symlink inside cwd is followed") {
                // Here we differ (relay.md §9.10).
                let path = row["request"]["path"].as_str().unwrap();
                let error = format!("Access denied: Path '{path}' leads through a symbolic link");
                assert_eq!(answer, json!({"success": false, "error": error}));
                continue;
            }
            let answer = blurred(&answer, &row["response"]);
            assert_eq!(answer, row["response"], "{}", row["request"]);
        }
    }
}

/// Covers: R9.10c
#[tokio::test]
async fn nothing_is_served_that_is_not_allowed_by_name() {
    let dir = directory();
    let none = Handlers::new(dir.path(), [], HandlerLimits::DEFAULT).unwrap();
    let one = Handlers::new(dir.path(), [Method::ReadFile], HandlerLimits::DEFAULT).unwrap();
    let params = r#"{"path":"b.txt","command":"touch x","args":[]}"#;
    for method in Method::ALL {
        let raw = Raw::parse(params).unwrap();
        assert_eq!(none.call(method.name(), raw).await, None);
        let allowed = one.call(method.name(), raw).await.is_some();
        assert_eq!(allowed, method == Method::ReadFile, "{}", method.name());
    }
    assert_eq!(one.call("other", Raw::parse(params).unwrap()).await, None);
    assert!(!dir.path().join("x").exists());
}

/// Covers: R9.10a
#[tokio::test]
async fn no_path_leads_out() {
    let dir = directory();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "SECRET").unwrap();
    symlink(outside.path(), dir.path().join("d/out")).unwrap();
    symlink(outside.path().join("secret"), dir.path().join("d/leak")).unwrap();
    symlink(outside.path().join("new"), dir.path().join("d/new")).unwrap();
    let handlers = handlers(&dir, HandlerLimits::DEFAULT);
    let absolute = outside.path().join("secret");
    let absolute = absolute.to_str().unwrap();
    for path in [
        "d/out/secret",
        "d/leak",
        "d/new",
        "d/../d/leak",
        "../x",
        absolute,
        "/",
        "..",
    ] {
        for (method, params) in [
            ("readFile", json!({"path": path})),
            ("writeFile", json!({"path": path, "content": "AAAA"})),
            (
                "writeFile",
                json!({"path": path, "content": "AAAA", "expectedHash": "x"}),
            ),
            ("listDirectory", json!({"path": path})),
            ("getDirectoryTree", json!({"path": path, "maxDepth": 9})),
            (
                "bash",
                json!({"command": "pwd", "cwd": path.trim_end_matches("secret")}),
            ),
            ("ripgrep", json!({"args": ["SECRET", path]})),
            ("ripgrep", json!({"args": ["--files", path]})),
            ("difftastic", json!({"args": ["b.txt", path]})),
        ] {
            if method == "bash" && matches!(path, "/" | "../x") {
                continue;
            }
            let answer = call(&handlers, method, &params).await;
            assert_eq!(answer["success"], false, "{method} {params}: {answer}");
            let error = answer["error"].as_str().unwrap();
            let is_refused = error.starts_with("Access denied: ") || error.starts_with("ENOTDIR: ");
            assert!(is_refused, "{method} {params}: {answer}");
        }
    }
    let left: Vec<_> = fs::read_dir(outside.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(fs::read_to_string(absolute).unwrap(), "SECRET");
    let tree = call(
        &handlers,
        "getDirectoryTree",
        &json!({"path": ".", "maxDepth": 9}),
    )
    .await;
    assert!(!tree.to_string().contains("secret"), "{tree}");
}

#[tokio::test]
async fn tools_take_no_argument_that_reads_or_runs_something_else() {
    let dir = directory();
    let handlers = handlers(&dir, HandlerLimits::DEFAULT);
    for (method, args) in [
        ("ripgrep", json!(["--pre", "touch", "x"])),
        ("ripgrep", json!(["--pre=touch", "x"])),
        ("ripgrep", json!(["--hostname-bin=touch", "x"])),
        ("ripgrep", json!(["-f", "/etc/passwd"])),
        ("ripgrep", json!(["--file=/etc/passwd"])),
        ("ripgrep", json!(["--ignore-file=/etc/passwd", "x"])),
        ("ripgrep", json!(["-z", "x"])),
        ("ripgrep", json!(["x", "--", "/etc/passwd"])),
        ("ripgrep", json!(["--files", "/etc"])),
        ("ripgrep", json!(["-e", "x", "/etc"])),
        ("ripgrep", json!("x")),
        ("ripgrep", json!([1])),
        ("difftastic", json!(["--dump-syntax", "/etc/passwd"])),
        (
            "difftastic",
            json!(["--override=*.x:json", "b.txt", "a.bin"]),
        ),
    ] {
        let answer = call(&handlers, method, &json!({"args": args})).await;
        assert_eq!(answer["success"], false, "{args}: {answer}");
        let error = answer["error"].as_str().unwrap();
        let refused = error.starts_with("Access denied: ") || error.starts_with("The \"args\"");
        assert!(refused, "{args}: {answer}");
    }
}

/// Covers: R9.10b
#[tokio::test]
async fn what_a_command_started_ends_with_it() {
    let dir = directory();
    let handlers = handlers(&dir, HandlerLimits::DEFAULT);
    let mark = dir.path().join("mark");
    // The grandchild would write if it outlived the command's time.
    let command = "(sleep 1; touch mark) & echo $! > pid; wait";
    let started = Instant::now();
    let params = json!({"command": command, "timeout": 200});
    let answer = call(&handlers, "bash", &params).await;
    assert_eq!(answer["error"], "Command timed out");
    assert!(started.elapsed() < Duration::from_secs(20));
    let pid: i32 = fs::read_to_string(dir.path().join("pid"))
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let proc = format!("/proc/{pid}");
    let until = Instant::now() + Duration::from_secs(20);
    while is_running(&proc) {
        assert!(Instant::now() < until, "the grandchild lives");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!mark.exists());
    // A caller that goes away ends it, too.
    let endless = json!({"command": "echo $$ > pid; exec sleep 600"}).to_string();
    let running = handlers.call("bash", Raw::parse(&endless).unwrap());
    let none = tokio::time::timeout(Duration::from_millis(500), running).await;
    assert!(none.is_err());
    let pid = fs::read_to_string(dir.path().join("pid")).unwrap();
    let proc = format!("/proc/{}", pid.trim());
    while is_running(&proc) {
        assert!(Instant::now() < until, "the command lives");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn is_running(proc: &str) -> bool {
    let stat = fs::read_to_string(format!("{proc}/stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

/// Covers: R9.10b
#[tokio::test]
async fn everything_is_bounded() {
    let dir = directory();
    let limits = HandlerLimits {
        max_running: 1,
        max_file_bytes: 4,
        max_output_bytes: 4,
        max_entries: 6,
        max_depth: 1,
        max_time: Duration::from_millis(300),
        ..HandlerLimits::DEFAULT
    };
    let handlers = handlers(&dir, limits);
    fs::write(dir.path().join("four"), "four").unwrap();
    fs::write(dir.path().join("d/five"), "fives").unwrap();
    fs::create_dir(dir.path().join("d/e/g")).unwrap();
    let ask = |method: &'static str, params: Value| {
        let handlers = handlers.clone();
        async move { call(&handlers, method, &params).await }
    };
    assert_eq!(
        ask("readFile", json!({"path": "four"})).await["success"],
        true
    );
    for (method, params, error) in [
        (
            "readFile",
            json!({"path": "d/five"}),
            "The file has more than 4 bytes",
        ),
        (
            "writeFile",
            json!({"path": "n", "content": "AAAAAAA="}),
            "The content has more than 4 bytes",
        ),
        (
            "listDirectory",
            json!({"path": "."}),
            "There are too many entries; ask for less",
        ),
        (
            "getDirectoryTree",
            json!({"path": ".", "maxDepth": 9}),
            "There are too many entries; ask for less",
        ),
        (
            "bash",
            json!({"command": "echo 12345 >&2"}),
            "stderr maxBuffer length exceeded",
        ),
        (
            "bash",
            json!({"command": "sleep 60", "timeout": 60_000}),
            "Command timed out",
        ),
    ] {
        let answer = ask(method, params).await;
        assert_eq!(
            (&answer["success"], &answer["error"]),
            (&json!(false), &json!(error))
        );
    }
    let tree = ask("getDirectoryTree", json!({"path": "d", "maxDepth": 1e300})).await;
    assert!(
        tree.to_string().contains("d/e") && !tree.to_string().contains("d/e/g"),
        "{tree}"
    );
    let (one, other) = tokio::join!(
        ask("bash", json!({"command": "sleep 60"})),
        ask("readFile", json!({"path": "four"}))
    );
    assert_eq!(one["error"], "Command timed out");
    assert_eq!(other["error"], "1 requests are running; try again");
    assert!(!dir.path().join("n").exists());
}

#[tokio::test]
async fn a_written_file_is_whole_and_keeps_its_mode() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = directory();
    let handlers = handlers(&dir, HandlerLimits::DEFAULT);
    let path = dir.path().join("b.txt");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o751)).unwrap();
    // The SHA-256 of "B\n".
    let expected = "c0cde77fa8fef97d476c10aad3d2d54fcc2f336140d073651c2dcccf1e379fd6";
    let request = json!({"path": "b.txt", "content": "bmV3", "expectedHash": expected});
    let answer = call(&handlers, "writeFile", &request).await;
    assert_eq!(answer["success"], true, "{answer}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
        0o751
    );
    for request in [
        json!({"path": "d", "content": "AAAA"}),
        json!({"path": ".", "content": "AAAA"}),
        json!({"path": "d/none/x", "content": "AAAA"}),
        json!({"path": "b.txt/x", "content": "AAAA"}),
        json!({"path": "y"}),
        json!({"path": "y", "content": "AAAA", "expectedHash": 5}),
    ] {
        let answer = call(&handlers, "writeFile", &request).await;
        assert_eq!(answer["success"], false, "{request}");
    }
    let names: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(names.len(), 6, "nothing is left beside: {names:?}");
}

/// A directory of programs, and a `rg` and a `difft` that are this shell script.
fn fake(script: &str) -> TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    let programs = tempfile::tempdir().unwrap();
    for name in ["rg", "difft"] {
        let path = programs.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    programs
}

fn with_programs(dir: &TempDir, programs: impl AsRef<std::ffi::OsStr>) -> Handlers {
    let (path, limits) = (real(dir), HandlerLimits::DEFAULT);
    Handlers::with_programs(Path::new(&path), Method::ALL, limits, programs.as_ref()).unwrap()
}

/// What a name led to when it was looked at is what the program opens, also when a link has
/// taken its place before.
///
/// Covers: R9.10a
#[tokio::test]
async fn a_link_that_is_put_in_place_after_the_check_leads_nowhere() {
    let dir = directory();
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir(outside.path().join("e")).unwrap();
    for name in ["f", "b.txt", "g"] {
        fs::write(outside.path().join(name), "SECRET").unwrap();
    }
    fs::write(dir.path().join("d/g"), "inside").unwrap();
    let at = |name: &str| outside.path().join(name).to_str().unwrap().to_owned();
    pipe(&dir, "d/wait");
    // It waits for the links, and opens all that it was given.
    let programs = fake(
        "for path; do if [ -d \"$path\" ]; then read -r _ < \"$path/wait\"; fi; done; cat ./g
        for path; do case $path in /*) if [ -d \"$path\" ]; then cat \"$path/f\"; else cat \"$path\"; fi;; esac; done",
    );
    let handlers = with_programs(&dir, programs.path());
    for (method, args) in [
        ("ripgrep", json!(["-e", "x", "../b.txt", "."])),
        ("difftastic", json!(["../b.txt", "../d"])),
    ] {
        let params = json!({"args": args, "cwd": "d"});
        let swap = async {
            let mut go = reader(&dir, "d/wait").await;
            fs::rename(dir.path().join("b.txt"), dir.path().join("b")).unwrap();
            fs::rename(dir.path().join("d"), dir.path().join("c")).unwrap();
            symlink(at("b.txt"), dir.path().join("b.txt")).unwrap();
            symlink(outside.path(), dir.path().join("d")).unwrap();
            go.write_all(b"go\n").unwrap();
        };
        let Some(answer) = beside(&handlers, method, &params, swap).await else {
            return;
        };
        assert_eq!(answer["stdout"], "insideB\nx", "{answer}");
        for name in ["b.txt", "d"] {
            fs::remove_file(dir.path().join(name)).unwrap();
        }
        fs::rename(dir.path().join("b"), dir.path().join("b.txt")).unwrap();
        fs::rename(dir.path().join("c"), dir.path().join("d")).unwrap();
    }
}

/// Makes a named pipe.
fn pipe(dir: &TempDir, name: &str) {
    let mode = rustix::fs::Mode::RWXU;
    rustix::fs::mkfifoat(rustix::fs::CWD, dir.path().join(name), mode).unwrap();
}

/// Waits until somebody reads the pipe.
async fn reader(dir: &TempDir, name: &str) -> fs::File {
    let mut options = fs::OpenOptions::new();
    options
        .write(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
    loop {
        if let Ok(file) = options.open(dir.path().join(name)) {
            return file;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The tool's answer, with what happens while it runs; none where the system cannot confine
/// tools, once it is seen that this one is refused for it.
async fn beside(
    handlers: &Handlers,
    method: &str,
    params: &Value,
    meanwhile: impl Future<Output = ()>,
) -> Option<Value> {
    if handlers.unconfined().count() > 0 {
        let answer = call(handlers, method, params).await;
        let error = answer["error"].as_str().unwrap();
        assert!(error.ends_with(NO_LANDLOCK), "{answer}");
        return None;
    }
    let both = async { tokio::join!(call(handlers, method, params), meanwhile) };
    let both = tokio::time::timeout(Duration::from_secs(60), both).await;
    Some(both.expect("the tool starts, and waits for what happens").0)
}

/// Runs a tool.
async fn tool(handlers: &Handlers, method: &str, args: &Value) -> Option<Value> {
    beside(handlers, method, &json!({"args": args}), async {}).await
}

/// A tool goes by names below what it was given. The kernel keeps it there, and from all else.
///
/// Covers: R9.10a
#[tokio::test]
async fn a_link_that_is_put_below_while_a_tool_runs_leads_nowhere() {
    let dir = directory();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("f"), "SECRET").unwrap();
    fs::write(dir.path().join("d/e/f"), "below").unwrap();
    fs::write(dir.path().join("c"), "beside").unwrap();
    pipe(&dir, "d/wait");
    let (root, out) = (real(&dir), outside.path().to_str().unwrap());
    let programs = fake(&format!(
        "for at; do :; done
        cat \"$at/e/f\"; read -r _ < \"$at/wait\"; cat \"$at/e/f\" \"$at/../c\" {root}/c {out}/f /etc/passwd
        ls \"$at/e/\" {root} {out} /usr /proc/self/
        (echo x > \"$at/new\"); (echo x > {out}/new); mkdir \"$at/new\"; rm \"$at/f\"
        ls \"$at\""
    ));
    let handlers = with_programs(&dir, programs.path());
    for (method, args) in [
        ("ripgrep", json!(["x", "d"])),
        ("difftastic", json!(["b.txt", "d"])),
    ] {
        let swap = async {
            let mut go = reader(&dir, "d/wait").await;
            fs::rename(dir.path().join("d/e"), outside.path().join("e")).unwrap();
            symlink(outside.path(), dir.path().join("d/e")).unwrap();
            go.write_all(b"go\n").unwrap();
        };
        let Some(answer) = beside(&handlers, method, &json!({"args": args}), swap).await else {
            return;
        };
        assert_eq!(answer["stdout"], "belowe\nf\nwait\n", "{answer}");
        let errors = answer["stderr"].as_str().unwrap();
        assert!(!errors.contains("SECRET"), "{errors}");
        assert_eq!(errors.matches("ermission denied").count(), 14, "{errors}");
        fs::remove_file(dir.path().join("d/e")).unwrap();
        fs::rename(outside.path().join("e"), dir.path().join("d/e")).unwrap();
    }
    let left: Vec<_> = fs::read_dir(outside.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[tokio::test]
async fn tools_are_given_what_is_known_and_the_app_its_own_names() {
    let dir = directory();
    let programs = fake("for word; do echo \"$word\"; done; echo \"$9/x\" >&2; ");
    let handlers = with_programs(&dir, programs.path());
    let args = json!(["-g", "--pre=x", "-e", "-p", "d/", "./b.txt", "d/f"]);
    let Some(answer) = tool(&handlers, "ripgrep", &args).await else {
        return;
    };
    let words = answer["stdout"].as_str().unwrap();
    let expected = "--no-config\n--no-follow\n--no-ignore-parent\n--no-ignore-global\n\
        --no-ignore-exclude\n--no-ignore-messages\n--glob=--pre=x\n--regexp=-p\n--\nd\n./b.txt\nd/f\n";
    assert_eq!(words, expected);
    // In JSON a name is text of JSON.
    fs::write(dir.path().join("q\\\""), "").unwrap();
    let args = json!(["--json", "-e", "x", "q\\\"", "b.txt"]);
    let Some(answer) = tool(&handlers, "ripgrep", &args).await else {
        return;
    };
    let words = answer["stdout"].as_str().unwrap();
    assert!(words.ends_with("--\nq\\\\\\\"\nb.txt\n"), "{words}");
    // What cannot be held is refused: no pipe is waited for.
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        dir.path().join("p"),
        rustix::fs::Mode::RWXU,
    )
    .unwrap();
    for (path, error) in [
        ("p", "Access denied: Path 'p' is no regular file"),
        ("none", "ENOENT: no such file or directory, open 'none'"),
        (
            "link",
            "Access denied: Path 'link' leads through a symbolic link",
        ),
    ] {
        for (method, args) in [
            ("ripgrep", json!(["x", path])),
            ("difftastic", json!(["b.txt", path])),
        ] {
            let Some(answer) = tool(&handlers, method, &args).await else {
                return;
            };
            assert_eq!(answer, json!({"success": false, "error": error}));
        }
    }
}

#[tokio::test]
async fn tools_see_no_environment_that_gives_them_options() {
    let dir = directory();
    let programs = fake("env");
    let handlers = with_programs(&dir, programs.path());
    for method in ["ripgrep", "difftastic"] {
        let Some(answer) = tool(&handlers, method, &json!([])).await else {
            return;
        };
        let seen = answer["stdout"].as_str().unwrap();
        let names: Vec<_> = seen
            .lines()
            .map(|line| line.split('=').next().unwrap())
            .collect();
        // The shell makes some of its own.
        let known = [
            "PATH", "LANG", "LC_ALL", "LC_CTYPE", "TERM", "TMPDIR", "PWD", "OLDPWD", "SHLVL", "_",
        ];
        assert!(names.contains(&"PATH"), "{seen}");
        assert!(names.iter().all(|name| known.contains(name)), "{names:?}");
        let mut ours = std::env::vars_os().map(|(name, _)| name);
        assert!(ours.any(|name| known.iter().all(|known| name != *known)));
    }
}

/// A program of the working directory is not one of the system's, whatever `PATH` says.
#[tokio::test]
async fn tools_are_not_looked_for_in_the_directory() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = directory();
    let planted = dir.path().join("rg");
    fs::write(&planted, "#!/bin/sh\necho planted").unwrap();
    fs::set_permissions(&planted, fs::Permissions::from_mode(0o755)).unwrap();
    // From wherever this runs, by way of the root.
    let depth = std::env::current_dir().unwrap().components().count();
    let relative = format!(
        "{}{}",
        "../".repeat(depth),
        real(&dir).trim_start_matches('/')
    );
    assert!(Path::new(&relative).join("rg").exists());
    for path in ["", ".", ":", "./", "::bin:.", &relative] {
        let handlers = with_programs(&dir, path);
        let Some(answer) = tool(&handlers, "ripgrep", &json!(["x"])).await else {
            return;
        };
        assert_eq!(
            answer,
            json!({"success": false, "error": "spawn rg ENOENT"}),
            "{path}"
        );
    }
    let handlers = with_programs(&dir, format!(".:{}", real(&dir)));
    let Some(answer) = tool(&handlers, "ripgrep", &json!(["x"])).await else {
        return;
    };
    assert_eq!(answer["stdout"], "planted\n");
    // It is no program to run.
    fs::set_permissions(&planted, fs::Permissions::from_mode(0o644)).unwrap();
    let Some(answer) = tool(&handlers, "ripgrep", &json!(["x"])).await else {
        return;
    };
    assert_eq!(answer["error"], "spawn rg ENOENT");
}
