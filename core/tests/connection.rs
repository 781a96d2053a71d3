//! The server's connection through its public face: every row of local.md §3 that needs no
//! socket, and every way to end.

use std::time::Duration;

use hallway_core::local::connection::{Action, CloseReason, Connection, Event, Refusal, Server};
use hallway_core::local::inbox::{Inbox, Peer};
use hallway_core::{FrameTooLong, Instant, Limits, Token, UnixTime};

const PEER: Peer = Peer { uid: 1, pid: 2 };
const T0: Instant = Instant::from_nanos(5);

/// A server, its inbox, and one connection, driven as a shell drives them.
struct World {
    server: Server,
    inbox: Inbox,
    connection: Connection,
    now: Instant,
    replies: String,
}

fn limits() -> Limits {
    Limits::DEFAULT
}

impl World {
    fn new(limits: &Limits) -> Self {
        Self {
            server: Server::new("/s\"", Token::parse("T").unwrap()),
            inbox: Inbox::new(limits),
            connection: Connection::new(limits, T0),
            now: T0,
            replies: String::new(),
        }
    }

    /// Takes all frames; does not write.
    fn turn(&mut self) {
        while let Some(event) =
            self.connection
                .handle_frame(&self.server, self.now, UnixTime::EPOCH)
        {
            if let Event::MessageReceived(kept) = event {
                let id = self.inbox.push(kept, PEER, UnixTime::EPOCH).ok();
                self.connection
                    .handle_enqueued(id, self.now, UnixTime::EPOCH);
            }
        }
    }

    fn flush(&mut self) {
        let pending = self.connection.pending().to_vec();
        self.replies
            .push_str(core::str::from_utf8(&pending).unwrap());
        self.connection.handle_output(pending.len(), self.now);
    }

    /// Feeds all of `bytes` that the connection takes, in reads of at most `cut` bytes.
    fn feed(&mut self, bytes: &[u8], cut: usize) -> usize {
        let mut fed = 0;
        while fed < bytes.len() {
            let spare = self.connection.spare_mut();
            let n = spare.len().min(cut).min(bytes.len() - fed);
            if n == 0 {
                break;
            }
            spare[..n].copy_from_slice(&bytes[fed..fed + n]);
            self.connection.handle_input(n, self.now);
            fed += n;
            self.turn();
            self.flush();
        }
        fed
    }

    fn later(&mut self, span: Duration) {
        self.now = self.now.after(span);
        self.connection.handle_timeout(self.now, UnixTime::EPOCH);
        self.turn();
        self.flush();
    }

    fn messages(&self) -> Vec<&str> {
        self.inbox
            .pending(None)
            .map(|entry| entry.message())
            .collect()
    }
}

fn ok(n: u64) -> String {
    format!(
        "{{\"type\":\"response\",\"data\":\"ok\",\"ts\":\"1970-01-01T00:00:00.000Z\",\"meta\":{{\"id\":\"uds-{n}\"}}}}\n"
    )
}

fn error(text: &str) -> String {
    format!("{{\"type\":\"error\",\"data\":\"{text}\",\"ts\":\"1970-01-01T00:00:00.000Z\"}}\n")
}

const PONG: &str = "{\"type\":\"pong\",\"from\":\"/s\\\"\",\"ts\":\"1970-01-01T00:00:00.000Z\"}\n";
const PING: &str = "{\"type\":\"ping\",\"meta\":{\"authToken\":\"T\"}}\n";

fn text(data: &str) -> String {
    format!("{{\"type\":\"text\",\"data\":\"{data}\",\"meta\":{{\"authToken\":\"T\"}}}}\n")
}

#[test]
fn messages_and_pings_are_answered_in_order_however_cut() {
    let bytes = [&text("a"), PING, "\r\n \t\n", &text("é😀"), PING].concat();
    for cut in 1..=bytes.len() {
        let mut world = World::new(&limits());
        assert_eq!(world.feed(bytes.as_bytes(), cut), bytes.len());
        assert_eq!(
            world.replies,
            [&ok(1), PONG, &ok(2), PONG].concat(),
            "cut {cut}"
        );
        assert_eq!(
            world.messages(),
            [
                r#"{"type":"text","data":"a"}"#,
                r#"{"type":"text","data":"é😀"}"#
            ]
        );
        assert!(world.connection.is_authenticated());
    }
}

/// Covers: L3.23, L5.2
#[test]
fn one_error_frame_and_nothing_after_it_however_cut() {
    let too_long = "x".repeat(65_537);
    for (bad, refusal, words) in [
        ("{\n", Refusal::InvalidFrame, "invalid frame"),
        ("null\n", Refusal::InvalidFrame, "invalid frame"),
        ("[1]\n", Refusal::Unauthorized, "unauthorized"),
        ("{}\n", Refusal::Unauthorized, "unauthorized"),
        (
            "{\"meta\":{\"authToken\":\"\"}}\n",
            Refusal::Unauthorized,
            "unauthorized",
        ),
        (
            "{\"meta\":{\"authToken\":\"TT\"}}\n",
            Refusal::Unauthorized,
            "unauthorized",
        ),
        (
            too_long.as_str(),
            Refusal::FrameTooLong(FrameTooLong { limit: 65_536 }),
            "NDJSON frame exceeded 65536 bytes (65537)",
        ),
    ] {
        let bytes = [&text("a"), bad, &text("b"), PING].concat();
        for cut in [1, 2, 3, 60, 4_096, 1 << 20] {
            let mut world = World::new(&limits());
            world.feed(bytes.as_bytes(), cut);
            assert_eq!(
                world.replies,
                [ok(1), error(words)].concat(),
                "{bad} cut {cut}"
            );
            assert_eq!(world.messages().len(), 1);
            let reason = CloseReason::Refused(refusal);
            assert_eq!(world.connection.close_reason(), Some(reason));
            assert!(
                !world.connection.is_closed(),
                "the peer may read the error first"
            );
            assert_eq!(world.connection.poll_action(), Some(Action::FinishOutput));
            assert_eq!(world.connection.poll_action(), None);
            world.connection.handle_end_of_input();
            assert!(world.connection.is_closed());
            assert_eq!(world.connection.poll_action(), Some(Action::Hangup));
            assert_eq!(world.connection.poll_action(), None);
        }
    }
}

#[test]
fn a_closing_connection_swallows_input_and_ends_by_its_deadline() {
    let mut world = World::new(&limits());
    world.feed(b"{}\n", 3);
    let due = world.connection.poll_timeout().unwrap();
    assert_eq!(due, T0.after(limits().closing_timeout()));
    for _ in 0..1_000 {
        assert!(!world.connection.spare_mut().is_empty());
        world.feed(text("late").as_bytes(), 4_096);
    }
    assert_eq!(
        world.connection.poll_timeout(),
        Some(due),
        "input does not buy time"
    );
    assert_eq!(world.replies, error("unauthorized"));
    world.later(Duration::from_millis(999));
    assert!(!world.connection.is_closed());
    world.later(Duration::from_millis(1));
    assert!(world.connection.is_closed());
    assert_eq!(world.connection.poll_timeout(), None);
    assert!(world.connection.spare_mut().is_empty());
    assert!(world.messages().is_empty());
}

/// Covers: L5.4
#[test]
fn an_error_that_is_never_read_does_not_pin_the_connection() {
    let mut world = World::new(&limits());
    let spare = world.connection.spare_mut();
    spare[..3].copy_from_slice(b"{}\n");
    world.connection.handle_input(3, T0);
    world.turn();
    assert!(!world.connection.pending().is_empty());
    assert_eq!(
        world.connection.poll_action(),
        None,
        "not before the error is written"
    );
    world.connection.handle_end_of_input();
    assert!(!world.connection.is_closed());
    let due = world.connection.poll_timeout().unwrap();
    world.connection.handle_timeout(due, UnixTime::EPOCH);
    assert!(world.connection.is_closed() && world.connection.pending().is_empty());
}

/// Covers: L3.19, L3.28
#[test]
fn the_first_authorised_frame_ends_the_auth_deadline() {
    for (frames, authenticated) in [("", false), ("\n \n{\"type\"", false), (PING, true)] {
        let mut world = World::new(&limits());
        world.feed(frames.as_bytes(), 1);
        world.later(Duration::from_millis(1_999));
        assert_eq!(world.connection.close_reason(), None);
        world.later(Duration::from_millis(1));
        if authenticated {
            assert_eq!(world.connection.close_reason(), None);
        } else {
            assert_eq!(world.replies, error("authentication timeout"));
            let reason = CloseReason::Refused(Refusal::AuthenticationTimeout);
            assert_eq!(world.connection.close_reason(), Some(reason));
            assert!(!world.connection.is_authenticated());
        }
    }
}

/// Covers: L3.20
#[test]
fn every_byte_in_either_direction_moves_the_idle_deadline() {
    let mut world = World::new(&limits());
    world.feed(PING.as_bytes(), 100);
    world.later(Duration::from_secs(29));
    world.feed(b"{", 1);
    let due = world.now.after(Duration::from_secs(30));
    assert_eq!(world.connection.poll_timeout(), Some(due));
    world
        .connection
        .handle_input(0, world.now.after(Duration::from_secs(1)));
    assert_eq!(
        world.connection.poll_timeout(),
        Some(due),
        "no byte, no time"
    );
    world.later(Duration::from_secs(30));
    assert_eq!(world.replies, [PONG, &error("idle timeout")].concat());

    let mut world = World::new(&limits());
    let spare = world.connection.spare_mut();
    spare[..PING.len()].copy_from_slice(PING.as_bytes());
    world.connection.handle_input(PING.len(), T0);
    world.turn();
    let read = T0.after(Duration::from_secs(29));
    world.connection.handle_output(1, read);
    assert_eq!(
        world.connection.poll_timeout(),
        Some(read.after(Duration::from_secs(30)))
    );
}

#[test]
fn half_close_answers_complete_frames_and_then_closes() {
    let mut world = World::new(&limits());
    let bytes = [&text("a"), PING, "{\"type\":\"text\""].concat();
    let spare = world.connection.spare_mut();
    spare[..bytes.len()].copy_from_slice(bytes.as_bytes());
    world.connection.handle_input(bytes.len(), T0);
    world.connection.handle_end_of_input();
    assert!(world.connection.spare_mut().is_empty());
    world.turn();
    assert_eq!(world.connection.close_reason(), Some(CloseReason::Finished));
    assert!(
        !world.connection.is_closed(),
        "the answers are still to be written"
    );
    world.flush();
    assert_eq!(world.replies, [&ok(1), PONG].concat());
    assert!(world.connection.is_closed());
    assert_eq!(world.connection.poll_action(), Some(Action::Hangup));
}

#[test]
fn a_stop_answers_what_was_received_and_reads_no_more() {
    let mut world = World::new(&limits());
    let bytes = text("a");
    let spare = world.connection.spare_mut();
    spare[..bytes.len()].copy_from_slice(bytes.as_bytes());
    world.connection.handle_input(bytes.len(), T0);
    world.connection.handle_stop();
    assert_eq!(world.feed(b"{}\n", 3), 0);
    world.turn();
    world.flush();
    assert_eq!(world.replies, ok(1));
    assert_eq!(world.connection.close_reason(), Some(CloseReason::Stopped));
    assert!(world.connection.is_closed());
}

#[test]
fn a_stop_after_the_peers_end_changes_nothing() {
    let mut world = World::new(&limits());
    world.connection.handle_end_of_input();
    world.connection.handle_stop();
    world.turn();
    assert_eq!(world.connection.close_reason(), Some(CloseReason::Finished));
    assert!(world.connection.is_closed());
    let before = world.connection.clone();
    world.connection.handle_stop();
    world.connection.handle_end_of_input();
    world.connection.handle_broken();
    world.connection.handle_eviction(T0, UnixTime::EPOCH);
    world
        .connection
        .handle_timeout(T0.after(Duration::MAX), UnixTime::EPOCH);
    world.connection.handle_input(0, T0);
    world.connection.handle_output(0, T0);
    assert_eq!(world.connection, before, "closed stays closed");
}

#[test]
fn a_full_inbox_ends_the_connection_and_burns_no_id() {
    let limits = Limits::builder().max_inbox_entries(1).build().unwrap();
    let mut world = World::new(&limits);
    world.feed([text("a"), text("b"), text("c")].concat().as_bytes(), 4_096);
    assert_eq!(world.replies, [ok(1), error("inbox full")].concat());
    assert_eq!(world.messages().len(), 1);
    let reason = CloseReason::Refused(Refusal::InboxFull);
    assert_eq!(world.connection.close_reason(), Some(reason));
}

#[test]
fn no_frame_is_taken_between_a_message_and_its_answer() {
    let mut world = World::new(&limits());
    let bytes = [&text("a"), PING].concat();
    let spare = world.connection.spare_mut();
    spare[..bytes.len()].copy_from_slice(bytes.as_bytes());
    world.connection.handle_input(bytes.len(), T0);
    let wall = UnixTime::EPOCH;
    world.connection.handle_enqueued(None, T0, wall);
    assert_eq!(
        world.connection.close_reason(),
        None,
        "an answer to nothing is nothing"
    );
    assert!(matches!(
        world.connection.handle_frame(&world.server, T0, wall),
        Some(Event::MessageReceived(kept)) if &*kept.to_text() == r#"{"type":"text","data":"a"}"#
    ));
    assert_eq!(world.connection.handle_frame(&world.server, T0, wall), None);
    world.connection.handle_enqueued(None, T0, wall);
    world.flush();
    assert_eq!(world.replies, error("inbox full"));
}

/// Covers: L5.3a, L5.3b
#[test]
fn unread_replies_stop_the_reading_and_memory_stays_bounded() {
    let limits = Limits::builder().max_outbox_bytes(1_024).build().unwrap();
    let mut world = World::new(&limits);
    let mut fed = 0;
    for _ in 0..1_000_000 {
        let spare = world.connection.spare_mut();
        let n = spare.len().min(PING.len());
        if n < PING.len() {
            break;
        }
        spare[..n].copy_from_slice(PING.as_bytes());
        world.connection.handle_input(n, T0);
        world.turn();
        assert!(world.connection.pending().len() <= 1_024);
        fed += 1;
    }
    assert!(world.connection.pending().len() > 1_024 - 2 * PONG.len());
    assert!(fed < 2_000, "input was taken without bound: {fed}");
    let mut answered = 0;
    while !world.connection.pending().is_empty() {
        answered += world.connection.pending().len() / PONG.len();
        world
            .connection
            .handle_output(world.connection.pending().len(), T0);
        world.turn();
    }
    assert_eq!(answered, fed, "every ping is answered once the peer reads");
    assert!(!world.connection.spare_mut().is_empty());
}

#[test]
fn a_stuck_reader_is_dropped() {
    let limits = Limits::builder().max_outbox_bytes(1_024).build().unwrap();
    let mut world = World::new(&limits);
    let bytes = PING.repeat(50);
    let spare = world.connection.spare_mut();
    spare[..bytes.len()].copy_from_slice(bytes.as_bytes());
    world.connection.handle_input(bytes.len(), T0);
    world.turn();
    let idle = world.connection.poll_timeout().unwrap();
    assert_eq!(idle, T0.after(limits.idle_timeout()));
    world.connection.handle_timeout(idle, UnixTime::EPOCH);
    let ending = core::str::from_utf8(world.connection.pending()).unwrap();
    assert!(
        ending.ends_with(&error("idle timeout")),
        "the error has its own room"
    );
    let closing = world.connection.poll_timeout().unwrap();
    world.connection.handle_timeout(closing, UnixTime::EPOCH);
    assert!(world.connection.is_closed());
}

#[test]
fn an_evicted_client_is_told() {
    let mut world = World::new(&limits());
    world.connection.handle_eviction(T0, UnixTime::EPOCH);
    world.flush();
    assert_eq!(world.replies, error("too many clients"));
    let reason = CloseReason::Refused(Refusal::TooManyClients);
    assert_eq!(world.connection.close_reason(), Some(reason));
    world.connection.handle_broken();
    assert_eq!(
        world.connection.close_reason(),
        Some(reason),
        "the first ending counts"
    );
    assert!(world.connection.is_closed());
}

#[test]
fn a_broken_transport_ends_it_at_once() {
    let mut world = World::new(&limits());
    world.feed(PING.as_bytes(), 100);
    world.connection.handle_broken();
    assert_eq!(world.connection.close_reason(), Some(CloseReason::Broken));
    assert_eq!(world.connection.poll_action(), Some(Action::Hangup));
}

#[test]
fn timeouts_are_harmless_when_early_or_repeated() {
    let mut world = World::new(&limits());
    world.feed(PING.as_bytes(), 100);
    let before = world.connection.clone();
    for _ in 0..3 {
        world.connection.handle_timeout(world.now, UnixTime::EPOCH);
    }
    assert_eq!(world.connection, before);
    world.later(Duration::from_secs(60));
    let closing = world.connection.clone();
    world.connection.handle_timeout(world.now, UnixTime::EPOCH);
    assert_eq!(world.connection, closing);
    world.connection.handle_input_drained();
    assert_eq!(world.replies, [PONG, &error("idle timeout")].concat());
}

#[test]
fn an_answer_of_the_callers_own_takes_the_place_of_ok() {
    let mut world = World::new(&limits());
    let bytes = [&text("a"), PING].concat();
    let spare = world.connection.spare_mut();
    spare[..bytes.len()].copy_from_slice(bytes.as_bytes());
    world.connection.handle_input(bytes.len(), T0);
    world.connection.handle_answered(b"{\"early\":1}");
    assert!(
        world
            .connection
            .handle_frame(&world.server, T0, UnixTime::EPOCH)
            .is_some()
    );
    world.connection.handle_answered(b"{\"own\":1}");
    world.connection.handle_answered(b"{\"twice\":1}");
    world.turn();
    world.flush();
    assert_eq!(world.replies, ["{\"own\":1}\n", PONG].concat());
}

#[test]
fn a_closing_connection_throws_away_what_it_has_and_what_comes() {
    let limits = Limits::builder().max_frame_bytes(512).build().unwrap();
    let mut world = World::new(&limits);
    let fresh = Connection::new(&limits, T0).spare_mut().len();
    // The buffer is full when its first frame turns out to be an error.
    let spare = world.connection.spare_mut();
    spare.fill(b'x');
    spare[1] = b'\n';
    let n = spare.len();
    world.connection.handle_input(n, T0);
    world.turn();
    assert_eq!(world.connection.spare_mut().len(), fresh);
    world.connection.handle_end_of_input();
    assert!(!world.connection.is_closed(), "the error is to be read");
    assert!(world.connection.spare_mut().is_empty());
}

#[test]
fn a_read_that_a_stop_overtakes_does_not_count() {
    let mut world = World::new(&limits());
    let ping = PING.as_bytes();
    world.connection.spare_mut()[..ping.len()].copy_from_slice(ping);
    world.connection.handle_stop();
    world.connection.handle_input(ping.len(), T0);
    world.turn();
    world.flush();
    assert_eq!(world.replies, "");
}

#[test]
fn a_refused_client_that_also_loses_its_place_is_told_one_thing() {
    let mut world = World::new(&limits());
    world.connection.spare_mut()[..3].copy_from_slice(b"{}\n");
    world.connection.handle_input(3, T0);
    world.turn();
    let told = world.connection.pending().to_vec();
    assert!(!told.is_empty());
    world.connection.handle_eviction(T0, UnixTime::EPOCH);
    assert_eq!(world.connection.pending(), told);
}

#[test]
fn a_refused_client_that_has_ended_is_not_waited_for() {
    let mut world = World::new(&limits());
    world.connection.spare_mut()[..3].copy_from_slice(b"{}\n");
    world.connection.handle_input(3, T0);
    world.connection.handle_end_of_input();
    world.turn();
    assert!(!world.connection.is_closed(), "the error is to be read");
    world.flush();
    assert!(world.connection.is_closed());
}
