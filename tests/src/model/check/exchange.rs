use hallway_core::local::exchange::{
    Answer, Data, Draft, Exchange, Failure, Outcome, SendError, SendId,
};
use hallway_core::{Limits, Token};

use super::{FIELDS, at, check_text, footprint, plan};
use crate::model::client::{Asked, Client, Fate, frame};
use crate::model::conversation::WALL;
use crate::model::generate;
use crate::model::json::{Json, quote};
use crate::model::source::Source;

/// Whatever is asked and whatever the server says, in whatever pieces: every request has the
/// fate that the model gives it, in order, once, and by its deadline.
///
/// # Panics
///
/// When it has not.
pub fn check_exchange(bytes: &[u8]) {
    let mut source = Source::Bytes(bytes);
    let mut plan = plan(&mut source);
    let rules = generate::rules(&mut plan);
    let input = answers(&mut source.part());
    let mut pair = Pair {
        exchange: Exchange::new(&rules.limits),
        client: Client::new(&rules.limits),
        token: Token::parse(&rules.token).expect("a token"),
        limits: rules.limits,
        ids: Vec::new(),
        fed: 0,
        input,
        now: 0,
        output_broken: false,
        compared: (true, 0, 0),
    };
    while !source.is_empty() {
        pair.step(&mut source);
        pair.agree();
    }
    pair.check_patience();
}

/// Lines of a server, mostly good ones.
fn answers(source: &mut Source<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !source.is_empty() {
        let line: &[u8] = match source.below(24) {
            0..6 => br#"{"type":"response","data":"ok","meta":{"id":"uds-1"}}"#,
            6 | 7 => {
                br#"{"type":"response","meta":{"id":"a","i\u0064":"\u0062"},"type":"response"} "#
            }
            8..12 => br#"{"type":"p\u006fng"}"#,
            12 => br#"{"type":"response","meta":["id"]}"#,
            13 => br#"{"type":"response","meta":{"id":7}}"#,
            14 => b" \r",
            15 => br#"{"type":"later","data":"pong"}"#,
            16 => br#"{"type":7}"#,
            17 => br#"{"type":"pong","type":"response","meta":{"id":"\ud83d"}}"#,
            18 => source.pick(&[
                &b"null"[..],
                b"[]",
                b"{\"type\"",
                b"\xff",
                b"pong",
                b"\"pong\"",
            ]),
            19 => source.pick(&[
                &br#"{"type":"error","data":"inbox full"}"#[..],
                br#"{"type":"error","data":7}"#,
                br#"{"type":"error"}"#,
            ]),
            20 => &[b'x'; 700],
            21 => &[b'['; 300],
            _ => b"{}",
        };
        bytes.extend_from_slice(line);
        bytes.push(b'\n');
    }
    bytes
}

struct Pair {
    exchange: Exchange,
    client: Client,
    token: Token,
    limits: Limits,
    /// The requests that were taken, under their numbers from 1.
    ids: Vec<SendId>,
    input: Vec<u8>,
    fed: usize,
    now: u64,
    output_broken: bool,
    /// At which state of the client its output was last compared: whether it was open, what it had
    /// queued and what it had written.
    compared: (bool, usize, usize),
}

impl Pair {
    fn step(&mut self, source: &mut Source<'_>) {
        match source.below(20) {
            0..5 => self.ask(source),
            5..9 => {
                let most = source.pick(&[usize::MAX, 1, 10, 60, 511, 513]);
                self.read(most);
            }
            9..14 => drop(self.outcome()),
            14 | 15 => {
                let most = source.pick(&[usize::MAX, 1, 50]);
                self.write(most);
            }
            16 => self.now += source.pick(&[1, 2, 10, 30, 60]),
            17 => self.timeout(),
            18 => self.stray(),
            _ => match source.below(6) {
                0 => self.end("ended before response"),
                1 => self.end("connection broken"),
                2 => self.output_broken = true,
                _ => while self.outcome() {},
            },
        }
    }

    fn ask(&mut self, source: &mut Source<'_>) {
        let text = match source.below(16) {
            0 => "y".repeat(400),
            1 => "z".repeat(700),
            2 => "\u{e9}\"\n\u{1}\u{7f}".to_owned(),
            _ => "x".to_owned(),
        };
        let json = [
            "[1e999, null]",
            "{}",
            "",
            "{",
            "1 2",
            "[1,\n2]",
            "\"\\ud83d\"",
        ];
        let (asked, data) = match source.below(6) {
            0 | 1 => (Asked::Message, Data::Text(&text)),
            2 => (Asked::Message, Data::Json(source.pick(&json))),
            3 => (Asked::Object, Data::Text(&text)),
            _ => (Asked::Ping, Data::Text("")),
        };
        let from = source.pick(&[None, Some("/s"), Some("\u{e9}\"")]);
        let kind = source.pick(&["text", "qu\"ery"]);
        let draft = Draft { kind, data, from };
        let closed = self.client.failure;
        let frame = self.frame(asked, draft);
        let expected = frame.and_then(|frame| self.client.ask(asked, &frame, self.now));
        let before = expected.is_err().then(|| self.exchange.clone());
        let now = at(self.now);
        let found = match asked {
            Asked::Message => self.exchange.send(draft, &self.token, now, WALL),
            Asked::Object => self.exchange.ask(draft, &self.token, now, WALL),
            Asked::Ping => self.exchange.ping(&self.token, now, WALL),
        };
        let found = found.map(|id| {
            let is_new = self.ids.last().is_none_or(|last| *last < id);
            assert!(is_new, "numbers rise");
            self.ids.push(id);
            self.ids.len() as u64
        });
        let found = found.map_err(|error| match error {
            SendError::Full => "full",
            SendError::TooLong { limit, bytes } => {
                assert!(limit == self.limits.max_frame_bytes() && bytes > limit);
                "too long"
            }
            SendError::NotJson => "not json",
            SendError::Closed(failure) => {
                assert_eq!(Some(words(failure)), closed);
                "closed"
            }
            other => panic!("{other}"),
        });
        assert_eq!(found, expected);
        if let Some(before) = before {
            assert_eq!(self.exchange, before, "what is not taken changes nothing");
        }
    }

    /// The frame that is to be sent.
    fn frame(&self, asked: Asked, draft: Draft<'_>) -> Result<String, &'static str> {
        let secret = self.token.expose();
        let data = match (asked, draft.data) {
            (Asked::Ping, _) => return Ok(frame("ping", None, None, secret)),
            (_, Data::Text(text)) => quote(text),
            (_, Data::Json(raw)) if Json::read(raw).is_some() && !raw.contains('\n') => {
                raw.to_owned()
            }
            (_, Data::Json(_)) => return Err("not json"),
        };
        Ok(frame(draft.kind, Some(&data), draft.from, secret))
    }

    fn read(&mut self, most: usize) {
        if self.client.failure.is_some() {
            assert!(
                self.exchange.spare_mut().is_empty(),
                "an ended exchange reads nothing"
            );
            return;
        }
        if self.exchange.spare_mut().is_empty() {
            // "Do not read before the outcomes were polled."
            while self.outcome() {}
            self.agree();
            let closed = self.client.failure.is_some();
            assert_eq!(
                self.exchange.spare_mut().is_empty(),
                closed,
                "neither room nor an outcome"
            );
            return;
        }
        let from = self.fed;
        let spare = self.exchange.spare_mut();
        let n = spare.len().min(most).min(self.input.len() - from);
        spare[..n].copy_from_slice(&self.input[from..from + n]);
        self.exchange.handle_input(n);
        self.client
            .input
            .extend_from_slice(&self.input[from..from + n]);
        self.fed += n;
    }

    /// Whether there was an outcome.
    fn outcome(&mut self) -> bool {
        let expected = self.client.outcome();
        let found = self.exchange.poll_outcome();
        let found = found.map(
            |Outcome {
                 id,
                 result,
                 written,
             }| {
                let number = self
                    .ids
                    .iter()
                    .position(|known| *known == id)
                    .expect("a request")
                    + 1;
                let fate = match result {
                    Ok(Answer::Accepted(id)) => Fate::Accepted(id.map(String::from)),
                    Ok(Answer::Pong) => Fate::Pong,
                    Ok(Answer::Object(text)) => Fate::Object(text.into()),
                    Err(failure) => Fate::Failed(words(failure)),
                };
                (number as u64, fate, written)
            },
        );
        assert_eq!(found, expected);
        found.is_some()
    }

    /// A timeout that is not due, and one that was handled already, change nothing.
    fn timeout(&mut self) {
        if self.client.deadline().is_some_and(|due| self.now >= due) {
            self.exchange.handle_timeout(at(self.now));
            assert!(self.exchange.is_closed(), "it is due");
            self.client.fail("timed out");
        }
        let before = self.exchange.clone();
        self.exchange.handle_timeout(at(self.now));
        assert_eq!(
            self.exchange, before,
            "early and second timeouts are harmless"
        );
    }

    fn end(&mut self, failure: &'static str) {
        match failure {
            "connection broken" => self.exchange.handle_broken(),
            _ => self.exchange.handle_end_of_input(),
        }
        self.client.fail(failure);
    }

    /// Writes, or finds that nothing can be written any more: what waits stays unwritten.
    fn write(&mut self, most: usize) {
        if !self.output_broken {
            let n = self.exchange.pending().len().min(most);
            self.exchange.handle_output(n);
            self.client.written += n;
            return;
        }
        self.exchange.handle_output_broken();
        let written = self.client.written;
        self.client.sent.truncate(written);
        for waiting in self
            .client
            .waiting
            .iter_mut()
            .filter(|waiting| waiting.3 > written)
        {
            waiting.3 = usize::MAX;
        }
    }

    fn stray(&mut self) {
        let before = self.exchange.clone();
        self.exchange.handle_input(0);
        self.exchange.handle_output(0);
        assert_eq!(self.exchange, before);
    }

    fn agree(&mut self) {
        let (exchange, client) = (&self.exchange, &self.client);
        let is_open = client.failure.is_none();
        assert_eq!(exchange.is_closed(), !is_open);
        assert_eq!(exchange.unanswered(), client.waiting.len());
        assert_eq!(exchange.poll_timeout(), client.deadline().map(at));
        assert_eq!(exchange.refusal(), client.refusal.as_deref());
        let pending = if is_open {
            &client.sent[client.written..]
        } else {
            &[]
        };
        assert_eq!(exchange.pending().len(), pending.len());
        let compared = (is_open, client.sent.len(), client.written);
        if self.compared != compared {
            check_text(exchange.pending(), pending);
            self.compared = compared;
        }
        let frame = self.limits.max_frame_bytes();
        let most = frame + 1 + self.limits.max_outbox_bytes() + frame;
        let each = 64 * self.limits.max_pending_sends();
        let held = footprint(exchange);
        assert!(
            held <= most + each.min(64 * 256) + frame + FIELDS,
            "{held} bytes"
        );
    }

    /// Every request has its outcome by its deadline; then nothing happens any more.
    fn check_patience(&mut self) {
        self.compared = (false, 0, 0);
        self.agree();
        while self.outcome() {
            self.agree();
        }
        if let Some(due) = self.exchange.poll_timeout() {
            self.now = self.now.max(due.as_nanos() / 1_000_000);
            self.timeout();
            self.agree();
            while self.outcome() {}
        }
        assert_eq!(
            self.exchange.unanswered(),
            0,
            "a request without an outcome"
        );
        self.end("ended before response");
        let ended = self.exchange.clone();
        self.now += 10_000;
        self.timeout();
        self.read(usize::MAX);
        self.stray();
        self.exchange.handle_broken();
        self.exchange.handle_end_of_input();
        self.exchange.handle_output_broken();
        assert!(!self.outcome());
        assert!(self.exchange.ping(&self.token, at(self.now), WALL).is_err());
        assert_eq!(self.exchange, ended, "ended stays ended");
    }
}

fn words(failure: Failure) -> &'static str {
    match failure {
        Failure::Refused => "refused by the peer",
        Failure::InvalidResponse => "invalid response",
        Failure::ResponseTooLong => "response too long",
        Failure::EndedBeforeResponse => "ended before response",
        Failure::TimedOut => "timed out",
        Failure::Broken => "connection broken",
        other => panic!("no exchange fails so: {other}"),
    }
}
