//! What is asked and answered, and what waits to be sent (sessions.md §2, §3, points 6 and 7).

use std::collections::VecDeque;

use hallway_core::session::event::{CloseReason, SendError};
use hallway_core::session::limits::Limits;
use hallway_core::session::subscription::Answer;

use crate::model::json::{Json, quote};

#[derive(Clone, Debug)]
struct Asked {
    id: String,
    input: String,
}

/// The books of one subscription.
#[derive(Clone, Debug)]
pub struct Book {
    limits: Limits,
    served: &'static [&'static str],
    pending: Vec<Asked>,
    /// Left by a connection that is gone; the caller was not told.
    left: VecDeque<Asked>,
    outbox: VecDeque<String>,
    closed: Option<CloseReason>,
}

impl Book {
    pub(super) const fn new(limits: &Limits, served: &'static [&'static str]) -> Self {
        Self {
            limits: *limits,
            served,
            pending: Vec::new(),
            left: VecDeque::new(),
            outbox: VecDeque::new(),
            closed: None,
        }
    }

    /// The ids that wait for an answer, oldest first.
    pub fn pending(&self) -> impl Iterator<Item = &str> {
        self.pending.iter().map(|asked| asked.id.as_str())
    }

    /// The frames that wait to be sent, oldest first.
    pub fn outbox(&self) -> impl ExactSizeIterator<Item = &str> {
        self.outbox.iter().map(String::as_str)
    }

    /// The oldest frame was sent.
    pub fn sent(&mut self) -> Option<String> {
        self.outbox.pop_front()
    }

    /// The next request that the caller is to be told is left behind.
    pub fn next_left(&mut self) -> Option<String> {
        self.left.pop_front().map(|asked| asked.id)
    }

    pub(super) fn reconnected(&mut self) {
        self.left.extend(self.pending.drain(..));
    }

    pub(super) fn close(&mut self, reason: CloseReason) {
        self.pending.clear();
        self.left.clear();
        self.closed = Some(reason);
    }

    pub(super) fn cancel(&mut self, id: &str) -> bool {
        let before = self.pending.len();
        self.pending.retain(|asked| asked.id != id);
        self.pending.len() != before
    }

    /// `None` when the caller is to answer; otherwise whether the refusal found room.
    pub(super) fn ask(&mut self, id: &str, subtype: &str, input: &str) -> Option<bool> {
        if !self.served.contains(&subtype) {
            return Some(self.refuse(
                id,
                &format!("Unsupported control request subtype: {subtype}"),
            ));
        }
        // Asked anew, it is one request.
        self.cancel(id);
        self.left.retain(|asked| asked.id != id);
        let input = if subtype == "can_use_tool" {
            input
        } else {
            "{}"
        };
        let all = || self.pending.iter().chain(&self.left);
        let bytes: usize = all().map(|asked| asked.id.len() + asked.input.len()).sum();
        if all().count() == self.limits.max_pending_requests()
            || bytes + id.len() + input.len() > self.limits.max_pending_bytes()
        {
            return Some(self.refuse(id, "Too many control requests wait for an answer"));
        }
        self.pending.push(Asked {
            id: id.to_owned(),
            input: input.to_owned(),
        });
        None
    }

    fn refuse(&mut self, id: &str, error: &str) -> bool {
        let frame = response("error", id, &format!(r#","error":{}"#, quote(error)));
        self.push(frame).is_ok()
    }

    /// The caller answers.
    ///
    /// # Errors
    ///
    /// Why that cannot be.
    pub fn answer(&mut self, id: &str, answer: &Answer<'_>) -> Result<(), SendError> {
        if let Some(reason) = self.closed {
            return Err(SendError::Closed(reason));
        }
        let asked = self.pending.iter().find(|asked| asked.id == id);
        let asked = asked.ok_or(SendError::UnknownRequest)?;
        let (subtype, rest) = match answer {
            Answer::Allow { updated_input } => {
                let input = updated_input.unwrap_or(&asked.input);
                let allow = format!(r#","response":{{"behavior":"allow","updatedInput":{input}}}"#);
                ("success", allow)
            }
            Answer::Deny { message } => {
                let message = quote(message);
                let deny = format!(r#","response":{{"behavior":"deny","message":{message}}}"#);
                ("success", deny)
            }
            Answer::Success { response: None } => ("success", String::new()),
            Answer::Success {
                response: Some(raw),
            } => ("success", format!(r#","response":{raw}"#)),
            Answer::Error { error } => ("error", format!(r#","error":{}"#, quote(error))),
        };
        self.push(response(subtype, id, &rest))?;
        self.cancel(id);
        Ok(())
    }

    /// The caller asks; `request` is the request itself.
    ///
    /// # Errors
    ///
    /// Why that cannot be.
    pub fn request(&mut self, id: &str, request: &str) -> Result<(), SendError> {
        if let Some(reason) = self.closed {
            return Err(SendError::Closed(reason));
        }
        let id = quote(id);
        self.push(format!(
            r#"{{"type":"control_request","request_id":{id},"request":{request}}}"#
        ))
    }

    fn push(&mut self, frame: String) -> Result<(), SendError> {
        if Json::read(&frame).is_none() {
            return Err(SendError::NotJson);
        }
        let limit = self.limits.max_outbox_bytes();
        if frame.len() > limit {
            let bytes = frame.len();
            return Err(SendError::TooLong { bytes, limit });
        }
        let waiting: usize = self.outbox.iter().map(String::len).sum();
        if self.outbox.len() == self.limits.max_outbox_frames() || waiting + frame.len() > limit {
            return Err(SendError::Full);
        }
        self.outbox.push_back(frame);
        Ok(())
    }
}

fn response(subtype: &str, id: &str, rest: &str) -> String {
    let id = quote(id);
    format!(
        r#"{{"type":"control_response","response":{{"subtype":"{subtype}","request_id":{id}{rest}}}}}"#
    )
}
