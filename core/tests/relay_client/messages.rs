//! Messages, both ways.

use hallway_core::relay::client::{HttpFailure, SendError, Unreadable};
use hallway_core::relay::link::{CloseReason, Status};
use hallway_core::relay::plaintext::{self, AcpData, SessionEvent};
use hallway_core::relay::raw::Text;

use super::*;

/// Covers: R2.2, R2.7, R5.4
#[test]
fn s1_claude_messages_wait_with_what_follows_from_them() {
    let mut driven = Driven::new();
    let usage = r#"{"type":"assistant","uuid":"u","message":{"usage":{"input_tokens":3,"output_tokens":4}}}"#;
    let title = r#"{"type":"summary","summary":"The title","leafUuid":"l"}"#;
    for (id, line) in [("a", usage), ("b", title)] {
        let nonce = driven.nonce();
        let sent = driven.client.send_claude(raw(line), id, nonce, wall());
        assert_eq!(sent, Ok(()));
    }
    driven.act();
    // Posts need no socket.
    let (_, body) = driven.posts.last().expect("a post");
    assert_eq!(ids(body), ["a", "b"]);
    assert!(open_body(body, 0).contains(usage) && open_body(body, 1).contains(title));
    driven.store(1);
    assert_eq!(driven.merges, []);
    driven.join();
    let frames = driven.frames();
    let (name, report, id) = emitted(&frames[0]);
    assert_eq!((name.as_str(), frames.len()), ("usage-report", 1));
    assert_eq!(report["tokens"]["total"], 7);
    // Not lost with the connection, either.
    driven.drop_link();
    assert_eq!(driven.events(), []);
    driven.reconnect();
    let frames = driven.frames();
    let (name, again, other) = emitted(&frames[0]);
    assert_eq!((name.as_str(), &again), ("usage-report", &report));
    assert_ne!(id, other);
    driven.receive(&format!(r#"43{}[{{"success":true}}]"#, other.unwrap()));
    // The turn of the first connection is over.
    assert_eq!(driven.merges.len(), 2);
    for (at, frames) in [(0, 0), (1, 1)] {
        let (merge, nonce) = (driven.merges[at], driven.nonce());
        let client = &mut driven.client;
        client.merge(merge, nonce, driven.now, |_| panic!("it is the client's"));
        let waiting = client.poll_transmit(driven.live.unwrap());
        assert_eq!(waiting.into_iter().count(), frames);
    }
    let frames = driven.frames();
    let (name, written, id) = emitted(&frames[0]);
    assert_eq!((name.as_str(), frames.len()), ("update-metadata", 1));
    let sealed = written["metadata"].as_str().unwrap();
    let expected = r#"{"path":"/w","summary":{"text":"The title","updatedAt":77}}"#;
    assert_eq!(opened(sealed), expected);
    let ack = format!(
        r#"43{}[{{"result":"success","version":4,"metadata":"{sealed}"}}]"#,
        id.unwrap()
    );
    assert_eq!(driven.receive(&ack), None);
    assert!(matches!(driven.events()[..], [Event::Updated { .. }]));
    assert_eq!(driven.frames(), [""; 0]);
}

/// Covers: R2.8
#[test]
fn a_report_of_usage_that_is_refused_is_told() {
    for (answer, told) in [
        (
            r#"{"success":false,"error":"no"}"#,
            Some(Event::UsageNotReported),
        ),
        (r#"{"success":true,"reportId":"r"}"#, None),
    ] {
        let mut driven = Driven::open();
        let usage =
            r#"{"type":"assistant","message":{"usage":{"input_tokens":3,"output_tokens":4}}}"#;
        let nonce = driven.nonce();
        let sent = driven.client.send_claude(raw(usage), "a", nonce, wall());
        assert_eq!(sent, Ok(()));
        driven.act();
        let frames = driven.frames();
        let (name, _, id) = emitted(&frames[0]);
        assert_eq!(name, "usage-report");
        assert_eq!(
            driven.receive(&format!("43{}[{answer}]", id.unwrap())),
            told
        );
        // One that was answered is not sent again.
        driven.drop_link();
        driven.reconnect();
        assert_eq!(driven.frames(), [""; 0], "{answer}");
    }
}

/// Covers: R5.4
#[test]
fn usage_is_reported_by_itself_and_the_last_report_counts() {
    let mut driven = Driven::new();
    let usage = |text| plaintext::Usage::parse(raw(text)).unwrap();
    let (first, last) = (
        usage(r#"{"input_tokens":1,"output_tokens":1}"#),
        usage(r#"{"input_tokens":3,"output_tokens":4,"cache_read_input_tokens":5}"#),
    );
    assert_eq!(driven.client.send_usage(&first), Ok(()));
    assert_eq!(driven.client.send_usage(&last), Ok(()));
    driven.act();
    driven.join();
    let frames = driven.frames();
    let (name, report, id) = emitted(&frames[0]);
    assert_eq!((name.as_str(), frames.len()), ("usage-report", 1));
    assert_eq!(
        (&report["tokens"]["total"], &report["sessionId"]),
        (&12.into(), &"S".into())
    );
    assert_eq!(driven.posts, [], "no message goes with it");
    let refused = format!(r#"43{}[{{"success":false,"error":"no"}}]"#, id.unwrap());
    assert_eq!(driven.receive(&refused), Some(Event::UsageNotReported));
    driven.client.end(wall(), driven.now);
    assert_eq!(driven.client.send_usage(&last), Err(SendError::Ended));
}

/// Nothing of a subagent's waits for its parent, and the end of a turn drops nothing.
#[test]
fn l8_lines_of_a_subagent_go_out_as_they_come() {
    let mut driven = Driven::open();
    let orphan = |at: usize| {
        format!(
            r#"{{"type":"assistant","uuid":"{at}","isSidechain":true,"parent_tool_use_id":"never-seen","message":{{"content":[{{"type":"text","text":"{at}"}}]}}}}"#
        )
    };
    let end = r#"{"type":"result","subtype":"success","uuid":"end"}"#.to_owned();
    let lines: Vec<_> = (0..60).map(orphan).chain([end, orphan(61)]).collect();
    for (at, line) in lines.iter().enumerate() {
        let nonce = driven.nonce();
        let sent = driven
            .client
            .send_claude(raw(line), &at.to_string(), nonce, wall());
        assert_eq!(sent, Ok(()));
        assert_eq!(driven.client.unsent(), at + 1, "it counts at once");
    }
    driven.act();
    let mut posted = Vec::new();
    while let Some((_, body)) = driven.posts.last().cloned() {
        let ids = ids(&body);
        posted.extend((0..ids.len()).map(|at| open_body(&body, at)));
        driven.store(u64::try_from(posted.len()).unwrap());
    }
    assert_eq!(posted.len(), lines.len());
    for (posted, line) in posted.iter().zip(&lines) {
        assert!(posted.contains(line.as_str()), "{posted}");
    }
}

#[test]
fn s1_a_title_outlives_every_outage() {
    let mut driven = Driven::new();
    let nonce = driven.nonce();
    let title = raw(r#"{"type":"summary","summary":"T"}"#);
    driven
        .client
        .send_claude(title, "a", nonce, wall())
        .unwrap();
    for _ in 0..3 {
        while driven.live.is_none() {
            driven.tick();
        }
        driven.join();
        // Never acknowledged: after its time it is asked for again.
        assert_eq!(driven.merges.len(), 1);
        driven.merges.clear();
        driven.later(600 * SECOND);
        driven.tick();
        driven.drop_link();
        driven.later(600 * SECOND);
        driven.client.handle_timeout(driven.now);
        assert_eq!(driven.events(), []);
    }
}

/// Covers: R2.13, R3.9, R9.2c, R9.2e
#[test]
fn s2_messages_sent_while_away_are_fetched() {
    let mut driven = Driven::open();
    let first = driven.live(1, "one");
    assert_eq!(
        said(&Vec::from_iter(driven.receive(&first))),
        [(1, "one".into())]
    );
    driven.drop_link();
    driven.reconnect();
    assert_eq!(driven.fetches.last().unwrap().after, 1);
    let rows = [driven.row(2, "two"), driven.row(3, "three")];
    assert_eq!(
        said(&driven.page(&rows, false)),
        [(2, "two".into()), (3, "three".into())]
    );
    assert_eq!(driven.client.cursor(), 3);
    // What was fetched does not come again.
    for row in rows {
        assert_eq!(driven.receive(&update(&row)), None);
    }
}

/// Covers: R2.14, R9.2a, R9.2c, R9.2d
#[test]
fn s2_gaps_are_fetched_in_pages_and_in_order() {
    let mut driven = Driven::open();
    let fourth = driven.live(4, "four");
    assert_eq!(driven.receive(&fourth), None);
    let rows = [driven.row(1, "one"), driven.row(3, "three")];
    // While the page is being taken, the next one comes live.
    let fetch = driven.fetches.pop().unwrap();
    let body = format!(r#"{{"messages":[{}],"hasMore":true}}"#, rows.join(","));
    assert_eq!(driven.client.handle_page(fetch.id, &body, driven.now), None);
    let first = driven.client.poll_event(driven.now);
    assert_eq!(said(&Vec::from_iter(first)), [(1, "one".into())]);
    assert_eq!(driven.client.cursor(), 1, "not beyond what was taken");
    assert_eq!(driven.receive(&fourth), None);
    assert_eq!(said(&driven.events()), [(3, "three".into())]);
    let fourth = driven.row(4, "four");
    assert_eq!(said(&driven.page(&[fourth], false)), [(4, "four".into())]);
    assert_eq!(driven.fetches, []);
}

/// A message that the server has already burns a number, which no message will ever have.
///
/// Covers: R9.2d
#[test]
fn r2_a_number_that_nobody_has_delays_nothing() {
    let mut driven = Driven::open();
    let third = driven.live(3, "three");
    assert_eq!(driven.receive(&third), None, "1 and 2 may be others'");
    let rows = [driven.row(1, "one"), driven.row(3, "three")];
    assert_eq!(
        said(&driven.page(&rows, false)),
        [(1, "one".into()), (3, "three".into())]
    );
    assert_eq!(driven.client.cursor(), 3, "2 is passed over");
    // What is next is told as it comes, and nothing more is fetched.
    let fourth = driven.live(4, "four");
    let told = driven.receive(&fourth);
    assert_eq!(said(&Vec::from_iter(told)), [(4, "four".into())]);
    assert_eq!(driven.fetches, []);
}

/// Covers: R9.1b
#[test]
fn s3_a_lost_post_is_repeated_word_for_word() {
    let mut driven = Driven::open();
    driven.send("a");
    driven.send("b");
    let (id, body) = driven.posts.pop().unwrap();
    assert_eq!(
        driven
            .client
            .handle_post_failed(id, HttpFailure::Transient, driven.now),
        None
    );
    while driven.posts.is_empty() {
        driven.tick();
    }
    let again = driven.posts[0].1.clone();
    assert!(
        again.starts_with(body.trim_end_matches("]}")),
        "and the next"
    );
    assert_eq!(ids(&again), ["a", "b"]);
    // The answer is lost: the deadline repeats it.
    driven.posts.clear();
    while driven.posts.is_empty() {
        driven.tick();
    }
    assert_eq!(driven.posts[0].1, again);
    let seqs = |event: &Event<'_>| match event {
        Event::Stored { seq, .. } => *seq,
        other => panic!("{other:?}"),
    };
    let stored: Vec<_> = driven.store(1).iter().map(seqs).collect();
    assert_eq!(stored, [1, 2]);
    assert_eq!(driven.client.unsent(), 0);
}

/// Covers: R9.2a, R9.6b
#[test]
fn s9_before_the_first_listener_nothing_is_lost_and_nothing_is_kept() {
    let mut driven = Driven::with(Limits::builder(), 0);
    driven.client.connect(driven.now);
    driven.act();
    driven.join();
    let empty = format!("{:?}", driven.client).len();
    let rows: Vec<_> = (1..=50).map(|seq| driven.row(seq, "x")).collect();
    for row in &rows {
        assert_eq!(driven.receive(&update(row)), None);
    }
    assert_eq!(driven.events(), []);
    assert_eq!(driven.fetches, []);
    assert!(format!("{:?}", driven.client).len() < empty + 32);
    assert_eq!(driven.client.cursor(), 0);
    driven.client.listen();
    driven.act();
    assert_eq!(said(&driven.page(&rows, false)).len(), 50);
    assert_eq!(driven.client.cursor(), 50);
}

/// Covers: R9.7a
#[test]
fn s10_what_cannot_be_opened_is_said_and_never_data() {
    let mut driven = Driven::open();
    let other = Cipher::DataKey(DataKey::from_bytes(&[2; 32]));
    let nonce = driven.nonce();
    let foreign = other.seal_text(nonce, "{}").unwrap();
    let event = driven.receive(Box::leak(update(&row(1, &foreign, None)).into_boxed_str()));
    assert!(matches!(
        event,
        Some(Event::MessageUnreadable {
            seq: 1,
            why: Unreadable::Unopened(_)
        })
    ));
    let plain = r#"{"id":"m","seq":2,"content":{"t":"plain","c":"x"}}"#;
    let why = Unreadable::NotSealed;
    assert_eq!(
        driven.receive(&update(plain)),
        Some(Event::MessageUnreadable { seq: 2, why })
    );
    let null = driven.sealed_row(3, "null");
    let event = driven
        .receive(&update(&null))
        .map(|event| format!("{event:?}"));
    assert!(
        event.unwrap().starts_with("MessageReceived"),
        "sealed as such"
    );
    // The session goes on.
    let next = driven.live(4, "four");
    assert_eq!(
        said(&Vec::from_iter(driven.receive(&next))),
        [(4, "four".into())]
    );
}

#[test]
fn s11_every_message_has_its_outcome() {
    let mut driven = Driven::open();
    driven.send("a");
    let events = driven.store(1);
    let local_id = "a".into();
    assert_eq!(events, [Event::Stored { local_id, seq: 1 }]);
    assert_eq!(driven.client.cursor(), 1);
    driven.send("b");
    // Seen live before the answer to its post: stored all the same, and once.
    let echo = update(&row(2, "AAAA", Some("b")));
    assert_eq!(driven.receive(&echo), None);
    let local_id = "b".into();
    assert_eq!(driven.events(), [Event::Stored { local_id, seq: 2 }]);
    assert_eq!(driven.store(2), []);
}

/// Covers: R9.8
#[test]
fn s12_what_is_not_known_is_delivered_as_it_is() {
    let mut driven = Driven::open();
    let message = r#"{"role":"user","content":{"type":"text","text":"hi"},"meta":{"permissionMode":"of a later day"}}"#;
    let frame = update(&driven.sealed_row(1, message));
    let Some(Event::UserMessage(received)) = driven.receive(&frame) else {
        panic!()
    };
    assert_eq!(received.plaintext.raw().as_str(), message);
    for (seq, text) in [
        (2, r#"{"role":"robot","content":1}"#),
        (3, r#"{"role":"user","content":{"type":"image"}}"#),
        (4, "[1]"),
    ] {
        let frame = update(&driven.sealed_row(seq, text));
        let Some(Event::MessageReceived(received)) = driven.receive(&frame) else {
            panic!("{text}")
        };
        assert_eq!(received.plaintext.raw().as_str(), text);
    }
    let body = r#"{"t":"kv-batch-update","changes":[]}"#;
    let frame = format!(r#"42["update",{{"body":{body}}}]"#);
    assert_eq!(driven.receive(&frame), Some(Event::OtherUpdate(raw(body))));
    let event = driven.receive(r#"42["auth",{"a":1}]"#);
    let argument = Some(raw(r#"{"a":1}"#));
    let name = Text::new("auth");
    assert_eq!(event, Some(Event::OtherEvent { name, argument }));
    let event = driven.receive(r#"42["ephemeral",{"type":"activity","id":"S","active":true}]"#);
    assert!(matches!(event, Some(Event::Ephemeral(_))));
}

/// The data key of an existing session comes from the server's field, and its messages open.
/// Covers: R9.9a
#[test]
fn s13_the_key_of_an_existing_session_is_unwrapped() {
    use hallway_core::relay::cipher::{unwrap_data_key, wrap_data_key};
    use hallway_core::relay::keys::BoxKeyPair;
    let account = BoxKeyPair::from_secret(&[5; 32]);
    let key = DataKey::from_bytes(&[1; 32]);
    let ephemeral = BoxKeyPair::from_secret(&[6; 32]);
    let nonce = Nonce::from_entropy([7; 24]);
    let field = wrap_data_key(&key, account.public(), ephemeral, nonce).unwrap();
    let unwrapped = Cipher::DataKey(unwrap_data_key(&field, &account).unwrap());
    let nonce = Nonce::from_entropy([8; 24]);
    let sealed = unwrapped.seal_text(nonce, &user("hi")).unwrap();
    let mut driven = Driven::open();
    let frame = update(&row(1, &sealed, None));
    assert_eq!(
        said(&Vec::from_iter(driven.receive(&frame))),
        [(1, "hi".into())]
    );
}

/// A post of ours that is numbered beyond a message that was not seen.
/// Covers: R9.2a, R9.2b
#[test]
fn l1_own_posts_never_hide_messages_of_others() {
    let mut driven = Driven::open();
    driven.send("a");
    driven.store(2);
    assert_eq!(driven.client.cursor(), 0);
    let rows = [driven.row(1, "unseen"), row(2, "AAAA", Some("a"))];
    assert_eq!(said(&driven.page(&rows, false)), [(1, "unseen".into())]);
    assert_eq!(driven.client.cursor(), 2);
    // Many of ours in a row, and one of the user's among them.
    for id in ["b", "c", "d"] {
        driven.send(id);
    }
    driven.store(3);
    driven.store(5);
    let four = driven.live(4, "between");
    assert_eq!(
        said(&Vec::from_iter(driven.receive(&four))),
        [(4, "between".into())]
    );
    assert_eq!(driven.client.cursor(), 6);
}

/// Covers: R3.10, R9.1a, R9.1c
#[test]
fn l2_more_than_a_batch_is_sent_in_order() {
    let mut driven = Driven::open();
    driven.send("m0");
    let expected: Vec<_> = (1..=250).map(|at| format!("m{at}")).collect();
    for id in &expected {
        driven.send(id);
    }
    let mut seq = 1;
    let mut sent = Vec::new();
    while let Some((_, body)) = driven.posts.last() {
        let batch = ids(body);
        assert!(batch.len() <= 100);
        sent.extend(batch);
        driven.store(seq);
        seq = u64::try_from(sent.len()).unwrap() + 1;
    }
    assert_eq!(sent[0], "m0");
    assert_eq!(sent[1..], expected);
    assert_eq!(driven.client.cursor(), 251);
}

/// Covers: R9.5
#[test]
fn l3_failures_that_do_not_pass_are_not_repeated_for_ever() {
    for failure in [HttpFailure::Unauthorized, HttpFailure::SessionGone] {
        let mut driven = Driven::open();
        driven.send("a");
        let (id, _) = driven.posts.pop().unwrap();
        let event = driven.client.handle_post_failed(id, failure, driven.now);
        assert_eq!(event, Some(Event::SendingStopped(failure)));
        driven.act();
        driven.send("b");
        for _ in 0..5 {
            driven.tick();
        }
        assert_eq!(driven.posts, []);
        driven.client.resume();
        driven.act();
        assert_eq!(ids(&driven.posts[0].1), ["a", "b"], "nothing was lost");
    }
    let mut driven = Driven::open();
    for id in ["a", "b", "c"] {
        driven.send(id);
    }
    let (id, _) = driven.posts.pop().unwrap();
    driven
        .client
        .handle_post_failed(id, HttpFailure::TooLarge, driven.now);
    let local_id = "a".into();
    assert_eq!(driven.events(), [Event::TooLarge { local_id }]);
    assert_eq!(ids(&driven.posts[0].1), ["b", "c"]);
    // The same for what is fetched.
    driven.drop_link();
    driven.reconnect();
    let fetch = driven.fetches.pop().unwrap();
    let failure = HttpFailure::SessionGone;
    let event = driven
        .client
        .handle_fetch_failed(fetch.id, failure, driven.now);
    assert_eq!(event, Some(Event::FetchingStopped(failure)));
    for _ in 0..5 {
        driven.tick();
    }
    assert_eq!(driven.fetches, []);
    driven.client.resume();
    while driven.fetches.is_empty() {
        driven.tick();
    }
}

/// Covers: R9.1a, R9.6b
#[test]
fn l3_what_waits_is_bounded_and_says_so() {
    let limits = Limits::builder().max_outbox_messages(2);
    let mut driven = Driven::with(limits, 0);
    for id in ["a", "b"] {
        driven.send(id);
    }
    let nonce = driven.nonce();
    assert_eq!(driven.client.send("{}", "c", nonce), Err(SendError::Full));
    let nonce = driven.nonce();
    assert_eq!(
        driven.client.send("{}", "b", nonce),
        Err(SendError::DuplicateId)
    );
    let limits = Limits::builder().max_batch_bytes(100);
    let mut driven = Driven::with(limits, 0);
    let nonce = driven.nonce();
    let long = format!("\"{}\"", "x".repeat(100));
    assert_eq!(
        driven.client.send(&long, "a", nonce),
        Err(SendError::TooLong)
    );
}

#[test]
fn l3_a_page_that_is_too_long_is_fetched_in_parts() {
    let mut driven = Driven::open();
    driven.drop_link();
    driven.reconnect();
    for limit in [100, 50, 25, 12, 6, 3, 1] {
        while driven.fetches.is_empty() {
            driven.tick();
        }
        let fetch = driven.fetches.pop().unwrap();
        assert_eq!(fetch.limit, limit);
        let failure = HttpFailure::TooLarge;
        let event = driven
            .client
            .handle_fetch_failed(fetch.id, failure, driven.now);
        let stopped = (limit == 1).then_some(Event::FetchingStopped(failure));
        assert_eq!(event, stopped);
        driven.act();
    }
}

/// Covers: R9.11
#[test]
fn l4_after_close_there_is_nothing_left() {
    let mut driven = Driven::open();
    driven.send("a");
    let update = driven
        .client
        .request_update(hallway_core::relay::client::Target::Metadata, driven.now);
    let event = driven.client.close(driven.now);
    let reason = CloseReason::User;
    assert_eq!(event, Some(Event::Closed { reason, said: None }));
    driven.act();
    assert_eq!(driven.live, None);
    assert!(matches!(
        driven.events()[..],
        [Event::Updated { update: done, .. }] if Ok(done) == update
    ));
    let before = (driven.dials, driven.posts.len(), driven.fetches.len());
    for _ in 0..5 {
        driven.later(1_000 * SECOND);
        assert_eq!(driven.client.handle_timeout(driven.now), None);
        assert_eq!(driven.client.handle_wake(driven.now), None);
        driven.client.connect(driven.now);
        driven.client.listen();
        driven.client.resume();
        driven.act();
        assert_eq!(driven.events(), []);
    }
    assert_eq!(
        (driven.dials, driven.posts.len(), driven.fetches.len()),
        before
    );
    assert_eq!(driven.client.poll_timeout(), None);
    assert_eq!(driven.client.unsent(), 1, "and says what was not sent");
    let nonce = driven.nonce();
    assert_eq!(driven.client.send("{}", "z", nonce), Err(SendError::Ended));
    assert_eq!(driven.client.register("bash"), Err(SendError::Ended));
}

/// Covers: R3.12
#[test]
fn l7_own_messages_are_not_delivered_to_us() {
    let mut driven = Driven::open();
    for id in ["a", "b"] {
        driven.send(id);
    }
    driven.store(1);
    driven.store(2);
    // The echo, not even a ciphertext: it is not opened.
    for (seq, id) in [(1, "a"), (2, "b")] {
        assert_eq!(driven.receive(&update(&row(seq, "AAAA", Some(id)))), None);
    }
    assert_eq!(driven.events(), []);
    assert_eq!(driven.fetches, []);
}

/// Covers: R9.2f
#[test]
fn l9_a_new_process_starts_where_the_last_one_was() {
    let mut driven = Driven::with(Limits::builder(), 7);
    driven.client.listen();
    driven.client.connect(driven.now);
    driven.act();
    driven.join();
    assert_eq!(driven.fetches.last().unwrap().after, 7);
    // Even when something of its own earlier life is beyond, it is not taken for the user's.
    let own = r#"{"role":"user","content":{"type":"text","text":"typed here"},"meta":{"sentFrom":"cli"}}"#;
    let rows = [driven.sealed_row(8, own), driven.row(9, "nine")];
    let events = driven.page(&rows, false);
    assert_eq!(said(&events), [(9, "nine".into())]);
    assert!(matches!(&events[0], Event::MessageReceived(message) if message.seq == 8));
}

/// Covers: R5.2
#[test]
fn all_senders_send_their_shape() {
    let mut driven = Driven::open();
    let mut bodies = Vec::new();
    for at in 0..4 {
        let nonce = driven.nonce();
        let client = &mut driven.client;
        let sent = match at {
            0 => client.send_codex(raw("[1]"), "a", nonce),
            1 => client.send_acp(
                "gemini",
                AcpData::TaskStarted { id: "t".into() },
                "b",
                nonce,
            ),
            2 => client.send_event("E", SessionEvent::Ready {}, "c", nonce),
            _ => client.send_claude(raw("[7]"), "d", nonce, wall()),
        };
        assert_eq!(sent, Ok(()));
        driven.act();
        bodies.push(open_body(&driven.posts[0].1, 0));
        driven.store(at + 1);
    }
    assert_eq!(
        bodies,
        [
            r#"{"role":"agent","content":{"type":"codex","data":[1]},"meta":{"sentFrom":"cli"}}"#,
            r#"{"role":"agent","content":{"type":"acp","provider":"gemini","data":{"type":"task_started","id":"t"}},"meta":{"sentFrom":"cli"}}"#,
            r#"{"role":"agent","content":{"type":"event","id":"E","data":{"type":"ready"}}}"#,
            r#"{"role":"agent","content":{"type":"output","data":[7]},"meta":{"sentFrom":"cli"}}"#,
        ]
    );
}

/// Covers: R2.6
#[test]
fn the_end_of_a_session_is_told_after_everything_else() {
    let mut driven = Driven::open();
    driven.send("a");
    driven.client.end(wall(), driven.now);
    driven.act();
    assert_eq!(driven.frames(), [""; 0], "the message is not stored");
    let nonce = driven.nonce();
    assert_eq!(driven.client.send("{}", "b", nonce), Err(SendError::Ended));
    driven.store(1);
    assert_eq!(
        driven.frames(),
        [r#"42["session-end",{"sid":"S","time":77}]"#]
    );
    let reason = CloseReason::User;
    assert_eq!(driven.events(), [Event::Closed { reason, said: None }]);
    assert_eq!(driven.live, None);
    // Without a connection it ends all the same, in time.
    let mut driven = Driven::new();
    driven.client.end(wall(), driven.now);
    driven.later(10 * SECOND);
    let event = driven.client.handle_timeout(driven.now);
    assert_eq!(event, Some(Event::Closed { reason, said: None }));
    assert_eq!(driven.client.status(), Status::Closed(reason));
}

/// Covers: R2.5, R9.6a
#[test]
fn s8_signs_of_life_are_dropped_and_not_kept() {
    let mut driven = Driven::new();
    for _ in 0..20 {
        assert!(driven.client.keep_alive(false, "local", wall()).is_err());
    }
    driven.join();
    assert_eq!(driven.frames(), [""; 0]);
    driven.client.keep_alive(true, "remote", wall()).unwrap();
    assert_eq!(
        driven.frames(),
        [r#"42["session-alive",{"sid":"S","time":77,"thinking":true,"mode":"remote"}]"#]
    );
}

/// Our own beyond a gap are known again when the gap is fetched, however many are to be sent.
///
/// Covers: R9.2b
#[test]
fn no_more_is_sent_than_is_known_again() {
    let limits = Limits::builder().max_own_numbers(2);
    let mut driven = Driven::open_after(limits, 0);
    for id in ["a", "b", "c", "d", "e"] {
        driven.send(id);
    }
    assert_eq!(ids(&driven.posts.last().unwrap().1), ["a"], "it was alone");
    driven.store(2);
    // One row is taken, and there is room for another: b makes it longer instead.
    assert_eq!(ids(&driven.posts.last().unwrap().1), ["b"]);
    driven.store(3);
    assert_eq!(ids(&driven.posts.last().unwrap().1), ["c"]);
    driven.store(5);
    assert_eq!(driven.posts, [], "there is no room");
    // The server gives them without a word that they are ours.
    let rows: Vec<_> = (1..=6)
        .map(|seq| match seq {
            2 | 3 | 5 => row(seq, "AAAA", None),
            _ => driven.row(seq, &seq.to_string()),
        })
        .collect();
    let events = driven.page(&rows, false);
    let texts = [(1, "1"), (4, "4"), (6, "6")];
    assert_eq!(
        said(&events),
        texts.map(|(seq, text)| (seq, text.to_owned()))
    );
    assert_eq!(events.len(), 3, "{events:?}");
    assert_eq!(ids(&driven.posts.last().unwrap().1), ["d", "e"]);
    driven.store(7);
    assert_eq!((driven.client.unsent(), driven.client.cursor()), (0, 8));
}
