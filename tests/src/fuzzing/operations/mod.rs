//! One server connection under facts in any order: what no order may break, and what the peer
//! is told.
//!
//! The operations are structured, so that mutations reach deep states. What bytes mean is the
//! business of other targets: here every line is one of a few whose meaning is known.

mod line;

use std::collections::VecDeque;
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use hallway_core::local::connection::{Action, CloseReason, Connection, Event, Refusal, Server};
use hallway_core::local::inbox::EntryId;
use hallway_core::{Instant, Limits, Token, UnixTime};

use line::{Line, MAX_FRAME, Meaning};

/// Longer runs reach nothing new.
const MAX_OPERATIONS: usize = 256;

const MAX_OUTBOX: usize = 1_024;
/// The longest answer of the dialect to one frame, and the room that an error frame has beside
/// the outbox.
const MAX_ANSWER: usize = 128;
const MAX_ERROR: usize = 256;

/// What happens to a connection, in order.
#[derive(Arbitrary, Clone, Debug)]
pub struct Operations(Vec<Operation>);

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Operation {
    /// The peer writes a line.
    Write(Line),
    /// At most so many bytes of it are read.
    Read(u16),
    /// The transport has nothing more to read at present.
    Drained,
    /// A frame is taken, if there is one.
    Take,
    /// The message that was taken is enqueued.
    Enqueue,
    /// There is no room for it.
    Reject,
    /// It is answered with a line of so many bytes.
    Answer(u8),
    /// At most so many bytes of output are written.
    Flush(u16),
    EndOfInput,
    Stop,
    Break,
    Evict,
    /// So many milliseconds pass.
    Later(u16),
    Timeout,
    Act,
}

impl Operations {
    /// The operations that `bytes` spell, exactly as libFuzzer's typed targets read them.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        Self::arbitrary_take_rest(Unstructured::new(bytes)).ok()
    }

    /// Runs them, and lets the connection come to its end.
    ///
    /// # Panics
    ///
    /// When the connection does or says what it must not.
    pub fn check(self) {
        let mut world = World::new();
        for operation in self.0.into_iter().take(MAX_OPERATIONS) {
            let ended = world.hung_up.then(|| world.connection.clone());
            world.apply(operation);
            if let Some(ended) = ended {
                assert_eq!(
                    world.connection, ended,
                    "terminal is terminal: {operation:?}"
                );
            }
            world.check();
        }
        world.settle();
    }

    /// Holds what is not true: that no message is ever accepted. Four operations in a row
    /// refute it, which coverage of the core finds within seconds and chance does not. A run
    /// that does not find it is blind, whatever it reports of the other targets.
    ///
    /// # Panics
    ///
    /// When a message is accepted.
    pub fn canary(self) {
        let mut world = World::new();
        for operation in self.0.into_iter().take(MAX_OPERATIONS) {
            world.apply(operation);
            assert_eq!(world.accepted, 0, "the canary's planted failure");
        }
    }
}

/// A line on the wire, and how many bytes of the wire must have been read for it to count.
struct Expected {
    meaning: Meaning,
    needs: usize,
}

/// A connection, its peer, and what the peer must be told.
struct World {
    server: Server,
    connection: Connection,
    now: Instant,
    wire: Vec<u8>,
    read: usize,
    lines: VecDeque<Expected>,
    /// A message was taken and is not answered.
    asked: bool,
    granted: bool,
    idle_since: Instant,
    closing_since: Instant,
    /// Why it will close once all is answered.
    ending: Option<CloseReason>,
    /// Whether the input's end was told, or need not be waited for.
    ended: bool,
    reason: Option<CloseReason>,
    /// Nothing more could be written, whatever was waiting.
    cut_short: bool,
    accepted: u64,
    answers: Vec<u8>,
    written: usize,
    finished: bool,
    hung_up: bool,
}

const ORIGIN: Instant = Instant::from_nanos(7);

fn limits() -> Limits {
    Limits::builder()
        .max_frame_bytes(MAX_FRAME)
        .max_outbox_bytes(MAX_OUTBOX)
        .build()
        .expect("within the ranges")
}

impl World {
    fn new() -> Self {
        Self {
            server: Server::new("/s", Token::parse("T").expect("a token")),
            connection: Connection::new(&limits(), ORIGIN),
            now: ORIGIN,
            wire: Vec::new(),
            read: 0,
            lines: VecDeque::new(),
            asked: false,
            granted: false,
            idle_since: ORIGIN,
            closing_since: ORIGIN,
            ending: None,
            ended: false,
            reason: None,
            cut_short: false,
            accepted: 0,
            answers: Vec::new(),
            written: 0,
            finished: false,
            hung_up: false,
        }
    }

    fn apply(&mut self, operation: Operation) {
        match operation {
            Operation::Write(line) => self.write(line),
            Operation::Read(most) => self.read(usize::from(most)),
            Operation::Drained => self.connection.handle_input_drained(),
            Operation::Take => self.take(),
            Operation::Enqueue => self.enqueue(),
            Operation::Reject => self.reject(),
            Operation::Answer(bytes) => self.answer(usize::from(bytes) % MAX_ANSWER),
            Operation::Flush(most) => self.flush(usize::from(most)),
            Operation::EndOfInput => {
                self.connection.handle_end_of_input();
                self.ending.get_or_insert(CloseReason::Finished);
                self.ended = true;
            }
            Operation::Stop => {
                self.connection.handle_stop();
                self.ending.get_or_insert(CloseReason::Stopped);
                self.ended |= self.reason.is_none();
            }
            Operation::Break => {
                self.connection.handle_broken();
                self.cut_short |= !self.is_closed();
                self.close(CloseReason::Broken);
            }
            Operation::Evict => {
                self.connection.handle_eviction(self.now, UnixTime::EPOCH);
                self.refuse(Refusal::TooManyClients);
            }
            Operation::Later(millis) => {
                self.now = self.now.after(Duration::from_millis(millis.into()));
            }
            Operation::Timeout => self.time_out(),
            Operation::Act => self.act(),
        }
    }

    fn write(&mut self, line: Line) {
        let (bytes, meaning) = line.written();
        let needs = self.wire.len()
            + match line {
                Line::TooLong(..) => MAX_FRAME + 1,
                _ => bytes.len(),
            };
        self.wire.extend_from_slice(&bytes);
        self.lines.push_back(Expected { meaning, needs });
    }

    fn read(&mut self, most: usize) {
        let unread = &self.wire[self.read..];
        let spare = self.connection.spare_mut();
        assert!(
            spare.len() <= MAX_FRAME + 1,
            "{} bytes of room",
            spare.len()
        );
        let n = unread.len().min(spare.len()).min(most);
        spare[..n].copy_from_slice(&unread[..n]);
        self.connection.handle_input(n, self.now);
        self.read += n;
        self.handle_activity(n);
    }

    fn flush(&mut self, most: usize) {
        let n = self.connection.pending().len().min(most);
        self.connection.handle_output(n, self.now);
        self.written += n;
        self.handle_activity(n);
    }

    fn handle_activity(&mut self, n: usize) {
        if n > 0 && self.reason.is_none() {
            self.idle_since = self.now;
        }
    }

    fn take(&mut self) {
        let before = self.connection.clone();
        let event = self
            .connection
            .handle_frame(&self.server, self.now, UnixTime::EPOCH)
            .map(|event| match event {
                Event::Pinged => Meaning::Ping,
                Event::MessageReceived(kept) => Meaning::Message(kept.to_text().into()),
            });
        if self.reason.is_some() || self.asked {
            assert_eq!((event, &self.connection), (None, &before), "out of turn");
            return;
        }
        let waiting = before.pending().len();
        if self.connection == before && waiting + MAX_ANSWER > MAX_OUTBOX {
            return;
        }
        let due = |line: &Expected| line.needs <= self.read;
        while self
            .lines
            .front()
            .is_some_and(|line| due(line) && line.meaning == Meaning::Nothing)
        {
            self.lines.pop_front();
        }
        match self
            .lines
            .pop_front_if(|line| due(line))
            .map(|line| line.meaning)
        {
            Some(Meaning::Violation(refusal)) => {
                assert_eq!(event, None);
                self.refuse(refusal);
            }
            Some(meaning) => {
                self.granted = true;
                self.asked = meaning != Meaning::Ping;
                if !self.asked {
                    self.tell(r#"{"type":"pong","from":"/s","ts":"1970-01-01T00:00:00.000Z"}"#);
                }
                assert_eq!(event, Some(meaning));
            }
            None => {
                assert_eq!(event, None);
                if let Some(reason) = self.ending {
                    self.close(reason);
                }
            }
        }
    }

    fn enqueue(&mut self) {
        let id = self.accepted + 1;
        let entry = EntryId::parse(&format!("uds-{id}"));
        let before = self.connection.clone();
        self.connection
            .handle_enqueued(entry, self.now, UnixTime::EPOCH);
        if std::mem::take(&mut self.asked) {
            self.accepted = id;
            self.tell(&format!(
                r#"{{"type":"response","data":"ok","ts":"1970-01-01T00:00:00.000Z","meta":{{"id":"uds-{id}"}}}}"#
            ));
        } else {
            assert_eq!(self.connection, before, "nothing was asked");
        }
    }

    fn reject(&mut self) {
        let before = self.connection.clone();
        self.connection
            .handle_enqueued(None, self.now, UnixTime::EPOCH);
        if self.asked {
            self.refuse(Refusal::InboxFull);
        } else {
            assert_eq!(self.connection, before, "nothing was asked");
        }
    }

    fn answer(&mut self, bytes: usize) {
        let line = "y".repeat(bytes);
        let before = self.connection.clone();
        self.connection.handle_answered(line.as_bytes());
        if std::mem::take(&mut self.asked) {
            self.tell(&line);
        } else {
            assert_eq!(self.connection, before, "nothing was asked");
        }
    }

    fn time_out(&mut self) {
        let before = self.connection.clone();
        self.connection.handle_timeout(self.now, UnixTime::EPOCH);
        if self.deadline().is_none_or(|deadline| self.now < deadline) {
            assert_eq!(self.connection, before, "before its time");
        } else if self.reason.is_some() {
            self.cut_short = true;
        } else if !self.granted && self.now >= ORIGIN.after(limits().auth_timeout()) {
            self.refuse(Refusal::AuthenticationTimeout);
        } else {
            self.refuse(Refusal::IdleTimeout);
        }
        let once = self.connection.clone();
        self.connection.handle_timeout(self.now, UnixTime::EPOCH);
        assert_eq!(self.connection, once, "twice is once");
    }

    fn act(&mut self) {
        let (closed, empty) = (self.is_closed(), self.connection.pending().is_empty());
        let (finish, hang_up) = (
            self.reason.is_some() && !closed && empty && !self.finished,
            closed && !self.hung_up,
        );
        match self.connection.poll_action() {
            None => assert!(!finish && !hang_up, "an action is missing"),
            Some(Action::FinishOutput) => {
                assert!(finish, "output ended early or twice");
                self.finished = true;
            }
            Some(Action::Hangup) => {
                assert!(hang_up, "hung up early or twice");
                self.hung_up = true;
            }
        }
    }

    /// The peer is told why, once, and nothing after.
    fn refuse(&mut self, refusal: Refusal) {
        if self.reason.is_none() {
            let words = match refusal {
                Refusal::InvalidFrame => "invalid frame",
                Refusal::Unauthorized => "unauthorized",
                Refusal::FrameTooLong(_) => "NDJSON frame exceeded 512 bytes (513)",
                Refusal::InboxFull => "inbox full",
                Refusal::AuthenticationTimeout => "authentication timeout",
                Refusal::IdleTimeout => "idle timeout",
                Refusal::TooManyClients => "too many clients",
                other => panic!("the contract knows no {other:?}"),
            };
            self.tell(&format!(
                r#"{{"type":"error","data":"{words}","ts":"1970-01-01T00:00:00.000Z"}}"#
            ));
        }
        self.close(CloseReason::Refused(refusal));
    }

    fn close(&mut self, reason: CloseReason) {
        if self.reason.is_none() {
            self.reason = Some(reason);
            self.closing_since = self.now;
            self.asked = false;
        }
    }

    fn tell(&mut self, line: &str) {
        self.answers.extend_from_slice(line.as_bytes());
        self.answers.push(b'\n');
    }

    fn is_closed(&self) -> bool {
        let all_said = self.ended && self.written == self.answers.len();
        self.reason.is_some() && (self.cut_short || all_said)
    }

    fn deadline(&self) -> Option<Instant> {
        let limits = limits();
        match self.reason {
            Some(_) if self.is_closed() => None,
            Some(_) => Some(self.closing_since.after(limits.closing_timeout())),
            None => {
                let idle = self.idle_since.after(limits.idle_timeout());
                let auth = ORIGIN.after(limits.auth_timeout());
                Some(if self.granted { idle } else { idle.min(auth) })
            }
        }
    }

    fn check(&self) {
        let connection = &self.connection;
        assert_eq!(connection.close_reason(), self.reason);
        assert_eq!(connection.is_closed(), self.is_closed());
        assert_eq!(connection.poll_timeout(), self.deadline());
        let authenticated = self.granted && self.reason.is_none();
        assert_eq!(connection.is_authenticated(), authenticated);
        let pending = connection.pending();
        let error = self.reason.map_or(0, |_| MAX_ERROR);
        let waiting = pending.len();
        assert!(waiting <= MAX_OUTBOX + error, "{waiting} bytes wait");
        if self.is_closed() {
            assert!(pending.is_empty(), "output after the end");
        } else {
            assert_eq!(pending, &self.answers[self.written..]);
        }
    }

    /// A willing peer and a willing shell: everything is answered. Then silence: it ends.
    fn settle(mut self) {
        loop {
            self.flush(usize::MAX);
            self.act();
            let before = (self.asked, self.lines.len());
            self.take();
            self.enqueue();
            self.check();
            // There need be no room before all frames were taken.
            if (self.asked, self.lines.len()) == before {
                let read = self.read;
                self.read(usize::MAX);
                if self.read == read {
                    break;
                }
            }
        }
        let all_taken = self.ended || self.lines.is_empty();
        assert!(self.reason.is_some() || all_taken, "lines were left");
        while let Some(deadline) = self.deadline() {
            self.now = self.now.max(deadline);
            let was_open = self.reason.is_none();
            self.time_out();
            self.check();
            assert!(self.is_closed() || was_open, "still there");
        }
        self.act();
        assert!(self.hung_up, "the transport was never given back");
    }
}
