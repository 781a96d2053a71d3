//! Each property of the models of the relay can fail: a deliberate bug each, found by both
//! searches where the property is an invariant.

use std::fmt::Debug;
use std::hash::Hash;

use hallway_proofs::check::{Size, broken};
use hallway_proofs::models::relay_cursor::{self, CursorModel};
use hallway_proofs::models::relay_link::{self, LinkModel};
use hallway_proofs::models::relay_outbox::{self, OutboxModel};
use hallway_proofs::models::relay_versioned::{self, VersionedModel};
use hallway_proofs::search::{Proof, Until, search};
use stateright::{Checker, HasDiscoveries};

fn breaks<M>(model: impl Fn() -> M, name: &'static str)
where
    M: Proof + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq + Send + Sync,
{
    let findings = search(&model(), Until::This(name));
    let mut failures = findings.failures.iter();
    let failure = failures.find(|failure| failure.name == name);
    let failure = failure.unwrap_or_else(|| panic!("{name} holds"));
    assert!(!failure.trace.is_empty(), "{name} is broken from the start");
    let properties = model().properties();
    if properties.iter().any(|property| property.name == name) {
        let found = HasDiscoveries::AllOf([name].into());
        let checker = model().checker().finish_when(found).spawn_bfs().join();
        assert!(broken(&checker).contains(&name), "stateright misses {name}");
    }
}

#[test]
fn relay_cursor() {
    use relay_cursor::Flaw;
    for (flaw, name) in [
        (
            Flaw::DeliversGaps,
            "messages of others are delivered once, in order",
        ),
        (
            Flaw::DeliversSkipped,
            "messages of others are delivered once, in order",
        ),
        (Flaw::DeliversGaps, "no message is passed over"),
        (
            Flaw::LosesRows,
            "the cursor never moves over a number that was not seen",
        ),
        (
            Flaw::TrustsPost,
            "own messages never lift the cursor over a gap",
        ),
        (
            Flaw::ForgetsGaps,
            "a cursor at rest has closed every gap that it has heard of",
        ),
        (
            Flaw::MixesPages,
            "answers to an earlier fetch change nothing",
        ),
        (
            Flaw::HidesDeadline,
            "what is fetched or waited for has a deadline",
        ),
        (
            Flaw::FiresEarly,
            "a timeout acts when it is due, and not before",
        ),
        (
            Flaw::ForgetsConnect,
            "in the end all that the server holds is delivered, and the cursor rests",
        ),
        (
            Flaw::ForgetsTimeouts,
            "in the end all that the server holds is delivered, and the cursor rests",
        ),
    ] {
        let size = match name {
            "no message is passed over" => Size::Quick,
            _ => Size::Small,
        };
        breaks(|| CursorModel::sized(size).with(flaw), name);
    }
    breaks(
        || CursorModel::faithless(Size::Small).with(Flaw::HidesWithheld),
        "the cursor never moves over a number that was not seen",
    );
    breaks(
        || CursorModel::faithless(Size::Small).with(Flaw::RemembersAll),
        "the numbers that are remembered are bounded",
    );
}

#[test]
fn relay_outbox() {
    use relay_outbox::Flaw;
    for (flaw, name) in [
        (
            Flaw::PostsInReverse,
            "messages are stored in the order of their sending",
        ),
        (Flaw::FreshIds, "no message is stored twice"),
        (Flaw::BelievesFailure, "an outcome comes once and is true"),
        (
            Flaw::DropsOnFailure,
            "what was accepted waits until it has its outcome",
        ),
        (
            Flaw::LongPosts,
            "a post is within its limits and begins with the oldest",
        ),
        (
            Flaw::UnboundedOutbox,
            "a message is refused when there is no room and only then",
        ),
        (Flaw::UnboundedOutbox, "what waits is bounded"),
        (
            Flaw::MixesAnswers,
            "answers to an earlier post change nothing",
        ),
        (
            Flaw::TriesForEver,
            "what will not pass stops the posts, and nothing else does",
        ),
        (
            Flaw::IgnoresRetryAfter,
            "the server is not asked again before it wants to be",
        ),
        (
            Flaw::FiresEarly,
            "a timeout acts when it is due, and not before",
        ),
        (
            Flaw::HidesDeadline,
            "what is posted or waited for has a deadline",
        ),
        (
            Flaw::ForgetsTimeouts,
            "every message has its outcome, unless the session is gone",
        ),
    ] {
        breaks(|| OutboxModel::sized(Size::Small).with(flaw), name);
    }
    breaks(
        || OutboxModel::sized(Size::Quick).with(Flaw::TellsTwice),
        "an outcome comes once and is true",
    );
}

#[test]
fn relay_versioned() {
    use relay_versioned::Flaw;
    for (flaw, name) in [
        (Flaw::AsksTwice, "one attempt is under way at most"),
        (Flaw::MergesOnNothing, "no write of anybody's is lost"),
        (Flaw::ReadsNull, "what cannot be read is never written over"),
        (
            Flaw::BelievesSilence,
            "an outcome comes once, in order, and is true",
        ),
        (
            Flaw::TellsTwice,
            "an outcome comes once, in order, and is true",
        ),
        (
            Flaw::MislabelsVersions,
            "what is known is what the server had under its version",
        ),
        (Flaw::HidesDeadline, "what waits has a deadline"),
        (
            Flaw::SlowDeadline,
            "an update has its outcome by its deadline",
        ),
        (
            Flaw::FiresEarly,
            "a timeout acts when it is due, and not before",
        ),
        (Flaw::HidesEnd, "after the end nothing is attempted"),
        (
            Flaw::ForgetsTimeouts,
            "every update has its outcome, and the next begins",
        ),
    ] {
        breaks(|| VersionedModel::sized(Size::Small).with(flaw), name);
    }
    breaks(
        || VersionedModel::sized(Size::Deep).with(Flaw::UnboundedUpdates),
        "an update is refused when too many wait and only then",
    );
}

#[test]
fn relay_link() {
    use relay_link::Flaw;
    for (flaw, name) in [
        (
            Flaw::ForgetsHangup,
            "one transport lives at most, and none after the end",
        ),
        (
            Flaw::HidesDialDeadline,
            "no state without a deadline but before the connect and after the end",
        ),
        (
            Flaw::IgnoresEpochs,
            "late events of a replaced transport change nothing",
        ),
        (Flaw::Reopens, "closed stays closed"),
        (
            Flaw::TrustsSilence,
            "a connection whose server is silent is left in time",
        ),
        (Flaw::HidesConnected, "the caller hears what happened"),
        (
            Flaw::HidesStale,
            "the caller hears how long the server may hold on to the connection before",
        ),
        (
            Flaw::FirstFailureEnds,
            "only the user, a refusal, another version, a spent budget or a hopeless first dial ends it",
        ),
        (
            Flaw::ProvesByOpening,
            "dials without a proof of health are bounded",
        ),
        (
            Flaw::IgnoresRetryAfter,
            "delays are those of the policy and of Retry-After",
        ),
        (
            Flaw::FiresEarly,
            "a timeout acts when it is due, and not before",
        ),
        (
            Flaw::ForgetsTimeouts,
            "it is open in the end, or it has ended",
        ),
        (
            Flaw::ForgetsTimeouts,
            "a server that answers nothing is left",
        ),
        (Flaw::ForgetsHangup, "no transport is left after the end"),
        (
            Flaw::ForgetsOpened,
            "a connection stays reachable, unless it has ended",
        ),
    ] {
        breaks(|| LinkModel::ends(Size::Small).with(flaw), name);
    }
    for (flaw, name) in [
        (Flaw::SkipsPongs, "every heartbeat is answered, once"),
        (Flaw::HidesBeats, "a connection ends for its cause alone"),
        (
            Flaw::HidesSleep,
            "a sleep makes the budgets whole and probes or dials at once",
        ),
    ] {
        breaks(|| LinkModel::ends(Size::Quick).with(flaw), name);
    }
    // An attempt of another number takes both budgets.
    breaks(
        || LinkModel::ends(Size::Deep).with(Flaw::ProvesByOpening),
        "budgets are given back by proof of health, by a sleep or by the caller alone",
    );
    for (flaw, name) in [
        (
            Flaw::SkipsJoin,
            "the authentication comes first on each connection, and the rest after the server's consent",
        ),
        (
            Flaw::WritesTwice,
            "what was taken is written once, in order, on the connection it was taken for",
        ),
        (
            Flaw::LosesFrames,
            "what was taken is written once, in order, on the connection it was taken for",
        ),
        (
            Flaw::AcksTwice,
            "an acknowledgement has one outcome, which is true",
        ),
        (
            Flaw::HidesLost,
            "an acknowledgement has one outcome, which is true",
        ),
        (
            Flaw::SlowAcks,
            "what is to be acknowledged has its outcome by its deadline",
        ),
        (
            Flaw::ForgetsTimeouts,
            "every acknowledgement has its outcome",
        ),
    ] {
        breaks(|| LinkModel::acks(Size::Small).with(flaw), name);
    }
    for (flaw, name) in [
        (
            Flaw::UnboundedBooks,
            "an event is refused when there is no connection or no room, and only then",
        ),
        (Flaw::UnboundedBooks, "what waits is bounded"),
    ] {
        breaks(|| LinkModel::acks(Size::Quick).with(flaw), name);
    }
}
