//! The load generator: the same bytes and the same calls for the floor and for the daemon.
//!
//! An answer counts only if it is an `ok`. A server that refuses closes the connection after one
//! error frame, so every refusal shows as an early end; it is then reported with the error's own
//! words.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use serde_json::Value;

use crate::lines::{Due, Repeated, count_newlines};

/// No single answer may take longer than this.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// How every good answer begins.
const OK: &[u8] = b"{\"type\":\"response\",\"data\":\"ok\"";
const TEXT_BYTES: usize = 200;
const ANSWER_BYTES: usize = 4096;
const READ_BYTES: usize = 64 * 1024;
const TAIL_BYTES: usize = 512;
/// The clock is asked once in so many turns where a turn is one message.
const CLOCK_EVERY: u64 = 16;

/// A server to load: where it is, and the frame that its token makes.
pub(crate) struct Target {
    socket: PathBuf,
    frame: Vec<u8>,
    frames: Repeated,
}

/// How a pipelined turn is driven.
#[derive(Clone, Copy)]
pub(crate) struct Flow {
    pub(crate) connections: usize,
    /// Unanswered messages on each connection.
    pub(crate) window: usize,
    /// Look for answers without sleeping: with a core to itself, the generator's own wake-ups are
    /// then no part of the figure.
    pub(crate) spins: bool,
}

/// What one turn came to.
pub(crate) struct Turn {
    /// Messages answered `ok` within `elapsed`.
    pub(crate) messages: u64,
    pub(crate) elapsed: Duration,
    /// Those and the ones answered while the window ran dry afterwards.
    pub(crate) total: u64,
}

/// Builds the frame every figure uses, with its LF: a text of 200 bytes in the members a client
/// sends.
pub(crate) fn frame(token: &str) -> Vec<u8> {
    let words = "The schema change has landed on the main branch, the workers can take it now. ";
    let text: String = words.chars().cycle().take(TEXT_BYTES).collect();
    format!(
        "{{\"type\":\"text\",\"data\":\"{text}\",\"ts\":\"2026-01-02T03:04:05.678Z\",\"meta\":{{\"authToken\":\"{token}\"}}}}\n"
    )
    .into_bytes()
}

impl Target {
    pub(crate) fn new(socket: &Path, token: &str) -> Self {
        let frame = frame(token);
        Self {
            socket: socket.to_path_buf(),
            frames: Repeated::new(&frame),
            frame,
        }
    }

    /// Connects. Waiting for an answer then has a deadline; one frame always fits into the
    /// socket, so sending it never waits.
    fn connect(&self) -> Result<UnixStream> {
        let socket = UnixStream::connect(&self.socket)
            .with_context(|| format!("cannot connect to {}", self.socket.display()))?;
        socket.set_read_timeout(Some(ANSWER_DEADLINE))?;
        Ok(socket)
    }

    /// Request and answer on one connection, one at a time.
    pub(crate) fn one_at_a_time(&self, span: Duration) -> Result<Turn> {
        let mut socket = self.connect()?;
        again_and_again(span, |answer| {
            exchange(&mut socket, &self.frame, answer).map(drop)
        })
    }

    /// The same, and how long each took.
    pub(crate) fn latencies(&self, span: Duration) -> Result<Vec<Duration>> {
        let mut socket = self.connect()?;
        let mut taken = Vec::new();
        again_and_again(span, |answer| {
            let since = Instant::now();
            exchange(&mut socket, &self.frame, answer)?;
            taken.push(since.elapsed());
            Ok(())
        })?;
        Ok(taken)
    }

    /// Connect, send, answer, close, one at a time.
    pub(crate) fn connect_each(&self, span: Duration) -> Result<Turn> {
        again_and_again(span, |answer| {
            exchange(&mut self.connect()?, &self.frame, answer).map(drop)
        })
    }

    /// Keeps the unanswered messages of each connection at `flow`'s window, for `span`, then lets
    /// them run dry.
    pub(crate) fn pipelined(&self, flow: Flow, span: Duration) -> Result<Turn> {
        Pipeline::new(self, flow)?.run(span)
    }

    /// Opens `connections` and has one message answered on each, so that the server has
    /// authenticated them all.
    pub(crate) fn hold(&self, connections: usize) -> Result<Vec<UnixStream>> {
        let mut answer = [0_u8; ANSWER_BYTES];
        (0..connections)
            .map(|_| {
                let mut socket = self.connect()?;
                exchange(&mut socket, &self.frame, &mut answer)?;
                Ok(socket)
            })
            .collect()
    }

    /// Sends so many messages over one connection, all of which must fit into its socket, and
    /// waits for all answers.
    pub(crate) fn batch(&self, messages: usize) -> Result<()> {
        let mut socket = self.connect()?;
        socket.write_all(&self.frame.repeat(messages))?;
        let mut answers = BufReader::new(&socket);
        let mut line = Vec::new();
        for _ in 0..messages {
            line.clear();
            answers.read_until(b'\n', &mut line)?;
            ensure!(line.starts_with(OK), refusal(&line));
        }
        Ok(())
    }

    /// Sends one message and returns the number in the id it was given.
    pub(crate) fn next_id(&self) -> Result<u64> {
        let mut socket = self.connect()?;
        let mut answer = [0_u8; ANSWER_BYTES];
        let read = exchange(&mut socket, &self.frame, &mut answer)?;
        let answer: Value = serde_json::from_slice(answer.get(..read).unwrap_or_default())?;
        let id = answer
            .pointer("/meta/id")
            .and_then(Value::as_str)
            .context("an ok without an id")?;
        let number = id
            .strip_prefix("uds-")
            .with_context(|| format!("an id of another form: {id}"))?;
        Ok(number.parse()?)
    }
}

/// Has `one` message answered at a time, for `span`.
fn again_and_again(span: Duration, mut one: impl FnMut(&mut [u8]) -> Result<()>) -> Result<Turn> {
    let mut answer = [0_u8; ANSWER_BYTES];
    let mut messages = 0;
    let start = Instant::now();
    loop {
        one(&mut answer).with_context(|| after(messages))?;
        messages += 1;
        if messages % CLOCK_EVERY == 0 {
            let elapsed = start.elapsed();
            if elapsed >= span {
                return Ok(Turn {
                    messages,
                    elapsed,
                    total: messages,
                });
            }
        }
    }
}

/// Sends one frame and waits for its answer; returns the answer's length, LF included.
fn exchange(socket: &mut UnixStream, frame: &[u8], answer: &mut [u8]) -> Result<usize> {
    socket.write_all(frame).context("cannot send")?;
    let mut filled = 0;
    loop {
        let space = answer.get_mut(filled..).unwrap_or_default();
        ensure!(!space.is_empty(), "an answer longer than {filled} bytes");
        let read = socket.read(space).map_err(|error| {
            let late = error.kind() == ErrorKind::WouldBlock;
            let what = if late {
                format!("no answer within {ANSWER_DEADLINE:?}")
            } else {
                "no answer".to_owned()
            };
            anyhow!(error).context(what)
        })?;
        filled += read;
        let so_far = answer.get(..filled).unwrap_or_default();
        if so_far.ends_with(b"\n") && so_far.starts_with(OK) {
            return Ok(filled);
        }
        if read == 0 || so_far.ends_with(b"\n") {
            bail!(refusal(so_far));
        }
    }
}

/// One epoll over the connections of a pipelined turn.
struct Pipeline<'a> {
    target: &'a Target,
    epoll: OwnedFd,
    connections: Vec<Connection>,
    flow: Flow,
    buffer: Box<[MaybeUninit<u8>]>,
}

struct Connection {
    socket: UnixStream,
    due: Due,
    unanswered: usize,
    waits_to_write: bool,
    /// The last bytes received, to say why a connection ended.
    tail: Vec<u8>,
}

impl<'a> Pipeline<'a> {
    /// Connects and has one message answered on each connection: authentication is no part of the
    /// figure.
    fn new(target: &'a Target, flow: Flow) -> Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let connections = target
            .hold(flow.connections)?
            .into_iter()
            .enumerate()
            .map(|(index, socket)| {
                socket.set_nonblocking(true)?;
                epoll::add(
                    &epoll,
                    &socket,
                    EventData::new_u64(index as u64),
                    EventFlags::IN,
                )?;
                Ok(Connection {
                    socket,
                    due: Due::default(),
                    unanswered: 0,
                    waits_to_write: false,
                    tail: Vec::new(),
                })
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Self {
            target,
            epoll,
            connections,
            flow,
            buffer: Box::new_uninit_slice(READ_BYTES),
        })
    }

    /// Refills all windows together once half of what they hold is answered: the server then has
    /// the other half to work on, whichever of the two is faster, and neither waits for a wake-up
    /// on each small batch.
    fn run(mut self, span: Duration) -> Result<Turn> {
        let mut total = self.connections.len() as u64;
        let before = total;
        let mut in_time = None;
        let mut events: Vec<Event> = Vec::with_capacity(self.connections.len());
        let start = Instant::now();
        let mut last_answer = start;
        self.refill().with_context(|| after(total))?;
        while self.unanswered() > 0 {
            self.wait(&mut events)?;
            let now = Instant::now();
            if events.is_empty() {
                ensure!(
                    now - last_answer < ANSWER_DEADLINE,
                    "no answer within {ANSWER_DEADLINE:?}, {}",
                    after(total)
                );
            } else {
                last_answer = now;
            }
            for event in &events {
                let index = event.data.u64() as usize;
                total += self.receive(index).with_context(|| after(total))? as u64;
                self.send(index, 0).with_context(|| after(total))?;
            }
            if in_time.is_none() && now - start >= span {
                in_time = Some((total - before, start.elapsed()));
            }
            if in_time.is_none()
                && self.unanswered() <= self.flow.window * self.connections.len() / 2
            {
                self.refill().with_context(|| after(total))?;
            }
        }
        let (messages, elapsed) = in_time.context("the window ran dry before its time")?;
        Ok(Turn {
            messages,
            elapsed,
            total,
        })
    }

    fn wait(&self, events: &mut Vec<Event>) -> Result<()> {
        let sleep = if self.flow.spins {
            Duration::ZERO
        } else {
            ANSWER_DEADLINE
        };
        let timeout = Timespec::try_from(sleep)?;
        events.clear();
        match epoll::wait(&self.epoll, spare_capacity(events), Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn unanswered(&self) -> usize {
        self.connections
            .iter()
            .map(|connection| connection.unanswered)
            .sum()
    }

    /// Fills every connection's window.
    fn refill(&mut self) -> Result<()> {
        for index in 0..self.connections.len() {
            let open = self
                .connections
                .get(index)
                .map_or(0, |connection| connection.unanswered);
            self.send(index, self.flow.window.saturating_sub(open))?;
        }
        Ok(())
    }

    /// Reads once; returns how many answers came.
    fn receive(&mut self, index: usize) -> Result<usize> {
        let connection = self
            .connections
            .get_mut(index)
            .context("an event for no connection")?;
        match recv(&connection.socket, &mut *self.buffer, RecvFlags::empty()) {
            Ok(((read, _), _)) if !read.is_empty() => {
                let answers = count_newlines(read);
                connection.keep_tail(read);
                if last_line(&connection.tail).is_some_and(|line| !line.starts_with(OK)) {
                    return Err(connection.ended(None));
                }
                connection.unanswered = connection
                    .unanswered
                    .checked_sub(answers)
                    .context("more answers than messages were sent")?;
                Ok(answers)
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Ok(_) => Err(connection.ended(None)),
            Err(errno) => Err(connection.ended(Some(errno))),
        }
    }

    /// Sends `messages` more, and what the socket did not take before.
    fn send(&mut self, index: usize, messages: usize) -> Result<()> {
        let connection = self
            .connections
            .get_mut(index)
            .context("an event for no connection")?;
        connection.unanswered += messages;
        self.target.frames.owe(&mut connection.due, messages);
        let blocked = match self
            .target
            .frames
            .send(&connection.socket, &mut connection.due)
        {
            Ok(sent) => !sent,
            Err(errno) => return Err(connection.ended(Some(errno))),
        };
        if blocked != connection.waits_to_write {
            connection.waits_to_write = blocked;
            let flags = if blocked {
                EventFlags::IN | EventFlags::OUT
            } else {
                EventFlags::IN
            };
            epoll::modify(
                &self.epoll,
                &connection.socket,
                EventData::new_u64(index as u64),
                flags,
            )?;
        }
        Ok(())
    }
}

impl Connection {
    fn keep_tail(&mut self, read: &[u8]) {
        self.tail.extend_from_slice(
            read.get(read.len().saturating_sub(TAIL_BYTES)..)
                .unwrap_or_default(),
        );
        let surplus = self.tail.len().saturating_sub(TAIL_BYTES);
        self.tail.drain(..surplus);
    }

    /// Says why the connection ended, from what the server sent last.
    fn ended(&mut self, errno: Option<Errno>) -> anyhow::Error {
        let mut rest = [0_u8; ANSWER_BYTES];
        while let Ok(read @ 1..) = self.socket.read(&mut rest) {
            self.keep_tail(rest.get(..read).unwrap_or_default());
        }
        let refused = anyhow::Error::msg(refusal(&self.tail));
        match errno {
            Some(errno) => refused.context(errno),
            None => refused,
        }
    }
}

/// The last line, if it is a whole one.
fn last_line(received: &[u8]) -> Option<&[u8]> {
    received
        .strip_suffix(b"\n")?
        .rsplit(|byte| *byte == b'\n')
        .next()
}

/// Says what the last line of `received` refused.
fn refusal(received: &[u8]) -> String {
    let last = last_line(received).unwrap_or(received);
    let frame: Value = serde_json::from_slice(last).unwrap_or_default();
    match (
        frame.get("type").and_then(Value::as_str),
        frame.get("data").and_then(Value::as_str),
    ) {
        (Some("error"), Some(data)) => format!("the server refused: {data}"),
        _ => format!(
            "the server closed without an error; its last line: {:?}",
            String::from_utf8_lossy(last)
        ),
    }
}

fn after(messages: u64) -> String {
    format!("after {messages} answered messages")
}
