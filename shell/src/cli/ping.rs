//! `hallway ping`: is it there?

use std::process::ExitCode;

use hallway_core::Limits;
use hallway_core::local::exchange::Failure;
use serde_json::json;

use super::args::Ping;
use super::error::{Exit, Failed};
use super::output::Output;
use crate::home::Home;
use crate::local::client::{Client, SendFailure};

pub(super) async fn run(
    arguments: &Ping,
    home: &Home,
    output: &Output,
) -> Result<ExitCode, Failed> {
    let mut limits = Limits::builder();
    if let Some(timeout) = arguments.timeout {
        limits = limits.ping_timeout(timeout).connect_timeout(timeout);
    }
    let home = home.clone().with_limits(limits.build()?);
    let mut client = Client::connect_in(&home, &arguments.target).await?;
    let (path, pid) = (client.path().to_owned(), client.peer().pid);
    let after = client
        .ping()
        .await
        .map_err(|failure| not_alive(failure, &path))?;
    let millis = after.as_secs_f64() * 1_000.0;
    output.line(
        || format!("uds:{path} (pid {pid}) answered after {millis:.3} ms"),
        || json!({"event": "pong", "address": format!("uds:{path}"), "pid": pid, "ms": millis}),
    )?;
    Ok(Exit::Done.into())
}

/// A peer that closes or talks nonsense in place of answering is not there, whatever it is.
fn not_alive(failure: SendFailure, path: &str) -> Failed {
    match failure {
        SendFailure::Unanswered {
            failure: Failure::TimedOut,
            ..
        } => Failed::new(
            Exit::TimedOut,
            format!("no answer from peer at {path}; it did not answer in time; it may be stuck"),
        ),
        SendFailure::Unanswered { failure, .. } => Failed::new(
            Exit::Unreachable,
            format!("no answer from peer at {path}; {failure}; it may be ending, or no session"),
        ),
        SendFailure::NotSent(_) | SendFailure::InboxFull | SendFailure::Refused { .. } => {
            failure.into()
        }
    }
}
