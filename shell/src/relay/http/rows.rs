//! What the server's answers hold. Ciphertexts are in base64, as the server has them.

use hallway_core::relay::raw::Raw;

/// A session as the server has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRow {
    /// Its id.
    pub id: String,
    /// The number of its last message.
    pub seq: u64,
    /// Its metadata, sealed.
    pub metadata: String,
    /// The version of that.
    pub metadata_version: u64,
    /// The agent's state, sealed; none when there is none.
    pub agent_state: Option<String>,
    /// The version of that.
    pub agent_state_version: u64,
    /// Its key, boxed to the account; none in the legacy variant.
    pub data_key: Option<String>,
    /// Whether somebody keeps it alive.
    pub active: bool,
    /// When it last was, in milliseconds since 1970.
    pub active_at: u64,
    /// All of it, as the server wrote it.
    pub raw: String,
}

impl SessionRow {
    pub(super) fn read(raw: Raw<'_>) -> Option<Self> {
        let [
            id,
            seq,
            metadata,
            metadata_version,
            state,
            state_version,
            key,
            active,
            active_at,
        ] = raw.pick([
            "id",
            "seq",
            "metadata",
            "metadataVersion",
            "agentState",
            "agentStateVersion",
            "dataEncryptionKey",
            "active",
            "activeAt",
        ])?;
        Some(Self {
            id: string(id)?,
            seq: seq?.unsigned()?,
            metadata: string(metadata)?,
            metadata_version: metadata_version?.unsigned()?,
            agent_state: string(state),
            agent_state_version: state_version?.unsigned()?,
            data_key: string(key),
            active: active.and_then(Raw::boolean).unwrap_or_default(),
            active_at: active_at.and_then(Raw::unsigned).unwrap_or_default(),
            raw: raw.as_str().to_owned(),
        })
    }
}

/// A session to be made.
#[derive(Clone, Copy, Debug)]
pub struct NewSession<'a> {
    /// What identifies it: with a tag that is there already, that session is given.
    pub tag: &'a str,
    /// Its metadata, sealed.
    pub metadata: &'a str,
    /// Its key, boxed to the account; none in the legacy variant.
    pub data_key: Option<&'a str>,
}

/// A machine to be made known.
#[derive(Clone, Copy, Debug)]
pub struct Machine<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its metadata, sealed.
    pub metadata: &'a str,
    /// Its key, boxed to the account; none in the legacy variant.
    pub data_key: Option<&'a str>,
}

/// A machine as the server has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineRow {
    /// Its id.
    pub id: String,
    /// Its metadata, sealed.
    pub metadata: String,
    /// The version of that.
    pub metadata_version: u64,
    /// The state of its daemon, sealed; none when there is none.
    pub daemon_state: Option<String>,
    /// The version of that.
    pub daemon_state_version: u64,
    /// Whether somebody keeps it alive.
    pub active: bool,
    /// When it last was, in milliseconds since 1970.
    pub active_at: u64,
    /// All of it, as the server wrote it.
    pub raw: String,
}

impl MachineRow {
    pub(super) fn read(raw: Raw<'_>) -> Option<Self> {
        let [
            id,
            metadata,
            version,
            state,
            state_version,
            active,
            active_at,
        ] = raw.pick([
            "id",
            "metadata",
            "metadataVersion",
            "daemonState",
            "daemonStateVersion",
            "active",
            "activeAt",
        ])?;
        Some(Self {
            id: string(id)?,
            metadata: string(metadata)?,
            metadata_version: version?.unsigned()?,
            daemon_state: string(state),
            daemon_state_version: state_version?.unsigned()?,
            active: active.and_then(Raw::boolean).unwrap_or_default(),
            active_at: active_at.and_then(Raw::unsigned).unwrap_or_default(),
            raw: raw.as_str().to_owned(),
        })
    }
}

/// How far a pairing is, as the terminal sees it.
#[derive(Debug)]
pub enum Pairing {
    /// Nobody has approved it.
    Requested,
    /// It is approved.
    Authorized {
        /// The bearer token.
        token: crate::net::AccessToken,
        /// The boxed answer, for `pairing::Answer::open` of the core.
        response: String,
    },
}

/// How far a pairing is, as whoever approves it sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairingStatus {
    /// No terminal asks with this key.
    NotFound,
    /// A terminal asks; and whether it takes the answer of the dataKey variant.
    Pending {
        /// It does.
        takes_data_key: bool,
    },
    /// It is approved.
    Authorized,
}

/// A string member; `None` also when it is null or nothing that can be read.
pub(super) fn string(raw: Option<Raw<'_>>) -> Option<String> {
    Some(raw?.text()?.to_unicode()?.into_owned())
}
