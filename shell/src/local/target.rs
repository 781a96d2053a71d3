//! Whom the user means: `uds:<path>`, an absolute path, a pid, a session id or a unique prefix
//! of one, or a name.

use std::fmt;

use hallway_core::local::record::Liveness;

use crate::home::Home;
use crate::local::registry::{self, RegistryError, Session};

/// The shortest prefix of a session id that counts: a shorter one is more likely a mistyped
/// name.
pub const MIN_PREFIX_CHARS: usize = 4;

/// Why a target names no one peer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// An address carries a token, which would then stand in argv, histories and logs.
    #[error(
        "UDS target must not include an inline auth token; use the ListPeers address; it is the part before #token="
    )]
    InlineToken,
    /// The path of an address is not absolute.
    #[error(
        "socket path is not absolute: {0:?}; its capability is filed under the absolute path; give that"
    )]
    NotAbsolute(String),
    /// The registry could not be read.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// Nobody goes by it.
    #[error("no such peer: {target:?}; {hint}; `hallway peers --all` shows who was there")]
    NotFound {
        /// What was asked for.
        target: String,
        /// What is known about it.
        hint: String,
    },
    /// Several go by it.
    #[error(
        "{target:?} is ambiguous; it could be {}; give a pid or a full session id",
        List(candidates)
    )]
    Ambiguous {
        /// What was asked for.
        target: String,
        /// Who goes by it.
        candidates: Vec<Candidate>,
    },
    /// The session does not listen.
    #[error("session {0} has no messaging socket; it cannot be reached")]
    NoSocket(u32),
}

/// One of several sessions that a target may mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The session's process.
    pub pid: u32,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Its id, if it has one.
    pub session_id: Option<String>,
}

struct List<'a>(&'a [Candidate]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, candidate) in self.0.iter().enumerate() {
            let separator = if at == 0 { "" } else { ", " };
            write!(f, "{separator}pid {}", candidate.pid)?;
            // Both texts are another program's: shown escaped.
            if let Some(name) = &candidate.name {
                write!(f, " {name:?}")?;
            }
            if let Some(id) = &candidate.session_id {
                write!(f, " ({})", id.escape_debug())?;
            }
        }
        Ok(())
    }
}

/// Where a target listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// Its socket's path.
    pub path: String,
    /// Its registered session, when it was found by one.
    pub session: Option<Session>,
}

/// Finds the one peer that `target` names.
///
/// Addresses are taken as they are. Else an exact match goes before a prefix: pid, session id,
/// name, then a prefix of a session id of at least [`MIN_PREFIX_CHARS`].
///
/// # Errors
///
/// [`TargetError`].
pub fn resolve(home: &Home, target: &str) -> Result<Resolved, TargetError> {
    if let Some(path) = address(target)? {
        return Ok(Resolved {
            path: path.to_owned(),
            session: None,
        });
    }
    let sessions = registry::glance(home.config(), |scanned| scanned.outcome.ok())?;
    let live: Vec<&Session> = sessions
        .iter()
        .filter(|session| is_there(session))
        .collect();
    let pid: Option<u32> = target.parse().ok();
    let ways: [&dyn Fn(&Session) -> bool; 4] = [
        &|session| pid == Some(session.record.pid()),
        &|session| session.record.session_id().as_deref() == Some(target),
        &|session| session.record.name().as_deref() == Some(target),
        &|session| is_prefix(session, target),
    ];
    for is_meant in ways {
        let mut meant = live.iter().filter(|session| is_meant(session));
        let Some(first) = meant.next() else { continue };
        let others: Vec<_> = meant.collect();
        if !others.is_empty() {
            let all = std::iter::once(first).chain(others);
            return Err(TargetError::Ambiguous {
                target: target.to_owned(),
                candidates: all.map(|session| candidate(session)).collect(),
            });
        }
        let path = first
            .record
            .socket_path()
            .ok_or(TargetError::NoSocket(first.record.pid()))?;
        return Ok(Resolved {
            path: path.into_owned(),
            session: Some((*first).clone()),
        });
    }
    let dead = sessions
        .iter()
        .find(|session| ways.iter().any(|is_meant| is_meant(session)));
    let hint = match dead {
        Some(session) => format!("its session (pid {}) is gone", session.record.pid()),
        None => "no live session goes by that name, id or pid".to_owned(),
    };
    Err(TargetError::NotFound {
        target: target.to_owned(),
        hint,
    })
}

/// The path of an address; `None` when `target` is none.
fn address(target: &str) -> Result<Option<&str>, TargetError> {
    let path = match target.strip_prefix("uds:") {
        Some(path) => path,
        None if target.starts_with('/') => target,
        None => return Ok(None),
    };
    if path.contains("#token=") {
        return Err(TargetError::InlineToken);
    }
    if !path.starts_with('/') {
        return Err(TargetError::NotAbsolute(path.to_owned()));
    }
    Ok(Some(path))
}

/// Whether the session may be there. A doubtful one may: its socket will tell.
pub(crate) fn is_there(session: &Session) -> bool {
    match session.liveness {
        Liveness::Live | Liveness::Doubtful => true,
        Liveness::Recycled | Liveness::Gone | Liveness::Foreign => false,
    }
}

fn is_prefix(session: &Session, target: &str) -> bool {
    target.chars().count() >= MIN_PREFIX_CHARS
        && session
            .record
            .session_id()
            .is_some_and(|id| id.starts_with(target))
}

fn candidate(session: &Session) -> Candidate {
    Candidate {
        pid: session.record.pid(),
        name: session.record.name().map(String::from),
        session_id: session.record.session_id().map(String::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_as_they_are() {
        assert_eq!(address("uds:/a/b").unwrap(), Some("/a/b"));
        assert_eq!(address("/a/b").unwrap(), Some("/a/b"));
        assert_eq!(address("api-worker").unwrap(), None);
        assert_eq!(address("17").unwrap(), None);
    }

    #[test]
    fn inline_tokens_and_relative_paths_are_refused() {
        for target in ["uds:/a#token=ff", "/a#token=ff", "uds:a#token="] {
            let error = address(target).unwrap_err();
            assert!(matches!(error, TargetError::InlineToken), "{target}");
            assert!(!error.to_string().contains("ff"));
        }
        assert!(matches!(address("uds:a"), Err(TargetError::NotAbsolute(path)) if path == "a"));
    }
}
