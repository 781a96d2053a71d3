//! A session of the relay and this machine: what the local side says is sent, what the app says
//! and asks is told, and the methods that are allowed are served.

mod input;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hallway_core::relay::cipher::Plaintext;
use hallway_core::relay::client::{Change, Target};
use hallway_core::relay::link::Owed;
use hallway_core::relay::plaintext::{AgentContent, AgentMessage, Document, Usage};
use hallway_core::relay::raw::Raw;
use hallway_core::relay::rpc;
use hallway_core::relay::versioned::{UpdateError, UpdateId};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Interval, MissedTickBehavior};
use tracing::{debug, info};

use super::handlers::Handlers;
use super::transport::{Relay, SendFailure, Update};
use crate::clock;

pub use input::{Edit, Input};

/// How often the session says that it is alive.
const ALIVE: Duration = Duration::from_secs(2);
/// How long the last word about a session may take before it is ended all the same.
const LAST_WORD: Duration = Duration::from_secs(3);
/// The most calls that wait for the local side.
const MAX_WAITING: usize = 64;

/// Why something of the local side's was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ActError {
    /// It was not sent.
    #[error(transparent)]
    Send(#[from] SendFailure),
    /// The value is not changed.
    #[error(transparent)]
    Update(#[from] UpdateError),
    /// No call of this id waits.
    #[error("no call {0} waits for an answer")]
    UnknownCall(String),
    /// It is not what its kind says.
    #[error("it is no {0}")]
    Shape(&'static str),
}

/// What there is to tell the local side.
#[derive(Debug)]
pub enum Said {
    /// Something has happened.
    Update(Update),
    /// A method is called, and waits for [`Input::Answer`].
    Call {
        /// What to answer under.
        id: String,
        /// The method.
        method: String,
        /// The parameters.
        params: Plaintext,
    },
    /// A call is not to be answered any more.
    CallLost {
        /// What it was to be answered under.
        id: String,
    },
    /// A method was served here.
    Served {
        /// The method.
        method: String,
    },
}

/// The two ends together.
#[derive(Debug)]
pub struct Mirror {
    relay: Relay,
    handlers: Handlers,
    /// The methods whose calls are put to the local side.
    asked: BTreeSet<String>,
    waiting: BTreeMap<String, Owed>,
    calls: u64,
    running: JoinSet<(Owed, String, Option<String>)>,
    aborts: BTreeMap<Owed, AbortHandle>,
    alive: Interval,
    thinking: bool,
    mode: String,
    ending: Option<(UpdateId, tokio::time::Instant)>,
}

impl Mirror {
    /// Listens to the session, and serves the methods of `handlers`, and those of `asked` by
    /// asking.
    ///
    /// # Errors
    ///
    /// [`ActError`] when there are too many methods.
    pub fn new(
        mut relay: Relay,
        handlers: Handlers,
        asked: impl IntoIterator<Item = String>,
    ) -> Result<Self, ActError> {
        relay.client().listen();
        let asked: BTreeSet<String> = asked.into_iter().collect();
        let served = handlers.allowed().map(|method| method.name().to_owned());
        for method in served.chain(asked.iter().cloned()) {
            relay
                .client()
                .register(&method)
                .map_err(SendFailure::from)?;
        }
        relay.change(Target::Metadata, lifecycle("running"))?;
        let mut alive = tokio::time::interval(ALIVE);
        alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            relay,
            handlers,
            asked,
            waiting: BTreeMap::new(),
            calls: 0,
            running: JoinSet::new(),
            aborts: BTreeMap::new(),
            alive,
            thinking: false,
            mode: "local".to_owned(),
            ending: None,
        })
    }

    /// The number up to which every message was told, or will not come; `None` while more is to
    /// be told.
    #[must_use]
    pub fn cursor(&self) -> Option<u64> {
        self.relay.cursor()
    }

    /// What there is to tell next; `None` when it has ended. Cancelling loses nothing.
    pub async fn next(&mut self) -> Option<Said> {
        loop {
            let until = self.ending.map(|(_, until)| until);
            let last_word = async {
                match until {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                update = self.relay.next() => {
                    if let Some(said) = self.take(update?) {
                        return Some(said);
                    }
                }
                Some(done) = self.running.join_next(), if !self.running.is_empty() => {
                    if let Some(said) = self.served(done) {
                        return Some(said);
                    }
                }
                _ = self.alive.tick() => {
                    let (thinking, mode) = (self.thinking, self.mode.clone());
                    let told = self.relay.client().keep_alive(thinking, &mode, clock::wall());
                    debug!(?told, "alive");
                }
                () = last_word => self.end_now(),
            }
        }
    }

    /// Does what the local side says.
    ///
    /// # Errors
    ///
    /// [`ActError`]; nothing was done.
    pub fn act(&mut self, input: Input) -> Result<Option<String>, ActError> {
        let sent = match input {
            Input::Claude(line) => {
                let raw = Raw::parse(&line).ok_or(ActError::Shape("line"))?;
                let at = clock::wall();
                self.relay
                    .send_by(|client, id, nonce| client.send_claude(raw, id, nonce, at))?
            }
            Input::Agent(content) => self.send_agent(&content)?,
            Input::Message(plaintext) => self.relay.send(&plaintext)?,
            Input::Change { target, change } => {
                self.relay
                    .change(target, move |value| change.apply(value))?;
                return Ok(None);
            }
            Input::Alive { thinking, mode } => {
                self.thinking = thinking.unwrap_or(self.thinking);
                self.mode = mode.unwrap_or_else(|| self.mode.clone());
                self.alive.reset_immediately();
                return Ok(None);
            }
            Input::Usage(usage) => {
                let usage = Raw::parse(&usage).and_then(Usage::parse);
                let usage = usage.ok_or(ActError::Shape(
                    "usage; it needs the numbers \"input_tokens\" and \"output_tokens\"",
                ))?;
                let sent = self.relay.client().send_usage(&usage);
                sent.map_err(SendFailure::from)?;
                return Ok(None);
            }
            Input::Answer { id, result } => {
                let Some(owed) = self.waiting.get(&id) else {
                    return Err(ActError::UnknownCall(id));
                };
                self.relay.answer(*owed, &result)?;
                self.waiting.remove(&id);
                return Ok(None);
            }
            Input::End => {
                self.end();
                return Ok(None);
            }
        };
        Ok(Some(sent))
    }

    /// Ends the session: the metadata say so, what waits is sent, the server is told.
    pub fn end(&mut self) {
        if self.ending.is_some() {
            return;
        }
        match self.relay.change(Target::Metadata, lifecycle("archived")) {
            Ok(update) => self.ending = Some((update, tokio::time::Instant::now() + LAST_WORD)),
            Err(error) => {
                info!(%error, "the metadata do not say that the session has ended");
                self.relay.end();
            }
        }
    }

    /// Lets go of the connection.
    pub async fn leave(self) {
        self.relay.leave().await;
    }

    fn end_now(&mut self) {
        self.ending = None;
        self.relay.end();
    }

    fn send_agent(&mut self, content: &str) -> Result<String, ActError> {
        let raw = Raw::parse(content).ok_or(ActError::Shape("message of an agent"))?;
        let message = AgentMessage::parse(raw).ok_or(ActError::Shape("message of an agent"))?;
        Ok(match message.content {
            AgentContent::Codex { data } => self
                .relay
                .send_by(|client, id, nonce| client.send_codex(data, id, nonce))?,
            AgentContent::Acp { provider, data } => {
                let provider = provider.to_lossy().into_owned();
                self.relay
                    .send_by(|client, id, nonce| client.send_acp(&provider, data, id, nonce))?
            }
            AgentContent::Event { id: own, data } => {
                let own = own.to_lossy().into_owned();
                self.relay
                    .send_by(|client, id, nonce| client.send_event(&own, data, id, nonce))?
            }
            AgentContent::Output { .. }
            | AgentContent::Session { .. }
            | AgentContent::Other(_)
            | _ => {
                return Err(ActError::Shape("message of an agent"));
            }
        })
    }

    fn take(&mut self, update: Update) -> Option<Said> {
        match update {
            Update::RpcRequested {
                owed,
                method,
                params,
            } => self.called(owed, method, params),
            Update::RpcLost { owed, why } => {
                debug!(%why, "a call is lost");
                // What runs for it ends with it.
                if let Some(abort) = self.aborts.remove(&owed) {
                    abort.abort();
                }
                let lost = self.waiting.iter().find(|(_, own)| **own == owed);
                let id = lost.map(|(id, _)| id.clone())?;
                self.waiting.remove(&id);
                Some(Said::CallLost { id })
            }
            Update::Updated { update, .. }
                if self.ending.is_some_and(|(last, _)| last == update) =>
            {
                self.end_now();
                None
            }
            Update::Connected { .. } => {
                self.alive.reset_immediately();
                Some(Said::Update(update))
            }
            Update::RpcRefused { .. } => None,
            Update::Updated { .. }
            | Update::Reconnecting { .. }
            | Update::Closed { .. }
            | Update::UserMessage(_)
            | Update::Message(_)
            | Update::Unreadable { .. }
            | Update::Withheld(_)
            | Update::Stored { .. }
            | Update::TooLarge { .. }
            | Update::SendingStopped(_)
            | Update::FetchingStopped(_)
            | Update::FellBack
            | Update::ValuesChanged { .. }
            | Update::UsageNotReported
            | Update::RpcRegistered { .. }
            | Update::RpcUnconfirmed { .. }
            | Update::RpcError { .. }
            | Update::SessionGone => Some(Said::Update(update)),
        }
    }

    fn called(&mut self, owed: Owed, method: String, params: Plaintext) -> Option<Said> {
        if !self.asked.contains(&method) {
            let handlers = self.handlers.clone();
            let abort = self.running.spawn(async move {
                let answer = handlers.call(&method, params.raw()).await;
                (owed, method, answer)
            });
            self.aborts.insert(owed, abort);
            return None;
        }
        if self.waiting.len() >= MAX_WAITING {
            self.answer(owed, &rpc::error("Too many calls wait"));
            return None;
        }
        self.calls += 1;
        let id = format!("call-{}", self.calls);
        self.waiting.insert(id.clone(), owed);
        Some(Said::Call { id, method, params })
    }

    fn served(
        &mut self,
        done: Result<(Owed, String, Option<String>), tokio::task::JoinError>,
    ) -> Option<Said> {
        // What was aborted has nobody to answer to.
        let (owed, method, answer) = done.ok()?;
        self.aborts.remove(&owed);
        let answer = answer.unwrap_or_else(|| rpc::error("Method not found"));
        self.answer(owed, &answer);
        Some(Said::Served { method })
    }

    fn answer(&mut self, owed: Owed, result: &str) {
        if let Err(error) = self.relay.answer(owed, result) {
            info!(%error, "a call is not answered");
        }
    }
}

/// A change of the metadata to this state of the session's life.
fn lifecycle(state: &'static str) -> impl FnMut(Option<&Document>) -> Change + Send {
    move |value| {
        let Some(document) = value else {
            return Change::Keep;
        };
        let is_so = |raw: Raw<'_>| raw.text().is_some_and(|text| text.is(state));
        if document.get("lifecycleState").is_some_and(is_so) {
            return Change::Keep;
        }
        let mut document = document.clone();
        document.set_lifecycle(state, clock::wall());
        Change::Write(document)
    }
}
