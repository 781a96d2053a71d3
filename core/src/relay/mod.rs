//! The end-to-end encrypted relay (relay.md): its codecs, its cipher, and what is inside.

pub mod base64;
pub mod cipher;
pub mod engineio;
pub mod keys;
pub mod pairing;
pub mod raw;
mod secretbox;
pub mod socketio;
