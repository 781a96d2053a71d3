//! `hallway doctor`: what it prints, its exit codes, and what `--fix` does and does not do. What
//! it finds is tested beside it.

use std::fs;
use std::os::unix::fs::symlink;

use hallway_tests::files::{GONE, age, chmod, dead_socket, mkdir, mkfifo, mode, names};
use hallway_tests::wire::publish;
use hallway_tests::{Finished, Home};
use serde_json::{Value, json};

use crate::home;

/// What is found in the home itself, whatever is wrong with the machine.
fn findings(finished: &Finished, home: &Home) -> Vec<Value> {
    let own = home.root().to_str().unwrap();
    let mut all = finished.json();
    let summary = all.pop().unwrap();
    assert_eq!(summary["event"], json!("summary"));
    for finding in &all {
        let members: Vec<_> = finding.as_object().unwrap().keys().collect();
        assert_eq!(
            members,
            ["event", "fix", "fixed", "path", "severity", "what", "why"]
        );
        assert_eq!(finding["event"], json!("finding"));
    }
    let of_severity = |severity: &str, fixed: bool| {
        let of = |finding: &&Value| finding["severity"] == severity && finding["fixed"] == fixed;
        all.iter().filter(of).count()
    };
    let severities = ["error", "warning", "note"];
    let open = severities.map(|severity| of_severity(severity, false));
    let fixed: usize = severities
        .iter()
        .map(|severity| of_severity(severity, true))
        .sum();
    let well = open[..2] == [0, 0];
    assert_eq!(
        summary,
        json!({
            "event": "summary", "errors": open[0], "warnings": open[1], "notes": open[2],
            "fixed": fixed, "ok": well,
        })
    );
    assert_eq!(finished.code, i32::from(!well));
    let path = |finding: &Value| finding["path"].as_str().unwrap_or_default().to_owned();
    all.retain(|finding| path(finding).starts_with(own));
    all
}

fn doctor(home: &Home, arguments: &[&str]) -> Vec<Value> {
    let finished = home.run(&[&["doctor", "--json"], arguments].concat());
    assert_eq!(finished.stderr, "");
    findings(&finished, home)
}

/// A socket that another program's session left.
fn leave(home: &Home, name: &str) -> String {
    let socket = home.socket(name);
    dead_socket(&socket);
    publish(&home.config(), &socket, "5ec4e7");
    age(home.capability(&socket), 61);
    socket
}

#[test]
fn a_healthy_home_is_told_so() {
    let home = home();
    let held = home.serve(&["--hold", "--name", "held"]);
    let served = home.serve(&["--name", "printer"]);
    for arguments in [&["doctor"][..], &["doctor", "--fix"]] {
        let healthy = home.run(arguments).expect(0);
        let last = healthy.stdout.lines().last().unwrap();
        assert!(
            last.starts_with("nothing is wrong: 0 errors, 0 warnings, "),
            "{last}"
        );
        assert_eq!(healthy.stderr, "");
    }
    assert_eq!(doctor(&home, &[]), Vec::<Value>::new());
    // The living have felt nothing.
    home.run(&["ping", &held.path]).expect(0);
    home.run(&["ping", &served.path]).expect(0);
    home.run(&["inbox"]).expect(0);
}

#[test]
fn a_home_that_nobody_has_used_is_no_fault() {
    let home = home();
    fs::remove_dir(home.config()).unwrap();
    let found = doctor(&home, &["--fix"]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0]["severity"], json!("note"));
    assert!(!home.config().exists(), "it is not made either");
}

#[test]
fn a_finding_says_what_and_why_and_what_to_do() {
    let home = home();
    let socket = leave(&home, "dead");
    let capability = home.capability(&socket);
    let shown = capability.to_str().unwrap();
    let found = home.run(&["doctor"]).expect(1);
    let lines: Vec<_> = found.stdout.lines().collect();
    let finding = format!(
        "warning  capability file of a dead socket: {shown}; nobody listens at {socket}; \
         `hallway doctor --fix` removes it"
    );
    assert_eq!(lines[0], finding);
    let last = lines.last().unwrap();
    assert!(
        last.starts_with("not well: 0 errors, 1 warnings, "),
        "{last}"
    );
    assert_eq!(
        doctor(&home, &[]),
        [json!({
            "event": "finding", "severity": "warning", "fixed": false, "path": shown,
            "what": format!("capability file of a dead socket: {shown}"),
            "why": format!("nobody listens at {socket}"),
            "fix": "`hallway doctor --fix` removes it",
        })]
    );
    assert!(capability.exists(), "it only looks");
    let mended = home.run(&["doctor", "--fix"]).expect(0);
    let first = mended.stdout.lines().next().unwrap();
    assert!(
        first.ends_with("; done: `hallway doctor --fix` removes it"),
        "{first}"
    );
    let last = mended.stdout.lines().last().unwrap();
    assert!(
        last.starts_with("nothing is wrong: ") && last.ends_with("; 1 fixed"),
        "{last}"
    );
    assert!(!capability.exists());
    assert!(!found.stdout.contains("5ec4e7"), "no token is shown");
}

#[test]
fn permissions_are_mended() {
    let home = home();
    let served = home.serve(&[]);
    let capabilities = home.config().join("messaging-capabilities");
    let capability = home.capability(&served.path);
    let base = home.root().join("t/claude-code-socks");
    let broad = [
        (home.config(), 0o775, 0o755),
        (capabilities, 0o755, 0o700),
        (capability, 0o644, 0o600),
        (home.config().join("sessions"), 0o777, 0o700),
        (base, 0o770, 0o700),
    ];
    for (path, mode, _) in &broad {
        chmod(path, *mode);
    }
    home.run(&["ping", &served.path]).expect(4);
    let mended = doctor(&home, &["--fix"]);
    let mut paths: Vec<_> = mended.iter().map(|f| f["path"].as_str().unwrap()).collect();
    paths.sort_unstable();
    let mut expected: Vec<_> = broad
        .iter()
        .map(|(path, ..)| path.to_str().unwrap())
        .collect();
    expected.sort_unstable();
    assert_eq!(paths, expected);
    assert!(
        mended.iter().all(|finding| finding["fixed"] == json!(true)),
        "{mended:?}"
    );
    for (path, _, after) in &broad {
        assert_eq!(mode(path), *after, "{}", path.display());
    }
    home.run(&["ping", &served.path]).expect(0);
    assert_eq!(doctor(&home, &[]), Vec::<Value>::new());
}

#[test]
fn what_a_killed_daemon_left_is_swept_after_a_minute() {
    let home = home();
    let mut served = home.serve(&["--hold", "--name", "killed"]);
    served.kill();
    // As long as it may be just starting, it is only told.
    let young = doctor(&home, &["--fix"]);
    assert_eq!(young.len(), 4, "{young:?}");
    assert!(
        young
            .iter()
            .all(|finding| finding["severity"] == json!("note")),
        "{young:?}"
    );
    let dir = std::path::Path::new(&served.path).parent().unwrap();
    let owner = home.capability(&format!("{}.owner", served.path));
    let record = home.config().join(format!("sessions/{}.json", served.pid));
    let left = [home.capability(&served.path), owner, record, dir.to_owned()];
    for path in &left {
        age(path, 61);
    }
    let old = doctor(&home, &[]);
    assert!(
        old.iter()
            .all(|finding| finding["severity"] == json!("warning")),
        "{old:?}"
    );
    let mended = doctor(&home, &["--fix"]);
    let mut paths: Vec<_> = mended.iter().map(|f| f["path"].as_str().unwrap()).collect();
    paths.sort_unstable();
    let mut expected: Vec<_> = left.iter().map(|path| path.to_str().unwrap()).collect();
    expected.sort_unstable();
    assert_eq!(paths, expected);
    assert_eq!(left.iter().filter(|path| path.exists()).count(), 0);
    assert_eq!(doctor(&home, &[]), Vec::<Value>::new());
}

#[test]
fn what_is_not_ours_to_mend_stays() {
    let home = home();
    let sessions = home.config().join("sessions");
    mkdir(&sessions);
    let record = |pid: u32, text: &str| {
        let path = sessions.join(format!("{pid}.json"));
        fs::write(&path, text).unwrap();
        age(&path, 3_600);
    };
    // Of another program, dead; of nobody knows whom; strange entries.
    record(GONE, r#"{"entrypoint":"cli","name":"theirs"}"#);
    record(GONE + 1, "not JSON");
    mkfifo(sessions.join(format!("{}.json", GONE + 2)));
    symlink("/etc/passwd", sessions.join(format!("{}.json", GONE + 3))).unwrap();
    let capabilities = home.config().join("messaging-capabilities");
    mkdir(&capabilities);
    mkfifo(capabilities.join("0".repeat(64) + ".json"));
    fs::write(capabilities.join("notes.txt"), "mine").unwrap();
    // A directory above that is too open.
    chmod(home.root().join("t"), 0o777);
    let before = (names(&sessions), names(&capabilities));
    let found = doctor(&home, &["--fix"]);
    assert_eq!((names(&sessions), names(&capabilities)), before);
    assert_eq!(mode(home.root().join("t")), 0o777);
    let told: Vec<_> = found
        .iter()
        .map(|finding| {
            let path = finding["path"].as_str().unwrap();
            let name = path.rsplit('/').next().unwrap().to_owned();
            (
                name,
                finding["severity"].as_str().unwrap(),
                finding["fixed"] == json!(true),
            )
        })
        .collect();
    let of = |pid: u32, severity| (format!("{pid}.json"), severity, false);
    assert_eq!(
        told,
        [
            // Once, though two bases would be below it.
            ("t".to_owned(), "note", false),
            ("0".repeat(64) + ".json", "warning", false),
            ("notes.txt".to_owned(), "note", false),
            of(GONE, "note"),
            of(GONE + 1, "warning"),
            of(GONE + 2, "warning"),
            of(GONE + 3, "warning"),
        ]
    );
}

#[test]
fn sessions_that_cannot_be_reached_and_clashes_are_told() {
    let home = home();
    let one = home.serve(&["--name", "twin"]);
    let two = home.serve(&["--name", "twin"]);
    fs::remove_file(home.capability(&one.path)).unwrap();
    fs::remove_file(&two.path).unwrap();
    let finished = home.run(&["doctor", "--fix", "--json"]).expect(1);
    let what: Vec<_> = finished
        .json()
        .iter()
        .filter(|finding| finding["severity"] != json!("note"))
        .filter_map(|finding| finding["what"].as_str().map(str::to_owned))
        .collect();
    let mut expected = vec![
        (one.pid, format!("session {} cannot be written to", one.pid)),
        (
            two.pid,
            format!("session {} cannot be reached at {}", two.pid, two.path),
        ),
    ];
    expected.sort();
    let capability = home.capability(&two.path);
    let dead = format!("capability file of a dead socket: {}", capability.display());
    assert!(!what.contains(&dead), "its writer lives");
    let expected: Vec<_> = expected
        .into_iter()
        .map(|(_, text)| text)
        .chain(["2 living sessions have the name \"twin\"".to_owned()])
        .collect();
    assert_eq!(what, expected);
    assert!(capability.exists());
}

#[test]
fn the_surroundings_are_examined() {
    let home = home();
    let mut command = std::process::Command::new("sh");
    let template = home.command(&[]);
    command.env_clear();
    command.envs(
        template
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    command
        .args(["-c", "ulimit -n 60; ulimit -c 0; exec \"$0\" doctor --json"])
        .arg(env!("CARGO_BIN_EXE_hallway"))
        .env("CLAUDE_CODE_MESSAGING_SOCKET", "/nowhere\u{1b}[2J/s");
    let finished = Finished::of(command, b"").expect(1);
    let found = finished.json();
    let severity_of = |words: &str| {
        let is = |finding: &&Value| finding["what"].as_str().is_some_and(|w| w.contains(words));
        found
            .iter()
            .find(is)
            .map(|finding| finding["severity"].clone())
    };
    assert_eq!(
        severity_of("too few file descriptors for 128 clients"),
        Some(json!("warning"))
    );
    assert_eq!(
        severity_of("CLAUDE_CODE_MESSAGING_SOCKET leads nowhere"),
        Some(json!("warning"))
    );
    assert_eq!(severity_of("core dumps are on"), None);
}
