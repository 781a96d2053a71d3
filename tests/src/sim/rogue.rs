//! A bad client: it follows no rule but chance.

use super::actors::dial;
use super::daemon::Daemon;
use super::network::Got;
use super::stage::{MS, Stage, Time, Who};
use crate::model::frames::Rules;
use crate::model::generate::{line, stream};
use crate::model::source::Source;

pub(super) struct Rogue {
    pid: u32,
    tries: usize,
    /// Whether it reads what it is told.
    reads: bool,
    /// How many bytes it sends at a time, and how long it waits in between.
    pace: (usize, Time),
    half_closes: bool,
    /// How long it stays when it has sent everything.
    lingers: Time,
    session: Option<Session>,
}

struct Session {
    link: usize,
    bytes: Vec<u8>,
    sent: usize,
    /// When it goes, once it has sent everything.
    until: Option<Time>,
}

impl Rogue {
    pub(super) fn new(pid: u32, rng: &mut Source<'_>) -> Self {
        Self {
            pid,
            tries: 1 + rng.below(4),
            reads: !rng.once_in(3),
            pace: (
                rng.pick(&[usize::MAX, 1, 20, 300]),
                rng.pick(&[0, MS, 4 * MS]),
            ),
            half_closes: rng.once_in(2),
            lingers: rng.pick(&[0, MS, 100 * MS]),
            session: None,
        }
    }

    pub(super) const fn is_done(&self) -> bool {
        self.session.is_none() && self.tries == 0
    }

    pub(super) fn turn(&mut self, me: usize, daemon: Option<&Daemon>, stage: &mut Stage) {
        if let Some(session) = &mut self.session {
            let ended = session.read(self.reads, stage);
            let ended = ended || session.write(me, self.pace, stage);
            if ended || session.is_over(me, self.half_closes, self.lingers, stage) {
                stage.links[session.link].close_client();
                stage.wake(Who::Serve(session.link), stage.now);
                self.session = None;
                stage.wake(Who::Actor(me), stage.now + 5 * MS);
            }
        } else if self.tries > 0 {
            self.tries -= 1;
            let session = dial(me, self.pid, daemon, stage).zip(daemon);
            self.session = session.map(|(link, daemon)| Session {
                link,
                bytes: speech(&daemon.house.rules, &mut stage.rng),
                sent: 0,
                until: None,
            });
            let pause = stage.rng.below(30) as Time * MS;
            stage.wake(Who::Actor(me), stage.now + pause);
        }
    }
}

/// What it has to say: nothing, anything, or far too many pings.
fn speech(rules: &Rules, rng: &mut Source<'_>) -> Vec<u8> {
    match rng.below(5) {
        0 => Vec::new(),
        1 => {
            let frame = crate::model::client::frame("ping", None, None, &rules.token);
            frame.repeat(rng.below(200)).into_bytes()
        }
        2 => line(rng, rules),
        _ => stream(rng, rules),
    }
}

impl Session {
    /// Reads and throws away; whether the server has gone.
    fn read(&mut self, reads: bool, stage: &mut Stage) -> bool {
        let mut into = [0; 300];
        while reads || self.until.is_some() {
            match stage.links[self.link].down.read(&mut into, stage.now) {
                Got::Bytes(_) => stage.wake(Who::Serve(self.link), stage.now),
                Got::Nothing => return false,
                Got::Ended(_) => return true,
            }
        }
        false
    }

    /// Writes a piece; whether nobody reads it.
    fn write(&mut self, me: usize, pace: (usize, Time), stage: &mut Stage) -> bool {
        let rest = &self.bytes[self.sent..];
        let piece = &rest[..rest.len().min(pace.0.max(self.bytes.len() / 200))];
        if piece.is_empty() {
            return false;
        }
        let at = stage.now + stage.delay();
        match stage.links[self.link].up.write(piece, at) {
            None => return true,
            Some(n) => self.sent += n,
        }
        let arrival = stage.links[self.link].up.arrival().unwrap_or(at);
        stage.wake(Who::Serve(self.link), arrival);
        stage.wake(Who::Actor(me), stage.now + pace.1.max(100));
        false
    }

    /// Having said everything, it ends its output, or stays a while.
    fn is_over(&mut self, me: usize, half_closes: bool, lingers: Time, stage: &mut Stage) -> bool {
        if self.sent < self.bytes.len() {
            return false;
        }
        let until = *self.until.get_or_insert(stage.now + lingers);
        if half_closes && stage.links[self.link].up.is_open() {
            stage.reached.half_closes += 1;
            stage.links[self.link]
                .up
                .finish(super::network::End::Finished);
            stage.wake(Who::Serve(self.link), stage.now);
        }
        if stage.now < until {
            stage.wake(Who::Actor(me), until);
        }
        stage.now >= until
    }
}
