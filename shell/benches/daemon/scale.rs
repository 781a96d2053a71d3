//! How the daemon's cost grows with what else there is: connections, registered sessions, held
//! messages.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::figures::{Bench, progress};
use crate::load::Target;
use crate::process::{Program, Server};
use crate::sessions::{Kind, Sessions};

/// Others on the machine, and what the daemon's own share of them is.
const CONNECTIONS: [usize; 3] = [1, 10, 100];
const SESSIONS: [usize; 3] = [1, 1_000, 10_000];
const FEW_SESSIONS: [usize; 3] = [1, 10, 100];
/// Messages sent together into an inbox that keeps them: their frames fit into a socket.
const BATCH: usize = 90;
/// Batches that fit into an inbox of 1000.
const BATCHES: usize = 11;
/// What was consumed late belongs to the load before.
const SETTLE: Duration = Duration::from_millis(5);

/// What grows, and what that costs.
pub(crate) struct Series {
    pub(crate) name: &'static str,
    /// What the points are counted in.
    pub(crate) of: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) shape: Shape,
    pub(crate) points: Vec<Point>,
}

/// How the cost may grow.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Not at all.
    Flat,
    /// With the number.
    Linear,
}

/// One number of what there is, and a value for each round.
pub(crate) struct Point {
    pub(crate) at: usize,
    values: Vec<f64>,
}

impl Point {
    /// The median, or nothing before the first round.
    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
    }
}

impl Series {
    fn new(
        name: &'static str,
        of: &'static str,
        unit: &'static str,
        shape: Shape,
        at: impl IntoIterator<Item = usize>,
    ) -> Self {
        let point = |at| Point {
            at,
            values: Vec::new(),
        };
        Self {
            name,
            of,
            unit,
            shape,
            points: at.into_iter().map(point).collect(),
        }
    }

    /// What the last point costs for each of the first, by the shape that is wanted: about 1 if
    /// it is that shape.
    pub(crate) fn growth(&self) -> f64 {
        let (Some(first), Some(last)) = (self.points.first(), self.points.last()) else {
            return 1.0;
        };
        match self.shape {
            Shape::Flat => last.median() / first.median(),
            // The start of a process is no cost of what it reads: between the last two points.
            Shape::Linear => {
                let middle = self.points.iter().rev().nth(1).unwrap_or(first);
                let base = first.median();
                let each = |point: &Point| (point.median() - base) / (point.at - first.at) as f64;
                each(last) / each(middle)
            }
        }
    }

    pub(crate) fn print(&self, json: bool) {
        if json {
            let points: Vec<_> = self
                .points
                .iter()
                .map(|point| json!({"at": point.at, "median": point.median()}))
                .collect();
            println!(
                "{}",
                json!({"series": self.name, "of": self.of, "unit": self.unit, "points": points, "growth": self.growth()})
            );
            return;
        }
        let points: Vec<_> = self
            .points
            .iter()
            .map(|point| format!("{}: {:.3}", point.at, point.median()))
            .collect();
        let shape = match self.shape {
            Shape::Flat => "of the first",
            Shape::Linear => "of a line",
        };
        println!(
            "{}, {} by {}\n    {}\n    the last is {:.2} {shape}",
            self.name,
            self.unit,
            self.of,
            points.join("; "),
            self.growth()
        );
    }
}

/// Measures every series.
pub(crate) fn measure(bench: &mut Bench) -> Result<Vec<Series>> {
    let quick = bench.options.quick;
    let sessions = if quick { FEW_SESSIONS } else { SESSIONS };
    let flat = |name, of, at: &[usize]| {
        Series::new(
            name,
            of,
            "CPU us a message",
            Shape::Flat,
            at.iter().copied(),
        )
    };
    let mut all = flat("messages on every connection", "connections", &CONNECTIONS);
    let mut one = flat("messages on one connection", "connections", &CONNECTIONS);
    let mut registered = flat("messages", "registered sessions", &sessions);
    let mut peers = [
        (Kind::Ours, "hallway peers, of hallway"),
        (Kind::Others, "hallway peers, of other programs"),
    ]
    .map(|(kind, name)| {
        let series = Series::new(name, "registered sessions", "ms", Shape::Linear, sessions);
        (kind, series)
    });
    let held = (0..BATCHES).map(|batch| batch * BATCH);
    let mut inbox = Series::new(
        "messages",
        "held messages",
        "CPU us a message",
        Shape::Flat,
        held,
    );
    let rounds = bench.options.rounds;
    connections(bench, &mut all, &mut one)?;
    for round in 1..=rounds {
        progress(inbox.name, round, rounds);
        fill(bench, &mut inbox)?;
    }
    for at in 0..sessions.len() {
        for (kind, peers) in &mut peers {
            register(bench, at, *kind, &mut registered, peers)?;
        }
    }
    let mut series = vec![all, one, inbox, registered];
    series.extend(peers.map(|(_, series)| series));
    Ok(series)
}

/// Loads all connections, then one while the others are idle.
fn connections(bench: &mut Bench, all: &mut Series, one: &mut Series) -> Result<()> {
    let (server, target) = start(bench, &Program::Daemon(bench.options.program.clone()))?;
    let (rounds, span) = (bench.options.rounds, bench.options.span);
    bench.cores.pin_client(false)?;
    target
        .pipelined(bench.flow(1), span)
        .context("warming up")?;
    for round in 1..=rounds {
        progress(all.name, round, rounds);
        for (all, one) in all.points.iter_mut().zip(&mut one.points) {
            let load = || Ok(target.pipelined(bench.flow(all.at), span)?.total);
            let value = cost(&server, load)?;
            all.values.push(value);
            let others = target.hold(one.at - 1)?;
            let load = || Ok(target.pipelined(bench.flow(1), span)?.total);
            one.values.push(cost(&server, load)?);
            drop(others);
        }
    }
    Ok(())
}

/// Fills the inbox of a fresh server that keeps its messages.
fn fill(bench: &mut Bench, inbox: &mut Series) -> Result<()> {
    let (server, target) = start(bench, &Program::Holder(bench.options.program.clone()))?;
    for point in &mut inbox.points {
        let value = cost(&server, || target.batch(BATCH).map(|()| BATCH as u64))?;
        point.values.push(value);
    }
    Ok(())
}

/// Registers sessions beside a server's own, loads it, and lists them all.
fn register(
    bench: &mut Bench,
    at: usize,
    kind: Kind,
    messages: &mut Series,
    peers: &mut Series,
) -> Result<()> {
    let program = Program::Daemon(bench.options.program.clone());
    let (server, target) = start(bench, &program)?;
    let (Some(messages), Some(peers)) = (messages.points.get_mut(at), peers.points.get_mut(at))
    else {
        return Ok(());
    };
    bench.unpin_client()?;
    let sessions = Sessions::start(messages.at - 1, kind, &server)?;
    bench.cores.pin_client(false)?;
    target
        .pipelined(bench.flow(1), bench.options.span)
        .context("warming up")?;
    let rounds = bench.options.rounds;
    for round in 1..=rounds {
        progress(&format!("{} sessions", messages.at), round, rounds);
        let load = || Ok(target.pipelined(bench.flow(1), bench.options.span)?.total);
        messages.values.push(cost(&server, load)?);
        // It would have this program's one core, and not share the work between its threads.
        bench.unpin_client()?;
        let since = Instant::now();
        let listed = Command::new(&bench.options.program)
            .args(["peers", "--json", "--config-dir"])
            .arg(server.config())
            .env_clear()
            .output()?;
        peers.values.push(since.elapsed().as_secs_f64() * 1000.0);
        bench.cores.pin_client(false)?;
        let lines = listed.stdout.split(|byte| *byte == b'\n').count() - 1;
        ensure!(lines == peers.at, "{lines} of {} sessions listed", peers.at);
    }
    drop(sessions);
    Ok(())
}

fn start(bench: &mut Bench, program: &Program) -> Result<(Server, Target)> {
    bench.unpin_client()?;
    let server = Server::start(program, &mut bench.keeper)?;
    server.pin(bench.cores.server)?;
    let target = Target::new(server.socket(), &server.token);
    Ok((server, target))
}

/// Microseconds of the server's processor time for each message of a load.
fn cost(server: &Server, load: impl FnOnce() -> Result<u64>) -> Result<f64> {
    let before = server.cpu()?;
    let messages = load()?;
    std::thread::sleep(SETTLE);
    Ok(server.cpu()?.nanos_since(before) as f64 / 1000.0 / messages as f64)
}
