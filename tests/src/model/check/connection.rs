use hallway_core::Limits;
use hallway_core::local::connection::{Action, CloseReason, Connection, Event, Server};
use hallway_core::local::inbox::EntryId;

use super::witness::Witness;
use super::{FIELDS, at, check_text, ending, footprint, plan, server};
use crate::model::conversation::{Ending, WALL};
use crate::model::frames::{Rules, Turn};
use crate::model::generate;
use crate::model::source::Source;

/// How many bytes an error frame may take beyond the outbox's bound.
const ERROR_RESERVE: usize = 256;

/// More than any reply takes, a pong from a long path aside.
const LONGEST_OK: usize = 128;

/// Whatever facts come in whatever order, a connection says and does what the model says:
/// events, output, deadlines, actions and ending agree after every single one.
///
/// # Panics
///
/// When it does not.
pub fn check_connection(bytes: &[u8]) {
    let mut source = Source::Bytes(bytes);
    let mut plan = plan(&mut source);
    let rules = generate::rules(&mut plan);
    let input = generate::stream(&mut source.part(), &rules);
    let mut pair = Pair {
        connection: Connection::new(&rules.limits, at(0)),
        witness: Witness::new(&input, &rules, 0),
        server: server(&rules),
        rules,
        input,
        now: 0,
        next_id: 1,
        ended: None,
        compared: (0, 0),
    };
    pair.agree();
    while !source.is_empty() {
        pair.step(&mut source);
        pair.agree();
    }
    pair.check_patience();
}

/// A connection and what the model says of it.
struct Pair {
    connection: Connection,
    witness: Witness,
    server: Server,
    rules: Rules,
    input: Vec<u8>,
    now: u64,
    next_id: u64,
    /// Why it ended, in the core's words and in the model's.
    ended: Option<(CloseReason, Ending)>,
    /// How much waited and how much was written when the output was last compared.
    compared: (usize, usize),
}

impl Pair {
    fn step(&mut self, source: &mut Source<'_>) {
        match source.below(24) {
            0..5 => {
                let most = source.pick(&[usize::MAX, 1, 3, 40, 511, 513]);
                self.read(most);
            }
            5..11 => drop(self.take()),
            11..14 => {
                let takes = !source.once_in(8);
                self.answer(takes);
            }
            14..16 => {
                let most = source.pick(&[usize::MAX, 1, 60]);
                self.write(most);
            }
            16 => self.now += source.pick(&[1, 2, 5, 9, 30]),
            17 => self.timeout(),
            18 => self.act(),
            19 => self.connection.handle_input_drained(),
            20 => self.answer_with(r#"{"own":1}"#),
            21 => self.stray(),
            22 => self.take_all(),
            _ => self.end(source),
        }
    }

    fn end(&mut self, source: &mut Source<'_>) {
        match source.below(6) {
            0 | 1 => {
                self.connection.handle_end_of_input();
                self.witness.end(Ending::Finished);
            }
            2 => {
                self.connection.handle_stop();
                self.witness.end(Ending::Stopped);
            }
            3 => {
                self.connection.handle_eviction(at(self.now), WALL);
                self.witness.refuse("too many clients", self.now);
            }
            4 => {
                self.connection.handle_broken();
                self.witness.broken();
            }
            _ => {}
        }
    }

    /// After every fact, everything that can be seen agrees.
    fn agree(&mut self) {
        let (connection, witness) = (&self.connection, &self.witness);
        let pending = witness.pending();
        assert_eq!(connection.pending().len(), pending.len());
        let compared = (pending.len(), witness.written);
        if self.compared != compared {
            check_text(connection.pending(), pending);
            self.compared = compared;
        }
        assert_eq!(
            connection.poll_timeout(),
            witness.deadline().map(at),
            "the deadline"
        );
        let ended = connection.close_reason().zip(witness.ending());
        if self.ended.as_ref().map(|(reason, words)| (*reason, words)) != ended {
            self.ended = ended.map(|(reason, _)| (reason, ending(reason)));
        }
        let words = self.ended.as_ref().map(|(_, words)| words);
        assert_eq!(words, witness.ending());
        assert_eq!(connection.close_reason().is_some(), words.is_some());
        let is_closed = witness.ending().is_some() && witness.deadline().is_none();
        assert_eq!(connection.is_closed(), is_closed);
        assert_eq!(
            connection.is_authenticated(),
            witness.authorised && witness.is_open()
        );
        let limits = &self.rules.limits;
        let error = if witness.is_open() { 0 } else { ERROR_RESERVE };
        assert!(connection.pending().len() <= limits.max_outbox_bytes() + error);
        assert!(
            footprint(connection) <= most_bytes(limits),
            "{} bytes",
            footprint(connection)
        );
    }

    fn read(&mut self, most: usize) {
        let spare = self.connection.spare_mut();
        if !self.witness.is_reading() {
            assert!(spare.is_empty(), "nothing more is to be read");
            return;
        }
        let from = self.witness.fed.min(self.input.len());
        let n = spare.len().min(most).min(self.input.len() - from);
        spare[..n].copy_from_slice(&self.input[from..from + n]);
        let no_room = spare.is_empty();
        self.connection.handle_input(n, at(self.now));
        if self.witness.is_open() {
            self.witness.fed += n;
            self.witness.active(n, self.now);
            let limit = self.rules.limits.max_frame_bytes();
            assert!(
                !no_room || self.witness.fed > limit,
                "no room in an empty buffer"
            );
        } else {
            assert!(
                !no_room,
                "what comes after the end is read, and thrown away"
            );
        }
    }

    /// Whether a frame was taken, or the end of the input: nothing is held back.
    fn take(&mut self) -> bool {
        let expected = self.witness.known().cloned();
        // A reply waits for room: nothing at all happens.
        let before = self.may_hold_back().then(|| self.connection.clone());
        let event = self
            .connection
            .handle_frame(&self.server, at(self.now), WALL);
        let taken = event.map(|event| match event {
            Event::Pinged => Turn::Ping,
            Event::MessageReceived(kept) => Turn::Message(kept.to_text().into_string()),
        });
        if taken.is_none() && before.is_some_and(|before| before == self.connection) {
            return false;
        }
        let is_last = taken.is_none();
        match (taken, expected) {
            (None, Some(Turn::Refused(_)) | None) => {}
            (taken, expected) => assert_eq!(taken, expected),
        }
        self.witness.take(self.now);
        if is_last && self.witness.is_reading() && !self.witness.awaiting {
            assert!(
                !self.connection.spare_mut().is_empty(),
                "neither room nor a frame"
            );
        }
        true
    }

    /// Whether a reply might not have fitted into the output that was waiting.
    fn may_hold_back(&self) -> bool {
        let reply = LONGEST_OK.max(self.rules.path.len() * 6 + 70);
        self.connection.pending().len() + reply > self.rules.limits.max_outbox_bytes()
    }

    fn take_all(&mut self) {
        while self.witness.known().is_some() {
            let is_taken = self.take();
            self.answer(true);
            self.agree();
            if !is_taken {
                break;
            }
        }
    }

    fn answer(&mut self, takes: bool) {
        let id = takes.then_some(self.next_id);
        self.next_id += u64::from(takes && self.witness.awaiting);
        let entry = id.and_then(|id| EntryId::parse(&format!("uds-{id}")));
        self.connection.handle_enqueued(entry, at(self.now), WALL);
        self.witness.answer(id, self.now);
    }

    fn answer_with(&mut self, line: &str) {
        self.connection.handle_answered(line.as_bytes());
        self.witness.answer_with(line);
    }

    fn write(&mut self, most: usize) {
        let n = self.connection.pending().len().min(most);
        self.connection.handle_output(n, at(self.now));
        self.witness.written += n;
        self.witness.active(n, self.now);
    }

    /// A timeout that is not due, and one that was handled already, change nothing.
    fn timeout(&mut self) {
        if self.witness.deadline().is_some_and(|due| self.now >= due) {
            self.connection.handle_timeout(at(self.now), WALL);
            self.witness.timeout(self.now);
            self.agree();
        }
        let before = self.connection.clone();
        self.connection.handle_timeout(at(self.now), WALL);
        assert_eq!(
            self.connection, before,
            "early and second timeouts are harmless"
        );
    }

    fn act(&mut self) {
        let (finish, hangup) = self.witness.act();
        let action = self.connection.poll_action();
        assert_eq!(action == Some(Action::FinishOutput), finish);
        assert_eq!(action == Some(Action::Hangup), hangup);
        assert_eq!(self.connection.poll_action(), None, "each thing once");
    }

    /// Facts that say nothing change nothing.
    fn stray(&mut self) {
        let before = self.connection.clone();
        self.connection.handle_input(0, at(self.now));
        self.connection.handle_output(0, at(self.now));
        if !self.witness.awaiting {
            self.connection
                .handle_enqueued(EntryId::parse("uds-9"), at(self.now), WALL);
            self.connection.handle_enqueued(None, at(self.now), WALL);
            self.connection.handle_answered(b"{}");
        }
        assert_eq!(self.connection, before);
    }

    /// With nothing but timeouts every connection comes to its end, and stays there.
    fn check_patience(&mut self) {
        self.compared = (usize::MAX, 0);
        self.agree();
        for _ in 0..3 {
            if let Some(due) = self.connection.poll_timeout() {
                self.now = self.now.max(due.as_nanos() / 1_000_000);
                self.timeout();
                self.agree();
            }
        }
        assert!(self.connection.is_closed(), "a wait without end");
        self.act();
        let closed = self.connection.clone();
        for _ in 0..2 {
            self.now += 10_000;
            self.read(usize::MAX);
            self.take();
            self.stray();
            self.answer(true);
            self.connection.handle_answered(b"{}");
            self.connection.handle_end_of_input();
            self.connection.handle_stop();
            self.connection.handle_broken();
            self.connection.handle_eviction(at(self.now), WALL);
            self.timeout();
            self.act();
            assert_eq!(self.connection, closed, "closed stays closed");
        }
    }
}

/// The most that one connection holds: a frame with its newline, its outbox, one error frame.
fn most_bytes(limits: &Limits) -> usize {
    limits.max_frame_bytes() + 1 + limits.max_outbox_bytes() + ERROR_RESERVE + FIELDS
}
