//! What an agent says, and what happens to its session.

use alloc::string::String;

use super::shape::{Member, kinds};
use crate::relay::raw::{Object, Raw, Text};

/// A message of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AgentMessage<'a> {
    /// What it says.
    pub content: AgentContent<'a>,
    /// Its `meta`, as it is.
    pub meta: Option<Raw<'a>>,
}

kinds! {
    /// What an agent says.
    pub enum AgentContent {
        /// A line of Claude's transcript.
        Output = "output" {
            /// The line.
            data: Raw<'a> = "data",
        }
        /// A message of codex.
        Codex = "codex" {
            /// The message.
            data: Raw<'a> = "data",
        }
        /// A message of an agent that speaks the agent client protocol.
        Acp = "acp" {
            /// Whose it is: `gemini`, `codex`, `claude`, `opencode`, `openclaw`, or another.
            provider: Text<'a> = "provider",
            /// The message.
            data: AcpData<'a> = "data",
        }
        /// Something that happened to the session.
        Event = "event" {
            /// What the sender knows it by.
            id: Text<'a> = "id",
            /// What happened.
            data: SessionEvent<'a> = "data",
        }
        /// An envelope of the session protocol, wrapped once more.
        Session = "session" {
            /// The envelope.
            data: Raw<'a> = "data",
        }
    }
}

kinds! {
    /// What happened to a session.
    pub enum SessionEvent {
        /// It is controlled from elsewhere.
        Switch = "switch" {
            /// `local` or `remote`.
            mode: Text<'a> = "mode",
        }
        /// Something to tell the user.
        Message = "message" {
            /// What.
            message: Text<'a> = "message",
        }
        /// Another permission mode holds.
        PermissionModeChanged = "permission-mode-changed" {
            /// Which.
            mode: Text<'a> = "mode",
        }
        /// It waits for the user.
        Ready = "ready" {}
    }
}

kinds! {
    /// A message of the agent client protocol.
    pub enum AcpData {
        /// What the agent says to the user.
        Message = "message" {
            /// The text.
            message: Text<'a> = "message",
        }
        /// How it comes to that.
        Reasoning = "reasoning" {
            /// The text.
            message: Text<'a> = "message",
        }
        /// What it thinks.
        Thinking = "thinking" {
            /// The text.
            text: Text<'a> = "text",
        }
        /// It calls a tool.
        ToolCall = "tool-call" {
            /// What the result will refer to.
            call_id: Text<'a> = "callId",
            /// The tool.
            name: Text<'a> = "name",
            /// What the tool is called with.
            input: Raw<'a> = "input",
            /// The message's own id.
            id: Text<'a> = "id",
        }
        /// A tool has answered.
        ToolResult = "tool-result" {
            /// The call.
            call_id: Text<'a> = "callId",
            /// The answer.
            output: Raw<'a> = "output",
            /// The message's own id.
            id: Text<'a> = "id",
            /// Whether the tool failed.
            is_error: Option<bool> = "isError",
        }
        /// It edits a file.
        FileEdit = "file-edit" {
            /// What it does.
            description: Text<'a> = "description",
            /// Where.
            file_path: Text<'a> = "filePath",
            /// The change.
            diff: Option<Text<'a>> = "diff",
            /// The content before.
            old_content: Option<Text<'a>> = "oldContent",
            /// The content after.
            new_content: Option<Text<'a>> = "newContent",
            /// The message's own id.
            id: Text<'a> = "id",
        }
        /// A terminal has printed.
        TerminalOutput = "terminal-output" {
            /// What.
            data: Text<'a> = "data",
            /// The call that runs in it.
            call_id: Text<'a> = "callId",
        }
        /// A turn has begun.
        TaskStarted = "task_started" {
            /// The turn.
            id: Text<'a> = "id",
        }
        /// A turn has ended.
        TaskComplete = "task_complete" {
            /// The turn.
            id: Text<'a> = "id",
        }
        /// A turn was broken off.
        TurnAborted = "turn_aborted" {
            /// The turn.
            id: Text<'a> = "id",
        }
        /// It asks for a permission.
        PermissionRequest = "permission-request" {
            /// What the answer refers to.
            permission_id: Text<'a> = "permissionId",
            /// The tool.
            tool_name: Text<'a> = "toolName",
            /// What for.
            description: Text<'a> = "description",
            /// What there is to choose from.
            options: Option<Raw<'a>> = "options",
        }
    }
}

impl<'a> AcpData<'a> {
    /// The whole `token_count` message that it is; its members are the agent's own.
    #[must_use]
    pub fn token_count(&self) -> Option<Raw<'a>> {
        let Self::Other(raw) = self else { return None };
        raw.get("type")?.text()?.is("token_count").then_some(*raw)
    }
}

impl<'a> AgentMessage<'a> {
    /// The message that a client sends: all but session events say that they are sent from
    /// `cli`.
    #[must_use]
    pub fn new(content: AgentContent<'a>) -> Self {
        let is_event = matches!(content, AgentContent::Event { .. });
        let meta = (!is_event).then_some(Raw::trusted(r#"{"sentFrom":"cli"}"#));
        Self { content, meta }
    }

    /// Reads a message; `None` when it is no agent's.
    #[must_use]
    pub fn parse(raw: Raw<'a>) -> Option<Self> {
        let [role, content, meta] = raw.pick(["role", "content", "meta"])?;
        role?.text()?.is("agent").then_some(())?;
        Some(Self {
            content: AgentContent::parse(content?),
            meta,
        })
    }

    /// The message as JSON, ready to be sealed.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut object = Object::new();
        object.member("role", "agent");
        Member::write(&self.content, "content", &mut object);
        Member::write(&self.meta, "meta", &mut object);
        object.finish()
    }
}
