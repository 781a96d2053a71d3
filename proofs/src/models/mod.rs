//! The models: production machines, an adversary each, and a small virtual clock.
//!
//! The state of a model holds the production types themselves, and its actions call their
//! transitions. What a model adds to its state are the world around the machine (a peer, a
//! link, a clock in milliseconds) and a record of what the machine did, which the invariants
//! compare with the wire contract.
//!
//! Scripts and clocks are finite: a peer says a bounded number of lines, the clock only runs
//! while a machine waits for a deadline, and runs at most [`LATE`] past it. So every state
//! space is finite without a boundary that cuts it off.
//!
//! Memory that a machine will never look at is blanked after each action through its own
//! `spare_mut`, so that states which differ only in forgotten bytes are one.

pub mod admission;
pub mod connection;
pub mod crowd;
pub mod exchange;
pub mod inbox;
pub mod link;
pub mod policy;
pub mod reference;
pub mod relay_cursor;
pub mod relay_link;
pub mod relay_outbox;
pub mod relay_versioned;
mod retries;
pub mod subscription;
mod transports;
mod verdicts;

use std::time::Duration;

use crate::check::Named;
use hallway_core::local::connection::Refusal;
use hallway_core::local::inbox::Peer;
use hallway_core::{FrameTooLong, Instant, Limits, LimitsBuilder, Token, UnixTime};

/// All models.
#[must_use]
pub fn all() -> Vec<Named> {
    vec![
        Named::new(
            "connection",
            "one connection and its inbox against a peer that says anything",
            connection::ConnectionModel::sized,
        ),
        Named::new(
            "narrow",
            "the same where two answers fill the output",
            connection::ConnectionModel::narrow,
        ),
        Named::new(
            "exchange",
            "one exchange against a server that says anything",
            exchange::ExchangeModel::sized,
        ),
        Named::new(
            "eager-exchange",
            "one exchange whose user sends more than may wait",
            exchange::ExchangeModel::eager,
        ),
        Named::new(
            "link",
            "an exchange and a connection with its inbox over a link that cuts and half-closes",
            link::LinkModel::calm,
        ),
        Named::new(
            "rough-link",
            "the same over a link that also loses, to a server that stops and evicts",
            link::LinkModel::rough,
        ),
        Named::new(
            "crowd",
            "the admission book and a connection for each of its clients",
            crowd::CrowdModel::sized,
        ),
        Named::new(
            "cramped-crowd",
            "the same with one place",
            crowd::CrowdModel::cramped,
        ),
        Named::new(
            "inbox",
            "the inbox with its limits",
            inbox::InboxModel::sized,
        ),
        Named::new(
            "admission",
            "the admission book",
            admission::AdmissionModel::sized,
        ),
        Named::new(
            "policy",
            "a subscription under its policy, against a server that refuses, closes and is silent",
            subscription::SubscriptionModel::policy,
        ),
        Named::new(
            "forced",
            "the same where the caller forces a reconnect",
            subscription::SubscriptionModel::forced,
        ),
        Named::new(
            "queues",
            "what a subscription asks, answers and sends, over connections that break",
            subscription::SubscriptionModel::queues,
        ),
        Named::new(
            "relay-link",
            "the relay's link, against a server that says anything or nothing",
            relay_link::LinkModel::ends,
        ),
        Named::new(
            "relay-acks",
            "what the link sends and acknowledges, over connections that break",
            relay_link::LinkModel::acks,
        ),
        Named::new(
            "relay-cursor",
            "the relay's cursor, over a link that loses, repeats, reorders and breaks",
            relay_cursor::CursorModel::sized,
        ),
        Named::new(
            "relay-lag",
            "the same with a server that lags behind itself, over restarts",
            relay_cursor::CursorModel::faithless,
        ),
        Named::new(
            "relay-outbox",
            "the relay's outbox, to a server that refuses over a network that loses",
            relay_outbox::OutboxModel::sized,
        ),
        Named::new(
            "relay-versioned",
            "a value of the relay's, with other writers and a server that may never answer",
            relay_versioned::VersionedModel::sized,
        ),
    ]
}

/// How many milliseconds after its deadline a timer fires at the latest.
pub const LATE: u16 = 1;

/// The server's token.
const TOKEN: &str = "T";

/// Who sends, by the kernel's account.
const PEER: Peer = Peer { uid: 1, pid: 2 };

/// The longest frame of the models, in bytes: the least that [`Limits`] allow.
const MAX_FRAME_BYTES: usize = 512;

/// The point `now` milliseconds after the origin.
fn at(now: u16) -> Instant {
    Instant::ORIGIN.after(span(now))
}

/// A deadline in milliseconds after the origin.
fn millis(deadline: Instant) -> u16 {
    let millis = deadline.since(Instant::ORIGIN).as_millis();
    u16::try_from(millis).expect("the virtual clock stays small")
}

fn span(millis: u16) -> Duration {
    Duration::from_millis(u64::from(millis))
}

fn token(text: &str) -> Token {
    Token::parse(text).expect("it is a token")
}

fn built(builder: LimitsBuilder) -> Limits {
    builder.build().expect("the limits are within their ranges")
}

/// How much of the bytes at hand one read or write moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cut {
    /// All.
    Whole,
    /// Half of the first line.
    Half,
    /// All but the last byte, which ends a line.
    ButOne,
}

impl Cut {
    /// How many of `bytes` it moves.
    fn take(self, bytes: &[u8]) -> usize {
        let line = bytes.iter().position(|byte| *byte == b'\n');
        match self {
            Self::Whole => bytes.len(),
            Self::Half => line.unwrap_or(bytes.len()) / 2,
            Self::ButOne => bytes.len().saturating_sub(1),
        }
    }
}

/// Bytes on their way in one direction, which may be cut once a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Way {
    /// Whether the last move ended within a line.
    split: bool,
}

impl Way {
    /// The cuts of `cuts` that may come next, each with another result.
    fn cuts(self, cuts: &'static [Cut], bytes: &[u8]) -> impl Iterator<Item = Cut> {
        let cuts = cuts.get(..if self.split { 1 } else { cuts.len() });
        let cuts = cuts.unwrap_or_default();
        let takes = |cut: &Cut| cut.take(bytes);
        let fresh = move |(at, cut): (usize, &Cut)| {
            let (n, before) = (cut.take(bytes), cuts.iter().take(at));
            (n > 0 && before.map(takes).all(|other| other != n)).then_some(*cut)
        };
        cuts.iter().enumerate().filter_map(fresh)
    }

    /// Notes that the first `n` of `bytes` were moved.
    fn moved(&mut self, bytes: &[u8], n: usize) {
        if let Some(last) = bytes.get(..n).and_then(<[u8]>::last) {
            self.split = *last != b'\n';
        }
    }
}

/// Copies what `cut` moves of `bytes` into `spare`, as far as there is room; how much that was.
fn fill(spare: &mut [u8], bytes: &[u8], cut: Cut) -> usize {
    let n = cut.take(bytes).min(spare.len());
    for (to, from) in spare.iter_mut().zip(bytes.iter().take(n)) {
        *to = *from;
    }
    n
}

/// A line of a server, as a peer reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Said {
    /// A pong.
    Pong,
    /// A message was accepted under this number.
    Ok(u64),
    /// The error frame of this refusal.
    Error(Refusal),
    /// No line of the wire contract.
    Garbled,
}

impl Said {
    /// Reads a line without its newline, to the byte.
    fn read(line: &str, path: &str) -> Self {
        let ts = UnixTime::EPOCH;
        if line == format!(r#"{{"type":"pong","from":"{path}","ts":"{ts}"}}"#) {
            return Self::Pong;
        }
        let head = format!(r#"{{"type":"response","data":"ok","ts":"{ts}","meta":{{"id":"uds-"#);
        if let Some(id) = line
            .strip_prefix(&head)
            .and_then(|rest| rest.strip_suffix("\"}}"))
        {
            return id.parse().map_or(Self::Garbled, Self::Ok);
        }
        let refusals = [
            Refusal::InvalidFrame,
            Refusal::Unauthorized,
            Refusal::FrameTooLong(FrameTooLong {
                limit: MAX_FRAME_BYTES,
            }),
            Refusal::InboxFull,
            Refusal::AuthenticationTimeout,
            Refusal::IdleTimeout,
            Refusal::TooManyClients,
        ];
        let is = |refusal: &Refusal| {
            line == format!(r#"{{"type":"error","data":"{refusal}","ts":"{ts}"}}"#)
        };
        let found = refusals.into_iter().find(is);
        found.map_or(Self::Garbled, Self::Error)
    }
}
