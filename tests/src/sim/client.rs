//! A good client: the production exchange, moved as the shell moves it.

use std::collections::{BTreeMap, VecDeque};

use hallway_core::Token;
use hallway_core::local::exchange::{
    Answer, Data, Draft, Exchange, Failure, Outcome, SendError, SendId,
};

use super::Flaw;
use super::actors::dial;
use super::daemon::Daemon;
use super::ledger::Request;
use super::network::{End, Got};
use super::stage::{MS, Stage, Time, Who, time};
use crate::model::client::{Fate, REFUSED, frame};
use crate::model::conversation::WALL;
use crate::model::frames::{Frame, read};
use crate::model::source::Source;

/// What it wants to say.
#[derive(Clone, Debug)]
enum Ask {
    Ping,
    Text(String),
}

/// How it goes about it.
struct Temper {
    /// How many requests it makes before it waits.
    batch: usize,
    /// How long it rests between batches.
    pause: Time,
    /// How many bytes it writes and reads at a time.
    piece: usize,
    /// Whether it reads only now and then.
    slow: bool,
    half_closes: bool,
    /// How long it stays when everything is answered.
    lingers: Time,
    /// Once in how many turns it crashes, or the network fails.
    luck: usize,
}

pub(super) struct Client {
    pid: u32,
    temper: Temper,
    asks: VecDeque<Ask>,
    tries: usize,
    asleep: Time,
    session: Session,
}

enum Session {
    /// Not connected.
    Away,
    /// It has read the capability file.
    Holding(String),
    Open(Box<Open>),
}

struct Open {
    link: usize,
    token: Token,
    exchange: Exchange,
    /// Where the ledger has each request.
    requests: BTreeMap<SendId, usize>,
    output_broken: bool,
    half_closed: bool,
    /// How many lines of the server were read, and how many requests they answered.
    heard: usize,
    answered: usize,
    /// When it goes, once everything is answered.
    until: Option<Time>,
    next_batch: Time,
}

impl Client {
    pub(super) fn new(me: usize, pid: u32, rng: &mut Source<'_>) -> Self {
        let asks = (0..rng.below(14)).map(|n| match rng.below(4) {
            0 => Ask::Ping,
            _ => {
                let padding = rng.pick(&[0, 0, 0, 200, 400, 600]);
                Ask::Text(format!("client {me} message {n} {}", "x".repeat(padding)))
            }
        });
        Self {
            pid,
            asks: asks.collect(),
            temper: Temper {
                batch: rng.pick(&[100, 1, 3]),
                pause: rng.pick(&[0, MS, 12 * MS]),
                piece: rng.pick(&[usize::MAX, usize::MAX, 1, 50]),
                slow: rng.once_in(4),
                half_closes: rng.once_in(4),
                lingers: rng.pick(&[0, 5 * MS, 100 * MS]),
                luck: rng.pick(&[1_000_000, 1_000_000, 100, 30]),
            },
            tries: 4,
            asleep: 0,
            session: Session::Away,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self.session, Session::Away) && (self.asks.is_empty() || self.tries == 0)
    }

    pub(super) fn turn(&mut self, me: usize, daemon: Option<&Daemon>, stage: &mut Stage) {
        if stage.now >= self.asleep && stage.rng.once_in(120) {
            self.sleep(stage);
        }
        if stage.now < self.asleep {
            return stage.wake(Who::Actor(me), self.asleep);
        }
        match std::mem::replace(&mut self.session, Session::Away) {
            Session::Away => self.set_out(me, daemon, stage),
            Session::Holding(token) => self.connect(me, &token, daemon, stage),
            Session::Open(mut open) => {
                if self.talk(me, &mut open, stage) {
                    self.session = Session::Open(open);
                } else {
                    stage.links[open.link].close_client();
                    stage.wake(Who::Serve(open.link), stage.now);
                    self.again(me, stage);
                }
            }
        }
    }

    /// Its machine is suspended; whoever sleeps may know late.
    fn sleep(&mut self, stage: &mut Stage) {
        self.asleep = stage.now + stage.rng.below(60) as Time * MS;
        if let Session::Open(open) = &self.session {
            for at in open.requests.values() {
                let deadline = &mut stage.ledger.requests[*at].deadline;
                *deadline = (*deadline).max(self.asleep);
            }
        }
    }

    fn again(&mut self, me: usize, stage: &mut Stage) {
        self.tries -= 1;
        if !self.is_done() {
            let pause = 1 + stage.rng.below(30) as Time;
            stage.wake(Who::Actor(me), stage.now + pause * MS);
        }
    }

    /// Reads the capability file; by the time that it connects, that may be of a past life.
    fn set_out(&mut self, me: usize, daemon: Option<&Daemon>, stage: &mut Stage) {
        if self.is_done() {
            return;
        }
        match daemon {
            None => self.again(me, stage),
            Some(daemon) => {
                self.session = Session::Holding(daemon.house.rules.token.clone());
                let at = stage.now + stage.delay();
                stage.wake(Who::Actor(me), at);
            }
        }
    }

    fn connect(&mut self, me: usize, token: &str, daemon: Option<&Daemon>, stage: &mut Stage) {
        let Some(link) = dial(me, self.pid, daemon, stage) else {
            return self.again(me, stage);
        };
        self.session = Session::Open(Box::new(Open {
            link,
            token: Token::parse(token).expect("a token"),
            exchange: Exchange::new(&stage.limits),
            requests: BTreeMap::new(),
            output_broken: false,
            half_closed: false,
            heard: 0,
            answered: 0,
            until: None,
            next_batch: stage.now,
        }));
        stage.wake(Who::Actor(me), stage.now);
    }

    /// One turn of an open connection; whether it stays open.
    fn talk(&mut self, me: usize, open: &mut Open, stage: &mut Stage) -> bool {
        if stage.rng.once_in(self.temper.luck) {
            if stage.rng.once_in(2) {
                stage.note("a client crashes", [me as u64, open.link as u64]);
                stage.reached.client_crashes += 1;
                for at in open.requests.values() {
                    stage.ledger.requests[*at].abandoned = true;
                }
                return false;
            }
            stage.note("the network fails", [me as u64, open.link as u64]);
            stage.reached.cuts += 1;
            stage.links[open.link].cut();
            stage.wake(Who::Serve(open.link), stage.now);
        }
        if stage.now >= open.next_batch && !open.half_closed {
            for _ in 0..self.temper.batch {
                if !self.ask(open, stage) {
                    break;
                }
            }
            open.next_batch = stage.now + self.temper.pause;
        }
        let reads = !self.temper.slow || stage.rng.once_in(4);
        loop {
            while let Some(outcome) = open.exchange.poll_outcome() {
                open.record(outcome, stage);
            }
            let mut moved = open.write(self.temper.piece, stage);
            moved |= reads && open.read(self.temper.piece, stage);
            // As for the server: answers that came in time are heard before the clock is.
            if !moved || stage.has(Flaw::ClientClockFirst) {
                moved |= open.tick(stage);
            }
            if !moved {
                break;
            }
        }
        self.stays(me, open, stage)
    }

    /// Makes the next request, if there is one and room for it.
    fn ask(&mut self, open: &mut Open, stage: &mut Stage) -> bool {
        let Some(ask) = self.asks.pop_front() else {
            return false;
        };
        let (now, token) = (stage.instant(), &open.token);
        let (patience, text, result) = match &ask {
            Ask::Ping => {
                let patience = stage.limits.ping_timeout();
                (patience, None, open.exchange.ping(token, now, WALL))
            }
            Ask::Text(words) => {
                let data = Data::Text(words);
                let draft = Draft {
                    kind: "text",
                    data,
                    from: None,
                };
                let data = crate::model::json::quote(words);
                let frame = frame("text", Some(&data), None, token.expose());
                let Frame::Object { kept, .. } = read(frame.trim_end().as_bytes(), 128) else {
                    panic!("a good client sends good frames");
                };
                let patience = stage.limits.send_timeout();
                (
                    patience,
                    Some(kept),
                    open.exchange.send(draft, token, now, WALL),
                )
            }
        };
        match result {
            Ok(id) => {
                open.requests.insert(id, stage.ledger.requests.len());
                stage.ledger.requests.push(Request {
                    text,
                    link: open.link,
                    deadline: stage.now + patience.as_micros() as Time,
                    fate: None,
                    abandoned: false,
                });
                true
            }
            Err(SendError::TooLong { .. }) => true,
            Err(SendError::Full | SendError::Closed(_)) => {
                self.asks.push_front(ask);
                false
            }
            Err(other) => panic!("{other}"),
        }
    }

    /// What comes next: more, an end, or a wait.
    fn stays(&mut self, me: usize, open: &mut Open, stage: &mut Stage) -> bool {
        let (idle, exchange) = (open.exchange.unanswered() == 0, &open.exchange);
        if exchange.is_closed() {
            assert!(idle, "an outcome is missing");
            return false;
        }
        let written = exchange.pending().is_empty() && self.asks.is_empty();
        if written && self.temper.half_closes && !open.half_closed {
            open.half_closed = true;
            stage.reached.half_closes += 1;
            stage.links[open.link].up.finish(End::Finished);
            stage.wake(Who::Serve(open.link), stage.now);
        }
        let mut next = exchange.poll_timeout().map_or(Time::MAX, time);
        if stage.has(Flaw::ClientWaits) {
            next = Time::MAX;
        }
        if idle && self.asks.is_empty() {
            let until = *open.until.get_or_insert(stage.now + self.temper.lingers);
            if stage.now >= until && !open.half_closed {
                return false;
            }
            if !open.half_closed {
                next = next.min(until);
            }
        } else if !self.asks.is_empty() {
            next = next.min(open.next_batch.max(stage.now + MS));
        }
        if let Some(arrival) = stage.links[open.link].down.arrival() {
            let least = if arrival > stage.now {
                arrival
            } else {
                stage.now + 2 * MS
            };
            next = next.min(least);
        }
        if next < Time::MAX {
            stage.wake(Who::Actor(me), next);
        }
        true
    }
}

impl Open {
    fn write(&mut self, piece: usize, stage: &mut Stage) -> bool {
        let mut moved = false;
        while !self.exchange.pending().is_empty() {
            if self.output_broken {
                self.exchange.handle_output_broken();
                break;
            }
            let at = stage.now + stage.delay();
            let pending = self.exchange.pending();
            let piece = &pending[..pending.len().min(piece)];
            match stage.links[self.link].up.write(piece, at) {
                Some(0) => break,
                Some(n) => self.exchange.handle_output(n),
                None => self.output_broken = true,
            }
            let arrival = stage.links[self.link].up.arrival().unwrap_or(at);
            stage.wake(Who::Serve(self.link), arrival);
            moved = true;
        }
        moved
    }

    fn read(&mut self, piece: usize, stage: &mut Stage) -> bool {
        let spare = self.exchange.spare_mut();
        let most = spare.len().min(piece);
        if most == 0 {
            return false;
        }
        match stage.links[self.link]
            .down
            .read(&mut spare[..most], stage.now)
        {
            Got::Nothing => return false,
            Got::Bytes(n) => {
                self.heard += spare[..n].iter().filter(|byte| **byte == b'\n').count();
                self.exchange.handle_input(n);
                stage.wake(Who::Serve(self.link), stage.now);
            }
            Got::Ended(End::Reset) if stage.rng.once_in(2) => self.exchange.handle_broken(),
            Got::Ended(_) => self.exchange.handle_end_of_input(),
        }
        true
    }

    fn tick(&mut self, stage: &mut Stage) -> bool {
        let due = self
            .exchange
            .poll_timeout()
            .is_some_and(|due| due <= stage.instant());
        if !due || stage.has(Flaw::ClientWaits) {
            return false;
        }
        self.exchange.handle_timeout(stage.instant());
        assert_eq!(
            self.exchange.poll_timeout(),
            None,
            "a timeout that is due does nothing"
        );
        true
    }

    fn record(&mut self, outcome: Outcome, stage: &mut Stage) {
        let Outcome {
            id,
            result,
            written,
        } = outcome;
        let at = self.requests.remove(&id).expect("one outcome each");
        let reached = &mut stage.reached;
        let fate = match result {
            Ok(Answer::Accepted(id)) => Fate::Accepted(id.map(String::from)),
            Ok(Answer::Pong) => Fate::Pong,
            Ok(Answer::Object(text)) => Fate::Object(text.into()),
            Err(Failure::Refused) => Fate::Failed(REFUSED),
            Err(Failure::TimedOut) => Fate::Failed("timed out"),
            Err(_) => Fate::Failed("unanswered"),
        };
        match &fate {
            Fate::Failed(REFUSED) => reached.refused_requests += 1,
            Fate::Failed("timed out") => {
                reached.timed_out += 1;
                assert_eq!(
                    self.heard, self.answered,
                    "what was read in time was not heard"
                );
            }
            Fate::Failed(_) => reached.unanswered += 1,
            _ => {
                reached.answered += 1;
                self.answered += 1;
            }
        }
        reached.unwritten += u64::from(!written);
        stage.note(
            "outcome",
            [at as u64, u64::from(matches!(fate, Fate::Failed(_)))],
        );
        stage.ledger.requests[at].fate = Some((fate, written, stage.now));
    }
}
