//! What may happen.

use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use hallway_core::relay::client::HttpFailure;

use super::hostile::Hostile;

/// What the server has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Served {
    Session,
    /// A session, and no durable route.
    OldSession,
    Machine,
}

impl Arbitrary<'_> for Served {
    fn arbitrary(unstructured: &mut Unstructured<'_>) -> arbitrary::Result<Self> {
        let byte = u8::arbitrary(unstructured)?;
        Ok(match byte & 7 {
            6 | 7 => Self::Machine,
            odd if odd & 1 == 1 => Self::OldSession,
            _ => Self::Session,
        })
    }

    fn size_hint(depth: usize) -> (usize, Option<usize>) {
        u8::size_hint(depth)
    }
}

/// What becomes of the session.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Course {
    /// In the end the network works, and the session comes to rest.
    Rests,
    /// It ends in the middle.
    Stops,
    /// The server lies.
    Hostile,
}

impl Arbitrary<'_> for Course {
    fn arbitrary(unstructured: &mut Unstructured<'_>) -> arbitrary::Result<Self> {
        // To come to rest takes longer than all else: one run of four with an honest server does.
        let byte = u8::arbitrary(unstructured)?;
        Ok(match byte & 7 {
            odd if odd & 1 == 1 => Self::Hostile,
            0 => Self::Rests,
            _ => Self::Stops,
        })
    }

    fn size_hint(depth: usize) -> (usize, Option<usize>) {
        u8::size_hint(depth)
    }
}

/// What becomes of a request.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq)]
pub(super) enum Fate {
    Done,
    /// Done, and the answer is lost.
    Unanswered,
    Lost,
    RetryAfter,
    TooLarge,
    Unauthorized,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(super) enum Line {
    Plain,
    Usage,
    Summary,
}

#[derive(Arbitrary, Clone, Debug)]
pub(super) enum Operation {
    Listen,
    /// The dial that is under way succeeds, or not.
    Dialled(bool),
    /// The next frame comes.
    Deliver,
    /// One frame is written, and arrives.
    Write,
    /// The connection breaks; the client is told, or not.
    Cut(bool),
    Posted(Fate),
    Fetched(Fate),
    Merge(bool),
    Send(Line),
    /// The user says something; the sockets are told, or not.
    Say(bool),
    Update(bool),
    /// Somebody else writes the metadata.
    Others,
    Call,
    Answer,
    KeepAlive,
    Heartbeat,
    /// So many milliseconds pass.
    Later(u16),
    /// The next deadline comes.
    Due,
    Wake,
    Reconnect,
    Resume,
    End,
    Close,
    Lie(Hostile),
}

pub(super) fn failure(fate: Fate) -> HttpFailure {
    match fate {
        Fate::Done | Fate::Unanswered | Fate::Lost => HttpFailure::Transient,
        Fate::RetryAfter => HttpFailure::RetryAfter(Duration::from_secs(3)),
        Fate::TooLarge => HttpFailure::TooLarge,
        Fate::Unauthorized => HttpFailure::Unauthorized,
    }
}
