//! What happened, and the judgement on it: every `ok` was drained exactly once, or lost by a
//! crash that is named here; nothing that was said not to be taken was taken.

use std::collections::BTreeMap;

use super::stage::Time;
use crate::model::client::{Fate, REFUSED};
use crate::model::conversation::{Ending, error, ok, pong};
use crate::model::frames::{Rules, Turn, turns};

/// How a life of the daemon ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Death {
    /// It stopped in good order.
    Stopped,
    /// It crashed, and what was in its inbox is lost.
    Crashed,
}

/// One life of the daemon.
#[derive(Debug, Default)]
pub(super) struct Life {
    /// What the inbox took, in the order of the ids from 1.
    pub(super) taken: Vec<String>,
    /// What the consumer got, in its order.
    pub(super) drained: Vec<(u64, String)>,
    pub(super) death: Option<Death>,
}

/// One message or ping of a good client.
#[derive(Debug)]
pub(super) struct Request {
    /// What an inbox would keep of it; nothing of a ping.
    pub(super) text: Option<String>,
    pub(super) link: usize,
    pub(super) deadline: Time,
    /// What became of it, whether all of it was written, and when its client knew.
    pub(super) fate: Option<(Fate, bool, Time)>,
    /// Its client crashed before it knew.
    pub(super) abandoned: bool,
}

/// One connection, as the server had it.
#[derive(Debug)]
pub(super) struct Account {
    life: usize,
    rules: Rules,
    /// What was read while it was open.
    pub(super) read: Vec<u8>,
    /// What it made of that.
    pub(super) turns: Vec<Turn>,
    /// What the inbox said to each message.
    pub(super) answers: Vec<Option<u64>>,
    /// What was written.
    pub(super) wrote: Vec<u8>,
    /// How it ended, if it was not cut down with the daemon.
    pub(super) ending: Option<Ending>,
    /// Whether everything was written when it ended.
    pub(super) flushed: bool,
}

impl Account {
    pub(super) fn new(life: usize, rules: &Rules) -> Self {
        Self {
            life,
            rules: rules.clone(),
            read: Vec::new(),
            turns: Vec::new(),
            answers: Vec::new(),
            wrote: Vec::new(),
            ending: None,
            flushed: true,
        }
    }
}

/// Everything that happened.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) lives: Vec<Life>,
    pub(super) requests: Vec<Request>,
    /// By link, what the daemon accepted.
    pub(super) accounts: BTreeMap<usize, Account>,
}

impl Ledger {
    /// Judges a run that is over. Names what crashes took although `ok` was said: lives and ids.
    pub(super) fn judge(&self) -> Vec<(usize, usize)> {
        for life in &self.lives {
            judge_life(life);
        }
        for account in self.accounts.values() {
            judge_account(account);
        }
        self.judge_requests()
    }

    fn judge_requests(&self) -> Vec<(usize, usize)> {
        let mut lost = Vec::new();
        let mut refused: Option<(usize, usize)> = None;
        for (at, request) in self.requests.iter().enumerate() {
            let Some((fate, written, when)) = &request.fate else {
                assert!(request.abandoned, "request {at} has no outcome");
                continue;
            };
            assert!(
                *when <= request.deadline,
                "request {at} waited past its deadline"
            );
            let kept = self.places_of(request);
            assert!(kept.len() <= 1, "request {at} was taken twice");
            let after_refusal = refused.is_some_and(|(link, _)| link == request.link);
            match fate {
                Fate::Accepted(id) => {
                    let id = id
                        .as_deref()
                        .and_then(|id| id.strip_prefix("uds-"))
                        .expect("an id");
                    let id: usize = id.parse().expect("a number");
                    let life = self.accounts[&request.link].life;
                    assert_eq!(
                        kept,
                        [(life, id)],
                        "request {at}: `ok` for what was not taken"
                    );
                    if self.lives[life].is_lost(id as u64) {
                        lost.push((life, id));
                    }
                }
                Fate::Pong => assert_eq!(request.text, None),
                Fate::Object(_) => panic!("nobody asks for objects"),
                Fate::Failed(words) => {
                    if !written || *words == REFUSED || after_refusal {
                        assert!(kept.is_empty(), "request {at} was taken: {words}");
                    }
                    if *words == REFUSED {
                        refused = Some((request.link, at));
                    }
                }
            }
        }
        lost
    }

    /// The lives and ids under which a request was taken.
    fn places_of(&self, request: &Request) -> Vec<(usize, usize)> {
        let mut places = Vec::new();
        for (life, lived) in self.lives.iter().enumerate() {
            for (at, text) in lived.taken.iter().enumerate() {
                if Some(text) == request.text.as_ref() {
                    places.push((life, at + 1));
                }
            }
        }
        places
    }
}

impl Life {
    fn is_lost(&self, id: u64) -> bool {
        !self.drained.iter().any(|drained| drained.0 == id)
    }
}

/// First in first out, each once, and all of it unless the daemon crashed.
fn judge_life(life: &Life) {
    for (at, (id, text)) in life.drained.iter().enumerate() {
        assert_eq!(
            *id,
            at as u64 + 1,
            "drained out of order, twice, or with a gap"
        );
        assert_eq!(*text, life.taken[at]);
    }
    match life.death.expect("every life has ended") {
        Death::Stopped => assert_eq!(life.drained.len(), life.taken.len(), "an entry was lost"),
        Death::Crashed => assert!(life.drained.len() <= life.taken.len()),
    }
}

/// What the server made of a connection is what the model makes of the bytes that it read.
fn judge_account(account: &Account) {
    let known = turns(&account.read, &account.rules);
    let mut replies = String::new();
    let mut answers = account.answers.iter();
    assert!(account.turns.len() <= known.len(), "made up");
    for (found, (expected, _)) in account.turns.iter().zip(&known) {
        assert_eq!(found, expected);
        match expected {
            Turn::Ping => replies += &pong(&account.rules),
            Turn::Message(_) => {
                let id = answers.next().expect("an answer to each message");
                replies += &id.map(ok).unwrap_or_default();
            }
            Turn::Refused(text) => panic!("{text} was taken for a message"),
        }
    }
    let next = known.get(account.turns.len()).map(|known| &known.0);
    match &account.ending {
        Some(Ending::Refused(text)) => {
            replies += &error(text);
            match text.as_str() {
                "authentication timeout" => {
                    let spoke = matches!(next, Some(Turn::Ping | Turn::Message(_)));
                    assert!(!spoke, "what was read in time was not heard");
                }
                "idle timeout" | "too many clients" => {}
                "inbox full" => assert_eq!(account.answers.last(), Some(&None)),
                _ => assert_eq!(next, Some(&Turn::Refused(text.clone()))),
            }
        }
        Some(Ending::Finished | Ending::Stopped) => assert_eq!(next, None, "not all was answered"),
        Some(Ending::Broken) | None => {}
    }
    let wrote = String::from_utf8_lossy(&account.wrote);
    if account.flushed {
        assert_eq!(wrote, replies);
    } else {
        assert!(
            replies.as_bytes().starts_with(&account.wrote),
            "{wrote}, but {replies}"
        );
    }
}
