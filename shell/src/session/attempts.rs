//! What each attempt takes: a token, and the connection that is opened with it.

use std::pin::Pin;
use std::sync::Arc;

use hallway_core::session::event::DialFailure;
use hallway_core::session::limits::Limits;
use tracing::info;

use super::connector::Connector;
use crate::net::dial::DialError;
use crate::net::link::Socket;
use crate::net::token::{AccessToken, TokenSource};

pub(super) type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;
/// The token that was used, if there was one, and what became of the dial.
pub(super) type Dialled = (Option<AccessToken>, Result<Socket, DialError>);

/// Makes the dials of one subscription.
pub(super) struct Attempts {
    connector: Arc<Connector>,
    tokens: Arc<TokenSource>,
    limits: Limits,
    used: Option<AccessToken>,
}

impl Attempts {
    pub(super) fn new(connector: Connector, tokens: TokenSource, limits: Limits) -> Self {
        Self {
            connector: Arc::new(connector),
            tokens: Arc::new(tokens),
            limits,
            used: None,
        }
    }

    /// Gets a token and opens a connection. Dropping it gives it up at any step.
    pub(super) fn dial(&self) -> Work<Dialled> {
        let (connector, tokens) = (self.connector.clone(), self.tokens.clone());
        let limits = self.limits;
        Box::pin(async move {
            match tokens.get().await {
                Err(error) => (None, Err(DialError::new(DialFailure::NoToken, error))),
                Ok(token) => {
                    let socket = connector.subscribe(&token, &limits).await;
                    (Some(token), socket)
                }
            }
        })
    }

    /// Keeps the token of the last dial, to be compared with.
    pub(super) fn used(&mut self, token: Option<AccessToken>) {
        self.used = token;
    }

    /// Whether there is another token than the one that was used.
    pub(super) fn ask(&self) -> Work<bool> {
        let (tokens, used) = (self.tokens.clone(), self.used.clone());
        Box::pin(async move {
            match tokens.get().await {
                Ok(token) => used.is_none_or(|used| !token.is_same(&used)),
                Err(error) => {
                    info!(%error, "no other token");
                    false
                }
            }
        })
    }
}
