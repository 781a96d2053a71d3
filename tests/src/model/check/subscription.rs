use std::time::Duration;

use hallway_core::Instant;
use hallway_core::backoff::{Growth, Policy, PolicyBuilder, Schedule, Spread};
use hallway_core::session::control::Request;
use hallway_core::session::event::{Action, Cancelled, DialFailure, Epoch, Event};
use hallway_core::session::limits::Limits;
use hallway_core::session::subscription::{Answer, Subscription};

use super::{FIELDS, footprint, plan};
use crate::model::source::Source;
use crate::model::subscription::{Fact, Model, Phase, Said, apply};

/// The subtypes that are answered in these checks.
const SERVED: &[&str] = &["can_use_tool", "hook_callback"];

/// More than a run of these checks can dial: whatever is remembered about epochs is bounded.
const MOST_EPOCHS: usize = 64;

/// The subscription does, says and waits for what the model says, whatever is told in whatever
/// order (sessions.md §3): facts of former transports change nothing, a timeout early or twice
/// changes nothing, memory is bounded, and terminal is terminal.
///
/// # Panics
///
/// When it does not.
pub fn check_subscription(bytes: &[u8]) {
    let mut source = Source::Bytes(bytes);
    let mut plan = plan(&mut source);
    let (limits, policy) = (limits(&mut plan), policy(&mut plan));
    let seed = u64::from(plan.byte());
    let mut run = Run {
        machine: Subscription::new(&limits, policy, seed).serving(SERVED),
        model: Model::new(&limits, policy, SERVED),
        epochs: vec![Epoch::default()],
        now: Instant::ORIGIN,
        limits,
    };
    while !source.is_empty() {
        run.step(&mut source);
        run.agree();
    }
    run.end();
}

/// Bounds near the least that are allowed.
pub(crate) fn limits(source: &mut Source<'_>) -> Limits {
    let ms = Duration::from_millis;
    let limits = Limits::builder()
        .max_message_bytes(1_024)
        .max_pending_requests(source.pick(&[3, 1, 256]))
        .max_pending_bytes(1_024)
        .max_outbox_frames(source.pick(&[4, 1, 256]))
        .max_outbox_bytes(1_024)
        .dial_timeout(ms(source.pick(&[20_000, 50])))
        .token_timeout(ms(source.pick(&[30_000, 50])))
        .ping_interval(ms(source.pick(&[30_000, 100])))
        .probe_timeout(ms(source.pick(&[10_000, 40])))
        .sleep_lateness(ms(source.pick(&[30_000, 1_000])));
    limits.build().expect("limits within their ranges")
}

/// The profiles, and budgets so small that they are soon spent.
pub(crate) fn policy(source: &mut Source<'_>) -> Policy {
    let ms = Duration::from_millis;
    match source.below(4) {
        0 => return Policy::RESILIENT,
        1 => return Policy::FIXED,
        _ => {}
    }
    let mut schedule = || Schedule {
        max_retries: source.pick(&[3, 0, 1, 10]),
        first_delay: ms(source.pick(&[1_000, 1])),
        max_delay: ms(source.pick(&[5_000, 60_000])),
        growth: source.pick(&[Growth::Double, Growth::Linear, Growth::Constant]),
        spread: source.pick(&[Spread::Full, Spread::None, Spread::Half]),
    };
    let (transient, not_found) = (schedule(), schedule());
    PolicyBuilder::from(Policy::RESILIENT)
        .transient(transient)
        .not_found(not_found)
        .forced_delay(ms(source.pick(&[500, 0])))
        .healthy_after(ms(source.pick(&[30_000, 100])))
        .settled_after(ms(source.pick(&[30_000, 0, 200])))
        .give_up_after(ms(source.pick(&[1_800_000, 10_000])))
        .max_retry_after(ms(source.pick(&[3_600_000, 2_000])))
        .build()
        .expect("a policy within its ranges")
}

/// Any failure of a dial.
pub(crate) fn failure(source: &mut Source<'_>) -> DialFailure {
    let seconds = source.pick(&[None, None, Some(0), Some(3), Some(100_000)]);
    let status = |status| DialFailure::Status {
        status,
        retry_after: seconds.map(Duration::from_secs),
    };
    match source.below(12) {
        0 => status(503),
        1 => DialFailure::Unreachable,
        2 => status(401),
        3 => status(404),
        4 => status(429),
        5 => DialFailure::NotWebSocket,
        6 => DialFailure::NoToken,
        7 => status(403),
        8 => DialFailure::Untrusted,
        9 => DialFailure::ProxyRefused,
        10 => status(source.pick(&[408, 425, 500, 599])),
        _ => status(source.pick(&[400, 302, 200, 600, 0, 426])),
    }
}

/// Any close code, or none.
pub(crate) fn code(source: &mut Source<'_>) -> Option<u16> {
    let codes = [1_006, 4_001, 4_003, 1_000, 1_002, 4_000, 4_002, 0, u16::MAX];
    match source.below(12) {
        0..3 => None,
        n => Some(codes[n - 3]),
    }
}

/// Any message; ids repeat.
pub(crate) fn said(source: &mut Source<'_>) -> Said {
    let id = source.pick(&["r1", "r2", "r3", "", "\u{e9}\"\\\u{1}"]);
    match source.below(8) {
        0 => Said::Plain,
        1 => Said::Junk,
        2 => Said::Cancel { id: id.to_owned() },
        n => Said::Ask {
            id: id.to_owned(),
            subtype: if n == 3 {
                source.pick(&["mcp_status", "unheard_of"])
            } else {
                "can_use_tool"
            },
            input: match source.pick(&[0, 0, 0, 300, 900]) {
                0 => source
                    .pick(&["{}", r#"{"command":"ls"}"#, "null"])
                    .to_owned(),
                long => format!("[{}]", "1,".repeat(long / 2) + "1"),
            },
        },
    }
}

struct Run {
    machine: Subscription,
    model: Model,
    /// Those that were heard of, and one that never was.
    epochs: Vec<Epoch>,
    now: Instant,
    limits: Limits,
}

impl Run {
    fn step(&mut self, source: &mut Source<'_>) {
        let epoch = match source.below(6) {
            0 => self.epochs[source.below(self.epochs.len())],
            _ => *self.epochs.last().expect("an epoch"),
        };
        match source.below(20) {
            0 => self.tell(&Fact::Connect),
            1..4 => self.tell(&Fact::Opened(epoch)),
            4 => self.tell(&Fact::DialFailed(epoch, failure(source))),
            5 | 6 => self.tell(&Fact::Gone(epoch, code(source))),
            7..9 => {
                self.tell(&Fact::Message(epoch, &said(source)));
                self.check_memory();
            }
            9 => self.tell(&Fact::Pong(epoch)),
            10 => self.tell(&Fact::Token(epoch, !source.once_in(3))),
            11 => match source.below(8) {
                0 => self.tell(&Fact::Close),
                1 | 2 => self.tell(&Fact::Reconnect),
                3 => self.tell(&Fact::Wake),
                4 => self.tell(&Fact::TooLong(epoch)),
                _ => self.left_behind(),
            },
            12 => self.time(source),
            13 | 14 => self.due(source),
            15..17 => self.act(),
            17 => {
                self.answer(source);
                self.check_memory();
            }
            18 => {
                self.ask(source);
                self.check_memory();
            }
            _ => self.transmit(epoch, !source.once_in(4)),
        }
    }

    fn tell(&mut self, fact: &Fact<'_>) {
        let is_ended = self.machine.close_reason().is_some();
        // Nothing may come of it.
        let idle = is_ended || self.model.is_stale(fact);
        let before = idle.then(|| self.machine.clone());
        let text = match fact {
            Fact::Message(_, said) => said.text(),
            _ => String::new(),
        };
        let event = apply(&mut self.machine, fact, &text, self.now);
        if let (
            Fact::Message(_, Said::Ask { input, .. }),
            Some(Event::RequestArrived { request, .. }),
        ) = (fact, &event)
            && let Request::CanUseTool(tool) = request
        {
            assert_eq!(tool.input, input, "the input as it was written");
        }
        self.model.tell(fact, event.as_ref(), self.now);
        if let Some(before) = before {
            assert_eq!(
                self.machine, before,
                "{fact:?} is of no transport that lives"
            );
        }
    }

    /// Lets some time pass, and says so too early.
    fn time(&mut self, source: &mut Source<'_>) {
        let millis = source.pick(&[1, 0, 20, 99, 600, 5_000, 29_999]);
        self.now = self.now.after(Duration::from_millis(millis));
        self.timeout();
    }

    /// Jumps to when something is due, or somewhat later.
    fn due(&mut self, source: &mut Source<'_>) {
        let late = source.pick(&[0, 0, 0, 1, 999, 1_000, 40_000]);
        if let Some(due) = self.machine.poll_timeout() {
            self.now = self.now.max(due).after(Duration::from_millis(late));
        }
        self.timeout();
    }

    /// A timeout does something once at most.
    fn timeout(&mut self) {
        let (before, is_due) = (
            self.machine.clone(),
            self.machine
                .poll_timeout()
                .is_some_and(|due| due <= self.now),
        );
        self.tell(&Fact::Time);
        if !is_due {
            assert_eq!(self.machine, before, "nothing was due");
        }
        if self.machine.poll_timeout().is_none_or(|due| due > self.now) {
            let after = self.machine.clone();
            self.tell(&Fact::Time);
            assert_eq!(self.machine, after, "a timeout is handled once");
        }
    }

    fn act(&mut self) {
        let action = self.machine.poll_action();
        self.model.act(action);
        if let Some(Action::Dial(epoch)) = action {
            if self.epochs.len() == MOST_EPOCHS {
                self.epochs.remove(1);
            }
            self.epochs.push(epoch);
        }
    }

    fn left_behind(&mut self) {
        let found = self.machine.poll_event();
        let expected = self
            .model
            .book
            .next_left()
            .map(|id| Event::RequestCancelled {
                request_id: id.into(),
                cancelled: Cancelled::Reconnected,
            });
        assert_eq!(found, expected, "requests of a former connection");
    }

    fn answer(&mut self, source: &mut Source<'_>) {
        let id = source.pick(&["r1", "r2", "r3", "", "\u{e9}\"\\\u{1}", "unknown"]);
        let long = "x".repeat(match source.below(16) {
            14 => 300,
            15 => 2_000,
            _ => 0,
        });
        let answer = match source.below(7) {
            0 => Answer::Allow {
                updated_input: None,
            },
            1 => Answer::Allow {
                updated_input: Some(source.pick(&["{}", "{", "1,2", "\"\u{e9}\""])),
            },
            2 => Answer::Deny { message: &long },
            3 => Answer::Success { response: None },
            4 => Answer::Success {
                response: Some(source.pick(&["[1]", "}{", ""])),
            },
            _ => Answer::Error { error: &long },
        };
        let expected = self.model.book.answer(id, &answer);
        let before = expected.is_err().then(|| self.machine.clone());
        let found = self.machine.answer(id, answer);
        assert_eq!(found, expected, "an answer");
        if let Some(before) = before {
            assert_eq!(self.machine, before, "what is not taken changes nothing");
        }
    }

    fn ask(&mut self, source: &mut Source<'_>) {
        let (request, text) = match source.below(4) {
            0 => (Request::Interrupt, r#"{"subtype":"interrupt"}"#),
            1 => (
                Request::SetModel { model: None },
                r#"{"subtype":"set_model"}"#,
            ),
            2 => (
                Request::Unknown {
                    subtype: "x".into(),
                    raw: "{",
                },
                "{",
            ),
            _ => (
                Request::SetMaxThinkingTokens {
                    max_thinking_tokens: None,
                },
                r#"{"subtype":"set_max_thinking_tokens","max_thinking_tokens":null}"#,
            ),
        };
        let expected = self.model.book.request("u\n1", text);
        let before = expected.is_err().then(|| self.machine.clone());
        let found = self.machine.request("u\n1", &request);
        assert_eq!(found, expected, "a request");
        if let Some(before) = before {
            assert_eq!(self.machine, before, "what is not taken changes nothing");
        }
    }

    /// A frame is written to the transport of `epoch`, or the write fails.
    fn transmit(&mut self, epoch: Epoch, is_written: bool) {
        let found = self.machine.poll_transmit(epoch);
        let expected = self.model.book.outbox().next();
        let expected = expected.filter(|_| self.model.is_open(epoch));
        assert_eq!(found, expected, "what is to be sent");
        if is_written && self.model.is_open(epoch) {
            self.machine.handle_transmitted(epoch);
            self.model.book.sent();
        } else if is_written {
            let before = self.machine.clone();
            self.machine.handle_transmitted(epoch);
            assert_eq!(self.machine, before, "nothing was sent");
        }
    }

    fn agree(&self) {
        let (machine, model) = (&self.machine, &self.model);
        assert_eq!(machine.poll_timeout(), model.due(), "the deadline");
        assert_eq!(
            machine.close_reason(),
            match model.phase() {
                Phase::Closed(reason) => Some(reason),
                _ => None,
            }
        );
        let is_waiting = !matches!(model.phase(), Phase::Idle | Phase::Closed(_));
        assert_eq!(
            machine.poll_timeout().is_some(),
            is_waiting,
            "a deadline for each wait"
        );
        let open = machine.open_epoch();
        assert_eq!(open.is_some(), matches!(model.phase(), Phase::Open { .. }));
        assert!(open.is_none_or(|epoch| model.is_open(epoch)));
        assert_eq!(machine.unsent(), model.book.outbox().len(), "the outbox");
        assert_eq!(machine.pending_requests(), model.book.pending().count());
        assert_eq!(machine.ignored(), model.ignored());
    }

    /// What was said or taken is kept within bounds; nothing else takes memory.
    fn check_memory(&self) {
        let most = self.limits.worst_case_bytes() + FIELDS;
        assert!(footprint(&self.machine) <= most, "memory is bounded");
    }

    /// Ends it: the actions that are left hang up and do nothing else.
    fn end(&mut self) {
        self.tell(&Fact::Close);
        for _ in 0..5 {
            let action = self.machine.poll_action();
            self.model.act(action);
            assert!(
                matches!(action, None | Some(Action::Hangup(_))),
                "{action:?}"
            );
        }
        self.tell(&Fact::Connect);
        self.tell(&Fact::Reconnect);
        self.agree();
        self.check_memory();
    }
}
