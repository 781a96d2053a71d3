//! Counts what the core does in basic blocks: the compiler calls the counter in each of them. The
//! fuzzer is told of a cost that it has not seen before as of new coverage, so that it climbs.
#![allow(
    unsafe_code,
    reason = "the compiler's hook is a symbol, the fuzzer's a section"
)]

use std::arch::global_asm;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use hallway_tests::cost::{Client, cut, frame, long_enough};

// In assembly, because what the compiler makes would call itself.
#[cfg(target_arch = "x86_64")]
global_asm!(
    ".globl __sanitizer_cov_trace_pc",
    "__sanitizer_cov_trace_pc:",
    "inc qword ptr [rip + {blocks}]",
    "ret",
    blocks = sym BLOCKS,
);

static BLOCKS: AtomicU64 = AtomicU64::new(0);

/// Costs from none to this many times the canonical one are told apart in so many steps.
const STEPS: usize = 1_024;
/// The bound, in blocks, of which canonical frames have few: copies and words that are compared at
/// once. 40 times the blocks are 18 times the instructions, and those are what the bound of the
/// contract is about: `cargo bench -p hallway-tests --bench cost -- fuzz/found/cost` counts them.
const MAX_TIMES: u64 = 80;

/// What the fuzzer takes for coverage: one counter for each step.
#[unsafe(link_section = "__libfuzzer_extra_counters")]
static REACHED: [AtomicU8; STEPS] = [const { AtomicU8::new(0) }; STEPS];

/// The greatest cost so far, in blocks a KiB.
static GREATEST: AtomicU64 = AtomicU64::new(0);

/// Blocks for each 1,024 bytes of canonical frames.
static CANONICAL: LazyLock<u64> = LazyLock::new(|| {
    let (blocks, bytes) = cost(&frame(200), usize::MAX);
    assert!(blocks > 0, "built without the counter: use fuzz/costliest");
    blocks * 1_024 / bytes
});

/// Serves `input`, again and again until it is long enough, and says how many blocks that took,
/// and how many bytes were read.
fn cost(input: &[u8], most: usize) -> (u64, u64) {
    let repeated = long_enough(input);
    let mut client = Client::new();
    let before = BLOCKS.load(Ordering::Relaxed);
    let read = client.serve(&repeated, most);
    let blocks = BLOCKS.load(Ordering::Relaxed) - before;
    // Who is refused has to connect again for more, which costs him more than us: one frame's
    // bytes are the least that is counted.
    (blocks, read.max(frame(200).len()) as u64)
}

/// Fails when `bytes` cost more than [`MAX_TIMES`] what canonical frames do.
pub(crate) fn judge(bytes: &[u8]) {
    let Some((most, input)) = cut(bytes) else {
        return;
    };
    let canonical = *CANONICAL;
    let (blocks, read) = cost(input, most);
    let a_kib = blocks * 1_024 / read;
    if GREATEST.fetch_max(a_kib, Ordering::Relaxed) < a_kib {
        let times = a_kib as f64 / canonical as f64;
        eprintln!("costliest: {times:.2} times, reads of at most {most}");
    }
    let step = a_kib * STEPS as u64 / (MAX_TIMES * canonical);
    assert!(
        step < STEPS as u64,
        "more than {MAX_TIMES} times: {a_kib} blocks a KiB, canonical frames take {canonical}"
    );
    if let Some(reached) = REACHED.get(step as usize) {
        reached.store(1, Ordering::Relaxed);
    }
}
