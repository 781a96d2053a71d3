//! The keys of the sessions that this machine made, kept for a retry of their creation and for
//! the time when only the server's wrapped copy is left, which this machine cannot open
//! (relay.md §9.9).

use hallway_core::relay::credentials::SessionKey;

use super::HappyHome;
use crate::dir::DirError;

/// The directory of the keys, one file a tag.
pub(crate) const DIRECTORY: &str = "hallway-session-keys";

impl HappyHome {
    /// The key that is kept for the session of this tag at this server.
    ///
    /// # Errors
    ///
    /// [`DirError`]; a file that holds no key counts as none.
    pub fn session_key(&self, server: &str, tag: &str) -> Result<Option<SessionKey>, DirError> {
        let content = self.kept(DIRECTORY, server, tag, super::MAX_BYTES)?;
        Ok(content.and_then(|content| SessionKey::parse(&content)))
    }

    /// Keeps the key of the session of this tag at this server, before the server hears of it.
    ///
    /// # Errors
    ///
    /// [`DirError`]
    pub fn keep_session_key(
        &self,
        server: &str,
        tag: &str,
        key: &SessionKey,
    ) -> Result<(), DirError> {
        self.keep(DIRECTORY, server, tag, key.to_json().as_bytes())
    }

    /// Writes the key that is kept for the session of this tag again, so that it is as fresh as
    /// the session.
    ///
    /// # Errors
    ///
    /// [`DirError`]
    pub fn refresh_session_key(&self, server: &str, tag: &str) -> Result<(), DirError> {
        match self.session_key(server, tag)? {
            Some(key) => self.keep_session_key(server, tag, &key),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hallway_core::relay::keys::DataKey;
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    /// Covers: R9.9b
    #[test]
    fn keys_are_kept_private_by_server_and_tag() {
        let dir = tempfile::tempdir().unwrap();
        let home = HappyHome::at(dir.path().join(".happy"));
        assert!(home.session_key("s", "a/b").unwrap().is_none());
        let kept = SessionKey {
            key: DataKey::from_bytes(&[7; 32]),
            wrapped: "AA==\"".to_owned(),
        };
        home.keep_session_key("s", "a/b", &kept).unwrap();
        let read = home.session_key("s", "a/b").unwrap().unwrap();
        assert_eq!((read.key.expose(), &*read.wrapped), (&[7; 32], "AA==\""));
        for (server, tag) in [("s", "a"), ("t", "a/b"), ("s\0a", "/b")] {
            assert!(home.session_key(server, tag).unwrap().is_none());
        }
        let below = dir.path().join(".happy").join(DIRECTORY);
        assert_eq!(fs::metadata(&below).unwrap().mode() & 0o7777, 0o700);
        let file = fs::read_dir(&below)
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o600);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(home.session_key("s", "a/b").is_err(), "others may read it");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&file, "{}").unwrap();
        assert!(home.session_key("s", "a/b").unwrap().is_none());
    }
}
