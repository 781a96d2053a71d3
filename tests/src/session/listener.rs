//! A listener on loopback whose count of connections is exact.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

use crate::PATIENCE;

/// Where the markers come from: nobody else dials from there.
const MARKER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// Accepts on a thread of its own until it is dropped.
#[derive(Debug)]
pub(super) struct Listener {
    address: SocketAddr,
    count: Arc<AtomicUsize>,
    /// One word for each marker that came through the queue of the kernel.
    passed: Mutex<Receiver<()>>,
}

impl Listener {
    /// A listener that hands every connection to `handle`, which is to be quick.
    pub(super) fn new(mut handle: impl FnMut(TcpStream) + Send + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("its address");
        let count = Arc::new(AtomicUsize::new(0));
        let (sender, passed) = channel();
        let counted = Arc::clone(&count);
        std::thread::spawn(move || {
            while let Ok((stream, peer)) = listener.accept() {
                if peer.ip() == MARKER {
                    if pass(&sender).is_err() {
                        return;
                    }
                    continue;
                }
                counted.fetch_add(1, Ordering::SeqCst);
                handle(stream);
            }
        });
        Self {
            address,
            count,
            passed: Mutex::new(passed),
        }
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections there were, those in the queue of the kernel included.
    pub(super) fn count(&self) -> usize {
        let passed = self.passed.lock().expect("the markers");
        mark(self.address);
        passed.recv_timeout(PATIENCE).expect("the marker comes by");
        self.count.load(Ordering::SeqCst)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // The last marker finds nobody to tell, and ends the thread.
        let (_, nobody) = channel();
        self.passed = Mutex::new(nobody);
        mark(self.address);
    }
}

fn pass(sender: &Sender<()>) -> Result<(), ()> {
    sender.send(()).map_err(drop)
}

/// Dials `address` from the address of the markers.
fn mark(address: SocketAddr) {
    let marker = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    bind(&marker, &SocketAddr::new(MARKER, 0)).expect("the address of the markers");
    connect(&marker, &address).expect("the listener");
}
