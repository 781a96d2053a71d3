//! The relay's codecs and ciphers, against a reading of their contract by other means: the
//! model's own JSON, index walks in the manner of the reference, bits one by one. And its machines,
//! against a server over a network that loses things.

mod cipher;
mod codecs;
mod machines;
mod plaintext;
mod versioned;

pub use cipher::check_cipher;
pub use codecs::{check_engineio, check_socketio};
pub use machines::{check_cursor, check_durable};
pub use plaintext::check_plaintext;
pub use versioned::check_versioned;

/// The text that the bytes are, with U+FFFD for what is none.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
