//! Capability tokens: redacted, wiped, compared in constant time.

use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A capability token: whoever presents it may speak to the server that made it.
///
/// Its memory is wiped on drop. `Debug` prints a placeholder; there is no `Display` and no
/// `PartialEq`, so that it is neither logged nor compared by accident. The text leaves only
/// through [`Token::expose`].
pub struct Token(Zeroizing<Box<str>>);

/// Why a text is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TokenError {
    /// It is empty, which no server accepts.
    Empty,
    /// It is longer than [`Token::MAX_BYTES`].
    TooLong,
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the token is empty",
            Self::TooLong => "the token is longer than 1024 bytes",
        })
    }
}

impl core::error::Error for TokenError {}

impl Token {
    /// The longest token of another server that is carried, in bytes.
    pub const MAX_BYTES: usize = 1_024;

    /// How many bytes of entropy a token of ours takes (local.md §1).
    pub const ENTROPY_BYTES: usize = 32;

    /// The token of a server start: the lower-case hex of 32 random bytes (local.md §1).
    ///
    /// The caller wipes its own copy of the entropy.
    #[must_use]
    pub fn from_entropy(entropy: &[u8; Self::ENTROPY_BYTES]) -> Self {
        let mut text = String::with_capacity(64);
        for byte in entropy {
            for nibble in [byte >> 4, byte & 0x0f] {
                text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
            }
        }
        Self(Zeroizing::new(text.into_boxed_str()))
    }

    /// The token that another server published. It need not be hex: a reader takes any
    /// non-empty string (local.md §2) of at most [`Token::MAX_BYTES`].
    ///
    /// # Errors
    ///
    /// [`TokenError`] when the text is empty or too long.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        if text.is_empty() {
            return Err(TokenError::Empty);
        }
        if text.len() > Self::MAX_BYTES {
            return Err(TokenError::TooLong);
        }
        Ok(Self(Zeroizing::new(Box::from(text))))
    }

    /// The secret itself, for the capability file and for the frames of a client.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether `presented` is this token. The time taken depends on the lengths alone.
    #[must_use]
    pub fn verify(&self, presented: &str) -> bool {
        let (own, own_rest) = self.0.as_bytes().as_chunks::<WORD>();
        let (other, other_rest) = presented.as_bytes().as_chunks::<WORD>();
        let same = own.len().ct_eq(&other.len()) & own_rest.ct_eq(other_rest);
        let differing = own.iter().zip(other).fold(0, |bits, (own, other)| {
            bits | (u64::from_ne_bytes(*own) ^ u64::from_ne_bytes(*other))
        });
        (same & differing.ct_eq(&0)).into()
    }
}

/// How many bytes are compared at a time.
const WORD: usize = 8;

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    /// Covers: L1.10a
    #[test]
    fn a_token_of_ours_is_64_lower_case_hex_characters() {
        let mut entropy = [0_u8; 32];
        entropy[0] = 0x0f;
        entropy[1] = 0xa5;
        entropy[31] = 0xff;
        let token = Token::from_entropy(&entropy);
        assert_eq!(token.expose(), format!("0fa5{}ff", "00".repeat(29)));
    }

    /// Covers: L3.15
    #[test]
    fn verifies_itself_and_nothing_else() {
        let token = Token::parse("abc").unwrap();
        assert!(token.verify("abc"));
        for wrong in ["", "ab", "abcd", "abd", "bbc", "ABC"] {
            assert!(!token.verify(wrong), "{wrong:?} was accepted");
        }
        // Around whole words, as they are compared.
        let text = "abcdefghijklmnopqrstuvwxyz";
        for length in 1..=text.len() {
            let token = Token::parse(&text[..length]).unwrap();
            for other in 0..=text.len() {
                assert_eq!(token.verify(&text[..other]), other == length);
            }
        }
    }

    /// Covers: L3.15
    #[test]
    fn every_single_bit_counts() {
        let token = Token::from_entropy(&[0x5a; 32]);
        let text = String::from(token.expose());
        for at in 0..64 {
            for bit in 0..7 {
                let mut other = text.clone().into_bytes();
                other[at] ^= 1 << bit;
                assert!(!token.verify(core::str::from_utf8(&other).unwrap()));
            }
        }
        assert!(token.verify(&text));
    }

    /// Differences of the same bits, in two words of the token.
    ///
    /// Covers: L3.15
    #[test]
    fn differences_do_not_cancel_out() {
        let token = Token::parse("abcdefghijklmnop").unwrap();
        assert!(token.verify("abcdefghijklmnop"));
        // The words swapped; one bit of each; all of them.
        for wrong in ["ijklmnopabcdefgh", "`bcdefghhjklmnop", "ABCDEFGHIJKLMNOP"] {
            assert!(!token.verify(wrong), "{wrong:?} was accepted");
        }
    }

    /// What time a comparison takes no test can tell for sure; the source can tell that only
    /// `subtle` compares, and that nothing else may.
    ///
    /// Covers: L3.6
    #[test]
    fn nothing_but_subtle_compares_tokens() {
        let source = include_str!("token.rs");
        let (code, _) = source.split_once("#[cfg(test)]").unwrap();
        let token = code.split_once("pub struct Token(").unwrap().0;
        assert!(!token.contains("derive"), "a token derives nothing");
        let verify = code.split_once("-> bool {").unwrap().1;
        let verify = verify.split_once(".into()\n    }").unwrap().0;
        assert_eq!(verify.matches(".ct_eq(").count(), 3);
        assert_eq!(code.matches(".ct_eq(").count(), 3);
        for branch in ["if ", "match ", "&&", "||", "return", "break"] {
            assert!(!verify.contains(branch), "{branch}");
        }
        for other in ["==", "!=", ".eq(", ".cmp(", "PartialEq for", "Ord for"] {
            assert!(!code.contains(other), "{other}");
        }
    }

    #[test]
    fn parse_takes_any_string_within_bounds() {
        assert_eq!(Token::parse("").unwrap_err(), TokenError::Empty);
        assert_eq!(
            Token::parse(&"a".repeat(1_025)).unwrap_err(),
            TokenError::TooLong
        );
        assert_eq!(
            Token::parse(&"a".repeat(1_024)).unwrap().expose().len(),
            1_024
        );
        assert!(format!("{}", TokenError::TooLong).contains("1024"));
        assert!(format!("{}", TokenError::Empty).contains("empty"));
    }

    #[test]
    fn debug_does_not_print_it() {
        assert_eq!(
            format!("{:?}", Token::parse("secret").unwrap()),
            "Token(redacted)"
        );
    }
}
