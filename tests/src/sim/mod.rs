//! A whole system from one seed: the production machines of a daemon, clients good and bad, and
//! a consumer, over a virtual network and clock (local.md §3, §4, §5).
//!
//! Everything that chance decides comes from the seed: cuts, delays, resets, half-closes, sleeps,
//! crashes and restarts, full inboxes, slow readers. One agenda, ordered by time and then by when
//! a turn was given, decides who moves next, so that a seed is a run. What happened goes into a
//! ledger, and is judged when everything is over: see [`run`].

mod actors;
mod client;
mod consumer;
mod daemon;
mod ledger;
mod network;
mod rogue;
mod served;
mod stage;
pub(crate) mod trace;
mod world;

use std::fmt;

use crate::model::conversation::Ending;

/// A deliberate fault of the daemon or of a client, for the tests that show that the judgement
/// can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// `ok` is said for a message that no inbox holds.
    OkWithoutKeeping,
    /// A message is kept twice.
    KeepsTwice,
    /// The consumer forgets an entry that it took.
    LosesEntry,
    /// The consumer takes entries in the wrong order.
    SwapsEntries,
    /// The consumer is not woken.
    ForgetsWake,
    /// An open connection's deadlines are not kept.
    SleepsThrough,
    /// A deadline counts although what was sent in time was read, and not yet looked at.
    ClockFirst,
    /// A closing connection's deadline is not kept.
    LingersForEver,
    /// A client's deadlines are not kept.
    ClientWaits,
    /// As [`Flaw::ClockFirst`], of a client.
    ClientClockFirst,
    /// Replies are bounded by far more than the limit.
    UnboundedOutput,
    /// A crash is passed off as a stop.
    HidesCrash,
}

impl Flaw {
    /// All of them, each with the words of the judgement on it.
    pub const ALL: [(Self, &'static str); 12] = [
        (Self::OkWithoutKeeping, "`ok` for what was not taken"),
        (Self::KeepsTwice, "was taken twice"),
        (Self::LosesEntry, "out of order, twice, or with a gap"),
        (Self::SwapsEntries, "out of order, twice, or with a gap"),
        (Self::ForgetsWake, "the consumer sleeps"),
        (Self::SleepsThrough, "waits past its deadline"),
        (Self::ClockFirst, "was not heard"),
        (Self::LingersForEver, "waits past its deadline"),
        (Self::ClientWaits, "waited past its deadline"),
        (Self::ClientClockFirst, "was not heard"),
        (Self::UnboundedOutput, "holds too much"),
        (Self::HidesCrash, "an entry was lost"),
    ];
}

/// The situations that runs come into, counted.
pub trait Situations: Copy + fmt::Debug + Default + PartialEq {
    /// Counts what another run came into.
    fn add(&mut self, other: &Self);

    /// Those that never came up.
    fn unreached(&self) -> Vec<&'static str>;
}

/// What a run came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report<R> {
    /// The hash of everything that happened: equal for equal seeds.
    pub hash: u64,
    /// How often it came into each situation.
    pub reached: R,
}

macro_rules! reached {
    ($(#[doc = $doc:literal] $field:ident),* $(,)?) => {
        /// How often a run came into each situation.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Reached {
            $(#[doc = $doc] pub $field: u64,)*
        }

        impl $crate::sim::Situations for Reached {
            fn add(&mut self, other: &Self) {
                $(self.$field += other.$field;)*
            }

            fn unreached(&self) -> Vec<&'static str> {
                let mut names = Vec::new();
                $(if self.$field == 0 {
                    names.push(stringify!($field));
                })*
                names
            }
        }
    };
}

pub(crate) use reached;

reached! {
    /// Turns taken.
    turns,
    /// Messages kept.
    kept,
    /// Pings answered.
    pings,
    /// Requests of good clients that were answered.
    answered,
    /// Requests that were not.
    unanswered,
    /// Requests that a server refused.
    refused_requests,
    /// Requests that waited too long.
    timed_out,
    /// Deadlines of connections that passed.
    timeouts,
    /// Connections that ended after everything was answered.
    finished,
    /// Connections that ended because the daemon stopped.
    stopped,
    /// Connections that broke.
    broken,
    /// Connections refused for what they sent.
    violations,
    /// Connections refused because the inbox was full.
    inbox_full,
    /// Connections that did not authenticate in time.
    auth_timeouts,
    /// Connections that fell silent.
    idle_timeouts,
    /// Clients that had to make room.
    evicted,
    /// Clients for which there was no room.
    refused_clients,
    /// Crashes of the daemon.
    crashes,
    /// Orderly stops of it.
    stops,
    /// Crashes of good clients.
    client_crashes,
    /// Failures of the network.
    cuts,
    /// Clients, good or bad, that ended their output before their input.
    half_closes,
    /// Turns that came late because somebody slept.
    sleeps,
    /// Writes of the daemon that found the socket full.
    stuck_writes,
    /// Requests that failed before all of them was written.
    unwritten,
    /// Messages for which `ok` was said, and which a crash took.
    lost,
}

impl Reached {
    fn ended(&mut self, ending: &Ending) {
        *match ending {
            Ending::Finished => &mut self.finished,
            Ending::Stopped => &mut self.stopped,
            Ending::Broken => &mut self.broken,
            Ending::Refused(text) => match text.as_str() {
                "inbox full" => &mut self.inbox_full,
                "authentication timeout" => &mut self.auth_timeouts,
                "idle timeout" => &mut self.idle_timeouts,
                "too many clients" => return,
                _ => &mut self.violations,
            },
        } += 1;
    }
}

/// Runs `seed` to its end and judges it: every `ok` was drained exactly once, or was lost by a
/// crash; what was said not to be taken was not; each connection said and did what the model
/// says of the bytes that it read; nobody waited past a deadline; memory stayed within bounds.
///
/// With `verbose` every turn is printed.
///
/// # Panics
///
/// When one of these is not so.
#[must_use]
pub fn run(seed: u64, verbose: bool, flaw: Option<Flaw>) -> Report<Reached> {
    world::World::new(seed, verbose, flaw).run()
}
