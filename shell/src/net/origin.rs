//! Where a server is, as a base URL says it.

use std::fmt::{self, Write as _};
use std::net::IpAddr;

/// Why a base URL cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
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
}

/// A host as a URL names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    Name(String),
    Address(IpAddr),
}

impl Host {
    /// Reads a name, an IPv4 address, or an IPv6 address in brackets.
    pub(crate) fn parse(text: &str) -> Option<Self> {
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
    pub(crate) fn is_loopback(&self) -> bool {
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
pub(crate) fn host_and_port(text: &str, default: u16) -> Option<(Host, u16)> {
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

/// Where a server is: a base URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    secure: bool,
    host: Host,
    port: u16,
    prefix: String,
}

impl Origin {
    /// Reads a base URL.
    pub(crate) fn parse(base_url: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = base_url.split_once("://").ok_or(UrlError::Scheme)?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "https" | "wss" => true,
            "http" | "ws" => false,
            _ => return Err(UrlError::Scheme),
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        if authority.contains('@') {
            return Err(UrlError::Credentials);
        }
        let fits =
            |c: char| c.is_ascii_graphic() && !matches!(c, '?' | '#' | '"' | '<' | '>' | '\\');
        if !rest.chars().all(fits) {
            return Err(UrlError::Path);
        }
        let default = if secure { 443 } else { 80 };
        let (host, port) = host_and_port(authority, default).ok_or(UrlError::Host)?;
        Ok(Self {
            secure,
            host,
            port,
            prefix: path.trim_end_matches('/').to_owned(),
        })
    }

    /// Whether it is reached over TLS.
    pub(crate) const fn is_secure(&self) -> bool {
        self.secure
    }

    pub(crate) const fn host(&self) -> &Host {
        &self.host
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// What all its paths begin with: nothing, or a path without the slash at its end.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// What a request names as its host.
    pub(crate) fn authority(&self) -> String {
        match (self.secure, self.port) {
            (true, 443) | (false, 80) => self.host.to_string(),
            (_, port) => format!("{}:{port}", self.host),
        }
    }
}

/// The base URL, for people.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.prefix)
    }
}

/// `text` with all but unreserved characters percent-encoded.
pub(crate) fn encoded(text: &str) -> String {
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
