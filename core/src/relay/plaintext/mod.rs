//! What is inside the ciphertexts of a session (relay.md §5).
//!
//! Parsers give types to what they know and keep the rest raw; nothing is refused for being
//! unknown. Builders give JSON text, ready to be sealed.

mod agent;
mod claude;
mod document;
pub(crate) mod shape;
mod usage;
mod user;

pub use agent::{AcpData, AgentContent, AgentMessage, SessionEvent};
pub use claude::{AssistantMessage, ClaudeLine, ClaudeMessage, Outgoing, claude_message};
pub use document::{Completion, Document};
pub use shape::Field;
pub use usage::{Reported, Usage};
pub use user::{UserMessage, UserMeta};

use super::raw::Raw;

/// A message of a session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SessionMessage<'a> {
    /// From the user, for the agent.
    User(UserMessage<'a>),
    /// From the agent.
    Agent(AgentMessage<'a>),
    /// An envelope of the session protocol, as it is.
    Session(Raw<'a>),
    /// Anything else, as it is.
    Other(Raw<'a>),
}

impl<'a> SessionMessage<'a> {
    /// Reads a message by its `role`.
    #[must_use]
    pub fn parse(raw: Raw<'a>) -> Self {
        if let Some(message) = UserMessage::parse(raw) {
            return Self::User(message);
        }
        if let Some(message) = AgentMessage::parse(raw) {
            return Self::Agent(message);
        }
        match raw.pick(["role", "content"]) {
            Some([Some(role), Some(content)])
                if content.is_object() && role.text().is_some_and(|role| role.is("session")) =>
            {
                Self::Session(content)
            }
            Some(_) | None => Self::Other(raw),
        }
    }
}

#[cfg(test)]
mod tests;
