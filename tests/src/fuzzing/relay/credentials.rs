//! The files of the relay's clients, against the model's own JSON and a base64 bit by bit.

use hallway_core::relay::credentials::{Credentials, Keys, Malformed, SessionKey, Settings};

use super::spelled;
use crate::model::json::{Json, Member, decode, last};

/// Reads `bytes` as credentials, as settings, and as the key of a session, and writes again what
/// was read.
///
/// # Panics
///
/// When something is read that is not there, or not read that is.
pub fn check_credentials(bytes: &[u8]) {
    let json = std::str::from_utf8(bytes).ok().map(Json::read);
    let members = json.as_ref().and_then(|json| json.as_ref()?.members());
    check_keys(bytes, members);
    check_settings(bytes, members);
    check_session_key(bytes, members);
}

fn check_keys(bytes: &[u8], members: Option<&[Member<'_>]>) {
    let read = Credentials::parse(bytes);
    let expected = match members {
        None if std::str::from_utf8(bytes).is_err() => Err(Malformed::NotText),
        None => Err(Malformed::NotAnObject),
        Some(members) => keys(members),
    };
    let (read, (token, first, second)) = match (read, expected) {
        (Ok(read), Ok(expected)) => (read, expected),
        (read, expected) => {
            assert_eq!(read.err(), expected.err());
            return;
        }
    };
    assert_eq!(*read.token, token);
    same_keys(&read.keys, &first, second.as_deref());
    let again = Credentials::to_json(&read.token, &read.keys);
    let again = Credentials::parse(again.as_bytes()).expect("it was written");
    assert_eq!(*again.token, token);
    same_keys(&again.keys, &first, second.as_deref());
}

/// The token and the keys: the secret alone, or the public key and the machine's.
type Content = (String, Vec<u8>, Option<Vec<u8>>);

fn keys(members: &[Member<'_>]) -> Result<Content, Malformed> {
    let token = last(members, "token").and_then(decode);
    let token = token.ok_or(Malformed::NoToken)?;
    if let Some(secret) = last(members, "secret").filter(|secret| *secret != "null") {
        let secret = key(Some(secret)).ok_or(Malformed::Secret)?;
        return Ok((token, secret, None));
    }
    let encryption = last(members, "encryption").and_then(Json::read);
    let encryption = encryption.as_ref().and_then(Json::members);
    let encryption = encryption.ok_or(Malformed::NoKeys)?;
    let public = key(last(encryption, "publicKey")).ok_or(Malformed::PublicKey)?;
    let machine = key(last(encryption, "machineKey")).ok_or(Malformed::MachineKey)?;
    Ok((token, public, Some(machine)))
}

/// The 32 bytes that a member spells.
fn key(member: Option<&str>) -> Option<Vec<u8>> {
    let bytes = spelled(&decode(member?)?);
    (bytes.len() == 32).then_some(bytes)
}

fn same_keys(keys: &Keys, first: &[u8], second: Option<&[u8]>) {
    match keys {
        Keys::Legacy(secret) => assert_eq!((&secret.expose()[..], None), (first, second)),
        Keys::DataKey { public, machine } => assert_eq!(
            (&public.as_bytes()[..], Some(&machine.expose()[..])),
            (first, second)
        ),
    }
    assert_eq!(keys.variant() == "legacy", second.is_none());
}

fn check_settings(bytes: &[u8], members: Option<&[Member<'_>]>) {
    let document = Settings::document(bytes);
    assert_eq!(document.is_some(), members.is_some());
    let (Some(document), Some(members)) = (document, members) else {
        return;
    };
    let text = |name| {
        let text = last(members, name).and_then(decode);
        text.filter(|text| !text.is_empty())
    };
    let expected = Settings {
        server_url: text("serverUrl"),
        machine_id: text("machineId"),
    };
    assert_eq!(Settings::of(&document), expected);
}

fn check_session_key(bytes: &[u8], members: Option<&[Member<'_>]>) {
    let expected = members.and_then(|members| {
        let wrapped = last(members, "wrapped").and_then(decode);
        Some((key(last(members, "key"))?, wrapped?))
    });
    let same = |read: Option<SessionKey>| {
        let read = read.map(|read| (read.key.expose().to_vec(), read.wrapped));
        assert_eq!(read, expected);
    };
    let read = SessionKey::parse(bytes);
    let again = read.as_ref().map(SessionKey::to_json);
    same(read);
    if let Some(again) = again {
        same(SessionKey::parse(again.as_bytes()));
    }
}
