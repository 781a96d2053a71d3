//! Whether a client may speak: the token check and its deadline (local.md §3).
//!
//! ```text
//!   Waiting { deadline } ──frame with the token──> Granted
//!        │  └── frame without it ──> NotAuthorized (every time, in either state)
//!        └── deadline ──> expired
//! ```

use super::message::Message;
use crate::limits::Limits;
use crate::time::Instant;
use crate::token::Token;

/// The frame does not present the server's token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct NotAuthorized;

/// The standing of one client. Every frame is checked, also after the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Auth {
    /// No authorised frame has come.
    Waiting {
        /// When patience ends.
        deadline: Instant,
    },
    /// An authorised frame has come.
    Granted,
}

impl Auth {
    pub(super) fn new(limits: &Limits, now: Instant) -> Self {
        Self::Waiting {
            deadline: now.after(limits.auth_timeout()),
        }
    }

    pub(super) fn handle_message(
        &mut self,
        message: &Message<'_>,
        token: &Token,
    ) -> Result<(), NotAuthorized> {
        if message.presents(|presented| token.verify(presented)) {
            *self = Self::Granted;
            Ok(())
        } else {
            Err(NotAuthorized)
        }
    }

    pub(super) const fn is_granted(self) -> bool {
        matches!(self, Self::Granted)
    }

    pub(super) const fn poll_timeout(self) -> Option<Instant> {
        match self {
            Self::Waiting { deadline } => Some(deadline),
            Self::Granted => None,
        }
    }

    pub(super) fn is_expired(self, now: Instant) -> bool {
        self.poll_timeout().is_some_and(|deadline| now >= deadline)
    }
}
