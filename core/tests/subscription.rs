//! The subscription machine, fact by fact (sessions.md §1, §3).

use std::time::Duration;

use hallway_core::Instant;
use hallway_core::backoff::{GaveUp, Policy};
use hallway_core::session::control::{NotForwarded, Request};
use hallway_core::session::event::{
    Action, Cancelled, Cause, CloseReason, DialFailure, Epoch, Event, SendError,
};
use hallway_core::session::limits::Limits;
use hallway_core::session::subscription::{Answer, Subscription};

const MESSAGE: &str = r#"{"type":"assistant"}"#;
const SECOND: Duration = Duration::from_secs(1);

fn status(status: u16) -> DialFailure {
    DialFailure::Status {
        status,
        retry_after: None,
    }
}

/// A machine, its clock, and what it has asked for.
struct Driven {
    machine: Subscription,
    now: Instant,
    dials: u32,
    live: Option<Epoch>,
    pings: u32,
    asked: Option<Epoch>,
}

impl Driven {
    fn new(policy: Policy) -> Self {
        Self::with(&Limits::DEFAULT, policy)
    }

    fn with(limits: &Limits, policy: Policy) -> Self {
        let mut driven = Self {
            machine: Subscription::new(limits, policy, 7),
            now: Instant::from_nanos(5),
            dials: 0,
            live: None,
            pings: 0,
            asked: None,
        };
        assert_eq!(driven.machine.poll_timeout(), None);
        driven.machine.connect(driven.now);
        driven.act();
        driven
    }

    fn open(policy: Policy) -> Self {
        let mut driven = Self::new(policy);
        assert_eq!(driven.opened(), Some(Event::Connected));
        driven
    }

    /// Does what the machine asks, and checks that one transport lives at most.
    fn act(&mut self) {
        while let Some(action) = self.machine.poll_action() {
            match action {
                Action::Hangup(epoch) => assert_eq!(self.live.take(), Some(epoch)),
                Action::Dial(epoch) => {
                    assert_eq!(self.live.replace(epoch), None, "two transports");
                    self.dials += 1;
                    assert_eq!(epoch.number(), u64::from(self.dials));
                }
                Action::Ping(epoch) => {
                    assert_eq!(self.live, Some(epoch));
                    self.pings += 1;
                }
                Action::AskToken(epoch) => self.asked = Some(epoch),
            }
        }
        let waits = self.machine.poll_timeout().is_some();
        assert_eq!(waits, self.machine.close_reason().is_none());
    }

    fn opened(&mut self) -> Option<Event<'static>> {
        let event = self.machine.handle_opened(self.live.unwrap(), self.now);
        self.act();
        event
    }

    fn failed(&mut self, failure: DialFailure) -> Option<Event<'static>> {
        let epoch = self.live.take().unwrap();
        let event = self.machine.handle_dial_failed(epoch, failure, self.now);
        self.act();
        event
    }

    fn closed(&mut self, code: u16) -> Option<Event<'static>> {
        let epoch = self.live.take().unwrap();
        let event = self.machine.handle_closed(epoch, Some(code), self.now);
        self.act();
        event
    }

    fn received<'a>(&mut self, message: &'a str) -> Option<Event<'a>> {
        self.machine.handle_message(self.live.unwrap(), message)
    }

    fn later(&mut self, span: Duration) {
        self.now = self.now.after(span);
    }

    /// Lets time pass until the machine wants to be told.
    fn tick(&mut self) -> Option<Event<'static>> {
        self.now = self.machine.poll_timeout().unwrap();
        let event = self.machine.handle_timeout(self.now);
        self.act();
        event
    }

    fn request(&mut self, id: &str) -> Option<Event<'static>> {
        let text = asks(id, "can_use_tool");
        match self.machine.handle_message(self.live.unwrap(), &text) {
            Some(Event::RequestArrived { .. }) => None,
            Some(Event::RequestRefused { answered, .. }) => Some(Event::RequestRefused {
                request_id: id.to_owned().into(),
                answered,
            }),
            other => panic!("{other:?}"),
        }
    }

    fn transmitted(&mut self) -> Option<String> {
        let epoch = self.live?;
        let frame = self.machine.poll_transmit(epoch)?.to_owned();
        self.machine.handle_transmitted(epoch);
        Some(frame)
    }
}

fn asks(id: &str, subtype: &str) -> String {
    format!(
        r#"{{"type":"control_request","request_id":"{id}","request":{{"subtype":"{subtype}","tool_name":"Bash","input":{{"command":"ls"}},"tool_use_id":"t1"}}}}"#
    )
}

fn reconnecting(event: Option<Event<'_>>) -> (u32, Duration, Cause) {
    match event {
        Some(Event::Reconnecting {
            attempt,
            delay,
            cause,
        }) => (attempt, delay, cause),
        other => panic!("{other:?} is no reconnect"),
    }
}

/// Covers: S1.8, S1.9
#[test]
fn pings_every_thirty_seconds_and_ends_a_link_that_does_not_answer() {
    let mut driven = Driven::open(Policy::FIXED);
    let start = driven.now;
    for n in 1..=4_u32 {
        assert_eq!(driven.tick(), None);
        assert_eq!(driven.now.since(start), 30 * SECOND * n);
        assert_eq!(driven.pings, n);
        // A pong, a message, or a message that is none: the link is alive.
        match n {
            1 => driven.machine.handle_pong(driven.live.unwrap()),
            2 => assert_eq!(driven.received(MESSAGE), Some(Event::MessageReceived)),
            _ => assert!(driven.received("?").is_some()),
        }
    }
    assert_eq!(driven.tick(), None);
    let (attempt, delay, cause) = reconnecting(driven.tick());
    assert_eq!((attempt, delay, cause), (1, 2 * SECOND, Cause::NoPong));
    assert_eq!((driven.live, driven.pings), (None, 5));
    assert_eq!(driven.now.since(start), 180 * SECOND);
}

#[test]
fn a_timeout_before_it_is_due_or_twice_does_nothing() {
    let mut driven = Driven::open(Policy::FIXED);
    let before = driven.machine.clone();
    driven.later(30 * SECOND - Duration::from_nanos(1));
    assert_eq!(driven.machine.handle_timeout(driven.now), None);
    assert_eq!(driven.machine, before);
    driven.tick();
    let after = driven.machine.clone();
    assert_eq!(driven.machine.handle_timeout(driven.now), None);
    assert_eq!(driven.machine, after);
}

/// Covers: S3.2, S3.5
#[test]
fn a_dial_has_a_deadline() {
    let mut driven = Driven::new(Policy::FIXED);
    let start = driven.now;
    let (attempt, _, cause) = reconnecting(driven.tick());
    assert_eq!((attempt, cause), (1, Cause::DialTimedOut));
    assert_eq!(driven.now.since(start), 20 * SECOND);
    assert_eq!((driven.live, driven.dials), (None, 1));
    assert_eq!(driven.tick(), None);
    assert_eq!((driven.live.is_some(), driven.dials), (true, 2));
}

/// Covers: S3.4a
#[test]
fn connecting_twice_opens_one_transport() {
    let mut driven = Driven::new(Policy::FIXED);
    driven.machine.connect(driven.now);
    driven.act();
    driven.opened();
    driven.machine.connect(driven.now);
    driven.act();
    assert_eq!(driven.dials, 1);
    assert_eq!(driven.machine.open_epoch(), driven.live);
}

/// Covers: S3.4b, S3.6b
#[test]
fn a_close_during_the_dial_opens_nothing_later() {
    let mut driven = Driven::new(Policy::FIXED);
    let epoch = driven.live.unwrap();
    let reason = CloseReason::User;
    assert_eq!(driven.machine.close(), Some(Event::Closed { reason }));
    driven.act();
    assert_eq!(driven.live, None);
    let closed = driven.machine.clone();
    assert_eq!(driven.machine.close(), None);
    assert_eq!(driven.machine.reconnect(driven.now), None);
    assert_eq!(driven.machine.handle_opened(epoch, driven.now), None);
    assert_eq!(driven.machine.handle_wake(driven.now), None);
    assert_eq!(driven.machine.handle_message(epoch, MESSAGE), None);
    assert_eq!(driven.machine.handle_closed(epoch, None, driven.now), None);
    let failure = DialFailure::Unreachable;
    assert_eq!(
        driven
            .machine
            .handle_dial_failed(epoch, failure, driven.now),
        None
    );
    driven.later(999_999 * SECOND);
    assert_eq!(driven.machine.handle_timeout(driven.now), None);
    driven.machine.connect(driven.now);
    assert_eq!(driven.machine.poll_action(), None);
    assert_eq!(driven.machine, closed);
    let sent = driven.machine.request("u", &Request::Interrupt);
    assert_eq!(sent, Err(SendError::Closed(reason)));
    let deny = Answer::Deny { message: "" };
    assert_eq!(
        driven.machine.answer("r", deny),
        Err(SendError::Closed(reason))
    );
}

#[test]
fn a_dial_that_was_not_heard_of_is_taken_back_silently() {
    let mut machine = Subscription::new(&Limits::DEFAULT, Policy::FIXED, 7);
    let now = Instant::ORIGIN;
    machine.connect(now);
    let mut heard = machine.clone();
    let Some(Action::Dial(epoch)) = heard.poll_action() else {
        panic!("a dial was asked for");
    };
    // Facts about a transport that nobody was asked to open are no facts.
    assert_eq!(machine.handle_opened(epoch, now), None);
    let failure = DialFailure::Unreachable;
    assert_eq!(machine.handle_dial_failed(epoch, failure, now), None);
    assert!(machine.reconnect(now).is_some());
    assert_eq!(machine.poll_action(), None);
    assert!(machine.handle_wake(now).is_some());
    assert!(machine.handle_wake(now).is_some());
    let second = machine.poll_action();
    assert!(matches!(second, Some(Action::Dial(dialled)) if dialled.number() == 3));
    assert_eq!(machine.poll_action(), None);
}

#[test]
fn what_was_to_be_done_with_a_transport_is_forgotten_with_it() {
    let mut driven = Driven::open(Policy::FIXED);
    driven.now = driven.machine.poll_timeout().unwrap();
    driven.machine.handle_timeout(driven.now);
    let epoch = driven.live.take().unwrap();
    let broke = driven.machine.handle_closed(epoch, None, driven.now);
    reconnecting(broke);
    assert_eq!(driven.machine.poll_action(), None, "no ping over no link");

    let mut driven = Driven::new(Policy::FIXED);
    let epoch = driven.live.take().unwrap();
    let refused = status(401);
    driven
        .machine
        .handle_dial_failed(epoch, refused, driven.now);
    assert!(driven.machine.close().is_some());
    assert_eq!(driven.machine.poll_action(), None, "nobody needs a token");
}

/// Covers: S3.11
#[test]
fn code_4003_is_the_end() {
    let mut driven = Driven::open(Policy::RESILIENT);
    let reason = CloseReason::Unauthorized;
    assert_eq!(driven.closed(4_003), Some(Event::Closed { reason }));
    assert_eq!(driven.machine.close_reason(), Some(reason));
    assert_eq!(driven.machine.poll_action(), None);
}

/// Covers: S3.1a, S3.12
#[test]
fn a_session_that_is_not_found_is_asked_for_as_often_as_the_policy_says() {
    for (policy, dials) in [(Policy::FIXED, 4), (Policy::RESILIENT, 9)] {
        let mut driven = Driven::new(policy);
        let mut delays = Vec::new();
        let last = loop {
            assert_eq!(driven.opened(), Some(Event::Connected));
            match driven.closed(4_001) {
                Some(Event::Reconnecting { delay, .. }) => delays.push(delay),
                last => break last,
            }
            assert_eq!(driven.tick(), None);
        };
        let reason = CloseReason::GaveUp {
            why: GaveUp::Retries,
            cause: Cause::ConnectionClosed(Some(4_001)),
        };
        assert_eq!(last, Some(Event::Closed { reason }));
        assert_eq!(driven.dials, dials);
        if policy == Policy::FIXED {
            assert_eq!(delays, [2, 4, 6].map(Duration::from_secs));
        }
    }
}

/// Covers: S3.1a, S3.10a, S3.13
#[test]
fn every_other_code_is_transient() {
    for code in [
        1_000, 1_001, 1_002, 1_006, 1_011, 3_000, 4_000, 4_002, 4_999,
    ] {
        let mut driven = Driven::open(Policy::FIXED);
        for attempt in 1..=5 {
            let event = reconnecting(driven.closed(code));
            let cause = Cause::ConnectionClosed(Some(code));
            assert_eq!(event, (attempt, 2 * SECOND, cause));
            driven.tick();
            driven.opened();
        }
        let why = GaveUp::Retries;
        let cause = Cause::ConnectionClosed(Some(code));
        let reason = CloseReason::GaveUp { why, cause };
        assert_eq!(driven.closed(code), Some(Event::Closed { reason }));
    }
}

/// Covers: S3.1a, S3.1b
#[test]
fn traffic_or_time_prove_a_connection() {
    for (traffic, open_for, attempt) in
        [(false, 0, 2), (false, 29, 2), (false, 30, 1), (true, 0, 1)]
    {
        let mut driven = Driven::open(Policy::FIXED);
        reconnecting(driven.closed(1_006));
        driven.tick();
        driven.opened();
        assert!(driven.received("no traffic").is_some());
        if traffic {
            assert!(driven.received(MESSAGE).is_some());
        }
        driven.later(Duration::from_secs(open_for));
        let (found, _, _) = reconnecting(driven.closed(1_006));
        assert_eq!(found, attempt, "{traffic} {open_for}");
    }
}

/// Covers: S3.1a
#[test]
fn a_server_that_accepts_and_is_silent_is_given_up() {
    let mut driven = Driven::new(Policy::FIXED);
    for _ in 0..5 {
        driven.opened();
        driven.tick();
        reconnecting(driven.tick());
        driven.tick();
    }
    driven.opened();
    driven.tick();
    assert!(matches!(driven.tick(), Some(Event::Closed { .. })));
    assert_eq!(driven.dials, 6);
}

#[test]
fn the_time_until_the_last_pong_counts_when_a_link_breaks() {
    for (pongs, code, attempt) in [(0, None, 2), (0, Some(1_001), 1), (1, None, 1)] {
        let mut driven = Driven::open(Policy::FIXED);
        reconnecting(driven.closed(1_006));
        driven.tick();
        driven.opened();
        driven.tick();
        let epoch = driven.live.unwrap();
        for _ in 0..pongs {
            driven.machine.handle_pong(epoch);
        }
        driven.later(SECOND);
        let event = driven.machine.handle_closed(epoch, code, driven.now);
        assert_eq!(reconnecting(event).0, attempt, "{pongs} {code:?}");
    }
}

/// Covers: S3.2, S3.10c
#[test]
fn failed_dials_are_retried_by_their_class() {
    let transient = [
        DialFailure::NoToken,
        DialFailure::Unreachable,
        DialFailure::NotWebSocket,
        status(408),
        status(425),
        status(429),
        status(500),
        status(503),
        status(599),
    ];
    for failure in transient {
        let mut driven = Driven::new(Policy::FIXED);
        for attempt in 1..=5 {
            let event = reconnecting(driven.failed(failure));
            assert_eq!(event, (attempt, 2 * SECOND, Cause::DialFailed(failure)));
            driven.tick();
        }
        assert!(matches!(driven.failed(failure), Some(Event::Closed { .. })));
        assert_eq!(driven.dials, 6);
    }
    let mut driven = Driven::new(Policy::FIXED);
    for delay in [2, 4, 6] {
        let (_, found, _) = reconnecting(driven.failed(status(404)));
        assert_eq!(found, Duration::from_secs(delay));
        driven.tick();
    }
    assert!(matches!(
        driven.failed(status(404)),
        Some(Event::Closed { .. })
    ));
}

#[test]
fn what_does_not_pass_by_itself_ends_it_unless_it_worked_before() {
    for failure in [
        DialFailure::Untrusted,
        DialFailure::ProxyRefused,
        status(200),
        status(301),
        status(400),
        status(410),
        status(600),
    ] {
        let mut driven = Driven::new(Policy::FIXED);
        let reason = CloseReason::Refused(failure);
        assert_eq!(driven.failed(failure), Some(Event::Closed { reason }));
        let mut driven = Driven::open(Policy::FIXED);
        reconnecting(driven.closed(1_006));
        driven.tick();
        let (attempt, _, _) = reconnecting(driven.failed(failure));
        assert_eq!(attempt, 2);
    }
}

/// Covers: S3.10b
#[test]
fn a_refused_token_ends_it_unless_there_is_another() {
    for code in [401, 403] {
        for another in [false, true] {
            let mut driven = Driven::new(Policy::FIXED);
            assert_eq!(driven.failed(status(code)), None);
            let asked = driven.asked.unwrap();
            let event = driven.machine.handle_token(asked, another, driven.now);
            if another {
                let cause = Cause::DialFailed(status(code));
                assert_eq!(reconnecting(event), (1, 2 * SECOND, cause));
                assert_eq!(driven.machine.handle_token(asked, false, driven.now), None);
                driven.tick();
                assert_eq!(driven.machine.handle_token(asked, false, driven.now), None);
                assert_eq!(driven.opened(), Some(Event::Connected));
                assert_eq!(driven.machine.handle_token(asked, false, driven.now), None);
            } else {
                let reason = CloseReason::Unauthorized;
                assert_eq!(event, Some(Event::Closed { reason }));
            }
        }
    }
}

#[test]
fn other_tokens_for_ever_spend_the_budget() {
    let mut driven = Driven::new(Policy::FIXED);
    let mut ended = None;
    while ended.is_none() {
        assert_eq!(driven.failed(status(401)), None);
        let asked = driven.asked.take().unwrap();
        match driven.machine.handle_token(asked, true, driven.now) {
            Some(Event::Closed { reason }) => ended = Some(reason),
            _ => assert_eq!(driven.tick(), None),
        }
    }
    assert_eq!(driven.dials, 6);
    assert!(matches!(ended, Some(CloseReason::GaveUp { .. })));
}

/// Covers: S3.5
#[test]
fn a_token_that_never_comes_ends_it() {
    let mut driven = Driven::new(Policy::FIXED);
    let start = driven.now;
    driven.failed(status(401));
    let wrong = Driven::new(Policy::FIXED).live.unwrap();
    let mut other = driven.machine.clone();
    assert_eq!(
        driven.asked,
        Some(wrong),
        "the first epoch of each is equal"
    );
    assert_eq!(other.handle_token(Epoch::default(), false, start), None);
    let reason = CloseReason::Unauthorized;
    assert_eq!(driven.tick(), Some(Event::Closed { reason }));
    assert_eq!(driven.now.since(start), 30 * SECOND);
}

/// Covers: S3.3
#[test]
fn late_events_of_a_replaced_transport_do_nothing() {
    let mut driven = Driven::open(Policy::FIXED);
    let old = driven.live.unwrap();
    reconnecting(driven.machine.reconnect(driven.now));
    driven.act();
    for step in 0..3 {
        let before = driven.machine.clone();
        let now = driven.now;
        assert_eq!(driven.machine.handle_opened(old, now), None);
        assert_eq!(driven.machine.handle_message(old, MESSAGE), None);
        assert_eq!(driven.machine.handle_closed(old, Some(4_003), now), None);
        assert_eq!(
            driven.machine.handle_dial_failed(old, status(401), now),
            None
        );
        assert_eq!(driven.machine.handle_message_too_long(old, now), None);
        driven.machine.handle_pong(old);
        driven.machine.handle_transmitted(old);
        assert_eq!(driven.machine.poll_transmit(old), None);
        assert_eq!(driven.machine, before, "in step {step}");
        match step {
            0 => drop(driven.tick()),
            1 => drop(driven.opened()),
            _ => {}
        }
    }
    // The old transport's pong is no answer to the new one's ping.
    driven.tick();
    driven.machine.handle_pong(old);
    let (_, _, cause) = reconnecting(driven.tick());
    assert_eq!(cause, Cause::NoPong);
}

/// Covers: S3.14
#[test]
fn a_forced_reconnect_starts_with_whole_budgets_after_half_a_second() {
    let mut driven = Driven::open(Policy::FIXED);
    for _ in 0..4 {
        reconnecting(driven.closed(1_006));
        driven.tick();
        driven.opened();
    }
    let event = reconnecting(driven.machine.reconnect(driven.now));
    assert_eq!(event, (0, Duration::from_millis(500), Cause::Forced));
    driven.act();
    assert_eq!(driven.live, None);
    driven.tick();
    driven.opened();
    let (attempt, _, _) = reconnecting(driven.closed(1_006));
    assert_eq!(attempt, 1);
    let mut idle = Subscription::new(&Limits::DEFAULT, Policy::FIXED, 7);
    assert_eq!(idle.reconnect(driven.now), None);
    assert_eq!(idle.handle_wake(driven.now), None);
    assert_eq!(idle.handle_timeout(driven.now), None);
    assert_eq!(idle.poll_timeout(), None);
}

/// Covers: S3.9a, S3.9b
#[test]
fn after_a_sleep_the_connection_is_probed_at_once() {
    let mut driven = Driven::open(Policy::FIXED);
    for _ in 0..4 {
        reconnecting(driven.closed(1_006));
        driven.tick();
        driven.opened();
    }
    // A tick half a minute late: more than a minute since the one before.
    driven.later(60 * SECOND);
    assert_eq!(driven.machine.handle_timeout(driven.now), None);
    driven.act();
    assert_eq!(driven.pings, 1);
    let probed = driven.now;
    let (attempt, _, cause) = reconnecting(driven.tick());
    assert_eq!((attempt, cause), (1, Cause::NoPong));
    assert_eq!(driven.now.since(probed), 10 * SECOND);
}

/// Covers: S3.9a
#[test]
fn a_tick_that_is_a_little_late_is_no_sleep() {
    let mut driven = Driven::open(Policy::FIXED);
    driven.later(60 * SECOND - Duration::from_nanos(1));
    assert_eq!(driven.machine.handle_timeout(driven.now), None);
    let next = driven.machine.poll_timeout().unwrap();
    assert_eq!(next.since(driven.now), 30 * SECOND);
}

/// Covers: S3.9a
#[test]
fn after_a_sleep_a_dial_starts_anew_and_a_wait_ends() {
    for waits in [false, true] {
        let mut driven = Driven::new(Policy::FIXED);
        for _ in 0..4 {
            driven.failed(DialFailure::Unreachable);
            driven.tick();
        }
        if waits {
            driven.failed(DialFailure::Unreachable);
        }
        driven.later(3_600 * SECOND);
        let event = reconnecting(driven.machine.handle_timeout(driven.now));
        assert_eq!(event, (0, Duration::ZERO, Cause::Slept));
        driven.act();
        assert_eq!(driven.dials, 6);
        let (attempt, _, _) = reconnecting(driven.failed(DialFailure::Unreachable));
        assert_eq!(attempt, 1, "the budget starts again");
    }
}

#[test]
fn after_a_sleep_a_token_is_waited_for_anew() {
    let mut driven = Driven::new(Policy::FIXED);
    driven.failed(status(401));
    driven.later(3_600 * SECOND);
    assert_eq!(driven.machine.handle_timeout(driven.now), None);
    let due = driven.machine.poll_timeout().unwrap();
    assert_eq!(due.since(driven.now), 30 * SECOND);
}

#[test]
fn a_message_that_is_too_long_ends_the_connection() {
    let mut driven = Driven::open(Policy::FIXED);
    let epoch = driven.live.unwrap();
    let event = driven.machine.handle_message_too_long(epoch, driven.now);
    let (_, _, cause) = reconnecting(event);
    assert_eq!(cause, Cause::MessageTooLong);
    driven.act();
    assert_eq!(driven.live, None);
}

#[test]
fn a_transport_that_goes_during_the_dial_is_a_failed_dial() {
    let mut driven = Driven::new(Policy::FIXED);
    let (_, _, cause) = reconnecting(driven.closed(4_003));
    assert_eq!(cause, Cause::DialFailed(DialFailure::Unreachable));
}

/// Covers: S2.3
#[test]
fn messages_that_are_none_are_counted_and_close_nothing() {
    let mut driven = Driven::open(Policy::FIXED);
    let why = NotForwarded::NotAnObject;
    assert_eq!(driven.received("?"), Some(Event::MessageIgnored(why)));
    assert_eq!(driven.received("[]"), Some(Event::MessageIgnored(why)));
    assert_eq!(driven.machine.ignored(), 2);
    assert_eq!(driven.received(MESSAGE), Some(Event::MessageReceived));
    assert_eq!(driven.machine.ignored(), 2);
    let (epoch, why) = (driven.live.unwrap(), NotForwarded::Binary);
    let ignored = Some(Event::MessageIgnored(why));
    assert_eq!(driven.machine.handle_binary(epoch), ignored);
    assert_eq!(driven.machine.handle_binary(Epoch::default()), None);
    assert_eq!(driven.machine.ignored(), 3);
    // It is a sign of life, but no traffic.
    driven.tick();
    driven.machine.handle_binary(epoch);
    assert_eq!(driven.tick(), None);
}

/// Covers: S2.6, S2.13, S2.15
#[test]
fn a_request_is_answered_once() {
    let mut driven = Driven::open(Policy::FIXED);
    let text = asks("r1", "can_use_tool");
    let Some(Event::RequestArrived {
        request_id,
        request,
    }) = driven.received(&text)
    else {
        panic!("a request arrived");
    };
    assert_eq!((&*request_id, request.subtype()), ("r1", "can_use_tool"));
    assert_eq!(driven.machine.pending_requests(), 1);
    let allow = Answer::Allow {
        updated_input: None,
    };
    assert_eq!(
        driven.machine.answer("r2", allow),
        Err(SendError::UnknownRequest)
    );
    assert_eq!(driven.machine.answer("r1", allow), Ok(()));
    assert_eq!(
        driven.machine.answer("r1", allow),
        Err(SendError::UnknownRequest)
    );
    assert_eq!(driven.machine.unsent(), 1);
    assert_eq!(
        driven.transmitted().unwrap(),
        r#"{"type":"control_response","response":{"subtype":"success","request_id":"r1","response":{"behavior":"allow","updatedInput":{"command":"ls"}}}}"#
    );
    assert_eq!(driven.transmitted(), None);
}

/// Covers: S2.7, S2.8
#[test]
fn every_answer_is_a_response() {
    for (answer, expected) in [
        (
            Answer::Allow {
                updated_input: Some("[1]"),
            },
            r#""response":{"behavior":"allow","updatedInput":[1]}"#,
        ),
        (
            Answer::Deny { message: "no" },
            r#""response":{"behavior":"deny","message":"no"}"#,
        ),
        (
            Answer::Success {
                response: Some("{}"),
            },
            r#""request_id":"r1","response":{}"#,
        ),
        (
            Answer::Success { response: None },
            r#""subtype":"success","request_id":"r1"}"#,
        ),
        (
            Answer::Error { error: "e" },
            r#""subtype":"error","request_id":"r1","error":"e""#,
        ),
    ] {
        let mut driven = Driven::open(Policy::FIXED);
        assert_eq!(driven.request("r1"), None);
        driven.machine.answer("r1", answer).unwrap();
        let frame = driven.transmitted().unwrap();
        assert!(frame.contains(expected), "{frame}");
    }
    let mut driven = Driven::open(Policy::FIXED);
    driven.request("r1");
    let allow = Answer::Allow {
        updated_input: Some("{"),
    };
    assert_eq!(driven.machine.answer("r1", allow), Err(SendError::NotJson));
    assert_eq!(driven.machine.pending_requests(), 1);
}

/// Covers: S2.14
#[test]
fn a_request_that_is_not_served_is_refused_with_the_contracts_words() {
    let mut driven = Driven::open(Policy::FIXED);
    let text = asks("r1", "foo");
    let refused = Event::RequestRefused {
        request_id: "r1".into(),
        answered: true,
    };
    assert_eq!(driven.received(&text), Some(refused));
    assert_eq!(
        driven.transmitted().unwrap(),
        r#"{"type":"control_response","response":{"subtype":"error","request_id":"r1","error":"Unsupported control request subtype: foo"}}"#
    );
    assert_eq!(driven.machine.pending_requests(), 0);
    let mut serving = Driven::open(Policy::FIXED);
    serving.machine = serving.machine.serving(&["foo"]);
    let event = serving.received(&text);
    assert!(matches!(event, Some(Event::RequestArrived { .. })));
}

/// Covers: S2.5, S2.13
#[test]
fn a_request_is_taken_back_by_its_server_only_while_it_waits() {
    let mut driven = Driven::open(Policy::FIXED);
    driven.request("r1");
    let cancel = r#"{"type":"control_cancel_request","request_id":"r1"}"#;
    let cancelled = Event::RequestCancelled {
        request_id: "r1".into(),
        cancelled: Cancelled::ByServer,
    };
    assert_eq!(driven.received(cancel), Some(cancelled));
    assert_eq!(driven.received(cancel), Some(Event::MessageReceived));
    let deny = Answer::Deny { message: "" };
    assert_eq!(
        driven.machine.answer("r1", deny),
        Err(SendError::UnknownRequest)
    );
}

/// Covers: S3.7
#[test]
fn requests_are_dropped_at_a_reconnect_and_the_caller_is_told() {
    let mut driven = Driven::open(Policy::FIXED);
    for id in ["r1", "r2", "r3"] {
        driven.request(id);
    }
    driven.closed(1_006);
    assert_eq!(driven.machine.poll_event(), None);
    // The answer of the meantime is kept, and is sent over the next connection.
    let deny = Answer::Deny { message: "no" };
    driven.machine.answer("r2", deny).unwrap();
    driven.tick();
    driven.opened();
    assert_eq!(
        driven.machine.answer("r1", deny),
        Err(SendError::UnknownRequest)
    );
    // One is asked anew before the caller has heard that it was dropped.
    driven.request("r3");
    let dropped = driven.machine.poll_event();
    let cancelled = Event::RequestCancelled {
        request_id: "r1".into(),
        cancelled: Cancelled::Reconnected,
    };
    assert_eq!(dropped, Some(cancelled));
    assert_eq!(driven.machine.poll_event(), None);
    assert_eq!(driven.machine.pending_requests(), 1);
    assert!(driven.transmitted().unwrap().contains("r2"));
}

#[test]
fn requests_are_bounded_and_what_is_too_many_is_refused() {
    let limits = Limits::builder().max_pending_requests(2).build().unwrap();
    let mut driven = Driven::with(&limits, Policy::FIXED);
    driven.opened();
    assert_eq!(driven.request("r1"), None);
    assert_eq!(driven.request("r2"), None);
    let refused = driven.request("r3");
    assert!(matches!(
        refused,
        Some(Event::RequestRefused { answered: true, .. })
    ));
    let frame = driven.transmitted().unwrap();
    assert!(frame.contains("Too many control requests wait for an answer"));
    // Asked again it takes the place that it has.
    assert_eq!(driven.request("r2"), None);
    assert_eq!(driven.machine.pending_requests(), 2);
    // Those that are dropped keep their places until the caller has heard of them.
    driven.closed(1_006);
    driven.tick();
    driven.opened();
    assert!(driven.request("r4").is_some());
    assert!(driven.machine.poll_event().is_some());
    assert_eq!(driven.request("r5"), None);
}

#[test]
fn the_bytes_of_requests_are_bounded() {
    let limits = Limits::builder().max_pending_bytes(1_024).build().unwrap();
    let mut driven = Driven::with(&limits, Policy::FIXED);
    driven.opened();
    let own = "{\"command\":\"ls\"}".len();
    assert_eq!(driven.request(&"a".repeat(1_024 - own)), None);
    assert!(driven.request("b").is_some());
    let deny = Answer::Deny { message: "" };
    let answered = driven.machine.answer(&"a".repeat(1_024 - own), deny);
    assert_eq!(answered, Ok(()));
    assert!(driven.request(&"b".repeat(1_025 - own)).is_some());
    assert_eq!(driven.request(&"b".repeat(1_024 - own)), None);
}

/// Covers: S2.9, S3.6a
#[test]
fn what_is_to_be_sent_waits_in_order_for_a_connection() {
    let mut driven = Driven::new(Policy::FIXED);
    for id in ["u1", "u2"] {
        driven.machine.request(id, &Request::Interrupt).unwrap();
    }
    assert_eq!(driven.transmitted(), None);
    driven.opened();
    let epoch = driven.live.unwrap();
    let first = driven.machine.poll_transmit(epoch).unwrap().to_owned();
    assert_eq!(
        first,
        r#"{"type":"control_request","request_id":"u1","request":{"subtype":"interrupt"}}"#
    );
    // It was not written when the connection broke: it comes again.
    driven.closed(1_006);
    driven.machine.handle_transmitted(epoch);
    driven.tick();
    driven.opened();
    assert_eq!(driven.transmitted(), Some(first));
    assert!(driven.transmitted().unwrap().contains("u2"));
    assert_eq!(driven.transmitted(), None);
    assert_eq!(driven.machine.unsent(), 0);
}

/// Covers: S3.6a, S3.6b
#[test]
fn what_waits_to_be_sent_is_bounded() {
    let limits = Limits::builder().max_outbox_frames(2);
    let limits = limits.max_outbox_bytes(1_024).build().unwrap();
    let mut driven = Driven::with(&limits, Policy::FIXED);
    driven.opened();
    let frame = Request::Interrupt.frame("").len();
    let of = |bytes: usize| "i".repeat(bytes - frame);
    let interrupt = Request::Interrupt;
    assert_eq!(
        driven.machine.request(&of(1_025), &interrupt),
        Err(SendError::TooLong {
            bytes: 1_025,
            limit: 1_024
        })
    );
    driven.machine.request(&of(1_000), &interrupt).unwrap();
    let full = Err(SendError::Full);
    assert_eq!(driven.machine.request(&of(100), &interrupt), full);
    driven.transmitted().unwrap();
    driven.machine.request(&of(900), &interrupt).unwrap();
    driven.machine.request(&of(124), &interrupt).unwrap();
    assert_eq!(driven.machine.request("", &interrupt), full);
    // No room for a refusal either, and none for an answer: the request waits on.
    let text = asks("r1", "foo");
    let refused = Event::RequestRefused {
        request_id: "r1".into(),
        answered: false,
    };
    assert_eq!(driven.received(&text), Some(refused));
    driven.request("r2");
    let deny = Answer::Deny { message: "" };
    assert_eq!(driven.machine.answer("r2", deny), full);
    assert_eq!(driven.machine.pending_requests(), 1);
    driven.transmitted().unwrap();
    assert_eq!(driven.machine.answer("r2", deny), Ok(()));
    driven.machine.close();
    assert_eq!(driven.machine.unsent(), 2);
    assert_eq!(driven.machine.pending_requests(), 0);
}

/// Covers: S3.8b
#[test]
fn retry_after_is_honoured() {
    let mut driven = Driven::new(Policy::FIXED);
    let failure = DialFailure::Status {
        status: 503,
        retry_after: Some(7 * SECOND),
    };
    let (_, delay, _) = reconnecting(driven.failed(failure));
    assert_eq!(delay, 9 * SECOND);
    driven.tick();
    let failure = DialFailure::Status {
        status: 404,
        retry_after: Some(7 * SECOND),
    };
    let (_, delay, _) = reconnecting(driven.failed(failure));
    assert_eq!(delay, 9 * SECOND);
}

/// Covers: S3.16
#[test]
fn it_gives_up_after_half_an_hour_without_a_connection_that_proved_itself() {
    let mut driven = Driven::new(Policy::RESILIENT);
    let start = driven.now;
    let reason = loop {
        match driven.failed(DialFailure::Unreachable) {
            Some(Event::Closed { reason }) => break reason,
            _ => assert_eq!(driven.tick(), None),
        }
    };
    assert!(matches!(
        reason,
        CloseReason::GaveUp {
            why: GaveUp::Time,
            ..
        }
    ));
    let lasted = driven.now.since(start);
    assert!(lasted >= 1_800 * SECOND && lasted <= 1_860 * SECOND);
    assert!(driven.dials > 30 && driven.dials < Policy::RESILIENT.max_dials());
}

#[test]
fn ten_minutes_without_a_server_are_survived() {
    let mut driven = Driven::open(Policy::RESILIENT);
    driven.closed(1_001);
    let end = driven.now.after(600 * SECOND);
    driven.tick();
    while driven.now < end {
        reconnecting(driven.failed(DialFailure::Unreachable));
        driven.tick();
    }
    assert_eq!(driven.opened(), Some(Event::Connected));
    assert!(driven.dials < 60, "{} dials", driven.dials);
}

#[test]
fn a_server_that_speaks_and_closes_is_not_hammered() {
    let mut driven = Driven::new(Policy::RESILIENT);
    let start = driven.now;
    for _ in 0..200 {
        driven.opened();
        driven.received(MESSAGE);
        reconnecting(driven.closed(1_006));
        driven.tick();
    }
    let mean = driven.now.since(start) / 200;
    assert!(mean > 20 * SECOND, "dialled every {mean:?}");
}

#[test]
fn reasons_and_errors_read_well() {
    let status = status(418);
    for (text, expected) in [
        (status.to_string(), "refused with HTTP status 418"),
        (DialFailure::NoToken.to_string(), "no token to be had"),
        (
            DialFailure::Unreachable.to_string(),
            "the server cannot be reached",
        ),
        (
            DialFailure::NotWebSocket.to_string(),
            "the answer is no WebSocket upgrade",
        ),
        (
            DialFailure::Untrusted.to_string(),
            "the certificate is not trusted",
        ),
        (
            DialFailure::ProxyRefused.to_string(),
            "refused by the proxy",
        ),
        (
            Cause::DialFailed(status).to_string(),
            "refused with HTTP status 418",
        ),
        (Cause::DialTimedOut.to_string(), "dialling took too long"),
        (
            Cause::ConnectionClosed(None).to_string(),
            "the connection broke",
        ),
        (
            Cause::ConnectionClosed(Some(4_001)).to_string(),
            "the session was not found (code 4001)",
        ),
        (
            Cause::ConnectionClosed(Some(1_001)).to_string(),
            "the connection was closed (code 1001)",
        ),
        (Cause::MessageTooLong.to_string(), "a message was too long"),
        (Cause::NoPong.to_string(), "a ping was not answered"),
        (Cause::Slept.to_string(), "the machine slept"),
        (Cause::Forced.to_string(), "as was asked for"),
        (CloseReason::User.to_string(), "closed"),
        (
            CloseReason::Unauthorized.to_string(),
            "the token was refused",
        ),
        (
            CloseReason::Refused(DialFailure::Untrusted).to_string(),
            "the certificate is not trusted",
        ),
        (
            CloseReason::GaveUp {
                why: GaveUp::Time,
                cause: Cause::NoPong,
            }
            .to_string(),
            "gave up: it has failed for too long; last: a ping was not answered",
        ),
        (
            SendError::UnknownRequest.to_string(),
            "no request of this id waits for an answer",
        ),
        (SendError::NotJson.to_string(), "not one JSON value"),
        (SendError::Full.to_string(), "too much waits to be sent"),
        (
            SendError::TooLong { bytes: 2, limit: 1 }.to_string(),
            "the frame takes 2 bytes; at most 1 may wait",
        ),
        (
            SendError::Closed(CloseReason::User).to_string(),
            "the subscription has ended: closed",
        ),
    ] {
        assert_eq!(text, expected);
    }
}
