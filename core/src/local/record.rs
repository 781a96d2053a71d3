//! Registry entries: who is there, and whether it still is (local.md §2, §5.14).
//!
//! A record is read as its writer left it: every member is kept, in order and as raw text, so
//! that printing a record gives back what was read. The members that hallway interprets are
//! decoded when asked for.

use alloc::borrow::Cow;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::json;
use crate::time::UnixTime;

/// Why a registry entry is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RecordError {
    /// It is longer than [`Record::MAX_BYTES`].
    TooLong,
    /// It is not UTF-8, or not one JSON object.
    NotAnObject,
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "the registry entry is longer than 65536 bytes",
            Self::NotAnObject => "the registry entry is not one JSON object",
        })
    }
}

impl core::error::Error for RecordError {}

/// What kind of session a record announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SessionKind {
    /// Somebody sits before it.
    Interactive,
    /// In the background.
    Background,
    /// A daemon.
    Daemon,
    /// A daemon's worker.
    DaemonWorker,
}

impl SessionKind {
    /// Its text in a record.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Background => "bg",
            Self::Daemon => "daemon",
            Self::DaemonWorker => "daemon-worker",
        }
    }
}

/// A registry entry: the content of `<config>/sessions/<pid>.json`.
///
/// The last of duplicate members counts, as for every reader of the dialect.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    pid: u32,
    /// Raw keys (with quotes) and raw values.
    members: Vec<(String, String)>,
}

/// What the system says about the process that a record names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Process {
    /// There is none of that pid, or it is a zombie.
    Gone,
    /// There is one.
    Running {
        /// Its user.
        uid: u32,
        /// When it started, by a wall clock that may have been set since.
        started_at: Option<UnixTime>,
        /// What names this start of it for ever, in the format of `processStart`.
        start_id: Option<String>,
    },
    /// The system does not say.
    Unknown,
}

/// Whether the session that a record announces is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Liveness {
    /// The very process that wrote the record runs.
    Live,
    /// A process of that pid runs, and nothing tells whether it is the same one: only its
    /// socket can.
    Doubtful,
    /// Another process has its pid.
    Recycled,
    /// Its process has ended.
    Gone,
    /// A process of another user has its pid.
    Foreign,
}

/// How much later than its record a process may seem to have started: clocks are read at
/// different times, and start times are rounded.
const START_TOLERANCE: Duration = Duration::from_secs(2);

impl Record {
    /// The longest entry that is read, in bytes.
    pub const MAX_BYTES: usize = 65_536;

    /// An entry with no member but its `pid`.
    #[must_use]
    pub fn new(pid: u32) -> Self {
        let mut record = Self {
            pid,
            members: Vec::new(),
        };
        record.set_raw("pid", pid.to_string());
        record
    }

    /// Reads the entry of the process `pid`. The pid is that of the file's name, whatever the
    /// entry says.
    ///
    /// # Errors
    ///
    /// [`RecordError`].
    pub fn parse(pid: u32, bytes: &[u8]) -> Result<Self, RecordError> {
        if bytes.len() > Self::MAX_BYTES {
            return Err(RecordError::TooLong);
        }
        let text = core::str::from_utf8(bytes).map_err(|_| RecordError::NotAnObject)?;
        let mut members = Vec::new();
        json::members(text, |member| {
            members.push((member.key.to_string(), member.value.to_string()));
            true
        })
        .map_err(|_| RecordError::NotAnObject)?;
        Ok(Self { pid, members })
    }

    /// The entry as one line of JSON, without newline.
    #[must_use]
    pub fn print(&self) -> String {
        let mut text = String::from("{");
        for (key, value) in &self.members {
            if text.len() > 1 {
                text.push(',');
            }
            text.push_str(key);
            text.push(':');
            text.push_str(value);
        }
        text.push('}');
        text
    }

    /// The process.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// The session's id.
    #[must_use]
    pub fn session_id(&self) -> Option<Cow<'_, str>> {
        self.text("sessionId")
    }

    /// The session's working directory.
    #[must_use]
    pub fn cwd(&self) -> Option<Cow<'_, str>> {
        self.text("cwd")
    }

    /// When the session started.
    #[must_use]
    pub fn started_at(&self) -> Option<UnixTime> {
        let millis = self.raw("startedAt")?.parse().ok()?;
        UnixTime::from_millis(millis)
    }

    /// The session's kind, as its writer spells it.
    #[must_use]
    pub fn kind(&self) -> Option<Cow<'_, str>> {
        self.text("kind")
    }

    /// The program that wrote the entry.
    #[must_use]
    pub fn entrypoint(&self) -> Option<Cow<'_, str>> {
        self.text("entrypoint")
    }

    /// Where the session listens.
    #[must_use]
    pub fn socket_path(&self) -> Option<Cow<'_, str>> {
        self.text("messagingSocketPath")
    }

    /// The session's name.
    #[must_use]
    pub fn name(&self) -> Option<Cow<'_, str>> {
        self.text("name")
    }

    /// What names the start of its process for ever: `<boot id>:<start time in ticks>`. Only
    /// hallway writes it.
    #[must_use]
    pub fn process_start(&self) -> Option<Cow<'_, str>> {
        self.text("processStart")
    }

    /// The raw JSON of any member.
    #[must_use]
    pub fn raw(&self, name: &str) -> Option<&str> {
        let named = self
            .members
            .iter()
            .rev()
            .find(|(key, _)| json::is(key, name));
        named.map(|(_, value)| value.as_str())
    }

    /// Sets a member to a string, in its place or at the end.
    pub fn set_text(&mut self, name: &str, value: &str) {
        self.set_raw(name, json::quoted(value));
    }

    /// Sets a member to a number, in its place or at the end.
    pub fn set_number(&mut self, name: &str, value: u64) {
        self.set_raw(name, value.to_string());
    }

    fn set_raw(&mut self, name: &str, value: String) {
        match self
            .members
            .iter_mut()
            .rev()
            .find(|(key, _)| json::is(key, name))
        {
            Some((_, old)) => *old = value,
            None => self.members.push((json::quoted(name), value)),
        }
    }

    fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        json::string(self.raw(name)?)
    }

    /// Decides from what the system says whether the announced session is there.
    ///
    /// The start identity decides where both sides know it. Else the wall clock can only acquit:
    /// a process that seems younger than its record is doubtful, because the clock may have
    /// been set in between.
    #[must_use]
    pub fn liveness(&self, process: &Process, own_uid: u32) -> Liveness {
        let (started_at, start_id) = match process {
            Process::Gone => return Liveness::Gone,
            Process::Unknown => return Liveness::Doubtful,
            Process::Running { uid, .. } if *uid != own_uid => return Liveness::Foreign,
            Process::Running {
                started_at,
                start_id,
                ..
            } => (started_at, start_id),
        };
        if let (Some(recorded), Some(actual)) = (self.process_start(), start_id) {
            return if recorded == actual.as_str() {
                Liveness::Live
            } else {
                Liveness::Recycled
            };
        }
        match (self.started_at(), started_at) {
            (Some(recorded), Some(actual)) if actual.since(recorded) <= START_TOLERANCE => {
                Liveness::Live
            }
            _ => Liveness::Doubtful,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    fn running(uid: u32, started_at: Option<u64>, start_id: Option<&str>) -> Process {
        Process::Running {
            uid,
            started_at: started_at.and_then(UnixTime::from_millis),
            start_id: start_id.map(String::from),
        }
    }

    /// Covers: L2.22
    #[test]
    fn what_was_read_is_printed_back() {
        let text = r#"{"pid":7,"name":"\ud83d","later":{"a":[1e999]},"x":1,"x":2,"status":null}"#;
        let record = Record::parse(9, text.as_bytes()).unwrap();
        assert_eq!(record.print(), text);
        assert_eq!(record.pid(), 9, "the file's name counts");
        assert_eq!(record.raw("x"), Some("2"), "the last duplicate counts");
        assert_eq!(record.name(), None, "a name that is no Unicode is no name");
        assert_eq!(record.raw("absent"), None);
    }

    /// Covers: L2.19
    #[test]
    fn a_record_of_ours_has_the_contract_keys_in_order() {
        let mut record = Record::new(7);
        record.set_text("sessionId", "s-1");
        record.set_text("cwd", "/a \"b\"");
        record.set_number("startedAt", 1_767_323_045_678);
        record.set_text("kind", SessionKind::Daemon.as_str());
        record.set_text("entrypoint", "hallway");
        record.set_text("messagingSocketPath", "/s");
        record.set_text("name", "old");
        record.set_text("processStart", "b:1");
        record.set_text("name", "new");
        assert_eq!(
            record.print(),
            concat!(
                r#"{"pid":7,"sessionId":"s-1","cwd":"/a \"b\"","startedAt":1767323045678,"#,
                r#""kind":"daemon","entrypoint":"hallway","messagingSocketPath":"/s","name":"new","#,
                r#""processStart":"b:1"}"#
            )
        );
        let read = Record::parse(7, record.print().as_bytes()).unwrap();
        assert_eq!(read, record);
        assert_eq!(read.session_id().as_deref(), Some("s-1"));
        assert_eq!(read.cwd().as_deref(), Some("/a \"b\""));
        assert_eq!(
            read.started_at().map(UnixTime::as_millis),
            Some(1_767_323_045_678)
        );
        assert_eq!(read.kind().as_deref(), Some("daemon"));
        assert_eq!(read.entrypoint().as_deref(), Some("hallway"));
        assert_eq!(read.socket_path().as_deref(), Some("/s"));
        assert_eq!(read.name().as_deref(), Some("new"));
        assert_eq!(read.process_start().as_deref(), Some("b:1"));
        assert_eq!(Record::new(1).print(), r#"{"pid":1}"#);
    }

    #[test]
    fn members_of_the_wrong_kind_are_absent() {
        let text = r#"{"sessionId":7,"startedAt":"1","name":null,"messagingSocketPath":["/s"]}"#;
        let record = Record::parse(1, text.as_bytes()).unwrap();
        assert_eq!(record.session_id(), None);
        assert_eq!(record.started_at(), None);
        assert_eq!(record.name(), None);
        assert_eq!(record.socket_path(), None);
        for number in ["-1", "1.5", "1e3", "99999999999999999999"] {
            let text = format!(r#"{{"startedAt":{number}}}"#);
            assert_eq!(
                Record::parse(1, text.as_bytes()).unwrap().started_at(),
                None
            );
        }
    }

    #[test]
    fn rubbish_is_refused() {
        for bytes in [&b""[..], b"null", b"[]", b"{", b"\xff", b"{}x"] {
            assert_eq!(Record::parse(1, bytes), Err(RecordError::NotAnObject));
        }
        let mut long = format!("{{{}}}", " ".repeat(65_534));
        assert!(Record::parse(1, long.as_bytes()).is_ok());
        long.push(' ');
        assert_eq!(Record::parse(1, long.as_bytes()), Err(RecordError::TooLong));
        assert!(format!("{}", RecordError::TooLong).contains("65536"));
        assert!(format!("{}", RecordError::NotAnObject).contains("object"));
    }

    #[test]
    fn liveness_follows_the_facts() {
        let mut record = Record::new(7);
        let live = |record: &Record, process: &Process| record.liveness(process, 1_000);
        assert_eq!(live(&record, &Process::Gone), Liveness::Gone);
        assert_eq!(live(&record, &Process::Unknown), Liveness::Doubtful);
        assert_eq!(live(&record, &running(0, None, None)), Liveness::Foreign);
        assert_eq!(
            live(&record, &running(1_000, Some(5), Some("b:1"))),
            Liveness::Doubtful
        );

        record.set_number("startedAt", 100_000);
        for (started, expected) in [
            (0, Liveness::Live),
            (100_000, Liveness::Live),
            (102_000, Liveness::Live),
            (102_001, Liveness::Doubtful),
        ] {
            assert_eq!(
                live(&record, &running(1_000, Some(started), None)),
                expected
            );
        }
        assert_eq!(
            live(&record, &running(1_000, None, Some("b:1"))),
            Liveness::Doubtful
        );

        record.set_text("processStart", "b:1");
        assert_eq!(
            live(&record, &running(1_000, Some(900_000), Some("b:1"))),
            Liveness::Live
        );
        assert_eq!(
            live(&record, &running(1_000, Some(0), Some("b:2"))),
            Liveness::Recycled
        );
        assert_eq!(
            live(&record, &running(1_000, Some(0), None)),
            Liveness::Live
        );
        assert_eq!(
            live(&record, &running(0, Some(0), Some("b:1"))),
            Liveness::Foreign
        );
    }

    /// Covers: L2.20
    #[test]
    fn kinds_have_their_contract_texts() {
        let kinds = [
            SessionKind::Interactive,
            SessionKind::Background,
            SessionKind::Daemon,
            SessionKind::DaemonWorker,
        ];
        assert_eq!(
            kinds.map(SessionKind::as_str),
            ["interactive", "bg", "daemon", "daemon-worker"]
        );
    }
}
