//! The end-to-end encrypted relay (relay.md): its codecs, its cipher, and what is inside.

pub mod base64;
pub mod cipher;
pub mod client;
pub mod credentials;
pub mod cursor;
pub mod delays;
pub mod engineio;
pub mod events;
pub mod keys;
pub mod limits;
pub mod link;
pub mod outbox;
pub mod pairing;
pub mod path;
pub mod plaintext;
pub mod raw;
pub mod rpc;
mod secretbox;
pub mod socketio;
pub mod update;
pub mod versioned;
