//! The registry: one file a session, named by its pid (local.md §2, §5.14, §5.15).
//!
//! It is shared with other programs: their records are read and judged, never changed.

mod process;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;

use std::path::{Path, PathBuf};

use hallway_core::local::record::{Liveness, Record, RecordError};

use crate::dir::{Dir, DirError, OpenFile, Placed, Role, own_uid};
use crate::shares;
pub use process::{Processes, own_process_start, process_facts};

/// The directory of records in the config home.
pub(super) const DIRECTORY: &str = "sessions";
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
    /// Whether it is there.
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
    let (processes, own) = (Processes::new(), own_uid());
    each(config_home, |pid, file| {
        let outcome = file.map(|(record, _)| {
            let liveness = record.liveness(&processes.facts(pid), own);
            Session { record, liveness }
        });
        Some(Scanned { pid, outcome })
    })
}

/// The same, but what `take` makes of each, and in half the time: of a process nothing is asked
/// that cannot change whether its session is there, so one may be doubtful here whom
/// [`scan`] knows to be live.
pub(super) fn glance<T: Send>(
    config_home: &Path,
    take: impl Fn(Scanned) -> Option<T> + Sync,
) -> Result<Vec<T>, RegistryError> {
    let (processes, own) = (Processes::new(), own_uid());
    each(config_home, |pid, file| {
        let outcome = file.map(|(record, file)| {
            let liveness = if is_held(&record, &file) && process::may_run(pid) {
                Liveness::Live
            } else if record.process_start().is_some() {
                record.liveness(&processes.facts(pid), own)
            } else {
                record.liveness(&processes.presence(pid), own)
            };
            Session { record, liveness }
        });
        take(Scanned { pid, outcome })
    })
}

/// Whether a daemon of ours stands for its record. Who may open a file may lock it: what others
/// may open tells nothing.
fn is_held(record: &Record, file: &OpenFile) -> bool {
    record.entrypoint().as_deref() == Some(ENTRYPOINT)
        && file.facts().mode & 0o077 == 0
        && file.writer_lives()
}

/// What `take` makes of each file that a pid names, in their order. Many are shared between
/// threads: it is the kernel that takes its time for each.
fn each<T: Send>(
    config_home: &Path,
    take: impl Fn(u32, Result<(Record, OpenFile), Skipped>) -> Option<T> + Sync,
) -> Result<Vec<T>, RegistryError> {
    let Some(dir) = directory(config_home)? else {
        return Ok(Vec::new());
    };
    Ok(shares::map(&pids(&dir)?, |pid| match read(&dir, *pid) {
        // Withdrawn since the directory was listed.
        Err(Skipped::File(error)) if error.is_not_found() => None,
        found => take(*pid, found),
    }))
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
        let Ok((record, file)) = read(&dir, pid) else {
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
            && dir
                .remove_if(&file_name(pid), facts.identity)
                .unwrap_or(false)
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

pub(super) fn file_name(pid: u32) -> String {
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

/// The pids that files are named by, in order.
fn pids(dir: &Dir) -> Result<Vec<u32>, DirError> {
    let mut pids = Vec::new();
    for name in dir.names()?.take(MAX_SCANNED) {
        pids.extend(name?.strip_suffix(".json").and_then(canonical_pid));
    }
    pids.sort_unstable();
    // A directory that changes while it is listed may name one twice.
    pids.dedup();
    Ok(pids)
}

fn read(dir: &Dir, pid: u32) -> Result<(Record, OpenFile), Skipped> {
    let name = file_name(pid);
    let file = dir.open_file(&name, Role::OwnFile)?;
    match Record::parse(pid, &file.read(Record::MAX_BYTES)?) {
        Ok(record) => Ok((record, file)),
        Err(source) => Err(Skipped::Content {
            path: dir.path().join(name),
            source,
        }),
    }
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
