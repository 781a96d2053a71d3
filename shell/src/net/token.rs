//! Access tokens and where they come from. A token is asked for anew at each attempt, wiped
//! when it was used, and neither shown nor logged.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use subtle::ConstantTimeEq as _;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use tracing::warn;
use zeroize::Zeroizing;

use crate::group::Group;

/// The variable that a token may stand in.
pub(crate) const VARIABLE: &str = "HALLWAY_ACCESS_TOKEN";

/// How long a token's command may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// A bearer token.
///
/// Its memory is wiped on drop. `Debug` prints a placeholder; there is no `Display` and no
/// `PartialEq`, so that it is neither logged nor compared by accident.
pub struct AccessToken(Zeroizing<Box<str>>);

/// Why there is no token. Nothing of what was read is shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoToken {
    /// There is nothing but white space.
    #[error("the token is empty")]
    Empty,
    /// It is longer than [`AccessToken::MAX_BYTES`].
    #[error("the token is longer than 16384 bytes")]
    TooLong,
    /// It holds what no header may hold.
    #[error("the token holds white space or characters that are not ASCII")]
    NotATokenText,
    /// The file cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The command did not do its work.
    #[error("the token's command failed: {0}")]
    Command(String),
}

impl AccessToken {
    /// The longest token, in bytes.
    pub const MAX_BYTES: usize = 16_384;

    /// Reads a token; white space around it is passed over.
    ///
    /// # Errors
    ///
    /// [`NoToken`]
    pub fn parse(text: &str) -> Result<Self, NoToken> {
        let text = text.trim();
        if text.is_empty() {
            Err(NoToken::Empty)
        } else if text.len() > Self::MAX_BYTES {
            Err(NoToken::TooLong)
        } else if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Err(NoToken::NotATokenText)
        } else {
            Ok(Self(Zeroizing::new(text.into())))
        }
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, NoToken> {
        if bytes.len() > Self::MAX_BYTES + SLACK {
            return Err(NoToken::TooLong);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| NoToken::NotATokenText)?;
        Self::parse(text)
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// Whether they are the same. The time taken depends on the lengths alone.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Clone for AccessToken {
    fn clone(&self) -> Self {
        Self(Zeroizing::new((*self.0).clone()))
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessToken(redacted)")
    }
}

/// How much white space may stand around a token.
const SLACK: usize = 64;

/// A buffer that never grows, so that no copy stays behind unwiped.
fn buffer() -> Zeroizing<Vec<u8>> {
    Zeroizing::new(Vec::with_capacity(AccessToken::MAX_BYTES + SLACK + 1))
}

enum Kind {
    File { path: PathBuf, warned: AtomicBool },
    Command(String),
    Fixed(AccessToken),
}

/// Where tokens come from.
pub struct TokenSource(Kind);

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Kind::File { .. } => "TokenSource(file)",
            Kind::Command(_) => "TokenSource(command)",
            Kind::Fixed(_) => "TokenSource(fixed)",
        })
    }
}

impl TokenSource {
    /// A file, read anew at each attempt. It must be a regular one.
    #[must_use]
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self(Kind::File {
            path: path.into(),
            warned: AtomicBool::new(false),
        })
    }

    /// The standard output of a shell command, run anew at each attempt for at most 30 s.
    #[must_use]
    pub fn command(command: impl Into<String>) -> Self {
        Self(Kind::Command(command.into()))
    }

    /// Always the same token.
    #[must_use]
    pub const fn fixed(token: AccessToken) -> Self {
        Self(Kind::Fixed(token))
    }

    /// A token.
    ///
    /// # Errors
    ///
    /// [`NoToken`]
    pub async fn get(&self) -> Result<AccessToken, NoToken> {
        match &self.0 {
            Kind::Fixed(token) => Ok(token.clone()),
            Kind::Command(command) => run(command).await,
            Kind::File { path, warned } => {
                let file = path.clone();
                let read = tokio::task::spawn_blocking(move || read_file(&file)).await;
                let read = read.map_err(io::Error::other).and_then(|read| read);
                let (bytes, mode) = read.map_err(|source| NoToken::File {
                    path: path.clone(),
                    source,
                })?;
                if mode & 0o077 != 0 && !warned.swap(true, Ordering::Relaxed) {
                    warn!(path = %path.display(), "the token's file can be read by others; make it 0600");
                }
                AccessToken::from_bytes(&bytes)
            }
        }
    }
}

/// The bytes and the mode of a regular file. Nothing else is waited for.
fn read_file(path: &PathBuf) -> io::Result<(Zeroizing<Vec<u8>>, u32)> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let facts = file.metadata()?;
    if !facts.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut bytes = buffer();
    let most = u64::try_from(bytes.capacity()).unwrap_or(u64::MAX);
    file.take(most).read_to_end(&mut bytes)?;
    Ok((bytes, facts.mode()))
}

/// Runs a token's command.
async fn run(command: &str) -> Result<AccessToken, NoToken> {
    let failed = |why: &dyn fmt::Display| NoToken::Command(why.to_string());
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .env_remove(VARIABLE)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(&error))?;
    let mut stdout = child
        .stdout
        .take()
        .ok_or_else(|| failed(&"it has no output"))?;
    let group = Group::of(&child);
    let mut bytes = buffer();
    let work = async {
        while bytes.len() < bytes.capacity() {
            if stdout.read_buf(&mut *bytes).await? == 0 {
                return child.wait().await.map(Some);
            }
        }
        Ok::<_, io::Error>(None)
    };
    match tokio::time::timeout(COMMAND_TIMEOUT, work).await {
        Err(_) => Err(failed(&"it took longer than 30 s")),
        Ok(Err(error)) => Err(failed(&error)),
        Ok(Ok(None)) => Err(NoToken::TooLong),
        Ok(Ok(Some(status))) if !status.success() => Err(failed(&status)),
        Ok(Ok(Some(_))) => {
            group.let_live();
            AccessToken::from_bytes(&bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn text(source: &TokenSource) -> Result<String, NoToken> {
        source.get().await.map(|token| token.expose().to_owned())
    }

    #[test]
    fn a_token_is_one_word_of_ascii() {
        assert_eq!(
            AccessToken::parse(" a.b-c~1\n").unwrap().expose(),
            "a.b-c~1"
        );
        assert!(matches!(AccessToken::parse(" \n"), Err(NoToken::Empty)));
        for wrong in ["a b", "a\r\nX: y", "é", "a\u{7f}", "a\0"] {
            let error = AccessToken::parse(wrong).unwrap_err();
            assert!(matches!(error, NoToken::NotATokenText), "{wrong:?}");
            assert!(!error.to_string().contains(wrong));
        }
        let long = "x".repeat(AccessToken::MAX_BYTES);
        assert!(AccessToken::parse(&long).is_ok());
        assert!(matches!(
            AccessToken::parse(&(long + "x")),
            Err(NoToken::TooLong)
        ));
    }

    #[test]
    fn tokens_are_compared_and_never_shown() {
        let token = AccessToken::parse("secret").unwrap();
        assert!(token.is_same(&token.clone()));
        for other in ["secreT", "secre", "secrets"] {
            assert!(!token.is_same(&AccessToken::parse(other).unwrap()));
        }
        let source = TokenSource::fixed(token.clone());
        assert!(!format!("{token:?} {source:?}").contains("secret"));
    }

    #[tokio::test]
    async fn a_file_is_read_anew_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let source = TokenSource::file(&path);
        assert!(matches!(source.get().await, Err(NoToken::File { .. })));
        for expected in ["one", "two"] {
            std::fs::write(&path, format!("{expected}\n")).unwrap();
            assert_eq!(text(&source).await.unwrap(), expected);
        }
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(matches!(source.get().await, Err(NoToken::NotATokenText)));
        std::fs::write(&path, vec![b'x'; 1_000_000]).unwrap();
        assert!(matches!(source.get().await, Err(NoToken::TooLong)));
        let pipe = dir.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            Mode::RWXU,
            0,
        )
        .unwrap();
        for other in [
            dir.path(),
            pipe.as_path(),
            std::path::Path::new("/dev/zero"),
        ] {
            let got = TokenSource::file(other).get().await;
            assert!(
                matches!(got, Err(NoToken::File { .. })),
                "{}",
                other.display()
            );
        }
    }

    #[tokio::test]
    async fn a_command_runs_anew_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let count = dir.path().join("count").display().to_string();
        let source = TokenSource::command(format!("echo x >> {count}; wc -l < {count}"));
        assert_eq!(text(&source).await.unwrap(), "1");
        assert_eq!(text(&source).await.unwrap(), "2");
        for command in ["exit 3", "echo tok; exit 1", "kill -9 $$"] {
            let got = TokenSource::command(command).get().await;
            assert!(matches!(got, Err(NoToken::Command(_))), "{command}");
        }
        assert!(matches!(
            TokenSource::command("true").get().await,
            Err(NoToken::Empty)
        ));
        let endless = TokenSource::command("yes | tr -d '\\n'");
        assert!(matches!(endless.get().await, Err(NoToken::TooLong)));
    }
}
