//! How many instructions one message takes on its way through the core, counted by callgrind
//! and held against a budget. Counts repeat exactly, whatever else the machine does.
//!
//! `cargo bench -p hallway-core --bench instructions` counts; it needs valgrind, and fails
//! without it and when a budget is exceeded. `-- --quick`, or no `--bench` argument, only runs
//! each case a few times. `-- --case NAME COUNT` runs one, for a profiler.

use std::process::{Command, ExitCode};

use hallway_core::local::connection::{Connection, Event, Server};
use hallway_core::local::inbox::{Peer, Renderer};
use hallway_core::local::message::Message;
use hallway_core::session::event::{Action, Event as Told};
use hallway_core::session::limits::Limits as SessionLimits;
use hallway_core::session::subscription::Subscription;
use hallway_core::{Instant, Limits, Mailbox, Token, UnixTime, backoff::Policy};

/// One way of a message of so many bytes.
struct Case {
    name: &'static str,
    bytes: usize,
    /// The most instructions a message.
    budget: u64,
    run: fn(usize, usize),
}

const fn case(name: &'static str, bytes: usize, budget: u64, run: fn(usize, usize)) -> Case {
    Case {
        name,
        bytes,
        budget,
        run,
    }
}

/// Budgets are what was counted with Rust 1.95 on x86-64, and 5 % more.
const CASES: [Case; 9] = [
    case("parse-346", 346, 1_232, parse),
    case("parse-4096", 4_096, 6_217, parse),
    case("parse-61440", 61_440, 81_481, parse),
    case("serve-346", 346, 2_535, serve),
    case("serve-4096", 4_096, 14_152, serve),
    case("serve-61440", 61_440, 296_022, serve),
    case("follow-200", 200, 1_410, follow),
    case("follow-4096", 4_096, 4_830, follow),
    case("follow-61440", 61_440, 53_751, follow),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["--case", name, count, ..] => {
            let case = CASES.iter().find(|case| case.name == *name);
            let (Some(case), Ok(count)) = (case, count.parse()) else {
                eprintln!("error: no such case");
                return ExitCode::from(2);
            };
            (case.run)(case.bytes, count);
            ExitCode::SUCCESS
        }
        words if words.contains(&"--bench") && !words.contains(&"--quick") => count_all(),
        _ => {
            for case in &CASES {
                (case.run)(case.bytes, 3);
            }
            ExitCode::SUCCESS
        }
    }
}

fn count_all() -> ExitCode {
    println!(
        "{:<14} {:>13} {:>8}  budget",
        "case", "instructions", "a byte"
    );
    let mut is_kept = true;
    for case in &CASES {
        let a_message = match instructions(case) {
            Ok(a_message) => a_message,
            Err(why) => {
                eprintln!("error: {} cannot be counted; {why}", case.name);
                return ExitCode::FAILURE;
            }
        };
        let a_byte = a_message as f64 / case.bytes as f64;
        let verdict = if a_message <= case.budget {
            "kept"
        } else {
            is_kept = false;
            "EXCEEDED"
        };
        println!(
            "{:<14} {a_message:>13} {a_byte:>8.2}  {} {verdict}",
            case.name, case.budget
        );
    }
    if is_kept {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The instructions of one more message: what two runs of different length differ by.
fn instructions(case: &Case) -> Result<u64, String> {
    const FEW: u64 = 100;
    const MORE: u64 = 200;
    let (few, more) = (total(case, FEW)?, total(case, MORE)?);
    let difference = more.checked_sub(few).ok_or("more messages took less")?;
    Ok(difference / (MORE - FEW))
}

/// All instructions of a run with `count` messages, start and end of the process included.
fn total(case: &Case, count: u64) -> Result<u64, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(own)
        .args(["--case", case.name, &count.to_string()])
        // The environment stands on the stack, which must not move.
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .output()
        .map_err(|error| format!("valgrind does not start: {error}; install it"))?;
    let words = String::from_utf8_lossy(&output.stderr);
    let collected = words
        .split_once("Collected :")
        .and_then(|(_, rest)| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok());
    match collected {
        Some(collected) if output.status.success() => Ok(collected),
        Some(_) | None => Err(format!("valgrind says: {words}")),
    }
}

/// A frame of `bytes` bytes with its newline, as a client sends it.
fn frame(bytes: usize) -> Vec<u8> {
    let token = "5a".repeat(32);
    let build = |text: &str| {
        format!(
            "{{\"type\":\"text\",\"data\":\"{text}\",\"ts\":\"2026-01-02T03:04:05.678Z\",\"meta\":{{\"authToken\":\"{token}\"}}}}\n"
        )
    };
    let room = bytes.saturating_sub(build("").len());
    let frame = build(&"x".repeat(room)).into_bytes();
    assert_eq!(frame.len(), bytes);
    frame
}

/// The parser alone.
fn parse(bytes: usize, count: usize) {
    let frame = frame(bytes);
    let line = &frame[..frame.len() - 1];
    for _ in 0..count {
        let message = Message::parse(std::hint::black_box(line), &Limits::DEFAULT);
        assert!(std::hint::black_box(message).is_ok());
    }
}

/// All that the core does with a message: framed, parsed, its token checked, kept, answered,
/// rendered for the consumer and removed. In rounds of ten, as a burst comes.
fn serve(bytes: usize, count: usize) {
    const ROUND: usize = 10;
    let limits = Limits::DEFAULT;
    let token = Token::parse(&"5a".repeat(32)).expect("it is a token");
    let server = Server::new("/tmp/bench/serve.sock", token);
    let mailbox = Mailbox::new(&limits);
    let peer = Peer { uid: 1, pid: 1_234 };
    let now = Instant::ORIGIN;
    let wall = UnixTime::from_millis(1_767_323_045_678).expect("it is of this century");
    let mut connection = Connection::new(&limits, now);
    let stream = frame(bytes).repeat(ROUND);
    let (mut printed, mut renderer) = (Vec::new(), Renderer::default());
    for _ in 0..count / ROUND {
        let mut rest = stream.as_slice();
        while !rest.is_empty() {
            let spare = connection.spare_mut();
            let n = spare.len().min(rest.len());
            spare[..n].copy_from_slice(&rest[..n]);
            connection.handle_input(n, now);
            rest = &rest[n..];
            while let Some(event) = connection.handle_frame(&server, now, wall) {
                let Event::MessageReceived(kept) = event else {
                    panic!("a ping");
                };
                let id = mailbox.push(kept, peer, wall).expect("there is room");
                connection.handle_enqueued(Some(id), now, wall);
            }
        }
        connection.handle_input_drained();
        let pending = connection.pending().len();
        connection.handle_output(pending, now);
        printed.clear();
        let mut last = None;
        mailbox.peek(None, |entry| {
            renderer.write_json(entry, &mut printed);
            last = Some(entry.id());
            true
        });
        let last = last.expect("messages came");
        assert_eq!(mailbox.mark_processed(last), ROUND);
    }
}

/// The machine of a remote session.
fn follow(bytes: usize, count: usize) {
    let now = Instant::ORIGIN;
    let mut machine = Subscription::new(&SessionLimits::DEFAULT, Policy::RESILIENT, 1);
    machine.connect(now);
    let Some(Action::Dial(epoch)) = machine.poll_action() else {
        panic!("it does not dial");
    };
    assert_eq!(machine.handle_opened(epoch, now), Some(Told::Connected));
    let empty = r#"{"type":"assistant","message":""}"#;
    let filling = "x".repeat(bytes.saturating_sub(empty.len()));
    let message = empty.replace(r#":""}"#, &format!(r#":"{filling}"}}"#));
    for _ in 0..count {
        let event = machine.handle_message(epoch, std::hint::black_box(&message));
        assert_eq!(event, Some(Told::MessageReceived));
    }
}
