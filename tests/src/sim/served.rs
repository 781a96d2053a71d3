//! One connection of the daemon: its task, as the shell has it, and what is asserted of it.

use hallway_core::ClientId;
use hallway_core::local::connection::{Action, CloseReason, Connection, Event};
use hallway_core::local::inbox::{EntryId, Peer};
use hallway_core::local::message::Kept;

use super::Flaw;
use super::daemon::House;
use super::ledger::Account;
use super::network::{End, Got};
use super::stage::{MS, Stage, Time, Who, time};
use crate::model::check::footprint;
use crate::model::conversation::{Ending, WALL};
use crate::model::frames::Turn;

/// What a connection is told from outside; the later outranks the earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Order {
    Stop,
    Evict,
}

/// What a turn found to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// Nothing more at present.
    Nothing,
    /// More than it had time for.
    More,
    TheEnd,
}

/// The daemon's end of one connection.
pub(super) struct Served {
    pub(super) id: ClientId,
    pub(super) order: Option<Order>,
    link: usize,
    connection: Connection,
    peer: Peer,
    authenticated: bool,
    /// Until when its task sleeps, for no fault of the machines.
    asleep: Time,
    accepted: Time,
    /// When a byte last went either way.
    active: Time,
    closing: Option<Time>,
}

impl Served {
    pub(super) fn new(
        link: usize,
        id: ClientId,
        connection: Connection,
        order: Option<Order>,
        house: &House,
        stage: &mut Stage,
    ) -> Self {
        let account = Account::new(house.life, &house.rules);
        stage.ledger.accounts.insert(link, account);
        Self {
            id,
            order,
            link,
            connection,
            peer: Peer {
                uid: 1_000,
                pid: stage.links[link].pid,
            },
            authenticated: false,
            asleep: 0,
            accepted: stage.now,
            active: stage.now,
            closing: None,
        }
    }

    pub(super) fn footprint(&self) -> usize {
        footprint(&self.connection)
    }

    /// One turn; whether the connection lives on.
    pub(super) fn turn(&mut self, house: &mut House, stage: &mut Stage) -> bool {
        let found = self.move_on(house, stage);
        let reason = self.connection.close_reason();
        if reason.is_some() {
            self.closing.get_or_insert(stage.now);
        }
        // Known from now on, even if the daemon crashes before the connection has ended.
        self.account(stage).ending = reason.map(ending);
        if found == Found::Nothing {
            self.check(stage);
        }
        found != Found::TheEnd
    }

    fn move_on(&mut self, house: &mut House, stage: &mut Stage) -> Found {
        if stage.now >= self.asleep && stage.rng.once_in(150) {
            self.asleep = stage.now + stage.rng.below(60) as Time * MS;
            stage.reached.sleeps += 1;
        }
        if stage.now < self.asleep {
            stage.wake(Who::Serve(self.link), self.asleep);
            return Found::More;
        }
        match self.order.take() {
            Some(Order::Stop) => self.connection.handle_stop(),
            Some(Order::Evict) => self.connection.handle_eviction(stage.instant(), WALL),
            None => {}
        }
        let mut budget = 1 + stage.rng.below(8);
        loop {
            let frames = self.take_frames(budget, house, stage);
            budget -= frames;
            let mut moved = frames > 0;
            moved |= self.write(stage);
            if self.act(stage) {
                self.end(stage);
                return Found::TheEnd;
            }
            if budget == 0 {
                stage.wake(Who::Serve(self.link), stage.now);
                return Found::More;
            }
            moved |= self.read(stage);
            // Late as this turn may be: what was sent in time is heard before the clock is.
            if !moved || stage.has(Flaw::ClockFirst) {
                moved |= self.tick(stage);
            }
            if !moved {
                return Found::Nothing;
            }
        }
    }

    fn account<'a>(&self, stage: &'a mut Stage) -> &'a mut Account {
        stage
            .ledger
            .accounts
            .get_mut(&self.link)
            .expect("an account")
    }

    fn take_frames(&mut self, most: usize, house: &mut House, stage: &mut Stage) -> usize {
        let mut taken = 0;
        while taken < most {
            let now = stage.instant();
            let Some(event) = self.connection.handle_frame(&house.server, now, WALL) else {
                break;
            };
            taken += 1;
            match event {
                Event::Pinged => {
                    stage.reached.pings += 1;
                    self.account(stage).turns.push(Turn::Ping);
                }
                Event::MessageReceived(kept) => {
                    let text = kept.to_text().into_string();
                    let id = keep(kept, &text, self.peer, house, stage);
                    let account = self.account(stage);
                    account.turns.push(Turn::Message(text));
                    account.answers.push(id.map(EntryId::get));
                    stage.note("message", [self.link as u64, id.map_or(0, EntryId::get)]);
                    self.connection.handle_enqueued(id, now, WALL);
                }
            }
        }
        if !self.authenticated && self.connection.is_authenticated() {
            self.authenticated = true;
            house.gate.handle_authenticated(self.id);
        }
        taken
    }

    fn write(&mut self, stage: &mut Stage) -> bool {
        let mut moved = false;
        while !self.connection.pending().is_empty() {
            let most = stage.rng.pick(&[usize::MAX, usize::MAX, 1, 100]);
            let at = stage.now + stage.delay();
            let pending = self.connection.pending();
            let bytes = pending[..pending.len().min(most)].to_vec();
            self.account(stage).flushed = false;
            match stage.links[self.link].down.write(&bytes, at) {
                Some(0) => {
                    stage.reached.stuck_writes += 1;
                    break;
                }
                Some(n) => {
                    self.connection.handle_output(n, stage.instant());
                    stage.trace.fold(&bytes[..n]);
                    stage.note("wrote", [self.link as u64, n as u64]);
                    let flushed = self.connection.pending().is_empty();
                    let account = self.account(stage);
                    account.wrote.extend_from_slice(&bytes[..n]);
                    account.flushed = flushed;
                    self.active = stage.now;
                    self.wake_client(stage);
                }
                None => self.connection.handle_broken(),
            }
            moved = true;
        }
        moved
    }

    /// Does what is to be done; whether that was the end.
    fn act(&mut self, stage: &mut Stage) -> bool {
        while let Some(action) = self.connection.poll_action() {
            match action {
                Action::Hangup => return true,
                Action::FinishOutput => {
                    assert!(
                        self.account(stage).flushed,
                        "the output ends before it is written"
                    );
                    stage.links[self.link].down.finish(End::Finished);
                    self.wake_client(stage);
                }
            }
        }
        false
    }

    fn read(&mut self, stage: &mut Stage) -> bool {
        let is_open = self.connection.close_reason().is_none();
        let most = stage.rng.pick(&[usize::MAX, usize::MAX, 1, 200]);
        let spare = self.connection.spare_mut();
        let most = spare.len().min(most);
        if most == 0 {
            return false;
        }
        match stage.links[self.link]
            .up
            .read(&mut spare[..most], stage.now)
        {
            Got::Bytes(n) => {
                let bytes = spare[..n].to_vec();
                self.connection.handle_input(n, stage.instant());
                stage.note("read", [self.link as u64, n as u64]);
                if is_open {
                    self.account(stage).read.extend_from_slice(&bytes);
                    self.active = stage.now;
                }
                self.wake_client(stage);
            }
            Got::Ended(End::Finished) => self.connection.handle_end_of_input(),
            Got::Ended(End::Reset) => self.connection.handle_broken(),
            Got::Nothing => {
                self.connection.handle_input_drained();
                return false;
            }
        }
        true
    }

    fn tick(&mut self, stage: &mut Stage) -> bool {
        let mut moved = false;
        while self
            .connection
            .poll_timeout()
            .is_some_and(|due| due <= stage.instant())
        {
            if stage.has(Flaw::SleepsThrough) && self.connection.close_reason().is_none()
                || stage.has(Flaw::LingersForEver) && self.connection.close_reason().is_some()
            {
                return moved;
            }
            let due = self.connection.poll_timeout();
            self.connection.handle_timeout(stage.instant(), WALL);
            assert_ne!(
                self.connection.poll_timeout(),
                due,
                "a timeout that is due does nothing"
            );
            stage.note("timeout", [self.link as u64, 0]);
            stage.reached.timeouts += 1;
            moved = true;
        }
        moved
    }

    fn wake_client(&self, stage: &mut Stage) {
        let link = &stage.links[self.link];
        let (actor, at) = (link.actor, link.down.arrival().unwrap_or(stage.now));
        // Now, for there may be room to write; and when something arrives.
        stage.wake(Who::Actor(actor), at.min(stage.now + 200));
    }

    /// At rest: it waits for no longer than it may, and holds no more than it may.
    fn check(&mut self, stage: &mut Stage) {
        let limits = stage.limits;
        let micros = |span: std::time::Duration| span.as_micros() as Time;
        let due = if self.connection.close_reason().is_some() {
            self.closing.expect("when it began to close") + micros(limits.closing_timeout())
        } else {
            let idle = self.active + micros(limits.idle_timeout());
            let auth = self.accepted + micros(limits.auth_timeout());
            if self.connection.is_authenticated() {
                idle
            } else {
                idle.min(auth)
            }
        };
        let found = self.connection.poll_timeout().map(time);
        assert_eq!(found, Some(due), "the deadline of link {}", self.link);
        assert!(
            stage.now < due,
            "link {} waits past its deadline",
            self.link
        );
        let frame = limits.max_frame_bytes() + 1;
        let most = frame + limits.max_outbox_bytes() + 1_024;
        assert!(
            self.footprint() <= most,
            "link {} holds too much",
            self.link
        );
        let arrival = stage.links[self.link]
            .up
            .arrival()
            .filter(|at| *at > stage.now);
        stage.wake(Who::Serve(self.link), arrival.unwrap_or(due).min(due));
    }

    fn end(&mut self, stage: &mut Stage) {
        let reason = self.connection.close_reason().expect("a reason");
        let closing = stage.limits.closing_timeout().as_micros() as Time;
        if let Some(since) = self.closing {
            assert!(
                stage.now <= (since + closing).max(self.asleep),
                "closed too late"
            );
        }
        stage.note("ended", [self.link as u64, 0]);
        stage.trace.fold(format!("{reason:?}").as_bytes());
        stage.reached.ended(&ending(reason));
    }
}

fn ending(reason: CloseReason) -> Ending {
    match reason {
        CloseReason::Finished => Ending::Finished,
        CloseReason::Stopped => Ending::Stopped,
        CloseReason::Refused(refusal) => Ending::Refused(refusal.to_string()),
        CloseReason::Broken => Ending::Broken,
        other => panic!("no connection ends so: {other:?}"),
    }
}

/// Offers a message to the inbox, and writes down what it takes.
fn keep(
    kept: Kept<'_>,
    text: &str,
    peer: Peer,
    house: &mut House,
    stage: &mut Stage,
) -> Option<EntryId> {
    let taken = &mut stage.ledger.lives[house.life].taken;
    if stage.flaw == Some(Flaw::OkWithoutKeeping) && stage.rng.once_in(4) {
        return EntryId::parse(&format!("uds-{}", taken.len() + 1));
    }
    let id = house.mailbox.push(kept, peer, WALL).ok();
    if let Some(id) = id {
        taken.push(text.to_owned());
        assert_eq!(id.get(), taken.len() as u64, "ids have no gaps");
        stage.reached.kept += 1;
        if stage.flaw == Some(Flaw::KeepsTwice)
            && stage.rng.once_in(4)
            && house.mailbox.push(kept, peer, WALL).is_ok()
        {
            taken.push(text.to_owned());
        }
    }
    id
}
