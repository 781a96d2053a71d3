//! The relay's client against the bare crates that it is made of, in the same run. See
//! `README.md` beside this file.

#[path = "relay/cipher.rs"]
mod cipher;
#[path = "relay/flush.rs"]
mod flush;
#[path = "relay/socket.rs"]
mod socket;

use std::process::ExitCode;

use anyhow::Result;
use tokio::runtime::Builder;

struct Plan {
    rounds: usize,
    /// Short turns, so that both have the same machine.
    cipher_rounds: usize,
    /// How many bytes a turn of a cipher has to work on.
    cipher_bytes: usize,
    /// How many bytes the messages of one run over a socket hold.
    socket_bytes: usize,
    outages: usize,
    queued: usize,
}

const FULL: Plan = Plan {
    rounds: 11,
    cipher_rounds: 301,
    cipher_bytes: 524_288,
    socket_bytes: 33_554_432,
    outages: 11,
    queued: 1_000,
};
const QUICK: Plan = Plan {
    rounds: 3,
    cipher_rounds: 5,
    cipher_bytes: 262_144,
    socket_bytes: 1_048_576,
    outages: 1,
    queued: 200,
};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let is_full = arguments.iter().any(|word| word == "--bench")
        && !arguments.iter().any(|word| word == "--quick");
    let words: Vec<_> = arguments
        .iter()
        .filter(|word| !word.starts_with('-'))
        .collect();
    let wanted = |figure: &str| words.iter().all(|word| figure.contains(*word));
    match measure(if is_full { &FULL } else { &QUICK }, &wanted) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Measures and prints; fails if a figure could not be measured, never because a target is missed.
fn measure(plan: &Plan, wanted: &dyn Fn(&str) -> bool) -> Result<()> {
    println!(
        "{:<48} {:>12} {:>12} {:>7}  target",
        "figure", "floor", "relay", "ratio"
    );
    for figure in cipher::figures() {
        if !wanted(&figure.name) {
            continue;
        }
        let rate = |run: &mut dyn FnMut() -> Result<usize>| cipher::rate(plan.cipher_bytes, run);
        let (mut floor, mut ours) = (figure.floor, figure.ours);
        let found = compare(
            plan.cipher_rounds,
            || rate(&mut *floor),
            || rate(&mut *ours),
        )?;
        print(&figure.name, found, figure.target);
    }
    let runtime = Builder::new_current_thread().enable_all().build()?;
    for length in socket::LENGTHS {
        let mut server = None;
        for floor in socket::FLOORS {
            let figure = format!("messages a second, {length} bytes{}", floor.words());
            if !wanted(&figure) {
                continue;
            }
            let server = match &mut server {
                Some(server) => &*server,
                None => server.insert(socket::Speaker::start(length, plan.socket_bytes / length)?),
            };
            let found = compare(
                plan.rounds,
                || runtime.block_on(floor.read(server)),
                || runtime.block_on(socket::read_ours(server)),
            )?;
            print(&figure, found, "none");
        }
    }
    if !wanted("ms, queued") {
        return Ok(());
    }
    let [all, sending] = flush::measure(&runtime, plan.outages, plan.queued)?;
    for (figure, millis) in [
        ("the server's return to the last stored", all),
        ("the first stored to the last", sending),
    ] {
        let figure = format!("ms, {} queued: {figure}", plan.queued);
        println!("{figure:<60} {millis:>13.1} {:>7}  none", "");
    }
    Ok(())
}

/// The medians of the ratio, of the floor's rate and of ours.
fn compare(
    rounds: usize,
    mut floor: impl FnMut() -> Result<f64>,
    mut ours: impl FnMut() -> Result<f64>,
) -> Result<[f64; 3]> {
    let mut found = Vec::new();
    for round in 0..rounds {
        // Who goes first alternates, so that what else the machine does falls on both.
        let (floor, ours) = if round % 2 == 0 {
            let floor = floor()?;
            (floor, ours()?)
        } else {
            let ours = ours()?;
            (floor()?, ours)
        };
        found.push([ours / floor, floor, ours]);
    }
    let of = |at: usize| median(found.iter().filter_map(|round| round.get(at)).copied());
    Ok([of(0), of(1), of(2)])
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn print(figure: &str, [ratio, floor, ours]: [f64; 3], target: &str) {
    println!("{figure:<48} {floor:>12.0} {ours:>12.0} {ratio:>7.2}  {target}");
}
