//! The way to a server: name, TCP or proxy, TLS, the head of an HTTP answer, the WebSocket, and
//! the token that is shown. What the dialects say over it is theirs.

#[cfg(feature = "relay")]
mod body;
pub(crate) mod dial;
pub(crate) mod http;
pub(crate) mod link;
pub(crate) mod origin;
mod proxy;
pub(crate) mod route;
mod socket;
pub(crate) mod stream;
mod tls;
pub(crate) mod token;
mod tunnel;
pub(crate) mod upgrade;

pub use origin::UrlError;
pub use proxy::{Proxies, ProxyError};
pub use route::{SetupError, TransportOptions};
pub use tls::TlsError;
pub use token::{AccessToken, NoToken, TokenSource};
