//! Directories and files in every state that a start may find them in: what is refused, in
//! whose words, and that nothing is lost or left half-made (local.md §2).

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use hallway_tests::files::{OTHER, chmod, give_away, is_root, mkdir, mkfifo, mode, names};
use hallway_tests::{Finished, Home, Served};

use crate::home;

const HALLWAY: &str = env!("CARGO_BIN_EXE_hallway");

/// Demands that `serve` with more `arguments` fails for this reason and leaves nothing.
#[track_caller]
fn refused(home: &Home, arguments: &[&str], why: &str) {
    let before = tree(home.root());
    let failed = home.run(&[&["serve"], arguments].concat()).expect(1);
    let why = format!("error: {why}");
    assert!(failed.stderr.starts_with(&why), "{}", failed.stderr);
    assert_eq!(failed.stdout, "");
    assert_eq!(tree(home.root()), before);
}

/// Every file below `dir`, and every directory that is not empty.
fn tree(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            let below = tree(&entry.path());
            if !below.is_empty() {
                found.push(entry.path());
                found.extend(below);
            }
        } else {
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

/// Runs a script in which `$HALLWAY`, `$C` (the config home) and `$S` (a path for a socket) are
/// set, by `shell` and what it begins with.
fn script(home: &Home, shell: &[&str], text: &str) -> Finished {
    let template = home.command(&[]);
    let mut command = Command::new(shell[0]);
    command.args(&shell[1..]).arg(text);
    command.env_clear();
    command.envs(
        template
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    command
        .env("HALLWAY", HALLWAY)
        .env("C", home.config())
        .env("S", home.socket("s"));
    Finished::of(command, b"")
}

// A full disk.

/// By a limit on the size of files, which every user can set: no file can get a byte.
///
/// Covers: L2.12
#[test]
fn a_full_disk_leaves_the_old_capability_and_nothing_half_made() {
    let home = home();
    let socket = home.socket("s");
    let mut first = home.serve(&["--socket", &socket]);
    first.kill();
    let capability = home.capability(&socket);
    let old = fs::read(&capability).unwrap();
    let limited = "trap '' XFSZ; ulimit -f 0; exec \"$HALLWAY\" serve --socket \"$S\"";
    let failed = script(&home, &["sh", "-c"], limited).expect(1);
    assert_eq!(
        failed.stderr,
        format!(
            "error: cannot write {}; File too large (os error 27); check its permissions and the disk\n",
            capability.display()
        )
    );
    assert_eq!(fs::read(&capability).unwrap(), old);
    let record = format!("{}.json", first.pid);
    assert_eq!(names(home.config().join("messaging-capabilities")).len(), 1);
    assert_eq!(names(home.config().join("sessions")), [record]);
    assert!(
        !fs::exists(&socket).unwrap(),
        "the dead socket's place is free"
    );
    let served = home.serve(&["--socket", &socket]);
    home.run(&["ping", &served.path]).expect(0);
    assert_ne!(fs::read(&capability).unwrap(), old);
}

/// The capability fits, the record does not: both are gone again.
///
/// Covers: L2.12
#[test]
fn a_disk_that_fills_up_half_way_leaves_nothing() {
    let home = home();
    // The working directory is part of the record.
    let long = home.root().join(["x"; 3].map(|x| x.repeat(250)).join("/"));
    mkdir(&long);
    let before = tree(home.root());
    let limited = format!(
        "trap '' XFSZ; cd {}; ulimit -f 1; exec \"$HALLWAY\" serve --hold --name {} --socket \"$S\"",
        long.display(),
        "n".repeat(250),
    );
    let failed = script(&home, &["sh", "-c"], &limited).expect(1);
    let record = home.config().join("sessions");
    assert!(
        failed
            .stderr
            .starts_with(&format!("error: cannot write {}", record.display())),
        "{}",
        failed.stderr
    );
    assert_eq!(tree(home.root()), before);
}

/// By a file system that is really full.
#[test]
fn a_full_file_system_leaves_the_old_capability_and_nothing_half_made() {
    if !is_root() {
        return;
    }
    let home = home();
    let capability = home.capability(&home.socket("s"));
    let text = format!(
        r#"
        mount -t tmpfs -o size=64k,mode=0700 none "$C" || exit 90
        mkdir -m 700 "$C/messaging-capabilities" && cd "$C/messaging-capabilities" || exit 91
        printf old > {0} && chmod 600 {0} || exit 92
        head -c 1000000 /dev/zero > "$C/fill" 2> /dev/null && exit 93
        "$HALLWAY" serve --socket "$S"; echo "code $?"
        "$HALLWAY" doctor | grep "^error"
        cat {0}; echo; ls -A .
        rm "$C/fill"; "$HALLWAY" run --socket "$S" -- true; echo "code $?"
        ls -A . "$C/sessions"
        "#,
        capability.display()
    );
    let ran = script(&home, &["unshare", "--mount", "sh", "-c"], &text).expect(0);
    assert_eq!(
        ran.stderr,
        format!(
            "error: cannot write {}; No space left on device (os error 28); check its permissions and the disk\n",
            capability.display()
        )
    );
    let (config, name) = (home.config(), capability.file_name().unwrap());
    let (config, name) = (config.display(), name.to_str().unwrap());
    assert_eq!(
        ran.stdout,
        format!(
            "code 1\n\
             error    no space in the config home: {config}; its file system is full, so that \
             nothing can be published; remove what is not needed there\n\
             old\n{name}\n\
             code 0\n.:\n\n{config}/sessions:\n"
        )
    );
}

// The config home.

#[test]
fn a_missing_config_home_is_made_private_whatever_the_umask() {
    let home = home();
    let config = home.root().join("a/b");
    for (umask, sub) in [("000", "one"), ("777", "two")] {
        let at = config.join(sub);
        let text = format!(
            "umask {umask}; exec \"$HALLWAY\" run --config-dir '{0}' --socket \"$S\" -- ls -lnR '{0}'",
            at.display()
        );
        let listed = script(&home, &["sh", "-c"], &text).expect(0).stdout;
        let modes: Vec<_> = listed
            .lines()
            .filter(|line| line.starts_with(['d', '-']))
            .map(|line| line.split_whitespace().next().unwrap())
            .collect();
        // Two directories; the capability, that of the owner channel, and the record.
        let (dir, file) = ("drwx------", "-rw-------");
        assert_eq!(modes, [dir, dir, file, file, file], "{listed}");
        assert_eq!((mode(&at), mode(&config)), (0o700, 0o700));
    }
}

#[test]
fn a_config_home_may_be_reached_through_a_link_of_ours() {
    let home = home();
    symlink(home.config(), home.root().join("link")).unwrap();
    let link = home.socket("link");
    let served = home.serve(&["--config-dir", &link]);
    home.run(&["ping", &served.path]).expect(0);
    home.run(&["ping", &served.path, "--config-dir", &link])
        .expect(0);
    assert!(
        home.capability(&served.path).exists(),
        "it is behind the link"
    );
    if is_root() {
        std::os::unix::fs::lchown(home.root().join("link"), Some(OTHER), None).unwrap();
        let why = format!("symbolic link owner does not match current user: {link}; ");
        refused(&home, &["--config-dir", &link], &why);
    }
}

#[test]
fn a_config_home_that_is_not_ours_alone_is_refused() {
    let home = home();
    let config = home.config();
    let shown = config.display();
    for mode in [0o770, 0o702, 0o777] {
        chmod(&config, mode);
        refused(
            &home,
            &[],
            &format!(
                "directory permissions are too broad: {shown}; its mode is {mode:04o}; run chmod \
                 go-w {shown}"
            ),
        );
    }
    chmod(&config, 0o755);
    drop(home.serve(&[]));
    fs::remove_dir_all(&config).unwrap();
    fs::write(&config, "").unwrap();
    refused(
        &home,
        &[],
        &format!("directory is not a directory: {shown}; "),
    );
    fs::remove_file(&config).unwrap();
    mkfifo(&config);
    refused(
        &home,
        &[],
        &format!("directory is not a directory: {shown}; "),
    );
    if is_root() {
        fs::remove_file(&config).unwrap();
        mkdir(&config);
        give_away(&config);
        let why = format!(
            "directory owner does not match current user: {shown}; it belongs to uid {OTHER}; "
        );
        refused(&home, &[], &why);
        // Nothing of it is believed either.
        let failed = home.run(&["peers"]).expect(1);
        assert!(failed.stderr.contains(&why), "{}", failed.stderr);
        assert_eq!(tree(&config), Vec::<PathBuf>::new());
    }
}

#[test]
fn a_config_home_that_cannot_be_written_is_told() {
    let home = home();
    let config = home.config();
    let shown = config.display();
    let failed = if is_root() {
        let text = r#"
            mount --bind "$C" "$C" && mount -o remount,bind,ro "$C" || exit 90
            exec "$HALLWAY" serve --socket "$S""#;
        script(&home, &["unshare", "--mount", "sh", "-c"], text)
    } else {
        chmod(&config, 0o500);
        home.run(&["serve", "--socket", &home.socket("s")])
    };
    let why = format!("error: cannot create {shown}/messaging-capabilities; ");
    let failed = failed.expect(1);
    assert!(failed.stderr.starts_with(&why), "{}", failed.stderr);
    chmod(&config, 0o700);
    assert_eq!(tree(home.root()), Vec::<PathBuf>::new());
}

// The directory of capabilities, in the reference's words.

/// Covers: L2.10, L2.28
#[test]
fn the_capability_directory_must_be_private_ours_and_real() {
    let home = home();
    let dir = home.config().join("messaging-capabilities");
    let shown = dir.display();
    mkdir(&dir);
    for mode in [0o710, 0o701, 0o750, 0o777] {
        chmod(&dir, mode);
        let why = format!(
            "capability directory permissions are too broad: {shown}; its mode is {mode:04o}; \
             run chmod 700 {shown}"
        );
        refused(&home, &[], &why);
    }
    fs::remove_dir(&dir).unwrap();
    let not_private = format!("capability directory is not a private directory: {shown}; ");
    mkdir(home.root().join("elsewhere"));
    symlink(home.root().join("elsewhere"), &dir).unwrap();
    refused(&home, &[], &format!("{not_private}it is a symbolic link; "));
    fs::remove_file(&dir).unwrap();
    fs::write(&dir, "mine").unwrap();
    refused(&home, &[], &format!("{not_private}it is a regular file; "));
    fs::remove_file(&dir).unwrap();
    mkfifo(&dir);
    refused(
        &home,
        &[],
        &format!("{not_private}it is a FIFO or a device; "),
    );
    if is_root() {
        fs::remove_file(&dir).unwrap();
        mkdir(&dir);
        give_away(&dir);
        let why = format!("capability directory owner does not match current user: {shown}; ");
        refused(&home, &[], &why);
    }
}

#[test]
fn the_registry_must_be_a_directory_that_only_we_change() {
    let home = home();
    let dir = home.config().join("sessions");
    let shown = dir.display();
    mkdir(&dir);
    chmod(&dir, 0o755);
    drop(home.serve(&[]));
    chmod(&dir, 0o775);
    refused(
        &home,
        &[],
        &format!("directory permissions are too broad: {shown}; "),
    );
    let failed = home.run(&["peers"]).expect(1);
    assert!(
        failed
            .stderr
            .starts_with("error: directory permissions are too broad: "),
        "{}",
        failed.stderr
    );
    fs::remove_dir_all(&dir).unwrap();
    fs::write(&dir, "").unwrap();
    refused(
        &home,
        &[],
        &format!("directory is not a directory: {shown}; "),
    );
}

// The socket's directory, in the reference's words.

/// Covers: L2.14, L2.15, L2.16, L2.17, L2.27
#[test]
fn the_sockets_parent_must_be_private_ours_and_real() {
    let home = home();
    let dir = home.root().join("parent");
    let shown = dir.display();
    let socket = format!("{shown}/s");
    let at = ["--socket", socket.as_str()];
    mkdir(&dir);
    for mode in [0o710, 0o755, 0o777, 0o1777] {
        chmod(&dir, mode);
        let why = format!(
            "socket parent permissions are too broad: {shown}; its mode is {mode:04o}; choose a \
             directory that is for nothing else, or run chmod 700 {shown} if it is"
        );
        refused(&home, &at, &why);
    }
    fs::remove_dir(&dir).unwrap();
    let not_real = format!("socket parent is not a directory: {shown}; ");
    fs::write(&dir, "mine").unwrap();
    refused(&home, &at, &format!("{not_real}it is a regular file; "));
    fs::remove_file(&dir).unwrap();
    symlink(home.config(), &dir).unwrap();
    refused(&home, &at, &format!("{not_real}it is a symbolic link; "));
    fs::remove_file(&dir).unwrap();
    if is_root() {
        mkdir(&dir);
        give_away(&dir);
        let why = format!("socket parent owner does not match current user: {shown}; ");
        refused(&home, &at, &why);
        fs::remove_dir(&dir).unwrap();
    }
    // What is missing is made, and removed with the daemon.
    let served = home.serve(&at);
    assert_eq!((mode(&dir), mode(&socket)), (0o700, 0o600));
    assert_eq!(served.stop().0, 0);
    assert!(!dir.exists());
}

#[test]
fn the_owner_channels_longer_path_must_fit_too() {
    let home = home();
    let path = |length: usize| {
        let dir = home.socket("");
        format!("{dir}{}", "s".repeat(length - dir.len()))
    };
    // `.owner` is six bytes of 107.
    let served = home.serve(&["--hold", "--socket", &path(101)]);
    home.run(&["inbox", "--of", &served.path]).expect(0);
    assert_eq!(served.stop().0, 0);
    for length in [102, 107] {
        let failed = home
            .run(&["serve", "--hold", "--socket", &path(length)])
            .expect(2);
        let why = format!(
            "error: socket path is too long: {}.owner; it has {} bytes, the limit is 107; ",
            path(length),
            length + 6
        );
        assert!(failed.stderr.starts_with(&why), "{}", failed.stderr);
        assert_eq!(tree(home.root()), Vec::<PathBuf>::new());
    }
    // Without the channel all 107 bytes can be used, and not one more.
    assert_eq!(home.serve(&["--socket", &path(107)]).stop().0, 0);
    for length in [108, 109] {
        let failed = home.run(&["serve", "--socket", &path(length)]).expect(2);
        let numbers = format!("; it has {length} bytes, the limit is 107; ");
        assert!(failed.stderr.contains(&numbers), "{}", failed.stderr);
        assert_eq!(tree(home.root()), Vec::<PathBuf>::new());
    }
}

#[test]
fn a_relative_path_needs_a_working_directory() {
    let home = home();
    let mut command = home.command(&["serve", "--json", "--socket", "./s"]);
    command.current_dir(home.root());
    let served = Served::start(command, &home.config());
    assert_eq!(served.path, home.socket("./s"));
    // The one spelling that is advertised is also the one that is hashed.
    assert!(home.capability(&served.path).exists());
    assert_eq!(served.stop().0, 0);
    let text = "mkdir gone && cd gone && rmdir ../gone && exec \"$HALLWAY\" serve --socket s";
    let text = format!("cd '{}' && {text}", home.root().display());
    let failed = script(&home, &["sh", "-c"], &text).expect(2);
    assert_eq!(
        failed.stderr,
        "error: relative path cannot be completed: s; the working directory is gone; give an \
         absolute path\n"
    );
}

// Two users and one temporary directory (§5.8: the first one locks the others out).

/// Where a daemon with `XDG_RUNTIME_DIR` set to `runtime` listens.
fn base_of(home: &Home, runtime: Option<&Path>) -> PathBuf {
    let mut command = home.command(&["serve", "--json"]);
    if let Some(runtime) = runtime {
        command.env("XDG_RUNTIME_DIR", runtime);
    }
    let served = Served::start(command, &home.config());
    home.run(&["ping", &served.path]).expect(0);
    let path = PathBuf::from(&served.path);
    let base = path.parent().and_then(Path::parent).unwrap().to_owned();
    assert_eq!(mode(&base), 0o700);
    assert_eq!(served.stop().0, 0);
    base
}

/// Covers: L5.8a
#[test]
fn another_users_shared_directory_is_passed_by() {
    if !is_root() {
        return;
    }
    let home = home();
    let (tmp, runtime) = (home.root().join("t"), home.root().join("run"));
    let shared = tmp.join("claude-code-socks");
    assert_eq!(base_of(&home, None), shared);
    give_away(&shared);
    mkdir(&runtime);
    assert_eq!(
        base_of(&home, Some(&runtime)),
        runtime.join("claude-code-socks")
    );
    let own = tmp.join("claude-code-socks-0");
    assert_eq!(base_of(&home, None), own);
    // Somebody else's runtime directory is none.
    give_away(&runtime);
    assert_eq!(base_of(&home, Some(&runtime)), own);
    assert_eq!(base_of(&home, Some(Path::new("relative"))), own);
    assert_eq!(
        names(&shared),
        Vec::<String>::new(),
        "nothing was put there"
    );
}

#[test]
fn two_users_have_daemons_in_one_temporary_directory() {
    if !is_root() {
        return;
    }
    let home = home();
    let public = tempfile::Builder::new()
        .prefix("hw-")
        .tempdir_in("/tmp")
        .unwrap();
    chmod(public.path(), 0o1777);
    let theirs = public.path().join("c");
    mkdir(&theirs);
    give_away(&theirs);
    let mut command = home.command(&["serve", "--json"]);
    command
        .env("TMPDIR", public.path())
        .env("CLAUDE_CONFIG_DIR", &theirs)
        .current_dir("/");
    std::os::unix::process::CommandExt::uid(&mut command, OTHER);
    std::os::unix::process::CommandExt::gid(&mut command, OTHER);
    match command.spawn() {
        Ok(mut probe) => {
            probe.kill().unwrap();
            probe.wait().unwrap();
        }
        Err(error) => {
            assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
            eprintln!("skipped: another user cannot run {HALLWAY}");
            return;
        }
    }
    let stranger = Served::start(command, &theirs);
    let shared = public.path().join("claude-code-socks");
    assert!(
        Path::new(&stranger.path).starts_with(&shared),
        "{}",
        stranger.path
    );
    let mut command = home.command(&["serve", "--json"]);
    command.env("TMPDIR", public.path());
    let ours = Served::start(command, &home.config());
    let own = public.path().join("claude-code-socks-0");
    assert!(Path::new(&ours.path).starts_with(&own), "{}", ours.path);
    home.run(&["ping", &ours.path]).expect(0);
    // Their registry is not believed, and their socket is not spoken to.
    let theirs = theirs.to_str().unwrap();
    home.run(&["peers", "--config-dir", theirs]).expect(1);
    home.run(&["ping", &stranger.path, "--config-dir", theirs])
        .expect(4);
    assert_eq!(stranger.stop().0, 0);
    assert_eq!(ours.stop().0, 0);
}
