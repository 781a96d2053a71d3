//! The registry: one file a session, named by its pid (local.md §2, §5.14, §5.15).
//!
//! It is shared with other programs: their records are read and judged, never changed.

mod process;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;

use std::collections::BTreeSet;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::thread::ScopedJoinHandle;

use hallway_core::local::record::{Liveness, Process, Record, RecordError};

use crate::dir::{Dir, DirError, Placed, Role, own_uid};
pub use process::{Processes, own_process_start, process_facts};

/// The directory of records in the config home.
pub(super) const DIRECTORY: &str = "sessions";
/// What a record of ours has as `entrypoint`.
pub const ENTRYPOINT: &str = "hallway";
/// How many entries of the directory are looked at.
const MAX_SCANNED: usize = 100_000;
/// How many threads read records at most.
const MAX_THREADS: usize = 4;
/// How many records one thread reads at least.
const SHARE: usize = 500;

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
    let judge = |pid: &u32| {
        let outcome = match read(&dir, *pid) {
            // Withdrawn since the directory was listed.
            Err(Skipped::File(error)) if error.is_not_found() => return None,
            Err(skipped) => Err(skipped),
            Ok(record) => {
                let process = processes.facts(*pid);
                let liveness = record.liveness(&process, own);
                Ok(Session {
                    record,
                    process,
                    liveness,
                })
            }
        };
        Some(Scanned { pid: *pid, outcome })
    };
    let pids: Vec<_> = pids(&dir)?.into_iter().collect();
    Ok(shared(&pids, judge))
}

/// What `work` makes of each item, in their order. Many are shared between threads: it is the
/// kernel that takes its time for each.
fn shared<T: Sync, U: Send>(items: &[T], work: impl Fn(&T) -> Option<U> + Sync) -> Vec<U> {
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let share = items.len().div_ceil(threads.min(MAX_THREADS)).max(SHARE);
    let all = |items: &[T]| items.iter().filter_map(&work).collect::<Vec<_>>();
    std::thread::scope(|scope| {
        let mut shares = items.chunks(share);
        let own = shares.next().unwrap_or_default();
        let others: Vec<_> = shares
            .map(|share| {
                let thread = std::thread::Builder::new();
                (share, thread.spawn_scoped(scope, || all(share)))
            })
            .collect();
        let mut done = all(own);
        for (share, thread) in others {
            done.extend(match thread.map(ScopedJoinHandle::join) {
                Ok(Ok(others)) => others,
                Ok(Err(panic)) => std::panic::resume_unwind(panic),
                // The system has no thread to spare.
                Err(_) => all(share),
            });
        }
        done
    })
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
