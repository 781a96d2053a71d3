//! The virtual server: what becomes of a dial, and of a connection.

use std::time::Duration;

use hallway_core::session::event::{DialFailure, Epoch};

use super::world::{MS, SECOND, Time, Turn};
use crate::model::check::subscription::{code, failure, said};
use crate::model::source::Source;
use crate::model::subscription::Said;

/// How the server is, for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    /// It serves whoever has the right token.
    Up,
    /// Nobody is there.
    Down,
    /// It says nothing.
    Stalls,
    /// It asks for patience.
    Busy,
    /// It refuses every dial in some way.
    Refuses,
    /// It accepts and closes with 4001.
    Compacts,
    /// It accepts and closes with any code.
    Kicks,
    /// It accepts and falls silent.
    Mute,
}

impl Mood {
    pub(super) const ALL: [Self; 8] = [
        Self::Up,
        Self::Down,
        Self::Stalls,
        Self::Busy,
        Self::Refuses,
        Self::Compacts,
        Self::Kicks,
        Self::Mute,
    ];

    /// Those that never give a connection that proves itself.
    pub(super) const HOPELESS: [Self; 4] = [Self::Down, Self::Stalls, Self::Compacts, Self::Kicks];
}

/// One transport, as the network has it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Link {
    /// The number of the token that it was dialled with.
    pub(super) token: u64,
    /// Nothing comes through to the client any more.
    pub(super) is_mute: bool,
    /// A frame is on its way.
    pub(super) is_writing: bool,
}

#[derive(Debug)]
pub(super) struct Server {
    pub(super) mood: Mood,
    /// It and the network do nothing but what the mood says.
    pub(super) is_steady: bool,
    /// It will not get better.
    pub(super) is_hopeless: bool,
    /// The number of the token that it takes.
    pub(super) token: u64,
    /// A connection without a word is closed before it has lasted so long.
    pub(super) healthy_after: Time,
}

/// What happens to a dial or a connection, and when.
pub(super) type Fate = Vec<(Time, Turn)>;

impl Server {
    /// What becomes of the dial of `epoch`.
    pub(super) fn dialled(&self, epoch: Epoch, link: &Link, rng: &mut Source<'_>) -> Fate {
        let soon = rng.pick(&[0, 1, 5, 30, 700]) * MS;
        let refused = |failure| vec![(soon, Turn::Failed(epoch, failure))];
        match self.mood {
            Mood::Down => refused(DialFailure::Unreachable),
            Mood::Stalls => Vec::new(),
            Mood::Busy => refused(DialFailure::Status {
                status: rng.pick(&[503, 429, 404]),
                retry_after: rng
                    .pick(&[Some(2), None, Some(20)])
                    .map(Duration::from_secs),
            }),
            Mood::Refuses => refused(failure(rng)),
            Mood::Up | Mood::Mute if link.token != self.token => refused(DialFailure::Status {
                status: rng.pick(&[401, 403]),
                retry_after: None,
            }),
            Mood::Up | Mood::Compacts | Mood::Kicks | Mood::Mute => {
                let mut fate = vec![(soon, Turn::Opened(epoch))];
                if rng.once_in(8) {
                    fate.push((soon + rng.pick(&[0, 3, 900]) * MS, Turn::Opened(epoch)));
                }
                if rng.once_in(10) && !self.is_steady {
                    fate.push((soon / 2, Turn::Gone(epoch, None)));
                }
                fate
            }
        }
    }

    /// What becomes of the connection of `epoch`, which has just come up.
    pub(super) fn opened(&self, epoch: Epoch, rng: &mut Source<'_>) -> Fate {
        let mut fate = Fate::new();
        let early = rng.below(self.healthy_after as usize) as Time;
        match self.mood {
            Mood::Compacts => return vec![(early, Turn::Gone(epoch, Some(4_001)))],
            Mood::Kicks => {
                // 4003 would end it at once.
                let code = code(rng).filter(|code| *code != 4_003);
                return vec![(early, Turn::Gone(epoch, code))];
            }
            Mood::Mute => return vec![(early, Turn::Mute(epoch))],
            _ => {}
        }
        let mut at = 0;
        for _ in 0..rng.below(6) {
            at += rng.pick(&[1, 40, 900, 8_000, 70_000]) * MS;
            fate.push((at, Turn::Message(epoch, said(rng))));
        }
        at += rng.pick(&[0, 10, 500, 20_000, 200_000]) * MS;
        fate.push(match rng.below(8) {
            0..3 => (at, Turn::Gone(epoch, code(rng))),
            3 | 4 => (at, Turn::Mute(epoch)),
            5 => (at, Turn::TooLong(epoch)),
            _ => (10 * at + 60 * SECOND, Turn::Gone(epoch, None)),
        });
        // What a transport says after its end comes too late.
        for _ in 0..rng.below(3) {
            let late = at + rng.pick(&[1, 100, 3_000, 40_000]) * MS;
            fate.push((
                late,
                match rng.below(3) {
                    0 => Turn::Message(epoch, Said::Plain),
                    1 => Turn::Pong(epoch),
                    _ => Turn::Gone(epoch, code(rng)),
                },
            ));
        }
        fate
    }
}
