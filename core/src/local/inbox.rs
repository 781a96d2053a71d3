//! The inbox: kept messages in order of arrival, bounded by count and by bytes, in all and for
//! each sending process (local.md §3, §5.12).

use alloc::collections::VecDeque;
use alloc::collections::btree_map::{BTreeMap, Entry as Slot};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::num::NonZeroU64;

use super::message::Kept;
use crate::digits::{Count, Decimal};
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
    message: String,
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
    number: Count,
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
            self.number.spell(entry.id.get()),
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
    spares: Spares,
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
            spares: Spares::new(),
        }
    }

    /// The most memory that an inbox holds, in bytes: the messages, for each entry its fields
    /// (in a queue that doubles as it grows), its process's account and what its memory may be
    /// larger than its message, and the memory that is kept for further messages.
    pub(crate) const fn worst_case_bytes(limits: &Limits) -> usize {
        let each = size_of::<Entry>()
            .saturating_mul(2)
            .saturating_add(size_of::<(u32, Usage)>().saturating_mul(2))
            .saturating_add(Spares::SLACK_BYTES);
        limits
            .max_inbox_bytes()
            .saturating_add(limits.max_inbox_entries().saturating_mul(each))
            .saturating_add(Spares::WORST_CASE_BYTES)
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
            message: self.spares.take(kept),
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
        let from = match seen {
            None => 0,
            Some(_) => self.entries.partition_point(|entry| Some(entry.id) <= seen),
        };
        self.entries.iter().skip(from)
    }

    /// Removes the entries up to and including `id`, and says how many those were.
    pub fn mark_processed(&mut self, id: EntryId) -> usize {
        let mut removed = 0_usize;
        while self.entries.front().is_some_and(|entry| entry.id <= id) {
            let text = self.pop().map(|entry| entry.message);
            self.spares.keep(text.unwrap_or_default());
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

/// Memory of processed messages, for further ones: of a burst, an allocator gives each anew. It
/// is no state: all are equal.
#[derive(Clone, Debug)]
struct Spares {
    texts: Vec<String>,
    /// What they take, in all.
    bytes: usize,
}

impl Spares {
    const MOST: usize = 256;

    /// The most that they take, in all.
    const MOST_BYTES: usize = 65_536;

    /// The longest that is kept.
    const LONGEST: usize = 1_024;

    /// How much larger than its message a spare may be.
    const SLACK_BYTES: usize = 64;

    const WORST_CASE_BYTES: usize = Self::MOST_BYTES
        .saturating_add(Self::MOST.saturating_mul(size_of::<String>().saturating_mul(2)));

    const fn new() -> Self {
        Self {
            texts: Vec::new(),
            bytes: 0,
        }
    }

    /// The text of a message.
    fn take(&mut self, kept: Kept<'_>) -> String {
        let most = kept.len().saturating_add(Self::SLACK_BYTES);
        let spare = self.texts.pop().unwrap_or_default();
        self.bytes = self.bytes.saturating_sub(spare.capacity());
        let mut text = if (kept.len()..=most).contains(&spare.capacity()) {
            spare
        } else {
            String::with_capacity(kept.len())
        };
        kept.append_to(&mut text);
        text
    }

    fn keep(&mut self, mut text: String) {
        let bytes = self.bytes.saturating_add(text.capacity());
        let fits = bytes <= Self::MOST_BYTES && self.texts.len() < Self::MOST;
        if fits && text.capacity() <= Self::LONGEST {
            text.clear();
            self.texts.push(text);
            self.bytes = bytes;
        }
    }
}

impl PartialEq for Spares {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Spares {}

impl Hash for Spares {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

#[cfg(test)]
mod tests;
