//! The senders of a session.

use hallway_core::relay::cipher::Nonce;
use hallway_core::relay::client::{Change, Client, SendError, Target};
use hallway_core::relay::link::Owed;
use hallway_core::relay::plaintext::Document;
use hallway_core::relay::versioned::{UpdateError, UpdateId};

use super::Relay;
use crate::entropy;
use crate::relay::session::{SessionError, nonce};

/// Why something was not sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendFailure {
    /// The client does not take it.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The system gave no entropy.
    #[error("no entropy: {0}")]
    Entropy(String),
}

pub(super) fn fresh() -> Result<Nonce, SendFailure> {
    nonce().map_err(|error: SessionError| SendFailure::Entropy(error.to_string()))
}

impl Relay {
    /// Sends a message of any shape, under a fresh id, which is returned.
    ///
    /// # Errors
    ///
    /// [`SendFailure`]; nothing is sent.
    pub fn send(&mut self, plaintext: &str) -> Result<String, SendFailure> {
        self.send_by(|client, id, nonce| client.send(plaintext, id, nonce))
    }

    /// Sends by one of the client's senders, under a fresh id, which is returned.
    ///
    /// # Errors
    ///
    /// [`SendFailure`]; nothing is sent.
    pub fn send_by(
        &mut self,
        send: impl FnOnce(&mut Client, &str, Nonce) -> Result<(), SendError>,
    ) -> Result<String, SendFailure> {
        let id = entropy::uuid().map_err(|error| SendFailure::Entropy(error.to_string()))?;
        send(&mut self.client, &id, fresh()?)?;
        Ok(id)
    }

    /// Changes a value; the outcome is an [`super::Update::Updated`]. `change` may be called again on a
    /// newer value.
    ///
    /// # Errors
    ///
    /// [`UpdateError`]; nothing is changed.
    pub fn change(
        &mut self,
        target: Target,
        change: impl FnMut(Option<&Document>) -> Change + Send + 'static,
    ) -> Result<UpdateId, UpdateError> {
        let now = (self.clock)();
        let update = self.client.request_update(target, now)?;
        self.changes.push((target, update, Box::new(change)));
        Ok(update)
    }

    /// Answers a call: `result` is one JSON value, or nothing.
    ///
    /// # Errors
    ///
    /// [`SendFailure`]; the call still waits, unless it is unknown.
    pub fn answer(&mut self, owed: Owed, result: &str) -> Result<bool, SendFailure> {
        Ok(self.client.answer_rpc(owed, result, fresh()?)?)
    }
}
