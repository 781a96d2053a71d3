//! The token compare, and arithmetic at its edges.

use std::time::Duration;

use hallway_core::local::EntryId;
use hallway_core::local::connection::{Connection, Event, Server};
use hallway_core::{Instant, Limits, LimitsError, Token, UnixTime};

use super::every;

/// Every pair of strings of at most `most` letters: only equal ones verify.
pub fn every_token(most: usize) -> u64 {
    let mut texts = Vec::new();
    every(&["a", "b", "\0", "é"], most, |text| {
        texts.push(text.to_owned())
    });
    let mut count = 0;
    for text in texts.iter().filter(|text| !text.is_empty()) {
        let token = Token::parse(text).expect("it is a token");
        for presented in &texts {
            assert_eq!(
                token.verify(presented),
                text == presented,
                "{text:?} {presented:?}"
            );
            count += 1;
        }
    }
    count
}

/// A token of ours against every text that differs from it in one character, and every prefix
/// and extension of it.
pub fn every_near_token() -> u64 {
    let token = Token::from_entropy(&[0x5a; Token::ENTROPY_BYTES]);
    let text = token.expose().to_owned();
    let mut count = 0;
    for at in 0..text.len() {
        let (head, tail) = text.split_at(at);
        let (own, rest) = tail.split_at(1);
        for other in '\0'..='\u{ff}' {
            let presented = format!("{head}{other}{rest}");
            assert_eq!(token.verify(&presented), own.contains(other), "{presented}");
            count += 1;
        }
        assert!(!token.verify(head), "{head}");
        assert!(!token.verify(&format!("{text}{tail}")), "{text}{tail}");
        count += 2;
    }
    assert!(token.verify(&text));
    count + 1
}

/// Every limit at both ends of its range and one beyond, alone.
pub fn every_limit() -> u64 {
    let mut count = 0;
    for name in Limits::NAMES {
        let with = |value: u64| {
            let mut builder = Limits::builder();
            // Nothing but the limit itself is in the way.
            for bound in ["max_inbox_bytes", "max_inbox_bytes_per_peer"] {
                builder.set(bound, 1 << 30).expect("it is a limit");
            }
            builder.set(name, value).expect("it is a limit");
            builder.build()
        };
        let Err(LimitsError::OutOfRange { min, max, .. }) = with(0) else {
            panic!("{name} may be nothing");
        };
        for value in [min - 1, max + 1, u64::MAX] {
            let out =
                matches!(with(value), Err(LimitsError::OutOfRange { name: n, .. }) if n == *name);
            assert!(out, "{name} = {value}");
        }
        for value in [min, min + 1, max - 1, max] {
            let built = with(value);
            let inverted = matches!(built, Err(LimitsError::Inverted { .. }));
            assert!(built.is_ok() || inverted, "{name} = {value}: {built:?}");
            count += 1;
        }
        count += 3;
    }
    count
}

/// The limits that the worst case is made of, with their least and greatest values.
const PARTS: [(&str, u64, u64); 6] = [
    ("max_frame_bytes", 512, 16_777_216),
    ("max_inbox_entries", 1, 1_000_000),
    ("max_inbox_bytes", 16_777_216, 1_073_741_824),
    ("max_clients", 1, 65_536),
    ("max_refused_clients", 1, 65_536),
    ("max_outbox_bytes", 1_024, 16_777_216),
];

/// The worst case at every corner of its limits: at least what the buffers and the inbox take
/// by themselves, computed wide, and never less where a limit is greater.
pub fn every_worst_case() -> u64 {
    let corners = 0..1_usize << PARTS.len();
    for corner in corners.clone() {
        let (limits, values) = at_corner(corner);
        let worst = u128::try_from(limits.worst_case_bytes()).expect("it fits");
        let [frame, entries, bytes, clients, refused, outbox] = values.map(u128::from);
        let needed = (clients + refused) * (frame + 1 + outbox + 256) + bytes + entries;
        assert!(worst >= needed, "{worst} < {needed} at {limits:?}");
        assert!(
            worst < 2 * needed + 4_096 * (clients + refused + entries),
            "{limits:?}"
        );
        for part in 0..PARTS.len() {
            let (wider, _) = at_corner(corner | 1 << part);
            assert!(wider.worst_case_bytes() >= limits.worst_case_bytes());
        }
    }
    u64::try_from(corners.len()).expect("a few")
}

fn at_corner(corner: usize) -> (Limits, [u64; 6]) {
    let mut builder = Limits::builder().max_inbox_bytes_per_peer(1 << 30);
    let mut part = 0;
    let values = PARTS.map(|(name, least, greatest)| {
        let value = if corner >> part & 1 == 1 {
            greatest
        } else {
            least
        };
        builder.set(name, value).expect("it is a limit");
        part += 1;
        value
    });
    (builder.build().expect("every corner is allowed"), values)
}

/// Every pair of instants and spans around the powers of two, against wider arithmetic.
pub fn every_instant() -> u64 {
    let mut points: Vec<u64> = vec![0];
    for bit in 0..64 {
        let power = 1_u64 << bit;
        points.extend([power - 1, power, power.saturating_add(1)]);
    }
    points.push(u64::MAX);
    let mut count = 0;
    for point in &points {
        let instant = Instant::from_nanos(*point);
        for other in &points {
            let sum = u128::from(*point) + u128::from(*other);
            let expected = u64::try_from(sum).unwrap_or(u64::MAX);
            let span = Duration::from_nanos(*other);
            assert_eq!(instant.after(span).as_nanos(), expected);
            let since = instant.since(Instant::from_nanos(*other));
            assert_eq!(since.as_nanos(), u128::from(point.saturating_sub(*other)));
            let long = Duration::new(*other, 999_999_999);
            let sum = u128::from(*point) + long.as_nanos();
            let expected = u64::try_from(sum).unwrap_or(u64::MAX);
            assert_eq!(instant.after(long).as_nanos(), expected);
            count += 3;
        }
    }
    count
}

/// Every millisecond around the ends of the years from 1970 to 9999, against a calendar that
/// counts the days of each year.
pub fn every_new_year() -> u64 {
    let mut count = 0;
    let mut days = 0_u64;
    for year in 1_970..=9_999_u64 {
        let start = days * 86_400_000;
        let text = |millis: u64| UnixTime::from_millis(millis).map(|time| time.to_string());
        assert_eq!(text(start), Some(format!("{year}-01-01T00:00:00.000Z")));
        if let Some(before) = start.checked_sub(1) {
            let expected = format!("{}-12-31T23:59:59.999Z", year - 1);
            assert_eq!(text(before), Some(expected));
        }
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let march = start + (59 + u64::from(leap)) * 86_400_000;
        assert_eq!(text(march), Some(format!("{year}-03-01T00:00:00.000Z")));
        days += 365 + u64::from(leap);
        count += 3;
    }
    assert_eq!(UnixTime::from_millis(days * 86_400_000), None);
    count + 1
}

/// Every text of at most `most` characters after `uds-`: an id is its digits without a sign or
/// a leading zero, and prints as it was read.
pub fn every_id(most: usize) -> u64 {
    every(&["0", "1", "9", "+", "-", " ", "a"], most, |digits| {
        let text = format!("uds-{digits}");
        let plain = !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit());
        let is_id = plain && !digits.starts_with('0');
        let id = EntryId::parse(&text);
        assert_eq!(id.is_some(), is_id, "{text}");
        assert!(id.is_none_or(|id| id.to_string() == text), "{text}");
    })
}

/// Every length of a socket path that the platforms allow, of letters that JSON writes in one
/// to six bytes: a server there can answer a ping with the least output that is allowed.
pub fn every_path() -> u64 {
    let least = Limits::builder().max_outbox_bytes(1_024).build();
    let least = least.expect("the limits are within their ranges");
    let line = b"{\"type\":\"ping\",\"meta\":{\"authToken\":\"T\"}}\n";
    let mut count = 0;
    for letter in ["a", "\"", "\u{1}", "é"] {
        for bytes in 1..=108_usize {
            let path = letter.repeat(bytes / letter.len());
            let server = Server::new(&path, Token::parse("T").expect("it is a token"));
            let mut connection = Connection::new(&least, Instant::ORIGIN);
            let spare = connection.spare_mut();
            spare
                .iter_mut()
                .zip(line)
                .for_each(|(to, from)| *to = *from);
            connection.handle_input(line.len(), Instant::ORIGIN);
            let event = connection.handle_frame(&server, Instant::ORIGIN, UnixTime::EPOCH);
            assert_eq!(event, Some(Event::Pinged), "{bytes} bytes of {letter:?}");
            count += 1;
        }
    }
    count
}
