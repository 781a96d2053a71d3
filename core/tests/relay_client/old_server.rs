//! Servers that know no durable route: messages go over the socket (relay.md §9.1).

use hallway_core::relay::client::{HttpFailure, Route};
use hallway_core::relay::cursor::{FetchId, Withheld};
use hallway_core::relay::outbox::BatchId;

use super::*;

/// Connected to an old server, with these messages sent.
fn fallen_back(sent: &[&str]) -> Driven {
    let mut driven = Driven::open();
    driven.send(sent[0]);
    let (id, _) = driven.posts.pop().expect("a post");
    let event = driven
        .client
        .handle_post_failed(id, HttpFailure::NoRoute, driven.now);
    assert_eq!(event, Some(Event::FellBack));
    for id in &sent[1..] {
        driven.send(id);
    }
    driven.act();
    assert_eq!(driven.client.route(), Route::Socket);
    driven
}

/// The local ids of all `message` frames that wait.
fn emitted_ids(driven: &mut Driven) -> Vec<String> {
    let ids = driven.frames().into_iter().filter_map(|frame| {
        let (name, message, id) = emitted(&frame);
        if name != "message" {
            return None;
        }
        assert_eq!((&message["sid"], id), (&"S".into(), None));
        message["localId"].as_str().map(str::to_owned)
    });
    ids.collect()
}

fn own(seq: u64, id: &str) -> String {
    row(seq, "AAAA", Some(id))
}

/// Covers: R3.8, R9.1e
#[test]
fn messages_are_stored_only_when_they_are_seen_back() {
    let mut driven = fallen_back(&["a", "b"]);
    assert_eq!(emitted_ids(&mut driven), ["a", "b"]);
    let fetch = driven.fetches[0];
    assert_eq!((fetch.route, fetch.limit), (Route::Socket, 150));
    // Newest first, and one of the user's among them.
    let rows = [own(3, "b"), driven.row(2, "user"), own(1, "a")];
    let events = driven.page(&rows, false);
    assert!(matches!(
        &events[..],
        [
            Event::Stored { seq: 1, .. },
            Event::Stored { seq: 3, .. },
            Event::UserMessage(_)
        ]
    ));
    assert_eq!((driven.client.unsent(), driven.client.cursor()), (0, 3));
    assert_eq!(driven.posts, []);
}

/// Covers: R9.1a, R9.1e
#[test]
fn s3_what_is_not_seen_back_is_sent_again_in_order() {
    let mut driven = fallen_back(&["a", "b"]);
    assert_eq!(emitted_ids(&mut driven), ["a", "b"]);
    driven.page(&[own(1, "a")], false);
    while driven.client.poll_transmit(driven.live.unwrap()).is_none() {
        driven.tick();
    }
    assert_eq!(emitted_ids(&mut driven), ["b"]);
    // The link dies before it is known.
    driven.drop_link();
    driven.send("c");
    driven.fetches.clear();
    driven.reconnect();
    let mut sent = Vec::new();
    while sent.is_empty() {
        sent = emitted_ids(&mut driven);
        if sent.is_empty() {
            driven.tick();
        }
    }
    assert_eq!(sent, ["b", "c"]);
    while driven.fetches.is_empty() {
        driven.tick();
    }
    let fetches = driven.fetches.split_off(driven.fetches.len() - 1);
    driven.fetches = fetches;
    // The history has what was read before, too.
    let events = driven.page(&[own(4, "c"), own(2, "b"), own(1, "a")], false);
    assert!(matches!(
        &events[..],
        [Event::Stored { seq: 2, .. }, Event::Stored { seq: 4, .. }]
    ));
    assert_eq!(driven.client.unsent(), 0);
}

#[test]
fn a_confirmation_needs_no_listener() {
    let mut driven = Driven::new();
    driven.send("a");
    let (id, _) = driven.posts.pop().unwrap();
    let failure = HttpFailure::NoRoute;
    driven.client.handle_post_failed(id, failure, driven.now);
    driven.join();
    assert_eq!(emitted_ids(&mut driven), ["a"]);
    let rows = [own(2, "a"), driven.row(1, "early")];
    let events = driven.page(&rows, false);
    assert!(matches!(&events[..], [Event::Stored { .. }]));
    assert_eq!(driven.client.cursor(), 0);
    driven.client.listen();
    while driven.fetches.is_empty() {
        driven.tick();
    }
    assert_eq!(said(&driven.page(&rows, false)), [(1, "early".into())]);
    assert_eq!(driven.client.cursor(), 2);
}

#[test]
fn s7_a_message_longer_than_a_frame_is_dropped_and_said() {
    let mut driven = Driven::open();
    let nonce = driven.nonce();
    let long = format!("\"{}\"", "x".repeat(100_000));
    driven.client.send(&long, "long", nonce).unwrap();
    driven.act();
    let (id, _) = driven.posts.pop().unwrap();
    driven
        .client
        .handle_post_failed(id, HttpFailure::NoRoute, driven.now);
    driven.send("b");
    let local_id = "long".into();
    let events = driven.events();
    assert_eq!(events, [Event::TooLarge { local_id }]);
    assert_eq!(emitted_ids(&mut driven), ["b"]);
}

/// Covers: R9.1d
#[test]
fn what_was_asked_of_the_durable_route_is_not_taken_for_the_other() {
    let mut driven = Driven::open();
    driven.drop_link();
    driven.reconnect();
    driven.send("a");
    let failure = HttpFailure::NoRoute;
    let (post, fetch) = (driven.posts[0].0, driven.fetches[0]);
    let event = driven.client.handle_post_failed(post, failure, driven.now);
    assert_eq!(event, Some(Event::FellBack));
    let event = driven
        .client
        .handle_fetch_failed(fetch.id, failure, driven.now);
    assert_eq!(event, None, "it is asked for again, by the other route");
    // The other way round, the post does not hold the message back.
    let mut driven = Driven::open();
    driven.send("a");
    driven.drop_link();
    driven.reconnect();
    let fetch = driven.fetches[0];
    let event = driven
        .client
        .handle_fetch_failed(fetch.id, failure, driven.now);
    assert_eq!(event, Some(Event::FellBack));
    let began = driven.now;
    let mut sent = Vec::new();
    while sent.is_empty() {
        driven.tick();
        sent = emitted_ids(&mut driven);
    }
    assert_eq!(sent, ["a"]);
    assert!(driven.now.since(began) < SECOND);
}

/// Covers: R3.8
#[test]
fn a_history_that_is_too_short_is_said() {
    let mut driven = Driven::open();
    driven.drop_link();
    driven.reconnect();
    let fetch = driven.fetches.pop().unwrap();
    let failure = HttpFailure::NoRoute;
    let event = driven
        .client
        .handle_fetch_failed(fetch.id, failure, driven.now);
    assert_eq!(event, Some(Event::FellBack));
    while driven.fetches.is_empty() {
        driven.tick();
    }
    let rows: Vec<_> = (51..=200).rev().map(|seq| driven.row(seq, "x")).collect();
    let events = driven.page(&rows, false);
    assert_eq!(events[0], Event::Withheld(Withheld { from: 1, to: 50 }));
    assert_eq!(said(&events).len(), 150);
    // A whole history that begins right behind, and one that leaves numbers out but is no
    // longer than all there is: nothing is missing.
    for (from, to) in [(201, 350), (352, 353)] {
        driven.drop_link();
        driven.reconnect();
        let rows: Vec<_> = (from..=to).rev().map(|seq| driven.row(seq, "x")).collect();
        let events = driven.page(&rows, false);
        assert_eq!(said(&events).len(), events.len());
        assert_eq!(events.len(), rows.len());
    }
    // Nor is there another way than this one.
    driven.drop_link();
    driven.reconnect();
    let fetch = driven.fetches.pop().unwrap();
    let event = driven
        .client
        .handle_fetch_failed(fetch.id, failure, driven.now);
    assert_eq!(event, Some(Event::FetchingStopped(failure)));
}

/// A post and a fetch under way to the durable route at once.
fn both_under_way() -> (Driven, BatchId, FetchId) {
    let mut driven = Driven::new();
    driven.client.listen();
    driven.join();
    driven.send("a");
    let (post, _) = driven.posts.pop().expect("a post");
    let fetch = driven.fetches.pop().expect("a fetch");
    (driven, post, fetch.id)
}

#[test]
fn whichever_falls_back_first_leaves_nothing_of_the_other_behind() {
    let failure = HttpFailure::NoRoute;
    for post_first in [true, false] {
        let (mut driven, post, fetch) = both_under_way();
        let (client, now) = (&mut driven.client, driven.now);
        let events = if post_first {
            [
                client.handle_post_failed(post, failure, now),
                client.handle_fetch_failed(fetch, failure, now),
            ]
        } else {
            [
                client.handle_fetch_failed(fetch, failure, now),
                client.handle_post_failed(post, failure, now),
            ]
        };
        assert_eq!(events, [Some(Event::FellBack), None]);
        driven.act();
        let mut sent = emitted_ids(&mut driven);
        while sent.is_empty() {
            driven.tick();
            sent = emitted_ids(&mut driven);
        }
        assert_eq!(sent, ["a"], "post first: {post_first}");
        while driven.fetches.is_empty() {
            driven.tick();
        }
        let events = driven.page(&[own(1, "a")], false);
        assert!(matches!(&events[..], [Event::Stored { seq: 1, .. }]));
    }
}

#[test]
fn a_history_may_begin_before_what_was_dealt_with() {
    let mut driven = fallen_back(&["a"]);
    assert_eq!(emitted_ids(&mut driven), ["a"]);
    driven.page(&[own(1, "a")], false);
    driven.fetches.clear();
    driven.send("b");
    driven.act();
    assert_eq!(emitted_ids(&mut driven), ["b"]);
    while driven.fetches.is_empty() {
        driven.tick();
    }
    let rows = [own(3, "b"), driven.row(2, "user"), own(1, "a")];
    let events = driven.page(&rows, false);
    assert!(
        matches!(
            &events[..],
            [Event::Stored { seq: 3, .. }, Event::UserMessage(_)]
        ),
        "{events:?}"
    );
    assert_eq!((driven.client.unsent(), driven.client.cursor()), (0, 3));
}
