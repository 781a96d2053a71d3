//! The payloads of the events that a client sends (relay.md §2), as JSON. Ciphertexts are in
//! base64.

use alloc::string::String;

use super::raw::{Object, Raw};
use crate::time::UnixTime;

/// `message`, which is not acknowledged.
#[must_use]
pub fn message(session: &str, sealed: &str, local_id: Option<&str>) -> String {
    let mut object = Object::new();
    object.member("sid", session).member("message", sealed);
    if let Some(id) = local_id {
        object.member("localId", id);
    }
    object.finish()
}

/// `update-metadata`.
#[must_use]
pub fn update_metadata(session: &str, expected_version: u64, sealed: &str) -> String {
    let mut object = Object::new();
    object
        .member("sid", session)
        .member("expectedVersion", &expected_version)
        .member("metadata", sealed);
    object.finish()
}

/// `update-state`; no state resets it.
#[must_use]
pub fn update_state(session: &str, expected_version: u64, sealed: Option<&str>) -> String {
    let mut object = Object::new();
    object
        .member("sid", session)
        .member("expectedVersion", &expected_version);
    match sealed {
        Some(sealed) => object.member("agentState", sealed),
        None => object.member("agentState", &Raw::NULL),
    };
    object.finish()
}

/// `session-alive`, which is not acknowledged and never waits.
#[must_use]
pub fn session_alive(session: &str, now: UnixTime, thinking: bool, mode: &str) -> String {
    let mut object = Object::new();
    object
        .member("sid", session)
        .member("time", &now.as_millis())
        .member("thinking", &thinking)
        .member("mode", mode);
    object.finish()
}

/// `session-end`, which is not acknowledged.
#[must_use]
pub fn session_end(session: &str, now: UnixTime) -> String {
    let mut object = Object::new();
    object
        .member("sid", session)
        .member("time", &now.as_millis());
    object.finish()
}

/// `machine-alive`, which is not acknowledged.
#[must_use]
pub fn machine_alive(machine: &str, now: UnixTime) -> String {
    let mut object = Object::new();
    object
        .member("machineId", machine)
        .member("time", &now.as_millis());
    object.finish()
}

/// `machine-update-metadata`; with the version 0 it makes the value.
#[must_use]
pub fn machine_update_metadata(machine: &str, expected_version: u64, sealed: &str) -> String {
    machine_update(machine, expected_version, "metadata", sealed)
}

/// `machine-update-state`, whose value is a text, never null.
#[must_use]
pub fn machine_update_state(machine: &str, expected_version: u64, sealed: &str) -> String {
    machine_update(machine, expected_version, "daemonState", sealed)
}

fn machine_update(machine: &str, expected_version: u64, name: &str, sealed: &str) -> String {
    let mut object = Object::new();
    object
        .member("machineId", machine)
        .member("expectedVersion", &expected_version)
        .member(name, sealed);
    object.finish()
}

/// `rpc-register` and `rpc-unregister`: the method with its scope.
#[must_use]
pub fn rpc_method(scope: &str, method: &str) -> String {
    let mut object = Object::new();
    object.member("method", &*alloc::format!("{scope}:{method}"));
    object.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Covers: R2.1, R2.2, R2.4, R2.5, R2.6, R2.9, R2.23, R2.24
    #[test]
    fn payloads_are_those_of_the_table() {
        let now = UnixTime::from_millis(5).unwrap();
        for (payload, expected) in [
            (message("S", "c", None), r#"{"sid":"S","message":"c"}"#),
            (
                message("S\"", "c", Some("l")),
                r#"{"sid":"S\"","message":"c","localId":"l"}"#,
            ),
            (
                update_metadata("S", 3, "c"),
                r#"{"sid":"S","expectedVersion":3,"metadata":"c"}"#,
            ),
            (
                update_state("S", 0, Some("c")),
                r#"{"sid":"S","expectedVersion":0,"agentState":"c"}"#,
            ),
            (
                update_state("S", 1, None),
                r#"{"sid":"S","expectedVersion":1,"agentState":null}"#,
            ),
            (
                session_alive("S", now, true, "local"),
                r#"{"sid":"S","time":5,"thinking":true,"mode":"local"}"#,
            ),
            (session_end("S", now), r#"{"sid":"S","time":5}"#),
            (machine_alive("M", now), r#"{"machineId":"M","time":5}"#),
            (
                machine_update_metadata("M", 0, "c"),
                r#"{"machineId":"M","expectedVersion":0,"metadata":"c"}"#,
            ),
            (
                machine_update_state("M", 7, "c"),
                r#"{"machineId":"M","expectedVersion":7,"daemonState":"c"}"#,
            ),
            (rpc_method("S", "bash"), r#"{"method":"S:bash"}"#),
        ] {
            assert_eq!(payload, expected);
        }
    }
}
