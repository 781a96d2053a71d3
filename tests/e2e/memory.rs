//! Memory: what a daemon holds is bounded by its limits, whatever its peers do.

use std::io::{ErrorKind, Write as _};
use std::os::unix::net::UnixStream;

use hallway_core::Limits;
use hallway_tests::{Served, Wire};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::json;

use crate::home;

const MIB: u64 = 1 << 20;

/// What a daemon takes for its peers beside what its limits count: a task for each connection,
/// what the allocator rounds up, and the parts of the program that it had not used before. The
/// program itself is as large as its build makes it, and is not counted.
const OVERHEAD_BYTES: u64 = 4 * MIB;

/// Writes `bytes` over and over to every peer until the daemon has stopped reading all of them:
/// nobody can write, and it waits for something to happen.
fn fill(served: &Served, streams: &[&UnixStream], bytes: &[u8]) {
    let mut rests = vec![bytes; streams.len()];
    for stream in streams {
        stream.set_nonblocking(true).unwrap();
    }
    loop {
        for (stream, rest) in streams.iter().zip(&mut rests) {
            fill_one(stream, rest, bytes);
        }
        let mut descriptors: Vec<_> = streams
            .iter()
            .map(|stream| PollFd::new(*stream, PollFlags::OUT))
            .collect();
        let patience = Timespec {
            tv_sec: 0,
            tv_nsec: 50_000_000,
        };
        let waits = is_asleep(served);
        if poll(&mut descriptors, Some(&patience)).unwrap() == 0 && waits && is_asleep(served) {
            return;
        }
    }
}

/// Whether the daemon's thread waits, and is not merely kept from running.
fn is_asleep(served: &Served) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", served.pid)).unwrap();
    stat.rsplit(") ").next().unwrap().starts_with('S')
}

/// Writes until the socket takes no more.
fn fill_one<'a>(mut stream: &UnixStream, rest: &mut &'a [u8], bytes: &'a [u8]) {
    loop {
        match stream.write(rest) {
            Ok(n) => *rest = if n == rest.len() { bytes } else { &rest[n..] },
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => panic!("the daemon ended the connection: {error}"),
        }
    }
}

/// Covers: L5.3a
#[test]
fn the_worst_peers_take_no_more_than_the_limits_add_up_to() {
    let home = home();
    let served = home.serve(&["--hold", "--limit", "idle_timeout=3600000"]);
    let token = served.token();
    let idle = served.resident_bytes();

    // A full inbox, of the largest entries that fit.
    let mut wire = served.wire();
    let data = "x".repeat(20_000);
    let frame = json!({"data": data, "meta": {"authToken": token}});
    let mut kept = 0;
    loop {
        wire.send(format!("{frame}\n"));
        if wire.line()["type"] == "error" {
            break;
        }
        kept += 1;
    }
    assert!(kept * data.len() > 2_000_000, "the inbox is full");
    drop(wire);

    // Every place taken by a peer that floods and reads nothing: full framers, full outboxes.
    let ping = format!(
        "{}\n",
        json!({"type": "ping", "meta": {"authToken": token}})
    );
    let flood = ping.repeat(500);
    let mut wires = Vec::new();
    for _ in 0..Limits::DEFAULT.max_clients() {
        let mut wire = served.wire();
        wire.send(&ping);
        assert_eq!(wire.line()["type"], "pong");
        wires.push(wire);
    }
    let streams: Vec<_> = wires.iter().map(Wire::stream).collect();
    fill(&served, &streams, flood.as_bytes());

    let bound = Limits::DEFAULT.worst_case_bytes() as u64 + OVERHEAD_BYTES;
    let held = served.resident_bytes().saturating_sub(idle);
    assert!(held < bound, "{held} of {bound} bytes");
    // The test would be worth nothing if the buffers were not full.
    let filled = wires.len() as u64 * 100_000;
    assert!(held > filled, "{held} bytes: the flood did not arrive");
    drop(wires);
}
