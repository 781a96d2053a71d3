//! What an answer of Claude's has used, and the report of it.

use alloc::string::String;

use super::shape::{Field, Member, shape};
use crate::relay::raw::{Object, Raw, Text};

shape! {
    /// What one answer has used, in tokens.
    pub struct Usage {
        /// Read from the prompt.
        input_tokens: u64 = "input_tokens",
        /// Written as the answer.
        output_tokens: u64 = "output_tokens",
        /// Put into the cache.
        cache_creation_input_tokens: Option<u64> = "cache_creation_input_tokens",
        /// Taken from the cache.
        cache_read_input_tokens: Option<u64> = "cache_read_input_tokens",
        /// The tier of service.
        service_tier: Field<Text<'a>> = "service_tier",
    }
}

impl Usage<'_> {
    /// The payload of the event `usage-report`. The server keeps the last report of a session,
    /// not their sum. Costs are 0.
    #[must_use]
    pub fn report(&self, session_id: &str) -> String {
        let creation = self.cache_creation_input_tokens.unwrap_or(0);
        let read = self.cache_read_input_tokens.unwrap_or(0);
        let total = [self.output_tokens, creation, read]
            .into_iter()
            .fold(self.input_tokens, u64::saturating_add);
        let mut tokens = Object::new();
        tokens
            .member("total", &total)
            .member("input", &self.input_tokens)
            .member("output", &self.output_tokens)
            .member("cache_creation", &creation)
            .member("cache_read", &read);
        let mut report = Object::new();
        report
            .member("key", "claude-session")
            .member("sessionId", session_id)
            .member("tokens", &Raw::trusted(&tokens.finish()))
            .member("cost", &Raw::trusted(r#"{"total":0,"input":0,"output":0}"#));
        report.finish()
    }
}

/// A usage as someone reports it. One that cannot be read spoils nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reported<'a> {
    /// There is none.
    Absent,
    /// It can be read.
    Usage(Usage<'a>),
    /// It cannot.
    Unreadable(Raw<'a>),
}

impl<'a> Member<'a> for Reported<'a> {
    fn read(value: Option<Raw<'a>>) -> Option<Self> {
        Some(match value {
            None => Self::Absent,
            Some(raw) => Usage::parse(raw).map_or(Self::Unreadable(raw), Self::Usage),
        })
    }

    fn write(&self, name: &str, object: &mut Object) {
        match self {
            Self::Absent => {}
            Self::Usage(usage) => Member::write(usage, name, object),
            Self::Unreadable(raw) => Member::write(raw, name, object),
        }
    }
}
