//! `hallway relay status`: who we are to which server, and what it has: this machine, the sessions.

use std::process::ExitCode;

use hallway_core::relay::raw::Raw;
use serde_json::{Value, json};

use super::args::Status;
use super::set_up;
use crate::cli::error::{Exit, Failed};
use crate::cli::output::Output;
use crate::cli::terminal::visible;
use crate::relay::credentials::Keys;
use crate::relay::http::{Class, MachineRow, SessionRow, account_name};
use crate::relay::machine;
use crate::relay::session::cipher;

pub(super) async fn run(arguments: &Status, output: &Output) -> Result<ExitCode, Failed> {
    let (home, http) = set_up(&arguments.server)?;
    let credentials = home.credentials()?;
    let machine = home.settings()?.machine_id;
    let entry = match &machine {
        Some(id) => match http.machine(&credentials.token, id).await {
            Ok(row) => Some(row),
            Err(error) if matches!(error.class(), Class::NotFound | Class::NoRoute) => None,
            Err(error) => return Err(error.into()),
        },
        None => None,
    };
    let daemon = entry
        .as_ref()
        .and_then(|row| status_of(&credentials.keys, row));
    let sessions = http.sessions(&credentials.token).await?;
    let account = match &credentials.keys {
        Keys::Legacy(secret) => Some(account_name(secret)),
        Keys::DataKey { .. } => None,
    };
    let variant = credentials.keys.variant();
    let active = sessions.iter().filter(|session| session.active).count();
    output.line(
        || {
            let account = account.as_deref().unwrap_or("(its name is not known here)");
            let machine = machine.as_deref().unwrap_or("(none)");
            let alive = match &entry {
                None => "not at the relay",
                Some(row) if row.active => "active",
                Some(_) => "inactive",
            };
            let daemon = daemon.as_ref().map(|status| format!(", its daemon {status}"));
            format!(
                "server {}\naccount {account} ({variant})\nmachine {}, {alive}{}\nsessions {}, {active} active",
                http.server(),
                visible(machine),
                visible(&daemon.unwrap_or_default()),
                sessions.len()
            )
        },
        || {
            json!({"event": "status", "server": http.server(), "account": account,
                "variant": variant, "machineId": machine,
                "machineActive": entry.as_ref().map(|row| row.active), "daemon": daemon,
                "sessions": sessions.len(),
                "active": active})
        },
    )?;
    for session in &sessions {
        let about = about(&credentials.keys, session);
        let field = |name: &str| about.as_ref().and_then(|about| about.get(name)?.as_str());
        output.line(
            || {
                let state = if session.active {
                    "active  "
                } else {
                    "inactive"
                };
                let what = match &about {
                    None => "cannot be read with the keys that are here".to_owned(),
                    Some(_) => {
                        let place = [field("host").unwrap_or("?"), field("path").unwrap_or("?")];
                        visible(&place.join(":"))
                    }
                };
                format!(
                    "{state}  {}  {} messages  {what}",
                    visible(&session.id),
                    session.seq
                )
            },
            || {
                json!({"event": "session", "id": session.id, "active": session.active,
                    "activeAt": session.active_at, "seq": session.seq,
                    "readable": about.is_some(), "path": field("path"), "host": field("host")})
            },
        )?;
    }
    Ok(Exit::Done.into())
}

/// What the daemon of a machine says of itself, if that can be read here.
fn status_of(keys: &Keys, row: &MachineRow) -> Option<String> {
    let state = machine::state(keys, row)?;
    let status = state.raw().get("status")?.text()?;
    Some(status.to_lossy().into_owned())
}

/// The metadata of a session, if they can be read here.
fn about(keys: &Keys, session: &SessionRow) -> Option<Value> {
    let plaintext = cipher(keys, session, None)
        .ok()?
        .open_text(&session.metadata)
        .ok()?;
    plaintext.raw().is_object().then_some(())?;
    let [path, host] = plaintext.raw().pick(["path", "host"])?;
    let text = |raw: Option<Raw<'_>>| Some(raw?.text()?.to_lossy().into_owned());
    Some(json!({"path": text(path), "host": text(host)}))
}
