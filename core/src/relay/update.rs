//! What the server tells: the bodies of `update` and `ephemeral` (relay.md §2.1, §2.2), and the
//! messages that it stores. Kinds that are not known are kept as they are.

use alloc::boxed::Box;

use super::plaintext::shape::{Field, Member, kinds, shape};
use super::raw::{Object, Raw, Text};
use alloc::string::String;

shape! {
    /// The payload of the event `update`.
    pub struct Update {
        /// The update's own id.
        id: Option<Text<'a>> = "id",
        /// Its number in the account, over all kinds and sockets: of no use for finding losses.
        seq: Option<u64> = "seq",
        /// What is told.
        body: Raw<'a> = "body",
        /// When, in milliseconds of Unix time.
        created_at: Option<Raw<'a>> = "createdAt",
    }

    /// A value with its version; the value is sealed, or `null`.
    pub struct VersionedValue {
        /// The value.
        value: Field<Text<'a>> = "value",
        /// Its version.
        version: u64 = "version",
    }

    /// A message as the server stores it.
    pub struct StoredMessage {
        /// The server's id of it.
        id: Option<Raw<'a>> = "id",
        /// Its number in the session, from 1.
        seq: u64 = "seq",
        /// What it holds: see [`StoredMessage::sealed`].
        content: Raw<'a> = "content",
        /// The id that its sender gave it.
        local_id: Field<Text<'a>> = "localId",
        /// When it was stored, in milliseconds of Unix time.
        created_at: Option<Raw<'a>> = "createdAt",
    }

    /// A session as the server has it.
    pub struct SessionRow {
        /// Its id.
        id: Text<'a> = "id",
        /// The number of its last message.
        seq: Option<u64> = "seq",
        /// Its metadata, sealed.
        metadata: Field<Text<'a>> = "metadata",
        /// The version of the metadata.
        metadata_version: u64 = "metadataVersion",
        /// Its agent state, sealed.
        agent_state: Field<Text<'a>> = "agentState",
        /// The version of the agent state.
        agent_state_version: u64 = "agentStateVersion",
        /// Its key, wrapped.
        data_encryption_key: Field<Text<'a>> = "dataEncryptionKey",
        /// Whether somebody keeps it alive.
        active: Option<Raw<'a>> = "active",
    }

    /// A machine as the server has it.
    pub struct MachineRow {
        /// Its id.
        id: Text<'a> = "id",
        /// Its metadata, sealed.
        metadata: Field<Text<'a>> = "metadata",
        /// The version of the metadata.
        metadata_version: u64 = "metadataVersion",
        /// The state of its daemon, sealed.
        daemon_state: Field<Text<'a>> = "daemonState",
        /// The version of the daemon's state.
        daemon_state_version: u64 = "daemonStateVersion",
        /// Its key, wrapped.
        data_encryption_key: Field<Text<'a>> = "dataEncryptionKey",
        /// Whether somebody keeps it alive.
        active: Option<Raw<'a>> = "active",
    }
}

/// What an update tells.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Body<'a> {
    /// A message was stored.
    NewMessage {
        /// The session.
        sid: Text<'a>,
        /// The message.
        message: Box<StoredMessage<'a>>,
    },
    /// A session was made.
    NewSession(Box<SessionRow<'a>>),
    /// The metadata or the agent state of a session have changed.
    UpdateSession {
        /// The session.
        id: Text<'a>,
        /// The metadata.
        metadata: Field<VersionedValue<'a>>,
        /// The agent state.
        agent_state: Field<VersionedValue<'a>>,
    },
    /// A session was deleted.
    DeleteSession {
        /// The session.
        sid: Text<'a>,
    },
    /// A machine has changed.
    UpdateMachine {
        /// The machine.
        machine_id: Text<'a>,
        /// The metadata.
        metadata: Field<VersionedValue<'a>>,
        /// The state of the daemon.
        daemon_state: Field<VersionedValue<'a>>,
    },
    /// A machine was deleted.
    DeleteMachine {
        /// The machine.
        machine_id: Text<'a>,
    },
    /// Anything else, as it is.
    Other(Raw<'a>),
}

impl<'a> Body<'a> {
    /// Reads the body of an update by its `t`.
    #[must_use]
    pub fn parse(raw: Raw<'a>) -> Self {
        Self::read(raw).unwrap_or(Self::Other(raw))
    }

    fn read(raw: Raw<'a>) -> Option<Self> {
        let kind = raw.get("t")?.text()?;
        if kind.is("new-message") {
            let [sid, message] = raw.pick(["sid", "message"])?;
            return Some(Self::NewMessage {
                sid: sid?.text()?,
                message: Box::new(StoredMessage::parse(message?)?),
            });
        }
        if kind.is("update-session") {
            // The name of the seed's types, which no server uses, is read as well.
            let [id, sid, metadata, agent_state] =
                raw.pick(["id", "sid", "metadata", "agentState"])?;
            return Some(Self::UpdateSession {
                id: id.or(sid)?.text()?,
                metadata: Member::read(metadata)?,
                agent_state: Member::read(agent_state)?,
            });
        }
        if kind.is("new-session") {
            return SessionRow::parse(raw).map(Box::new).map(Self::NewSession);
        }
        if kind.is("delete-session") {
            let sid = raw.get("sid")?.text()?;
            return Some(Self::DeleteSession { sid });
        }
        if kind.is("update-machine") {
            let [id, metadata, state] = raw.pick(["machineId", "metadata", "daemonState"])?;
            return Some(Self::UpdateMachine {
                machine_id: id?.text()?,
                metadata: Member::read(metadata)?,
                daemon_state: Member::read(state)?,
            });
        }
        if kind.is("delete-machine") {
            let machine_id = raw.get("machineId")?.text()?;
            return Some(Self::DeleteMachine { machine_id });
        }
        None
    }
}

impl<'a> StoredMessage<'a> {
    /// The ciphertext; `None` when the content is of another kind.
    #[must_use]
    pub fn sealed(&self) -> Option<Text<'a>> {
        let [kind, sealed] = self.content.pick(["t", "c"])?;
        kind?.text()?.is("encrypted").then_some(())?;
        sealed?.text()
    }
}

kinds! {
    /// The payload of the event `ephemeral`: what is true for a while and not kept.
    pub enum Ephemeral {
        /// A session is alive, or no longer.
        Activity = "activity" {
            /// The session.
            id: Text<'a> = "id",
            /// Whether it is.
            active: bool = "active",
            /// When it was last, in milliseconds of Unix time.
            active_at: Option<Raw<'a>> = "activeAt",
            /// Whether its agent works.
            thinking: Option<bool> = "thinking",
        }
        /// A machine is alive, or no longer.
        MachineActivity = "machine-activity" {
            /// The machine.
            id: Text<'a> = "id",
            /// Whether it is.
            active: bool = "active",
            /// When it was last, in milliseconds of Unix time.
            active_at: Option<Raw<'a>> = "activeAt",
        }
        /// What a session has used.
        Usage = "usage" {
            /// The session.
            id: Text<'a> = "id",
            /// What the report is called.
            key: Text<'a> = "key",
            /// The tokens.
            tokens: Raw<'a> = "tokens",
            /// The cost.
            cost: Raw<'a> = "cost",
            /// When, in milliseconds of Unix time.
            timestamp: Option<Raw<'a>> = "timestamp",
        }
        /// A machine came or went.
        MachineStatus = "machine-status" {
            /// The machine.
            machine_id: Text<'a> = "machineId",
            /// Whether it is there.
            online: bool = "online",
            /// When, in milliseconds of Unix time.
            timestamp: Option<Raw<'a>> = "timestamp",
        }
        /// A session wants its user.
        SessionEvent = "session-event" {
            /// The session.
            session_id: Text<'a> = "sessionId",
            /// `done`, `permission` or `question`.
            kind: Text<'a> = "kind",
            /// The headline.
            title: Text<'a> = "title",
            /// The text.
            body: Text<'a> = "body",
            /// When, in milliseconds of Unix time.
            timestamp: Option<Raw<'a>> = "timestamp",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Raw<'_> {
        Raw::parse(text).unwrap_or_else(|| panic!("not JSON: {text}"))
    }

    /// Covers: R2.10, R2.11, R9.8
    #[test]
    fn updates_are_read_by_their_kind_and_others_kept() {
        let text = r#"{"id":"u","seq":9,"body":{"t":"new-message","sid":"S","message":{"id":"m","seq":3,"content":{"t":"encrypted","c":"x"},"localId":null,"createdAt":1}},"createdAt":5}"#;
        let update = Update::parse(raw(text)).unwrap();
        assert_eq!(update.seq, Some(9));
        let Body::NewMessage { sid, message } = Body::parse(update.body) else {
            panic!("{update:?}")
        };
        assert!(sid.is("S") && message.sealed().unwrap().is("x"));
        assert_eq!((message.seq, message.local_id), (3, Field::Null));
        for (id, body) in [("id", "{}"), ("sid", "null")] {
            let text = alloc::format!(
                r#"{{"t":"update-session","{id}":"S","metadata":{{"value":"x","version":2}},"agentState":null,"later":{body}}}"#
            );
            let Body::UpdateSession {
                id,
                metadata: Field::Is(metadata),
                agent_state,
            } = Body::parse(raw(&text))
            else {
                panic!("{text}")
            };
            assert!(id.is("S"));
            assert_eq!((metadata.version, agent_state), (2, Field::Null));
        }
        assert!(matches!(
            Body::parse(raw(r#"{"t":"delete-session","sid":"S"}"#)),
            Body::DeleteSession { sid } if sid.is("S")
        ));
        assert!(matches!(
            Body::parse(raw(r#"{"t":"update-machine","machineId":"M"}"#)),
            Body::UpdateMachine {
                metadata: Field::Absent,
                ..
            }
        ));
        assert!(matches!(
            Body::parse(raw(r#"{"t":"delete-machine","machineId":"M"}"#)),
            Body::DeleteMachine { machine_id } if machine_id.is("M")
        ));
        let session = r#"{"t":"new-session","id":"S","metadata":"m","metadataVersion":1,"agentState":null,"agentStateVersion":0,"dataEncryptionKey":null}"#;
        assert!(matches!(
            Body::parse(raw(session)),
            Body::NewSession(row) if row.agent_state == Field::Null
        ));
        for text in [
            "null",
            "{}",
            r#"{"t":1}"#,
            r#"{"t":"kv-batch-update","changes":[]}"#,
            r#"{"t":"new-message","message":{"seq":1,"content":{}}}"#,
            r#"{"t":"new-message","sid":1,"message":{"seq":1,"content":{}}}"#,
            r#"{"t":"update-session"}"#,
            r#"{"t":"update-session","id":1}"#,
            r#"{"t":"update-session","id":"S","agentState":1}"#,
            r#"{"t":"delete-session"}"#,
            r#"{"t":"delete-session","sid":1}"#,
            r#"{"t":"delete-machine"}"#,
            r#"{"t":"delete-machine","machineId":1}"#,
            r#"{"t":"update-machine"}"#,
            r#"{"t":"update-machine","machineId":1}"#,
            r#"{"t":"update-machine","machineId":"M","metadata":1}"#,
            r#"{"t":"update-machine","machineId":"M","daemonState":1}"#,
            r#"{"t":"new-message","sid":"S"}"#,
            r#"{"t":"new-message","sid":"S","message":{"seq":-1,"content":{}}}"#,
            r#"{"t":"update-session","id":"S","metadata":{"version":1.5}}"#,
        ] {
            assert_eq!(Body::parse(raw(text)), Body::Other(raw(text)));
        }
        for content in [
            r#"{"t":"plain","c":"x"}"#,
            r#"{"t":1,"c":"x"}"#,
            r#"{"t":"encrypted","c":1}"#,
            r#"{"t":"encrypted"}"#,
            r#"{"c":"x"}"#,
            "null",
        ] {
            let text = alloc::format!(r#"{{"seq":1,"content":{content}}}"#);
            let message = StoredMessage::parse(raw(&text)).unwrap();
            assert_eq!(message.sealed(), None, "{text}");
        }
    }

    /// Covers: R2.15, R9.8
    #[test]
    fn what_is_ephemeral_is_read_by_its_type_and_others_kept() {
        for text in [
            r#"{"type":"activity","id":"S","active":true,"activeAt":5,"thinking":false}"#,
            r#"{"type":"machine-activity","id":"M","active":true,"activeAt":5}"#,
            r#"{"type":"usage","id":"S","key":"k","tokens":{},"cost":{},"timestamp":5}"#,
            r#"{"type":"machine-status","machineId":"M","online":true,"timestamp":5}"#,
            r#"{"type":"session-event","sessionId":"S","kind":"done","title":"t","body":"b","timestamp":5}"#,
        ] {
            let ephemeral = Ephemeral::parse(raw(text));
            assert!(!matches!(ephemeral, Ephemeral::Other(_)), "{text}");
            assert_eq!(ephemeral.to_json(), text);
        }
        let later = raw(r#"{"type":"of a later day"}"#);
        assert_eq!(Ephemeral::parse(later), Ephemeral::Other(later));
    }
}
