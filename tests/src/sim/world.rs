//! The run: who moves next, and what the daemon's life holds.

use super::actors::Actor;
use super::consumer;
use super::daemon::Daemon;
use super::stage::{MS, Stage, Time, Who};
use super::trace::Trace;
use super::{Flaw, Reached, Report};

/// More turns than any run takes.
const MOST_TURNS: u64 = 100_000;

/// The most lives of the daemon; the last one ends when everybody else is done.
const MOST_LIVES: usize = 3;

pub(super) struct World {
    stage: Stage,
    daemon: Option<Daemon>,
    actors: Vec<Actor>,
}

impl World {
    pub(super) fn new(seed: u64, verbose: bool, flaw: Option<Flaw>) -> Self {
        let mut stage = Stage::new(seed, flaw, Trace::new(verbose));
        let actors: Vec<_> = (0..2 + stage.rng.below(6))
            .map(|at| Actor::new(at, &mut stage.rng))
            .collect();
        for at in 0..actors.len() {
            let start = stage.rng.below(60) as Time * MS;
            stage.wake(Who::Actor(at), start);
        }
        stage.wake(Who::Daemon, 0);
        Self {
            stage,
            daemon: None,
            actors,
        }
    }

    pub(super) fn run(mut self) -> Report<Reached> {
        loop {
            let Some(who) = self.stage.next() else {
                match &mut self.daemon {
                    Some(daemon) if !daemon.stopping => daemon.stop(&mut self.stage),
                    Some(_) => panic!("the daemon does not end"),
                    None => break,
                }
                continue;
            };
            self.stage.reached.turns += 1;
            assert!(
                self.stage.reached.turns < MOST_TURNS,
                "the run does not end"
            );
            self.turn(who);
        }
        for (at, actor) in self.actors.iter().enumerate() {
            assert!(actor.is_done(), "actor {at} waits for ever");
        }
        for (life, id) in self.stage.ledger.judge() {
            self.stage.note("lost by a crash", [life as u64, id as u64]);
            self.stage.reached.lost += 1;
        }
        Report {
            hash: self.stage.trace.hash(),
            reached: self.stage.reached,
        }
    }

    fn turn(&mut self, who: Who) {
        let (stage, daemon) = (&mut self.stage, &mut self.daemon);
        match (who, daemon) {
            (Who::Actor(at), daemon) => self.actors[at].turn(at, daemon.as_ref(), stage),
            (Who::Accept(link), Some(daemon)) => daemon.accept(link, stage),
            (Who::Accept(link), None) => {
                stage.links[link].close_server();
                stage.wake(Who::Actor(stage.links[link].actor), stage.now);
            }
            (Who::Serve(link), Some(daemon)) => daemon.serve(link, stage),
            (Who::Consumer, Some(daemon)) => {
                if consumer::turn(&daemon.house, stage) {
                    self.daemon = None;
                    self.rest();
                }
            }
            (Who::Serve(_) | Who::Consumer, None) => {}
            (Who::Daemon, _) => self.live(),
        }
    }

    /// The daemon starts, stops or crashes.
    fn live(&mut self) {
        let stage = &mut self.stage;
        match self.daemon.take() {
            None if stage.ledger.lives.len() < MOST_LIVES => {
                self.daemon = Some(Daemon::start(stage));
                if stage.ledger.lives.len() < MOST_LIVES && !stage.rng.once_in(3) {
                    let life = 10 + stage.rng.below(150) as Time;
                    stage.wake(Who::Daemon, stage.now + life * MS);
                }
            }
            None => {}
            Some(mut daemon) if daemon.stopping => {
                daemon.close(stage);
                self.daemon = Some(daemon);
            }
            Some(mut daemon) if stage.rng.once_in(2) => {
                daemon.stop(stage);
                self.daemon = Some(daemon);
            }
            Some(daemon) => {
                daemon.crash(stage);
                self.rest();
            }
        }
    }

    /// Between two lives.
    fn rest(&mut self) {
        let pause = self.stage.rng.below(40) as Time * MS;
        if self.stage.ledger.lives.len() < MOST_LIVES {
            self.stage.wake(Who::Daemon, self.stage.now + pause);
        }
    }
}
