//! This machine's own entry at the relay: kept alive, and saying of itself what is true, as long
//! as it is polled (relay.md §2). It serves no methods.

use hallway_core::TokenError;
use hallway_core::UnixTime;
use hallway_core::relay::cipher::{Cipher, Plaintext, wrap_data_key};
use hallway_core::relay::client::{Change, Scope, Target};
use hallway_core::relay::plaintext::Document;
use hallway_core::relay::raw::{Raw, Text};
use hallway_core::relay::update;
use hallway_core::relay::versioned::UpdateError;
use tracing::info;

use super::credentials::{Credentials, Keys};
use super::http::{Http, HttpError, Machine, MachineRow};
use super::session::{SessionError, crypto, key_pair, nonce};
use super::transport::{Relay, Update, Upkeep};
use crate::clock;

/// What the state says while we are here, and after us; the reference's words.
const RUNNING: &str = "running";
const STOPPED: &str = "shutting-down";

/// Why a machine is not kept alive.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MachineError {
    /// The server did not give its entry, or there is nothing to seal it with.
    #[error(transparent)]
    Entry(#[from] SessionError),
    /// The token is none for a socket.
    #[error("the token cannot be used; {0}; pair anew")]
    Token(#[from] TokenError),
    /// The client does not take what there is to say.
    #[error(transparent)]
    Update(#[from] UpdateError),
}

impl From<HttpError> for MachineError {
    fn from(error: HttpError) -> Self {
        Self::Entry(error.into())
    }
}

/// What a machine says of itself: names and texts.
pub type About = Vec<(&'static str, String)>;

/// The entry of a machine that is kept up.
#[derive(Debug)]
pub struct Presence {
    relay: Relay,
    ending: bool,
}

impl Presence {
    /// Makes the entry of the machine `id` when there is none, and starts to keep it up. `about`
    /// becomes part of its metadata, and its state says that this process runs.
    ///
    /// # Errors
    ///
    /// [`MachineError`]
    pub async fn start(
        http: Http,
        credentials: &Credentials,
        id: &str,
        about: About,
        upkeep: &Upkeep,
    ) -> Result<Self, MachineError> {
        let scope = open(&http, credentials, id, &about).await?;
        let mut relay = Relay::start(http, credentials.token.clone(), scope, upkeep)?;
        relay.change(Target::Metadata, describe(about))?;
        relay.change(Target::State, run(clock::wall()))?;
        Ok(Self {
            relay,
            ending: false,
        })
    }

    /// What has happened next; `None` when it has ended. A machine that is deleted is let go.
    /// Cancelling loses nothing.
    pub async fn next(&mut self) -> Option<Update> {
        let update = self.relay.next().await;
        if update == Some(Update::SessionGone) {
            self.ending = true;
            self.relay.end();
        }
        update
    }

    /// Ends it: the state says so, and [`Update::Closed`] follows, all of it within the limits'
    /// `end_timeout`, if it is polled.
    pub fn end(&mut self) {
        if self.ending {
            return;
        }
        self.ending = true;
        if let Err(error) = self.relay.change(Target::State, stop(clock::wall())) {
            info!(%error, "the machine's state does not say that it has stopped");
        }
        self.relay.end();
    }

    /// Lets go of the connection.
    pub async fn leave(self) {
        self.relay.leave().await;
    }
}

/// The state of the machine's daemon, if there is one and it can be read here.
#[must_use]
pub fn state(keys: &Keys, row: &MachineRow) -> Option<Plaintext> {
    keys.machine_cipher()
        .open_text(row.daemon_state.as_ref()?)
        .ok()
}

/// The machine's entry, made with `about` when there is none.
async fn open(
    http: &Http,
    credentials: &Credentials,
    id: &str,
    about: &About,
) -> Result<Scope, MachineError> {
    let cipher: Cipher = credentials.keys.machine_cipher();
    let data_key = match &credentials.keys {
        Keys::Legacy(_) => None,
        Keys::DataKey { public, machine } => {
            let wrapped = wrap_data_key(machine, *public, key_pair()?, nonce()?);
            Some(wrapped.map_err(crypto)?)
        }
    };
    let metadata = with(Document::default(), about);
    let sealed = cipher.seal_text(nonce()?, metadata.raw().as_str());
    let asked = Machine {
        id,
        metadata: &sealed.map_err(crypto)?,
        data_key: data_key.as_deref(),
    };
    let row = http.register_machine(&credentials.token, &asked).await?;
    let raw = Raw::parse(&row.raw).and_then(update::MachineRow::parse);
    let raw = raw.ok_or(HttpError::Nonsense("machine"))?;
    Ok(Scope::machine(&raw, cipher))
}

fn with(mut document: Document, about: &About) -> Document {
    for (name, text) in about {
        document.set(name, Text::new(text).raw());
    }
    document
}

/// The metadata with what the machine says of itself; what others wrote beside it stays.
fn describe(about: About) -> impl FnMut(Option<&Document>) -> Change + Send {
    move |value| {
        let document = with(value.cloned().unwrap_or_default(), &about);
        if Some(&document) == value {
            return Change::Keep;
        }
        Change::Write(document)
    }
}

/// The state of a daemon that is this process, whatever the one before it left.
fn run(since: UnixTime) -> impl FnMut(Option<&Document>) -> Change + Send {
    move |_| {
        let mut document = Document::default();
        document.set("status", Text::new(RUNNING).raw());
        number(&mut document, "pid", std::process::id().into());
        number(&mut document, "startedAt", since.as_millis());
        Change::Write(document)
    }
}

/// The state of a daemon that stops. What is another process's stays as it is.
fn stop(at: UnixTime) -> impl FnMut(Option<&Document>) -> Change + Send {
    move |value| {
        let ours = |document: &&Document| {
            let pid = document.get("pid").and_then(Raw::unsigned);
            pid == Some(std::process::id().into())
        };
        let Some(document) = value.filter(ours) else {
            return Change::Keep;
        };
        let mut document = document.clone();
        document.set("status", Text::new(STOPPED).raw());
        number(&mut document, "shutdownRequestedAt", at.as_millis());
        document.set("shutdownSource", Text::new("cli").raw());
        Change::Write(document)
    }
}

fn number(document: &mut Document, name: &str, value: u64) {
    if let Some(raw) = Raw::parse(&value.to_string()) {
        document.set(name, raw);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(text: &str) -> Document {
        Document::parse(Raw::parse(text).unwrap()).unwrap()
    }

    fn written(change: Change) -> Document {
        match change {
            Change::Write(document) => document,
            Change::Keep | Change::Clear => panic!("nothing is written"),
        }
    }

    #[test]
    fn what_others_say_of_the_machine_stays() {
        let about: About = vec![
            ("host", "h\"1".to_owned()),
            ("platform", "linux".to_owned()),
        ];
        let mut change = describe(about);
        let there = document(r#"{"displayName":"mine","host":"old"}"#);
        let made = written(change(Some(&there)));
        for kept in [r#""displayName":"mine""#, r#""host":"h\"1""#, "linux"] {
            assert!(made.raw().as_str().contains(kept), "{made:?}");
        }
        assert_eq!(change(Some(&made)), Change::Keep);
        assert_eq!(
            written(change(None)).raw().as_str(),
            r#"{"host":"h\"1","platform":"linux"}"#
        );
    }

    #[test]
    fn the_state_says_who_runs_and_only_of_itself_that_it_stopped() {
        let at = UnixTime::from_millis(5).unwrap();
        let running = written(run(at)(Some(&document(r#"{"httpPort":1}"#))));
        let pid = std::process::id();
        assert_eq!(
            running.raw().as_str(),
            format!(r#"{{"status":"running","pid":{pid},"startedAt":5}}"#)
        );
        let stopped = written(stop(at)(Some(&running)));
        assert_eq!(
            stopped.raw().as_str(),
            format!(
                r#"{{"status":"shutting-down","pid":{pid},"startedAt":5,"shutdownRequestedAt":5,"shutdownSource":"cli"}}"#
            )
        );
        for other in [r#"{"status":"running","pid":0}"#, r#"{"status":"running"}"#] {
            assert_eq!(stop(at)(Some(&document(other))), Change::Keep);
        }
        assert_eq!(stop(at)(None), Change::Keep);
    }
}
