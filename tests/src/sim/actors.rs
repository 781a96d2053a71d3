//! Clients, good and bad.

use super::client::Client;
use super::daemon::Daemon;
use super::network::Link;
use super::rogue::Rogue;
use super::stage::{Stage, Who};
use crate::model::source::Source;

pub(super) enum Actor {
    /// Speaks through the production exchange.
    Good(Box<Client>),
    /// Sends what it likes.
    Bad(Rogue),
}

impl Actor {
    pub(super) fn new(at: usize, rng: &mut Source<'_>) -> Self {
        // Several of them belong to one process.
        let pid = 1 + (at % 3) as u32;
        if rng.below(3) == 0 {
            Self::Bad(Rogue::new(pid, rng))
        } else {
            Self::Good(Box::new(Client::new(at, pid, rng)))
        }
    }

    pub(super) fn turn(&mut self, me: usize, daemon: Option<&Daemon>, stage: &mut Stage) {
        match self {
            Self::Good(client) => client.turn(me, daemon, stage),
            Self::Bad(rogue) => rogue.turn(me, daemon, stage),
        }
    }

    pub(super) fn is_done(&self) -> bool {
        match self {
            Self::Good(client) => client.is_done(),
            Self::Bad(rogue) => rogue.is_done(),
        }
    }
}

/// Connects, if somebody listens.
pub(super) fn dial(
    me: usize,
    pid: u32,
    daemon: Option<&Daemon>,
    stage: &mut Stage,
) -> Option<usize> {
    if daemon.is_none_or(|daemon| daemon.stopping) {
        return None;
    }
    let capacity = stage.rng.pick(&[100_000, 2_000, 300, 50]);
    stage.links.push(Link::new(me, pid, capacity));
    let link = stage.links.len() - 1;
    stage.note("dialled", [me as u64, link as u64]);
    let at = stage.now + stage.delay();
    stage.wake(Who::Accept(link), at);
    Some(link)
}
