//! User messages to a session, by HTTP (sessions.md §2).

use std::time::Duration;

use hallway_core::session::event::DialFailure;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use zeroize::Zeroizing;

use super::connector::Connector;
use crate::entropy;
use crate::net::dial::DialError;
use crate::net::http::Head;
use crate::net::token::{AccessToken, NoToken, TokenSource};

/// Why a message was not posted, or may not have been.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PostError {
    /// There was no token to be had.
    #[error("no token to be had; {0}; nothing was sent")]
    NoToken(#[from] NoToken),
    /// There was no connection.
    #[error("{failure}; {detail}; nothing was sent")]
    Unreachable {
        /// Why.
        failure: DialFailure,
        /// What the system says.
        detail: String,
    },
    /// The connection broke before the answer.
    #[error("the server did not answer; {0}; the message may have been taken")]
    Unanswered(String),
    /// There was no answer in time.
    #[error("timed out after {} ms; {}", after.as_millis(), if *sent { "the message may have been taken" } else { "nothing was sent" })]
    TimedOut {
        /// How long it took.
        after: Duration,
        /// Whether the message was on its way.
        sent: bool,
    },
    /// The server did not take it.
    #[error("refused with HTTP status {status}; {}", meaning(*status))]
    Refused {
        /// The status.
        status: u16,
        /// How long the server asks to wait.
        retry_after: Option<Duration>,
    },
}

fn meaning(status: u16) -> &'static str {
    match status {
        401 | 403 => "the token is not accepted; get another one",
        404 => "there is no such session; check its id and the organization",
        300..=399 => "the server sends elsewhere, which is not followed; change the base URL",
        429 => "too many requests; wait and try again",
        500.. => "the server failed; try again",
        _ => "the message was not taken",
    }
}

impl Connector {
    /// Posts a text as a message of the user, within `timeout`. Gives the id of the event.
    ///
    /// # Errors
    ///
    /// [`PostError`], which says whether the message may have been taken.
    pub async fn post_user_message(
        &self,
        tokens: &TokenSource,
        text: &str,
        timeout: Duration,
    ) -> Result<String, PostError> {
        let mut sent = false;
        let posted = tokio::time::timeout(timeout, self.post(tokens, text, &mut sent)).await;
        posted.unwrap_or(Err(PostError::TimedOut {
            after: timeout,
            sent,
        }))
    }

    async fn post(
        &self,
        tokens: &TokenSource,
        text: &str,
        sent: &mut bool,
    ) -> Result<String, PostError> {
        let id = entropy::uuid().map_err(|error| unsent(DialError::unreachable(error)))?;
        let token = tokens.get().await?;
        let request = self.user_message(&token, &id, text);
        let mut stream = self.open().await.map_err(unsent)?;
        *sent = true;
        let lost = |error: DialError| PostError::Unanswered(error.detail);
        // A server may refuse, and close, before it has read it all.
        let written = async {
            stream.write_all(request.as_bytes()).await?;
            stream.flush().await
        };
        let written = written.await;
        let head = match (Head::read(&mut stream).await, written) {
            (Ok(head), _) => head,
            (Err(_), Err(error)) => return Err(lost(error.into())),
            (Err(error), Ok(())) => return Err(lost(error.into())),
        };
        match head.status {
            200 | 201 => Ok(id),
            status => Err(PostError::Refused {
                status,
                retry_after: head.retry_after(),
            }),
        }
    }

    fn user_message(&self, token: &AccessToken, id: &str, text: &str) -> Zeroizing<String> {
        let endpoint = self.endpoint();
        let body = json!({"events": [{
            "uuid": id,
            "session_id": endpoint.session(),
            "type": "user",
            "parent_tool_use_id": null,
            "message": {"role": "user", "content": text},
        }]})
        .to_string();
        Zeroizing::new(
            [
                "POST ",
                &endpoint.events_target(),
                " HTTP/1.1\r\nHost: ",
                &endpoint.origin().authority(),
                "\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: ",
                &body.len().to_string(),
                "\r\nanthropic-version: 2023-06-01\r\nanthropic-beta: ccr-byoc-2025-07-29\r\nx-organization-uuid: ",
                endpoint.organization(),
                "\r\nAuthorization: Bearer ",
                token.expose(),
                "\r\n\r\n",
                &body,
            ]
            .concat(),
        )
    }
}

fn unsent(error: DialError) -> PostError {
    PostError::Unreachable {
        failure: error.failure,
        detail: error.detail,
    }
}
