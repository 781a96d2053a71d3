//! Pairing: how a terminal gets the secret of an account, or the right to encrypt to it
//! (relay.md §3).
//!
//! The terminal shows its public key in a URL; whoever approves boxes an answer to it; the
//! server carries both.

use alloc::string::String;
use alloc::vec::Vec;

use zeroize::Zeroizing;

use super::base64;
use super::cipher::{Nonce, OpenError, SealError, open_bundle, seal_bundle};
use super::keys::{AccountSecret, BoxKeyPair, PublicKey};

/// What a pairing brings.
#[derive(Debug)]
pub enum Answer {
    /// The account's secret: the terminal is in the `legacy` variant.
    Legacy(AccountSecret),
    /// The account's public content key: the terminal is in the `dataKey` variant and makes a
    /// machine key for itself.
    DataKey(PublicKey),
}

/// The version byte before a public content key.
const VERSION: u8 = 0;

impl Answer {
    /// Opens the `response` of the server to the pair that the terminal asked with.
    ///
    /// # Errors
    ///
    /// [`OpenError`] when it was not boxed to this pair, or is no answer.
    pub fn open(response: &str, pair: &BoxKeyPair) -> Result<Self, OpenError> {
        let bytes = open_bundle(pair, &base64::decode(response))?;
        if let Some(secret) = AccountSecret::from_slice(&bytes) {
            return Ok(Self::Legacy(secret));
        }
        let (version, key) = bytes.split_first().ok_or(OpenError::NotAKey)?;
        let key: [u8; 32] = key.try_into().map_err(|_| OpenError::NotAKey)?;
        if *version != VERSION {
            return Err(OpenError::UnknownVersion);
        }
        Ok(Self::DataKey(PublicKey::from_bytes(key)))
    }

    /// Boxes the answer to the terminal's public key: the `response` of whoever approves.
    ///
    /// # Errors
    ///
    /// [`SealError::WeakKey`].
    pub fn seal(
        &self,
        to: PublicKey,
        ephemeral: BoxKeyPair,
        nonce: Nonce,
    ) -> Result<String, SealError> {
        let plain: Zeroizing<Vec<u8>> = Zeroizing::new(match self {
            Self::Legacy(secret) => secret.expose().to_vec(),
            Self::DataKey(public) => [&[VERSION], &public.as_bytes()[..]].concat(),
        });
        seal_bundle(to, ephemeral, nonce, &plain).map(|bundle| base64::encode(&bundle))
    }
}

/// The `publicKey` that a terminal asks with.
#[must_use]
pub fn public_key(terminal: PublicKey) -> String {
    base64::encode(terminal.as_bytes())
}

/// The URL that an app opens to approve a terminal; it goes into the QR code.
#[must_use]
pub fn terminal_url(terminal: PublicKey) -> String {
    alloc::format!(
        "happy://terminal?{}",
        base64::encode_url(terminal.as_bytes())
    )
}

/// The URL of the web app that approves a terminal.
#[must_use]
pub fn web_url(webapp: &str, terminal: PublicKey) -> String {
    let key = base64::encode_url(terminal.as_bytes());
    alloc::format!(
        "{}/terminal/connect#key={key}",
        webapp.trim_end_matches('/')
    )
}

/// The URL that an app opens to link another one to its account.
#[must_use]
pub fn account_url(public: PublicKey) -> String {
    alloc::format!("happy:///account?{}", base64::encode_url(public.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(byte: u8) -> BoxKeyPair {
        BoxKeyPair::from_secret(&[byte; 32])
    }

    fn boxed(plain: &[u8]) -> String {
        let nonce = Nonce::from_entropy([5; 24]);
        base64::encode(&seal_bundle(pair(1).public(), pair(2), nonce, plain).unwrap())
    }

    /// Covers: R3.3
    #[test]
    fn answers_reach_the_terminal_that_asked_and_no_other() {
        let secret = AccountSecret::from_bytes(&[7; 32]);
        let content = secret.content_key_pair().public();
        for answer in [Answer::Legacy(secret), Answer::DataKey(content)] {
            let nonce = Nonce::from_entropy([6; 24]);
            let response = answer.seal(pair(1).public(), pair(2), nonce).unwrap();
            match (Answer::open(&response, &pair(1)).unwrap(), &answer) {
                (Answer::Legacy(a), Answer::Legacy(b)) => assert_eq!(a.expose(), b.expose()),
                (Answer::DataKey(a), Answer::DataKey(b)) => assert_eq!(a, *b),
                (opened, _) => panic!("{opened:?}"),
            }
            let other = Answer::open(&response, &pair(3));
            assert_eq!(other.unwrap_err(), OpenError::Forged);
        }
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        for (plain, error) in [
            (&[][..], OpenError::NotAKey),
            (&[0; 31], OpenError::NotAKey),
            (&[0; 34], OpenError::NotAKey),
            (&[1; 33], OpenError::UnknownVersion),
        ] {
            assert_eq!(Answer::open(&boxed(plain), &pair(1)).unwrap_err(), error);
        }
        for (response, error) in [
            ("", OpenError::TooShort),
            (&base64::encode(&[0; 71]), OpenError::TooShort),
            (&base64::encode(&[0; 72]), OpenError::Forged),
        ] {
            assert_eq!(Answer::open(response, &pair(1)).unwrap_err(), error);
        }
        let weak = PublicKey::from_bytes([0; 32]);
        let answer = Answer::DataKey(weak);
        let nonce = Nonce::from_entropy([0; 24]);
        assert_eq!(answer.seal(weak, pair(2), nonce), Err(SealError::WeakKey));
    }

    /// Covers: R3.5, R4.1
    #[test]
    fn urls_have_the_key_unpadded() {
        let key = PublicKey::from_bytes([0xfb; 32]);
        let text = "-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_s";
        assert_eq!(terminal_url(key), alloc::format!("happy://terminal?{text}"));
        assert_eq!(account_url(key), alloc::format!("happy:///account?{text}"));
        assert_eq!(
            web_url("https://a/", key),
            alloc::format!("https://a/terminal/connect#key={text}")
        );
        assert!(public_key(key).ends_with('='));
    }
}
