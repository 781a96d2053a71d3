//! Which checks cover which sentences of the wire contracts.
//!
//! `requirements/` lists what binds, one table a dialect ([`requirements`]); a check names what
//! it covers in a comment above it ([`markers`]).

pub mod markers;
pub mod requirements;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io::{Error, Result};
use std::path::{Path, PathBuf};

use markers::Check;
use requirements::Dialect;

/// Where the sources with checks are, below the workspace.
const SOURCES: &[&str] = &["core", "shell", "tests", "proofs"];

/// The requirements and their checks.
#[derive(Clone, Debug)]
pub struct Trace {
    dialects: Vec<Dialect>,
    checks: BTreeMap<String, Vec<Check>>,
    faults: Vec<String>,
}

/// The workspace that this package was built in.
///
/// # Panics
///
/// When the package is outside of any.
#[must_use]
pub fn workspace() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().expect("the package is in a workspace")
}

/// The files below `dir` whose names end in `extension`, with their texts, in order; without
/// what was built or installed.
///
/// # Errors
///
/// When one cannot be read.
pub fn sources(dir: &Path, extension: &str) -> Result<Vec<(PathBuf, String)>> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default();
            if path.is_dir() {
                if name != "target" && name != "node_modules" {
                    dirs.push(path);
                }
            } else if path.extension().is_some_and(|found| found == extension) {
                let text = fs::read_to_string(&path)?;
                found.push((path, text));
            }
        }
    }
    found.sort();
    Ok(found)
}

impl Trace {
    /// Reads the requirements and the sources below `root`.
    ///
    /// # Errors
    ///
    /// When a file cannot be read.
    pub fn read(root: &Path) -> Result<Self> {
        let mut faults = Vec::new();
        let mut dialects = Vec::new();
        for (path, text) in sources(&root.join("proofs/requirements"), "md")? {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            dialects.push(requirements::parse(&name, &text, &mut faults));
        }
        if dialects.is_empty() {
            return Err(Error::other("there are no requirements"));
        }
        let mut checks = Vec::new();
        for extension in ["rs", "mjs"] {
            for source in SOURCES {
                for (path, text) in sources(&root.join(source), extension)? {
                    let file = path.strip_prefix(root).unwrap_or(&path);
                    let file = file.to_string_lossy();
                    checks.extend(markers::scan(&file, &text, &mut faults));
                }
            }
        }
        Ok(Self::new(dialects, checks, faults))
    }

    /// Brings requirements and checks together; `faults` are those found before.
    #[must_use]
    pub fn new(dialects: Vec<Dialect>, checks: Vec<Check>, mut faults: Vec<String>) -> Self {
        let mut known = BTreeSet::new();
        for requirement in dialects.iter().flat_map(|dialect| &dialect.requirements) {
            if !known.insert(&requirement.id) {
                faults.push(format!("{}: stands there twice", requirement.id));
            }
        }
        let mut by_id: BTreeMap<String, Vec<Check>> = BTreeMap::new();
        for check in checks {
            for id in &check.covers {
                if !known.contains(id) {
                    faults.push(format!("{check}: covers {id}, which there is not"));
                }
                by_id.entry(id.clone()).or_default().push(check.clone());
            }
        }
        let trace = Self {
            dialects,
            checks: by_id,
            faults,
        };
        let mut missing = Vec::new();
        for dialect in trace.dialects.iter().filter(|dialect| dialect.is_complete) {
            let bare = trace.without_check(dialect).into_iter();
            missing.extend(bare.map(|id| format!("{id}: has no check")));
        }
        let mut trace = trace;
        trace.faults.extend(missing);
        trace
    }

    /// What is wrong, if anything.
    #[must_use]
    pub fn faults(&self) -> &[String] {
        &self.faults
    }

    fn without_check<'a>(&self, dialect: &'a Dialect) -> Vec<&'a str> {
        let ids = dialect.requirements.iter();
        let ids = ids.map(|requirement| requirement.id.as_str());
        ids.filter(|id| !self.checks.contains_key(*id)).collect()
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for dialect in &self.dialects {
            let bare = self.without_check(dialect);
            let all = dialect.requirements.len();
            let state = if dialect.is_complete {
                "complete"
            } else {
                "open"
            };
            let covered = all.saturating_sub(bare.len());
            writeln!(
                f,
                "{} ({state}): {covered} of {all} requirements have a check",
                dialect.name
            )?;
            for requirement in &dialect.requirements {
                writeln!(f, "  {} {}", requirement.id, requirement.words)?;
                for check in self.checks.get(&requirement.id).into_iter().flatten() {
                    writeln!(f, "    {check}")?;
                }
            }
            if !bare.is_empty() {
                writeln!(f, "  without a check: {}", bare.join(", "))?;
            }
        }
        for fault in &self.faults {
            writeln!(f, "fault: {fault}")?;
        }
        Ok(())
    }
}
