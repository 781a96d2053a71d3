//! The integer-only functions of the core with a C signature, for a proof over all inputs.

use core::time::Duration;

use hallway_core::backoff::{Growth, Schedule, Spread};
use hallway_core::local::connection::Connection;
use hallway_core::local::inbox::Entry;
use hallway_core::{FrameTooLong, Instant, Limits, LimitsBuilder, LimitsError, UnixTime};

#[unsafe(no_mangle)]
extern "C" fn instant_after(nanos: u64, secs: u64, subsec: u32) -> u64 {
    Instant::from_nanos(nanos)
        .after(Duration::new(secs, subsec))
        .as_nanos()
}

#[unsafe(no_mangle)]
extern "C" fn instant_since(later: u64, earlier: u64, out: &mut [u64; 2]) {
    let span = Instant::from_nanos(later).since(Instant::from_nanos(earlier));
    *out = [span.as_secs(), u64::from(span.subsec_nanos())];
}

#[unsafe(no_mangle)]
extern "C" fn unix_from_millis(millis: u64, out: &mut u64) -> bool {
    match UnixTime::from_millis(millis) {
        Some(time) => {
            *out = time.as_millis();
            true
        }
        None => false,
    }
}

/// Both times within range.
#[unsafe(no_mangle)]
extern "C" fn unix_since(later: u64, earlier: u64, out: &mut [u64; 2]) -> bool {
    let (Some(later), Some(earlier)) =
        (UnixTime::from_millis(later), UnixTime::from_millis(earlier))
    else {
        return false;
    };
    let span = later.since(earlier);
    *out = [span.as_secs(), u64::from(span.subsec_nanos())];
    true
}

#[unsafe(no_mangle)]
extern "C" fn frame_too_long_seen(limit: usize) -> usize {
    FrameTooLong { limit }.seen()
}

/// Whether a span of `secs` and `subsec` is kept as `millis`.
#[unsafe(no_mangle)]
extern "C" fn span_is_kept_as(secs: u64, subsec: u32, millis: u64) -> bool {
    let mut expected = Limits::builder();
    expected.set("auth_timeout", millis).is_ok()
        && Limits::builder().auth_timeout(Duration::new(secs, subsec)) == expected
}

fn builder(values: &[u64; 18]) -> LimitsBuilder {
    let mut builder = Limits::builder();
    for (name, value) in Limits::NAMES.iter().zip(values) {
        if builder.set(name, *value).is_err() {
            return Limits::builder();
        }
    }
    builder
}

/// Checks all limits at once, in the order of [`Limits::NAMES`]: 0 when they are taken, and
/// `out` has them back; 1 when one is out of range, and `out` has its name's address, its least
/// and its greatest value; 2 when one is greater than its bound, and `out` has both names'
/// addresses.
#[unsafe(no_mangle)]
extern "C" fn limits_build(values: &[u64; 18], out: &mut [u64; 18]) -> u32 {
    let address = |name: &str| name.as_ptr().addr() as u64;
    match builder(values).build() {
        Ok(limits) => {
            *out = [
                limits.max_frame_bytes() as u64,
                limits.max_frame_depth() as u64,
                limits.max_inbox_entries() as u64,
                limits.max_inbox_bytes() as u64,
                limits.max_inbox_entries_per_peer() as u64,
                limits.max_inbox_bytes_per_peer() as u64,
                limits.max_clients() as u64,
                limits.max_clients_per_peer() as u64,
                limits.max_unauthenticated_clients() as u64,
                limits.max_refused_clients() as u64,
                limits.max_outbox_bytes() as u64,
                limits.max_pending_sends() as u64,
                limits.auth_timeout().as_millis() as u64,
                limits.idle_timeout().as_millis() as u64,
                limits.closing_timeout().as_millis() as u64,
                limits.send_timeout().as_millis() as u64,
                limits.ping_timeout().as_millis() as u64,
                limits.connect_timeout().as_millis() as u64,
            ];
            0
        }
        Err(LimitsError::OutOfRange { name, min, max }) => {
            out[..3].copy_from_slice(&[address(name), min, max]);
            1
        }
        Err(LimitsError::Inverted { name, bound }) => {
            out[..2].copy_from_slice(&[address(name), address(bound)]);
            2
        }
        Err(_) => 3,
    }
}

/// The worst case of any limits that are taken.
#[unsafe(no_mangle)]
extern "C" fn worst_case_bytes(values: &[u64; 18], out: &mut usize) -> bool {
    match builder(values).build() {
        Ok(limits) => {
            *out = limits.worst_case_bytes();
            true
        }
        Err(_) => false,
    }
}

#[unsafe(no_mangle)]
extern "C" fn entry_bytes() -> usize {
    size_of::<Entry>()
}

/// When a connection that was just accepted has to be looked at.
#[unsafe(no_mangle)]
extern "C" fn first_deadline(now: u64, auth_millis: u64, idle_millis: u64, out: &mut u64) -> bool {
    let mut builder = Limits::builder();
    let set = builder.set("auth_timeout", auth_millis).is_ok()
        && builder.set("idle_timeout", idle_millis).is_ok();
    let Ok(limits) = builder.build() else {
        return false;
    };
    match Connection::new(&limits, Instant::from_nanos(now)).poll_timeout() {
        Some(deadline) if set => {
            *out = deadline.as_nanos();
            true
        }
        _ => false,
    }
}

/// The delay of a schedule, in whole seconds and nanoseconds; spans come the same way.
#[unsafe(no_mangle)]
extern "C" fn schedule_delay(
    kinds: u32,
    spans: &[u64; 4],
    n: u32,
    random: u64,
    out: &mut [u64; 2],
) {
    let span = |secs: u64, subsec: u64| Duration::new(secs, subsec as u32);
    let schedule = Schedule {
        max_retries: 0,
        first_delay: span(spans[0], spans[1]),
        max_delay: span(spans[2], spans[3]),
        growth: match kinds / 3 {
            0 => Growth::Constant,
            1 => Growth::Linear,
            _ => Growth::Double,
        },
        spread: match kinds % 3 {
            0 => Spread::None,
            1 => Spread::Full,
            _ => Spread::Half,
        },
    };
    let delay = schedule.delay(n, random);
    *out = [delay.as_secs(), u64::from(delay.subsec_nanos())];
}
