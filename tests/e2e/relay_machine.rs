//! A machine's own entry at the relay, over real sockets: as the library keeps it, and as
//! `hallway relay mirror --machine` does.

use std::fs;
use std::time::Duration;

use hallway::core::backoff::Policy;
use hallway::core::relay::cipher::{Cipher, unwrap_data_key};
use hallway::core::relay::client::Target;
use hallway::core::relay::keys::{AccountSecret, DataKey};
use hallway::core::relay::limits::{Limits, LimitsBuilder};
use hallway::core::relay::link::{Cause, CloseReason, Refusal};
use hallway::core::relay::versioned::Outcome;
use hallway::relay::credentials::{Credentials, Keys};
use hallway::relay::http::{Http, Patience};
use hallway::relay::machine::{MachineError, Presence};
use hallway::relay::transport::{Update, Upkeep};
use hallway::session::{AccessToken, TransportOptions};
use hallway_tests::PATIENCE;
use hallway_tests::relay_server::{Front, Machine, RelayServer, State};
use serde_json::{Value, json};

use crate::relay::{Running, SECRET, TOKEN, cipher, command, mirror, opened, paired_with, sealed};

const MACHINE: &str = "machine 1";

/// Limits with which a test is not long: signs of life every 50 ms.
fn quick() -> LimitsBuilder {
    Limits::builder()
        .alive_interval(Duration::from_millis(50))
        .ack_timeout(Duration::from_millis(200))
        .probe_interval(Duration::from_millis(50))
        .probe_timeout(Duration::from_millis(200))
        .update_timeout(Duration::from_secs(5))
}

fn legacy() -> Keys {
    Keys::Legacy(AccountSecret::from_bytes(&SECRET))
}

struct Kept {
    server: RelayServer,
    presence: Presence,
}

async fn try_keep(
    server: &RelayServer,
    keys: Keys,
    limits: LimitsBuilder,
) -> Result<Presence, MachineError> {
    server.with(|state| state.tokens.insert(TOKEN.to_owned(), String::new()));
    let credentials = Credentials {
        token: AccessToken::parse(TOKEN).unwrap(),
        keys,
    };
    let options = TransportOptions::default();
    let http = Http::new(server.url(), &options, Patience::DEFAULT).unwrap();
    let upkeep = Upkeep {
        limits: limits.build().unwrap(),
        policy: Policy::FIXED,
        ..Upkeep::default()
    };
    let about = vec![("host", "h".to_owned()), ("platform", "p".to_owned())];
    Presence::start(http, &credentials, MACHINE, about, &upkeep).await
}

async fn keep(server: RelayServer, limits: LimitsBuilder) -> Kept {
    let presence = try_keep(&server, legacy(), limits).await.unwrap();
    Kept { server, presence }
}

impl Kept {
    /// What `wanted` makes of the first update that it knows.
    async fn until<T>(&mut self, mut wanted: impl FnMut(&Update) -> Option<T>) -> T {
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                let update = self.presence.next().await.expect("it goes on");
                if let Some(found) = wanted(&update) {
                    return found;
                }
            }
        });
        found.await.expect("in time")
    }

    async fn connected(&mut self) {
        self.until(|update| matches!(update, Update::Connected { .. }).then_some(()))
            .await;
    }

    /// The outcomes of as many changes as there are, by their value.
    async fn outcomes(&mut self, count: usize) -> Vec<(Target, Outcome)> {
        let mut outcomes = Vec::new();
        while outcomes.len() < count {
            let next = self.until(|update| match update {
                Update::Updated {
                    target, outcome, ..
                } => Some((*target, *outcome)),
                _ => None,
            });
            outcomes.push(next.await);
        }
        outcomes.sort_unstable_by_key(|(target, _)| *target);
        outcomes
    }

    /// Is polled until the server's state is as `wanted` says.
    async fn wait<T>(&mut self, mut wanted: impl FnMut(&mut State) -> Option<T>) -> T {
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                if let Some(found) = self.server.with(&mut wanted) {
                    return found;
                }
                // Every sign of life is a reason to look again.
                let moment = tokio::time::sleep(Duration::from_millis(10));
                tokio::select! {
                    update = self.presence.next() => assert!(update.is_some(), "it goes on"),
                    () = moment => {}
                }
            }
        });
        found.await.expect("in time")
    }

    fn machine(&self) -> Machine {
        self.server.with(|state| only(state).clone())
    }
}

fn only(state: &mut State) -> &mut Machine {
    assert_eq!(state.machines.len(), 1, "there is one machine");
    state.machines.get_mut(MACHINE).expect("ours")
}

fn daemon(machine: &Machine, cipher: &Cipher) -> Value {
    opened(cipher, machine.daemon_state.0.as_ref().expect("a state"))
}

/// Covers: R1.28, R2.23, R2.24, R2.28, R3.11
#[tokio::test(flavor = "multi_thread")]
async fn a_machine_is_alive_says_who_it_is_and_at_its_end_that_it_stops() {
    let account = AccountSecret::from_bytes(&SECRET).content_key_pair();
    for front in Front::ALL {
        for with_data_key in [false, true] {
            let keys = if with_data_key {
                Keys::DataKey {
                    public: account.public(),
                    machine: DataKey::from_bytes(&[3; 32]),
                }
            } else {
                legacy()
            };
            let server = RelayServer::start_with(front);
            let presence = try_keep(&server, keys, quick()).await.unwrap();
            let mut kept = Kept { server, presence };
            kept.connected().await;
            assert_eq!(
                kept.outcomes(2).await,
                [
                    // What the entry was made with needs no change.
                    (Target::Metadata, Outcome::Applied(1)),
                    (Target::State, Outcome::Applied(1)),
                ]
            );
            kept.wait(|state| (only(state).alive >= 3).then_some(()))
                .await;
            let machine = kept.machine();
            let cipher = match &machine.data_key {
                None => cipher(),
                Some(wrapped) => {
                    let key = unwrap_data_key(wrapped, &account).unwrap();
                    assert_eq!(key.expose(), &[3; 32], "the app can read it");
                    Cipher::DataKey(key)
                }
            };
            assert_eq!(machine.data_key.is_some(), with_data_key);
            assert!(machine.active);
            let metadata = opened(&cipher, &machine.metadata.0);
            assert_eq!(metadata, json!({"host": "h", "platform": "p"}));
            let state = daemon(&machine, &cipher);
            assert_eq!(
                (&state["status"], &state["pid"]),
                (&json!("running"), &json!(std::process::id()))
            );
            kept.presence.end();
            let (reason, last) = (
                kept.until(|update| match update {
                    Update::Closed { reason, .. } => Some(*reason),
                    _ => None,
                })
                .await,
                kept.machine(),
            );
            assert_eq!(reason, CloseReason::User);
            let state = daemon(&last, &cipher);
            assert_eq!(state["status"], "shutting-down");
            assert!(state["shutdownRequestedAt"].is_u64());
            assert_eq!(kept.presence.next().await, None);
            kept.presence.leave().await;
            let heard = kept.server.wait("the socket is gone", |state| {
                (state.sockets() == 0).then(|| state.heard.clone())
            });
            for never in ["session-", "rpc-", "running", "\"host\"", "shutting"] {
                assert!(!heard.contains(never), "{never} in {heard}");
            }
        }
    }
}

/// Somebody else wrote the metadata since they were read: theirs stay, and ours are beside them.
///
/// Covers: R2.24, R9.3b
#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_is_merged_on_what_the_other_wrote() {
    for front in Front::ALL {
        let server = RelayServer::start_with(front);
        server.with(|state| {
            let theirs = sealed(&cipher(), &json!({"displayName": "mine", "host": "old"}));
            let machine = Machine {
                metadata: (theirs, 3),
                ..Machine::default()
            };
            state.machines.insert(MACHINE.to_owned(), machine);
            // As it was a moment before.
            state.faults.rewrite = Some(|_, body| {
                *body = body.replace("\"metadataVersion\":3", "\"metadataVersion\":2");
            });
        });
        let mut kept = keep(server, quick()).await;
        assert_eq!(
            kept.outcomes(2).await,
            [
                (Target::Metadata, Outcome::Applied(4)),
                (Target::State, Outcome::Applied(1)),
            ]
        );
        let machine = kept.machine();
        assert_eq!(
            opened(&cipher(), &machine.metadata.0),
            json!({"displayName": "mine", "host": "h", "platform": "p"})
        );
        kept.server.with(|state| {
            assert!(
                state.heard.contains("\"expectedVersion\":2"),
                "it was tried"
            )
        });
    }
}

/// Covers: R2.26, R9.7b
#[tokio::test(flavor = "multi_thread")]
async fn values_of_others_are_told_and_what_cannot_be_read_is_not_written_over() {
    for front in Front::ALL {
        let server = RelayServer::start_with(front);
        server.with(|state| {
            let machine = Machine {
                metadata: ("AAAA".to_owned(), 3),
                daemon_state: (Some("BBBB".to_owned()), 7),
                ..Machine::default()
            };
            state.machines.insert(MACHINE.to_owned(), machine);
        });
        let mut kept = keep(server, quick()).await;
        assert_eq!(
            kept.outcomes(2).await,
            [
                (Target::Metadata, Outcome::Unreadable),
                (Target::State, Outcome::Unreadable),
            ]
        );
        let theirs = sealed(&cipher(), &json!({"host": "theirs"}));
        kept.server
            .with(|state| state.describe_machine(MACHINE, &theirs));
        let unreadable = kept.until(|update| match update {
            Update::ValuesChanged {
                metadata: true,
                state: false,
                unreadable,
            } => Some(*unreadable),
            _ => None,
        });
        assert!(!unreadable.await);
        kept.presence.end();
        kept.until(|update| matches!(update, Update::Closed { .. }).then_some(()))
            .await;
        let machine = kept.machine();
        assert_eq!(machine.metadata, (theirs, 4));
        assert_eq!(machine.daemon_state, (Some("BBBB".to_owned()), 7));
    }
}

/// Covers: R9.3a, R9.3b, R9.3c
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_never_acknowledges_holds_nothing_up() {
    for front in Front::ALL {
        let server = RelayServer::start_with(front);
        server.with(|state| {
            state.faults.no_acks = true;
            let machine = Machine {
                metadata: (sealed(&cipher(), &json!({})), 1),
                ..Machine::default()
            };
            state.machines.insert(MACHINE.to_owned(), machine);
        });
        let limits = quick().end_timeout(Duration::from_millis(300));
        let mut kept = keep(server, limits).await;
        assert_eq!(
            kept.outcomes(2).await,
            [
                (Target::Metadata, Outcome::TimedOut),
                (Target::State, Outcome::TimedOut),
            ]
        );
        kept.wait(|state| (only(state).alive >= 2).then_some(()))
            .await;
        kept.presence.end();
        let closed = kept.until(|update| match update {
            Update::Closed { reason, .. } => Some(*reason),
            _ => None,
        });
        assert_eq!(closed.await, CloseReason::User);
    }
}

/// Covers: R2.23, R9.6a, R9.12a
#[tokio::test(flavor = "multi_thread")]
async fn it_is_alive_again_after_every_outage() {
    for (front, silent) in [
        (Front::Library, false),
        (Front::ByHand, false),
        (Front::ByHand, true),
    ] {
        let mut kept = keep(RelayServer::start_with(front), quick()).await;
        kept.outcomes(2).await;
        if silent {
            // The way is lost without a word: a ping of ours finds it.
            kept.server.with(|state| state.faults.half_open = true);
        } else {
            kept.server.cut();
        }
        let cause = kept.until(|update| match update {
            Update::Reconnecting { cause, .. } => Some(*cause),
            _ => None,
        });
        // The signs of life that nobody hears put nothing off.
        let (cause, lost) = (cause.await, Cause::ConnectionClosed(None));
        assert_eq!(cause, if silent { Cause::NoAnswer } else { lost });
        kept.server.with(|state| state.faults.half_open = false);
        kept.connected().await;
        let before = kept.machine().alive;
        kept.wait(|state| (only(state).alive >= before + 2).then_some(()))
            .await;
        kept.presence.end();
        kept.until(|update| matches!(update, Update::Closed { .. }).then_some(()))
            .await;
        assert_eq!(
            daemon(&kept.machine(), &cipher())["status"],
            "shutting-down"
        );
    }
}

/// Covers: R1.29, R9.5
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_for_want_of_an_id_is_the_end() {
    for front in Front::ALL {
        let server = RelayServer::start_with(front);
        let words = "Machine ID required for machine-scoped clients";
        server.with(|state| state.faults.refuse_join = Some(words.to_owned()));
        let mut kept = keep(server, quick()).await;
        let (reason, said) = kept
            .until(|update| match update {
                Update::Closed { reason, said, .. } => Some((*reason, said.clone())),
                _ => None,
            })
            .await;
        assert_eq!(reason, CloseReason::Refused(Refusal::MissingMachine));
        assert_eq!(said.as_deref(), Some(words));
        let updates = std::iter::repeat_with(|| ()).take(3);
        for () in updates {
            // The two changes have their outcome, and then there is nothing.
            match kept.presence.next().await {
                Some(Update::Updated { outcome, .. }) => assert_eq!(outcome, Outcome::Closed),
                other => assert_eq!(other, None),
            }
        }
    }
}

/// By the server's word, and by the answer to an update when there was none.
///
/// Covers: R2.25, R2.27
#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_is_deleted_is_let_go() {
    for front in Front::ALL {
        for told in [true, false] {
            let mut kept = keep(RelayServer::start_with(front), quick()).await;
            if told {
                kept.outcomes(2).await;
                let deleted = kept.server.with(|state| state.delete_machine(MACHINE));
                assert!(deleted);
            } else {
                // It does not connect before it is polled.
                kept.server.with(|state| state.machines.clear());
            }
            kept.until(|update| (*update == Update::SessionGone).then_some(()))
                .await;
            let before = kept.server.with(|state| state.heard.clone());
            let mut rest = Vec::new();
            while let Some(update) = kept.presence.next().await {
                rest.push(update);
            }
            let (last, outcomes) = rest.split_last().expect("it is closed");
            assert!(
                matches!(
                    last,
                    Update::Closed {
                        reason: CloseReason::User,
                        ..
                    }
                ),
                "{rest:?}"
            );
            // The update that was refused: the metadata were as they should be.
            assert_eq!(outcomes.len(), usize::from(!told), "{rest:?}");
            kept.presence.leave().await;
            let heard = kept.server.wait("the socket is gone", |state| {
                (state.sockets() == 0).then(|| state.heard.clone())
            });
            let since = &heard[before.len()..];
            assert!(!since.contains("machine-update"), "{since}");
        }
    }
}

/// What the lines of an event say, by the member `update`.
fn updates(lines: &[String]) -> Vec<Value> {
    let values = lines.iter().map(|line| serde_json::from_str(line).unwrap());
    let of_machine = values.filter(|value: &Value| value["event"] == "machine");
    of_machine.collect()
}

/// Covers: R2.23, R2.24, R3.11, R4.12
#[test]
fn a_mirror_keeps_the_machine_when_it_is_asked_to() {
    for front in Front::ALL {
        let (home, server) = paired_with(RelayServer::start_with(front));
        // Without the option there is no such thing.
        let running = mirror(&home, &server, &[]);
        server.with(|state| assert_eq!((state.sockets(), state.machines.len()), (1, 0)));
        let (code, lines, _) = running.stop();
        assert_eq!((code, updates(&lines)), (Some(0), vec![]));

        let settings = fs::read_to_string(home.root().join(".happy/settings.json")).unwrap();
        let settings: Value = serde_json::from_str(&settings).unwrap();
        let id = settings["machineId"].as_str().unwrap().to_owned();
        let running = mirror(&home, &server, &["--machine", "--allow-rpc", "readFile"]);
        server.wait("the machine is alive", |state| {
            let machine = state.machines.get(&id)?;
            let described = machine.daemon_state.1 == 1;
            (machine.alive >= 1 && described && state.methods.len() == 2).then_some(())
        });
        server.with(|state| {
            assert_eq!((state.sockets(), state.machines.len()), (2, 1));
            let machine = &state.machines[&id];
            let metadata = opened(&cipher(), &machine.metadata.0);
            assert_eq!(metadata["platform"], std::env::consts::OS);
            assert!(metadata["host"].is_string() && metadata["happyHomeDir"].is_string());
            assert_eq!(daemon(machine, &cipher())["pid"], running.pid());
            // The methods are the session's.
            let ours = state
                .methods
                .keys()
                .filter(|method| method.starts_with(&id));
            assert_eq!(ours.count(), 0);
        });
        let status = || {
            let arguments = ["--json", "relay", "status"];
            let output = command(&home, &server, &arguments).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            serde_json::from_str::<Value>(text.lines().next().unwrap()).unwrap()
        };
        let shown = status();
        assert_eq!(
            (
                &shown["machineActive"],
                &shown["daemon"],
                &shown["machineId"]
            ),
            (&json!(true), &json!("running"), &json!(id))
        );
        let (code, lines, errors) = running.stop();
        assert_eq!(code, Some(0), "{errors}");
        let first: Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(
            (&first["event"], &first["machineId"]),
            (&json!("session"), &json!(id))
        );
        let told = updates(&lines);
        let of = |what: &str| {
            let named = told.iter().filter(|value| value["update"] == what);
            named.cloned().collect::<Vec<_>>()
        };
        assert_eq!(of("connected").len(), 1);
        assert_eq!(of("updated").len(), 3, "{told:?}");
        assert!(
            of("updated")
                .iter()
                .all(|value| value["outcome"] == "applied")
        );
        assert_eq!(of("closed").len(), 1);
        assert!(told.iter().all(|value| value.get("unsent").is_none()));
        assert_eq!(status()["daemon"], "shutting-down");
        server.with(|state| {
            assert_eq!(state.sockets(), 0);
            for never in ["shutting-down", "\"platform\"", "machine-scoped"] {
                assert!(!state.heard.contains(never), "{never}");
            }
        });
    }
}

/// The session goes on without the machine.
///
/// Covers: R2.27
#[test]
fn a_mirror_outlives_its_machine() {
    let (home, server) = paired_with(RelayServer::start());
    let mut running = mirror(&home, &server, &["--machine"]);
    let id = server.wait("the machine has a state", |state| {
        let (id, machine) = state.machines.iter().next()?;
        (machine.daemon_state.1 == 1).then(|| id.clone())
    });
    assert!(server.with(|state| state.delete_machine(&id)));
    for told in ["gone", "closed"] {
        while running.next("machine")["update"] != told {}
    }
    running.say(&json!({"kind": "message", "message": "and on"}));
    running.next("stored");
    let (code, _, errors) = running.stop();
    assert_eq!(code, Some(0), "{errors}");
}

/// What is wrong with it is said before there is a session, with what to do.
#[test]
fn a_machine_that_cannot_be_registered_is_no_session() {
    let (home, server) = paired_with(RelayServer::start());
    let arguments = ["relay", "mirror", "--machine"];
    server.with(|state| {
        state.faults.rewrite = Some(|what, body| {
            if what == "POST /v1/machines" {
                *body = "{}".to_owned();
            }
        });
    });
    let output = command(&home, &server, &arguments).output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(
        errors.contains("no usable machine; check the server's URL"),
        "{errors}"
    );
    server.with(|state| assert_eq!(state.sessions.len(), 0));
    // For people, a line each.
    server.with(|state| state.faults.rewrite = None);
    let running = Running::start(command(&home, &server, &arguments));
    server.wait("the machine has a state", |state| {
        let machine = state.machines.values().next()?;
        (machine.daemon_state.1 == 1 && machine.alive == 1).then_some(())
    });
    let (code, lines, errors) = running.stop();
    assert_eq!(code, Some(0), "{errors}");
    assert!(lines[0].contains(", machine "), "{lines:?}");
    for line in [
        "machine: connected",
        "machine: the metadata are at version 1",
        "machine: the contents of the daemon's state are at version 2",
    ] {
        assert!(lines.iter().any(|own| own == line), "{line} in {lines:?}");
    }
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("machine: ended: ")),
        "{lines:?}"
    );
}
