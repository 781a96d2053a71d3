//! The inbox: kept messages in order of arrival, bounded by count and by bytes, in all and for
//! each sending process (local.md §3, §5.12).

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::collections::btree_map::{BTreeMap, Entry as Slot};
use alloc::vec::Vec;
use core::fmt;
use core::num::NonZeroU64;

use super::message::Kept;
use crate::digits::Decimal;
use crate::limits::Limits;
use crate::time::UnixTime;

/// The number of an entry, from 1, without gaps; its text is `uds-<n>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId(NonZeroU64);

impl EntryId {
    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0.get()
    }

    /// Reads the text `uds-<n>`: decimal, without sign or leading zeros.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let number = text.strip_prefix("uds-")?;
        if number.starts_with(['0', '+']) {
            return None;
        }
        number.parse().ok().map(Self)
    }

    pub(super) fn digits(self) -> Decimal {
        Decimal::new(self.get())
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uds-{}", self.0)
    }
}

/// The kernel's account of who sent a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    /// The user.
    pub uid: u32,
    /// The process, at the time it connected.
    pub pid: u32,
}

/// A message in an inbox. It is pending until the consumer marks it processed, which removes
/// it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    id: EntryId,
    peer: Peer,
    received_at: UnixTime,
    message: Box<str>,
}

impl Entry {
    /// Its number.
    #[must_use]
    pub const fn id(&self) -> EntryId {
        self.id
    }

    /// Who sent it, by the kernel's account.
    #[must_use]
    pub const fn peer(&self) -> Peer {
        self.peer
    }

    /// When it was received.
    #[must_use]
    pub const fn received_at(&self) -> UnixTime {
        self.received_at
    }

    /// The message as the peer wrote it, without the token: one JSON object. It is untrusted
    /// data.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Appends the entry as one JSON object without newline:
    /// `{"event":"message","id":"uds-1","receivedAt":…,"peer":{"uid":…,"pid":…},"message":{…}}`.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        Renderer::default().write_json(self, out);
    }
}

/// Writes entries as JSON. What an entry has in common with the one before it, when it came and
/// from whom, is spelled once.
#[derive(Clone, Debug, Default)]
pub struct Renderer {
    last: Option<(UnixTime, Peer)>,
    /// What stands between an entry's number and its message.
    middle: Vec<u8>,
}

impl Renderer {
    /// See [`Entry::write_json`].
    pub fn write_json(&mut self, entry: &Entry, out: &mut Vec<u8>) {
        let came = (entry.received_at, entry.peer);
        if self.last != Some(came) {
            self.last = Some(came);
            self.spell(came);
        }
        for part in [
            &br#"{"event":"message","id":"uds-"#[..],
            entry.id.digits().as_bytes(),
            &self.middle,
            entry.message.as_bytes(),
            b"}",
        ] {
            out.extend_from_slice(part);
        }
    }

    fn spell(&mut self, (at, peer): (UnixTime, Peer)) {
        self.middle.clear();
        for part in [
            &br#"","receivedAt":"#[..],
            Decimal::new(at.as_millis()).as_bytes(),
            br#","peer":{"uid":"#,
            Decimal::new(u64::from(peer.uid)).as_bytes(),
            br#","pid":"#,
            Decimal::new(u64::from(peer.pid)).as_bytes(),
            br#"},"message":"#,
        ] {
            self.middle.extend_from_slice(part);
        }
    }
}

/// Why an inbox takes no message; it is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Full {
    /// As many entries as it may hold.
    Entries,
    /// The message's bytes do not fit.
    Bytes,
    /// As many entries of this peer process as it may hold.
    PeerEntries,
    /// The message's bytes do not fit into this peer process's share.
    PeerBytes,
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Entries => "the inbox holds as many entries as it may",
            Self::Bytes => "the inbox holds as many bytes as it may",
            Self::PeerEntries => "the inbox holds as many entries of this process as it may",
            Self::PeerBytes => "the inbox holds as many bytes of this process as it may",
        })
    }
}

impl core::error::Error for Full {}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Usage {
    entries: usize,
    bytes: usize,
}

impl Usage {
    fn with(self, bytes: usize) -> Self {
        Self {
            entries: self.entries.saturating_add(1),
            bytes: self.bytes.saturating_add(bytes),
        }
    }

    fn without(self, bytes: usize) -> Self {
        Self {
            entries: self.entries.saturating_sub(1),
            bytes: self.bytes.saturating_sub(bytes),
        }
    }
}

/// A bounded first-in-first-out store of entries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Inbox {
    limits: Limits,
    entries: VecDeque<Entry>,
    last: u64,
    used: Usage,
    /// Of each process with entries here.
    used_by: BTreeMap<u32, Usage>,
}

impl Inbox {
    /// An empty inbox.
    #[must_use]
    pub const fn new(limits: &Limits) -> Self {
        Self {
            limits: *limits,
            entries: VecDeque::new(),
            last: 0,
            used: Usage {
                entries: 0,
                bytes: 0,
            },
            used_by: BTreeMap::new(),
        }
    }

    /// The most memory that an inbox holds, in bytes: the messages, and for each entry its
    /// fields (in a queue that doubles as it grows) and its process's account.
    pub(crate) const fn worst_case_bytes(limits: &Limits) -> usize {
        let each = size_of::<Entry>()
            .saturating_mul(2)
            .saturating_add(size_of::<(u32, Usage)>().saturating_mul(2));
        limits
            .max_inbox_bytes()
            .saturating_add(limits.max_inbox_entries().saturating_mul(each))
    }

    /// Keeps a message. The bytes that count are those kept.
    ///
    /// # Errors
    ///
    /// [`Full`]; no id is used up.
    pub fn push(&mut self, kept: Kept<'_>, peer: Peer, now: UnixTime) -> Result<EntryId, Full> {
        let account = self.used_by.entry(peer.pid);
        let of_peer = match &account {
            Slot::Occupied(slot) => *slot.get(),
            Slot::Vacant(_) => Usage::default(),
        };
        let (used, of_peer) = (self.used.with(kept.len()), of_peer.with(kept.len()));
        if used.entries > self.limits.max_inbox_entries() {
            return Err(Full::Entries);
        }
        if used.bytes > self.limits.max_inbox_bytes() {
            return Err(Full::Bytes);
        }
        if of_peer.entries > self.limits.max_inbox_entries_per_peer() {
            return Err(Full::PeerEntries);
        }
        if of_peer.bytes > self.limits.max_inbox_bytes_per_peer() {
            return Err(Full::PeerBytes);
        }
        // 2^64 messages are out of reach: at one a nanosecond they take 584 years.
        let id = EntryId(NonZeroU64::MIN.saturating_add(self.last));
        self.last = id.get();
        self.used = used;
        match account {
            Slot::Occupied(mut slot) => *slot.get_mut() = of_peer,
            Slot::Vacant(slot) => {
                slot.insert(of_peer);
            }
        }
        self.entries.push_back(Entry {
            id,
            peer,
            received_at: now,
            message: kept.to_text(),
        });
        Ok(id)
    }

    /// Removes and returns the oldest entry.
    pub fn pop(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        let bytes = entry.message.len();
        self.used = self.used.without(bytes);
        if let Some(of_peer) = self.used_by.get_mut(&entry.peer.pid) {
            *of_peer = of_peer.without(bytes);
            if of_peer.entries == 0 {
                self.used_by.remove(&entry.peer.pid);
            }
        }
        if self.entries.is_empty() {
            self.entries.shrink_to(KEPT_ENTRIES);
        }
        Some(entry)
    }

    /// The pending entries after `seen` (all for `None`), oldest first; they stay.
    pub fn pending(&self, seen: Option<EntryId>) -> impl Iterator<Item = &Entry> {
        let from = self.entries.partition_point(|entry| Some(entry.id) <= seen);
        self.entries.iter().skip(from)
    }

    /// Removes the entries up to and including `id`, and says how many those were.
    pub fn mark_processed(&mut self, id: EntryId) -> usize {
        let mut removed = 0_usize;
        while self.entries.front().is_some_and(|entry| entry.id <= id) {
            self.pop();
            removed = removed.saturating_add(1);
        }
        removed
    }

    /// Whether more than half of its entries or of its bytes are used.
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        self.used.entries > self.limits.max_inbox_entries() / 2
            || self.used.bytes > self.limits.max_inbox_bytes() / 2
    }

    /// How many entries are pending.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no entry is pending.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many bytes of messages are pending.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.used.bytes
    }

    /// The id of the newest entry there ever was.
    #[must_use]
    pub fn last(&self) -> Option<EntryId> {
        NonZeroU64::new(self.last).map(EntryId)
    }
}

/// The room for entries that an empty inbox keeps.
const KEPT_ENTRIES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::message::Message;
    use alloc::format;
    use alloc::string::{String, ToString};

    const PEER: Peer = Peer { uid: 1_000, pid: 7 };

    fn inbox(entries: usize, bytes: usize) -> Inbox {
        Inbox::new(
            &Limits::builder()
                .max_frame_bytes(512)
                .max_inbox_entries(entries)
                .max_inbox_bytes(bytes)
                .build()
                .unwrap(),
        )
    }

    /// Pushes a message of exactly `bytes` bytes.
    fn push(inbox: &mut Inbox, peer: Peer, bytes: usize) -> Result<u64, Full> {
        let frame = format!(r#"{{"data":"{}"}}"#, "x".repeat(bytes - 11));
        let message = Message::parse(frame.as_bytes(), &Limits::DEFAULT).unwrap();
        assert_eq!(message.kept().len(), bytes);
        inbox
            .push(message.kept(), peer, UnixTime::EPOCH)
            .map(EntryId::get)
    }

    /// Covers: L3.26, L5.12b
    #[test]
    fn ids_have_no_gaps_over_refusals_and_drains() {
        let mut inbox = inbox(2, 600);
        assert_eq!(inbox.last(), None);
        assert_eq!(push(&mut inbox, PEER, 100), Ok(1));
        assert_eq!(push(&mut inbox, PEER, 501), Err(Full::Bytes));
        assert_eq!(push(&mut inbox, PEER, 500), Ok(2));
        assert_eq!(push(&mut inbox, PEER, 11), Err(Full::Entries));
        assert_eq!((inbox.len(), inbox.bytes()), (2, 600));
        assert_eq!(inbox.pop().unwrap().id().to_string(), "uds-1");
        assert_eq!(inbox.pop().unwrap().message().len(), 500);
        assert_eq!(inbox.pop(), None);
        assert_eq!((inbox.len(), inbox.bytes(), inbox.is_empty()), (0, 0, true));
        assert_eq!(push(&mut inbox, PEER, 512), Ok(3));
        assert_eq!(inbox.last().map(EntryId::get), Some(3));
    }

    #[test]
    fn each_process_has_its_own_share() {
        let mut inbox = Inbox::new(
            &Limits::builder()
                .max_frame_bytes(512)
                .max_inbox_entries_per_peer(2)
                .max_inbox_bytes_per_peer(512)
                .build()
                .unwrap(),
        );
        let other = Peer { uid: 1_000, pid: 8 };
        assert_eq!(push(&mut inbox, PEER, 400), Ok(1));
        assert_eq!(push(&mut inbox, PEER, 113), Err(Full::PeerBytes));
        assert_eq!(push(&mut inbox, PEER, 112), Ok(2));
        assert_eq!(push(&mut inbox, other, 400), Ok(3));
        inbox.pop();
        assert_eq!(push(&mut inbox, PEER, 11), Ok(4));
        assert_eq!(push(&mut inbox, PEER, 11), Err(Full::PeerEntries));
        assert_eq!(inbox.mark_processed(EntryId::parse("uds-9").unwrap()), 3);
        assert!(
            inbox.used_by.is_empty(),
            "accounts of absent peers are closed"
        );
    }

    /// Covers: L3.30
    #[test]
    fn pending_entries_stay_until_processed() {
        let mut inbox = inbox(10, 600);
        for _ in 0..4 {
            push(&mut inbox, PEER, 20).unwrap();
        }
        let ids = |inbox: &Inbox, seen: Option<&str>| {
            inbox
                .pending(seen.map(|text| EntryId::parse(text).unwrap()))
                .map(|entry| entry.id().get())
                .collect::<Vec<_>>()
        };
        assert_eq!(ids(&inbox, None), [1, 2, 3, 4]);
        assert_eq!(ids(&inbox, Some("uds-3")), [4]);
        assert!(ids(&inbox, Some("uds-4")).is_empty());
        assert_eq!(inbox.mark_processed(EntryId::parse("uds-2").unwrap()), 2);
        assert_eq!(inbox.mark_processed(EntryId::parse("uds-2").unwrap()), 0);
        assert_eq!(ids(&inbox, Some("uds-1")), [3, 4]);
        assert_eq!(inbox.bytes(), 40);
    }

    #[test]
    fn more_than_half_of_either_bound_is_a_crowd() {
        let mut by_entries = inbox(4, 600);
        for crowded in [false, false, true, true] {
            push(&mut by_entries, PEER, 20).unwrap();
            assert_eq!(by_entries.is_crowded(), crowded);
        }
        let mut by_bytes = inbox(10, 600);
        push(&mut by_bytes, PEER, 300).unwrap();
        assert!(!by_bytes.is_crowded());
        push(&mut by_bytes, PEER, 11).unwrap();
        assert!(by_bytes.is_crowded());
    }

    /// Covers: L3.30
    #[test]
    fn an_entry_prints_as_its_documented_line() {
        let mut inbox = inbox(1, 600);
        let message = Message::parse(br#"{"data":"\ud83d"}"#, &Limits::DEFAULT).unwrap();
        let at = UnixTime::from_millis(1_767_323_045_678).unwrap();
        inbox.push(message.kept(), PEER, at).unwrap();
        let entry = inbox.pop().unwrap();
        assert_eq!((entry.peer(), entry.received_at()), (PEER, at));
        let mut out = Vec::new();
        entry.write_json(&mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            concat!(
                r#"{"event":"message","id":"uds-1","receivedAt":1767323045678,"#,
                r#""peer":{"uid":1000,"pid":7},"message":{"data":"\ud83d"}}"#
            )
        );
    }

    #[test]
    fn a_renderer_spells_what_changed() {
        let mut inbox = inbox(10, 1_024);
        let other = Peer { uid: 2, pid: 8 };
        for (peer, at) in [(PEER, 0), (PEER, 0), (PEER, 1), (other, 1), (PEER, 0)] {
            let message = Message::parse(b"{}", &Limits::DEFAULT).unwrap();
            let at = UnixTime::from_millis(at).unwrap();
            inbox.push(message.kept(), peer, at).unwrap();
        }
        let mut renderer = Renderer::default();
        let mut said = Vec::new();
        for entry in inbox.pending(None) {
            let mut line = Vec::new();
            renderer.write_json(entry, &mut line);
            let mut alone = Vec::new();
            entry.write_json(&mut alone);
            assert_eq!(line, alone);
            said.push(String::from_utf8(line).unwrap());
        }
        for (line, (id, at, uid, pid)) in said.iter().zip([
            (1, 0, 1_000, 7),
            (2, 0, 1_000, 7),
            (3, 1, 1_000, 7),
            (4, 1, 2, 8),
            (5, 0, 1_000, 7),
        ]) {
            assert_eq!(
                line,
                &format!(
                    r#"{{"event":"message","id":"uds-{id}","receivedAt":{at},"peer":{{"uid":{uid},"pid":{pid}}},"message":{{}}}}"#
                )
            );
        }
        assert_eq!(said.len(), 5);
    }

    #[test]
    fn ids_have_one_spelling() {
        assert_eq!(
            EntryId::parse("uds-18446744073709551615").unwrap().get(),
            u64::MAX
        );
        for text in [
            "",
            "uds-",
            "uds-0",
            "uds-01",
            "uds-+1",
            "uds--1",
            "1",
            "uds-1 ",
            "uds-18446744073709551616",
        ] {
            assert_eq!(EntryId::parse(text), None, "{text}");
        }
        for full in [
            Full::Entries,
            Full::Bytes,
            Full::PeerEntries,
            Full::PeerBytes,
        ] {
            assert!(format!("{full}").starts_with("the inbox holds as many"));
        }
    }

    #[test]
    fn the_worst_case_covers_a_full_inbox_of_many_processes() {
        let limits = Limits::builder()
            .max_frame_bytes(512)
            .max_inbox_entries(1_000)
            .max_inbox_bytes(20_000)
            .build()
            .unwrap();
        let mut inbox = Inbox::new(&limits);
        for pid in 0..1_000 {
            push(&mut inbox, Peer { uid: 1, pid }, 20).unwrap();
        }
        assert_eq!((inbox.len(), inbox.bytes()), (1_000, 20_000));
        let account = size_of::<(u32, Usage)>();
        let held = inbox.entries.capacity() * size_of::<Entry>()
            + inbox.bytes()
            + inbox.used_by.len() * account;
        let worst = Inbox::worst_case_bytes(&limits);
        assert!(held <= worst, "{held} > {worst}");
        assert!(worst <= 4 * held, "a bound that says nothing: {worst}");
    }
}
