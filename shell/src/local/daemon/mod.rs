//! The daemon: an inbox that others can reach.

mod acceptor;
mod alarm;
mod connection;
mod desk;
mod shared;
mod stream;
mod timer;

use std::future::poll_fn;
use std::io;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hallway_core::local::connection::Server;
use hallway_core::local::inbox::Entry;
use hallway_core::local::record::{Record, SessionKind};
use hallway_core::{Limits, Mailbox, Token};
use tokio::io::Interest;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{debug, info, warn};
use zeroize::Zeroizing;

use crate::clock;
use crate::entropy;
use crate::home::Home;
use crate::local::capability::{self, CapabilityError, Published};
use crate::local::registry::{self, Registered, RegistryError};
use crate::local::socket_dir::{self, SocketError, SocketSlot};
use crate::paths::PathError;
use alarm::Alarm;
use desk::{Desk, Owner};
use shared::Shared;

/// Why a daemon did not start. Whatever it had made by then is gone again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The config home cannot be found.
    #[error(transparent)]
    Path(#[from] PathError),
    /// There is no place to listen.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The token could not be published.
    #[error(transparent)]
    Capability(#[from] CapabilityError),
    /// The session could not be registered.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The system gave no random bytes.
    #[error("no random bytes; {0}; check /dev/urandom and getrandom(2)")]
    Entropy(io::Error),
    /// The listener, or the timer of its connections, could not be handed to the runtime.
    #[error("the listener cannot be used; {0}; call start within a tokio runtime with IO and time")]
    Runtime(io::Error),
}

/// A [`Daemon`] in the making.
#[derive(Debug, Default)]
pub struct DaemonBuilder {
    home: Option<Home>,
    name: Option<String>,
    session_id: Option<String>,
    socket: Option<PathBuf>,
    listener: Option<UnixListener>,
    owner_channel: bool,
    kind: Option<SessionKind>,
}

impl DaemonBuilder {
    /// Uses `home` in place of the process's own.
    #[must_use]
    pub fn home(mut self, home: Home) -> Self {
        self.home = Some(home);
        self
    }

    /// Registers under `name`.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Registers as the session `id`, in place of a random one.
    #[must_use]
    pub fn session_id(mut self, id: impl Into<String>) -> Self {
        self.session_id = Some(id.into());
        self
    }

    /// Registers as a session of this kind, in place of [`SessionKind::Daemon`].
    #[must_use]
    pub fn kind(mut self, kind: SessionKind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// Listens at `path`, in place of a path of its own.
    #[must_use]
    pub fn socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.socket = Some(path.into());
        self
    }

    /// Takes over a socket that already listens, as a service manager passes it. Its path stays
    /// when the daemon stops.
    #[must_use]
    pub fn listener(mut self, listener: UnixListener) -> Self {
        self.listener = Some(listener);
        self
    }

    /// Opens the owner channel, over which other processes of the owner read the inbox. Entries
    /// are then not to be taken with [`Daemon::next_entry`]: only one consumer is woken.
    #[must_use]
    pub fn owner_channel(mut self, open: bool) -> Self {
        self.owner_channel = open;
        self
    }

    /// Starts: locks and binds the socket, publishes the capability, registers, serves.
    ///
    /// # Errors
    ///
    /// [`StartError`]; nothing is left behind then.
    pub async fn start(self) -> Result<Daemon, StartError> {
        let home = match self.home {
            Some(home) => home,
            None => Home::from_process()?,
        };
        let pid = std::process::id();
        let (mut slot, listener) = match self.listener {
            Some(listener) => SocketSlot::adopt(listener)?,
            None => {
                let socket = self.socket.as_deref();
                let mut slot = SocketSlot::acquire(home.environment(), socket, pid)?;
                let listener = slot.bind()?;
                (slot, listener)
            }
        };
        let path = slot.path().to_owned();
        let mailbox = Arc::new(Mailbox::new(home.limits()));
        let (stop, stopping) = watch::channel(false);
        let mut published = Vec::new();
        let mut tasks = Vec::new();

        // Over the owner channel there may be one; without it the daemon's user is.
        let consumed = Arc::new(AtomicBool::new(!self.owner_channel));
        if self.owner_channel {
            let owner_path = slot.owner_path()?;
            let listener = slot.bind_owner()?;
            let shared = share(&owner_path, &owner_limits(home.limits()))?;
            published.push(capability::publish(
                home.config(),
                &owner_path,
                shared.server.token(),
            )?);
            let (mailbox, taken) = (mailbox.clone(), consumed.clone());
            let desk = move || Desk::Owner(Owner::new(mailbox.clone(), taken.clone()));
            tasks.push(serve(listener, shared, desk, stopping.clone())?);
        }
        let shared = share(&path, home.limits())?;
        published.push(capability::publish(
            home.config(),
            &path,
            shared.server.token(),
        )?);
        let session_id = match self.session_id {
            Some(id) => id,
            None => entropy::uuid().map_err(StartError::Entropy)?,
        };
        let mut record = Record::new(pid);
        record.set_text("sessionId", &session_id);
        if let Some(cwd) = home
            .environment()
            .current_dir
            .as_deref()
            .and_then(|dir| dir.to_str())
        {
            record.set_text("cwd", cwd);
        }
        record.set_number("startedAt", clock::wall().as_millis());
        record.set_text("kind", self.kind.unwrap_or(SessionKind::Daemon).as_str());
        record.set_text("entrypoint", registry::ENTRYPOINT);
        record.set_text("messagingSocketPath", &path);
        if let Some(name) = &self.name {
            record.set_text("name", name);
        }
        if let Some(start) = registry::own_process_start() {
            record.set_text("processStart", &start);
        }
        let registered = registry::publish(home.config(), &record)?;
        let desk = {
            let mailbox = mailbox.clone();
            move || Desk::Inbox {
                mailbox: mailbox.clone(),
                consumed: consumed.clone(),
            }
        };
        tasks.push(serve(listener, shared.clone(), desk, stopping)?);
        info!(%path, "listening");
        tokio::spawn(sweep(home));
        Ok(Daemon {
            path,
            session_id,
            mailbox,
            shared,
            stop,
            tasks,
            registered: Some(registered),
            published,
            slot: Some(slot),
        })
    }
}

/// An inbox that others can reach. Dropping it cuts its connections and removes what it
/// published; [`Daemon::stop`] answers first what was received.
#[derive(Debug)]
pub struct Daemon {
    path: String,
    session_id: String,
    mailbox: Arc<Mailbox>,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    // Withdrawn in this order.
    registered: Option<Registered>,
    published: Vec<Published>,
    slot: Option<SocketSlot>,
}

impl Daemon {
    /// A daemon with the process's own home, in a directory of its own, without a name.
    #[must_use]
    pub fn builder() -> DaemonBuilder {
        DaemonBuilder::default()
    }

    /// Where it listens.
    #[must_use]
    pub fn socket_path(&self) -> &str {
        &self.path
    }

    /// Its address: `uds:<path>`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("uds:{}", self.path)
    }

    /// The session id under which it registered.
    #[must_use]
    pub fn session_id(&self) -> &str {
        &self.session_id
    }

    /// The inbox, for consumers that look before they take.
    #[must_use]
    pub fn mailbox(&self) -> &Arc<Mailbox> {
        &self.mailbox
    }

    /// How many connections of other users were dropped.
    #[must_use]
    pub fn foreign_connections(&self) -> u64 {
        self.shared.foreign.load(Ordering::Relaxed)
    }

    /// Waits for the next message and takes it; `None` once the daemon has stopped and the
    /// inbox is empty. Cancelling loses nothing. One task may wait at a time.
    pub async fn next_entry(&self) -> Option<Entry> {
        while poll_fn(|context| self.mailbox.poll_pending(None, context)).await {
            if let Some(entry) = self.mailbox.pop() {
                return Some(entry);
            }
        }
        None
    }

    /// Stops: withdraws record and capability, accepts nobody more, answers the frames that
    /// have been received, closes. Takes at most the closing timeout. Returns the inbox, closed:
    /// what nobody took, and its senders were told `ok`, is still in it.
    pub async fn stop(mut self) -> Arc<Mailbox> {
        self.registered = None;
        self.published.clear();
        self.stop.send_replace(true);
        for task in &mut self.tasks {
            if let Err(error) = task.await {
                warn!(%error, "a listener's task failed");
            }
        }
        self.slot = None;
        self.mailbox.close();
        self.mailbox.clone()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        self.mailbox.close();
    }
}

/// The owner channel's answers carry whole entries, and its questions may wait.
fn owner_limits(limits: &Limits) -> Limits {
    const ROOM: usize = 4_096;
    let frame = limits.max_frame_bytes().saturating_add(ROOM);
    Limits::builder()
        .max_clients(16)
        .max_clients_per_peer(16)
        .max_unauthenticated_clients(8)
        .max_refused_clients(8)
        .max_frame_bytes(ROOM)
        .max_outbox_bytes(frame.saturating_mul(2))
        .idle_timeout(desk::WAIT + Duration::from_secs(20))
        .build()
        .unwrap_or_default()
}

fn share(path: &str, limits: &Limits) -> Result<Arc<Shared>, StartError> {
    let mut entropy = Zeroizing::new([0_u8; Token::ENTROPY_BYTES]);
    entropy::fill(&mut *entropy).map_err(StartError::Entropy)?;
    let server = Server::new(path, Token::from_entropy(&entropy));
    let alarm = Alarm::new().map_err(StartError::Runtime)?;
    let own_uid = rustix::process::geteuid().as_raw();
    Ok(Arc::new(Shared::new(*limits, server, alarm, own_uid)))
}

fn serve(
    listener: UnixListener,
    shared: Arc<Shared>,
    desk: impl Fn() -> Desk + Send + Sync + 'static,
    stop: watch::Receiver<bool>,
) -> Result<JoinHandle<()>, StartError> {
    let listener = stream::register(listener, Interest::READABLE).map_err(StartError::Runtime)?;
    Ok(tokio::spawn(acceptor::accept(listener, shared, desk, stop)))
}

/// Removes what killed daemons of ours left behind (local.md §5.11): bounded work, in three
/// pieces between which the connections have a turn. Not on a thread of its own, whose heap
/// would stay.
async fn sweep(home: Home) {
    let sockets = socket_dir::sweep_bases(home.environment());
    tokio::task::yield_now().await;
    let capabilities = capability::sweep(home.config());
    tokio::task::yield_now().await;
    let records = registry::sweep(home.config());
    debug!(
        sockets,
        ?capabilities,
        ?records,
        "swept what was left behind"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use hallway_core::Instant;
    use hallway_core::local::inbox::Peer;
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;
    use std::pin::pin;
    use std::task::Poll;

    /// Its socket is never found empty: the runtime ends a turn before, in which a timer is not
    /// seen to fire either.
    #[tokio::test]
    async fn a_refused_peer_is_cut_off_amid_its_bytes() {
        let closing = Duration::from_millis(1);
        let limits = Limits::builder()
            .max_frame_bytes(512)
            .closing_timeout(closing)
            .build()
            .unwrap();
        let shared = share("/s", &limits).unwrap();
        let id = shared.gate.admit(1).unwrap().id;
        let desk = Desk::Inbox {
            mailbox: Arc::new(Mailbox::new(&limits)),
            consumed: Arc::default(),
        };
        let (near, mut far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        far.set_nonblocking(true).unwrap();
        far.write_all(b"x\n").unwrap();
        let peer = Peer { uid: 0, pid: 1 };
        let mut served = pin!(connection::serve(near, peer, shared.ticket(id), desk));
        let (mut room, mut refused) = (None, None);
        loop {
            let mut filled = 0;
            while let Ok(n) = far.write(&[b'x'; 4_096]) {
                filled += n;
            }
            let room = *room.get_or_insert(filled);
            let is_late =
                refused.is_some_and(|refused: Instant| clock::now().since(refused) >= closing);
            if poll_fn(|context| Poll::Ready(served.as_mut().poll(context)))
                .await
                .is_ready()
            {
                break;
            }
            assert!(!is_late, "served on after its deadline");
            assert!(refused.is_none() || filled < room, "it was found empty");
            if refused.is_none() && far.read(&mut [0; 512]).is_ok() {
                refused = Some(clock::now());
            }
            tokio::task::yield_now().await;
        }
        assert!(refused.is_some());
    }

    #[test]
    fn an_entry_fits_into_the_owner_channels_output() {
        for limits in [
            Limits::DEFAULT,
            Limits::builder()
                .max_frame_bytes(2_097_152)
                .build()
                .unwrap(),
        ] {
            let owner = owner_limits(&limits);
            assert!(owner.max_outbox_bytes() > limits.max_frame_bytes() + 1_024);
            assert!(owner.idle_timeout() > desk::WAIT);
        }
    }
}
