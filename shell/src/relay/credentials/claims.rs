//! Which sessions are mirrored here, by locks that end with their processes, and what is swept
//! of those that no longer are.

use std::time::{Duration, SystemTime};

use super::{HappyHome, cursors, hash, session_keys};
use crate::dir::{Dir, DirError, Placed, Role};

/// The longest note of a lock that is read, in bytes.
const MAX_NOTE_BYTES: usize = 32;
/// How many entries of a directory a sweep looks at.
const MAX_SWEPT: usize = 10_000;
/// A sweep has a lock for a moment, and leaves no note: then it is tried again, so often.
const ATTEMPTS: u32 = 50;
/// After so long.
const AGAIN_AFTER: Duration = Duration::from_millis(20);
const LOCK: &str = ".lock";
const KEPT: &str = ".json";

/// What is kept about sessions, and for how long after they were mirrored last.
const SWEPT: [(&str, Duration); 2] = [
    // As long as the reference keeps its own (relay.md §4).
    (session_keys::DIRECTORY, Duration::from_hours(14 * 24)),
    // Without its number a session begins at its newest message, and what came meanwhile is
    // passed over: a few bytes are kept for longer than anybody is away.
    (cursors::DIRECTORY, Duration::from_hours(90 * 24)),
];

/// Why a session is not mirrored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// Another process mirrors it.
    #[error("the session is mirrored by {}; stop that, or choose another --tag", who(*.0))]
    Held(Option<u32>),
    /// The lock cannot be used.
    #[error(transparent)]
    Dir(#[from] DirError),
}

fn who(pid: Option<u32>) -> String {
    pid.map_or_else(
        || "another process".to_owned(),
        |pid| format!("process {pid}"),
    )
}

/// A session that only this process mirrors: what is kept about it stays, and nobody else
/// writes it.
#[derive(Debug)]
#[must_use = "dropping it lets others have the session"]
pub struct Claim {
    _locks: Vec<Placed>,
}

impl HappyHome {
    /// Claims the session of this tag at this server.
    ///
    /// # Errors
    ///
    /// [`ClaimError`]
    pub async fn claim_tag(&self, server: &str, tag: &str) -> Result<Claim, ClaimError> {
        let lock = self.claim(session_keys::DIRECTORY, server, tag).await?;
        Ok(Claim { _locks: vec![lock] })
    }

    /// Claims the session itself, too: it may have another tag in another directory.
    ///
    /// # Errors
    ///
    /// [`ClaimError`]
    pub async fn claim_session(
        &self,
        claim: &mut Claim,
        server: &str,
        session: &str,
    ) -> Result<(), ClaimError> {
        let lock = self.claim(cursors::DIRECTORY, server, session).await?;
        claim._locks.push(lock);
        Ok(())
    }

    async fn claim(&self, directory: &str, server: &str, what: &str) -> Result<Placed, ClaimError> {
        let dir = Dir::create(&self.path)?;
        let (dir, made) = dir.create_child(directory, Role::CapabilityDirectory)?;
        if let Some(made) = made {
            made.keep();
        }
        let name = format!("{}{LOCK}", hash(server, what));
        for _ in 0..ATTEMPTS {
            if let Some(lock) = dir.lock(&name)? {
                lock.note(std::process::id().to_string().as_bytes())?;
                return Ok(lock);
            }
            // It may be gone, or without a note yet.
            let note = dir.read_private(&name, MAX_NOTE_BYTES).unwrap_or_default();
            let pid = std::str::from_utf8(&note)
                .ok()
                .and_then(|pid| pid.parse().ok());
            if pid.is_some() {
                return Err(ClaimError::Held(pid));
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
        Err(ClaimError::Held(None))
    }

    /// Removes what is kept about sessions that nobody mirrors, and that were not mirrored for
    /// long. Says how many files.
    pub fn sweep(&self, now: SystemTime) -> usize {
        let Ok(home) = Dir::open(&self.path) else {
            return 0;
        };
        let mut removed = 0;
        for (directory, span) in SWEPT {
            // One that is not there, or not ours, is not swept.
            let Ok(dir) = home.open_child(directory, Role::CapabilityDirectory) else {
                continue;
            };
            let Ok(names) = dir.names() else { continue };
            for name in names.take(MAX_SWEPT).flatten() {
                let gone = sweep_one(&dir, &name, span, now);
                removed += usize::from(gone.unwrap_or(false));
            }
        }
        removed
    }
}

/// Removes the file if it is old and its session is nobody's. Whoever claims that meanwhile waits.
fn sweep_one(dir: &Dir, name: &str, span: Duration, now: SystemTime) -> Result<bool, DirError> {
    let stem = name.strip_suffix(KEPT).or_else(|| name.strip_suffix(LOCK));
    let Some(stem) = stem else { return Ok(false) };
    if !is_older(dir, name, span, now)? {
        return Ok(false);
    }
    let Some(_lock) = dir.lock(&format!("{stem}{LOCK}"))? else {
        return Ok(false);
    };
    if name.ends_with(LOCK) {
        // Left by a process that was killed; it goes with the lock.
        return Ok(true);
    }
    // It may have been written before the lock was had.
    match dir.look(name)? {
        Some(facts) if is_older(dir, name, span, now)? => dir.remove_if(name, facts.identity),
        Some(_) | None => Ok(false),
    }
}

/// Whether nothing was written for `span`. A time still to come is no age.
fn is_older(dir: &Dir, name: &str, span: Duration, now: SystemTime) -> Result<bool, DirError> {
    let facts = dir.look(name)?;
    let age = facts.and_then(|facts| now.duration_since(facts.modified).ok());
    Ok(age.is_some_and(|age| age >= span))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dir::testing::{age, chmod};
    use hallway_core::relay::credentials::SessionKey;
    use hallway_core::relay::keys::DataKey;
    use std::fs;
    use std::path::{Path, PathBuf};

    const DAY: u64 = 24 * 60 * 60;

    fn home() -> (tempfile::TempDir, HappyHome) {
        let dir = tempfile::tempdir().unwrap();
        let home = HappyHome::at(dir.path().join(".happy"));
        (dir, home)
    }

    fn keep(home: &HappyHome, what: &str) {
        let (key, wrapped) = (DataKey::from_bytes(&[7; 32]), "AA==".to_owned());
        let key = SessionKey { key, wrapped };
        home.keep_session_key("s", what, &key).unwrap();
        home.keep_cursor("s", what, 7).unwrap();
    }

    fn files(home: &HappyHome, directory: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(home.path().join(directory)).unwrap();
        let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }

    fn all(home: &HappyHome) -> Vec<PathBuf> {
        [session_keys::DIRECTORY, cursors::DIRECTORY]
            .into_iter()
            .flat_map(|directory| files(home, directory))
            .collect()
    }

    fn made_old(home: &HappyHome, days: u64) {
        all(home).iter().for_each(|path| age(path, days * DAY));
    }

    #[tokio::test]
    async fn a_session_is_mirrored_by_one_who_is_named() {
        let (_dir, home) = home();
        let mut claim = home.claim_tag("s", "t").await.unwrap();
        home.claim_session(&mut claim, "s", "id").await.unwrap();
        let own = std::process::id();
        let held = home.claim_tag("s", "t").await.unwrap_err();
        assert!(matches!(held, ClaimError::Held(Some(pid)) if pid == own));
        let words = held.to_string();
        assert!(words.contains(&format!("process {own}")) && words.contains("--tag"));
        // Another tag that leads to the same session.
        let mut other = home.claim_tag("s", "u").await.unwrap();
        let held = home.claim_session(&mut other, "s", "id").await;
        assert!(matches!(held, Err(ClaimError::Held(Some(_)))));
        drop(home.claim_tag("s2", "t").await.unwrap());
        drop((claim, other));
        assert_eq!(all(&home), [] as [PathBuf; 0], "the locks are gone");
        drop(home.claim_tag("s", "t").await.unwrap());
        let name = format!("{}{LOCK}", hash("s", "t"));
        let left = home.path().join(session_keys::DIRECTORY).join(name);
        fs::write(&left, "999999999").unwrap();
        chmod(&left, 0o600);
        drop(
            home.claim_tag("s", "t")
                .await
                .expect("its holder was killed"),
        );
        assert!(who(None).contains("another process"));
    }

    #[tokio::test]
    async fn a_lock_without_a_note_is_waited_for() {
        let (_dir, home) = home();
        drop(home.claim_tag("s", "t").await.unwrap());
        let dir = Dir::open(&home.path().join(session_keys::DIRECTORY)).unwrap();
        let name = format!("{}{LOCK}", hash("s", "t"));
        let swept = dir.lock(&name).unwrap().unwrap();
        let (claim, ()) = tokio::join!(home.claim_tag("s", "t"), async {
            tokio::task::yield_now().await;
            drop(swept);
        });
        drop(claim.unwrap());
        let _stays = dir.lock(&name).unwrap().unwrap();
        let held = home.claim_tag("s", "t").await;
        assert!(matches!(held, Err(ClaimError::Held(None))));
    }

    #[tokio::test]
    async fn what_nobody_mirrors_is_swept_in_time() {
        let (_dir, home) = home();
        assert_eq!(home.sweep(SystemTime::now()), 0, "nothing is there");
        keep(&home, "one");
        keep(&home, "two");
        for (days, keys, numbers) in [(13, 2, 2), (14, 0, 2), (89, 0, 2), (90, 0, 0)] {
            made_old(&home, days);
            home.sweep(SystemTime::now());
            let left = (
                files(&home, session_keys::DIRECTORY).len(),
                files(&home, cursors::DIRECTORY).len(),
            );
            assert_eq!(left, (keys, numbers), "after {days} days");
        }
    }

    #[tokio::test]
    async fn what_is_mirrored_or_no_session_s_is_not_swept() {
        let (_dir, home) = home();
        keep(&home, "one");
        keep(&home, "two");
        let mut claim = home.claim_tag("s", "one").await.unwrap();
        home.claim_session(&mut claim, "s", "one").await.unwrap();
        let other = home.path().join(cursors::DIRECTORY).join("notes.txt");
        fs::write(&other, "").unwrap();
        made_old(&home, 1_000);
        assert_eq!(home.sweep(SystemTime::now()), 2, "those of the other");
        assert_eq!(home.cursor("s", "one").unwrap(), Some(7));
        assert!(home.session_key("s", "one").unwrap().is_some());
        assert_eq!(home.cursor("s", "two").unwrap(), None);
        assert!(other.exists());
        drop(claim);
        // One to come, and what a killed process left.
        let ahead = SystemTime::UNIX_EPOCH;
        assert_eq!(home.sweep(ahead), 0);
        let left = home.path().join(cursors::DIRECTORY).join("x.lock");
        fs::write(&left, "1").unwrap();
        chmod(&left, 0o600);
        age(Path::new(&left), 1_000 * DAY);
        assert_eq!(home.sweep(SystemTime::now()), 3);
        assert_eq!(all(&home), [other]);
    }
}
