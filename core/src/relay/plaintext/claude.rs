//! Lines of Claude's transcript, and what a session sends for each.

use alloc::string::String;

use super::agent::{AgentContent, AgentMessage};
use super::shape::{Member, kinds, shape};
use super::usage::{Reported, Usage};
use super::user::UserMessage;
use crate::relay::raw::{Object, Raw, Text};

kinds! {
    /// A line of the transcript. Members that are not named here stand in the raw line alone.
    pub enum ClaudeLine {
        /// The user says something, or a tool answers.
        User = "user" {
            /// The line's own id.
            uuid: Text<'a> = "uuid",
            /// Whatever was said.
            message: ClaudeMessage<'a> = "message",
            /// Whether it belongs to a subagent.
            is_sidechain: Option<bool> = "isSidechain",
            /// Whether it is none of the user's words.
            is_meta: Option<bool> = "isMeta",
        }
        /// Claude says something.
        Assistant = "assistant" {
            /// The line's own id.
            uuid: Text<'a> = "uuid",
            /// What it says and has used; an error has none.
            message: Option<AssistantMessage<'a>> = "message",
        }
        /// The session got a title.
        Summary = "summary" {
            /// The title.
            summary: Text<'a> = "summary",
            /// The line that it was made for.
            leaf_uuid: Text<'a> = "leafUuid",
        }
        /// Anything of the program itself.
        System = "system" {
            /// The line's own id.
            uuid: Text<'a> = "uuid",
        }
    }
}

shape! {
    /// What a line of the user carries.
    pub struct ClaudeMessage {
        /// A string, or a list of blocks.
        content: Option<Raw<'a>> = "content",
    }

    /// What a line of Claude carries, as far as it is used here.
    pub struct AssistantMessage {
        /// The model.
        model: Option<Raw<'a>> = "model",
        /// What the answer has used.
        usage: Reported<'a> = "usage",
    }
}

/// What a session sends for one line: the message, and what follows from it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Outgoing<'a> {
    /// The message as JSON, ready to be sealed.
    pub plaintext: String,
    /// What the line has used: a usage report follows.
    pub usage: Option<Usage<'a>>,
    /// The title in the line: an update of the metadata follows.
    pub summary: Option<Text<'a>>,
}

/// What a session sends for the line `raw`, whatever it is.
///
/// The user's own words go as a message of the user, everything else as output of the agent.
#[must_use]
pub fn claude_message(raw: Raw<'_>) -> Outgoing<'_> {
    let plaintext = match own_words(raw) {
        Some(text) => UserMessage::new(text, "cli").to_json(),
        None => AgentMessage::new(AgentContent::Output { data: raw }).to_json(),
    };
    let (mut usage, mut summary) = (None, None);
    if let Some([Some(kind), message, title]) = raw.pick(["type", "message", "summary"])
        && let Some(kind) = kind.text()
    {
        if kind.is("assistant")
            && let Some(message) = message.and_then(AssistantMessage::parse)
            && let Reported::Usage(used) = message.usage
        {
            usage = Some(used);
        } else if kind.is("summary") {
            summary = title.and_then(Raw::text);
        }
    }
    Outgoing {
        plaintext,
        usage,
        summary,
    }
}

/// The string that the user typed, if the line is one.
fn own_words(raw: Raw<'_>) -> Option<Text<'_>> {
    let [kind, message, sidechain, meta] =
        raw.pick(["type", "message", "isSidechain", "isMeta"])?;
    let marked = [sidechain, meta]
        .into_iter()
        .any(|mark| mark.and_then(Raw::boolean) == Some(true));
    if marked || !kind?.text()?.is("user") {
        return None;
    }
    message?.get("content")?.text()
}
