//! What a server says that lies: ciphertexts in places where they do not belong, numbers and
//! ids of any kind, answers to nothing.

use arbitrary::Arbitrary;
use hallway_core::relay::client::HttpFailure;
use hallway_core::relay::raw::Raw;
use serde_json::{Value, json};

use super::{METADATA, SAID, World};

/// One lie.
#[derive(Arbitrary, Clone, Debug)]
pub(super) enum Hostile {
    Message(Row),
    /// Both values, of one version.
    Values(u8, Sealed, Sealed),
    Call(u8, Sealed),
    Acknowledgement(u8, Sealed),
    Deleted,
    Refused,
    Disconnected,
    /// An answer to the fetch that is under way.
    Page(Vec<Row>, bool),
    /// An answer to the post that is under way, about messages of these numbers.
    Posted(Vec<(u8, u8)>),
    Gone(bool),
    Bytes([u8; 8]),
}

/// Something sealed, or not.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(super) enum Sealed {
    /// What the user says, or will say.
    Said(u8),
    /// The metadata.
    Metadata,
    /// What the client has sealed, as it was stored.
    Ours(u8),
    Garbage,
    Null,
}

#[derive(Arbitrary, Clone, Debug)]
pub(super) struct Row {
    seq: u8,
    sealed: Sealed,
    /// As if the client had sent it.
    ours: Option<u8>,
}

impl World {
    pub(super) fn lie(&mut self, lie: Hostile) {
        let frame = match lie {
            Hostile::Message(row) => {
                let body = json!({"t": "new-message", "sid": "S", "message": self.row(&row)});
                update(&body)
            }
            Hostile::Values(version, metadata, state) => {
                let value = |sealed| json!({"value": self.sealed(sealed), "version": version});
                let (metadata, state) = (value(metadata), value(state));
                update(&if self.server.machine {
                    json!({"t": "update-machine", "machineId": "S", "metadata": metadata, "daemonState": state})
                } else {
                    json!({"t": "update-session", "id": "S", "metadata": metadata, "agentState": state})
                })
            }
            Hostile::Call(id, sealed) => {
                let call =
                    json!(["rpc-request", {"method": "S:echo", "params": self.sealed(sealed)}]);
                format!("42{id}{call}")
            }
            Hostile::Acknowledgement(id, sealed) => {
                let sealed = self.sealed(sealed);
                let ack = if id < 240 {
                    json!([{"result": "success", "version": id, "metadata": sealed, "agentState": sealed, "daemonState": sealed}])
                } else {
                    json!([{"result": "error", "message": "Machine not found"}])
                };
                format!("43{}{ack}", id % 16)
            }
            Hostile::Deleted if self.server.machine => {
                update(&json!({"t": "delete-machine", "machineId": "S"}))
            }
            Hostile::Deleted => update(&json!({"t": "delete-session", "sid": "S"})),
            Hostile::Refused => r#"44{"message":"later"}"#.to_owned(),
            Hostile::Disconnected => "41".to_owned(),
            Hostile::Page(rows, more) => return self.lie_of_page(&rows, more),
            Hostile::Posted(list) => return self.lie_of_post(&list),
            Hostile::Gone(of_post) => return self.lie_of_end(of_post),
            Hostile::Bytes(bytes) => format!("4{}", String::from_utf8_lossy(&bytes)),
        };
        if self.live.is_some() && !self.dialling {
            self.pipe.push_back(frame);
        }
    }

    fn sealed(&self, sealed: Sealed) -> Value {
        match sealed {
            Sealed::Said(at) => json!(SAID[usize::from(at) % SAID.len()]),
            Sealed::Metadata => json!(*METADATA),
            Sealed::Ours(at) => {
                let stored = self.server.messages.iter();
                let mut ours = stored.filter(|message| message.local_id.is_some());
                ours.nth(at.into())
                    .map_or(Value::Null, |message| json!(message.content))
            }
            Sealed::Garbage => json!("AAAA"),
            Sealed::Null => Value::Null,
        }
    }

    fn row(&self, row: &Row) -> Value {
        let id = row.ours.map(|at| format!("m{at}"));
        let content = json!({"t": "encrypted", "c": self.sealed(row.sealed)});
        json!({"id": "m", "seq": row.seq, "content": content, "localId": id})
    }

    fn lie_of_page(&mut self, rows: &[Row], more: bool) {
        let Some(fetch) = self.fetching.take() else {
            return;
        };
        let rows: Vec<_> = rows.iter().take(8).map(|row| self.row(row)).collect();
        let page = json!({"messages": rows, "hasMore": more}).to_string();
        self.hear_from(|client, now| client.handle_page(fetch.id, &page, now));
    }

    fn lie_of_post(&mut self, list: &[(u8, u8)]) {
        let Some((id, _)) = self.posting.take() else {
            return;
        };
        let told = list.iter().take(8);
        let told: Vec<_> = told
            .map(|(at, seq)| json!({"localId": format!("m{at}"), "seq": seq}))
            .collect();
        let answer = json!({"messages": told}).to_string();
        let answer = Raw::parse(&answer).expect("JSON");
        self.client.handle_posted(id, answer, self.now);
    }

    fn lie_of_end(&mut self, of_post: bool) {
        let failure = HttpFailure::SessionGone;
        if of_post {
            if let Some((id, _)) = self.posting.take() {
                self.hear_from(|client, now| client.handle_post_failed(id, failure, now));
            }
        } else if let Some(fetch) = self.fetching.take() {
            self.hear_from(|client, now| client.handle_fetch_failed(fetch.id, failure, now));
        }
    }
}

fn update(body: &Value) -> String {
    let update = json!(["update", {"id": "u", "seq": 1, "body": body, "createdAt": 1}]);
    format!("42{update}")
}
