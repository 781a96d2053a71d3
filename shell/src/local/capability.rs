//! Capability files: where a daemon's token waits for its clients (local.md §2, §5.11, §5.16).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hallway_core::Token;
use hallway_core::local::capability as text;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::socket_dir::provably_dead;
use crate::dir::{Dir, DirError, Placed, Role};

/// The directory of capability files in the config home.
pub(super) const DIRECTORY: &str = "messaging-capabilities";
/// How many entries a sweep looks at.
const MAX_SWEPT: usize = 1_000;

/// Why a capability was not published or not read. To a client each means "no token".
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CapabilityError {
    /// The directory or the file cannot be used.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// The file can be trusted, but it is no capability for this socket.
    #[error("capability file cannot be used: {path}; {source}; restart the peer that wrote it")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: text::CapabilityError,
    },
}

impl CapabilityError {
    /// Whether there is no such file: nobody has published the socket.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Dir(error) if error.is_not_found())
    }
}

/// A capability file of ours. On drop it is removed, unless another one has taken its place.
#[derive(Debug)]
#[must_use = "dropping it withdraws the capability"]
pub struct Published {
    _file: Placed,
}

/// Writes the token of the server at `socket_path`, whose exact text names the file, creating
/// what is missing with mode 0700.
///
/// # Errors
///
/// [`CapabilityError`]; an earlier file of that socket stands then.
pub fn publish(
    config_home: &Path,
    socket_path: &str,
    token: &Token,
) -> Result<Published, CapabilityError> {
    let home = Dir::create(config_home)?;
    let (dir, created) = home.create_child(DIRECTORY, Role::CapabilityDirectory)?;
    if let Some(created) = created {
        created.keep();
    }
    let content = text::print(socket_path, token);
    let file = dir.write_atomic(&file_name(socket_path), content.as_bytes())?;
    Ok(Published { _file: file })
}

/// The token of the server at `socket_path`: from a regular file that is private and ours, in
/// a directory that is.
///
/// # Errors
///
/// [`CapabilityError`].
pub fn read(config_home: &Path, socket_path: &str) -> Result<Token, CapabilityError> {
    let dir = directory(config_home)?;
    let name = file_name(socket_path);
    let content = dir.read_private(&name, text::MAX_BYTES)?;
    text::parse(&content, socket_path).map_err(|source| CapabilityError::Content {
        path: dir.path().join(&name),
        source,
    })
}

/// Removes capability files of ours at whose socket provably nobody listens, and what killed
/// writers left; at most 1,000 entries are looked at. Says how many were removed.
///
/// Never removed: what was written in the last minute, what a living daemon of ours has locked
/// (wherever it runs), what speaks of a path that cannot be judged.
///
/// # Errors
///
/// [`CapabilityError`] when the directory cannot be listed; what cannot be removed is left.
pub fn sweep(config_home: &Path) -> Result<usize, CapabilityError> {
    let dir = match directory(config_home) {
        Err(error) if error.is_not_found() => return Ok(0),
        found => found?,
    };
    let mut removed = dir.sweep_temporaries(MAX_SWEPT)?;
    for name in dir.names()?.take(MAX_SWEPT) {
        let name = name?;
        if is_file_name(&name) && sweep_one(&dir, &name).unwrap_or(false) {
            removed += 1;
        }
    }
    Ok(removed)
}

fn sweep_one(dir: &Dir, name: &str) -> Result<bool, DirError> {
    let file = dir.open_file(name, Role::PrivateFile)?;
    let facts = *file.facts();
    if !facts.is_abandoned() || !file.writer_is_gone() {
        return Ok(false);
    }
    // The handle keeps the lock until the file is gone.
    let content = file.read(text::MAX_BYTES)?;
    // What a power failure left empty speaks of no socket; no reader can use it.
    if content.is_empty() {
        return dir.remove_if(name, facts.identity);
    }
    let Some(path) = socket_path(&content).filter(|path| file_name(path) == name) else {
        return Ok(false);
    };
    match provably_dead(&path) {
        Some(_evidence) => dir.remove_if(name, facts.identity),
        None => Ok(false),
    }
}

fn directory(config_home: &Path) -> Result<Dir, DirError> {
    Dir::open(config_home)?.open_child(DIRECTORY, Role::CapabilityDirectory)
}

/// The socket that a capability file speaks of. The token is passed over, not copied.
pub(super) fn socket_path(content: &[u8]) -> Option<String> {
    let members: BTreeMap<&str, &RawValue> = serde_json::from_slice(content).ok()?;
    serde_json::from_str(members.get("socketPath")?.get()).ok()
}

/// The name of the capability file of the socket at exactly this path.
#[must_use]
pub fn file_name(socket_path: &str) -> String {
    let mut name = String::with_capacity(69);
    for byte in Sha256::digest(socket_path.as_bytes()) {
        name.push_str(&format!("{byte:02x}"));
    }
    name.push_str(".json");
    name
}

pub(super) fn is_file_name(name: &str) -> bool {
    let hex = |text: &str| {
        text.bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    name.strip_suffix(".json")
        .is_some_and(|text| text.len() == 64 && hex(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dir::testing::{age, chmod, give_away, home, mkdir, names};
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, symlink};
    use std::os::unix::net::UnixListener;

    fn token() -> Token {
        Token::from_entropy(&[7; 32])
    }

    fn path_of(home: &tempfile::TempDir, socket: &str) -> PathBuf {
        home.path().join(DIRECTORY).join(file_name(socket))
    }

    /// A private directory for sockets, and the path of one in it.
    fn socket(home: &tempfile::TempDir, name: &str) -> String {
        let dir = home.path().join("socks");
        mkdir(&dir);
        chmod(&dir, 0o700);
        dir.join(name).to_str().unwrap().to_owned()
    }

    /// Publishes and leaves the file, old enough to be swept, as a killed daemon does.
    fn leave(home: &tempfile::TempDir, socket: &str) {
        publish(home.path(), socket, &token()).unwrap()._file.keep();
        age(&path_of(home, socket), 61);
    }

    /// Covers: L2.5, L2.8
    #[test]
    fn the_file_is_named_by_the_hash_of_the_exact_path() {
        let name = file_name("/tmp/a.sock");
        let hash = "7a411c15c4b7d1b85222ab16b7b3ad3e46225e22efb7e2967d4615c8d27939c8";
        assert_eq!(name, format!("{hash}.json"));
        assert!(is_file_name(&name));
        assert_ne!(name, file_name("/tmp//a.sock"));
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855.json";
        assert_eq!(file_name(""), empty);
        for other in [
            "x.json",
            &name.to_uppercase(),
            &name[1..],
            &format!("0{name}"),
        ] {
            assert!(!is_file_name(other), "{other}");
        }
    }

    /// Covers: L2.6, L2.7, L2.9
    #[test]
    fn a_token_is_published_private_read_back_and_withdrawn() {
        let (home, _) = home();
        let config = home.path().join("config");
        let published = publish(&config, "/s", &token()).unwrap();
        let file = config.join(DIRECTORY).join(file_name("/s"));
        for (path, mode) in [(config.join(DIRECTORY), 0o700), (file.clone(), 0o600)] {
            assert_eq!(
                fs::metadata(&path).unwrap().mode() & 0o7777,
                mode,
                "{path:?}"
            );
        }
        let content = format!(r#"{{"socketPath":"/s","authToken":"{}"}}"#, "07".repeat(32));
        assert_eq!(fs::read_to_string(&file).unwrap(), content);
        assert!(read(&config, "/s").unwrap().verify(token().expose()));
        assert!(read(&config, "//s").unwrap_err().is_not_found());
        drop(published);
        assert!(read(&config, "/s").unwrap_err().is_not_found());
        assert!(
            read(&home.path().join("none"), "/s")
                .unwrap_err()
                .is_not_found()
        );
    }

    /// Covers: L5.6c
    #[test]
    fn a_file_that_has_been_replaced_is_not_withdrawn() {
        let (home, _) = home();
        let first = publish(home.path(), "/s", &token()).unwrap();
        let second = publish(home.path(), "/s", &Token::from_entropy(&[8; 32])).unwrap();
        drop(first);
        assert!(read(home.path(), "/s").unwrap().verify(&"08".repeat(32)));
        drop(second);
        assert!(!path_of(&home, "/s").exists());
    }

    /// Covers: L2.10, L2.13, L5.16
    #[test]
    fn only_a_private_regular_file_of_ours_is_believed() {
        let (home, _) = home();
        publish(home.path(), "/s", &token()).unwrap()._file.keep();
        let (file, dir) = (path_of(&home, "/s"), home.path().join(DIRECTORY));
        let refused = |words: &str| {
            let error = read(home.path(), "/s").unwrap_err().to_string();
            assert!(error.starts_with(words), "{error}");
            assert!(!error.contains(&"07".repeat(32)), "{error}");
        };
        chmod(&file, 0o640);
        refused("file permissions are too broad");
        chmod(&file, 0o600);
        chmod(&dir, 0o750);
        refused("capability directory permissions are too broad: ");
        assert!(publish(home.path(), "/t", &token()).is_err());
        chmod(&dir, 0o700);
        fs::rename(&file, dir.join("real")).unwrap();
        symlink("real", &file).unwrap();
        refused("file is not a regular file");
        fs::rename(dir.join("real"), &file).unwrap();
        fs::write(&file, r#"{"socketPath":"/t","authToken":"secret"}"#).unwrap();
        refused("capability file cannot be used");
        fs::write(&file, " ".repeat(text::MAX_BYTES + 1)).unwrap();
        refused("file is too large");
        if give_away(&file) {
            refused("file owner does not match current user");
            give_away(&dir);
            refused("capability directory owner does not match current user: ");
        }
        fs::rename(&dir, home.path().join("moved")).unwrap();
        symlink("moved", &dir).unwrap();
        refused("capability directory is not a private directory: ");
    }

    /// Covers: L5.11
    #[test]
    fn files_of_the_dead_are_swept() {
        let (home, _) = home();
        let (dead, absent) = (socket(&home, "dead"), socket(&home, "absent"));
        drop(UnixListener::bind(&dead).unwrap());
        let missing = socket(&home, "no/such/dir");
        for socket in [&dead, &absent, &missing] {
            leave(&home, socket);
        }
        let (dir, name) = (home.path().join(DIRECTORY), "0".repeat(64) + ".json");
        fs::write(dir.join(&name), "").unwrap();
        chmod(&dir.join(&name), 0o600);
        age(&dir.join(&name), 61);
        fs::write(dir.join(".hallway-1-0.tmp"), "").unwrap();
        age(&dir.join(".hallway-1-0.tmp"), 61);
        assert_eq!(sweep(home.path()).unwrap(), 5);
        assert_eq!(fs::read_dir(dir).unwrap().count(), 0);
        assert!(Path::new(&dead).exists(), "the socket is not the sweep's");
    }

    #[test]
    fn a_sweep_does_not_touch_the_directory_of_the_dead() {
        let (home, _) = home();
        let dead = socket(&home, "dead");
        drop(UnixListener::bind(&dead).unwrap());
        fs::write(format!("{dead}.lock"), "").unwrap();
        leave(&home, &dead);
        let socks = home.path().join("socks");
        age(&socks, 3_600);
        let before = fs::metadata(&socks).unwrap().modified().unwrap();
        assert_eq!(sweep(home.path()).unwrap(), 1);
        assert_eq!(fs::metadata(&socks).unwrap().modified().unwrap(), before);
        assert_eq!(fs::read_dir(&socks).unwrap().count(), 2);
    }

    /// Covers: L5.11
    #[test]
    fn files_of_the_living_and_of_the_unclear_stay() {
        let (home, config) = home();
        // A listener without a lock, as of another program; a full queue; a lock without a
        // listener, as of a daemon that starts.
        let (live, starting) = (socket(&home, "live"), socket(&home, "starting"));
        let _listener = UnixListener::bind(&live).unwrap();
        let socks = Dir::open(&home.path().join("socks")).unwrap();
        let _lock = socks.lock("starting.lock").unwrap().unwrap();
        let file = socket(&home, "file");
        fs::write(&file, "").unwrap();
        symlink("nowhere", home.path().join("socks/dangling")).unwrap();
        let dangling = socket(&home, "dangling/deep/s");
        let relative = "relative/s".to_owned();
        mkdir(home.path().join("open"));
        chmod(&home.path().join("open"), 0o755);
        let open = home.path().join("open/s").to_str().unwrap().to_owned();
        let stay = [live, starting, file, dangling, relative, open];
        for socket in &stay {
            leave(&home, socket);
        }
        let young = socket(&home, "young");
        leave(&home, &young);
        age(&path_of(&home, &young), 30);
        // A daemon in another namespace holds its file's lock, whatever is seen of its socket.
        let elsewhere = publish(home.path(), &socket(&home, "elsewhere"), &token()).unwrap();
        age(&path_of(&home, &socket(&home, "elsewhere")), 61);
        let broad = socket(&home, "broad");
        leave(&home, &broad);
        chmod(&path_of(&home, &broad), 0o644);
        // Not named by what it says.
        let misnamed = path_of(&home, "/misnamed");
        fs::copy(path_of(&home, &young), &misnamed).unwrap();
        age(&misnamed, 61);

        let dir = config
            .open_child(DIRECTORY, Role::CapabilityDirectory)
            .unwrap();
        let before = names(&dir);
        assert_eq!(before.len(), stay.len() + 4);
        assert_eq!(sweep(home.path()).unwrap(), 0);
        assert_eq!(names(&dir), before);
        drop(elsewhere);
    }

    #[test]
    fn a_directory_missing_in_one_of_others_proves_nothing() {
        let (home, _) = home();
        if crate::dir::own_uid() == 0 {
            eprintln!("skipped: to root, nothing above belongs to another trusted user");
            return;
        }
        leave(&home, "/hallway-test-no-such-directory/s");
        assert_eq!(sweep(home.path()).unwrap(), 0);
    }

    #[test]
    fn no_directory_is_a_swept_one() {
        let (home, _) = home();
        assert_eq!(sweep(home.path()).unwrap(), 0);
    }
}
