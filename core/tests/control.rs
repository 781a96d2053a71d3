//! Frames of the subscription dialect (sessions.md §2).

use std::borrow::Cow;

use hallway_core::session::control::{CanUseTool, Frame, NotForwarded, Request, Response};

fn text(text: &str) -> Cow<'_, str> {
    Cow::Borrowed(text)
}

fn read(message: &str) -> Frame<'_> {
    Frame::parse(message).unwrap()
}

/// Covers: S2.2, S2.10
#[test]
fn every_object_with_a_type_that_is_a_string_is_forwarded() {
    for message in [
        r#"{"type":"assistant","message":{}}"#,
        r#"{"type":"what the server starts to send next"}"#,
        r#" {"x":1e999,"typ\u0065":""} "#,
        r#"{"type":"\ud83d"}"#,
        r#"{"type":1,"type":"x"}"#,
        "{\n\"type\"\n:\n\"x\"\n}",
        // Control frames without what they need are messages like any other.
        r#"{"type":"control_request","request":{"subtype":"interrupt"}}"#,
        r#"{"type":"control_request","request_id":1,"request":{"subtype":"interrupt"}}"#,
        r#"{"type":"control_request","request_id":"\ud83d","request":{"subtype":"interrupt"}}"#,
        r#"{"type":"control_request","request_id":"r1"}"#,
        r#"{"type":"control_request","request_id":"r1","request":[]}"#,
        r#"{"type":"control_request","request_id":"r1","request":{}}"#,
        r#"{"type":"control_cancel_request"}"#,
        r#"{"type":"control_response","response":{"subtype":"success"}}"#,
        r#"{"type":"control_response","response":{"request_id":"r1"}}"#,
        r#"{"type":"control_response","response":{"subtype":"odd","request_id":"r1"}}"#,
        r#"{"type":"control_response","response":{"subtype":"error","request_id":"r1"}}"#,
        r#"{"type":"control_response","response":7}"#,
        r#"{"type":"control_response"}"#,
    ] {
        assert_eq!(read(message), Frame::Other, "{message}");
    }
    assert_eq!(read(r#"{"type":"keep_alive"}"#), Frame::KeepAlive);
}

/// Covers: S2.1
#[test]
fn anything_else_is_not() {
    for (message, why) in [
        ("", NotForwarded::NotAnObject),
        ("[]", NotForwarded::NotAnObject),
        ("\"type\"", NotForwarded::NotAnObject),
        ("{\"type\":\"x\"", NotForwarded::NotAnObject),
        ("{\"type\":}", NotForwarded::NotAnObject),
        ("{\"type\":fals}", NotForwarded::NotAnObject),
        ("{\"type\":\"x\"}{}", NotForwarded::NotAnObject),
        ("{}", NotForwarded::NoType),
        ("{\"type\":1}", NotForwarded::NoType),
        ("{\"type\":\"x\",\"type\":null}", NotForwarded::NoType),
        ("{\"message\":{\"type\":\"x\"}}", NotForwarded::NoType),
    ] {
        assert_eq!(Frame::parse(message), Err(why));
        assert!(!why.to_string().is_empty());
    }
    let words = [
        (NotForwarded::Binary, "text"),
        (NotForwarded::NotAnObject, "object"),
        (NotForwarded::NoType, "type"),
    ];
    for (why, word) in words {
        assert!(why.to_string().contains(word));
    }
}

/// Every request of the contract: the object of the frame, and what it says.
fn requests() -> Vec<(&'static str, Request<'static>)> {
    let tool = CanUseTool {
        tool_name: text("Bash"),
        input: r#"{"command":"ls"}"#,
        tool_use_id: text("t1"),
        permission_suggestions: None,
        blocked_path: None,
        decision_reason: None,
        title: None,
        display_name: None,
        agent_id: None,
        description: None,
    };
    let full = CanUseTool {
        permission_suggestions: Some("[1]"),
        decision_reason: Some(r#"{"r":1}"#),
        blocked_path: Some(text("/p")),
        title: Some(text("t")),
        display_name: Some(text("d")),
        agent_id: Some(text("a")),
        description: Some(text("e")),
        ..tool.clone()
    };
    vec![
        (r#"{"subtype":"interrupt"}"#, Request::Interrupt),
        (
            r#"{"subtype":"can_use_tool","tool_name":"Bash","input":{"command":"ls"},"tool_use_id":"t1"}"#,
            Request::CanUseTool(tool),
        ),
        (
            r#"{"subtype":"can_use_tool","tool_name":"Bash","input":{"command":"ls"},"tool_use_id":"t1","permission_suggestions":[1],"decision_reason":{"r":1},"blocked_path":"/p","title":"t","display_name":"d","agent_id":"a","description":"e"}"#,
            Request::CanUseTool(full),
        ),
        (
            r#"{"subtype":"initialize","hooks":{}}"#,
            Request::Initialize(r#"{"subtype":"initialize","hooks":{}}"#),
        ),
        (
            r#"{"subtype":"set_permission_mode","mode":"plan"}"#,
            Request::SetPermissionMode { mode: text("plan") },
        ),
        (
            r#"{"subtype":"set_model"}"#,
            Request::SetModel { model: None },
        ),
        (
            r#"{"subtype":"set_model","model":"m"}"#,
            Request::SetModel {
                model: Some(text("m")),
            },
        ),
        (
            r#"{"subtype":"set_max_thinking_tokens","max_thinking_tokens":null}"#,
            Request::SetMaxThinkingTokens {
                max_thinking_tokens: None,
            },
        ),
        (
            r#"{"subtype":"set_max_thinking_tokens","max_thinking_tokens":1024}"#,
            Request::SetMaxThinkingTokens {
                max_thinking_tokens: Some(1_024),
            },
        ),
        (r#"{"subtype":"mcp_status"}"#, Request::McpStatus),
        (
            r#"{"subtype":"get_context_usage"}"#,
            Request::GetContextUsage,
        ),
        (
            r#"{"subtype":"hook_callback","callback_id":"c","input":[1]}"#,
            Request::HookCallback {
                callback_id: text("c"),
                input: "[1]",
                tool_use_id: None,
            },
        ),
        (
            r#"{"subtype":"hook_callback","callback_id":"c","input":null,"tool_use_id":"t"}"#,
            Request::HookCallback {
                callback_id: text("c"),
                input: "null",
                tool_use_id: Some(text("t")),
            },
        ),
        (
            r#"{"subtype":"mcp_message","server_name":"s","message":{"id":1}}"#,
            Request::McpMessage {
                server_name: text("s"),
                message: r#"{"id":1}"#,
            },
        ),
        (
            r#"{"subtype":"rewind_files","user_message_id":"u"}"#,
            Request::RewindFiles {
                user_message_id: text("u"),
                dry_run: None,
            },
        ),
        (
            r#"{"subtype":"rewind_files","user_message_id":"u","dry_run":true}"#,
            Request::RewindFiles {
                user_message_id: text("u"),
                dry_run: Some(true),
            },
        ),
        (
            r#"{"subtype":"rewind_files","user_message_id":"u","dry_run":false}"#,
            Request::RewindFiles {
                user_message_id: text("u"),
                dry_run: Some(false),
            },
        ),
        (
            r#"{"subtype":"cancel_async_message","message_uuid":"u"}"#,
            Request::CancelAsyncMessage {
                message_uuid: text("u"),
            },
        ),
        (
            r#"{"subtype":"stop_task","task_id":"t"}"#,
            Request::StopTask { task_id: text("t") },
        ),
        (r#"{"subtype":"get_settings"}"#, Request::GetSettings),
        (
            r#"{"subtype":"elicitation","mcp_server_name":"s","message":"m"}"#,
            Request::Elicitation(
                r#"{"subtype":"elicitation","mcp_server_name":"s","message":"m"}"#,
            ),
        ),
        (
            r#"{"subtype":"next year's","x":[1e999]}"#,
            Request::Unknown {
                subtype: text("next year's"),
                raw: r#"{"subtype":"next year's","x":[1e999]}"#,
            },
        ),
    ]
}

/// Covers: S2.4, S2.11, S2.12
#[test]
fn every_request_is_read_and_written_as_the_contract_has_it() {
    for (object, request) in requests() {
        let frame =
            format!(r#"{{"type":"control_request","request_id":"r\"1","request":{object}}}"#);
        assert_eq!(request.frame("r\"1"), frame);
        let expected = Frame::Request {
            request_id: text("r\"1"),
            request: request.clone(),
        };
        assert_eq!(read(&frame), expected);
        assert!(object.contains(&format!(r#""subtype":"{}""#, request.subtype())));
    }
}

/// Covers: S2.11
#[test]
fn a_known_subtype_of_another_shape_is_kept_as_it_is() {
    for object in [
        r#"{"subtype":"can_use_tool","input":{},"tool_use_id":"t"}"#,
        r#"{"subtype":"can_use_tool","tool_name":"B","tool_use_id":"t"}"#,
        r#"{"subtype":"can_use_tool","tool_name":"B","input":{}}"#,
        r#"{"subtype":"can_use_tool","tool_name":1,"input":{},"tool_use_id":"t"}"#,
        r#"{"subtype":"can_use_tool","tool_name":"B","input":{},"tool_use_id":"t","title":1}"#,
        r#"{"subtype":"can_use_tool","tool_name":"B","input":{},"tool_use_id":"t","blocked_path":1}"#,
        r#"{"subtype":"can_use_tool","tool_name":"B","input":{},"tool_use_id":"t","display_name":1}"#,
        r#"{"subtype":"can_use_tool","tool_name":"B","input":{},"tool_use_id":"t","agent_id":1}"#,
        r#"{"subtype":"can_use_tool","tool_name":"B","input":{},"tool_use_id":"t","description":1}"#,
        r#"{"subtype":"set_permission_mode"}"#,
        r#"{"subtype":"set_model","model":7}"#,
        r#"{"subtype":"set_max_thinking_tokens"}"#,
        r#"{"subtype":"set_max_thinking_tokens","max_thinking_tokens":-1}"#,
        r#"{"subtype":"hook_callback","callback_id":"c"}"#,
        r#"{"subtype":"hook_callback","input":1}"#,
        r#"{"subtype":"hook_callback","callback_id":"c","input":1,"tool_use_id":1}"#,
        r#"{"subtype":"mcp_message","server_name":"s"}"#,
        r#"{"subtype":"mcp_message","message":{}}"#,
        r#"{"subtype":"rewind_files","dry_run":true}"#,
        r#"{"subtype":"rewind_files","user_message_id":"u","dry_run":"yes"}"#,
        r#"{"subtype":"cancel_async_message"}"#,
        r#"{"subtype":"stop_task","task_id":null}"#,
    ] {
        let Some(Request::Unknown { subtype, raw }) = Request::read(object) else {
            panic!("{object} was read as what it is not");
        };
        assert!(object.contains(&*subtype));
        assert_eq!(raw, object);
    }
    assert_eq!(Request::read(r#"{"subtype":null}"#), None);
    assert_eq!(Request::read("[]"), None);
    assert_eq!(
        Request::read(r#"{"subtype":"set_model","model":null}"#),
        Some(Request::SetModel { model: None })
    );
}

/// Covers: S2.6, S2.7, S2.8
#[test]
fn every_response_is_read_and_written_as_the_contract_has_it() {
    for (inner, response) in [
        (
            r#""subtype":"success","request_id":"r1","response":{"behavior":"allow","updatedInput":{}}"#,
            Response::Allow {
                updated_input: "{}",
            },
        ),
        (
            r#""subtype":"success","request_id":"r1","response":{"behavior":"deny","message":"no"}"#,
            Response::Deny {
                message: text("no"),
            },
        ),
        (
            r#""subtype":"success","request_id":"r1","response":{"mode":"plan"}"#,
            Response::Success {
                response: Some(r#"{"mode":"plan"}"#),
            },
        ),
        (
            r#""subtype":"success","request_id":"r1""#,
            Response::Success { response: None },
        ),
        (
            r#""subtype":"error","request_id":"r1","error":"Unsupported control request subtype: foo""#,
            Response::Error {
                error: text("Unsupported control request subtype: foo"),
            },
        ),
    ] {
        let frame = format!(r#"{{"type":"control_response","response":{{{inner}}}}}"#);
        assert_eq!(response.frame("r1"), frame);
        let expected = Frame::Response {
            request_id: text("r1"),
            response,
        };
        assert_eq!(read(&frame), expected);
    }
}

#[test]
fn a_permission_that_says_more_is_kept_whole() {
    for response in [
        r#"{"behavior":"allow","updatedInput":{},"updatedPermissions":[]}"#,
        r#"{"behavior":"deny","message":"no","interrupt":true}"#,
        r#"{"behavior":"allow"}"#,
        r#"{"behavior":"allow","message":"m"}"#,
        r#"{"behavior":"deny","message":1}"#,
        r#"{"behavior":"ask","message":"m"}"#,
        r#"{"behavior":1,"message":"m"}"#,
        "[]",
    ] {
        let frame = format!(
            r#"{{"type":"control_response","response":{{"subtype":"success","request_id":"r1","response":{response}}}}}"#
        );
        let Frame::Response { response: read, .. } = read(&frame) else {
            panic!("{frame} is a response");
        };
        let response = Some(response);
        assert_eq!(read, Response::Success { response });
    }
}

/// Covers: S2.5
#[test]
fn a_cancellation_names_its_request() {
    assert_eq!(
        read(r#"{"type":"control_cancel_request","request_id":"r\u0031"}"#),
        Frame::Cancel {
            request_id: text("r1")
        }
    );
}
