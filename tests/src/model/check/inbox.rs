use std::sync::LazyLock;

use hallway_core::local::inbox::{Entry, EntryId, Full, Inbox, Peer};
use hallway_core::local::message::{Kept, Message};
use hallway_core::{Limits, UnixTime};

use super::{FIELDS, footprint, plan};
use crate::model::conversation::Store;
use crate::model::generate;
use crate::model::source::Source;

/// An inbox is the model's store: the same messages taken and refused, ids without gaps, first
/// in first out, the bytes that count are those kept.
///
/// # Panics
///
/// When it is not.
pub fn check_inbox(bytes: &[u8]) {
    let mut source = Source::Bytes(bytes);
    let mut plan = plan(&mut source);
    let limits = generate::limits(&mut plan);
    let mut inbox = Inbox::new(&limits);
    let mut store = Store::default();
    while !source.is_empty() {
        match source.below(8) {
            0..5 => push(&mut source, &limits, &mut inbox, &mut store),
            5 => {
                let expected = store.pending().first().cloned();
                store.removed += usize::from(expected.is_some());
                let popped = inbox.pop();
                if let Some(entry) = &popped {
                    check_entry(entry, store.removed, &store);
                }
                assert_eq!(popped.is_some(), expected.is_some());
            }
            6 => {
                let id = 1 + source.below(store.taken.len() + 2);
                let removed = id.min(store.taken.len()).saturating_sub(store.removed);
                assert_eq!(inbox.mark_processed(entry_id(id)), removed);
                store.removed += removed;
            }
            _ => {
                let seen = source.below(store.taken.len() + 2);
                let known = (seen > 0).then(|| entry_id(seen));
                let found = inbox.pending(known).map(|entry| entry.id());
                let first = seen.max(store.removed) + 1;
                let expected = (first..=store.taken.len()).map(entry_id);
                assert!(found.eq(expected), "after {seen}");
                if let Some(newest) = inbox.pending(None).last() {
                    check_entry(newest, store.taken.len(), &store);
                }
            }
        }
        agree(&limits, &inbox, &store);
    }
    for (entry, n) in inbox.pending(None).zip(store.removed + 1..) {
        check_entry(entry, n, &store);
    }
}

/// The id of the `n`th message.
pub(super) fn entry_id(n: usize) -> EntryId {
    fn read(n: usize) -> EntryId {
        let id = EntryId::parse(&format!("uds-{n}")).expect("an id");
        assert_eq!((id.get(), id.to_string()), (n as u64, format!("uds-{n}")));
        id
    }
    static FIRST: LazyLock<Vec<EntryId>> = LazyLock::new(|| (1..200).map(read).collect());
    FIRST.get(n - 1).copied().unwrap_or_else(|| read(n))
}

/// How long the messages are, in bytes and without their tokens.
const LENGTHS: [usize; 7] = [11, 12, 100, 250, 350, 500, 600];

/// A message of one of the [`LENGTHS`], and its text as it is kept.
pub(super) fn message(length: usize) -> (Kept<'static>, &'static str) {
    static FRAMES: LazyLock<[String; 7]> = LazyLock::new(|| {
        LENGTHS.map(|length| {
            let data = "x".repeat(length - 11);
            format!(r#"{{"data":"{data}","meta":{{"authToken":"T"}}}}"#)
        })
    });
    static KEPT: LazyLock<[(Kept<'static>, Box<str>); 7]> = LazyLock::new(|| {
        FRAMES.each_ref().map(|frame| {
            let message = Message::parse(frame.as_bytes(), &Limits::DEFAULT).expect("a message");
            (message.kept(), message.kept().to_text())
        })
    });
    let at = LENGTHS.iter().position(|known| *known == length);
    let (kept, text) = &KEPT[at.expect("one of the lengths")];
    (*kept, text)
}

fn push(source: &mut Source<'_>, limits: &Limits, inbox: &mut Inbox, store: &mut Store) {
    let pid = source.pick(&[1, 2, 3]);
    let (kept, text) = message(source.pick(&LENGTHS));
    let peer = Peer { uid: 1_000, pid };
    let at = UnixTime::from_millis(1_000 + store.taken.len() as u64).expect("a time");
    let expected = store.push(text, pid, limits);
    let before = expected.is_none().then(|| inbox.clone());
    let found = inbox.push(kept, peer, at);
    assert_eq!(found.ok().map(EntryId::get), expected);
    if let (Err(full), Some(before)) = (found, before) {
        assert_eq!(*inbox, before, "what is refused changes nothing");
        check_reason(full, kept.len(), pid, limits, store);
    }
}

/// The reason that is given is one that holds.
pub(super) fn check_reason(full: Full, bytes: usize, pid: u32, limits: &Limits, store: &Store) {
    let of_it = || store.pending().iter().filter(|entry| entry.1 == pid);
    let bytes_of = |text: usize, entry: &(String, u32)| text + entry.0.len();
    let holds = match full {
        Full::Entries => store.pending().len() == limits.max_inbox_entries(),
        Full::Bytes => store.pending().iter().fold(bytes, bytes_of) > limits.max_inbox_bytes(),
        Full::PeerEntries => of_it().count() == limits.max_inbox_entries_per_peer(),
        Full::PeerBytes => of_it().fold(bytes, bytes_of) > limits.max_inbox_bytes_per_peer(),
        other => panic!("{other}"),
    };
    assert!(holds, "{full}");
}

/// The entry is the `n`th.
pub(super) fn check_entry(entry: &Entry, n: usize, store: &Store) {
    let (text, pid) = &store.taken[n - 1];
    assert_eq!((entry.id(), entry.message()), (entry_id(n), text.as_str()));
    assert_eq!(
        entry.peer(),
        Peer {
            uid: 1_000,
            pid: *pid
        }
    );
    let at = entry.received_at().as_millis();
    let mut line = Vec::new();
    entry.write_json(&mut line);
    let peer = format!(r#"{{"uid":1000,"pid":{pid}}}"#);
    let head = format!(r#"{{"event":"message","id":"uds-{n}","receivedAt":{at}"#);
    assert_eq!(
        line,
        format!(r#"{head},"peer":{peer},"message":{text}}}"#).into_bytes()
    );
}

fn agree(limits: &Limits, inbox: &Inbox, store: &Store) {
    let (entries, pending) = (store.pending().len(), store.pending());
    let bytes: usize = pending.iter().map(|entry| entry.0.len()).sum();
    assert_eq!((inbox.len(), inbox.bytes()), (entries, bytes));
    assert_eq!(inbox.is_empty(), entries == 0);
    assert_eq!(
        inbox.last().map(EntryId::get),
        Some(store.taken.len() as u64).filter(|n| *n > 0)
    );
    let crowded = entries > limits.max_inbox_entries() / 2 || bytes > limits.max_inbox_bytes() / 2;
    assert_eq!(inbox.is_crowded(), crowded);
    assert!(entries <= limits.max_inbox_entries() && bytes <= limits.max_inbox_bytes());
    assert!(footprint(inbox) <= bytes + 96 * entries + FIELDS);
}
