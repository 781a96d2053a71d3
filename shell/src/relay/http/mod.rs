//! The server's HTTP side (relay.md §3): who we are, pairing, sessions, messages, machines.
//!
//! Every request has a deadline. What can be repeated without harm is repeated when the network
//! or the server failed, and nothing else is. The token goes to this server alone: no redirect
//! is followed.

mod calls;
mod error;
mod rows;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use hallway_core::relay::delays::max_retry_delay;
use tokio::io::AsyncWriteExt as _;
use zeroize::Zeroizing;

pub use calls::{account_name, terminal_key};
pub use error::{Class, HttpError};
pub use rows::{Machine, MachineRow, NewSession, Pairing, PairingStatus, SessionRow};

use crate::entropy;
use crate::net::dial::DialError;
use crate::net::http::Head;
use crate::net::origin::Origin;
use crate::net::route::Route;
use crate::net::{AccessToken, SetupError, TransportOptions, UrlError};

/// The server that is used when none is named.
pub const DEFAULT_SERVER: &str = "https://api.cluster-fluster.com";

/// The longest answer that is read: a page of 100 messages as large as the server takes them.
const MAX_BODY_BYTES: usize = 134_217_728;
/// The longest that a server may make us wait between two attempts.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(30);

/// How long requests may take, and how often they are repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How long one attempt may take.
    pub attempt: Duration,
    /// How many attempts there are in all.
    pub attempts: u32,
}

impl Patience {
    /// 60 s an attempt, as the reference, and five attempts.
    pub const DEFAULT: Self = Self {
        attempt: Duration::from_secs(60),
        attempts: 5,
    };
}

/// Speaks HTTP to one server; clones share what is set up.
#[derive(Clone, Debug)]
pub struct Http {
    route: Arc<Route>,
    patience: Patience,
}

/// Why a server cannot be spoken to at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The URL is none.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// TLS cannot be set up, or must be.
    #[error(transparent)]
    Setup(#[from] SetupError),
}

/// One request.
struct Call<'a> {
    method: &'static str,
    /// What is behind the base URL.
    path: &'a str,
    token: Option<&'a AccessToken>,
    body: Option<&'a str>,
    /// Whether a repetition does no harm.
    repeatable: bool,
}

/// Anything up to what the reference waits at most, as often as there were failures: its own
/// growth of 15 ms a failure is too little for a server in trouble.
fn spread(failures: u32) -> Duration {
    let mut random = [0; 4];
    // Without entropy the retries are merely not spread.
    drop(entropy::fill(&mut random));
    let most = max_retry_delay(failures).saturating_mul(failures);
    most.mul_f64(f64::from(u32::from_le_bytes(random)) / 4_294_967_296.0)
}

impl Http {
    /// Sets up the way to the server at `base_url`. Reads the certificate files.
    ///
    /// # Errors
    ///
    /// [`ServerError`]
    pub fn new(
        base_url: &str,
        options: &TransportOptions,
        patience: Patience,
    ) -> Result<Self, ServerError> {
        let origin = Origin::parse(base_url)?;
        let route = Arc::new(Route::new(origin, options)?);
        Ok(Self { route, patience })
    }

    /// The server's base URL, for people and as the name of the server.
    #[must_use]
    pub fn server(&self) -> String {
        self.route.origin().to_string()
    }

    /// The way to the server, for its sockets.
    pub(crate) const fn route(&self) -> &Arc<Route> {
        &self.route
    }

    /// Makes a request, repeating it as its kind allows. Gives the body of the answer.
    async fn call(&self, call: &Call<'_>) -> Result<String, HttpError> {
        let attempts = if call.repeatable {
            self.patience.attempts
        } else {
            1
        };
        let mut failures = 0;
        loop {
            let error = match self.attempt(call).await {
                Ok(body) => return Ok(body),
                Err(error) => error,
            };
            failures += 1;
            let asked = match error.class() {
                Class::Transient => None,
                Class::RetryAfter(span) if span <= MAX_RETRY_AFTER => Some(span),
                Class::RetryAfter(_)
                | Class::Unauthorized
                | Class::NotFound
                | Class::NoRoute
                | Class::TooLarge
                | Class::Final => return Err(error),
            };
            if failures >= attempts {
                return Err(error);
            }
            let pause = asked.unwrap_or_default() + spread(failures);
            tracing::info!(%error, ?pause, path = call.path, "the request is repeated");
            tokio::time::sleep(pause).await;
        }
    }

    async fn attempt(&self, call: &Call<'_>) -> Result<String, HttpError> {
        let mut sent = false;
        let work = self.exchange(call, &mut sent);
        let after = self.patience.attempt;
        match tokio::time::timeout(after, work).await {
            Ok(result) => result,
            Err(_) => Err(HttpError::TimedOut { after, sent }),
        }
    }

    async fn exchange(&self, call: &Call<'_>, sent: &mut bool) -> Result<String, HttpError> {
        let request = self.request(call);
        let mut stream = self.route.open().await.map_err(HttpError::unreachable)?;
        *sent = true;
        // A server may refuse, and close, before it has read it all.
        let written = async {
            stream.write_all(request.as_bytes()).await?;
            stream.flush().await
        };
        let written = written.await;
        let lost = |error: DialError| HttpError::Unanswered(error.detail);
        let mut head = match (Head::read(&mut stream).await, written) {
            (Ok(head), _) => head,
            (Err(_), Err(error)) => return Err(lost(error.into())),
            (Err(error), Ok(())) => return Err(lost(error.into())),
        };
        let body = head.body(&mut stream, MAX_BODY_BYTES).await;
        match head.status {
            200..=299 => {
                let body = body.map_err(|error| HttpError::Unanswered(error.to_string()))?;
                String::from_utf8(body).map_err(|_| HttpError::Nonsense("text"))
            }
            status => Err(HttpError::Refused {
                status,
                retry_after: head.retry_after(),
                // A refusal counts whether or not its words arrive.
                says: error::words(&body.unwrap_or_default()),
            }),
        }
    }

    fn request(&self, call: &Call<'_>) -> Zeroizing<String> {
        let origin = self.route.origin();
        let authority = origin.authority();
        let length = call.body.map(|body| body.len().to_string());
        let mut parts = vec![
            call.method,
            " ",
            origin.prefix(),
            call.path,
            " HTTP/1.1\r\nHost: ",
            &authority,
            "\r\nConnection: close\r\nAccept: application/json\r\n",
        ];
        if let Some(length) = &length {
            parts.extend([
                "Content-Type: application/json\r\nContent-Length: ",
                length,
                "\r\n",
            ]);
        }
        if let Some(token) = call.token {
            parts.extend(["Authorization: Bearer ", token.expose(), "\r\n"]);
        }
        parts.extend(["\r\n", call.body.unwrap_or_default()]);
        Zeroizing::new(parts.concat())
    }
}
