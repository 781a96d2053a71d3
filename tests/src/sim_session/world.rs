//! The run: who moves next, on a virtual clock.

use std::collections::BTreeMap;
use std::time::Duration;

use hallway_core::Instant;
use hallway_core::backoff::Policy;
use hallway_core::session::event::{Action, DialFailure, Epoch, Event, SendError};
use hallway_core::session::limits::Limits;
use hallway_core::session::subscription::Answer;

use super::judge::{Judge, SLACK, Step};
use super::server::{Link, Mood, Server};
use super::subject::Subject;
use super::{Flaw, Reached};
use crate::model::check::subscription::{limits, policy};
use crate::model::json::{Json, decode, last};
use crate::model::source::Source;
use crate::model::subscription::{Fact, Model, Said};
use crate::sim::Report;
use crate::sim::trace::Trace;

/// Microseconds since the beginning of the run.
pub(super) type Time = u64;

pub(super) const MS: Time = 1_000;
pub(super) const SECOND: Time = 1_000 * MS;

/// More turns than any run takes.
const MOST_TURNS: u64 = 50_000;

/// What happens at a point in time.
#[derive(Clone, Debug)]
pub(super) enum Turn {
    Opened(Epoch),
    Failed(Epoch, DialFailure),
    Gone(Epoch, Option<u16>),
    Message(Epoch, Said),
    TooLong(Epoch),
    Pong(Epoch),
    /// From here on nothing gets through to the client.
    Mute(Epoch),
    /// A frame has been written.
    Written(Epoch),
    /// The token provider has answered.
    Token(Epoch),
    /// The caller does something.
    Caller,
    /// The server's mood changes.
    Mood,
    /// Nothing will get better.
    Hopeless,
    /// The caller closes it.
    Close,
    /// The machine is told that it slept.
    Wake,
}

#[derive(Debug)]
pub(super) struct World {
    now: Time,
    rng: Source<'static>,
    agenda: BTreeMap<(Time, u64), Turn>,
    added: u64,
    subject: Subject,
    /// Not asked when there is a flaw: the judge is to find it alone.
    model: Option<Model>,
    judge: Judge,
    server: Server,
    links: BTreeMap<Epoch, Link>,
    /// The token that the client would present.
    token: u64,
    asked: u64,
    hopeless_since: Option<(Time, u64)>,
    policy: Policy,
    limits: Limits,
    reached: Reached,
    trace: Trace,
}

impl World {
    pub(super) fn new(seed: u64, verbose: bool, flaw: Option<Flaw>) -> Self {
        let mut rng = Source::Seed(seed);
        let (limits, policy) = (limits(&mut rng), policy(&mut rng));
        let mut world = Self::with(rng, limits, policy, seed, verbose, flaw);
        for _ in 0..6 + world.rng.below(20) {
            let at = world.rng.below(900) as Time * SECOND;
            let turn = match world.rng.below(12) {
                0..4 => Turn::Mood,
                4 => Turn::Wake,
                _ => Turn::Caller,
            };
            world.at(at, turn);
        }
        let end = if world.rng.once_in(4) {
            Turn::Close
        } else {
            Turn::Hopeless
        };
        let at = world.rng.pick(&[900, 10, 0, 100, 3_000]) * SECOND;
        world.at(at, end);
        world
    }

    /// A server that is up, the default bounds and the default profile.
    pub(super) fn steady(seed: u64) -> Self {
        let (limits, policy) = (Limits::DEFAULT, Policy::RESILIENT);
        let mut world = Self::with(Source::Seed(seed), limits, policy, seed, false, None);
        world.server.is_steady = true;
        world
    }

    fn with(
        mut rng: Source<'static>,
        limits: Limits,
        policy: Policy,
        seed: u64,
        verbose: bool,
        flaw: Option<Flaw>,
    ) -> Self {
        let served: &[&str] = &["can_use_tool"];
        let healthy_after = time(Instant::ORIGIN.after(policy.healthy_after()));
        let mood = rng.pick(&[Mood::Up, Mood::Up, Mood::Down, Mood::Refuses]);
        Self {
            now: 0,
            rng,
            agenda: BTreeMap::new(),
            added: 0,
            subject: Subject::new(&limits, policy, seed, flaw),
            model: flaw.is_none().then(|| Model::new(&limits, policy, served)),
            judge: Judge::new(&limits, policy),
            server: Server {
                mood,
                is_steady: false,
                is_hopeless: false,
                token: 0,
                healthy_after,
            },
            links: BTreeMap::new(),
            token: 0,
            asked: 0,
            hopeless_since: None,
            policy,
            limits,
            reached: Reached::default(),
            trace: Trace::new(verbose),
        }
    }

    fn at(&mut self, at: Time, turn: Turn) {
        self.added += 1;
        self.agenda.insert((at, self.added), turn);
    }

    fn instant(&self) -> Instant {
        Instant::from_nanos(self.now * 1_000)
    }

    pub(super) fn run(mut self) -> Report<Reached> {
        self.tell(&Fact::Connect);
        while self.judge.closed().is_none() {
            self.turn();
        }
        // What still comes is too late, and the end is the end.
        for (_, turn) in std::mem::take(&mut self.agenda) {
            if !matches!(turn, Turn::Caller) {
                self.take(turn);
            }
        }
        for fact in [
            Fact::Connect,
            Fact::Reconnect,
            Fact::Close,
            Fact::Wake,
            Fact::Time,
        ] {
            self.tell(&fact);
        }
        let closed = Err(SendError::Closed(self.judge.closed().expect("an end")));
        assert_eq!(self.subject.interrupt("late"), closed);
        Report {
            hash: self.trace.hash(),
            reached: self.reached,
        }
    }

    pub(super) fn outage(mut self, outage: Duration) -> (u64, Duration) {
        self.server.mood = Mood::Up;
        self.tell(&Fact::Connect);
        while self.judge.open().is_none() || self.now < 100 * SECOND {
            self.turn();
        }
        self.ask();
        let open = self.judge.open().expect("a connection");
        self.server.mood = Mood::Down;
        self.take(Turn::Gone(open, None));
        let (began, dials) = (self.now, self.reached.dials);
        let end = began + time(Instant::ORIGIN.after(outage));
        while self.next_at() < end {
            self.turn();
        }
        let dials = self.reached.dials - dials;
        self.server.mood = Mood::Up;
        while self.judge.open().is_none() {
            self.turn();
        }
        let back = self.now;
        while !self.judge.outbox.is_empty() {
            self.turn();
        }
        (dials, Duration::from_micros(back.saturating_sub(end)))
    }

    /// When the next turn is.
    fn next_at(&self) -> Time {
        let first = self.agenda.keys().next().map(|key| key.0);
        let due = self.subject.poll_timeout().map(time);
        let next = first.into_iter().chain(due).min();
        next.expect("something is due").max(self.now)
    }

    /// The next thing that happens: of the agenda, or a deadline, sometimes somewhat late, and
    /// sometimes after a sleep.
    fn turn(&mut self) {
        self.reached.turns += 1;
        assert!(self.reached.turns < MOST_TURNS, "does not end");
        if let Some((since, dials)) = self.hopeless_since {
            self.must_end(since, dials);
        }
        let first = self.agenda.keys().next().copied();
        let due = self.subject.poll_timeout().map(time);
        match (first, due) {
            (Some(key), due) if due.is_none_or(|due| key.0 <= due) => {
                let turn = self.agenda.remove(&key).expect("a turn");
                self.now = self.now.max(key.0);
                if self.rng.once_in(16) {
                    self.tell(&Fact::Time);
                }
                // The caller has heard of the end.
                if !matches!(turn, Turn::Caller) || self.judge.closed().is_none() {
                    self.take(turn);
                }
            }
            (_, Some(due)) => {
                let is_calm = self.server.is_steady || self.server.is_hopeless;
                let late = if is_calm || !self.rng.once_in(40) {
                    self.rng.pick(&[0, 0, 1, 5]) * MS
                } else {
                    let lateness = time(Instant::ORIGIN.after(self.limits.sleep_lateness()));
                    lateness * self.rng.pick(&[1, 2, 100])
                };
                self.now = self.now.max(due + late);
                self.tell(&Fact::Time);
            }
            (None, None) => panic!("waits without a deadline, or for nothing"),
            (Some(_), None) => unreachable!("the first arm has it"),
        }
    }

    /// Without hope it ends, by count and by time.
    fn must_end(&self, since: Time, dials: u64) {
        let policy = &self.policy;
        let dials = self.reached.dials - dials;
        assert!(
            dials <= u64::from(policy.max_dials()) + 1,
            "goes on without a budget: {dials} dials"
        );
        let delays = [policy.transient(), policy.not_found()].map(|schedule| schedule.max_delay);
        // What the server asked for when there was hope may still be waited for.
        let once = delays[0].max(delays[1]) + self.limits.dial_timeout() + policy.max_retry_after();
        let most = policy.give_up_after() + policy.healthy_after() + 2 * once + SLACK;
        let took = Duration::from_micros(self.now - since);
        assert!(
            took <= most,
            "goes on without a budget: {took:?} of {most:?}"
        );
    }

    fn take(&mut self, turn: Turn) {
        let gets_through = |world: &Self, epoch: &Epoch| {
            let link = world.links.get(epoch);
            !link.is_some_and(|link| link.is_mute) || !world.judge.is_live(*epoch)
        };
        match turn {
            Turn::Opened(epoch) => self.opened(epoch),
            Turn::Failed(epoch, failure) => self.tell(&Fact::DialFailed(epoch, failure)),
            Turn::Gone(epoch, code) if gets_through(self, &epoch) => {
                self.tell(&Fact::Gone(epoch, code));
            }
            Turn::Message(epoch, said) if gets_through(self, &epoch) => {
                self.tell(&Fact::Message(epoch, &said));
            }
            Turn::TooLong(epoch) if gets_through(self, &epoch) => self.tell(&Fact::TooLong(epoch)),
            Turn::Pong(epoch) if gets_through(self, &epoch) => self.tell(&Fact::Pong(epoch)),
            Turn::Gone(..) | Turn::Message(..) | Turn::TooLong(_) | Turn::Pong(_) => {}
            Turn::Mute(epoch) => self.link(epoch).is_mute = true,
            Turn::Written(epoch) => self.written(epoch),
            Turn::Token(epoch) => {
                if self.rng.once_in(3) {
                    self.token = self.server.token;
                }
                let another = self.link(epoch).token != self.token;
                self.reached.rotated += u64::from(another);
                self.tell(&Fact::Token(epoch, another));
            }
            Turn::Caller => self.caller(),
            Turn::Mood if self.server.is_hopeless => {}
            Turn::Mood => {
                self.server.mood = self.rng.pick(&Mood::ALL);
                if self.rng.once_in(2) {
                    self.server.token += 1;
                }
                if self.rng.once_in(3) {
                    self.token = self.server.token;
                }
            }
            Turn::Hopeless => self.lose_hope(),
            Turn::Close => self.tell(&Fact::Close),
            Turn::Wake if self.server.is_hopeless => {}
            Turn::Wake => self.tell(&Fact::Wake),
        }
    }

    fn link(&mut self, epoch: Epoch) -> &mut Link {
        self.links.entry(epoch).or_default()
    }

    fn opened(&mut self, epoch: Epoch) {
        let was_open = self.judge.open() == Some(epoch);
        self.tell(&Fact::Opened(epoch));
        if self.judge.open() != Some(epoch) || was_open || self.server.is_steady {
            return;
        }
        for (after, turn) in self.server.opened(epoch, &mut self.rng) {
            self.at(self.now + after, turn);
        }
    }

    fn lose_hope(&mut self) {
        self.server.mood = self.rng.pick(&Mood::HOPELESS);
        self.server.is_hopeless = true;
        self.reached.outages += u64::from(self.server.mood == Mood::Down);
        // Whatever was to come over a connection comes too late.
        if let Some(open) = self.judge.open() {
            self.link(open).is_mute = false;
            self.take(Turn::Gone(open, None));
        }
        self.agenda
            .retain(|_, turn| !matches!(turn, Turn::Message(..) | Turn::Opened(_) | Turn::Pong(_)));
        self.hopeless_since = Some((self.now, self.reached.dials));
    }

    fn caller(&mut self) {
        match self.rng.below(12) {
            0..5 => self.ask(),
            5..9 => self.answer(),
            9 if !self.server.is_hopeless => {
                self.reached.forced += 1;
                self.tell(&Fact::Reconnect);
            }
            10 => self.tell(&Fact::Connect),
            _ => {
                let unknown = self
                    .subject
                    .answer("nobody asked", Answer::Error { error: "" });
                assert_eq!(unknown, Err(SendError::UnknownRequest));
            }
        }
    }

    /// Asks the server.
    fn ask(&mut self) {
        self.asked += 1;
        let id = format!("u{}", self.asked);
        let taken = self.subject.interrupt(&id);
        if let Some(model) = &mut self.model {
            let expected = model.book.request(&id, r#"{"subtype":"interrupt"}"#);
            assert_eq!(taken, expected, "a request");
        }
        self.taken(taken, id);
        self.settle();
    }

    /// Answers one of the server's requests.
    fn answer(&mut self) {
        let Some(id) = self.judge.pending().first().cloned() else {
            return;
        };
        let answer = match self.rng.below(3) {
            0 => Answer::Allow {
                updated_input: None,
            },
            1 => Answer::Deny { message: "no" },
            _ => Answer::Error { error: "cannot" },
        };
        let taken = self.subject.answer(&id, answer);
        if let Some(model) = &mut self.model {
            assert_eq!(taken, model.book.answer(&id, &answer), "an answer");
        }
        if taken.is_ok() {
            self.judge.forget(&id);
            self.reached.answers += 1;
        }
        self.taken(taken, id);
        self.settle();
    }

    fn taken(&mut self, taken: Result<(), SendError>, id: String) {
        match taken {
            Ok(()) => self.judge.outbox.push_back(id),
            Err(SendError::Full | SendError::TooLong { .. }) => self.reached.full += 1,
            Err(other) => panic!("not taken: {other}"),
        }
    }

    /// Tells the client, lets it do what is to be done, and has all of it judged.
    fn tell(&mut self, fact: &Fact<'_>) {
        let now = self.instant();
        let before = self.subject.machine().clone();
        let due = before.poll_timeout();
        let text = match fact {
            Fact::Message(_, said) => said.text(),
            _ => String::new(),
        };
        let event = self.subject.tell(fact, &text, now);
        if let Some(model) = &mut self.model {
            model.tell(fact, event.as_ref(), now);
        }
        let mut step = Step {
            is_unchanged: *self.subject.machine() == before,
            ..Step::default()
        };
        loop {
            let action = self.subject.poll_action();
            if let Some(model) = &mut self.model {
                model.act(action);
            }
            let Some(action) = action else {
                break;
            };
            step.actions.push(action);
        }
        while let Some(left) = self.subject.poll_event() {
            if let (Some(model), Event::RequestCancelled { request_id, .. }) =
                (&mut self.model, &left)
            {
                assert_eq!(model.book.next_left().as_deref(), Some(&**request_id));
            }
            step.left.push(left);
        }
        let words = format!("{fact:?}: {event:?} {:?}", step.actions);
        self.trace.say(self.now, &words);
        let reached = &mut self.reached;
        self.judge
            .step(fact, event.as_ref(), &step, due, now, reached);
        for action in step.actions {
            self.perform(action);
        }
        self.settle();
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Dial(epoch) => {
                let link = Link {
                    token: self.token,
                    ..Link::default()
                };
                for (after, turn) in self.server.dialled(epoch, &link, &mut self.rng) {
                    self.at(self.now + after, turn);
                }
                self.links.insert(epoch, link);
            }
            Action::Ping(epoch) => {
                let latency = self.rng.pick(&[0, 1, 10, 30]) * MS;
                if !self.link(epoch).is_mute {
                    self.at(self.now + latency, Turn::Pong(epoch));
                }
            }
            Action::AskToken(epoch) if !self.rng.once_in(8) || self.server.is_hopeless => {
                let latency = self.rng.pick(&[0, 10, 2_000]) * MS;
                self.at(self.now + latency, Turn::Token(epoch));
            }
            // The server may not hear of a hang-up: what it says then comes late.
            Action::AskToken(_) | Action::Hangup(_) => {}
        }
    }

    /// Begins to write what waits, and looks at what holds between steps.
    fn settle(&mut self) {
        if let Some(epoch) = self.judge.open()
            && !self.link(epoch).is_writing
            && let Some(frame) = self.subject.poll_transmit(epoch)
        {
            let expected = self.judge.outbox.front();
            let id = id_of(&frame);
            assert_eq!(id.as_ref(), expected, "a frame was lost or is out of order");
            if let Some(model) = &self.model {
                assert_eq!(Some(frame.as_str()), model.book.outbox().next());
            }
            self.link(epoch).is_writing = true;
            let takes = self.rng.pick(&[0, 1, 100, 5_000]) * MS;
            self.at(self.now + takes, Turn::Written(epoch));
        }
        let due = self.subject.poll_timeout();
        if let Some(model) = &self.model {
            assert_eq!(due, model.due(), "the deadline");
        }
        self.judge.rest(self.subject.machine(), due, self.instant());
    }

    /// A write has come to its end. One to a transport that is gone does not count.
    fn written(&mut self, epoch: Epoch) {
        let before = self.subject.machine().clone();
        self.subject.transmitted(epoch);
        self.link(epoch).is_writing = false;
        if self.judge.open() == Some(epoch) {
            let id = self.judge.outbox.pop_front();
            if let Some(model) = &mut self.model {
                assert_eq!(model.book.sent().as_deref().and_then(id_of), id);
            }
            self.reached.sent += 1;
        } else {
            let is_unchanged = *self.subject.machine() == before;
            assert!(is_unchanged, "a former transport was heard");
            self.reached.cut_short += 1;
        }
        self.settle();
    }
}

/// The id that a frame of the client is about.
fn id_of(frame: &str) -> Option<String> {
    let json = Json::read(frame)?;
    let members = json.members()?;
    if let Some(id) = last(members, "request_id") {
        return decode(id);
    }
    let response = Json::read(last(members, "response")?)?;
    decode(last(response.members()?, "request_id")?)
}

fn time(instant: Instant) -> Time {
    instant.as_nanos().div_ceil(1_000)
}
