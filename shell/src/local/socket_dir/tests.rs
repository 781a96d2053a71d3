//! The place to listen, from taking it to giving it back.

use super::*;
use crate::dir::testing::{chmod, give_away, home, mkdir, names};
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, symlink};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

fn env(home: &tempfile::TempDir) -> Environment {
    let mut env = Environment::bare(crate::dir::own_uid());
    env.tmpdir = Some(home.path().into());
    env.current_dir = Some(home.path().to_owned());
    env
}

fn at(home: &tempfile::TempDir, path: &str) -> Result<SocketSlot, SocketError> {
    SocketSlot::acquire(&env(home), Some(Path::new(path)), 7)
}

fn mode(path: impl AsRef<Path>) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

/// Covers: L1.11, L2.3, L2.15, L2.16
#[test]
fn a_default_socket_is_private_from_top_to_bottom_and_leaves_only_the_base() {
    let (home, dir) = home();
    let mut slot = SocketSlot::acquire(&env(&home), None, 4_711).unwrap();
    let path = PathBuf::from(slot.path());
    let base = home.path().join("claude-code-socks");
    let (name, above) = (
        path.parent().unwrap().file_name().unwrap(),
        path.ancestors().nth(2),
    );
    assert_eq!(
        (above, path.file_name().unwrap()),
        (Some(&*base), SOCKET_NAME.as_ref())
    );
    let nonce = name.to_str().unwrap().strip_prefix("4711-").unwrap();
    assert!(
        nonce.len() == 32 && nonce.bytes().all(|b| b.is_ascii_hexdigit()),
        "{nonce}"
    );
    let listener = slot.bind().unwrap();
    let owner = slot.bind_owner().unwrap();
    assert_eq!((mode(&base), mode(path.parent().unwrap())), (0o700, 0o700));
    assert_eq!(
        (mode(&path), mode(slot.owner_path().unwrap())),
        (0o600, 0o600)
    );
    for (path, listener) in [
        (slot.path(), &listener),
        (&slot.owner_path().unwrap(), &owner),
    ] {
        let refused = listener.accept().unwrap_err();
        assert_eq!(
            refused.kind(),
            io::ErrorKind::WouldBlock,
            "it does not block"
        );
        UnixStream::connect(path).unwrap();
        listener.accept().unwrap();
    }
    let other = SocketSlot::acquire(&env(&home), None, 4_711).unwrap();
    assert_ne!(other.path(), slot.path());
    drop((slot, other));
    assert_eq!(names(&dir), ["claude-code-socks"]);
    assert_eq!(fs::read_dir(base).unwrap().count(), 0);
}

/// Covers: L5.8a
#[test]
fn a_shared_base_of_another_user_or_too_broad_is_passed_by() {
    let (home, _) = home();
    let base = home.path().join("claude-code-socks");
    mkdir(&base);
    chmod(&base, 0o755);
    let fallback = format!("{}-{}/", base.display(), crate::dir::own_uid());
    let mut env = env(&home);
    let slot = SocketSlot::acquire(&env, None, 7).unwrap();
    assert!(slot.path().starts_with(&fallback), "{}", slot.path());
    let runtime = home.path().join("run");
    mkdir(&runtime);
    env.xdg_runtime_dir = Some(runtime.clone().into());
    let slot = SocketSlot::acquire(&env, None, 7).unwrap();
    assert!(Path::new(slot.path()).starts_with(runtime.join("claude-code-socks")));
    env.xdg_runtime_dir = None;
    chmod(&base, 0o700);
    if give_away(&base) {
        let slot = SocketSlot::acquire(&env, None, 7).unwrap();
        assert!(slot.path().starts_with(&fallback), "{}", slot.path());
    }
}

#[test]
fn a_path_is_refused_before_anything_is_touched() {
    let (home, dir) = home();
    let room = paths::MAX_SOCKET_PATH_BYTES - home.path().to_str().unwrap().len() - "/new/".len();
    let refused = at(&home, &format!("new/{}", "s".repeat(room + 1))).unwrap_err();
    assert!(
        matches!(refused, SocketError::Path(PathError::TooLong { .. })),
        "{refused}"
    );
    assert!(names(&dir).is_empty());
    let mut slot = at(&home, &format!("new/{}", "s".repeat(room))).unwrap();
    slot.bind().unwrap();
    UnixStream::connect(slot.path()).unwrap_err();
    let refused = slot.bind_owner().unwrap_err();
    assert!(
        matches!(refused, SocketError::Path(PathError::TooLong { .. })),
        "{refused}"
    );
}

#[test]
fn an_explicit_path_keeps_its_spelling_and_a_directory_that_was_there() {
    let (home, dir) = home();
    mkdir(home.path().join("a/b"));
    chmod(&home.path().join("a"), 0o700);
    let mut slot = at(&home, "a/b/../s").unwrap();
    let path = format!("{}/a/b/../s", home.path().display());
    assert_eq!(slot.path(), path);
    let _listener = slot.bind().unwrap();
    UnixStream::connect(&path).unwrap();
    drop(slot);
    assert_eq!(fs::read_dir(home.path().join("a")).unwrap().count(), 1);
    drop(at(&home, "./new/deep/s").unwrap());
    assert_eq!(names(&dir), ["a", "new"]);
    assert_eq!(fs::read_dir(home.path().join("new")).unwrap().count(), 0);
}

/// Covers: L2.14, L2.27
#[test]
fn a_parent_that_is_not_private_is_refused_in_the_known_words() {
    let (home, _) = home();
    let parent = home.path().join("p");
    mkdir(&parent);
    let refused = |words: &str| {
        let error = at(&home, "p/s").unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("{words}: {}", parent.display())),
            "{error}"
        );
    };
    chmod(&parent, 0o755);
    refused("socket parent permissions are too broad");
    chmod(&parent, 0o700);
    if give_away(&parent) {
        refused("socket parent owner does not match current user");
    }
    fs::rename(&parent, home.path().join("q")).unwrap();
    symlink("q", &parent).unwrap();
    refused("socket parent is not a directory");
    fs::remove_file(&parent).unwrap();
    fs::write(&parent, "").unwrap();
    refused("socket parent is not a directory");
}

/// Covers: L5.6a, L5.6b
#[test]
fn a_live_peer_is_never_replaced() {
    let (home, dir) = home();
    let mut first = at(&home, "s").unwrap();
    let refused = at(&home, "s").unwrap_err();
    assert!(
        matches!(refused, SocketError::InUse { pid: None, .. }),
        "{refused}"
    );
    let _listener = first.bind().unwrap();
    let us = Some(std::process::id());
    let refused = at(&home, "s").unwrap_err();
    assert!(
        matches!(refused, SocketError::InUse { pid, .. } if pid == us),
        "{refused}"
    );
    assert!(
        refused.to_string().contains("in use by a live peer"),
        "{refused}"
    );
    assert_eq!(names(&dir), ["s", "s.lock"]);
    // One of another program, without a lock.
    let other = UnixListener::bind(home.path().join("t")).unwrap();
    let refused = at(&home, "t").unwrap_err();
    assert!(
        matches!(refused, SocketError::InUse { pid, .. } if pid == us),
        "{refused}"
    );
    assert_eq!(names(&dir), ["s", "s.lock", "t"]);
    UnixStream::connect(home.path().join("t")).unwrap();
    drop(other);
}

#[test]
fn what_a_killed_daemon_left_is_replaced() {
    let (home, dir) = home();
    for name in ["s", "s.owner"] {
        drop(UnixListener::bind(home.path().join(name)).unwrap());
    }
    fs::write(home.path().join("s.lock"), "").unwrap();
    let mut slot = at(&home, "s").unwrap();
    assert_eq!(names(&dir), ["s.lock"]);
    let _listener = slot.bind().unwrap();
    UnixStream::connect(slot.path()).unwrap();
    drop(slot);
    assert!(names(&dir).is_empty());
}

#[test]
fn what_is_no_dead_socket_of_ours_is_left_untouched() {
    let (home, dir) = home();
    let path = home.path().join("s");
    let refused = |words: &str| {
        let error = at(&home, "s").unwrap_err().to_string();
        assert!(error.starts_with(words), "{error}");
        assert_eq!(names(&dir), ["s"]);
    };
    fs::write(&path, "precious").unwrap();
    refused("socket is not a socket: ");
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    fs::remove_file(&path).unwrap();
    symlink("nowhere", &path).unwrap();
    refused("socket is not a socket: ");
    fs::remove_file(&path).unwrap();
    mkdir(&path);
    refused("socket is not a socket: ");
    fs::remove_dir(&path).unwrap();
    drop(UnixListener::bind(&path).unwrap());
    if give_away(&path) {
        refused("socket owner does not match current user: ");
    }
    fs::remove_file(&path).unwrap();
    let _datagram = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    refused("socket cannot be asked");
}

/// Covers: L5.6c
#[test]
fn only_what_was_bound_is_removed() {
    let (home, dir) = home();
    let mut slot = at(&home, "s").unwrap();
    let _listener = slot.bind().unwrap();
    fs::remove_file(slot.path()).unwrap();
    let usurper = UnixListener::bind(home.path().join("s")).unwrap();
    drop(slot);
    assert_eq!(names(&dir), ["s"], "a newer server's socket stays");
    drop(usurper);
}

#[test]
fn a_closed_listener_can_be_bound_again() {
    let (home, dir) = home();
    let mut slot = at(&home, "s").unwrap();
    let first = slot.bind().unwrap();
    let refused = slot.bind().unwrap_err();
    assert!(matches!(refused, SocketError::InUse { .. }), "{refused}");
    drop(first);
    let _second = slot.bind().unwrap();
    UnixStream::connect(slot.path()).unwrap();
    drop(slot);
    assert!(names(&dir).is_empty());
}

#[test]
fn a_passed_socket_is_adopted_and_stays() {
    let (home, dir) = home();
    let path = home.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    chmod(&path, 0o666);
    let keep = listener.try_clone().unwrap();
    let (mut slot, listener) = SocketSlot::adopt(listener).unwrap();
    assert_eq!(slot.path(), path.to_str().unwrap());
    assert_eq!(mode(&path), 0o600);
    assert_eq!(
        listener.accept().unwrap_err().kind(),
        io::ErrorKind::WouldBlock
    );
    let _owner = slot.bind_owner().unwrap();
    let second = SocketSlot::adopt(keep).unwrap_err();
    assert!(matches!(second, SocketError::InUse { .. }), "{second}");
    drop(slot);
    assert_eq!(names(&dir), ["s"]);
    assert!(fs::symlink_metadata(&path).unwrap().file_type().is_socket());
    UnixStream::connect(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let gone = SocketSlot::adopt(listener).unwrap_err().to_string();
    assert!(gone.starts_with("cannot protect socket "), "{gone}");
}

#[test]
fn a_passed_socket_in_an_open_directory_or_of_no_path_is_refused() {
    let (home, _) = home();
    chmod(home.path(), 0o755);
    let broad = SocketSlot::adopt(UnixListener::bind(home.path().join("s")).unwrap());
    assert!(matches!(broad, Err(SocketError::Dir(_))), "{broad:?}");
    let stream = std::os::fd::OwnedFd::from(UnixStream::pair().unwrap().0);
    assert!(SocketSlot::adopt(UnixListener::from(stream)).is_err());
    let unnamed = probe::new_socket().unwrap();
    assert!(SocketSlot::adopt(UnixListener::from(unnamed)).is_err());
    let bound = probe::new_socket().unwrap();
    let address = SocketAddrUnix::new(home.path().join("t")).unwrap();
    net::bind(&bound, &address).unwrap();
    let deaf = SocketSlot::adopt(UnixListener::from(bound));
    assert!(
        matches!(deaf, Err(SocketError::NotAdoptable { .. })),
        "{deaf:?}"
    );
}

/// Covers: L5.6a
#[test]
fn of_many_who_start_at_once_one_listens_and_of_many_restarts_each_works() {
    let (home, _) = home();
    // The directory comes and goes with each of them.
    for _ in 0..20 {
        let listening = std::thread::scope(|scope| {
            let start = || {
                let mut slot = at(&home, "d/s").ok()?;
                let listener = slot.bind().unwrap();
                UnixStream::connect(slot.path()).unwrap();
                Some((slot, listener))
            };
            let starts: Vec<_> = (0..4).map(|_| scope.spawn(start)).collect();
            let slots: Vec<_> = starts.into_iter().map(|s| s.join().unwrap()).collect();
            slots.iter().flatten().count()
        });
        assert_eq!(listening, 1);
    }
    // Who made the directory may not be the last one in it; then it stays, empty.
    let left = || fs::read_dir(home.path().join("d")).map_or(0, Iterator::count);
    assert_eq!(left(), 0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..50 {
                    match at(&home, "d/s") {
                        Ok(mut slot) => {
                            let listener = slot.bind().unwrap();
                            UnixStream::connect(slot.path()).unwrap();
                            drop(listener);
                        }
                        Err(SocketError::InUse { .. }) => {}
                        Err(other) => panic!("{other}"),
                    }
                }
            });
        }
    });
    assert_eq!(left(), 0);
}

#[test]
fn a_sweep_never_takes_a_starting_daemon() {
    let (home, _) = home();
    let env = env(&home);
    let base = home.path().join("claude-code-socks");
    mkdir(&base);
    chmod(&base, 0o700);
    let base = Dir::open(&base).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::SeqCst) {
                assert_eq!(sweep(&base).unwrap(), 0);
            }
        });
        for _ in 0..200 {
            let mut slot = SocketSlot::acquire(&env, None, 2_000_000_000).unwrap();
            let _listener = slot.bind().unwrap();
            UnixStream::connect(slot.path()).unwrap();
        }
        done.store(true, std::sync::atomic::Ordering::SeqCst);
    });
}

/// Covers: L2.16
#[test]
#[cfg(target_os = "linux")]
fn the_inode_is_private_from_its_first_moment() {
    let (home, _) = home();
    let path = home.path().join("s");
    let _socket = bound(path.to_str().unwrap()).unwrap();
    assert_eq!(mode(&path), 0o600);
}

#[test]
fn a_passed_socket_with_too_long_a_path_is_refused() {
    let (home, dir) = home();
    let room = 108 - home.path().to_str().unwrap().len() - 1;
    let path = home.path().join("s".repeat(room));
    let socket = probe::new_socket().unwrap();
    net::bind(&socket, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    net::listen(&socket, 1).unwrap();
    let refused = SocketSlot::adopt(UnixListener::from(socket)).unwrap_err();
    assert!(matches!(refused, SocketError::Path(_)), "{refused}");
    assert_eq!(names(&dir).len(), 1, "no lock was made");
}

#[test]
fn a_base_that_leaves_no_room_is_passed_by() {
    let (home, _) = home();
    let mut env = env(&home);
    // Room for the socket, not for its owner channel.
    let nonce_and_name = "/claude-code-socks/7-/messaging.sock".len() + 32;
    let room = paths::MAX_SOCKET_PATH_BYTES - nonce_and_name;
    let pad = room - home.path().to_str().unwrap().len() - 1;
    let long = home.path().join("x".repeat(pad));
    mkdir(&long);
    env.tmpdir = Some(long.clone().into());
    env.xdg_runtime_dir = Some(home.path().into());
    let slot = SocketSlot::acquire(&env, None, 7).unwrap();
    let expected = home.path().join("claude-code-socks");
    assert!(
        Path::new(slot.path()).starts_with(expected),
        "{}",
        slot.path()
    );
    assert_eq!(fs::read_dir(long).unwrap().count(), 0, "it was not touched");
}

#[test]
fn when_no_base_is_usable_each_is_named() {
    let tried = vec![
        PathError::NoConfigHome.into(),
        SocketError::InUse {
            path: "/s".to_owned(),
            pid: Some(7),
        },
    ];
    let text = SocketError::NoBase { tried }.to_string();
    assert!(
        text.starts_with("no directory for the socket; no config home; "),
        "{text}"
    );
    assert!(
        text.contains(" | socket is in use by a live peer: /s; process 7 "),
        "{text}"
    );
}

#[test]
fn what_vanishes_is_made_again_a_bounded_number_of_times() {
    let failing = |doing, kind| {
        let mut attempts = 0;
        let outcome: Result<(), SocketError> = retry(|| {
            attempts += 1;
            let (path, source) = (PathBuf::from("/x"), io::Error::from(kind));
            Err(DirError::Io {
                doing,
                path,
                source,
            }
            .into())
        });
        assert!(outcome.is_err());
        attempts
    };
    assert_eq!(failing("open", io::ErrorKind::NotFound), MAX_ATTEMPTS);
    assert_eq!(failing("open", io::ErrorKind::PermissionDenied), 1);
    let mut attempts = 0;
    let second = retry(|| {
        attempts += 1;
        let source = io::Error::from(io::ErrorKind::NotFound);
        let gone = DirError::Io {
            doing: "open",
            path: PathBuf::from("/x"),
            source,
        };
        if attempts == 1 {
            Err(gone.into())
        } else {
            Ok(attempts)
        }
    });
    assert_eq!(second.unwrap(), 2);
}
