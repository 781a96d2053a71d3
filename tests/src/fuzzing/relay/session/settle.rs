//! The end: an honest server and a network that works, and the judgement.

use std::time::Duration;

use hallway_core::relay::client::{Client, Target};
use hallway_core::relay::raw::Raw;

use super::{Fate, World, cipher};

impl World {
    pub(super) fn settle(mut self) {
        if self.hostile || self.closed || self.end_asked {
            return self.close();
        }
        self.client.listen();
        self.client.resume();
        self.hear_from(Client::reconnect);
        self.drain();
        self.signs = 0;
        // A live event that never came is found by the connection.
        for _ in 0..2_000 {
            if !self.work() {
                if self.is_at_rest() {
                    break;
                }
                self.wait();
            }
            self.drain();
            self.check();
        }
        assert!(
            self.is_at_rest(),
            "it does not come to rest: {:?}",
            self.client
        );
        self.judge();
        self.close();
    }

    /// One thing is done that can be.
    fn work(&mut self) -> bool {
        if self.dialling {
            self.dialled(true);
        } else if !self.pipe.is_empty() {
            self.receive();
        } else if self.write().is_some() {
        } else if self.posting.is_some() {
            self.post(Fate::Done);
        } else if self.fetching.is_some() {
            self.fetch(Fate::Done);
        } else if self.merging.is_some() {
            self.merge(true);
        } else if !self.owed.is_empty() {
            self.answer();
        } else {
            return false;
        }
        true
    }

    /// Time passes, up to the next deadline, and the server's heart beats.
    fn wait(&mut self) {
        let soon = self.now.after(Duration::from_secs(5));
        let due = self.client.poll_timeout();
        self.now = due.map_or(soon, |due| due.min(soon)).max(self.now);
        self.heartbeat();
        self.hear_from(Client::handle_timeout);
    }

    fn is_at_rest(&self) -> bool {
        self.client.unsent() == 0
            && self.updates.is_empty()
            && self.heard.len() == self.said.len()
            && self.client.cursor() >= self.server.seq
            && self.client.is_registered("echo")
            && (!self.server.machine || self.signs > 1)
    }

    fn judge(&self) {
        let stored = self.server.messages.iter();
        let ours: Vec<_> = stored
            .filter_map(|message| Some((message.local_id.clone()?, message.seq)))
            .collect();
        let kept = |id: &&String| !self.refused.contains(*id);
        // What was refused may have been stored before: this server changes its mind.
        let found: Vec<_> = ours.iter().map(|(id, _)| id).filter(kept).collect();
        let sent: Vec<_> = self.sent.iter().filter(kept).collect();
        assert_eq!(found, sent, "what was sent is stored in order and once");
        for (id, seq) in ours {
            let told = self.stored.get(&id);
            assert!(self.refused.contains(&id) || told == Some(&seq), "{id}");
        }
        assert_eq!(self.heard, self.said, "what was said is heard in order");
        for (target, key) in &self.applied {
            let sealed = match target {
                Target::Metadata => &self.server.metadata.value,
                Target::State => &self.server.state.value,
            };
            let plain = cipher().open_text(sealed.as_ref().expect("a value"));
            let plain = plain.expect("ours");
            let there = plain.raw().get(key).map(Raw::as_str);
            assert_eq!(there, Some("1"), "an applied update is there: {key}");
        }
    }

    /// It ends, and everything has had its outcome.
    fn close(mut self) {
        self.hear_from(Client::close);
        self.drain();
        self.check();
        assert!(self.closed, "it has ended");
        assert_eq!(self.live, None, "a transport is left");
        assert!(self.updates.is_empty(), "an update has no outcome");
        assert_eq!(self.client.poll_timeout(), None);
        // What was under way may still be told to be stored; nothing is heard any more.
        let heard = self.heard.len();
        self.post(Fate::Done);
        self.fetch(Fate::Done);
        self.drain();
        assert_eq!(self.heard.len(), heard, "heard after the end");
    }
}
