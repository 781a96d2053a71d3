//! What a line of standard input says to a followed session.

use std::collections::BTreeMap;

use hallway_core::session::event::SendError;
use serde_json::value::RawValue;

use crate::entropy;
use crate::session::{Handle, Reply};

/// Why a line is none of the kinds.
const KINDS: &str = "write {\"answer\":ID,\"behavior\":\"allow\"|\"deny\",…}, {\"answer\":ID,\"response\":…}, {\"answer\":ID,\"error\":…}, {\"request\":{\"subtype\":…}} or {\"reconnect\":true}";

/// The words of a denial that has none.
pub(super) const DENIED: &str = "denied by the user";

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Input {
    Answer {
        request_id: String,
        reply: Reply,
    },
    Request {
        request_id: Option<String>,
        request: String,
    },
    Reconnect,
}

/// What went wrong with a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// It says nothing that can be done.
    Line(String),
    /// The answer to a request was not taken.
    Answer {
        request_id: String,
        error: SendError,
    },
    /// A request was not taken.
    Request(SendError),
}

type Members = BTreeMap<String, Box<RawValue>>;

impl Input {
    /// Reads a line.
    pub(super) fn parse(line: &str) -> Result<Self, String> {
        let members: Members = serde_json::from_str(line)
            .map_err(|error| format!("no JSON object: {error}; {KINDS}"))?;
        let has = |name: &str| members.contains_key(name);
        match (has("answer"), has("request"), has("reconnect")) {
            (true, false, false) => {
                let request_id = text(&members, "answer")?.unwrap_or_default();
                let reply = reply(&members)?;
                Ok(Self::Answer { request_id, reply })
            }
            (false, true, false) => Ok(Self::Request {
                request_id: text(&members, "requestId")?,
                request: raw(&members, "request").unwrap_or_default(),
            }),
            (false, false, true) if raw(&members, "reconnect").as_deref() == Some("true") => {
                Ok(Self::Reconnect)
            }
            _ => Err(format!("none of the kinds; {KINDS}")),
        }
    }

    /// Does it.
    pub(super) async fn act(self, handle: &Handle) -> Result<(), Wrong> {
        match self {
            Self::Answer { request_id, reply } => {
                let taken = handle.answer(&request_id, reply).await;
                taken.map_err(|error| Wrong::Answer { request_id, error })
            }
            Self::Request {
                request_id,
                request,
            } => {
                let id = match request_id {
                    Some(id) => id,
                    None => entropy::uuid().map_err(|error| Wrong::Line(error.to_string()))?,
                };
                handle.request(&id, &request).await.map_err(Wrong::Request)
            }
            Self::Reconnect => {
                handle.reconnect().await;
                Ok(())
            }
        }
    }
}

fn reply(members: &Members) -> Result<Reply, String> {
    let behavior = text(members, "behavior")?;
    let (response, error) = (raw(members, "response"), text(members, "error")?);
    match (behavior.as_deref(), response, error) {
        (Some("allow"), None, None) => Ok(Reply::Allow {
            updated_input: raw(members, "updatedInput"),
        }),
        (Some("deny"), None, None) => Ok(Reply::Deny {
            message: text(members, "message")?.unwrap_or_else(|| DENIED.to_owned()),
        }),
        (None, response @ Some(_), None) => Ok(Reply::Success { response }),
        (None, None, Some(error)) => Ok(Reply::Error { error }),
        _ => Err(format!("no answer; {KINDS}")),
    }
}

fn raw(members: &Members, name: &str) -> Option<String> {
    members.get(name).map(|raw| raw.get().to_owned())
}

fn text(members: &Members, name: &str) -> Result<Option<String>, String> {
    let Some(raw) = members.get(name) else {
        return Ok(None);
    };
    serde_json::from_str(raw.get())
        .map(Some)
        .map_err(|_| format!("{name} is no string; {KINDS}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(line: &str) -> Reply {
        match Input::parse(line) {
            Ok(Input::Answer { request_id, reply }) if request_id == "r1" => reply,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn answers_keep_their_json_as_it_is() {
        let updated_input = Some(r#"{"b": 1e999, "a":1}"#.to_owned());
        assert_eq!(
            answer(r#"{"answer":"r1","behavior":"allow","updatedInput":{"b": 1e999, "a":1}}"#),
            Reply::Allow { updated_input }
        );
        let updated_input = None;
        assert_eq!(
            answer(r#"{"behavior":"allow","answer":"r1"}"#),
            Reply::Allow { updated_input }
        );
        let message = "no\n".to_owned();
        assert_eq!(
            answer(r#"{"answer":"r1","behavior":"deny","message":"no\n"}"#),
            Reply::Deny { message }
        );
        let message = DENIED.to_owned();
        assert_eq!(
            answer(r#"{"answer":"r1","behavior":"deny"}"#),
            Reply::Deny { message }
        );
        let response = Some("null".to_owned());
        assert_eq!(
            answer(r#"{"answer":"r1","response":null}"#),
            Reply::Success { response }
        );
        let error = "x".to_owned();
        assert_eq!(
            answer(r#"{"answer":"r1","error":"x"}"#),
            Reply::Error { error }
        );
    }

    #[test]
    fn requests_and_reconnects_are_read() {
        assert_eq!(
            Input::parse(r#"{"request":{"subtype":"interrupt"},"requestId":"q"}"#),
            Ok(Input::Request {
                request_id: Some("q".to_owned()),
                request: r#"{"subtype":"interrupt"}"#.to_owned(),
            })
        );
        assert_eq!(Input::parse(r#"{"reconnect":true}"#), Ok(Input::Reconnect));
    }

    #[test]
    fn anything_else_is_wrong() {
        for line in [
            "",
            "y",
            "[]",
            "{}",
            r#"{"answer":"r1"}"#,
            r#"{"answer":1,"behavior":"allow"}"#,
            r#"{"answer":"r1","behavior":"perhaps"}"#,
            r#"{"answer":"r1","behavior":"allow","error":"x"}"#,
            r#"{"answer":"r1","response":{},"error":"x"}"#,
            r#"{"answer":"r1","error":1}"#,
            r#"{"answer":"r1","request":{}}"#,
            r#"{"request":{},"requestId":1}"#,
            r#"{"reconnect":false}"#,
        ] {
            assert!(Input::parse(line).is_err(), "{line}");
        }
    }
}
