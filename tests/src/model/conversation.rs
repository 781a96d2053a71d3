//! A whole conversation (local.md §3): what a server answers to an input, what it keeps, and
//! how it ends.

use hallway_core::{Limits, UnixTime};

use super::frames::{Rules, Turn, turns};
use super::json::quote;

/// The `ts` of every frame, as local.md §3 writes it.
pub const TS: &str = "2026-01-02T03:04:05.678Z";

/// The same as the core has it: in the tests wall time stands still.
pub const WALL: UnixTime = match UnixTime::from_millis(1_767_323_045_678) {
    Some(time) => time,
    None => panic!("a time of this age"),
};

/// "`ping` → `{"type":"pong","from":"<own path>","ts":"<iso>"}`".
#[must_use]
pub fn pong(rules: &Rules) -> String {
    format!(
        r#"{{"type":"pong","from":{},"ts":"{TS}"}}"#,
        quote(&rules.path)
    ) + "\n"
}

/// "reply `{"type":"response","data":"ok","ts":"<iso>","meta":{"id":"uds-<n>"}}`".
#[must_use]
pub fn ok(id: u64) -> String {
    format!(r#"{{"type":"response","data":"ok","ts":"{TS}","meta":{{"id":"uds-{id}"}}}}"#) + "\n"
}

/// "Error frame: `{"type":"error","data":"<text>","ts":"<iso>"}` + LF".
#[must_use]
pub fn error(text: &str) -> String {
    format!(r#"{{"type":"error","data":{},"ts":"{TS}"}}"#, quote(text)) + "\n"
}

/// An inbox (§1, §3): everything that it ever took, and how much of that was removed again.
#[derive(Clone, Debug, Default)]
pub struct Store {
    /// The texts and sending processes of all entries there ever were; their ids count from 1.
    pub taken: Vec<(String, u32)>,
    /// How many of them were removed, oldest first.
    pub removed: usize,
}

impl Store {
    /// What is there.
    #[must_use]
    pub fn pending(&self) -> &[(String, u32)] {
        &self.taken[self.removed..]
    }

    /// Keeps a text and gives its id, or none when that would exceed a bound, in all or of the
    /// sending process. "Ours count the bytes kept, and ids have no gaps" (§5.12).
    pub fn push(&mut self, text: &str, pid: u32, limits: &Limits) -> Option<u64> {
        let sizes = |of: Option<u32>| {
            let of_it = |entry: &&(String, u32)| of.is_none_or(|pid| pid == entry.1);
            let lengths = self
                .pending()
                .iter()
                .filter(of_it)
                .map(|entry| entry.0.len());
            (
                lengths.clone().count() + 1,
                lengths.sum::<usize>() + text.len(),
            )
        };
        let (entries, bytes) = sizes(None);
        let (entries_of_it, bytes_of_it) = sizes(Some(pid));
        if entries > limits.max_inbox_entries()
            || bytes > limits.max_inbox_bytes()
            || entries_of_it > limits.max_inbox_entries_per_peer()
            || bytes_of_it > limits.max_inbox_bytes_per_peer()
        {
            return None;
        }
        self.taken.push((text.to_owned(), pid));
        Some(self.taken.len() as u64)
    }
}

/// How a connection ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The peer ended its input and everything was answered.
    Finished,
    /// The server stopped and everything was answered.
    Stopped,
    /// With this error frame.
    Refused(String),
    /// The transport failed.
    Broken,
}

/// What a server makes of a whole input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversation {
    /// Its replies, in order.
    pub replies: String,
    /// The messages that it kept, in order.
    pub kept: Vec<String>,
    /// How it ends, given that the peer half-closes after the input.
    pub ending: Ending,
}

/// The conversation about `input`, of a process `pid`, with an empty inbox of which the consumer
/// drains all after every `drain`th message (never for 0).
#[must_use]
pub fn converse(input: &[u8], rules: &Rules, pid: u32, drain: usize) -> Conversation {
    let mut inbox = Store::default();
    let mut replies = String::new();
    let mut ending = Ending::Finished;
    let pong = pong(rules);
    for (turn, _) in turns(input, rules) {
        let refusal = match turn {
            Turn::Ping => {
                replies += &pong;
                continue;
            }
            Turn::Message(text) => match inbox.push(&text, pid, &rules.limits) {
                Some(id) => {
                    replies += &ok(id);
                    if drain > 0 && inbox.taken.len() % drain == 0 {
                        inbox.removed = inbox.taken.len();
                    }
                    continue;
                }
                None => "inbox full".to_owned(),
            },
            Turn::Refused(text) => text,
        };
        replies += &error(&refusal);
        ending = Ending::Refused(refusal);
        break; // "nothing after it takes effect"
    }
    let kept = inbox.taken.into_iter().map(|entry| entry.0).collect();
    Conversation {
        replies,
        kept,
        ending,
    }
}
