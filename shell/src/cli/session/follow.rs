//! `hallway session follow`: print what a remote session says, and answer what it asks.

use std::convert::Infallible;
use std::io::{self, IsTerminal as _};
use std::process::ExitCode;
use std::time::Duration;

use hallway_core::Limits;
use tokio::sync::mpsc;

use super::args::Follow;
use super::input::{Input, Wrong};
use super::view::View;
use super::{connector, ending, render, settings, tokens};
use crate::cli::args::Global;
use crate::cli::error::{Exit, Failed};
use crate::cli::lines::Lines;
use crate::cli::printer;
use crate::cli::signals::Stop;
use crate::clock;
use crate::session::{Client, Handle, Update};

/// How many bytes are rendered before they are printed.
const BATCH_BYTES: usize = 65_536;
/// The longest line of standard input, in bytes.
const MAX_LINE_BYTES: usize = 8_388_608;
/// How many lines of standard input wait for the screen.
const MAX_LINES: usize = 16;
/// How long the last lines may take after a signal.
const LAST_LINES: Duration = Duration::from_secs(2);
/// How often a countdown is shown, and somebody's reading is made sure of.
const LOOK: Duration = Duration::from_secs(1);

pub(super) async fn run(arguments: &Follow, global: &Global) -> Result<ExitCode, Failed> {
    let mut stop = Stop::listen()?;
    let connector = connector(&arguments.remote)?;
    let tokens = tokens(&arguments.remote)?;
    let client = Client::start(connector, tokens, settings(&arguments.upkeep)?);
    let handle = client.handle().clone();
    let (sender, lines) = mpsc::channel(MAX_LINES);
    let screen = if global.json || !io::stdout().is_terminal() {
        Screen::Lines
    } else {
        Screen::View(View::new())
    };
    let output = Output {
        client,
        screen,
        lines,
    };
    let output = output.run();
    tokio::pin!(output);
    tokio::select! {
        biased;
        () = stop.wait() => {}
        ended = &mut output => return ended,
        never = read(sender) => match never {},
    }
    let last = async {
        handle.close().await;
        output.await
    };
    tokio::select! {
        ended = last => ended,
        // A second signal, or a reader that takes nothing.
        () = stop.wait() => Ok(Exit::Done.into()),
        () = tokio::time::sleep(LAST_LINES) => Ok(Exit::Done.into()),
    }
}

/// A line of standard input, or why there is none.
type Line = Result<String, String>;

/// Passes on the lines of standard input. Its end ends nothing.
async fn read(lines: mpsc::Sender<Line>) -> Infallible {
    // A constant within the range; the default would only be shorter.
    let limits = Limits::builder().max_frame_bytes(MAX_LINE_BYTES).build();
    let mut stdin = Lines::new(&limits.unwrap_or_default());
    while let Some((_, line)) = stdin.next().await {
        let line = line.map_err(|failed| failed.message);
        if lines.send(line).await.is_err() {
            break;
        }
    }
    std::future::pending().await
}

enum Screen {
    /// Lines of JSON for programs.
    Lines,
    /// A stream for people.
    View(View),
}

struct Output {
    client: Client,
    screen: Screen,
    lines: mpsc::Receiver<Line>,
}

impl Output {
    /// Prints until the subscription has ended.
    async fn run(mut self) -> Result<ExitCode, Failed> {
        let mut has_input = true;
        let mut out = Vec::new();
        self.refresh(&mut out);
        loop {
            if !out.is_empty() {
                if let Err(error) = printer::write_all(&out).await {
                    return gone(&error);
                }
                out.clear();
            }
            tokio::select! {
                biased;
                line = self.lines.recv(), if has_input => match line {
                    Some(line) => self.obey(line, &mut out).await,
                    None => has_input = false,
                },
                update = self.client.next() => {
                    if let Some(ended) = self.show(update, &mut out) {
                        let printed = printer::write_all(&out).await;
                        self.client.close().await;
                        return match printed {
                            Ok(()) => ended,
                            Err(error) => gone(&error),
                        };
                    }
                }
                () = tokio::time::sleep(LOOK) => if printer::is_gone() {
                    self.client.close().await;
                    return Ok(Exit::Done.into());
                }
            }
            self.refresh(&mut out);
        }
    }

    /// Renders an update and those that are there behind it; gives the end.
    fn show(
        &mut self,
        first: Option<Update>,
        out: &mut Vec<u8>,
    ) -> Option<Result<ExitCode, Failed>> {
        let mut next = first;
        while let Some(update) = next.take() {
            match &mut self.screen {
                Screen::Lines => render::write(&update, clock::wall(), out),
                Screen::View(view) => {
                    let mut text = String::new();
                    view.show(&update, clock::now(), &mut text);
                    out.extend_from_slice(text.as_bytes());
                }
            }
            if let Update::Closed { reason, detail, .. } = update {
                return Some(ending(reason, detail.as_deref()));
            }
            if out.len() < BATCH_BYTES {
                next = self.client.try_next();
            } else {
                return None;
            }
        }
        None
    }

    async fn obey(&mut self, line: Line, out: &mut Vec<u8>) {
        let wrong = match (line, &mut self.screen) {
            (Err(why), _) => Some(why),
            (Ok(line), Screen::Lines) => match Input::parse(&line) {
                Ok(input) => return self.act(input, out).await,
                Err(why) => Some(why),
            },
            (Ok(line), Screen::View(view)) => {
                view.entered();
                match view.typed(&line) {
                    Ok(input) => return self.act(input, out).await,
                    Err(why) => Some(why),
                }
            }
        };
        if let Some(why) = wrong {
            self.complain(&Wrong::Line(why), out);
        }
    }

    async fn act(&mut self, input: Input, out: &mut Vec<u8>) {
        let handle: Handle = self.client.handle().clone();
        if let Err(wrong) = input.act(&handle).await {
            self.complain(&wrong, out);
        }
    }

    fn complain(&mut self, wrong: &Wrong, out: &mut Vec<u8>) {
        match &mut self.screen {
            Screen::Lines => render::write_wrong(wrong, out),
            Screen::View(view) => {
                let words = match wrong {
                    Wrong::Line(why) => why.clone(),
                    Wrong::Answer { error, .. } | Wrong::Request(error) => error.to_string(),
                };
                let mut text = String::new();
                view.note(&words, &mut text);
                out.extend_from_slice(text.as_bytes());
            }
        }
    }

    fn refresh(&mut self, out: &mut Vec<u8>) {
        if let Screen::View(view) = &mut self.screen {
            let columns = rustix::termios::tcgetwinsize(rustix::stdio::stdout());
            let columns = columns.map_or(0, |size| usize::from(size.ws_col));
            // Some terminals do not know.
            let columns = if columns == 0 { 80 } else { columns };
            let mut text = String::new();
            view.refresh(clock::now(), columns, &mut text);
            out.extend_from_slice(text.as_bytes());
        }
    }
}

/// Nobody reads any more, which is a way to end this.
fn gone(error: &io::Error) -> Result<ExitCode, Failed> {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Ok(Exit::Done.into());
    }
    let message = format!("standard output is gone; {error}; nothing more can be shown");
    Err(Failed::new(Exit::Failed, message))
}
