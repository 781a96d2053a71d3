//! `hallway relay` against a relay server that never sees a plaintext: the tests are the app.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use hallway::core::relay::base64;
use hallway::core::relay::cipher::{Cipher, Nonce, unwrap_data_key, wrap_data_key};
use hallway::core::relay::keys::{AccountSecret, BoxKeyPair, DataKey};
use hallway::core::relay::pairing::Answer;
use hallway::relay::http::terminal_key;
use hallway_tests::relay_server::{Front, RelayServer};
use hallway_tests::{Home, PATIENCE};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::home;

pub(crate) const SECRET: [u8; 32] = [7; 32];
pub(crate) const TOKEN: &str = "tok.en-1";
/// How many messages wait for the end of an outage.
const QUEUED: usize = 1_000;

/// A home that is paired with a server in the legacy variant.
fn paired() -> (Home, RelayServer) {
    paired_with(RelayServer::start())
}

pub(crate) fn paired_with(server: RelayServer) -> (Home, RelayServer) {
    let home = home();
    server.with(|state| state.tokens.insert(TOKEN.to_owned(), "account".to_owned()));
    let secret = base64::encode(&SECRET);
    let happy = home.root().join(".happy");
    fs::create_dir_all(&happy).unwrap();
    let text = json!({"secret": secret, "token": TOKEN}).to_string();
    fs::write(happy.join("access.key"), text).unwrap();
    (home, server)
}

pub(crate) fn command(home: &Home, server: &RelayServer, arguments: &[&str]) -> Command {
    let mut command = home.command(arguments);
    command
        .env("HAPPY_HOME_DIR", home.root().join(".happy"))
        .env("HAPPY_SERVER_URL", server.url());
    command
}

/// A command under way, spoken to in lines of JSON.
pub(crate) struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self {
            stdin: child.stdin.take(),
            child,
            lines,
            seen: Vec::new(),
        }
    }

    /// The next line that tells `event`.
    pub(crate) fn next(&mut self, event: &str) -> Value {
        loop {
            let line = match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => line,
                Err(error) => panic!("never {event}: {error}; seen {:#?}", self.seen),
            };
            self.seen.push(line.clone());
            let value: Value = serde_json::from_str(&line).expect("JSON");
            if value["event"] == event {
                return value;
            }
        }
    }

    pub(crate) fn say(&mut self, line: &Value) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Two signals, the second when the first was seen to be taken.
    fn interrupt_twice(mut self, server: &RelayServer) -> (Option<i32>, Vec<String>, String) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::INT).unwrap();
        server.wait("the end begins", |state| {
            state.heard.contains("update-metadata").then_some(())
        });
        kill_process(pid, Signal::INT).unwrap();
        self.finish()
    }

    pub(crate) fn stop(mut self) -> (Option<i32>, Vec<String>, String) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::INT).unwrap();
        self.finish()
    }

    pub(crate) fn finish(&mut self) -> (Option<i32>, Vec<String>, String) {
        drop(self.stdin.take());
        let until = std::time::Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(
                std::time::Instant::now() < until,
                "it does not end: {:#?}",
                self.seen
            );
            std::thread::sleep(Duration::from_millis(5));
        };
        let mut errors = String::new();
        std::io::Read::read_to_string(&mut self.child.stderr.take().unwrap(), &mut errors).unwrap();
        let mut lines = std::mem::take(&mut self.seen);
        lines.extend(self.lines.iter());
        (status.code(), lines, errors)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // After a panic; else it has ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

pub(crate) fn mirror(home: &Home, server: &RelayServer, more: &[&str]) -> Running {
    let mut arguments = vec!["--json", "relay", "mirror", "--tag", "t"];
    arguments.extend(more);
    let mut running = Running::start(command(home, server, &arguments));
    running.next("connected");
    running
}

/// The app's side of a session's encryption.
pub(crate) fn cipher() -> Cipher {
    Cipher::Legacy(AccountSecret::from_bytes(&SECRET))
}

pub(crate) fn sealed(cipher: &Cipher, plaintext: &Value) -> String {
    let mut bytes = [0; 24];
    rand::TryRng::try_fill_bytes(&mut rand::rngs::SysRng, &mut bytes).unwrap();
    cipher
        .seal_text(Nonce::from_entropy(bytes), &plaintext.to_string())
        .unwrap()
}

pub(crate) fn opened(cipher: &Cipher, sealed: &str) -> Value {
    let plaintext = cipher.open_text(sealed).expect("it opens");
    serde_json::from_str(plaintext.raw().as_str()).unwrap()
}

pub(crate) fn user(text: &str) -> Value {
    json!({"role": "user", "content": {"type": "text", "text": text}, "meta": {"sentFrom": "web"}})
}

/// What was stored of ours, opened, once there are `count`.
pub(crate) fn stored(server: &RelayServer, cipher: &Cipher, count: usize) -> Vec<Value> {
    let contents = server.wait("messages stored", |state| {
        let messages = &state.only().1.messages;
        let ours = messages.iter().filter(|message| message.local_id.is_some());
        let contents: Vec<_> = ours.map(|message| message.content.clone()).collect();
        (contents.len() >= count).then_some(contents)
    });
    contents
        .iter()
        .map(|content| opened(cipher, content))
        .collect()
}

pub(crate) fn session(server: &RelayServer) -> String {
    server.with(|state| state.only().0.to_owned())
}

/// Covers: R3.2, R3.4, R3.5
#[test]
fn pairing_leaves_private_credentials_of_either_variant() {
    for legacy in [true, false] {
        let (home, server) = (home(), RelayServer::start());
        server.with(|state| state.tokens.insert(TOKEN.to_owned(), "account".to_owned()));
        let arguments = [
            "--json",
            "relay",
            "pair",
            "--webapp",
            "https://app.example/",
        ];
        let mut running = Running::start(command(&home, &server, &arguments));
        let shown = running.next("pairing");
        let url = shown["url"].as_str().unwrap();
        assert!(url.starts_with("happy://terminal?"), "{url}");
        let web = shown["webUrl"].as_str().unwrap();
        assert!(
            web.starts_with("https://app.example/terminal/connect#key="),
            "{web}"
        );
        // The app reads the key from the URL, and answers to it.
        let terminal = terminal_key(url).unwrap();
        assert_eq!(terminal_key(web), Some(terminal));
        let secret = AccountSecret::from_bytes(&SECRET);
        let content = secret.content_key_pair().public();
        let answer = if legacy {
            Answer::Legacy(secret)
        } else {
            Answer::DataKey(content)
        };
        let ephemeral = BoxKeyPair::from_secret(&[9; 32]);
        let response = answer
            .seal(terminal, ephemeral, Nonce::from_entropy([1; 24]))
            .unwrap();
        let key = base64::encode(terminal.as_bytes());
        server.with(|state| {
            let asked = state
                .pairings
                .get_mut(&key)
                .expect("the terminal has asked");
            *asked = Some((TOKEN.to_owned(), response));
        });
        let paired = running.next("paired");
        assert_eq!(paired["variant"], if legacy { "legacy" } else { "dataKey" });
        let (code, lines, errors) = running.finish();
        assert_eq!(code, Some(0), "{errors}");
        let path = home.root().join(".happy/access.key");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        let file: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(file["token"], TOKEN);
        if legacy {
            assert_eq!(file["secret"], base64::encode(&SECRET));
        } else {
            assert_eq!(
                file["encryption"]["publicKey"],
                base64::encode(content.as_bytes())
            );
            let machine = file["encryption"]["machineKey"].as_str().unwrap();
            let machine = base64::decode(machine);
            assert!(machine.len() == 32 && machine != [0; 32]);
        }
        let all = format!("{lines:?}{errors}");
        assert!(
            !all.contains(TOKEN) && !all.contains(&base64::encode(&SECRET)),
            "{all}"
        );
        // Another pairing does not replace it unasked.
        let again = command(&home, &server, &["--json", "relay", "pair"])
            .output()
            .unwrap();
        assert_eq!(again.status.code(), Some(1));
    }
}

/// Covers: R3.3
#[test]
fn a_pairing_ends_in_time_and_an_answer_to_another_is_refused() {
    let (home, server) = (home(), RelayServer::start());
    let pair = ["--json", "relay", "pair", "--timeout", "50ms"];
    let output = command(&home, &server, &pair).output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    let mut running = Running::start(command(&home, &server, &["--json", "relay", "pair"]));
    let shown = running.next("pairing");
    let terminal = terminal_key(shown["url"].as_str().unwrap()).unwrap();
    let other = BoxKeyPair::from_secret(&[3; 32]).public();
    let answer = Answer::Legacy(AccountSecret::from_bytes(&SECRET));
    let nonce = Nonce::from_entropy([1; 24]);
    let response = answer
        .seal(other, BoxKeyPair::from_secret(&[9; 32]), nonce)
        .unwrap();
    server.with(|state| {
        let key = base64::encode(terminal.as_bytes());
        state
            .pairings
            .insert(key, Some((TOKEN.to_owned(), response)));
    });
    let (code, _, errors) = running.finish();
    assert_eq!(code, Some(4), "{errors}");
    assert!(!home.root().join(".happy/access.key").exists());
}

/// Covers: R3.7
#[test]
fn the_status_tells_what_can_be_read_and_why_not() {
    let (home, server) = paired();
    let status = ["--json", "relay", "status"];
    let run = |code: i32| {
        let output = command(&home, &server, &status).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.collect::<Vec<Value>>()
    };
    let content = AccountSecret::from_bytes(&SECRET)
        .content_key_pair()
        .public();
    let about = json!({"path": "/p", "host": "h"});
    server.with(|state| {
        let wrap = |to, seed: u8| {
            let key = DataKey::from_bytes(&[seed; 32]);
            let pair = BoxKeyPair::from_secret(&[seed; 32]);
            wrap_data_key(&key, to, pair, Nonce::from_entropy([seed; 24])).unwrap()
        };
        let own = Cipher::DataKey(DataKey::from_bytes(&[1; 32]));
        let foreign = BoxKeyPair::from_secret(&[5; 32]).public();
        for (id, key, metadata) in [
            ("a", None, sealed(&cipher(), &about)),
            ("b", Some(wrap(content, 1)), sealed(&own, &about)),
            ("c", Some(wrap(foreign, 2)), "AAAA".to_owned()),
        ] {
            let session = hallway_tests::relay_server::Session {
                data_key: key,
                metadata: (metadata, 1),
                active: id == "a",
                ..Default::default()
            };
            state.sessions.insert(id.to_owned(), session);
        }
    });
    let lines = run(0);
    assert_eq!(lines[0]["variant"], "legacy");
    assert_eq!(
        (&lines[0]["sessions"], &lines[0]["active"]),
        (&json!(3), &json!(1))
    );
    let of: BTreeMap<_, _> = lines[1..]
        .iter()
        .map(|line| (line["id"].as_str().unwrap(), line))
        .collect();
    for (id, readable) in [("a", true), ("b", true), ("c", false)] {
        assert_eq!(of[id]["readable"], readable, "{id}");
        assert_eq!(of[id]["path"] == "/p", readable, "{id}");
    }
    server.with(|state| state.faults.no_tokens = true);
    assert_eq!(run(4), [] as [Value; 0]);
    fs::remove_file(home.root().join(".happy/access.key")).unwrap();
    assert_eq!(run(4), [] as [Value; 0]);
    fs::write(home.root().join(".happy/access.key"), "{}").unwrap();
    assert_eq!(run(1), [] as [Value; 0]);
}

/// Covers: R1.2, R2.5, R5.5, R9.8
#[test]
fn messages_go_both_ways_and_only_sealed() {
    Front::ALL
        .into_iter()
        .for_each(messages_go_both_ways_and_only_sealed_at);
}

fn messages_go_both_ways_and_only_sealed_at(front: Front) {
    let (home, server) = paired_with(RelayServer::start_with(front));
    let mut running = mirror(&home, &server, &[]);
    let id = session(&server);
    server.say(&id, &sealed(&cipher(), &user("hello SECRETWORD")));
    let message = running.next("message");
    assert_eq!(
        (&message["text"], &message["from"]),
        (&json!("hello SECRETWORD"), &json!("user"))
    );
    assert_eq!(message["message"], user("hello SECRETWORD"));
    let usage = json!({"input_tokens": 3, "output_tokens": 4});
    for line in [
        json!({"kind": "claude", "line": {"type": "assistant", "uuid": "u", "message": {"usage": usage}}}),
        json!({"kind": "codex", "data": {"x": "SECRETWORD"}}),
        json!({"kind": "acp", "provider": "gemini", "data": {"type": "message", "message": "m"}}),
        json!({"kind": "acp", "provider": "p", "data": {"type": "new-kind", "y": [1]}}),
        json!({"kind": "event", "id": "e", "data": {"type": "ready"}}),
        json!({"kind": "message", "message": {"any": "shape"}}),
    ] {
        running.say(&line);
    }
    let contents: Vec<_> = stored(&server, &cipher(), 6)
        .into_iter()
        .map(|message| message.get("content").cloned().unwrap_or(message))
        .collect();
    assert_eq!(contents[0]["type"], "output");
    assert_eq!(
        contents[1],
        json!({"type": "codex", "data": {"x": "SECRETWORD"}})
    );
    assert_eq!(
        contents[2]["data"],
        json!({"type": "message", "message": "m"})
    );
    assert_eq!(contents[3]["data"], json!({"type": "new-kind", "y": [1]}));
    assert_eq!(contents[4]["type"], "event");
    assert_eq!(contents[5], json!({"any": "shape"}));
    let report = server.wait("usage", |state| state.usage.first().cloned());
    assert_eq!(report["tokens"]["total"], 7);
    running.say(&json!({"kind": "usage", "usage": {"input_tokens": 30, "output_tokens": 4}}));
    let report = server.wait("usage", |state| state.usage.get(1).cloned());
    assert_eq!(
        (&report["tokens"]["total"], &report["sessionId"]),
        (&json!(34), &json!(id))
    );
    running.say(&json!({"kind": "usage", "usage": {"input_tokens": "many"}}));
    let why = running.next("rejected")["why"].to_string();
    assert!(
        why.contains("line 8") && why.contains("output_tokens"),
        "{why}"
    );
    running.say(&json!({"kind": "nonsense"}));
    assert!(
        running.next("rejected")["why"]
            .as_str()
            .unwrap()
            .contains("line 9")
    );
    server.with(|state| {
        let all = format!("{:?}", state.sessions);
        assert!(!all.contains("SECRETWORD"), "a plaintext left");
    });
    let (code, _, errors) = running.stop();
    assert_eq!(code, Some(0), "{errors}");
    server.with(|state| {
        let session = state.only().1;
        assert!(!session.active, "the server was told");
        assert!(session.alive > 0, "it was said to be alive");
        assert_eq!(
            opened(&cipher(), &session.metadata.0)["lifecycleState"],
            "archived"
        );
    });
}

/// Covers: R5.8
#[test]
fn values_are_changed_and_what_is_not_named_stays() {
    Front::ALL
        .into_iter()
        .for_each(values_are_changed_and_what_is_not_named_stays_at);
}

fn values_are_changed_and_what_is_not_named_stays_at(front: Front) {
    let (home, server) = paired_with(RelayServer::start_with(front));
    let mut running = mirror(&home, &server, &[]);
    running.say(&json!({"kind": "state", "set": {"controlledByUser": true, "a": {"b": 1}}}));
    running.say(&json!({"kind": "state", "set": {"c": 2}, "remove": ["a"]}));
    running.say(&json!({"kind": "metadata", "set": {"name": "n"}}));
    let (state, metadata) = server.wait("values", |state| {
        let session = state.only().1;
        let agent_state = opened(&cipher(), session.agent_state.0.as_ref()?);
        let metadata = opened(&cipher(), &session.metadata.0);
        (agent_state["c"] == 2 && metadata["name"] == "n").then_some((agent_state, metadata))
    });
    assert_eq!(state, json!({"controlledByUser": true, "c": 2}));
    assert_eq!(metadata["host"].as_str().map(str::is_empty), Some(false));
    running.say(&json!({"kind": "state", "clear": true}));
    server.wait("no state", |state| {
        state.only().1.agent_state.0.is_none().then_some(())
    });
    assert_eq!(running.stop().0, Some(0));
}

/// Covers: R2.18, R2.19, R2.21, R6.6, R9.10c
#[test]
fn calls_are_served_only_when_allowed_and_permissions_are_asked_here() {
    Front::ALL
        .into_iter()
        .for_each(calls_are_served_only_when_allowed_and_permissions_are_asked_here_at);
}

fn calls_are_served_only_when_allowed_and_permissions_are_asked_here_at(front: Front) {
    let (home, server) = paired_with(RelayServer::start_with(front));
    fs::write(home.root().join("file"), "content").unwrap();
    let directory = home.root().to_str().unwrap();
    let more = ["--directory", directory, "--allow-rpc", "readFile"];
    let mut running = mirror(&home, &server, &more);
    let id = session(&server);
    let method = |name: &str| format!("{id}:{name}");
    server.wait("methods", |state| (state.methods.len() == 2).then_some(()));
    let params = |value: Value| json!(sealed(&cipher(), &value));
    let answer = server.call(&method("readFile"), &params(json!({"path": "file"})));
    let answer = answer.recv_timeout(PATIENCE).unwrap();
    let answer = opened(&cipher(), answer.as_str().unwrap());
    assert_eq!(
        answer,
        json!({"success": true, "content": base64::encode(b"content")})
    );
    // A server that sends what was not registered gets nothing done.
    server.with(|state| {
        let owner = *state.methods.values().next().unwrap();
        state.methods.insert(method("bash"), owner);
    });
    let mark = home.root().join("mark");
    let bash = json!({"command": format!("touch {}", mark.display())});
    let refused = server
        .call(&method("bash"), &params(bash))
        .recv_timeout(PATIENCE)
        .unwrap();
    let refused = opened(&cipher(), refused.as_str().unwrap());
    assert_eq!(refused, json!({"error": "Method not found"}));
    assert!(!mark.exists());
    // Parameters that cannot be opened reach nobody.
    let garbage = server.call(&method("permission"), &json!(base64::encode(&[0; 60])));
    let garbage = garbage.recv_timeout(PATIENCE).unwrap();
    assert!(opened(&cipher(), garbage.as_str().unwrap())["error"].is_string());
    let waiting = server.call(
        &method("permission"),
        &params(json!({"id": "p", "approved": true})),
    );
    let call = running.next("call");
    assert_eq!(
        (&call["method"], &call["params"]["id"]),
        (&json!("permission"), &json!("p"))
    );
    running.say(&json!({"kind": "answer", "id": call["id"], "result": {"ok": true}}));
    let answer = waiting.recv_timeout(PATIENCE).unwrap();
    assert_eq!(
        opened(&cipher(), answer.as_str().unwrap()),
        json!({"ok": true})
    );
    running.say(&json!({"kind": "answer", "id": call["id"], "result": 1}));
    running.next("rejected");
    assert_eq!(running.stop().0, Some(0));
}

/// The server drops the agent state of a session that is made: it is written afterwards.
#[test]
fn r4_the_agent_state_of_a_new_session_is_written_by_an_update() {
    let (home, server) = paired();
    let mut running = mirror(&home, &server, &[]);
    running.say(&json!({"kind": "state", "set": {"controlledByUser": true}}));
    let (sealed, version) = server.wait("the state", |state| {
        let (sealed, version) = state.only().1.agent_state.clone();
        Some((sealed?, version))
    });
    assert_eq!(version, 1);
    assert_eq!(
        opened(&cipher(), &sealed),
        json!({"controlledByUser": true})
    );
    server.with(|state| {
        let mut lines = state.heard.lines();
        let made = lines
            .find(|line| line.starts_with("POST /v1/sessions?"))
            .unwrap();
        assert!(made.contains(r#""agentState":null"#), "{made}");
    });
    assert_eq!(running.stop().0, Some(0));
}

/// Covers: R9.10c
#[test]
fn a_session_is_ended_when_nobody_reads_and_left_when_it_is_interrupted_twice() {
    let (home, server) = paired();
    let mut child = command(&home, &server, &["relay", "mirror"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    server.wait("it is connected", |state| {
        (state.sockets() == 1).then_some(())
    });
    drop(child.stdout.take());
    // The next line to be shown finds nobody.
    server.say(&session(&server), &sealed(&cipher(), &user("hello")));
    let finished = child.wait_with_output().unwrap();
    assert_eq!(finished.status.code(), Some(1));
    let errors = String::from_utf8(finished.stderr).unwrap();
    assert!(errors.contains("standard output is gone"), "{errors}");
    server.wait("it is ended", |state| {
        (!state.only().1.active).then_some(())
    });
    // A second signal does not wait for a server that does not answer.
    let (home, server) = paired();
    let running = mirror(&home, &server, &[]);
    server.with(|state| state.faults.no_acks = true);
    let (code, _, errors) = running.interrupt_twice(&server);
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("interrupted twice"), "{errors}");
}

#[test]
fn what_is_wrong_is_said_with_what_to_do() {
    let (home, server) = paired();
    let run = |arguments: &[&str], code: i32, words: &[&str]| {
        let output = command(&home, &server, arguments).output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
        for word in words {
            assert!(errors.contains(word), "{arguments:?}: {errors}");
        }
    };
    let mirror = ["relay", "mirror", "--directory", "/nowhere"];
    run(&mirror, 2, &["--directory"]);
    run(
        &["relay", "mirror", "--allow-rpc", "bosh"],
        2,
        &["bosh", "readFile"],
    );
    run(
        &["relay", "status", "--server", "nonsense"],
        2,
        &["https://"],
    );
    run(
        &["relay", "status", "--server", "http://127.0.0.1:1"],
        7,
        &["check its URL"],
    );
    run(&["relay", "pair"], 1, &["paired already", "--force"]);
    let happy = home.root().join(".happy");
    let access = happy.join("access.key");
    for rubbish in [
        "",
        "{",
        "[]",
        r#"{"token":"t"}"#,
        r#"{"secret":"AAAA","token":"t"}"#,
    ] {
        fs::write(&access, rubbish).unwrap();
        run(&["relay", "mirror"], 1, &["access.key", "pair anew"]);
    }
    fs::remove_file(&access).unwrap();
    run(&["relay", "mirror"], 4, &["hallway relay pair"]);
    // What cannot be kept is said before anybody approves it.
    fs::write(happy.join("settings.json"), "{").unwrap();
    run(&["relay", "pair"], 1, &["settings.json", "move it away"]);
    server.with(|state| assert!(state.pairings.is_empty(), "nothing was asked"));
}

#[test]
fn bash_runs_when_it_is_spelled_out_and_is_logged() {
    let (home, server) = paired();
    let directory = home.root().to_str().unwrap();
    let mut running = mirror(
        &home,
        &server,
        &["--directory", directory, "--allow-rpc", "bash"],
    );
    let method = format!("{}:bash", session(&server));
    server.wait("registered", |state| {
        state.methods.contains_key(&method).then_some(())
    });
    let params = json!(sealed(&cipher(), &json!({"command": "echo $((6*7))"})));
    let answer = server
        .call(&method, &params)
        .recv_timeout(PATIENCE)
        .unwrap();
    let answer = opened(&cipher(), answer.as_str().unwrap());
    assert_eq!(
        (&answer["stdout"], &answer["exitCode"]),
        (&json!("42\n"), &json!(0))
    );
    running.next("served");
    let (code, _, errors) = running.stop();
    assert_eq!(code, Some(0));
    assert!(errors.contains("echo $((6*7))"), "{errors}");
}

/// Covers: R3.9, R3.10, R9.1a, R9.1b, R9.2c, R9.2e
#[test]
fn an_outage_loses_duplicates_and_reorders_nothing() {
    Front::ALL
        .into_iter()
        .for_each(an_outage_loses_duplicates_and_reorders_nothing_at);
}

fn an_outage_loses_duplicates_and_reorders_nothing_at(front: Front) {
    let (home, server) = paired_with(RelayServer::start_with(front));
    let mut running = mirror(&home, &server, &[]);
    let id = session(&server);
    // L1: said while we are away, and while ours are on their way.
    server.with(|state| (state.faults.http_down, state.faults.silent) = (true, true));
    server.cut();
    running.next("reconnecting");
    for number in 0..QUEUED {
        running.say(&json!({"kind": "message", "message": number}));
    }
    for number in 0..20 {
        server.say(&id, &sealed(&cipher(), &user(&format!("away {number}"))));
    }
    // The answers of two posts are lost: they are repeated, and stored once.
    server.with(|state| {
        (state.faults.http_down, state.faults.silent) = (false, false);
        state.faults.lose_post_answers = 2;
        state.faults.refuse_posts = (1, 503);
    });
    let numbers = stored(&server, &cipher(), QUEUED);
    let expected: Vec<Value> = (0..QUEUED).map(Value::from).collect();
    assert_eq!(numbers, expected);
    for number in 0..20 {
        assert_eq!(running.next("message")["text"], format!("away {number}"));
    }
    server.say(&id, &sealed(&cipher(), &user("last")));
    assert_eq!(
        running.next("message")["text"],
        "last",
        "nothing came twice"
    );
    assert_eq!(running.stop().0, Some(0));
}

/// Covers: R3.8, R9.1d, R9.1e
#[test]
fn an_old_server_gets_messages_by_its_socket() {
    Front::ALL
        .into_iter()
        .for_each(an_old_server_gets_messages_by_its_socket_at);
}

fn an_old_server_gets_messages_by_its_socket_at(front: Front) {
    let (home, server) = paired_with(RelayServer::start_with(front));
    server.with(|state| state.faults.no_v3 = true);
    let mut running = mirror(&home, &server, &[]);
    // One after the other, so that the second history begins before what was dealt with.
    for number in 1..=3 {
        running.say(&json!({"kind": "message", "message": number}));
        running.next("stored");
    }
    let fell_back = running.seen.iter().filter(|line| line.contains("fellBack"));
    assert_eq!(fell_back.count(), 1);
    assert_eq!(
        stored(&server, &cipher(), 3),
        [json!(1), json!(2), json!(3)]
    );
    server.say(&session(&server), &sealed(&cipher(), &user("old")));
    assert_eq!(running.next("message")["text"], "old");
    assert_eq!(running.stop().0, Some(0));
}

/// Covers: R9.5
#[test]
fn a_refused_token_ends_it_with_its_reason() {
    Front::ALL
        .into_iter()
        .for_each(a_refused_token_ends_it_with_its_reason_at);
}

fn a_refused_token_ends_it_with_its_reason_at(front: Front) {
    let (home, server) = paired_with(RelayServer::start_with(front));
    server.with(|state| state.faults.refuse_join = Some("Invalid authentication token".to_owned()));
    let arguments = ["--json", "relay", "mirror"];
    let mut running = Running::start(command(&home, &server, &arguments));
    let closed = running.next("closed");
    assert!(
        closed["reason"].as_str().unwrap().contains("token"),
        "{closed}"
    );
    assert_eq!(running.finish().0, Some(4));
    server.with(|state| assert_eq!(state.joined, 0));
}

/// Covers: R9.9a, R9.9b
#[test]
fn the_key_of_a_session_is_made_once_and_taken_from_the_server() {
    let (home, server) = paired();
    // The dataKey variant: a session's key is its own, boxed to the account.
    let pair = AccountSecret::from_bytes(&SECRET).content_key_pair();
    let access = home.root().join(".happy/access.key");
    let keys = json!({"publicKey": base64::encode(pair.public().as_bytes()),
        "machineKey": base64::encode(&[3; 32])});
    fs::write(
        &access,
        json!({"encryption": keys, "token": TOKEN}).to_string(),
    )
    .unwrap();
    let mut keys = Vec::new();
    for number in 0..2 {
        let mut running = mirror(&home, &server, &[]);
        running.say(&json!({"kind": "message", "message": number}));
        running.next("stored");
        assert_eq!(running.stop().0, Some(0));
        let field = server
            .with(|state| state.only().1.data_key.clone())
            .unwrap();
        keys.push(*unwrap_data_key(&field, &pair).unwrap().expose());
    }
    assert_eq!(keys[0], keys[1]);
    let cipher = Cipher::DataKey(DataKey::from_bytes(&keys[0]));
    assert_eq!(stored(&server, &cipher, 2), [json!(0), json!(1)]);
    // Whoever has the account's secret reads and writes it with the key that the server has.
    fs::write(
        &access,
        json!({"secret": base64::encode(&SECRET), "token": TOKEN}).to_string(),
    )
    .unwrap();
    let mut running = mirror(&home, &server, &[]);
    running.say(&json!({"kind": "message", "message": 2}));
    running.next("stored");
    assert_eq!(running.stop().0, Some(0));
    assert_eq!(stored(&server, &cipher, 3)[2], json!(2));
    // Whoever has neither says so, and writes nothing.
    fs::remove_dir_all(home.root().join(".happy/hallway-session-keys")).unwrap();
    let foreign =
        json!({"publicKey": base64::encode(&[9; 32]), "machineKey": base64::encode(&[3; 32])});
    fs::write(
        &access,
        json!({"encryption": foreign, "token": TOKEN}).to_string(),
    )
    .unwrap();
    let arguments = ["--json", "relay", "mirror", "--tag", "t"];
    let output = command(&home, &server, &arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{output:?}");
}

#[test]
fn local_sessions_hear_the_user_and_tell_the_app() {
    let (home, server) = paired();
    let mut local = home.serve(&["--name", "worker"]);
    let mut running = mirror(&home, &server, &["--deliver", "worker", "--inbox", "relay"]);
    server.say(&session(&server), &sealed(&cipher(), &user("do it")));
    assert_eq!(local.next_data(), "do it");
    home.run(&["send", "relay", "done"]).expect(0);
    let message = stored(&server, &cipher(), 1).remove(0);
    assert_eq!(
        message["content"]["data"],
        json!({"type": "message", "message": "done"})
    );
    running.say(&json!({"kind": "end"}));
    running.next("closed");
    assert_eq!(running.finish().0, Some(0));
}

/// Covers: R9.2f
#[test]
fn what_was_not_shown_comes_after_a_restart_and_after_a_crash() {
    let (home, server) = paired();
    let mut running = mirror(&home, &server, &[]);
    let id = session(&server);
    let say = |text| server.say(&id, &sealed(&cipher(), &user(text)));
    say("one");
    assert_eq!(running.next("message")["text"], "one");
    assert_eq!(running.stop().0, Some(0));
    say("two");
    let mut running = mirror(&home, &server, &[]);
    assert_eq!(running.next("message")["text"], "two", "one was shown");
    // Killed: what was just shown may come again, and nothing is passed over.
    drop(running);
    say("three");
    let mut running = mirror(&home, &server, &[]);
    let mut text = running.next("message")["text"].clone();
    if text == "two" {
        text = running.next("message")["text"].clone();
    }
    assert_eq!(text, "three");
    assert_eq!(running.stop().0, Some(0));
    let mut running = mirror(&home, &server, &["--after", "1"]);
    assert_eq!(running.next("message")["text"], "two", "as it was told");
}

/// Covers: R9.2f
#[test]
fn a_crash_before_the_first_message_passes_over_none() {
    let (home, server) = paired();
    drop(mirror(&home, &server, &[]));
    let id = session(&server);
    server.say(&id, &sealed(&cipher(), &user("while it was away")));
    let mut running = mirror(&home, &server, &[]);
    assert_eq!(running.next("message")["text"], "while it was away");
}

/// Two would each show every message, and each keep a number of its own.
#[test]
fn a_second_mirror_of_a_tag_is_refused_until_the_first_is_gone() {
    let (home, server) = paired();
    let first = mirror(&home, &server, &[]);
    let asked = server.with(|state| state.heard.clone());
    let arguments = ["relay", "mirror", "--tag", "t"];
    let mut second = Running::start(command(&home, &server, &arguments));
    let (code, _, errors) = second.finish();
    assert_eq!(code, Some(4), "{errors}");
    let holder = format!("mirrored by process {};", first.pid());
    assert!(
        errors.contains(&holder) && errors.contains("--tag"),
        "{errors}"
    );
    let posts = |heard: &str| heard.matches("POST /v1/sessions").count();
    let later = server.with(|state| state.heard.clone());
    assert_eq!(posts(&later), posts(&asked), "the server was not asked");
    let arguments = ["--json", "relay", "mirror", "--tag", "other"];
    let mut other = Running::start(command(&home, &server, &arguments));
    other.next("connected");
    // Killed, it leaves the lock's file and not the lock.
    drop(first);
    let second = mirror(&home, &server, &[]);
    server.with(|state| assert_eq!(state.sessions.len(), 2));
    assert_eq!(second.stop().0, Some(0));
    assert_eq!(other.stop().0, Some(0));
}

/// Covers: R9.2f
#[test]
fn what_was_kept_about_sessions_of_long_ago_is_swept_by_the_next_mirror() {
    let (home, server) = paired();
    assert_eq!(mirror(&home, &server, &[]).stop().0, Some(0));
    let directory = home.root().join(".happy/hallway-cursors");
    let files = || {
        let entries = fs::read_dir(&directory).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        names.sort();
        names
    };
    let [kept] = &files()[..] else {
        panic!("{:?}", files())
    };
    let long_ago = std::time::SystemTime::now() - Duration::from_hours(91 * 24);
    let other = directory.join("0000.json");
    for path in [kept, &other] {
        let file = fs::File::options()
            .create(true)
            .append(true)
            .open(path)
            .unwrap();
        file.set_modified(long_ago).unwrap();
    }
    // Its own is needed, and as fresh as the session again.
    assert_eq!(mirror(&home, &server, &[]).stop().0, Some(0));
    assert_eq!(files(), std::slice::from_ref(kept));
    let modified = fs::metadata(kept).unwrap().modified().unwrap();
    assert!(modified > long_ago + Duration::from_hours(24));
}

#[test]
fn doctor_shows_what_others_left_open_and_mends_it() {
    let (home, server) = paired();
    let path = home.root().join(".happy/access.key");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let doctor = |fix: bool| {
        let mut arguments = vec!["--json", "doctor"];
        arguments.extend(fix.then_some("--fix"));
        let output = command(&home, &server, &arguments).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let lines = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let about = |line: &Value| line["path"] == path.to_str().unwrap();
        (
            output.status.code(),
            lines.filter(about).collect::<Vec<_>>(),
        )
    };
    let (code, found) = doctor(false);
    assert_eq!(code, Some(1));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0]["fix"].as_str().unwrap().contains("chmod 600"),
        "{found:?}"
    );
    let (_, found) = doctor(true);
    assert_eq!(found[0]["fixed"], true, "{found:?}");
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    assert_eq!(doctor(false).1, [] as [Value; 0]);
}

/// Covers: R1.1
#[test]
fn the_server_is_the_one_that_is_named() {
    let (home, server) = paired();
    let happy = home.root().join(".happy");
    let settings = |url: &str| {
        let text = json!({"serverUrl": url}).to_string();
        fs::write(happy.join("settings.json"), text).unwrap();
    };
    let status = |variable: Option<&str>| {
        let mut command = home.command(&["--json", "relay", "status"]);
        command.env("HAPPY_HOME_DIR", &happy);
        match variable {
            Some(url) => command.env("HAPPY_SERVER_URL", url),
            None => command.env_remove("HAPPY_SERVER_URL"),
        };
        command.output().unwrap().status.code()
    };
    // Nobody listens there.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nowhere = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    settings(server.url());
    for (variable, found) in [
        (None, true),
        (Some(""), true),
        (Some(&*nowhere), false),
        (Some(server.url()), true),
    ] {
        assert_eq!(status(variable) == Some(0), found, "{variable:?}");
    }
    settings(&nowhere);
    assert_ne!(status(None), Some(0));
    assert_eq!(status(Some(server.url())), Some(0));
}
