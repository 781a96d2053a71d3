//! XSalsa20-Poly1305, as NaCl's secretbox and box have it.

use alloc::vec::Vec;

use poly1305::Poly1305;
use poly1305::universal_hash::KeyInit;
use salsa20::cipher::consts::U10;
use salsa20::cipher::{KeyIvInit, StreamCipher};
use salsa20::{XSalsa20, hsalsa};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

pub(super) const NONCE_BYTES: usize = 24;
pub(super) const TAG_BYTES: usize = 16;

/// Encrypts `message` where it is, and gives its tag.
pub(super) fn encrypt(
    key: &[u8; 32],
    nonce: &[u8; NONCE_BYTES],
    message: &mut [u8],
) -> [u8; TAG_BYTES] {
    let (mut stream, mac) = start(key, nonce);
    stream.apply_keystream(message);
    mac.compute_unpadded(message).into()
}

/// Decrypts `message`, when the tag is its own.
pub(super) fn decrypt(
    key: &[u8; 32],
    nonce: &[u8; NONCE_BYTES],
    tag: &[u8; TAG_BYTES],
    message: &[u8],
) -> Option<Vec<u8>> {
    let (mut stream, mac) = start(key, nonce);
    let expected: [u8; TAG_BYTES] = mac.compute_unpadded(message).into();
    if !bool::from(expected.ct_eq(tag)) {
        return None;
    }
    let mut out = message.to_vec();
    stream.apply_keystream(&mut out);
    Some(out)
}

/// The key of a box from what the two key pairs share.
pub(super) fn derive_key(shared: &[u8; 32]) -> Zeroizing<[u8; 32]> {
    let mut derived = hsalsa::<U10>(shared.into(), &[0; 16].into());
    let key = Zeroizing::new(derived.into());
    derived.zeroize();
    key
}

/// The stream behind its first 32 bytes, which are the key of the tag.
fn start(key: &[u8; 32], nonce: &[u8; NONCE_BYTES]) -> (XSalsa20, Poly1305) {
    let mut stream = XSalsa20::new(key.into(), nonce.into());
    let mut mac_key = Zeroizing::new([0; 32]);
    stream.apply_keystream(&mut *mac_key);
    let mac = Poly1305::new((&*mac_key).into());
    (stream, mac)
}
