//! What the user of both ends may rely on, as a witness of the requests, the inbox and the
//! outcomes.

use std::collections::VecDeque;

use hallway_core::local::exchange::{Answer, Failure, Outcome, SendId};
use hallway_core::local::inbox::Inbox;

use super::{PING, SEND};

/// What a user asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Asked {
    /// That a message is taken; its `data` is its number.
    Message,
    /// A sign of life.
    Ping,
    /// That a message with another token is taken; its `data` is 0.
    Forged,
}

/// What the two ends did that their users may not see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wrong {
    /// Something without the token was kept.
    Forged,
    /// A message was kept twice, or out of order.
    KeptTwice,
    /// A request was accepted under an id that is not its message's.
    Accepted,
    /// A request was answered with the answer to another kind of request.
    Answer,
    /// An outcome names a request that is not the next.
    Order,
    /// A message is kept whose sender was told that it was not written.
    Unwritten,
    /// A message is kept whose sender was told that it was refused.
    Refused,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Request {
    ordinal: u8,
    asked: Asked,
    id: SendId,
    due: u16,
}

/// What an outcome tells a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Told {
    Accepted,
    Refused,
    /// Written and not answered; and it was kept.
    Unsure,
}

/// What is known of the requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Witness {
    asked: u8,
    waiting: VecDeque<Request>,
    /// The numbers of all messages that were ever kept, in the order of their ids.
    kept: Vec<u8>,
    /// Messages that must not be kept any more, and why.
    void: Vec<(u8, Wrong)>,
    /// What the last step told the user.
    pub(super) last: Option<Told>,
    pub(super) wrong: Option<Wrong>,
}

impl Witness {
    fn is_wrong(&mut self, wrong: Wrong) {
        self.wrong = self.wrong.or(Some(wrong));
    }

    /// How many requests there were.
    pub(super) const fn asked(&self) -> u8 {
        self.asked
    }

    pub(super) fn forget_last(&mut self) {
        self.last = None;
    }

    /// Nothing more will be kept.
    pub(super) fn server_gone(&mut self) {
        self.void.clear();
    }

    /// The number of the next request.
    pub(super) const fn next(&self) -> u8 {
        self.asked + 1
    }

    pub(super) fn ask(&mut self, asked: Asked, sent: Option<SendId>, now: u16) {
        self.asked += 1;
        let patience = if asked == Asked::Ping { PING } else { SEND };
        self.waiting.extend(sent.map(|id| Request {
            ordinal: self.asked,
            asked,
            id,
            due: now + patience,
        }));
    }

    pub(super) fn keep(&mut self, old: &Inbox, new: &Inbox) {
        for entry in new.pending(old.last()) {
            let data = entry.message().strip_prefix(r#"{"type":"text","data":"#);
            let number = data.and_then(|rest| rest.split(',').next()?.parse::<u8>().ok());
            let number = number.unwrap_or(0);
            if number == 0 {
                self.is_wrong(Wrong::Forged);
            } else if self.kept.last().is_some_and(|last| *last >= number) {
                self.is_wrong(Wrong::KeptTwice);
            }
            if let Some((_, why)) = self.void.iter().find(|(void, _)| *void == number) {
                self.is_wrong(*why);
            }
            self.kept.push(number);
        }
    }

    pub(super) fn hear(&mut self, outcome: Option<&Outcome>, inbox: &Inbox) {
        let Some(outcome) = outcome else { return };
        let Some(request) = self
            .waiting
            .pop_front()
            .filter(|next| next.id == outcome.id)
        else {
            self.is_wrong(Wrong::Order);
            return;
        };
        match (&outcome.result, request.asked) {
            (Ok(Answer::Accepted(Some(id))), Asked::Message | Asked::Forged) => {
                self.last = Some(Told::Accepted);
                if !self.is_kept(request.ordinal, id, inbox) {
                    self.is_wrong(Wrong::Accepted);
                }
            }
            (Ok(Answer::Pong), Asked::Ping) => {}
            (Ok(_), _) => self.is_wrong(Wrong::Answer),
            (Err(Failure::Refused), _) => {
                self.last = Some(Told::Refused);
                self.void(request, Wrong::Refused);
            }
            (Err(_), _) if outcome.written => {
                let kept = self.kept.contains(&request.ordinal);
                self.last = kept.then_some(Told::Unsure);
            }
            (Err(_), _) => self.void(request, Wrong::Unwritten),
        }
    }

    /// Whether message `ordinal` was kept exactly once, under `id`.
    fn is_kept(&self, ordinal: u8, id: &str, inbox: &Inbox) -> bool {
        let places = self.kept.iter().zip(1_u64..);
        let mut of_message = places.filter(|(kept, _)| **kept == ordinal);
        let mut pending = inbox
            .pending(None)
            .filter(|entry| entry.id().to_string() == id);
        let newest = pending.next().is_none_or(|entry| {
            let data = format!(r#""data":{ordinal},"#);
            entry.message().contains(&data)
        });
        let once = of_message
            .next()
            .is_some_and(|(_, place)| id == format!("uds-{place}"));
        newest && once && of_message.next().is_none() && pending.next().is_none()
    }

    fn void(&mut self, request: Request, why: Wrong) {
        if request.asked == Asked::Message {
            if self.kept.contains(&request.ordinal) {
                self.is_wrong(why);
            }
            self.void.push((request.ordinal, why));
        }
    }

    /// The newest request that waits.
    pub(super) fn last_id(&self) -> Option<SendId> {
        self.waiting.back().map(|request| request.id)
    }

    /// Whether all that waits may still wait.
    pub(super) fn is_patient(&self, now: u16) -> bool {
        self.waiting.iter().all(|request| now <= request.due)
    }

    pub(super) fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }
}
