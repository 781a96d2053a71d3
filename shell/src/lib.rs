//! hallway: the trusted messenger between coding-agent sessions.
//!
//! This library is the shell around [`hallway_core`]: it binds the core's machines to sockets,
//! files, clocks and entropy, on tokio. The binary `hallway` is a thin layer over it.
//!
//! * [`Daemon`] is an inbox: it listens, publishes its capability, registers, and hands out
//!   messages.
//! * [`Client`] sends to a daemon or to any other session of the dialect, and pings it.
//! * [`peers`](local::peers) says who is there.
//! * `session` follows remote sessions, and `relay` mirrors one end-to-end encrypted (features
//!   of these names, on by default).
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let daemon = hallway::Daemon::builder().name("api-worker").start().await?;
//! let mut client = hallway::Client::connect(&daemon.address()).await?;
//! client.send("schema landed").await?;
//! let entry = daemon.next_entry().await;
//! # let _ = entry;
//! # Ok(())
//! # }
//! ```

#[doc(hidden)]
pub mod cli;
pub mod clock;
pub mod dir;
mod entropy;
mod group;
mod home;
pub mod local;
#[cfg(feature = "net")]
pub mod net;
pub mod paths;
#[cfg(feature = "relay")]
pub mod relay;
#[cfg(feature = "session")]
pub mod session;
mod shares;

pub use hallway_core as core;
pub use home::Home;
pub use local::client::{Client, ConnectError, SendFailure};
pub use local::daemon::{Daemon, DaemonBuilder, StartError};
