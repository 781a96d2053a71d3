use std::time::Duration;

use hallway_core::Instant;
use hallway_core::session::control::{Frame, NotForwarded, Request, Response};
use hallway_core::session::event::{Action, Event};
use hallway_core::session::limits::Limits;
use hallway_core::session::subscription::Subscription;
use serde_json::Value;

use crate::model::json::{Json, decode, last, quote};
use crate::model::source::Source;

/// A frame is forwarded exactly when it is an object with a string `type`; what is known of it is
/// read as it was written, and writing it again gives the same (sessions.md §2). The first byte
/// says whether the rest is the frame, or steers one.
///
/// # Panics
///
/// When it is not so.
pub fn check_control(bytes: &[u8]) {
    let mut source = Source::Bytes(bytes);
    if source.once_in(2) {
        check_frame(source.rest());
    } else {
        check_frame(frame(&mut source).as_bytes());
    }
}

/// A frame of a known shape, or nearly one.
fn frame(source: &mut Source<'_>) -> String {
    let id = source.pick(&[r#""r1""#, r#""\ud83d\ude00""#, r#""\ud800""#, "7", r#""""#]);
    let value = |source: &mut Source<'_>| {
        source.pick(&[
            "\"x\"",
            "{}",
            "null",
            "true",
            "1",
            "-1e400",
            "[[]]",
            r#""\u00e9\n""#,
        ])
    };
    let subtype = source.pick(&[
        "can_use_tool",
        "interrupt",
        "initialize",
        "set_permission_mode",
        "set_model",
        "set_max_thinking_tokens",
        "mcp_status",
        "get_context_usage",
        "hook_callback",
        "mcp_message",
        "rewind_files",
        "cancel_async_message",
        "stop_task",
        "get_settings",
        "elicitation",
        "success",
        "error",
        "never_heard_of",
    ]);
    let mut object = format!(r#""subtype":{}"#, quote(subtype));
    for _ in 0..source.below(6) {
        let name = source.pick(&[
            "tool_name",
            "input",
            "tool_use_id",
            "permission_suggestions",
            "blocked_path",
            "decision_reason",
            "title",
            "display_name",
            "agent_id",
            "description",
            "mode",
            "model",
            "max_thinking_tokens",
            "callback_id",
            "server_name",
            "message",
            "user_message_id",
            "dry_run",
            "message_uuid",
            "task_id",
            "request_id",
            "response",
            "error",
            "subtype",
            "behavior",
            "updatedInput",
        ]);
        object += &format!(",{}:{}", quote(name), value(source));
    }
    if source.once_in(3) {
        object += r#","request_id":"r9","response":{"behavior":"deny","message":"no"}"#;
    }
    match source.below(5) {
        0 => format!(r#"{{"type":"control_request","request_id":{id},"request":{{{object}}}}}"#),
        1 => format!(r#"{{"type":"control_response","response":{{{object}}}}}"#),
        2 => format!(r#"{{"type":"control_cancel_request","request_id":{id}}}"#),
        3 => format!(r#"{{"type":{},"x":{}}}"#, value(source), value(source)),
        _ => format!(
            r#" {{"request":{{{object}}},"\u0074ype":"control_request","request_id":{id}}} "#
        ),
    }
}

fn check_frame(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let parsed = Frame::parse(text);
    forwarded(text, parsed.as_ref().err().copied());
    by_the_tree(text, parsed.is_ok());
    same_by_the_machine(text, &parsed);
    match parsed {
        Ok(Frame::Request {
            request_id,
            request,
        }) => {
            let again = request.frame(&request_id);
            let expected = Frame::Request {
                request_id: request_id.clone(),
                request: request.clone(),
            };
            assert_eq!(Frame::parse(&again), Ok(expected));
            known(text, &request);
        }
        Ok(Frame::Response {
            request_id,
            response,
        }) => {
            let again = response.frame(&request_id);
            let expected = Frame::Response {
                request_id: request_id.clone(),
                response: response.clone(),
            };
            assert_eq!(Frame::parse(&again), Ok(expected));
            if let Response::Allow { updated_input } = response {
                assert!(text.contains(updated_input), "raw, as it was written");
            }
        }
        Ok(Frame::Cancel { request_id }) => {
            assert_eq!(member(text, "request_id"), Some(request_id.into_owned()));
        }
        _ => {}
    }
}

/// The model's own reading of JSON decides whether it is forwarded.
fn forwarded(text: &str, refused: Option<NotForwarded>) {
    let json = Json::read(text).filter(|json| json.members().is_some());
    let Some(json) = json else {
        // Beyond this depth the core may refuse what the grammar allows.
        return assert_eq!(refused, Some(NotForwarded::NotAnObject));
    };
    let kind = json.members().and_then(|members| last(members, "type"));
    let has_type = kind.is_some_and(|raw| raw.starts_with('"'));
    assert_eq!(refused, (!has_type).then_some(NotForwarded::NoType));
}

/// Wherever serde_json has a tree for it, the tree decides the same.
fn by_the_tree(text: &str, is_forwarded: bool) {
    if let Ok(tree) = serde_json::from_str::<Value>(text) {
        let has_type = tree.get("type").is_some_and(Value::is_string);
        assert_eq!(is_forwarded, has_type, "an object with a string `type`");
    }
}

fn member(text: &str, name: &str) -> Option<String> {
    let json = Json::read(text)?;
    decode(last(json.members()?, name)?)
}

/// What a request is taken for, it is.
fn known(text: &str, request: &Request<'_>) {
    let json = Json::read(text).expect("a frame");
    let raw = last(json.members().expect("an object"), "request").expect("a request");
    assert_eq!(
        member(raw, "subtype").as_deref(),
        Some(request.subtype()),
        "the subtype"
    );
    if let Request::CanUseTool(tool) = request {
        assert_eq!(member(raw, "tool_name").as_deref(), Some(&*tool.tool_name));
        let fields = Json::read(raw).expect("an object");
        let input = last(fields.members().expect("members"), "input");
        assert_eq!(input, Some(tool.input), "raw, as it was written");
    }
    if let Request::Unknown { raw: kept, .. } = request {
        assert_eq!(*kept, raw, "kept as it was written");
    }
}

/// The machine forwards the same, and answers exactly what it does not serve.
fn same_by_the_machine(text: &str, parsed: &Result<Frame<'_>, NotForwarded>) {
    let mut machine = Subscription::new(&Limits::DEFAULT, Default::default(), 0);
    let now = Instant::ORIGIN.after(Duration::from_secs(1));
    machine.connect(now);
    let Some(Action::Dial(epoch)) = machine.poll_action() else {
        panic!("a dial");
    };
    assert_eq!(machine.handle_opened(epoch, now), Some(Event::Connected));
    let event = machine.handle_message(epoch, text);
    let is_as_parsed = match (parsed, &event) {
        (Err(why), Some(Event::MessageIgnored(found))) => why == found,
        (
            Ok(Frame::Request { request, .. }),
            Some(Event::RequestArrived { .. } | Event::RequestRefused { answered: true, .. }),
        ) => {
            matches!(event, Some(Event::RequestArrived { .. }))
                == (request.subtype() == "can_use_tool")
        }
        (Ok(Frame::Request { .. }), _) => false,
        (Ok(_), Some(Event::MessageReceived)) => true,
        _ => false,
    };
    assert!(is_as_parsed, "{text}: {event:?}");
    let Some(frame) = machine.poll_transmit(epoch) else {
        return assert!(!matches!(event, Some(Event::RequestRefused { .. })));
    };
    assert!(serde_json::from_str::<Value>(frame).is_ok(), "{frame}");
}
