//! `readFile` and `writeFile`.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};

use hallway_core::relay::base64;
use hallway_core::relay::rpc::Place;
use rustix::fs::{self as sys, AtFlags, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::{Failure, Outcome, Shared, beneath, failed};
use crate::entropy;

pub(super) fn read(shared: &Shared, path: &Place) -> Outcome {
    let file = beneath::open(&shared.dir, path.below(), OFlags::RDONLY)
        .map_err(|error| Shared::told(error, "open", path))?;
    let content = content(file, shared.limits.max_file_bytes, path.named())?;
    Ok(json!({"success": true, "content": base64::encode(&content)}))
}

/// The content of a regular file.
fn content(file: OwnedFd, max: usize, path: &str) -> Result<Vec<u8>, Failure> {
    let broken = |error| failed(beneath::words(error, "read", path));
    let stat = sys::fstat(&file).map_err(broken)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {}
        FileType::Directory => {
            return Err(failed("EISDIR: illegal operation on a directory, read"));
        }
        FileType::Symlink
        | FileType::Fifo
        | FileType::Socket
        | FileType::CharacterDevice
        | FileType::BlockDevice
        | FileType::Unknown => {
            return Err(failed(format!(
                "Access denied: Path '{path}' is no regular file"
            )));
        }
    }
    let most = u64::try_from(max).unwrap_or(u64::MAX);
    let mut content = Vec::new();
    let read = File::from(file)
        .take(most.saturating_add(1))
        .read_to_end(&mut content);
    read.map_err(|error| broken(errno(&error)))?;
    if content.len() > max {
        return Err(failed(format!("The file has more than {max} bytes")));
    }
    Ok(content)
}

pub(super) fn write(
    shared: &Shared,
    path: &Place,
    bytes: &[u8],
    expected: Option<&str>,
) -> Outcome {
    let below = path.below();
    let (parent, name) = below.rsplit_once('/').unwrap_or(("", below));
    if name.is_empty() {
        return Err(failed(beneath::words(Errno::ISDIR, "open", path.named())));
    }
    let parent = beneath::open(&shared.dir, parent, OFlags::RDONLY | OFlags::DIRECTORY)
        .map_err(|error| Shared::told(error, "open", path))?;
    let mode = check(shared, &parent, name, path, expected)?;
    put(&parent, name, bytes, mode).map_err(|error| match error {
        Errno::EXIST => already(),
        error => failed(beneath::words(error, "open", path.named())),
    })?;
    Ok(json!({"success": true, "hash": hash(bytes)}))
}

fn already() -> Failure {
    failed("File already exists but was expected to be new")
}

/// Compares what is there with what the app expects. Gives the mode of the file that is to be
/// replaced; none when there is to be none.
fn check(
    shared: &Shared,
    parent: &OwnedFd,
    name: &str,
    path: &Place,
    expected: Option<&str>,
) -> Result<Option<Mode>, Failure> {
    let opened = beneath::open(parent, name, OFlags::RDONLY);
    match (opened, expected) {
        (Err(beneath::Error::System(Errno::NOENT)), None) => Ok(None),
        (Err(beneath::Error::System(Errno::NOENT)), Some(_)) => {
            Err(failed("File does not exist but hash was provided"))
        }
        (Err(error), _) => Err(Shared::told(error, "open", path)),
        (Ok(_), None) => Err(already()),
        (Ok(file), Some(expected)) => {
            let stat = sys::fstat(&file);
            let stat = stat.map_err(|error| failed(beneath::words(error, "stat", path.named())))?;
            let actual = hash(&content(file, shared.limits.max_file_bytes, path.named())?);
            if actual != expected {
                return Err(failed(format!(
                    "File hash mismatch. Expected: {expected}, Actual: {actual}"
                )));
            }
            Ok(Some(
                Mode::from_raw_mode(stat.st_mode) & (Mode::RWXU | Mode::RWXG | Mode::RWXO),
            ))
        }
    }
}

/// Writes beside and renames: the file is there whole or not at all. Without a mode nothing is
/// replaced.
fn put(parent: &OwnedFd, name: &str, bytes: &[u8], mode: Option<Mode>) -> Result<(), Errno> {
    let id = entropy::uuid().map_err(|error| errno(&error))?;
    let beside = format!(".{id}.hallway");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // The umask decides on a new file, as for any other.
    let fd = sys::openat(parent, &*beside, flags, Mode::from_raw_mode(0o666))?;
    let written = || {
        if let Some(mode) = mode {
            sys::fchmod(&fd, mode)?;
        }
        let mut file = File::from(fd.try_clone().map_err(|error| errno(&error))?);
        file.write_all(bytes).map_err(|error| errno(&error))?;
        if mode.is_some() {
            return sys::renameat(parent, &*beside, parent, name);
        }
        let moved = sys::renameat_with(parent, &*beside, parent, name, RenameFlags::NOREPLACE);
        match moved {
            // A file system without it: a hard link does not replace either.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                sys::linkat(parent, &*beside, parent, name, AtFlags::empty())?;
                sys::unlinkat(parent, &*beside, AtFlags::empty())
            }
            moved => moved,
        }
    };
    let written = written();
    if written.is_err()
        && let Err(error) = sys::unlinkat(parent.as_fd(), &*beside, AtFlags::empty())
    {
        tracing::debug!(%error, "a temporary is left behind");
    }
    written
}

fn hash(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
