//! Remote sessions: follows a session over a WebSocket, answers what it asks, and posts user
//! messages to it (sessions.md).
//!
//! * [`Endpoint`] is where the session is; [`Connector`] reaches it, through a proxy and TLS.
//! * [`TokenSource`] gives the access token, anew at each attempt.
//! * [`Client`] keeps a subscription up: a task drives the core's machine, and the client takes
//!   [`Update`]s from it.
//! * [`Connector::post_user_message`] sends text to the session.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use hallway::session::{Client, Connector, Endpoint, Settings, TokenSource, TransportOptions, Update};
//!
//! let endpoint = Endpoint::new("https://api.anthropic.com", "session-id", "organization-id")?;
//! let connector = Connector::new(endpoint, &TransportOptions::default())?;
//! let tokens = TokenSource::file("/run/secrets/token");
//! let mut client = Client::start(connector, tokens, Settings::default());
//! while let Some(update) = client.next().await {
//!     if let Update::Message(message) = update {
//!         println!("{message}");
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod attempts;
mod client;
mod connector;
mod driver;
mod endpoint;
mod events;
#[cfg(test)]
mod tests;
mod text;
mod updates;

pub use client::{Client, Handle, Reply, Settings};
pub use connector::Connector;
pub use endpoint::{Endpoint, EndpointError};
pub use events::PostError;
pub use text::Text;
pub use updates::Update;

pub use crate::net::{
    AccessToken, NoToken, Proxies, ProxyError, SetupError, TlsError, TokenSource, TransportOptions,
    UrlError,
};
