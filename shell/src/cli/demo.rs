//! `hallway demo`: two real sessions, as separate processes in a temporary home, at work.

use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use super::error::{Exit, Failed};
use super::output::Output;

/// How long each step may take.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn run(output: &Output) -> Result<ExitCode, Failed> {
    let stage = Stage::new()?;
    let steps = play(&stage, output).await;
    let removed = std::fs::remove_dir_all(&stage.home);
    steps?;
    removed.map_err(|error| broken("the temporary home was not removed", &error.to_string()))?;
    output.line(
        || "all of it happened; the sessions are gone and so is their home".to_owned(),
        || json!({"event": "demo", "ok": true}),
    )?;
    Ok(Exit::Done.into())
}

async fn play(stage: &Stage, output: &Output) -> Result<(), Failed> {
    let step =
        |text: String| output.line(|| text.clone(), || json!({"event": "step", "text": text}));
    step(format!("a temporary home: {}", stage.home.display()))?;
    let mut api = Session::start(stage, "api-worker").await?;
    let mut web = Session::start(stage, "web-worker").await?;
    for session in [&api, &web] {
        step(format!(
            "{} listens at {} (pid {})",
            session.name, session.address, session.pid
        ))?;
    }

    let listed = stage.hallway(&["peers", "--probe", "--json"], 0).await?;
    for name in ["api-worker", "web-worker"] {
        let found = listed
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut found =
            found.filter(|peer| *at(peer, "/name") == name && *at(peer, "/reachable") == true);
        found
            .next()
            .ok_or_else(|| broken("a session is not listed as reachable", &listed))?;
    }
    step("each finds the other in the registry, alive and reachable".to_owned())?;

    for name in ["api-worker", "web-worker"] {
        let pong = stage.hallway(&["ping", name, "--json"], 0).await?;
        let pong: Value =
            serde_json::from_str(&pong).map_err(|_| broken("ping printed no JSON", &pong))?;
        step(format!(
            "{name} answers a ping after {:.3} ms",
            at(&pong, "/ms").as_f64().unwrap_or_default()
        ))?;
    }

    for (from, to, text) in [
        ("web-worker", &mut api, "is the schema landed?"),
        ("api-worker", &mut web, "schema landed 🎉"),
    ] {
        let id = stage.hallway(&["send", &to.name, text], 0).await?;
        let entry = to.next_message().await?;
        if *at(&entry, "/message/data") != text || *at(&entry, "/id") != id.trim() {
            return Err(broken(
                "another message arrived than was sent",
                &entry.to_string(),
            ));
        }
        step(format!(
            "{from} to {}: {text:?}, taken as {}",
            to.name,
            id.trim()
        ))?;
    }

    let words = stage.try_wrong_token(&api).await?;
    step(format!(
        "a stranger with a wrong token is told {words:?} and nothing of it arrives"
    ))?;
    for session in [api, web] {
        let name = session.name.clone();
        session.stop().await?;
        step(format!("{name} stops cleanly"))?;
    }
    let listed = stage.hallway(&["peers", "--all", "--json"], 0).await?;
    if listed.is_empty() {
        step("nothing of them is left in the registry".to_owned())
    } else {
        Err(broken("a stopped session is still listed", &listed))
    }
}

/// The temporary home and the program.
struct Stage {
    home: PathBuf,
    program: PathBuf,
}

impl Stage {
    fn new() -> Result<Self, Failed> {
        let program = std::env::current_exe()
            .map_err(|error| broken("this program is not found", &error.to_string()))?;
        let base = std::env::temp_dir();
        let mut last = String::new();
        // Another demo may have the name; its directory is not touched.
        for attempt in 0..100 {
            let home = base.join(format!("hallway-demo-{}-{attempt}", std::process::id()));
            match std::fs::create_dir(&home) {
                Ok(()) => return Ok(Self { home, program }),
                Err(error) => last = format!("{}: {error}", home.display()),
            }
        }
        Err(broken("no temporary home", &last))
    }

    /// This program in the temporary home, without anything of the user's.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .arg("--config-dir")
            .arg(&self.home)
            .env_remove("CLAUDE_CODE_MESSAGING_SOCKET")
            .env_remove("HALLWAY_LOG")
            .env_remove("XDG_RUNTIME_DIR")
            .env("TMPDIR", &self.home)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs a verb; its standard output when it ends with `code`.
    async fn hallway(&self, arguments: &[&str], code: i32) -> Result<String, Failed> {
        let run = self.command(arguments).output();
        let result = timeout(PATIENCE, run)
            .await
            .map_err(|_| broken("a command hangs", &arguments.join(" ")))?;
        let result =
            result.map_err(|error| broken("a command does not start", &error.to_string()))?;
        if result.status.code() == Some(code) {
            Ok(String::from_utf8_lossy(&result.stdout).into_owned())
        } else {
            Err(broken(
                &arguments.join(" "),
                &String::from_utf8_lossy(&result.stderr),
            ))
        }
    }

    /// Speaks to a session with a token that is not its own; what it is told.
    async fn try_wrong_token(&self, session: &Session) -> Result<String, Failed> {
        let path = session.address.strip_prefix("uds:").unwrap_or_default();
        let talk = async {
            let mut stream = tokio::net::UnixStream::connect(Path::new(path)).await?;
            let frame =
                json!({"type": "text", "data": "let me in", "meta": {"authToken": "0".repeat(64)}});
            tokio::io::AsyncWriteExt::write_all(&mut stream, format!("{frame}\n").as_bytes())
                .await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        };
        let answer = timeout(PATIENCE, talk)
            .await
            .map_err(|_| broken("the session hangs", path))?;
        let answer =
            answer.map_err(|error| broken("the session does not answer", &error.to_string()))?;
        let value: Value =
            serde_json::from_str(&answer).map_err(|_| broken("not one error frame", &answer))?;
        match at(&value, "/data").as_str() {
            Some("unauthorized") => Ok("unauthorized".to_owned()),
            _ => Err(broken("a wrong token was not refused", &answer)),
        }
    }
}

/// One `hallway serve` and what it prints.
struct Session {
    name: String,
    address: String,
    pid: u64,
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Session {
    async fn start(stage: &Stage, name: &str) -> Result<Self, Failed> {
        let mut command = stage.command(&["serve", "--json", "--name", name]);
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| broken("a session does not start", &error.to_string()))?;
        let stdout = child
            .stdout
            .take()
            .ok_or_else(|| broken("a session has no output", name))?;
        let mut session = Self {
            name: name.to_owned(),
            address: String::new(),
            pid: 0,
            child,
            lines: BufReader::new(stdout).lines(),
        };
        let listening = session.next_line().await?;
        session.address = at(&listening, "/address")
            .as_str()
            .unwrap_or_default()
            .to_owned();
        session.pid = at(&listening, "/pid").as_u64().unwrap_or_default();
        Ok(session)
    }

    async fn next_line(&mut self) -> Result<Value, Failed> {
        let line = timeout(PATIENCE, self.lines.next_line()).await;
        match line {
            Ok(Ok(Some(line))) => {
                serde_json::from_str(&line).map_err(|_| broken("a session printed no JSON", &line))
            }
            Ok(Ok(None) | Err(_)) => Err(broken("a session ended", &self.name)),
            Err(_) => Err(broken("a session prints nothing", &self.name)),
        }
    }

    async fn next_message(&mut self) -> Result<Value, Failed> {
        let line = self.next_line().await?;
        if *at(&line, "/event") == "message" {
            Ok(line)
        } else {
            Err(broken("another event than a message", &line.to_string()))
        }
    }

    /// Stops it as an operator would. What it prints until then must be no message.
    async fn stop(mut self) -> Result<(), Failed> {
        let pid = self
            .child
            .id()
            .and_then(|pid| i32::try_from(pid).ok())
            .and_then(rustix::process::Pid::from_raw);
        let pid = pid.ok_or_else(|| broken("a session is gone already", &self.name))?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)
            .map_err(|error| broken("a session cannot be stopped", &error.to_string()))?;
        let last = self.next_line().await?;
        if *at(&last, "/event") != "stopped" {
            return Err(broken(
                "something arrived that was not sent",
                &last.to_string(),
            ));
        }
        let status = timeout(PATIENCE, self.child.wait())
            .await
            .map_err(|_| broken("a session does not stop", &self.name))?;
        match status {
            Ok(status) if status.success() => Ok(()),
            other => Err(broken(
                "a session did not stop cleanly",
                &format!("{}: {other:?}", self.name),
            )),
        }
    }
}

/// What stands at a place of a JSON value, or null.
fn at<'a>(value: &'a Value, place: &str) -> &'a Value {
    value.pointer(place).unwrap_or(&Value::Null)
}

fn broken(what: &str, detail: &str) -> Failed {
    Failed::new(
        Exit::Failed,
        format!(
            "the demo failed: {what}; {}; run `hallway doctor`",
            detail.trim()
        ),
    )
}
