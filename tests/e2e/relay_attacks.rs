//! A relay that means harm, over real sockets: what follows is typed, bounded, and tells it nothing.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use hallway::core::relay::base64;
use hallway::core::relay::cipher::{Cipher, OpenError, unwrap_data_key};
use hallway::core::relay::client::{Change, Target, Unreadable};
use hallway::core::relay::keys::{AccountSecret, DataKey};
use hallway::core::relay::limits::Limits;
use hallway::core::relay::link::Cause;
use hallway::core::relay::plaintext::Document;
use hallway::core::relay::versioned::Outcome;
use hallway::relay::credentials::Keys;
use hallway::relay::transport::Update;
use hallway_tests::PATIENCE;
use hallway_tests::relay_server::{Front, RelayServer, State};
use hallway_tests::session::Authority;
use serde_json::{Value, json};

use crate::relay::{self, Running, cipher, mirror, opened, sealed, session, user};
use crate::relay_faults::{Joined, join_at, join_by, quick};
use crate::relay_http::terminate;

/// What no server may see.
const WORD: &str = "PLAIN-5ecre7-WORD";
/// How much more of memory a mirror may take than at rest, whatever is thrown at it.
const MEMORY: u64 = 8 << 20;

async fn joined() -> Joined {
    joined_with(quick()).await
}

/// Whose updates are answered in time on a busy machine, too.
async fn patient() -> Joined {
    let limits = Limits::builder().ack_timeout(Duration::from_secs(3));
    joined_with(limits.build().unwrap()).await
}

async fn joined_with(limits: Limits) -> Joined {
    let server = RelayServer::start_with(Front::ByHand);
    let mut joined = join_at(server, |_| (), limits).await;
    joined.connected().await;
    joined
}

impl Joined {
    /// The numbers and texts of `count` messages, or why there is none.
    async fn told(&mut self, count: usize) -> Vec<(u64, Result<String, Unreadable>)> {
        let mut told = Vec::new();
        while told.len() < count {
            let next = self.until(|update| match update {
                Update::UserMessage(message) | Update::Message(message) => {
                    let value: Value =
                        serde_json::from_str(message.plaintext.raw().as_str()).expect("JSON");
                    let text = value["content"]["text"].as_str();
                    let text = text.map_or_else(|| value.to_string(), str::to_owned);
                    Some((message.seq, Ok(text)))
                }
                Update::Unreadable { seq, why } => Some((*seq, Err(*why))),
                _ => None,
            });
            told.push(next.await);
        }
        told
    }

    /// Goes on until the server is as `wanted` says.
    async fn until_server(&mut self, wanted: impl Fn(&State) -> bool) {
        let found = tokio::time::timeout(PATIENCE, async {
            while !self.server.with(|state| wanted(state)) {
                let next = tokio::time::timeout(Duration::from_millis(10), self.relay.next());
                if let Ok(update) = next.await {
                    self.passed.extend(update);
                }
            }
        });
        found.await.expect("in time");
    }

    async fn outcome(&mut self, of: hallway::core::relay::versioned::UpdateId) -> Outcome {
        self.until(|told| match told {
            Update::Updated {
                update, outcome, ..
            } if *update == of => Some(*outcome),
            _ => None,
        })
        .await
    }

    fn say(&self, text: &str) -> u64 {
        self.server
            .say(&self.session, &sealed(&cipher(), &user(text)))
    }

    fn update(&self, body: &Value) {
        let update = json!(["update", {"id": "u", "seq": 1, "body": body, "createdAt": 1}]);
        assert!(self.server.inject(&format!("42{update}")));
    }

    fn row(&self, seq: u64) -> Value {
        self.server.with(|state| {
            let message = &state.only().1.messages[usize::try_from(seq - 1).unwrap()];
            json!({"id": "m", "seq": message.seq, "localId": message.local_id, "createdAt": 1,
                "updatedAt": 1, "content": {"t": "encrypted", "c": message.content}})
        })
    }

    fn new_message(&self, row: &Value) {
        self.update(&json!({"t": "new-message", "sid": self.session, "message": row}));
    }
}

fn rename(value: Option<&Document>) -> Change {
    match value {
        Some(document) => {
            let mut document = document.clone();
            document.set_lifecycle("archived", hallway::clock::wall());
            Change::Write(document)
        }
        None => Change::Keep,
    }
}

/// Covers: R9.2e
#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_replays_is_told_from_the_user() {
    let mut joined = joined().await;
    joined.say("pay");
    assert_eq!(joined.told(1).await, [(1, Ok("pay".to_owned()))]);
    // The same frame, and the same message under numbers of its own choosing.
    let row = joined.row(1);
    joined.new_message(&row);
    let mut again = row.clone();
    (again["seq"], again["localId"]) = (json!(2), json!("x"));
    joined.new_message(&again);
    assert_eq!(joined.told(1).await, [(2, Err(Unreadable::Replayed))]);
    // From its history, too.
    let content = row["content"]["c"].as_str().unwrap().to_owned();
    joined.server.with(|state| {
        state.faults.silent = true;
        state
            .sessions
            .values_mut()
            .for_each(|session| session.seq = 2);
    });
    joined.server.say(&joined.session, &content);
    joined.server.cut();
    assert_eq!(joined.told(1).await, [(3, Err(Unreadable::Replayed))]);
}

/// What was said here comes back as another's.
///
/// Covers: R9.2e
#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_reflects_is_told_from_the_user() {
    let mut joined = joined().await;
    joined.relay.send(&user("echo").to_string()).unwrap();
    joined
        .until(|update| matches!(update, Update::Stored { .. }).then_some(()))
        .await;
    let mut row = joined.row(1);
    (row["seq"], row["localId"]) = (json!(2), json!(null));
    joined.new_message(&row);
    (row["seq"], row["localId"]) = (json!(3), json!("x"));
    joined.new_message(&row);
    joined.server.with(|state| {
        let session = state.sessions.values_mut().next().unwrap();
        session.seq = 3;
    });
    joined.say("truly");
    assert_eq!(joined.told(1).await, [(4, Ok("truly".to_owned()))]);
}

/// Covers: R9.2a, R9.2e
#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_reorders_is_put_in_order() {
    let mut joined = joined().await;
    joined.server.with(|state| state.faults.silent = true);
    for text in ["one", "two", "three"] {
        joined.say(text);
    }
    for seq in [3, 1, 2, 3] {
        let row = joined.row(seq);
        joined.new_message(&row);
    }
    let in_order = [(1, "one"), (2, "two"), (3, "three")];
    let expected = in_order.map(|(seq, text)| (seq, Ok(text.to_owned())));
    assert_eq!(joined.told(3).await, expected);
    // A history that descends is no history; the true one is delivered whole.
    joined
        .server
        .with(|state| state.faults.rewrite = Some(descending));
    for text in ["four", "five", "six"] {
        joined.say(text);
    }
    joined.server.cut();
    joined
        .until_server(|state| state.heard.matches("after_seq=").count() >= 3)
        .await;
    joined.server.with(|state| state.faults.rewrite = None);
    let told: Vec<_> = joined.told(3).await;
    let expected = [(4, "four"), (5, "five"), (6, "six")];
    assert_eq!(told, expected.map(|(seq, text)| (seq, Ok(text.to_owned()))));
}

fn descending(path: &str, body: &mut String) {
    if path.contains(" /v3/") {
        let mut page: Value = serde_json::from_str(body).unwrap();
        if let Some(rows) = page["messages"].as_array_mut() {
            rows.reverse();
        }
        *body = page.to_string();
    }
}

/// A home's two sessions have keys of their own: neither's messages or values pass for the other's.
///
/// Covers: R9.7a, R9.7b
#[tokio::test(flavor = "multi_thread")]
async fn ciphertexts_of_another_session_are_not_opened() {
    let pair = AccountSecret::from_bytes(&[7; 32]).content_key_pair();
    let keys = || Keys::DataKey {
        public: pair.public(),
        machine: DataKey::from_bytes(&[3; 32]),
    };
    let server = RelayServer::start_with(Front::ByHand);
    let mut other = join_by(server, keys(), |_| (), quick()).await;
    other.connected().await;
    let (theirs, key) = other.server.with(|state| {
        let session = state.only().1;
        (
            session.metadata.0.clone(),
            session.data_key.clone().unwrap(),
        )
    });
    let theirs_cipher = Cipher::DataKey(unwrap_data_key(&key, &pair).unwrap());
    let server = RelayServer::start_with(Front::ByHand);
    let mut joined = join_by(server, keys(), |_| (), quick()).await;
    joined.connected().await;
    let own = joined.server.with(|state| state.only().1.clone());
    assert_ne!(own.data_key.as_ref(), Some(&key));
    joined
        .server
        .say(&joined.session, &sealed(&theirs_cipher, &user("swapped")));
    let forged = Unreadable::Unopened(OpenError::Forged);
    assert_eq!(joined.told(1).await, [(1, Err(forged))]);
    joined.update(&json!({"t": "update-session", "id": joined.session,
        "metadata": {"value": theirs, "version": 9}}));
    let told = joined.until(|update| match update {
        Update::ValuesChanged {
            metadata,
            unreadable,
            ..
        } => Some((*metadata, *unreadable)),
        _ => None,
    });
    assert!(told.await.1);
    let update = joined.relay.change(Target::Metadata, rename).unwrap();
    assert_eq!(joined.outcome(update).await, Outcome::Unreadable);
    assert_eq!(
        joined.server.with(|state| state.only().1.metadata.clone()),
        own.metadata
    );
}

/// Covers: R9.7b
#[tokio::test(flavor = "multi_thread")]
async fn values_that_a_relay_makes_up_are_not_written_over() {
    let mut joined = patient().await;
    let before = joined.server.with(|state| state.only().1.metadata.clone());
    let substitute = |joined: &Joined, value: Value| {
        joined.update(&json!({"t": "update-session", "id": joined.session, "metadata": value}));
    };
    // Of no use, and older: what is known stays.
    for value in [
        json!(null),
        json!(7),
        json!({"value": null, "version": 1}),
        json!({"value": "AAAA", "version": -1}),
        json!({"value": "AAAA"}),
        json!({"value": "AAAA", "version": 0}),
    ] {
        substitute(&joined, value);
    }
    // What comes after them has been read.
    joined.say("fence");
    joined.told(1).await;
    let update = joined.relay.change(Target::Metadata, rename).unwrap();
    let Outcome::Applied(version) = joined.outcome(update).await else {
        panic!("the value is still known");
    };
    assert_eq!(version, before.1 + 1);
    let written = joined.server.with(|state| state.only().1.metadata.clone());
    let value = opened(&cipher(), &written.0);
    assert_eq!(
        (&value["path"], &value["lifecycleState"]),
        (&json!("/p"), &json!("archived"))
    );
    // What was true once, under its number, an older one, the present one, and none.
    let known = |joined: &mut Joined| {
        let (value, version) = joined.relay.client().value(Target::Metadata);
        (value.clone(), version)
    };
    let present = known(&mut joined);
    assert_eq!(present.1, version);
    for version in [json!(before.1), json!(0), json!(version), json!(null)] {
        substitute(&joined, json!({"value": before.0, "version": version}));
    }
    joined.say("fence");
    joined.told(1).await;
    assert_eq!(known(&mut joined), present);
    assert!(
        !joined
            .passed
            .iter()
            .any(|update| matches!(update, Update::ValuesChanged { .. }))
    );
    // Newer and rubbish.
    substitute(
        &joined,
        json!({"value": base64::encode(&[1; 80]), "version": 1_000}),
    );
    let unreadable = joined.until(|update| match update {
        Update::ValuesChanged { unreadable, .. } => unreadable.then_some(()),
        _ => None,
    });
    unreadable.await;
    let update = joined.relay.change(Target::Metadata, rename).unwrap();
    assert_eq!(joined.outcome(update).await, Outcome::Unreadable);
    let after = joined.server.with(|state| state.only().1.metadata.clone());
    assert_eq!(after, written);
}

/// Covers: R1.22, R9.5
#[tokio::test(flavor = "multi_thread")]
async fn frames_and_answers_that_are_cut_short_end_the_connection_and_not_the_session() {
    let mut joined = joined().await;
    for text in [
        r#"42["update",{"id":"#,
        r#"451-["update",{"_placeholder":true,"num":0}]"#,
        "\u{fffd}",
    ] {
        assert!(joined.server.inject(text));
        let cause = joined.until(|update| match update {
            Update::Reconnecting { cause, .. } => Some(*cause),
            _ => None,
        });
        let cause = cause.await;
        assert!(matches!(cause, Cause::Violation(_)), "{text:?}: {cause:?}");
        joined.connected().await;
    }
    joined
        .server
        .with(|state| state.faults.rewrite = Some(half));
    joined.relay.send("1").unwrap();
    let number = joined.say("whole");
    joined.server.cut();
    joined.until_server(|state| state.posts >= 2).await;
    joined.server.with(|state| state.faults.rewrite = None);
    let (mut stored, mut heard) = (false, false);
    while !(stored && heard) {
        let told = joined.until(|update| match update {
            Update::Stored { .. } => Some(true),
            Update::UserMessage(message) => {
                assert_eq!(message.seq, number);
                Some(false)
            }
            _ => None,
        });
        if told.await {
            assert!(!stored, "stored twice");
            stored = true;
        } else {
            heard = true;
        }
    }
}

fn half(path: &str, body: &mut String) {
    if path.contains(" /v3/") {
        body.truncate(body.len() / 2);
    }
}

/// Covers: R1.17
#[tokio::test(flavor = "multi_thread")]
async fn answers_given_twice_count_once() {
    let mut joined = patient().await;
    joined.server.with(|state| state.faults.acks_twice = true);
    for round in 0..5 {
        let update = joined.relay.change(Target::State, move |_| {
            let text = json!({"round": round}).to_string();
            let raw = hallway::core::relay::raw::Raw::parse(&text).and_then(Document::parse);
            raw.map_or(Change::Keep, Change::Write)
        });
        let outcome = joined.outcome(update.unwrap()).await;
        assert_eq!(outcome, Outcome::Applied(round + 1));
    }
    for id in 0..100 {
        joined
            .server
            .inject(&format!(r#"43{id}[{{"result":"success","version":77}}]"#));
    }
    joined.say("fence");
    joined.told(1).await;
    // What was asked before is answered again while another update is under way.
    joined.server.with(|state| state.faults.no_acks = true);
    let update = joined.relay.change(Target::State, |_| Change::Clear);
    let update = update.unwrap();
    joined
        .until_server(|state| state.heard.lines().any(clears_the_state))
        .await;
    for id in 0..joined.server.with(|state| state.asked) {
        let answer = json!([{"result": "success", "version": 77, "agentState": null}]);
        joined.server.inject(&format!("43{id}{answer}"));
    }
    assert_eq!(joined.outcome(update).await, Outcome::TimedOut);
    joined.server.with(|state| state.faults.no_acks = false);
    // Posts are answered for what was not sent, for nothing, and twice; nothing else tells.
    joined.server.with(|state| {
        state.faults.silent = true;
        state.faults.rewrite = Some(made_up);
    });
    let id = joined.relay.send("1").unwrap();
    joined.until_server(|state| state.posts >= 2).await;
    joined
        .server
        .with(|state| state.faults.rewrite = Some(anothers));
    joined.until_server(|state| state.posts >= 4).await;
    joined
        .server
        .with(|state| state.faults.rewrite = Some(doubled));
    let mut stored = Vec::new();
    joined.relay.send("2").unwrap();
    while stored.len() < 2 {
        let told = joined.until(|update| match update {
            Update::Stored { local_id, .. } => Some(local_id.clone()),
            _ => None,
        });
        stored.push(told.await);
    }
    assert_eq!(stored.first(), Some(&id));
    assert_eq!(stored.iter().collect::<BTreeSet<_>>().len(), 2);
    let update = joined.relay.change(Target::Metadata, rename).unwrap();
    assert!(matches!(joined.outcome(update).await, Outcome::Applied(_)));
    joined
        .server
        .with(|state| assert_eq!(state.joined, 1, "on one connection"));
}

fn clears_the_state(line: &str) -> bool {
    line.starts_with("update-state") && line.contains(r#""agentState":null"#)
}

fn made_up(path: &str, body: &mut String) {
    if path.starts_with("POST /v3/") {
        *body = json!({"messages": [
            {"id": "m", "seq": 1, "localId": "another's"},
            {"id": "m", "seq": -1, "localId": null},
            {"id": "m", "localId": 7},
        ]})
        .to_string();
    }
}

/// Nothing is wrong with the answer, but that it is another's.
fn anothers(path: &str, body: &mut String) {
    if path.starts_with("POST /v3/") {
        let row = json!({"id": "m", "seq": 1, "localId": "another's"});
        *body = json!({"messages": [row]}).to_string();
    }
}

fn doubled(path: &str, body: &mut String) {
    if path.starts_with("POST /v3/") {
        let mut answer: Value = serde_json::from_str(body).unwrap();
        if let Some(rows) = answer["messages"].as_array_mut() {
            let twice = rows.clone();
            rows.extend(twice);
        }
        *body = answer.to_string();
    }
}

fn peak_bytes(running: &Running) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", running.pid())).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    let kilobytes = line.split_whitespace().nth(1).unwrap();
    kilobytes.parse::<u64>().unwrap() << 10
}

/// 25 MB of what no client asked for, and one message; `running` has just connected.
fn flood(mut running: Running, server: &RelayServer) {
    let at_rest = peak_bytes(&running);
    let id = session(server);
    let junk = "x".repeat(5_000);
    let garbage =
        json!({"id": "u", "seq": 1, "createdAt": 1, "body": {"t": "new-kind", "x": junk}});
    let ephemeral = json!({"type": "activity", "id": id, "active": true, "x": junk});
    let call =
        json!({"method": format!("{id}:permission"), "params": sealed(&cipher(), &json!(1))});
    for round in 0..1_000 {
        for frame in [
            format!("42{}", json!(["update", garbage])),
            format!("42{}", json!(["ephemeral", ephemeral])),
            format!(
                "42{}",
                json!(["rpc-registered", {"method": format!("{id}:{junk}")}])
            ),
            format!("42{round}{}", json!(["rpc-request", call])),
            format!("43{round}{}", json!([junk])),
            "2".to_owned(),
        ] {
            assert!(server.inject(&frame));
        }
    }
    server.say(&id, &sealed(&cipher(), &user("still here")));
    let message = running.next("message");
    assert_eq!(message["text"], "still here");
    let grown = peak_bytes(&running) - at_rest;
    assert!(grown < MEMORY, "{grown} bytes more after 25 MB");
    // The calls are asked as far as they are bounded; the others are answered by an error.
    server.with(|state| {
        let answers = state
            .heard
            .lines()
            .filter(|line| line.starts_with("acknowledgement"));
        assert!(answers.count() >= 900);
        assert_eq!(state.joined, 1);
    });
    let (code, lines, _) = running.stop();
    assert_eq!(code, Some(0));
    assert!(
        lines
            .iter()
            .filter(|line| line.contains(r#""event":"call""#))
            .count()
            <= 64
    );
}

/// Covers: R9.6b
#[test]
fn a_flood_takes_no_memory_and_hides_nothing() {
    let (home, server) = relay::paired_with(RelayServer::start_with(Front::ByHand));
    flood(mirror(&home, &server, &[]), &server);
}

/// Covers: R9.6b
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_over_tls_takes_no_more() {
    let (home, server) = relay::paired_with(RelayServer::start_with(Front::ByHand));
    let authority = Authority::new("of the flood");
    let url = format!("https://localhost:{}", terminate(&server, &authority).await);
    let file = home.root().join("ca.pem");
    fs::write(&file, authority.pem()).unwrap();
    let flooded = tokio::task::spawn_blocking(move || {
        let file = file.to_str().unwrap();
        let way = ["--server", &url, "--ca-file", file];
        flood(mirror(&home, &server, &way), &server);
    });
    flooded.await.unwrap();
}

/// Everything that a session does, in either variant and by either route.
fn exercise(running: &mut Running, server: &RelayServer, cipher: &Cipher) {
    let id = session(server);
    server.say(&id, &sealed(cipher, &user(WORD)));
    assert_eq!(running.next("message")["text"], WORD);
    for line in [
        json!({"kind": "claude", "line": {"type": "user", "uuid": "u", "message": {"content": WORD}}}),
        json!({"kind": "claude", "line": {"type": "summary", "summary": WORD, "leafUuid": "l"}}),
        json!({"kind": "codex", "data": WORD}),
        json!({"kind": "acp", "provider": WORD, "data": {"type": "message", "message": WORD}}),
        json!({"kind": "event", "id": "e", "data": {"type": "message", "message": WORD}}),
        json!({"kind": "message", "message": WORD}),
        json!({"kind": "metadata", "set": {"name": WORD}}),
        json!({"kind": "state", "set": {"note": WORD}}),
        json!({"kind": "nonsense", "x": WORD}),
    ] {
        running.say(&line);
    }
    server.wait("messages and values", |state| {
        let session = state.only().1;
        let metadata = opened(cipher, &session.metadata.0);
        let ours = session
            .messages
            .iter()
            .filter(|message| message.local_id.is_some());
        let done = ours.count() >= 6 && session.agent_state.0.is_some() && metadata["name"] == WORD;
        done.then_some(())
    });
    let method = |name: &str| format!("{id}:{name}");
    server.wait("methods", |state| (state.methods.len() == 4).then_some(()));
    for (name, params) in [
        ("readFile", json!({"path": "file"})),
        ("listDirectory", json!({"path": "."})),
        ("bash", json!({"command": format!("echo {WORD}; exit 3")})),
        ("readFile", json!({"path": WORD})),
    ] {
        let answer = server.call(&method(name), &json!(sealed(cipher, &params)));
        let answer = answer.recv_timeout(PATIENCE).unwrap();
        assert!(opened(cipher, answer.as_str().unwrap())["success"].is_boolean());
    }
    // What is said in the clear is no question, and no answer repeats it.
    for params in [json!({"path": WORD}), json!(WORD), json!(null)] {
        let answer = server.call(&method("readFile"), &params);
        let answer = answer.recv_timeout(PATIENCE).unwrap();
        assert!(opened(cipher, answer.as_str().unwrap())["error"].is_string());
    }
    let asked = server.call(
        &method("permission"),
        &json!(sealed(cipher, &json!({"q": WORD}))),
    );
    let call = running.next("call");
    running.say(&json!({"kind": "answer", "id": call["id"], "error": WORD}));
    assert_eq!(
        opened(
            cipher,
            asked.recv_timeout(PATIENCE).unwrap().as_str().unwrap()
        )["error"],
        WORD
    );
}

#[test]
fn no_plaintext_and_no_key_ever_leaves() {
    let pair = AccountSecret::from_bytes(&relay::SECRET).content_key_pair();
    let machine = [0xA7; 32];
    for (is_legacy, no_v3) in [(true, false), (false, false), (true, true)] {
        let (home, server) = relay::paired_with(RelayServer::start_with(Front::ByHand));
        let access = home.root().join(".happy/access.key");
        if !is_legacy {
            let keys = json!({"publicKey": base64::encode(pair.public().as_bytes()),
                "machineKey": base64::encode(&machine)});
            let text = json!({"encryption": keys, "token": relay::TOKEN}).to_string();
            fs::write(&access, text).unwrap();
        }
        server.with(|state| state.faults.no_v3 = no_v3);
        fs::write(home.root().join("file"), WORD).unwrap();
        let directory = home.root().to_str().unwrap();
        let allowed = [
            "-vvv",
            "--directory",
            directory,
            "--allow-rpc",
            "readFile",
            "--allow-rpc",
            "listDirectory",
            "--allow-rpc",
            "bash",
        ];
        let mut running = mirror(&home, &server, &allowed);
        let field = server.with(|state| state.only().1.data_key.clone());
        let (cipher, keys) = match field {
            None => (cipher(), vec![relay::SECRET]),
            Some(field) => {
                let key = unwrap_data_key(&field, &pair).unwrap();
                let bytes = *key.expose();
                (Cipher::DataKey(key), vec![bytes, machine])
            }
        };
        exercise(&mut running, &server, &cipher);
        server.cut();
        running.next("reconnecting");
        running.next("connected");
        let (code, lines, errors) = running.stop();
        assert_eq!(code, Some(0), "{errors}");
        let heard = server.with(|state| state.heard.clone());
        assert!(heard.contains("session-end") && heard.contains("update-metadata"));
        let printed = lines.join("\n");
        assert!(printed.contains(WORD), "this side may see it");
        for (place, text) in [
            ("the server", &heard),
            ("the log", &errors),
            ("the output", &printed),
        ] {
            for key in &keys {
                let spelled = [base64::encode(key), hex(key), format!("{key:?}")];
                for spelling in spelled {
                    assert!(
                        !text.contains(spelling.trim_end_matches('=')),
                        "a key in {place}"
                    );
                }
            }
            assert!(!text.contains(relay::TOKEN), "the token in {place}");
        }
        let sealed_word = base64::encode(WORD.as_bytes());
        assert!(!heard.contains(WORD) && !heard.contains(sealed_word.trim_end_matches('=')));
        let logged: Vec<_> = errors.lines().filter(|line| line.contains(WORD)).collect();
        // A command is logged as it is run, which the README says.
        assert!(
            logged.iter().all(|line| line.contains("echo ")),
            "{logged:#?}"
        );
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A nonce that is never used twice is what keeps ciphertexts apart.
#[test]
fn nothing_is_sealed_under_a_nonce_twice() {
    let (home, server) = relay::paired_with(RelayServer::start());
    let mut nonces = BTreeSet::new();
    let mut count = 0;
    for run in 0..2 {
        let mut running = mirror(&home, &server, &[]);
        for number in 0..200 {
            running.say(&json!({"kind": "message", "message": [run, number]}));
        }
        server.wait("messages", |state| {
            (state.only().1.messages.len() >= 200 * (run + 1)).then_some(())
        });
        assert_eq!(running.stop().0, Some(0));
    }
    server.with(|state| {
        let session = state.only().1;
        let contents = session.messages.iter().map(|message| &message.content);
        for content in contents.chain([&session.metadata.0]) {
            count += 1;
            let bytes = base64::decode(content);
            nonces.insert(*bytes.first_chunk::<24>().unwrap());
        }
    });
    assert_eq!((nonces.len(), count), (401, 401));
}
