//! No secret stays behind in memory that was given back: an allocator looks at every block that
//! is freed. It stands here because looking takes `unsafe`.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use hallway_core::local::capability;
use hallway_core::local::connection::{Connection, Server};
use hallway_core::local::exchange::{Data, Draft, Exchange};
use hallway_core::{Framer, Instant, Limits, Outbox, Token, UnixTime};

/// Looks at freed blocks. Every block starts as zeros, and growing copies, so that nothing is
/// there but what was written.
struct Looking;

/// A part of every secret here that nothing else contains.
const SECRET: &[u8] = b"5ec2e75ec2e7";

thread_local! {
    static FOUND: Cell<Option<usize>> = const { Cell::new(None) };
}

// SAFETY: blocks come from the system's allocator, are given back to it once, and are looked at
// before, while they are ours.
unsafe impl GlobalAlloc for Looking {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let bytes = unsafe { core::slice::from_raw_parts(block, layout.size()) };
        if bytes.windows(SECRET.len()).any(|window| window == SECRET) {
            FOUND.with(|found| found.set(found.get().map(|count| count + 1)));
        }
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Looking = Looking;

/// How many blocks were given back with a secret in them while `work` ran.
fn left_behind(work: impl FnOnce()) -> usize {
    FOUND.with(|found| found.set(Some(0)));
    work();
    FOUND.with(|found| found.take()).unwrap()
}

const T0: Instant = Instant::ORIGIN;
const WALL: UnixTime = UnixTime::EPOCH;

fn secret() -> String {
    String::from_utf8(SECRET.repeat(5)).unwrap()
}

fn frame() -> Vec<u8> {
    let secret = secret();
    format!("{{\"type\":\"ping\",\"meta\":{{\"authToken\":\"{secret}\"}}}}\n").into_bytes()
}

/// Frames are made before anything is looked at, and kept until after.
fn looked_at(frame: Vec<u8>, work: impl FnOnce(&[u8])) -> usize {
    let count = left_behind(|| work(&frame));
    drop(frame);
    count
}

fn feed(framer: &mut Framer, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let spare = framer.spare_mut();
        let n = spare.len().min(bytes.len());
        spare[..n].copy_from_slice(&bytes[..n]);
        framer.commit(n);
        bytes = &bytes[n..];
    }
}

#[test]
fn the_allocator_sees_what_is_left_behind() {
    let count = looked_at(frame(), |frame| drop(frame.to_vec()));
    assert_eq!(count, 1);
    let count = looked_at(frame(), |frame| {
        let mut grown = frame.to_vec();
        grown.reserve(1_000_000);
        grown.fill(0);
    });
    assert_eq!(count, 1, "a buffer that grows leaves a copy");
}

#[test]
fn a_framer_leaves_nothing() {
    let limits = Limits::DEFAULT;
    let burst = frame().repeat(200);
    for ending in 0..4 {
        let count = looked_at(burst.clone(), |burst| {
            let mut framer = Framer::new(&limits);
            feed(&mut framer, burst);
            match ending {
                0 => {}
                1 => {
                    while framer.next_frame().unwrap().is_some() {}
                    framer.shrink();
                }
                2 => framer.discard(),
                _ => {
                    while framer.next_frame().unwrap().is_some() {}
                    feed(&mut framer, &[b'x'; 65_537]);
                    framer.next_frame().unwrap_err();
                }
            }
        });
        assert_eq!(count, 0, "ending {ending}");
    }
}

#[test]
fn an_outbox_leaves_nothing() {
    for ending in 0..3 {
        let count = looked_at(frame(), |frame| {
            let mut outbox = Outbox::new(1 << 20);
            for _ in 0..200 {
                outbox.push(&[frame]).unwrap();
            }
            match ending {
                0 => {}
                1 => outbox.consume(outbox.len()),
                _ => outbox.discard(),
            }
        });
        assert_eq!(count, 0, "ending {ending}");
    }
}

#[test]
fn a_token_and_its_file_leave_nothing() {
    let text = secret();
    let count = left_behind(|| {
        let token = Token::parse(&text).unwrap();
        let file = capability::print("/s", &token);
        assert!(
            capability::parse(file.as_bytes(), "/s")
                .unwrap()
                .verify(&text)
        );
    });
    assert_eq!(count, 0);
}

#[test]
fn a_connection_leaves_nothing() {
    let text = secret();
    let limits = Limits::DEFAULT;
    let count = looked_at(frame(), |frame| {
        let server = Server::new("/s", Token::parse(&text).unwrap());
        let mut connection = Connection::new(&limits, T0);
        for _ in 0..200 {
            connection.spare_mut()[..frame.len()].copy_from_slice(frame);
            connection.handle_input(frame.len(), T0);
            assert!(connection.handle_frame(&server, T0, WALL).is_some());
            connection.handle_input_drained();
            connection.handle_output(connection.pending().len(), T0);
        }
        connection.spare_mut()[..frame.len()].copy_from_slice(frame);
        connection.handle_input(frame.len(), T0);
        connection.handle_timeout(T0.after(Duration::from_secs(60)), WALL);
        connection.handle_output(connection.pending().len(), T0);
        assert!(connection.spare_mut().len() >= 4_096);
    });
    assert_eq!(count, 0);
}

/// What decodes the escape keeps a copy for itself, out of our reach; ours is wiped.
#[test]
fn an_escaped_token_leaves_the_parsers_copy_and_no_other() {
    let text = secret();
    let token = format!("a{text}");
    let frame = format!("{{\"type\":\"ping\",\"meta\":{{\"authToken\":\"\\u0061{text}\"}}}}\n");
    let limits = Limits::DEFAULT;
    let count = looked_at(frame.into_bytes(), |frame| {
        let server = Server::new("/s", Token::parse(&token).unwrap());
        let mut connection = Connection::new(&limits, T0);
        connection.spare_mut()[..frame.len()].copy_from_slice(frame);
        connection.handle_input(frame.len(), T0);
        let event = connection.handle_frame(&server, T0, WALL);
        assert!(event.is_some(), "the token is its own");
    });
    assert_eq!(count, 1);
}

#[test]
fn an_exchange_leaves_nothing() {
    let text = secret();
    for answered in [false, true] {
        let count = left_behind(|| {
            let token = Token::parse(&text).unwrap();
            let mut exchange = Exchange::new(&Limits::DEFAULT);
            let draft = Draft {
                kind: "text",
                data: Data::Text("x"),
                from: Some("/s"),
            };
            for _ in 0..100 {
                exchange.send(draft, &token, T0, WALL).unwrap();
            }
            exchange.handle_output(exchange.pending().len() / 3);
            if answered {
                exchange.handle_output(exchange.pending().len());
            }
        });
        assert_eq!(count, 0, "answered {answered}");
    }
}
