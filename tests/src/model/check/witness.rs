//! What one connection has to do next, by the model: the turns of its whole input are known
//! beforehand, so what is left is where it stands among them, and its deadlines (local.md §3).

use crate::model::conversation::{Ending, error, ok, pong};
use crate::model::frames::{Rules, Turn, turns};

use super::millis;

/// Where a connection stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    /// The peer may read what waits, until the deadline.
    Closing {
        ending: Ending,
        deadline: u64,
        ended: bool,
    },
    Closed {
        ending: Ending,
    },
}

pub(super) struct Witness {
    rules: Rules,
    turns: Vec<(Turn, usize)>,
    next: usize,
    /// How many bytes were read.
    pub(super) fed: usize,
    /// All that was said, and how much of it was written.
    said: Vec<u8>,
    pub(super) written: usize,
    pub(super) phase: Phase,
    /// How the input ended, if it did.
    pub(super) input: Option<Ending>,
    pub(super) authorised: bool,
    /// Whether a message waits for its answer.
    pub(super) awaiting: bool,
    auth: u64,
    idle: u64,
    finished: bool,
    hung_up: bool,
}

impl Witness {
    pub(super) fn new(input: &[u8], rules: &Rules, now: u64) -> Self {
        Self {
            turns: turns(input, rules),
            next: 0,
            fed: 0,
            said: Vec::new(),
            written: 0,
            phase: Phase::Open,
            input: None,
            authorised: false,
            awaiting: false,
            auth: now + millis(rules.limits.auth_timeout()),
            idle: now + millis(rules.limits.idle_timeout()),
            finished: false,
            hung_up: false,
            rules: rules.clone(),
        }
    }

    pub(super) fn pending(&self) -> &[u8] {
        match self.phase {
            Phase::Open | Phase::Closing { .. } => &self.said[self.written..],
            Phase::Closed { .. } => &[],
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Whether more input is wanted.
    pub(super) fn is_reading(&self) -> bool {
        match self.phase {
            Phase::Open => self.input.is_none(),
            Phase::Closing { ended, .. } => !ended,
            Phase::Closed { .. } => false,
        }
    }

    pub(super) fn deadline(&self) -> Option<u64> {
        match self.phase {
            Phase::Open if self.authorised => Some(self.idle),
            Phase::Open => Some(self.idle.min(self.auth)),
            Phase::Closing { deadline, .. } => Some(deadline),
            Phase::Closed { .. } => None,
        }
    }

    pub(super) fn ending(&self) -> Option<&Ending> {
        match &self.phase {
            Phase::Open => None,
            Phase::Closing { ending, .. } | Phase::Closed { ending } => Some(ending),
        }
    }

    /// The turn that is known and next, if frames are taken at all.
    pub(super) fn known(&self) -> Option<&Turn> {
        let (turn, known_at) = self.turns.get(self.next)?;
        (self.is_open() && !self.awaiting && *known_at <= self.fed).then_some(turn)
    }

    /// Takes the next turn, or the end of the input when there is none.
    pub(super) fn take(&mut self, now: u64) {
        let Some(turn) = self.known().cloned() else {
            if let (Phase::Open, false, Some(ending)) = (&self.phase, self.awaiting, &self.input) {
                self.close(ending.clone(), now, true);
            }
            return;
        };
        self.next += 1;
        match turn {
            Turn::Refused(text) => return self.refuse(&text, now),
            Turn::Ping => self.say(&pong(&self.rules)),
            Turn::Message(_) => self.awaiting = true,
        }
        self.authorised = true;
    }

    pub(super) fn answer(&mut self, id: Option<u64>, now: u64) {
        if self.is_open() && std::mem::take(&mut self.awaiting) {
            match id {
                Some(id) => self.say(&ok(id)),
                None => self.refuse("inbox full", now),
            }
        }
    }

    pub(super) fn answer_with(&mut self, line: &str) {
        if self.is_open() && std::mem::take(&mut self.awaiting) {
            self.say(line);
            self.say("\n");
        }
    }

    /// "One error frame a connection".
    pub(super) fn refuse(&mut self, text: &str, now: u64) {
        if self.is_open() {
            self.say(&error(text));
            let ended = self.input.is_some();
            self.close(Ending::Refused(text.to_owned()), now, ended);
        }
    }

    /// "{auth,idle} timeout"; a closing connection ends by its own deadline (§5.4).
    pub(super) fn timeout(&mut self, now: u64) {
        match &self.phase {
            Phase::Open if !self.authorised && now >= self.auth => {
                self.refuse("authentication timeout", now);
            }
            Phase::Open if now >= self.idle => self.refuse("idle timeout", now),
            Phase::Closing {
                ending, deadline, ..
            } if now >= *deadline => {
                let ending = ending.clone();
                self.phase = Phase::Closed { ending };
            }
            _ => {}
        }
    }

    /// Bytes went one way or the other.
    pub(super) fn active(&mut self, n: usize, now: u64) {
        if n > 0 {
            self.idle = now + millis(self.rules.limits.idle_timeout());
        }
        self.settle();
    }

    /// The input ended, so or so; the first ending counts.
    pub(super) fn end(&mut self, how: Ending) {
        match &mut self.phase {
            Phase::Open => self.input = self.input.take().or(Some(how)),
            Phase::Closing { ended, .. } => *ended |= how == Ending::Finished,
            Phase::Closed { .. } => {}
        }
        self.settle();
    }

    pub(super) fn broken(&mut self) {
        let ending = self.ending().cloned().unwrap_or(Ending::Broken);
        self.phase = Phase::Closed { ending };
    }

    /// Whether the output is to be ended, and whether the transport is to be closed, each once.
    pub(super) fn act(&mut self) -> (bool, bool) {
        let flushed = self.written == self.said.len();
        match self.phase {
            Phase::Closing { .. } if flushed => {
                (!std::mem::replace(&mut self.finished, true), false)
            }
            Phase::Closed { .. } => (false, !std::mem::replace(&mut self.hung_up, true)),
            _ => (false, false),
        }
    }

    fn say(&mut self, text: &str) {
        self.said.extend_from_slice(text.as_bytes());
    }

    fn close(&mut self, ending: Ending, now: u64, ended: bool) {
        let deadline = now + millis(self.rules.limits.closing_timeout());
        self.phase = Phase::Closing {
            ending,
            deadline,
            ended,
        };
        self.settle();
    }

    /// A closing connection with nothing to write and nothing to wait for is closed.
    fn settle(&mut self) {
        if let Phase::Closing {
            ending,
            ended: true,
            ..
        } = &self.phase
            && self.written == self.said.len()
        {
            let ending = ending.clone();
            self.phase = Phase::Closed { ending };
        }
    }
}
