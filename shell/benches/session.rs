//! A subscription against the bare WebSocket library, in the same run, on the same sockets. See
//! `README.md` beside this file.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::StreamExt as _;
use hallway::session::{
    AccessToken, Client, Connector, Endpoint, Settings, TokenSource, TransportOptions, Update,
};
use hallway_core::backoff::{Growth, Policy, PolicyBuilder, Schedule, Spread};
use hallway_core::session::control::Frame;
use hallway_tests::session::connection::{TEXT, frame};
use hallway_tests::session::{Relay, SessionServer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

/// How long a message is, in bytes.
const LENGTHS: [usize; 2] = [200, 4_096];

/// The delay before each retry.
const DELAY: Duration = Duration::from_millis(1);

struct Plan {
    rounds: usize,
    messages: usize,
    cuts: usize,
    subscriptions: usize,
}

const FULL: Plan = Plan {
    rounds: 11,
    messages: 200_000,
    cuts: 101,
    subscriptions: 100,
};
const QUICK: Plan = Plan {
    rounds: 3,
    messages: 5_000,
    cuts: 5,
    subscriptions: 5,
};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let is_full = arguments.iter().any(|word| word == "--bench")
        && !arguments.iter().any(|word| word == "--quick");
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        // For profilers: one side alone.
        ["--case", side, length, messages, ..] => one(side, length, messages),
        _ => measure(if is_full { &FULL } else { &QUICK }),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Hears so many messages on one side and prints the rate.
fn one(side: &str, length: &str, messages: &str) -> Result<()> {
    let read: Read = match side {
        "client" => read_ours,
        "library" => read_bare,
        _ => anyhow::bail!("a side is client or library"),
    };
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let rate = throughput(&runtime, messages.parse()?, length.parse()?, read)?;
    println!("{rate:.0}");
    Ok(())
}

/// Measures and prints; fails if a figure could not be measured, never because a target is missed.
fn measure(plan: &Plan) -> Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    println!(
        "{:<44} {:>12} {:>12} {:>7}  target",
        "figure", "library", "client", "ratio"
    );
    for length in LENGTHS {
        for (floor, what, target) in [
            (read_bare as Read, "bytes", ">= 0.90"),
            (read_parsed, "bytes, parsed", "none"),
        ] {
            let [ratio, library, client] = rates(&runtime, plan, length, floor)?;
            let figure = format!("messages a second, {length} {what}");
            println!("{figure:<44} {library:>12.0} {client:>12.0} {ratio:>7.2}  {target}");
        }
    }
    let bytes = memory(&runtime, plan.subscriptions)?;
    println!(
        "{:<44} {:>12} {bytes:>12} {:>7}  <= 2097152",
        "bytes for one subscription, without TLS", "", ""
    );
    let beyond = reconnect(&runtime, plan.cuts)?;
    let beyond = beyond.as_secs_f64() * 1_000.0;
    println!(
        "{:<44} {:>12} {beyond:>12.2} {:>7}  <= 5",
        "ms from a cut to connected, beyond the delay", "", ""
    );
    Ok(())
}

/// Reads so many messages from a server; gives how long it took from the first to the last.
type Read = fn(&Runtime, &str, usize) -> Result<Duration>;

/// The medians of the ratio, of the floor's rate and of the client's.
fn rates(runtime: &Runtime, plan: &Plan, length: usize, floor: Read) -> Result<[f64; 3]> {
    let rate = |read| throughput(runtime, plan.messages, length, read);
    let mut rounds = Vec::new();
    for round in 0..plan.rounds {
        // Who goes first alternates, so that what else the machine does falls on both.
        let (floor, ours) = if round % 2 == 0 {
            let floor = rate(floor)?;
            (floor, rate(read_ours)?)
        } else {
            let ours = rate(read_ours)?;
            (rate(floor)?, ours)
        };
        rounds.push([ours / floor, floor, ours]);
    }
    let of = |at: usize| median(rounds.iter().filter_map(|round| round.get(at)).copied());
    Ok([of(0), of(1), of(2)])
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A message of `length` bytes, as the server sends it.
fn message(length: usize) -> String {
    let empty = r#"{"type":"assistant","message":""}"#;
    let filling = "x".repeat(length.saturating_sub(empty.len()));
    empty.replace(r#":""}"#, &format!(r#":"{filling}"}}"#))
}

/// Messages a second from the first to the last, when a server says them as fast as they are
/// taken.
fn throughput(runtime: &Runtime, messages: usize, length: usize, read: Read) -> Result<f64> {
    const BLOCK: usize = 64;
    let server = SessionServer::plain();
    let base = server.base_url().replace("localhost", "127.0.0.1");
    let speaker = std::thread::spawn(move || {
        let connection = server.connection();
        let block = frame(0x80 | TEXT, message(length).as_bytes()).repeat(BLOCK);
        for _ in 0..messages.div_ceil(BLOCK) {
            // The reader leaves when it has what it wants.
            if connection.socket().write_all(&block).is_err() {
                break;
            }
        }
    });
    let took = read(runtime, &base, messages)?;
    let ended = speaker.join();
    ensure!(ended.is_ok(), "the server failed");
    Ok(f64::from(u32::try_from(messages)?) / took.as_secs_f64())
}

/// The library alone, with the same handshake, counting what it reads.
fn read_bare(runtime: &Runtime, base: &str, messages: usize) -> Result<Duration> {
    read_with(runtime, base, messages, |text| {
        std::hint::black_box(text);
        Ok(())
    })
}

/// The library, and what the contract asks for beside it: each message is held to be JSON with a
/// type, and given away as a text of its own.
fn read_parsed(runtime: &Runtime, base: &str, messages: usize) -> Result<Duration> {
    read_with(runtime, base, messages, |text| {
        ensure!(Frame::parse(text) == Ok(Frame::Other), "a frame");
        std::hint::black_box(text.to_owned());
        Ok(())
    })
}

fn read_with(
    runtime: &Runtime,
    base: &str,
    messages: usize,
    take: fn(&str) -> Result<()>,
) -> Result<Duration> {
    runtime.block_on(async {
        let authority = base.trim_start_matches("http://");
        let mut stream = TcpStream::connect(authority).await?;
        stream.set_nodelay(true)?;
        let head = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(head.as_bytes()).await?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await?);
        }
        ensure!(answer.starts_with(b"HTTP/1.1 101 "), "no upgrade");
        let mut socket = WebSocketStream::from_raw_socket(stream, Role::Client, None).await;
        let mut began = Instant::now();
        for n in 0..messages {
            let message = socket.next().await.context("the end")??;
            ensure!(message.is_text(), "no text");
            take(message.to_text()?)?;
            if n == 0 {
                began = Instant::now();
            }
        }
        Ok(began.elapsed())
    })
}

/// Machine and transport: the library's client.
fn read_ours(runtime: &Runtime, base: &str, messages: usize) -> Result<Duration> {
    runtime.block_on(async {
        let mut client = start(base, Policy::RESILIENT)?;
        ensure!(
            client.next().await == Some(Update::Connected),
            "not connected"
        );
        let mut began = Instant::now();
        for n in 0..messages {
            let update = client.next().await;
            ensure!(matches!(update, Some(Update::Message(_))), "{update:?}");
            std::hint::black_box(update);
            if n == 0 {
                began = Instant::now();
            }
        }
        let took = began.elapsed();
        drop(client);
        // Its task ends with the runtime's next turns.
        tokio::task::yield_now().await;
        Ok(took)
    })
}

fn start(base: &str, policy: Policy) -> Result<Client> {
    let endpoint = Endpoint::new(base, "session", "organization")?;
    let connector = Connector::new(endpoint, &TransportOptions::default())?;
    let tokens = TokenSource::fixed(AccessToken::parse("token")?);
    let settings = Settings {
        policy,
        seed: Some(1),
        ..Settings::default()
    };
    Ok(Client::start(connector, tokens, settings))
}

/// How much this process grows for one more subscription that has heard some messages: both ends
/// are in it, so that it is an upper bound.
fn memory(runtime: &Runtime, subscriptions: usize) -> Result<u64> {
    let server = SessionServer::plain();
    let base = server.base_url();
    let mut kept = Vec::new();
    let mut before = 0;
    // The first one brings what all share.
    for n in 0..=subscriptions {
        let mut client = runtime.block_on(async { start(&base, Policy::RESILIENT) })?;
        let (sender, accepted) = std::sync::mpsc::channel();
        std::thread::scope(|scope| -> Result<()> {
            scope.spawn(|| {
                let mut connection = server.connection();
                for _ in 0..16 {
                    connection.send(&message(4_096));
                }
                sender.send(connection)
            });
            runtime.block_on(async {
                ensure!(
                    client.next().await == Some(Update::Connected),
                    "not connected"
                );
                for _ in 0..16 {
                    let update = client.next().await;
                    ensure!(matches!(update, Some(Update::Message(_))), "{update:?}");
                }
                Ok(())
            })
        })?;
        kept.push((client, accepted.recv()?));
        if n == 0 {
            before = resident()?;
        }
    }
    let more = resident()?.saturating_sub(before);
    Ok(more / u64::try_from(subscriptions)?)
}

fn resident() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(kib.context("VmRSS")?.parse::<u64>()? * 1_024)
}

/// The median time from a cut to the next connection, beyond the policy's delay.
fn reconnect(runtime: &Runtime, cuts: usize) -> Result<Duration> {
    let mut server = SessionServer::plain();
    let relay = Relay::new(server.address());
    let base = server
        .base_url_at(relay.address())
        .replace("localhost", "127.0.0.1");
    let done = Arc::new(AtomicBool::new(false));
    let over = Arc::clone(&done);
    server.each(move |_, accepted| {
        if let Ok(request) = accepted.request()
            && !over.load(Ordering::Relaxed)
        {
            let mut connection = request.accept();
            connection.send(r#"{"type":"keep_alive"}"#);
            std::thread::spawn(move || connection.await_end());
        }
    });
    let schedule = Schedule {
        max_retries: 3,
        first_delay: DELAY,
        max_delay: DELAY,
        growth: Growth::Constant,
        spread: Spread::None,
    };
    let policy = PolicyBuilder::from(Policy::RESILIENT).transient(schedule);
    let policy = policy.settled_after(Duration::ZERO).build()?;
    let mut times = Vec::new();
    runtime.block_on(async {
        let mut client = start(&base, policy)?;
        for n in 0..=cuts {
            let began = Instant::now();
            if n > 0 {
                relay.cut();
            }
            loop {
                let update = client.next().await.context("an update")?;
                if update == Update::Connected {
                    break;
                }
                let is_expected = matches!(update, Update::Reconnecting { .. });
                ensure!(is_expected, "{update:?}");
            }
            if n > 0 {
                times.push(began.elapsed().saturating_sub(DELAY).as_secs_f64());
            }
            // A message is proof of health, so that the budget is whole again.
            let proof = client.next().await;
            ensure!(matches!(proof, Some(Update::Message(_))), "{proof:?}");
        }
        Ok(())
    })?;
    done.store(true, Ordering::Relaxed);
    Ok(Duration::from_secs_f64(median(times.into_iter())))
}
