//! Edges on which no other test of the core stands: bounds met exactly, facts that come late,
//! memory that is to be given back, members that nobody asked for.

use std::fmt::Write as _;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hallway_core::local::connection::{CloseReason, Connection, Event, Refusal, Server};
use hallway_core::local::exchange::{Answer, Data, Draft, Exchange, SendError};
use hallway_core::local::inbox::{EntryId, Inbox, Peer};
use hallway_core::local::message::Message;
use hallway_core::local::owner::{Question, Reply};
use hallway_core::{Framer, Instant, Limits, Mailbox, Token, UnixTime};

const PEER: Peer = Peer { uid: 1, pid: 2 };
const T0: Instant = Instant::from_nanos(5);
const WALL: UnixTime = UnixTime::EPOCH;
const PING: &[u8] = b"{\"type\":\"ping\",\"meta\":{\"authToken\":\"T\"}}\n";
const TEXT: &[u8] = b"{\"type\":\"text\",\"meta\":{\"authToken\":\"T\"}}\n";

fn token() -> Token {
    Token::parse("T").unwrap()
}

fn receive(connection: &mut Connection, bytes: &[u8]) {
    connection.spare_mut()[..bytes.len()].copy_from_slice(bytes);
    connection.handle_input(bytes.len(), T0);
}

mod framer {
    use super::*;

    #[test]
    fn a_frame_is_the_same_bytes_however_often_the_buffer_grew_or_moved() {
        let limits = Limits::DEFAULT;
        let byte = |at: usize| b'a' + u8::try_from(at % 23).unwrap();
        for (before, length) in [(0, 65_536), (3_000, 20_000), (4_000, 65_536)] {
            let first: Vec<u8> = (0..before).map(byte).chain([b'\n']).collect();
            let second: Vec<u8> = (0..length).map(byte).chain([b'\n']).collect();
            let stream = [first.as_slice(), &second].concat();
            let mut framer = Framer::new(&limits);
            let (mut frames, mut rest) = (Vec::new(), stream.as_slice());
            while !rest.is_empty() {
                let spare = framer.spare_mut();
                let n = spare.len().min(rest.len()).min(1_000);
                spare[..n].copy_from_slice(&rest[..n]);
                framer.commit(n);
                rest = &rest[n..];
                while let Some(frame) = framer.next_frame().unwrap() {
                    frames.push(frame.to_vec());
                }
            }
            assert_eq!(frames.len(), 2);
            assert_eq!(frames[0], first[..before]);
            assert_eq!(frames[1], second[..length]);
        }
    }
}

mod connection {
    use super::*;

    #[test]
    fn it_is_authenticated_by_its_first_authorised_frame_and_not_before() {
        let server = Server::new("/s", token());
        assert_eq!(server.token().expose(), "T");
        let mut connection = Connection::new(&Limits::DEFAULT, T0);
        assert!(!connection.is_authenticated());
        receive(&mut connection, PING);
        assert!(!connection.is_authenticated());
        let event = connection.handle_frame(&server, T0, WALL);
        assert_eq!(event, Some(Event::Pinged));
        assert!(connection.is_authenticated());
    }

    #[test]
    fn the_earlier_of_two_deadlines_is_due() {
        let builder = Limits::builder().auth_timeout(Duration::from_secs(9));
        for (idle, refusal) in [
            (3, Refusal::IdleTimeout),
            (10, Refusal::AuthenticationTimeout),
        ] {
            let limits = builder
                .idle_timeout(Duration::from_secs(idle))
                .build()
                .unwrap();
            let mut connection = Connection::new(&limits, T0);
            let due = T0.after(Duration::from_secs(idle.min(9)));
            assert_eq!(connection.poll_timeout(), Some(due));
            let early = Instant::from_nanos(due.as_nanos() - 1);
            connection.handle_timeout(early, WALL);
            assert_eq!(connection.close_reason(), None);
            connection.handle_timeout(due, WALL);
            let reason = CloseReason::Refused(refusal);
            assert_eq!(connection.close_reason(), Some(reason));
        }
    }

    #[test]
    fn an_answer_that_comes_after_the_end_is_dropped() {
        let server = Server::new("/s", token());
        for broken in [false, true] {
            let mut connection = Connection::new(&Limits::DEFAULT, T0);
            receive(&mut connection, TEXT);
            let event = connection.handle_frame(&server, T0, WALL);
            assert!(matches!(event, Some(Event::MessageReceived(_))));
            if broken {
                connection.handle_broken();
            } else {
                connection.handle_eviction(T0, WALL);
            }
            let before = connection.clone();
            connection.handle_enqueued(EntryId::parse("uds-1"), T0, WALL);
            connection.handle_enqueued(None, T0, WALL);
            connection.handle_answered(b"{}");
            assert_eq!(connection, before);
        }
    }

    #[test]
    fn a_frame_is_taken_while_the_longest_answer_fits_exactly() {
        let path = "x".repeat(256 - r#"{"type":"pong","from":"","ts":""}"#.len() - 24 - 1);
        let server = Server::new(&path, token());
        let limits = Limits::builder().max_outbox_bytes(1_024).build().unwrap();
        let mut connection = Connection::new(&limits, T0);
        receive(&mut connection, &PING.repeat(5));
        for answered in 1..=4 {
            let event = connection.handle_frame(&server, T0, WALL);
            assert_eq!(event, Some(Event::Pinged));
            assert_eq!(connection.pending().len(), answered * 256);
        }
        assert_eq!(connection.handle_frame(&server, T0, WALL), None);
        connection.handle_output(255, T0);
        assert_eq!(connection.handle_frame(&server, T0, WALL), None);
        connection.handle_output(1, T0);
        let event = connection.handle_frame(&server, T0, WALL);
        assert_eq!(event, Some(Event::Pinged));
    }

    #[test]
    fn a_burst_takes_memory_only_until_the_transport_pauses() {
        let server = Server::new("/s", token());
        let mut connection = Connection::new(&Limits::DEFAULT, T0);
        let fresh = connection.spare_mut().len();
        let data = "x".repeat(20_000);
        let long = format!("{{\"data\":\"{data}\",\"meta\":{{\"authToken\":\"T\"}}}}\n");
        let mut rest = long.as_bytes();
        while !rest.is_empty() {
            let n = connection.spare_mut().len().min(rest.len());
            receive(&mut connection, &rest[..n]);
            rest = &rest[n..];
            // A pause within a frame loses nothing of it.
            connection.handle_input_drained();
        }
        let event = connection.handle_frame(&server, T0, WALL);
        assert!(matches!(event, Some(Event::MessageReceived(kept)) if kept.len() > 20_000));
        assert!(connection.spare_mut().len() > fresh);
        connection.handle_input_drained();
        assert_eq!(connection.spare_mut().len(), fresh);
    }
}

mod exchange {
    use super::*;

    const DRAFT: Draft<'_> = Draft {
        kind: "text",
        data: Data::Text("x"),
        from: None,
    };

    fn answer(exchange: &mut Exchange, line: &str) {
        exchange.spare_mut()[..line.len()].copy_from_slice(line.as_bytes());
        exchange.handle_input(line.len());
    }

    #[test]
    fn a_request_is_written_with_its_last_byte_and_not_before() {
        for (left, written) in [(0, true), (1, false)] {
            let mut exchange = Exchange::new(&Limits::DEFAULT);
            exchange.send(DRAFT, &token(), T0, WALL).unwrap();
            exchange.handle_output(exchange.pending().len() - left);
            exchange.handle_broken();
            assert_eq!(exchange.poll_outcome().unwrap().written, written, "{left}");
        }
    }

    #[test]
    fn a_message_fits_exactly_or_nothing_of_it_is_taken() {
        let limits = Limits::DEFAULT;
        let token = token();
        let room = limits.max_outbox_bytes() + limits.max_frame_bytes();
        let mut exchange = Exchange::new(&limits);
        exchange.send(DRAFT, &token, T0, WALL).unwrap();
        let overhead = exchange.pending().len() - 1;
        let most = "x".repeat(limits.max_frame_bytes() + 1 - overhead);
        let long = Draft {
            data: Data::Text(&most),
            ..DRAFT
        };
        exchange.send(long, &token, T0, WALL).unwrap();
        let left = room - exchange.pending().len() - overhead;
        let (one_more, exact) = ("x".repeat(left + 1), "x".repeat(left));
        let before = exchange.clone();
        for (text, expected) in [(&one_more, Err(SendError::Full)), (&exact, Ok(room))] {
            let draft = Draft {
                data: Data::Text(text),
                ..DRAFT
            };
            let sent = exchange.send(draft, &token, T0, WALL);
            if sent.is_err() {
                assert_eq!(exchange, before, "nothing of it was taken");
            }
            assert_eq!(sent.map(|_| exchange.pending().len()), expected);
        }
    }

    #[test]
    fn the_last_of_duplicate_members_of_an_answer_counts() {
        let token = token();
        let mut exchange = Exchange::new(&Limits::DEFAULT);
        exchange.send(DRAFT, &token, T0, WALL).unwrap();
        for line in [
            "{\"type\":\"response\",\"type\":\"pong\"}\n",
            "{\"type\":\"response\",\"type\":1}\n",
        ] {
            answer(&mut exchange, line);
            assert_eq!(exchange.poll_outcome(), None, "{line}");
        }
        answer(
            &mut exchange,
            "{\"type\":\"error\",\"meta\":{\"id\":\"a\"},\"type\":\"response\",\"meta\":{\"id\":\"b\"}}\n",
        );
        let outcome = exchange.poll_outcome().unwrap();
        assert_eq!(outcome.result, Ok(Answer::Accepted(Some("b".into()))));
    }

    #[test]
    fn the_id_of_an_answer_is_a_string_among_any_members() {
        let token = token();
        for (meta, id) in [
            (r#"{"a":1,"id":"uds-7","b":[]}"#, Some("uds-7")),
            (r#"{"id":"uds-7","id":"uds-8"}"#, Some("uds-8")),
            (r#"{"a":"id"}"#, None),
            ("7", None),
            (r#"["id"]"#, None),
        ] {
            let mut exchange = Exchange::new(&Limits::DEFAULT);
            exchange.send(DRAFT, &token, T0, WALL).unwrap();
            answer(
                &mut exchange,
                &format!("{{\"type\":\"response\",\"meta\":{meta}}}\n"),
            );
            let outcome = exchange.poll_outcome().unwrap();
            assert_eq!(
                outcome.result,
                Ok(Answer::Accepted(id.map(Box::from))),
                "{meta}"
            );
        }
    }
}

mod inbox {
    use super::*;

    #[test]
    fn it_is_empty_until_something_is_pending() {
        let message = Message::parse(b"{}", &Limits::DEFAULT).unwrap();
        let mut inbox = Inbox::new(&Limits::DEFAULT);
        assert!(inbox.is_empty());
        inbox.push(message.kept(), PEER, WALL).unwrap();
        assert!(!inbox.is_empty());
        inbox.pop().unwrap();
        assert!(inbox.is_empty());
    }

    #[test]
    fn a_crowded_mailbox_says_so() {
        let limits = Limits::builder().max_inbox_entries(2).build().unwrap();
        let mailbox = Mailbox::new(&limits);
        let message = Message::parse(b"{}", &limits).unwrap();
        for crowded in [false, true] {
            mailbox.push(message.kept(), PEER, WALL).unwrap();
            assert_eq!(mailbox.is_crowded(), crowded);
        }
        mailbox.drain();
        assert!(!mailbox.is_crowded());
        let mut context = Context::from_waker(Waker::noop());
        assert_eq!(mailbox.poll_pending(None, &mut context), Poll::Pending);
    }
}

mod owner {
    use super::*;

    fn question(text: &str) -> Question {
        let message = Message::parse(text.as_bytes(), &Limits::DEFAULT).unwrap();
        Question::parse(message.kept()).unwrap()
    }

    #[test]
    fn members_that_nobody_asked_for_change_no_question_and_no_answer() {
        let seven = EntryId::parse("uds-7");
        assert_eq!(
            question(
                r#"{"from":"/s","type":"next","ts":"id","data":{"x":1,"after":"uds-7","wait":true,"y":"id"}}"#
            ),
            Question::Next {
                after: seven,
                wait: true
            }
        );
        assert_eq!(
            question(r#"{"type":"processed","data":{"id":"uds-7","wait":1,"x":"uds-9"}}"#),
            Question::Processed(seven.unwrap())
        );
        assert_eq!(
            question(r#"{"type":"consume","data":[]}"#),
            Question::Consume
        );
        assert_eq!(
            Reply::parse(r#"{"x":{"event":"none"},"event":"processed","count":3,"y":"attached"}"#),
            Ok(Reply::Processed(3))
        );
    }
}

mod time {
    use super::*;

    #[test]
    fn nanoseconds_come_back_as_they_went_in() {
        for nanos in [0, 1, 7, u64::MAX] {
            assert_eq!(Instant::from_nanos(nanos).as_nanos(), nanos);
        }
    }

    /// Takes a number of characters, and fails.
    struct Narrow(usize);

    impl std::fmt::Write for Narrow {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            self.0 = self.0.checked_sub(text.len()).ok_or(std::fmt::Error)?;
            Ok(())
        }
    }

    #[test]
    fn a_time_that_cannot_be_written_is_an_error() {
        assert_eq!(write!(Narrow(24), "{WALL}"), Ok(()));
        for room in 0..24 {
            assert_eq!(write!(Narrow(room), "{WALL}"), Err(std::fmt::Error));
        }
    }
}

mod subscription {
    use super::*;
    use hallway_core::backoff::Policy;
    use hallway_core::session::control::Request;
    use hallway_core::session::event::{Action, SendError};
    use hallway_core::session::limits::Limits;
    use hallway_core::session::subscription::Subscription;

    #[test]
    fn a_frame_fits_exactly_or_is_too_long() {
        let limits = Limits::builder().max_outbox_bytes(1_024).build().unwrap();
        for (bytes, expected) in [
            (1_024, Ok(())),
            (
                1_025,
                Err(SendError::TooLong {
                    bytes: 1_025,
                    limit: 1_024,
                }),
            ),
        ] {
            let mut machine = Subscription::new(&limits, Policy::FIXED, 7);
            machine.connect(T0);
            let overhead = Request::Elicitation("").frame("r1").len();
            let raw = "1".repeat(bytes - overhead);
            assert_eq!(machine.request("r1", &Request::Elicitation(&raw)), expected);
            assert_eq!(machine.unsent(), usize::from(expected.is_ok()));
        }
    }

    #[test]
    fn what_is_told_to_be_sent_without_a_frame_changes_nothing() {
        let limits = Limits::builder().max_outbox_frames(1).build().unwrap();
        let mut machine = Subscription::new(&limits, Policy::FIXED, 7);
        assert_eq!(machine.limits(), &limits);
        machine.connect(T0);
        let Some(Action::Dial(epoch)) = machine.poll_action() else {
            panic!("it does not dial");
        };
        assert!(machine.handle_opened(epoch, T0).is_some());
        let before = machine.clone();
        machine.handle_transmitted(epoch);
        assert_eq!(machine, before);
        machine.request("r1", &Request::Interrupt).unwrap();
        assert_eq!(machine.unsent(), 1);
        machine.handle_transmitted(epoch);
        assert_eq!(machine.poll_transmit(epoch), None);
        assert_eq!(machine.unsent(), 0);
    }
}
