//! `listDirectory` and `getDirectoryTree`.

use std::os::fd::OwnedFd;
use std::time::Instant;

use hallway_core::relay::rpc::Place;
use rustix::fs::{self as sys, AtFlags, Dir, FileType, OFlags, Stat};
use serde_json::{Map, Value, json};

use super::{Failure, Outcome, Shared, beneath, failed, order};

const HANDLE: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);

/// An entry of a directory.
struct Entry {
    name: String,
    kind: &'static str,
    /// None for a link, which is not followed, and for what is gone.
    stat: Option<Stat>,
}

impl Entry {
    fn is_directory(&self) -> bool {
        self.kind == "directory"
    }
}

pub(super) fn list(shared: &Shared, path: &Place) -> Outcome {
    let dir = beneath::open(&shared.dir, path.below(), HANDLE)
        .map_err(|error| Shared::told(error, "scandir", path))?;
    let mut left = shared.limits.max_entries;
    let entries = entries(&dir, &mut left, path.named())?;
    let entries: Vec<_> = entries
        .iter()
        .map(|entry| {
            let mut object = Map::new();
            object.insert("name".to_owned(), entry.name.as_str().into());
            object.insert("type".to_owned(), entry.kind.into());
            if let Some(stat) = &entry.stat {
                add_stat(&mut object, stat);
            }
            Value::Object(object)
        })
        .collect();
    Ok(json!({"success": true, "entries": entries}))
}

pub(super) fn tree(shared: &Shared, path: &Place, depth: u32) -> Outcome {
    let inaccessible = || failed("Failed to access the specified path");
    let handle =
        beneath::open(&shared.dir, path.below(), OFlags::RDONLY).map_err(|error| match error {
            beneath::Error::Link => Shared::told(error, "stat", path),
            beneath::Error::System(_) => inaccessible(),
        })?;
    let stat = sys::fstat(&handle).map_err(|_| inaccessible())?;
    let path = path.named();
    let name = path.rsplit('/').next().filter(|name| !name.is_empty());
    let mut walk = Walk {
        left: shared.limits.max_entries,
        until: Instant::now() + shared.limits.max_time,
    };
    let tree = walk.node(&handle, &stat, name.unwrap_or(path), path, depth)?;
    Ok(json!({"success": true, "tree": tree}))
}

/// What is left to a walk.
struct Walk {
    left: usize,
    until: Instant,
}

impl Walk {
    fn node(
        &mut self,
        handle: &OwnedFd,
        stat: &Stat,
        name: &str,
        path: &str,
        depth: u32,
    ) -> Result<Value, Failure> {
        if Instant::now() > self.until {
            return Err(failed("It took too long"));
        }
        let kind = kind(stat);
        let mut object = Map::new();
        object.insert("name".to_owned(), name.into());
        object.insert("path".to_owned(), path.into());
        object.insert("type".to_owned(), kind.into());
        add_stat(&mut object, stat);
        if kind == "directory" && depth > 0 {
            let mut children = Vec::new();
            for entry in entries(handle, &mut self.left, path)? {
                // Links are passed over, as by the reference.
                let Some(stat) = &entry.stat else { continue };
                let path = joined(path, &entry.name);
                // Only what is walked has to be opened; what cannot be is passed over.
                let depth = if entry.is_directory() { depth - 1 } else { 0 };
                if depth == 0 {
                    children.push(self.node(handle, stat, &entry.name, &path, 0)?);
                } else if let Ok(child) = beneath::open(handle, &entry.name, HANDLE) {
                    children.push(self.node(&child, stat, &entry.name, &path, depth)?);
                }
            }
            object.insert("children".to_owned(), children.into());
        }
        Ok(Value::Object(object))
    }
}

/// The entries of a directory: directories first, then by name. `left` is how many more there
/// may be.
fn entries(dir: &OwnedFd, left: &mut usize, path: &str) -> Result<Vec<Entry>, Failure> {
    let broken = |error| failed(beneath::words(error, "scandir", path));
    let mut out = Vec::new();
    for entry in Dir::read_from(dir).map_err(broken)? {
        let entry = entry.map_err(broken)?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        *left = left
            .checked_sub(1)
            .ok_or_else(|| failed("There are too many entries; ask for less"))?;
        let stat = sys::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).ok();
        let stat = stat.filter(|stat| !is_link(stat));
        out.push(Entry {
            name: name.to_string_lossy().into_owned(),
            kind: stat.as_ref().map_or("other", kind),
            stat,
        });
    }
    out.sort_by(|one, other| {
        let by_kind = other.is_directory().cmp(&one.is_directory());
        by_kind.then_with(|| order::compare(&one.name, &other.name))
    });
    Ok(out)
}

fn is_link(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Symlink
}

fn kind(stat: &Stat) -> &'static str {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => "directory",
        FileType::RegularFile => "file",
        FileType::Symlink
        | FileType::Fifo
        | FileType::Socket
        | FileType::CharacterDevice
        | FileType::BlockDevice
        | FileType::Unknown => "other",
    }
}

fn add_stat(object: &mut Map<String, Value>, stat: &Stat) {
    object.insert("size".to_owned(), stat.st_size.into());
    #[allow(clippy::useless_conversion, reason = "not useless on every platform")]
    let milliseconds = i64::from(stat.st_mtime)
        .saturating_mul(1_000)
        .saturating_add(i64::try_from(stat.st_mtime_nsec).unwrap_or(0) / 1_000_000);
    object.insert("modified".to_owned(), milliseconds.into());
}

/// `path` and `name` as one path, without what says nothing.
fn joined(path: &str, name: &str) -> String {
    let mut names: Vec<&str> = Vec::new();
    for part in path.split('/').chain([name]) {
        match (part, names.last()) {
            ("" | ".", _) => {}
            ("..", Some(&last)) if last != ".." => {
                names.pop();
            }
            _ => names.push(part),
        }
    }
    let root = if path.starts_with('/') { "/" } else { "" };
    format!("{root}{}", names.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_joined_as_by_the_reference() {
        for (path, joined_path) in [
            (".", "x"),
            ("", "x"),
            ("d", "d/x"),
            ("d/", "d/x"),
            ("./d//e/..", "d/x"),
            ("../w", "../w/x"),
            ("../../w/..", "../../x"),
            ("/w/d", "/w/d/x"),
        ] {
            assert_eq!(joined(path, "x"), joined_path, "{path}");
        }
    }
}
