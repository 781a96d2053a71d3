//! How far the messages of a session were dealt with here, kept for the next time
//! (relay.md §9.2).

use super::HappyHome;
use crate::dir::DirError;

/// The directory of the numbers, one file a session.
pub(super) const DIRECTORY: &str = "hallway-cursors";
/// More than the longest number has.
const MAX_BYTES: usize = 32;

impl HappyHome {
    /// The number up to which the messages of this session at this server were dealt with.
    ///
    /// # Errors
    ///
    /// [`DirError`]; a file that holds no number counts as none.
    pub fn cursor(&self, server: &str, session: &str) -> Result<Option<u64>, DirError> {
        let content = self.kept(DIRECTORY, server, session, MAX_BYTES)?;
        Ok(content.and_then(|content| {
            let text = std::str::from_utf8(&content).ok()?;
            text.trim_end().parse().ok()
        }))
    }

    /// Keeps the number up to which the messages of this session were dealt with.
    ///
    /// # Errors
    ///
    /// [`DirError`]; the former number stands then.
    pub fn keep_cursor(&self, server: &str, session: &str, last: u64) -> Result<(), DirError> {
        self.keep(DIRECTORY, server, session, format!("{last}\n").as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn numbers_are_kept_by_server_and_session() {
        let dir = tempfile::tempdir().unwrap();
        let home = HappyHome::at(dir.path().join(".happy"));
        assert_eq!(home.cursor("s", "one").unwrap(), None);
        for last in [7, u64::MAX, 0] {
            home.keep_cursor("s", "one", last).unwrap();
            assert_eq!(home.cursor("s", "one").unwrap(), Some(last));
        }
        assert_eq!(home.cursor("s", "other").unwrap(), None);
        assert_eq!(home.cursor("t", "one").unwrap(), None);
        let below = dir.path().join(".happy").join(DIRECTORY);
        let file = fs::read_dir(below).unwrap().next().unwrap().unwrap().path();
        for rubbish in ["", "x", "-1", "1 2", "99999999999999999999"] {
            fs::write(&file, rubbish).unwrap();
            assert_eq!(home.cursor("s", "one").unwrap(), None, "{rubbish:?}");
        }
        fs::write(&file, [b'1'; MAX_BYTES + 1]).unwrap();
        assert!(home.cursor("s", "one").is_err(), "it is too long");
    }
}
