//! What a client says of itself when it joins (relay.md §1.3).

use alloc::string::String;
use core::fmt;
use core::hash::{Hash, Hasher};

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::json;
use crate::token::Token;

/// The first packet of a client, token included. Its memory is wiped on drop, `Debug` prints a
/// placeholder, and it is compared in constant time.
#[derive(Clone)]
pub struct Auth(Zeroizing<String>);

impl Auth {
    /// A client of one session. `client` is what it calls itself, as `cli-coding-session/1.2`.
    #[must_use]
    pub fn session(token: &Token, session: &str, client: Option<&str>) -> Self {
        let scope = ("sessionId", session);
        Self::new(token, "session-scoped", Some(scope), client)
    }

    /// A client of one machine.
    #[must_use]
    pub fn machine(token: &Token, machine: &str, client: Option<&str>) -> Self {
        let scope = ("machineId", machine);
        Self::new(token, "machine-scoped", Some(scope), client)
    }

    /// A client of the whole account.
    #[must_use]
    pub fn user(token: &Token, client: Option<&str>) -> Self {
        Self::new(token, "user-scoped", None, client)
    }

    fn new(token: &Token, kind: &str, scope: Option<(&str, &str)>, client: Option<&str>) -> Self {
        let token = Zeroizing::new(json::quoted(token.expose()));
        let mut rest = String::from(",\"clientType\":");
        rest.push_str(&json::quoted(kind));
        for (name, value) in scope
            .into_iter()
            .chain(client.map(|client| ("happyClient", client)))
        {
            rest.push_str(",\"");
            rest.push_str(name);
            rest.push_str("\":");
            rest.push_str(&json::quoted(value));
        }
        // Of the right size from the start: growing would leave copies of the token behind.
        let length = token.len().saturating_add(rest.len());
        let mut frame = Zeroizing::new(String::with_capacity(length.saturating_add(16)));
        frame.push_str("40{\"token\":");
        frame.push_str(&token);
        frame.push_str(&rest);
        frame.push('}');
        Self(frame)
    }

    /// The frame itself.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Auth(redacted)")
    }
}

impl PartialEq for Auth {
    fn eq(&self, other: &Self) -> bool {
        bool::from(self.0.as_bytes().ct_eq(other.0.as_bytes()))
    }
}

impl Eq for Auth {}

impl Hash for Auth {
    /// Tells nothing of the token: all are equal to a hasher.
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    /// Covers: R1.28
    #[test]
    fn it_says_who_it_is_and_shows_no_token() {
        let token = Token::parse("to\"ken").unwrap();
        let auth = Auth::session(&token, "S", Some("cli/1"));
        assert_eq!(
            auth.expose(),
            r#"40{"token":"to\"ken","clientType":"session-scoped","sessionId":"S","happyClient":"cli/1"}"#
        );
        assert_eq!(format!("{auth:?}"), "Auth(redacted)");
        assert_eq!(auth, auth.clone());
        let machine = Auth::machine(&token, "M", None);
        assert_eq!(
            machine.expose(),
            r#"40{"token":"to\"ken","clientType":"machine-scoped","machineId":"M"}"#
        );
        let user = Auth::user(&token, None);
        assert_eq!(
            user.expose(),
            r#"40{"token":"to\"ken","clientType":"user-scoped"}"#
        );
        assert_ne!(machine, user);
        let state = core::hash::BuildHasherDefault::<std::hash::DefaultHasher>::default();
        let hash = |auth: &Auth| core::hash::BuildHasher::hash_one(&state, auth);
        assert_eq!(hash(&machine), hash(&user), "a hash tells nothing");
    }
}
