//! Updates as lines of JSON.

use hallway_core::UnixTime;
use hallway_core::session::event::Cancelled;
use serde_json::{Value, json};

use super::input::Wrong;
use crate::session::Update;

/// Appends the lines of an update: the message itself, if there is one, before its event.
pub(super) fn write(update: &Update, wall: UnixTime, out: &mut Vec<u8>) {
    let event = match update {
        Update::Message(message) => return one_line(message, out),
        Update::Connected => json!({"event": "connected"}),
        Update::Ignored { why, total } => {
            json!({"event": "ignored", "why": why.to_string(), "total": total})
        }
        Update::Request {
            message,
            request_id,
            subtype,
        } => {
            one_line(message, out);
            json!({"event": "request", "requestId": request_id, "subtype": subtype})
        }
        Update::RequestRefused {
            message,
            request_id,
            subtype,
            answered,
        } => {
            one_line(message, out);
            json!({
                "event": "request-refused", "requestId": request_id, "subtype": subtype,
                "answered": answered,
            })
        }
        Update::RequestCancelled {
            message,
            request_id,
            cancelled,
        } => {
            if let Some(message) = message {
                one_line(message, out);
            }
            let by = match cancelled {
                Cancelled::ByServer => "server",
                Cancelled::Reconnected => "reconnect",
            };
            json!({"event": "request-cancelled", "requestId": request_id, "by": by})
        }
        Update::Sent { request_id } => json!({"event": "sent", "requestId": request_id}),
        Update::Reconnecting {
            attempt,
            delay,
            cause,
            detail,
        } => {
            let millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
            let at = UnixTime::from_millis(wall.as_millis().saturating_add(millis));
            let event = json!({
                "event": "reconnecting", "attempt": attempt, "delayMs": millis,
                "cause": cause.to_string(), "retryAt": at.unwrap_or_default().to_string(),
            });
            with_detail(event, detail.as_deref())
        }
        Update::Closed {
            reason,
            detail,
            unsent,
        } => {
            let event = json!({"event": "closed", "reason": reason.to_string(), "unsent": unsent});
            with_detail(event, detail.as_deref())
        }
    };
    append(&event, out);
}

/// Appends the line for what went wrong with a line of standard input.
pub(super) fn write_wrong(wrong: &Wrong, out: &mut Vec<u8>) {
    let event = match wrong {
        Wrong::Line(error) => json!({"event": "input-error", "error": error}),
        Wrong::Answer { request_id, error } => {
            json!({"event": "answer-error", "answer": request_id, "error": error.to_string()})
        }
        Wrong::Request(error) => json!({"event": "input-error", "error": error.to_string()}),
    };
    append(&event, out);
}

fn with_detail(mut event: Value, detail: Option<&str>) -> Value {
    if let (Some(detail), Some(members)) = (detail, event.as_object_mut()) {
        members.insert("detail".to_owned(), detail.into());
    }
    event
}

fn append(event: &Value, out: &mut Vec<u8>) {
    out.extend_from_slice(event.to_string().as_bytes());
    out.push(b'\n');
}

/// Appends a message as a line. Valid JSON has raw newlines between its tokens alone, where a
/// space is as good.
fn one_line(message: &str, out: &mut Vec<u8>) {
    let from = out.len();
    out.extend_from_slice(message.as_bytes());
    for byte in out.iter_mut().skip(from) {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use hallway_core::session::event::{Cause, CloseReason, SendError};
    use std::time::Duration;

    fn line(update: &Update) -> String {
        let mut out = Vec::new();
        write(update, UnixTime::from_millis(1_000).unwrap(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn messages_are_one_line_each_as_they_came() {
        let message = "{\"type\":\"x\",\r\n \"a\": 1e999,\"b\":\"\\n\"}\n".to_owned();
        assert_eq!(
            line(&Update::Message(message.into())),
            "{\"type\":\"x\",   \"a\": 1e999,\"b\":\"\\n\"} \n"
        );
    }

    #[test]
    fn events_stand_behind_their_messages() {
        let request = Update::Request {
            message: "{}".to_owned(),
            request_id: "r1".to_owned(),
            subtype: "can_use_tool".to_owned(),
        };
        assert_eq!(
            line(&request),
            "{}\n{\"event\":\"request\",\"requestId\":\"r1\",\"subtype\":\"can_use_tool\"}\n"
        );
        let cancelled = |message, cancelled| Update::RequestCancelled {
            message,
            request_id: "r1".to_owned(),
            cancelled,
        };
        assert_eq!(
            line(&cancelled(None, Cancelled::Reconnected)),
            "{\"by\":\"reconnect\",\"event\":\"request-cancelled\",\"requestId\":\"r1\"}\n"
        );
        assert_eq!(
            line(&cancelled(Some("{}".to_owned()), Cancelled::ByServer)),
            "{}\n{\"by\":\"server\",\"event\":\"request-cancelled\",\"requestId\":\"r1\"}\n"
        );
    }

    #[test]
    fn a_retry_says_when() {
        let update = Update::Reconnecting {
            attempt: 2,
            delay: Duration::from_millis(1_500),
            cause: Cause::NoPong,
            detail: Some("x".to_owned()),
        };
        assert_eq!(
            serde_json::from_str::<Value>(&line(&update)).unwrap(),
            json!({
                "event": "reconnecting", "attempt": 2, "delayMs": 1_500, "detail": "x",
                "cause": "a ping was not answered", "retryAt": "1970-01-01T00:00:02.500Z",
            })
        );
        let closed = Update::Closed {
            reason: CloseReason::User,
            detail: None,
            unsent: 3,
        };
        assert_eq!(
            line(&closed),
            "{\"event\":\"closed\",\"reason\":\"closed\",\"unsent\":3}\n"
        );
    }

    #[test]
    fn what_is_wrong_with_a_line_is_said() {
        let mut out = Vec::new();
        let (request_id, error) = ("r\"1".to_owned(), SendError::UnknownRequest);
        write_wrong(&Wrong::Answer { request_id, error }, &mut out);
        write_wrong(&Wrong::Line("why".to_owned()), &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("{\"answer\":\"r\\\"1\",\"error\":\"no request of this id"));
        assert!(text.ends_with("{\"error\":\"why\",\"event\":\"input-error\"}\n"));
    }
}
