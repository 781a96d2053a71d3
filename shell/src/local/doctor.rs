//! What is wrong with the files, sockets and settings that messaging depends on, and what to do
//! about it.
//!
//! Nothing here waits: no file is opened that could block, a socket is asked by a connect that
//! does not, and of every directory a bounded number of entries is looked at. Mended is only
//! what is ours and safe: permissions are taken away, and what is provably dead is swept.

mod capabilities;
mod config;
mod mend;
#[cfg(feature = "relay")]
mod relay;
mod sessions;
mod sockets;
mod system;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use crate::dir::{Dir, DirError, Flaw, Role};
use crate::home::Home;

/// How many entries of a directory are looked at.
const MAX_ENTRIES: usize = 10_000;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing; nothing has to be done.
    Note,
    /// Something is left over, or will fail one day.
    Warning,
    /// Something does not work, or is not safe.
    Error,
}

impl Severity {
    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One thing that was found. Its texts may quote other programs: untrusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// What was found.
    pub what: String,
    /// What shows it, or what follows from it.
    pub why: String,
    /// What to do.
    pub fix: String,
    /// The file, directory or socket that it is about.
    pub path: Option<PathBuf>,
    /// Whether it has been mended.
    pub fixed: bool,
}

impl Finding {
    /// Whether there is still something to be done.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.fixed && self.severity > Severity::Note
    }
}

/// Examines everything that hallway sees from `home`; with `fix`, mends what is safe to mend.
#[must_use]
pub fn examine(home: &Home, fix: bool) -> Vec<Finding> {
    let mut exam = Exam {
        home,
        fix,
        findings: Vec::new(),
        left_behind: Vec::new(),
    };
    let config = config::examine(&mut exam);
    // Before what is in them is judged: what has been mended is not told twice.
    sockets::examine(&mut exam);
    if let Some(config) = config {
        capabilities::examine(&mut exam, &config);
        sessions::examine(&mut exam, &config);
    }
    #[cfg(feature = "relay")]
    relay::examine(&mut exam);
    system::examine(&mut exam);
    if fix {
        exam.sweep();
    }
    exam.findings
}

/// An examination under way.
struct Exam<'a> {
    home: &'a Home,
    fix: bool,
    findings: Vec<Finding>,
    /// Which of the findings a sweep may mend.
    left_behind: Vec<usize>,
}

impl Exam<'_> {
    fn add(
        &mut self,
        severity: Severity,
        path: impl Into<Option<PathBuf>>,
        [what, why, fix]: [String; 3],
    ) {
        self.findings.push(Finding {
            severity,
            what,
            why,
            fix,
            path: path.into(),
            fixed: false,
        });
    }

    /// Adds a finding that has been mended, or can be.
    fn add_mended(&mut self, severity: Severity, path: PathBuf, texts: [String; 3], fixed: bool) {
        self.add(severity, path, texts);
        if let Some(finding) = self.findings.last_mut() {
            finding.fixed = fixed;
        }
    }

    /// Adds what a killed process left at `path`. What is young may be just being made: it is
    /// only noted, and no sweep takes it.
    fn add_left_behind(&mut self, old: bool, path: PathBuf, what: String, why: &str) {
        let texts = |why: &str, fix: &str| [what, why.to_owned(), fix.to_owned()];
        if old {
            self.left_behind.push(self.findings.len());
            let fix = "`hallway doctor --fix` removes it";
            self.add(Severity::Warning, path, texts(why, fix));
        } else {
            let why = &format!("{why}, less than a minute ago");
            let fix = "`hallway doctor --fix` removes it later";
            self.add(Severity::Note, path, texts(why, fix));
        }
    }

    /// Adds the file that a killed writer did not finish. One that is being written is none.
    fn temporary(&mut self, dir: &Dir, name: &str) {
        if let Ok(file) = dir.open_file(name, Role::OwnFile)
            && file.facts().is_abandoned()
            && file.writer_is_gone()
        {
            let path = dir.path().join(name);
            let what = format!("unfinished file: {}", path.display());
            self.add_left_behind(true, path, what, "its writer was killed");
        }
    }

    /// Says when a directory has more entries than were looked at.
    fn looked_at(&mut self, dir: &Dir, seen: usize) {
        if seen >= MAX_ENTRIES {
            let path = dir.path().to_owned();
            let what = format!("not all of it was looked at: {}", path.display());
            let why = format!("it has {MAX_ENTRIES} entries or more");
            let fix = "remove what nothing needs".to_owned();
            self.add(Severity::Note, path, [what, why, fix]);
        }
    }

    /// Removes what is provably dead and ours, and notes what is gone thereby.
    fn sweep(&mut self) {
        let config = self.home.config();
        if let Err(error) = super::capability::sweep(config) {
            tracing::debug!("not swept: {error}");
        }
        if let Err(error) = super::registry::sweep(config) {
            tracing::debug!("not swept: {error}");
        }
        let _count = super::socket_dir::sweep_bases(self.home.environment());
        for index in &self.left_behind {
            if let Some(finding) = self.findings.get_mut(*index) {
                finding.fixed = finding.path.as_deref().is_some_and(is_missing);
            }
        }
    }
}

/// Whether there provably is no entry at `path`.
fn is_missing(path: &Path) -> bool {
    let found = std::fs::symlink_metadata(path);
    found.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

/// Why an entry cannot be used, without its path and without advice.
fn reason(error: &DirError) -> String {
    match error {
        DirError::Untrusted { flaw, .. } => flaw_text(*flaw),
        DirError::TooManyLinks { .. } => "it passes too many symbolic links".to_owned(),
        DirError::BadName { .. } => "it is no usable path".to_owned(),
        DirError::TooLarge { size, limit, .. } => {
            format!("it has {size} bytes, readers take {limit}")
        }
        DirError::Changed { .. } => "it changed while it was read".to_owned(),
        DirError::Io { doing, source, .. } => format!("cannot {doing} it: {source}"),
    }
}

fn flaw_text(flaw: Flaw) -> String {
    match flaw {
        Flaw::Kind(kind) => format!("it is {}", kind.as_str()),
        Flaw::Owner(uid) => format!("it belongs to uid {uid}"),
        Flaw::Mode(mode) => format!("its mode is {mode:04o}"),
    }
}
