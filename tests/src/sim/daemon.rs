//! The daemon: the production machines, moved as the shell moves them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;

use hallway_core::local::connection::{Connection, Server};
use hallway_core::{Gate, Mailbox, Token};

use super::Flaw;
use super::ledger::{Death, Life};
use super::served::{Order, Served};
use super::stage::{MS, Stage, Who};
use crate::model::frames::Rules;

/// A waker that only remembers.
#[derive(Default)]
pub(super) struct Bell(AtomicBool);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Bell {
    /// Whether it rang since it was asked last.
    pub(super) fn rang(&self) -> bool {
        self.0.swap(false, Ordering::SeqCst)
    }
}

/// What a life's connections share.
pub(super) struct House {
    pub(super) life: usize,
    pub(super) rules: Rules,
    pub(super) server: Server,
    pub(super) gate: Gate,
    pub(super) mailbox: Mailbox,
    pub(super) bell: Arc<Bell>,
}

/// One life of the daemon.
pub(super) struct Daemon {
    pub(super) house: House,
    ends: BTreeMap<usize, Served>,
    pub(super) stopping: bool,
}

impl Daemon {
    pub(super) fn start(stage: &mut Stage) -> Self {
        let life = stage.ledger.lives.len();
        stage.ledger.lives.push(Life::default());
        stage.note("the daemon starts", [life as u64, 0]);
        let rules = Rules {
            token: format!("token-{life}"),
            path: "/s".to_owned(),
            limits: stage.limits,
        };
        let token = Token::parse(&rules.token).expect("a token");
        stage.wake(Who::Consumer, stage.now);
        Self {
            house: House {
                life,
                server: Server::new(&rules.path, token),
                rules,
                gate: Gate::new(&stage.limits),
                mailbox: Mailbox::new(&stage.limits),
                bell: Arc::new(Bell::default()),
            },
            ends: BTreeMap::new(),
            stopping: false,
        }
    }

    /// A client has connected: it passes the gate, or is told to go.
    pub(super) fn accept(&mut self, link: usize, stage: &mut Stage) {
        if self.stopping {
            return hang_up(link, stage);
        }
        match self.house.gate.admit(stage.links[link].pid) {
            Ok(admitted) => {
                if let Some(evicted) = admitted.evicted {
                    let of = self.ends.iter().find(|end| end.1.id == evicted.id);
                    let victim = *of.expect("a client that is served").0;
                    self.evict(victim, evicted.may_linger, stage);
                }
                self.enter(link, admitted.id, None, stage);
            }
            Err(refused) => {
                stage.reached.refused_clients += 1;
                match refused.id {
                    Some(id) => self.enter(link, id, Some(Order::Evict), stage),
                    None => hang_up(link, stage),
                }
            }
        }
        self.check_bounds(stage);
    }

    fn enter(
        &mut self,
        link: usize,
        id: hallway_core::ClientId,
        order: Option<Order>,
        stage: &mut Stage,
    ) {
        stage.note("accepted", [link as u64, self.house.life as u64]);
        let limits = if stage.has(Flaw::UnboundedOutput) {
            stage.wide_limits
        } else {
            stage.limits
        };
        let connection = Connection::new(&limits, stage.instant());
        let served = Served::new(link, id, connection, order, &self.house, stage);
        self.ends.insert(link, served);
        stage.wake(Who::Serve(link), stage.now);
    }

    fn evict(&mut self, link: usize, may_linger: bool, stage: &mut Stage) {
        stage.note("evicted", [link as u64, u64::from(may_linger)]);
        stage.reached.evicted += 1;
        if may_linger {
            self.order(link, Order::Evict, stage);
        } else {
            self.ends.remove(&link);
            hang_up(link, stage);
        }
    }

    fn order(&mut self, link: usize, order: Order, stage: &mut Stage) {
        if let Some(end) = self.ends.get_mut(&link) {
            end.order = end.order.max(Some(order));
            stage.wake(Who::Serve(link), stage.now);
        }
    }

    /// The turn of one connection's task.
    pub(super) fn serve(&mut self, link: usize, stage: &mut Stage) {
        let Some(mut end) = self.ends.remove(&link) else {
            return;
        };
        if end.turn(&mut self.house, stage) {
            self.ends.insert(link, end);
        } else {
            self.house.gate.release(end.id);
            hang_up(link, stage);
            if self.stopping && self.ends.is_empty() {
                stage.wake(Who::Daemon, stage.now);
            }
        }
        if self.house.bell.rang() && !(stage.has(Flaw::ForgetsWake) && stage.rng.once_in(4)) {
            let pause = stage.delay() * stage.consumer_pace;
            stage.wake(Who::Consumer, stage.now + pause);
        }
        let waits = stage.place(Who::Consumer).is_none();
        let (entries, _) = self.house.mailbox.size();
        assert!(
            !waits || entries == 0,
            "the consumer sleeps before {entries} entries"
        );
        if stage.rng.once_in(8) {
            self.check_bounds(stage);
        }
    }

    /// The owner stops it: what was received is answered.
    pub(super) fn stop(&mut self, stage: &mut Stage) {
        stage.note("the daemon stops", [self.house.life as u64, 0]);
        stage.reached.stops += 1;
        self.stopping = true;
        for link in self.ends.keys().copied().collect::<Vec<_>>() {
            self.order(link, Order::Stop, stage);
        }
        let closing = stage.limits.closing_timeout().as_micros() as u64;
        let patience = if self.ends.is_empty() {
            0
        } else {
            closing + 100 * MS
        };
        stage.wake(Who::Daemon, stage.now + patience);
    }

    /// Whoever is still there is cut off; the consumer may read on.
    pub(super) fn close(&mut self, stage: &mut Stage) {
        for link in std::mem::take(&mut self.ends).into_keys() {
            stage.note("cut off", [link as u64, 0]);
            hang_up(link, stage);
        }
        self.house.mailbox.close();
        stage.wake(Who::Consumer, stage.now);
    }

    /// It is killed.
    pub(super) fn crash(self, stage: &mut Stage) {
        stage.note("the daemon crashes", [self.house.life as u64, 0]);
        stage.reached.crashes += 1;
        for link in self.ends.into_keys() {
            hang_up(link, stage);
        }
        let death = if stage.has(Flaw::HidesCrash) {
            Death::Stopped
        } else {
            Death::Crashed
        };
        stage.ledger.lives[self.house.life].death = Some(death);
    }

    /// All that is held stays within `Limits::worst_case_bytes`, and all quotas are kept.
    fn check_bounds(&self, stage: &Stage) {
        let (limits, gate) = (&stage.limits, &self.house.gate);
        assert!(gate.served() <= limits.max_clients());
        assert!(gate.unauthenticated() <= limits.max_unauthenticated_clients());
        assert!(gate.refused() <= limits.max_refused_clients());
        let places = gate.served() + gate.refused();
        assert_eq!(self.ends.len(), places, "whoever has a place has a task");
        let (entries, bytes) = self.house.mailbox.size();
        assert!(entries <= limits.max_inbox_entries() && bytes <= limits.max_inbox_bytes());
        let connections: usize = self.ends.values().map(Served::footprint).sum();
        let total = connections + bytes + 96 * entries + 64 * places;
        assert!(total <= limits.worst_case_bytes(), "{total} bytes");
    }
}

/// The server's socket is closed.
fn hang_up(link: usize, stage: &mut Stage) {
    stage.links[link].close_server();
    stage.wake(Who::Actor(stage.links[link].actor), stage.now);
}
