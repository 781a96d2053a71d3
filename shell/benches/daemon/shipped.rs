//! What is shipped: how long its build takes, how large it is, and what it is made of.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::options::Options;
use crate::report::{Figure, Goal, Unit};

const MEGABYTE: f64 = 1e6;

/// The program as `cargo build --release` makes it, without the features that the dependencies
/// of tests and benches ask for.
pub(crate) struct Shipped {
    directory: TempDir,
    taken: Duration,
}

impl Shipped {
    /// Builds everything anew.
    pub(crate) fn build() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        eprintln!("building the release, with all that it is made of");
        let since = Instant::now();
        let status = cargo()
            .args([
                "build",
                "--release",
                "--locked",
                "-p",
                "hallway",
                "--target-dir",
            ])
            .arg(directory.path())
            .stdout(Stdio::null())
            .status()
            .context("cargo does not start")?;
        ensure!(status.success(), "the release cannot be built: {status}");
        let taken = since.elapsed();
        Ok(Self { directory, taken })
    }

    /// Where it is.
    pub(crate) fn program(&self) -> PathBuf {
        self.directory.path().join("release/hallway")
    }
}

/// The figures; the time of the build only when it was built here.
pub(crate) fn figures(options: &Options, shipped: Option<&Shipped>) -> Vec<Figure> {
    let size = || {
        let file = std::fs::metadata(&options.program)?;
        Ok(file.len() as f64 / MEGABYTE)
    };
    let mut figures = vec![
        figure("size of the program", Unit::Megabytes, size()),
        figure("packages it is made of", Unit::Count, packages()),
    ];
    let taken = shipped.map(|shipped| Ok(shipped.taken.as_secs_f64()));
    figures.extend(taken.map(|taken| figure("time of a build from nothing", Unit::Seconds, taken)));
    figures
}

fn figure(name: &'static str, unit: Unit, value: Result<f64>) -> Figure {
    let mut figure = Figure::new(name, unit, Goal::None);
    match value {
        Ok(value) => figure.daemon.push(value),
        Err(error) => figure.failure = Some(format!("{error:#}")),
    }
    figure
}

/// Packages that are linked into the program or build it, this workspace's own left out.
fn packages() -> Result<f64> {
    let tree = cargo()
        .args([
            "tree",
            "--locked",
            "--offline",
            "-p",
            "hallway",
            "--edges",
            "normal,build",
        ])
        .args(["--prefix", "none", "--format", "{p}"])
        .output()
        .context("cargo does not start")?;
    let said = String::from_utf8_lossy(&tree.stderr);
    ensure!(tree.status.success(), "cargo tree fails: {}", said.trim());
    let listed = String::from_utf8(tree.stdout)?;
    let all: BTreeSet<_> = listed
        .lines()
        .map(|line| line.trim_end_matches(" (*)"))
        // Those of the workspace stand with their path.
        .filter(|line| !line.is_empty() && !line.contains(" (/"))
        .collect();
    Ok(all.len() as f64)
}

fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    cargo
}
