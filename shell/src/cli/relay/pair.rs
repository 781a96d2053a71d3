//! `hallway relay pair`: shows a URL, and waits until an app has approved it.

use std::process::ExitCode;
use std::time::Duration;

use hallway_core::relay::keys::DataKey;
use hallway_core::relay::pairing::{self, Answer};
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use serde_json::json;

use super::args::Pair;
use super::set_up;
use crate::cli::error::{Exit, Failed};
use crate::cli::output::Output;
use crate::cli::signals::Stop;
use crate::entropy;
use crate::relay::credentials::{Credentials, CredentialsError, Keys};
use crate::relay::http::{Http, Pairing, account_name};
use crate::relay::session::{key_pair, secret};

/// How often the server is asked.
const POLL: Duration = Duration::from_secs(1);

pub(super) async fn run(arguments: &Pair, output: &Output) -> Result<ExitCode, Failed> {
    let (home, http) = set_up(&arguments.server)?;
    match home.credentials() {
        Err(CredentialsError::Missing(_)) => {}
        Ok(_) | Err(_) if arguments.force => {}
        Ok(_) => {
            let path = home.path().display();
            let message =
                format!("paired already; {path} holds credentials; say --force to replace them");
            return Err(Failed::new(Exit::Failed, message));
        }
        Err(error) => return Err(error.into()),
    }
    let mut stop = Stop::listen()?;
    // Before the app approves: what cannot be written here is said in time.
    let id = entropy::uuid().map_err(|error| Failed::new(Exit::Failed, error.to_string()))?;
    let machine = home.machine_id(&id).await?;
    let pair = key_pair()?;
    // Before anything is shown: a server that is not there is said at once.
    let first = http.request_pairing(pair.public()).await?;
    let url = pairing::terminal_url(pair.public());
    let web = arguments.webapp.as_ref();
    let web = web.map(|webapp| pairing::web_url(webapp, pair.public()));
    output.line(
        || picture(&url, web.as_deref()),
        || json!({"event": "pairing", "server": http.server(), "url": url, "webUrl": web}),
    )?;
    let (token, response) = tokio::select! {
        approved = approval(&http, &pair, first) => approved?,
        () = tokio::time::sleep(arguments.timeout) => {
            let message = format!("nobody approved the pairing; {:?} have passed; run it again", arguments.timeout);
            return Err(Failed::new(Exit::TimedOut, message));
        }
        () = stop.wait() => {
            return Err(Failed::new(Exit::Failed, "not paired; it was interrupted; run it again"));
        }
    };
    let answer = Answer::open(&response, &pair).map_err(|error| {
        let message = format!("the answer to the pairing cannot be opened; {error}; run it again, and trust the server less");
        Failed::new(Exit::Refused, message)
    })?;
    let (keys, account) = match answer {
        Answer::Legacy(secret) => {
            let account = account_name(&secret);
            (Keys::Legacy(secret), Some(account))
        }
        Answer::DataKey(public) => {
            let machine = DataKey::from_bytes(&*secret()?);
            (Keys::DataKey { public, machine }, None)
        }
    };
    let variant = keys.variant();
    home.store(&Credentials { token, keys })?;
    output.line(
        || {
            format!(
                "paired with {} ({variant}); machine {machine}",
                http.server()
            )
        },
        || {
            json!({"event": "paired", "server": http.server(), "variant": variant,
                "account": account, "machineId": machine})
        },
    )?;
    Ok(Exit::Done.into())
}

/// Asks until somebody has approved it.
async fn approval(
    http: &Http,
    pair: &hallway_core::relay::keys::BoxKeyPair,
    mut state: Pairing,
) -> Result<(crate::net::AccessToken, String), Failed> {
    loop {
        if let Pairing::Authorized { token, response } = state {
            return Ok((token, response));
        }
        tokio::time::sleep(POLL).await;
        state = http.request_pairing(pair.public()).await?;
    }
}

/// What an app's camera reads, and the URLs beside it.
fn picture(url: &str, web: Option<&str>) -> String {
    // A URL of this length always fits a code.
    let code = QrCode::new(url).map(|code| {
        // Light on dark terminals would be read inverted.
        let mut render = code.render::<Dense1x2>();
        render
            .dark_color(Dense1x2::Light)
            .light_color(Dense1x2::Dark)
            .build()
    });
    let code = code.unwrap_or_default();
    let web = web
        .map(|web| format!("\nor open {web}"))
        .unwrap_or_default();
    format!("{code}\n\nscan this with the app, or open {url}{web}\nwaiting for the approval")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_holds_a_code_and_the_urls() {
        let text = picture("happy://terminal?AAAA", Some("https://w/x"));
        assert!(text.contains("happy://terminal?AAAA") && text.contains("https://w/x"));
        let rows: Vec<_> = text.lines().take_while(|line| !line.is_empty()).collect();
        // Version 2 or larger, with its quiet zone, two modules a line.
        assert!(rows.len() >= 16, "{text}");
        let width = rows.iter().map(|row| row.chars().count()).max();
        assert!(rows.iter().all(|row| Some(row.chars().count()) == width));
    }
}
