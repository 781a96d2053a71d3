//! Every property can fail: each deliberate bug is found as a counterexample to the property
//! that it breaks, by both searches where the property is an invariant.

use std::fmt::Debug;
use std::hash::Hash;

use hallway_proofs::check::{Size, broken};
use hallway_proofs::models::admission::{self, AdmissionModel};
use hallway_proofs::models::connection::{self, ConnectionModel};
use hallway_proofs::models::crowd::{self, CrowdModel};
use hallway_proofs::models::exchange::{self, ExchangeModel};
use hallway_proofs::models::inbox::{self, InboxModel};
use hallway_proofs::models::link::{self, LinkModel};
use hallway_proofs::search::{Proof, Until, search};
use stateright::{Checker, HasDiscoveries};

/// Asserts that `model` breaks the property `name`, and returns a shortest way to do so.
fn breaks<M>(model: impl Fn() -> M, name: &'static str) -> Vec<String>
where
    M: Proof + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq + Send + Sync,
{
    let findings = search(&model(), Until::This(name));
    let failure = findings
        .failures
        .iter()
        .find(|failure| failure.name == name);
    let names = findings.failures.iter().map(|failure| failure.name);
    let names = names.collect::<Vec<_>>();
    let failure = failure.unwrap_or_else(|| panic!("{name} holds; broken: {names:?}"));
    if model()
        .properties()
        .iter()
        .any(|property| property.name == name)
    {
        let found = HasDiscoveries::AllOf([name].into());
        let checker = model().checker().finish_when(found).spawn_bfs().join();
        assert!(broken(&checker).contains(&name), "stateright misses {name}");
    }
    println!("{name}: {:?}", failure.trace);
    failure.trace.clone()
}

#[test]
fn connection() {
    use connection::Flaw;
    for (flaw, name) in [
        (Flaw::ChecksNoToken, "nothing is kept without the token"),
        (Flaw::PushesTwice, "no message is kept twice"),
        (
            Flaw::OkWithoutPush,
            "an id answered ok is kept exactly once",
        ),
        (
            Flaw::PongsToAll,
            "answers follow the lines that they answer",
        ),
        (Flaw::RefusesForNothing, "no refusal without its cause"),
        (Flaw::SecondError, "one error frame and nothing after it"),
        (Flaw::TakesAfterError, "nothing is taken after an error"),
        (Flaw::Reopens, "closed stays closed"),
        (Flaw::ChangesReason, "a reason to close stays"),
        (
            Flaw::DropsFramesAtEnd,
            "a clean end means that all was answered",
        ),
        (Flaw::NoClosingDeadline, "no state is without a deadline"),
        (
            Flaw::NoClosingDeadline,
            "every connection ends and hangs up",
        ),
        (Flaw::NoAuthDeadline, "authentication is timely"),
        (Flaw::NoIdleDeadline, "silence is bounded"),
        (Flaw::SlowClosing, "closing is bounded"),
        (Flaw::FiresEarly, "a timeout acts once, when it is due"),
        (Flaw::HangsUpAgain, "each action is asked for once"),
    ] {
        breaks(|| ConnectionModel::sized(Size::Small).with(flaw), name);
    }
    breaks(
        || ConnectionModel::narrow(Size::Quick).with(Flaw::UnboundedOutput),
        "output is bounded",
    );
}

#[test]
fn exchange() {
    use exchange::Flaw;
    for (flaw, name) in [
        (Flaw::PongForMessage, "each outcome is the one that is due"),
        (Flaw::RefusesAll, "each outcome is the one that is due"),
        (Flaw::LosesOutcome, "each outcome is the one that is due"),
        (
            Flaw::OutcomeTwice,
            "outcomes come once, in the order of the requests",
        ),
        (Flaw::WrittenWhenQueued, "written means written"),
        (Flaw::Reopens, "closed stays closed"),
        (Flaw::NoDeadline, "what waits has a deadline"),
        (
            Flaw::SlowDeadline,
            "a request has its outcome by its deadline",
        ),
        (Flaw::NoDeadline, "every request has its outcome"),
        (Flaw::FiresEarly, "a timeout acts once, when it is due"),
    ] {
        breaks(|| ExchangeModel::sized(Size::Small).with(flaw), name);
    }
    for (flaw, name) in [
        (Flaw::UnboundedRequests, "requests are bounded"),
        (
            Flaw::LeavesSome,
            "a request that is not taken changes nothing",
        ),
    ] {
        breaks(|| ExchangeModel::eager(Size::Small).with(flaw), name);
    }
}

#[test]
fn link() {
    use link::Flaw;
    for (flaw, name) in [
        (Flaw::ChecksNoToken, "nothing is kept without the token"),
        (Flaw::Duplicates, "no message is kept twice"),
        (
            Flaw::OkWithoutPush,
            "an accepted message is kept exactly once, under its id",
        ),
        (Flaw::NoSendDeadline, "what waits has a deadline"),
        (
            Flaw::SlowSendDeadline,
            "a request has its outcome by its deadline",
        ),
    ] {
        breaks(|| LinkModel::calm(Size::Small).with(flaw), name);
    }
    breaks(
        || LinkModel::calm(Size::Quick).with(Flaw::SwapsAnswers),
        "a request gets the answer of its kind",
    );
    breaks(
        || LinkModel::calm(Size::Quick).with(Flaw::SwapsOutcomes),
        "outcomes come once, in the order of the requests",
    );
    breaks(
        || LinkModel::rough(Size::Quick).with(Flaw::WritesUntold),
        "what was not written is never kept",
    );
    for (flaw, name) in [
        (Flaw::NoSendDeadline, "every request has its outcome"),
        (
            Flaw::NoClosingDeadline,
            "every connection ends and hangs up",
        ),
    ] {
        breaks(|| LinkModel::calm(Size::Small).with(flaw), name);
    }
    breaks(
        || LinkModel::rough(Size::Small).with(Flaw::AnswersLate),
        "what was refused is never kept",
    );
}

#[test]
fn inbox() {
    use inbox::Flaw;
    for (flaw, name) in [
        (
            Flaw::Unbounded,
            "a message is refused when it must be and only then",
        ),
        (
            Flaw::RefusesWhatFits,
            "a message is refused when it must be and only then",
        ),
        (
            Flaw::OutOfOrder,
            "entries come out once, in order, without gaps",
        ),
        (
            Flaw::BurnsIds,
            "entries come out once, in order, without gaps",
        ),
        (
            Flaw::ProcessesOne,
            "entries come out once, in order, without gaps",
        ),
        (Flaw::KeepsBytes, "counts and bytes are exact"),
        (Flaw::Unbounded, "counts and bytes are bounded"),
        (Flaw::OutOfOrder, "what is pending is what is held"),
        (Flaw::KeepsBytes, "an inbox can always be emptied"),
    ] {
        breaks(|| InboxModel::sized(Size::Small).with(flaw), name);
    }
}

#[test]
fn admission() {
    use admission::Flaw;
    for (flaw, name) in [
        (
            Flaw::UnboundedPeer,
            "served, evicted and refused are those who must be",
        ),
        (
            Flaw::UnboundedWaiting,
            "served, evicted and refused are those who must be",
        ),
        (Flaw::ForgetsAuthentication, "the book counts who is there"),
        (Flaw::UnboundedPeer, "every quota holds"),
        (Flaw::UnboundedWaiting, "every quota holds"),
        (Flaw::UnboundedRefused, "every quota holds"),
        (Flaw::LeaksRefused, "every place is given back"),
        (Flaw::LeaksServed, "every place is given back"),
    ] {
        breaks(|| AdmissionModel::sized(Size::Small).with(flaw), name);
    }
}

#[test]
fn crowd() {
    use crowd::Flaw;
    for (flaw, name) in [
        (
            Flaw::ForgetsRelease,
            "the book is about the connections that are there",
        ),
        (
            Flaw::ForgetsAuthentication,
            "the book is about the connections that are there",
        ),
        (Flaw::TrustsAtOnce, "silent clients lock nobody out"),
        (Flaw::EvictsSilently, "who loses its place is told so"),
        (Flaw::KeepsTheUnwelcome, "no more connections than places"),
        (Flaw::ForgetsRelease, "every place is given back"),
        (Flaw::NoClosingDeadline, "every place is given back"),
    ] {
        breaks(|| CrowdModel::cramped(Size::Small).with(flaw), name);
    }
}
