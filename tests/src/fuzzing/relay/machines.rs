//! The relay's cursor and outbox against a server that keeps its promises, over a network that does not.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;

use hallway_core::Instant;
use hallway_core::relay::cursor::{Cursor, Fetch, Verdict};
use hallway_core::relay::limits::Limits;
use hallway_core::relay::outbox::{self, BatchId, Outbox, PostFailure, PushError};
use hallway_core::relay::raw::Raw;

use crate::model::check::footprint;
use crate::model::source::Source;

/// A session at the server: numbers, and whether each is one of ours. Numbers that are not
/// there were used up by repetitions.
struct Session {
    cursor: Cursor,
    seq: u64,
    stored: BTreeMap<u64, bool>,
    live: VecDeque<(u64, bool)>,
    acknowledged: VecDeque<u64>,
    /// Numbers of ours that the client has heard of: it no longer knows them by their ids.
    known: BTreeSet<u64>,
    page: Option<Page>,
    delivered: Vec<u64>,
    /// Up to which number of the server's, and how many of those delivered.
    compared: (u64, usize),
    now: Instant,
}

/// A fetch, the numbers that the server gives and whether each is one of ours, and whether there
/// are more.
type Page = (Fetch, Vec<(u64, bool)>, bool);

/// Messages of others are delivered once, in order, and the cursor is never beyond one that was
/// not.
///
/// # Panics
///
/// When one is lost, repeated or out of order.
pub fn check_cursor(bytes: &[u8]) {
    let mut source = Source::Bytes(bytes);
    let mut session = Session {
        cursor: Cursor::new(&few(), 0, u64::from(source.byte())),
        seq: 0,
        stored: BTreeMap::new(),
        live: VecDeque::new(),
        acknowledged: VecDeque::new(),
        known: BTreeSet::new(),
        page: None,
        delivered: Vec::new(),
        compared: (0, 0),
        now: Instant::from_nanos(0),
    };
    while !source.is_empty() {
        session.step(&mut source);
        session.check();
    }
    session.live.clear();
    session.acknowledged.clear();
    session.cursor.handle_connected();
    for _ in 0..1_000 {
        session.fetch(3);
        session.answer();
        session.wait();
        session.check();
        if session.cursor.is_settled() {
            break;
        }
    }
    assert!(session.cursor.is_settled());
    let others = session.stored.iter().filter(|(_, own)| !**own);
    let others: Vec<u64> = others.map(|(seq, _)| *seq).collect();
    assert_eq!(session.delivered, others);
}

/// Bounds that a few messages come to.
fn few() -> Limits {
    let limits = Limits::builder().max_own_numbers(2);
    limits.build().expect("within their ranges")
}

impl Session {
    fn step(&mut self, source: &mut Source<'_>) {
        match source.below(12) {
            0..=2 => {
                let waiting = self.stored.iter();
                let waiting = waiting.filter(|(seq, own)| **own && !self.known.contains(seq));
                let has_room = waiting.count() < self.cursor.room_for_own();
                let own = source.once_in(3) && has_room;
                self.seq += 1;
                self.stored.insert(self.seq, own);
                self.live.push_back((self.seq, own));
                if own {
                    self.acknowledged.push_back(self.seq);
                }
            }
            3 => self.seq += 1,
            4 | 5 => {
                if let Some((seq, own)) = self.live.pop_front() {
                    let waited = self.hears(seq, own);
                    let verdict = self.cursor.handle_live(seq, waited);
                    self.judge(seq, own, verdict);
                }
            }
            6 => {
                if let Some(seq) = self.acknowledged.pop_front() {
                    self.known.insert(seq);
                    self.cursor.handle_sent(seq);
                }
            }
            7 => {
                // The connection is lost with what was under way, and comes back.
                self.live.clear();
                self.cursor.handle_connected();
            }
            8 => self.fetch(1 + source.below(3)),
            9 => self.answer(),
            10 => {
                if let Some((fetch, ..)) = self.page.take() {
                    self.cursor.handle_failed(fetch.id, None, self.now);
                }
            }
            _ if source.once_in(4) => {
                // Two may come in the wrong order.
                if let Some(first) = self.live.pop_front() {
                    self.live.insert(1.min(self.live.len()), first);
                }
            }
            _ => self.wait(),
        }
    }

    /// The server takes its page when it is asked; the answer comes when it comes.
    fn fetch(&mut self, limit: usize) {
        if let Some(fetch) = self.cursor.next_fetch(self.now) {
            let rest: Vec<_> = self.stored.range(fetch.after + 1..).collect();
            let page = rest.iter().take(limit).map(|(seq, own)| (**seq, **own));
            self.page = Some((fetch, page.collect(), rest.len() > limit));
        }
    }

    fn answer(&mut self) {
        let Some((fetch, page, has_more)) = self.page.take() else {
            return;
        };
        // Those of ours that wait are found before any is taken.
        let page: Vec<_> = page
            .into_iter()
            .map(|(seq, own)| (seq, own, self.hears(seq, own)))
            .collect();
        for (seq, _, waited) in &page {
            if *waited {
                self.cursor.handle_sent(*seq);
            }
        }
        for (seq, own, waited) in page {
            let verdict = self.cursor.handle_fetched(fetch.id, seq, waited, self.now);
            self.judge(seq, own, verdict.expect("the page ascends"));
        }
        let withheld = self.cursor.handle_page_end(fetch.id, has_more, self.now);
        assert_eq!(withheld, None, "the server keeps nothing back");
    }

    /// Whether it is one of ours that waited until now.
    fn hears(&mut self, seq: u64, own: bool) -> bool {
        own && self.known.insert(seq)
    }

    fn wait(&mut self) {
        if let Some(deadline) = self.cursor.poll_timeout() {
            self.now = self.now.max(deadline);
        }
        self.cursor.handle_timeout(self.now);
        self.cursor.handle_timeout(self.now);
    }

    fn judge(&mut self, seq: u64, own: bool, verdict: Verdict) {
        if verdict == Verdict::Deliver {
            assert!(!own, "{seq} is ours");
            assert!(
                self.delivered.last().is_none_or(|last| *last < seq),
                "{seq} comes late"
            );
            self.delivered.push(seq);
        }
    }

    /// Everything of others up to the cursor was delivered, and nothing beyond it. What was
    /// compared stays so: the server adds at the end alone.
    fn check(&mut self) {
        let last = self.cursor.last();
        let (before, compared) = self.compared;
        assert!(before <= last && last <= self.seq);
        let new = (Bound::Excluded(before), Bound::Included(last));
        let seen = self.stored.range(new);
        let others = seen.filter(|(_, own)| !**own).map(|(seq, _)| seq);
        assert!(others.eq(&self.delivered[compared..]), "{last}");
        self.compared = (last, self.delivered.len());
        assert!(footprint(&self.cursor) <= 512 + 8 * 1_024);
    }
}

/// Messages are stored once each, in the order of their sending, and each has its outcome.
///
/// # Panics
///
/// When one is lost, repeated or out of order.
pub fn check_durable(bytes: &[u8]) {
    let mut source = Source::Bytes(bytes);
    let limits = Limits::builder()
        .max_outbox_messages(1 + source.below(12))
        .max_outbox_bytes(10 + source.below(60))
        .max_batch_messages(1 + source.below(5))
        .max_batch_bytes(8 + source.below(20))
        .build()
        .expect("in range");
    let mut sender = Sender {
        outbox: Outbox::new(&limits, u64::from(source.byte())),
        limits,
        sent: Vec::new(),
        stored: Vec::new(),
        compared: (0, 0),
        settled: 0,
        posted: None,
        now: Instant::from_nanos(0),
    };
    while !source.is_empty() {
        sender.step(&mut source);
        sender.check();
    }
    for _ in 0..1_000 {
        sender.outbox.resume();
        sender.post();
        sender.answer(usize::MAX);
        sender.wait();
        sender.check();
        if sender.outbox.is_empty() {
            break;
        }
    }
    assert!(sender.outbox.is_empty());
    // What was refused may have been stored before: this server changes its mind.
    let is_kept = |number: &usize| !matches!(sender.sent[*number].fate, Some(Fate::TooLarge));
    let stored = sender.stored.iter().copied().filter(is_kept);
    assert!(stored.eq((0..sender.sent.len()).filter(is_kept)));
    assert_eq!(sender.settled, sender.sent.len());
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Stored,
    TooLarge,
}

/// A message that was taken; its id is its number, from 0.
struct Sent {
    content_bytes: usize,
    /// Its number at the server, which is its place there, from 1.
    seq: Option<u64>,
    fate: Option<Fate>,
}

fn local_id(number: usize) -> String {
    format!("m{number}")
}

fn number(local_id: &str) -> usize {
    let digits = local_id.strip_prefix('m').expect("one of ours");
    digits.parse().expect("a number")
}

struct Sender {
    outbox: Outbox,
    limits: Limits,
    sent: Vec<Sent>,
    /// What the server has, in its order.
    stored: Vec<usize>,
    /// How many that are stored were compared, and which message may be next.
    compared: (usize, usize),
    /// How many have their fate.
    settled: usize,
    posted: Option<(BatchId, Vec<usize>)>,
    now: Instant,
}

/// The contents of messages begin so.
const CONTENT: &str = "abcdefghijklmnopqrstuvwxyz";

impl Sender {
    fn step(&mut self, source: &mut Source<'_>) {
        match source.below(10) {
            0..=2 => {
                let (id, content_bytes) = (local_id(self.sent.len()), source.below(24));
                let bytes = id.len() + content_bytes;
                match self.outbox.push(&id, &CONTENT[..content_bytes]) {
                    Ok(()) => self.sent.push(Sent {
                        content_bytes,
                        seq: None,
                        fate: None,
                    }),
                    Err(PushError::TooLong) => assert!(bytes > self.limits.max_batch_bytes()),
                    Err(PushError::Full) => {
                        assert!(!self.outbox.is_empty() || bytes > self.limits.max_outbox_bytes())
                    }
                    Err(other) => panic!("{other}"),
                }
            }
            3 | 4 => self.post(),
            5 => self.answer(usize::MAX),
            6 => {
                // Refused when it has more than so many messages.
                self.answer(source.below(4));
            }
            7 => {
                // Stored, but the answer is lost; or not even stored.
                if let Some((id, batch)) = self.posted.take() {
                    if source.once_in(2) {
                        self.store(&batch);
                    }
                    let failure = source.pick(&[
                        PostFailure::Transient,
                        PostFailure::RetryAfter(std::time::Duration::from_secs(2)),
                        PostFailure::Unauthorized,
                        PostFailure::SessionGone,
                        PostFailure::NoRoute,
                    ]);
                    assert_eq!(self.outbox.handle_failed(id, failure, self.now), None);
                }
            }
            8 if !self.stored.is_empty() => {
                let at = source.below(self.stored.len());
                let id = local_id(self.stored[at]);
                let outcome = self.outbox.handle_seen(&id, at as u64 + 1);
                outcome.into_iter().for_each(|outcome| self.settle(outcome));
            }
            _ => {
                if source.once_in(2) {
                    self.outbox.resume();
                }
                self.wait();
            }
        }
    }

    fn post(&mut self) {
        if let Some(id) = self.outbox.next_batch(self.now) {
            let batch = self.outbox.batch().map(|(id, _)| number(id));
            let batch: Vec<usize> = batch.collect();
            // Neither ids nor contents have anything to escape.
            let (mut body, mut bytes) = (String::from("{\"messages\":["), 0);
            for (at, number) in batch.iter().enumerate() {
                let (comma, id) = (if at > 0 { "," } else { "" }, local_id(*number));
                let content = &CONTENT[..self.sent[*number].content_bytes];
                body.extend([comma, "{\"content\":\"", content]);
                body.extend(["\",\"localId\":\"", &id, "\"}"]);
                bytes += id.len() + content.len();
            }
            body.push_str("]}");
            assert_eq!(self.outbox.body(), body);
            assert!(!batch.is_empty() && batch.len() <= self.limits.max_batch_messages());
            assert!(bytes <= self.limits.max_batch_bytes());
            self.posted = Some((id, batch));
        }
    }

    /// The server stores what was posted, unless it is more than `most`, and answers.
    fn answer(&mut self, most: usize) {
        let Some((id, batch)) = self.posted.take() else {
            return;
        };
        if batch.len() > most {
            let outcome = self
                .outbox
                .handle_failed(id, PostFailure::TooLarge, self.now);
            outcome.into_iter().for_each(|outcome| self.settle(outcome));
            return;
        }
        self.store(&batch);
        let mut answer = String::from("{\"messages\":[");
        for (at, number) in batch.iter().enumerate() {
            let (comma, seq) = (if at > 0 { "," } else { "" }, self.seq(*number));
            let message =
                format!("{comma}{{\"id\":\"x\",\"localId\":\"m{number}\",\"seq\":{seq}}}");
            answer.push_str(&message);
        }
        answer.push_str("]}");
        let raw = Raw::parse(&answer).expect("JSON");
        let outcomes = self.outbox.handle_stored(id, raw, self.now);
        for outcome in outcomes.expect("as the server promises") {
            self.settle(outcome);
        }
    }

    fn seq(&self, number: usize) -> u64 {
        self.sent[number].seq.expect("stored")
    }

    fn store(&mut self, batch: &[usize]) {
        for number in batch {
            let sent = &mut self.sent[*number];
            if sent.seq.is_none() {
                self.stored.push(*number);
                sent.seq = Some(self.stored.len() as u64);
            }
        }
    }

    fn settle(&mut self, outcome: outbox::Outcome) {
        let (number, fate) = match outcome {
            outbox::Outcome::Stored { local_id, seq } => {
                let number = number(&local_id);
                assert_eq!(seq, self.seq(number));
                (number, Fate::Stored)
            }
            outbox::Outcome::TooLarge { local_id } => (number(&local_id), Fate::TooLarge),
            other => panic!("{other:?}"),
        };
        assert_eq!(self.sent[number].fate.replace(fate), None, "twice");
        self.settled += 1;
    }

    fn wait(&mut self) {
        if let Some(deadline) = self.outbox.poll_timeout() {
            self.now = self.now.max(deadline);
        }
        self.outbox.handle_timeout(self.now);
        self.outbox.handle_timeout(self.now);
    }

    fn check(&mut self) {
        // The order of the server is the order of sending; it adds at the end alone.
        let (stored, mut next) = self.compared;
        for number in &self.stored[stored..] {
            assert!(*number >= next, "{number} in {:?}", self.stored);
            next = number + 1;
        }
        self.compared = (self.stored.len(), next);
        let waiting = self.sent.len() - self.settled;
        assert_eq!(self.outbox.len(), waiting);
        assert!(self.outbox.len() <= self.limits.max_outbox_messages());
        assert!(footprint(&self.outbox) <= 512 + self.limits.max_outbox_bytes() + 40 * waiting);
    }
}
