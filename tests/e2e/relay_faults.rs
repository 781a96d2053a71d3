//! The relay's client over real sockets, against a server whose faults are of our choosing, with
//! deadlines made short.

use std::collections::VecDeque;
use std::time::Duration;

use hallway::core::backoff::Policy;
use hallway::core::relay::cipher::{Cipher, Nonce};
use hallway::core::relay::client::{Change, Target};
use hallway::core::relay::keys::AccountSecret;
use hallway::core::relay::limits::Limits;
use hallway::core::relay::link::{Cause, CloseReason};
use hallway::core::relay::versioned::Outcome;
use hallway::relay::credentials::{Credentials, HappyHome, Keys};
use hallway::relay::http::{Http, Patience};
use hallway::relay::session;
use hallway::relay::transport::{Relay, Update, Upkeep};
use hallway::session::{AccessToken, TransportOptions};
use hallway_tests::PATIENCE;
use hallway_tests::relay_server::{Front, RelayServer};
use serde_json::json;

pub(crate) const SECRET: [u8; 32] = [7; 32];

pub(crate) struct Joined {
    pub(crate) server: RelayServer,
    pub(crate) relay: Relay,
    pub(crate) session: String,
    /// What was told while something else was waited for.
    pub(crate) passed: VecDeque<Update>,
    _home: tempfile::TempDir,
}

/// Joins a session of a server of its own, with limits as `change` has them.
async fn join(prepare: impl FnOnce(&RelayServer), limits: Limits) -> Joined {
    join_at(RelayServer::start(), prepare, limits).await
}

pub(crate) async fn join_at(
    server: RelayServer,
    prepare: impl FnOnce(&RelayServer),
    limits: Limits,
) -> Joined {
    let keys = Keys::Legacy(AccountSecret::from_bytes(&SECRET));
    join_by(server, keys, prepare, limits).await
}

pub(crate) async fn join_by(
    server: RelayServer,
    keys: Keys,
    prepare: impl FnOnce(&RelayServer),
    limits: Limits,
) -> Joined {
    server.with(|state| state.tokens.insert("tok".to_owned(), String::new()));
    let home = tempfile::tempdir().unwrap();
    let credentials = Credentials {
        token: AccessToken::parse("tok").unwrap(),
        keys,
    };
    let http = Http::new(
        server.url(),
        &TransportOptions::default(),
        Patience::DEFAULT,
    )
    .unwrap();
    let happy = HappyHome::at(home.path().join(".happy"));
    let metadata = r#"{"path":"/p"}"#;
    let opened = session::open(&http, &happy, &credentials, "t", metadata).await;
    let (row, joined) = opened.unwrap();
    prepare(&server);
    let upkeep = Upkeep {
        limits,
        policy: Policy::FIXED,
        ..Upkeep::default()
    };
    let mut relay = Relay::start(http, credentials.token, joined, &upkeep).unwrap();
    relay.client().listen();
    Joined {
        server,
        relay,
        session: row.id,
        passed: VecDeque::new(),
        _home: home,
    }
}

pub(crate) fn quick() -> Limits {
    let builder = Limits::builder()
        .probe_interval(Duration::from_millis(50))
        .probe_timeout(Duration::from_millis(200))
        .ack_timeout(Duration::from_millis(100))
        .update_timeout(Duration::from_secs(2))
        .register_timeout(Duration::from_millis(50));
    builder.build().unwrap()
}

impl Joined {
    /// What `wanted` makes of the first update that it knows.
    pub(crate) async fn until<T>(&mut self, mut wanted: impl FnMut(&Update) -> Option<T>) -> T {
        let mut seen = Vec::new();
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                let update = match self.passed.pop_front() {
                    Some(update) => update,
                    None => self.relay.next().await.expect("it goes on"),
                };
                if let Some(found) = wanted(&update) {
                    return found;
                }
                seen.push(update);
            }
        });
        found.await.expect("in time")
    }

    pub(crate) async fn connected(&mut self) {
        self.until(|update| matches!(update, Update::Connected { .. }).then_some(()))
            .await;
    }
}

/// Covers: R9.12a
#[tokio::test(flavor = "multi_thread")]
async fn a_half_open_connection_is_found_and_replaced() {
    let server = RelayServer::start_with(Front::ByHand);
    let mut joined = join_at(server, |_| (), quick()).await;
    joined.connected().await;
    joined.server.with(|state| state.faults.half_open = true);
    let cause = joined.until(|update| match update {
        Update::Reconnecting { cause, .. } => Some(*cause),
        _ => None,
    });
    assert_eq!(cause.await, Cause::NoAnswer);
    joined.server.with(|state| state.faults.half_open = false);
    joined.connected().await;
}

/// Covers: R9.3b, R9.3c
#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_is_never_acknowledged_has_an_outcome_and_frees_the_next() {
    let mut joined = join(
        |server| server.with(|state| state.faults.no_acks = true),
        quick(),
    )
    .await;
    joined.connected().await;
    let write = |value: Option<&hallway::core::relay::plaintext::Document>| match value {
        Some(document) => {
            let mut document = document.clone();
            document.set_lifecycle("archived", hallway::clock::wall());
            Change::Write(document)
        }
        None => Change::Keep,
    };
    let update = joined.relay.change(Target::Metadata, write).unwrap();
    let outcome = |update| {
        move |told: &Update| match told {
            Update::Updated {
                update: own,
                outcome,
                ..
            } if *own == update => Some(*outcome),
            _ => None,
        }
    };
    assert_eq!(joined.until(outcome(update)).await, Outcome::TimedOut);
    joined.server.with(|state| state.faults.no_acks = false);
    let update = joined.relay.change(Target::Metadata, write).unwrap();
    assert!(matches!(
        joined.until(outcome(update)).await,
        Outcome::Applied(_)
    ));
}

/// Covers: R9.11
#[tokio::test(flavor = "multi_thread")]
async fn after_the_end_nothing_dials_and_nothing_is_left() {
    let mut joined = join(|_| (), Limits::DEFAULT).await;
    joined.connected().await;
    joined.relay.send("1").unwrap();
    joined.relay.end();
    let (reason, unsent) = joined
        .until(|update| match update {
            Update::Closed { reason, unsent, .. } => Some((*reason, *unsent)),
            _ => None,
        })
        .await;
    assert_eq!((reason, unsent), (CloseReason::User, 0));
    assert_eq!(joined.relay.next().await, None);
    assert_eq!(joined.relay.next().await, None);
    assert!(joined.relay.send("2").is_err());
    joined.relay.leave().await;
    let server = joined.server;
    server.wait("the socket is gone", |state| {
        (state.sockets() == 0).then_some(())
    });
    server.with(|state| {
        assert_eq!(state.joined, 1);
        assert_eq!(state.only().1.messages.len(), 1);
    });
}

/// Covers: R9.12b
#[tokio::test(flavor = "multi_thread")]
async fn a_registration_that_is_not_confirmed_is_said() {
    let silent = |server: &RelayServer| server.with(|state| state.faults.no_registrations = true);
    let mut joined = join(silent, quick()).await;
    joined.relay.client().register("permission").unwrap();
    joined.connected().await;
    let method = joined.until(|update| match update {
        Update::RpcUnconfirmed { method } => Some(method.clone()),
        _ => None,
    });
    assert_eq!(method.await, "permission");
}

/// Covers: R9.5
#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_session_stops_sending_and_says_so() {
    let mut joined = join(|_| (), Limits::DEFAULT).await;
    joined.connected().await;
    joined.server.with(|state| state.sessions.clear());
    joined.relay.send("1").unwrap();
    joined
        .until(|update| matches!(update, Update::SendingStopped(_)).then_some(()))
        .await;
    assert_eq!(
        joined.relay.client().unsent(),
        1,
        "it is not lost in silence"
    );
}

/// Covers: R9.7a
#[tokio::test(flavor = "multi_thread")]
async fn what_a_relay_makes_up_or_replays_reaches_nobody() {
    let mut joined = join(|_| (), Limits::DEFAULT).await;
    joined.connected().await;
    let cipher = Cipher::Legacy(AccountSecret::from_bytes(&SECRET));
    let user = json!({"role": "user", "content": {"type": "text", "text": "hi"}}).to_string();
    let sealed = cipher
        .seal_text(Nonce::from_entropy([1; 24]), &user)
        .unwrap();
    let mut flipped = hallway::core::relay::base64::decode(&sealed);
    *flipped.last_mut().unwrap() ^= 1;
    let flipped = hallway::core::relay::base64::encode(&flipped);
    let session = joined.session.clone();
    for content in [&*sealed, &sealed, &flipped, "", "AAAA"] {
        joined.server.say(&session, content);
    }
    let fresh = cipher
        .seal_text(Nonce::from_entropy([2; 24]), &user)
        .unwrap();
    joined.server.say(&session, &fresh);
    let mut numbers = Vec::new();
    for _ in 0..6 {
        let told = joined.until(|update| match update {
            Update::UserMessage(message) => Some((message.seq, true)),
            Update::Unreadable { seq, .. } => Some((*seq, false)),
            _ => None,
        });
        numbers.push(told.await);
    }
    let expected = [
        (1, true),
        (2, false),
        (3, false),
        (4, false),
        (5, false),
        (6, true),
    ];
    assert_eq!(numbers, expected);
}

/// Covers: R1.9, R9.1a, R9.4b
#[tokio::test(flavor = "multi_thread")]
async fn a_long_message_comes_through_and_a_thousand_are_in_order() {
    let mut joined = join(|_| (), Limits::DEFAULT).await;
    joined.connected().await;
    // Longer than any frame that the server takes: it goes by HTTP.
    let long = json!("x".repeat(2_000_000)).to_string();
    joined.relay.send(&long).unwrap();
    for number in 0..1_000 {
        joined.relay.send(&number.to_string()).unwrap();
    }
    let mut left = 1_001;
    while left > 0 {
        joined
            .until(|update| matches!(update, Update::Stored { .. }).then_some(()))
            .await;
        left -= 1;
    }
    let cipher = Cipher::Legacy(AccountSecret::from_bytes(&SECRET));
    let contents: Vec<_> = joined.server.with(|state| {
        let messages = &state.only().1.messages;
        messages
            .iter()
            .map(|message| message.content.clone())
            .collect()
    });
    let plaintexts = contents
        .iter()
        .map(|content| cipher.open_text(content).unwrap());
    let mut texts = plaintexts.map(|plaintext| plaintext.raw().as_str().to_owned());
    assert_eq!(texts.next().unwrap().len(), long.len());
    for number in 0..1_000 {
        assert_eq!(texts.next(), Some(number.to_string()));
    }
    // And one that long of another's comes back whole, live.
    let sealed = cipher
        .seal_text(Nonce::from_entropy([5; 24]), &long)
        .unwrap();
    let session = joined.session.clone();
    joined.server.say(&session, &sealed);
    let length = joined.until(|update| match update {
        Update::Message(message) => Some(message.plaintext.raw().as_str().len()),
        _ => None,
    });
    assert_eq!(length.await, long.len());
}
