//! The registry.

use super::*;

#[test]
fn records_of_other_programs_are_noted_and_never_touched() {
    let ward = Ward::new();
    let theirs = ward.record(GONE, |record| {
        record.set_text("entrypoint", "cli\u{1b}[2J");
        record.set_text("name", "api-worker");
    });
    let nobodys = ward.record(GONE + 1, |_| ());
    let content = fs::read(&theirs).unwrap();
    assert_eq!(
        ward.findings(true),
        [
            format!(
                "note registry record of a dead session: ~/c/sessions/{GONE}.json; its process \
                 has ended, and it is of another program (\"cli\\u{{1b}}[2J\"), which is to remove it"
            ),
            format!(
                "note registry record of a dead session: ~/c/sessions/{}.json; its process has \
                 ended, and it is of another program, which is to remove it",
                GONE + 1
            ),
        ]
    );
    assert_eq!(fs::read(&theirs).unwrap(), content);
    assert!(nobodys.exists());
}

#[test]
fn records_that_cannot_be_read_are_told_with_their_reason() {
    let ward = Ward::new();
    let at = |name: &str| ward.at("c/sessions").join(name);
    fs::write(at("1.json"), "\x7fELF").unwrap();
    fs::File::create(at("2.json"))
        .unwrap()
        .set_len(10_000_000)
        .unwrap();
    mkdir(at("3.json"));
    mknodat(CWD, at("4.json"), FileType::Fifo, 0o600.into(), 0).unwrap();
    symlink("1.json", at("5.json")).unwrap();
    let expected = [
        "the registry entry is not one JSON object",
        "it has 10000000 bytes, readers take 65536",
        "it is a directory",
        "it is a FIFO or a device",
        "it is a symbolic link",
    ]
    .iter()
    .enumerate()
    .map(|(at, why)| {
        let number = at + 1;
        format!("warning registry record cannot be read: ~/c/sessions/{number}.json; {why}")
    });
    assert_eq!(ward.findings(true), expected.collect::<Vec<_>>());
    assert_eq!(fs::read_dir(ward.at("c/sessions")).unwrap().count(), 5);
}

#[test]
fn living_sessions_that_cannot_be_reached_are_errors() {
    let ward = Ward::new();
    let pid = std::process::id();
    let socket = ward.socket("live");
    ward.record(pid, |record| live(record, &socket));
    let gone = format!("error session {pid} cannot be reached at ~/s/live; its socket is gone");
    assert_eq!(ward.findings(true), [gone.as_str()]);
    let listener = UnixListener::bind(&socket).unwrap();
    let found = examine(&ward.home(), true)
        .into_iter()
        .find(|finding| finding.what == format!("session {pid} cannot be written to"))
        .unwrap();
    assert_eq!(
        (found.severity, found.why.as_str()),
        (
            Severity::Error,
            "it has no capability file, so that nobody has its token"
        )
    );
    assert_eq!(found.path, Some(ward.capability_path(&socket)));
    ward.capability(&socket);
    assert!(ward.findings(true).is_empty());
    drop(listener);
    fs::remove_file(&socket).unwrap();
    dead_socket(&socket);
    let found = ward.findings(false);
    assert!(
        found[0].starts_with(&format!("error session {pid} cannot be reached")),
        "{found:?}"
    );
    assert!(found[0].ends_with("; nobody listens there"), "{found:?}");
    chmod(&ward.at("s"), 0o755);
    let found = ward.findings(false);
    assert!(
        found[0].ends_with("; ~/s is not private: its mode is 0755"),
        "{found:?}"
    );
    // One that may be another process's is no error.
    ward.record(pid, |record| {
        record.set_text("messagingSocketPath", &socket);
    });
    let found = ward.findings(false);
    assert!(
        found[0].starts_with("note session ") && found.len() == 1,
        "{found:?}"
    );
}

#[test]
fn names_ids_and_sockets_that_clash_are_found() {
    let ward = Ward::new();
    // Two living processes of ours: this one, and its parent or any other of this user.
    let mut child = std::process::Command::new("cat")
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    for pid in [std::process::id(), child.id()] {
        ward.record(pid, |record| {
            record.set_text("sessionId", "s-1\n");
            record.set_text("name", "api-worker");
            record.set_text("messagingSocketPath", &ward.socket("both"));
        });
    }
    let found: Vec<_> = examine(&ward.home(), true)
        .into_iter()
        .filter(|finding| finding.what.contains("living sessions have the"))
        .collect();
    child.kill().unwrap();
    child.wait().unwrap();
    let texts: Vec<_> = found
        .iter()
        .map(|f| (f.severity, f.what.clone(), f.fixed))
        .collect();
    let socket = ward.socket("both");
    assert_eq!(
        texts,
        [
            (
                Severity::Warning,
                "2 living sessions have the name \"api-worker\"".to_owned(),
                false
            ),
            (
                Severity::Warning,
                "2 living sessions have the session id \"s-1\\n\"".to_owned(),
                false
            ),
            (
                Severity::Error,
                format!("2 living sessions have the socket {socket:?}"),
                false
            ),
        ]
    );
}

#[test]
fn a_registry_that_others_can_change_is_not_believed_before_it_is_mended() {
    let ward = Ward::new();
    let path = ward.at("c/sessions");
    ward.record(GONE, |_| ());
    chmod(&path, 0o777);
    let finding = "error others can change the registry: ~/c/sessions; its mode is 0777, and no \
                   reader believes it like that";
    assert_eq!(ward.findings(false), [finding]);
    let found = ward.findings(true);
    assert_eq!(found[0], format!("fixed {finding}"));
    assert!(
        found[1].starts_with("note registry record of a dead session"),
        "{found:?}"
    );
    assert_eq!(mode(&path), 0o700);
    chmod(&path, 0o755);
    let found = ward.findings(true);
    assert!(
        found[0].starts_with("fixed note others can read the registry: ~/c/sessions"),
        "{found:?}"
    );
    assert_eq!(mode(&path), 0o700);
    fs::remove_dir_all(&path).unwrap();
    fs::write(&path, "").unwrap();
    assert_eq!(
        ward.findings(true),
        ["error registry cannot be used: ~/c/sessions; it is a regular file"]
    );
}
