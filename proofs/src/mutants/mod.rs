//! Breaks the production sources, one line at a time, in a copy, and sees that the proofs
//! notice.

mod table;

use std::fs;
use std::io::{Error, Result};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Which proofs are to notice a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Killer {
    /// A model at its small size.
    Small(&'static str),
    /// A model at its quick size.
    Quick(&'static str),
    /// The exhaustive proofs.
    Exhaustive,
    /// The mailbox and the gate under loom.
    Loom,
}

/// One deliberate break of a production source.
#[derive(Clone, Copy, Debug)]
struct Mutant {
    /// What it breaks, in words.
    name: &'static str,
    /// The source, below `core/src`.
    file: &'static str,
    /// A text that stands there once.
    from: &'static str,
    /// What takes its place.
    to: &'static str,
    killer: Killer,
}

/// How many seconds the proofs may take to notice: a mutant may make a state space endless.
const PATIENCE_SECONDS: &str = "300";
/// How many seconds a build may take.
const BUILD_SECONDS: &str = "1800";
/// How `timeout` ends when it ended its command.
const TIMED_OUT: Option<i32> = Some(124);

/// What the proofs did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Passed,
    Failed,
    /// They had not ended in time.
    Hung,
}

/// The names of all mutants.
#[must_use]
pub fn names() -> Vec<&'static str> {
    table::MUTANTS.iter().map(|mutant| mutant.name).collect()
}

/// Runs every mutant whose name or file contains `word`; returns how many were not noticed.
///
/// # Errors
///
/// When the sources cannot be copied or built.
pub fn run(word: &str) -> Result<usize> {
    let copy = Copy::new()?;
    let chosen = |mutant: &&Mutant| mutant.name.contains(word) || mutant.file.contains(word);
    let mut sound: Vec<Killer> = Vec::new();
    let mut survivors = 0;
    for mutant in table::MUTANTS.iter().filter(chosen) {
        if !sound.contains(&mutant.killer) {
            let verdict = copy.prove(mutant)?;
            if verdict != Verdict::Passed {
                let killer = mutant.killer;
                let what = format!("{killer:?} on the sources as they are: {verdict:?}");
                return Err(Error::other(what));
            }
            sound.push(mutant.killer);
        }
        let verdict = copy.judge(mutant)?;
        let said = match verdict {
            Verdict::Failed => "caught",
            Verdict::Hung => "caught, as its proofs do not end",
            Verdict::Passed => "NOT CAUGHT",
        };
        println!(
            "{said}: {} ({}, by {:?})",
            mutant.name, mutant.file, mutant.killer
        );
        survivors += usize::from(verdict == Verdict::Passed);
    }
    fs::remove_dir_all(&copy.root)?;
    Ok(survivors)
}

/// A workspace of its own with the core and the proofs.
struct Copy {
    root: PathBuf,
    target: PathBuf,
}

impl Copy {
    fn new() -> Result<Self> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let workspace = here
            .parent()
            .ok_or(Error::other("the package has no workspace"))?;
        let scratch = std::env::temp_dir();
        let root = scratch.join(format!("hallway-mutants-{}", std::process::id()));
        for package in ["core", "proofs"] {
            copy_tree(&workspace.join(package), &root.join(package))?;
        }
        fs::copy(workspace.join("Cargo.lock"), root.join("Cargo.lock"))?;
        let manifest = fs::read_to_string(workspace.join("Cargo.toml"))?;
        let lines = manifest.lines().map(|line| match line.split_once(" = ") {
            Some(("members", _)) => r#"members = ["core", "proofs"]"#,
            Some(("default-members", _)) => r#"default-members = ["core"]"#,
            _ => line,
        });
        let manifest: Vec<&str> = lines.collect();
        fs::write(root.join("Cargo.toml"), manifest.join("\n"))?;
        let target = scratch.join("hallway-mutants-target");
        Ok(Self { root, target })
    }

    /// What the proofs do when the source is broken.
    fn judge(&self, mutant: &Mutant) -> Result<Verdict> {
        let path = self.root.join("core/src").join(mutant.file);
        let source = fs::read_to_string(&path)?;
        if source.matches(mutant.from).count() != 1 {
            let name = mutant.name;
            return Err(Error::other(format!(
                "{name}: its text does not stand there once"
            )));
        }
        fs::write(&path, source.replacen(mutant.from, mutant.to, 1))?;
        let verdict = self.prove(mutant);
        fs::write(&path, source)?;
        verdict
    }

    /// What the proofs do on the sources as they stand in the copy, which must build.
    fn prove(&self, mutant: &Mutant) -> Result<Verdict> {
        let (build, run): (&[&str], &[&str]) = match mutant.killer {
            Killer::Small(model) => (&["build"], &["run", "--", "refute", "--small", model]),
            Killer::Quick(model) => (&["build"], &["run", "--", "refute", model]),
            Killer::Exhaustive => {
                let test = &["test", "--test", "exhaustive"];
                (&["test", "--test", "exhaustive", "--no-run"], test)
            }
            Killer::Loom => (
                &["test", "--test", "loom", "--no-run"],
                &["test", "--test", "loom"],
            ),
        };
        let built = self.cargo(mutant, BUILD_SECONDS, build).status()?;
        if !built.success() {
            return Err(Error::other(format!("{} does not build", mutant.name)));
        }
        let ran = self.cargo(mutant, PATIENCE_SECONDS, run).status()?;
        Ok(match ran.code() {
            Some(0) => Verdict::Passed,
            TIMED_OUT => Verdict::Hung,
            _ => Verdict::Failed,
        })
    }

    fn cargo(&self, mutant: &Mutant, seconds: &str, args: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        let (verb, rest) = args.split_first().unwrap_or((&"build", &[]));
        command.args([seconds, "cargo", verb, "--release", "-q"]);
        command.args(["-p", "hallway-proofs"]).args(rest);
        command
            .current_dir(&self.root)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // Most of the time goes into building.
        for (setting, value) in [
            ("LTO", "off"),
            ("CODEGEN_UNITS", "16"),
            ("OPT_LEVEL", "1"),
            ("INCREMENTAL", "true"),
        ] {
            command.env(format!("CARGO_PROFILE_RELEASE_{setting}"), value);
        }
        if mutant.killer == Killer::Loom {
            command.env("RUSTFLAGS", "--cfg hallway_loom");
            command.env("LOOM_MAX_PREEMPTIONS", "2");
            command.env("CARGO_TARGET_DIR", self.target.join("loom"));
        } else {
            command.env("CARGO_TARGET_DIR", &self.target);
        }
        command
    }
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_break_has_its_place() {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/src");
        let places = table::MUTANTS.iter().map(|mutant| {
            let source = fs::read_to_string(sources.join(mutant.file)).unwrap();
            (mutant.name, source.matches(mutant.from).count())
        });
        let lost: Vec<_> = places.filter(|(_, places)| *places != 1).collect();
        assert!(lost.is_empty(), "not there once: {lost:?}");
    }
}
