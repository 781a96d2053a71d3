//! Where a session is: the base URL, and the paths below it (sessions.md §1, §2).

use std::fmt::{self, Write as _};
use std::net::IpAddr;

/// Why a base URL or an id cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// The URL has none of the schemes.
    #[error(
        "the base URL cannot be used; it has none of the schemes https, http, wss and ws; write https://HOST"
    )]
    Scheme,
    /// The URL has no host that could be one, or a port that is none.
    #[error(
        "the base URL cannot be used; its host or port makes no sense; write https://HOST or https://HOST:PORT"
    )]
    Host,
    /// The URL carries credentials.
    #[error("the base URL cannot be used; it carries credentials; use a token source instead")]
    Credentials,
    /// The URL has a query, a fragment, or characters that no URL has.
    #[error(
        "the base URL cannot be used; it has a query, a fragment, or characters that belong into none; give what is before /v1"
    )]
    Path,
    /// An id is empty, too long, a path of its own, or no text for a header.
    #[error(
        "the {0} id cannot be used; it is empty, longer than 256 bytes, dots, or holds control characters; give it as the server wrote it"
    )]
    Id(&'static str),
}

/// A host as a URL names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    Name(String),
    Address(IpAddr),
}

impl Host {
    /// Reads a name, an IPv4 address, or an IPv6 address in brackets.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Some(inner) = text.strip_prefix('[') {
            let address = inner.strip_suffix(']')?.parse().ok()?;
            return Some(Self::Address(IpAddr::V6(address)));
        }
        if let Ok(address) = text.parse() {
            return Some(Self::Address(IpAddr::V4(address)));
        }
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        let is_name = !text.is_empty() && text.len() <= 253 && text.chars().all(fits);
        is_name.then(|| Self::Name(text.to_ascii_lowercase()))
    }

    /// Whether it means this machine.
    pub(super) fn is_loopback(&self) -> bool {
        match self {
            Self::Name(name) => name == "localhost",
            Self::Address(address) => address.is_loopback(),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => address.fmt(f),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

/// Splits `HOST`, `HOST:PORT` or `[V6]:PORT`.
pub(super) fn host_and_port(text: &str, default: u16) -> Option<(Host, u16)> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        Some(_) | None => (text, None),
    };
    let port = match port {
        None => default,
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok()?,
        Some(_) => return None,
    };
    (port != 0).then_some(())?;
    Some((Host::parse(host)?, port))
}

/// Where a session is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    secure: bool,
    host: Host,
    port: u16,
    prefix: String,
    session: String,
    organization: String,
}

impl Endpoint {
    /// The session of this id below `base_url`.
    ///
    /// # Errors
    ///
    /// [`EndpointError`]
    pub fn new(base_url: &str, session: &str, organization: &str) -> Result<Self, EndpointError> {
        let (scheme, rest) = base_url.split_once("://").ok_or(EndpointError::Scheme)?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "https" | "wss" => true,
            "http" | "ws" => false,
            _ => return Err(EndpointError::Scheme),
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        if authority.contains('@') {
            return Err(EndpointError::Credentials);
        }
        let fits =
            |c: char| c.is_ascii_graphic() && !matches!(c, '?' | '#' | '"' | '<' | '>' | '\\');
        if !rest.chars().all(fits) {
            return Err(EndpointError::Path);
        }
        let default = if secure { 443 } else { 80 };
        let (host, port) = host_and_port(authority, default).ok_or(EndpointError::Host)?;
        // The organization also stands in a header as it is.
        let is_header = |c: char| c.is_ascii_graphic();
        for (what, id, fits) in [
            ("session", session, !session.contains(char::is_control)),
            (
                "organization",
                organization,
                organization.chars().all(is_header),
            ),
        ] {
            if id.is_empty() || id.len() > 256 || matches!(id, "." | "..") || !fits {
                return Err(EndpointError::Id(what));
            }
        }
        Ok(Self {
            secure,
            host,
            port,
            prefix: path.trim_end_matches('/').to_owned(),
            session: session.to_owned(),
            organization: organization.to_owned(),
        })
    }

    /// The session's id.
    #[must_use]
    pub fn session(&self) -> &str {
        &self.session
    }

    /// The organization's id.
    #[must_use]
    pub fn organization(&self) -> &str {
        &self.organization
    }

    /// Whether it is reached over TLS.
    #[must_use]
    pub const fn is_secure(&self) -> bool {
        self.secure
    }

    pub(super) const fn host(&self) -> &Host {
        &self.host
    }

    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    /// What a request names as its host.
    pub(super) fn authority(&self) -> String {
        match (self.secure, self.port) {
            (true, 443) | (false, 80) => self.host.to_string(),
            (_, port) => format!("{}:{port}", self.host),
        }
    }

    /// The path and query to subscribe at.
    pub(super) fn subscribe_target(&self) -> String {
        format!(
            "{}/v1/sessions/ws/{}/subscribe?organization_uuid={}",
            self.prefix,
            encoded(&self.session),
            encoded(&self.organization)
        )
    }

    /// The path to post events to.
    pub(super) fn events_target(&self) -> String {
        format!(
            "{}/v1/sessions/{}/events",
            self.prefix,
            encoded(&self.session)
        )
    }
}

/// `text` with all but unreserved characters percent-encoded.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ok = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(base: &str) -> Endpoint {
        Endpoint::new(base, "cse_1", "org-1").unwrap()
    }

    /// Covers: S1.1
    #[test]
    fn urls_are_built_below_the_base() {
        let plain = endpoint("https://api.example.com");
        assert_eq!(
            plain.subscribe_target(),
            "/v1/sessions/ws/cse_1/subscribe?organization_uuid=org-1"
        );
        assert_eq!(plain.events_target(), "/v1/sessions/cse_1/events");
        assert_eq!(plain.authority(), "api.example.com");
        assert_eq!((plain.port(), plain.is_secure()), (443, true));

        let deep = endpoint("WSS://API.example.com:8443/a/b//");
        assert_eq!(deep.events_target(), "/a/b/v1/sessions/cse_1/events");
        assert_eq!(deep.authority(), "api.example.com:8443");

        assert_eq!(endpoint("http://h:443").authority(), "h:443");
        assert_eq!(endpoint("ws://h").authority(), "h");
        assert_eq!(endpoint("ws://[::1]:8080").authority(), "[::1]:8080");
        assert_eq!(endpoint("ws://[::1]").port(), 80);
    }

    /// Covers: S1.2
    #[test]
    fn ids_are_percent_encoded() {
        let odd = Endpoint::new("https://h", "a/b c?é", "o&x=#%").unwrap();
        assert_eq!(
            odd.subscribe_target(),
            "/v1/sessions/ws/a%2Fb%20c%3F%C3%A9/subscribe?organization_uuid=o%26x%3D%23%25"
        );
        assert_eq!(
            odd.events_target(),
            "/v1/sessions/a%2Fb%20c%3F%C3%A9/events"
        );
        assert_eq!(odd.session(), "a/b c?é");
    }

    #[test]
    fn what_is_no_endpoint_is_refused() {
        for (base, error) in [
            ("api.example.com", EndpointError::Scheme),
            ("ftp://h", EndpointError::Scheme),
            ("https://", EndpointError::Host),
            ("https://:443", EndpointError::Host),
            ("https://h:", EndpointError::Host),
            ("https://h:0", EndpointError::Host),
            ("https://h:65536", EndpointError::Host),
            ("https://h:+1", EndpointError::Host),
            ("https://[::1", EndpointError::Host),
            ("https://::1", EndpointError::Host),
            ("https://exa!mple", EndpointError::Host),
            ("https://u:p@h", EndpointError::Credentials),
            ("https://h/a?b", EndpointError::Path),
            ("https://h/#", EndpointError::Path),
            ("https://h/a b", EndpointError::Path),
            ("https://h/\r\nx:y", EndpointError::Path),
        ] {
            assert_eq!(Endpoint::new(base, "s", "o").unwrap_err(), error, "{base}");
        }
        for id in ["", ".", "..", "a\r\nX: y", &"x".repeat(257)] {
            assert_eq!(
                Endpoint::new("https://h", id, "o").unwrap_err(),
                EndpointError::Id("session")
            );
            assert_eq!(
                Endpoint::new("https://h", "s", id).unwrap_err(),
                EndpointError::Id("organization")
            );
        }
        assert!(Endpoint::new("https://h", "s", "é").is_err());
    }

    #[test]
    fn loopback_is_this_machine() {
        for (base, loopback) in [
            ("http://localhost", true),
            ("http://127.9.9.9", true),
            ("http://[::1]", true),
            ("http://localhost.example.com", false),
            ("http://10.0.0.1", false),
            ("http://0.0.0.0", false),
        ] {
            assert_eq!(endpoint(base).host().is_loopback(), loopback, "{base}");
        }
    }
}
