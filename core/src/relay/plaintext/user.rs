//! What a user says, from an app or from the terminal.

use alloc::string::String;
use alloc::vec::Vec;

use super::shape::{Field, Member, shape};
use crate::relay::raw::{Object, Raw, Text};

/// A message of the user.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UserMessage<'a> {
    /// What the user says.
    pub text: Text<'a>,
    /// The key that the sender knows it by.
    pub local_key: Option<Text<'a>>,
    /// How it is to be answered.
    pub meta: Option<UserMeta<'a>>,
}

shape! {
    /// How a message of the user is to be answered.
    #[derive(Default)]
    pub struct UserMeta {
        /// Where it was sent from.
        sent_from: Option<Text<'a>> = "sentFrom",
        /// The permission mode that is to hold from here: any string.
        permission_mode: Option<Text<'a>> = "permissionMode",
        /// The model.
        model: Field<Text<'a>> = "model",
        /// The model to fall back to.
        fallback_model: Field<Text<'a>> = "fallbackModel",
        /// What replaces the system prompt.
        custom_system_prompt: Field<Text<'a>> = "customSystemPrompt",
        /// What is added to the system prompt.
        append_system_prompt: Field<Text<'a>> = "appendSystemPrompt",
        /// The tools that are allowed.
        allowed_tools: Field<Vec<Text<'a>>> = "allowedTools",
        /// The tools that are not.
        disallowed_tools: Field<Vec<Text<'a>>> = "disallowedTools",
    }
}

impl<'a> UserMessage<'a> {
    /// A message that says `text`, sent from `sent_from`.
    #[must_use]
    pub fn new(text: Text<'a>, sent_from: &str) -> Self {
        Self {
            text,
            local_key: None,
            meta: Some(UserMeta {
                sent_from: Some(Text::new(sent_from)),
                ..UserMeta::default()
            }),
        }
    }

    /// Reads a message; `None` when it is not the user's, or not of its shape.
    #[must_use]
    pub fn parse(raw: Raw<'a>) -> Option<Self> {
        let [role, content, local_key, meta] = raw.pick(["role", "content", "localKey", "meta"])?;
        let [kind, text] = content?.pick(["type", "text"])?;
        (role?.text()?.is("user") && kind?.text()?.is("text")).then_some(())?;
        Some(Self {
            text: text?.text()?,
            local_key: Member::read(local_key)?,
            meta: Member::read(meta)?,
        })
    }

    /// The message as JSON, ready to be sealed.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut content = Object::new();
        content.member("type", "text").member("text", &self.text);
        let mut object = Object::new();
        object
            .member("role", "user")
            .member("content", &Raw::trusted(&content.finish()));
        Member::write(&self.local_key, "localKey", &mut object);
        Member::write(&self.meta, "meta", &mut object);
        object.finish()
    }
}
