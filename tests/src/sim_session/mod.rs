//! One subscription under chance, from one seed: the production machine as the client drives it,
//! a virtual server that has its moods, and a network between them, on a virtual clock
//! (sessions.md §3).
//!
//! Chance decides about cuts, half-open links, late words of former transports, doubled opens,
//! hang-ups that the server does not hear, sleeps, tokens that change, and refusals. Every step is
//! judged by the ten points of §3, and held against the reference model. At the end the server
//! gives no hope any more, and the subscription has to end.

mod judge;
mod server;
mod subject;
mod world;

use std::time::Duration;

use crate::sim::{Report, reached};

/// A deliberate fault of the client, for the tests that show that the judgement can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Hang-ups are not done.
    KeepsOldTransport,
    /// A dial is asked for after the end.
    DialsAfterClose,
    /// While it dials there is no deadline.
    ForgetsDeadline,
    /// The budgets are twice those of the policy.
    SpendsTooMuch,
    /// The first failure while it reconnects is the last.
    GivesUpAtOnce,
    /// An open connection is proof of health.
    OpenIsProof,
    /// A frame is forgotten when the connection comes back.
    LosesFrame,
    /// Of two frames the second is sent first.
    SwapsFrames,
    /// A fact of a former transport counts for the present one.
    HearsTheDead,
    /// Requests of a former connection stay without a word.
    KeepsPending,
    /// The delay is cut short.
    DialsEarly,
    /// Sleep goes unnoticed.
    SleepsOn,
    /// Silence is taken for a pong.
    TrustsSilence,
    /// A refused token is tried again.
    RetriesRefusedToken,
}

impl Flaw {
    /// All of them, each with the words of the judgement on it.
    pub const ALL: [(Self, &'static str); 14] = [
        (Self::KeepsOldTransport, "a second transport"),
        (Self::DialsAfterClose, "a transport after the end"),
        (Self::ForgetsDeadline, "waits without a deadline"),
        (Self::SpendsTooMuch, "goes on without a budget"),
        (Self::GivesUpAtOnce, "gave up too early"),
        (Self::OpenIsProof, "reset without proof"),
        (Self::LosesFrame, "a frame was lost or is out of order"),
        (Self::SwapsFrames, "a frame was lost or is out of order"),
        (Self::HearsTheDead, "a former transport was heard"),
        (Self::KeepsPending, "left behind without a word"),
        (Self::DialsEarly, "dialled before its time"),
        (Self::SleepsOn, "woke and did nothing"),
        (Self::TrustsSilence, "a dead link was not found"),
        (Self::RetriesRefusedToken, "went on with a refused token"),
    ];
}

reached! {
    /// Turns taken.
    turns,
    /// Dials asked for.
    dials,
    /// Connections that came up.
    connected,
    /// Dials and connections that failed and were tried again.
    retries,
    /// Ended by the caller.
    closed,
    /// Ended because the retries were spent.
    out_of_retries,
    /// Ended because it failed for too long.
    out_of_time,
    /// Ended because the token was refused.
    unauthorized,
    /// Ended because the first dial was refused.
    refused,
    /// Tokens that were refused, with another one at hand.
    rotated,
    /// Words of former transports.
    late,
    /// Dials that took too long.
    stalled,
    /// Links that were found dead by their silence.
    half_open,
    /// Sleeps, noticed by lateness or told.
    sleeps,
    /// Budgets that were made whole by proof.
    proofs,
    /// Delays that the server asked for.
    retry_afters,
    /// Frames sent.
    sent,
    /// Frames of which the writing was cut short.
    cut_short,
    /// Frames for which there was no room.
    full,
    /// Requests that the client refused by itself.
    refused_requests,
    /// Requests that a former connection has left.
    left_behind,
    /// Answers given.
    answers,
    /// Reconnects that the caller asked for.
    forced,
    /// Runs whose server was down for ten minutes.
    outages,
}

/// Runs `seed` to its end and judges it. With `verbose` every step is printed.
///
/// # Panics
///
/// When one of the ten points does not hold, or the model says otherwise.
#[must_use]
pub fn run(seed: u64, verbose: bool, flaw: Option<Flaw>) -> Report<Reached> {
    world::World::new(seed, verbose, flaw).run()
}

/// Runs `seed` with the default profile and a server that is connected, then down for `outage`,
/// then up; gives the dials during the outage and how long after it the connection came back.
///
/// # Panics
///
/// When it does not come back, or one of the ten points does not hold.
#[must_use]
pub fn outage(seed: u64, outage: Duration) -> (u64, Duration) {
    world::World::steady(seed).outage(outage)
}
