//! The relay's server, as its contract has it (relay.md §1 to §3): one session, or one machine, its
//! sockets and its routes. It is written from the contract, and shares no code with the client.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::Value;
use serde_json::value::RawValue;

/// A message that is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) seq: u64,
    pub(crate) local_id: Option<String>,
    pub(crate) content: String,
}

/// A value with its version.
#[derive(Clone, Debug, Default)]
pub(crate) struct Versioned {
    pub(crate) version: u64,
    pub(crate) value: Option<String>,
}

/// The server.
#[derive(Debug, Default)]
pub(crate) struct Server {
    /// It has a machine, and no session.
    pub(crate) machine: bool,
    /// It knows no durable route.
    pub(crate) old: bool,
    /// It says that metadata are written, and writes nothing: a deliberate fault.
    pub(crate) forgets_writes: bool,
    pub(crate) messages: Vec<Stored>,
    pub(crate) seq: u64,
    pub(crate) metadata: Versioned,
    pub(crate) state: Versioned,
    pub(crate) usage: Option<Value>,
    pub(crate) ended: bool,
    /// The sockets that have joined, and the methods of each.
    pub(crate) joined: BTreeMap<u64, BTreeSet<String>>,
    /// Calls that wait: socket and id, and what the answer must say.
    pub(crate) calls: BTreeMap<(u64, u64), String>,
    /// Answers to calls, as they came.
    pub(crate) answers: Vec<(String, String)>,
    pub(crate) next_call: u64,
}

/// Frames for a socket.
pub(crate) type Out = Vec<(u64, String)>;

/// The members of an object, as they are written.
type Members<'a> = BTreeMap<&'a str, &'a RawValue>;

impl Server {
    /// The first frame on a socket.
    pub(crate) fn hello() -> String {
        r#"0{"maxPayload":20000,"pingInterval":15000,"pingTimeout":45000,"sid":"e","upgrades":[]}"#
            .to_owned()
    }

    /// A socket is gone.
    pub(crate) fn drop_socket(&mut self, socket: u64) {
        self.joined.remove(&socket);
        self.calls.retain(|(of, _), _| *of != socket);
    }

    /// A frame came. What it says of itself comes before its acknowledgement.
    ///
    /// # Panics
    ///
    /// When the frame is none that a client may send.
    pub(crate) fn frame(&mut self, socket: u64, frame: &str) -> Out {
        if let Some(auth) = frame.strip_prefix("40") {
            let auth: Members<'_> = serde_json::from_str(auth).expect("an object");
            let member = if self.machine {
                "machineId"
            } else {
                "sessionId"
            };
            assert_eq!(auth[member].get(), r#""S""#);
            self.joined.insert(socket, BTreeSet::new());
            return vec![(socket, r#"40{"sid":"s"}"#.into())];
        }
        if frame == "3" {
            return Out::new();
        }
        assert!(
            self.joined.contains_key(&socket),
            "{frame} before it joined"
        );
        assert!(frame.len() <= 20_000, "a frame of {} bytes", frame.len());
        let at = frame.find('[').unwrap_or_else(|| panic!("{frame}"));
        let (head, list) = frame.split_at(at);
        let list: Vec<&RawValue> = serde_json::from_str(list).expect("a list");
        if let Some(id) = head.strip_prefix("43") {
            let id = id.parse().expect("a number");
            let answer = text(list[0]);
            let call = self.calls.remove(&(socket, id));
            self.answers.push((call.expect("asked, and once"), answer));
            return Out::new();
        }
        let id = head.strip_prefix("42").expect("an event");
        let data = list.get(1).map_or("{}", |data| data.get());
        let (mut out, ack) = self.event(socket, &text(list[0]), data);
        match (id, ack) {
            ("", _) | (_, None) => {}
            (id, Some(ack)) => out.push((socket, format!("43{id}[{ack}]"))),
        }
        out
    }

    fn event(&mut self, socket: u64, name: &str, data: &str) -> (Out, Option<String>) {
        let none = Out::new();
        let members: Members<'_> = serde_json::from_str(data).expect("an object");
        match name {
            "ping" => (none, Some("{}".to_owned())),
            "machine-update-metadata" if self.machine => self.update(&members, "metadata"),
            "machine-update-state" if self.machine => self.update(&members, "daemonState"),
            "machine-alive" if self.machine => (none, None),
            "rpc-register" => {
                let method = members["method"];
                let methods = self.joined.get_mut(&socket).expect("joined");
                methods.insert(text(method));
                let told = format!(r#"42["rpc-registered",{{"method":{method}}}]"#);
                (vec![(socket, told)], None)
            }
            other if self.machine => panic!("the event {other} of a machine"),
            "message" => {
                let id = members.get("localId").and_then(|id| nullable(id));
                self.store(id, &text(members["message"]));
                (none, None)
            }
            "update-metadata" => self.update(&members, "metadata"),
            "update-state" => self.update(&members, "agentState"),
            "usage-report" => {
                self.usage = serde_json::from_str(data).ok();
                (none, Some(r#"{"success":true}"#.to_owned()))
            }
            "session-end" => {
                self.ended = true;
                (none, None)
            }
            "session-alive" => (none, None),
            other => panic!("the event {other}"),
        }
    }

    fn update(&mut self, data: &Members<'_>, member: &str) -> (Out, Option<String>) {
        let slot = match member {
            "metadata" => &mut self.metadata,
            _ => &mut self.state,
        };
        let id = if self.machine { "machineId" } else { "sid" };
        assert_eq!(data[id].get(), r#""S""#);
        let success = data["expectedVersion"].get().parse() == Ok(slot.version);
        if success {
            slot.version += 1;
        }
        if success && !(self.forgets_writes && member == "metadata") {
            slot.value = nullable(data[member]);
        }
        let result = if success {
            "success"
        } else {
            "version-mismatch"
        };
        let (version, value) = (slot.version, quoted(slot.value.as_deref()));
        let ack = format!(r#"{{"{member}":{value},"result":"{result}","version":{version}}}"#);
        let out = if success {
            self.tell_value(member)
        } else {
            Out::new()
        };
        (out, Some(ack))
    }

    /// Tells every socket of a value.
    pub(crate) fn tell_value(&self, member: &str) -> Out {
        let slot = match member {
            "metadata" => &self.metadata,
            _ => &self.state,
        };
        let (version, value) = (slot.version, quoted(slot.value.as_deref()));
        let value = format!(r#""{member}":{{"value":{value},"version":{version}}}"#);
        self.tell(&match (self.machine, member) {
            (true, "metadata") => {
                format!(r#"{{"machineId":"S",{value},"t":"update-machine"}}"#)
            }
            (true, _) => format!(r#"{{{value},"machineId":"S","t":"update-machine"}}"#),
            (false, "metadata") => format!(r#"{{"id":"S",{value},"t":"update-session"}}"#),
            (false, _) => format!(r#"{{{value},"id":"S","t":"update-session"}}"#),
        })
    }

    fn tell(&self, body: &str) -> Out {
        let frame = |socket: &u64| {
            let update =
                format!(r#"42["update",{{"body":{body},"createdAt":1,"id":"u","seq":1}}]"#);
            (*socket, update)
        };
        self.joined.keys().map(frame).collect()
    }

    /// Stores a message, unless it is there; then a number is lost. Its number, and whether it
    /// is new.
    pub(crate) fn store(&mut self, local_id: Option<String>, content: &str) -> (u64, bool) {
        let there = |stored: &&Stored| local_id.is_some() && stored.local_id == local_id;
        if let Some(stored) = self.messages.iter().find(there) {
            let seq = stored.seq;
            if self.old {
                self.seq += 1;
            }
            return (seq, false);
        }
        self.seq += 1;
        let content = content.to_owned();
        let seq = self.seq;
        self.messages.push(Stored {
            seq,
            local_id,
            content,
        });
        (seq, true)
    }

    /// Tells every socket of a message.
    pub(crate) fn tell_message(&self, seq: u64) -> Out {
        let stored = self.messages.iter().find(|stored| stored.seq == seq);
        let mut body = r#"{"message":"#.to_owned();
        row(&mut body, stored.expect("stored"));
        body.push_str(r#","sid":"S","t":"new-message"}"#);
        self.tell(&body)
    }

    /// `POST /v3/sessions/:id/messages`.
    pub(crate) fn post(&mut self, body: &str) -> (Out, String) {
        let body: Members<'_> = serde_json::from_str(body).expect("JSON");
        let messages = body["messages"].get();
        let messages: Vec<Members<'_>> = serde_json::from_str(messages).expect("a list");
        assert!((1..=100).contains(&messages.len()));
        let (mut out, mut answer) = (Out::new(), r#"{"messages":["#.to_owned());
        for (at, message) in messages.iter().enumerate() {
            let id = text(message["localId"]);
            let (seq, new) = self.store(Some(id), &text(message["content"]));
            let (comma, id) = (comma(at), message["localId"]);
            let told = write!(answer, r#"{comma}{{"id":"m","localId":{id},"seq":{seq}}}"#);
            told.expect("a text takes all");
            if new {
                out.extend(self.tell_message(seq));
            }
        }
        answer.push_str("]}");
        (out, answer)
    }

    /// `GET /v3/sessions/:id/messages?after_seq=`.
    pub(crate) fn page(&self, after: u64, limit: usize) -> String {
        let mut beyond = self.messages.iter().filter(|stored| stored.seq > after);
        let rows = rows(beyond.by_ref().take(limit));
        let more = beyond.next().is_some();
        format!(r#"{{"hasMore":{more},"messages":[{rows}]}}"#)
    }

    /// `GET /v1/sessions/:id/messages`.
    pub(crate) fn history(&self) -> String {
        let rows = rows(self.messages.iter().rev().take(150));
        format!(r#"{{"messages":[{rows}]}}"#)
    }

    /// Calls the method `echo` on the socket that has it for longest.
    pub(crate) fn call(&mut self, params: &str, expected: String) -> Option<(u64, String)> {
        let owner = self
            .joined
            .iter()
            .find(|(_, methods)| methods.contains("S:echo"));
        let socket = *owner?.0;
        let id = self.next_call;
        self.next_call += 1;
        self.calls.insert((socket, id), expected);
        let params = quoted(Some(params));
        let call = format!(r#"42{id}["rpc-request",{{"method":"S:echo","params":{params}}}]"#);
        Some((socket, call))
    }
}

fn rows<'a>(messages: impl Iterator<Item = &'a Stored>) -> String {
    let mut rows = String::new();
    for (at, stored) in messages.enumerate() {
        rows.push_str(comma(at));
        row(&mut rows, stored);
    }
    rows
}

fn row(to: &mut String, stored: &Stored) {
    let (seq, id) = (stored.seq, quoted(stored.local_id.as_deref()));
    let content = quoted(Some(&stored.content));
    let row = write!(
        to,
        r#"{{"content":{{"c":{content},"t":"encrypted"}},"createdAt":1,"id":"m{seq}","localId":{id},"seq":{seq},"updatedAt":1}}"#
    );
    row.expect("a text takes all");
}

/// What is between the members of a list, before this one.
fn comma(at: usize) -> &'static str {
    if at == 0 { "" } else { "," }
}

fn text(raw: &RawValue) -> String {
    nullable(raw).expect("a text")
}

fn nullable(raw: &RawValue) -> Option<String> {
    serde_json::from_str(raw.get()).expect("a text or null")
}

/// As JSON has it.
fn quoted(text: Option<&str>) -> String {
    serde_json::to_string(&text).expect("a text")
}
