//! What the server holds.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use serde_json::{Value, json};

use super::by_hand::frame;
use super::library::Socket;

/// What goes wrong.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// The routes below `/v3` are not there.
    pub no_v3: bool,
    /// Every token is refused.
    pub no_tokens: bool,
    /// HTTP requests are cut off before they are done.
    pub http_down: bool,
    /// So many posts are stored, and their answers lost.
    pub lose_post_answers: u32,
    /// So many posts are answered with this status.
    pub refuse_posts: (u32, u16),
    /// Updates of values are not acknowledged.
    pub no_acks: bool,
    /// Registrations of methods are not confirmed.
    pub no_registrations: bool,
    /// Sockets are not written to, and stay open.
    pub half_open: bool,
    /// Every socket is refused with these words.
    pub refuse_join: Option<String>,
    /// The sockets are not told of messages, nor of what others write.
    pub silent: bool,
    /// Every acknowledgement is given twice.
    pub acks_twice: bool,
    /// What becomes of the answers to requests, by the method and the path.
    pub rewrite: Option<fn(&str, &mut String)>,
}

/// A message as it was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its number.
    pub seq: u64,
    /// Its ciphertext.
    pub content: String,
    /// The id that its sender gave it.
    pub local_id: Option<String>,
}

impl Message {
    pub(super) fn row(&self) -> Value {
        json!({
            "id": format!("m{}", self.seq), "seq": self.seq, "localId": self.local_id,
            "content": {"t": "encrypted", "c": self.content}, "createdAt": 1, "updatedAt": 1,
        })
    }
}

/// A session.
#[derive(Clone, Debug, Default)]
pub struct Session {
    /// What its maker identifies it by.
    pub tag: String,
    /// Its key, wrapped.
    pub data_key: Option<String>,
    /// The metadata and their version.
    pub metadata: (String, u64),
    /// The agent state and its version.
    pub agent_state: (Option<String>, u64),
    /// The messages in order.
    pub messages: Vec<Message>,
    /// The number of the last message, or of one that was refused as known.
    pub seq: u64,
    /// Whether it is alive.
    pub active: bool,
    /// How many signs of life came.
    pub alive: u64,
}

/// A machine.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// Its key, wrapped.
    pub data_key: Option<String>,
    /// The metadata and their version.
    pub metadata: (String, u64),
    /// The state of its daemon and its version.
    pub daemon_state: (Option<String>, u64),
    /// Whether it is alive.
    pub active: bool,
    /// How many signs of life came.
    pub alive: u64,
}

/// How a socket is written to.
#[derive(Debug)]
pub(super) enum Way {
    ByHand(Arc<TcpStream>),
    Library(Box<Socket>),
}

/// A socket that has joined.
#[derive(Debug)]
pub(super) struct Joined {
    pub(super) way: Way,
    pub(super) session: Option<String>,
    pub(super) machine: Option<String>,
}

impl Joined {
    /// Whether it hears of what concerns a session, or a machine.
    fn is_of(&self, room: Room<'_>) -> bool {
        match (room, &self.session, &self.machine) {
            (Room::Session(id), Some(own), _) | (Room::Machine(id), None, Some(own)) => own == id,
            (Room::Session(_), None, machine) => machine.is_none(),
            (Room::Machine(_), session, None) => session.is_none(),
            (Room::Machine(_), Some(_), Some(_)) => false,
        }
    }
}

/// Whom something concerns, besides the sockets of the whole account.
#[derive(Clone, Copy, Debug)]
pub(super) enum Room<'a> {
    Session(&'a str),
    Machine(&'a str),
}

/// Everything.
#[derive(Debug, Default)]
pub struct State {
    /// What goes wrong.
    pub faults: Faults,
    /// The sessions by id.
    pub sessions: BTreeMap<String, Session>,
    /// The machines by id.
    pub machines: BTreeMap<String, Machine>,
    /// The reports of usage, as they came.
    pub usage: Vec<Value>,
    /// How many sockets have joined in all.
    pub joined: u64,
    /// How many posts of messages came.
    pub posts: u64,
    /// The methods that are served, and by which socket.
    pub methods: BTreeMap<String, u64>,
    /// What terminals ask: by public key, the answer if there is one.
    pub pairings: BTreeMap<String, Option<(String, String)>>,
    /// The tokens that were given, with the account's public key.
    pub tokens: BTreeMap<String, String>,
    /// All that clients sent but for their tokens: a line for each request and each event.
    pub heard: String,
    /// The id by which the last update of a value is to be answered, where the server is by hand.
    pub asked: u64,
    pub(super) sockets: BTreeMap<u64, Joined>,
    pub(super) calls: BTreeMap<u64, Sender<Value>>,
    pub(super) next_call: u64,
    pub(super) updates: u64,
    pub(super) stopped: bool,
}

impl State {
    pub(super) fn hear(&mut self, what: &str, body: &Value) {
        self.heard += &format!("{what} {body}\n");
    }

    /// Writes the metadata of a machine as another client does, and tells the sockets.
    ///
    /// # Panics
    ///
    /// When there is no such machine.
    pub fn describe_machine(&mut self, id: &str, metadata: &str) {
        let machine = self.machines.get_mut(id).expect("there is such a machine");
        let version = machine.metadata.1 + 1;
        machine.metadata = (metadata.to_owned(), version);
        if !self.faults.silent {
            let body = json!({"t": "update-machine", "machineId": id,
                "metadata": {"value": metadata, "version": version}});
            self.update(Room::Machine(id), body, None);
        }
    }

    /// How many sockets are joined.
    #[must_use]
    pub fn sockets(&self) -> usize {
        self.sockets.len()
    }

    /// The one session that there is.
    ///
    /// # Panics
    ///
    /// When there is none, or more than one.
    #[must_use]
    pub fn only(&self) -> (&str, &Session) {
        assert_eq!(self.sessions.len(), 1, "there is one session");
        let (id, session) = self.sessions.iter().next().expect("one");
        (id, session)
    }

    pub(super) fn machine_row(&self, id: &str) -> Option<Value> {
        let machine = self.machines.get(id)?;
        Some(json!({
            "id": id, "metadata": machine.metadata.0, "metadataVersion": machine.metadata.1,
            "daemonState": machine.daemon_state.0, "daemonStateVersion": machine.daemon_state.1,
            "dataEncryptionKey": machine.data_key, "active": machine.active,
            "activeAt": 1, "createdAt": 1, "updatedAt": 1, "seq": 0,
        }))
    }

    /// Deletes a machine, and tells its sockets.
    pub fn delete_machine(&mut self, id: &str) -> bool {
        let deleted = self.machines.remove(id).is_some();
        if deleted {
            let body = json!({"t": "delete-machine", "machineId": id});
            self.update(Room::Machine(id), body, None);
        }
        deleted
    }

    pub(super) fn row(&self, id: &str) -> Option<Value> {
        let session = self.sessions.get(id)?;
        Some(json!({
            "id": id, "seq": session.seq,
            "metadata": session.metadata.0, "metadataVersion": session.metadata.1,
            "agentState": session.agent_state.0, "agentStateVersion": session.agent_state.1,
            "dataEncryptionKey": session.data_key, "active": session.active,
            "activeAt": 1, "createdAt": 1, "updatedAt": 1, "lastMessage": null,
        }))
    }

    /// Stores a message and tells the sockets but `sender`. A known local id is not stored
    /// again, but takes a number by the socket's way. Gives the number, and whether it is new.
    pub(super) fn store(
        &mut self,
        id: &str,
        content: &str,
        local_id: Option<&str>,
        sender: Option<u64>,
    ) -> Option<(u64, bool)> {
        let session = self.sessions.get_mut(id)?;
        let known =
            |message: &&Message| local_id.is_some() && message.local_id.as_deref() == local_id;
        if let Some(message) = session.messages.iter().find(known) {
            let seq = message.seq;
            session.seq += u64::from(sender.is_some());
            return Some((seq, false));
        }
        session.seq += 1;
        let message = Message {
            seq: session.seq,
            content: content.to_owned(),
            local_id: local_id.map(str::to_owned),
        };
        let body = json!({"t": "new-message", "sid": id, "message": message.row()});
        session.messages.push(message);
        let seq = session.seq;
        if !self.faults.silent {
            self.update(Room::Session(id), body, sender);
        }
        Some((seq, true))
    }

    /// Tells the sockets of a session or a machine, and of the account, but `sender`.
    pub(super) fn update(&mut self, room: Room<'_>, body: Value, sender: Option<u64>) {
        self.updates += 1;
        let payload = json!({
            "id": format!("{:012}", self.updates), "seq": self.updates, "body": body,
            "createdAt": 1,
        });
        for (number, socket) in &self.sockets {
            if socket.is_of(room) && Some(*number) != sender {
                self.emit(socket, "update", &payload);
            }
        }
    }

    /// Tells a socket an event.
    pub(super) fn emit(&self, socket: &Joined, name: &str, payload: &Value) {
        match &socket.way {
            Way::ByHand(stream) => self.write(stream, &format!("42{}", json!([name, payload]))),
            Way::Library(socket) => socket.emit(name, payload),
        }
    }

    pub(super) fn write(&self, stream: &TcpStream, text: &str) {
        if !self.faults.half_open {
            // One that is gone is noticed by its own thread.
            let mut stream = stream;
            stream.write_all(&frame(text)).unwrap_or_default();
        }
    }

    /// Calls a method of the socket that serves it.
    pub(super) fn call(&mut self, method: &str, request: &Value, answer: Sender<Value>) -> bool {
        let owner = self
            .methods
            .get(method)
            .and_then(|owner| self.sockets.get(owner));
        let Some(socket) = owner else {
            return false;
        };
        match &socket.way {
            Way::ByHand(stream) => {
                let payload = json!(["rpc-request", request]);
                self.write(stream, &format!("42{}{payload}", self.next_call));
                self.calls.insert(self.next_call, answer);
                self.next_call += 1;
            }
            Way::Library(socket) => socket.ask("rpc-request", request, answer),
        }
        true
    }
}
