//! A relay server for tests, written from relay.md and not from the client: accounts, pairing,
//! sessions, machines, messages, versions, RPC routing, and faults on demand. It never sees a plaintext.
//!
//! Everything is in one [`State`] behind a lock, and there are two [`Front`]s to it.

mod by_hand;
mod events;
mod library;
mod routes;
mod state;

use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use state::Way;
use tokio::runtime::Runtime;

pub use state::{Faults, Machine, Message, Session, State};

/// What speaks HTTP, WebSocket, Engine.IO and Socket.IO for the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    /// The crates `socketioxide` and `axum`. They answer heartbeats whatever
    /// [`Faults::half_open`] says.
    Library,
    /// Threads and sockets, for every fault that there is.
    ByHand,
}

impl Front {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Library, Self::ByHand];
}

/// A server on a port of its own, until it is dropped.
#[derive(Debug)]
pub struct RelayServer {
    url: String,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Something in the state has changed.
    changed: Condvar,
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tell(&self) {
        self.changed.notify_all();
    }
}

impl RelayServer {
    /// Starts to listen on loopback, by the library's front.
    ///
    /// # Panics
    ///
    /// When there is no port.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(Front::Library)
    }

    /// Starts to listen on loopback.
    ///
    /// # Panics
    ///
    /// When there is no port.
    #[must_use]
    pub fn start_with(front: Front) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let shared = Arc::new(Shared {
            state: Mutex::new(State::default()),
            changed: Condvar::new(),
        });
        let runtime = match front {
            Front::Library => Some(library::start(listener, shared.clone()).expect("a runtime")),
            Front::ByHand => {
                by_hand::start(listener, shared.clone());
                None
            }
        };
        Self {
            url,
            shared,
            runtime,
        }
    }

    /// Its base URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Looks at the state, or changes it.
    pub fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        let out = work(&mut self.shared.lock());
        self.shared.tell();
        out
    }

    /// Waits until the state is as `wanted` says.
    ///
    /// # Panics
    ///
    /// When it is not so within 30 s.
    pub fn wait<T>(&self, what: &str, mut wanted: impl FnMut(&mut State) -> Option<T>) -> T {
        let until = Instant::now() + Duration::from_secs(30);
        let mut state = self.shared.lock();
        loop {
            if let Some(found) = wanted(&mut state) {
                return found;
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "never: {what}");
            let waited = self.shared.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Stores what another client of the session says, and tells the sockets.
    pub fn say(&self, session: &str, content: &str) -> u64 {
        let seq = self.with(|state| state.store(session, content, None, None));
        seq.expect("there is such a session").0
    }

    /// Writes a frame of our own making to every socket of the front by hand; whether there is
    /// one.
    pub fn inject(&self, text: &str) -> bool {
        self.with(|state| {
            let mut injected = false;
            for socket in state.sockets.values() {
                if let Way::ByHand(stream) = &socket.way {
                    state.write(stream, text);
                    injected = true;
                }
            }
            injected
        })
    }

    /// Cuts every socket off, without a word.
    pub fn cut(&self) {
        self.with(|state| {
            for socket in state.sockets.values() {
                match &socket.way {
                    // It may be gone already.
                    Way::ByHand(stream) => stream.shutdown(Shutdown::Both).unwrap_or_default(),
                    Way::Library(socket) => socket.cut(),
                }
            }
        });
    }

    /// Calls a method of whoever serves it. The answer comes on the channel.
    ///
    /// # Panics
    ///
    /// When nobody does.
    #[must_use]
    pub fn call(&self, method: &str, params: &Value) -> Receiver<Value> {
        let (sender, receiver) = channel();
        let request = json!({"method": method, "params": params});
        let called = self.with(|state| state.call(method, &request, sender));
        assert!(called, "nobody serves {method}");
        receiver
    }
}

impl Drop for RelayServer {
    fn drop(&mut self) {
        self.with(|state| state.stopped = true);
        self.cut();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        // Wakes the thread that accepts.
        drop(TcpStream::connect(self.url.trim_start_matches("http://")));
    }
}
