//! The way to one session.

use hallway_core::session::limits::Limits;
use zeroize::Zeroizing;

use super::endpoint::Endpoint;
use crate::net::dial::DialError;
use crate::net::link::Socket;
use crate::net::route::Route;
use crate::net::stream::Stream;
use crate::net::upgrade::{Request, config, upgrade};
use crate::net::{AccessToken, SetupError, TransportOptions};

/// Opens connections to one endpoint.
#[derive(Debug)]
pub struct Connector {
    endpoint: Endpoint,
    route: Route,
}

impl Connector {
    /// Reads the certificate files and, for a secure endpoint, the platform's roots.
    ///
    /// # Errors
    ///
    /// [`SetupError`]
    pub fn new(endpoint: Endpoint, options: &TransportOptions) -> Result<Self, SetupError> {
        let route = Route::new(endpoint.origin().clone(), options)?;
        Ok(Self { endpoint, route })
    }

    /// Where it leads.
    #[must_use]
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Opens the WebSocket, with the headers of sessions.md §1.
    pub(super) async fn subscribe(
        &self,
        token: &AccessToken,
        limits: &Limits,
    ) -> Result<Socket, DialError> {
        let stream = self.open().await?;
        let bearer = Zeroizing::new(["Bearer ", token.expose()].concat());
        let request = Request {
            origin: self.endpoint.origin(),
            target: &self.endpoint.subscribe_target(),
            headers: &[
                ("anthropic-version", "2023-06-01"),
                ("Authorization", &bearer),
            ],
        };
        let config = config(limits.max_message_bytes(), limits.max_outbox_bytes());
        upgrade(stream, &request, config).await
    }

    /// Opens a connection.
    pub(super) async fn open(&self) -> Result<Stream, DialError> {
        self.route.open().await
    }
}
