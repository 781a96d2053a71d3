//! The relay's codecs and ciphers, against a reading of their contract by other means: the
//! model's own JSON, index walks in the manner of the reference, bits one by one. And its machines,
//! against a server over a network that loses things.

mod calls;
mod cipher;
mod codecs;
mod credentials;
mod link;
mod machines;
mod plaintext;
mod session;
mod told;
mod versioned;

pub use cipher::check_cipher;
pub use codecs::{check_engineio, check_socketio};
pub use credentials::check_credentials;
pub use link::LinkOperations;
pub use machines::{check_cursor, check_durable};
pub use plaintext::check_plaintext;
pub use session::SessionOperations;
pub use told::{check_rpc, check_update};
pub use versioned::check_versioned;

/// The text that the bytes are, with U+FFFD for what is none.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The bytes that `text` spells in either base64 alphabet, bit by bit. Other characters are
/// skipped, and the first `=` ends it.
fn spelled(text: &str) -> Vec<u8> {
    let mut bits = Vec::with_capacity(text.len() * 6);
    for byte in text.bytes().take_while(|byte| *byte != b'=') {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => continue,
        };
        bits.extend([5, 4, 3, 2, 1, 0].map(|place| value >> place & 1 == 1));
    }
    let whole = bits.chunks_exact(8);
    whole
        .map(|byte| byte.iter().fold(0, |sum, bit| sum << 1 | u8::from(*bit)))
        .collect()
}
