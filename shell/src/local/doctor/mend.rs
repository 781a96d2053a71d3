//! Taking permissions away from what is ours.

use rustix::fs::{self as sys, Mode, OFlags};

use crate::dir::{Dir, Facts, Kind, own_uid};

/// Takes the permissions `forbidden` from the directory or file `name` in `dir`, if it is still
/// the inode of `facts` and ours. Says whether it did.
pub(super) fn restrict(dir: &Dir, name: &str, facts: &Facts, forbidden: u32) -> bool {
    let kind = match facts.kind {
        Kind::Directory => OFlags::DIRECTORY,
        Kind::File => OFlags::empty(),
        Kind::Link | Kind::Socket | Kind::Special => return false,
    };
    let safely = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let restricted = sys::openat(dir, name, safely | kind, Mode::empty()).and_then(|handle| {
        let stat = sys::fstat(&handle)?;
        // Looked at and opened by its name: another entry may have taken it in between.
        if stat.st_ino != facts.identity.ino || stat.st_uid != own_uid() {
            return Err(rustix::io::Errno::STALE);
        }
        let mode = Mode::from_raw_mode(stat.st_mode) - Mode::from_bits_truncate(forbidden);
        sys::fchmod(&handle, mode)
    });
    match restricted {
        Ok(()) => true,
        Err(error) => {
            tracing::debug!("permissions not changed: {name}; {error}");
            false
        }
    }
}
