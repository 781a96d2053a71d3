//! Who does what when, and the judgement.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hallway_core::backoff::{Epoch, Policy};
use hallway_core::relay::cipher::{Cipher, Nonce};
use hallway_core::relay::client::{
    Action, Change, Client, Event, Fetch, HttpFailure, Route, Session, Target,
};
use hallway_core::relay::cursor::FetchId;
use hallway_core::relay::keys::DataKey;
use hallway_core::relay::limits::Limits;
use hallway_core::relay::link::{Auth, DialFailure, Status};
use hallway_core::relay::outbox::BatchId;
use hallway_core::relay::raw::Raw;
use hallway_core::relay::update::SessionRow;
use hallway_core::relay::versioned::{Outcome, UpdateId};
use hallway_core::{Instant, Token, UnixTime};
use serde_json::{Value, json};

use super::server::{Out, Server};
use crate::model::source::Source;

/// A deliberate fault, for the tests that show that the judgement can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// A message of ours is stored a second time when its post is repeated.
    StoresTwice,
    /// A batch is stored in reverse.
    StoresInReverse,
    /// A page leaves out a message.
    PageLeavesOut,
    /// A post is acknowledged and not stored.
    ForgetsPost,
    /// A write of the metadata is acknowledged and not done.
    ForgetsWrite,
    /// The application keeps a cursor beyond what it has dealt with.
    KeepsTooMuch,
    /// The application deals with a message twice.
    TakesTwice,
}

impl Flaw {
    /// All of them, each with the words of the judgement on it.
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::StoresTwice, "stored in order and once"),
        (Self::StoresInReverse, "stored in order and once"),
        (Self::PageLeavesOut, "delivered in order and once"),
        (Self::ForgetsPost, "stored in order and once"),
        (Self::ForgetsWrite, "an applied update is there"),
        (Self::KeepsTooMuch, "delivered in order and once"),
        (Self::TakesTwice, "delivered in order and once"),
    ];
}

/// How often a run came into each situation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reached {
    /// Messages that were sent and stored.
    pub stored: u64,
    /// Messages of the user that were delivered.
    pub delivered: u64,
    /// Connections.
    pub connections: u64,
    /// Connections that broke without a word.
    pub half_open: u64,
    /// Posts that were repeated.
    pub repeated: u64,
    /// Updates that were applied.
    pub applied: u64,
    /// Updates that ended in another way.
    pub not_applied: u64,
    /// Calls that were answered.
    pub answered: u64,
    /// Runs with a server of old.
    pub old: u64,
    /// Restarts of the process.
    pub restarts: u64,
}

impl Reached {
    /// Counts what another run came into.
    pub fn add(&mut self, other: Self) {
        self.stored += other.stored;
        self.delivered += other.delivered;
        self.connections += other.connections;
        self.half_open += other.half_open;
        self.repeated += other.repeated;
        self.applied += other.applied;
        self.not_applied += other.not_applied;
        self.answered += other.answered;
        self.old += other.old;
        self.restarts += other.restarts;
    }
}

#[derive(Debug)]
enum Turn {
    Dialled(u64, bool),
    ToClient(u64, String),
    ToServer(u64, String),
    Heartbeat(u64),
    /// The server gives up a socket that it does not hear.
    ServerDrops(u64),
    Broken(u64, Option<u16>),
    Post(u32, BatchId, String),
    Posted(u32, BatchId, Result<String, HttpFailure>),
    Get(u32, Fetch),
    Got(u32, FetchId, Result<String, HttpFailure>),
    User,
    Caller,
    Break,
}

#[derive(Debug)]
struct Socket {
    /// Nothing passes, and nobody is told.
    dead: bool,
    /// When the last frame arrives, there and back.
    to_client: Instant,
    to_server: Instant,
}

struct World<'a> {
    source: Source<'a>,
    flaw: Option<Flaw>,
    loud: bool,
    now: Instant,
    agenda: BTreeMap<(Instant, u64), Turn>,
    turns: u64,
    calm: bool,
    server: Server,
    sockets: BTreeMap<u64, Socket>,
    epochs: BTreeMap<u64, Epoch>,
    client: Client,
    /// Which life of the process this is.
    life: u32,
    /// The connection of this life, counted over all lives.
    base: u64,
    nonces: u64,
    sent: Vec<String>,
    acknowledged: BTreeMap<String, u64>,
    /// Sent by a life that ended before it knew: it may be there or not.
    doubtful: BTreeSet<String>,
    /// Which life sent what.
    lives: BTreeMap<String, u32>,
    posted: BTreeSet<String>,
    said: Vec<String>,
    heard: Vec<String>,
    kept: u64,
    updates: BTreeMap<UpdateId, String>,
    applied: BTreeSet<String>,
    by_others: BTreeSet<String>,
    title: Option<String>,
    usage: Option<u64>,
    reached: Reached,
}

fn cipher() -> Cipher {
    Cipher::DataKey(DataKey::from_bytes(&[1; 32]))
}

fn opened(sealed: &str) -> Value {
    let plain = cipher().open_text(sealed).expect("ours");
    serde_json::from_str(plain.raw().as_str()).expect("JSON")
}

fn client(server: &Server, after: u64, seed: u64) -> Client {
    let row = json!({"id": "S", "seq": server.seq, "metadata": server.metadata.value, "metadataVersion": server.metadata.version, "agentState": server.state.value, "agentStateVersion": server.state.version, "dataEncryptionKey": null}).to_string();
    let row = SessionRow::parse(Raw::parse(&row).expect("JSON")).expect("a row");
    let token = Token::parse("t").expect("short");
    let limits = Limits::builder()
        .max_batch_messages(7)
        .max_page_messages(5)
        .max_merges(30)
        .build()
        .expect("in range");
    let auth = Auth::session(&token, "S", None);
    let session = Session::new(&row, cipher());
    Client::new(&limits, session, after, auth, Policy::PERSISTENT, seed)
}

/// Runs one seed, and judges it.
///
/// # Panics
///
/// When a message was lost, repeated or put out of order either way, when an update that was
/// applied is not there, or when the client does not come to rest.
#[must_use]
pub fn run(seed: u64, loud: bool, flaw: Option<Flaw>) -> Reached {
    let mut source = Source::Seed(seed);
    let mut server = Server {
        old: flaw.is_none() && source.once_in(5),
        ..Server::default()
    };
    server.metadata.value = Some(
        cipher()
            .seal_text(Nonce::from_entropy([255; 24]), "{}")
            .expect("short"),
    );
    let client = client(&server, 0, seed);
    let mut world = World {
        source,
        flaw,
        loud,
        now: Instant::from_nanos(1),
        agenda: BTreeMap::new(),
        turns: 0,
        calm: false,
        server,
        sockets: BTreeMap::new(),
        epochs: BTreeMap::new(),
        client,
        life: 0,
        base: 0,
        nonces: 0,
        sent: Vec::new(),
        acknowledged: BTreeMap::new(),
        doubtful: BTreeSet::new(),
        lives: BTreeMap::new(),
        posted: BTreeSet::new(),
        said: Vec::new(),
        heard: Vec::new(),
        kept: 0,
        updates: BTreeMap::new(),
        applied: BTreeSet::new(),
        by_others: BTreeSet::new(),
        title: None,
        usage: None,
        reached: Reached::default(),
    };
    world.reached.old = u64::from(world.server.old);
    world.begin();
    world.play();
    world.judge();
    world.reached
}

impl World<'_> {
    fn begin(&mut self) {
        self.client.register("echo").expect("room");
        if self.server.old || !self.source.once_in(4) {
            self.client.listen();
        }
        self.client.connect(self.now);
        self.settle();
    }

    fn play(&mut self) {
        for _ in 0..60 {
            let after = self.delay(300_000);
            let turn = match self.source.below(10) {
                0..=3 => Turn::User,
                4..=7 => Turn::Caller,
                _ => Turn::Break,
            };
            self.at(after, turn);
        }
        // Faults for some minutes, and then a long calm.
        let storm = Instant::from_nanos(400_000_000_000);
        let end = Instant::from_nanos(1_200_000_000_000);
        while self.step(storm) {}
        self.calm = true;
        self.client.listen();
        // A live event that never came is found by the next one, or by the next connection.
        self.told(|client, now| client.reconnect(now));
        self.settle();
        while self.step(end) {}
        self.now = end;
    }

    fn is_connected(&self) -> bool {
        self.client.status() == Status::Open
    }

    /// The next turn before `end`: whether there was one.
    fn step(&mut self, end: Instant) -> bool {
        let turn = self.agenda.first_key_value().map(|((at, _), _)| *at);
        let due = self.client.poll_timeout();
        let next = match (turn, due) {
            (Some(turn), Some(due)) if due < turn => due,
            (Some(turn), _) => turn,
            (None, Some(due)) => due,
            (None, None) => panic!("nothing is ever to happen"),
        };
        let next = next.max(self.now);
        if next >= end {
            return false;
        }
        self.now = next;
        if turn.is_some_and(|turn| turn <= next) {
            let (_, turn) = self.agenda.pop_first().expect("a turn");
            if self.loud {
                println!("{:?} {turn:?}", self.now);
            }
            self.turn(turn);
        } else {
            if !self.calm && self.source.once_in(60) {
                // It slept.
                self.now = self.now.after(Duration::from_secs(45));
            }
            self.told(|client, now| client.handle_timeout(now));
        }
        self.settle();
        true
    }

    fn turn(&mut self, turn: Turn) {
        match turn {
            Turn::Dialled(socket, up) => match self.epoch(socket) {
                Some(epoch) if up => self.dialled(socket, epoch),
                Some(epoch) => {
                    let failure = DialFailure::Unreachable;
                    self.told(|client, now| client.handle_dial_failed(epoch, failure, now));
                }
                None => {}
            },
            Turn::ToClient(socket, frame) => {
                if let Some(epoch) = self.epoch(socket)
                    && self.passes(socket)
                {
                    self.receive(epoch, &frame);
                }
            }
            Turn::ToServer(socket, frame) => {
                if self.passes(socket) {
                    let out = self.server.frame(socket, &frame);
                    self.deliver(out);
                }
            }
            Turn::Heartbeat(socket) if self.sockets.contains_key(&socket) => {
                self.deliver(vec![(socket, "2".into())]);
                self.after(15_000, Turn::Heartbeat(socket));
            }
            Turn::Heartbeat(_) => {}
            Turn::ServerDrops(socket) => {
                self.sockets.remove(&socket);
                self.server.drop_socket(socket);
            }
            Turn::Broken(socket, code) => {
                let Some(epoch) = self.epoch(socket) else {
                    return;
                };
                self.told(|client, now| client.handle_closed(epoch, code, now));
            }
            Turn::Post(life, id, body) => self.post(life, id, &body),
            Turn::Posted(life, id, answer) if life == self.life => match answer {
                Ok(answer) => {
                    let answer = Raw::parse(&answer).expect("JSON");
                    self.client.handle_posted(id, answer, self.now);
                }
                Err(failure) => {
                    self.told(|client, now| client.handle_post_failed(id, failure, now));
                }
            },
            Turn::Get(life, fetch) => self.get(life, fetch),
            Turn::Got(life, id, answer) if life == self.life => match answer {
                Ok(page) => self.told(|client, now| client.handle_page(id, &page, now)),
                Err(failure) => {
                    self.told(|client, now| client.handle_fetch_failed(id, failure, now));
                }
            },
            Turn::Posted(..) | Turn::Got(..) => {}
            Turn::User => self.user(),
            Turn::Caller => self.caller(),
            Turn::Break if self.calm => {}
            Turn::Break => self.break_something(),
        }
    }

    /// Tells the client, and hears it.
    fn told(&mut self, fact: impl FnOnce(&mut Client, Instant) -> Option<Event<'static>>) {
        if let Some(event) = fact(&mut self.client, self.now) {
            self.heard(event);
        }
    }

    fn receive(&mut self, epoch: Epoch, frame: &str) {
        let event = self.client.handle_message(epoch, frame, self.now);
        match event {
            None | Some(Event::Ephemeral(_) | Event::OtherEvent { .. } | Event::Ignored(_)) => {}
            Some(Event::Connected { .. }) => self.reached.connections += 1,
            Some(Event::UserMessage(message)) => self.heard(Event::UserMessage(message)),
            Some(Event::MessageReceived(message)) => self.heard(Event::MessageReceived(message)),
            Some(Event::RpcRequested {
                owed,
                method,
                params,
            }) => self.heard(Event::RpcRequested {
                owed,
                method,
                params,
            }),
            Some(Event::RpcRegistered { .. } | Event::ValuesChanged { .. }) => {}
            Some(other) => panic!("{other:?}"),
        }
    }

    /// Everything that the client wants is done.
    fn settle(&mut self) {
        loop {
            if let Some(event) = self.client.poll_event(self.now) {
                self.heard(event);
                continue;
            }
            if let Some(action) = self.client.poll_action(self.now) {
                self.act(action);
                continue;
            }
            let Some((epoch, frame)) = self.transmitted() else {
                return;
            };
            let socket = self.base + epoch.number();
            self.send(socket, frame);
        }
    }

    fn transmitted(&mut self) -> Option<(Epoch, String)> {
        let last = self.sockets.last_key_value()?;
        let epoch = self.epoch(*last.0)?;
        let frame = self.client.poll_transmit(epoch)?.to_owned();
        self.client.handle_transmitted(epoch, self.now);
        Some((epoch, frame))
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Dial(epoch) => {
                self.epochs.insert(self.base + epoch.number(), epoch);
                let up = self.calm || !self.source.once_in(4);
                self.wait(2_000, Turn::Dialled(self.base + epoch.number(), up));
            }
            Action::Hangup(epoch) => {
                let socket = self.base + epoch.number();
                // The server hears of it, or does not.
                let heard = self.sockets.get(&socket).is_some_and(|socket| !socket.dead);
                self.sockets
                    .entry(socket)
                    .and_modify(|socket| socket.dead = true);
                self.after(if heard { 50 } else { 60_000 }, Turn::ServerDrops(socket));
            }
            Action::Post(id) => {
                let body = self.client.post_body();
                if !self.posted.insert(body.clone()) {
                    self.reached.repeated += 1;
                }
                self.wait(800, Turn::Post(self.life, id, body));
            }
            Action::Fetch(fetch) => self.wait(800, Turn::Get(self.life, fetch)),
            Action::Merge(merge) => {
                let key = self.updates.get(&merge.update).cloned();
                let nonce = self.nonce();
                self.client.merge(merge, nonce, self.now, |value| {
                    let mut value = value.cloned().unwrap_or_default();
                    value.set(&key.expect("asked for"), Raw::parse("1").expect("JSON"));
                    Change::Write(value)
                });
            }
            other => panic!("{other:?}"),
        }
    }

    fn heard(&mut self, event: Event<'static>) {
        if self.loud {
            println!("{:?} {event:?}", self.now);
        }
        match event {
            Event::UserMessage(message) => {
                let value: Value =
                    serde_json::from_str(message.plaintext.raw().as_str()).expect("JSON");
                let text = value["content"]["text"]
                    .as_str()
                    .expect("a text")
                    .to_owned();
                let again = self.flaw == Some(Flaw::TakesTwice) && self.source.once_in(8);
                if again {
                    self.heard.push(text.clone());
                }
                self.heard.push(text);
                self.kept = message.seq;
                if self.flaw == Some(Flaw::KeepsTooMuch) {
                    self.kept += 1;
                }
            }
            Event::Stored { local_id, seq } => {
                let first = self.acknowledged.insert(local_id.clone().into(), seq);
                assert_eq!(first, None, "{local_id} has two outcomes");
                self.reached.stored += 1;
            }
            Event::Updated {
                update, outcome, ..
            } => {
                let Some(key) = self.updates.remove(&update) else {
                    return; // the client's own
                };
                if matches!(outcome, Outcome::Applied(_)) {
                    self.applied.insert(key);
                    self.reached.applied += 1;
                } else {
                    self.reached.not_applied += 1;
                }
            }
            Event::RpcRequested { owed, params, .. } => {
                let nonce = self.nonce();
                // The link may be gone, which the server sees as well.
                let answer = self.client.answer_rpc(owed, params.raw().as_str(), nonce);
                assert_ne!(answer, Ok(false), "it is short");
            }
            Event::MessageReceived(message) => {
                assert!(
                    self.life > 0 && message.local_id.is_some(),
                    "not the user's"
                );
            }
            // Three times on one connection that slept and was dead; it is said.
            Event::UsageNotReported => self.usage = None,
            Event::Connected { .. }
            | Event::Reconnecting { .. }
            | Event::RpcLost { .. }
            | Event::RpcUnconfirmed { .. }
            | Event::FellBack => {}
            other => panic!("{other:?}"),
        }
    }

    fn dialled(&mut self, socket: u64, epoch: Epoch) {
        self.sockets.insert(
            socket,
            Socket {
                dead: false,
                to_client: self.now,
                to_server: self.now,
            },
        );
        self.client.handle_opened(epoch);
        self.deliver(vec![(socket, Server::hello())]);
        self.after(15_000, Turn::Heartbeat(socket));
    }

    fn send(&mut self, socket: u64, frame: String) {
        let delay = self.delay(400);
        if let Some(pipe) = self.sockets.get_mut(&socket) {
            pipe.to_server = pipe.to_server.max(self.now.after(delay));
            let at = pipe.to_server;
            self.at_time(at, Turn::ToServer(socket, frame));
        }
    }

    fn deliver(&mut self, out: Out) {
        for (socket, frame) in out {
            let delay = self.delay(400);
            if let Some(pipe) = self.sockets.get_mut(&socket) {
                pipe.to_client = pipe.to_client.max(self.now.after(delay));
                let at = pipe.to_client;
                self.at_time(at, Turn::ToClient(socket, frame));
            }
        }
    }

    fn post(&mut self, life: u32, id: BatchId, body: &str) {
        if self.server.old {
            return self.wait(400, Turn::Posted(life, id, Err(HttpFailure::NoRoute)));
        }
        let batch = body.matches("localId").count();
        let mut answer = None;
        let fate = if self.calm { 0 } else { self.source.below(10) };
        if fate == 1 && batch > 2 {
            answer = Some(Err(HttpFailure::TooLarge));
        } else if fate == 2 {
            answer = Some(Err(HttpFailure::RetryAfter(Duration::from_secs(3))));
        } else if fate != 3 {
            let ok = self.store(body);
            // The answer may be lost, with or without a word.
            answer = match fate {
                4 => Some(Err(HttpFailure::Transient)),
                5 => None,
                _ => Some(Ok(ok)),
            };
        }
        if let Some(answer) = answer {
            self.wait(800, Turn::Posted(life, id, answer));
        }
    }

    fn store(&mut self, body: &str) -> String {
        let mut sent: Value = serde_json::from_str(body).expect("JSON");
        let list = sent["messages"].as_array_mut().expect("a list");
        match self.flaw {
            Some(Flaw::StoresInReverse) => list.reverse(),
            Some(Flaw::StoresTwice) => {
                for message in &*list {
                    let content = message["content"].as_str().expect("a text");
                    let id = message["localId"].as_str().map(str::to_owned);
                    let there = |stored: &super::server::Stored| stored.local_id == id;
                    if self.server.messages.iter().any(there) {
                        let (seq, _) = self.server.store(None, content);
                        let stored = self.server.messages.iter_mut();
                        stored
                            .filter(|stored| stored.seq == seq)
                            .for_each(|stored| {
                                stored.local_id.clone_from(&id);
                            });
                    }
                }
            }
            Some(Flaw::ForgetsPost) if self.source.once_in(4) => {
                let seq = self.server.seq;
                let told = |(message, seq): (&Value, u64)| json!({"localId": message["localId"], "seq": seq});
                let told: Vec<_> = list.iter().zip(seq + 1..).map(told).collect();
                self.server.seq += told.len() as u64;
                return json!({"messages": told}).to_string();
            }
            _ => {}
        }
        let (out, answer) = self.server.post(&sent.to_string());
        for one in out {
            if self.calm || !self.source.once_in(6) {
                self.deliver(vec![one]);
            }
        }
        answer
    }

    fn get(&mut self, life: u32, fetch: Fetch) {
        let fate = if self.calm { 0 } else { self.source.below(8) };
        let answer = match fate {
            1 => Some(Err(HttpFailure::Transient)),
            2 => None,
            3 if fetch.limit > 1 => Some(Err(HttpFailure::TooLarge)),
            _ if fetch.route == Route::Socket => Some(Ok(self.server.history())),
            _ if self.server.old => Some(Err(HttpFailure::NoRoute)),
            _ if self.flaw == Some(Flaw::PageLeavesOut) => {
                let page = self.server.page(fetch.after, fetch.limit);
                let mut page: Value = serde_json::from_str(&page).expect("JSON");
                let list = page["messages"].as_array_mut().expect("a list");
                if list.len() > 1 {
                    list.remove(0);
                }
                Some(Ok(page.to_string()))
            }
            _ => Some(Ok(self.server.page(fetch.after, fetch.limit))),
        };
        // A server of old has no route that could be too large in parts.
        let answer = match answer {
            Some(Err(HttpFailure::TooLarge)) if self.server.old => {
                Some(Err(HttpFailure::Transient))
            }
            answer => answer,
        };
        if let Some(answer) = answer {
            self.wait(800, Turn::Got(life, fetch.id, answer));
        }
    }

    /// The user at the app says something, writes metadata, or calls.
    fn user(&mut self) {
        match self.source.below(6) {
            0 => {
                let key = format!("other{}", self.by_others.len());
                let mut value = opened(self.server.metadata.value.as_ref().expect("a value"));
                value[&key] = json!(1);
                let nonce = self.nonce();
                let sealed = cipher()
                    .seal_text(nonce, &value.to_string())
                    .expect("short");
                self.server.metadata.version += 1;
                self.server.metadata.value = Some(sealed);
                self.by_others.insert(key);
                let out = self.server.tell_value("metadata");
                self.deliver(out);
            }
            1 => {
                let params = format!("[{}]", self.nonces);
                let nonce = self.nonce();
                let sealed = cipher().seal_text(nonce, &params).expect("short");
                let call = self.server.call(&sealed, params);
                self.deliver(call.into_iter().collect());
            }
            _ => {
                let text = format!("said{}", self.said.len());
                let plain = json!({"role": "user", "content": {"type": "text", "text": text}});
                let nonce = self.nonce();
                let sealed = cipher()
                    .seal_text(nonce, &plain.to_string())
                    .expect("short");
                let (seq, _) = self.server.store(None, &sealed);
                self.said.push(text);
                if self.calm || !self.source.once_in(6) {
                    let out = self.server.tell_message(seq);
                    self.deliver(out);
                }
            }
        }
    }

    /// The application sends, or asks for an update.
    fn caller(&mut self) {
        if self.source.once_in(4) {
            let key = format!(
                "ours{}",
                self.updates.len() + self.applied.len() + self.sent.len()
            );
            if let Ok(update) = self.client.request_update(Target::Metadata, self.now) {
                self.updates.insert(update, key);
            }
            return;
        }
        // The history of an old server is short: who sends more than it holds is told so.
        let most = if self.server.old { 3 } else { 12 };
        let count = 1 + self.source.below(most);
        for _ in 0..count {
            let id = format!("m{}", self.sent.len());
            let at = UnixTime::from_millis(1).expect("in range");
            let nonce = self.nonce();
            let number = self.sent.len() as u64;
            let line = match self.source.below(8) {
                0 => {
                    self.usage = Some(number);
                    json!({"type": "assistant", "message": {"usage": {"input_tokens": number, "output_tokens": 0}}})
                }
                1 => {
                    self.title = Some(id.clone());
                    json!({"type": "summary", "summary": id})
                }
                _ => json!({"type": "system", "uuid": id}),
            }
            .to_string();
            let line = Raw::parse(&line).expect("JSON");
            self.client.send_claude(line, &id, nonce, at).expect("room");
            self.lives.insert(id.clone(), self.life);
            self.sent.push(id);
        }
    }

    fn break_something(&mut self) {
        let socket = self.sockets.last_key_value().map(|(socket, _)| *socket);
        let choice = self.source.below(8);
        if choice == 7 && !self.server.old {
            return self.restart();
        }
        let Some(socket) = socket else { return };
        let Some(pipe) = self.sockets.get_mut(&socket) else {
            return;
        };
        if pipe.dead {
            return;
        }
        pipe.dead = true;
        if choice < 4 {
            // Nobody is told: each side finds out for itself.
            self.reached.half_open += 1;
            self.after(60_000, Turn::ServerDrops(socket));
        } else {
            self.after(50, Turn::ServerDrops(socket));
            let code = (choice == 6).then_some(1_005);
            self.wait(1_000, Turn::Broken(socket, code));
        }
    }

    /// The process ends without a word, and another begins where it was.
    fn restart(&mut self) {
        let open: Vec<_> = self.sockets.keys().copied().collect();
        for socket in open {
            self.after(60_000, Turn::ServerDrops(socket));
            self.sockets
                .entry(socket)
                .and_modify(|socket| socket.dead = true);
        }
        for id in &self.sent {
            if !self.acknowledged.contains_key(id) {
                self.doubtful.insert(id.clone());
            }
        }
        self.life += 1;
        self.reached.restarts += 1;
        self.base += 1_000;
        self.updates.clear();
        self.epochs.clear();
        // Which of them the server has is not known.
        (self.title, self.usage) = (None, None);
        self.client = client(&self.server, self.kept, u64::from(self.life));
        self.begin();
    }

    /// The epoch of a socket of this life.
    fn epoch(&self, socket: u64) -> Option<Epoch> {
        self.epochs.get(&socket).copied()
    }

    fn passes(&self, socket: u64) -> bool {
        self.sockets.get(&socket).is_some_and(|socket| !socket.dead)
    }

    fn nonce(&mut self) -> Nonce {
        self.nonces += 1;
        let mut entropy = [0; 24];
        entropy[..8].copy_from_slice(&self.nonces.to_be_bytes());
        Nonce::from_entropy(entropy)
    }

    fn delay(&mut self, most: usize) -> Duration {
        Duration::from_millis(1 + self.source.below(most) as u64)
    }

    fn wait(&mut self, most: usize, turn: Turn) {
        let delay = self.delay(most);
        self.at(delay, turn);
    }

    fn after(&mut self, millis: u64, turn: Turn) {
        self.at(Duration::from_millis(millis), turn);
    }

    fn at(&mut self, delay: Duration, turn: Turn) {
        self.at_time(self.now.after(delay), turn);
    }

    fn at_time(&mut self, at: Instant, turn: Turn) {
        self.turns += 1;
        self.agenda.insert((at, self.turns), turn);
    }

    fn judge(&mut self) {
        let ours = |stored: &&super::server::Stored| stored.local_id.is_some();
        let stored: Vec<_> = self.server.messages.iter().filter(ours).collect();
        let ids: Vec<_> = stored.iter().filter_map(|m| m.local_id.clone()).collect();
        let there: BTreeSet<_> = ids.iter().collect();
        // What one life sends is in order; a post of an earlier one may arrive among it.
        for life in 0..=self.life {
            let of = |id: &&String| self.lives.get(*id) == Some(&life);
            let found: Vec<_> = ids.iter().filter(of).collect();
            let kept = |id: &&String| there.contains(id) || !self.doubtful.contains(*id);
            let expected: Vec<_> = self.sent.iter().filter(of).filter(kept).collect();
            assert_eq!(found, expected, "what was sent is stored in order and once");
        }
        for message in &stored {
            let id = message.local_id.clone().expect("ours");
            let told = self.acknowledged.get(&id);
            if !self.doubtful.contains(&id) {
                assert_eq!(told, Some(&message.seq), "{id} is told to be stored");
            }
        }
        // Across restarts, what was not kept in time may be dealt with again; in one life never.
        let mut heard = self.heard.clone();
        if self.life > 0 {
            let mut seen = BTreeSet::new();
            heard.retain(|text| seen.insert(text.clone()));
        }
        assert_eq!(
            heard, self.said,
            "what was said is delivered in order and once"
        );
        self.reached.delivered = heard.len() as u64;
        let value = opened(self.server.metadata.value.as_ref().expect("a value"));
        for key in self.applied.iter().chain(&self.by_others) {
            assert_eq!(value[key], 1, "an applied update is there: {key}");
        }
        assert_eq!(self.updates.len(), 0, "every update has its outcome");
        assert!(self.is_connected(), "it is connected in the end");
        assert!(self.client.is_registered("echo"), "and serves");
        assert_eq!(self.client.unsent(), 0, "and has sent everything");
        if let Some(title) = &self.title {
            assert_eq!(value["summary"]["text"], **title, "the last title is there");
        }
        if let Some(usage) = self.usage {
            let report = self.server.usage.as_ref().expect("a report");
            assert_eq!(report["tokens"]["total"], usage, "the last usage is there");
        }
        for (expected, answer) in &self.server.answers {
            assert_eq!(opened(answer).to_string(), *expected, "an answer");
        }
        self.reached.answered = self.server.answers.len() as u64;
    }
}
