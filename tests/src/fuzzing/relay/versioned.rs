//! Versioned values against a server with another writer.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use hallway_core::Instant;
use hallway_core::relay::limits::Limits;
use hallway_core::relay::plaintext::Document;
use hallway_core::relay::raw::Raw;
use hallway_core::relay::versioned::{
    Answer, Attempt, Outcome, Rejection, UpdateError, UpdateId, Value, Versioned,
};

use crate::model::source::Source;

const MAX_UPDATES: usize = 5;

/// No update of anybody's is lost, and each of ours has one outcome, which is true.
///
/// # Panics
///
/// When one is lost, or an outcome is not true.
pub fn check_versioned(bytes: &[u8]) {
    let mut source = Source::Bytes(bytes);
    let limits = Limits::builder().max_updates(MAX_UPDATES);
    let limits = limits.build().expect("in range");
    let mut desk = Desk {
        versioned: Versioned::new(&limits, 0, Value::Null),
        version: 0,
        value: Value::Null,
        written: BTreeSet::new(),
        compared: None,
        answers: VecDeque::new(),
        told: VecDeque::new(),
        asked: BTreeSet::new(),
        outcomes: BTreeMap::new(),
        others: 0,
        now: Instant::from_nanos(0),
    };
    while !source.is_empty() {
        let before = desk.versioned.version();
        desk.step(&mut source);
        assert!(
            desk.versioned.version() >= before,
            "an older value was adopted"
        );
        desk.check();
    }
    desk.versioned.close();
    desk.compared = None;
    desk.check();
    assert_eq!(desk.outcomes.len(), desk.asked.len());
    assert_eq!(desk.versioned.poll_timeout(), None);
}

struct Desk {
    versioned: Versioned,
    version: u64,
    /// The server's document, and the names in it.
    value: Value,
    written: BTreeSet<String>,
    /// The version at which both were last compared.
    compared: Option<u64>,
    answers: VecDeque<(Attempt, Answer)>,
    told: VecDeque<(u64, Value)>,
    asked: BTreeSet<UpdateId>,
    outcomes: BTreeMap<UpdateId, Outcome>,
    others: usize,
    now: Instant,
}

impl Desk {
    /// Somebody writes a name into the server's document.
    fn write(&mut self, name: String) {
        let mut document = match std::mem::replace(&mut self.value, Value::Null) {
            Value::Document(document) => document,
            _ => Document::default(),
        };
        document.set(&name, Raw::EMPTY_OBJECT);
        self.store(name, document);
    }

    /// The server takes a document in which this name is new.
    fn store(&mut self, name: String, document: Document) {
        self.value = Value::Document(document);
        self.version += 1;
        self.written.insert(name);
        self.told.push_back((self.version, self.value.clone()));
    }

    fn step(&mut self, source: &mut Source<'_>) {
        match source.below(10) {
            0 | 1 => match self.versioned.request(self.now) {
                Ok(update) => assert!(self.asked.insert(update)),
                Err(UpdateError::Full) => {
                    assert_eq!(self.asked.len() - self.outcomes.len(), MAX_UPDATES);
                }
                Err(other) => panic!("{other}"),
            },
            2 => {
                self.others += 1;
                self.write(format!("other{}", self.others));
            }
            3..=5 => self.attempt(source),
            6 => {
                if let Some((attempt, answer)) = self.answers.pop_front() {
                    self.versioned.handle_answer(attempt, answer);
                }
            }
            7 => {
                if let Some((version, value)) = self.told.pop_front() {
                    self.versioned.handle_value(version, value);
                }
            }
            8 if source.once_in(2) => {
                self.versioned.handle_disconnected();
                self.told.clear();
                if source.once_in(2) {
                    self.answers.clear();
                }
            }
            8 => self.versioned.handle_connected(),
            _ => {
                if let Some(deadline) = self.versioned.poll_timeout() {
                    self.now = self.now.max(deadline);
                }
                self.versioned.handle_timeout(self.now);
                self.versioned.handle_timeout(self.now);
                assert!(self.versioned.poll_timeout().is_none_or(|at| at > self.now));
            }
        }
        self.hear();
    }

    /// What was applied is at the server, which keeps what it has.
    fn hear(&mut self) {
        while let Some((update, outcome)) = self.versioned.poll_outcome() {
            assert!(self.asked.contains(&update));
            if let Outcome::Applied(version) = &outcome {
                assert!(self.written.contains(&format!("{update:?}")));
                assert!(*version <= self.version);
            }
            assert_eq!(self.outcomes.insert(update, outcome), None, "two outcomes");
        }
    }

    /// Merges, and the server decides at once; its answer comes later.
    fn attempt(&mut self, source: &mut Source<'_>) {
        let Some(attempt) = self.versioned.next_attempt(self.now) else {
            return;
        };
        assert!(!self.outcomes.contains_key(&attempt.update));
        let mut document = match self.versioned.value() {
            Value::Null => Document::default(),
            Value::Document(document) => document.clone(),
            Value::Unreadable => panic!("nobody wrote it"),
        };
        let name = format!("{:?}", attempt.update);
        if document.get(&name).is_some() {
            // An attempt whose answer was lost has written it.
            assert!(self.written.contains(&name));
            return self.versioned.handle_unchanged(attempt);
        }
        if source.once_in(5) {
            self.answers
                .push_back((attempt, Answer::Error(Rejection::Other)));
            return;
        }
        let fits = attempt.expected_version == self.version;
        if fits {
            // Nothing of others is lost: what we write is what the server has, and ours.
            assert_eq!(self.versioned.value(), &self.value);
            document.set(&name, Raw::EMPTY_OBJECT);
            self.store(name, document);
        }
        let (version, value) = (self.version, self.value.clone());
        let answer = if fits {
            Answer::Success { version, value }
        } else {
            Answer::Mismatch { version, value }
        };
        self.answers.push_back((attempt, answer));
    }

    fn check(&mut self) {
        self.hear();
        let known = self.versioned.version();
        assert!(known <= self.version);
        if known == self.version && self.compared != Some(known) {
            assert_eq!(self.versioned.value(), &self.value);
            self.compared = Some(known);
        }
    }
}
