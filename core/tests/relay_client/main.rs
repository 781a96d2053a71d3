//! The relay's session client, fact by fact: the properties of relay.md §9, each against the
//! weakness of §7 that it answers (`s1_…` for the seed's S1, `l1_…` for the latest's L1).

mod attacks;
mod calls;
mod facts;
mod machine;
mod messages;
mod old_server;
mod values;

use std::time::Duration;

use hallway_core::backoff::{Epoch, Policy};
use hallway_core::relay::cipher::{Cipher, Nonce};
use hallway_core::relay::client::{Action, Change, Client, Event, Fetch, Merge, Scope};
use hallway_core::relay::keys::DataKey;
use hallway_core::relay::limits::{Limits, LimitsBuilder};
use hallway_core::relay::link::Status;
use hallway_core::relay::outbox::BatchId;
use hallway_core::relay::raw::Raw;
use hallway_core::relay::update::SessionRow;
use hallway_core::{Instant, Token, UnixTime};

const HELLO: &str =
    r#"0{"sid":"e","upgrades":[],"pingInterval":15000,"pingTimeout":45000,"maxPayload":100000}"#;
const JOINED: &str = r#"40{"sid":"s"}"#;
const SECOND: Duration = Duration::from_secs(1);

/// The cipher of the session.
fn cipher() -> Cipher {
    Cipher::DataKey(DataKey::from_bytes(&[1; 32]))
}

fn raw(text: &str) -> Raw<'_> {
    Raw::parse(text).unwrap_or_else(|| panic!("not JSON: {text}"))
}

fn wall() -> UnixTime {
    UnixTime::from_millis(77).expect("in range")
}

/// A client, its clock, and what it has asked for.
struct Driven {
    client: Client,
    now: Instant,
    live: Option<Epoch>,
    dials: u32,
    posts: Vec<(BatchId, String)>,
    fetches: Vec<Fetch>,
    merges: Vec<Merge>,
    /// How often a machine was to say that it is alive.
    alive: u32,
    nonces: u64,
}

impl Driven {
    fn with(limits: LimitsBuilder, after: u64) -> Self {
        let mut metadata = cipher()
            .seal_text(Nonce::from_entropy([250; 24]), r#"{"path":"/w"}"#)
            .expect("short");
        metadata = format!("\"{metadata}\"");
        Self::with_metadata(limits, after, &metadata)
    }

    fn with_metadata(limits: LimitsBuilder, after: u64, metadata: &str) -> Self {
        let row = format!(
            r#"{{"id":"S","seq":0,"metadata":{metadata},"metadataVersion":3,"agentState":null,"agentStateVersion":0,"dataEncryptionKey":null}}"#
        );
        let session = Scope::session(&SessionRow::parse(raw(&row)).expect("a row"), cipher());
        Self::of(session, limits, after)
    }

    fn of(scope: Scope, limits: LimitsBuilder, after: u64) -> Self {
        let token = Token::parse("secret-token").expect("short");
        let auth = scope.auth(&token, None);
        let limits = limits.build().expect("in range");
        let client = Client::new(&limits, scope, after, auth, Policy::PERSISTENT, 7);
        Self {
            client,
            now: Instant::from_nanos(5),
            live: None,
            dials: 0,
            posts: Vec::new(),
            fetches: Vec::new(),
            merges: Vec::new(),
            alive: 0,
            nonces: 0,
        }
    }

    /// Not connected, but on the way.
    fn new() -> Self {
        let mut driven = Self::with(Limits::builder(), 0);
        driven.client.connect(driven.now);
        driven.act();
        driven
    }

    /// Connected, listening, and with an empty session read.
    fn open() -> Self {
        Self::open_after(Limits::builder(), 0)
    }

    fn open_after(limits: LimitsBuilder, after: u64) -> Self {
        let mut driven = Self::with(limits, after);
        driven.client.listen();
        driven.client.connect(driven.now);
        driven.act();
        driven.join();
        driven.page(&[], false);
        driven
    }

    fn nonce(&mut self) -> Nonce {
        self.nonces += 1;
        let mut entropy = [9; 24];
        entropy[..8].copy_from_slice(&self.nonces.to_be_bytes());
        Nonce::from_entropy(entropy)
    }

    /// Collects what the client asks for, and checks that one transport lives at most.
    fn act(&mut self) {
        while let Some(action) = self.client.poll_action(self.now) {
            match action {
                Action::Hangup(epoch) => assert_eq!(self.live.take(), Some(epoch)),
                Action::Dial(epoch) => {
                    assert_eq!(self.live.replace(epoch), None, "two transports");
                    self.dials += 1;
                }
                Action::Post(id) => self.posts.push((id, self.client.post_body())),
                Action::Fetch(fetch) => self.fetches.push(fetch),
                Action::Merge(merge) => self.merges.push(merge),
                Action::KeepAlive => {
                    self.alive += 1;
                    self.client.machine_alive(wall()).expect("it is connected");
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn join(&mut self) {
        let epoch = self.live.expect("a dial");
        self.client.handle_opened(epoch);
        assert_eq!(self.receive(HELLO), None);
        assert_eq!(self.frames().len(), 1);
        let event = self.receive(JOINED);
        assert!(matches!(event, Some(Event::Connected { .. })), "{event:?}");
    }

    fn receive<'a>(&mut self, frame: &'a str) -> Option<Event<'a>> {
        let epoch = self.live.expect("a transport");
        let event = self.client.handle_message(epoch, frame, self.now);
        self.act();
        event
    }

    fn drop_link(&mut self) {
        let epoch = self.live.take().expect("a transport");
        let event = self.client.handle_closed(epoch, None, self.now);
        assert!(matches!(event, Some(Event::Reconnecting { .. })));
        self.act();
    }

    fn reconnect(&mut self) {
        while self.live.is_none() {
            self.tick();
        }
        self.join();
    }

    /// All frames that wait, written.
    fn frames(&mut self) -> Vec<String> {
        let epoch = self.live.expect("a transport");
        let mut frames = Vec::new();
        while let Some(frame) = self.client.poll_transmit(epoch) {
            frames.push(frame.to_owned());
            self.client.handle_transmitted(epoch, self.now);
        }
        self.act();
        frames
    }

    fn events(&mut self) -> Vec<Event<'static>> {
        let mut events = Vec::new();
        while let Some(event) = self.client.poll_event(self.now) {
            events.push(event);
        }
        self.act();
        events
    }

    fn later(&mut self, span: Duration) {
        self.now = self.now.after(span);
    }

    /// Lets time pass until the client wants to be told.
    fn tick(&mut self) -> Option<Event<'static>> {
        self.now = self
            .now
            .max(self.client.poll_timeout().expect("a deadline"));
        let event = self.client.handle_timeout(self.now);
        self.act();
        event
    }

    /// Answers the fetch that is asked for with these rows; the events that follow.
    fn page(&mut self, rows: &[String], has_more: bool) -> Vec<Event<'static>> {
        let fetch = self.fetches.pop().expect("a fetch");
        assert!(self.fetches.is_empty(), "one at a time");
        let body = format!(
            r#"{{"messages":[{}],"hasMore":{has_more}}}"#,
            rows.join(",")
        );
        let event = self.client.handle_page(fetch.id, &body, self.now);
        self.act();
        let mut events: Vec<_> = event.into_iter().collect();
        events.extend(self.events());
        events
    }

    /// Says that the post that is asked for is stored, from `seq` on.
    fn store(&mut self, seq: u64) -> Vec<Event<'static>> {
        let (id, body) = self.posts.pop().expect("a post");
        assert!(self.posts.is_empty(), "one at a time");
        let answer = ids(&body)
            .iter()
            .zip(seq..)
            .map(|(id, seq)| format!(r#"{{"localId":"{id}","seq":{seq}}}"#))
            .collect::<Vec<_>>();
        let answer = format!(r#"{{"messages":[{}]}}"#, answer.join(","));
        self.client.handle_posted(id, raw(&answer), self.now);
        self.events()
    }

    fn send(&mut self, local_id: &str) {
        let nonce = self.nonce();
        self.client.send("{}", local_id, nonce).expect("room");
        self.act();
    }

    /// Merges whatever is asked for, setting a member.
    fn merge(&mut self, name: &str) -> Merge {
        let merge = self.merges.remove(0);
        let nonce = self.nonce();
        self.client.merge(merge, nonce, self.now, |value| {
            let mut value = value.cloned().unwrap_or_default();
            value.set(name, raw("1"));
            Change::Write(value)
        });
        self.act();
        merge
    }

    /// A row of history: a message of the user that says `text`.
    fn row(&mut self, seq: u64, text: &str) -> String {
        self.sealed_row(seq, &user(text))
    }

    fn sealed_row(&mut self, seq: u64, plaintext: &str) -> String {
        let nonce = self.nonce();
        let sealed = cipher().seal_text(nonce, plaintext).expect("short");
        row(seq, &sealed, None)
    }

    /// The same as it comes live.
    fn live(&mut self, seq: u64, text: &str) -> String {
        let row = self.row(seq, text);
        update(&row)
    }
}

fn user(text: &str) -> String {
    format!(r#"{{"role":"user","content":{{"type":"text","text":"{text}"}}}}"#)
}

fn row(seq: u64, sealed: &str, local_id: Option<&str>) -> String {
    let local_id = local_id.map_or("null".to_owned(), |id| format!("\"{id}\""));
    format!(
        r#"{{"id":"m{seq}","seq":{seq},"content":{{"t":"encrypted","c":"{sealed}"}},"localId":{local_id},"createdAt":1,"updatedAt":1}}"#
    )
}

fn update(row: &str) -> String {
    format!(
        r#"42["update",{{"id":"u","seq":9,"body":{{"t":"new-message","sid":"S","message":{row}}},"createdAt":1}}]"#
    )
}

/// The local ids of a post, in order.
fn ids(body: &str) -> Vec<String> {
    let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
    let messages = body["messages"].as_array().expect("a list");
    let id = |message: &serde_json::Value| message["localId"].as_str().map(str::to_owned);
    messages
        .iter()
        .map(|message| id(message).expect("an id"))
        .collect()
}

/// What messages of the user say, and the numbers of everything else that was received.
fn said(events: &[Event<'_>]) -> Vec<(u64, String)> {
    let text = |event: &Event<'_>| match event {
        Event::UserMessage(message) => {
            let value: serde_json::Value =
                serde_json::from_str(message.plaintext.raw().as_str()).expect("JSON");
            let text = value["content"]["text"].as_str().expect("a text");
            Some((message.seq, text.to_owned()))
        }
        _ => None,
    };
    events.iter().filter_map(text).collect()
}

fn open_body(body: &str, at: usize) -> String {
    let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
    let content = body["messages"][at]["content"].as_str().expect("a text");
    opened(content)
}

fn opened(sealed: &str) -> String {
    let plain = cipher().open_text(sealed).expect("ours");
    plain.raw().as_str().to_owned()
}

/// The value of a frame that sends an event: its name, its argument, and its id.
fn emitted(frame: &str) -> (String, serde_json::Value, Option<u64>) {
    let at = frame.find('[').expect("an event");
    let list: serde_json::Value = serde_json::from_str(&frame[at..]).expect("JSON");
    let name = list[0].as_str().expect("a name").to_owned();
    (name, list[1].clone(), frame[2..at].parse().ok())
}

/// Covers: R9.6b
#[test]
fn memory_is_bounded_by_the_limits() {
    assert!(Limits::DEFAULT.worst_case_bytes() < 160 << 20);
    let driven = Driven::open();
    assert_eq!(driven.client.status(), Status::Open);
    let shown = format!("{:?}", driven.client);
    assert!(!shown.contains("secret-token"), "{shown}");
}

/// L6 is S5, S6, S7, S10, S12 and S13 once more; R3 is of the server's process alone.
#[test]
fn every_weakness_has_a_test_of_its_name() {
    let sources = [
        include_str!("attacks.rs"),
        include_str!("calls.rs"),
        include_str!("messages.rs"),
        include_str!("old_server.rs"),
        include_str!("values.rs"),
        include_str!("../relay_link.rs"),
        include_str!("../../../tests/e2e/relay.rs"),
    ];
    let seed = (1..=13).map(|number| format!("s{number}"));
    let latest = [1, 2, 3, 4, 5, 7, 8, 9].map(|number| format!("l{number}"));
    for name in seed
        .chain(latest)
        .chain([1, 2, 4].map(|number| format!("r{number}")))
    {
        let test = format!("#[test]\nfn {name}_");
        assert!(
            sources.iter().any(|source| source.contains(&test)),
            "{name}"
        );
    }
}
