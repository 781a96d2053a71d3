//! The relay's link, fact by fact (relay.md §1, §9).

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

const HELLO: &str =
    r#"0{"sid":"e","upgrades":[],"pingInterval":15000,"pingTimeout":45000,"maxPayload":1000}"#;
const JOINED: &str = r#"40{"sid":"s"}"#;
const SECOND: Duration = Duration::from_secs(1);

/// A link, its clock, and what it has asked for.
struct Driven {
    link: Link,
    now: Instant,
    dials: u32,
    live: Option<Epoch>,
}

impl Driven {
    fn with(limits: LimitsBuilder, policy: Policy) -> Self {
        let token = Token::parse("secret-token").expect("short");
        let auth = Auth::session(&token, "S", None);
        let limits = limits.build().expect("in range");
        let mut driven = Self {
            link: Link::new(&limits, auth, policy, 7),
            now: Instant::from_nanos(5),
            dials: 0,
            live: None,
        };
        assert_eq!(driven.link.status(), Status::Idle);
        assert_eq!(driven.link.poll_timeout(), None);
        driven.link.connect(driven.now);
        driven.act();
        driven
    }

    fn new() -> Self {
        Self::with(Limits::builder(), Policy::PERSISTENT)
    }

    fn open() -> Self {
        Self::opened_with(Limits::builder())
    }

    fn opened_with(limits: LimitsBuilder) -> Self {
        let mut driven = Self::with(limits, Policy::PERSISTENT);
        driven.join();
        driven
    }

    /// Does what the link asks, and checks that one transport lives at most.
    fn act(&mut self) {
        while let Some(action) = self.link.poll_action() {
            match action {
                Action::Hangup(epoch) => assert_eq!(self.live.take(), Some(epoch)),
                Action::Dial(epoch) => {
                    assert_eq!(self.live.replace(epoch), None, "two transports");
                    self.dials += 1;
                    assert_eq!(epoch.number(), u64::from(self.dials));
                }
            }
        }
        let ended = matches!(self.link.status(), Status::Closed(_));
        assert_eq!(self.link.poll_timeout().is_none(), ended, "a deadline");
    }

    /// Opens the transport that was dialled, up to the connection.
    fn join(&mut self) {
        self.hello();
        assert_eq!(
            self.frames(),
            [r#"40{"token":"secret-token","clientType":"session-scoped","sessionId":"S"}"#]
        );
        let event = self.receive(JOINED);
        assert!(matches!(event, Some(Event::Connected { .. })), "{event:?}");
        assert_eq!(self.link.status(), Status::Open);
    }

    fn hello(&mut self) {
        let epoch = self.live.expect("a dial");
        self.link.handle_opened(epoch);
        self.act();
        assert_eq!(self.link.status(), Status::Connecting);
        assert_eq!(self.receive(HELLO), None);
    }

    fn receive<'a>(&mut self, frame: &'a str) -> Option<Event<'a>> {
        let epoch = self.live.expect("a transport");
        let event = self.link.handle_message(epoch, frame, self.now);
        self.act();
        event
    }

    fn closed(&mut self, code: Option<u16>) -> Option<Event<'static>> {
        let epoch = self.live.take().expect("a transport");
        let event = self.link.handle_closed(epoch, code, self.now);
        self.act();
        event
    }

    fn dial_failed(&mut self, failure: DialFailure) -> Option<Event<'static>> {
        let epoch = self.live.take().expect("a dial");
        let event = self.link.handle_dial_failed(epoch, failure, self.now);
        self.act();
        event
    }

    /// All frames that wait, written.
    fn frames(&mut self) -> Vec<String> {
        let Some(epoch) = self.live else {
            return Vec::new();
        };
        let mut frames = Vec::new();
        while let Some(frame) = self.link.poll_transmit(epoch) {
            frames.push(frame.to_owned());
            self.link.handle_transmitted(epoch, self.now);
        }
        frames
    }

    fn later(&mut self, span: Duration) {
        self.now = self.now.after(span);
    }

    /// Lets time pass until the link wants to be told.
    fn tick(&mut self) -> Option<Event<'static>> {
        self.now = self.now.max(self.link.poll_timeout().expect("a deadline"));
        let event = self.link.handle_timeout(self.now);
        self.act();
        event
    }

    fn elapsed(&self) -> Duration {
        self.now.since(Instant::from_nanos(5))
    }
}

fn cause(event: Option<Event<'_>>) -> Cause {
    match event {
        Some(Event::Reconnecting { cause, .. }) => cause,
        other => panic!("{other:?}"),
    }
}

fn closed(event: Option<Event<'_>>) -> CloseReason {
    match event {
        Some(Event::Closed { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

fn raw(text: &str) -> Raw<'_> {
    Raw::parse(text).expect("JSON")
}

/// Covers: R1.11, R1.27
#[test]
fn every_step_of_a_connection_has_its_deadline() {
    let mut driven = Driven::new();
    assert_eq!(cause(driven.tick()), Cause::DialTimedOut);
    assert_eq!(driven.elapsed(), 20 * SECOND);
    assert_eq!(driven.tick(), None);
    assert_eq!(driven.dials, 2);

    // The engine's first packet belongs to the dial.
    let began = driven.now;
    driven.later(5 * SECOND);
    driven.link.handle_opened(driven.live.unwrap());
    assert_eq!(cause(driven.tick()), Cause::DialTimedOut);
    assert_eq!(driven.now.since(began), 20 * SECOND);

    driven.tick();
    driven.hello();
    let began = driven.now;
    assert_eq!(cause(driven.tick()), Cause::JoinTimedOut);
    assert_eq!(driven.now.since(began), 20 * SECOND);
    assert!(driven.link.status().retries());

    driven.tick();
    driven.join();
}

/// Covers: R1.4, R1.5, R1.6
#[test]
fn heartbeats_are_answered_and_their_absence_is_the_end() {
    let mut driven = Driven::opened_with(Limits::builder().probe_interval(3_600 * SECOND));
    let began = driven.now;
    for _ in 0..5 {
        driven.later(15 * SECOND);
        assert_eq!(driven.receive("2"), None);
        assert_eq!(driven.frames(), ["3"]);
    }
    assert_eq!(driven.receive("2probe"), None);
    assert_eq!(driven.frames(), ["3probe"]);
    // Other traffic does not count.
    driven.later(59 * SECOND);
    assert!(driven.receive(r#"42["x"]"#).is_some());
    assert_eq!(cause(driven.tick()), Cause::NoHeartbeat);
    assert_eq!(driven.now.since(began), (75 + 60) * SECOND);

    // While it joins, too: a heartbeat may come before the consent.
    driven.tick();
    driven.hello();
    assert_eq!(driven.receive("2"), None);
    assert_eq!(driven.frames().len(), 2);
    assert!(matches!(
        driven.receive(JOINED),
        Some(Event::Connected { .. })
    ));
}

/// A server ends the connection of a client that sends one.
/// Covers: R1.7
#[test]
fn no_heartbeat_is_ever_ours() {
    let mut driven = Driven::open();
    let mut frames = Vec::new();
    for _ in 0..100 {
        driven.later(5 * SECOND);
        driven.receive("2");
        if driven.link.poll_timeout().unwrap() <= driven.now {
            assert_eq!(driven.tick(), None);
        }
        for frame in driven.frames() {
            if let Some(id) = frame
                .strip_prefix("42")
                .and_then(|rest| rest.split('[').next())
            {
                assert_eq!(driven.receive(&format!("43{id}[{{}}]")), None);
            }
            frames.push(frame);
        }
    }
    let pings = frames.iter().filter(|frame| frame.ends_with(r#"["ping"]"#));
    assert!(pings.count() > 20, "{frames:?}");
    assert!(frames.iter().all(|frame| frame.starts_with(['3', '4'])));
    assert_eq!(driven.link.status(), Status::Open);
}

/// 9.12: in seconds, and not in 60 of them.
/// Covers: R1.16, R1.18, R9.12a
#[test]
fn point_12_a_half_open_link_is_found_in_seconds() {
    let mut driven = Driven::open();
    driven.later(10 * SECOND);
    assert_eq!(driven.tick(), None);
    assert_eq!(driven.frames(), [r#"420["ping"]"#]);
    driven.later(SECOND);
    assert_eq!(driven.receive("430[{}]"), None);
    // Answered: the next is due an interval later, and has another id.
    let began = driven.now;
    assert_eq!(driven.tick(), None);
    assert_eq!(driven.now.since(began), 10 * SECOND);
    assert_eq!(driven.frames(), [r#"421["ping"]"#]);
    // The answer to the first is none to the second.
    assert_eq!(
        driven.receive("430[{}]"),
        Some(Event::Ignored(Ignored::UnknownAck))
    );
    let lost = cause(driven.tick());
    assert_eq!(lost, Cause::NoAnswer);
    assert_eq!(driven.now.since(began), 15 * SECOND);
    let Status::Waiting(cause) = driven.link.status() else {
        panic!()
    };
    assert_eq!(cause, lost);
}

#[test]
fn bytes_on_a_slow_link_are_signs_of_life_but_not_for_ever() {
    let mut driven = Driven::open();
    driven.tick();
    let began = driven.now;
    let epoch = driven.live.unwrap();
    while driven.link.status() == Status::Open {
        driven.later(4 * SECOND);
        if driven.link.poll_timeout().unwrap() <= driven.now {
            driven.tick();
        }
        driven.link.handle_bytes(epoch, driven.now);
    }
    let held = driven.now.since(began);
    assert!(held > 40 * SECOND && held <= 64 * SECOND, "{held:?}");
}

/// Covers: R1.15, R1.17, R9.3a, R9.6b
#[test]
fn acknowledgements_of_ours_are_counted_once_and_have_deadlines() {
    let mut driven = Driven::opened_with(Limits::builder().max_pending_acks(3));
    let ask = |driven: &mut Driven| driven.link.emit_with_ack("e", None, driven.now);
    let first = ask(&mut driven).unwrap();
    let second = ask(&mut driven).unwrap();
    assert_eq!(driven.frames(), [r#"420["e"]"#, r#"421["e"]"#]);
    assert_eq!(
        driven.receive(r#"431[{"a":1},2]"#),
        Some(Event::Acked {
            asked: second,
            argument: Some(raw(r#"{"a":1}"#))
        })
    );
    for frame in [r#"431[{}]"#, "4399[]", "43[]", "4318446744073709551616[]"] {
        assert_eq!(
            driven.receive(frame),
            Some(Event::Ignored(Ignored::UnknownAck)),
            "{frame}"
        );
    }
    assert_eq!(driven.link.ignored(), 4);
    let third = ask(&mut driven).unwrap();
    let fourth = ask(&mut driven).unwrap();
    assert_eq!(ask(&mut driven), Err(EmitError::Full));
    assert!(!driven.link.has_room_for_ack());
    // The probe is answered, and the acknowledgements are late.
    driven.later(10 * SECOND);
    driven.link.handle_timeout(driven.now);
    for asked in [first, third, fourth] {
        let why = AckFailure::TimedOut;
        assert_eq!(ask(&mut driven), Err(EmitError::Full), "until it is told");
        assert_eq!(
            driven.link.poll_event(),
            Some(Event::AckLost { asked, why })
        );
        let again = driven.link.clone().emit_with_ack("e", None, driven.now);
        assert!(again.is_ok());
        // As full as before, for the next round.
        if asked != fourth {
            ask(&mut driven).unwrap();
        }
    }
    assert_eq!(
        driven.receive("430[]"),
        Some(Event::Ignored(Ignored::UnknownAck))
    );
}

/// Covers: R1.16, R1.24
#[test]
fn what_was_under_way_when_the_link_dies_is_told() {
    let mut driven = Driven::open();
    let asked = driven.link.emit_with_ack("e", None, driven.now).unwrap();
    let Some(Event::Received {
        owed: Some(owed), ..
    }) = driven.receive(r#"425["rpc-request",{}]"#)
    else {
        panic!()
    };
    driven.link.emit("later", None).unwrap();
    assert_eq!(cause(driven.closed(None)), Cause::ConnectionClosed(None));
    let why = AckFailure::Disconnected;
    assert_eq!(
        driven.link.poll_event(),
        Some(Event::AckLost { asked, why })
    );
    assert_eq!(
        driven.link.poll_event(),
        Some(Event::OwedLost { owed, why })
    );
    assert_eq!(driven.link.poll_event(), None);
    assert_eq!(driven.link.queued(), 0, "nothing is kept");
    driven.tick();
    driven.join();
    assert_eq!(driven.frames(), [""; 0]);
    assert_eq!(
        driven.link.answer(owed, None),
        Err(EmitError::UnknownRequest)
    );
    // Ids are never used again.
    driven.link.emit_with_ack("e", None, driven.now).unwrap();
    assert_eq!(driven.frames(), [r#"421["e"]"#]);
}

/// Covers: R1.15, R9.3a
#[test]
fn acknowledgements_of_the_servers_are_given_once_and_have_deadlines() {
    let mut driven = Driven::opened_with(Limits::builder().max_owed_acks(2));
    let call = r#"4207["rpc-request",{"a":1}]"#;
    let Some(Event::Received {
        name,
        argument,
        owed: Some(owed),
    }) = driven.receive(call)
    else {
        panic!()
    };
    assert!(name.is("rpc-request"));
    assert_eq!(argument, Some(raw(r#"{"a":1}"#)));
    // The same id again, and one that no server counts up to.
    assert_eq!(driven.receive(call), Some(Event::Ignored(Ignored::BadId)));
    let long = format!(r#"42{}["x"]"#, "9".repeat(21));
    assert_eq!(driven.receive(&long), Some(Event::Ignored(Ignored::BadId)));
    assert!(driven.receive(r#"428["x"]"#).is_some());
    assert_eq!(
        driven.receive(r#"429["x"]"#),
        Some(Event::Ignored(Ignored::Flooded))
    );
    driven.link.answer(owed, Some(raw("\"r\""))).unwrap();
    assert_eq!(driven.frames(), [r#"4307["r"]"#], "as it was spelled");
    assert_eq!(
        driven.link.answer(owed, None),
        Err(EmitError::UnknownRequest)
    );
    // Answered: the id is free again, and the other one runs out of time.
    assert!(matches!(driven.receive(call), Some(Event::Received { .. })));
    driven.later(30 * SECOND);
    assert_eq!(driven.link.handle_timeout(driven.now), None);
    let mut lost = 0;
    while let Some(event) = driven.link.poll_event() {
        assert!(matches!(
            event,
            Event::OwedLost {
                why: AckFailure::TimedOut,
                ..
            }
        ));
        lost += 1;
    }
    assert_eq!(lost, 2);
}

/// 9.4: refused before it is sent, and the socket lives on.
/// Covers: R1.4, R1.8, R1.21, R9.4a
#[test]
fn s7_frames_longer_than_the_server_takes_are_refused() {
    let mut driven = Driven::open();
    assert_eq!(driven.link.max_frame_bytes(), 1_000);
    let around = r#"42["e",""]"#.len();
    let text = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - around));
    assert_eq!(driven.link.emit("e", Some(raw(&text(1_000)))), Ok(()));
    let error = EmitError::TooLong {
        bytes: 1_001,
        limit: 1_000,
    };
    assert_eq!(driven.link.emit("e", Some(raw(&text(1_001)))), Err(error));
    let Some(Event::Received {
        owed: Some(owed), ..
    }) = driven.receive(r#"420["rpc-request"]"#)
    else {
        panic!()
    };
    let long = format!("\"{}\"", "x".repeat(1_000));
    let refused = driven.link.answer(owed, Some(raw(&long)));
    assert!(matches!(refused, Err(EmitError::TooLong { .. })));
    assert_eq!(driven.link.answer(owed, None), Ok(()), "it still waits");
    let frames = driven.frames();
    assert_eq!(frames[0].len(), 1_000);
    assert_eq!(frames[1], "430[]");
    assert_eq!(driven.link.status(), Status::Open);
}

/// 9.6: dropped while not connected, and never queued.
/// Covers: R9.6a
#[test]
fn s8_volatile_events_are_never_queued() {
    let mut driven = Driven::new();
    for _ in 0..20 {
        let refused = driven.link.emit_volatile("session-alive", None);
        assert_eq!(refused, Err(EmitError::NotConnected));
    }
    driven.join();
    assert_eq!(driven.frames(), [""; 0]);
    assert_eq!(driven.link.emit_volatile("session-alive", None), Ok(()));
    assert_eq!(
        driven.link.emit_volatile("session-alive", None),
        Err(EmitError::Full)
    );
    assert_eq!(driven.frames(), [r#"42["session-alive"]"#]);
    assert_eq!(driven.link.emit_volatile("session-alive", None), Ok(()));
    driven.closed(None);
    let refused = driven.link.emit_volatile("session-alive", None);
    assert_eq!(refused, Err(EmitError::NotConnected));
}

/// Covers: R1.19, R9.6b
#[test]
fn what_waits_to_be_written_is_bounded() {
    let limits = Limits::builder().max_queued_frames(3);
    let mut driven = Driven::opened_with(limits);
    for _ in 0..3 {
        driven.link.emit("e", None).unwrap();
    }
    assert_eq!(driven.link.emit("e", None), Err(EmitError::Full));
    assert_eq!(
        driven.link.emit_with_ack("e", None, driven.now),
        Err(EmitError::Full)
    );
    assert!(driven.link.has_room_for_ack(), "it was not booked");
    assert_eq!(
        driven.link.emit("connect", None),
        Err(EmitError::ReservedName)
    );
    // Heartbeat and probe have room of their own, one of each.
    for _ in 0..100 {
        driven.receive("2");
    }
    driven.tick();
    assert_eq!(driven.link.queued(), 5);
    assert_eq!(driven.frames().len(), 5);
    driven.link.emit("e", None).unwrap();

    let bytes = Limits::builder().max_queued_bytes(600).max_frame_bytes(600);
    let mut driven = Driven::opened_with(bytes);
    let half = format!("\"{}\"", "x".repeat(300));
    driven.link.emit("e", Some(raw(&half))).unwrap();
    assert_eq!(
        driven.link.emit("e", Some(raw(&half))),
        Err(EmitError::Full)
    );
}

/// 9.5: each refusal is a state with a reason that says whether it retries.
/// Covers: R1.13, R1.29, R1.30, R9.5
#[test]
fn s4_refusals_are_states_with_reasons() {
    for (text, refusal) in [
        ("Missing authentication token", Refusal::MissingToken),
        ("Invalid authentication token", Refusal::InvalidToken),
        (
            "Session ID required for session-scoped clients",
            Refusal::MissingSession,
        ),
        (
            "Machine ID required for machine-scoped clients",
            Refusal::MissingMachine,
        ),
        ("Invalid namespace", Refusal::InvalidNamespace),
    ] {
        for frame in [
            format!(r#"44{{"message":"{text}","data":1}}"#),
            format!(r#"44"{text}""#),
        ] {
            let mut driven = Driven::new();
            driven.hello();
            let Some(Event::Closed { reason, said }) = driven.receive(&frame) else {
                panic!()
            };
            assert_eq!(reason, CloseReason::Refused(refusal));
            assert!(said.unwrap().is(text));
            assert!(!driven.link.status().retries());
            assert!(format!("{reason}").contains(text));
        }
        // The server of old says so in an event, after its consent.
        let mut driven = Driven::open();
        let frame = format!(r#"42["error",{{"message":"{text}"}}]"#);
        let reason = closed(driven.receive(&frame));
        assert_eq!(reason, CloseReason::Refused(refusal));
    }
    let mut driven = Driven::new();
    driven.hello();
    let event = driven.receive(r#"44{"message":"Try later"}"#);
    let Some(Event::Reconnecting { cause, said, .. }) = event else {
        panic!("{event:?}")
    };
    assert_eq!(cause, Cause::Refused(Refusal::Other));
    assert!(said.unwrap().is("Try later"));
    assert!(driven.link.status().retries());
    driven.tick();
    driven.hello();
    assert_eq!(
        cause_of_bare_refusal(&mut driven),
        Cause::Refused(Refusal::Other)
    );
}

fn cause_of_bare_refusal(driven: &mut Driven) -> Cause {
    cause(driven.receive("44"))
}

/// Covers: R1.30, R9.5
#[test]
fn s4_a_disconnect_by_the_server_is_dialled_again() {
    let mut driven = Driven::open();
    let event = driven.receive(r#"42["error",{"message":"Internal"}]"#);
    assert!(matches!(event, Some(Event::Received { .. })));
    assert_eq!(cause(driven.receive("41")), Cause::ServerDisconnected);
    assert!(driven.link.status().retries());
    driven.tick();
    driven.join();
    // A refusal for ever is given up.
    let mut driven = Driven::new();
    let reason = loop {
        driven.hello();
        match driven.receive(r#"44{"message":"no"}"#) {
            Some(Event::Closed { reason, .. }) => break reason,
            Some(Event::Reconnecting { .. }) => driven.tick(),
            other => panic!("{other:?}"),
        };
    };
    let why = GaveUp::Retries;
    let cause = Cause::Refused(Refusal::Other);
    assert_eq!(reason, CloseReason::GaveUp { why, cause });
}

/// Covers: R1.12
#[test]
fn a_server_of_another_version_is_told_from_one_that_was_right_before() {
    for consent in ["40", "40{}", r#"40{"sid":1}"#] {
        let mut driven = Driven::new();
        driven.hello();
        assert_eq!(closed(driven.receive(consent)), CloseReason::Incompatible);
        let mut driven = Driven::open();
        driven.closed(None);
        driven.tick();
        driven.hello();
        assert_eq!(cause(driven.receive(consent)), Cause::Incompatible);
    }
}

/// Covers: R1.10, R1.19, R1.20, R1.22
#[test]
fn violations_end_the_connection_and_not_the_link() {
    for (frame, violation) in [
        ("", Violation::Engine(engineio::Violation::Empty)),
        ("9", Violation::Engine(engineio::Violation::UnknownType)),
        ("bAAAA", Violation::Engine(engineio::Violation::Binary)),
        ("42", Violation::OutOfTurn),
        (
            "42{}",
            Violation::Socket(socketio::Violation::InvalidPayload),
        ),
        (
            "451-[\"e\"]",
            Violation::Socket(socketio::Violation::Binary),
        ),
        (HELLO, Violation::OutOfTurn),
    ] {
        let mut driven = Driven::open();
        let event = driven.receive(frame);
        if frame == "42" {
            // An event without anything is of no meaning, and no violation of the reference's.
            assert_eq!(event, Some(Event::Ignored(Ignored::Meaningless)));
            continue;
        }
        assert_eq!(cause(event), Cause::Violation(violation), "{frame}");
        driven.tick();
        driven.join();
    }
    let mut driven = Driven::open();
    let long = format!("2{}", "x".repeat(126));
    let event = driven.receive(&long);
    assert_eq!(cause(event), Cause::Violation(Violation::LongPing));
    let mut driven = Driven::open();
    let epoch = driven.live.unwrap();
    let event = driven.link.handle_binary(epoch, driven.now);
    assert_eq!(cause(event), Cause::Violation(Violation::Binary));
    driven.act();
    driven.tick();
    // Before the engine has opened, nothing else may come.
    for frame in ["2", "40{}"] {
        let epoch = driven.live.unwrap();
        driven.link.handle_opened(epoch);
        let event = driven.receive(frame);
        assert_eq!(cause(event), Cause::Violation(Violation::OutOfTurn));
        driven.tick();
    }
}

/// Covers: R1.10, R1.14
#[test]
fn what_is_of_no_meaning_is_counted_and_passed_over() {
    let mut driven = Driven::open();
    for frame in ["1", "3", "3x", "5", "6"] {
        assert_eq!(driven.receive(frame), None, "{frame}");
    }
    for frame in [
        r#"40{"sid":"t"}"#,
        r#"44{"message":"x"}"#,
        r#"42/admin,["x"]"#,
        "41/admin",
    ] {
        assert_eq!(
            driven.receive(frame),
            Some(Event::Ignored(Ignored::Meaningless)),
            "{frame}"
        );
    }
    assert_eq!(
        driven.receive("42[1]"),
        Some(Event::Ignored(Ignored::Unnamed))
    );
    assert_eq!(driven.link.ignored(), 5);
    assert_eq!(driven.link.status(), Status::Open);
    let mut driven = Driven::new();
    driven.hello();
    assert_eq!(
        driven.receive(r#"42["early"]"#),
        Some(Event::Ignored(Ignored::Meaningless))
    );
}

#[test]
fn facts_of_another_epoch_are_dropped() {
    let mut driven = Driven::open();
    let old = driven.live.unwrap();
    driven.closed(None);
    driven.tick();
    let before = driven.link.clone();
    assert_eq!(driven.link.handle_message(old, JOINED, driven.now), None);
    assert_eq!(
        driven.link.handle_closed(old, Some(1_000), driven.now),
        None
    );
    assert_eq!(driven.link.handle_binary(old, driven.now), None);
    assert_eq!(driven.link.handle_message_too_long(old, driven.now), None);
    let failure = DialFailure::Unreachable;
    assert_eq!(
        driven.link.handle_dial_failed(old, failure, driven.now),
        None
    );
    driven.link.handle_opened(old);
    driven.link.handle_transmitted(old, driven.now);
    assert_eq!(driven.link.poll_transmit(old), None);
    assert_eq!(driven.link, before);
    // A dial that the caller has not heard of cannot have come about.
    let mut unheard = Link::clone(&Driven::new().link);
    unheard.close();
    assert_eq!(unheard.poll_action(), Some(Action::Hangup(old)));
}

/// Covers: R9.5
#[test]
fn failed_dials_are_told_apart() {
    let status = |status| DialFailure::Status {
        status,
        retry_after: None,
    };
    for (failure, retries) in [
        (DialFailure::Unreachable, true),
        (status(502), true),
        (status(404), true),
        (status(400), false),
        (status(401), false),
        (DialFailure::Untrusted, false),
    ] {
        let mut driven = Driven::new();
        let event = driven.dial_failed(failure);
        assert_eq!(driven.link.status().retries(), retries, "{failure}");
        if retries {
            assert_eq!(cause(event), Cause::DialFailed(failure));
        } else {
            assert_eq!(closed(event), CloseReason::DialRefused(failure));
        }
    }
    // What worked before may work again.
    let mut driven = Driven::open();
    driven.closed(Some(1_005));
    driven.tick();
    let event = driven.dial_failed(DialFailure::Untrusted);
    assert_eq!(cause(event), Cause::DialFailed(DialFailure::Untrusted));
    // A transport that closes while it is dialled is a failed dial.
    driven.tick();
    let event = driven.closed(Some(1_006));
    assert_eq!(cause(event), Cause::DialFailed(DialFailure::Unreachable));
}

/// 9.11, and issue 1780 of the reference.
/// Covers: R9.11
#[test]
fn l4_after_close_nothing_dials_again() {
    let mut links = vec![Driven::new(), Driven::open()];
    let mut waiting = Driven::open();
    waiting.closed(None);
    links.push(waiting);
    for mut driven in links {
        let epoch = driven.live;
        assert_eq!(closed(driven.link.close()), CloseReason::User);
        driven.act();
        assert_eq!(driven.live, None, "the transport was hung up");
        let dials = driven.dials;
        assert_eq!(driven.link.close(), None);
        driven.link.connect(driven.now);
        assert_eq!(driven.link.reconnect(driven.now), None);
        assert_eq!(driven.link.handle_wake(driven.now), None);
        for _ in 0..3 {
            driven.later(1_000 * SECOND);
            assert_eq!(driven.link.handle_timeout(driven.now), None);
            if let Some(epoch) = epoch {
                assert_eq!(driven.link.handle_closed(epoch, None, driven.now), None);
                assert_eq!(driven.link.handle_message(epoch, "2", driven.now), None);
            }
            driven.act();
        }
        assert_eq!(driven.dials, dials);
        assert_eq!(driven.link.poll_timeout(), None);
        assert_eq!(driven.link.queued(), 0);
        assert_eq!(
            driven.link.emit("e", None),
            Err(EmitError::Closed(CloseReason::User))
        );
    }
    let token = Token::parse("t").unwrap();
    let auth = Auth::user(&token, None);
    let mut never = Link::new(&Limits::DEFAULT, auth, Policy::PERSISTENT, 0);
    never.close();
    never.connect(Instant::from_nanos(0));
    assert_eq!(never.poll_action(), None);
}

/// Issues 1229 and 1232 of the reference: no first failure and no closed lid is the end.
/// Covers: R1.26
#[test]
fn l5_it_dials_again_for_ever_and_at_once_after_a_sleep() {
    let mut driven = Driven::new();
    for _ in 0..2_000 {
        let event = driven.dial_failed(DialFailure::Unreachable);
        let Some(Event::Reconnecting { delay, .. }) = event else {
            panic!("{event:?}")
        };
        assert!(delay <= 30 * SECOND);
        driven.tick();
    }
    driven.dial_failed(DialFailure::Unreachable);
    // The timer comes an hour late.
    driven.later(3_600 * SECOND);
    let event = driven.tick();
    assert_eq!(cause(event), Cause::Slept);
    driven.join();
    // Asleep while open: the link is probed at once, and not given up for its heartbeat.
    driven.later(3_600 * SECOND);
    assert_eq!(driven.tick(), None);
    let frames = driven.frames();
    assert!(frames[0].ends_with(r#"["ping"]"#), "{frames:?}");
    let began = driven.now;
    let event = cause(driven.tick());
    assert!(matches!(event, Cause::NoAnswer | Cause::NoHeartbeat));
    assert!(driven.now.since(began) <= 5 * SECOND);
}

/// Covers: R1.25
#[test]
fn delays_are_those_of_the_profile() {
    let mut driven = Driven::with(Limits::builder(), Policy::SOCKET_IO);
    for round in 0..3 {
        for (attempt, base) in [(1, 1_000), (2, 2_000), (3, 4_000), (4, 8_000), (5, 16_000)] {
            // A connection, however short, starts them again.
            let event = if round > 0 && attempt == 1 {
                driven.closed(Some(1_005))
            } else {
                driven.dial_failed(DialFailure::Unreachable)
            };
            let Some(Event::Reconnecting {
                attempt: n, delay, ..
            }) = event
            else {
                panic!("{event:?}")
            };
            assert_eq!(n, attempt);
            let delay = u64::try_from(delay.as_millis()).unwrap();
            assert!(
                delay >= (base / 2).min(5_000) && delay <= (base * 3 / 2).min(5_000),
                "round {round}: {delay} after {base}"
            );
            driven.tick();
        }
        driven.join();
    }
    let event = driven.link.reconnect(driven.now);
    assert_eq!(cause(event), Cause::Forced);
}

/// Covers: R9.12c
#[test]
fn r1_a_connection_that_the_server_may_hold_for_living_is_told() {
    let mut driven = Driven::open();
    let began = driven.now;
    driven.later(SECOND);
    driven.closed(None);
    driven.tick();
    driven.hello();
    let stale_until = Some(began.after(60 * SECOND));
    assert_eq!(
        driven.receive(JOINED),
        Some(Event::Connected { stale_until })
    );
    // A close by the server leaves nothing behind.
    driven.closed(Some(1_005));
    driven.tick();
    driven.hello();
    let stale_until = None;
    assert_eq!(
        driven.receive(JOINED),
        Some(Event::Connected { stale_until })
    );
}

/// Covers: R1.9
#[test]
fn a_message_longer_than_the_caller_takes_is_a_reconnect() {
    let mut driven = Driven::open();
    let epoch = driven.live.unwrap();
    let event = driven.link.handle_message_too_long(epoch, driven.now);
    assert_eq!(cause(event), Cause::MessageTooLong);
    driven.act();
    driven.tick();
    driven.join();
}

#[test]
fn timeouts_are_harmless_early_and_twice() {
    let mut driven = Driven::open();
    let epoch = driven.live.unwrap();
    driven.link.emit_with_ack("e", None, driven.now).unwrap();
    for _ in 0..50 {
        let before = driven.link.clone();
        let due = driven.link.poll_timeout().unwrap();
        assert_eq!(driven.link.handle_timeout(driven.now.min(due)), None);
        if driven.now < due {
            assert_eq!(driven.link, before);
        }
        driven.later(SECOND);
        driven.link.handle_timeout(driven.now);
        let once = driven.link.clone();
        driven.link.handle_timeout(driven.now);
        if driven.link.status() == Status::Open {
            assert_eq!(driven.link, once);
        }
        driven.link.handle_bytes(epoch, driven.now);
    }
}

/// After a sleep nothing is overdue: the link would be told of the time for ever.
#[test]
fn what_ran_out_during_a_sleep_is_told_at_once() {
    let mut driven = Driven::open();
    let asked = driven.link.emit_with_ack("e", None, driven.now).unwrap();
    assert!(driven.receive(r#"420["x"]"#).is_some());
    driven.later(600 * SECOND);
    assert_eq!(driven.tick(), None);
    assert!(driven.link.poll_timeout() > Some(driven.now));
    let why = AckFailure::TimedOut;
    assert_eq!(
        driven.link.poll_event(),
        Some(Event::AckLost { asked, why })
    );
    assert!(matches!(
        driven.link.poll_event(),
        Some(Event::OwedLost { .. })
    ));
}

#[test]
fn nothing_shows_the_token() {
    let driven = Driven::new();
    let shown = format!("{:?}", driven.link);
    assert!(shown.contains("redacted") && !shown.contains("secret-token"));
}
