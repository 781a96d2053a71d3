//! Why a request failed, and what that means for whoever made it.

use std::time::Duration;

use hallway_core::relay::outbox::PostFailure;
use hallway_core::relay::raw::Raw;
use hallway_core::session::event::DialFailure;

use crate::net::dial::DialError;

/// How many characters of a server's words are kept.
const MAX_WORDS: usize = 200;

/// Why a request failed. The server's words are untrusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// There was no connection.
    #[error("{failure}; {detail}; {}", advice(*failure))]
    Unreachable {
        /// Why.
        failure: DialFailure,
        /// What the system says.
        detail: String,
    },
    /// The connection broke before the answer had come.
    #[error("the server did not answer; {0}; the request may have been done")]
    Unanswered(String),
    /// There was no answer in time.
    #[error("timed out after {} ms; {}", after.as_millis(), if *sent { "the request may have been done" } else { "nothing was sent" })]
    TimedOut {
        /// How long it took.
        after: Duration,
        /// Whether the request was on its way.
        sent: bool,
    },
    /// The server refused.
    #[error("refused with HTTP status {status}; {}", reason(*status, says))]
    Refused {
        /// The status.
        status: u16,
        /// How long the server asks to wait.
        retry_after: Option<Duration>,
        /// Its words, if any.
        says: String,
    },
    /// The answer is not what the server promises.
    #[error("the server's answer makes no sense; it has no usable {0}; check the server's URL")]
    Nonsense(&'static str),
    /// The system gave no entropy.
    #[error("no entropy; {0}; nothing was sent")]
    Entropy(String),
}

/// What a failure means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Class {
    /// The network's or the server's own trouble: it may be tried again.
    Transient,
    /// The server says when to come back.
    RetryAfter(Duration),
    /// The server does not accept the token.
    Unauthorized,
    /// What was asked for is not there.
    NotFound,
    /// The server has no such route.
    NoRoute,
    /// The body is longer than the server takes.
    TooLarge,
    /// Trying again is of no use.
    Final,
}

impl HttpError {
    pub(crate) fn unreachable(error: DialError) -> Self {
        Self::Unreachable {
            failure: error.failure,
            detail: error.detail,
        }
    }

    /// What it means.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Unreachable {
                failure: DialFailure::Untrusted | DialFailure::ProxyRefused,
                ..
            }
            | Self::Nonsense(_)
            | Self::Entropy(_) => Class::Final,
            Self::Unreachable { .. } | Self::Unanswered(_) | Self::TimedOut { .. } => {
                Class::Transient
            }
            Self::Refused {
                status,
                retry_after,
                says,
            } => match (status, retry_after) {
                (401 | 403, _) => Class::Unauthorized,
                // The server's framework names the route that it does not have.
                (404, _) if says.starts_with("Route ") => Class::NoRoute,
                (404, _) => Class::NotFound,
                (413, _) => Class::TooLarge,
                (429 | 503, Some(span)) => Class::RetryAfter(*span),
                (408 | 425 | 429 | 500.., _) => Class::Transient,
                _ => Class::Final,
            },
        }
    }

    /// What it means for a post of messages.
    #[must_use]
    pub fn post_failure(&self) -> PostFailure {
        match self.class() {
            Class::RetryAfter(span) => PostFailure::RetryAfter(span),
            Class::Unauthorized => PostFailure::Unauthorized,
            Class::NotFound => PostFailure::SessionGone,
            Class::NoRoute => PostFailure::NoRoute,
            Class::TooLarge => PostFailure::TooLarge,
            // What the outbox holds is never given up for an answer that makes no sense.
            Class::Transient | Class::Final => PostFailure::Transient,
        }
    }
}

const fn advice(failure: DialFailure) -> &'static str {
    match failure {
        DialFailure::Untrusted => "name its authority with --ca-file, or do not go there",
        DialFailure::ProxyRefused => "check the proxy and its credentials",
        DialFailure::NoToken
        | DialFailure::Unreachable
        | DialFailure::NotWebSocket
        | DialFailure::Status { .. }
        | _ => "check its URL and the network",
    }
}

fn reason(status: u16, says: &str) -> String {
    let meaning = match status {
        401 | 403 => "the token is not accepted; pair again",
        404 => "there is no such thing; check its id and the server's URL",
        413 => "it is too long for the server; send less at once",
        300..=399 => "the server sends elsewhere, which is not followed; change its URL",
        429 => "too many requests; wait and try again",
        500.. => "the server failed; try again",
        _ => "it was not done; check the server's version",
    };
    if says.is_empty() {
        meaning.to_owned()
    } else {
        format!("it says {says:?}; {meaning}")
    }
}

/// What a refusal says of itself: the `message` of the framework, or the `error` of the server.
pub(super) fn words(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let words = Raw::parse(&text).and_then(|raw| {
        let [message, error] = raw.pick(["message", "error"])?;
        let words = message.and_then(Raw::text).or(error.and_then(Raw::text))?;
        Some(words.to_lossy().chars().take(MAX_WORDS).collect())
    });
    words.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, body: &str, retry_after: Option<u64>) -> HttpError {
        HttpError::Refused {
            status,
            retry_after: retry_after.map(Duration::from_secs),
            says: words(body.as_bytes()),
        }
    }

    /// Covers: R3.13
    #[test]
    fn every_failure_has_its_class() {
        let route =
            r#"{"message":"Route POST:/v3/x not found","error":"Not Found","statusCode":404}"#;
        let session = r#"{"error":"Session not found"}"#;
        let span = Duration::from_secs(7);
        for (error, class, post) in [
            (
                refused(401, r#"{"error":"Invalid token"}"#, None),
                Class::Unauthorized,
                PostFailure::Unauthorized,
            ),
            (
                refused(403, "", None),
                Class::Unauthorized,
                PostFailure::Unauthorized,
            ),
            (
                refused(404, session, None),
                Class::NotFound,
                PostFailure::SessionGone,
            ),
            (
                refused(404, route, None),
                Class::NoRoute,
                PostFailure::NoRoute,
            ),
            (
                refused(413, "", None),
                Class::TooLarge,
                PostFailure::TooLarge,
            ),
            (
                refused(429, "", Some(7)),
                Class::RetryAfter(span),
                PostFailure::RetryAfter(span),
            ),
            (
                refused(503, "", Some(7)),
                Class::RetryAfter(span),
                PostFailure::RetryAfter(span),
            ),
            (
                refused(429, "", None),
                Class::Transient,
                PostFailure::Transient,
            ),
            (
                refused(500, "", Some(7)),
                Class::Transient,
                PostFailure::Transient,
            ),
            (
                refused(502, "<html>", None),
                Class::Transient,
                PostFailure::Transient,
            ),
            (refused(400, "", None), Class::Final, PostFailure::Transient),
            (refused(302, "", None), Class::Final, PostFailure::Transient),
            (
                HttpError::Nonsense("x"),
                Class::Final,
                PostFailure::Transient,
            ),
            (
                HttpError::Unanswered(String::new()),
                Class::Transient,
                PostFailure::Transient,
            ),
            (
                HttpError::TimedOut {
                    after: span,
                    sent: true,
                },
                Class::Transient,
                PostFailure::Transient,
            ),
        ] {
            assert_eq!(
                (error.class(), error.post_failure()),
                (class, post),
                "{error}"
            );
        }
        for (failure, class) in [
            (DialFailure::Unreachable, Class::Transient),
            (DialFailure::Untrusted, Class::Final),
            (DialFailure::ProxyRefused, Class::Final),
        ] {
            let error = HttpError::unreachable(DialError::new(failure, "x"));
            assert_eq!(error.class(), class);
        }
    }

    /// Covers: R3.13
    #[test]
    fn words_are_quoted_and_short() {
        let long = format!(r#"{{"error":"{}"}}"#, "x\\n".repeat(1_000));
        let text = refused(400, &long, None).to_string();
        assert!(text.len() < 1_000 && !text.contains('\n'), "{text}");
        assert_eq!(words(b"[]"), "");
        assert_eq!(words(b"\xff"), "");
    }
}
