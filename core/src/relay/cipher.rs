//! Sealing and opening: the two variants of a session's cipher, box bundles, and blobs
//! (relay.md §4.1 to §4.5).
//!
//! | form | bytes |
//! |---|---|
//! | `legacy`, blob | nonce (24), tag (16), XSalsa20 ciphertext |
//! | `dataKey` | 0, nonce (12), AES-256-GCM ciphertext, tag (16) |
//! | box bundle | ephemeral public key (32), nonce (24), tag (16), XSalsa20 ciphertext |
//!
//! Nonces and ephemeral keys come from the caller, and are used up by the one use that they are
//! good for.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use aes_gcm::AeadInOut;
use aes_gcm::aead::inout::InOutBuf;
use zeroize::Zeroizing;

use super::base64;
use super::keys::{AccountSecret, BlobKey, BoxKeyPair, DataKey, PublicKey};
use super::raw::Raw;
use super::secretbox::{self, NONCE_BYTES, TAG_BYTES};

/// 24 random bytes, good for one sealing. The `dataKey` variant uses the first 12.
#[derive(Debug)]
pub struct Nonce([u8; NONCE_BYTES]);

impl Nonce {
    /// How many bytes of entropy it takes.
    pub const ENTROPY_BYTES: usize = NONCE_BYTES;

    /// Takes fresh entropy.
    #[must_use]
    pub const fn from_entropy(entropy: [u8; NONCE_BYTES]) -> Self {
        Self(entropy)
    }
}

/// Why something is not opened. It is never data (relay.md §9.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OpenError {
    /// It is shorter than a nonce: the reference's `bad nonce size`.
    NoNonce,
    /// It is shorter than the shortest of its form.
    TooShort,
    /// It begins with a version that is not 0.
    UnknownVersion,
    /// It is not what the owner of the key sealed: another key, or changed on the way.
    Forged,
    /// It was opened and is empty: what sealing `undefined` gives.
    Empty,
    /// It was opened and is not JSON.
    NotJson,
    /// It was opened and has not the length of a key.
    NotAKey,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoNonce => "bad nonce size",
            Self::TooShort => "the ciphertext is too short",
            Self::UnknownVersion => "the ciphertext has an unknown version",
            Self::Forged => "the ciphertext was changed, or sealed with another key",
            Self::Empty => "the plaintext is empty",
            Self::NotJson => "the plaintext is not JSON",
            Self::NotAKey => "the plaintext is not a key",
        })
    }
}

impl core::error::Error for OpenError {}

/// Why something is not sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SealError {
    /// It is longer than the cipher can take.
    TooLong,
    /// The recipient's public key is one of the few that keep nothing secret.
    WeakKey,
}

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "the plaintext is too long",
            Self::WeakKey => "the recipient's public key is not safe",
        })
    }
}

impl core::error::Error for SealError {}

/// One JSON value that was sealed by the owner of the key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Plaintext(String);

impl Plaintext {
    /// The value.
    #[must_use]
    pub fn raw(&self) -> Raw<'_> {
        Raw::trusted(self.0.trim_matches([' ', '\t', '\r', '\n']))
    }

    /// Decodes as the reference does: invalid UTF-8 becomes U+FFFD, a byte order mark is
    /// dropped, and the rest must be JSON.
    fn from_bytes(bytes: Vec<u8>) -> Result<Self, OpenError> {
        let mut text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(invalid) => String::from_utf8_lossy(invalid.as_bytes()).into_owned(),
        };
        if let Some(rest) = text.strip_prefix('\u{feff}') {
            text = String::from(rest);
        }
        if text.is_empty() {
            return Err(OpenError::Empty);
        }
        if Raw::parse(&text).is_none() {
            return Err(OpenError::NotJson);
        }
        Ok(Self(text))
    }
}

/// The cipher of a session or of a machine.
#[derive(Debug)]
pub enum Cipher {
    /// Secretbox under the account's secret.
    Legacy(AccountSecret),
    /// AES-256-GCM under a key of its own.
    DataKey(DataKey),
}

/// Version byte, nonce and tag of the `dataKey` variant.
const GCM_NONCE_BYTES: usize = 12;
const GCM_HEADER_BYTES: usize = 13;
const VERSION: u8 = 0;

impl Cipher {
    /// How many bytes sealing adds.
    #[must_use]
    pub const fn overhead(&self) -> usize {
        match self {
            Self::Legacy(_) => 40,
            Self::DataKey(_) => 29,
        }
    }

    /// Seals `plaintext`.
    ///
    /// # Errors
    ///
    /// [`SealError::TooLong`], beyond 64 GiB.
    pub fn seal(&self, nonce: Nonce, plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
        match self {
            Self::Legacy(key) => Ok(seal_box(key.expose(), &[], nonce, plaintext)),
            Self::DataKey(key) => seal_gcm(key, nonce, plaintext),
        }
    }

    /// Seals `plaintext`, in base64 as it is sent.
    ///
    /// # Errors
    ///
    /// As [`Cipher::seal`].
    pub fn seal_text(&self, nonce: Nonce, plaintext: &str) -> Result<String, SealError> {
        self.seal(nonce, plaintext.as_bytes())
            .map(|sealed| base64::encode(&sealed))
    }

    /// Opens what was sealed: any bytes.
    ///
    /// # Errors
    ///
    /// [`OpenError`] for what is not of this key.
    pub fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
        match self {
            Self::Legacy(key) => open_box(key.expose(), sealed),
            Self::DataKey(key) => open_gcm(key, sealed),
        }
    }

    /// Opens what was sealed: one JSON value, in base64 as it is received.
    ///
    /// # Errors
    ///
    /// [`OpenError`] for what is not of this key, and for what is no JSON.
    pub fn open_text(&self, sealed: &str) -> Result<Plaintext, OpenError> {
        self.open_json(&base64::decode(sealed))
    }

    /// The same from the bytes that the base64 spells.
    pub(crate) fn open_json(&self, sealed: &[u8]) -> Result<Plaintext, OpenError> {
        self.open(sealed).and_then(Plaintext::from_bytes)
    }
}

impl BlobKey {
    /// Seals a blob.
    #[must_use]
    pub fn seal(&self, nonce: Nonce, blob: &[u8]) -> Vec<u8> {
        seal_box(self.expose(), &[], nonce, blob)
    }

    /// Opens a blob.
    ///
    /// # Errors
    ///
    /// [`OpenError`] for what is not of this key.
    pub fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
        open_box(self.expose(), sealed)
    }
}

/// Seals `plaintext` to the owner of `to`: a box bundle. `ephemeral` is made for it and used
/// for nothing else.
///
/// # Errors
///
/// [`SealError::WeakKey`].
pub fn seal_bundle(
    to: PublicKey,
    ephemeral: BoxKeyPair,
    nonce: Nonce,
    plaintext: &[u8],
) -> Result<Vec<u8>, SealError> {
    let key = box_key(&ephemeral, to).ok_or(SealError::WeakKey)?;
    let public = ephemeral.public();
    Ok(seal_box(&key, public.as_bytes(), nonce, plaintext))
}

/// Opens a box bundle; what it held is wiped on drop.
///
/// # Errors
///
/// [`OpenError`] for what was not sealed to this pair.
pub fn open_bundle(pair: &BoxKeyPair, bundle: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let (ephemeral, sealed) = bundle.split_first_chunk().ok_or(OpenError::TooShort)?;
    if sealed.len() < NONCE_BYTES.saturating_add(TAG_BYTES) {
        return Err(OpenError::TooShort);
    }
    let key = box_key(pair, PublicKey::from_bytes(*ephemeral)).ok_or(OpenError::Forged)?;
    open_box(&key, sealed).map(Zeroizing::new)
}

/// The `dataEncryptionKey` of a session: its key, boxed to the account's content key.
///
/// # Errors
///
/// [`SealError::WeakKey`].
pub fn wrap_data_key(
    key: &DataKey,
    to: PublicKey,
    ephemeral: BoxKeyPair,
    nonce: Nonce,
) -> Result<String, SealError> {
    let bundle = seal_bundle(to, ephemeral, nonce, key.expose())?;
    Ok(base64::encode(&[&[VERSION], &*bundle].concat()))
}

/// The key of a session from its `dataEncryptionKey`.
///
/// # Errors
///
/// [`OpenError`] when it was not boxed to this pair, or is no key.
pub fn unwrap_data_key(field: &str, pair: &BoxKeyPair) -> Result<DataKey, OpenError> {
    let bytes = base64::decode(field);
    let (version, bundle) = bytes.split_first().ok_or(OpenError::TooShort)?;
    if *version != VERSION {
        return Err(OpenError::UnknownVersion);
    }
    let key = open_bundle(pair, bundle)?;
    DataKey::from_slice(&key).ok_or(OpenError::NotAKey)
}

fn box_key(ours: &BoxKeyPair, theirs: PublicKey) -> Option<Zeroizing<[u8; 32]>> {
    ours.agree(theirs)
        .map(|shared| secretbox::derive_key(&shared))
}

/// `prefix`, nonce, tag and ciphertext.
fn seal_box(key: &[u8; 32], prefix: &[u8], nonce: Nonce, plaintext: &[u8]) -> Vec<u8> {
    let header = [prefix, &nonce.0, &[0; TAG_BYTES]].concat();
    let mut out = Vec::with_capacity(header.len().saturating_add(plaintext.len()));
    out.extend_from_slice(&header);
    out.extend_from_slice(plaintext);
    if let Some((front, message)) = out.split_at_mut_checked(header.len())
        && let Some((_, tag)) = front.split_last_chunk_mut()
    {
        *tag = secretbox::encrypt(key, &nonce.0, message);
    }
    out
}

fn open_box(key: &[u8; 32], sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
    let (nonce, rest) = sealed.split_first_chunk().ok_or(OpenError::NoNonce)?;
    let (tag, message) = rest.split_first_chunk().ok_or(OpenError::TooShort)?;
    secretbox::decrypt(key, nonce, tag, message).ok_or(OpenError::Forged)
}

fn seal_gcm(key: &DataKey, nonce: Nonce, plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
    let Some((nonce, _)) = nonce.0.split_first_chunk::<GCM_NONCE_BYTES>() else {
        return Err(SealError::TooLong);
    };
    let overhead = GCM_HEADER_BYTES.saturating_add(TAG_BYTES);
    let length = plaintext.len().saturating_add(overhead);
    // From the one buffer into the other: to copy a long text first would take longer, and so
    // would zeroed memory for a short one.
    let mut out = Vec::with_capacity(length);
    out.resize(length, VERSION);
    let sealed = out
        .split_first_chunk_mut::<GCM_HEADER_BYTES>()
        .and_then(|(header, rest)| Some((header, rest.split_last_chunk_mut::<TAG_BYTES>()?)));
    let Some((header, (message, tag))) = sealed else {
        return Err(SealError::TooLong);
    };
    let [_version, place @ ..] = header;
    *place = *nonce;
    let message = InOutBuf::new(plaintext, message).map_err(|_| SealError::TooLong)?;
    let found = key
        .cipher()
        .encrypt_inout_detached(nonce.into(), &[], message)
        .map_err(|_| SealError::TooLong)?;
    *tag = found.into();
    Ok(out)
}

fn open_gcm(key: &DataKey, sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
    let (version, rest) = sealed.split_first().ok_or(OpenError::TooShort)?;
    if *version != VERSION {
        return Err(OpenError::UnknownVersion);
    }
    let (nonce, rest) = rest
        .split_first_chunk::<GCM_NONCE_BYTES>()
        .ok_or(OpenError::TooShort)?;
    let (message, tag) = rest
        .split_last_chunk::<TAG_BYTES>()
        .ok_or(OpenError::TooShort)?;
    let mut message = message.to_vec();
    key.cipher()
        .decrypt_inout_detached(nonce.into(), &[], message.as_mut_slice().into(), tag.into())
        .map_err(|_| OpenError::Forged)?;
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    fn nonce(byte: u8) -> Nonce {
        Nonce::from_entropy([byte; 24])
    }

    fn ciphers() -> [Cipher; 2] {
        [
            Cipher::Legacy(AccountSecret::from_bytes(&[1; 32])),
            Cipher::DataKey(DataKey::from_bytes(&[1; 32])),
        ]
    }

    #[test]
    fn what_is_sealed_is_opened_and_every_bit_counts() {
        for cipher in ciphers() {
            for length in [0, 1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 200] {
                let plain = alloc::vec![0x61; length];
                let sealed = cipher.seal(nonce(9), &plain).unwrap();
                assert_eq!(sealed.len(), length + cipher.overhead());
                assert_eq!(cipher.open(&sealed), Ok(plain));
                for at in 0..sealed.len() {
                    let mut changed = sealed.clone();
                    changed[at] ^= 0x80;
                    let opened = cipher.open(&changed).unwrap_err();
                    let expected = match (&cipher, at) {
                        (Cipher::DataKey(_), 0) => OpenError::UnknownVersion,
                        _ => OpenError::Forged,
                    };
                    assert_eq!(opened, expected);
                }
                for end in 0..sealed.len() {
                    assert!(cipher.open(&sealed[..end]).is_err());
                }
            }
        }
    }

    #[test]
    fn one_variant_does_not_open_the_other() {
        let [legacy, data] = ciphers();
        let sealed = legacy.seal_text(nonce(0), "1").unwrap();
        assert_eq!(data.open_text(&sealed), Err(OpenError::Forged));
        let sealed = data.seal_text(nonce(0), "1").unwrap();
        assert_eq!(legacy.open_text(&sealed), Err(OpenError::TooShort));
        assert_eq!(legacy.open(&[0; 23]), Err(OpenError::NoNonce));
        assert_eq!(legacy.open(&[0; 39]), Err(OpenError::TooShort));
        assert_eq!(data.open(&[]), Err(OpenError::TooShort));
        assert_eq!(data.open(&[0; 28]), Err(OpenError::TooShort));
        assert_eq!(data.open(&[0; 29]), Err(OpenError::Forged));
    }

    /// Covers: R4.3
    #[test]
    fn text_is_decoded_as_the_reference_does() {
        for cipher in ciphers() {
            let opened = |bytes: &[u8]| {
                let sealed = base64::encode(&cipher.seal(nonce(3), bytes).unwrap());
                cipher.open_text(&sealed)
            };
            assert_eq!(opened(b"").unwrap_err(), OpenError::Empty);
            assert_eq!(opened(b"\xef\xbb\xbf").unwrap_err(), OpenError::Empty);
            assert_eq!(opened(b"{").unwrap_err(), OpenError::NotJson);
            assert_eq!(opened(b"\xff1").unwrap_err(), OpenError::NotJson);
            // Only the first bytes are a byte order mark.
            assert_eq!(opened(b" \xef\xbb\xbf1").unwrap_err(), OpenError::NotJson);
            let raw = |bytes: &[u8]| String::from(opened(bytes).unwrap().raw().as_str());
            assert_eq!(raw(b"\xef\xbb\xbf 1\n"), "1");
            assert_eq!(
                raw(b"\"\xff\xed\xa0\x80\""),
                "\"\u{fffd}\u{fffd}\u{fffd}\u{fffd}\""
            );
            assert_eq!(raw(br#"["\ud800",1e999]"#), r#"["\ud800",1e999]"#);
        }
    }

    /// Covers: R4.6, R4.8
    #[test]
    fn bundles_and_blobs_are_opened_by_their_owner_alone() {
        let pair = |byte| BoxKeyPair::from_secret(&[byte; 32]);
        let key = DataKey::from_bytes(&[8; 32]);
        let field = wrap_data_key(&key, pair(1).public(), pair(2), nonce(4)).unwrap();
        let bytes = base64::decode(&field);
        assert_eq!(bytes.len(), 105);
        assert_eq!(
            unwrap_data_key(&field, &pair(1)).unwrap().expose(),
            key.expose()
        );
        let failure =
            |bytes: &[u8], by| unwrap_data_key(&base64::encode(bytes), &pair(by)).unwrap_err();
        assert_eq!(failure(&bytes, 3), OpenError::Forged);
        assert_eq!(failure(&[], 1), OpenError::TooShort);
        assert_eq!(failure(&[0; 72], 1), OpenError::TooShort);
        assert_eq!(failure(&[0; 73], 1), OpenError::Forged);
        assert_eq!(failure(&[1; 105], 1), OpenError::UnknownVersion);
        let short = seal_bundle(pair(1).public(), pair(2), nonce(4), &[0; 31]).unwrap();
        assert_eq!(failure(&[&[0], &*short].concat(), 1), OpenError::NotAKey);
        let weak = PublicKey::from_bytes([0; 32]);
        assert_eq!(
            wrap_data_key(&key, weak, pair(2), nonce(4)),
            Err(SealError::WeakKey)
        );

        let blobs = key.blob_key();
        let blob = blobs.seal(nonce(5), b"raw \xff");
        assert_eq!(blob.len(), 45);
        assert_eq!(blobs.open(&blob), Ok(b"raw \xff".to_vec()));
        let other = AccountSecret::from_bytes(key.expose()).blob_key();
        assert_eq!(other.open(&blob), Err(OpenError::Forged));
        assert_eq!(blobs.open(&blob[..39]), Err(OpenError::TooShort));
    }

    #[test]
    fn errors_have_words() {
        let mut words = alloc::collections::BTreeSet::new();
        for error in [
            OpenError::NoNonce,
            OpenError::TooShort,
            OpenError::UnknownVersion,
            OpenError::Forged,
            OpenError::Empty,
            OpenError::NotJson,
            OpenError::NotAKey,
        ] {
            words.insert(format!("{error}"));
        }
        for error in [SealError::TooLong, SealError::WeakKey] {
            words.insert(format!("{error}"));
        }
        assert_eq!(words.len(), 9);
    }
}
