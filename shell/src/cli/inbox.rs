//! `hallway inbox`: reads the held messages of a daemon.

use std::process::ExitCode;

use super::args::Inbox;
use super::entries;
use super::error::{Exit, Failed};
use super::output::Output;
use super::printer;
use super::signals::Stop;
use crate::home::Home;
use crate::local::owner::OwnerClient;
use crate::local::peers;
use crate::paths::owner_path;

pub(super) async fn run(
    arguments: &Inbox,
    home: &Home,
    output: &Output,
) -> Result<ExitCode, Failed> {
    let target = match &arguments.of {
        Some(target) => target.clone(),
        None => own_inbox(home)?,
    };
    let mut stop = Stop::listen()?;
    let mut owner = OwnerClient::connect(home, &target).await?;
    let reading = read(arguments, &mut owner, output);
    tokio::select! {
        ended = reading => ended?,
        () = stop.wait() => {}
    }
    Ok(Exit::Done.into())
}

async fn read(arguments: &Inbox, owner: &mut OwnerClient, output: &Output) -> Result<(), Failed> {
    if !arguments.peek {
        owner.consume().await?;
    }
    let mut seen = None;
    loop {
        let Some((id, line)) = owner.next(seen, arguments.follow).await? else {
            if arguments.follow {
                continue;
            }
            return Ok(());
        };
        let shown = if output.json {
            line
        } else {
            entries::text(&line)
        };
        printer::print(format!("{shown}\n").as_bytes()).await?;
        // Only what has been shown is processed.
        if !arguments.peek {
            owner.mark_processed(id).await?;
        }
        seen = Some(id);
    }
}

/// The inbox of the session that this command runs in, or the only held one there is.
fn own_inbox(home: &Home) -> Result<String, Failed> {
    let own = home
        .environment()
        .messaging_socket
        .as_deref()
        .and_then(|path| path.to_str());
    if let Some(path) = own.filter(|path| !path.is_empty()) {
        return Ok(path.to_owned());
    }
    let peers = peers::live(home)?;
    let held: Vec<_> = peers
        .iter()
        .filter_map(|peer| peer.socket_path.as_deref())
        .filter(|path| owner_path(path).is_ok_and(|path| std::fs::symlink_metadata(path).is_ok()))
        .collect();
    match held.as_slice() {
        [path] => Ok((*path).to_owned()),
        [] => Err(Failed::new(
            Exit::NoPeer,
            "no held inbox; no live session keeps its messages; start `hallway serve --hold`",
        )),
        several => Err(Failed::new(
            Exit::NoPeer,
            format!(
                "{} held inboxes; it is not clear which is meant; say --of TARGET",
                several.len()
            ),
        )),
    }
}
