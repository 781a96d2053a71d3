//! The wire contract of a connection, as a witness of what it hears: which answers are due
//! for the lines that came, in which order, and for which causes.

use std::collections::VecDeque;

use hallway_core::local::connection::{CloseReason, Connection, Refusal};
use hallway_core::local::inbox::Inbox;

use super::super::{MAX_FRAME_BYTES, Said};
use super::{AUTH, Flaw, IDLE};

/// A line that the peer may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Line {
    /// An authorised ping.
    Ping,
    /// An authorised message.
    Text,
    /// JSON whitespace.
    Blank,
    /// A message without a token.
    NoToken,
    /// A message with another token.
    WrongToken,
    /// An authorised message without its last brace.
    Garbage,
    /// One byte more than a frame may have.
    TooLong,
}

/// What is kept of a [`Line::Text`].
const KEPT: &str = r#"{"data":"good"}"#;

/// One byte more than a frame may have, and its newline.
static TOO_LONG: [u8; MAX_FRAME_BYTES + 2] = {
    let mut line = [b'x'; MAX_FRAME_BYTES + 2];
    line[MAX_FRAME_BYTES + 1] = b'\n';
    line
};

impl Line {
    pub(super) fn bytes(self, flaw: Option<Flaw>) -> &'static [u8] {
        match self {
            Self::Ping => b"{\"type\":\"ping\",\"meta\":{\"authToken\":\"T\"}}\n",
            Self::Text => b"{\"data\":\"good\",\"meta\":{\"authToken\":\"T\"}}\n",
            Self::Blank => b" \t\r\n",
            Self::NoToken | Self::WrongToken if flaw == Some(Flaw::ChecksNoToken) => {
                b"{\"data\":\"evil\",\"meta\":{\"authToken\":\"T\"}}\n"
            }
            Self::NoToken => b"{\"data\":\"evil\"}\n",
            Self::WrongToken => b"{\"data\":\"evil\",\"meta\":{\"authToken\":\"t\"}}\n",
            Self::Garbage => b"{\"data\":\"evil\",\"meta\":{\"authToken\":\"T\"}\n",
            Self::TooLong => &TOO_LONG,
        }
    }

    fn len(self) -> usize {
        self.bytes(None).len()
    }

    /// How many bytes of it decide what becomes of it.
    fn decisive_bytes(self) -> usize {
        match self {
            Self::TooLong => MAX_FRAME_BYTES + 1,
            Self::Ping
            | Self::Text
            | Self::Blank
            | Self::NoToken
            | Self::WrongToken
            | Self::Garbage => self.len(),
        }
    }
}

/// What a connection did that the wire contract does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wrong {
    /// Something was kept that is no authorised message, or not the next one.
    Kept,
    /// A message was kept twice.
    KeptTwice,
    /// Something was taken after the connection had begun to close.
    TakenAfterError,
    /// An answer that the next line does not ask for.
    Answer,
    /// `ok` with an id that is not kept exactly once.
    Ok,
    /// A refusal without its cause.
    Refusal,
    /// A line after an error frame.
    SaidAfterError,
    /// A closed connection changed.
    ClosedChanged,
    /// A reason to close became another one.
    ReasonChanged,
    /// A clean end with lines unanswered.
    EndedUnanswered,
}

/// What the wire contract knows of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Witness {
    /// How many lines the peer has said.
    pub(super) spoken: u8,
    /// Those of them that are not dealt with.
    lines: VecDeque<Line>,
    /// How many bytes of `lines` were read.
    fed: usize,
    /// Whether the first of `lines` is kept.
    kept: bool,
    /// Whether an authorised line came.
    pub(super) authorised: bool,
    erred: bool,
    /// When the present patience began: at the last activity, or with the closing.
    pub(super) since: u16,
    pub(super) wrong: Option<Wrong>,
}

impl Witness {
    pub(super) fn say(&mut self, line: Line) {
        self.spoken += 1;
        self.lines.push_back(line);
    }

    pub(super) fn unfed(&self, flaw: Option<Flaw>) -> Vec<u8> {
        let lines = self.lines.iter().map(|line| line.bytes(flaw));
        let mut bytes = lines.collect::<Vec<_>>().concat();
        bytes.drain(..self.fed.min(bytes.len()));
        bytes
    }

    pub(super) fn feed(&mut self, n: usize, now: u16) {
        self.fed += n;
        if n > 0 {
            self.since = now;
        }
    }

    /// Bytes were written while the connection was open.
    pub(super) fn wrote(&mut self, now: u16) {
        self.since = now;
    }

    /// The next line that asks for an answer, if enough of it has come.
    fn due(&mut self) -> Option<Line> {
        while self.lines.front() == Some(&Line::Blank) && self.fed >= Line::Blank.len() {
            self.pass();
        }
        let line = *self.lines.front()?;
        (self.fed >= line.decisive_bytes()).then_some(line)
    }

    fn pass(&mut self) {
        if let Some(line) = self.lines.pop_front() {
            self.fed = self.fed.saturating_sub(line.len());
        }
        self.kept = false;
    }

    fn is_wrong(&mut self, wrong: Wrong) {
        self.wrong = self.wrong.or(Some(wrong));
    }

    /// The inbox took something.
    pub(super) fn keep(&mut self, old: &Inbox, new: &Inbox, closing: bool) {
        let fresh = || new.pending(old.last());
        if closing {
            self.is_wrong(Wrong::TakenAfterError);
        } else if self.kept || fresh().count() != 1 {
            self.is_wrong(Wrong::KeptTwice);
        } else if self.due() != Some(Line::Text) || fresh().any(|entry| entry.message() != KEPT) {
            self.is_wrong(Wrong::Kept);
        }
        self.kept = true;
    }

    /// A line was put into the output.
    pub(super) fn hear(&mut self, said: Said, inbox: &Inbox, now: u16, evicted: bool) {
        if self.erred {
            self.is_wrong(Wrong::SaidAfterError);
        }
        let due = self.due();
        match said {
            Said::Pong if due == Some(Line::Ping) => self.authorised = true,
            Said::Ok(id) if due == Some(Line::Text) => {
                self.authorised = true;
                let newest = inbox.last().is_some_and(|last| last.get() == id);
                let ids = inbox.pending(None).filter(|entry| entry.id().get() == id);
                if !self.kept || !newest || ids.count() > 1 {
                    self.is_wrong(Wrong::Ok);
                }
            }
            Said::Error(refusal) => {
                if !self.is_due(refusal, due, now, evicted) {
                    self.is_wrong(Wrong::Refusal);
                }
                self.erred = true;
                return;
            }
            Said::Pong | Said::Ok(_) | Said::Garbled => self.is_wrong(Wrong::Answer),
        }
        self.pass();
    }

    /// Whether there is a cause for a refusal.
    fn is_due(&self, refusal: Refusal, line: Option<Line>, now: u16, evicted: bool) -> bool {
        match refusal {
            Refusal::InvalidFrame => line == Some(Line::Garbage),
            Refusal::Unauthorized => matches!(line, Some(Line::NoToken | Line::WrongToken)),
            Refusal::FrameTooLong(_) => line == Some(Line::TooLong),
            Refusal::InboxFull => line == Some(Line::Text) && !self.kept,
            Refusal::AuthenticationTimeout => !self.authorised && now >= AUTH,
            Refusal::IdleTimeout => now >= self.since + IDLE,
            Refusal::TooManyClients => evicted,
            _ => false,
        }
    }

    /// Compares the connection with what it was a step before.
    pub(super) fn watch(&mut self, was: &Connection, is: &Connection, now: u16) {
        let (before, reason) = (was.close_reason(), is.close_reason());
        if was.is_closed() && (!is.is_closed() || was.pending() != is.pending()) {
            self.is_wrong(Wrong::ClosedChanged);
        }
        if before.is_some() && before != reason {
            self.is_wrong(Wrong::ReasonChanged);
        }
        if before.is_none() && reason.is_some() {
            let clean = matches!(reason, Some(CloseReason::Finished | CloseReason::Stopped));
            if clean && self.due().is_some() {
                self.is_wrong(Wrong::EndedUnanswered);
            }
            self.end(now);
        }
        if is.is_closed() {
            self.since = 0;
        }
    }

    /// Nothing more is due; the patience of closing begins.
    fn end(&mut self, now: u16) {
        let (wrong, erred) = (self.wrong, self.erred);
        *self = Self {
            wrong,
            erred,
            since: now,
            ..Self::default()
        };
    }
}
