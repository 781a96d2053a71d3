//! Who is there.

use std::path::Path;
use std::time::Duration;

use hallway_core::UnixTime;
use hallway_core::local::record::Liveness;
use tokio::task::JoinSet;

use crate::home::Home;
use crate::local::client::{Client, ConnectError};
use crate::local::registry::{self, RegistryError, Scanned};
use crate::local::target::Resolved;

/// How many peers are pinged at once.
const PROBES: usize = 32;

/// A session that the registry announces, or a file there that is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerInfo {
    /// The pid in the file's name.
    pub pid: u32,
    /// The session's name.
    pub name: Option<String>,
    /// The session's id.
    pub session_id: Option<String>,
    /// What kind of session it is.
    pub kind: Option<String>,
    /// Its working directory.
    pub cwd: Option<String>,
    /// When it started.
    pub started_at: Option<UnixTime>,
    /// The path of its socket.
    pub socket_path: Option<String>,
    /// How it stands.
    pub standing: Standing,
}

/// How a session stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Standing {
    /// Its process lives and has a socket; whether it answers was not asked.
    Live,
    /// It answered a ping.
    Reachable {
        /// How long that took.
        after: Duration,
    },
    /// Its process lives, but it did not answer.
    Unreachable {
        /// Why not.
        why: String,
    },
    /// It is not there, or not to be reached.
    Absent {
        /// Why not.
        why: String,
    },
}

impl Standing {
    /// Whether the session is one that messages can be sent to, as far as is known.
    #[must_use]
    pub const fn is_there(&self) -> bool {
        matches!(self, Self::Live | Self::Reachable { .. })
    }
}

/// Every session that the registry announces, dead ones and this process's own session among
/// them, by pid. Nobody is asked.
///
/// # Errors
///
/// [`RegistryError`] when the registry cannot be read.
pub fn all(home: &Home) -> Result<Vec<PeerInfo>, RegistryError> {
    each(home, |_| true, |peer| peer)
}

/// The sessions whose process lives and has a socket, without this process's own.
///
/// # Errors
///
/// [`RegistryError`] when the registry cannot be read.
pub fn live(home: &Home) -> Result<Vec<PeerInfo>, RegistryError> {
    each(home, Standing::is_there, |peer| peer)
}

/// What `take` makes of each that is wanted; many are shared between threads.
pub(crate) fn each<T: Send>(
    home: &Home,
    wanted: impl Fn(&Standing) -> bool + Sync,
    take: impl Fn(PeerInfo) -> T + Sync,
) -> Result<Vec<T>, RegistryError> {
    let own = home.environment().messaging_socket.as_deref();
    let own = own.and_then(|path| path.to_str());
    registry::glance(home.config(), |scanned| {
        let peer = describe(scanned, own);
        wanted(&peer.standing).then(|| take(peer))
    })
}

/// Pings those that are there, many at once, and notes how they stand.
pub async fn probe(home: &Home, peers: &mut [PeerInfo]) {
    let mut waiting: Vec<(usize, String)> = peers
        .iter()
        .enumerate()
        .filter(|(_, peer)| peer.standing.is_there())
        .filter_map(|(at, peer)| peer.socket_path.clone().map(|path| (at, path)))
        .collect();
    let mut probes = JoinSet::new();
    loop {
        while probes.len() < PROBES
            && let Some((at, path)) = waiting.pop()
        {
            let home = home.clone();
            probes.spawn(async move { (at, ask(&home, path).await) });
        }
        let Some(joined) = probes.join_next().await else {
            break;
        };
        if let Ok((at, standing)) = joined
            && let Some(peer) = peers.get_mut(at)
        {
            peer.standing = standing;
        }
    }
}

async fn ask(home: &Home, path: String) -> Standing {
    let resolved = Resolved {
        path,
        session: None,
    };
    let connected = Client::connect_to(home, &resolved).await;
    let mut client = match connected {
        Ok(client) => client,
        Err(error) => return Standing::Unreachable { why: why(&error) },
    };
    match client.ping().await {
        Ok(after) => Standing::Reachable { after },
        Err(error) => Standing::Unreachable {
            why: error.to_string(),
        },
    }
}

/// A connect error in a listing, where its path and advice would only repeat.
fn why(error: &ConnectError) -> String {
    match error {
        ConnectError::NoToken { source, .. } => format!("no auth token; {source}"),
        ConnectError::Failed { source, .. } => format!("connect failed: {source}"),
        ConnectError::Path(_)
        | ConnectError::Target(_)
        | ConnectError::TimedOut { .. }
        | ConnectError::Foreign { .. } => error.to_string(),
    }
}

fn describe(scanned: Scanned, own: Option<&str>) -> PeerInfo {
    let session = match scanned.outcome {
        Ok(session) => session,
        Err(skipped) => {
            return PeerInfo {
                pid: scanned.pid,
                name: None,
                session_id: None,
                kind: None,
                cwd: None,
                started_at: None,
                socket_path: None,
                standing: Standing::Absent {
                    why: skipped.to_string(),
                },
            };
        }
    };
    let record = &session.record;
    let socket_path = record.socket_path().map(String::from);
    PeerInfo {
        pid: record.pid(),
        name: record.name().map(String::from),
        session_id: record.session_id().map(String::from),
        kind: record.kind().map(String::from),
        cwd: record.cwd().map(String::from),
        started_at: record.started_at(),
        standing: standing(session.liveness, socket_path.as_deref(), own),
        socket_path,
    }
}

fn standing(liveness: Liveness, socket_path: Option<&str>, own: Option<&str>) -> Standing {
    let why = match (liveness, socket_path) {
        (Liveness::Gone, _) => "its process has ended",
        (Liveness::Recycled, _) => "its process has ended; another has its pid",
        (Liveness::Foreign, _) => "its pid is a process of another user",
        (Liveness::Live | Liveness::Doubtful, None) => "it has no messaging socket",
        (Liveness::Live | Liveness::Doubtful, Some(path)) if Some(path) == own => {
            "it is this session itself"
        }
        (Liveness::Live | Liveness::Doubtful, Some(path)) if is_missing(path) => {
            "its socket is gone"
        }
        (Liveness::Live | Liveness::Doubtful, Some(_)) => return Standing::Live,
    };
    Standing::Absent {
        why: why.to_owned(),
    }
}

fn is_missing(path: &str) -> bool {
    let found = std::fs::symlink_metadata(Path::new(path));
    found.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}
