//! `hallway session send` and `interrupt`: one thing, and the end.

use std::io::{IsTerminal as _, Read as _};
use std::process::ExitCode;
use std::time::Duration;

use hallway_core::session::control::{Frame, Response};
use hallway_core::session::event::Cause;
use serde_json::json;

use super::args::{Interrupt, Send};
use super::{connector, ending, settings, tokens};
use crate::cli::error::{Exit, Failed};
use crate::cli::lines::unreadable;
use crate::cli::output::Output;
use crate::entropy;
use crate::session::{Client, Settings, Update};

/// The longest message, in bytes.
const MAX_TEXT_BYTES: u64 = 1_048_576;

/// All requests that are known. Whoever watches beside a person leaves them to that person, and
/// must not refuse them.
const KNOWN: &[&str] = &[
    "interrupt",
    "can_use_tool",
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
];

pub(super) async fn send(arguments: Send, output: &Output) -> Result<ExitCode, Failed> {
    let connector = connector(&arguments.remote)?;
    let tokens = tokens(&arguments.remote)?;
    let text = match arguments.text {
        Some(text) => text,
        None => standard_input()?,
    };
    let posted = connector.post_user_message(&tokens, &text, arguments.timeout);
    let id = posted.await?;
    output.line(|| id.clone(), || json!({"event": "sent", "id": id}))?;
    Ok(Exit::Done.into())
}

/// All of standard input, which must be text.
fn standard_input() -> Result<String, Failed> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        eprintln!("type the message, then Ctrl-D");
    }
    let mut bytes = Vec::new();
    let mut stdin = stdin.take(MAX_TEXT_BYTES + 1);
    stdin.read_to_end(&mut bytes).map_err(unreadable)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_TEXT_BYTES {
        return Err(Failed::new(
            Exit::Usage,
            format!("the message is too long; it may have {MAX_TEXT_BYTES} bytes; send less"),
        ));
    }
    String::from_utf8(bytes).map_err(|_| {
        Failed::new(
            Exit::Usage,
            "the message is not UTF-8; JSON cannot carry it; send text",
        )
    })
}

pub(super) async fn interrupt(arguments: &Interrupt, output: &Output) -> Result<ExitCode, Failed> {
    let connector = connector(&arguments.remote)?;
    let tokens = tokens(&arguments.remote)?;
    let settings = Settings {
        served: KNOWN,
        ..settings(&arguments.upkeep)?
    };
    let id = entropy::uuid().map_err(|error| Failed::new(Exit::Failed, error.to_string()))?;
    let mut client = Client::start(connector, tokens, settings);
    let mut last = None;
    let asked = ask(&mut client, &id, &mut last);
    let answered = tokio::time::timeout(arguments.timeout, asked).await;
    client.close().await;
    let ended = answered.unwrap_or_else(|_| Err(no_answer(arguments.timeout, last)))?;
    if let Some(ended) = ended {
        return Ok(ended);
    }
    output.line(
        || "interrupted".to_owned(),
        || json!({"event": "interrupted", "requestId": id}),
    )?;
    Ok(Exit::Done.into())
}

/// Asks to stop and waits for the answer; or gives how the subscription ended.
async fn ask(
    client: &mut Client,
    id: &str,
    last: &mut Option<Cause>,
) -> Result<Option<ExitCode>, Failed> {
    let asked = client
        .handle()
        .request(id, r#"{"subtype":"interrupt"}"#)
        .await;
    asked.map_err(|error| Failed::new(Exit::Failed, error.to_string()))?;
    while let Some(update) = client.next().await {
        match update {
            Update::Connected => *last = None,
            Update::Reconnecting { cause, .. } => *last = Some(cause),
            Update::Closed { reason, detail, .. } => {
                return ending(reason, detail.as_deref()).map(Some);
            }
            Update::Message(message) => {
                let Ok(Frame::Response {
                    request_id,
                    response,
                }) = Frame::parse(&message)
                else {
                    continue;
                };
                if request_id != id {
                    continue;
                }
                return if let Response::Error { error } = response {
                    let message = format!("not interrupted; the session says {error:?}; try again");
                    Err(Failed::new(Exit::Failed, message))
                } else {
                    Ok(None)
                };
            }
            Update::Ignored { .. }
            | Update::Request { .. }
            | Update::RequestRefused { .. }
            | Update::RequestCancelled { .. }
            | Update::Sent { .. } => {}
        }
    }
    Ok(None)
}

fn no_answer(after: Duration, last: Option<Cause>) -> Failed {
    let why = match last {
        None => "the session did not answer".to_owned(),
        Some(cause) => format!("there is no connection: {cause}"),
    };
    Failed::new(
        Exit::TimedOut,
        format!("timed out after {} ms; {why}; try again", after.as_millis()),
    )
}
