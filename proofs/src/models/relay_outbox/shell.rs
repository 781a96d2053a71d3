//! What the caller, the server and the shell do.

use hallway_core::relay::outbox::{BatchId, Outcome, PostFailure, PushError, StopReason};
use hallway_core::relay::raw::Raw;

use super::witness::{Accepted, Told};
use super::{
    Answer, BATCHES, DELAYS, EARLY, Flaw, LATE, MOST_BATCH, MOST_BATCH_BYTES, MOST_BODY,
    MOST_BYTES, MOST_MESSAGES, OUTCOMES, OutboxModel, Post, RETRY_AFTER, ROOM, Refusal, Reply,
    STOPS, State,
};
use crate::models::{at, span};

impl OutboxModel {
    pub(super) fn push(state: &mut State, large: bool) -> Option<()> {
        let purse = if large {
            &mut state.purse.large
        } else {
            &mut state.purse.small
        };
        *purse = purse.checked_sub(1)?;
        state.pushed += 1;
        let (id, content) = (state.pushed, if large { "xxx" } else { "x" });
        let bytes = content.len();
        let waiting = state.witness.waiting();
        let (messages, all) =
            waiting.fold((0, 0), |(n, all), message| (n + 1, all + message.bytes + 1));
        let fits = messages < MOST_MESSAGES && all + bytes < MOST_BYTES;
        let pushed = state.outbox.push(&id.to_string(), content);
        let expected = if fits { Ok(()) } else { Err(PushError::Full) };
        state.witness.verdicts.expect(pushed == expected, ROOM);
        if pushed.is_ok() {
            let told = Told::Nothing;
            state.witness.accepted.push(Accepted { id, bytes, told });
        }
        Some(())
    }

    pub(super) fn post(&self, state: &mut State) -> Option<()> {
        let batch = state.outbox.next_batch(at(state.now))?;
        state.witness.posts += 1;
        let posts = state.witness.posts;
        let id = |local: &str| local.parse::<u8>().unwrap_or_default();
        let ids: Vec<u8> = state.outbox.batch().map(|(local, _)| id(local)).collect();
        let bytes: usize = state
            .outbox
            .batch()
            .map(|(local, content)| local.len() + content.len())
            .sum();
        let oldest: Vec<u8> = state.witness.waiting().map(|message| message.id).collect();
        let fits = ids.len() <= MOST_BATCH && bytes <= MOST_BATCH_BYTES;
        let first = !ids.is_empty() && oldest.starts_with(&ids);
        state.witness.verdicts.expect(fits && first, BATCHES);
        let is_due = state.now >= state.witness.not_before;
        state.witness.verdicts.expect(is_due, DELAYS);
        let fresh = if self.has(Flaw::FreshIds) {
            10 * posts
        } else {
            0
        };
        let mut messages: Vec<_> = ids.into_iter().map(|id| (fresh + id, id)).collect();
        if self.has(Flaw::PostsInReverse) {
            messages.reverse();
        }
        state.posts.push(Post {
            batch,
            messages,
            answer: None,
        });
        Some(())
    }

    pub(super) fn serve(state: &mut State, number: usize, reply: Reply) -> Option<()> {
        let State {
            posts,
            store,
            witness,
            purse,
            ..
        } = state;
        let post = posts.get_mut(number).filter(|post| post.answer.is_none())?;
        let length = |id: u8| {
            let mut accepted = witness.accepted.iter();
            accepted.find(|message| message.id == id)
        };
        let bytes = post.messages.iter().filter_map(|(_, id)| length(*id));
        if bytes.map(|message| message.bytes).sum::<usize>() > MOST_BODY {
            post.answer = (reply == Reply::Honest).then_some(Answer::TooLarge);
            return post.answer.map(|_| ());
        }
        post.answer = Some(match reply {
            Reply::Honest => Answer::Stored,
            Reply::Short => Answer::Short,
            Reply::Nonsense => Answer::Nonsense,
        });
        if reply != Reply::Honest {
            purse.odd = purse.odd.checked_sub(1)?;
        }
        for (local, id) in &post.messages {
            store.take(*local, *id);
        }
        Some(())
    }

    pub(super) fn receive(&self, state: &mut State, number: usize) -> Option<()> {
        let answer = state.posts.get(number)?.answer?;
        let post = state.posts.remove(number);
        let current = state.outbox.posting();
        let is_late = current != Some(post.batch);
        let batch = current.filter(|_| self.has(Flaw::MixesAnswers));
        let batch = batch.unwrap_or(post.batch);
        let before = state.outbox.clone();
        let outcomes = match answer {
            Answer::Stored | Answer::Short | Answer::Nonsense => {
                let text = Self::text(state, &post, answer);
                let raw = Raw::parse(&text)?;
                let heard = state.outbox.handle_stored(batch, raw, at(state.now));
                if !is_late {
                    let valid = heard.is_ok() == (answer != Answer::Nonsense);
                    state.witness.verdicts.expect(valid, OUTCOMES);
                }
                heard.unwrap_or_default()
            }
            Answer::TooLarge => {
                let failure = PostFailure::TooLarge;
                let heard = state.outbox.handle_failed(batch, failure, at(state.now));
                heard.into_iter().collect()
            }
            Answer::Refused(refusal) => self.refused(state, &post, batch, refusal, is_late),
        };
        if is_late {
            let unchanged = before == state.outbox && outcomes.is_empty();
            state.witness.verdicts.expect(unchanged, LATE);
        }
        for outcome in &outcomes {
            state.witness.hear(outcome, &state.store, MOST_BODY);
        }
        state.compare();
        Some(())
    }

    /// The text of an answer that says what is stored.
    pub(super) fn text(state: &State, post: &Post, answer: Answer) -> String {
        let listed = match answer {
            Answer::Short => 1,
            _ => post.messages.len(),
        };
        let rows = post.messages.iter().take(listed).filter_map(|(local, id)| {
            let mut rows = state.store.rows.iter();
            let row = rows.find(|row| row.local == *local)?;
            Some(format!(r#"{{"localId":"{id}","seq":{}}}"#, row.seq))
        });
        let rows = rows.collect::<Vec<_>>().join(",");
        if answer == Answer::Nonsense {
            return format!("[{rows}]");
        }
        format!(r#"{{"messages":[{rows}]}}"#)
    }

    pub(super) fn refused(
        &self,
        state: &mut State,
        post: &Post,
        batch: BatchId,
        refusal: Refusal,
        is_late: bool,
    ) -> Vec<Outcome> {
        let (failure, stop) = match refusal {
            Refusal::Trouble => (PostFailure::Transient, None),
            Refusal::Busy if self.has(Flaw::IgnoresRetryAfter) => (PostFailure::Transient, None),
            Refusal::Busy => (PostFailure::RetryAfter(span(RETRY_AFTER)), None),
            Refusal::Unauthorized => (PostFailure::Unauthorized, Some(StopReason::Unauthorized)),
            Refusal::Gone => (PostFailure::SessionGone, Some(StopReason::SessionGone)),
            Refusal::NoRoute => (PostFailure::NoRoute, Some(StopReason::NoRoute)),
        };
        let failure = match failure {
            _ if stop.is_some() && self.has(Flaw::TriesForEver) => PostFailure::Transient,
            failure => failure,
        };
        let id = post.messages.first().map_or(0, |(_, id)| *id);
        if self.has(Flaw::DropsOnFailure) {
            state.outbox.handle_too_large(&id.to_string());
        }
        let now = at(state.now);
        let mut outcomes: Vec<_> = state
            .outbox
            .handle_failed(batch, failure, now)
            .into_iter()
            .collect();
        if self.has(Flaw::BelievesFailure) {
            outcomes.extend(state.outbox.handle_seen(&id.to_string(), 1));
        }
        if !is_late {
            state
                .witness
                .verdicts
                .expect(state.outbox.stopped() == stop, STOPS);
            if refusal == Refusal::Busy {
                state.witness.not_before = state.now + RETRY_AFTER;
            }
        }
        outcomes
    }

    pub(super) fn seen(&self, state: &mut State, id: u8) -> Option<()> {
        state.purse.seen = state.purse.seen.checked_sub(1)?;
        let row = *state.store.rows.iter().find(|row| row.id == id)?;
        let local_id = id.to_string();
        let outcome = state.outbox.handle_seen(&local_id, row.seq.into());
        let outcome = outcome.or_else(|| {
            let local_id = local_id.into_boxed_str();
            let seq = row.seq.into();
            let again = self.has(Flaw::TellsTwice);
            again.then_some(Outcome::Stored { local_id, seq })
        });
        if let Some(outcome) = outcome {
            state.witness.hear(&outcome, &state.store, MOST_BODY);
        }
        state.compare();
        Some(())
    }

    pub(super) fn pass(&self, state: &mut State) -> Option<()> {
        let due = self.deadline(state)?;
        let mut early = state.outbox.clone();
        early.handle_timeout(at(due - u16::from(!self.has(Flaw::FiresEarly))));
        state.witness.verdicts.expect(early == state.outbox, EARLY);
        state.now = due;
        Some(())
    }
}
