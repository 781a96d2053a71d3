//! The library as a program embeds it: a daemon, clients and peers within its own runtime.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hallway::core::Limits;
use hallway::core::local::exchange::{Answer, Data, Failure, SendError};
use hallway::core::local::record::SessionKind;
use hallway::local::peers::{self, Standing};
use hallway::local::target::TargetError;
use hallway::paths::Environment;
use hallway::{Client, ConnectError, Daemon, DaemonBuilder, SendFailure, StartError};
use hallway_tests::files::names;
use hallway_tests::wire::publish;
use hallway_tests::{FakeServer, Home, PATIENCE};
use serde_json::{Value, json};

use crate::home;

/// What the environment of a program in this home says.
fn environment(home: &Home) -> Environment {
    let mut environment = Environment::bare(rustix::process::geteuid().as_raw());
    environment.tmpdir = Some(home.root().join("t").into());
    environment
}

fn own(home: &Home) -> hallway::Home {
    hallway::Home::new(environment(home), Some(&home.config())).unwrap()
}

fn builder(home: &Home) -> DaemonBuilder {
    Daemon::builder().home(own(home))
}

/// Demands that it happens in time.
async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.unwrap()
}

fn data(message: &str) -> Value {
    serde_json::from_str::<Value>(message).unwrap()["data"].clone()
}

/// Everything that a daemon publishes is gone.
#[track_caller]
fn assert_gone(home: &Home, path: &str) {
    assert!(!Path::new(path).exists());
    for dir in [
        "c/sessions",
        "c/messaging-capabilities",
        "t/claude-code-socks",
    ] {
        let dir: PathBuf = home.root().join(dir);
        assert_eq!(names(&dir), Vec::<String>::new(), "{}", dir.display());
    }
}

#[tokio::test]
async fn a_daemon_and_a_client_in_one_program() {
    let home = home();
    let daemon = builder(&home).name("api-worker").start().await.unwrap();
    assert_eq!(daemon.address(), format!("uds:{}", daemon.socket_path()));
    let mut client = Client::connect_in(&own(&home), "api-worker").await.unwrap();
    assert_eq!(client.path(), daemon.socket_path());
    assert_eq!(client.peer().pid, std::process::id());
    assert!(soon(client.ping()).await.unwrap() > Duration::ZERO);
    let id = soon(client.send("schema landed")).await.unwrap();
    assert_eq!(id.as_deref(), Some("uds-1"));
    let id = client
        .send_as("query", Data::Json(r#"{"a":[1e999]}"#))
        .await;
    assert_eq!(id.unwrap().as_deref(), Some("uds-2"));
    let first = soon(daemon.next_entry()).await.unwrap();
    assert_eq!(first.id().to_string(), "uds-1");
    assert_eq!(data(first.message()), json!("schema landed"));
    assert_eq!(first.peer().pid, std::process::id());
    assert_eq!(first.peer().uid, rustix::process::geteuid().as_raw());
    assert!(!first.message().contains("authToken"));
    let second = soon(daemon.next_entry()).await.unwrap();
    assert!(
        second.message().contains(r#""data":{"a":[1e999]}"#),
        "{}",
        second.message()
    );
    let path = daemon.socket_path().to_owned();
    let mailbox = soon(daemon.stop()).await;
    assert_eq!(mailbox.size(), (0, 0));
    assert_gone(&home, &path);
    assert_eq!(daemon_said(&mut client).await, Failure::EndedBeforeResponse);
}

/// Why a send over a connection to a daemon that has ended fails.
async fn daemon_said(client: &mut Client) -> Failure {
    let failed = soon(client.send("too late")).await.unwrap_err();
    let SendFailure::Unanswered { failure, .. } = failed else {
        panic!("{failed}");
    };
    failure
}

/// Covers: L2.17, L5.7
#[tokio::test]
async fn a_dropped_daemon_takes_everything_with_it() {
    let home = home();
    let daemon = builder(&home).owner_channel(true).start().await.unwrap();
    let path = daemon.socket_path().to_owned();
    let mut client = Client::connect_in(&own(&home), &path).await.unwrap();
    client.ping().await.unwrap();
    drop(daemon);
    assert_gone(&home, &path);
    assert_eq!(daemon_said(&mut client).await, Failure::EndedBeforeResponse);
    let gone = Client::connect_in(&own(&home), &path).await.unwrap_err();
    assert!(
        matches!(gone, ConnectError::NoToken { present: false, .. }),
        "{gone}"
    );
    // The place is free for the next one.
    let next = builder(&home)
        .socket(home.socket("s"))
        .start()
        .await
        .unwrap();
    drop(next);
    let again = builder(&home)
        .socket(home.socket("s"))
        .start()
        .await
        .unwrap();
    assert_eq!(again.socket_path(), home.socket("s"));
}

#[tokio::test]
async fn a_stopped_daemon_hands_over_what_nobody_took() {
    let home = home();
    let daemon = builder(&home).start().await.unwrap();
    let mut client = Client::connect_in(&own(&home), daemon.socket_path())
        .await
        .unwrap();
    for text in ["a", "b", "c"] {
        client.send(text).await.unwrap();
    }
    assert_eq!(
        data(soon(daemon.next_entry()).await.unwrap().message()),
        json!("a")
    );
    let mailbox = soon(daemon.stop()).await;
    let left: Vec<_> = mailbox
        .drain()
        .iter()
        .map(|entry| data(entry.message()))
        .collect();
    assert_eq!(left, [json!("b"), json!("c")]);
}

#[tokio::test]
async fn waiting_for_a_message_can_be_given_up_and_taken_up() {
    let home = home();
    let daemon = builder(&home).start().await.unwrap();
    for _ in 0..3 {
        let given_up = tokio::time::timeout(Duration::from_millis(1), daemon.next_entry()).await;
        assert!(given_up.is_err());
    }
    let mut client = Client::connect_in(&own(&home), daemon.socket_path())
        .await
        .unwrap();
    let (entry, sent) = soon(async { tokio::join!(daemon.next_entry(), client.send("x")) }).await;
    assert_eq!(sent.unwrap().as_deref(), Some("uds-1"));
    assert_eq!(entry.unwrap().id().get(), 1);
    // Closed, it gives what is left and then nothing.
    client.send("y").await.unwrap();
    daemon.mailbox().close();
    assert_eq!(soon(daemon.next_entry()).await.unwrap().id().get(), 2);
    assert!(soon(daemon.next_entry()).await.is_none());
    let refused = client.send("z").await.unwrap_err();
    assert!(matches!(refused, SendFailure::InboxFull), "{refused}");
}

#[tokio::test]
async fn many_messages_are_queued_and_their_outcomes_taken_in_order() {
    let home = home();
    let limits = Limits::builder().max_pending_sends(16).build().unwrap();
    let daemon = builder(&home).start().await.unwrap();
    let home = own(&home).with_limits(limits);
    let client = Client::connect_in(&home, daemon.socket_path())
        .await
        .unwrap();
    let mut client = client.from("/own/socket");
    let mut queued = Vec::new();
    let full = loop {
        match client.queue("text", Data::Text("x")) {
            Ok(id) => queued.push(id),
            Err(error) => break error,
        }
    };
    assert_eq!((full, queued.len()), (SendError::Full, 16));
    for (n, queued) in (1..).zip(&queued) {
        let (id, result) = soon(client.next_outcome()).await.unwrap();
        assert_eq!(id, *queued);
        let expected = Answer::Accepted(Some(format!("uds-{n}").into_boxed_str()));
        assert_eq!(result.unwrap(), expected);
    }
    assert!(client.next_outcome().await.is_none(), "nothing waits");
    assert!(!client.is_closed());
    let not_json = client.queue("text", Data::Json("{")).unwrap_err();
    assert_eq!(not_json, SendError::NotJson);
    let entry = soon(daemon.next_entry()).await.unwrap();
    let message: Value = serde_json::from_str(entry.message()).unwrap();
    assert_eq!(message["from"], json!("/own/socket"));
}

#[tokio::test]
async fn errors_are_typed() {
    let home = home();
    let connect = async |target: &str| Client::connect_in(&own(&home), target).await.unwrap_err();
    let nobody = connect("nobody").await;
    assert!(
        matches!(&nobody, ConnectError::Target(TargetError::NotFound { target, .. }) if target == "nobody"),
        "{nobody}"
    );
    let token = connect("/s#token=x").await;
    assert!(
        matches!(token, ConnectError::Target(TargetError::InlineToken)),
        "{token}"
    );
    let path = home.socket("gone");
    publish(&home.config(), &path, "f00d");
    let failed = connect(&path).await;
    assert!(matches!(failed, ConnectError::Failed { .. }), "{failed}");
    let daemon = builder(&home)
        .socket(home.socket("s"))
        .start()
        .await
        .unwrap();
    let second = builder(&home)
        .socket(home.socket("s"))
        .start()
        .await
        .unwrap_err();
    assert!(matches!(second, StartError::Socket(_)), "{second}");
    assert!(
        second
            .to_string()
            .starts_with("socket is in use by a live peer: "),
        "{second}"
    );
    publish(&home.config(), daemon.socket_path(), "f00d");
    let mut client = Client::connect_in(&own(&home), daemon.socket_path())
        .await
        .unwrap();
    let refused = soon(client.send("x")).await.unwrap_err();
    assert!(
        matches!(&refused, SendFailure::Refused { words } if words == "unauthorized"),
        "{refused}"
    );
    assert!(client.is_closed());
    let closed = client.send("x").await.unwrap_err();
    assert!(
        matches!(closed, SendFailure::NotSent(SendError::Closed(_))),
        "{closed}"
    );
    assert_eq!(daemon.mailbox().size(), (0, 0));
}

#[tokio::test]
async fn peers_are_told_as_they_stand() {
    let home = home();
    let served = home.serve(&["--name", "api-worker", "--session-id", "c0ffee"]);
    let server = FakeServer::start(&home.config(), &home.socket("s"), 1, |mut wire| {
        wire.line();
    });
    let record = json!({"name": "fake", "messagingSocketPath": server.path});
    let path = home
        .config()
        .join(format!("sessions/{}.json", std::process::id()));
    std::fs::write(path, record.to_string()).unwrap();
    let mut live = peers::live(&own(&home)).unwrap();
    live.sort_by_key(|peer| peer.name.clone());
    let standing: Vec<_> = live.iter().map(|peer| peer.standing.clone()).collect();
    assert_eq!(standing, [Standing::Live, Standing::Live]);
    assert_eq!(live[0].pid, served.pid);
    assert_eq!(live[0].session_id.as_deref(), Some("c0ffee"));
    assert_eq!(live[0].kind.as_deref(), Some("daemon"));
    assert_eq!(live[0].socket_path.as_deref(), Some(served.path.as_str()));
    soon(peers::probe(&own(&home), &mut live)).await;
    server.join();
    assert!(
        matches!(live[0].standing, Standing::Reachable { .. }),
        "{live:?}"
    );
    assert!(
        matches!(live[1].standing, Standing::Unreachable { .. }),
        "{live:?}"
    );
    // A program that runs in a session is not its own peer.
    let mut environment = environment(&home);
    environment.messaging_socket = Some(served.path.clone().into());
    let within = hallway::Home::new(environment, Some(&home.config())).unwrap();
    let others = peers::live(&within).unwrap();
    assert_eq!(others.len(), 1, "{others:?}");
    assert_eq!(others[0].name.as_deref(), Some("fake"));
    assert_eq!(peers::all(&within).unwrap().len(), 2);
}

#[tokio::test]
async fn a_daemon_is_registered_as_it_was_described() {
    let home = home();
    let daemon = builder(&home)
        .name("worker")
        .session_id("c0ffee")
        .kind(SessionKind::DaemonWorker)
        .start()
        .await
        .unwrap();
    let peers = peers::live(&own(&home)).unwrap();
    assert_eq!(peers.len(), 1);
    let peer = &peers[0];
    assert_eq!(
        (
            peer.pid,
            peer.name.as_deref(),
            peer.session_id.as_deref(),
            peer.kind.as_deref()
        ),
        (
            std::process::id(),
            Some("worker"),
            Some("c0ffee"),
            Some("daemon-worker")
        )
    );
    assert_eq!(daemon.session_id(), "c0ffee");
    // Another program finds it, too.
    let send = move || home.run(&["send", "c0ff", "from outside"]).expect(0);
    let sent = soon(tokio::task::spawn_blocking(send)).await.unwrap();
    assert_eq!(sent.stdout, "uds-1\n");
    let entry = soon(daemon.next_entry()).await.unwrap();
    assert_ne!(entry.peer().pid, std::process::id());
}

/// On a runtime of several threads: clients in tasks of their own, and one consumer.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_clients_on_many_threads_lose_nothing() {
    const CLIENTS: usize = 8;
    const EACH: usize = 50;
    let home = home();
    let daemon = builder(&home).start().await.unwrap();
    let (path, within) = (daemon.socket_path().to_owned(), own(&home));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (path, home) = (path.clone(), within.clone());
            tokio::spawn(async move {
                let mut connection = Client::connect_in(&home, &path).await.unwrap();
                let mut ids = Vec::new();
                for n in 0..EACH {
                    let id = connection.send(&format!("{client} {n}")).await.unwrap();
                    ids.push(id.unwrap());
                }
                ids
            })
        })
        .collect();
    let mut received = Vec::new();
    while received.len() < CLIENTS * EACH {
        let entry = soon(daemon.next_entry()).await.unwrap();
        assert_eq!(
            entry.id().to_string(),
            format!("uds-{}", received.len() + 1)
        );
        received.push(data(entry.message()).as_str().unwrap().to_owned());
    }
    let mut told = Vec::new();
    for client in clients {
        let ids = soon(client).await.unwrap();
        let numbers: Vec<usize> = ids
            .iter()
            .map(|id| id.strip_prefix("uds-").unwrap().parse().unwrap())
            .collect();
        assert!(numbers.is_sorted(), "{numbers:?}");
        told.extend(numbers);
    }
    told.sort_unstable();
    assert_eq!(told, (1..=CLIENTS * EACH).collect::<Vec<_>>());
    for client in 0..CLIENTS {
        let own = received
            .iter()
            .filter(|text| text.starts_with(&format!("{client} ")));
        let expected = (0..EACH).map(|n| format!("{client} {n}"));
        assert!(own.eq(&expected.collect::<Vec<_>>()), "client {client}");
    }
    assert_eq!(soon(daemon.stop()).await.size(), (0, 0));
    assert_gone(&home, &path);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_dropped_on_another_thread_is_gone() {
    let home = home();
    let daemon = builder(&home).start().await.unwrap();
    let path = daemon.socket_path().to_owned();
    let mut client = Client::connect_in(&own(&home), &path).await.unwrap();
    client.ping().await.unwrap();
    tokio::spawn(async move { drop(daemon) }).await.unwrap();
    assert_gone(&home, &path);
    // Its connections end on their own threads; until they have, they refuse.
    let failed = soon(client.send("too late")).await.unwrap_err();
    let ended = matches!(
        failed,
        SendFailure::InboxFull | SendFailure::Unanswered { .. }
    );
    assert!(ended, "{failed}");
}
