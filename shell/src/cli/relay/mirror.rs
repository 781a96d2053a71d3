//! `hallway relay mirror`: a session of the relay at standard input and output.

use std::process::ExitCode;
use std::time::Duration;

use hallway_core::Limits;
use hallway_core::local::inbox::Entry;
use hallway_core::relay::link::CloseReason;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::args;
use super::render;
use super::{about, metadata, set_up};
use crate::cli::args::Global;
use crate::cli::error::{Exit, Failed};
use crate::cli::lines::Lines;
use crate::cli::output::Output;
use crate::cli::printer::print;
use crate::cli::signals::Stop;
use crate::cli::terminal::visible;
use crate::entropy;
use crate::home::Home;
use crate::local::client::Client;
use crate::local::daemon::Daemon;
use crate::paths::Environment;
use crate::relay::credentials::{Claim, ClaimError, HappyHome};
use crate::relay::handlers::{HandlerLimits, Handlers, Method, NO_LANDLOCK};
use crate::relay::machine::Presence;
use crate::relay::mirror::{Input, Mirror, Said};
use crate::relay::session;
use crate::relay::transport::{Relay, Update, Upkeep};

/// How many messages wait for the local session that they are delivered to.
const MAX_UNDELIVERED: usize = 1_024;
/// How long after a message was shown the file says so, at most.
const KEEP_AFTER: Duration = Duration::from_secs(1);
/// How often what is kept about the session is written without need, so that nobody sweeps it.
const KEEP_FRESH: Duration = Duration::from_hours(24);

pub(super) async fn run(
    arguments: args::Mirror,
    global: &Global,
    output: &Output,
) -> Result<ExitCode, Failed> {
    let mut stop = Stop::listen()?;
    let (files, http) = set_up(&arguments.server)?;
    let credentials = files.credentials()?;
    let failed = |error: std::io::Error| Failed::new(Exit::Failed, error.to_string());
    let directory = match &arguments.directory {
        Some(directory) => directory.canonicalize(),
        None => std::env::current_dir(),
    };
    let directory = directory.map_err(|error| {
        Failed::new(
            Exit::Usage,
            format!("the directory cannot be used; {error}; name another with --directory"),
        )
    })?;
    let handlers = Handlers::new(
        &directory,
        arguments.allow_rpc.clone(),
        HandlerLimits::DEFAULT,
    )?;
    confined(handlers.unconfined())?;
    if arguments.allow_rpc.contains(&Method::Bash) {
        tracing::warn!("the app may run any command as this user");
    }
    let machine = files.machine_id(&entropy::uuid().map_err(failed)?).await?;
    let tag = match &arguments.tag {
        Some(tag) => tag.clone(),
        None => entropy::uuid().map_err(failed)?,
    };
    let described = metadata(&files, &machine, &directory).to_string();
    let server = http.server();
    let mut claim = files.claim_tag(&server, &tag).await?;
    // What is wrong with it is said before there is a session.
    let presence = if arguments.machine {
        let upkeep = Upkeep::default();
        let about = about(&files);
        Some(Presence::start(http.clone(), &credentials, &machine, about, &upkeep).await?)
    } else {
        None
    };
    let (row, joined) = session::open(&http, &files, &credentials, &tag, &described).await?;
    files.claim_session(&mut claim, &server, &row.id).await?;
    let swept = files.sweep(std::time::SystemTime::now());
    tracing::debug!(swept, "what was kept about sessions of long ago");
    let mut kept = Kept {
        files,
        _claim: claim,
        server: server.clone(),
        tag: tag.clone(),
        session: row.id.clone(),
        last: 0,
        due: Instant::now(),
    };
    kept.begin(arguments.after, row.seq)?;
    let upkeep = Upkeep {
        after: kept.last,
        ..Upkeep::default()
    };
    let relay =
        Relay::start(http, credentials.token.clone(), joined, &upkeep).map_err(|error| {
            Failed::new(
                Exit::Failed,
                format!("the token cannot be used; {error}; pair anew"),
            )
        })?;
    let mirror = Mirror::new(relay, handlers, arguments.ask.clone()).map_err(|error| {
        Failed::new(
            Exit::Usage,
            format!("too much is to be served; {error}; name fewer methods"),
        )
    })?;
    let home = || Home::new(Environment::from_process(), global.config_dir.as_deref());
    let inbox = match &arguments.inbox {
        Some(name) => Some(Daemon::builder().home(home()?).name(name).start().await?),
        None => None,
    };
    let local = match &arguments.deliver {
        Some(target) => Some(Local::start(home()?, target.clone())),
        None => None,
    };
    output.line(
        || {
            let inbox = inbox
                .as_ref()
                .map(|inbox| format!(", inbox {}", inbox.address()));
            let inbox = inbox.unwrap_or_default();
            let machine = presence
                .as_ref()
                .map(|_| format!(", machine {}", visible(&machine)));
            let machine = machine.unwrap_or_default();
            format!("session {} at {server}, tag {tag}{inbox}{machine}", row.id)
        },
        || {
            json!({"event": "session", "id": row.id, "tag": tag, "server": server, "seq": row.seq,
            "inbox": inbox.as_ref().map(Daemon::address),
            "machineId": presence.as_ref().map(|_| &machine)})
        },
    )?;
    let mut ends = Ends {
        mirror,
        inbox,
        local,
        presence,
        kept,
        json: output.json,
        stopping: false,
    };
    let code = ends.attend(&mut stop).await;
    ends.kept.keep();
    if code.is_err() {
        ends.wind_up(&mut stop).await;
    }
    let hurried = code.is_err() && ends.stopping;
    if let Some(presence) = ends.presence.take() {
        finish(presence, ends.json, hurried, &mut stop).await;
    }
    if let Some(inbox) = ends.inbox {
        inbox.stop().await;
    }
    ends.mirror.leave().await;
    code
}

/// Refuses what could be served only without confinement.
fn confined(mut unconfined: impl Iterator<Item = Method>) -> Result<(), Failed> {
    let Some(method) = unconfined.next() else {
        return Ok(());
    };
    let name = method.name();
    let text = format!(
        "{name} cannot be confined to the directory; {NO_LANDLOCK}; leave out --allow-rpc {name}"
    );
    Err(Failed::new(Exit::Refused, text))
}

impl From<ClaimError> for Failed {
    fn from(error: ClaimError) -> Self {
        match error {
            ClaimError::Held(_) => Self::new(Exit::Refused, error.to_string()),
            ClaimError::Dir(error) => error.into(),
        }
    }
}

/// What is between the relay and here.
struct Ends {
    mirror: Mirror,
    inbox: Option<Daemon>,
    local: Option<Local>,
    /// The machine's own entry.
    presence: Option<Presence>,
    kept: Kept,
    json: bool,
    /// A signal has come.
    stopping: bool,
}

/// How far the session's messages were shown, in a file for the next time. Nobody else writes
/// it meanwhile.
struct Kept {
    files: HappyHome,
    _claim: Claim,
    server: String,
    tag: String,
    session: String,
    last: u64,
    /// When what is in the file is to be what is known.
    due: Instant,
}

impl Kept {
    /// Begins after `after`, else where the file says, else after `newest`.
    fn begin(&mut self, after: Option<u64>, newest: u64) -> Result<(), Failed> {
        let (server, session) = (&self.server, &self.session);
        self.last = match after {
            Some(after) => after,
            None => self.files.cursor(server, session)?.unwrap_or(newest),
        };
        // What comes before the first message is shown must not be passed over next time.
        self.files.keep_cursor(server, session, self.last)?;
        self.due = Instant::now() + KEEP_FRESH;
        Ok(())
    }

    fn shown(&mut self, last: u64) {
        if last != self.last {
            self.last = last;
            self.due = self.due.min(Instant::now() + KEEP_AFTER);
        }
    }

    /// Messages come again next time when this fails, and none is lost.
    fn keep(&mut self) {
        let (server, session) = (&self.server, &self.session);
        self.due = Instant::now() + KEEP_FRESH;
        if let Err(error) = self.files.keep_cursor(server, session, self.last) {
            tracing::warn!(%error, "messages that were shown will be shown again");
        }
        if let Err(error) = self.files.refresh_session_key(server, &self.tag) {
            tracing::debug!(%error, "the session's key is not kept for longer");
        }
    }
}

/// The local session that hears what the user says, by a task of its own.
struct Local {
    texts: mpsc::Sender<String>,
    failures: mpsc::Receiver<String>,
}

impl Local {
    fn start(home: Home, target: String) -> Self {
        let (texts, mut waiting) = mpsc::channel::<String>(MAX_UNDELIVERED);
        let (failed, failures) = mpsc::channel(1);
        tokio::spawn(async move {
            while let Some(text) = waiting.recv().await {
                // What fails is said, and lost to the local session alone: it was printed.
                if let Err(failure) = deliver(&home, &target, &text).await
                    && failed.send(failure.message).await.is_err()
                {
                    break;
                }
            }
        });
        Self { texts, failures }
    }
}

async fn deliver(home: &Home, target: &str, text: &str) -> Result<(), Failed> {
    let mut client = Client::connect_in(home, target).await?;
    client.send(text).await?;
    Ok(())
}

impl Ends {
    async fn attend(&mut self, stop: &mut Stop) -> Result<ExitCode, Failed> {
        let mut lines = Lines::new(&Limits::DEFAULT);
        let mut ended = false;
        loop {
            let inbox = self.inbox.as_ref();
            let entry = async {
                match inbox {
                    Some(inbox) => inbox.next_entry().await,
                    None => std::future::pending().await,
                }
            };
            let local = self.local.as_mut();
            let failure = async {
                match local {
                    Some(local) => local.failures.recv().await,
                    None => std::future::pending().await,
                }
            };
            let presence = self.presence.as_mut();
            let of_machine = async {
                match presence {
                    Some(presence) => presence.next().await,
                    None => std::future::pending().await,
                }
            };
            let keep = tokio::time::sleep_until(self.kept.due);
            tokio::select! {
                said = self.mirror.next() => {
                    let Some(said) = said else { return Ok(Exit::Done.into()) };
                    self.show(&said).await?;
                    if let Some(last) = self.mirror.cursor() {
                        self.kept.shown(last);
                    }
                    if let Some(code) = ending(&said) {
                        return code;
                    }
                }
                line = lines.next(), if !ended => match line {
                    Some((number, line)) => self.obey(number, line).await?,
                    None => ended = true,
                },
                Some(entry) = entry => self.pass_on(&entry).await?,
                () = keep => self.kept.keep(),
                update = of_machine => match update {
                    Some(update) => tell_machine(&update, self.json).await?,
                    None => {
                        if let Some(presence) = self.presence.take() {
                            presence.leave().await;
                        }
                    }
                },
                Some(failure) = failure => self.say("undelivered", &failure).await?,
                () = stop.wait() => {
                    if self.stopping {
                        let message = "the session was not ended; it was interrupted twice; the \
                            server takes it for gone in ten minutes";
                        return Err(Failed::new(Exit::Failed, message));
                    }
                    self.stopping = true;
                    self.mirror.end();
                    if let Some(presence) = &mut self.presence {
                        presence.end();
                    }
                }
            }
        }
    }

    /// Ends the session although nothing can be shown any more, unless it is interrupted.
    async fn wind_up(&mut self, stop: &mut Stop) {
        if self.stopping {
            return;
        }
        self.mirror.end();
        let told = async { while self.mirror.next().await.is_some() {} };
        tokio::select! {
            () = told => {}
            () = stop.wait() => {}
        }
    }

    async fn show(&mut self, said: &Said) -> Result<(), Failed> {
        if let (Some(local), Said::Update(Update::UserMessage(message))) = (&self.local, said)
            && local.texts.try_send(render::user_text(message)).is_err()
        {
            let why = "too many messages wait for the local session";
            self.say("undelivered", why).await?;
        }
        let line = if self.json {
            render::value(said)
        } else {
            render::text(said)
        };
        print(format!("{line}\n").as_bytes()).await
    }

    async fn obey(&mut self, number: u64, line: Result<String, Failed>) -> Result<(), Failed> {
        let line = match line {
            Ok(line) => line,
            Err(failed) => return self.say("rejected", &failed.message).await,
        };
        let done = Input::parse(&line)
            .and_then(|input| self.mirror.act(input).map_err(|error| error.to_string()));
        match done {
            Ok(None) => Ok(()),
            Ok(Some(id)) if self.json => {
                let line = json!({"event": "queued", "line": number, "id": id});
                print(format!("{line}\n").as_bytes()).await
            }
            Ok(Some(_)) => Ok(()),
            Err(why) => self.say("rejected", &format!("line {number}: {why}")).await,
        }
    }

    /// Tells the app what a local session says.
    async fn pass_on(&mut self, entry: &Entry) -> Result<(), Failed> {
        let message: Value = serde_json::from_str(entry.message()).unwrap_or_default();
        let text = match message.get("data") {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => entry.message().to_owned(),
        };
        let event = json!({"kind": "event", "id": entropy::uuid().unwrap_or_default(),
            "data": {"type": "message", "message": text}});
        self.obey(0, Ok(event.to_string())).await
    }

    async fn say(&self, event: &str, why: &str) -> Result<(), Failed> {
        let line = if self.json {
            json!({"event": event, "why": why}).to_string()
        } else {
            format!("{event}: {}", crate::cli::terminal::visible(why))
        };
        print(format!("{line}\n").as_bytes()).await
    }
}

async fn tell_machine(update: &Update, json: bool) -> Result<(), Failed> {
    let line = if json {
        render::machine_value(update)
    } else {
        render::machine_text(update)
    };
    match line {
        Some(line) => print(format!("{line}\n").as_bytes()).await,
        None => Ok(()),
    }
}

/// Ends the machine's own entry after the session, whether that can be shown or not, unless it
/// is interrupted.
async fn finish(mut presence: Presence, json: bool, hurried: bool, stop: &mut Stop) {
    if !hurried {
        presence.end();
        let told = async {
            let mut shown = true;
            while let Some(update) = presence.next().await {
                shown = shown && tell_machine(&update, json).await.is_ok();
            }
        };
        tokio::select! {
            () = told => {}
            () = stop.wait() => {}
        }
    }
    presence.leave().await;
}

/// How a session that has ended ends the command.
fn ending(said: &Said) -> Option<Result<ExitCode, Failed>> {
    let Said::Update(Update::Closed { reason, unsent, .. }) = said else {
        return None;
    };
    let exit = match reason {
        CloseReason::User if *unsent == 0 => return Some(Ok(Exit::Done.into())),
        CloseReason::User => {
            let message = format!(
                "{unsent} messages were not sent; the relay was not reached in time; send them again"
            );
            return Some(Err(Failed::new(Exit::Failed, message)));
        }
        CloseReason::Refused(_) => (Exit::Refused, "pair anew"),
        CloseReason::DialRefused(_) => (
            Exit::Unreachable,
            "check the server's URL and its certificate",
        ),
        CloseReason::GaveUp { .. } => (Exit::Unreachable, "try again later"),
        CloseReason::Incompatible | _ => (Exit::Failed, "check the server's version"),
    };
    let (exit, advice) = exit;
    Some(Err(Failed::new(
        exit,
        format!("the relay: {reason}; {unsent} messages were not sent; {advice}"),
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_that_is_not_confined_is_refused_by_name() {
        assert!(confined(std::iter::empty()).is_ok());
        let refused = confined([Method::Difftastic].into_iter()).unwrap_err();
        assert_eq!(refused.exit, Exit::Refused);
        let text = refused.message;
        assert!(text.starts_with("difftastic cannot be confined"), "{text}");
        assert!(text.ends_with("leave out --allow-rpc difftastic"), "{text}");
    }
}
