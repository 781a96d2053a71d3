//! Frames of the subscription dialect and what they say (sessions.md §2).
//!
//! Known shapes are typed; a shape that is not known is kept as its text. Values that belong to
//! tools and models stay raw JSON, as they were written.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::json;
use crate::scan::Reader;

/// Why a message of the server is not forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NotForwarded {
    /// It is a binary message.
    Binary,
    /// It is not one JSON object.
    NotAnObject,
    /// It has no `type` that is a string.
    NoType,
}

impl fmt::Display for NotForwarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Binary => "not a text message",
            Self::NotAnObject => "not a JSON object",
            Self::NoType => "no type that is a string",
        })
    }
}

impl core::error::Error for NotForwarded {}

/// One message of the server, or one that goes to it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Frame<'a> {
    /// A control request.
    Request {
        /// Its id.
        request_id: Cow<'a, str>,
        /// What is asked.
        request: Request<'a>,
    },
    /// A request is not to be answered any more.
    Cancel {
        /// The id of the request.
        request_id: Cow<'a, str>,
    },
    /// The answer to a control request.
    Response {
        /// The id of the request.
        request_id: Cow<'a, str>,
        /// The answer.
        response: Response<'a>,
    },
    /// Nothing but a sign of life.
    KeepAlive,
    /// Any other message, and a control frame that lacks its id.
    Other,
}

impl<'a> Frame<'a> {
    /// Reads one text message. Of a member that stands there twice the last one counts.
    ///
    /// # Errors
    ///
    /// [`NotForwarded`] when it is not an object with a `type` that is a string.
    pub fn parse(text: &'a str) -> Result<Self, NotForwarded> {
        let (mut kind, mut id, mut request, mut response) = (None, None, None, None);
        let mut reader = Reader::new(text);
        reader.space();
        let read = reader.object(|reader, key| {
            let value = Some(reader.raw_value()?);
            if key.is("type") {
                kind = value;
            } else if key.is("request_id") {
                id = value;
            } else if key.is("request") {
                request = value;
            } else if key.is("response") {
                response = value;
            }
            Some(())
        });
        if read.is_none() || !reader.is_done() {
            return Err(NotForwarded::NotAnObject);
        }
        let kind = kind.filter(|raw| raw.starts_with('"'));
        let kind = kind.ok_or(NotForwarded::NoType)?;
        let id = id.and_then(json::string);
        let frame = if json::is(kind, "control_request") {
            id.zip(request.and_then(Request::read))
                .map(|(request_id, request)| Self::Request {
                    request_id,
                    request,
                })
        } else if json::is(kind, "control_cancel_request") {
            id.map(|request_id| Self::Cancel { request_id })
        } else if json::is(kind, "control_response") {
            response.and_then(Response::read)
        } else if json::is(kind, "keep_alive") {
            Some(Self::KeepAlive)
        } else {
            None
        };
        Ok(frame.unwrap_or(Self::Other))
    }
}

/// What a control request asks. Fields that are `&str` hold raw JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Request<'a> {
    /// Stop what is being done.
    Interrupt,
    /// May this tool be used?
    CanUseTool(CanUseTool<'a>),
    /// The first request of a session; the whole request, as it was written.
    Initialize(&'a str),
    /// How permissions are given from now on.
    SetPermissionMode {
        /// The mode.
        mode: Cow<'a, str>,
    },
    /// Which model answers from now on; none: the default one.
    SetModel {
        /// The model.
        model: Option<Cow<'a, str>>,
    },
    /// How much is thought at most; none: no bound.
    SetMaxThinkingTokens {
        /// The bound.
        max_thinking_tokens: Option<u64>,
    },
    /// How the MCP servers are.
    McpStatus,
    /// How full the context is.
    GetContextUsage,
    /// A hook is to be run.
    HookCallback {
        /// Which one.
        callback_id: Cow<'a, str>,
        /// Its input.
        input: &'a str,
        /// The tool that it is about.
        tool_use_id: Option<Cow<'a, str>>,
    },
    /// A message of an MCP server.
    McpMessage {
        /// The server.
        server_name: Cow<'a, str>,
        /// The message.
        message: &'a str,
    },
    /// Files are to be as they were at a message.
    RewindFiles {
        /// The message.
        user_message_id: Cow<'a, str>,
        /// Only say what would be done.
        dry_run: Option<bool>,
    },
    /// A message that waits is not to be handled.
    CancelAsyncMessage {
        /// The message.
        message_uuid: Cow<'a, str>,
    },
    /// A task is to be stopped.
    StopTask {
        /// The task.
        task_id: Cow<'a, str>,
    },
    /// What the settings are.
    GetSettings,
    /// An MCP server asks the user; the whole request, as it was written.
    Elicitation(&'a str),
    /// A subtype that is not known, or a known one of another shape.
    Unknown {
        /// The subtype.
        subtype: Cow<'a, str>,
        /// The whole request, as it was written.
        raw: &'a str,
    },
}

/// A question for permission. Fields that are `&str` hold raw JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the wire contract's own names")]
pub struct CanUseTool<'a> {
    pub tool_name: Cow<'a, str>,
    pub input: &'a str,
    pub tool_use_id: Cow<'a, str>,
    pub permission_suggestions: Option<&'a str>,
    pub blocked_path: Option<Cow<'a, str>>,
    pub decision_reason: Option<&'a str>,
    pub title: Option<Cow<'a, str>>,
    pub display_name: Option<Cow<'a, str>>,
    pub agent_id: Option<Cow<'a, str>>,
    pub description: Option<Cow<'a, str>>,
}

impl<'a> Request<'a> {
    /// Reads the object of a request; `None` when it is no object with a `subtype`.
    #[must_use]
    pub fn read(raw: &'a str) -> Option<Self> {
        let fields = Fields::read(raw)?;
        let subtype = fields.text("subtype")?;
        let known = Self::known(&subtype, &fields, raw);
        Some(known.unwrap_or(Self::Unknown { subtype, raw }))
    }

    fn known(subtype: &str, fields: &Fields<'a>, raw: &'a str) -> Option<Self> {
        Some(match subtype {
            "interrupt" => Self::Interrupt,
            "can_use_tool" => Self::CanUseTool(CanUseTool::read(fields)?),
            "initialize" => Self::Initialize(raw),
            "set_permission_mode" => Self::SetPermissionMode {
                mode: fields.text("mode")?,
            },
            "set_model" => Self::SetModel {
                model: fields.optional("model", json::string)?,
            },
            "set_max_thinking_tokens" => Self::SetMaxThinkingTokens {
                max_thinking_tokens: match fields.raw("max_thinking_tokens")? {
                    "null" => None,
                    number => Some(number.parse().ok()?),
                },
            },
            "mcp_status" => Self::McpStatus,
            "get_context_usage" => Self::GetContextUsage,
            "hook_callback" => Self::HookCallback {
                callback_id: fields.text("callback_id")?,
                input: fields.raw("input")?,
                tool_use_id: fields.optional("tool_use_id", json::string)?,
            },
            "mcp_message" => Self::McpMessage {
                server_name: fields.text("server_name")?,
                message: fields.raw("message")?,
            },
            "rewind_files" => Self::RewindFiles {
                user_message_id: fields.text("user_message_id")?,
                dry_run: fields.optional("dry_run", |raw| raw.parse().ok())?,
            },
            "cancel_async_message" => Self::CancelAsyncMessage {
                message_uuid: fields.text("message_uuid")?,
            },
            "stop_task" => Self::StopTask {
                task_id: fields.text("task_id")?,
            },
            "get_settings" => Self::GetSettings,
            "elicitation" => Self::Elicitation(raw),
            _ => return None,
        })
    }

    /// Its `subtype`.
    #[must_use]
    pub fn subtype(&self) -> &str {
        match self {
            Self::Interrupt => "interrupt",
            Self::CanUseTool(_) => "can_use_tool",
            Self::Initialize(_) => "initialize",
            Self::SetPermissionMode { .. } => "set_permission_mode",
            Self::SetModel { .. } => "set_model",
            Self::SetMaxThinkingTokens { .. } => "set_max_thinking_tokens",
            Self::McpStatus => "mcp_status",
            Self::GetContextUsage => "get_context_usage",
            Self::HookCallback { .. } => "hook_callback",
            Self::McpMessage { .. } => "mcp_message",
            Self::RewindFiles { .. } => "rewind_files",
            Self::CancelAsyncMessage { .. } => "cancel_async_message",
            Self::StopTask { .. } => "stop_task",
            Self::GetSettings => "get_settings",
            Self::Elicitation(_) => "elicitation",
            Self::Unknown { subtype, .. } => subtype,
        }
    }

    /// The whole frame that asks this under `request_id`. Raw JSON is written as it is.
    #[must_use]
    pub fn frame(&self, request_id: &str) -> String {
        let mut frame = String::from(r#"{"type":"control_request","request_id":"#);
        frame.push_str(&json::quoted(request_id));
        frame.push_str(r#","request":"#);
        match self {
            Self::Initialize(raw) | Self::Elicitation(raw) | Self::Unknown { raw, .. } => {
                frame.push_str(raw);
            }
            Self::Interrupt
            | Self::CanUseTool(_)
            | Self::SetPermissionMode { .. }
            | Self::SetModel { .. }
            | Self::SetMaxThinkingTokens { .. }
            | Self::McpStatus
            | Self::GetContextUsage
            | Self::HookCallback { .. }
            | Self::McpMessage { .. }
            | Self::RewindFiles { .. }
            | Self::CancelAsyncMessage { .. }
            | Self::StopTask { .. }
            | Self::GetSettings => {
                let mut object = Object::new();
                object.text("subtype", self.subtype());
                self.write(&mut object);
                frame.push_str(&object.end());
            }
        }
        frame.push('}');
        frame
    }

    fn write(&self, object: &mut Object) {
        match self {
            Self::CanUseTool(tool) => tool.write(object),
            Self::SetPermissionMode { mode } => object.text("mode", mode),
            Self::SetModel { model } => object.optional("model", model.as_deref()),
            Self::SetMaxThinkingTokens {
                max_thinking_tokens,
            } => match max_thinking_tokens {
                None => object.raw("max_thinking_tokens", "null"),
                Some(number) => object.raw("max_thinking_tokens", &alloc::format!("{number}")),
            },
            Self::HookCallback {
                callback_id,
                input,
                tool_use_id,
            } => {
                object.text("callback_id", callback_id);
                object.raw("input", input);
                object.optional("tool_use_id", tool_use_id.as_deref());
            }
            Self::McpMessage {
                server_name,
                message,
            } => {
                object.text("server_name", server_name);
                object.raw("message", message);
            }
            Self::RewindFiles {
                user_message_id,
                dry_run,
            } => {
                object.text("user_message_id", user_message_id);
                if let Some(dry_run) = dry_run {
                    object.raw("dry_run", if *dry_run { "true" } else { "false" });
                }
            }
            Self::CancelAsyncMessage { message_uuid } => object.text("message_uuid", message_uuid),
            Self::StopTask { task_id } => object.text("task_id", task_id),
            Self::Interrupt
            | Self::Initialize(_)
            | Self::McpStatus
            | Self::GetContextUsage
            | Self::GetSettings
            | Self::Elicitation(_)
            | Self::Unknown { .. } => {}
        }
    }
}

impl<'a> CanUseTool<'a> {
    fn read(fields: &Fields<'a>) -> Option<Self> {
        Some(Self {
            tool_name: fields.text("tool_name")?,
            input: fields.raw("input")?,
            tool_use_id: fields.text("tool_use_id")?,
            permission_suggestions: fields.raw("permission_suggestions"),
            blocked_path: fields.optional("blocked_path", json::string)?,
            decision_reason: fields.raw("decision_reason"),
            title: fields.optional("title", json::string)?,
            display_name: fields.optional("display_name", json::string)?,
            agent_id: fields.optional("agent_id", json::string)?,
            description: fields.optional("description", json::string)?,
        })
    }

    fn write(&self, object: &mut Object) {
        object.text("tool_name", &self.tool_name);
        object.raw("input", self.input);
        object.text("tool_use_id", &self.tool_use_id);
        for (name, raw) in [
            ("permission_suggestions", self.permission_suggestions),
            ("decision_reason", self.decision_reason),
        ] {
            if let Some(raw) = raw {
                object.raw(name, raw);
            }
        }
        object.optional("blocked_path", self.blocked_path.as_deref());
        object.optional("title", self.title.as_deref());
        object.optional("display_name", self.display_name.as_deref());
        object.optional("agent_id", self.agent_id.as_deref());
        object.optional("description", self.description.as_deref());
    }
}

/// The answer to a control request. Fields that are `&str` hold raw JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Response<'a> {
    /// The tool may be used, with this input.
    Allow {
        /// The input, as it was asked for or changed.
        updated_input: &'a str,
    },
    /// The tool may not be used.
    Deny {
        /// Why.
        message: Cow<'a, str>,
    },
    /// It was done; the answer is of another shape, or there is none.
    Success {
        /// The answer.
        response: Option<&'a str>,
    },
    /// It was not done.
    Error {
        /// Why.
        error: Cow<'a, str>,
    },
}

impl<'a> Response<'a> {
    fn read(raw: &'a str) -> Option<Frame<'a>> {
        let fields = Fields::read(raw)?;
        let request_id = fields.text("request_id")?;
        let response = match &*fields.text("subtype")? {
            "success" => {
                let response = fields.raw("response");
                let permission = response.and_then(Self::permission);
                permission.unwrap_or(Self::Success { response })
            }
            "error" => Self::Error {
                error: fields.text("error")?,
            },
            _ => return None,
        };
        Some(Frame::Response {
            request_id,
            response,
        })
    }

    fn permission(raw: &'a str) -> Option<Self> {
        let fields = Fields::read(raw)?;
        match (&*fields.text("behavior")?, fields.members.len()) {
            ("allow", 2) => Some(Self::Allow {
                updated_input: fields.raw("updatedInput")?,
            }),
            ("deny", 2) => Some(Self::Deny {
                message: fields.text("message")?,
            }),
            _ => None,
        }
    }

    /// The whole frame that answers `request_id` so. Raw JSON is written as it is.
    #[must_use]
    pub fn frame(&self, request_id: &str) -> String {
        let mut response = Object::new();
        let subtype = match self {
            Self::Error { .. } => "error",
            Self::Allow { .. } | Self::Deny { .. } | Self::Success { .. } => "success",
        };
        response.text("subtype", subtype);
        response.text("request_id", request_id);
        let mut permission = Object::new();
        match self {
            Self::Allow { updated_input } => {
                permission.text("behavior", "allow");
                permission.raw("updatedInput", updated_input);
                response.raw("response", &permission.end());
            }
            Self::Deny { message } => {
                permission.text("behavior", "deny");
                permission.text("message", message);
                response.raw("response", &permission.end());
            }
            Self::Success { response: None } => {}
            Self::Success {
                response: Some(raw),
            } => response.raw("response", raw),
            Self::Error { error } => response.text("error", error),
        }
        let mut frame = Object::new();
        frame.text("type", "control_response");
        frame.raw("response", &response.end());
        frame.end()
    }
}

/// The members of an object by name.
struct Fields<'a> {
    members: Vec<json::Member<'a>>,
}

impl<'a> Fields<'a> {
    fn read(raw: &'a str) -> Option<Self> {
        let mut members = Vec::new();
        json::members(raw, |member| {
            members.push(member);
            true
        })
        .ok()?;
        Some(Self { members })
    }

    fn raw(&self, name: &str) -> Option<&'a str> {
        let mut members = self.members.iter().rev();
        members
            .find(|member| json::is(member.key, name))
            .map(|member| member.value)
    }

    fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        self.raw(name).and_then(json::string)
    }

    /// A member that may be missing or null; the outer `None` says that it is of another shape.
    fn optional<T>(&self, name: &str, read: impl Fn(&'a str) -> Option<T>) -> Option<Option<T>> {
        match self.raw(name) {
            None | Some("null") => Some(None),
            Some(raw) => read(raw).map(Some),
        }
    }
}

/// An object that is being written.
struct Object {
    text: String,
}

impl Object {
    fn new() -> Self {
        Self {
            text: String::new(),
        }
    }

    fn raw(&mut self, name: &str, raw: &str) {
        self.text.push(if self.text.is_empty() { '{' } else { ',' });
        self.text.push_str(&json::quoted(name));
        self.text.push(':');
        self.text.push_str(raw);
    }

    fn text(&mut self, name: &str, text: &str) {
        self.raw(name, &json::quoted(text));
    }

    fn optional(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    fn end(mut self) -> String {
        self.text.push('}');
        self.text
    }
}
