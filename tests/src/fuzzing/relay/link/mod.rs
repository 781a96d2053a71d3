//! The relay's link under facts in any order, of transports that live and of those that do not:
//! what no order may break.
//!
//! Frames are those of a server, of any bytes, or out of turn. Held is: one transport at most,
//! none after the end, a deadline in every state that waits; what was taken to be sent is
//! written once, in order, on the connection that it was taken for; each acknowledgement, ours
//! or the server's, has one outcome; what waits is bounded; what is refused, late, or of a
//! former transport changes nothing.

mod frame;

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use hallway_core::backoff::{Epoch, Policy};
use hallway_core::relay::limits::Limits;
use hallway_core::relay::link::{
    Action, Asked, Auth, DialFailure, EmitError, Event, Link, Owed, Status,
};
use hallway_core::relay::raw::Raw;
use hallway_core::{Instant, Token};

use crate::model::check::footprint;
use frame::Frame;

/// Longer runs reach nothing new.
const MAX_OPERATIONS: usize = 128;

const MAX_FRAME: usize = 256;
const MAX_QUEUED: usize = 3;
const MAX_ACKS: usize = 2;
/// The join, a pong and a probe have room of their own.
const OWN_FRAMES: usize = 3;
/// More than the fields of a link, its books and the frames with room of their own take.
const FIELDS: usize = 2_048;

/// What happens to a link, in order.
#[derive(Arbitrary, Clone, Debug)]
pub struct LinkOperations {
    policy: Timing,
    operations: Vec<Operation>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Timing {
    Persistent,
    Fixed,
    SocketIo,
}

/// Of which transport a fact is: of the latest, or of one before it.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Which {
    Latest,
    Before(u8),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Failure {
    NoToken,
    Untrusted,
    Status(u16),
}

#[derive(Arbitrary, Clone, Debug)]
enum Operation {
    Connect,
    /// What the link wants next is done.
    Act,
    Opened(Which),
    /// A frame of the server's comes.
    Frame(Which, Frame),
    /// One frame is written.
    Write(Which),
    /// An event of so many bytes.
    Emit(u8),
    EmitVolatile(u8),
    EmitWithAck(u8),
    /// The answer to one of the server's events.
    Answer(u8),
    TakeEvent,
    /// So many milliseconds pass.
    Later(u16),
    Timeout,
    /// The next deadline comes.
    Due,
    DialFailed(Which, Failure),
    Closed(Which, Option<u16>),
    TooLong(Which),
    Binary(Which),
    Bytes(Which),
    Wake,
    Reconnect,
    Close,
}

impl LinkOperations {
    /// The operations that `bytes` spell, exactly as libFuzzer's typed targets read them.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        Self::arbitrary_take_rest(Unstructured::new(bytes)).ok()
    }

    /// Runs them, and lets the link come to its end.
    ///
    /// # Panics
    ///
    /// When the link does or says what it must not.
    pub fn check(self) {
        let mut world = World::new(self.policy);
        for (n, operation) in self.operations.into_iter().enumerate().take(MAX_OPERATIONS) {
            let ended = world.is_closed().then(|| world.link.clone());
            let takes = matches!(operation, Operation::Act | Operation::TakeEvent);
            world.apply(operation);
            if let Some(ended) = ended.filter(|_| !takes) {
                assert_eq!(world.link, ended, "terminal is terminal");
            }
            world.check();
            // What grows without bound does not shrink again.
            if n % 16 == 15 {
                world.check_memory();
            }
        }
        world.check_memory();
        world.settle();
    }
}

/// A link, and what is known of it.
struct World {
    link: Link,
    limits: Limits,
    now: Instant,
    /// Every transport that was asked for.
    dialled: Vec<Epoch>,
    /// The one that may not be gone.
    live: Option<Epoch>,
    connected: bool,
    /// What was taken and is not written.
    queued: VecDeque<String>,
    joined: bool,
    taken: u32,
    asked: BTreeSet<Asked>,
    owed: BTreeSet<Owed>,
}

fn limits() -> Limits {
    let builder = Limits::builder()
        .max_frame_bytes(MAX_FRAME)
        .max_queued_frames(MAX_QUEUED)
        .max_queued_bytes(MAX_FRAME)
        .max_pending_acks(MAX_ACKS)
        .max_owed_acks(MAX_ACKS);
    builder.build().expect("within the ranges")
}

impl World {
    fn new(policy: Timing) -> Self {
        let policy = match policy {
            Timing::Persistent => Policy::PERSISTENT,
            Timing::Fixed => Policy::FIXED,
            Timing::SocketIo => Policy::SOCKET_IO,
        };
        let token = Token::parse("T").expect("a token");
        let limits = limits();
        Self {
            link: Link::new(&limits, Auth::session(&token, "S", None), policy, 1),
            limits,
            now: Instant::from_nanos(7),
            dialled: Vec::new(),
            live: None,
            connected: false,
            queued: VecDeque::new(),
            joined: false,
            taken: 0,
            asked: BTreeSet::new(),
            owed: BTreeSet::new(),
        }
    }

    fn is_closed(&self) -> bool {
        matches!(self.link.status(), Status::Closed(_))
    }

    fn epoch(&self, which: Which) -> Option<Epoch> {
        match which {
            Which::Latest => self.dialled.last().copied(),
            Which::Before(back) => {
                let at = self.dialled.len().checked_sub(2 + usize::from(back) % 4)?;
                self.dialled.get(at).copied()
            }
        }
    }

    fn apply(&mut self, operation: Operation) {
        let now = self.now;
        match operation {
            Operation::Connect => self.link.connect(now),
            Operation::Act => self.act(),
            Operation::Opened(which) => {
                self.fact(which, |link, epoch, _| {
                    link.handle_opened(epoch);
                    None
                });
            }
            Operation::Frame(which, frame) => self.receive(which, &frame),
            Operation::Write(which) => self.write(which),
            Operation::Emit(bytes) => self.emit(bytes, |link, raw, _| link.emit("e", Some(raw))),
            Operation::EmitVolatile(bytes) => {
                self.emit(bytes, |link, raw, _| link.emit_volatile("v", Some(raw)));
            }
            Operation::EmitWithAck(bytes) => self.emit_with_ack(bytes),
            Operation::Answer(at) => self.answer(at),
            Operation::TakeEvent => self.take_event(),
            Operation::Later(millis) => {
                self.now = now.after(Duration::from_millis(millis.into()));
            }
            Operation::Timeout => self.time_out(),
            Operation::Due => {
                self.now = self.link.poll_timeout().map_or(now, |due| now.max(due));
                self.time_out();
            }
            Operation::DialFailed(which, failure) => {
                let failure = match failure {
                    Failure::NoToken => DialFailure::NoToken,
                    Failure::Untrusted => DialFailure::Untrusted,
                    Failure::Status(status) => DialFailure::Status {
                        status,
                        retry_after: None,
                    },
                };
                let dialling = self.link.transport().is_none();
                let event = self.fact(which, |link, epoch, now| {
                    link.handle_dial_failed(epoch, failure, now)
                });
                if event {
                    assert!(dialling, "only a dial fails");
                    self.live = None;
                }
            }
            Operation::Closed(which, code) => {
                if self.fact(which, |link, epoch, now| {
                    link.handle_closed(epoch, code, now)
                }) {
                    self.live = None;
                }
            }
            Operation::TooLong(which) => {
                self.fact(which, Link::handle_message_too_long);
            }
            Operation::Binary(which) => {
                self.fact(which, Link::handle_binary);
            }
            Operation::Bytes(which) => {
                self.fact(which, |link, epoch, now| {
                    link.handle_bytes(epoch, now);
                    None
                });
            }
            Operation::Wake => {
                let event = self.link.handle_wake(now);
                self.hear(event);
            }
            Operation::Reconnect => {
                let event = self.link.reconnect(now);
                self.hear(event);
            }
            Operation::Close => {
                let event = self.link.close();
                self.hear(event);
            }
        }
    }

    /// Tells a fact of a transport. One of a former transport changes nothing. Whether something
    /// has happened.
    fn fact(
        &mut self,
        which: Which,
        tell: impl FnOnce(&mut Link, Epoch, Instant) -> Option<Event<'static>>,
    ) -> bool {
        let Some(epoch) = self.epoch(which) else {
            return false;
        };
        let stale = (self.live != Some(epoch)).then(|| self.link.clone());
        let event = tell(&mut self.link, epoch, self.now);
        if let Some(before) = stale {
            assert_eq!((&event, &self.link), (&None, &before), "a former transport");
        }
        let happened = event.is_some();
        self.hear(event);
        happened
    }

    fn receive(&mut self, which: Which, frame: &Frame) {
        let Some(epoch) = self.epoch(which) else {
            return;
        };
        let stale = (self.live != Some(epoch)).then(|| self.link.clone());
        let frame = frame.text(&self.asked);
        let event = self.link.handle_message(epoch, &frame, self.now);
        if let Some(before) = stale {
            assert_eq!((&event, &self.link), (&None, &before), "a former transport");
        }
        self.hear(event);
    }

    fn hear(&mut self, event: Option<Event<'_>>) {
        match event {
            None | Some(Event::Ignored(_)) => {}
            Some(Event::Connected { .. }) => {
                assert!(self.link.is_open() && !self.connected);
                self.connected = true;
            }
            Some(Event::Received { owed, .. }) => {
                assert!(self.connected);
                if let Some(owed) = owed {
                    assert!(self.owed.insert(owed), "an id is used again");
                }
            }
            Some(Event::Acked { asked, .. } | Event::AckLost { asked, .. }) => {
                assert!(self.asked.remove(&asked), "it has two outcomes");
            }
            Some(Event::OwedLost { owed, .. }) => {
                assert!(self.owed.remove(&owed), "it has two outcomes");
            }
            Some(Event::Reconnecting { .. } | Event::Closed { .. }) => {
                assert!(!self.link.is_open());
                (self.connected, self.joined) = (false, false);
                self.queued.clear();
            }
            Some(other) => panic!("{other:?}"),
        }
    }

    fn take_event(&mut self) {
        let event = self.link.poll_event();
        assert!(
            matches!(
                event,
                None | Some(Event::AckLost { .. } | Event::OwedLost { .. })
            ),
            "{event:?}"
        );
        self.hear(event);
    }

    fn act(&mut self) {
        match self.link.poll_action() {
            None => {}
            Some(Action::Hangup(epoch)) => {
                assert_eq!(self.live, Some(epoch), "it is gone");
                self.live = None;
            }
            Some(Action::Dial(epoch)) => {
                assert_eq!(self.live, None, "a second transport");
                assert!(!self.is_closed(), "a dial after the end");
                assert!(self.dialled.last().is_none_or(|last| *last < epoch));
                self.live = Some(epoch);
                self.dialled.push(epoch);
            }
        }
    }

    /// An event of its own number, and so many bytes.
    fn payload(&self, bytes: u8) -> String {
        format!("\"{}{}\"", self.taken, "x".repeat(bytes.into()))
    }

    fn emit(
        &mut self,
        bytes: u8,
        emit: impl FnOnce(&mut Link, Raw<'_>, Instant) -> Result<(), EmitError>,
    ) {
        let payload = self.payload(bytes);
        let before = self.link.clone();
        let taken = emit(
            &mut self.link,
            Raw::parse(&payload).expect("JSON"),
            self.now,
        );
        match taken {
            Ok(()) => {
                assert!(self.connected, "there is no connection");
                self.taken += 1;
                self.queued.push_back(payload);
            }
            Err(error) => {
                assert_eq!(self.link, before, "it is refused: {error}");
                match error {
                    EmitError::NotConnected => assert!(!self.connected),
                    EmitError::Closed(_) => assert!(self.is_closed()),
                    EmitError::TooLong { bytes, limit } => assert!(bytes > limit),
                    EmitError::Full => assert!(self.connected),
                    other => panic!("{other}"),
                }
            }
        }
    }

    fn emit_with_ack(&mut self, bytes: u8) {
        let mut asked = None;
        self.emit(bytes, |link, raw, now| {
            asked = Some(link.emit_with_ack("a", Some(raw), now)?);
            Ok(())
        });
        if let Some(asked) = asked {
            assert!(self.asked.insert(asked), "an id is used again");
            assert!(self.asked.len() <= MAX_ACKS);
        }
    }

    fn answer(&mut self, at: u8) {
        let waiting = self.owed.iter().nth(usize::from(at) % (MAX_ACKS + 1));
        let Some(owed) = waiting.copied() else { return };
        let before = self.link.clone();
        let payload = self.payload(0);
        match self.link.answer(owed, Raw::parse(&payload)) {
            Ok(()) => {
                assert!(self.connected && self.owed.remove(&owed));
                self.queued.push_back(payload);
                self.taken += 1;
            }
            // It is lost, which is told by and by.
            Err(EmitError::UnknownRequest | EmitError::Full) => assert_eq!(self.link, before),
            Err(other) => panic!("{other}"),
        }
    }

    fn write(&mut self, which: Which) {
        let Some(epoch) = self.epoch(which) else {
            return;
        };
        let Some(frame) = self.link.poll_transmit(epoch) else {
            return;
        };
        assert_eq!(self.live, Some(epoch), "a former transport");
        if !self.joined {
            assert!(frame.starts_with(r#"40{"token":"T""#), "{frame}");
            self.joined = true;
        } else if !(frame.starts_with('3') || frame.ends_with(r#"["ping"]"#)) {
            assert!(frame.len() <= MAX_FRAME);
            let payload = self.queued.pop_front();
            let payload = payload.unwrap_or_else(|| panic!("nobody sent {frame}"));
            assert!(frame.contains(&payload), "{frame} is out of order");
        }
        self.link.handle_transmitted(epoch, self.now);
    }

    fn time_out(&mut self) {
        let early = self.link.poll_timeout().is_none_or(|due| self.now < due);
        let before = early.then(|| self.link.clone());
        let event = self.link.handle_timeout(self.now);
        if let Some(before) = before {
            assert_eq!((&event, &self.link), (&None, &before), "before its time");
        }
        self.hear(event);
    }

    fn check(&self) {
        let link = &self.link;
        let waits = !matches!(link.status(), Status::Idle | Status::Closed(_));
        assert_eq!(link.poll_timeout().is_some(), waits, "a deadline");
        assert_eq!(link.is_open(), self.connected);
        assert!(
            link.transport()
                .is_none_or(|epoch| self.live == Some(epoch))
        );
        assert!(self.queued.len() <= MAX_QUEUED);
        assert!(link.queued() <= MAX_QUEUED + OWN_FRAMES);
        // What is lost and was not taken is still known here.
        assert!(self.asked.len() <= MAX_ACKS && self.owed.len() <= MAX_ACKS);
    }

    fn check_memory(&self) {
        assert!(footprint(&self.link) <= FIELDS + self.limits.max_queued_bytes());
    }

    /// A willing server: it is connected, unless it has ended. Then it ends, and everything has
    /// had its outcome.
    fn settle(mut self) {
        self.link.connect(self.now);
        for _ in 0..64 {
            self.act();
            self.act();
            if self.connected || self.is_closed() {
                break;
            }
            let hello = Frame::Open { interval: 15_000 };
            for operation in [
                Operation::Opened(Which::Latest),
                Operation::Frame(Which::Latest, hello),
                Operation::Write(Which::Latest),
                Operation::Frame(Which::Latest, Frame::Consent),
            ] {
                self.apply(operation);
                self.check();
            }
            if !self.connected {
                self.apply(Operation::Due);
            }
        }
        assert!(self.connected || self.is_closed(), "{:?}", self.link);
        self.apply(Operation::Close);
        assert!(self.is_closed());
        for _ in 0..=2 * MAX_ACKS {
            self.take_event();
            self.act();
        }
        assert_eq!(self.live, None, "a transport is left");
        assert!(self.asked.is_empty() && self.owed.is_empty(), "no outcome");
        assert_eq!(self.link.poll_timeout(), None);
    }
}
