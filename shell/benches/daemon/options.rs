//! The command line of the bench.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// What `--help` prints.
pub(crate) const HELP: &str = "\
Measures the hallway daemon against a floor: the least that a line server on a Unix socket can do.

usage: cargo bench -p hallway --bench daemon -- [OPTIONS] [FILTER]

FILTER            only figures whose name contains it
--rounds N        rounds a figure, floor and daemon by turns (default 7)
--seconds S       length of one side of a round (default 0.5)
--window N        unanswered messages a connection when pipelined (default 256), and
                  never more than 960 over all connections: an inbox holds 1000
--quick           a smoke test: 2 rounds of 0.05 s; the default unless cargo bench runs it
--json            one JSON object a figure instead of the table
--scale           instead: cost by connections, registered sessions and held messages
--svg FILE        with --scale: draws that into FILE
--self-check      the floor against itself: shows the noise, every ratio should be near 1
--program PATH    the binary to measure instead of the one cargo built
--build           builds the release anew, which takes minutes, and measures that
--help            this text
";

/// More unanswered messages than this could fill an inbox of 1000 that has not been looked into
/// yet.
const MAX_UNANSWERED: usize = 960;

/// What to measure, and how long.
pub(crate) struct Options {
    pub(crate) rounds: usize,
    pub(crate) span: Duration,
    pub(crate) window: usize,
    pub(crate) quick: bool,
    pub(crate) json: bool,
    pub(crate) self_check: bool,
    pub(crate) program: PathBuf,
    pub(crate) build: bool,
    pub(crate) filter: Option<String>,
    pub(crate) scale: bool,
    pub(crate) svg: Option<PathBuf>,
}

/// What the arguments ask for.
pub(crate) enum Command {
    Measure(Options),
    Floor(PathBuf),
    Keeper(PathBuf),
    Help,
    /// A test runner asks which tests there are: none.
    List,
}

impl Options {
    /// The unanswered messages that each of `connections` may have.
    pub(crate) fn window_of(&self, connections: usize) -> usize {
        self.window.min(MAX_UNANSWERED / connections.max(1)).max(1)
    }

    /// Whether a figure was asked for.
    pub(crate) fn wants(&self, figure: &str) -> bool {
        self.filter
            .as_ref()
            .is_none_or(|filter| figure.contains(filter.as_str()))
    }
}

/// Reads the arguments; `program` is what cargo built.
pub(crate) fn parse(arguments: impl Iterator<Item = String>, program: &str) -> Result<Command> {
    let mut arguments = arguments;
    let (mut rounds, mut seconds, mut window) = (None, None, 256);
    let (mut bench, mut quick, mut json, mut self_check) = (false, false, false, false);
    let (mut program, mut filter) = (PathBuf::from(program), None);
    let (mut scale, mut svg, mut build) = (false, None, false);
    while let Some(argument) = arguments.next() {
        let mut value = || {
            arguments
                .next()
                .with_context(|| format!("{argument} needs a value"))
        };
        match argument.as_str() {
            "--floor" => return Ok(Command::Floor(value()?.into())),
            "--keeper" => return Ok(Command::Keeper(value()?.into())),
            "--help" | "-h" => return Ok(Command::Help),
            "--list" => return Ok(Command::List),
            "--bench" => bench = true,
            "--quick" => quick = true,
            "--json" => json = true,
            "--self-check" => self_check = true,
            "--rounds" => rounds = Some(value()?.parse().context("--rounds takes a number")?),
            "--seconds" => seconds = Some(value()?.parse().context("--seconds takes a number")?),
            "--window" => window = value()?.parse().context("--window takes a number")?,
            "--scale" => scale = true,
            "--svg" => svg = Some(PathBuf::from(value()?)),
            "--build" => build = true,
            "--program" => program = value()?.into(),
            option if option.starts_with('-') => bail!("there is no option {option}; see --help"),
            text => filter = Some(text.to_owned()),
        }
    }
    quick |= !bench && rounds.is_none() && seconds.is_none();
    let rounds: usize = rounds.unwrap_or(if quick { 2 } else { 7 });
    let seconds: f64 = seconds.unwrap_or(if quick { 0.05 } else { 0.5 });
    ensure!(rounds > 0, "--rounds takes at least 1");
    ensure!(
        (0.01..=60.0).contains(&seconds),
        "--seconds takes 0.01 to 60"
    );
    ensure!(
        (1..=MAX_UNANSWERED).contains(&window),
        "--window takes 1 to {MAX_UNANSWERED}"
    );
    ensure!(scale || svg.is_none(), "--svg draws what --scale measures");
    let span = Duration::from_secs_f64(seconds);
    let program = std::path::absolute(program)?;
    Ok(Command::Measure(Options {
        rounds,
        span,
        window,
        quick,
        json,
        self_check,
        program,
        build,
        filter,
        scale,
        svg,
    }))
}
