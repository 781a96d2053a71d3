//! What is printed: text for people, one JSON object a line for programs.

use std::io::{self, IsTerminal as _, Write as _};

use serde_json::Value;

use super::args::{Color, Global};
use super::error::{Exit, Failed};
use super::terminal::visible;

/// Where the command prints.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    pub(super) json: bool,
}

/// Whether standard error is to have colour.
pub(super) fn stderr_has_color(global: &Global) -> bool {
    match global.color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
    }
}

impl Output {
    pub(super) const fn new(global: &Global) -> Self {
        Self { json: global.json }
    }

    /// Prints a line for people, or `value` for programs.
    pub(super) fn line(
        &self,
        text: impl FnOnce() -> String,
        value: impl FnOnce() -> Value,
    ) -> Result<(), Failed> {
        let line = if self.json {
            value().to_string()
        } else {
            text()
        };
        self.raw(&line)
    }

    /// Prints a line as it is, and makes sure that it is out.
    pub(super) fn raw(&self, line: &str) -> Result<(), Failed> {
        let mut stdout = anstream::stdout().lock();
        writeln!(stdout, "{line}")
            .and_then(|()| stdout.flush())
            .map_err(lost)
    }

    /// Prints why the command ends. When even that fails, the exit code is all there is.
    pub(super) fn error(&self, failed: &Failed) {
        let printed = if self.json {
            let code = failed.exit.code();
            let value =
                serde_json::json!({"event": "error", "code": code, "message": failed.message});
            writeln!(io::stderr(), "{value}")
        } else {
            writeln!(
                anstream::stderr(),
                "\u{1b}[1;31merror:\u{1b}[0m {}",
                visible(&failed.message)
            )
        };
        drop(printed);
    }
}

/// Prints bytes that are no line: a script, a page.
pub(super) fn print_all(bytes: &[u8]) -> Result<(), Failed> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(bytes)
        .and_then(|()| stdout.flush())
        .map_err(lost)
}

fn lost(error: io::Error) -> Failed {
    Failed::new(
        Exit::Failed,
        format!("standard output is gone; {error}; nothing more can be shown"),
    )
}
