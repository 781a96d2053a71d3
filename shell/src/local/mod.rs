//! The local dialect over Unix domain sockets.

pub mod capability;
pub mod client;
pub mod daemon;
pub mod doctor;
pub mod owner;
pub mod peers;
pub mod registry;
pub mod socket_dir;
pub mod target;

pub(crate) mod transport;
