//! Sockets, limits and settings.

use super::*;

#[test]
fn socket_bases_are_examined() {
    let ward = Ward::new();
    let base = ward.at("t/claude-code-socks");
    mkdir(&base);
    chmod(&base, 0o755);
    let finding =
        "warning socket directory is not private: ~/t/claude-code-socks; its mode is 0755";
    assert_eq!(ward.findings(false), [finding]);
    assert_eq!(ward.findings(true), [format!("fixed {finding}")]);
    assert_eq!(mode(&base), 0o700);
    if give_away(&base) {
        assert_eq!(
            ward.findings(true),
            [
                "note another user has the socket directory ~/t/claude-code-socks; it belongs to \
                 uid 65534"
            ]
        );
    }
    fs::remove_dir(&base).unwrap();
    fs::write(&base, "").unwrap();
    assert_eq!(
        ward.findings(true),
        ["warning socket directory is none: ~/t/claude-code-socks; it is a regular file"]
    );
    fs::remove_file(&base).unwrap();
    chmod(&ward.at("t"), 0o777);
    assert_eq!(
        ward.findings(true)[0],
        "note no sockets can be below ~/t; its mode is 0777"
    );
    assert_eq!(mode(&ward.at("t")), 0o777);
}

#[test]
fn a_temporary_directory_too_long_for_sockets_is_told() {
    let ward = Ward::new();
    let own = ward.0.path().to_str().unwrap().len();
    // What the limit leaves for the temporary directory.
    let added = "/claude-code-socks/4194304-/messaging.sock.owner".len() + 32;
    let most = crate::paths::MAX_SOCKET_PATH_BYTES - added;
    let told = |length: usize| {
        let dir = ward.at(&"t".repeat(length.saturating_sub(own + 1).max(1)));
        mkdir(&dir);
        let mut environment = ward.environment();
        environment.tmpdir = Some(dir.into());
        let home = Home::new(environment, Some(&ward.at("c"))).unwrap();
        let found = ward.findings_in(&home, false);
        let shared = "/claude-code-socks; a socket there would have a path of 108 bytes";
        found.iter().filter(|text| text.contains(shared)).count()
    };
    if own + 2 > most || cfg!(not(target_os = "linux")) {
        eprintln!("skipped: this machine's temporary directory is too long itself");
        return;
    }
    assert_eq!((told(most), told(most + 1)), (0, 1));
}

#[test]
fn limits_and_settings_are_judged() {
    let ward = Ward::new();
    let limits = Limits::builder().max_clients(100).build().unwrap();
    let home = ward.home().with_limits(limits);
    let found = |look: &dyn Fn(&mut Exam<'_>)| {
        let mut exam = Exam {
            home: &home,
            fix: false,
            findings: Vec::new(),
            left_behind: Vec::new(),
        };
        look(&mut exam);
        let findings = exam.findings.into_iter();
        findings
            .map(|finding| (finding.severity, finding.what))
            .collect::<Vec<_>>()
    };
    let few = "too few file descriptors for 100 clients".to_owned();
    // 100 clients, 16 refused ones, 64 others.
    assert_eq!(
        found(&|exam| system::descriptors(exam, Some(179))),
        [(Severity::Warning, few)]
    );
    for enough in [Some(180), None] {
        assert!(found(&|exam| system::descriptors(exam, enough)).is_empty());
    }
    let dumps = (Severity::Note, "core dumps are on".to_owned());
    for on in [Some(1), None] {
        let found = found(&|exam| system::core_dumps(exam, on));
        assert_eq!(found, std::slice::from_ref(&dumps));
    }
    assert!(found(&|exam| system::core_dumps(exam, Some(0))).is_empty());
    let attach = |scope| found(&|exam| system::attaching(exam, scope)).len();
    let open = usize::from(cfg!(target_os = "linux"));
    assert_eq!((attach(None), attach(Some("0\n"))), (open, open));
    assert_eq!((attach(Some("1\n")), attach(Some("2\n"))), (0, 0));
}

#[test]
fn a_session_that_this_one_is_said_to_run_in_must_live() {
    let ward = Ward::new();
    let socket = ward.socket("own");
    let found = |path: &str| {
        let mut environment = ward.environment();
        environment.messaging_socket = Some(path.into());
        let home = Home::new(environment, Some(&ward.at("c"))).unwrap();
        ward.findings_in(&home, true)
    };
    let nowhere = "warning CLAUDE_CODE_MESSAGING_SOCKET leads nowhere: ~/s/own; its socket is gone";
    let gone = found(&socket);
    assert!(gone[0].starts_with(nowhere), "{gone:?}");
    let listener = UnixListener::bind(&socket).unwrap();
    assert!(found(&socket)[0].contains("it has no capability file"));
    ward.capability(&socket);
    assert!(found(&socket).is_empty());
    assert!(found("").is_empty());
    drop(listener);
}
