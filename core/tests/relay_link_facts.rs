//! Facts of the relay's link that are rare, and the words for each of its failures.

use std::collections::BTreeSet;
use std::time::Duration;

use hallway_core::backoff::{Epoch, GaveUp, Policy};
use hallway_core::relay::limits::{Limits, LimitsBuilder};
use hallway_core::relay::link::{
    AckFailure, Action, Auth, Cause, CloseReason, DialFailure, EmitError, Event, Ignored, Link,
    Refusal, Status, Violation,
};
use hallway_core::relay::raw::Raw;
use hallway_core::relay::{engineio, socketio};
use hallway_core::{Instant, Token};

const HELLO: &str = r#"0{"sid":"e","pingInterval":15000,"pingTimeout":45000,"maxPayload":1000}"#;
const JOINED: &str = r#"40{"sid":"s"}"#;
const SECOND: Duration = Duration::from_secs(1);

fn at(seconds: u64) -> Instant {
    Instant::from_nanos(seconds * 1_000_000_000)
}

fn link(limits: LimitsBuilder) -> Link {
    let token = Token::parse("secret-token").expect("short");
    let auth = Auth::session(&token, "S", None);
    let limits = limits.build().expect("in range");
    Link::new(&limits, auth, Policy::PERSISTENT, 7)
}

/// A link that joins, and its epoch.
fn joining(limits: LimitsBuilder, hello: &str) -> (Link, Epoch) {
    let mut link = link(limits);
    link.connect(at(0));
    let Some(Action::Dial(epoch)) = link.poll_action() else {
        panic!()
    };
    link.handle_opened(epoch);
    assert_eq!(link.handle_message(epoch, hello, at(0)), None);
    (link, epoch)
}

/// A link that is open, with nothing to be written.
fn open(limits: LimitsBuilder) -> (Link, Epoch) {
    let (mut link, epoch) = joining(limits, HELLO);
    link.handle_transmitted(epoch, at(0));
    let event = link.handle_message(epoch, JOINED, at(0));
    assert!(matches!(event, Some(Event::Connected { .. })));
    (link, epoch)
}

fn cause(event: Option<Event<'_>>) -> Cause {
    match event {
        Some(Event::Reconnecting { cause, .. }) => cause,
        other => panic!("{other:?}"),
    }
}

/// The caller heard of no dial: there is nothing to hang up.
#[test]
fn a_dial_that_nobody_heard_of_is_forgotten() {
    let mut idle = link(Limits::builder());
    idle.connect(at(0));
    let mut forced = idle.clone();
    assert_eq!(cause(forced.reconnect(at(0))), Cause::Forced);
    assert_eq!(forced.poll_action(), None);
    let due = forced.poll_timeout().expect("a dial");
    assert_eq!(forced.handle_timeout(due), None);
    let Some(Action::Dial(second)) = forced.poll_action() else {
        panic!()
    };
    assert_eq!(second.number(), 2);
    // A dial that was not asked for has no facts, either.
    let first = idle.clone().poll_action();
    let Some(Action::Dial(first)) = first else {
        panic!()
    };
    idle.handle_opened(first);
    assert_eq!(idle.transport(), None);
    let failure = DialFailure::Unreachable;
    assert_eq!(idle.handle_dial_failed(first, failure, at(1)), None);
    assert!(matches!(idle.close(), Some(Event::Closed { .. })));
    assert_eq!(idle.poll_action(), None);
}

#[test]
fn a_second_connect_changes_nothing() {
    let (mut link, epoch) = open(Limits::builder());
    let before = link.clone();
    link.connect(at(1));
    assert_eq!(link, before);
    assert_eq!((link.poll_action(), link.transport()), (None, Some(epoch)));
}

/// Lets the next dial fail; how many retries there were.
fn fail(link: &mut Link) -> u32 {
    let due = link.poll_timeout().expect("a dial");
    link.handle_timeout(due);
    let Some(Action::Dial(epoch)) = link.poll_action() else {
        panic!()
    };
    match link.handle_dial_failed(epoch, DialFailure::Unreachable, due) {
        Some(Event::Reconnecting { attempt, .. }) => attempt,
        other => panic!("{other:?}"),
    }
}

/// Asked for, or after a sleep, it begins anew.
#[test]
fn budgets_are_whole_after_what_is_forced_and_after_a_sleep() {
    let mut link = link(Limits::builder());
    link.connect(at(0));
    let Some(Action::Dial(epoch)) = link.poll_action() else {
        panic!()
    };
    let failure = DialFailure::Unreachable;
    link.handle_dial_failed(epoch, failure, at(0));
    assert_eq!([fail(&mut link), fail(&mut link)], [2, 3]);
    let now = link.poll_timeout().expect("a dial");
    link.reconnect(now);
    assert_eq!([fail(&mut link), fail(&mut link)], [1, 2]);
    let now = link.poll_timeout().expect("a dial");
    assert_eq!(cause(link.handle_wake(now)), Cause::Slept);
    let Some(Action::Dial(epoch)) = link.poll_action() else {
        panic!()
    };
    assert!(matches!(
        link.handle_dial_failed(epoch, failure, now),
        Some(Event::Reconnecting { attempt: 1, .. })
    ));
}

/// An event or an acknowledgement proves that a connection was of use, however short it was.
#[test]
fn traffic_is_proof_of_health() {
    for (frame, expected) in [
        (None, 3),
        (Some("2"), 3),
        (Some(r#"42["e"]"#), 1),
        (Some("430[]"), 1),
    ] {
        let mut link = link(Limits::builder());
        link.connect(at(0));
        let Some(Action::Dial(first)) = link.poll_action() else {
            panic!()
        };
        link.handle_dial_failed(first, DialFailure::Unreachable, at(0));
        assert_eq!(fail(&mut link), 2);
        let due = link.poll_timeout().expect("a dial");
        link.handle_timeout(due);
        let Some(Action::Dial(epoch)) = link.poll_action() else {
            panic!()
        };
        link.handle_opened(epoch);
        link.handle_message(epoch, HELLO, due);
        link.handle_message(epoch, JOINED, due);
        link.emit_with_ack("e", None, due).expect("room");
        if let Some(frame) = frame {
            link.handle_message(epoch, frame, due);
        }
        let event = link.handle_closed(epoch, None, due);
        let Some(Event::Reconnecting { attempt, .. }) = event else {
            panic!("{event:?}")
        };
        assert_eq!(attempt, expected, "{frame:?}");
    }
}

#[test]
fn only_the_dial_that_is_under_way_opens() {
    let (mut link, epoch) = open(Limits::builder());
    link.handle_opened(epoch);
    assert_eq!(link.status(), Status::Open, "once");
    assert_eq!(cause(link.reconnect(at(1))), Cause::Forced);
    link.handle_timeout(link.poll_timeout().unwrap());
    assert_eq!(link.poll_action(), Some(Action::Hangup(epoch)));
    assert!(matches!(link.poll_action(), Some(Action::Dial(_))));
    link.handle_opened(epoch);
    assert_eq!(
        (link.status(), link.transport()),
        (Status::Connecting, None)
    );
}

/// A heartbeat that is due before the consent is missed before it.
#[test]
fn a_silent_server_is_given_up_while_it_joins() {
    let hello = r#"0{"sid":"e","pingInterval":1000,"pingTimeout":2000}"#;
    let (mut link, _) = joining(Limits::builder(), hello);
    assert_eq!(link.poll_timeout(), Some(at(3)));
    assert_eq!(
        link.handle_timeout(Instant::from_nanos(2_999_999_999)),
        None
    );
    assert_eq!(cause(link.handle_timeout(at(3))), Cause::NoHeartbeat);
}

/// 9.12: a probe of before the sleep has its whole time again.
#[test]
fn a_sleep_gives_a_probe_its_time_again() {
    let (mut link, epoch) = open(Limits::builder());
    assert_eq!(link.handle_timeout(at(10)), None);
    assert_eq!(link.poll_transmit(epoch), Some(r#"420["ping"]"#));
    assert_eq!(link.poll_timeout(), Some(at(15)));
    assert_eq!(link.handle_wake(at(14)), None);
    assert_eq!(link.poll_timeout(), Some(at(19)));
    assert_eq!(link.queued(), 1, "the same");
    // And as much as the server's patience, counted from there.
    for second in 15..90 {
        link.handle_bytes(epoch, at(second));
    }
    link.handle_message(epoch, "2", at(59));
    assert_eq!(link.poll_timeout(), Some(at(14 + 60)));
    assert_eq!(cause(link.handle_timeout(at(74))), Cause::NoAnswer);
}

#[test]
fn bytes_of_another_epoch_are_no_sign_of_life() {
    let (mut link, epoch) = open(Limits::builder());
    link.handle_timeout(at(10));
    link.handle_bytes(Epoch::default(), at(14));
    assert_eq!(link.poll_timeout(), Some(at(15)));
    link.handle_bytes(epoch, at(14));
    assert_eq!(link.poll_timeout(), Some(at(19)));
}

/// An acknowledgement runs out between two probes, another while one is under way, and neither
/// is a probe's end.
#[test]
fn acknowledgements_run_out_beside_probes() {
    let (mut link, epoch) = open(Limits::builder().ack_timeout(4 * SECOND));
    let first = link.emit_with_ack("a", None, at(1)).expect("room");
    let why = AckFailure::TimedOut;
    assert_eq!(link.handle_timeout(at(5)), None);
    assert_eq!(
        link.poll_event(),
        Some(Event::AckLost { asked: first, why })
    );
    link.handle_transmitted(epoch, at(5));
    assert_eq!(link.poll_transmit(epoch), None, "no probe");
    let second = link.emit_with_ack("b", None, at(9)).expect("room");
    let third = link.emit_with_ack("c", None, at(11)).expect("room");
    assert_eq!(link.handle_timeout(at(10)), None);
    assert_eq!(link.handle_timeout(at(13)), None);
    assert_eq!(
        link.poll_event(),
        Some(Event::AckLost { asked: second, why })
    );
    assert_eq!(link.poll_event(), None);
    assert_eq!((link.status(), link.queued()), (Status::Open, 3));
    let third_acked = link.handle_message(epoch, "432[]", at(13));
    let argument = None;
    assert_eq!(
        third_acked,
        Some(Event::Acked {
            asked: third,
            argument
        })
    );
}

/// The server's own run out one by one, too.
#[test]
fn what_is_owed_runs_out_one_by_one() {
    let (mut link, epoch) = open(Limits::builder().answer_timeout(4 * SECOND));
    let owe = |link: &mut Link, id, now| {
        let frame = format!(r#"42{id}["e"]"#);
        match link.handle_message(epoch, &frame, now) {
            Some(Event::Received {
                owed: Some(owed), ..
            }) => owed,
            other => panic!("{other:?}"),
        }
    };
    let first = owe(&mut link, 1, at(0));
    let second = owe(&mut link, 2, at(1));
    assert_eq!(link.handle_timeout(at(4)), None);
    let why = AckFailure::TimedOut;
    assert_eq!(
        link.poll_event(),
        Some(Event::OwedLost { owed: first, why })
    );
    assert_eq!(link.poll_event(), None);
    assert_eq!(link.answer(first, None), Err(EmitError::UnknownRequest));
    assert_eq!(link.answer(second, None), Ok(()));
    assert_eq!(link.poll_transmit(epoch), Some("432[]"));
}

/// The longest 64-bit number is the longest id that is believed.
#[test]
fn ids_of_the_servers_are_bounded() {
    let (mut link, epoch) = open(Limits::builder());
    let longest = u64::MAX.to_string();
    let frame = format!(r#"42{longest}["e"]"#);
    let event = link.handle_message(epoch, &frame, at(0));
    let Some(Event::Received {
        owed: Some(owed), ..
    }) = event
    else {
        panic!("{event:?}")
    };
    assert_eq!(link.answer(owed, None), Ok(()));
    assert_eq!(link.poll_transmit(epoch), Some(&*format!("43{longest}[]")));
    let frame = format!(r#"42{longest}0["e"]"#);
    let event = link.handle_message(epoch, &frame, at(0));
    assert_eq!(event, Some(Event::Ignored(Ignored::BadId)));
}

#[test]
fn a_ping_carries_as_much_as_a_control_frame() {
    let (mut link, epoch) = open(Limits::builder());
    let data = "x".repeat(125);
    assert_eq!(link.handle_message(epoch, &format!("2{data}"), at(1)), None);
    assert_eq!(link.poll_transmit(epoch), Some(&*format!("3{data}")));
    let longer = format!("2{data}x");
    let event = link.handle_message(epoch, &longer, at(1));
    assert_eq!(cause(event), Cause::Violation(Violation::LongPing));
}

/// 2.3: until its own time to hear of us is over, and no longer.
#[test]
fn the_server_may_hold_a_connection_for_living_as_long_as_its_patience() {
    for (joined, stale_until) in [(59, Some(at(60))), (60, None)] {
        let (mut link, epoch) = open(Limits::builder());
        link.handle_closed(epoch, None, at(1));
        link.handle_timeout(link.poll_timeout().expect("a dial"));
        let Some(Action::Dial(epoch)) = link.poll_action() else {
            panic!()
        };
        link.handle_opened(epoch);
        link.handle_message(epoch, HELLO, at(joined));
        let event = link.handle_message(epoch, JOINED, at(joined));
        assert_eq!(event, Some(Event::Connected { stale_until }));
    }
}

#[test]
fn an_answer_waits_for_room() {
    let (mut link, epoch) = open(Limits::builder().max_queued_frames(1));
    let event = link.handle_message(epoch, r#"425["e"]"#, at(0));
    let Some(Event::Received {
        owed: Some(owed), ..
    }) = event
    else {
        panic!("{event:?}")
    };
    link.emit("x", None).expect("room");
    assert_eq!(link.answer(owed, None), Err(EmitError::Full));
    link.handle_transmitted(epoch, at(0));
    assert_eq!(link.answer(owed, None), Ok(()));
    assert_eq!(link.answer(owed, None), Err(EmitError::UnknownRequest));
}

/// Its own frames take none of the room of packets, neither when they come nor when they go.
#[test]
fn pongs_and_probes_have_room_of_their_own() {
    let (mut link, epoch) = open(Limits::builder().max_queued_frames(1));
    link.handle_message(epoch, "2", at(1));
    link.handle_message(epoch, "2", at(2));
    link.handle_timeout(at(10));
    assert_eq!(link.emit("x", None), Ok(()));
    assert_eq!(link.emit("y", None), Err(EmitError::Full));
    for frame in ["3", r#"420["ping"]"#] {
        assert_eq!(link.poll_transmit(epoch), Some(frame));
        link.handle_transmitted(epoch, at(10));
        assert_eq!(link.emit("y", None), Err(EmitError::Full));
    }
    link.handle_transmitted(epoch, at(10));
    assert_eq!(link.emit("y", None), Ok(()));
}

/// The bytes that wait are counted by packet, and given back.
#[test]
fn bytes_that_wait_are_counted() {
    let limits = Limits::builder().max_frame_bytes(256).max_queued_bytes(256);
    let (mut link, epoch) = open(limits);
    let text = format!("\"{}\"", "x".repeat(120));
    let long = Raw::parse(&text).expect("JSON");
    // 42["e","…"]: 8 bytes around the argument.
    let each = text.len() + 8;
    assert_eq!(link.emit("e", Some(long)), Ok(()));
    let rest = format!("\"{}\"", "x".repeat(256 - each - 8 - 2 + 1));
    assert_eq!(link.emit("e", Raw::parse(&rest)), Err(EmitError::Full));
    assert_eq!(
        link.emit("e", Raw::parse(&format!("{}\"", &rest[..rest.len() - 2]))),
        Ok(())
    );
    assert_eq!(link.emit("e", None), Err(EmitError::Full));
    link.handle_transmitted(epoch, at(0));
    assert_eq!(link.emit("e", Some(long)), Ok(()));
    assert_eq!(link.emit("e", None), Err(EmitError::Full));
}

#[test]
fn frames_are_bounded_by_the_limits_until_the_server_says_less() {
    let (link, _) = joining(Limits::builder().max_frame_bytes(5_000), HELLO);
    assert_eq!(link.max_frame_bytes(), 5_000);
    let (link, _) = open(Limits::builder().max_frame_bytes(5_000));
    assert_eq!(link.max_frame_bytes(), 1_000);
    let (link, _) = open(Limits::builder().max_frame_bytes(500));
    assert_eq!(link.max_frame_bytes(), 500);
}

/// Before the consent nothing waits for an acknowledgement, and after it no consent counts.
#[test]
fn packets_before_the_consent_and_after_it_are_of_no_meaning() {
    let meaningless = Some(Event::Ignored(Ignored::Meaningless));
    let (mut link, epoch) = joining(Limits::builder(), HELLO);
    for frame in ["430[]", r#"42["e"]"#, "42"] {
        assert_eq!(link.handle_message(epoch, frame, at(0)), meaningless);
    }
    // A refusal without words may pass.
    let refused = cause(link.handle_message(epoch, "44{}", at(0)));
    assert_eq!(refused, Cause::Refused(Refusal::Other));
    let (mut link, epoch) = open(Limits::builder());
    for frame in [
        JOINED,
        r#"44{"message":"Invalid authentication token"}"#,
        "42",
    ] {
        assert_eq!(link.handle_message(epoch, frame, at(0)), meaningless);
    }
    assert_eq!(link.ignored(), 3);
}

#[test]
fn every_failure_has_its_words() {
    let violations = [
        Violation::Engine(engineio::Violation::Empty),
        Violation::Socket(socketio::Violation::InvalidPayload),
        Violation::Binary,
        Violation::OutOfTurn,
        Violation::LongPing,
    ];
    let refusals = [
        Refusal::MissingToken,
        Refusal::InvalidToken,
        Refusal::MissingSession,
        Refusal::MissingMachine,
        Refusal::InvalidNamespace,
        Refusal::Other,
    ];
    let causes = [
        Cause::DialFailed(DialFailure::Unreachable),
        Cause::DialTimedOut,
        Cause::JoinTimedOut,
        Cause::Incompatible,
        Cause::ConnectionClosed(None),
        Cause::ConnectionClosed(Some(1009)),
        Cause::ServerDisconnected,
        Cause::MessageTooLong,
        Cause::NoHeartbeat,
        Cause::NoAnswer,
        Cause::Slept,
        Cause::Forced,
    ];
    let mut words = BTreeSet::new();
    words.extend(violations.iter().map(ToString::to_string));
    words.extend(refusals.iter().map(ToString::to_string));
    words.extend(causes.iter().map(ToString::to_string));
    let acks = [AckFailure::TimedOut, AckFailure::Disconnected];
    words.extend(acks.iter().map(ToString::to_string));
    let emits = [
        EmitError::NotConnected,
        EmitError::Full,
        EmitError::TooLong { bytes: 8, limit: 7 },
        EmitError::ReservedName,
        EmitError::UnknownRequest,
        EmitError::Closed(CloseReason::User),
    ];
    words.extend(emits.iter().map(ToString::to_string));
    words.insert(CloseReason::User.to_string());
    let all = violations.len() + refusals.len() + causes.len() + acks.len() + emits.len() + 1;
    assert_eq!(words.len(), all, "{words:?}");
    assert!(!words.contains(""));

    // What is inside a failure is said in its words.
    let (gone, why) = (Cause::Slept, GaveUp::Retries);
    let gave_up = CloseReason::GaveUp { why, cause: gone }.to_string();
    assert!(gave_up.contains(&why.to_string()) && gave_up.contains(&gone.to_string()));
    for (outer, inner) in [
        (
            Cause::Refused(Refusal::InvalidToken).to_string(),
            Refusal::InvalidToken.to_string(),
        ),
        (
            Cause::Violation(Violation::Binary).to_string(),
            Violation::Binary.to_string(),
        ),
        (
            CloseReason::Refused(Refusal::InvalidToken).to_string(),
            Refusal::InvalidToken.to_string(),
        ),
        (
            CloseReason::DialRefused(DialFailure::Unreachable).to_string(),
            DialFailure::Unreachable.to_string(),
        ),
        (
            CloseReason::Incompatible.to_string(),
            Cause::Incompatible.to_string(),
        ),
    ] {
        assert_eq!(outer, inner);
    }
}
