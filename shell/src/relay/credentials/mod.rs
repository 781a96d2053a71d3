//! The files of the relay's clients: `access.key`, `agent.key`, `settings.json`, and the keys of
//! sessions (relay.md §4).
//!
//! They are read as others wrote them, who leave their permissions to the umask; what is
//! written is private, and replaces the old content at once. `hallway doctor` shows what others
//! left too open.

mod claims;
mod cursors;
mod session_keys;
mod settings;

use std::fmt;
use std::path::{Path, PathBuf};

use hallway_core::relay::credentials as text;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::dir::{Dir, DirError, Role};
use crate::net::{AccessToken, NoToken};

pub use claims::{Claim, ClaimError};
pub(crate) use session_keys::DIRECTORY as SESSION_KEYS;
pub use settings::SettingsError;
pub use text::{Keys, Malformed, SessionKey, Settings};

/// The longest file of these that is read, in bytes.
const MAX_BYTES: usize = 1_048_576;

/// The credentials that a pairing leaves.
const ACCESS_KEY: &str = "access.key";
/// Those of an agent that has an account of its own.
const AGENT_KEY: &str = "agent.key";

/// The files with secrets in the clients' directory, for `hallway doctor`.
pub(crate) const SECRET_FILES: [&str; 3] = [ACCESS_KEY, AGENT_KEY, "sessions.json"];

/// Why there are no credentials. Nothing of what was read is shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// The file cannot be used.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// Nobody has paired this machine.
    #[error("not paired; there is no {ACCESS_KEY} in {}; run `hallway relay pair`", .0.display())]
    Missing(PathBuf),
    /// It is no JSON object with keys and a token.
    #[error("{} holds no credentials; {why}; pair anew, or move it away", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: Malformed,
    },
    /// The token is none.
    #[error("{} holds no token; {source}; pair anew, or move it away", path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: NoToken,
    },
}

/// Who we are to the server, and the keys.
pub struct Credentials {
    /// The bearer token.
    pub token: AccessToken,
    /// The keys.
    pub keys: Keys,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(redacted)")
    }
}

impl Credentials {
    /// Reads the content of `access.key` or `agent.key`. With both a secret and a machine key,
    /// the secret counts.
    ///
    /// # Errors
    ///
    /// [`CredentialsError`]; `path` is for its words.
    pub fn parse(content: &[u8], path: &Path) -> Result<Self, CredentialsError> {
        let content = text::Credentials::parse(content).map_err(|why| {
            let path = path.to_path_buf();
            CredentialsError::Malformed { path, why }
        })?;
        let token = AccessToken::parse(&content.token).map_err(|source| {
            let path = path.to_path_buf();
            CredentialsError::Token { path, source }
        })?;
        let keys = content.keys;
        Ok(Self { token, keys })
    }
}

/// The directory of the relay's clients: `HAPPY_HOME_DIR`, else `~/.happy`.
#[derive(Clone, Debug)]
pub struct HappyHome {
    path: PathBuf,
}

impl HappyHome {
    /// The directory at the absolute `path`.
    #[must_use]
    pub const fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The credentials of `access.key`.
    ///
    /// # Errors
    ///
    /// [`CredentialsError`]
    pub fn credentials(&self) -> Result<Credentials, CredentialsError> {
        self.load(ACCESS_KEY)
    }

    /// The credentials of `agent.key`.
    ///
    /// # Errors
    ///
    /// [`CredentialsError`]
    pub fn agent_credentials(&self) -> Result<Credentials, CredentialsError> {
        self.load(AGENT_KEY)
    }

    fn load(&self, name: &str) -> Result<Credentials, CredentialsError> {
        let content = self.read(name).map_err(|error| {
            if error.is_not_found() {
                CredentialsError::Missing(self.path.clone())
            } else {
                error.into()
            }
        })?;
        Credentials::parse(&content, &self.path.join(name))
    }

    /// Puts `access.key` in place, private and at once; it survives the machine.
    ///
    /// # Errors
    ///
    /// [`DirError`]; what was there stays.
    pub fn store(&self, credentials: &Credentials) -> Result<(), DirError> {
        let dir = Dir::create(&self.path)?;
        let content = text::Credentials::to_json(credentials.token.expose(), &credentials.keys);
        dir.write_durable(ACCESS_KEY, content.as_bytes())
    }

    /// What is kept in `directory` about something at a server, at most `max` bytes; nothing when
    /// there is none.
    fn kept(
        &self,
        directory: &str,
        server: &str,
        what: &str,
        max: usize,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, DirError> {
        let read = || {
            let dir = Dir::open(&self.path)?;
            let dir = dir.open_child(directory, Role::CapabilityDirectory)?;
            dir.read_private(&file_name(server, what), max)
        };
        match read() {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Keeps it there, private; it survives the machine.
    fn keep(
        &self,
        directory: &str,
        server: &str,
        what: &str,
        content: &[u8],
    ) -> Result<(), DirError> {
        let dir = Dir::create(&self.path)?;
        let (dir, made) = dir.create_child(directory, Role::CapabilityDirectory)?;
        dir.write_durable(&file_name(server, what), content)?;
        if let Some(made) = made {
            made.keep();
        }
        Ok(())
    }

    /// The content of a file that others may have left open.
    fn read(&self, name: &str) -> Result<Zeroizing<Vec<u8>>, DirError> {
        let dir = Dir::open(&self.path)?;
        let file = dir.open_file(name, Role::OwnFile)?;
        let mode = file.facts().mode;
        if mode & 0o077 != 0 && SECRET_FILES.contains(&name) {
            let path = dir.path().join(name);
            tracing::warn!(path = %path.display(), "others may read this file; `hallway doctor --fix` makes it private");
        }
        file.read(MAX_BYTES)
    }
}

/// The name of a file about something at a server.
fn file_name(server: &str, what: &str) -> String {
    format!("{}.json", hash(server, what))
}

/// Tags and ids are anything, file names are not.
fn hash(server: &str, what: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(server.as_bytes());
    hash.update([0]);
    hash.update(what.as_bytes());
    let bytes = hash.finalize();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hallway_core::relay::base64;
    use hallway_core::relay::keys::{AccountSecret, DataKey, PublicKey};
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    fn home() -> (tempfile::TempDir, HappyHome) {
        let dir = tempfile::tempdir().unwrap();
        let home = HappyHome::at(dir.path().join(".happy"));
        (dir, home)
    }

    fn parse(text: &str) -> Result<Credentials, CredentialsError> {
        Credentials::parse(text.as_bytes(), Path::new("/f"))
    }

    fn key(byte: u8) -> String {
        base64::encode(&[byte; 32])
    }

    /// Covers: R4.9
    #[test]
    fn what_holds_no_credentials_is_refused_without_showing_it() {
        let secret = key(7);
        for text in [
            "",
            "[]",
            "{}",
            r#"{"token":"t"}"#,
            r#"{"token":7,"secret":"AAAA"}"#,
            r#"{"token":"t","secret":"AAAA"}"#,
            r#"{"token":"t","encryption":{"publicKey":"AAAA"}}"#,
            &format!(r#"{{"token":"a b","secret":"{secret}"}}"#),
            &format!(r#"{{"token":"","secret":"{secret}"}}"#),
            &format!(r#"{{"token":"t","encryption":{{"publicKey":"{secret}"}}}}"#),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains("/f holds no"), "{error}");
            assert!(!error.contains(&secret), "{error}");
        }
        assert!(Credentials::parse(b"\xff", Path::new("/f")).is_err());
    }

    #[test]
    fn what_is_stored_is_private_and_read_again() {
        let (dir, home) = home();
        assert!(matches!(
            home.credentials(),
            Err(CredentialsError::Missing(_))
        ));
        let path = dir.path().join(".happy/access.key");
        for keys in [
            Keys::Legacy(AccountSecret::from_bytes(&[1; 32])),
            Keys::DataKey {
                public: PublicKey::from_bytes([2; 32]),
                machine: DataKey::from_bytes(&[3; 32]),
            },
        ] {
            let token = AccessToken::parse("a\"b\\c").unwrap();
            home.store(&Credentials { token, keys }).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
            let read = home.credentials().unwrap();
            assert_eq!(read.token.expose(), "a\"b\\c");
            match read.keys {
                Keys::Legacy(secret) => assert_eq!(secret.expose(), &[1; 32]),
                Keys::DataKey { public, machine } => {
                    assert_eq!((public.as_bytes(), machine.expose()), (&[2; 32], &[3; 32]));
                }
            }
        }
        assert_eq!(
            fs::read_dir(dir.path().join(".happy")).unwrap().count(),
            1,
            "nothing is left beside"
        );
    }

    /// Covers: R4.10
    #[test]
    fn what_others_left_open_is_read_and_what_is_no_file_is_not() {
        let (dir, home) = home();
        fs::create_dir(home.path()).unwrap();
        let path = dir.path().join(".happy/agent.key");
        fs::write(&path, format!(r#"{{"token":"t","secret":"{}"}}"#, key(1))).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(home.agent_credentials().unwrap().token.expose(), "t");
        std::os::unix::fs::symlink("agent.key", dir.path().join(".happy/access.key")).unwrap();
        assert!(matches!(home.credentials(), Err(CredentialsError::Dir(_))));
    }

    #[test]
    fn nothing_secret_is_printed() {
        let credentials = Credentials {
            token: AccessToken::parse("tok").unwrap(),
            keys: Keys::Legacy(AccountSecret::from_bytes(&[7; 32])),
        };
        let shown = format!("{credentials:?} {:?}", credentials.keys);
        assert!(!shown.contains("tok") && !shown.contains("7, 7"), "{shown}");
    }
}
