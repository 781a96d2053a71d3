//! The registry: one file a session, named by its pid (local.md §2, §5.14, §5.15).
//!
//! It is shared with other programs: their records are read and judged, never changed.

mod process;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use hallway_core::local::record::{Liveness, Process, Record, RecordError};

use crate::dir::{Dir, DirError, Placed, Role, own_uid};
pub use process::{Processes, own_process_start, process_facts};

/// The directory of records in the config home.
const DIRECTORY: &str = "sessions";
/// What a record of ours has as `entrypoint`.
pub const ENTRYPOINT: &str = "hallway";
/// How many entries of the directory are looked at.
const MAX_SCANNED: usize = 100_000;

/// Why the registry was not read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The directory or a file cannot be used.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// Readers would skip the record.
    #[error(
        "registry record is too large: {length} bytes; readers take {}; shorten the session's name",
        Record::MAX_BYTES
    )]
    TooLarge {
        /// Its length in bytes.
        length: usize,
    },
    /// An update speaks of another process.
    #[error(
        "registry record is of process {found}; this one registered process {registered}; register it by itself"
    )]
    OtherPid {
        /// The pid of the update.
        found: u32,
        /// The pid that was registered.
        registered: u32,
    },
}

/// Why a file of the registry is no record.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Skipped {
    /// The file cannot be used.
    #[error(transparent)]
    File(#[from] DirError),
    /// Its content is no record.
    #[error("registry record cannot be read: {path}; {source}; remove it if its process is gone")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: RecordError,
    },
}

/// A session that the registry announces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// What it says of itself.
    pub record: Record,
    /// What the system says of its process.
    pub process: Process,
    /// What follows.
    pub liveness: Liveness,
}

/// One file of the registry.
#[derive(Debug)]
pub struct Scanned {
    /// The pid in its name.
    pub pid: u32,
    /// What it holds.
    pub outcome: Result<Session, Skipped>,
}

/// What a sweep did and what it left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// The pids of the records that were removed.
    pub removed: Vec<u32>,
    /// The pids of the records of other programs whose process is gone.
    pub others: Vec<u32>,
}

/// A record of ours. On drop it is removed, unless another one has taken its place.
#[derive(Debug)]
#[must_use = "dropping it removes the record"]
pub struct Registered {
    dir: Dir,
    pid: u32,
    file: Placed,
}

impl Registered {
    /// Replaces the record, at once.
    ///
    /// # Errors
    ///
    /// [`RegistryError`]; the former record stands then.
    pub fn update(&mut self, record: &Record) -> Result<(), RegistryError> {
        if record.pid() != self.pid {
            let (found, registered) = (record.pid(), self.pid);
            return Err(RegistryError::OtherPid { found, registered });
        }
        self.file = write(&self.dir, record)?;
        Ok(())
    }
}

/// Registers a session, creating what is missing with mode 0700.
///
/// # Errors
///
/// [`RegistryError`]; an earlier record of that pid stands then.
pub fn publish(config_home: &Path, record: &Record) -> Result<Registered, RegistryError> {
    let dir = Dir::create(&config_home.join(DIRECTORY))?;
    let file = write(&dir, record)?;
    Ok(Registered {
        dir,
        pid: record.pid(),
        file,
    })
}

/// Every record in the registry, by pid. Only regular files of ours named by a pid are opened;
/// no registry at all is an empty one.
///
/// # Errors
///
/// [`RegistryError`] when the directory cannot be listed or must not be trusted.
pub fn scan(config_home: &Path) -> Result<Vec<Scanned>, RegistryError> {
    let Some(dir) = directory(config_home)? else {
        return Ok(Vec::new());
    };
    let (processes, own) = (Processes::new(), own_uid());
    let scanned = pids(&dir)?.into_iter().filter_map(|pid| {
        let outcome = match read(&dir, pid) {
            // Withdrawn since the directory was listed.
            Err(Skipped::File(error)) if error.is_not_found() => return None,
            Err(skipped) => Err(skipped),
            Ok(record) => {
                let process = processes.facts(pid);
                let liveness = record.liveness(&process, own);
                Ok(Session {
                    record,
                    process,
                    liveness,
                })
            }
        };
        Some(Scanned { pid, outcome })
    });
    Ok(scanned.collect())
}

/// Removes records of ours whose process is provably gone, and what killed writers left. Those
/// of other programs are only named.
///
/// Never removed: what was written in the last minute, and what a living daemon of ours has
/// locked (wherever it runs).
///
/// # Errors
///
/// [`RegistryError`] when the directory cannot be listed; what cannot be removed is left.
pub fn sweep(config_home: &Path) -> Result<Swept, RegistryError> {
    let mut swept = Swept::default();
    let Some(dir) = directory(config_home)? else {
        return Ok(swept);
    };
    dir.sweep_temporaries(MAX_SCANNED)?;
    let (processes, own) = (Processes::new(), own_uid());
    for pid in pids(&dir)? {
        let name = file_name(pid);
        let Ok(file) = dir.open_file(&name, Role::OwnFile) else {
            continue;
        };
        let Ok(record) = parse(&dir, pid, file.read(Record::MAX_BYTES)) else {
            continue;
        };
        match record.liveness(&processes.facts(pid), own) {
            Liveness::Gone | Liveness::Recycled | Liveness::Foreign => {}
            Liveness::Live | Liveness::Doubtful => continue,
        }
        let facts = *file.facts();
        if record.entrypoint().as_deref() != Some(ENTRYPOINT) {
            swept.others.push(pid);
        } else if facts.is_abandoned()
            && file.writer_is_gone()
            && dir.remove_if(&name, facts.identity).unwrap_or(false)
        {
            swept.removed.push(pid);
        }
    }
    Ok(swept)
}

/// The pid that `text` is: decimal, as a program would print it.
pub(super) fn canonical_pid(text: &str) -> Option<u32> {
    let pid: u32 = text.parse().ok()?;
    // No sign and no leading zeros; and the kernel counts pids from 1 in an i32.
    (text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0'))
        .then_some(pid)
        .filter(|pid| i32::try_from(*pid).is_ok())
}

fn file_name(pid: u32) -> String {
    format!("{pid}.json")
}

/// The registry's directory, unless there is none. It may be readable by others, as some
/// programs make it, but nobody else may change it.
fn directory(config_home: &Path) -> Result<Option<Dir>, DirError> {
    match Dir::open(&config_home.join(DIRECTORY)) {
        Err(error) if error.is_not_found() => Ok(None),
        found => found.map(Some),
    }
}

fn pids(dir: &Dir) -> Result<BTreeSet<u32>, DirError> {
    let mut pids = BTreeSet::new();
    for name in dir.names()?.take(MAX_SCANNED) {
        pids.extend(name?.strip_suffix(".json").and_then(canonical_pid));
    }
    Ok(pids)
}

fn read(dir: &Dir, pid: u32) -> Result<Record, Skipped> {
    parse(
        dir,
        pid,
        dir.read_regular(&file_name(pid), Record::MAX_BYTES),
    )
}

fn parse(
    dir: &Dir,
    pid: u32,
    content: Result<zeroize::Zeroizing<Vec<u8>>, DirError>,
) -> Result<Record, Skipped> {
    Record::parse(pid, &content?).map_err(|source| Skipped::Content {
        path: dir.path().join(file_name(pid)),
        source,
    })
}

fn write(dir: &Dir, record: &Record) -> Result<Placed, RegistryError> {
    let content = record.print();
    if content.len() > Record::MAX_BYTES {
        return Err(RegistryError::TooLarge {
            length: content.len(),
        });
    }
    Ok(dir.write_atomic(&file_name(record.pid()), content.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dir::testing::{age, give_away, home, mkdir, names};
    use crate::dir::{Flaw, Kind};
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, symlink};
    use std::time::{Duration, Instant};

    /// A pid that no process has: above the kernel's largest.
    const GONE: u32 = 2_000_000_000;

    fn own(pid: u32) -> Record {
        let mut record = Record::new(pid);
        record.set_text("entrypoint", ENTRYPOINT);
        record.set_text("processStart", &own_process_start().unwrap());
        record
    }

    fn write_file(home: &tempfile::TempDir, name: &str, content: &str) {
        mkdir(home.path().join(DIRECTORY));
        fs::write(home.path().join(DIRECTORY).join(name), content).unwrap();
    }

    #[test]
    fn a_record_is_published_private_updated_at_once_and_withdrawn() {
        let (home, _) = home();
        let pid = std::process::id();
        let config = home.path().join("config");
        let mut registered = publish(&config, &own(pid)).unwrap();
        for (path, mode) in [
            (config.clone(), 0o700),
            (config.join("sessions"), 0o700),
            (config.join(format!("sessions/{pid}.json")), 0o600),
        ] {
            assert_eq!(
                fs::metadata(&path).unwrap().mode() & 0o7777,
                mode,
                "{path:?}"
            );
        }
        let mut renamed = own(pid);
        renamed.set_text("name", "other");
        registered.update(&renamed).unwrap();
        let found = scan(&config).unwrap();
        assert_eq!(found.len(), 1);
        let session = found[0].outcome.as_ref().unwrap();
        assert_eq!((found[0].pid, &session.record), (pid, &renamed));
        assert_eq!(session.liveness, Liveness::Live);
        let other = registered.update(&Record::new(pid + 1)).unwrap_err();
        assert!(matches!(other, RegistryError::OtherPid { .. }), "{other}");
        drop(registered);
        assert!(scan(&config).unwrap().is_empty());
    }

    #[test]
    fn a_record_that_has_been_replaced_is_not_withdrawn() {
        let (home, _) = home();
        let first = publish(home.path(), &own(7)).unwrap();
        let second = publish(home.path(), &own(7)).unwrap();
        drop(first);
        assert_eq!(scan(home.path()).unwrap().len(), 1);
        drop(second);
        assert_eq!(scan(home.path()).unwrap().len(), 0);
    }

    #[test]
    fn a_record_that_readers_would_skip_is_refused() {
        let (home, _) = home();
        let mut record = own(7);
        record.set_text("name", &"x".repeat(Record::MAX_BYTES));
        let refused = publish(home.path(), &record).unwrap_err();
        assert!(
            matches!(refused, RegistryError::TooLarge { .. }),
            "{refused}"
        );
        assert!(scan(home.path()).unwrap().is_empty());
    }

    #[test]
    fn no_registry_is_an_empty_one_but_an_open_one_is_refused() {
        let (home, _) = home();
        assert!(scan(&home.path().join("none")).unwrap().is_empty());
        assert!(scan(home.path()).unwrap().is_empty());
        assert_eq!(sweep(home.path()).unwrap(), Swept::default());
        write_file(&home, "7.json", "{}");
        crate::dir::testing::chmod(&home.path().join(DIRECTORY), 0o755);
        assert_eq!(scan(home.path()).unwrap().len(), 1, "others may read it");
        crate::dir::testing::chmod(&home.path().join(DIRECTORY), 0o777);
        let refused = scan(home.path()).unwrap_err().to_string();
        assert!(
            refused.starts_with("directory permissions are too broad"),
            "{refused}"
        );
    }

    #[test]
    fn only_files_named_by_a_pid_are_read() {
        let (home, _) = home();
        for name in [
            "7.json",
            "12.json",
            "007.json",
            "+7.json",
            "-7.json",
            "7.json.bak",
            "7.JSON",
            "x.json",
            "0.json",
            ".json",
            "7 .json",
            "4294967296.json",
            "2147483648.json",
            "\u{0667}.json",
        ] {
            write_file(&home, name, "{}");
        }
        let pids: Vec<u32> = scan(home.path())
            .unwrap()
            .iter()
            .map(|found| found.pid)
            .collect();
        assert_eq!(pids, [7, 12]);
    }

    #[test]
    fn what_is_no_record_is_skipped_with_its_reason() {
        let (home, _) = home();
        write_file(&home, "1.json", "{\"pid\":");
        write_file(&home, "2.json", &" ".repeat(Record::MAX_BYTES + 1));
        symlink("1.json", home.path().join("sessions/3.json")).unwrap();
        let fifo = rustix::fs::FileType::Fifo;
        let path = home.path().join("sessions/4.json");
        rustix::fs::mknodat(rustix::fs::CWD, &path, fifo, 0o600.into(), 0).unwrap();
        mkdir(home.path().join("sessions/5.json"));
        write_file(&home, "6.json", "{}");
        let given = give_away(&home.path().join("sessions/6.json"));
        let skipped: Vec<(u32, Skipped)> = scan(home.path())
            .unwrap()
            .into_iter()
            .filter_map(|found| found.outcome.err().map(|why| (found.pid, why)))
            .collect();
        assert_eq!(skipped.len(), if given { 6 } else { 5 });
        for (pid, why) in skipped {
            let flaw = match &why {
                Skipped::Content {
                    source: RecordError::NotAnObject,
                    ..
                } if pid == 1 => continue,
                Skipped::File(DirError::TooLarge { .. }) if pid == 2 => continue,
                Skipped::File(DirError::Untrusted { flaw, .. }) => *flaw,
                Skipped::Content { .. } | Skipped::File(_) => panic!("{pid}: {why}"),
            };
            let expected = match pid {
                3 => Flaw::Kind(Kind::Link),
                4 => Flaw::Kind(Kind::Special),
                5 => Flaw::Kind(Kind::Directory),
                _ => Flaw::Owner(crate::dir::testing::OTHER),
            };
            assert_eq!(flaw, expected, "{pid}");
        }
    }

    #[test]
    fn the_dead_and_the_recycled_are_told_from_the_living() {
        let (home, _) = home();
        let pid = std::process::id();
        write_file(&home, &format!("{GONE}.json"), "{}");
        let mut record = own(pid);
        record.set_text("processStart", "another boot:1");
        write_file(&home, &format!("{pid}.json"), &record.print());
        let found = scan(home.path()).unwrap();
        let of = |index: usize| found[index].outcome.as_ref().unwrap().liveness;
        assert_eq!((found[0].pid, of(0)), (pid, Liveness::Recycled));
        assert_eq!((found[1].pid, of(1)), (GONE, Liveness::Gone));
    }

    #[test]
    fn dead_records_of_ours_are_swept_and_nothing_else() {
        let (home, _) = home();
        let pid = std::process::id();
        let mut recycled = own(pid);
        recycled.set_text("processStart", "another boot:1");
        let mut other = Record::new(GONE + 1);
        other.set_text("entrypoint", "cli");
        let records = [own(GONE), other, own(GONE + 2), recycled, own(GONE + 3)];
        for record in &records {
            write_file(&home, &file_name(record.pid()), &record.print());
            age(
                &home.path().join(DIRECTORY).join(file_name(record.pid())),
                61,
            );
        }
        write_file(&home, ".hallway-1-0.tmp", "");
        age(&home.path().join("sessions/.hallway-1-0.tmp"), 61);
        write_file(&home, &file_name(GONE + 2), &own(GONE + 2).print()); // young again
        let dir = Dir::open(&home.path().join(DIRECTORY)).unwrap();
        let live = dir.open_file(&file_name(GONE + 3), Role::OwnFile).unwrap();
        assert!(
            live.writer_is_gone(),
            "locked from here on, as by a daemon elsewhere"
        );
        let swept = sweep(home.path()).unwrap();
        assert_eq!(swept.removed, [pid, GONE]);
        assert_eq!(swept.others, [GONE + 1]);
        let left = [GONE + 1, GONE + 2, GONE + 3].map(file_name);
        assert_eq!(names(&dir), left);
    }

    #[test]
    fn a_living_record_of_ours_is_never_swept() {
        let (home, _) = home();
        let registered = publish(home.path(), &own(GONE)).unwrap();
        let path = home.path().join(DIRECTORY).join(file_name(GONE));
        age(&path, 3_600);
        assert_eq!(sweep(home.path()).unwrap(), Swept::default());
        assert!(path.exists());
        drop(registered);
        assert!(!path.exists());
    }

    #[test]
    fn ten_thousand_records_are_scanned_quickly() {
        let (home, _) = home();
        let text = own(1).print();
        for pid in 1..=10_000 {
            write_file(&home, &format!("{pid}.json"), &text);
        }
        let best = (0..5).map(|_| {
            let start = Instant::now();
            assert_eq!(scan(home.path()).unwrap().len(), 10_000);
            start.elapsed()
        });
        let best = best.min().unwrap();
        eprintln!("10,000 records in {best:?}");
        let allowed = Duration::from_millis(if cfg!(debug_assertions) { 2_000 } else { 100 });
        assert!(best < allowed, "{best:?}");
    }
}
