//! The files of the relay's clients, as text (relay.md §4): `access.key` and `agent.key`,
//! `settings.json`, and the keys that are kept of sessions. Where they are is the shell's.
//!
//! What holds a secret is wiped on drop.

use alloc::string::String;
use core::fmt;

use zeroize::Zeroizing;

use super::base64;
use super::cipher::Cipher;
use super::keys::{AccountSecret, BoxKeyPair, DataKey, PublicKey};
use super::plaintext::Document;
use super::raw::{Raw, Text};
use crate::json;

/// The keys of a machine, by the variant of its cipher.
#[derive(Debug)]
pub enum Keys {
    /// The secret of the account, which is the key of everything.
    Legacy(AccountSecret),
    /// Each session has its own key.
    DataKey {
        /// The account's content key, which sessions' keys are boxed to.
        public: PublicKey,
        /// The key of what this machine says of itself.
        machine: DataKey,
    },
}

impl Keys {
    /// The public half of the account's content key.
    #[must_use]
    pub fn content_key(&self) -> PublicKey {
        match self {
            Self::Legacy(secret) => secret.content_key_pair().public(),
            Self::DataKey { public, .. } => *public,
        }
    }

    /// The pair that unwraps the keys of sessions; only who has the account's secret has it.
    #[must_use]
    pub fn content_pair(&self) -> Option<BoxKeyPair> {
        match self {
            Self::Legacy(secret) => Some(secret.content_key_pair()),
            Self::DataKey { .. } => None,
        }
    }

    /// What the machine's own values are sealed with.
    #[must_use]
    pub fn machine_cipher(&self) -> Cipher {
        match self {
            Self::Legacy(secret) => Cipher::Legacy(AccountSecret::from_bytes(secret.expose())),
            Self::DataKey { machine, .. } => Cipher::DataKey(DataKey::from_bytes(machine.expose())),
        }
    }

    /// The name of the variant.
    #[must_use]
    pub const fn variant(&self) -> &'static str {
        match self {
            Self::Legacy(_) => "legacy",
            Self::DataKey { .. } => "dataKey",
        }
    }

    fn parse(secret: Option<Raw<'_>>, encryption: Option<Raw<'_>>) -> Result<Self, Malformed> {
        if let Some(secret) = secret.filter(|secret| !secret.is_null()) {
            let secret = string(secret).and_then(|text| AccountSecret::from_base64(&text));
            return secret.map(Self::Legacy).ok_or(Malformed::Secret);
        }
        let [public, machine] = encryption
            .and_then(|raw| raw.pick(["publicKey", "machineKey"]))
            .ok_or(Malformed::NoKeys)?;
        let public = public.and_then(string);
        let machine = machine.and_then(string);
        Ok(Self::DataKey {
            public: public
                .and_then(|text| PublicKey::from_base64(&text))
                .ok_or(Malformed::PublicKey)?,
            machine: machine
                .and_then(|text| DataKey::from_base64(&text))
                .ok_or(Malformed::MachineKey)?,
        })
    }
}

/// Why a text holds no credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Malformed {
    /// It is not UTF-8.
    NotText,
    /// It is no JSON object.
    NotAnObject,
    /// It has no token.
    NoToken,
    /// Its secret is not 32 bytes.
    Secret,
    /// It has neither a secret nor keys.
    NoKeys,
    /// Its public key is not 32 bytes.
    PublicKey,
    /// Its machine key is not 32 bytes.
    MachineKey,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotText => "it is not UTF-8",
            Self::NotAnObject => "it is no JSON object",
            Self::NoToken => "it has no token",
            Self::Secret => "its secret is not 32 bytes",
            Self::NoKeys => "it has neither a secret nor keys",
            Self::PublicKey => "its public key is not 32 bytes",
            Self::MachineKey => "its machine key is not 32 bytes",
        })
    }
}

impl core::error::Error for Malformed {}

/// What `access.key` and `agent.key` say.
pub struct Credentials {
    /// The bearer token, whatever it looks like.
    pub token: Zeroizing<String>,
    /// The keys.
    pub keys: Keys,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(redacted)")
    }
}

impl Credentials {
    /// Reads the content of a file. With both a secret and a machine key, the secret counts.
    ///
    /// # Errors
    ///
    /// [`Malformed`]
    pub fn parse(content: &[u8]) -> Result<Self, Malformed> {
        let text = core::str::from_utf8(content).map_err(|_| Malformed::NotText)?;
        let [secret, encryption, token] = Raw::parse(text)
            .and_then(|raw| raw.pick(["secret", "encryption", "token"]))
            .ok_or(Malformed::NotAnObject)?;
        let token = token.and_then(string).ok_or(Malformed::NoToken)?;
        let keys = Keys::parse(secret, encryption)?;
        Ok(Self { token, keys })
    }

    /// The content of `access.key`, as the others write it.
    #[must_use]
    pub fn to_json(token: &str, keys: &Keys) -> Zeroizing<String> {
        let encoded = |bytes: &[u8]| Zeroizing::new(base64::encode(bytes));
        let token = Zeroizing::new(json::quoted(token));
        Zeroizing::new(match keys {
            Keys::Legacy(secret) => [
                "{\n  \"secret\": \"",
                &encoded(secret.expose()),
                "\",\n  \"token\": ",
                &token,
                "\n}",
            ]
            .concat(),
            Keys::DataKey { public, machine } => [
                "{\n  \"encryption\": {\n    \"publicKey\": \"",
                &encoded(public.as_bytes()),
                "\",\n    \"machineKey\": \"",
                &encoded(machine.expose()),
                "\"\n  },\n  \"token\": ",
                &token,
                "\n}",
            ]
            .concat(),
        })
    }
}

/// What `settings.json` says, as far as it concerns us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The server, if another than the default.
    pub server_url: Option<String>,
    /// The id that this machine has.
    pub machine_id: Option<String>,
}

impl Settings {
    /// The whole of a file, which is one JSON object; `None` when it is none.
    #[must_use]
    pub fn document(content: &[u8]) -> Option<Document> {
        let text = core::str::from_utf8(content).ok()?;
        Raw::parse(text).and_then(Document::parse)
    }

    /// What the file says. An empty text says nothing.
    #[must_use]
    pub fn of(document: &Document) -> Self {
        let text = |name| {
            let text = document.get(name).and_then(Raw::text)?;
            let text = text.to_unicode()?.into_owned();
            (!text.is_empty()).then_some(text)
        };
        Self {
            server_url: text("serverUrl"),
            machine_id: text("machineId"),
        }
    }
}

/// The key of one session, and the wrapped copy that the server has.
#[derive(Debug)]
pub struct SessionKey {
    /// The key.
    pub key: DataKey,
    /// The server's `dataEncryptionKey`.
    pub wrapped: String,
}

impl SessionKey {
    /// Reads what [`SessionKey::to_json`] has written; `None` for what holds no key.
    #[must_use]
    pub fn parse(content: &[u8]) -> Option<Self> {
        let text = core::str::from_utf8(content).ok()?;
        let [key, wrapped] = Raw::parse(text)?.pick(["key", "wrapped"])?;
        Some(Self {
            key: DataKey::from_base64(&string(key?)?)?,
            wrapped: wrapped?.text()?.to_unicode()?.into_owned(),
        })
    }

    /// The content of a file.
    #[must_use]
    pub fn to_json(&self) -> Zeroizing<String> {
        let encoded = Zeroizing::new(base64::encode(self.key.expose()));
        let wrapped = Text::new(&self.wrapped);
        let parts = [
            "{\"key\":\"",
            &encoded,
            "\",\"wrapped\":",
            wrapped.raw().as_str(),
            "}\n",
        ];
        Zeroizing::new(parts.concat())
    }
}

/// The string that a member is, for as long as it is needed.
fn string(raw: Raw<'_>) -> Option<Zeroizing<String>> {
    let text = raw.text()?;
    Some(Zeroizing::new(text.to_unicode()?.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::borrow::ToOwned;
    use alloc::format;
    use alloc::string::ToString;

    fn parse(text: &str) -> Result<Credentials, Malformed> {
        Credentials::parse(text.as_bytes())
    }

    fn key(byte: u8) -> String {
        base64::encode(&[byte; 32])
    }

    fn both() -> [Keys; 2] {
        [
            Keys::Legacy(AccountSecret::from_bytes(&[1; 32])),
            Keys::DataKey {
                public: PublicKey::from_bytes([2; 32]),
                machine: DataKey::from_bytes(&[3; 32]),
            },
        ]
    }

    #[test]
    fn both_variants_are_read_as_others_wrote_them() {
        let text = format!(
            "{{\n  \"secret\": \"{}\",\n  \"token\": \"t.o.k\",\n \"more\": []}}\n",
            key(1)
        );
        let legacy = parse(&text).unwrap();
        let Keys::Legacy(secret) = &legacy.keys else {
            panic!("it is the other variant");
        };
        assert_eq!(secret.expose(), &[1; 32]);
        assert_eq!(*legacy.token, "t.o.k");
        assert_eq!(format!("{legacy:?}"), "Credentials(redacted)");
        let text = format!(
            r#"{{"encryption":{{"publicKey":"{}","machineKey":"{}"}},"token":"t","secret":null}}"#,
            key(2),
            key(3)
        );
        let Keys::DataKey { public, machine } = parse(&text).unwrap().keys else {
            panic!("it is the other variant");
        };
        assert_eq!((public.as_bytes(), machine.expose()), (&[2; 32], &[3; 32]));
        let both = text.replace("null", &format!("\"{}\"", key(4)));
        assert!(matches!(parse(&both).unwrap().keys, Keys::Legacy(_)));
    }

    #[test]
    fn what_is_written_is_read_and_spelled_as_others_spell_it() {
        for (keys, shape) in both().into_iter().zip([
            "{\n  \"secret\": \"…\",\n  \"token\": \"a\\\"b\\\\c\"\n}",
            "{\n  \"encryption\": {\n    \"publicKey\": \"…\",\n    \"machineKey\": \"…\"\n  },\n  \"token\": \"a\\\"b\\\\c\"\n}",
        ]) {
            let text = Credentials::to_json("a\"b\\c", &keys);
            let mut blank = (*text).clone();
            for byte in 1..=3 {
                blank = blank.replace(&key(byte), "…");
            }
            assert_eq!(blank, shape);
            let read = parse(&text).unwrap();
            assert_eq!(*read.token, "a\"b\\c");
            assert_eq!(read.keys.variant(), keys.variant());
            assert_eq!(read.keys.content_key(), keys.content_key());
        }
    }

    #[test]
    fn what_holds_no_credentials_is_refused() {
        let secret = key(7);
        for (text, why) in [
            ("", Malformed::NotAnObject),
            ("[]", Malformed::NotAnObject),
            ("{}", Malformed::NoToken),
            (r#"{"token":7,"secret":"AAAA"}"#, Malformed::NoToken),
            (r#"{"token":"\ud800"}"#, Malformed::NoToken),
            (r#"{"token":"t"}"#, Malformed::NoKeys),
            (r#"{"token":"t","encryption":[]}"#, Malformed::NoKeys),
            (r#"{"token":"t","secret":"AAAA"}"#, Malformed::Secret),
            (r#"{"token":"t","secret":7}"#, Malformed::Secret),
            (
                r#"{"token":"t","encryption":{"publicKey":"AAAA"}}"#,
                Malformed::PublicKey,
            ),
            (
                &format!(r#"{{"token":"t","encryption":{{"publicKey":"{secret}"}}}}"#),
                Malformed::MachineKey,
            ),
        ] {
            assert_eq!(parse(text).unwrap_err(), why, "{text}");
        }
        let error = Credentials::parse(b"\xff").unwrap_err();
        assert_eq!(error, Malformed::NotText);
    }

    #[test]
    fn every_reason_has_words_of_its_own() {
        let mut words = alloc::collections::BTreeSet::new();
        for why in [
            Malformed::NotText,
            Malformed::NotAnObject,
            Malformed::NoToken,
            Malformed::Secret,
            Malformed::NoKeys,
            Malformed::PublicKey,
            Malformed::MachineKey,
        ] {
            words.insert(why.to_string());
        }
        assert_eq!(words.len(), 7);
    }

    #[test]
    fn keys_are_those_of_their_variant() {
        let [legacy, data] = both();
        assert_eq!((legacy.variant(), data.variant()), ("legacy", "dataKey"));
        let pair = legacy.content_pair().unwrap();
        assert_eq!(pair.public(), legacy.content_key());
        assert!(data.content_pair().is_none());
        assert_eq!(data.content_key(), PublicKey::from_bytes([2; 32]));
        let Cipher::Legacy(secret) = legacy.machine_cipher() else {
            panic!("it is the other variant");
        };
        assert_eq!(secret.expose(), &[1; 32]);
        let Cipher::DataKey(key) = data.machine_cipher() else {
            panic!("it is the other variant");
        };
        assert_eq!(key.expose(), &[3; 32]);
    }

    #[test]
    fn settings_are_those_that_concern_us() {
        let text = br#" {"z":1,"serverUrl":"https://s","machineId":"","machineId":"\u006d"} "#;
        let document = Settings::document(text).unwrap();
        let expected = Settings {
            server_url: Some("https://s".to_owned()),
            machine_id: Some("m".to_owned()),
        };
        assert_eq!(Settings::of(&document), expected);
        let empty = br#"{"serverUrl":"","machineId":7}"#;
        let empty = Settings::document(empty).unwrap();
        assert_eq!(Settings::of(&empty), Settings::default());
        let surrogate = Settings::document(br#"{"serverUrl":"\ud800"}"#).unwrap();
        assert_eq!(Settings::of(&surrogate), Settings::default());
        for none in [&b""[..], b"[]", b"{", b"{}\xff"] {
            assert_eq!(Settings::document(none), None);
        }
    }

    #[test]
    fn a_key_that_is_kept_is_read_again() {
        let kept = SessionKey {
            key: DataKey::from_bytes(&[7; 32]),
            wrapped: "AA==\"".to_owned(),
        };
        let text = kept.to_json();
        assert!(text.ends_with(",\"wrapped\":\"AA==\\\"\"}\n"));
        let read = SessionKey::parse(text.as_bytes()).unwrap();
        assert_eq!((read.key.expose(), &*read.wrapped), (&[7; 32], "AA==\""));
        let key = key(7);
        for none in [
            "",
            "[]",
            "{}",
            r#"{"key":7,"wrapped":""}"#,
            r#"{"key":"\ud800","wrapped":""}"#,
            r#"{"key":"AAAA","wrapped":""}"#,
            &format!(r#"{{"key":"{key}"}}"#),
            &format!(r#"{{"key":"{key}","wrapped":7}}"#),
            &format!(r#"{{"key":"{key}","wrapped":"\ud800"}}"#),
        ] {
            assert!(SessionKey::parse(none.as_bytes()).is_none(), "{none}");
        }
        assert!(SessionKey::parse(b"\xff").is_none());
    }

    #[test]
    fn nothing_secret_is_printed() {
        for keys in both() {
            let token = Zeroizing::new("tok".to_owned());
            let shown = format!("{keys:?}");
            let shown = format!("{shown} {:?}", Credentials { token, keys });
            assert!(!shown.contains("tok"), "{shown}");
            assert!(
                !shown.contains("1, 1") && !shown.contains("3, 3"),
                "{shown}"
            );
        }
    }
}
