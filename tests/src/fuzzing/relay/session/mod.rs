//! The relay's client, of a session or of a machine, under operations in any order, against the simulation's server
//! over a network that loses things, or against one that lies.
//!
//! Held is, of any server: one transport at most, nothing is asked for after the end, a deadline
//! in every state that waits; what was taken has one outcome at most, and so has an update; what
//! the user said is delivered once, though it be replayed, and nothing else as the user's. Of an
//! honest server, in the end: everything that was taken is stored, once and in order, and told
//! so; everything that was said is delivered, once and in order; an update that was applied is
//! there. Where it ends before that: what came so far is the beginning of that. A machine says that
//! it is alive every 20 s of a connection, and never sooner.

mod heard;
mod hostile;
mod operation;
mod settle;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::LazyLock;
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use hallway_core::backoff::{Epoch, Policy};
use hallway_core::relay::cipher::{Cipher, Nonce};
use hallway_core::relay::client::{
    Action, Change, Client, Event, Fetch, HttpFailure, Merge, Route, Scope, SendError, Target,
};
use hallway_core::relay::keys::DataKey;
use hallway_core::relay::limits::Limits;
use hallway_core::relay::link::{DialFailure, Owed, Status};
use hallway_core::relay::outbox::BatchId;
use hallway_core::relay::raw::Raw;
use hallway_core::relay::update::{MachineRow, SessionRow};
use hallway_core::relay::versioned::UpdateId;
use hallway_core::{Instant, Token, UnixTime};
use serde_json::json;

use crate::sim_relay::server::Server;
use heard::hear;
use operation::{Course, Fate, Line, Operation, Served, failure};

/// Longer runs reach nothing new.
const MAX_OPERATIONS: usize = 96;
const MAX_OUTBOX: usize = 6;
/// From one sign of life of a machine to the next.
const ALIVE: Duration = Duration::from_secs(20);

/// What happens to a client, in order.
#[derive(Arbitrary, Clone, Debug)]
pub struct SessionOperations {
    served: Served,
    course: Course,
    operations: Vec<Operation>,
}

impl SessionOperations {
    /// The operations that `bytes` spell, exactly as libFuzzer's typed targets read them.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        Self::arbitrary_take_rest(Unstructured::new(bytes)).ok()
    }

    /// Runs them, and lets the session come to rest, or ends it.
    ///
    /// # Panics
    ///
    /// When the client does or says what it must not.
    pub fn check(self) {
        let mut world = World::new(self.served, self.course == Course::Hostile);
        world.client.connect(world.now);
        world.drain();
        for operation in self.operations.into_iter().take(MAX_OPERATIONS) {
            world.apply(operation);
            world.drain();
            world.check();
        }
        if self.course == Course::Rests {
            world.settle();
        }
        world.close();
    }
}

fn cipher() -> Cipher {
    Cipher::DataKey(DataKey::from_bytes(&[1; 32]))
}

fn nonce(number: u64) -> Nonce {
    let mut entropy = [0; 24];
    entropy[..8].copy_from_slice(&number.to_be_bytes());
    Nonce::from_entropy(entropy)
}

/// What a user may say, sealed.
static SAID: LazyLock<Vec<String>> = LazyLock::new(|| {
    let sealed = (0..MAX_OPERATIONS as u64).map(|number| {
        let plain =
            json!({"role": "user", "content": {"type": "text", "text": number.to_string()}});
        let sealed = cipher().seal_text(nonce(1 << 32 | number), &plain.to_string());
        sealed.expect("short")
    });
    sealed.collect()
});

static METADATA: LazyLock<String> =
    LazyLock::new(|| cipher().seal_text(nonce(1 << 33), "{}").expect("short"));

static ROW: LazyLock<String> = LazyLock::new(|| {
    json!({"id": "S", "metadata": *METADATA, "metadataVersion": 0, "agentState": null, "agentStateVersion": 0, "daemonState": null, "daemonStateVersion": 0, "dataEncryptionKey": null}).to_string()
});

/// A client, its server, and what is under way between them.
struct World {
    client: Client,
    server: Server,
    hostile: bool,
    now: Instant,
    nonces: u64,
    /// The dial or the transport that may not be gone.
    live: Option<Epoch>,
    dialling: bool,
    /// Nothing passes, and nobody was told.
    dead: bool,
    /// Frames to the client, in order.
    pipe: VecDeque<String>,
    posting: Option<(BatchId, String)>,
    fetching: Option<Fetch>,
    merging: Option<Merge>,
    owed: VecDeque<Owed>,
    sent: Vec<String>,
    stored: BTreeMap<String, u64>,
    refused: BTreeSet<String>,
    said: Vec<u64>,
    heard: Vec<u64>,
    /// The updates without an outcome, and what each writes, if anything.
    updates: BTreeMap<(Target, UpdateId), Option<String>>,
    ended: BTreeSet<(Target, UpdateId)>,
    applied: Vec<(Target, String)>,
    others: u64,
    titles: u64,
    closed: bool,
    end_asked: bool,
    /// When a machine said that it was alive, on this connection.
    alive: Option<Instant>,
    /// How often it did, on all of them.
    signs: u64,
    gone: bool,
}

impl World {
    fn new(served: Served, hostile: bool) -> Self {
        let mut server = Server {
            old: served == Served::OldSession,
            machine: served == Served::Machine,
            ..Server::default()
        };
        server.metadata.value = Some(METADATA.clone());
        let row = Raw::parse(&ROW).expect("JSON");
        let scope = if server.machine {
            Scope::machine(&MachineRow::parse(row).expect("a row"), cipher())
        } else {
            Scope::session(&SessionRow::parse(row).expect("a row"), cipher())
        };
        let limits = Limits::builder()
            .max_outbox_messages(MAX_OUTBOX)
            .max_batch_messages(3)
            .max_page_messages(4)
            .max_updates(3);
        let limits = limits.build().expect("in range");
        let auth = scope.auth(&Token::parse("t").expect("short"), None);
        let mut client = Client::new(&limits, scope, 0, auth, Policy::PERSISTENT, 1);
        client.register("echo").expect("room");
        Self {
            client,
            server,
            hostile,
            now: Instant::from_nanos(1),
            nonces: 0,
            live: None,
            dialling: false,
            dead: false,
            pipe: VecDeque::new(),
            posting: None,
            fetching: None,
            merging: None,
            owed: VecDeque::new(),
            sent: Vec::new(),
            stored: BTreeMap::new(),
            refused: BTreeSet::new(),
            said: Vec::new(),
            heard: Vec::new(),
            updates: BTreeMap::new(),
            ended: BTreeSet::new(),
            applied: Vec::new(),
            others: 0,
            titles: 0,
            closed: false,
            end_asked: false,
            alive: None,
            signs: 0,
            gone: false,
        }
    }

    fn nonce(&mut self) -> Nonce {
        self.nonces += 1;
        nonce(self.nonces)
    }

    /// The number of the transport at the server.
    fn socket(&self) -> u64 {
        self.live.map_or(0, Epoch::number)
    }

    fn apply(&mut self, operation: Operation) {
        match operation {
            Operation::Listen => self.client.listen(),
            Operation::Dialled(up) => self.dialled(up),
            Operation::Deliver => self.receive(),
            Operation::Write => drop(self.write()),
            Operation::Cut(told) => self.cut(told),
            Operation::Posted(fate) => self.post(fate),
            Operation::Fetched(fate) => self.fetch(fate),
            Operation::Merge(writes) => self.merge(writes),
            Operation::Send(line) => self.send(line),
            Operation::Say(live) => self.say(live),
            Operation::Update(of_metadata) => {
                let target = if of_metadata {
                    Target::Metadata
                } else {
                    Target::State
                };
                if let Ok(update) = self.client.request_update(target, self.now) {
                    let key = format!("ours{}", self.updates.len() + self.ended.len());
                    let before = self.updates.insert((target, update), Some(key));
                    assert_eq!(before, None, "an id is used again");
                }
            }
            Operation::Others => self.write_by_others(),
            Operation::Call => {
                let called = self.server.call(&SAID[0], String::new());
                self.tell(called.into_iter().collect());
            }
            Operation::Answer => self.answer(),
            Operation::KeepAlive => {
                let at = UnixTime::EPOCH;
                let taken = self.client.keep_alive(true, "remote", at);
                assert!(taken.is_err() || self.client.status() == Status::Open);
                assert!(taken.is_err() || !self.server.machine);
            }
            Operation::Heartbeat => self.heartbeat(),
            Operation::Later(millis) => {
                self.now = self.now.after(Duration::from_millis(millis.into()));
            }
            Operation::Due => self.due(),
            Operation::Wake => self.hear_from(Client::handle_wake),
            Operation::Reconnect => self.hear_from(Client::reconnect),
            Operation::Resume => self.client.resume(),
            Operation::End => {
                self.end_asked = true;
                self.client.end(UnixTime::EPOCH, self.now);
            }
            Operation::Close => self.hear_from(Client::close),
            Operation::Lie(lie) if self.hostile => self.lie(lie),
            Operation::Lie(_) => {}
        }
    }

    fn hear_from(&mut self, fact: impl FnOnce(&mut Client, Instant) -> Option<Event<'static>>) {
        let event = fact(&mut self.client, self.now);
        self.hear(event);
    }

    fn dialled(&mut self, up: bool) {
        let Some(epoch) = self.live.filter(|_| self.dialling) else {
            return;
        };
        self.dialling = false;
        if up {
            self.client.handle_opened(epoch);
            self.pipe.push_back(Server::hello());
        } else {
            self.live = None;
            let failure = DialFailure::Unreachable;
            self.hear_from(|client, now| client.handle_dial_failed(epoch, failure, now));
        }
    }

    fn receive(&mut self) {
        let Some(epoch) = self.live else { return };
        let Some(frame) = self.pipe.pop_front() else {
            return;
        };
        let event = self.client.handle_message(epoch, &frame, self.now);
        // What borrows the frame is of no further use here.
        let event = match event {
            Some(
                Event::Ephemeral(_)
                | Event::OtherUpdate(_)
                | Event::OtherEvent { .. }
                | Event::RpcError { .. },
            ) => None,
            Some(Event::Closed { reason, .. }) => Some(Event::Closed { reason, said: None }),
            Some(Event::Reconnecting {
                attempt,
                delay,
                cause,
                ..
            }) => Some(Event::Reconnecting {
                attempt,
                delay,
                cause,
                said: None,
            }),
            other => other,
        };
        hear(self, event);
    }

    fn write(&mut self) -> Option<()> {
        let epoch = self.live?;
        let frame = self.client.poll_transmit(epoch)?.to_owned();
        self.client.handle_transmitted(epoch, self.now);
        // The answers to calls that were made up are nobody's.
        let lost = self.dead || (self.hostile && frame.starts_with("43"));
        if !lost {
            let out = self.server.frame(self.socket(), &frame);
            self.tell(out);
        }
        Some(())
    }

    /// What the server says to the socket that lives.
    fn tell(&mut self, out: Vec<(u64, String)>) {
        let socket = self.socket();
        let frames = out.into_iter().filter(|(to, _)| *to == socket);
        self.pipe.extend(frames.map(|(_, frame)| frame));
    }

    fn heartbeat(&mut self) {
        if self.live.is_some() && !self.dialling && !self.dead {
            self.pipe.push_back("2".to_owned());
        }
    }

    fn cut(&mut self, told: bool) {
        let Some(epoch) = self.live.filter(|_| !self.dialling) else {
            return;
        };
        self.pipe.clear();
        self.server.drop_socket(epoch.number());
        self.dead = true;
        if told {
            self.live = None;
            self.hear_from(|client, now| client.handle_closed(epoch, None, now));
        }
    }

    fn post(&mut self, fate: Fate) {
        let Some((id, body)) = self.posting.take() else {
            return;
        };
        if self.server.old {
            let failure = HttpFailure::NoRoute;
            return self.hear_from(|client, now| client.handle_post_failed(id, failure, now));
        }
        if matches!(fate, Fate::Done | Fate::Unanswered) {
            let (out, answer) = self.server.post(&body);
            self.tell(out);
            if fate == Fate::Done {
                let answer = Raw::parse(&answer).expect("JSON");
                return self.client.handle_posted(id, answer, self.now);
            }
        }
        let failure = failure(fate);
        self.hear_from(|client, now| client.handle_post_failed(id, failure, now));
    }

    fn fetch(&mut self, fate: Fate) {
        let Some(fetch) = self.fetching.take() else {
            return;
        };
        if fate == Fate::Done {
            let page = match fetch.route {
                Route::Socket => self.server.history(),
                Route::Durable if !self.server.old => self.server.page(fetch.after, fetch.limit),
                Route::Durable => {
                    let failure = HttpFailure::NoRoute;
                    return self.hear_from(|client, now| {
                        client.handle_fetch_failed(fetch.id, failure, now)
                    });
                }
            };
            return self.hear_from(|client, now| client.handle_page(fetch.id, &page, now));
        }
        let failure = failure(fate);
        self.hear_from(|client, now| client.handle_fetch_failed(fetch.id, failure, now));
    }

    fn merge(&mut self, writes: bool) {
        let Some(merge) = self.merging.take() else {
            return;
        };
        let update = self.updates.get_mut(&(merge.target, merge.update));
        let nonce = {
            self.nonces += 1;
            nonce(self.nonces)
        };
        self.client.merge(merge, nonce, self.now, |value| {
            let key = update.expect("it was asked for");
            if !writes {
                *key = None;
            }
            let Some(key) = key else { return Change::Keep };
            let mut value = value.cloned().unwrap_or_default();
            value.set(key, Raw::parse("1").expect("JSON"));
            Change::Write(value)
        });
    }

    fn send(&mut self, line: Line) {
        let id = format!("m{}", self.sent.len());
        let number = self.sent.len();
        let text = match line {
            Line::Plain => format!(r#"{{"type":"system","uuid":"{id}"}}"#),
            Line::Usage => format!(
                r#"{{"type":"assistant","message":{{"usage":{{"input_tokens":{number},"output_tokens":0}}}}}}"#
            ),
            Line::Summary => format!(r#"{{"type":"summary","summary":"{id}"}}"#),
        };
        let (nonce, at) = (self.nonce(), UnixTime::EPOCH);
        let raw = Raw::parse(&text).expect("JSON");
        match self.client.send_claude(raw, &id, nonce, at) {
            Ok(()) => {
                self.titles += u64::from(matches!(line, Line::Summary));
                self.sent.push(id);
            }
            Err(SendError::Full) => assert_eq!(self.client.unsent(), MAX_OUTBOX),
            Err(SendError::Ended) => assert!(self.closed || self.end_asked),
            Err(SendError::OutOfScope) => assert!(self.server.machine),
            Err(other) => panic!("{other}"),
        }
    }

    fn say(&mut self, live: bool) {
        if self.server.machine {
            return;
        }
        let number = self.said.len();
        let (seq, _) = self.server.store(None, &SAID[number]);
        self.said.push(number as u64);
        if live {
            let out = self.server.tell_message(seq);
            self.tell(out);
        }
    }

    fn write_by_others(&mut self) {
        let key = format!("other{}", self.others);
        let sealed = self.server.metadata.value.as_ref().expect("a value");
        let plain = cipher().open_text(sealed).expect("ours");
        // One brace: what is behind it may be an object, too.
        let value = plain.raw().as_str().strip_suffix('}').expect("an object");
        let comma = if value.len() > 1 { "," } else { "" };
        let sealed = cipher().seal_text(self.nonce(), &format!("{value}{comma}\"{key}\":1}}"));
        self.server.metadata.value = Some(sealed.expect("short"));
        self.server.metadata.version += 1;
        self.others += 1;
        self.applied.push((Target::Metadata, key));
        let out = self.server.tell_value("metadata");
        self.tell(out);
    }

    fn answer(&mut self) {
        let Some(owed) = self.owed.pop_front() else {
            return;
        };
        let nonce = self.nonce();
        // It may be lost meanwhile, and there may be no room; it is never too long.
        let answered = self.client.answer_rpc(owed, "1", nonce);
        assert_ne!(answered, Ok(false), "it is short");
    }

    fn due(&mut self) {
        if let Some(due) = self.client.poll_timeout() {
            self.now = self.now.max(due);
        }
        self.hear_from(Client::handle_timeout);
    }

    /// Everything that follows is taken, and what is asked for is noted.
    fn drain(&mut self) {
        for _ in 0..1_000 {
            if let Some(event) = self.client.poll_event(self.now) {
                self.hear(Some(event));
            } else if let Some(action) = self.client.poll_action(self.now) {
                self.act(action);
            } else {
                return;
            }
        }
        panic!("it never rests");
    }

    fn act(&mut self, action: Action) {
        assert!(
            !self.closed || matches!(action, Action::Hangup(_)),
            "{action:?} after the end"
        );
        match action {
            Action::Hangup(epoch) => {
                assert_eq!(self.live, Some(epoch), "it is gone");
                (self.live, self.dialling) = (None, false);
                self.pipe.clear();
                self.server.drop_socket(epoch.number());
            }
            Action::Dial(epoch) => {
                assert_eq!(self.live, None, "a second transport");
                (self.live, self.dialling, self.dead) = (Some(epoch), true, false);
                self.alive = None;
            }
            Action::Post(id) => self.posting = Some((id, self.client.post_body())),
            Action::Fetch(fetch) => self.fetching = Some(fetch),
            Action::Merge(merge) => self.merging = Some(merge),
            Action::KeepAlive => {
                assert!(self.server.machine && !self.gone);
                assert_eq!(self.client.status(), Status::Open);
                let soon = self.alive.map(|alive| self.now.since(alive) < ALIVE);
                assert_ne!(soon, Some(true), "it was just alive");
                self.alive = Some(self.now);
                self.signs += 1;
                // There may be no room, or the one before is not written.
                let said = self.client.machine_alive(UnixTime::EPOCH);
                assert!(matches!(said, Ok(()) | Err(SendError::Emit(_))), "{said:?}");
            }
            other => panic!("{other:?}"),
        }
    }

    fn hear(&mut self, event: Option<Event<'static>>) {
        hear(self, event);
    }

    fn check(&self) {
        let waits = !matches!(self.client.status(), Status::Idle | Status::Closed(_));
        assert_eq!(self.client.poll_timeout().is_some(), waits, "a deadline");
        assert!(self.client.unsent() <= MAX_OUTBOX);
        if self.server.machine && !self.gone && self.client.status() == Status::Open {
            let recently = self.alive.is_some_and(|at| self.now.since(at) < ALIVE);
            assert!(recently, "a machine that is connected is alive");
        }
        let outcomes = self.stored.len() + self.refused.len();
        if !self.hostile {
            assert_eq!(self.client.unsent(), self.sent.len() - outcomes);
        }
        assert!(outcomes <= self.sent.len());
    }
}
