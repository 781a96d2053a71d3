//! The way to the server: name, TCP or proxy, TLS. No redirect is followed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hallway_core::session::event::DialFailure;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tracing::debug;

use super::dial::DialError;
use super::origin::{Host, Origin};
use super::proxy::{Kind, Proxies, Proxy};
use super::stream::Stream;
use super::tls::{self, TlsError};
use super::tunnel;

/// How long an address has before the next one is tried beside it (RFC 8305 §5).
const HEAD_START: Duration = Duration::from_millis(250);

/// What there is to say about connections.
#[derive(Clone, Debug, Default)]
pub struct TransportOptions {
    /// A PEM file of authorities that are trusted beside the platform's.
    pub ca_file: Option<PathBuf>,
    /// A PEM file of our certificate and its chain.
    pub client_certificate: Option<PathBuf>,
    /// A PEM file of our certificate's key.
    pub client_key: Option<PathBuf>,
    /// Lets the token go over plain connections to other machines.
    pub allow_insecure: bool,
    /// The proxies; by default none.
    pub proxies: Proxies,
}

/// Why a server cannot be reached as the options say.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// The token would go over the network in the clear.
    #[error(
        "a plain connection would show the token to the network; the server is not on this machine; use https, or allow it with --allow-insecure"
    )]
    Insecure,
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// The way to one server.
#[derive(Debug)]
pub(crate) struct Route {
    origin: Origin,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    proxy: Option<Proxy>,
    allow_insecure: bool,
}

impl Route {
    /// Reads the certificate files and, for a secure server, the platform's roots.
    pub(crate) fn new(origin: Origin, options: &TransportOptions) -> Result<Self, SetupError> {
        let (secure, host) = (origin.is_secure(), origin.host());
        let proxy = options.proxies.choose(secure, host, origin.port()).cloned();
        // Behind a proxy elsewhere, this machine's own addresses are the proxy's.
        let stays_here =
            host.is_loopback() && proxy.as_ref().is_none_or(|proxy| proxy.host.is_loopback());
        if !secure && !stays_here && !options.allow_insecure {
            return Err(SetupError::Insecure);
        }
        let tls = if secure {
            let name = match host {
                Host::Address(address) => ServerName::from(*address),
                Host::Name(name) => ServerName::try_from(name.clone())
                    .map_err(|_| TlsError::Refused(rustls::Error::UnsupportedNameType))?,
            };
            Some((tls::configure(options)?, name))
        } else {
            None
        };
        Ok(Self {
            origin,
            tls,
            proxy,
            allow_insecure: options.allow_insecure,
        })
    }

    /// Where it leads.
    #[cfg(feature = "relay")]
    pub(crate) const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Opens a connection.
    pub(crate) async fn open(&self) -> Result<Stream, DialError> {
        let stream = self.reach().await?;
        match &self.tls {
            None => Ok(Stream::plain(stream)),
            Some((config, name)) => {
                let connector = TlsConnector::from(config.clone());
                Ok(Stream::tls(connector.connect(name.clone(), stream).await?))
            }
        }
    }

    async fn reach(&self) -> Result<TcpStream, DialError> {
        let (host, port) = (self.origin.host(), self.origin.port());
        let Some(proxy) = &self.proxy else {
            return self.dial(host, port).await;
        };
        let mut stream = self.dial(&proxy.host, proxy.port).await?;
        let credentials = proxy.credentials.as_ref();
        match proxy.kind {
            Kind::Connect => tunnel::connect(&mut stream, host, port, credentials).await?,
            Kind::SocksRemote => tunnel::socks(&mut stream, host, port, credentials).await?,
            Kind::Socks => {
                let addresses = self.resolve(host, port).await?;
                let first = addresses.first().ok_or_else(nobody)?;
                let host = Host::Address(first.ip());
                tunnel::socks(&mut stream, &host, port, credentials).await?;
            }
        }
        Ok(stream)
    }

    /// Connects to the first address that answers; each has a head start on the next.
    async fn dial(&self, host: &Host, port: u16) -> Result<TcpStream, DialError> {
        let mut addresses = self.resolve(host, port).await?.into_iter();
        let mut attempts = JoinSet::new();
        let mut last = nobody();
        loop {
            if let Some(address) = addresses.next() {
                attempts.spawn(async move { (address, TcpStream::connect(address).await) });
            }
            let joined = if addresses.len() == 0 {
                attempts.join_next().await
            } else {
                match tokio::time::timeout(HEAD_START, attempts.join_next()).await {
                    Ok(joined) => joined,
                    Err(_) => continue,
                }
            };
            match joined {
                Some(Ok((_, Ok(stream)))) => {
                    if let Err(error) = stream.set_nodelay(true) {
                        debug!(%error, "frames may wait for each other");
                    }
                    return Ok(stream);
                }
                Some(Ok((address, Err(error)))) => {
                    last = DialError::unreachable(format!("{address}: {error}"));
                }
                Some(Err(error)) => last = DialError::unreachable(error),
                None if addresses.len() == 0 => return Err(last),
                None => {}
            }
        }
    }

    /// The addresses of a host, both families by turns.
    async fn resolve(&self, host: &Host, port: u16) -> Result<Vec<SocketAddr>, DialError> {
        let name = match host {
            Host::Address(address) => return Ok(vec![(*address, port).into()]),
            Host::Name(name) => name,
        };
        let found = tokio::net::lookup_host((name.as_str(), port)).await;
        let found = found.map_err(|error| {
            DialError::new(DialFailure::Unreachable, format!("{name}: {error}"))
        })?;
        // What is let be plain because it stays on this machine has to.
        let must_stay = self.tls.is_none() && !self.allow_insecure && host.is_loopback();
        let (v6, v4): (Vec<_>, Vec<_>) = found
            .filter(|address| !must_stay || address.ip().is_loopback())
            .partition(SocketAddr::is_ipv6);
        Ok(by_turns(v6, v4))
    }
}

fn by_turns(first: Vec<SocketAddr>, second: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut out = Vec::new();
    loop {
        let pair = [first.next(), second.next()];
        if pair == [None, None] {
            return out;
        }
        out.extend(pair.into_iter().flatten());
    }
}

fn nobody() -> DialError {
    DialError::unreachable("the name has no address")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup(url: &str, proxy: Option<&str>, allow_insecure: bool) -> Result<(), SetupError> {
        let proxies = Proxies::from_variables(|name| {
            proxy.filter(|_| name == "ALL_PROXY").map(str::to_owned)
        });
        let options = TransportOptions {
            allow_insecure,
            proxies: proxies.unwrap(),
            ..TransportOptions::default()
        };
        let origin = Origin::parse(url).unwrap();
        Route::new(origin, &options).map(drop)
    }

    #[test]
    fn the_token_does_not_leave_the_machine_in_the_clear() {
        for url in ["http://127.0.0.1:1", "ws://[::1]", "http://localhost"] {
            assert!(setup(url, None, false).is_ok(), "{url}");
            assert!(
                setup(url, Some("socks5://127.0.0.1:1"), false).is_ok(),
                "{url}"
            );
            let abroad = setup(url, Some("http://proxy.example:1"), false);
            assert!(matches!(abroad, Err(SetupError::Insecure)), "{url}");
        }
        for url in ["http://10.0.0.1", "ws://example.com"] {
            assert!(
                matches!(setup(url, None, false), Err(SetupError::Insecure)),
                "{url}"
            );
            assert!(setup(url, None, true).is_ok(), "{url}");
        }
    }

    #[test]
    fn files_must_hold_what_they_should() {
        let dir = tempfile::tempdir().unwrap();
        let (empty, none) = (dir.path().join("empty"), dir.path().join("none"));
        std::fs::write(&empty, "no certificate").unwrap();
        let origin = Origin::parse("https://h").unwrap();
        let with = |options: TransportOptions| match Route::new(origin.clone(), &options) {
            Err(SetupError::Tls(error)) => error,
            other => panic!("{other:?}"),
        };
        let ca_file = |path: &PathBuf| TransportOptions {
            ca_file: Some(path.clone()),
            ..TransportOptions::default()
        };
        assert!(matches!(with(ca_file(&none)), TlsError::Pem { .. }));
        assert!(matches!(with(ca_file(&empty)), TlsError::NoCertificate(_)));
    }

    #[test]
    fn families_take_turns() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let v6 = vec![address("[::1]:1"), address("[::2]:1"), address("[::3]:1")];
        let v4 = vec![address("1.1.1.1:1")];
        let turns = by_turns(v6.clone(), v4.clone());
        assert_eq!(turns, [v6[0], v4[0], v6[1], v6[2]]);
    }

    #[tokio::test]
    async fn the_next_address_is_tried() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let origin = Origin::parse(&format!("http://localhost:{port}")).unwrap();
        let connector = Route::new(origin, &TransportOptions::default()).unwrap();
        // `localhost` may be ::1 first, where nobody listens.
        let stream = connector.reach().await.unwrap();
        assert_eq!(stream.peer_addr().unwrap().port(), port);
        drop(listener);
        let error = connector.reach().await.unwrap_err();
        assert_eq!(error.failure, DialFailure::Unreachable);
    }
}
