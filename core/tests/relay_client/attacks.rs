//! A relay that means harm: outcomes are typed, memory is bounded, nothing is believed.

use hallway_core::relay::client::Unreadable;
use hallway_core::relay::cursor::Withheld;
use hallway_core::relay::link::{Ignored, Status};

use super::*;

/// Covers: R9.2e
#[test]
fn a_replayed_message_is_told_from_a_new_one() {
    let mut driven = Driven::open();
    let first = driven.row(1, "pay");
    assert!(driven.receive(&update(&first)).is_some());
    assert_eq!(driven.receive(&update(&first)), None, "the same number");
    for seq in 2..5 {
        let again = first.replace("\"seq\":1", &format!("\"seq\":{seq}"));
        let why = Unreadable::Replayed;
        let replayed = Some(Event::MessageUnreadable { seq, why });
        assert_eq!(driven.receive(&update(&again)).as_ref(), replayed.as_ref());
    }
    // However it is spelled.
    let spelled = first
        .replace("\"seq\":1", "\"seq\":5")
        .replace("\"c\":\"", "\"c\":\" ");
    assert!(matches!(
        driven.receive(&update(&spelled)),
        Some(Event::MessageUnreadable {
            why: Unreadable::Replayed,
            ..
        })
    ));
}

/// What we said, under another number and name, is neither the user's nor another client's.
///
/// Covers: R9.2e
#[test]
fn a_reflected_message_is_nobodys() {
    let mut driven = Driven::open();
    let nonce = || Nonce::from_entropy([5; 24]);
    driven.client.send(&user("pay"), "a", nonce()).unwrap();
    let sealed = cipher().seal_text(nonce(), &user("pay")).unwrap();
    assert_eq!(driven.receive(&update(&row(1, &sealed, Some("b")))), None);
    assert_eq!(driven.client.unsent(), 1, "it does not count as stored");
    driven.drop_link();
    driven.reconnect();
    let rows = [row(2, &sealed, None), driven.row(3, "hi")];
    let events = driven.page(&rows, false);
    assert_eq!(said(&events), [(3, "hi".into())]);
    assert_eq!((events.len(), driven.client.cursor()), (1, 3));
}

/// Covers: R9.2a, R9.2e
#[test]
fn messages_out_of_order_are_put_in_order() {
    let mut driven = Driven::open();
    let rows: Vec<_> = (1..=4).map(|seq| driven.row(seq, "x")).collect();
    let mut seen = Vec::new();
    for at in [3, 0, 2, 1] {
        seen.extend(said(&Vec::from_iter(driven.receive(&update(&rows[at])))));
    }
    seen.extend(said(&driven.page(&rows[2..], false)));
    let numbers: Vec<_> = seen.iter().map(|(seq, _)| *seq).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
    // A page that does not ascend is none: nothing of it is taken, and nothing passed over.
    let seventh = driven.live(7, "seven");
    assert_eq!(driven.receive(&seventh), None);
    let (fifth, sixth) = (driven.row(5, "five"), driven.row(6, "six"));
    for rows in [
        vec![sixth.clone(), fifth.clone()],
        vec![fifth.clone(), fifth.clone()],
        vec![rows[3].clone(), fifth],
    ] {
        assert_eq!(driven.page(&rows, false), [Event::PageInvalid]);
        assert_eq!(driven.client.cursor(), 4);
        while driven.fetches.is_empty() {
            driven.tick();
        }
    }
    let rows: Vec<_> = (5..=7).map(|seq| driven.row(seq, "x")).collect();
    assert_eq!(said(&driven.page(&rows, false)).len(), 3);
}

/// Another session's ciphertext under our number, and ours under another's key.
/// Covers: R9.7a
#[test]
fn ciphertexts_of_other_sessions_are_forged() {
    let mut driven = Driven::open();
    let other = Cipher::DataKey(DataKey::from_bytes(&[2; 32]));
    let nonce = driven.nonce();
    let theirs = other.seal_text(nonce, &user("theirs")).unwrap();
    let frame = update(&row(1, &theirs, None));
    assert!(matches!(
        driven.receive(&frame),
        Some(Event::MessageUnreadable {
            why: Unreadable::Unopened(_),
            ..
        })
    ));
    let frame = update(&row(2, &theirs, None)).replace("\"sid\":\"S\"", "\"sid\":\"T\"");
    assert!(matches!(
        driven.receive(&frame),
        Some(Event::OtherUpdate(_))
    ));
    assert_eq!(driven.client.cursor(), 1);
}

/// Covers: R9.7a
#[test]
fn truncated_ciphertexts_and_bodies_are_refused() {
    let nonce = Nonce::from_entropy([3; 24]);
    let sealed = cipher().seal_text(nonce, &user("hi")).unwrap();
    let mut driven = Driven::open();
    for (seq, end) in (1..).zip((0..sealed.len()).step_by(4)) {
        let frame = update(&row(seq, &sealed[..end], None));
        assert!(matches!(
            driven.receive(&frame),
            Some(Event::MessageUnreadable { .. })
        ));
    }
    driven.drop_link();
    driven.reconnect();
    for body in [
        "",
        "{}",
        "[]",
        r#"{"messages":null}"#,
        r#"{"messages":[{"seq":90}]}"#,
        r#"{"messages":[{"seq":"90","content":{}}]}"#,
        r#"{"messages":["#,
    ] {
        while driven.fetches.is_empty() {
            driven.tick();
        }
        let fetch = driven.fetches.pop().unwrap();
        let event = driven.client.handle_page(fetch.id, body, driven.now);
        assert_eq!(event, Some(Event::PageInvalid), "{body}");
        assert_eq!(driven.fetches, [], "not at once");
    }
}

#[test]
fn more_rows_than_were_asked_for_are_refused() {
    let limits = Limits::builder().max_page_messages(2).max_page_bytes(1_000);
    let mut driven = Driven::open_after(limits, 0);
    driven.drop_link();
    driven.reconnect();
    let rows: Vec<_> = (1..=3).map(|seq| driven.row(seq, "x")).collect();
    assert_eq!(driven.page(&rows, true), [Event::PageInvalid]);
    while driven.fetches.is_empty() {
        driven.tick();
    }
    let fetch = driven.fetches.pop().unwrap();
    let long = format!("{}{}", " ".repeat(1_000), r#"{"messages":[]}"#);
    assert_eq!(driven.client.handle_page(fetch.id, &long, driven.now), None);
    while driven.fetches.is_empty() {
        driven.tick();
    }
    assert_eq!(driven.fetches[0].limit, 1);
}

#[test]
fn endless_pages_and_withheld_messages_end() {
    let mut driven = Driven::open();
    let beyond = driven.live(9, "nine");
    assert_eq!(driven.receive(&beyond), None);
    let mut events = Vec::new();
    let mut fetches = 0;
    while events.is_empty() {
        while driven.fetches.is_empty() {
            driven.tick();
        }
        fetches += 1;
        events = driven.page(&[], false);
    }
    assert_eq!(fetches, 5);
    let withheld = Withheld { from: 1, to: 9 };
    assert_eq!(events, [Event::Withheld(withheld)]);
    assert_eq!(driven.client.cursor(), 9);
    // More behind nothing: with pauses.
    driven.drop_link();
    driven.reconnect();
    for _ in 0..10 {
        while driven.fetches.is_empty() {
            driven.tick();
        }
        assert_eq!(driven.page(&[], true), []);
        assert_eq!(driven.fetches, []);
    }
}

/// Covers: R1.17
#[test]
fn acknowledgements_twice_never_or_of_nothing() {
    use hallway_core::relay::client::Target;
    let mut driven = Driven::open();
    driven
        .client
        .request_update(Target::State, driven.now)
        .unwrap();
    driven.act();
    driven.merge("a");
    driven.frames();
    let ack = r#"430[{"result":"success","version":1,"agentState":null}]"#;
    assert_eq!(driven.receive(ack), None);
    let ignored = Some(Event::Ignored(Ignored::UnknownAck));
    assert_eq!(driven.receive(ack), ignored);
    for id in 1..100 {
        assert_eq!(driven.receive(&format!("43{id}[{{}}]")), ignored);
    }
    assert!(matches!(driven.events()[..], [Event::Updated { .. }]));
    // Posts that name what was not sent, or nothing.
    driven.send("a");
    let (id, _) = driven.posts.pop().unwrap();
    for answer in [
        r#"{"messages":[{"localId":"z","seq":1}]}"#,
        "{}",
        r#"{"messages":[{"localId":"a"}]}"#,
    ] {
        driven.client.handle_posted(id, raw(answer), driven.now);
        assert_eq!(driven.events(), []);
        assert_eq!(driven.client.unsent(), 1);
        driven.tick();
    }
}

/// Covers: R9.6b
#[test]
fn a_flood_takes_no_memory() {
    let limits = Limits::builder()
        .max_owed_acks(8)
        .max_queued_frames(8)
        .max_seen_nonces(16);
    let mut driven = Driven::open_after(limits, 0);
    let mut least = usize::MAX;
    let mut most = 0;
    for round in 0..2_000_u64 {
        let message = driven.live(round + 1, "x");
        let gap = driven.live(round + 1_000_000, "x");
        let call = format!(r#"42{round}["rpc-request",{{"method":"S:x","params":"AAAA"}}]"#);
        for frame in [
            &message,
            &gap,
            &call,
            "2",
            r#"42["rpc-registered",{"method":"S:y"}]"#,
            r#"42["ephemeral",{}]"#,
            r#"42["update",null]"#,
            r#"43999["x"]"#,
            "42/x,[\"y\"]",
        ] {
            driven.receive(frame);
        }
        let size = format!("{:?}", driven.client).len();
        if round >= 100 {
            least = least.min(size);
            most = most.max(size);
        }
    }
    assert_eq!(driven.client.status(), Status::Open);
    assert!(most - least < 200, "from {least} to {most}");
    assert!(driven.fetches.len() <= 1);
}

/// Covers: R2.18, R2.21
#[test]
fn no_plaintext_leaves() {
    let mut driven = Driven::open();
    driven.client.register("bash").unwrap();
    let nonce = driven.nonce();
    driven
        .client
        .send(&user("the-secret-text"), "a", nonce)
        .unwrap();
    let nonce = driven.nonce();
    let line = raw(r#"{"type":"summary","summary":"the-secret-text"}"#);
    driven.client.send_claude(line, "b", nonce, wall()).unwrap();
    driven.act();
    let mut out = driven.frames();
    while let Some(merge) = driven.merges.pop() {
        let nonce = driven.nonce();
        driven
            .client
            .merge(merge, nonce, driven.now, |_| Change::Keep);
    }
    out.extend(driven.frames());
    let frame = r#"420["rpc-request",{"method":"S:bash","params":"AAAA"}]"#;
    let Some(Event::RpcRefused { owed, .. }) = driven.receive(frame) else {
        panic!()
    };
    let nonce = driven.nonce();
    driven
        .client
        .answer_rpc(owed, "\"the-secret-text\"", nonce)
        .unwrap();
    out.extend(driven.frames());
    out.extend(driven.posts.iter().map(|(_, body)| body.clone()));
    assert!(out.iter().any(|frame| frame.contains("update-metadata")));
    assert!(out.len() >= 4);
    for text in out {
        assert!(!text.contains("the-secret-text"), "{text}");
    }
}
