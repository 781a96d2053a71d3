use super::*;
use crate::local::message::Message;
use alloc::format;
use alloc::string::ToString;

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
fn memory_of_processed_messages_is_used_again_where_it_fits() {
    let mut inbox = inbox(10, 512);
    let last = |inbox: &Inbox| inbox.entries.back().unwrap().message.as_ptr();
    push(&mut inbox, PEER, 100).unwrap();
    let first = last(&inbox);
    inbox.mark_processed(EntryId::parse("uds-1").unwrap());
    assert_eq!(inbox.spares.bytes, 100);
    let anew = Inbox {
        last: 1,
        ..self::inbox(10, 512)
    };
    assert_eq!(inbox, anew);
    push(&mut inbox, PEER, 100 - Spares::SLACK_BYTES).unwrap();
    assert_eq!((last(&inbox), inbox.spares.bytes), (first, 0));
    assert_eq!(inbox.entries.back().unwrap().message.len(), 36);
    inbox.mark_processed(EntryId::parse("uds-2").unwrap());
    for other in [99 - Spares::SLACK_BYTES, 101] {
        inbox.spares = Spares::new();
        inbox.spares.keep(String::with_capacity(100));
        push(&mut inbox, PEER, other).unwrap();
        let entry = inbox.pop().unwrap();
        assert_eq!(
            (entry.message.capacity(), inbox.spares.texts.len()),
            (other, 0)
        );
    }
}

#[test]
fn the_memory_that_is_kept_for_messages_is_bounded() {
    let kept = |count: usize, bytes: usize| {
        let mut spares = Spares::new();
        for _ in 0..count {
            spares.keep(String::with_capacity(bytes));
        }
        let each: usize = spares.texts.iter().map(String::capacity).sum();
        assert_eq!(each, spares.bytes);
        spares.texts.len()
    };
    assert_eq!(kept(3, Spares::LONGEST), 3);
    assert_eq!(kept(3, Spares::LONGEST + 1), 0);
    assert_eq!(kept(Spares::MOST + 1, 1), Spares::MOST);
    assert_eq!(kept(100, Spares::LONGEST), 64);
    assert_eq!(kept(100, 1_000), 65);
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

#[test]
fn an_empty_inbox_gives_memory_back() {
    let mut inbox = Inbox::new(&Limits::DEFAULT);
    for _ in 0..=4 * KEPT_ENTRIES {
        push(&mut inbox, PEER, 11).unwrap();
    }
    while inbox.len() > 1 {
        inbox.pop();
    }
    assert!(inbox.entries.capacity() > 4 * KEPT_ENTRIES);
    inbox.pop();
    assert!((1..=2 * KEPT_ENTRIES).contains(&inbox.entries.capacity()));
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
        + inbox.used_by.len() * account
        + Spares::MOST_BYTES;
    let worst = Inbox::worst_case_bytes(&limits);
    assert!(held <= worst, "{held} > {worst}");
    assert!(worst <= 4 * held, "a bound that says nothing: {worst}");
}
