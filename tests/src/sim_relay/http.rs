//! The server's routes, as the network lets them be reached.

use std::time::Duration;

use hallway_core::relay::client::{Fetch, HttpFailure, Route};
use hallway_core::relay::outbox::BatchId;
use serde_json::{Value, json};

use super::flaw::Flaw;
use super::world::{Turn, World};

impl World<'_> {
    pub(super) fn post(&mut self, life: u32, id: BatchId, body: &str) {
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

    pub(super) fn store(&mut self, body: &str) -> String {
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

    pub(super) fn get(&mut self, life: u32, fetch: Fetch) {
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
}
