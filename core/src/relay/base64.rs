//! Base64 as the relay's clients have it (relay.md §4): standard and padded when written; when
//! read, whatever Node's decoder makes of it.

use alloc::string::String;
use alloc::vec::Vec;

use ::base64::Engine as _;
use ::base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

/// `bytes` in the standard alphabet, padded.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// `bytes` in the alphabet of URLs, unpadded: only for pairing URLs.
#[must_use]
pub fn encode_url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The bytes that `text` spells.
///
/// Both alphabets are read, padding may be missing, other characters are skipped, the first
/// `=` ends the text and a lone last character is dropped. Nothing is an error: what was not
/// meant is caught by the authentication tag.
#[must_use]
pub fn decode(text: &str) -> Vec<u8> {
    STANDARD.decode(text).unwrap_or_else(|_| lenient(text))
}

/// The same for a secret: every copy of it is wiped.
pub(super) fn decode_secret(text: &str) -> Zeroizing<Vec<u8>> {
    // The one allocation is large enough, so that none is left behind by growing.
    Zeroizing::new(lenient(text))
}

fn lenient(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len().div_ceil(4).saturating_mul(3));
    let (mut bits, mut count) = (0_u32, 0_u32);
    for byte in text.bytes().take_while(|byte| *byte != b'=') {
        let Some(value) = sextet(byte) else { continue };
        bits = bits.wrapping_shl(6) | u32::from(value);
        count = count.wrapping_add(6);
        if let Some(left) = count.checked_sub(8) {
            count = left;
            let [.., low] = bits.wrapping_shr(left).to_be_bytes();
            out.push(low);
        }
    }
    out
}

const fn sextet(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte.wrapping_sub(b'A')),
        b'a'..=b'z' => Some(byte.wrapping_sub(b'a').wrapping_add(26)),
        b'0'..=b'9' => Some(byte.wrapping_sub(b'0').wrapping_add(52)),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Covers: R4.1
    #[test]
    fn strict_and_lenient_agree_on_what_is_written() {
        for length in 0..100_u8 {
            let bytes: Vec<u8> = (0..length).map(|i| i.wrapping_mul(37) ^ length).collect();
            let text = encode(&bytes);
            assert_eq!(text.len(), usize::from(length).div_ceil(3) * 4);
            assert_eq!(decode(&text), bytes);
            assert_eq!(lenient(&text), bytes);
            assert_eq!(decode(&encode_url(&bytes)), bytes);
        }
    }

    #[test]
    fn every_character_has_its_value_in_both_alphabets() {
        let all = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        assert_eq!(
            lenient(&alloc::format!("{all}+/")),
            STANDARD.decode(alloc::format!("{all}+/")).unwrap()
        );
        assert_eq!(
            lenient(&alloc::format!("{all}-_")),
            STANDARD.decode(alloc::format!("{all}+/")).unwrap()
        );
    }

    /// Covers: R4.2
    #[test]
    fn what_is_not_base64_is_skipped() {
        // Bits behind the last whole byte are dropped, whatever they are.
        for (text, bytes) in [
            ("AB", &[0][..]),
            ("AAB=", &[0, 0]),
            ("\u{e9}A\u{1f600}A\0", &[0]),
            ("A", &[]),
            ("AAAAA", &[0, 0, 0]),
            ("_w", &[255]),
        ] {
            assert_eq!(decode(text), bytes, "{text:?}");
        }
    }
}
