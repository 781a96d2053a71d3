//! Each property of the models of the subscription can fail: a deliberate bug each.

use hallway_proofs::check::{Size, broken};
use hallway_proofs::models::subscription::{Flaw, SubscriptionModel};
use hallway_proofs::search::{Until, search};
use stateright::{Checker, Model};

fn breaks(model: fn(Size) -> SubscriptionModel, size: Size, flaw: Flaw, name: &str) {
    let flawed = || model(size).with(flaw);
    let findings = search(&flawed(), Until::This(name));
    let failure = findings
        .failures
        .iter()
        .find(|failure| failure.name == name);
    let failure = failure.unwrap_or_else(|| panic!("{flaw:?} does not break {name:?}"));
    assert!(
        !failure.trace.is_empty(),
        "{name:?} is broken from the start"
    );
    let invariant = flawed()
        .properties()
        .iter()
        .any(|property| property.name == name);
    if invariant && findings.states < 20_000 {
        let checker = flawed()
            .checker()
            .target_state_count(200_000)
            .spawn_bfs()
            .join();
        assert!(
            broken(&checker).contains(&name),
            "stateright misses {name:?}"
        );
    }
}

#[test]
fn policy() {
    for (flaw, name) in [
        (
            Flaw::ProvesByOpening,
            "dials without a proof of health are bounded",
        ),
        (
            Flaw::FirstFailureEnds,
            "only the user, the token, a spent budget or a hopeless first dial ends it",
        ),
        (
            Flaw::IgnoresEpochs,
            "late events of a replaced transport change nothing",
        ),
        (
            Flaw::ForgetsHangup,
            "one transport lives at most, and none after the end",
        ),
        (
            Flaw::ForgetsTimeouts,
            "it is connected in the end, or it has ended",
        ),
        (
            Flaw::ForgetsTimeouts,
            "a server that answers no ping is left",
        ),
        (
            Flaw::IgnoresRetryAfter,
            "delays are those of the policy and of Retry-After",
        ),
        (
            Flaw::HidesSleep,
            "a sleep makes the budgets whole and probes or dials at once",
        ),
        (Flaw::HidesConnected, "the caller hears what happened"),
        (
            Flaw::HidesDialDeadline,
            "no state without a deadline but before the connect and after the end",
        ),
        (
            Flaw::ForgetsHangup,
            "an end stays reachable, with no transport left",
        ),
    ] {
        breaks(SubscriptionModel::policy, Size::Small, flaw, name);
    }
    breaks(
        SubscriptionModel::policy,
        Size::Quick,
        Flaw::ProvesByOpening,
        "budgets are given back by proof of health, by a sleep or by the caller alone",
    );
}

#[test]
fn forced() {
    breaks(
        SubscriptionModel::forced,
        Size::Small,
        Flaw::ForcesByBreaking,
        "budgets are given back by proof of health, by a sleep or by the caller alone",
    );
}

#[test]
fn queues() {
    for (flaw, name) in [
        (
            Flaw::LosesFrames,
            "what was accepted is sent in order, again after a break, and never twice",
        ),
        (Flaw::LosesFrames, "the machine knows what the caller knows"),
        (
            Flaw::HidesDropped,
            "requests of a lost connection are dropped and the caller is told",
        ),
    ] {
        breaks(SubscriptionModel::queues, Size::Small, flaw, name);
    }
}
