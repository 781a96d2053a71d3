//! The judgement, when everything has come to rest.

use std::collections::BTreeSet;

use super::world::{World, opened};

impl World<'_> {
    pub(super) fn judge(&mut self) {
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
