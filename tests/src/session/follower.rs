//! `hallway session` as a process.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::{Finished, Home, Served};

/// The token that the tests give; it is to appear nowhere.
pub const TOKEN: &str = "tok-e2e-5ecre7-0f-the-test";

/// The session that the tests follow.
pub const SESSION: &str = "session_01 a/b?é";
/// [`SESSION`] in a path.
pub const SESSION_IN_PATH: &str = "session_01%20a%2Fb%3F%C3%A9";
/// Its organisation.
pub const ORGANIZATION: &str = "org&1=x";
/// [`ORGANIZATION`] in a query.
pub const ORGANIZATION_IN_QUERY: &str = "org%261%3Dx";

/// `hallway session VERB` for [`SESSION`] at `base`, with the token in its environment.
#[must_use]
pub fn command(home: &Home, verb: &str, base: &str, more: &[&str]) -> Command {
    let mut arguments = vec!["session", verb, SESSION, "--org", ORGANIZATION];
    arguments.extend(["--base-url", base]);
    arguments.extend(more);
    let mut command = home.command(&arguments);
    command.env("HALLWAY_ACCESS_TOKEN", TOKEN);
    command
}

/// A `hallway session follow` whose lines the test reads. Killed when dropped.
#[derive(Debug)]
pub struct Follower(pub Served);

impl Follower {
    /// Follows at `base`, with more `arguments`.
    #[must_use]
    pub fn start(home: &Home, base: &str, arguments: &[&str]) -> Self {
        Self::of(home, command(home, "follow", base, arguments))
    }

    /// Starts `command` with its standard input open.
    #[must_use]
    pub fn of(home: &Home, mut command: Command) -> Self {
        command.stdin(Stdio::piped());
        Self(Served::spawn(command, &home.config()))
    }

    /// The next line of its output.
    ///
    /// # Panics
    ///
    /// When none comes in time, or it is no JSON.
    #[track_caller]
    pub fn line(&mut self) -> Value {
        self.0.next_line()
    }

    /// The next line, which is to be the lifecycle event `name`.
    ///
    /// # Panics
    ///
    /// When it is something else.
    #[track_caller]
    pub fn event(&mut self, name: &str) -> Value {
        let line = self.line();
        assert_eq!(line["event"], name, "{line}");
        line
    }

    /// Writes one line to its standard input.
    ///
    /// # Panics
    ///
    /// When it does not read any more.
    pub fn tell(&mut self, line: &str) {
        self.0.write_line(line);
    }

    /// Waits for its end, which is to have the exit code `code`; its last lines and its standard
    /// error.
    ///
    /// # Panics
    ///
    /// When it ends otherwise, or not in time.
    #[track_caller]
    pub fn finish(mut self, code: i32) -> Finished {
        let (found, lines, stderr) = self.0.finish();
        let mut stdout = lines.join("\n");
        stdout.push('\n');
        let finished = Finished {
            code: found,
            stdout,
            stderr,
        };
        finished.expect(code)
    }
}
