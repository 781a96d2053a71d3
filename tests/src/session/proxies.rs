//! Proxies on loopback: HTTP CONNECT (RFC 9110 §9.3.6) and SOCKS5 (RFC 1928, RFC 1929). Wherever a
//! client wants to go, it comes to the one server of the test.

use std::io::{BufRead as _, BufReader, ErrorKind, Read, Result, Write as _, copy};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use super::listener::Listener;
use super::server::base64;
use crate::PATIENCE;

/// Who may pass: anybody, or who has this name and password.
pub type Credentials = Option<(&'static str, &'static str)>;

/// Where clients wanted to go: `host:port`, in the order in which they came.
type Asked = Arc<Mutex<Vec<String>>>;

/// A proxy of HTTP CONNECT.
#[derive(Debug)]
pub struct HttpProxy(Proxy);

/// A proxy of SOCKS5.
#[derive(Debug)]
pub struct SocksProxy(Proxy);

#[derive(Debug)]
struct Proxy {
    listener: Listener,
    asked: Asked,
}

impl Proxy {
    fn new(
        greet: impl Fn(&TcpStream, &Asked) -> Result<SocketAddr> + Send + Sync + 'static,
    ) -> Self {
        let asked = Asked::default();
        let (notes, greet) = (Arc::clone(&asked), Arc::new(greet));
        let listener = Listener::new(move |client| {
            let (asked, greet) = (Arc::clone(&notes), Arc::clone(&greet));
            std::thread::spawn(move || {
                let patience = Some(PATIENCE);
                client.set_read_timeout(patience).expect("a timeout");
                // A client that is refused, or gone, gets no further.
                if let Ok(target) = greet(&client, &asked) {
                    drop(join(&client, target));
                }
            });
        });
        Self { listener, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("notes").clone()
    }
}

/// Passes on both ways between `client` and `target`.
fn join(client: &TcpStream, target: SocketAddr) -> Result<()> {
    let server = TcpStream::connect(target)?;
    let (mut up, mut down) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || {
        drop(copy(&mut up, &mut down));
        drop(down.shutdown(Shutdown::Write));
    });
    // Either side may end when it wants.
    drop(copy(&mut &server, &mut &*client));
    drop(client.shutdown(Shutdown::Write));
    Ok(())
}

fn refused() -> std::io::Error {
    ErrorKind::PermissionDenied.into()
}

impl HttpProxy {
    /// A proxy to `target`.
    #[must_use]
    pub fn new(target: SocketAddr, credentials: Credentials) -> Self {
        let wanted = credentials.map(|(name, password)| {
            let pair = format!("{name}:{password}");
            format!("Basic {}", base64(pair.as_bytes()))
        });
        Self(Proxy::new(move |client, asked| {
            let (mut line, mut given) = (String::new(), None);
            let mut reader = BufReader::new(One(client));
            reader.read_line(&mut line)?;
            let words: Vec<_> = line.split_whitespace().collect();
            assert_eq!(words.first(), Some(&"CONNECT"), "{line}");
            let place = words.get(1).copied().ok_or_else(refused)?;
            asked.lock().expect("notes").push(place.to_owned());
            loop {
                let mut header = String::new();
                reader.read_line(&mut header)?;
                let Some((name, value)) = header.split_once(':') else {
                    break;
                };
                assert!(
                    !name.eq_ignore_ascii_case("authorization"),
                    "the token is the server's"
                );
                if name.eq_ignore_ascii_case("proxy-authorization") {
                    given = Some(value.trim().to_owned());
                }
            }
            let mut client = client;
            if wanted.is_some() && given != wanted {
                client.write_all(
                    b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\
                      Proxy-Authenticate: Basic realm=\"test\"\r\nConnection: close\r\n\r\n",
                )?;
                return Err(refused());
            }
            client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
            Ok(target)
        }))
    }

    /// Its URL, with `credentials` in it.
    #[must_use]
    pub fn url(&self, credentials: Credentials) -> String {
        url("http", self.0.listener.address(), credentials)
    }

    /// Where clients wanted to go.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.0.asked()
    }
}

/// Reads single bytes, so that nothing behind a line is taken with it.
struct One<'a>(&'a TcpStream);

impl Read for One<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let most = buffer.len().min(1);
        self.0.read(&mut buffer[..most])
    }
}

impl SocksProxy {
    /// A proxy to `target`.
    #[must_use]
    pub fn new(target: SocketAddr, credentials: Credentials) -> Self {
        Self(Proxy::new(move |mut client, asked| {
            let [version, methods] = bytes(client)?;
            assert_eq!(version, 5);
            let offered = run(client, methods)?;
            let method = if credentials.is_some() { 2 } else { 0 };
            if !offered.contains(&method) {
                client.write_all(&[5, 0xff])?;
                return Err(refused());
            }
            client.write_all(&[5, method])?;
            if let Some((name, password)) = credentials {
                let [version, length] = bytes(client)?;
                assert_eq!(version, 1);
                let given_name = run(client, length)?;
                let [length] = bytes(client)?;
                let given = (given_name, run(client, length)?);
                let is_right = given == (name.into(), password.into());
                client.write_all(&[1, u8::from(!is_right)])?;
                if !is_right {
                    return Err(refused());
                }
            }
            let [version, command, _, kind] = bytes(client)?;
            assert_eq!((version, command), (5, 1), "CONNECT");
            let host = match kind {
                1 => std::net::Ipv4Addr::from(bytes::<4>(client)?).to_string(),
                3 => {
                    let [length] = bytes(client)?;
                    String::from_utf8(run(client, length)?).map_err(std::io::Error::other)?
                }
                4 => std::net::Ipv6Addr::from(bytes::<16>(client)?).to_string(),
                other => panic!("no kind of address: {other}"),
            };
            let port = u16::from_be_bytes(bytes(client)?);
            asked.lock().expect("notes").push(format!("{host}:{port}"));
            client.write_all(&[5, 0, 0, 1, 127, 0, 0, 1, 0, 0])?;
            Ok(target)
        }))
    }

    /// Its URL of `scheme` (`socks5`, `socks5h`), with `credentials` in it.
    #[must_use]
    pub fn url(&self, scheme: &str, credentials: Credentials) -> String {
        url(scheme, self.0.listener.address(), credentials)
    }

    /// Where clients wanted to go.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.0.asked()
    }
}

fn url(scheme: &str, address: SocketAddr, credentials: Credentials) -> String {
    let user = credentials.map(|(name, password)| format!("{name}:{password}@"));
    format!("{scheme}://{}{address}", user.unwrap_or_default())
}

fn bytes<const N: usize>(mut stream: &TcpStream) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn run(mut stream: &TcpStream, length: u8) -> Result<Vec<u8>> {
    let mut bytes = vec![0; usize::from(length)];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}
