//! The body of an HTTP/1.1 response: counted, chunked, or the rest of the connection.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::http::Head;

/// The longest line of a chunked body, in bytes.
const MAX_LINE_BYTES: usize = 8_192;

/// Why there is no body.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoBody {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the connection ended within the answer")]
    Ended,
    #[error("the answer's body is cut up wrongly")]
    Malformed,
    #[error("the answer has more than {0} bytes")]
    TooLong(usize),
}

impl Head {
    /// Reads the body, of at most `max` bytes. The connection is of no use afterwards.
    pub(crate) async fn body<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        max: usize,
    ) -> Result<Vec<u8>, NoBody> {
        let mut body = Body {
            stream,
            bytes: std::mem::take(&mut self.rest),
            at: 0,
        };
        let mut out = Vec::new();
        if matches!(self.status, 204 | 304) {
            return Ok(out);
        }
        if self.header("transfer-encoding").is_some() {
            if !self.lists("transfer-encoding", "chunked") {
                return Err(NoBody::Malformed);
            }
            body.chunks(max, &mut out).await?;
        } else if let Some(length) = self.header("content-length") {
            let length = length.parse().map_err(|_| NoBody::Malformed)?;
            if length > max {
                return Err(NoBody::TooLong(max));
            }
            body.take(length, &mut out).await?;
        } else {
            loop {
                if body.bytes.len() > max {
                    return Err(NoBody::TooLong(max));
                }
                if !body.more().await? {
                    out = body.bytes;
                    break;
                }
            }
        }
        Ok(out)
    }
}

/// What comes behind a head.
struct Body<'a, S> {
    stream: &'a mut S,
    bytes: Vec<u8>,
    /// How many of the bytes were taken.
    at: usize,
}

impl<S: AsyncRead + Unpin> Body<'_, S> {
    /// Whether more has come.
    async fn more(&mut self) -> Result<bool, NoBody> {
        self.bytes.drain(..self.at);
        self.at = 0;
        Ok(self.stream.read_buf(&mut self.bytes).await? > 0)
    }

    async fn take(&mut self, mut count: usize, out: &mut Vec<u8>) -> Result<(), NoBody> {
        loop {
            let there = self.bytes.get(self.at..).unwrap_or_default();
            let part = there.get(..count).unwrap_or(there);
            out.extend_from_slice(part);
            self.at = self.at.saturating_add(part.len());
            count = count.saturating_sub(part.len());
            if count == 0 {
                return Ok(());
            }
            if !self.more().await? {
                return Err(NoBody::Ended);
            }
        }
    }

    /// A line without its end.
    async fn line(&mut self) -> Result<String, NoBody> {
        loop {
            let there = self.bytes.get(self.at..).unwrap_or_default();
            if let Some(end) = there.iter().position(|byte| *byte == b'\n') {
                let line = there.get(..end).unwrap_or_default();
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                let line = String::from_utf8_lossy(line).into_owned();
                self.at = self.at.saturating_add(end).saturating_add(1);
                return Ok(line);
            }
            if there.len() > MAX_LINE_BYTES {
                return Err(NoBody::Malformed);
            }
            if !self.more().await? {
                return Err(NoBody::Ended);
            }
        }
    }

    async fn chunks(&mut self, max: usize, out: &mut Vec<u8>) -> Result<(), NoBody> {
        loop {
            let line = self.line().await?;
            let digits = line.split(';').next().unwrap_or_default().trim();
            if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(NoBody::Malformed);
            }
            let length = usize::from_str_radix(digits, 16).map_err(|_| NoBody::TooLong(max))?;
            if length == 0 {
                // Trailers, which nobody needs.
                while !self.line().await?.is_empty() {}
                return Ok(());
            }
            if length > max.saturating_sub(out.len()) {
                return Err(NoBody::TooLong(max));
            }
            self.take(length, out).await?;
            if !self.line().await?.is_empty() {
                return Err(NoBody::Malformed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body of an answer that comes in pieces of `step` bytes.
    async fn body(answer: &str, step: usize, max: usize) -> Result<String, NoBody> {
        let (mut near, mut far) = tokio::io::duplex(step);
        let answer = answer.as_bytes().to_vec();
        let writer = tokio::spawn(async move {
            use tokio::io::AsyncWriteExt as _;
            // Who has read enough goes away.
            drop(far.write_all(&answer).await);
        });
        let mut head = Head::read(&mut near).await.unwrap();
        let body = head.body(&mut near, max).await;
        drop(near);
        writer.await.unwrap();
        body.map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[tokio::test]
    async fn a_body_is_counted_chunked_or_the_rest() {
        for (head, rest, expected) in [
            ("Content-Length: 4", "bodyxx", "body"),
            ("Content-Length: 0", "", ""),
            ("Server: x", "all there is", "all there is"),
            (
                "Transfer-Encoding: chunked",
                "3\r\nbod\r\n01;x=y\r\ny\r\n0\r\nA: b\r\n\r\nxx",
                "body",
            ),
            (
                "Transfer-Encoding: gzip, chunked\r\nContent-Length: 9",
                "A\nlonger one\n0\n\n",
                "longer one",
            ),
        ] {
            for step in [1, 2, 5, 1_000] {
                let answer = format!("HTTP/1.1 200 x\r\n{head}\r\n\r\n{rest}");
                assert_eq!(body(&answer, step, 12).await.unwrap(), expected, "{head}");
            }
        }
        let answer = "HTTP/1.1 204 x\r\nContent-Length: 7\r\n\r\n";
        assert_eq!(body(answer, 100, 9).await.unwrap(), "");
    }

    #[tokio::test]
    async fn what_is_no_body_is_refused() {
        for (head, rest) in [
            ("Content-Length: 4", "bod"),
            ("Transfer-Encoding: chunked", "3\r\nbo"),
            ("Transfer-Encoding: chunked", "3\r\nbod\r\n"),
        ] {
            let answer = format!("HTTP/1.1 200 x\r\n{head}\r\n\r\n{rest}");
            let error = body(&answer, 100, 100).await.unwrap_err();
            assert!(matches!(error, NoBody::Ended), "{head} {rest}: {error}");
        }
        for (head, rest) in [
            ("Content-Length: x", ""),
            ("Transfer-Encoding: gzip", "xx"),
            ("Transfer-Encoding: chunked", "-1\r\n"),
            ("Transfer-Encoding: chunked", "\r\n"),
            ("Transfer-Encoding: chunked", "1\r\nabc\r\n"),
            ("Transfer-Encoding: chunked", &"0".repeat(10_000)),
        ] {
            let answer = format!("HTTP/1.1 200 x\r\n{head}\r\n\r\n{rest}");
            let error = body(&answer, 100, 100).await.unwrap_err();
            assert!(matches!(error, NoBody::Malformed), "{head} {rest}: {error}");
        }
        for (head, rest) in [
            ("Content-Length: 101", ""),
            ("Server: x", &*"x".repeat(101)),
            ("Transfer-Encoding: chunked", "65\r\n"),
            ("Transfer-Encoding: chunked", "fffffffffffffffff\r\n"),
        ] {
            let answer = format!("HTTP/1.1 200 x\r\n{head}\r\n\r\n{rest}");
            let error = body(&answer, 1_000, 100).await.unwrap_err();
            assert!(
                matches!(error, NoBody::TooLong(100)),
                "{head} {rest}: {error}"
            );
        }
    }
}
