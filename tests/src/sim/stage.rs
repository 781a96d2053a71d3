//! What all actors share: the clock and the agenda, chance, the network, the trace, and the
//! ledger of what happened.

use std::collections::BTreeMap;

use hallway_core::{Instant, Limits};

use super::ledger::Ledger;
use super::network::Link;
use super::trace::Trace;
use super::{Flaw, Reached};
use crate::model::generate::bounds;
use crate::model::source::Source;

/// Who has a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Who {
    /// The daemon's life: it starts, stops or crashes.
    Daemon,
    /// The daemon accepts a connection.
    Accept(usize),
    /// The daemon's task of a connection.
    Serve(usize),
    /// The one who reads the inbox.
    Consumer,
    /// A client, good or bad.
    Actor(usize),
}

/// A microsecond count from the beginning of the run.
pub(super) type Time = u64;

pub(super) const MS: Time = 1_000;

pub(super) struct Stage {
    pub(super) now: Time,
    pub(super) rng: Source<'static>,
    pub(super) limits: Limits,
    /// The same but for an outbox without much of a bound.
    pub(super) wide_limits: Limits,
    pub(super) links: Vec<Link>,
    pub(super) ledger: Ledger,
    pub(super) reached: Reached,
    pub(super) flaw: Option<Flaw>,
    /// How slow the consumer is: 0 for one that never pauses.
    pub(super) consumer_pace: Time,
    pub(super) trace: Trace,
    /// Who has a turn when; what is added first comes first.
    agenda: BTreeMap<(Time, u64), Who>,
    /// The one place of each on the agenda.
    places: BTreeMap<Who, (Time, u64)>,
    added: u64,
}

impl Stage {
    pub(super) fn new(seed: u64, flaw: Option<Flaw>, trace: Trace) -> Self {
        let mut rng = Source::Seed(seed);
        let bounds = bounds(&mut rng);
        let wide = bounds.max_outbox_bytes(1 << 20).build();
        let consumer_pace = rng.pick(&[0, 1, 1, 10, 50]);
        Self {
            now: 0,
            rng,
            limits: bounds.build().expect("limits within their ranges"),
            wide_limits: wide.expect("limits within their ranges"),
            links: Vec::new(),
            ledger: Ledger::default(),
            reached: Reached::default(),
            flaw,
            consumer_pace,
            trace,
            agenda: BTreeMap::new(),
            places: BTreeMap::new(),
            added: 0,
        }
    }

    /// Gives `who` a turn at `at`, or earlier if there is one already.
    pub(super) fn wake(&mut self, who: Who, at: Time) {
        let at = at.max(self.now);
        match self.places.get(&who) {
            Some(place) if place.0 <= at => return,
            Some(place) => drop(self.agenda.remove(place)),
            None => {}
        }
        self.added += 1;
        self.agenda.insert((at, self.added), who);
        self.places.insert(who, (at, self.added));
    }

    /// The next turn; the clock jumps to it.
    pub(super) fn next(&mut self) -> Option<Who> {
        let ((at, _), who) = self.agenda.pop_first()?;
        self.places.remove(&who);
        self.now = at;
        Some(who)
    }

    /// When `who` has a turn next.
    pub(super) fn place(&self, who: Who) -> Option<Time> {
        self.places.get(&who).map(|place| place.0)
    }

    /// How long something takes: nothing, mostly little, rarely long.
    pub(super) fn delay(&mut self) -> Time {
        match self.rng.below(16) {
            0..6 => 0,
            6..14 => self.rng.below(500) as Time,
            14 => self.rng.below(5_000) as Time,
            _ => self.rng.below(20_000) as Time,
        }
    }

    /// The core's name for the present.
    pub(super) fn instant(&self) -> Instant {
        Instant::from_nanos(self.now * 1_000)
    }

    pub(super) fn note(&mut self, what: &str, numbers: [u64; 2]) {
        self.trace.note(self.now, what, numbers);
    }

    pub(super) fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }
}

/// The simulation's name for a point of the core's time.
pub(super) fn time(instant: Instant) -> Time {
    instant.as_nanos() / 1_000
}
