//! What a person at a terminal sees of a followed session: its messages, questions for
//! permission, and a status line below them.

use std::collections::VecDeque;
use std::time::Duration;

use hallway_core::Instant;
use hallway_core::session::control::{Frame, Request};
use serde_json::Value;

use super::input::{DENIED, Input};
use crate::cli::terminal::{block, visible};
use crate::session::{Reply, Update};

/// The margin behind which further lines of the session stand.
const MARGIN: &str = "    | ";
/// How much is shown of what a tool is given or gives, in characters.
const MOST_SHOWN: usize = 2_000;
/// Back to the line's start, and away with it.
const ERASE: &str = "\r\u{1b}[2K";

enum State {
    Connecting,
    Connected,
    Reconnecting {
        attempt: u32,
        until: Instant,
        why: String,
    },
    Closed,
}

/// What is on the screen.
pub(super) struct View {
    state: State,
    /// Questions without an answer, oldest first: id and tool.
    asked: VecDeque<(String, String)>,
    /// The status line as it stands on the screen.
    shown: String,
}

impl View {
    pub(super) const fn new() -> Self {
        Self {
            state: State::Connecting,
            asked: VecDeque::new(),
            shown: String::new(),
        }
    }

    /// Appends what an update changes on the screen, but for the status line.
    pub(super) fn show(&mut self, update: &Update, now: Instant, out: &mut String) {
        match update {
            Update::Connected => self.state = State::Connected,
            Update::Message(message) => self.line(&text(message), out),
            Update::Ignored { why, .. } => self.line(&format!("- ignored: {why}"), out),
            Update::Request {
                message,
                request_id,
                ..
            } => self.ask(message, request_id, out),
            Update::RequestRefused { subtype, .. } => {
                self.line(&format!("- refused to answer {}", visible(subtype)), out);
            }
            Update::RequestCancelled { request_id, .. } => {
                let known = self.asked.iter().position(|(id, _)| id == request_id);
                if let Some((_, tool)) = known.and_then(|at| self.asked.remove(at)) {
                    self.line(&format!("- no longer asked: {}", visible(&tool)), out);
                }
            }
            Update::Sent { request_id } => {
                self.line(&format!("- sent {}", visible(request_id)), out);
            }
            Update::Reconnecting {
                attempt,
                delay,
                cause,
                detail,
            } => {
                let detail = detail
                    .as_ref()
                    .map(|detail| format!(": {}", visible(detail)));
                let why = format!("{cause}{}", detail.unwrap_or_default());
                self.line(&format!("- disconnected: {why}"), out);
                self.state = State::Reconnecting {
                    attempt: *attempt,
                    until: now.after(*delay),
                    why: cause.to_string(),
                };
            }
            Update::Closed { reason, unsent, .. } => {
                self.state = State::Closed;
                self.asked.clear();
                let lost = match unsent {
                    0 => String::new(),
                    count => format!("; {count} answers or requests were not sent"),
                };
                self.line(&format!("- {reason}{lost}"), out);
            }
        }
    }

    /// Appends a line of ours.
    pub(super) fn note(&mut self, note: &str, out: &mut String) {
        self.line(&format!("- {}", visible(note)), out);
    }

    /// Appends the status line, if it is another one than on the screen.
    pub(super) fn refresh(&mut self, now: Instant, columns: usize, out: &mut String) {
        let status = self.status(now);
        // A line that wraps could not be erased.
        let status: String = status.chars().take(columns.saturating_sub(1)).collect();
        if status != self.shown {
            self.erase(out);
            out.push_str(&status);
            self.shown = status;
        }
    }

    /// Appends what leaves the screen clean.
    pub(super) fn erase(&mut self, out: &mut String) {
        if !std::mem::take(&mut self.shown).is_empty() {
            out.push_str(ERASE);
        }
    }

    /// The person has ended a line, and the cursor went with it.
    pub(super) fn entered(&mut self) {
        self.shown.clear();
    }

    /// What a line means that was typed: the input, or what to say about it.
    pub(super) fn typed(&mut self, line: &str) -> Result<Input, String> {
        let line = line.trim();
        if line.starts_with('{') {
            let input = Input::parse(line)?;
            if let Input::Answer { request_id, .. } = &input {
                self.asked.retain(|(id, _)| id != request_id);
            }
            return Ok(input);
        }
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        match word {
            "reconnect" => return Ok(Input::Reconnect),
            "interrupt" => {
                return Ok(Input::Request {
                    request_id: None,
                    request: r#"{"subtype":"interrupt"}"#.to_owned(),
                });
            }
            _ => {}
        }
        let reply = match word {
            "y" | "yes" => Reply::Allow {
                updated_input: None,
            },
            "n" | "no" => Reply::Deny {
                message: match rest.trim() {
                    "" => DENIED.to_owned(),
                    why => why.to_owned(),
                },
            },
            _ => return Err(HELP.to_owned()),
        };
        let asked = self.asked.pop_front();
        let (request_id, _) = asked.ok_or_else(|| "nothing is asked".to_owned())?;
        Ok(Input::Answer { request_id, reply })
    }

    fn status(&self, now: Instant) -> String {
        if let Some((_, tool)) = self.asked.front() {
            return format!("allow {}? y, or n and why: ", visible(tool));
        }
        match &self.state {
            State::Connecting => "[connecting]".to_owned(),
            State::Connected => "[connected]".to_owned(),
            State::Reconnecting {
                attempt,
                until,
                why,
            } => {
                let left = until.since(now) + Duration::from_millis(999);
                format!(
                    "[disconnected: {why}; attempt {attempt} in {} s]",
                    left.as_secs()
                )
            }
            State::Closed => String::new(),
        }
    }

    fn ask(&mut self, message: &str, request_id: &str, out: &mut String) {
        let Ok(Frame::Request {
            request: Request::CanUseTool(tool),
            ..
        }) = Frame::parse(message)
        else {
            return;
        };
        let name = tool.display_name.unwrap_or(tool.tool_name);
        let mut asked = format!("? {} {}", visible(&name), shortened(tool.input));
        for (what, text) in [
            ("", tool.title),
            ("", tool.description),
            ("path ", tool.blocked_path),
        ] {
            if let Some(text) = text {
                asked.push_str(&format!("\n{MARGIN}{what}{}", block(&text, MARGIN)));
            }
        }
        self.line(&asked, out);
        self.asked.retain(|(id, _)| id != request_id);
        self.asked
            .push_back((request_id.to_owned(), name.into_owned()));
    }

    fn line(&mut self, line: &str, out: &mut String) {
        if line.is_empty() {
            return;
        }
        self.erase(out);
        out.push_str(line);
        out.push('\n');
    }
}

const HELP: &str =
    "type y, or n and why, to answer; interrupt; reconnect; or a line of JSON; Ctrl-C leaves";

/// A message as text for people; empty when it is nothing for them.
fn text(message: &str) -> String {
    let Ok(value) = serde_json::from_str::<Value>(message) else {
        return format!("- cannot be shown: {}", shortened(message));
    };
    let field = |name: &str| value.get(name).and_then(Value::as_str);
    let kind = field("type").unwrap_or_default();
    let content = value
        .get("message")
        .and_then(|message| message.get("content"));
    match kind {
        "assistant" | "user" => {
            let blocks = match content {
                Some(Value::String(text)) => vec![block(text, MARGIN)],
                Some(Value::Array(blocks)) => blocks.iter().filter_map(part).collect(),
                _ => Vec::new(),
            };
            let lines = blocks.iter().map(|text| format!("{kind}: {text}"));
            lines.collect::<Vec<_>>().join("\n")
        }
        "result" => {
            let subtype = field("subtype").unwrap_or_default();
            let said = field("result").unwrap_or_default();
            format!("result ({}): {}", visible(subtype), block(said, MARGIN))
        }
        "system" => format!(
            "- system: {}",
            visible(field("subtype").unwrap_or_default())
        ),
        "stream_event"
        | "tool_progress"
        | "keep_alive"
        | "control_response"
        | "control_cancel_request" => String::new(),
        other => format!("- {}", visible(other)),
    }
}

/// One part of a message's content.
fn part(part: &Value) -> Option<String> {
    let field = |name: &str| part.get(name).and_then(Value::as_str);
    match field("type")? {
        "text" => Some(block(field("text")?, MARGIN)),
        "tool_use" => {
            let input = part.get("input").map(Value::to_string).unwrap_or_default();
            Some(format!(
                "[{}] {}",
                visible(field("name")?),
                shortened(&input)
            ))
        }
        "tool_result" => {
            let content = match part.get("content") {
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
                None => String::new(),
            };
            Some(format!("[result] {}", shortened(&content)))
        }
        other => Some(format!("[{}]", visible(other))),
    }
}

fn shortened(text: &str) -> String {
    let mut start: String = text.chars().take(MOST_SHOWN).collect();
    if start.len() < text.len() {
        start.push('…');
    }
    block(&start, MARGIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hallway_core::session::event::{Cancelled, Cause};

    const NOW: Instant = Instant::ORIGIN;

    fn request(id: &str) -> Update {
        Update::Request {
            message: format!(
                r#"{{"type":"control_request","request_id":"{id}","request":{{"subtype":"can_use_tool","tool_name":"Ba\u001b[2Jsh","input":{{"command":"ls"}},"tool_use_id":"t"}}}}"#
            ),
            request_id: id.to_owned(),
            subtype: "can_use_tool".to_owned(),
        }
    }

    fn shown(view: &mut View, update: &Update) -> String {
        let mut out = String::new();
        view.show(update, NOW, &mut out);
        view.refresh(NOW, 80, &mut out);
        out
    }

    #[test]
    fn messages_cannot_move_the_cursor_or_pass_for_ours() {
        for (message, expected) in [
            (
                r#"{"type":"assistant","message":{"content":[{"type":"text","text":"a\u001b[2J\n- fake"}]}}"#,
                "assistant: a\\u{1b}[2J\n    | - fake",
            ),
            (r#"{"type":"user","message":{"content":"hi"}}"#, "user: hi"),
            (
                r#"{"type":"assistant","message":{"content":[{"type":"tool_use","name":"B\r","input":{"a":1}},{"type":"tool_result","content":"ok"}]}}"#,
                "assistant: [B\\r] {\"a\":1}\nassistant: [result] ok",
            ),
            (
                r#"{"type":"result","subtype":"success","result":"done"}"#,
                "result (success): done",
            ),
            (r#"{"type":"system","subtype":"init"}"#, "- system: init"),
            (r#"{"type":"stream_event"}"#, ""),
            (r#"{"type":"new\u0007"}"#, "- new\\u{7}"),
        ] {
            assert_eq!(text(message), expected);
        }
        assert_eq!(
            shortened(&"é".repeat(3_000)).chars().count(),
            MOST_SHOWN + 1
        );
    }

    #[test]
    fn the_status_line_is_erased_and_counts_down() {
        let mut view = View::new();
        assert_eq!(shown(&mut view, &Update::Connected), "[connected]");
        let system = Update::Message(r#"{"type":"system","subtype":"x"}"#.to_owned().into());
        assert_eq!(
            shown(&mut view, &system),
            format!("{ERASE}- system: x\n[connected]")
        );
        let lost = Update::Reconnecting {
            attempt: 3,
            delay: Duration::from_secs(4),
            cause: Cause::NoPong,
            detail: None,
        };
        let out = shown(&mut view, &lost);
        assert!(
            out.ends_with("[disconnected: a ping was not answered; attempt 3 in 4 s]"),
            "{out}"
        );
        let mut out = String::new();
        view.refresh(NOW.after(Duration::from_millis(1_500)), 20, &mut out);
        assert_eq!(out, format!("{ERASE}[disconnected: a pi"));
    }

    #[test]
    fn questions_are_answered_in_order_by_a_word() {
        let mut view = View::new();
        assert_eq!(view.typed("y"), Err("nothing is asked".to_owned()));
        assert_eq!(view.typed("what"), Err(HELP.to_owned()));
        let out = shown(&mut view, &request("r1"));
        assert!(
            out.starts_with("? Ba\\u{1b}[2Jsh {\"command\":\"ls\"}\n"),
            "{out}"
        );
        assert!(
            out.ends_with("allow Ba\\u{1b}[2Jsh? y, or n and why: "),
            "{out}"
        );
        for id in ["r2", "r3"] {
            shown(&mut view, &request(id));
        }
        let cancelled = Update::RequestCancelled {
            message: None,
            request_id: "r2".to_owned(),
            cancelled: Cancelled::ByServer,
        };
        assert!(shown(&mut view, &cancelled).contains("no longer asked"));
        let answer = |id: &str, reply| {
            let request_id = id.to_owned();
            Ok(Input::Answer { request_id, reply })
        };
        let updated_input = None;
        assert_eq!(
            view.typed("y"),
            answer("r1", Reply::Allow { updated_input })
        );
        let message = "not that".to_owned();
        assert_eq!(
            view.typed("n not that"),
            answer("r3", Reply::Deny { message })
        );
        assert!(view.typed("n").is_err());
        assert_eq!(view.typed("reconnect"), Ok(Input::Reconnect));
    }
}
