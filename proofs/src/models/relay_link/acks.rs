//! What is to be sent and acknowledged both ways, by the wire contract's account (relay.md §1.2, §9.6).

use hallway_core::relay::link::{AckFailure, Asked, Event, Ignored};

use super::checks::{EVENTS, ORDER, OUTCOMES};
use super::witness::Witness;
use super::{ACK, ANSWER, MOST_ACKS};

/// A frame that was taken and not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Queued {
    Event(Asked),
    Volatile,
    Answer(u8),
}

/// What waits for an acknowledgement, ours or the server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Waits<T> {
    pub(super) what: T,
    /// Its number, once it was written.
    pub(super) id: Option<u64>,
    pub(super) deadline: u16,
    /// Why there will be none, when the caller was not told.
    pub(super) lost: Option<AckFailure>,
}

impl Witness {
    /// The server reads what was taken.
    pub(super) fn written_packet(&mut self, id: Option<u64>, is_answer: bool) {
        let expected = match self.queued.first() {
            Some(Queued::Event(asked)) => {
                let asked = *asked;
                let waits = self.asked.iter_mut().find(|waits| waits.what == asked);
                if let Some(waits) = waits {
                    waits.id = id;
                }
                id.is_some() && !is_answer
            }
            Some(Queued::Volatile) => id.is_none() && !is_answer,
            Some(Queued::Answer(key)) => id == Some(u64::from(*key)) && is_answer,
            None => false,
        };
        self.verdicts.expect(expected, ORDER);
        if !self.queued.is_empty() {
            self.queued.remove(0);
        }
    }

    /// The first event of ours that was written is acknowledged, once.
    pub(super) fn acked(&mut self, event: Option<&Event<'_>>) {
        let waits = self.asked.iter().position(|waits| waits.id.is_some());
        let waits = waits.map(|at| (at, self.asked.get(at).copied()));
        match waits {
            Some((at, Some(waits))) if waits.lost.is_none() => {
                let told =
                    matches!(event, Some(Event::Acked { asked, .. }) if *asked == waits.what);
                self.verdicts.expect(told, OUTCOMES);
                self.asked.remove(at);
                self.update(|c| c.traffic = true);
            }
            waits => {
                let ignored = event == Some(&Event::Ignored(Ignored::UnknownAck));
                self.verdicts.expect(ignored, OUTCOMES);
                let waits = waits.and_then(|(at, _)| self.asked.get_mut(at));
                if let Some(waits) = waits {
                    waits.id = None;
                }
            }
        }
    }

    pub(super) fn received(&mut self, acked: bool, now: u16, event: Option<&Event<'_>>) {
        let fits = self.owed.len() < MOST_ACKS;
        match event {
            Some(Event::Received { owed: None, .. }) => self.verdicts.expect(!acked, EVENTS),
            Some(Event::Received {
                owed: Some(owed), ..
            }) => {
                self.verdicts.expect(acked && fits, OUTCOMES);
                self.owed.push(Waits {
                    what: *owed,
                    id: Some(u64::from(self.keys)),
                    deadline: now + ANSWER,
                    lost: None,
                });
            }
            _ => {
                let flooded = event == Some(&Event::Ignored(Ignored::Flooded));
                self.verdicts.expect(acked && !fits && flooded, EVENTS);
            }
        }
        self.keys += u8::from(acked);
    }

    /// An event of ours was taken.
    pub(super) fn taken(&mut self, asked: Asked, now: u16) {
        self.queued.push(Queued::Event(asked));
        self.asked.push(Waits {
            what: asked,
            id: None,
            deadline: now + ACK,
            lost: None,
        });
    }

    /// The caller hears of what is lost.
    pub(super) fn hears_lost(&mut self, event: Option<&Event<'_>>) {
        let expected = match event {
            None => {
                !(self.asked.iter().any(|w| w.lost.is_some())
                    || self.owed.iter().any(|w| w.lost.is_some()))
            }
            Some(Event::AckLost { asked, why }) => take(&mut self.asked, *asked, *why),
            Some(Event::OwedLost { owed, why }) => take(&mut self.owed, *owed, *why),
            Some(_) => false,
        };
        self.verdicts.expect(expected, OUTCOMES);
    }

    fn lose(&mut self, why: AckFailure, over: impl Fn(u16) -> bool) {
        let lose = |lost: &mut Option<AckFailure>, deadline: u16| {
            if lost.is_none() && over(deadline) {
                *lost = Some(why);
            }
        };
        for waits in &mut self.asked {
            lose(&mut waits.lost, waits.deadline);
        }
        for waits in &mut self.owed {
            lose(&mut waits.lost, waits.deadline);
        }
    }

    pub(super) fn expire(&mut self, now: u16) {
        self.lose(AckFailure::TimedOut, |deadline| now >= deadline);
    }

    pub(super) fn lost(&mut self) {
        self.queued.clear();
        self.lose(AckFailure::Disconnected, |_| true);
    }
}

fn take<T: PartialEq>(waiting: &mut Vec<Waits<T>>, what: T, why: AckFailure) -> bool {
    let is = |waits: &Waits<T>| waits.what == what && waits.lost == Some(why);
    let at = waiting.iter().position(is);
    at.map(|at| waiting.remove(at)).is_some()
}
