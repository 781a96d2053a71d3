//! `hallway send`: one message from the arguments or standard input, or many with `--json`.

use std::collections::VecDeque;
use std::io::{IsTerminal as _, Read as _};
use std::process::ExitCode;

use hallway_core::local::exchange::{Answer, Data, SendError, SendId};
use hallway_core::local::input::Input;
use hallway_core::local::message::is_blank;
use hallway_core::{FrameTooLong, Framer, Limits};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;

use super::args::Send;
use super::error::{Exit, Failed};
use super::output::Output;
use super::terminal::visible;
use crate::home::Home;
use crate::local::client::{Client, SendFailure};

pub(super) async fn run(arguments: Send, home: Home, output: &Output) -> Result<ExitCode, Failed> {
    let mut limits = Limits::builder();
    if let Some(timeout) = arguments.timeout {
        limits = limits.send_timeout(timeout).connect_timeout(timeout);
    }
    let home = home.with_limits(limits.build()?);
    let kind = arguments.kind.as_str();
    match arguments.text {
        None if output.json => many(&home, &arguments.target, output).await,
        None => {
            let text = standard_input(home.limits())?;
            one(&home, &arguments.target, kind, &text, output).await
        }
        Some(text) => one(&home, &arguments.target, kind, &text, output).await,
    }
}

async fn one(
    home: &Home,
    target: &str,
    kind: &str,
    text: &str,
    output: &Output,
) -> Result<ExitCode, Failed> {
    let mut client = Client::connect_in(home, target).await?;
    let id = client.send_as(kind, Data::Text(text)).await?;
    output.line(
        || id.as_deref().map_or("sent".to_owned(), visible),
        || json!({"event": "sent", "id": id, "address": format!("uds:{}", client.path())}),
    )?;
    Ok(Exit::Done.into())
}

/// All of standard input, which must be text and no longer than a frame may be.
fn standard_input(limits: &Limits) -> Result<String, Failed> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        eprintln!("type the message, then Ctrl-D");
    }
    let most = u64::try_from(limits.max_frame_bytes()).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    stdin
        .take(most.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > most {
        return Err(Failed::new(
            Exit::Usage,
            format!(
                "the message is too long; a frame may have {most} bytes; send a path to a file instead"
            ),
        ));
    }
    String::from_utf8(bytes).map_err(|_| {
        Failed::new(
            Exit::Usage,
            "the message is not UTF-8; JSON cannot carry it; send a path to a file instead",
        )
    })
}

/// One message a line, pipelined over one connection; one line of outcome for each, in order.
async fn many(home: &Home, target: &str, output: &Output) -> Result<ExitCode, Failed> {
    let client = Client::connect_in(home, target).await?;
    let mut lines = Lines::new(home.limits());
    let mut batch = Batch {
        client,
        waiting: VecDeque::new(),
        sent: 0,
        failed: 0,
        first: None,
        output,
    };
    // A line that did not fit waits for the next outcome.
    let mut held = None;
    while !batch.is_over(lines.ended && held.is_none()) {
        if let Some(line) = held.take() {
            held = batch.queue(line)?;
        }
        tokio::select! {
            biased;
            outcome = batch.client.next_outcome(), if !batch.waiting.is_empty() => batch.record(outcome)?,
            line = lines.next(), if held.is_none() && !lines.ended => held = line?,
            else => {}
        }
    }
    batch.conclude(held.is_some() || !lines.ended)
}

/// The messages of one connection, and what became of them.
struct Batch<'a> {
    client: Client,
    /// Queued and not yet answered, with the number of their lines.
    waiting: VecDeque<(SendId, u64)>,
    sent: u64,
    failed: u64,
    first: Option<Failed>,
    output: &'a Output,
}

impl Batch<'_> {
    fn is_over(&self, nothing_to_read: bool) -> bool {
        self.waiting.is_empty() && (nothing_to_read || self.client.is_closed())
    }

    /// Queues a line; gives it back when there is no room for it yet.
    fn queue(&mut self, line: Line) -> Result<Option<Line>, Failed> {
        let input = match Input::parse(&line.text) {
            Ok(input) => input,
            Err(error) => {
                let message = format!(
                    "line {} is no message; {error}; write {{\"type\":\"text\",\"data\":…}}",
                    line.number
                );
                self.fail(line.number, Failed::new(Exit::Usage, message), false)?;
                return Ok(None);
            }
        };
        let draft = input.draft();
        match self.client.queue(draft.kind, draft.data) {
            Ok(id) => self.waiting.push_back((id, line.number)),
            Err(SendError::Full) if !self.waiting.is_empty() => return Ok(Some(line)),
            Err(error) => self.fail(line.number, SendFailure::from(error).into(), false)?,
        }
        Ok(None)
    }

    fn record(
        &mut self,
        outcome: Option<(SendId, Result<Answer, SendFailure>)>,
    ) -> Result<(), Failed> {
        let Some((id, result)) = outcome else {
            return Ok(());
        };
        let Some((_, number)) = self.waiting.pop_front().filter(|(queued, _)| *queued == id) else {
            return Err(Failed::new(
                Exit::Failed,
                "answers out of order; this is a bug; report it",
            ));
        };
        match result {
            Ok(Answer::Accepted(id)) => {
                self.sent += 1;
                self.output
                    .raw(&json!({"event": "sent", "line": number, "id": id}).to_string())
            }
            // Neither was asked for.
            Ok(Answer::Pong | Answer::Object(_)) => Ok(()),
            Err(failure) => {
                let unknown = matches!(failure, SendFailure::Unanswered { written: true, .. });
                self.fail(number, failure.into(), unknown)
            }
        }
    }

    fn fail(&mut self, number: u64, failed: Failed, unknown: bool) -> Result<(), Failed> {
        let value = json!({
            "event": "failed", "line": number, "code": failed.exit.code(),
            "message": failed.message, "taken": if unknown { Value::Null } else { json!(false) },
        });
        self.failed += 1;
        self.first.get_or_insert(failed);
        self.output.raw(&value.to_string())
    }

    fn conclude(self, unread: bool) -> Result<ExitCode, Failed> {
        match self.first {
            None if unread => Err(Failed::new(
                Exit::Failed,
                format!(
                    "the connection ended; {} messages were sent, the lines after them were not read; send those again",
                    self.sent
                ),
            )),
            None => Ok(Exit::Done.into()),
            Some(first) => Err(Failed::new(
                first.exit,
                format!(
                    "{} messages were sent, {} failed; the first: {}",
                    self.sent, self.failed, first.message
                ),
            )),
        }
    }
}

struct Line {
    number: u64,
    text: String,
}

/// The lines of standard input, none longer than a frame may be.
struct Lines {
    stdin: tokio::io::Stdin,
    framer: Framer,
    number: u64,
    ended: bool,
}

impl Lines {
    fn new(limits: &Limits) -> Self {
        Self {
            stdin: tokio::io::stdin(),
            framer: Framer::new(limits),
            number: 0,
            ended: false,
        }
    }

    /// The next line that is not blank; `None` at the end. Cancelling loses nothing.
    async fn next(&mut self) -> Result<Option<Line>, Failed> {
        loop {
            while let Some(frame) = self
                .framer
                .next_frame()
                .map_err(|error| too_long(self.number, error))?
            {
                self.number += 1;
                if !is_blank(frame) {
                    let text = std::str::from_utf8(frame).map_err(|_| not_utf8(self.number))?;
                    return Ok(Some(Line {
                        number: self.number,
                        text: text.to_owned(),
                    }));
                }
            }
            if self.ended {
                return Ok(None);
            }
            let read = self
                .stdin
                .read(self.framer.spare_mut())
                .await
                .map_err(unreadable)?;
            self.framer.commit(read);
            if read == 0 {
                self.ended = true;
                // The last line may lack its newline.
                if let Some(byte) = self.framer.spare_mut().first_mut() {
                    *byte = b'\n';
                    self.framer.commit(1);
                }
            }
        }
    }
}

fn too_long(after: u64, error: FrameTooLong) -> Failed {
    Failed::new(
        Exit::Usage,
        format!(
            "line {} is too long; a frame may have {} bytes; send a path to a file instead",
            after + 1,
            error.limit
        ),
    )
}

fn not_utf8(number: u64) -> Failed {
    Failed::new(
        Exit::Usage,
        format!("line {number} is not UTF-8; JSON cannot carry it; escape it"),
    )
}

fn unreadable(error: std::io::Error) -> Failed {
    Failed::new(
        Exit::Failed,
        format!("standard input cannot be read; {error}; give the text as an argument"),
    )
}
