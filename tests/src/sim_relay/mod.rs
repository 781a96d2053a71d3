//! One session of the relay from one seed: the production client, a server written from the
//! contract, a user at an app, and a network that loses, delays and breaks (relay.md §9).
//!
//! Chance decides delays, broken and half-open connections, refused dials, requests and answers
//! that are lost, live events that never come, other writers of the metadata, sleeps and
//! restarts of the process. Then the faults end, everything comes to rest, and the whole is
//! judged: see [`run`].

mod flaw;
mod http;
mod judge;
mod people;
pub(crate) mod server;
mod world;

pub use flaw::{Flaw, Reached};
pub use world::run;
