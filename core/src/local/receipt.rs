//! The `ok` that answers a message (local.md §3).

use core::hash::{Hash, Hasher};

use super::inbox::EntryId;
use crate::digits::Count;
use crate::time::UnixTime;

const TIMELESS: &[u8; 81] =
    br#"{"type":"response","data":"ok","ts":"YYYY-MM-DDTHH:MM:SS.mmmZ","meta":{"id":"uds-"#;

/// Where the time stands in it.
const TIME_AT: usize = br#"{"type":"response","data":"ok","ts":""#.len();

/// Spells answers. What one has in common with the one before it is spelled once. It is no
/// state: all are equal.
#[derive(Clone, Debug)]
pub(super) struct Receipt {
    at: Option<UnixTime>,
    /// An answer up to its number, of that time.
    head: [u8; TIMELESS.len()],
    number: Count,
}

impl Receipt {
    pub(super) fn new() -> Self {
        Self {
            at: None,
            head: *TIMELESS,
            number: Count::default(),
        }
    }

    /// The answer to a message that was kept as `id`, with its newline, in parts.
    pub(super) fn parts(&mut self, id: EntryId, at: UnixTime) -> [&[u8]; 3] {
        if self.at != Some(at) {
            self.at = Some(at);
            let time = self.head.iter_mut().skip(TIME_AT);
            time.zip(at.iso8601()).for_each(|(at, byte)| *at = byte);
        }
        [&self.head, self.number.spell(id.get()), b"\"}}\n"]
    }
}

impl PartialEq for Receipt {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Receipt {}

impl Hash for Receipt {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_says_when_and_which_and_is_no_state() {
        let unused = Receipt::new();
        let mut receipt = unused.clone();
        for (id, millis, expected) in [
            ("uds-1", 0, "1970-01-01T00:00:00.000Z"),
            ("uds-2", 1_767_323_045_678, "2026-01-02T03:04:05.678Z"),
            ("uds-2", 1_767_323_045_678, "2026-01-02T03:04:05.678Z"),
            ("uds-9", 0, "1970-01-01T00:00:00.000Z"),
        ] {
            let at = UnixTime::from_millis(millis).unwrap();
            let answer = receipt.parts(EntryId::parse(id).unwrap(), at).concat();
            let expected = alloc::format!(
                r#"{{"type":"response","data":"ok","ts":"{expected}","meta":{{"id":"{id}"}}}}"#
            );
            assert_eq!(answer.strip_suffix(b"\n").unwrap(), expected.as_bytes());
        }
        assert_eq!(receipt, unused);
        let hash = |receipt: &Receipt| {
            #[expect(deprecated, reason = "the one hasher that core has")]
            let mut hasher = core::hash::SipHasher::new();
            receipt.hash(&mut hasher);
            hasher.finish()
        };
        assert_eq!(hash(&receipt), hash(&unused));
    }
}
