//! The one who reads the inbox: in every way that a mailbox offers, and only when woken.

use std::task::{Context, Poll, Waker};

use hallway_core::local::inbox::{Entry, EntryId};

use super::Flaw;
use super::daemon::House;
use super::ledger::Death;
use super::stage::{Stage, Who};

/// One turn. Returns `true` when the mailbox is closed and empty.
pub(super) fn turn(house: &House, stage: &mut Stage) -> bool {
    let mailbox = &house.mailbox;
    match stage.rng.below(3) {
        0 => {
            let mut entries = mailbox.drain();
            if stage.has(Flaw::SwapsEntries) {
                entries.reverse();
            }
            for entry in entries {
                record(entry.id(), entry.message(), house, stage);
            }
        }
        1 => {
            if let Some(entry) = mailbox.pop() {
                record(entry.id(), entry.message(), house, stage);
            }
        }
        _ => {
            let most = 1 + stage.rng.below(4);
            let mut seen: Vec<Entry> = Vec::new();
            mailbox.peek(None, |entry| {
                seen.push(entry.clone());
                seen.len() < most
            });
            if let Some(last) = seen.last() {
                assert_eq!(mailbox.mark_processed(last.id()), seen.len());
                for entry in &seen {
                    record(entry.id(), entry.message(), house, stage);
                }
            }
        }
    }
    let waker = Waker::from(house.bell.clone());
    match mailbox.poll_pending(None, &mut Context::from_waker(&waker)) {
        Poll::Ready(true) => {
            let pause = stage.delay() * stage.consumer_pace;
            stage.wake(Who::Consumer, stage.now + pause);
            false
        }
        Poll::Ready(false) => {
            stage.ledger.lives[house.life].death = Some(Death::Stopped);
            true
        }
        Poll::Pending => false,
    }
}

fn record(id: EntryId, text: &str, house: &House, stage: &mut Stage) {
    stage.note("drained", [id.get(), house.life as u64]);
    if stage.has(Flaw::LosesEntry) && stage.rng.once_in(4) {
        return;
    }
    let drained = &mut stage.ledger.lives[house.life].drained;
    drained.push((id.get(), text.to_owned()));
}
