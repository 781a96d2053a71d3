//! Who does what when, and the judgement.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hallway_core::backoff::{Epoch, Policy};
use hallway_core::relay::cipher::{Cipher, Nonce};
use hallway_core::relay::client::{Action, Change, Client, Event, Fetch, HttpFailure, Scope};
use hallway_core::relay::cursor::FetchId;
use hallway_core::relay::keys::DataKey;
use hallway_core::relay::limits::Limits;
use hallway_core::relay::link::{Auth, DialFailure, Status};
use hallway_core::relay::outbox::BatchId;
use hallway_core::relay::raw::Raw;
use hallway_core::relay::update::SessionRow;
use hallway_core::relay::versioned::{Outcome, UpdateId};
use hallway_core::{Instant, Token};
use serde_json::{Value, json};

use super::flaw::{Flaw, Reached};
use super::server::{Out, Server};
use crate::model::source::Source;
use crate::sim::Report;

#[derive(Debug)]
pub(super) enum Turn {
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
pub(super) struct Socket {
    /// Nothing passes, and nobody is told.
    pub(super) dead: bool,
    /// When the last frame arrives, there and back.
    pub(super) to_client: Instant,
    pub(super) to_server: Instant,
}

pub(super) struct World<'a> {
    pub(super) source: Source<'a>,
    pub(super) flaw: Option<Flaw>,
    pub(super) loud: bool,
    pub(super) now: Instant,
    pub(super) agenda: BTreeMap<(Instant, u64), Turn>,
    pub(super) turns: u64,
    pub(super) calm: bool,
    pub(super) server: Server,
    pub(super) sockets: BTreeMap<u64, Socket>,
    pub(super) epochs: BTreeMap<u64, Epoch>,
    pub(super) client: Client,
    /// Which life of the process this is.
    pub(super) life: u32,
    /// The connection of this life, counted over all lives.
    pub(super) base: u64,
    pub(super) nonces: u64,
    pub(super) sent: Vec<String>,
    pub(super) acknowledged: BTreeMap<String, u64>,
    /// Sent by a life that ended before it knew: it may be there or not.
    pub(super) doubtful: BTreeSet<String>,
    /// Which life sent what.
    pub(super) lives: BTreeMap<String, u32>,
    pub(super) posted: BTreeSet<String>,
    pub(super) said: Vec<String>,
    pub(super) heard: Vec<String>,
    pub(super) kept: u64,
    pub(super) updates: BTreeMap<UpdateId, String>,
    pub(super) applied: BTreeSet<String>,
    pub(super) by_others: BTreeSet<String>,
    pub(super) title: Option<String>,
    pub(super) usage: Option<u64>,
    pub(super) reached: Reached,
    pub(super) hash: u64,
}

pub(super) fn cipher() -> Cipher {
    Cipher::DataKey(DataKey::from_bytes(&[1; 32]))
}

pub(super) fn opened(sealed: &str) -> Value {
    let plain = cipher().open_text(sealed).expect("ours");
    serde_json::from_str(plain.raw().as_str()).expect("JSON")
}

pub(super) fn client(server: &Server, after: u64, seed: u64) -> Client {
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
    let session = Scope::session(&row, cipher());
    Client::new(&limits, session, after, auth, Policy::PERSISTENT, seed)
}

/// Runs one seed, and judges it.
///
/// # Panics
///
/// When a message was lost, repeated or put out of order either way, when an update that was
/// applied is not there, or when the client does not come to rest.
#[must_use]
pub fn run(seed: u64, loud: bool, flaw: Option<Flaw>) -> Report<Reached> {
    let mut source = Source::Seed(seed);
    let mut server = Server {
        old: flaw.is_none() && source.once_in(5),
        forgets_writes: flaw == Some(Flaw::ForgetsWrite),
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
        hash: 0,
    };
    world.reached.old = u64::from(world.server.old);
    world.begin();
    world.play();
    world.judge();
    Report {
        hash: world.hash,
        reached: world.reached,
    }
}

impl World<'_> {
    pub(super) fn begin(&mut self) {
        self.client.register("echo").expect("room");
        if self.server.old || !self.source.once_in(4) {
            self.client.listen();
        }
        self.client.connect(self.now);
        self.settle();
    }

    pub(super) fn play(&mut self) {
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

    pub(super) fn is_connected(&self) -> bool {
        self.client.status() == Status::Open
    }

    /// The next turn before `end`: whether there was one.
    pub(super) fn step(&mut self, end: Instant) -> bool {
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
        let stored = self.server.seq.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.hash = self.hash.rotate_left(5) ^ next.as_nanos() ^ stored ^ self.turns;
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

    pub(super) fn turn(&mut self, turn: Turn) {
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
    pub(super) fn told(
        &mut self,
        fact: impl FnOnce(&mut Client, Instant) -> Option<Event<'static>>,
    ) {
        if let Some(event) = fact(&mut self.client, self.now) {
            self.heard(event);
        }
    }

    pub(super) fn receive(&mut self, epoch: Epoch, frame: &str) {
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
    pub(super) fn settle(&mut self) {
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

    pub(super) fn transmitted(&mut self) -> Option<(Epoch, String)> {
        let last = self.sockets.last_key_value()?;
        let epoch = self.epoch(*last.0)?;
        let frame = self.client.poll_transmit(epoch)?.to_owned();
        self.client.handle_transmitted(epoch, self.now);
        Some((epoch, frame))
    }

    pub(super) fn act(&mut self, action: Action) {
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

    pub(super) fn heard(&mut self, event: Event<'static>) {
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
                    "ours came back: what was told was not stored in order and once"
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

    pub(super) fn dialled(&mut self, socket: u64, epoch: Epoch) {
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

    pub(super) fn send(&mut self, socket: u64, frame: String) {
        let delay = self.delay(400);
        if let Some(pipe) = self.sockets.get_mut(&socket) {
            pipe.to_server = pipe.to_server.max(self.now.after(delay));
            let at = pipe.to_server;
            self.at_time(at, Turn::ToServer(socket, frame));
        }
    }

    pub(super) fn deliver(&mut self, out: Out) {
        for (socket, frame) in out {
            let delay = self.delay(400);
            if let Some(pipe) = self.sockets.get_mut(&socket) {
                pipe.to_client = pipe.to_client.max(self.now.after(delay));
                let at = pipe.to_client;
                self.at_time(at, Turn::ToClient(socket, frame));
            }
        }
    }

    /// The epoch of a socket of this life.
    pub(super) fn epoch(&self, socket: u64) -> Option<Epoch> {
        self.epochs.get(&socket).copied()
    }

    pub(super) fn passes(&self, socket: u64) -> bool {
        self.sockets.get(&socket).is_some_and(|socket| !socket.dead)
    }

    pub(super) fn nonce(&mut self) -> Nonce {
        self.nonces += 1;
        let mut entropy = [0; 24];
        entropy[..8].copy_from_slice(&self.nonces.to_be_bytes());
        Nonce::from_entropy(entropy)
    }

    pub(super) fn delay(&mut self, most: usize) -> Duration {
        Duration::from_millis(1 + self.source.below(most) as u64)
    }

    pub(super) fn wait(&mut self, most: usize, turn: Turn) {
        let delay = self.delay(most);
        self.at(delay, turn);
    }

    pub(super) fn after(&mut self, millis: u64, turn: Turn) {
        self.at(Duration::from_millis(millis), turn);
    }

    pub(super) fn at(&mut self, delay: Duration, turn: Turn) {
        self.at_time(self.now.after(delay), turn);
    }

    pub(super) fn at_time(&mut self, at: Instant, turn: Turn) {
        self.turns += 1;
        self.agenda.insert((at, self.turns), turn);
    }
}
