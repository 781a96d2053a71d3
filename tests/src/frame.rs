//! The frames of a server as exact text, written from local.md §3.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::PATIENCE;

/// The answer to the `n`th message, as [`untimed`] leaves it.
#[must_use]
pub fn ok(n: usize) -> String {
    format!(r#"{{"type":"response","data":"ok","ts":"T","meta":{{"id":"uds-{n}"}}}}"#)
}

/// The answer of the server at `path` to a ping, as [`untimed`] leaves it.
#[must_use]
pub fn pong(path: &str) -> String {
    format!(r#"{{"type":"pong","from":"{path}","ts":"T"}}"#)
}

/// An error frame, as [`untimed`] leaves it.
#[must_use]
pub fn refusal(text: &str) -> String {
    format!(r#"{{"type":"error","data":"{text}","ts":"T"}}"#)
}

/// `line` with its one `ts` replaced by `T`, after a check: three fraction digits, UTC, and a
/// time of this moment.
///
/// # Panics
///
/// When there is no such `ts`.
#[must_use]
#[track_caller]
pub fn untimed(line: &str) -> String {
    let (head, rest) = line.split_once(r#""ts":""#).expect("a ts");
    let (ts, tail) = rest.split_once('"').expect("its end");
    assert!(!tail.contains(r#""ts":"#), "one ts only: {line}");
    let (told, now) = (millis(ts), wall_millis());
    let slack = u64::try_from(PATIENCE.as_millis()).expect("a short patience");
    assert!(told <= now && now - told < slack, "{ts} is not of now");
    format!(r#"{head}"ts":"T"{tail}"#)
}

/// Milliseconds since 1970, by this machine's clock.
///
/// # Panics
///
/// When that is set before 1970.
#[must_use]
pub fn wall_millis() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock of this century");
    u64::try_from(since.as_millis()).expect("of this age")
}

/// The milliseconds since 1970 of `2026-01-02T03:04:05.678Z`, and of nothing spelled otherwise.
///
/// # Panics
///
/// When it is spelled otherwise.
#[must_use]
#[track_caller]
pub fn millis(ts: &str) -> u64 {
    let shape: String = ts
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    assert_eq!(shape, "0000-00-00T00:00:00.000Z", "{ts}");
    let number = |from: usize, to: usize| -> u64 {
        ts.get(from..to).expect("digits").parse().expect("a number")
    };
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let (year, month) = (number(0, 4), number(5, 7));
    let lengths = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut days = number(8, 10) - 1;
    days += (1970..year)
        .map(|y| 365 + u64::from(is_leap(y)))
        .sum::<u64>();
    days += lengths
        .iter()
        .take(usize::try_from(month - 1).expect("a month"))
        .sum::<u64>();
    days += u64::from(month > 2 && is_leap(year));
    let seconds = (days * 24 + number(11, 13)) * 3_600 + number(14, 16) * 60 + number(17, 19);
    seconds * 1_000 + number(20, 23)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        // From `date -u +%s`.
        assert_eq!(millis("1970-01-01T00:00:00.000Z"), 0);
        assert_eq!(millis("2026-01-02T03:04:05.678Z"), 1_767_323_045_678);
        assert_eq!(millis("2024-02-29T23:59:59.999Z"), 1_709_251_199_999);
        assert_eq!(millis("2100-03-01T00:00:00.000Z"), 4_107_542_400_000);
    }
}
