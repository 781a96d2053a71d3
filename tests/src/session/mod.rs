//! What the tests of remote sessions talk to: a server that does what the test says, step by
//! step, a relay that cuts and holds, proxies, and certificates of every kind (sessions.md §1).
//!
//! All of it is blocking, on threads and on loopback, and written from the standards (RFC 6455,
//! RFC 9110, RFC 1928), so that nothing is shared with what it tests. A test stalls a step by not
//! taking it.

pub mod certificates;
pub mod connection;
pub mod follower;
mod listener;
pub mod proxies;
pub mod relay;
pub mod server;
mod stream;

pub use certificates::{Authority, Identity};
pub use connection::{Connection, Frame};
pub use follower::Follower;
pub use proxies::{HttpProxy, SocksProxy};
pub use relay::{Direction, Relay};
pub use server::{Accepted, Request, SessionServer};
