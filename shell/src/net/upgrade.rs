//! The WebSocket handshake (RFC 6455 §4), with what else the dialect wants in it.
//!
//! Ours, because the library's logs the request with its token, leaves copies of it in memory,
//! and takes `Connection: keep-alive, Upgrade` for no upgrade.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hallway_core::session::event::DialFailure;
use sha1::{Digest as _, Sha1};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tungstenite::protocol::WebSocketConfig;
use zeroize::Zeroizing;

use super::dial::DialError;
use super::http::Head;
use super::origin::Origin;
use super::socket::Socket;
use crate::entropy;

/// What the answer to a key is made with.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Makes a WebSocket of a connection.
pub(crate) async fn upgrade<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    request: &Request<'_>,
    config: WebSocketConfig,
) -> Result<Socket<S>, DialError> {
    let mut bytes = [0; 16];
    entropy::fill(&mut bytes)?;
    let key = STANDARD.encode(bytes);
    stream.write_all(request.head(&key).as_bytes()).await?;
    stream.flush().await?;
    let head = Head::read(&mut stream).await?;
    check(&head, &key)?;
    Ok(Socket::new(stream, head.rest, config))
}

/// What is asked for.
pub(crate) struct Request<'a> {
    pub(crate) origin: &'a Origin,
    /// Path and query.
    pub(crate) target: &'a str,
    /// Headers of the dialect; secrets may be among them.
    pub(crate) headers: &'a [(&'a str, &'a str)],
}

impl Request<'_> {
    fn head(&self, key: &str) -> Zeroizing<String> {
        let authority = self.origin.authority();
        let mut parts = vec![
            "GET ",
            self.target,
            " HTTP/1.1\r\nHost: ",
            &authority,
            "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ",
            key,
            "\r\n",
        ];
        for (name, value) in self.headers {
            parts.extend([*name, ": ", *value, "\r\n"]);
        }
        parts.push("\r\n");
        Zeroizing::new(parts.concat())
    }
}

fn check(head: &Head, key: &str) -> Result<(), DialError> {
    if head.status != 101 {
        let failure = DialFailure::Status {
            status: head.status,
            retry_after: head.retry_after(),
        };
        return Err(DialError::new(failure, failure));
    }
    let wrong = |what: &str| Err(DialError::new(DialFailure::NotWebSocket, what));
    if !head.lists("upgrade", "websocket") || !head.lists("connection", "upgrade") {
        return wrong("status 101 to another protocol");
    }
    if head.header("sec-websocket-accept") != Some(&accept(key)) {
        return wrong("the answer is to another handshake");
    }
    if head.header("sec-websocket-extensions").is_some()
        || head.header("sec-websocket-protocol").is_some()
    {
        return wrong("the server uses what was not offered");
    }
    Ok(())
}

/// The `Sec-WebSocket-Accept` that answers a key.
pub(crate) fn accept(key: &str) -> String {
    let mut hash = Sha1::new();
    hash.update(key.as_bytes());
    hash.update(GUID);
    STANDARD.encode(hash.finalize())
}

/// How many bytes are read at a time, and allocated anew while messages hold what was read
/// before. Two such buffers are less than what the C library gives back to the system.
const READ_BYTES: usize = 32_768;

/// Messages of at most `longest` bytes each way, of which `outbox` may wait to be written.
pub(crate) fn config(longest: usize, outbox: usize) -> WebSocketConfig {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BYTES)
        .max_message_size(Some(longest))
        .max_frame_size(Some(longest));
    // One frame of the outbox at a time, and pings and pongs besides.
    let buffer = config.write_buffer_size.saturating_add(outbox);
    config.max_write_buffer_size(buffer.saturating_add(4_096))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt as _;

    #[test]
    fn the_accept_value_is_that_of_the_rfc() {
        assert_eq!(
            accept("dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }

    #[test]
    fn the_request_carries_the_headers() {
        let request = Request {
            origin: &Origin::parse("https://h:8443/p").unwrap(),
            target: "/p/x?y",
            headers: &[("A", "1"), ("Authorization", "Bearer tok")],
        };
        let request = request.head("KEY");
        let lines: Vec<_> = request.split("\r\n").collect();
        assert_eq!(lines[0], "GET /p/x?y HTTP/1.1");
        for line in [
            "Host: h:8443",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: KEY",
            "A: 1",
            "Authorization: Bearer tok",
        ] {
            assert!(lines.contains(&line), "{line}");
        }
        assert!(request.ends_with("\r\n\r\n"));
    }

    /// What becomes of a handshake that is answered so; `ACCEPT` stands for the right value.
    async fn answered(answer: &str) -> Result<(), DialFailure> {
        let (near, mut far) = tokio::io::duplex(4_096);
        let answer = answer.to_owned();
        let server = tokio::spawn(async move {
            let mut bytes = Vec::new();
            while !bytes.ends_with(b"\r\n\r\n") {
                far.read_buf(&mut bytes).await.unwrap();
            }
            let text = String::from_utf8(bytes).unwrap();
            let key = text.split("Sec-WebSocket-Key: ").nth(1).unwrap();
            let answer = answer.replace("ACCEPT", &accept(key.split('\r').next().unwrap()));
            far.write_all(answer.as_bytes()).await.unwrap();
        });
        let request = Request {
            origin: &Origin::parse("ws://h").unwrap(),
            target: "/",
            headers: &[],
        };
        let result = upgrade(near, &request, config(1_000, 1_000)).await;
        server.await.unwrap();
        result.map(drop).map_err(|error| error.failure)
    }

    #[tokio::test]
    async fn answers_are_checked() {
        let head = "HTTP/1.1 101 x\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n";
        let right = format!("{head}Sec-WebSocket-Accept: ACCEPT\r\n");
        assert_eq!(answered(&format!("{right}\r\n")).await, Ok(()));
        for wrong in [
            format!("{head}\r\n"),
            format!("{head}Sec-WebSocket-Accept: xx\r\n\r\n"),
            format!("{right}Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"),
            format!("{right}Sec-WebSocket-Protocol: x\r\n\r\n"),
            right.replace("WebSocket\r\n", "h2c\r\n") + "\r\n",
            "SSH-2.0-x\r\n\r\n".to_owned(),
        ] {
            assert_eq!(
                answered(&wrong).await,
                Err(DialFailure::NotWebSocket),
                "{wrong}"
            );
        }
        assert_eq!(answered("HTTP/1.1 1").await, Err(DialFailure::Unreachable));
        let status = |status, retry_after| {
            Err(DialFailure::Status {
                status,
                retry_after,
            })
        };
        for code in [200, 301, 401, 403, 404, 408, 418, 500, 599] {
            assert_eq!(
                answered(&format!("HTTP/1.1 {code} x\r\n\r\n")).await,
                status(code, None)
            );
        }
        assert_eq!(
            answered("HTTP/1.1 429 x\r\nRetry-After: 7\r\n\r\n").await,
            status(429, Some(std::time::Duration::from_secs(7)))
        );
    }
}
