//! Metadata and agent state: objects that many write, each its own members.

use alloc::string::String;

use super::shape::{Member, shape};
use crate::json;
use crate::relay::raw::{Object, Raw, Text};
use crate::time::UnixTime;

/// An object of which some members are set and all others stay as they were written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Document(String);

impl Default for Document {
    fn default() -> Self {
        Self(String::from("{}"))
    }
}

shape! {
    /// How a request for a permission ended.
    pub struct Completion {
        /// `canceled`, `denied` or `approved`.
        status: Text<'a> = "status",
        /// Why.
        reason: Option<Text<'a>> = "reason",
        /// The permission mode that came with it.
        mode: Option<Text<'a>> = "mode",
        /// What the user chose.
        decision: Option<Text<'a>> = "decision",
        /// The tools that are allowed from there on.
        allow_tools: Option<Raw<'a>> = "allowTools",
    }
}

impl Document {
    /// Takes the object `raw`; `None` when it is none, which must never be written back.
    #[must_use]
    pub fn parse(raw: Raw<'_>) -> Option<Self> {
        raw.pick([])?;
        Some(Self(String::from(raw.as_str())))
    }

    /// The object.
    #[must_use]
    pub fn raw(&self) -> Raw<'_> {
        Raw::trusted(&self.0)
    }

    /// The member called `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Raw<'_>> {
        self.raw().get(name)
    }

    /// Sets the member called `name`, in its place or at the end.
    pub fn set(&mut self, name: &str, value: Raw<'_>) -> &mut Self {
        self.replace(name, Some(value))
    }

    /// Removes the member called `name`.
    pub fn remove(&mut self, name: &str) -> &mut Self {
        self.replace(name, None)
    }

    /// Metadata: the session's title.
    pub fn set_summary(&mut self, text: &Text<'_>, now: UnixTime) -> &mut Self {
        let mut summary = Object::new();
        summary
            .member("text", text)
            .member("updatedAt", &now.as_millis());
        self.set("summary", Raw::trusted(&summary.finish()))
    }

    /// Metadata: whether the session is `running`, `archiveRequested` or `archived`.
    pub fn set_lifecycle(&mut self, state: &str, now: UnixTime) -> &mut Self {
        let mut since = String::new();
        crate::relay::raw::display(&now.as_millis(), &mut since);
        self.set("lifecycleState", Text::new(state).raw())
            .set("lifecycleStateSince", Raw::trusted(&since))
    }

    /// Agent state: whether the user at the terminal controls the session.
    pub fn set_controlled_by_user(&mut self, controlled: bool) -> &mut Self {
        let value = if controlled { "true" } else { "false" };
        self.set("controlledByUser", Raw::trusted(value))
    }

    /// Agent state: a tool waits for a permission.
    pub fn add_request(
        &mut self,
        id: &str,
        tool: &str,
        arguments: Raw<'_>,
        now: UnixTime,
    ) -> &mut Self {
        let mut request = Object::new();
        request
            .member("tool", tool)
            .member("arguments", &arguments)
            .member("createdAt", &now.as_millis());
        let mut requests = self.inner("requests");
        requests.set(id, Raw::trusted(&request.finish()));
        self.set("requests", requests.raw())
    }

    /// Agent state: the request `id` has ended. It keeps what was asked; a request that is not
    /// there leaves the state as it is, which the answer says.
    pub fn complete_request(&mut self, id: &str, how: &Completion<'_>, now: UnixTime) -> bool {
        let mut requests = self.inner("requests");
        let Some(mut request) = requests.get(id).and_then(Self::parse) else {
            return false;
        };
        let ending = how.to_json();
        let members = Raw::trusted(&ending).each_member(|member| {
            if let Some(name) = json::string(member.key) {
                request.set(&name, Raw::trusted(member.value));
            }
        });
        debug_assert!(members.is_some());
        let mut at = String::new();
        crate::relay::raw::display(&now.as_millis(), &mut at);
        request.set("completedAt", Raw::trusted(&at));
        requests.remove(id);
        let mut completed = self.inner("completedRequests");
        completed.set(id, request.raw());
        self.set("requests", requests.raw())
            .set("completedRequests", completed.raw());
        true
    }

    /// The object that a member is, or an empty one.
    fn inner(&self, name: &str) -> Self {
        self.get(name).and_then(Self::parse).unwrap_or_default()
    }

    fn replace(&mut self, name: &str, mut value: Option<Raw<'_>>) -> &mut Self {
        let mut object = Object::new();
        let walked = self.raw().each_member(|member| {
            if !json::is(member.key, name) {
                object.member_raw(member.key, &Raw::trusted(member.value));
            } else if let Some(value) = value.take() {
                object.member_raw(member.key, &value);
            }
        });
        debug_assert!(walked.is_some());
        Member::write(&value, name, &mut object);
        self.0 = object.finish();
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(text: &str) -> Document {
        Document::parse(Raw::parse(text).unwrap()).unwrap()
    }

    fn at(millis: u64) -> UnixTime {
        UnixTime::from_millis(millis).unwrap()
    }

    /// Covers: R5.8
    #[test]
    fn what_is_not_set_stays_as_it_was_written() {
        let mut doc = document(r#"{"a":1e999,"\ud800":"\udc00", "b":[ 1 ],"a":2}"#);
        doc.set("b", Raw::NULL).set("c", Raw::EMPTY_OBJECT);
        assert_eq!(
            doc.raw().as_str(),
            r#"{"a":1e999,"\ud800":"\udc00","b":null,"a":2,"c":{}}"#
        );
        doc.set("a", Raw::trusted("3"));
        assert_eq!(doc.get("a").unwrap().as_str(), "3");
        doc.remove("a").remove("b").remove("nothing");
        assert_eq!(doc.raw().as_str(), r#"{"\ud800":"\udc00","c":{}}"#);
        for text in ["null", "[]", "1"] {
            assert_eq!(Document::parse(Raw::parse(text).unwrap()), None);
        }
        assert_eq!(Document::default().remove("a").raw().as_str(), "{}");
        let mut doc = document("{}");
        doc.set_controlled_by_user(true);
        assert_eq!(doc.raw().as_str(), r#"{"controlledByUser":true}"#);
        doc.set_controlled_by_user(false);
        assert_eq!(doc.raw().as_str(), r#"{"controlledByUser":false}"#);
    }

    #[test]
    fn titles_and_lifecycles_are_set() {
        let mut doc = document(r#"{"path":"/w"}"#);
        doc.set_summary(&Text::new("Sum"), at(5))
            .set_lifecycle("archived", at(6));
        assert_eq!(
            doc.raw().as_str(),
            r#"{"path":"/w","summary":{"text":"Sum","updatedAt":5},"lifecycleState":"archived","lifecycleStateSince":6}"#
        );
    }

    /// Covers: R5.9
    #[test]
    fn requests_move_when_they_end() {
        let mut doc = Document::default();
        doc.set_controlled_by_user(false)
            .add_request("r1", "Bash", Raw::trusted("[1]"), at(1))
            .add_request("r2", "Edit", Raw::NULL, at(2));
        let denied = Completion {
            status: Text::new("denied"),
            reason: Some(Text::new("no")),
            mode: None,
            decision: None,
            allow_tools: None,
        };
        assert!(!doc.complete_request("r3", &denied, at(9)));
        assert!(doc.complete_request("r1", &denied, at(3)));
        assert!(!doc.complete_request("r1", &denied, at(4)));
        assert_eq!(
            doc.raw().as_str(),
            concat!(
                r#"{"controlledByUser":false,"requests":{"r2":{"tool":"Edit","arguments":null,"createdAt":2}},"#,
                r#""completedRequests":{"r1":{"tool":"Bash","arguments":[1],"createdAt":1,"status":"denied","reason":"no","completedAt":3}}}"#
            )
        );
    }
}
