//! `settings.json`: what the clients of one machine agree on, written under a lock file.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use hallway_core::relay::credentials::Settings;
use hallway_core::relay::plaintext::Document;
use hallway_core::relay::raw::{Raw, Text};

use super::HappyHome;
use crate::dir::{Dir, DirError};

const SETTINGS: &str = "settings.json";
const LOCK: &str = "settings.json.lock";
/// How often the lock is tried, and how long apart.
const LOCK_ATTEMPTS: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(100);
/// From when on a lock is taken for left behind.
const LOCK_STALE_AFTER: Duration = Duration::from_secs(10);

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The file cannot be used.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// The file is no JSON object. It is not written over.
    #[error("{} holds no settings; it is no JSON object; mend it or move it away", .0.display())]
    Malformed(PathBuf),
    /// Another client held the lock all the time.
    #[error(
        "the settings are locked; {LOCK} in {} was held for 5 s; try again when the other client is done", .0.display()
    )]
    Locked(PathBuf),
}

impl HappyHome {
    /// What `settings.json` says; without the file nothing.
    ///
    /// # Errors
    ///
    /// [`SettingsError`]
    pub fn settings(&self) -> Result<Settings, SettingsError> {
        match self.document() {
            Ok(document) => Ok(Settings::of(&document)),
            Err(SettingsError::Dir(error)) if error.is_not_found() => Ok(Settings::default()),
            Err(error) => Err(error),
        }
    }

    /// The id of this machine: the one that is there, else `fresh`, which is kept.
    ///
    /// # Errors
    ///
    /// [`SettingsError`]
    pub async fn machine_id(&self, fresh: &str) -> Result<String, SettingsError> {
        if let Some(id) = self.settings()?.machine_id {
            return Ok(id);
        }
        let dir = Dir::create(self.path())?;
        let lock = self.lock(&dir).await?;
        // Another client may have made one while we waited.
        let mut document = match self.document() {
            Ok(document) => document,
            Err(SettingsError::Dir(error)) if error.is_not_found() => {
                let empty = Raw::parse(r#"{"schemaVersion":2,"onboardingCompleted":false}"#);
                empty
                    .and_then(Document::parse)
                    .ok_or_else(|| SettingsError::Malformed(self.path().join(SETTINGS)))?
            }
            Err(error) => return Err(error),
        };
        if let Some(id) = Settings::of(&document).machine_id {
            return Ok(id);
        }
        document.set("machineId", Text::new(fresh).raw());
        dir.write_durable(SETTINGS, document.raw().as_str().as_bytes())?;
        drop(lock);
        Ok(fresh.to_owned())
    }

    fn document(&self) -> Result<Document, SettingsError> {
        let content = self.read(SETTINGS)?;
        Settings::document(&content)
            .ok_or_else(|| SettingsError::Malformed(self.path().join(SETTINGS)))
    }

    /// Takes the lock file; it is removed on drop. One that is older than 10 s is replaced.
    async fn lock(&self, dir: &Dir) -> Result<crate::dir::Placed, SettingsError> {
        for _ in 0..LOCK_ATTEMPTS {
            if let Some(lock) = dir.create_new(LOCK)? {
                return Ok(lock);
            }
            if let Some(facts) = dir.look(LOCK)? {
                let age = SystemTime::now().duration_since(facts.modified);
                if age.is_ok_and(|age| age > LOCK_STALE_AFTER) {
                    dir.remove_if(LOCK, facts.identity)?;
                    continue;
                }
            }
            tokio::time::sleep(LOCK_PAUSE).await;
        }
        Err(SettingsError::Locked(self.path().to_path_buf()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::MetadataExt as _;

    fn home() -> (tempfile::TempDir, HappyHome) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_path_buf();
        (dir, HappyHome::at(path))
    }

    /// Covers: R4.12
    #[tokio::test]
    async fn the_machine_id_is_made_once_and_all_else_stays() {
        let (dir, home) = home();
        assert_eq!(home.settings().unwrap(), Settings::default());
        assert_eq!(home.machine_id("m1").await.unwrap(), "m1");
        assert_eq!(home.machine_id("m2").await.unwrap(), "m1");
        let path = dir.path().join(SETTINGS);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        fs::write(
            &path,
            "{ \"z\": [1,  2],\n\"serverUrl\":\"https://s\", \"a\": 1e2 }",
        )
        .unwrap();
        assert_eq!(home.machine_id("m3").await.unwrap(), "m3");
        let text = fs::read_to_string(&path).unwrap();
        for kept in ["\"z\"", "[1,  2]", "1e2", "\"m3\""] {
            assert!(text.contains(kept), "{text}");
        }
        let settings = home.settings().unwrap();
        assert_eq!(settings.server_url.as_deref(), Some("https://s"));
        assert!(!dir.path().join(LOCK).exists());
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_not_written_over() {
        let (dir, home) = home();
        let path = dir.path().join(SETTINGS);
        for text in ["", "[]", "{"] {
            fs::write(&path, text).unwrap();
            let error = home.machine_id("m").await.unwrap_err();
            assert!(matches!(error, SettingsError::Malformed(_)), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    /// Covers: R4.12
    #[tokio::test(start_paused = true)]
    async fn a_lock_is_waited_for_and_a_stale_one_replaced() {
        let (dir, home) = home();
        let lock = dir.path().join(LOCK);
        fs::write(&lock, "").unwrap();
        let error = home.machine_id("m").await.unwrap_err();
        assert!(matches!(error, SettingsError::Locked(_)), "{error}");
        assert!(lock.exists(), "it is another's");
        let old = SystemTime::now() - Duration::from_secs(11);
        let file = fs::File::options().write(true).open(&lock).unwrap();
        file.set_modified(old).unwrap();
        assert_eq!(home.machine_id("m").await.unwrap(), "m");
        assert!(!lock.exists());
        fs::write(&lock, "").unwrap();
        let releasing = async {
            tokio::time::sleep(Duration::from_millis(250)).await;
            fs::remove_file(&lock).unwrap();
        };
        fs::remove_file(dir.path().join(SETTINGS)).unwrap();
        let (made, ()) = tokio::join!(home.machine_id("n"), releasing);
        assert_eq!(made.unwrap(), "n");
    }
}
