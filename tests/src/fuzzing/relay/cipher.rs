use std::sync::LazyLock;

use hallway_core::relay::base64;
use hallway_core::relay::cipher::{Cipher, Nonce, OpenError, open_bundle, unwrap_data_key};
use hallway_core::relay::keys::{AccountSecret, BoxKeyPair, DataKey};
use hallway_core::relay::pairing::Answer;
use hallway_core::relay::raw::Raw;

use super::{spelled, text};
use crate::model::source::Source;

/// Opens `bytes` in one form, seals them, and changes what was sealed. The first byte chooses the
/// form, the next two where.
///
/// # Panics
///
/// When something is opened that was not sealed, or not opened that was.
pub fn check_cipher(bytes: &[u8]) {
    let mut source = Source::Bytes(bytes);
    let form = source.byte();
    let at = usize::from(source.byte()) << 8 | usize::from(source.byte());
    let bytes = source.rest();
    check_base64(bytes);
    let cipher = if form % 2 == 0 {
        Cipher::Legacy(AccountSecret::from_bytes(&[1; 32]))
    } else {
        Cipher::DataKey(DataKey::from_bytes(&[1; 32]))
    };
    // No fuzzer finds a tag of 16 bytes under a key that it does not see.
    let error = cipher.open(bytes).expect_err("nobody sealed it");
    assert_eq!(error, unopened(&cipher, bytes));
    assert_eq!(cipher.open_text(&base64::encode(bytes)), Err(error));
    check_sealed(&cipher, bytes, at);
    // An agreement of keys takes longer than all else together, and a search favours bytes of 0.
    if form / 2 == 85 {
        check_bundle(bytes, at);
    }
}

/// One form of a bundle is not opened.
fn check_bundle(bytes: &[u8], at: usize) {
    static PAIR: LazyLock<BoxKeyPair> = LazyLock::new(|| BoxKeyPair::from_secret(&[2; 32]));
    let expected = if bytes.len() < 72 {
        OpenError::TooShort
    } else {
        OpenError::Forged
    };
    match at % 3 {
        0 => assert_eq!(open_bundle(&PAIR, bytes), Err(expected)),
        1 => {
            let answer = Answer::open(&base64::encode(bytes), &PAIR);
            assert_eq!(answer.expect_err("forged"), expected);
        }
        _ => {
            let wrapped = unwrap_data_key(&base64::encode(bytes), &PAIR).expect_err("forged");
            let expected = match bytes {
                [] => OpenError::TooShort,
                [0, rest @ ..] if rest.len() < 72 => OpenError::TooShort,
                [0, ..] => OpenError::Forged,
                _ => OpenError::UnknownVersion,
            };
            assert_eq!(wrapped, expected);
        }
    }
}

/// Why a cipher does not open what it did not seal.
fn unopened(cipher: &Cipher, bytes: &[u8]) -> OpenError {
    match (cipher, bytes) {
        (Cipher::Legacy(_), _) if bytes.len() < 24 => OpenError::NoNonce,
        (Cipher::Legacy(_), _) if bytes.len() < 40 => OpenError::TooShort,
        (Cipher::DataKey(_), [version, ..]) if *version != 0 => OpenError::UnknownVersion,
        (Cipher::DataKey(_), _) if bytes.len() < 29 => OpenError::TooShort,
        _ => OpenError::Forged,
    }
}

fn check_sealed(cipher: &Cipher, plain: &[u8], at: usize) {
    let nonce = Nonce::from_entropy([3; 24]);
    let sealed = cipher.seal(nonce, plain).expect("short");
    assert_eq!(sealed.len(), plain.len() + cipher.overhead());
    assert_eq!(cipher.open(&sealed).as_deref(), Ok(plain));
    let mut changed = sealed.clone();
    let place = at / 8 % changed.len();
    changed[place] ^= 1 << (at % 8);
    assert_eq!(cipher.open(&changed), Err(unopened(cipher, &changed)));
    let cut = &sealed[..at % sealed.len()];
    assert_eq!(cipher.open(cut), Err(unopened(cipher, cut)));

    let opened = cipher.open_text(&base64::encode(&sealed));
    let shown = text(plain);
    let shown = shown.strip_prefix('\u{feff}').unwrap_or(&shown);
    match opened {
        Ok(value) => assert_eq!(Some(value.raw()), Raw::parse(shown)),
        Err(error) => {
            let empty = shown.is_empty();
            let expected = if empty {
                OpenError::Empty
            } else {
                OpenError::NotJson
            };
            assert_eq!(error, expected);
            assert_eq!(Raw::parse(shown), None);
        }
    }
}

/// What is written is read, in both alphabets; what is not base64 is read bit by bit.
fn check_base64(bytes: &[u8]) {
    let (standard, url) = (base64::encode(bytes), base64::encode_url(bytes));
    assert_eq!(base64::decode(&standard), bytes);
    assert_eq!(base64::decode(&url), bytes);
    let as_url = standard.replace('+', "-").replace('/', "_");
    assert_eq!(as_url.trim_end_matches('='), url);

    let text = text(bytes);
    assert_eq!(base64::decode(&text), spelled(&text), "{text}");
}
