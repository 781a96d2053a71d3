//! A session of the relay as it is made or joined: its key, and the server's row (relay.md §9.9).

use hallway_core::relay::cipher::{Cipher, Nonce, OpenError, unwrap_data_key, wrap_data_key};
use hallway_core::relay::client::Scope;
use hallway_core::relay::keys::{AccountSecret, BoxKeyPair, DataKey};
use hallway_core::relay::raw::Raw;
use hallway_core::relay::update;
use zeroize::Zeroizing;

use super::credentials::{Credentials, HappyHome, Keys, SessionKey};
use super::http::{Http, HttpError, NewSession, SessionRow};
use crate::dir::DirError;
use crate::entropy;

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The server did not give one.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The key could not be kept, so that nothing was asked for.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// The session has a key that this machine has never had and cannot unwrap.
    #[error(
        "the session {0} cannot be read; another machine made it, and its key is boxed to the account, whose secret is not here; choose another --tag"
    )]
    NoKey(String),
    /// The server's copy of the key is not one of ours.
    #[error("the session {id} cannot be read; its key: {source}; choose another --tag")]
    Unwrap {
        /// The session.
        id: String,
        /// What is wrong.
        source: OpenError,
    },
    /// The system gave no entropy, or a key that cannot be boxed to.
    #[error("no key to seal with; {0}; pair anew if this stays")]
    Crypto(String),
}

/// 24 fresh bytes.
pub(crate) fn nonce() -> Result<Nonce, SessionError> {
    let mut bytes = [0; Nonce::ENTROPY_BYTES];
    entropy::fill(&mut bytes).map_err(crypto)?;
    Ok(Nonce::from_entropy(bytes))
}

/// A fresh pair of keys.
pub(crate) fn key_pair() -> Result<BoxKeyPair, SessionError> {
    Ok(BoxKeyPair::from_secret(&*secret()?))
}

/// 32 fresh bytes.
pub(crate) fn secret() -> Result<Zeroizing<[u8; 32]>, SessionError> {
    let mut bytes = Zeroizing::new([0; 32]);
    entropy::fill(&mut *bytes).map_err(crypto)?;
    Ok(bytes)
}

pub(super) fn crypto(error: impl ToString) -> SessionError {
    SessionError::Crypto(error.to_string())
}

/// The session of this tag, made with `metadata` when there is none.
///
/// In the dataKey variant its key is made once, and kept before the server hears of it: a
/// repetition, also by a later process, sends the same one. A session that is there already
/// keeps the key that it has.
///
/// # Errors
///
/// [`SessionError`]
pub async fn open(
    http: &Http,
    home: &HappyHome,
    credentials: &Credentials,
    tag: &str,
    metadata: &str,
) -> Result<(SessionRow, Scope), SessionError> {
    let server = http.server();
    let kept = match &credentials.keys {
        Keys::Legacy(_) => None,
        Keys::DataKey { public, .. } => Some(match home.session_key(&server, tag)? {
            Some(kept) => {
                // It is as fresh as its session.
                home.keep_session_key(&server, tag, &kept)?;
                kept
            }
            None => {
                let key = DataKey::from_bytes(&*secret()?);
                let wrapped = wrap_data_key(&key, *public, key_pair()?, nonce()?);
                let made = SessionKey {
                    wrapped: wrapped.map_err(crypto)?,
                    key,
                };
                home.keep_session_key(&server, tag, &made)?;
                made
            }
        }),
    };
    let ours = match (&credentials.keys, &kept) {
        (_, Some(kept)) => Cipher::DataKey(DataKey::from_bytes(kept.key.expose())),
        (keys, None) => keys.machine_cipher(),
    };
    let sealed = ours.seal_text(nonce()?, metadata).map_err(crypto)?;
    let asked = NewSession {
        tag,
        metadata: &sealed,
        data_key: kept.as_ref().map(|kept| kept.wrapped.as_str()),
    };
    let row = http.create_session(&credentials.token, &asked).await?;
    let cipher = cipher(&credentials.keys, &row, kept.as_ref())?;
    let raw = Raw::parse(&row.raw).and_then(update::SessionRow::parse);
    let raw = raw.ok_or(HttpError::Nonsense("session"))?;
    let session = Scope::session(&raw, cipher);
    Ok((row, session))
}

/// The cipher of the session that the server gave, by the key that the server has for it.
///
/// # Errors
///
/// [`SessionError::NoKey`] or [`SessionError::Unwrap`].
pub fn cipher(
    keys: &Keys,
    row: &SessionRow,
    kept: Option<&SessionKey>,
) -> Result<Cipher, SessionError> {
    let no_key = || SessionError::NoKey(row.id.clone());
    let Some(field) = &row.data_key else {
        // Only the legacy variant has none.
        return match keys {
            Keys::Legacy(secret) => Ok(Cipher::Legacy(AccountSecret::from_bytes(secret.expose()))),
            Keys::DataKey { .. } => Err(no_key()),
        };
    };
    if let Some(kept) = kept.filter(|kept| kept.wrapped == *field) {
        return Ok(Cipher::DataKey(DataKey::from_bytes(kept.key.expose())));
    }
    let pair = keys.content_pair().ok_or_else(no_key)?;
    let key = unwrap_data_key(field, &pair).map_err(|source| SessionError::Unwrap {
        id: row.id.clone(),
        source,
    })?;
    Ok(Cipher::DataKey(key))
}
