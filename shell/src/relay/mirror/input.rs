//! What the local side says: one JSON object a line, by its `kind`.

use std::collections::BTreeMap;

use hallway_core::relay::client::{Change, Target};
use hallway_core::relay::plaintext::Document;
use hallway_core::relay::raw::{Raw, Text};
use hallway_core::relay::rpc;
use serde_json::value::RawValue;

/// One thing that the local side says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// `{"kind":"claude","line":{…}}`: a line of Claude's transcript.
    Claude(String),
    /// `{"kind":"codex","data":…}`, `{"kind":"acp","provider":"…","data":…}` or
    /// `{"kind":"event","id":"…","data":…}`: a message of an agent, whole.
    Agent(String),
    /// `{"kind":"message","message":…}`: any plaintext.
    Message(String),
    /// `{"kind":"metadata"|"state","set":{…},"remove":[…]}`; the state also `"clear":true`.
    Change {
        /// Which value.
        target: Target,
        /// What becomes of it.
        change: Edit,
    },
    /// `{"kind":"alive","thinking":true,"mode":"remote"}`: what the signs of life say.
    Alive {
        /// Whether the agent thinks.
        thinking: Option<bool>,
        /// `local` or `remote`.
        mode: Option<String>,
    },
    /// `{"kind":"usage","usage":{"input_tokens":1,"output_tokens":2}}`: what was used, without a
    /// message.
    Usage(String),
    /// `{"kind":"answer","id":"call-1","result":…}`, or `"error":"…"`.
    Answer {
        /// The call.
        id: String,
        /// The plaintext of the answer.
        result: String,
    },
    /// `{"kind":"end"}`
    End,
}

/// An edit of a value: members that are set and removed, or all of it cleared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edit {
    set: Vec<(String, String)>,
    remove: Vec<String>,
    clear: bool,
}

impl Edit {
    /// What it makes of a value; without one it starts from an empty object.
    #[must_use]
    pub fn apply(&self, value: Option<&Document>) -> Change {
        if self.clear {
            return Change::Clear;
        }
        let empty = || Document::parse(Raw::EMPTY_OBJECT);
        let Some(mut document) = value.cloned().or_else(empty) else {
            return Change::Keep;
        };
        for (name, value) in &self.set {
            if let Some(value) = Raw::parse(value) {
                document.set(name, value);
            }
        }
        for name in &self.remove {
            document.remove(name);
        }
        Change::Write(document)
    }
}

impl Input {
    /// Reads a line.
    ///
    /// # Errors
    ///
    /// What is wrong, in words.
    pub fn parse(line: &str) -> Result<Self, String> {
        let no_object = || "it is no JSON object with a kind".to_owned();
        let raw = Raw::parse(line).ok_or_else(no_object)?;
        let kind = raw.get("kind").and_then(Raw::text).ok_or_else(no_object)?;
        let kind = kind.to_lossy();
        let member = |name: &str| {
            raw.get(name)
                .ok_or_else(|| format!("a line of kind {kind} needs {name:?}"))
        };
        let text = |name: &str| {
            let text = member(name)?.text();
            let text = text.ok_or_else(|| format!("{name:?} must be a string"))?;
            Ok::<_, String>(text.to_lossy().into_owned())
        };
        Ok(match &*kind {
            "claude" => Self::Claude(member("line")?.as_str().to_owned()),
            "codex" => Self::Agent(agent("codex", None, member("data")?)),
            "acp" => {
                let provider = Text::new(&text("provider")?);
                Self::Agent(agent("acp", Some(("provider", provider)), member("data")?))
            }
            "event" => {
                let id = Text::new(&text("id")?);
                Self::Agent(agent("event", Some(("id", id)), member("data")?))
            }
            "message" => Self::Message(member("message")?.as_str().to_owned()),
            "metadata" => Self::Change {
                target: Target::Metadata,
                change: edit(raw, false)?,
            },
            "state" => Self::Change {
                target: Target::State,
                change: edit(raw, true)?,
            },
            "alive" => Self::Alive {
                thinking: raw.get("thinking").and_then(Raw::boolean),
                mode: raw
                    .get("mode")
                    .is_some()
                    .then(|| text("mode"))
                    .transpose()?,
            },
            "usage" => Self::Usage(member("usage")?.as_str().to_owned()),
            "answer" => Self::Answer {
                id: text("id")?,
                result: match raw.get("error") {
                    Some(_) => rpc::error(&text("error")?),
                    None => member("result")?.as_str().to_owned(),
                },
            },
            "end" => Self::End,
            other => return Err(format!("the kind {other:?} is not known")),
        })
    }
}

/// The message of an agent as the core reads it.
fn agent(kind: &str, extra: Option<(&str, Text<'_>)>, data: Raw<'_>) -> String {
    let extra = extra.map(|(name, value)| format!("\"{name}\":{},", value.raw().as_str()));
    format!(
        r#"{{"role":"agent","content":{{"type":"{kind}",{}"data":{}}}}}"#,
        extra.unwrap_or_default(),
        data.as_str()
    )
}

fn edit(raw: Raw<'_>, may_clear: bool) -> Result<Edit, String> {
    let clear = raw.get("clear").and_then(Raw::boolean).unwrap_or_default();
    if clear && !may_clear {
        return Err("metadata cannot be cleared".to_owned());
    }
    let set: BTreeMap<String, Box<RawValue>> = match raw.get("set") {
        Some(set) => serde_json::from_str(set.as_str())
            .map_err(|_| "\"set\" must be an object".to_owned())?,
        None => BTreeMap::new(),
    };
    let remove: Vec<String> = match raw.get("remove") {
        Some(names) => serde_json::from_str(names.as_str())
            .map_err(|_| "\"remove\" must be an array of strings".to_owned())?,
        None => Vec::new(),
    };
    let edit = Edit {
        set: set
            .into_iter()
            .map(|(name, value)| (name, value.get().to_owned()))
            .collect(),
        remove,
        clear,
    };
    if edit == Edit::default() {
        return Err("nothing is set, removed or cleared".to_owned());
    }
    Ok(edit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_read() {
        for (line, input) in [
            (r#"{"kind":"claude","line":{"type":"x"}}"#, Input::Claude(r#"{"type":"x"}"#.to_owned())),
            (
                r#"{"kind":"acp","provider":"a\"b","data":{"type":"message"}}"#,
                Input::Agent(r#"{"role":"agent","content":{"type":"acp","provider":"a\"b","data":{"type":"message"}}}"#.to_owned()),
            ),
            (
                r#"{"kind":"answer","id":"call-1","error":"no"}"#,
                Input::Answer { id: "call-1".to_owned(), result: r#"{"error":"no"}"#.to_owned() },
            ),
            (r#"{"kind":"alive","thinking":true}"#, Input::Alive { thinking: Some(true), mode: None }),
            (r#"{"kind":"message","message":"\ud800"}"#, Input::Message(r#""\ud800""#.to_owned())),
            (r#"{"kind":"usage","usage":{}}"#, Input::Usage("{}".to_owned())),
            (r#"{"kind":"end"}"#, Input::End),
        ] {
            assert_eq!(Input::parse(line), Ok(input), "{line}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        for line in [
            "",
            "[]",
            "{}",
            r#"{"kind":7}"#,
            r#"{"kind":"other"}"#,
            r#"{"kind":"claude"}"#,
            r#"{"kind":"acp","data":{}}"#,
            r#"{"kind":"state"}"#,
            r#"{"kind":"state","set":[]}"#,
            r#"{"kind":"metadata","clear":true}"#,
            r#"{"kind":"alive","mode":7}"#,
            r#"{"kind":"usage"}"#,
            r#"{"kind":"answer","id":"x"}"#,
        ] {
            assert!(Input::parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn an_edit_keeps_what_it_does_not_name() {
        let line = r#"{"kind":"state","set":{"a":1e2},"remove":["b"]}"#;
        let Ok(Input::Change { change, target }) = Input::parse(line) else {
            panic!("it is a change");
        };
        assert_eq!(target, Target::State);
        let before = Raw::parse(r#"{"b":1,"z":"\ud800"}"#).and_then(Document::parse);
        let Change::Write(after) = change.apply(before.as_ref()) else {
            panic!("it writes");
        };
        assert_eq!(after.raw().as_str(), r#"{"z":"\ud800","a":1e2}"#);
        let Change::Write(fresh) = change.apply(None) else {
            panic!("it writes");
        };
        assert_eq!(fresh.raw().as_str(), r#"{"a":1e2}"#);
    }
}
