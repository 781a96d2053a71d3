//! Which proxy a connection goes through: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`.

use std::fmt;
use std::net::IpAddr;

use zeroize::Zeroizing;

use super::origin::{Host, host_and_port};

/// Why the variables make no sense. Their values may hold credentials and are not shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// The URL of a proxy cannot be read.
    #[error(
        "the proxy of {0} cannot be used; its URL makes no sense; write http://HOST:PORT or socks5://HOST:PORT"
    )]
    Url(String),
    /// A proxy of another kind.
    #[error(
        "the proxy of {0} cannot be used; its scheme is none of http, socks5 and socks5h; use one of these"
    )]
    Scheme(String),
}

/// How a proxy is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// HTTP CONNECT.
    Connect,
    /// SOCKS5, names resolved by us.
    Socks,
    /// SOCKS5, names resolved by the proxy.
    SocksRemote,
}

/// What a proxy wants to know of us.
#[derive(Clone)]
pub(crate) struct Credentials {
    pub(crate) user: Zeroizing<Vec<u8>>,
    pub(crate) password: Zeroizing<Vec<u8>>,
}

/// One proxy.
#[derive(Clone)]
pub(crate) struct Proxy {
    pub(crate) kind: Kind,
    pub(crate) host: Host,
    pub(crate) port: u16,
    pub(crate) credentials: Option<Credentials>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}:{}", self.kind, self.host, self.port)
    }
}

impl Proxy {
    /// Reads the value of a variable; without a scheme it is an HTTP proxy.
    fn parse(variable: &str, value: &str) -> Result<Self, ProxyError> {
        let (scheme, rest) = value.split_once("://").unwrap_or(("http", value));
        let (kind, port) = match scheme.to_ascii_lowercase().as_str() {
            "http" => (Kind::Connect, 80),
            "socks5" => (Kind::Socks, 1_080),
            "socks5h" => (Kind::SocksRemote, 1_080),
            _ => return Err(ProxyError::Scheme(variable.to_owned())),
        };
        let wrong = || ProxyError::Url(variable.to_owned());
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (credentials, address) = match authority.rsplit_once('@') {
            Some((credentials, address)) => (Some(credentials), address),
            None => (None, authority),
        };
        let credentials = match credentials {
            None => None,
            Some(text) => Some(Credentials::parse(text).ok_or_else(wrong)?),
        };
        let (host, port) = host_and_port(address, port).ok_or_else(wrong)?;
        Ok(Self {
            kind,
            host,
            port,
            credentials,
        })
    }
}

impl Credentials {
    fn parse(text: &str) -> Option<Self> {
        let (user, password) = text.split_once(':').unwrap_or((text, ""));
        let (user, password) = (decoded(user)?, decoded(password)?);
        // What SOCKS5 can carry; HTTP could not carry a colon in the name.
        let fits = (1..=255).contains(&user.len()) && password.len() <= 255;
        (fits && !user.contains(&b':')).then_some(Self { user, password })
    }
}

/// The bytes of a percent-encoded text.
fn decoded(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut out = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            let value = digit()? * 16 + digit()?;
            out.push(u8::try_from(value).ok()?);
        } else {
            out.push(byte);
        }
    }
    Some(out)
}

/// What goes past the proxies.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Exempt {
    All,
    /// A name and all below it, at one port or any.
    Name(String, Option<u16>),
    /// The addresses that share the first bits, at one port or any.
    Addresses(IpAddr, u8, Option<u16>),
}

impl Exempt {
    /// Reads one entry of `NO_PROXY`; `None` when it makes no sense and is passed over.
    fn parse(entry: &str) -> Option<Self> {
        if entry == "*" {
            return Some(Self::All);
        }
        if let Some((address, bits)) = entry.split_once('/') {
            let (address, bits) = (address.parse::<IpAddr>().ok()?, bits.parse().ok()?);
            return (bits <= width(address)).then_some(Self::Addresses(address, bits, None));
        }
        if let Ok(address) = entry.parse::<IpAddr>() {
            return Some(Self::Addresses(address, width(address), None));
        }
        let entry = entry.strip_prefix('*').unwrap_or(entry);
        let entry = entry.strip_prefix('.').unwrap_or(entry);
        let has_port = entry.contains("]:") || (entry.contains(':') && !entry.ends_with(']'));
        let (host, port) = host_and_port(entry, 1)?;
        let port = has_port.then_some(port);
        Some(match host {
            Host::Name(name) => Self::Name(name, port),
            Host::Address(address) => Self::Addresses(address, width(address), port),
        })
    }

    fn covers(&self, host: &Host, port: u16) -> bool {
        let (covered, at) = match (self, host) {
            (Self::All, _) => return true,
            (Self::Name(name, at), Host::Name(host)) => {
                let above = host.strip_suffix(name.as_str());
                (
                    above.is_some_and(|above| above.is_empty() || above.ends_with('.')),
                    at,
                )
            }
            (Self::Addresses(net, bits, at), Host::Address(address)) => {
                (is_within(*address, *net, *bits), at)
            }
            (Self::Name(..), Host::Address(_)) | (Self::Addresses(..), Host::Name(_)) => {
                return false;
            }
        };
        covered && at.is_none_or(|at| at == port)
    }
}

const fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn is_within(address: IpAddr, net: IpAddr, bits: u8) -> bool {
    let (own, other, width) = match (address, net) {
        (IpAddr::V4(own), IpAddr::V4(other)) => (own.to_bits().into(), other.to_bits().into(), 32),
        (IpAddr::V6(own), IpAddr::V6(other)) => (own.to_bits(), other.to_bits(), 128_u32),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
    };
    let differing: u128 = own ^ other;
    differing
        .checked_shr(width.saturating_sub(bits.into()))
        .unwrap_or(0)
        == 0
}

/// The proxies that there are, and what goes past them.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    secure: Option<Proxy>,
    plain: Option<Proxy>,
    exempt: Vec<Exempt>,
}

impl Proxies {
    /// None: every connection is direct.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Those of the environment; lower-case names come before upper-case ones, and an empty
    /// value is none.
    ///
    /// # Errors
    ///
    /// [`ProxyError`]
    pub fn from_process() -> Result<Self, ProxyError> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    /// Those of the variables that `lookup` gives.
    ///
    /// # Errors
    ///
    /// [`ProxyError`]
    pub fn from_variables(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ProxyError> {
        let find = |names: &[&str]| {
            let mut found = names.iter().filter_map(|name| {
                let value = lookup(name)?.trim().to_owned();
                (!value.is_empty()).then(|| ((*name).to_owned(), value))
            });
            found.next()
        };
        let proxy = |names: &[&str]| match find(names) {
            None => Ok(None),
            Some((name, value)) => Proxy::parse(&name, &value).map(Some),
        };
        let exempt = find(&["no_proxy", "NO_PROXY"]).map(|(_, value)| value);
        Ok(Self {
            secure: proxy(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])?,
            plain: proxy(&["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])?,
            exempt: exempt
                .unwrap_or_default()
                .split([',', ' '])
                .filter_map(|entry| Exempt::parse(entry.trim()))
                .collect(),
        })
    }

    /// The proxy for a connection, if it goes through one.
    pub(crate) fn choose(&self, secure: bool, host: &Host, port: u16) -> Option<&Proxy> {
        let proxy = if secure { &self.secure } else { &self.plain };
        let is_exempt = self.exempt.iter().any(|exempt| exempt.covers(host, port));
        proxy.as_ref().filter(|_| !is_exempt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Result<Proxies, ProxyError> {
        Proxies::from_variables(|name| {
            let mut found = variables.iter().filter(|(own, _)| *own == name);
            found.next().map(|(_, value)| (*value).to_owned())
        })
    }

    fn chosen(variables: &[(&str, &str)], url: &str) -> Option<String> {
        let (scheme, authority) = url.split_once("://").unwrap();
        let secure = scheme == "https";
        let (host, port) = host_and_port(authority, if secure { 443 } else { 80 }).unwrap();
        let proxies = proxies(variables).unwrap();
        let proxy = proxies.choose(secure, &host, port);
        proxy.map(|proxy| format!("{proxy:?}"))
    }

    /// Covers: S1.6
    #[test]
    fn the_variable_of_the_scheme_comes_first() {
        let all = [
            ("HTTPS_PROXY", "http://s:1"),
            ("HTTP_PROXY", "http://p:2"),
            ("ALL_PROXY", "socks5://a:3"),
        ];
        assert_eq!(chosen(&all, "https://h").unwrap(), "Connect s:1");
        assert_eq!(chosen(&all, "http://h").unwrap(), "Connect p:2");
        assert_eq!(chosen(&all[2..], "https://h").unwrap(), "Socks a:3");
        assert_eq!(chosen(&all[2..], "http://h").unwrap(), "Socks a:3");
        assert_eq!(chosen(&all[1..2], "https://h"), None);
        assert_eq!(chosen(&[], "https://h"), None);
        let both = [("https_proxy", "lower:1"), ("HTTPS_PROXY", "upper:2")];
        assert_eq!(chosen(&both, "https://h").unwrap(), "Connect lower:1");
        let empty = [("https_proxy", " "), ("ALL_PROXY", "socks5h://[::1]")];
        assert_eq!(
            chosen(&empty, "https://h").unwrap(),
            "SocksRemote [::1]:1080"
        );
    }

    /// Covers: S1.6
    #[test]
    fn no_proxy_names_addresses_networks_and_ports() {
        let rules = "example.com, .dots.org *.stars.net,10.0.0.0/8,192.168.1.7,fd00::/8,[::1]:9,port.io:8443,bad/x,!";
        let variables = [("HTTPS_PROXY", "p:1"), ("NO_PROXY", rules)];
        for (url, direct) in [
            ("https://example.com", true),
            ("https://EXAMPLE.com:8443", true),
            ("https://a.b.example.com", true),
            ("https://notexample.com", false),
            ("https://example.com.evil", false),
            ("https://dots.org", true),
            ("https://x.dots.org", true),
            ("https://x.stars.net", true),
            ("https://10.255.0.1", true),
            ("https://11.0.0.1", false),
            ("https://192.168.1.7", true),
            ("https://192.168.1.8", false),
            ("https://[fd12::1]", true),
            ("https://[fe80::1]", false),
            ("https://[::1]:9", true),
            ("https://[::1]:10", false),
            ("https://port.io:8443", true),
            ("https://port.io", false),
            ("https://127.0.0.1", false),
        ] {
            assert_eq!(chosen(&variables, url).is_none(), direct, "{url}");
        }
        let all = [("HTTPS_PROXY", "p:1"), ("no_proxy", "*")];
        assert_eq!(chosen(&all, "https://h"), None);
        let nets = [("ALL_PROXY", "p:1"), ("no_proxy", "0.0.0.0/0")];
        assert_eq!(chosen(&nets, "https://9.9.9.9"), None);
        assert!(chosen(&nets, "https://[::1]").is_some());
    }

    #[test]
    fn credentials_are_decoded_and_never_shown() {
        let with = proxies(&[("HTTPS_PROXY", "http://us%40er:p%3Aw@h:3128/")]).unwrap();
        let proxy = with.secure.as_ref().unwrap();
        let credentials = proxy.credentials.as_ref().unwrap();
        assert_eq!(&credentials.user[..], b"us@er");
        assert_eq!(&credentials.password[..], b"p:w");
        assert_eq!(
            (&proxy.host, proxy.port),
            (&Host::Name("h".to_owned()), 3_128)
        );
        assert!(!format!("{with:?}").contains("us@er"));
    }

    #[test]
    fn what_is_no_proxy_is_refused_without_its_value() {
        for value in [
            "http://",
            "http://h:x",
            "http://u:secret@",
            "http://%zz@h",
            "http://a%3Ab@h",
            "http://@h",
        ] {
            let error = proxies(&[("ALL_PROXY", value)]).unwrap_err();
            assert_eq!(error, ProxyError::Url("ALL_PROXY".to_owned()), "{value}");
            assert!(!error.to_string().contains("secret"));
        }
        for value in ["https://h", "socks4://h", "ftp://h"] {
            let error = proxies(&[("HTTP_PROXY", value)]).unwrap_err();
            assert_eq!(
                error,
                ProxyError::Scheme("HTTP_PROXY".to_owned()),
                "{value}"
            );
        }
    }
}
