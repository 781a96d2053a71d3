//! `hallway session`: follow a remote session, or speak to it.

mod args;
mod follow;
mod input;
mod once;
mod render;
mod view;

use std::process::ExitCode;

use hallway_core::session::event::{Cause, CloseReason, DialFailure};
use zeroize::Zeroizing;

pub(super) use args::Session;
use args::{Remote, Upkeep, Verb};

use super::args::Global;
use super::error::{Exit, Failed};
use super::output::Output;
use crate::session::{
    AccessToken, Connector, Endpoint, EndpointError, PostError, Settings, TokenSource,
};

/// The variable that the token may stand in.
const TOKEN_VARIABLE: &str = "HALLWAY_ACCESS_TOKEN";

pub(super) async fn run(
    arguments: Session,
    global: &Global,
    output: &Output,
) -> Result<ExitCode, Failed> {
    match arguments.verb {
        Verb::Follow(follow) => follow::run(&follow, global).await,
        Verb::Send(send) => once::send(send, output).await,
        Verb::Interrupt(interrupt) => once::interrupt(&interrupt, output).await,
    }
}

/// The way to the session that is meant.
fn connector(remote: &Remote) -> Result<Connector, Failed> {
    let endpoint = Endpoint::new(&remote.base_url, &remote.session, &remote.org)?;
    let options = remote.way.options()?;
    Ok(Connector::new(endpoint, &options)?)
}

/// The one source of tokens that there is.
fn tokens(remote: &Remote) -> Result<TokenSource, Failed> {
    let usage = |message: &str| Err(Failed::new(Exit::Usage, message));
    let fixed = std::env::var_os(TOKEN_VARIABLE).filter(|value| !value.is_empty());
    match (&remote.token_file, &remote.token_command, fixed) {
        (Some(path), None, None) => Ok(TokenSource::file(path)),
        (None, Some(command), None) => Ok(TokenSource::command(command)),
        (None, None, Some(value)) => {
            let text = value.into_string().map(Zeroizing::new);
            match text.map(|text| AccessToken::parse(&text)) {
                Ok(Ok(token)) => Ok(TokenSource::fixed(token)),
                Ok(Err(_)) | Err(_) => usage(
                    "HALLWAY_ACCESS_TOKEN holds no token; it must be one word of ASCII; set it anew",
                ),
            }
        }
        (None, None, None) => usage(
            "no access token; there is no source for one; say --token-file or --token-command, or set HALLWAY_ACCESS_TOKEN",
        ),
        _ => usage(
            "more than one source for the access token; it is not clear which counts; leave one of --token-file, --token-command and HALLWAY_ACCESS_TOKEN",
        ),
    }
}

fn settings(upkeep: &Upkeep) -> Result<Settings, Failed> {
    Ok(Settings {
        limits: upkeep.limits()?,
        policy: upkeep.policy(),
        seed: upkeep.seed,
        ..Settings::default()
    })
}

/// How a subscription that has ended ends the command.
fn ending(reason: CloseReason, detail: Option<&str>) -> Result<ExitCode, Failed> {
    let (exit, advice) = match reason {
        CloseReason::User => return Ok(Exit::Done.into()),
        CloseReason::Unauthorized => (Exit::Refused, "get another token"),
        CloseReason::Refused(failure) => meaning(failure),
        CloseReason::GaveUp { cause, .. } => match cause {
            Cause::ConnectionClosed(Some(4_001)) => not_found(),
            Cause::DialFailed(DialFailure::Status { status: 404, .. }) => not_found(),
            Cause::DialFailed(_)
            | Cause::DialTimedOut
            | Cause::ConnectionClosed(_)
            | Cause::MessageTooLong
            | Cause::NoPong
            | Cause::Slept
            | Cause::Forced
            | _ => (Exit::Unreachable, "try again later"),
        },
        _ => (Exit::Failed, "try again"),
    };
    let detail = detail
        .map(|detail| format!("; {detail}"))
        .unwrap_or_default();
    Err(Failed::new(exit, format!("{reason}{detail}; {advice}")))
}

const fn not_found() -> (Exit, &'static str) {
    (Exit::NoPeer, "check the session's id and its organization")
}

fn meaning(failure: DialFailure) -> (Exit, &'static str) {
    match failure {
        DialFailure::NoToken => (Exit::Refused, "check the token's source"),
        DialFailure::Untrusted => (
            Exit::Unreachable,
            "check the server's name, or name its authority with --ca-file",
        ),
        DialFailure::ProxyRefused => (Exit::Refused, "check the proxy variables"),
        DialFailure::Status { status: 404, .. } => not_found(),
        DialFailure::Status { .. } => (Exit::Refused, "check the base URL and the ids"),
        DialFailure::Unreachable | DialFailure::NotWebSocket | _ => {
            (Exit::Unreachable, "check the base URL and the network")
        }
    }
}

impl From<EndpointError> for Failed {
    fn from(error: EndpointError) -> Self {
        Self::new(Exit::Usage, error.to_string())
    }
}

impl From<PostError> for Failed {
    fn from(error: PostError) -> Self {
        let exit = match &error {
            PostError::NoToken(_) => Exit::Refused,
            PostError::Unreachable { failure, .. } => meaning(*failure).0,
            PostError::Unanswered(_) => Exit::Failed,
            PostError::TimedOut { .. } => Exit::TimedOut,
            PostError::Refused { status, .. } => match status {
                401 | 403 => Exit::Refused,
                404 => Exit::NoPeer,
                _ => Exit::Failed,
            },
        };
        Self::new(exit, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hallway_core::backoff::GaveUp;

    #[test]
    fn endings_have_their_exit_codes() {
        let gave_up = |cause| CloseReason::GaveUp {
            why: GaveUp::Retries,
            cause,
        };
        let status = |status| DialFailure::Status {
            status,
            retry_after: None,
        };
        for (reason, exit) in [
            (CloseReason::Unauthorized, Exit::Refused),
            (
                CloseReason::Refused(DialFailure::Untrusted),
                Exit::Unreachable,
            ),
            (
                CloseReason::Refused(DialFailure::ProxyRefused),
                Exit::Refused,
            ),
            (CloseReason::Refused(status(400)), Exit::Refused),
            (gave_up(Cause::ConnectionClosed(Some(4_001))), Exit::NoPeer),
            (gave_up(Cause::DialFailed(status(404))), Exit::NoPeer),
            (gave_up(Cause::DialFailed(status(503))), Exit::Unreachable),
            (gave_up(Cause::ConnectionClosed(None)), Exit::Unreachable),
            (gave_up(Cause::NoPong), Exit::Unreachable),
        ] {
            assert_eq!(ending(reason, None).unwrap_err().exit, exit, "{reason}");
        }
        assert!(ending(CloseReason::User, None).is_ok());
        let words = ending(gave_up(Cause::NoPong), Some("why"))
            .unwrap_err()
            .message;
        assert_eq!(words.matches(';').count(), 3, "{words}");
    }
}
