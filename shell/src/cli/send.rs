//! `hallway send`: one message from the arguments or standard input, or many with `--json`.

use std::collections::VecDeque;
use std::io::{IsTerminal as _, Read as _};
use std::process::ExitCode;

use hallway_core::Limits;
use hallway_core::local::exchange::{Answer, Data, SendError, SendId};
use hallway_core::local::input::{Input, InputError};
use serde_json::{Value, json};

use super::args::Send;
use super::error::{Exit, Failed};
use super::lines::{Lines, unreadable};
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
        most: home.limits().max_pending_sends(),
        settled: 0,
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
            line = lines.next(), if held.is_none() && !lines.ended && batch.has_room() => {
                match line {
                    Some((number, Ok(text))) => held = Some(Line { number, text }),
                    Some((number, Err(failed))) => batch.wait(number, Err(failed))?,
                    None => {}
                }
            }
            else => {}
        }
    }
    batch.conclude(held.is_some() || lines.cut || !lines.ended)
}

/// The messages of one connection, and what became of them.
struct Batch<'a> {
    client: Client,
    /// The lines without an outcome, oldest first. The first of them waits for an answer.
    waiting: VecDeque<Waiting>,
    /// How many lines may wait.
    most: usize,
    /// The last line that has its outcome.
    settled: u64,
    sent: u64,
    failed: u64,
    first: Option<Failed>,
    output: &'a Output,
}

struct Waiting {
    line: u64,
    /// The message that it has become, or why none.
    queued: Result<SendId, Failed>,
}

impl Batch<'_> {
    fn is_over(&self, nothing_to_read: bool) -> bool {
        self.waiting.is_empty() && (nothing_to_read || self.client.is_closed())
    }

    fn has_room(&self) -> bool {
        self.waiting.len() < self.most
    }

    /// Queues a line; gives it back when there is no room for it yet.
    fn queue(&mut self, line: Line) -> Result<Option<Line>, Failed> {
        let queued = match Input::parse(&line.text) {
            Ok(input) => {
                let draft = input.draft();
                match self.client.queue(draft.kind, draft.data) {
                    Err(SendError::Full) if !self.waiting.is_empty() => return Ok(Some(line)),
                    queued => queued.map_err(|error| SendFailure::from(error).into()),
                }
            }
            Err(error) => Err(no_message(line.number, error)),
        };
        self.wait(line.number, queued).map(|()| None)
    }

    /// Puts a line behind those that wait.
    fn wait(&mut self, line: u64, queued: Result<SendId, Failed>) -> Result<(), Failed> {
        self.waiting.push_back(Waiting { line, queued });
        self.settle()
    }

    /// Prints the outcomes of the first lines, up to one that waits for an answer.
    fn settle(&mut self) -> Result<(), Failed> {
        while let Some(first) = self.waiting.pop_front_if(|first| first.queued.is_err()) {
            if let Err(failed) = first.queued {
                self.fail(first.line, failed, false)?;
            }
        }
        Ok(())
    }

    fn record(
        &mut self,
        outcome: Option<(SendId, Result<Answer, SendFailure>)>,
    ) -> Result<(), Failed> {
        let Some((id, result)) = outcome else {
            return Ok(());
        };
        let answered = self.waiting.pop_front();
        let Some(number) = answered
            .filter(|first| first.queued.as_ref().is_ok_and(|queued| *queued == id))
            .map(|first| first.line)
        else {
            return Err(Failed::new(
                Exit::Failed,
                "answers out of order; this is a bug; report it",
            ));
        };
        match result {
            Ok(Answer::Accepted(id)) => {
                self.sent += 1;
                self.settled = number;
                self.output
                    .raw(&json!({"event": "sent", "line": number, "id": id}).to_string())?;
            }
            // Neither was asked for.
            Ok(Answer::Pong | Answer::Object(_)) => {}
            Err(failure) => {
                let unknown = matches!(failure, SendFailure::Unanswered { written: true, .. });
                self.fail(number, failure.into(), unknown)?;
            }
        }
        self.settle()
    }

    fn fail(&mut self, number: u64, failed: Failed, unknown: bool) -> Result<(), Failed> {
        let value = json!({
            "event": "failed", "line": number, "code": failed.exit.code(),
            "message": failed.message, "taken": if unknown { Value::Null } else { json!(false) },
        });
        self.failed += 1;
        self.settled = number;
        self.first.get_or_insert(failed);
        self.output.raw(&value.to_string())
    }

    fn conclude(self, unread: bool) -> Result<ExitCode, Failed> {
        let rest = if unread {
            format!("; nothing after line {} was sent", self.settled)
        } else {
            String::new()
        };
        match self.first {
            None if unread => Err(Failed::new(
                Exit::Failed,
                format!("the connection ended{rest}; send the rest again"),
            )),
            None => Ok(Exit::Done.into()),
            Some(first) => Err(Failed::new(
                first.exit,
                format!(
                    "{} messages were sent, {} failed; the first: {}{rest}",
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

fn no_message(number: u64, error: InputError) -> Failed {
    let message =
        format!("line {number} is no message; {error}; write {{\"type\":\"text\",\"data\":…}}");
    Failed::new(Exit::Usage, message)
}
