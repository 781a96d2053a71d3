//! local.md §5: paths, sockets and files, and who may take or remove them.

use std::fs::{self, File, Permissions};
use std::mem::MaybeUninit;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use hallway::Home as Setting;
use hallway::local::daemon::Daemon;
use hallway::paths::Environment;
use hallway_tests::wire::publish;
use hallway_tests::{Finished, Home, PATIENCE, Served};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::process::{Signal, geteuid};
use serde_json::{Value, json};

use crate::{home, not_checked};

/// The user called nobody.
const STRANGER: u32 = 65_534;

fn chmod(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A directory with exactly this mode.
fn mkdir(path: impl AsRef<Path>, mode: u32) {
    fs::create_dir(&path).unwrap();
    chmod(path, mode);
}

/// `hallway serve` at `socket`, which is refused with `code` for the reason `why`.
#[track_caller]
fn expect_refused(home: &Home, socket: &str, code: i32, why: &str) -> Finished {
    let refused = home
        .run(&["serve", "--json", "--socket", socket])
        .expect(code);
    assert!(refused.stderr.contains(why), "{}", refused.stderr);
    assert_eq!(refused.stdout, "");
    refused
}

/// All that is below the home but directories that are meant to stay.
fn leftovers(home: &Home) -> Vec<PathBuf> {
    fn below(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let stays = [
                "c",
                "t",
                "claude-code-socks",
                "messaging-capabilities",
                "sessions",
            ];
            if path.symlink_metadata().unwrap().is_dir() {
                below(&path, found);
            }
            if !stays.contains(&path.file_name().unwrap().to_str().unwrap()) {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    below(home.root(), &mut found);
    found
}

#[track_caller]
fn expect_ping(served: &Served) {
    served.wire().ping(&served.token(), &served.path);
}

/// The reference unlinks whatever is at its path: it takes a live peer's socket away.
///
/// Covers: L5.6b
#[test]
fn s5_06_the_path_of_a_live_daemon_is_refused() {
    let home = home();
    let socket = home.socket("s");
    let served = home.serve(&["--socket", &socket]);
    let token = served.token();
    let in_use = format!(
        "socket is in use by a live peer: {socket}; process {} listens there",
        served.pid
    );
    expect_refused(&home, &socket, 1, &in_use);
    // Also one that does not get round to answering.
    served.freeze();
    expect_refused(&home, &socket, 1, &in_use);
    served.thaw();
    assert_eq!(served.token(), token, "its capability stands");
    expect_ping(&served);
    assert_eq!(served.stop().0, 0);
    assert_eq!(leftovers(&home), Vec::<PathBuf>::new());
}

/// Whoever it is.
///
/// Covers: L5.6a, L5.6b
#[test]
fn s5_06_the_path_of_another_programs_live_socket_is_refused() {
    let home = home();
    let socket = home.socket("s");
    let listener = UnixListener::bind(&socket).unwrap();
    let inode = fs::metadata(&socket).unwrap().ino();
    expect_refused(&home, &socket, 1, "socket is in use by a live peer");
    // The daemon looked who is there; more it did not do.
    drop(listener.accept().unwrap());
    assert_eq!(fs::metadata(&socket).unwrap().ino(), inode);
    drop(listener);
    // One on which nobody listens any more is replaced.
    let served = home.serve(&["--socket", &socket]);
    expect_ping(&served);
}

/// The reference deletes even a regular file that is given as path.
///
/// Covers: L5.6b
#[test]
fn s5_06_what_is_no_socket_of_ours_is_refused_untouched() {
    let home = home();
    let (file, dir, link, dangling) = (
        home.socket("file"),
        home.socket("dir"),
        home.socket("link"),
        home.socket("dangling"),
    );
    fs::write(&file, "a thesis").unwrap();
    mkdir(&dir, 0o700);
    drop(UnixListener::bind(home.socket("dead")).unwrap());
    symlink(home.socket("dead"), &link).unwrap();
    symlink(home.socket("nothing"), &dangling).unwrap();
    for (path, why) in [
        (&file, "is not a socket"),
        (&dir, "is not a socket"),
        (&link, "is not a socket"),
        (&dangling, "is not a socket"),
    ] {
        let before = fs::symlink_metadata(path).unwrap();
        expect_refused(&home, path, 1, why);
        let after = fs::symlink_metadata(path).unwrap();
        assert_eq!(
            (after.ino(), after.mtime_nsec()),
            (before.ino(), before.mtime_nsec())
        );
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "a thesis");
    assert!(Path::new(&home.socket("dead")).exists());
    if !geteuid().is_root() {
        return not_checked("s5_06, a socket of another user");
    }
    let foreign = home.socket("foreign");
    drop(UnixListener::bind(&foreign).unwrap());
    chown(&foreign, Some(STRANGER), None).unwrap();
    expect_refused(&home, &foreign, 1, "owner does not match current user");
    assert!(Path::new(&foreign).exists());
}

/// The older one's stop removes the newer one's files, in the reference.
///
/// Covers: L5.6c
#[test]
fn s5_06_a_stop_removes_only_what_is_still_ours() {
    let home = home();
    let socket = home.socket("s");
    let served = home.serve(&["--socket", &socket]);
    let record = home.config().join(format!("sessions/{}.json", served.pid));
    // Another one has taken all its places.
    let capability = home.capability(&socket);
    let mut inodes = Vec::new();
    for path in [Path::new(&socket), &capability, &record] {
        fs::rename(path, path.with_extension("old")).unwrap();
    }
    let _listener = UnixListener::bind(&socket).unwrap();
    publish(&home.config(), &socket, "beef");
    fs::write(&record, "{}").unwrap();
    for path in [Path::new(&socket), &capability, &record] {
        inodes.push((path, fs::metadata(path).unwrap().ino()));
    }
    let (code, _, log) = served.stop();
    assert_eq!((code, log.as_str()), (0, ""));
    for (path, inode) in inodes {
        assert_eq!(fs::metadata(path).unwrap().ino(), inode, "{path:?}");
    }
    assert_eq!(
        hallway_tests::wire::token_of(&home.config(), &socket),
        "beef"
    );
}

/// In the reference start and stop are two tasks, and a stop during the start leaves a server.
///
/// Covers: L2.17, L5.7
#[test]
fn s5_07_a_stop_at_any_moment_of_the_start_leaves_nothing() {
    let home = home();
    let socket = home.socket("s");
    let capability = home.capability(&socket);
    let sessions = home.config().join("sessions");
    let has_record = || fs::read_dir(&sessions).is_ok_and(|mut dir| dir.next().is_some());
    let moments: [(&str, &dyn Fn() -> bool); 5] = [
        ("at once", &|| true),
        ("the lock", &|| {
            Path::new(&format!("{socket}.lock")).exists()
        }),
        ("the socket", &|| Path::new(&socket).exists()),
        ("the capability", &|| capability.exists()),
        ("the record", &has_record),
    ];
    for round in 0..6 {
        for (moment, has_come) in &moments {
            let command = home.command(&["serve", "--json", "--socket", &socket]);
            let mut served = Served::spawn(command, &home.config());
            let start = Instant::now();
            while !has_come() {
                assert!(start.elapsed() < PATIENCE, "{moment} never comes");
                std::thread::yield_now();
            }
            let signal = if round % 2 == 0 {
                Signal::TERM
            } else {
                Signal::INT
            };
            served.signal(signal);
            let (code, lines, log) = served.finish();
            let stopped = lines.last().is_some_and(|line| line.contains("stopped"));
            // Before it listens for signals, it is ended by them: it has made nothing by then.
            let expected = if *moment == "at once" && code == -1 {
                (-1, false)
            } else {
                (0, true)
            };
            assert_eq!((code, stopped), expected, "{moment}: {lines:?} {log}");
            assert_eq!(leftovers(&home), Vec::<PathBuf>::new(), "{moment}");
        }
    }
}

/// A daemon is one value: what drops it has stopped it.
///
/// Covers: L5.7
#[test]
fn s5_07_a_dropped_daemon_is_gone() {
    let home = home();
    let mut environment = Environment::bare(geteuid().as_raw());
    environment.tmpdir = Some(home.root().join("t").into());
    let setting = Setting::new(environment, Some(&home.config())).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut last = None;
    for _ in 0..10 {
        let daemon = runtime
            .block_on(Daemon::builder().home(setting.clone()).start())
            .unwrap();
        let path = daemon.socket_path().to_owned();
        assert!(home.capability(&path).exists() && Path::new(&path).exists());
        drop(daemon);
        assert_eq!(leftovers(&home), Vec::<PathBuf>::new());
        assert_ne!(last.replace(path.clone()), Some(path));
    }
}

/// The reference's shared directory belongs to whoever came first, and locks out all others.
///
/// Covers: L5.8a
#[test]
fn s5_08_a_shared_directory_of_another_kind_is_passed_by() {
    let home = home();
    let tmp = home.root().join("t");
    let shared = tmp.join("claude-code-socks");
    let served = home.serve(&[]);
    assert_eq!(Path::new(&served.path).ancestors().nth(2), Some(&*shared));
    drop(served);
    chmod(&shared, 0o755);
    let uid = geteuid().as_raw();
    let own = tmp.join(format!("claude-code-socks-{uid}"));
    let served = home.serve(&[]);
    assert_eq!(Path::new(&served.path).ancestors().nth(2), Some(&*own));
    expect_ping(&served);
    drop(served);
    let runtime = home.root().join("run");
    mkdir(&runtime, 0o700);
    let mut command = home.command(&["serve", "--json"]);
    command.env("XDG_RUNTIME_DIR", &runtime);
    let served = Served::start(command, &home.config());
    let below = runtime.join("claude-code-socks");
    assert_eq!(Path::new(&served.path).ancestors().nth(2), Some(&*below));
    drop(served);
    if !geteuid().is_root() {
        return not_checked("s5_08, a shared directory of another user");
    }
    chmod(&shared, 0o700);
    chown(&shared, Some(STRANGER), None).unwrap();
    let served = home.serve(&[]);
    assert_eq!(Path::new(&served.path).ancestors().nth(2), Some(&*own));
    expect_ping(&served);
}

/// The reference does not look at the directories in between.
///
/// Covers: L5.8b
#[test]
fn s5_08_every_directory_above_the_socket_is_checked() {
    let home = home();
    let above = home.root().join("a");
    mkdir(&above, 0o777);
    mkdir(above.join("b"), 0o700);
    let socket = home.socket("a/b/s");
    expect_refused(&home, &socket, 1, "permissions are too broad");
    assert_eq!(fs::read_dir(above.join("b")).unwrap().count(), 0);
    // A sticky one is shared, but nobody can rename what is in it.
    chmod(&above, 0o1777);
    expect_ping(&home.serve(&["--socket", &socket]));
    chmod(&above, 0o755);
    expect_ping(&home.serve(&["--socket", &socket]));
    // The parent itself is to be private, and real.
    chmod(above.join("b"), 0o750);
    let words = format!(
        "socket parent permissions are too broad: {}",
        above.join("b").display()
    );
    expect_refused(&home, &socket, 1, &words);
    let words = format!("socket parent is not a directory: {}", home.socket("file"));
    fs::write(home.socket("file"), "").unwrap();
    expect_refused(&home, &home.socket("file/s"), 1, &words);
    if !geteuid().is_root() {
        return not_checked("s5_08, a directory of another user above the socket");
    }
    chmod(above.join("b"), 0o700);
    chown(&above, Some(STRANGER), None).unwrap();
    expect_refused(&home, &socket, 1, "owner does not match current user");
    chown(&above, Some(0), None).unwrap();
    chown(above.join("b"), Some(STRANGER), None).unwrap();
    let words = format!(
        "socket parent owner does not match current user: {}",
        above.join("b").display()
    );
    expect_refused(&home, &socket, 1, &words);
}

/// The reference's path is cut off in silence, and its socket is elsewhere.
///
/// Covers: L5.9
#[test]
fn s5_09_a_path_that_is_too_long_is_refused_before_anything_is_touched() {
    let home = home();
    let dir = home.socket("new");
    let name = "s".repeat(107 - dir.len() - 1);
    let longest = format!("{dir}/{name}");
    let refused = expect_refused(&home, &format!("{longest}s"), 2, "socket path is too long");
    assert!(
        refused
            .stderr
            .contains("it has 108 bytes, the limit is 107"),
        "{}",
        refused.stderr
    );
    assert_eq!(leftovers(&home), Vec::<PathBuf>::new());
    let served = home.serve(&["--socket", &longest]);
    assert_eq!(served.path, longest);
    expect_ping(&served);
}

/// The reference advertises a relative path as it was given.
///
/// Covers: L2.8, L5.10
#[test]
fn s5_10_a_relative_path_is_made_absolute() {
    let home = home();
    for (given, absolute) in [("s", "s"), ("./d/s", "./d/s")] {
        let mut command =
            home.command(&["serve", "--json", "--name", "relative", "--socket", given]);
        command.current_dir(home.root());
        let served = Served::start(command, &home.config());
        assert_eq!(served.path, format!("{}/{absolute}", home.root().display()));
        expect_ping(&served);
        let listed = home.run(&["peers", "--json"]).expect(0).json();
        assert_eq!(listed.len(), 1, "{listed:?}");
        assert_eq!(listed[0]["address"], json!(format!("uds:{}", served.path)));
        let record = home.config().join(format!("sessions/{}.json", served.pid));
        let record: Value = serde_json::from_slice(&fs::read(record).unwrap()).unwrap();
        assert_eq!(record["messagingSocketPath"], json!(served.path));
    }
}

/// In the reference they lie there for ever.
///
/// Covers: L5.11
#[test]
fn s5_11_what_killed_daemons_left_is_swept() {
    let home = home();
    let explicit = home.socket("s");
    let mut dead = [
        home.serve(&["--hold"]),
        home.serve(&["--socket", &explicit]),
    ];
    let living = home.serve(&[]);
    let mut stale: Vec<PathBuf> = vec![Path::new(&dead[0].path).parent().unwrap().to_owned()];
    for served in &mut dead {
        served.kill();
        stale.push(home.capability(&served.path));
        stale.push(home.config().join(format!("sessions/{}.json", served.pid)));
    }
    stale.push(home.capability(&format!("{}.owner", dead[0].path)));
    // As if they had been there for two minutes; the living one's, too.
    let then = SystemTime::now() - Duration::from_secs(120);
    let record = home.config().join(format!("sessions/{}.json", living.pid));
    let kept = [
        Path::new(&living.path).parent().unwrap().to_owned(),
        home.capability(&living.path),
        record,
    ];
    for path in stale.iter().chain(&kept) {
        File::open(path).unwrap().set_modified(then).unwrap();
    }
    let served = home.serve(&[]);
    let start = Instant::now();
    while stale.iter().any(|path| path.exists()) {
        let left: Vec<_> = stale.iter().filter(|path| path.exists()).collect();
        assert!(start.elapsed() < PATIENCE, "{left:?}");
        expect_ping(&served);
    }
    expect_ping(&living);
    for path in &kept {
        assert!(path.exists(), "{path:?}");
    }
}

/// The reference writes its record in place: who reads it meanwhile reads half of it.
///
/// Covers: L2.11, L5.15
#[test]
fn s5_15_record_and_capability_are_written_beside_and_renamed() {
    let home = home();
    let socket = home.socket("s");
    let dirs = ["sessions", "messaging-capabilities"];
    for dir in dirs {
        mkdir(home.config().join(dir), 0o700);
    }
    for dir in dirs {
        let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
        inotify::add_watch(&watch, home.config().join(dir), WatchFlags::ALL_EVENTS).unwrap();
        let served = home.serve(&["--socket", &socket]);
        let target = if dir == "sessions" {
            format!("{}.json", served.pid)
        } else {
            home.capability(&socket)
                .file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned()
        };
        let mode = fs::metadata(home.config().join(dir).join(&target))
            .unwrap()
            .mode();
        assert_eq!(mode & 0o7777, 0o600);
        assert_eq!(served.stop().0, 0);
        let mut buffer = [MaybeUninit::uninit(); 4_096];
        let mut events = Reader::new(watch, &mut buffer);
        let (mut written, mut made, mut renamed) = (Vec::new(), Vec::new(), Vec::new());
        while let Ok(event) = events.next() {
            let name = event
                .file_name()
                .map(|name| name.to_str().unwrap().to_owned());
            for (list, kinds) in [
                (&mut made, ReadFlags::CREATE),
                (&mut written, ReadFlags::MODIFY),
                (&mut renamed, ReadFlags::MOVED_FROM | ReadFlags::MOVED_TO),
            ] {
                if event.events().intersects(kinds) {
                    list.extend(name.clone());
                }
            }
        }
        let [from, to] = &renamed[..] else {
            panic!("{renamed:?}")
        };
        assert_eq!((&made, to), (&vec![from.clone()], &target));
        assert!(written.iter().all(|name| name == from), "{written:?}");
    }
}
