//! A temporary config home, removed at the end of the test.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::process::{Finished, Served};

/// A private directory below `/tmp` with a config home and a temporary directory in it, and the
/// program under test.
#[derive(Debug)]
pub struct Home {
    root: TempDir,
    program: &'static str,
}

impl Home {
    /// A new home for the program at the path `program`: `env!("CARGO_BIN_EXE_hallway")`.
    ///
    /// # Panics
    ///
    /// When the directory cannot be made.
    #[must_use]
    pub fn new(program: &'static str) -> Self {
        // Short, because socket paths are.
        let root = tempfile::Builder::new()
            .prefix("hw-")
            .tempdir_in("/tmp")
            .expect("a temporary home");
        for dir in [
            root.path().to_path_buf(),
            root.path().join("c"),
            root.path().join("t"),
        ] {
            std::fs::create_dir_all(&dir).expect("a directory");
            std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o700)).expect("its mode");
        }
        Self { root, program }
    }

    /// The private directory of all.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// The config home.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.root().join("c")
    }

    /// A path for a socket.
    #[must_use]
    pub fn socket(&self, name: &str) -> String {
        self.root().join(name).display().to_string()
    }

    /// `hallway` with `arguments`, in this home and with nothing of the user's environment.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.program);
        command.args(arguments);
        command.env_clear();
        command
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", self.root())
            .env("CLAUDE_CONFIG_DIR", self.config())
            .env("TMPDIR", self.root().join("t"))
            .stdin(Stdio::null());
        command
    }

    /// Runs `hallway` with `arguments` to its end.
    #[must_use]
    pub fn run(&self, arguments: &[&str]) -> Finished {
        Finished::of(self.command(arguments), b"")
    }

    /// Runs `hallway` with `arguments` to its end, with `input` on its standard input.
    #[must_use]
    pub fn run_with_input(&self, arguments: &[&str], input: &[u8]) -> Finished {
        Finished::of(self.command(arguments), input)
    }

    /// Starts `hallway serve --json` with more `arguments` and waits until it listens.
    #[must_use]
    pub fn serve(&self, arguments: &[&str]) -> Served {
        let mut command = self.command(&["serve", "--json"]);
        command.args(arguments);
        Served::start(command, &self.config())
    }

    /// The path of the capability file of the socket `path`.
    #[must_use]
    pub fn capability(&self, path: &str) -> PathBuf {
        crate::wire::capability_path(&self.config(), path)
    }
}
