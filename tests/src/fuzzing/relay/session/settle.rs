//! The end: an honest server and a network that works, and the judgement.

use std::time::Duration;

use hallway_core::relay::client::{Client, Target};
use hallway_core::relay::raw::Raw;

use super::{Fate, World, cipher};

impl World {
    pub(super) fn settle(&mut self) {
        if self.closed || self.end_asked {
            return;
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
        let messages = self.server.messages.iter();
        let ours = messages.filter_map(|message| message.local_id.as_ref());
        let kept = |id: &&String| !self.refused.contains(*id);
        let sent = self.sent.iter().filter(kept).count();
        assert_eq!(ours.filter(kept).count(), sent, "what was sent is stored");
        assert_eq!(self.heard, self.said, "what was said is heard");
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
            && self.stored.len() + self.refused.len() == self.sent.len()
            && self.heard.len() == self.said.len()
            && self.client.cursor() >= self.server.seq
            && self.client.is_registered("echo")
            && (!self.server.machine || self.signs > 1)
    }

    /// What came so far is the beginning of what must come.
    fn judge(&self) {
        let messages = self.server.messages.iter();
        let ours = messages.filter_map(|message| Some((message.local_id.as_ref()?, message.seq)));
        let mut sent = self.sent.iter();
        let mut number = 0;
        for (id, seq) in ours {
            // What was refused may have been stored before: this server changes its mind.
            if self.refused.contains(id) {
                continue;
            }
            let next = sent.find(|id| !self.refused.contains(*id));
            assert_eq!(next, Some(id), "what was sent is stored in order and once");
            let told = self.stored.get(id);
            assert!(told.is_none_or(|told| *told == seq), "{id}");
            number += usize::from(told.is_some());
        }
        assert_eq!(
            number,
            self.stored.len(),
            "what is told to be stored is stored"
        );
        let in_order = self.said.starts_with(&self.heard);
        assert!(
            in_order,
            "what was said is heard in order: {:?}",
            self.heard
        );
        self.judge_value(Target::Metadata, self.server.metadata.value.as_deref());
        self.judge_value(Target::State, self.server.state.value.as_deref());
    }

    fn judge_value(&self, of: Target, sealed: Option<&str>) {
        let applied = self.applied.iter();
        let mut keys = applied.filter(|(target, _)| *target == of).peekable();
        if keys.peek().is_some() {
            let plain = cipher().open_text(sealed.expect("a value"));
            let plain = plain.expect("ours");
            for (_, key) in keys {
                let there = plain.raw().get(key).map(Raw::as_str);
                assert_eq!(there, Some("1"), "an applied update is there: {key}");
            }
        }
    }

    /// It ends, and everything has had its outcome.
    pub(super) fn close(mut self) {
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
        if !self.hostile {
            self.judge();
        }
    }
}
