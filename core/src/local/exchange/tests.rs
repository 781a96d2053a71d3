use super::*;
use alloc::format;

const NOW: Instant = Instant::from_nanos(1_000);

fn exchange() -> Exchange {
    Exchange::new(&Limits::builder().max_pending_sends(3).build().unwrap())
}

fn token() -> Token {
    Token::parse("T\"").unwrap()
}

fn text(data: &str) -> Draft<'_> {
    Draft {
        kind: "text",
        data: Data::Text(data),
        from: None,
    }
}

fn send(exchange: &mut Exchange, draft: Draft<'_>) -> Result<SendId, SendError> {
    exchange.send(draft, &token(), NOW, UnixTime::EPOCH)
}

fn ping(exchange: &mut Exchange) -> SendId {
    exchange.ping(&token(), NOW, UnixTime::EPOCH).unwrap()
}

fn feed(exchange: &mut Exchange, bytes: &str) {
    let spare = exchange.spare_mut();
    spare[..bytes.len()].copy_from_slice(bytes.as_bytes());
    exchange.handle_input(bytes.len());
}

fn results(exchange: &mut Exchange) -> Vec<(u64, Result<Answer, Failure>)> {
    core::iter::from_fn(|| exchange.poll_outcome())
        .map(|outcome| (outcome.id.0, outcome.result))
        .collect()
}

fn accepted(id: &str) -> Result<Answer, Failure> {
    Ok(Answer::Accepted(Some(Box::from(id))))
}

/// Covers: L3.2, L3.5, L4.1, L4.2
#[test]
fn frames_have_the_key_order_of_the_contract() {
    let mut exchange = exchange();
    send(
        &mut exchange,
        Draft {
            from: Some("/s"),
            ..text("a\n")
        },
    )
    .unwrap();
    let json = Draft {
        kind: "query",
        data: Data::Json("[1e999, null]"),
        from: None,
    };
    send(&mut exchange, json).unwrap();
    ping(&mut exchange);
    assert_eq!(
        core::str::from_utf8(exchange.pending()).unwrap(),
        concat!(
            r#"{"type":"text","data":"a\n","ts":"1970-01-01T00:00:00.000Z","from":"/s","meta":{"authToken":"T\""}}"#,
            "\n",
            r#"{"type":"query","data":[1e999, null],"ts":"1970-01-01T00:00:00.000Z","meta":{"authToken":"T\""}}"#,
            "\n",
            r#"{"type":"ping","ts":"1970-01-01T00:00:00.000Z","meta":{"authToken":"T\""}}"#,
            "\n",
        )
    );
}

#[test]
fn answers_meet_their_requests_in_order() {
    let mut exchange = exchange();
    send(&mut exchange, text("a")).unwrap();
    ping(&mut exchange);
    send(&mut exchange, text("b")).unwrap();
    assert_eq!(send(&mut exchange, text("c")), Err(SendError::Full));
    assert_eq!(exchange.unanswered(), 3);
    feed(
        &mut exchange,
        concat!(
            "{\"type\":\"pong\"}\n \n{\"type\":\"later\"}\n{}\n",
            "{\"type\":\"response\",\"data\":\"ok\",\"meta\":{\"id\":\"uds-1\"}}\n",
            "{\"type\":\"response\"}\n{\"type\":\"p\\u006fng\"}\n",
            "{\"type\":\"response\",\"meta\":{\"id\":7}}\r\n{\"type\":\"response\"}\n",
        ),
    );
    assert_eq!(
        results(&mut exchange),
        [
            (1, accepted("uds-1")),
            (2, Ok(Answer::Pong)),
            (3, Ok(Answer::Accepted(None)))
        ]
    );
    assert_eq!(
        (exchange.poll_timeout(), exchange.is_closed()),
        (None, false)
    );
    assert_eq!(send(&mut exchange, text("c")), Ok(SendId(4)));
}

#[test]
fn a_question_is_answered_by_any_object() {
    let mut exchange = exchange();
    let draft = Draft {
        kind: "next",
        ..text("")
    };
    exchange.ask(draft, &token(), NOW, UnixTime::EPOCH).unwrap();
    let due = NOW.after(Limits::DEFAULT.send_timeout());
    assert_eq!(exchange.poll_timeout(), Some(due), "as long as a message");
    exchange.ask(draft, &token(), NOW, UnixTime::EPOCH).unwrap();
    let lines = "{\"event\":1}\n{\"type\":\"pong\"}\n";
    feed(&mut exchange, lines);
    let object = |text: &str| Ok(Answer::Object(Box::from(text)));
    assert_eq!(
        results(&mut exchange),
        [
            (1, object("{\"event\":1}")),
            (2, object("{\"type\":\"pong\"}"))
        ]
    );
}

#[test]
fn a_question_is_refused_by_an_error() {
    let mut exchange = exchange();
    let draft = Draft {
        kind: "next",
        ..text("")
    };
    exchange.ask(draft, &token(), NOW, UnixTime::EPOCH).unwrap();
    feed(&mut exchange, "{\"type\":\"error\",\"data\":\"no\"}\n");
    assert_eq!(results(&mut exchange), [(1, Err(Failure::Refused))]);
    assert_eq!(exchange.refusal(), Some("no"));
}

#[test]
fn a_refusal_is_the_oldest_requests_own() {
    let mut exchange = exchange();
    for data in ["a", "b", "c"] {
        send(&mut exchange, text(data)).unwrap();
    }
    let one = exchange.pending().len() / 3;
    exchange.handle_output(2 * one);
    feed(
        &mut exchange,
        "{\"type\":\"response\"}\n{\"type\":\"error\",\"data\":\"inbox full\"}\n{\"type\":\"response\"}\n",
    );
    let outcomes: Vec<_> = core::iter::from_fn(|| exchange.poll_outcome()).collect();
    assert_eq!(
        outcomes
            .iter()
            .map(|o| (o.result.clone().err(), o.written))
            .collect::<Vec<_>>(),
        [
            (None, true),
            (Some(Failure::Refused), true),
            (Some(Failure::EndedBeforeResponse), false),
        ]
    );
    assert_eq!(exchange.refusal(), Some("inbox full"));
    assert!(exchange.is_closed());
    assert!(exchange.spare_mut().is_empty() && exchange.pending().is_empty());
    let closed = SendError::Closed(Failure::EndedBeforeResponse);
    assert_eq!(send(&mut exchange, text("d")), Err(closed));
    assert_eq!(exchange.ping(&token(), NOW, UnixTime::EPOCH), Err(closed));
}

#[test]
fn an_error_without_words_or_requests_still_ends_it() {
    let mut exchange = exchange();
    feed(&mut exchange, "{\"type\":\"error\",\"data\":7}\n");
    assert_eq!(exchange.poll_outcome(), None);
    assert_eq!((exchange.refusal(), exchange.is_closed()), (Some(""), true));
}

#[test]
fn what_is_no_object_is_an_invalid_response() {
    for line in [
        "null\n",
        "1\n",
        "[]\n",
        "\"pong\"\n",
        "{\"type\":\"response\"\n",
        "pong\n",
    ] {
        let mut exchange = exchange();
        send(&mut exchange, text("a")).unwrap();
        feed(&mut exchange, line);
        assert_eq!(
            results(&mut exchange),
            [(1, Err(Failure::InvalidResponse))],
            "{line}"
        );
    }
    let mut exchange = exchange();
    send(&mut exchange, text("a")).unwrap();
    exchange.spare_mut()[..2].copy_from_slice(b"\xff\n");
    exchange.handle_input(2);
    assert_eq!(results(&mut exchange), [(1, Err(Failure::InvalidResponse))]);
}

#[test]
fn a_response_over_the_limit_ends_it() {
    let mut exchange = exchange();
    send(&mut exchange, text("a")).unwrap();
    for _ in 0..65_537 {
        exchange.spare_mut()[0] = b'x';
        exchange.handle_input(1);
        if let Some(outcome) = exchange.poll_outcome() {
            assert_eq!(outcome.result, Err(Failure::ResponseTooLong));
        }
    }
    assert!(exchange.is_closed());
}

/// Covers: L4.9
#[test]
fn the_earliest_deadline_ends_everything() {
    let mut exchange = exchange();
    assert_eq!(exchange.poll_timeout(), None);
    send(&mut exchange, text("a")).unwrap();
    let limits = Limits::DEFAULT;
    assert_eq!(
        exchange.poll_timeout(),
        Some(NOW.after(limits.send_timeout()))
    );
    ping(&mut exchange);
    let due = NOW.after(limits.ping_timeout());
    assert_eq!(exchange.poll_timeout(), Some(due));
    // A drip of unknown frames does not buy time.
    feed(&mut exchange, "{}\n");
    assert_eq!(results(&mut exchange), []);
    exchange.handle_timeout(Instant::from_nanos(due.as_nanos() - 1));
    assert_eq!(results(&mut exchange), []);
    exchange.handle_timeout(due);
    assert_eq!(exchange.poll_timeout(), None);
    let timed_out = Err(Failure::TimedOut);
    assert_eq!(
        results(&mut exchange),
        [(1, timed_out.clone()), (2, timed_out)]
    );
    exchange.handle_timeout(due);
    exchange.handle_broken();
    assert_eq!(
        exchange.state,
        State::Closed(Failure::TimedOut),
        "the first ending counts"
    );
}

#[test]
fn the_end_of_the_stream_is_the_end_of_every_request() {
    for (broken, failure) in [
        (false, Failure::EndedBeforeResponse),
        (true, Failure::Broken),
    ] {
        let mut exchange = exchange();
        send(&mut exchange, text("a")).unwrap();
        feed(&mut exchange, "{\"type\":\"resp");
        assert_eq!(results(&mut exchange), []);
        if broken {
            exchange.handle_broken();
        } else {
            exchange.handle_end_of_input();
        }
        exchange.handle_input(1);
        assert_eq!(results(&mut exchange), [(1, Err(failure))]);
    }
}

#[test]
fn the_words_of_a_server_that_reads_no_more_are_heard() {
    let mut exchange = exchange();
    send(&mut exchange, text("a")).unwrap();
    exchange.handle_output_broken();
    assert!(exchange.pending().is_empty());
    feed(
        &mut exchange,
        "{\"type\":\"error\",\"data\":\"too many clients\"}\n",
    );
    let outcome = exchange.poll_outcome().unwrap();
    assert_eq!(
        (outcome.result, outcome.written),
        (Err(Failure::Refused), false)
    );
    assert_eq!(exchange.refusal(), Some("too many clients"));
}

#[test]
fn what_cannot_be_sent_changes_nothing() {
    let mut exchange = exchange();
    let before = exchange.clone();
    for raw in ["", "{", "1 2", "[1,\n2]"] {
        let draft = Draft {
            data: Data::Json(raw),
            ..text("")
        };
        assert_eq!(
            send(&mut exchange, draft),
            Err(SendError::NotJson),
            "{raw:?}"
        );
    }
    let overhead = {
        let mut other = exchange.clone();
        send(&mut other, text("")).unwrap();
        other.pending().len() - 1
    };
    let most = "x".repeat(65_536 - overhead);
    let more = format!("{most}x");
    let too_long = SendError::TooLong {
        bytes: 65_537,
        limit: 65_536,
    };
    assert_eq!(send(&mut exchange, text(&more)), Err(too_long));
    assert_eq!(exchange, before);
    assert!(send(&mut exchange, text(&most)).is_ok());
    assert_eq!(send(&mut exchange, text(&most)), Err(SendError::Full));
    for error in [
        SendError::Full,
        SendError::NotJson,
        too_long,
        SendError::Closed(Failure::Refused),
    ] {
        assert!(!format!("{error}").is_empty());
    }
}

/// Covers: L4.6
#[test]
fn failures_have_their_contract_words() {
    let failures = [
        (Failure::Refused, "refused by the peer"),
        (Failure::InvalidResponse, "invalid response"),
        (Failure::ResponseTooLong, "response too long"),
        (Failure::EndedBeforeResponse, "ended before response"),
        (Failure::TimedOut, "timed out"),
        (Failure::Broken, "connection broken"),
    ];
    for (failure, words) in failures {
        assert_eq!(format!("{failure}"), words);
    }
}
