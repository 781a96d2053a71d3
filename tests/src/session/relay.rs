//! A relay on loopback that cuts, holds and delays on command.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use super::listener::Listener;
use super::stream::reset;

/// One way through a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
}

#[derive(Debug, Default)]
struct Flow {
    held: bool,
    delay: Duration,
    passed: u64,
}

#[derive(Debug, Default)]
struct State {
    flows: [Flow; 2],
    live: Vec<[TcpStream; 2]>,
    refuses: bool,
    target: Option<SocketAddr>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// A relay to one address.
#[derive(Debug)]
pub struct Relay {
    listener: Listener,
    shared: Arc<Shared>,
}

impl Relay {
    /// A relay that passes everything on to `target`.
    #[must_use]
    pub fn new(target: SocketAddr) -> Self {
        let shared = Arc::new(Shared::default());
        let link = Arc::clone(&shared);
        let listener = Listener::new(move |client| {
            let (refuses, target) = {
                let state = link.lock();
                (state.refuses, state.target.unwrap_or(target))
            };
            if refuses {
                return reset(&client);
            }
            if let Ok(server) = TcpStream::connect(target) {
                join(&link, client, server);
            }
        });
        Self { listener, shared }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// How many connections there were.
    #[must_use]
    pub fn dials(&self) -> usize {
        self.listener.count()
    }

    /// Keeps back what goes one way from here on, its end included: neither side hears that the
    /// other is gone.
    pub fn hold(&self, way: Direction) {
        self.change(|state| state.flows[way as usize].held = true);
    }

    /// Lets go what was kept back.
    pub fn release(&self, way: Direction) {
        self.change(|state| state.flows[way as usize].held = false);
    }

    /// Lets what goes one way take so much longer.
    pub fn delay(&self, way: Direction, delay: Duration) {
        self.change(|state| state.flows[way as usize].delay = delay);
    }

    /// Cuts all connections: both sides hear it.
    pub fn cut(&self) {
        self.change(|state| {
            for socket in state.live.drain(..).flatten() {
                // It may be over already.
                drop(socket.shutdown(Shutdown::Both));
            }
        });
    }

    /// Lets further connections go to `target`.
    pub fn retarget(&self, target: SocketAddr) {
        self.change(|state| state.target = Some(target));
    }

    /// Whether further connections are reset at once.
    pub fn refuse(&self, refuses: bool) {
        self.change(|state| state.refuses = refuses);
    }

    /// Waits until `bytes` have gone one way since the beginning.
    ///
    /// # Panics
    ///
    /// When that takes too long.
    pub fn await_passed(&self, way: Direction, bytes: u64) {
        let state = self.shared.lock();
        let waits = |state: &mut State| state.flows[way as usize].passed < bytes;
        let waited = self
            .shared
            .changed
            .wait_timeout_while(state, crate::PATIENCE, waits);
        assert!(
            !waited.expect("the relay").1.timed_out(),
            "too little passed"
        );
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.shared.lock());
        self.shared.changed.notify_all();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        for way in [Direction::Up, Direction::Down] {
            self.release(way);
        }
        self.cut();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("the relay")
    }

    /// Waits until what goes `way` may go, and takes its time.
    fn pass(&self, way: Direction, bytes: usize) {
        let held = |state: &mut State| state.flows[way as usize].held;
        let state = self.changed.wait_while(self.lock(), held);
        let mut state = state.expect("the relay");
        let flow = &mut state.flows[way as usize];
        flow.passed += bytes as u64;
        let delay = flow.delay;
        drop(state);
        self.changed.notify_all();
        std::thread::sleep(delay);
    }
}

/// Passes on between two sockets until both have ended.
fn join(shared: &Arc<Shared>, client: TcpStream, server: TcpStream) {
    for socket in [&client, &server] {
        socket.set_nodelay(true).expect("an option of the socket");
    }
    let clone = |socket: &TcpStream| socket.try_clone().expect("a descriptor");
    shared.lock().live.push([clone(&client), clone(&server)]);
    let ways = [
        (Direction::Up, clone(&client), clone(&server)),
        (Direction::Down, server, client),
    ];
    for (way, mut from, mut to) in ways {
        let shared = Arc::clone(shared);
        std::thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            loop {
                let n = from.read(&mut buffer).unwrap_or(0);
                shared.pass(way, n);
                if n == 0 || to.write_all(&buffer[..n]).is_err() {
                    // The other side may be gone already.
                    drop(to.shutdown(Shutdown::Write));
                    return;
                }
            }
        });
    }
}
