//! The files of the relay's clients: `access.key`, `agent.key`, `settings.json`, and the keys of
//! sessions (relay.md §4).
//!
//! They are read as others wrote them, who leave their permissions to the umask; what is
//! written is private, and replaces the old content at once. `hallway doctor` shows what others
//! left too open.

mod session_keys;
mod settings;

use std::fmt;
use std::path::{Path, PathBuf};

use hallway_core::relay::base64;
use hallway_core::relay::cipher::Cipher;
use hallway_core::relay::keys::{AccountSecret, BoxKeyPair, DataKey, PublicKey};
use hallway_core::relay::raw::Raw;
use zeroize::Zeroizing;

use crate::dir::{Dir, DirError, Role};
use crate::net::{AccessToken, NoToken};

pub(crate) use session_keys::DIRECTORY as SESSION_KEYS;
pub use session_keys::SessionKey;
pub use settings::{Settings, SettingsError};

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
        why: &'static str,
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

/// The keys of this machine, by the variant of its cipher.
#[derive(Debug)]
pub enum Keys {
    /// The secret of the account, which is the key of everything.
    Legacy(AccountSecret),
    /// Each session has its own key.
    DataKey {
        /// The account's content key, which sessions' keys are boxed to.
        public: PublicKey,
        /// The key of what this machine says of itself.
        machine: DataKey,
    },
}

impl Keys {
    /// The public half of the account's content key.
    #[must_use]
    pub fn content_key(&self) -> PublicKey {
        match self {
            Self::Legacy(secret) => secret.content_key_pair().public(),
            Self::DataKey { public, .. } => *public,
        }
    }

    /// The pair that unwraps the keys of sessions; only who has the account's secret has it.
    #[must_use]
    pub fn content_pair(&self) -> Option<BoxKeyPair> {
        match self {
            Self::Legacy(secret) => Some(secret.content_key_pair()),
            Self::DataKey { .. } => None,
        }
    }

    /// What the machine's own values are sealed with.
    #[must_use]
    pub fn machine_cipher(&self) -> Cipher {
        match self {
            Self::Legacy(secret) => Cipher::Legacy(AccountSecret::from_bytes(secret.expose())),
            Self::DataKey { machine, .. } => Cipher::DataKey(DataKey::from_bytes(machine.expose())),
        }
    }

    /// The name of the variant.
    #[must_use]
    pub const fn variant(&self) -> &'static str {
        match self {
            Self::Legacy(_) => "legacy",
            Self::DataKey { .. } => "dataKey",
        }
    }
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
        let malformed = |why| CredentialsError::Malformed {
            path: path.to_path_buf(),
            why,
        };
        let text = std::str::from_utf8(content).map_err(|_| malformed("it is not UTF-8"))?;
        let [secret, encryption, token] = Raw::parse(text)
            .and_then(|raw| raw.pick(["secret", "encryption", "token"]))
            .ok_or_else(|| malformed("it is no JSON object"))?;
        let string = |raw: Raw<'_>| {
            let text = raw.text()?;
            Some(Zeroizing::new(text.to_unicode()?.into_owned()))
        };
        let token = token
            .and_then(string)
            .ok_or_else(|| malformed("it has no token"))?;
        let token = AccessToken::parse(&token).map_err(|source| CredentialsError::Token {
            path: path.to_path_buf(),
            source,
        })?;
        if let Some(secret) = secret.filter(|secret| !secret.is_null()) {
            let secret = string(secret).and_then(|text| AccountSecret::from_base64(&text));
            let secret = secret.ok_or_else(|| malformed("its secret is not 32 bytes"))?;
            let keys = Keys::Legacy(secret);
            return Ok(Self { token, keys });
        }
        let [public, machine] = encryption
            .and_then(|raw| raw.pick(["publicKey", "machineKey"]))
            .ok_or_else(|| malformed("it has neither a secret nor keys"))?;
        let public = public.and_then(string);
        let machine = machine.and_then(string);
        let keys = Keys::DataKey {
            public: public
                .and_then(|text| PublicKey::from_base64(&text))
                .ok_or_else(|| malformed("its public key is not 32 bytes"))?,
            machine: machine
                .and_then(|text| DataKey::from_base64(&text))
                .ok_or_else(|| malformed("its machine key is not 32 bytes"))?,
        };
        Ok(Self { token, keys })
    }

    /// The content of `access.key`, as the others write it.
    fn to_json(&self) -> Zeroizing<String> {
        let encoded = |bytes: &[u8]| Zeroizing::new(base64::encode(bytes));
        let token = self.token.expose();
        Zeroizing::new(match &self.keys {
            Keys::Legacy(secret) => {
                let secret = encoded(secret.expose());
                [
                    "{\n  \"secret\": \"",
                    &secret,
                    "\",\n  \"token\": \"",
                    &escaped(token),
                    "\"\n}",
                ]
                .concat()
            }
            Keys::DataKey { public, machine } => {
                let (public, machine) = (encoded(public.as_bytes()), encoded(machine.expose()));
                [
                    "{\n  \"encryption\": {\n    \"publicKey\": \"",
                    &public,
                    "\",\n    \"machineKey\": \"",
                    &machine,
                    "\"\n  },\n  \"token\": \"",
                    &escaped(token),
                    "\"\n}",
                ]
                .concat()
            }
        })
    }
}

/// `token`, which is graphic ASCII, within quotes.
fn escaped(token: &str) -> Zeroizing<String> {
    Zeroizing::new(token.replace('\\', "\\\\").replace('"', "\\\""))
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
        dir.write_durable(ACCESS_KEY, credentials.to_json().as_bytes())
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

#[cfg(test)]
mod tests {
    use super::*;
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
    fn both_variants_are_read_as_others_wrote_them() {
        let legacy = parse(&format!(
            "{{\n  \"secret\": \"{}\",\n  \"token\": \"t.o.k\",\n \"more\": []}}\n",
            key(1)
        ))
        .unwrap();
        let Keys::Legacy(secret) = &legacy.keys else {
            panic!("it is the other variant");
        };
        assert_eq!(secret.expose(), &[1; 32]);
        assert_eq!(legacy.token.expose(), "t.o.k");
        let text = format!(
            r#"{{"encryption":{{"publicKey":"{}","machineKey":"{}"}},"token":"t"}}"#,
            key(2),
            key(3)
        );
        let Keys::DataKey { public, machine } = parse(&text).unwrap().keys else {
            panic!("it is the other variant");
        };
        assert_eq!((public.as_bytes(), machine.expose()), (&[2; 32], &[3; 32]));
        let both = text.replace("{\"enc", &format!("{{\"secret\":\"{}\",\"enc", key(4)));
        assert!(matches!(parse(&both).unwrap().keys, Keys::Legacy(_)));
        // The agent's has its members the other way round.
        let agent = format!(r#"{{"token":"t","secret":"{}"}}"#, key(5));
        assert_eq!(parse(&agent).unwrap().keys.variant(), "legacy");
    }

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
