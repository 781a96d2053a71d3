//! The figures, each measured on the floor and on the daemon by turns.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::alone;
use crate::load::{self, Flow, Target, Turn};
use crate::options::Options;
use crate::process::{Cores, Cpu, Keeper, NO_TOKEN, Program, Server, waited_nanos};
use crate::report::{Figure, Goal, Unit};

pub(crate) const MANY_CONNECTIONS: usize = 16;
const IDLE_CONNECTIONS: usize = 100;
/// Starts of each program in one round.
const STARTS: usize = 5;
/// Fresh servers of each program whose memory is looked at.
const MEMORY_ROUNDS: usize = 3;
/// Floor and daemon take turns of this length within a round, so that what else the machine does
/// falls on both.
const TURN: Duration = Duration::from_millis(50);
const SETTLE_ROUND: Duration = Duration::from_millis(5);
const SETTLE_MEMORY: Duration = Duration::from_secs(1);
const MEBIBYTE_KIB: f64 = 1024.0;

/// Everything the figures are measured with.
pub(crate) struct Bench {
    pub(crate) options: Options,
    pub(crate) cores: Cores,
    allowed: CpuSet,
    floor: Program,
    daemon: Program,
    pub(crate) keeper: Keeper,
}

/// Both servers, running.
struct Pair {
    floor: Side,
    daemon: Side,
}

struct Side {
    server: Server,
    target: Target,
    /// Whether its answers carry ids that count up.
    counts: bool,
    account: Account,
}

/// What the turns of one round came to, on one side.
#[derive(Default)]
struct Account {
    /// Messages answered within `elapsed`, and all there were.
    messages: u64,
    elapsed: Duration,
    total: u64,
    /// The server's processor time when the round began.
    cpu_before: Cpu,
}

/// How a server is loaded for one turn.
type Load = Box<dyn Fn(&Target, Duration) -> Result<Turn>>;

/// A load, and what is to be learned from it.
struct Plan {
    rate: Figure,
    cpu: Option<Figure>,
    /// Whether the load generator shares the server's core.
    beside: bool,
    load: Load,
}

impl Bench {
    pub(crate) fn new(options: Options) -> Result<Self> {
        let daemon = if options.self_check {
            Program::Floor
        } else {
            Program::Daemon(options.program.clone())
        };
        let allowed = sched_getaffinity(None)?;
        Ok(Self {
            cores: Cores::choose()?,
            allowed,
            floor: Program::Floor,
            daemon,
            keeper: Keeper::start()?,
            options,
        })
    }

    /// Which cores are used, for the heading.
    pub(crate) fn cores(&self) -> Cores {
        self.cores
    }

    /// Measures every figure that was asked for; one that fails says so, and the others go on.
    pub(crate) fn measure(&mut self) -> Vec<Figure> {
        let mut figures = self.loads();
        figures.extend(self.fairness());
        figures.extend(self.starts());
        figures.extend(self.memory());
        if !self.options.self_check {
            figures.extend(self.alone("framer alone", 5.0, alone::framer));
            figures.extend(self.alone("parse alone", 1.0, alone::parse));
        }
        figures.retain(|figure| self.options.wants(figure.name));
        figures
    }

    fn loads(&mut self) -> Vec<Figure> {
        let (one, many) = (self.flow(1), self.flow(MANY_CONNECTIONS));
        let at_least = |name, ratio| Figure::new(name, Unit::Rate, Goal::RatioAtLeast(ratio));
        let cpu = |name, goal| Some(Figure::new(name, Unit::Microseconds, goal));
        let plans = [
            Plan {
                rate: at_least("request and answer", 0.75),
                cpu: None,
                beside: true,
                load: Box::new(Target::one_at_a_time),
            },
            Plan {
                rate: at_least("pipelined, 1 connection", 0.3),
                cpu: cpu("server CPU a message, 1 connection", Goal::AtMost(0.5)),
                beside: false,
                load: Box::new(move |target, span| target.pipelined(one, span)),
            },
            Plan {
                rate: at_least("pipelined, 16 connections", 0.3),
                cpu: cpu("server CPU a message, 16 connections", Goal::None),
                beside: false,
                load: Box::new(move |target, span| target.pipelined(many, span)),
            },
            Plan {
                rate: at_least("connect, send, answer, close", 0.75),
                cpu: None,
                beside: true,
                load: Box::new(Target::connect_each),
            },
        ];
        plans.into_iter().flat_map(|plan| self.load(plan)).collect()
    }

    /// Lets this process, and what it starts, run on any core.
    pub(crate) fn unpin_client(&self) -> Result<()> {
        Ok(sched_setaffinity(None, &self.allowed)?)
    }

    pub(crate) fn flow(&self, connections: usize) -> Flow {
        Flow {
            connections,
            window: self.options.window_of(connections),
            spins: self.cores.apart(),
        }
    }

    fn load(&mut self, mut plan: Plan) -> Vec<Figure> {
        let names = std::iter::once(&plan.rate).chain(&plan.cpu);
        if !names
            .into_iter()
            .any(|figure| self.options.wants(figure.name))
        {
            return Vec::new();
        }
        if let Err(error) = self.load_rounds(&mut plan) {
            plan.rate.failure = Some(format!("{error:#}"));
            if let Some(cpu) = &mut plan.cpu {
                cpu.failure = Some("see the rate".to_owned());
            }
        }
        std::iter::once(plan.rate).chain(plan.cpu).collect()
    }

    fn load_rounds(&mut self, plan: &mut Plan) -> Result<()> {
        let mut pair = self.start_pair()?;
        self.cores.pin_client(plan.beside)?;
        for side in pair.sides() {
            (plan.load)(&side.target, TURN).context("warming up")?;
        }
        let turns = self.options.span.div_duration_f64(TURN).round().max(1.0) as u32;
        for round in 1..=self.options.rounds {
            progress(plan.rate.name, round, self.options.rounds);
            pair.sides().into_iter().try_for_each(Side::open_account)?;
            let waited_before = waited_nanos();
            for turn in 0..turns {
                let mut sides = pair.sides();
                // Whoever goes second in one turn goes first in the next.
                if turn % 2 == 1 {
                    sides.reverse();
                }
                let span = self.options.span / turns;
                sides
                    .into_iter()
                    .try_for_each(|side| side.turn(&plan.load, span))?;
            }
            if self.cores.apart() && !plan.beside {
                let waited = waited_nanos().saturating_sub(waited_before) as f64;
                let elapsed = pair.floor.account.elapsed + pair.daemon.account.elapsed;
                plan.rate
                    .disturbed
                    .push(waited / 1e9 / elapsed.as_secs_f64());
            }
            // What was answered last may not have been consumed yet, and belongs to this round.
            std::thread::sleep(SETTLE_ROUND);
            plan.rate.floor.push(pair.floor.account.rate());
            plan.rate.daemon.push(pair.daemon.account.rate());
            if let Some(cpu) = &mut plan.cpu {
                cpu.floor.push(pair.floor.cpu_a_message()?);
                cpu.daemon.push(pair.daemon.cpu_a_message()?);
            }
        }
        Ok(())
    }

    fn start_pair(&mut self) -> Result<Pair> {
        self.unpin_client()?;
        let side = |program: &Program, keeper: &mut Keeper, core| -> Result<Side> {
            let server = Server::start(program, keeper)?;
            server.pin(core)?;
            let target = Target::new(server.socket(), &server.token);
            let counts = !matches!(program, Program::Floor);
            Ok(Side {
                server,
                target,
                counts,
                account: Account::default(),
            })
        };
        let floor =
            side(&self.floor, &mut self.keeper, self.cores.server).context("starting the floor")?;
        let daemon = side(&self.daemon, &mut self.keeper, self.cores.server)
            .context("starting the daemon")?;
        Ok(Pair { floor, daemon })
    }

    /// How many times longer a message waits for its answer while another connection sends as
    /// fast as it can.
    fn fairness(&mut self) -> Vec<Figure> {
        let times = |name, goal| Figure::new(name, Unit::Times, goal);
        let mut figures = [
            times("waiting beside a flood, median", Goal::AtMost(10.0)),
            times("waiting beside a flood, 99 of 100", Goal::None),
        ];
        if !figures.iter().any(|figure| self.options.wants(figure.name)) {
            return Vec::new();
        }
        if let Err(error) = self.fairness_rounds(&mut figures) {
            for figure in &mut figures {
                figure.failure = Some(format!("{error:#}"));
            }
        }
        figures.into()
    }

    fn fairness_rounds(&mut self, figures: &mut [Figure; 2]) -> Result<()> {
        let pair = self.start_pair()?;
        self.cores.pin_client(false)?;
        let span = self.options.span;
        // It shares its core with the one that waits, and leaves it when it has nothing to do.
        let flow = Flow {
            spins: false,
            ..self.flow(1)
        };
        for round in 1..=self.options.rounds {
            progress("waiting beside a flood", round, self.options.rounds);
            for (at, side) in [&pair.floor, &pair.daemon].into_iter().enumerate() {
                let alone = percentiles(side.target.latencies(span)?);
                let beside = std::thread::scope(|scope| {
                    let flood = scope.spawn(|| side.target.pipelined(flow, span * 2));
                    let latencies = side.target.latencies(span);
                    let flood = flood.join().map_err(|_| anyhow!("the flood panicked"))?;
                    flood.context("the flood")?;
                    latencies
                });
                let beside = percentiles(beside?);
                for (figure, beside) in figures.iter_mut().zip(beside) {
                    let values = [&mut figure.floor, &mut figure.daemon];
                    if let Some(values) = values.into_iter().nth(at) {
                        values.push(beside / alone[0]);
                    }
                }
            }
        }
        Ok(())
    }

    /// Start to listening, on any core; each start is a sample.
    fn starts(&mut self) -> Option<Figure> {
        let mut figure = Figure::new("start to listening", Unit::Milliseconds, Goal::AtMost(10.0));
        if !self.options.wants(figure.name) {
            return None;
        }
        if let Err(error) = self.start_rounds(&mut figure) {
            figure.failure = Some(format!("{error:#}"));
        }
        Some(figure)
    }

    fn start_rounds(&mut self, figure: &mut Figure) -> Result<()> {
        self.unpin_client()?;
        for round in 1..=self.options.rounds {
            progress(figure.name, round, self.options.rounds);
            for _ in 0..STARTS {
                for (program, values) in [
                    (&self.floor, &mut figure.floor),
                    (&self.daemon, &mut figure.daemon),
                ] {
                    let taken = Server::time_to_listening(program, &mut self.keeper)?;
                    values.push(taken.as_secs_f64() * 1000.0);
                }
            }
        }
        Ok(())
    }

    fn memory(&mut self) -> Vec<Figure> {
        let mut figures = [
            Figure::new("resident, idle", Unit::Mebibytes, Goal::AtMost(4.0)),
            Figure::new(
                "resident, 100 idle connections",
                Unit::Mebibytes,
                Goal::AtMost(8.0),
            ),
            Figure::new("resident, after a burst", Unit::Mebibytes, Goal::None),
        ];
        if !figures.iter().any(|figure| self.options.wants(figure.name)) {
            return Vec::new();
        }
        let rounds = self.options.rounds.min(MEMORY_ROUNDS);
        for round in 1..=rounds {
            progress("resident", round, rounds);
            if let Err(error) = self.memory_round(&mut figures) {
                let failure = format!("{error:#}");
                let missing = figures
                    .iter_mut()
                    .filter(|figure| figure.daemon.len() < round);
                missing.for_each(|figure| figure.failure = Some(failure.clone()));
                break;
            }
        }
        figures.into()
    }

    /// One fresh pair: idle, with idle connections, and when both those and a burst have passed.
    fn memory_round(&mut self, figures: &mut [Figure; 3]) -> Result<()> {
        let [idle, connected, burst] = figures;
        let pair = self.start_pair()?;
        self.look(&pair, idle)?;
        let held = (
            pair.floor.target.hold(IDLE_CONNECTIONS)?,
            pair.daemon.target.hold(IDLE_CONNECTIONS)?,
        );
        self.look(&pair, connected)?;
        drop(held);
        for side in [&pair.floor, &pair.daemon] {
            side.target
                .pipelined(self.flow(MANY_CONNECTIONS), self.options.span)?;
        }
        self.look(&pair, burst)
    }

    /// A part of the core without a socket, on the servers' core.
    fn alone(
        &self,
        name: &'static str,
        least: f64,
        part: impl Fn(&[u8], Duration) -> Result<f64>,
    ) -> Option<Figure> {
        let mut figure = Figure::new(name, Unit::Gigabytes, Goal::AtLeast(least));
        if !self.options.wants(name) {
            return None;
        }
        let line = load::frame(NO_TOKEN);
        let values = self.cores.pin_client(true).and_then(|()| {
            progress(name, 1, 1);
            (0..self.options.rounds)
                .map(|_| part(&line, self.options.span / 5))
                .collect::<Result<Vec<_>>>()
        });
        match values {
            Ok(values) => figure.daemon = values,
            Err(error) => figure.failure = Some(format!("{error:#}")),
        }
        Some(figure)
    }

    /// Lets both servers settle, and takes down what they hold.
    fn look(&self, pair: &Pair, figure: &mut Figure) -> Result<()> {
        std::thread::sleep(if self.options.quick {
            SETTLE_MEMORY / 10
        } else {
            SETTLE_MEMORY
        });
        figure
            .floor
            .push(pair.floor.server.resident_kib()? as f64 / MEBIBYTE_KIB);
        figure
            .daemon
            .push(pair.daemon.server.resident_kib()? as f64 / MEBIBYTE_KIB);
        Ok(())
    }
}

impl Pair {
    fn sides(&mut self) -> [&mut Side; 2] {
        [&mut self.floor, &mut self.daemon]
    }
}

impl Side {
    fn open_account(&mut self) -> Result<()> {
        self.account = Account {
            cpu_before: self.server.cpu()?,
            ..Account::default()
        };
        Ok(())
    }

    /// Loads the server once. Ids that count up must say the same number of messages as the
    /// answers did.
    fn turn(&mut self, load: &Load, span: Duration) -> Result<()> {
        let before = self.target.next_id()?;
        let turn = load(&self.target, span)?;
        let after = self.target.next_id()?;
        let taken = after.saturating_sub(before + 1);
        ensure!(
            !self.counts || taken == turn.total,
            "{} answers of ok, but the ids say {taken} messages",
            turn.total
        );
        self.account.messages += turn.messages;
        self.account.elapsed += turn.elapsed;
        self.account.total += turn.total;
        Ok(())
    }

    /// Microseconds of processor time for each message of the round.
    fn cpu_a_message(&self) -> Result<f64> {
        let nanos = self.server.cpu()?.nanos_since(self.account.cpu_before);
        Ok(nanos as f64 / 1000.0 / self.account.total as f64)
    }
}

impl Account {
    /// Messages a second.
    fn rate(&self) -> f64 {
        self.messages as f64 / self.elapsed.as_secs_f64()
    }
}

/// The median and what 99 of 100 stay below, in seconds.
fn percentiles(mut all: Vec<Duration>) -> [f64; 2] {
    all.sort_unstable();
    let at = |percent: usize| all.get(all.len().saturating_sub(1) * percent / 100);
    [50, 99].map(|percent| at(percent).map_or(f64::NAN, Duration::as_secs_f64))
}

pub(crate) fn progress(figure: &str, round: usize, rounds: usize) {
    eprintln!("{figure}: round {round} of {rounds}");
}
