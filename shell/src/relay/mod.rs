//! The end-to-end encrypted relay (relay.md): its files, its HTTP and its sockets.

pub mod credentials;
pub mod handlers;
pub mod http;
pub mod machine;
pub mod mirror;
pub mod session;
pub mod transport;
