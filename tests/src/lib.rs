//! What the end-to-end tests are made of: temporary homes, real `hallway` processes, and raw
//! ends of the wire that follow no rule but the test's.
//!
//! Everything waits with a deadline and for events, never for time to pass.
//!
//! Beside them: [`model`] describes the local protocol a second time and holds the core against
//! it. [`sim`] runs the whole system under chance, from one seed, and [`sim_session`] a
//! subscription.

pub mod cost;
pub mod files;
pub mod frame;
pub mod fuzzing;
pub mod home;
pub mod model;
pub mod process;
#[cfg(feature = "relay")]
pub mod relay_server;
#[cfg(feature = "session")]
pub mod session;
pub mod sim;
pub mod sim_relay;
pub mod sim_session;
pub mod wire;

pub use home::Home;
pub use process::{Finished, Served};
pub use wire::{FakeServer, Wire};

use std::time::Duration;

/// How long any single wait may take before the test fails. Generous: machines are shared.
pub const PATIENCE: Duration = Duration::from_secs(60);
