//! Each finding, in a home made for it.

mod sessions;
mod surroundings;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use hallway_core::local::record::Record;
use hallway_core::{Limits, Token};
use rustix::fs::{CWD, FileType, mknodat};
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketType};

use super::*;
use crate::dir::own_uid;
use crate::dir::testing::{age, chmod, give_away, mkdir};
use crate::local::{capability, registry};
use crate::paths::Environment;

/// A pid that no process has: above the kernel's largest.
const GONE: u32 = 2_000_000_000;

/// A config home and a temporary directory in a private directory.
struct Ward(tempfile::TempDir);

impl Ward {
    fn new() -> Self {
        let ward = Self(tempfile::tempdir().unwrap());
        chmod(ward.0.path(), 0o700);
        for dir in ["c", "t", "s", "c/messaging-capabilities", "c/sessions"] {
            mkdir(ward.at(dir));
        }
        ward
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn socket(&self, name: &str) -> String {
        self.at("s").join(name).to_str().unwrap().to_owned()
    }

    fn environment(&self) -> Environment {
        let mut environment = Environment::bare(own_uid());
        environment.tmpdir = Some(self.at("t").into());
        environment
    }

    fn home(&self) -> Home {
        Home::new(self.environment(), Some(&self.at("c"))).unwrap()
    }

    /// The findings in this ward, whatever else is wrong with the machine; its own path is
    /// written `~`.
    fn findings(&self, fix: bool) -> Vec<String> {
        self.findings_in(&self.home(), fix)
    }

    fn findings_in(&self, home: &Home, fix: bool) -> Vec<String> {
        let own = self.0.path().to_str().unwrap();
        let mut texts: Vec<_> = examine(home, fix)
            .into_iter()
            .map(|finding| {
                let fixed = if finding.fixed { "fixed " } else { "" };
                let severity = finding.severity.as_str();
                format!("{fixed}{severity} {}; {}", finding.what, finding.why)
            })
            .filter(|text| text.contains(own))
            .map(|text| text.replace(own, "~"))
            .collect();
        texts.sort();
        texts
    }

    /// Writes the record of the process `pid` and makes it old.
    fn record(&self, pid: u32, change: impl FnOnce(&mut Record)) -> PathBuf {
        let mut record = Record::new(pid);
        change(&mut record);
        let path = self.at("c/sessions").join(format!("{pid}.json"));
        fs::write(&path, record.print()).unwrap();
        age(&path, 61);
        path
    }

    /// Publishes a capability, leaves it, and makes it old.
    fn capability(&self, socket: &str) -> PathBuf {
        let token = Token::from_entropy(&[7; 32]);
        let published = capability::publish(&self.at("c"), socket, &token).unwrap();
        let path = self.capability_path(socket);
        let content = fs::read(&path).unwrap();
        drop(published);
        fs::write(&path, content).unwrap();
        chmod(&path, 0o600);
        age(&path, 61);
        path
    }

    fn capability_path(&self, socket: &str) -> PathBuf {
        self.at("c/messaging-capabilities")
            .join(capability::file_name(socket))
    }
}

/// Makes a socket at which nobody listens, and nobody ever did: a listener that is closed lives
/// on for a moment in children that other tests are just starting.
fn dead_socket(path: impl AsRef<Path>) {
    let socket = net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    net::bind(&socket, &SocketAddrUnix::new(path.as_ref()).unwrap()).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn live(record: &mut Record, socket: &str) {
    record.set_text("messagingSocketPath", socket);
    record.set_text("processStart", &registry::own_process_start().unwrap());
}

#[test]
fn a_healthy_home_has_no_findings() {
    let ward = Ward::new();
    let _listener = UnixListener::bind(ward.socket("live")).unwrap();
    ward.capability(&ward.socket("live"));
    ward.record(std::process::id(), |record| {
        live(record, &ward.socket("live"))
    });
    assert!(ward.findings(true).is_empty(), "{:?}", ward.findings(true));
}

#[test]
fn a_config_home_is_missing_dangling_or_no_directory() {
    let ward = Ward::new();
    fs::remove_dir_all(ward.at("c")).unwrap();
    assert_eq!(
        ward.findings(true),
        ["note config home does not exist: ~/c; no session has used it yet"]
    );
    symlink("nowhere", ward.at("c")).unwrap();
    assert_eq!(
        ward.findings(true),
        ["error config home leads nowhere: ~/c; it is a symbolic link to what does not exist"]
    );
    fs::remove_file(ward.at("c")).unwrap();
    fs::write(ward.at("c"), "").unwrap();
    assert_eq!(
        ward.findings(true),
        ["error config home cannot be used: ~/c; it is a regular file"]
    );
    assert!(ward.at("c").is_file());
}

#[test]
fn a_config_home_that_others_can_write_is_mended_by_its_own_inode() {
    let ward = Ward::new();
    chmod(&ward.at("c"), 0o775);
    chmod(&ward.at("c/messaging-capabilities"), 0o755);
    let finding = "error config home cannot be used: ~/c; its mode is 0775";
    assert_eq!(ward.findings(false), [finding]);
    assert_eq!(mode(&ward.at("c")), 0o775, "only looked at");
    // What is in it is looked at once that can be believed.
    let found = ward.findings(true);
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(
        found[0],
        "fixed error capability directory is not private: ~/c/messaging-capabilities; its mode is \
         0755, and no program of the dialect uses it like that"
    );
    assert_eq!(found[1], format!("fixed {finding}"));
    assert_eq!(mode(&ward.at("c")), 0o755);
    assert_eq!(mode(&ward.at("c/messaging-capabilities")), 0o700);

    // Through a link of ours, too.
    chmod(&ward.at("c"), 0o777);
    fs::rename(ward.at("c"), ward.at("real")).unwrap();
    symlink("real", ward.at("c")).unwrap();
    assert_eq!(
        ward.findings(true),
        ["fixed error config home cannot be used: ~/real; its mode is 0777"]
    );
    assert_eq!(mode(&ward.at("real")), 0o755);
}

#[test]
fn an_open_ancestor_is_told_and_not_changed() {
    let ward = Ward::new();
    mkdir(ward.at("above"));
    fs::rename(ward.at("c"), ward.at("above/c")).unwrap();
    symlink("above/c", ward.at("c")).unwrap();
    chmod(&ward.at("above"), 0o777);
    let finding = "error a directory above the config home is not safe: ~/above; its mode is 0777";
    assert_eq!(ward.findings(true), [finding]);
    assert_eq!(mode(&ward.at("above")), 0o777);
    chmod(&ward.at("above"), 0o700);
    if give_away(&ward.at("above")) {
        let finding = "error a directory above the config home is not safe: ~/above; it belongs \
                       to uid 65534";
        assert_eq!(ward.findings(true), [finding]);
    }
}

#[test]
fn a_capability_directory_that_is_none_is_left_as_it_is() {
    let ward = Ward::new();
    let path = ward.at("c/messaging-capabilities");
    fs::remove_dir(&path).unwrap();
    for (kind, words) in [
        (FileType::RegularFile, "a regular file"),
        (FileType::Fifo, "a FIFO or a device"),
    ] {
        mknodat(CWD, &path, kind, 0o600.into(), 0).unwrap();
        assert_eq!(
            ward.findings(true),
            [format!(
                "error capability directory is not private: ~/c/messaging-capabilities; it is \
                 {words}, and no program of the dialect uses it like that"
            )]
        );
        fs::remove_file(&path).unwrap();
    }
    symlink("../s", &path).unwrap();
    assert_eq!(ward.findings(true).len(), 1);
    assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
}

#[test]
fn each_flaw_of_a_capability_file_is_found() {
    let ward = Ward::new();
    let dir = ward.at("c/messaging-capabilities");
    let _listener = UnixListener::bind(ward.socket("live")).unwrap();
    let live = ward.capability(&ward.socket("live"));
    chmod(&live, 0o644);
    let hex = |digit: &str| dir.join(digit.repeat(64) + ".json");
    fs::write(hex("1"), "not JSON").unwrap();
    fs::write(hex("2"), "x".repeat(10_000)).unwrap();
    fs::write(hex("3"), r#"{"socketPath":"/s","authToken":"f00d"}"#).unwrap();
    mknodat(CWD, hex("4"), FileType::Fifo, 0o600.into(), 0).unwrap();
    symlink(&live, hex("5")).unwrap();
    let tokenless = ward.capability_path("/tokenless");
    fs::write(&tokenless, r#"{"socketPath":"/tokenless","authToken":7}"#).unwrap();
    for path in [&hex("1"), &hex("2"), &hex("3"), &tokenless] {
        chmod(path, 0o600);
    }
    fs::write(dir.join("notes.txt"), "").unwrap();
    let shown = |path: &Path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        format!("~/c/messaging-capabilities/{name}")
    };
    let none =
        |path: &Path, why: &str| format!("warning capability file is none: {}; {why}", shown(path));
    let mut expected = vec![
        none(&hex("1"), "it names no socket"),
        none(&hex("2"), "it has 10000 bytes, readers take 8192"),
        none(&hex("3"), "its name is not the hash of its socket"),
        none(&tokenless, "the capability file has no usable authToken"),
        format!(
            "warning capability file is not believed: {}; it is a FIFO or a device",
            shown(&hex("4"))
        ),
        format!(
            "warning capability file is not believed: {}; it is a symbolic link",
            shown(&hex("5"))
        ),
        format!(
            "fixed error others can read a token: {}; its mode is 0644",
            shown(&live)
        ),
    ];
    expected.sort();
    assert_eq!(ward.findings(true), expected);
    assert_eq!(mode(&live), 0o600);
    let strange = examine(&ward.home(), false)
        .into_iter()
        .find(|finding| finding.what.contains("notes.txt"));
    assert_eq!(strange.unwrap().severity, Severity::Note);
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 8, "nothing is removed");
    assert!(
        !format!("{:?}", examine(&ward.home(), false)).contains("f00d"),
        "no token is shown"
    );
}

#[test]
fn what_the_dead_left_is_found_and_swept() {
    let ward = Ward::new();
    let dead = ward.socket("dead");
    dead_socket(&dead);
    let capability = ward.capability(&dead);
    let empty = ward
        .at("c/messaging-capabilities")
        .join("0".repeat(64) + ".json");
    fs::write(&empty, "").unwrap();
    chmod(&empty, 0o600);
    age(&empty, 61);
    let ours = ward.record(GONE, |record| record.set_text("entrypoint", "hallway"));
    let temporary = ward.at("c/sessions/.hallway-7-0.tmp");
    fs::write(&temporary, "").unwrap();
    age(&temporary, 61);
    let base = ward.at("t/claude-code-socks");
    mkdir(&base);
    let dir = base.join(format!("{GONE}-{:032x}", 1));
    mkdir(&dir);
    dead_socket(dir.join("messaging.sock"));
    age(&dir, 61);
    let paths = [capability, empty, ours, temporary, dir];
    let found = ward.findings(false);
    assert_eq!(found.len(), paths.len(), "{found:?}");
    assert!(
        found.iter().all(|text| text.starts_with("warning ")),
        "{found:?}"
    );
    assert!(paths.iter().all(|path| path.exists()), "only looked at");
    let expected: BTreeSet<_> = found.iter().map(|text| format!("fixed {text}")).collect();
    // A lock that the first look took lives on for a moment in children that other tests are
    // just starting; what it is on is not touched then.
    let mut mended = BTreeSet::new();
    let until = Instant::now() + Duration::from_secs(60);
    while mended != expected {
        assert!(Instant::now() < until, "{mended:?}");
        let said = ward.findings(true).into_iter();
        mended.extend(said.filter(|text| text.starts_with("fixed ")));
        std::thread::yield_now();
    }
    assert!(!paths.iter().any(|path| path.exists()));
    assert!(ward.findings(true).is_empty());
}

#[test]
fn what_may_be_being_made_is_only_noted() {
    let ward = Ward::new();
    let record = ward.record(GONE, |record| record.set_text("entrypoint", "hallway"));
    age(&record, 30);
    let dead = ward.socket("dead");
    let capability = ward.capability(&dead);
    age(&capability, 30);
    let found = ward.findings(true);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found
            .iter()
            .all(|text| text.starts_with("note ") && text.ends_with("less than a minute ago")),
        "{found:?}"
    );
    assert!(record.exists() && capability.exists());
}

#[test]
fn nothing_is_changed_without_being_asked() {
    let ward = Ward::new();
    let _listener = UnixListener::bind(ward.socket("live")).unwrap();
    let capability = ward.capability(&ward.socket("live"));
    mkdir(ward.at("t/claude-code-socks"));
    for (path, broad) in [
        (ward.at("c"), 0o775),
        (ward.at("c/messaging-capabilities"), 0o755),
        (capability, 0o640),
        (ward.at("c/sessions"), 0o775),
        (ward.at("c/sessions"), 0o755),
        (ward.at("t/claude-code-socks"), 0o750),
    ] {
        let private = mode(&path);
        chmod(&path, broad);
        let found = ward.findings(false);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(mode(&path), broad, "{}", path.display());
        let mended: Vec<_> = found.iter().map(|text| format!("fixed {text}")).collect();
        assert_eq!(ward.findings(true), mended);
        chmod(&path, private);
    }
}

#[test]
fn permissions_are_taken_from_the_entry_that_was_looked_at_and_no_other() {
    let (home, dir) = crate::dir::testing::home();
    let (looked_at, other) = (home.path().join("a"), home.path().join("b"));
    for path in [&looked_at, &other] {
        fs::write(path, "").unwrap();
        chmod(path, 0o644);
    }
    let facts = dir.look("a").unwrap().unwrap();
    fs::rename(&other, &looked_at).unwrap();
    assert!(!mend::restrict(&dir, "a", &facts, 0o077));
    assert_eq!(mode(&looked_at), 0o644);
    let facts = dir.look("a").unwrap().unwrap();
    assert!(mend::restrict(&dir, "a", &facts, 0o077));
    assert_eq!(mode(&looked_at), 0o600);
}
