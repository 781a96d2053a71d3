//! What is needed of HTTP/1.1: the head of a response, and its `Retry-After`.

use std::io;
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The longest head of a response, in bytes.
const MAX_HEAD_BYTES: usize = 65_536;
/// The most headers of a response.
const MAX_HEADERS: usize = 128;
/// How many informational responses may come before the one that counts.
const MAX_INFORMATIONAL: usize = 8;

/// The head of a response.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    /// What was read behind it.
    pub(crate) rest: Vec<u8>,
}

/// Why there is no head.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoHead {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the connection ended before the answer")]
    Ended,
    #[error("the answer is no HTTP response")]
    Malformed,
    #[error("the answer's head is too long")]
    TooLong,
}

impl Head {
    /// Reads the head of the final response; informational ones but 101 are passed over.
    pub(crate) async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Self, NoHead> {
        let mut bytes = Vec::with_capacity(4_096);
        for _ in 0..=MAX_INFORMATIONAL {
            let mut seen = 0;
            loop {
                if let Some(end) = end_of_head(&bytes, &mut seen) {
                    let rest = bytes.split_off(end);
                    let head = Self::parse(&bytes, rest)?;
                    match head.status {
                        101 | 200.. => return Ok(head),
                        _ => bytes = head.rest,
                    }
                    break;
                }
                if bytes.len() >= MAX_HEAD_BYTES {
                    return Err(NoHead::TooLong);
                }
                if stream.read_buf(&mut bytes).await? == 0 {
                    return Err(NoHead::Ended);
                }
            }
        }
        Err(NoHead::TooLong)
    }

    fn parse(bytes: &[u8], rest: Vec<u8>) -> Result<Self, NoHead> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let parsed = response.parse(bytes);
        // Proxies are known to answer in HTTP/1.0.
        if !matches!(parsed, Ok(httparse::Status::Complete(_))) {
            return Err(NoHead::Malformed);
        }
        let headers = response.headers.iter().map(|header| {
            let value = String::from_utf8_lossy(header.value);
            (header.name.to_ascii_lowercase(), value.trim().to_owned())
        });
        Ok(Self {
            status: response.code.ok_or(NoHead::Malformed)?,
            headers: headers.collect(),
            rest,
        })
    }

    /// The value of the first header of this lower-case name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.values(name).next()
    }

    /// Whether a header of this lower-case name lists `token`, in any case.
    pub(crate) fn lists(&self, name: &str, token: &str) -> bool {
        let mut tokens = self.values(name).flat_map(|value| value.split(','));
        tokens.any(|listed| listed.trim().eq_ignore_ascii_case(token))
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        let named = self.headers.iter().filter(move |(own, _)| own == name);
        named.map(|(_, value)| value.as_str())
    }

    /// How long the server asks to wait.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        let date = self.header("date");
        // A date is counted from the server's own clock, if it tells it.
        let now = date.and_then(|date| httpdate::parse_http_date(date).ok());
        retry_after(
            self.header("retry-after")?,
            now.unwrap_or_else(SystemTime::now),
        )
    }
}

/// Where the head ends, with its empty line; `seen` bytes were looked at before.
fn end_of_head(bytes: &[u8], seen: &mut usize) -> Option<usize> {
    let from = seen.saturating_sub(3);
    *seen = bytes.len();
    let fresh = bytes.get(from..).unwrap_or_default();
    for (at, byte) in fresh.iter().enumerate() {
        let behind = fresh.get(at + 1..).unwrap_or_default();
        if *byte == b'\n' {
            if behind.starts_with(b"\n") {
                return Some(from + at + 2);
            }
            if behind.starts_with(b"\r\n") {
                return Some(from + at + 3);
            }
        }
    }
    None
}

/// A `Retry-After`: a number of seconds, or a date.
fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More than fits is as long as can be; the policy has a cap.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let at = httpdate::parse_http_date(value).ok()?;
    Some(at.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(mut bytes: &[u8]) -> Result<Head, NoHead> {
        Head::read(&mut bytes).await
    }

    /// Covers: S3.8b
    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let date = |text| httpdate::parse_http_date(text).unwrap();
        let now = date("Sun, 06 Nov 1994 08:49:37 GMT");
        let seconds = |n| Some(Duration::from_secs(n));
        for (value, expected) in [
            ("0", seconds(0)),
            (" 120 ", seconds(120)),
            ("99999999999999999999", seconds(u64::MAX)),
            ("Sun, 06 Nov 1994 08:50:07 GMT", seconds(30)),
            ("Sunday, 06-Nov-94 08:50:07 GMT", seconds(30)),
            ("Sun Nov  6 08:50:07 1994", seconds(30)),
            ("Sun, 06 Nov 1994 08:49:00 GMT", seconds(0)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("+5", None),
            ("soon", None),
        ] {
            assert_eq!(retry_after(value, now), expected, "{value}");
        }
    }

    #[tokio::test]
    async fn a_date_counts_from_the_servers_clock() {
        let head = read(
            b"HTTP/1.1 503 x\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
              Retry-After: Sun, 06 Nov 1994 08:49:47 GMT\r\n\r\n",
        )
        .await
        .unwrap();
        assert_eq!(head.retry_after(), Some(Duration::from_secs(10)));
    }

    #[tokio::test]
    async fn a_head_is_found_however_it_is_cut() {
        let bytes = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n\
                      HTTP/1.1 401 no\r\nA: 1\r\nConnection: keep-alive, Upgrade\r\n\r\nrest";
        for step in [1, 2, 3, 7, 1_000] {
            let (mut near, mut far) = tokio::io::duplex(step);
            let writer = tokio::spawn(async move {
                use tokio::io::AsyncWriteExt as _;
                far.write_all(bytes).await.unwrap();
                far
            });
            let head = Head::read(&mut near).await.unwrap();
            assert_eq!((head.status, head.header("a")), (401, Some("1")));
            assert!(head.lists("connection", "upgrade") && !head.lists("connection", "up"));
            assert!(b"rest".starts_with(&head.rest));
            drop(near);
            drop(writer.await);
        }
    }

    #[tokio::test]
    async fn what_is_no_head_is_refused() {
        assert!(matches!(read(b"").await, Err(NoHead::Ended)));
        assert!(matches!(
            read(b"HTTP/1.1 200 OK\r\n").await,
            Err(NoHead::Ended)
        ));
        for bytes in [
            &b"SSH-2.0-x\r\n\r\n"[..],
            b"HTTP/2.0 200 OK\r\n\r\n",
            b"HTTP/1.1 abc\r\n\r\n",
            b"\x15\x03\x01\n\n",
        ] {
            assert!(
                matches!(read(bytes).await, Err(NoHead::Malformed)),
                "{bytes:?}"
            );
        }
        assert_eq!(read(b"HTTP/1.0 200 OK\r\n\r\n").await.unwrap().status, 200);
        let mut long = b"HTTP/1.1 200 OK\r\nA: ".to_vec();
        long.resize(2 * MAX_HEAD_BYTES, b'x');
        assert!(matches!(read(&long).await, Err(NoHead::TooLong)));
        let hints = b"HTTP/1.1 103 x\r\n\r\n".repeat(20);
        assert!(matches!(read(&hints).await, Err(NoHead::TooLong)));
    }
}
