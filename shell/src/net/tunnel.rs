//! Through a proxy: HTTP CONNECT (RFC 9110 §9.3.6) and SOCKS5 (RFC 1928, RFC 1929).

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hallway_core::session::event::DialFailure;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use zeroize::Zeroizing;

use super::dial::DialError;
use super::http::Head;
use super::origin::Host;
use super::proxy::Credentials;

const SOCKS: u8 = 5;
const NO_METHOD: u8 = 0xff;
const BY_PASSWORD: u8 = 2;

/// Asks an HTTP proxy for a tunnel to `host`.
pub(crate) async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    host: &Host,
    port: u16,
    credentials: Option<&Credentials>,
) -> Result<(), DialError> {
    let mut request = Zeroizing::new(format!(
        "CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n"
    ));
    if let Some(Credentials { user, password }) = credentials {
        let mut pair = Zeroizing::new(user.to_vec());
        pair.push(b':');
        pair.extend_from_slice(password);
        request.push_str("Proxy-Authorization: Basic ");
        request.push_str(&Zeroizing::new(STANDARD.encode(&pair)));
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await?;
    let head = Head::read(stream).await.map_err(|error| {
        let error = DialError::from(error);
        DialError::new(
            DialFailure::Unreachable,
            format!("the proxy: {}", error.detail),
        )
    })?;
    let failure = match head.status {
        200..=299 if head.rest.is_empty() => return Ok(()),
        200..=299 => return Err(DialError::unreachable("the proxy: it speaks out of turn")),
        429 | 500.. => DialFailure::Unreachable,
        _ => DialFailure::ProxyRefused,
    };
    Err(DialError::new(
        failure,
        format!("the proxy: HTTP status {}", head.status),
    ))
}

/// Asks a SOCKS5 proxy for a connection to `host`.
pub(crate) async fn socks<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    host: &Host,
    port: u16,
    credentials: Option<&Credentials>,
) -> Result<(), DialError> {
    let hello: &[u8] = match credentials {
        None => &[SOCKS, 1, 0],
        Some(_) => &[SOCKS, 2, 0, BY_PASSWORD],
    };
    stream.write_all(hello).await?;
    match (read::<2, _>(stream).await?, credentials) {
        ([SOCKS, 0], _) => {}
        ([SOCKS, BY_PASSWORD], Some(credentials)) => authenticate(stream, credentials).await?,
        ([SOCKS, NO_METHOD], _) => return Err(refused("it wants other credentials")),
        _ => return Err(not_socks()),
    }
    let mut request = vec![SOCKS, 1, 0];
    match host {
        Host::Address(IpAddr::V4(address)) => {
            request.push(1);
            request.extend_from_slice(&address.octets());
        }
        Host::Address(IpAddr::V6(address)) => {
            request.push(4);
            request.extend_from_slice(&address.octets());
        }
        Host::Name(name) => {
            request.push(3);
            request.push(u8::try_from(name.len()).map_err(|_| not_socks())?);
            request.extend_from_slice(name.as_bytes());
        }
    }
    request.extend_from_slice(&port.to_be_bytes());
    stream.write_all(&request).await?;
    let [version, reply, _, kind] = read(stream).await?;
    if version != SOCKS {
        return Err(not_socks());
    }
    match reply {
        0 => {}
        2 => return Err(refused("its rules forbid it")),
        code => {
            let detail = format!("the proxy: it reaches nobody there (code {code})");
            return Err(DialError::unreachable(detail));
        }
    }
    // The address that it connects from, which nobody needs.
    let address = match kind {
        1 => 4,
        4 => 16,
        3 => read::<1, _>(stream).await?[0].into(),
        _ => return Err(not_socks()),
    };
    for _ in 0..address + 2_usize {
        read::<1, _>(stream).await?;
    }
    Ok(())
}

async fn authenticate<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    credentials: &Credentials,
) -> Result<(), DialError> {
    let mut request = Zeroizing::new(Vec::with_capacity(513));
    request.push(1);
    for part in [&credentials.user, &credentials.password] {
        request.push(u8::try_from(part.len()).map_err(|_| not_socks())?);
        request.extend_from_slice(part);
    }
    stream.write_all(&request).await?;
    match read(stream).await? {
        [_, 0] => Ok(()),
        [_, _] => Err(refused("wrong credentials")),
    }
}

async fn read<const N: usize, S: AsyncRead + Unpin>(stream: &mut S) -> Result<[u8; N], DialError> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

fn refused(why: &str) -> DialError {
    DialError::new(DialFailure::ProxyRefused, format!("the proxy: {why}"))
}

fn not_socks() -> DialError {
    DialError::unreachable("the proxy: it does not speak SOCKS5")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials() -> Credentials {
        Credentials {
            user: Zeroizing::new(b"me".to_vec()),
            password: Zeroizing::new(b"pw".to_vec()),
        }
    }

    /// Plays the other side: for each pair, expects the first and answers the second.
    async fn play(
        script: Vec<(Vec<u8>, Vec<u8>)>,
        kind: &str,
        host: &str,
        credentials: Option<Credentials>,
    ) -> Result<(), DialFailure> {
        let (mut near, mut far) = tokio::io::duplex(4_096);
        let other = tokio::spawn(async move {
            for (expected, answer) in script {
                let mut bytes = vec![0; expected.len()];
                far.read_exact(&mut bytes).await.unwrap();
                assert_eq!(bytes, expected);
                far.write_all(&answer).await.unwrap();
            }
        });
        let host = Host::parse(host).unwrap();
        let result = match kind {
            "connect" => connect(&mut near, &host, 443, credentials.as_ref()).await,
            _ => socks(&mut near, &host, 443, credentials.as_ref()).await,
        };
        other.await.unwrap();
        result.map_err(|error| error.failure)
    }

    #[tokio::test]
    async fn connect_asks_and_understands_the_answer() {
        let plain = b"CONNECT h.x:443 HTTP/1.1\r\nHost: h.x:443\r\n\r\n".to_vec();
        for (answer, expected) in [
            ("HTTP/1.1 200 fine\r\n\r\n", Ok(())),
            ("HTTP/1.1 407 who\r\n\r\n", Err(DialFailure::ProxyRefused)),
            ("HTTP/1.1 403 no\r\n\r\n", Err(DialFailure::ProxyRefused)),
            ("HTTP/1.1 302 there\r\n\r\n", Err(DialFailure::ProxyRefused)),
            ("HTTP/1.1 502 gone\r\n\r\n", Err(DialFailure::Unreachable)),
            ("HTTP/1.1 200 fine\r\n\r\nx", Err(DialFailure::Unreachable)),
            ("SSH-2.0\r\n\r\n", Err(DialFailure::Unreachable)),
            ("", Err(DialFailure::Unreachable)),
        ] {
            let script = vec![(plain.clone(), answer.as_bytes().to_vec())];
            assert_eq!(
                play(script, "connect", "h.x", None).await,
                expected,
                "{answer}"
            );
        }
        let authorised = b"CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n\
                           Proxy-Authorization: Basic bWU6cHc=\r\n\r\n";
        let script = vec![(authorised.to_vec(), b"HTTP/1.1 200 ok\r\n\r\n".to_vec())];
        assert_eq!(
            play(script, "connect", "[::1]", Some(credentials())).await,
            Ok(())
        );
    }

    #[tokio::test]
    async fn socks_asks_by_name_and_by_address() {
        let name = [&[5, 1, 0, 3, 3][..], b"h.x", &[1, 187]].concat();
        let done = [&[5, 0, 0, 1][..], &[0; 6]].concat();
        let script = vec![(vec![5, 1, 0], vec![5, 0]), (name.clone(), done.clone())];
        assert_eq!(play(script, "socks", "h.x", None).await, Ok(()));
        let address = vec![5, 1, 0, 1, 10, 0, 0, 7, 1, 187];
        let named = [&[5, 0, 0, 3, 2][..], b"ab", &[0; 2]].concat();
        let script = vec![
            (vec![5, 2, 0, 2], vec![5, 2]),
            (b"\x01\x02me\x02pw".to_vec(), vec![1, 0]),
            (address, named),
        ];
        assert_eq!(
            play(script, "socks", "10.0.0.7", Some(credentials())).await,
            Ok(())
        );
        for (code, failure) in [
            (2, DialFailure::ProxyRefused),
            (1, DialFailure::Unreachable),
            (5, DialFailure::Unreachable),
        ] {
            let script = vec![
                (vec![5, 1, 0], vec![5, 0]),
                (name.clone(), vec![5, code, 0, 1]),
            ];
            assert_eq!(play(script, "socks", "h.x", None).await, Err(failure));
        }
    }

    #[tokio::test]
    async fn socks_credentials_may_be_wanted_or_wrong() {
        let script = vec![(vec![5, 1, 0], vec![5, 255])];
        let refused = Err(DialFailure::ProxyRefused);
        assert_eq!(play(script, "socks", "h.x", None).await, refused);
        let script = vec![
            (vec![5, 2, 0, 2], vec![5, 2]),
            (b"\x01\x02me\x02pw".to_vec(), vec![1, 1]),
        ];
        assert_eq!(
            play(script, "socks", "h.x", Some(credentials())).await,
            refused
        );
        // It takes the method that was not offered, or is no SOCKS proxy.
        for answer in [vec![5, 2], b"HT".to_vec(), vec![]] {
            let script = vec![(vec![5, 1, 0], answer)];
            let unreachable = Err(DialFailure::Unreachable);
            assert_eq!(play(script, "socks", "h.x", None).await, unreachable);
        }
    }
}
