//! Which paths a request may name: those within the working directory, by their text (relay.md
//! §6). Where a path leads is for the shell to confine, through directory handles.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// The path is outside the working directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Outside<'a>(&'a str);

impl fmt::Display for Outside<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Access denied: Path '{}' is outside the working directory",
            self.0
        )
    }
}

impl core::error::Error for Outside<'_> {}

/// The path `path` relative to `directory`, which is absolute: its names joined by `/`, without
/// `.` and `..`; empty for the directory itself.
///
/// # Errors
///
/// [`Outside`], whose text is the reference's. Below `/` itself nothing is inside, as there.
pub fn confine<'a>(directory: &str, path: &'a str) -> Result<String, Outside<'a>> {
    let base = resolve(Vec::new(), directory);
    let start = if path.starts_with('/') {
        Vec::new()
    } else {
        base.clone()
    };
    let resolved = resolve(start, path);
    let inside = resolved
        .strip_prefix(base.as_slice())
        .ok_or(Outside(path))?;
    if base.is_empty() && !inside.is_empty() {
        return Err(Outside(path));
    }
    let mut joined = String::new();
    for name in inside {
        if !joined.is_empty() {
            joined.push('/');
        }
        joined.push_str(name);
    }
    Ok(joined)
}

/// Applies `path` to the names of an absolute path.
fn resolve<'a>(mut names: Vec<&'a str>, path: &'a str) -> Vec<&'a str> {
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => {
                names.pop();
            }
            _ => names.push(name),
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    /// Covers: R6.4
    #[test]
    fn paths_are_relative_to_the_directory() {
        for (directory, path, inside) in [
            ("/w", "", ""),
            ("/w", "/w/", ""),
            ("/w", "a/./b//../c", "a/c"),
            ("/w", "/../w/a", "a"),
            ("/w/x", "../../w/x/y", "y"),
            ("/w/", "a", "a"),
            ("/", "", ""),
            ("/", "/", ""),
        ] {
            assert_eq!(confine(directory, path).as_deref(), Ok(inside), "{path}");
        }
        for (directory, path) in [
            ("/w", ".."),
            ("/w", "/"),
            ("/w", "/wx"),
            ("/w/x", "/w"),
            ("/w", "../../../etc"),
            ("/", "etc"),
            ("/", "/etc"),
        ] {
            let error = confine(directory, path).unwrap_err();
            assert!(format!("{error}").contains(&format!("'{path}'")));
        }
    }
}
