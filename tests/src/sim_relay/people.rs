//! The user at the app, the application, and what breaks.

use hallway_core::UnixTime;
use hallway_core::relay::client::Target;
use hallway_core::relay::raw::Raw;
use serde_json::json;

use super::world::{Turn, World, cipher, client, opened};

impl World<'_> {
    /// The user at the app says something, writes metadata, or calls.
    pub(super) fn user(&mut self) {
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
    pub(super) fn caller(&mut self) {
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

    pub(super) fn break_something(&mut self) {
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
    pub(super) fn restart(&mut self) {
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
}
