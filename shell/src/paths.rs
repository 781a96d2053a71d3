//! Where things are: the config home, the temporary directory and the socket's path.
//!
//! Nothing here touches the file system. What the process was told is captured once, in an
//! [`Environment`]; everything below computes with it.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use unicode_normalization::UnicodeNormalization;

/// The longest socket path, in bytes: what `sun_path` holds with a terminating NUL. Linux would
/// take one byte more, but a client that terminates its path could not reach it.
pub const MAX_SOCKET_PATH_BYTES: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// What a socket's name is followed by to name the owner channel's socket beside it.
const OWNER_SUFFIX: &str = ".owner";

/// The directory of default sockets below the temporary directory (local.md §2).
const BASE_NAME: &str = "claude-code-socks";

/// What the process was told by whoever started it.
#[derive(Clone, Debug)]
pub struct Environment {
    /// `CLAUDE_CONFIG_DIR`.
    pub config_dir: Option<OsString>,
    /// `HOME`.
    pub home: Option<OsString>,
    /// `TMPDIR`.
    pub tmpdir: Option<OsString>,
    /// `TMP`.
    pub tmp: Option<OsString>,
    /// `TEMP`.
    pub temp: Option<OsString>,
    /// `XDG_RUNTIME_DIR`.
    pub xdg_runtime_dir: Option<OsString>,
    /// `HAPPY_HOME_DIR`.
    pub happy_home_dir: Option<OsString>,
    /// `HAPPY_SERVER_URL`.
    pub happy_server_url: Option<OsString>,
    /// `CLAUDE_CODE_MESSAGING_SOCKET`: the socket of the session that this process runs in.
    pub messaging_socket: Option<OsString>,
    /// The working directory, if it still exists.
    pub current_dir: Option<PathBuf>,
    /// The effective user, whose name shared directories carry.
    pub uid: u32,
}

/// Why a path cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// Other programs read it as text.
    #[error("{what} is not UTF-8: {path:?}; every session has to spell it alike; choose another")]
    NotUtf8 {
        /// What it is the path of.
        what: &'static str,
        /// The path.
        path: PathBuf,
    },
    /// Neither a flag nor the environment says where the config home is.
    #[error("no config home; neither CLAUDE_CONFIG_DIR nor HOME is set; use --config-dir")]
    NoConfigHome,
    /// The environment does not say where the relay's clients have their files.
    #[error("no home; neither HAPPY_HOME_DIR nor HOME is set; set one of them")]
    NoHappyHome,
    /// A relative path, and no working directory to complete it.
    #[error(
        "relative path cannot be completed: {path}; the working directory is gone; give an absolute path"
    )]
    NoCurrentDir {
        /// The relative path.
        path: PathBuf,
    },
    /// The platform cannot bind or reach it.
    #[error(
        "socket path is too long: {path}; it has {length} bytes, the limit is {limit}; choose a shorter one with --socket"
    )]
    TooLong {
        /// The absolute path.
        path: String,
        /// Its length in bytes.
        length: usize,
        /// [`MAX_SOCKET_PATH_BYTES`].
        limit: usize,
    },
    /// It does not end in a file name, or contains a NUL.
    #[error(
        "socket path names no file: {path:?}; it ends in a slash or a dot or holds a NUL; choose another"
    )]
    NoName {
        /// The absolute path.
        path: String,
    },
}

impl Environment {
    /// What this process was told; the only place that asks.
    #[must_use]
    pub fn from_process() -> Self {
        Self {
            config_dir: std::env::var_os("CLAUDE_CONFIG_DIR"),
            home: std::env::var_os("HOME"),
            tmpdir: std::env::var_os("TMPDIR"),
            tmp: std::env::var_os("TMP"),
            temp: std::env::var_os("TEMP"),
            xdg_runtime_dir: std::env::var_os("XDG_RUNTIME_DIR"),
            happy_home_dir: std::env::var_os("HAPPY_HOME_DIR"),
            happy_server_url: std::env::var_os("HAPPY_SERVER_URL"),
            messaging_socket: std::env::var_os("CLAUDE_CODE_MESSAGING_SOCKET"),
            current_dir: std::env::current_dir().ok(),
            uid: rustix::process::geteuid().as_raw(),
        }
    }

    /// A process of user `uid` that was told nothing and works in `/`.
    #[must_use]
    pub fn bare(uid: u32) -> Self {
        Self {
            config_dir: None,
            home: None,
            tmpdir: None,
            tmp: None,
            temp: None,
            xdg_runtime_dir: None,
            happy_home_dir: None,
            happy_server_url: None,
            messaging_socket: None,
            current_dir: Some(PathBuf::from("/")),
            uid,
        }
    }

    /// The config home: `flag`, else `CLAUDE_CONFIG_DIR`, else `$HOME/.claude`; in Unicode
    /// normalisation form C and absolute (local.md §2). An empty variable counts as unset.
    ///
    /// # Errors
    ///
    /// [`PathError::NoConfigHome`], [`PathError::NotUtf8`] or [`PathError::NoCurrentDir`].
    pub fn config_home(&self, flag: Option<&Path>) -> Result<PathBuf, PathError> {
        let given = match (flag, set(&self.config_dir), set(&self.home)) {
            (Some(flag), _, _) => flag.to_path_buf(),
            (None, Some(dir), _) => PathBuf::from(dir),
            (None, None, Some(home)) => Path::new(home).join(".claude"),
            (None, None, None) => return Err(PathError::NoConfigHome),
        };
        // The working directory is not normalised: it is spelled as the disk has it.
        let normal: String = utf8("config home", &given)?.nfc().collect();
        self.absolute(Path::new(&normal))
    }

    /// The directory of the relay's clients: `HAPPY_HOME_DIR`, of which a leading `~` is the
    /// home, else `$HOME/.happy`; absolute (relay.md §4).
    ///
    /// # Errors
    ///
    /// [`PathError::NoHappyHome`] or [`PathError::NoCurrentDir`].
    pub fn happy_home(&self) -> Result<PathBuf, PathError> {
        let home = || set(&self.home).ok_or(PathError::NoHappyHome);
        let Some(given) = set(&self.happy_home_dir) else {
            return self.absolute(&Path::new(home()?).join(".happy"));
        };
        let given = Path::new(given);
        match given.strip_prefix("~") {
            Ok(below) => self.absolute(&Path::new(home()?).join(below)),
            Err(_) => self.absolute(given),
        }
    }

    /// The temporary directory: `TMPDIR`, `TMP`, `TEMP`, else `/tmp`, without trailing slashes
    /// and absolute (local.md §2).
    ///
    /// # Errors
    ///
    /// [`PathError::NotUtf8`] or [`PathError::NoCurrentDir`].
    pub fn tmp_dir(&self) -> Result<String, PathError> {
        let given = [&self.tmpdir, &self.tmp, &self.temp];
        let given = given
            .into_iter()
            .find_map(set)
            .unwrap_or(OsStr::new("/tmp"));
        let absolute = self.absolute(Path::new(given))?;
        let text = utf8("temporary directory", &absolute)?;
        let trimmed = text.trim_end_matches('/');
        Ok(if trimmed.is_empty() { "/" } else { trimmed }.to_owned())
    }

    /// Where a default socket may be, best first (local.md §2 and §5.8): the shared directory
    /// that every program of the dialect uses, and private ones for when that belongs to
    /// another user, is too broad, or makes the path too long.
    ///
    /// # Errors
    ///
    /// As [`Environment::tmp_dir`].
    pub fn socket_bases(&self) -> Result<Vec<String>, PathError> {
        let below = |dir: &str| format!("{}/{BASE_NAME}", dir.trim_end_matches('/'));
        let tmp = self.tmp_dir()?;
        let mut bases = vec![below(&tmp)];
        // A relative XDG_RUNTIME_DIR is to be ignored, by the specification that defines it.
        let runtime = set(&self.xdg_runtime_dir).and_then(OsStr::to_str);
        bases.extend(runtime.filter(|dir| dir.starts_with('/')).map(below));
        bases.push(format!("{}-{}", below(&tmp), self.uid));
        // The temporary directory of macOS alone is too long for a path with a nonce.
        let last = format!("{}-{}", below("/tmp"), self.uid);
        if !bases.contains(&last) {
            bases.push(last);
        }
        Ok(bases)
    }

    /// The path of the socket that the user asked for: absolute, otherwise spelled as given,
    /// since its exact text is what other programs hash and connect to (local.md §2, §5.10).
    ///
    /// # Errors
    ///
    /// As [`check_socket_path`], [`PathError::NotUtf8`] or [`PathError::NoCurrentDir`].
    pub fn socket_path(&self, given: &Path) -> Result<String, PathError> {
        let absolute = self.absolute(given)?;
        let path = utf8("socket path", &absolute)?;
        check_socket_path(path)?;
        Ok(path.to_owned())
    }

    fn absolute(&self, path: &Path) -> Result<PathBuf, PathError> {
        if path.is_absolute() {
            return Ok(path.to_path_buf());
        }
        let dir = self.current_dir.as_ref();
        dir.map(|dir| dir.join(path))
            .ok_or_else(|| PathError::NoCurrentDir {
                path: path.to_path_buf(),
            })
    }
}

/// Refuses a socket path that cannot be bound or reached by everyone (local.md §5.9). To be
/// asked before anything is touched.
///
/// # Errors
///
/// [`PathError::TooLong`] or [`PathError::NoName`].
pub fn check_socket_path(path: &str) -> Result<(), PathError> {
    if path.len() > MAX_SOCKET_PATH_BYTES {
        return Err(PathError::TooLong {
            path: path.to_owned(),
            length: path.len(),
            limit: MAX_SOCKET_PATH_BYTES,
        });
    }
    split_socket_path(path).map(|_| ())
}

/// The parent directory and the file name of the absolute `path`.
///
/// # Errors
///
/// [`PathError::NoName`] when it is not absolute, does not end in a file name or holds a NUL.
pub fn split_socket_path(path: &str) -> Result<(&str, &str), PathError> {
    let split = path
        .starts_with('/')
        .then(|| path.rsplit_once('/'))
        .flatten();
    match split {
        Some((parent, name)) if !matches!(name, "" | "." | "..") && !path.contains('\0') => {
            Ok((if parent.is_empty() { "/" } else { parent }, name))
        }
        Some(_) | None => Err(PathError::NoName {
            path: path.to_owned(),
        }),
    }
}

/// The path of the owner channel's socket, beside the socket at `path`.
///
/// # Errors
///
/// As [`check_socket_path`]: the longer name may not fit.
pub fn owner_path(path: &str) -> Result<String, PathError> {
    let owner = format!("{path}{OWNER_SUFFIX}");
    check_socket_path(&owner)?;
    Ok(owner)
}

/// The variable's value, unless it is unset or empty.
fn set(variable: &Option<OsString>) -> Option<&OsStr> {
    variable.as_deref().filter(|value| !value.is_empty())
}

fn utf8<'a>(what: &'static str, path: &'a Path) -> Result<&'a str, PathError> {
    path.to_str().ok_or_else(|| PathError::NotUtf8 {
        what,
        path: path.to_path_buf(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    fn env(change: impl FnOnce(&mut Environment)) -> Environment {
        let mut env = Environment::bare(1_000);
        env.current_dir = Some(PathBuf::from("/work dir"));
        change(&mut env);
        env
    }

    fn os(text: &str) -> Option<OsString> {
        Some(OsString::from(text))
    }

    /// Covers: L2.1
    #[test]
    fn config_home_prefers_the_flag_then_the_variable_then_home() {
        let told = env(|e| (e.config_dir, e.home) = (os("/c"), os("/home/a")));
        let flag = Path::new("/flag");
        assert_eq!(told.config_home(Some(flag)).unwrap(), flag);
        assert_eq!(told.config_home(None).unwrap(), Path::new("/c"));
        let empty = env(|e| (e.config_dir, e.home) = (os(""), os("/home/a")));
        assert_eq!(
            empty.config_home(None).unwrap(),
            Path::new("/home/a/.claude")
        );
        for home in [None, os("")] {
            let nothing = env(|e| e.home = home);
            let refused = nothing.config_home(None).unwrap_err();
            assert!(matches!(refused, PathError::NoConfigHome), "{refused}");
        }
    }

    /// Covers: L2.2
    #[test]
    fn config_home_is_composed_and_absolute_but_the_working_directory_is_left_as_it_is() {
        let decomposed = "cafe\u{301}";
        let told = env(|e| {
            e.config_dir = os(decomposed);
            e.current_dir = Some(PathBuf::from("/e\u{301}"));
        });
        assert_eq!(
            told.config_home(None).unwrap(),
            Path::new("/e\u{301}/caf\u{e9}")
        );
        let home = env(|e| e.home = os("/e\u{301}"));
        assert_eq!(
            home.config_home(None).unwrap(),
            Path::new("/\u{e9}/.claude")
        );
        let lost = env(|e| (e.config_dir, e.current_dir) = (os("rel"), None));
        let refused = lost.config_home(None).unwrap_err();
        assert!(
            matches!(refused, PathError::NoCurrentDir { .. }),
            "{refused}"
        );
    }

    /// Covers: R4.11
    #[test]
    fn the_happy_home_is_told_or_below_home() {
        let happy = |dir, home| env(|e| (e.happy_home_dir, e.home) = (dir, home)).happy_home();
        for (dir, home, expected) in [
            (None, os("/h"), "/h/.happy"),
            (os(""), os("/h"), "/h/.happy"),
            (os("/x"), None, "/x"),
            (os("~"), os("/h"), "/h"),
            (os("~/a/b"), os("/h"), "/h/a/b"),
            (os("~a"), os("/h"), "/work dir/~a"),
        ] {
            assert_eq!(happy(dir, home).unwrap(), Path::new(expected));
        }
        for dir in [None, os("~/x")] {
            let refused = happy(dir, None).unwrap_err();
            assert!(matches!(refused, PathError::NoHappyHome), "{refused}");
        }
    }

    #[test]
    fn what_is_not_utf8_is_refused() {
        let bad = OsString::from_vec(b"/\xff".to_vec());
        let told = env(|e| (e.config_dir, e.tmpdir) = (Some(bad.clone()), Some(bad.clone())));
        let socket = PathBuf::from(bad);
        for refused in [
            told.config_home(None).unwrap_err(),
            told.tmp_dir().unwrap_err(),
            told.socket_bases().unwrap_err(),
            told.socket_path(&socket).unwrap_err(),
        ] {
            assert!(matches!(refused, PathError::NotUtf8 { .. }), "{refused}");
        }
    }

    /// Covers: L2.4
    #[test]
    fn tmp_dir_takes_the_first_variable_that_is_not_empty() {
        let tmp = |tmpdir, tmp, temp| {
            env(|e| (e.tmpdir, e.tmp, e.temp) = (tmpdir, tmp, temp))
                .tmp_dir()
                .unwrap()
        };
        assert_eq!(tmp(None, None, None), "/tmp");
        assert_eq!(tmp(os("/a/"), os("/b"), os("/c")), "/a");
        assert_eq!(tmp(os(""), os("/b//"), os("/c")), "/b");
        assert_eq!(tmp(os(""), os(""), os("c")), "/work dir/c");
        assert_eq!(tmp(os("/"), None, None), "/");
    }

    /// Covers: L5.8a
    #[test]
    fn bases_start_with_the_shared_one_and_end_with_one_of_our_own() {
        let plain = env(|_| ()).socket_bases().unwrap();
        assert_eq!(
            plain,
            ["/tmp/claude-code-socks", "/tmp/claude-code-socks-1000"]
        );
        let told = env(|e| (e.tmpdir, e.xdg_runtime_dir) = (os("/t"), os("/run/user/1000")));
        assert_eq!(
            told.socket_bases().unwrap(),
            [
                "/t/claude-code-socks",
                "/run/user/1000/claude-code-socks",
                "/t/claude-code-socks-1000",
                "/tmp/claude-code-socks-1000",
            ]
        );
        let relative = env(|e| (e.tmpdir, e.xdg_runtime_dir) = (os("/"), os("run")));
        assert_eq!(
            relative.socket_bases().unwrap(),
            [
                "/claude-code-socks",
                "/claude-code-socks-1000",
                "/tmp/claude-code-socks-1000"
            ]
        );
    }

    /// Covers: L2.8, L5.10
    #[test]
    fn socket_paths_are_made_absolute_and_nothing_else() {
        let told = env(|_| ());
        for (given, expected) in [
            ("/a/s", "/a/s"),
            ("/a//b/../s", "/a//b/../s"),
            ("s", "/work dir/s"),
            ("./s", "/work dir/./s"),
            ("../e\u{301}", "/work dir/../e\u{301}"),
            ("/s", "/s"),
        ] {
            assert_eq!(told.socket_path(Path::new(given)).unwrap(), expected);
        }
        for given in ["", "/", "a/", "/a/.", "..", "/a/..", "/a\0b", "/a\0/b"] {
            let refused = told.socket_path(Path::new(given)).unwrap_err();
            assert!(
                matches!(refused, PathError::NoName { .. }),
                "{given:?}: {refused}"
            );
        }
    }

    /// Covers: L5.9
    #[test]
    fn the_limit_counts_bytes_and_the_error_says_both_numbers() {
        let of = |length: usize| format!("/{}", "é".repeat(length / 2));
        let limit = MAX_SOCKET_PATH_BYTES;
        assert_eq!(of(limit - 1).len(), limit);
        check_socket_path(&of(limit - 1)).unwrap();
        let text = check_socket_path(&of(limit + 1)).unwrap_err().to_string();
        assert!(
            text.contains(&format!("it has {} bytes, the limit is {limit}", limit + 2)),
            "{text}"
        );
        let told = env(|_| ());
        let relative = "s".repeat(limit - "/work dir/".len());
        told.socket_path(Path::new(&relative)).unwrap();
        let longer = told
            .socket_path(Path::new(&format!("{relative}s")))
            .unwrap_err();
        assert!(matches!(longer, PathError::TooLong { .. }), "{longer}");
    }

    #[test]
    fn the_owner_path_is_beside_and_has_the_same_limit() {
        assert_eq!(owner_path("/a/m.sock").unwrap(), "/a/m.sock.owner");
        let longest = format!("/{}", "s".repeat(MAX_SOCKET_PATH_BYTES - 7));
        assert_eq!(owner_path(&longest).unwrap().len(), MAX_SOCKET_PATH_BYTES);
        let refused = owner_path(&format!("{longest}s")).unwrap_err();
        assert!(matches!(refused, PathError::TooLong { .. }), "{refused}");
    }

    #[test]
    fn splits_at_the_last_slash_only() {
        assert_eq!(split_socket_path("/s").unwrap(), ("/", "s"));
        assert_eq!(split_socket_path("/a/./s").unwrap(), ("/a/.", "s"));
        assert!(split_socket_path("a/s").is_err());
    }
}
