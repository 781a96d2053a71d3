//! The relay's server, as its contract has it (relay.md §1 to §3): one session, or one machine, its
//! sockets and its routes. It is written from the contract, and shares no code with the client.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

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

impl Server {
    /// The first frame on a socket.
    pub(crate) fn hello() -> String {
        let body = json!({"sid": "e", "upgrades": [], "pingInterval": 15_000, "pingTimeout": 45_000, "maxPayload": 20_000});
        format!("0{body}")
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
            let auth: Value = serde_json::from_str(auth).expect("an object");
            let member = if self.machine {
                "machineId"
            } else {
                "sessionId"
            };
            assert_eq!(auth[member], "S");
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
        let list: Value = serde_json::from_str(list).expect("a list");
        if let Some(id) = head.strip_prefix("43") {
            let id = id.parse().expect("a number");
            let answer = list[0].as_str().expect("a string").to_owned();
            let call = self.calls.remove(&(socket, id));
            self.answers.push((call.expect("asked, and once"), answer));
            return Out::new();
        }
        let id = head.strip_prefix("42").expect("an event");
        let (mut out, ack) = self.event(socket, list[0].as_str().expect("a name"), &list[1]);
        match (id, ack) {
            ("", _) | (_, None) => {}
            (id, Some(ack)) => out.push((socket, format!("43{id}[{ack}]"))),
        }
        out
    }

    fn event(&mut self, socket: u64, name: &str, data: &Value) -> (Out, Option<Value>) {
        let none = Out::new();
        match name {
            "ping" => (none, Some(json!({}))),
            "machine-update-metadata" if self.machine => self.update(data, "metadata"),
            "machine-update-state" if self.machine => self.update(data, "daemonState"),
            "machine-alive" if self.machine => (none, None),
            "rpc-register" => {
                let method = data["method"].as_str().expect("a text");
                let methods = self.joined.get_mut(&socket).expect("joined");
                methods.insert(method.to_owned());
                let told = json!(["rpc-registered", {"method": method}]);
                (vec![(socket, format!("42{told}"))], None)
            }
            other if self.machine => panic!("the event {other} of a machine"),
            "message" => {
                let id = data["localId"].as_str().map(str::to_owned);
                self.store(id, data["message"].as_str().expect("a text"));
                (none, None)
            }
            "update-metadata" => self.update(data, "metadata"),
            "update-state" => self.update(data, "agentState"),
            "usage-report" => {
                self.usage = Some(data.clone());
                (none, Some(json!({"success": true})))
            }
            "session-end" => {
                self.ended = true;
                (none, None)
            }
            "session-alive" => (none, None),
            other => panic!("the event {other}"),
        }
    }

    fn update(&mut self, data: &Value, member: &str) -> (Out, Option<Value>) {
        let slot = match member {
            "metadata" => &mut self.metadata,
            _ => &mut self.state,
        };
        let id = if self.machine { "machineId" } else { "sid" };
        assert_eq!(data[id], "S");
        let success = data["expectedVersion"] == slot.version;
        if success {
            slot.version += 1;
        }
        if success && !(self.forgets_writes && member == "metadata") {
            slot.value = data[member].as_str().map(str::to_owned);
        }
        let result = if success {
            "success"
        } else {
            "version-mismatch"
        };
        let ack = json!({"result": result, "version": slot.version, member: slot.value});
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
        let value = json!({"value": slot.value, "version": slot.version});
        self.tell(&if self.machine {
            json!({"t": "update-machine", "machineId": "S", member: value})
        } else {
            json!({"t": "update-session", "id": "S", member: value})
        })
    }

    fn tell(&self, body: &Value) -> Out {
        let update = json!(["update", {"id": "u", "seq": 1, "body": body, "createdAt": 1}]);
        let each = |socket: &u64| (*socket, format!("42{update}"));
        self.joined.keys().map(each).collect()
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
        let message = row(stored.expect("stored"));
        self.tell(&json!({"t": "new-message", "sid": "S", "message": message}))
    }

    /// `POST /v3/sessions/:id/messages`.
    pub(crate) fn post(&mut self, body: &str) -> (Out, String) {
        let body: Value = serde_json::from_str(body).expect("JSON");
        let messages = body["messages"].as_array().expect("a list");
        assert!((1..=100).contains(&messages.len()));
        let (mut out, mut answer) = (Out::new(), Vec::new());
        for message in messages {
            let id = message["localId"].as_str().expect("a text").to_owned();
            let content = message["content"].as_str().expect("a text");
            let (seq, new) = self.store(Some(id.clone()), content);
            answer.push(json!({"id": "m", "seq": seq, "localId": id}));
            if new {
                out.extend(self.tell_message(seq));
            }
        }
        (out, json!({"messages": answer}).to_string())
    }

    /// `GET /v3/sessions/:id/messages?after_seq=`.
    pub(crate) fn page(&self, after: u64, limit: usize) -> String {
        let mut beyond = self.messages.iter().filter(|stored| stored.seq > after);
        let rows: Vec<_> = beyond.by_ref().take(limit).map(row).collect();
        let more = beyond.next().is_some();
        json!({"messages": rows, "hasMore": more}).to_string()
    }

    /// `GET /v1/sessions/:id/messages`.
    pub(crate) fn history(&self) -> String {
        let newest: Vec<_> = self.messages.iter().rev().take(150).map(row).collect();
        json!({"messages": newest}).to_string()
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
        let call = json!(["rpc-request", {"method": "S:echo", "params": params}]);
        Some((socket, format!("42{id}{call}")))
    }
}

fn row(stored: &Stored) -> Value {
    json!({"id": format!("m{}", stored.seq), "seq": stored.seq, "content": {"t": "encrypted", "c": stored.content}, "localId": stored.local_id, "createdAt": 1, "updatedAt": 1})
}
