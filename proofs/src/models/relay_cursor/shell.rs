//! What the server, the link and the shell do.

use hallway_core::relay::cursor::Verdict;

use super::witness::{History, Numbers};
use super::{
    COMPLETE, CursorModel, EARLY, Flaw, Kind, LATE, MOST_VAIN, OWN, PAGE, Page, Reply, State,
};
use crate::models::at;

impl CursorModel {
    pub(super) fn store(state: &mut State, kind: Kind) -> Option<()> {
        // No more are posted than are remembered.
        if kind == Kind::Ours && state.waiting.iter().count() >= state.cursor.room_for_own() {
            return None;
        }
        let purse = match kind {
            Kind::Theirs => &mut state.purse.theirs,
            Kind::Ours => &mut state.purse.ours,
            Kind::Burnt => &mut state.purse.burnt,
        };
        *purse = purse.checked_sub(1)?;
        state.history.top += 1;
        let seq = state.history.top;
        if kind == Kind::Burnt {
            state.history.burnt.insert(seq);
            return Some(());
        }
        if kind == Kind::Ours {
            state.history.ours.insert(seq);
            state.waiting.insert(seq);
            state.acks.insert(seq);
        }
        if state.connected {
            state.air.insert(seq);
        }
        Some(())
    }

    /// The outbox has learnt that a message of ours has this number.
    pub(super) fn tell(&self, state: &mut State, seq: u8) {
        let id = state.fetching.filter(|id| state.cursor.is_fetching(*id));
        match id {
            Some(id) if self.has(Flaw::TrustsPost) => {
                let taken = state
                    .cursor
                    .handle_fetched(id, seq.into(), true, at(state.now));
                state.witness.verdicts.expect(taken.is_ok(), OWN);
            }
            _ => state.cursor.handle_sent(seq.into()),
        }
        state.witness.heard = state.witness.heard.max(seq);
        let last = state.last();
        state.witness.tell(seq);
        let seen = state.witness.has_seen(last);
        state.witness.verdicts.expect(seen, OWN);
    }

    pub(super) fn live(&self, state: &mut State, seq: u8) {
        if state.waiting.remove(seq) {
            return self.tell(state, seq);
        }
        let verdict = if self.has(Flaw::ForgetsGaps) {
            let mut probe = state.cursor.clone();
            let verdict = probe.handle_live(seq.into(), false);
            if verdict != Verdict::Gap {
                state.cursor = probe;
            }
            verdict
        } else {
            state.cursor.handle_live(seq.into(), false)
        };
        state.witness.heard = state.witness.heard.max(seq);
        self.judge(state, seq, verdict);
    }

    pub(super) fn judge(&self, state: &mut State, seq: u8, verdict: Verdict) {
        let delivers = match verdict {
            Verdict::Deliver => true,
            Verdict::Gap => self.has(Flaw::DeliversGaps),
            Verdict::Skip => self.has(Flaw::DeliversSkipped),
        };
        if delivers {
            state.witness.deliver(seq, state.history);
        } else if verdict == Verdict::Skip {
            state.witness.skip(seq, state.history);
        }
    }

    pub(super) fn serve(state: &mut State, number: usize, reply: Reply) -> Option<()> {
        let fetch = *state.requests.get(number)?;
        let after = u8::try_from(fetch.after).ok()?;
        let mut rows: Vec<u8> = state.history.messages(after).collect();
        let mut more = rows.len() > PAGE;
        rows.truncate(PAGE);
        match reply {
            Reply::Page => {}
            Reply::Stale => {
                state.purse.stale = state.purse.stale.checked_sub(1)?;
                rows.pop()?;
                more = false;
                state.doomed = true;
            }
            Reply::Nonsense => {
                state.purse.nonsense = state.purse.nonsense.checked_sub(1)?;
                more = rows.is_empty();
                rows = rows.first().map_or_else(Vec::new, |first| vec![*first; 2]);
            }
        }
        state.requests.remove(number);
        state.answers.push(Page {
            fetch,
            rows,
            own: Numbers::default(),
            more,
        });
        Some(())
    }

    pub(super) fn receive(&self, state: &mut State, number: usize) -> Option<()> {
        let mut page = state.answers.get(number)?.clone();
        state.answers.remove(number);
        let current = state.fetching.filter(|id| state.cursor.is_fetching(*id));
        if current == Some(page.fetch.id) {
            for seq in page.rows.clone() {
                if state.waiting.remove(seq) {
                    page.own.insert(seq);
                    self.tell(state, seq);
                }
            }
            state.page = Some(page);
            return Some(());
        }
        let id = current.filter(|_| self.has(Flaw::MixesPages));
        let id = id.unwrap_or(page.fetch.id);
        let (before, now) = (state.cursor.clone(), at(state.now));
        let mut quiet = true;
        for seq in page.rows {
            let verdict = state.cursor.handle_fetched(id, seq.into(), false, now);
            quiet &= verdict == Ok(Verdict::Skip);
        }
        quiet &= state.cursor.handle_page_end(id, page.more, now).is_none();
        state.cursor.handle_failed(id, None, now);
        state
            .witness
            .verdicts
            .expect(quiet && before == state.cursor, LATE);
        Some(())
    }

    pub(super) fn row(&self, state: &mut State) -> Option<()> {
        let mut page = state.page.take()?;
        let (id, now) = (page.fetch.id, at(state.now));
        if !state.cursor.is_fetching(id) {
            return Some(());
        }
        let after = u8::try_from(page.fetch.after).ok()?;
        if page.rows.is_empty() {
            let last = state.last();
            let withheld = state.cursor.handle_page_end(id, page.more, now);
            if let Some(withheld) = withheld.filter(|_| !self.has(Flaw::HidesWithheld)) {
                let from = u8::try_from(withheld.from).ok()?;
                let to = u8::try_from(withheld.to).ok()?;
                // Not before it was kept back as often as the limits say.
                let vain = usize::from(self.purse.stale - state.purse.stale);
                let begins = from == last + 1 && to <= state.history.top && vain >= MOST_VAIN;
                state.witness.verdicts.expect(begins, COMPLETE);
                for seq in from..=to {
                    state.witness.withheld.insert(seq);
                }
            }
            return Some(());
        }
        let seq = page.rows.remove(0);
        match state
            .cursor
            .handle_fetched(id, seq.into(), page.own.has(seq), now)
        {
            Ok(verdict) => {
                state.witness.heard = state.witness.heard.max(seq);
                state.witness.empty(after, seq);
                if !(verdict == Verdict::Deliver && self.has(Flaw::LosesRows)) {
                    self.judge(state, seq, verdict);
                }
                page.fetch.after = seq.into();
                state.page = Some(page);
            }
            Err(_) => state.witness.verdicts.expect(seq <= after, COMPLETE),
        }
        Some(())
    }

    pub(super) fn pass(&self, state: &mut State) -> Option<()> {
        let due = self.deadline(state)?;
        let mut early = state.cursor.clone();
        early.handle_timeout(at(due - u16::from(!self.has(Flaw::FiresEarly))));
        state.witness.verdicts.expect(early == state.cursor, EARLY);
        state.now = due;
        Some(())
    }

    pub(super) fn restart(&self, state: &mut State) -> Option<()> {
        state.purse.restarts = state.purse.restarts.checked_sub(1)?;
        let history = History {
            ours: Numbers::default(),
            ..state.history
        };
        *state = State {
            now: state.now,
            history,
            kept: state.kept,
            purse: state.purse,
            ..self.start(state.kept)
        };
        Some(())
    }
}
