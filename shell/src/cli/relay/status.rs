//! `hallway relay status`: who we are to which server, and the sessions that it has.

use std::process::ExitCode;

use hallway_core::relay::raw::Raw;
use serde_json::{Value, json};

use super::args::Status;
use super::set_up;
use crate::cli::error::{Exit, Failed};
use crate::cli::output::Output;
use crate::cli::terminal::visible;
use crate::relay::credentials::Keys;
use crate::relay::http::{SessionRow, account_name};
use crate::relay::session::cipher;

pub(super) async fn run(arguments: &Status, output: &Output) -> Result<ExitCode, Failed> {
    let (home, http) = set_up(&arguments.server)?;
    let credentials = home.credentials()?;
    let machine = home.settings()?.machine_id;
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
            format!(
                "server {}\naccount {account} ({variant})\nmachine {}\nsessions {}, {active} active",
                http.server(),
                visible(machine),
                sessions.len()
            )
        },
        || {
            json!({"event": "status", "server": http.server(), "account": account,
                "variant": variant, "machineId": machine, "sessions": sessions.len(),
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
